//! Sees to it that a new migration is built in: the macro that embeds them only knows the files that were there.

#![expect(clippy::print_stdout, reason = "this is how a build script speaks")]

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
