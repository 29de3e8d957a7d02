//! `crm settings`: prints every setting with its default and meaning.

use std::{io::Write as _, process::ExitCode};

use crate::config::SETTINGS;

/// Prints them, in the form of an environment file: a setting without a value is a comment.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        "# Every setting of `crm`, with its default. The service reads them from its environment alone; copy what you change.\n"
    )?;
    for setting in SETTINGS {
        writeln!(stdout, "# {}\n#{}={}\n", setting.what, setting.name, setting.default.unwrap_or_default())?;
    }
    Ok(ExitCode::SUCCESS)
}
