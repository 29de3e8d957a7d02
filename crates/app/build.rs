//! Tells the program which commit it is built from.

use std::{path::Path, process::Command};

/// Changes with each commit.
const HISTORY: &str = "../../.git/logs/HEAD";

fn main() {
    // A build without the repository, such as in a container, gets the commit as a variable.
    println!("cargo::rerun-if-env-changed=CRM_COMMIT");
    // A path that is not there would have every build begin anew.
    if Path::new(HISTORY).exists() {
        println!("cargo::rerun-if-changed={HISTORY}");
    }
    #[expect(clippy::disallowed_methods, reason = "this is no setting of the service")]
    let given = std::env::var("CRM_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(commit_of_repository).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=CRM_COMMIT={commit}");
}

fn commit_of_repository() -> Option<String> {
    let output =
        Command::new("git").args(["--git-dir", "../../.git", "rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    Some(commit.trim().to_owned()).filter(|commit| output.status.success() && !commit.is_empty())
}
