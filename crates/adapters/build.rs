//! Sees to it that a new migration is built in: the macro that embeds them only knows the files that were there.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
