//! `crm directory …`: installs, checks and removes the directory's read model.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Subcommand;
use crm_adapters::postgres::directory::install::{self, Differences, Progress, Status};
use crm_domain::health::DirectoryModelState;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime;

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
    let mut output = Output::default();
    match command {
        DirectoryCommand::Install => install::install(&connector, &mut |progress| output.show(progress)).await?,
        DirectoryCommand::Uninstall => install::uninstall(&connector, &mut |progress| output.show(progress)).await?,
        DirectoryCommand::Rebuild => {
            install::uninstall(&connector, &mut |progress| output.show(progress)).await?;
            install::install(&connector, &mut |progress| output.show(progress)).await?;
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

/// Shows progress: a bar on a terminal, else a line for each step and each tenth.
#[derive(Default)]
struct Output {
    bar: Option<ProgressBar>,
    tenths: u64,
}

impl Output {
    fn show(&mut self, progress: Progress) {
        let mut stderr = std::io::stderr();
        match progress {
            Progress::Step(step) => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                self.tenths = 0;
                // Progress is a courtesy: the work goes on when nobody can read it.
                let _ = writeln!(stderr, "{step}");
            }
            Progress::Filled { done, total } if stderr.is_terminal() => {
                let bar = self.bar.get_or_insert_with(|| {
                    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {eta}");
                    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                });
                bar.set_position(done);
            }
            Progress::Filled { done, total } => {
                let tenths = (done * 10).checked_div(total).unwrap_or(10);
                if tenths > self.tenths {
                    self.tenths = tenths;
                    let _ = writeln!(stderr, "{done} of {total} users");
                }
            }
        }
    }
}
