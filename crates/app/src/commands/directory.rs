//! `crm directory …`: installs, checks and removes the directory's read model.

use std::{io::Write as _, process::ExitCode};

use clap::Subcommand;
use crm_adapters::postgres::directory::install::{self, Differences, Progress, Status};
use crm_domain::health::DirectoryModelState;
use tokio::runtime;

use super::progress::ProgressOutput;
use crate::config::{DatabaseAddress, Environment};

/// What to do with the read model.
#[derive(Debug, Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Install the model on the running database, or continue an installation that was interrupted.
    Install,
    /// Remove the model and its triggers. The directory is then read from the platform's tables.
    Uninstall,
    /// Remove the model and install it anew, for example after an update of ICU.
    Rebuild,
    /// Print the state of the model; exits with 1 when reads do not use it.
    Status,
    /// Compare the model with the platform's tables; exits with 1 when they differ.
    Verify,
}

/// Runs one command.
pub(crate) fn run(command: &DirectoryCommand) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_command(command))
}

async fn run_command(command: &DirectoryCommand) -> anyhow::Result<ExitCode> {
    let DatabaseAddress(connector) = DatabaseAddress::read(&Environment)?;
    let mut output = ProgressOutput::new("users");
    let mut show = |progress| match progress {
        Progress::Step(step) => output.begin(step),
        Progress::Filled { done, total } => output.show(done, total),
    };
    match command {
        DirectoryCommand::Install => install::install(&connector, &mut show).await?,
        DirectoryCommand::Uninstall => install::uninstall(&connector, &mut show).await?,
        DirectoryCommand::Rebuild => {
            install::uninstall(&connector, &mut show).await?;
            install::install(&connector, &mut show).await?;
        }
        DirectoryCommand::Status => return print_status(install::status(&connector).await?.as_ref()),
        DirectoryCommand::Verify => return print_differences(install::verify(&connector).await?),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_status(status: Option<&Status>) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    let Some(status) = status else {
        writeln!(
            stdout,
            "No model is installed: the directory is read from the platform's tables. `crm directory install` installs it."
        )?;
        return Ok(ExitCode::FAILURE);
    };
    let in_use = match (status.state, status.state.advice()) {
        (DirectoryModelState::InUse, _) => "yes".to_owned(),
        (_, advice) => format!("no: {}", advice.unwrap_or_default()),
    };
    writeln!(stdout, "in use          {in_use}")?;
    writeln!(stdout, "version         {} (this program uses {})", status.version, status.expected_version)?;
    writeln!(stdout, "customers       {}", status.customers)?;
    writeln!(stdout, "queued changes  {}", status.queued)?;
    if let Some(oldest) = status.oldest_queued_at {
        writeln!(stdout, "oldest change   {oldest}")?;
    }
    if let Some(installed) = status.installed_at {
        writeln!(stdout, "installed       {installed}")?;
    }
    Ok(if status.state == DirectoryModelState::InUse { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_differences(differences: Option<Differences>) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    let Some(Differences { entries, searches, counts }) = differences else {
        writeln!(stdout, "No model is installed.")?;
        return Ok(ExitCode::FAILURE);
    };
    if (entries, searches, counts) == (0, 0, 0) {
        writeln!(stdout, "The model agrees with the platform's tables.")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        stdout,
        "The model differs from the platform's tables: entries of {entries} customers, search texts of {searches} customers, \
         {counts} counters. Run `crm directory rebuild`."
    )?;
    Ok(ExitCode::FAILURE)
}
