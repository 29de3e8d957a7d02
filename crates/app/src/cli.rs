//! The command line: `crm serve`, `crm migrate`, `crm migrate --check`, `crm healthcheck`, `crm openapi`.

use std::{io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};
use crm_adapters::postgres::migrate;
use tokio::runtime;

use crate::{
    config::{DatabaseAddress, Environment, Problems},
    healthcheck, http, serve,
};

/// The customer CRM service of the Royal Glow salon platform.
#[derive(Debug, Parser)]
#[command(name = "crm", version, after_help = "Settings come from the environment: see .env.example.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer HTTP requests until SIGTERM or Ctrl-C.
    Serve,
    /// Bring the database's schema up to date. Safe to run from several instances at once.
    Migrate {
        /// Change nothing: print what is pending, and exit with 1 when anything is.
        #[arg(long)]
        check: bool,
    },
    /// Ask the service that runs with the same settings whether it lives: exits with 0 when it does. For containers.
    Healthcheck {
        /// Ask whether it is ready for requests, too: then a database that is away is a failure.
        #[arg(long)]
        ready: bool,
    },
    /// Print the API's description, OpenAPI 3.1 in JSON. Needs neither settings nor a database.
    Openapi,
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn run() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    // For every client of TLS that is not told which one to take. Only a second call could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match command {
        Command::Serve => serve::run(),
        Command::Healthcheck { ready } => healthcheck::run(ready),
        Command::Openapi => print(&http::openapi()),
        Command::Migrate { check } => {
            multi_threaded(async move { if check { check_migrations().await } else { apply_migrations().await } })
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            // Nobody is left to tell when even this fails.
            let _ = match error.downcast_ref::<Problems>() {
                Some(problems) => write!(stderr, "{problems}"),
                None => writeln!(stderr, "crm: {error:#}"),
            };
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has read enough: `crm openapi | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
}

async fn apply_migrations() -> anyhow::Result<ExitCode> {
    let DatabaseAddress(connector) = DatabaseAddress::read(&Environment)?;
    let applied = migrate::migrate(&connector).await?;
    let mut stdout = std::io::stdout().lock();
    if applied.is_empty() {
        writeln!(stdout, "The schema is up to date.")?;
    }
    for name in applied {
        writeln!(stdout, "applied {name}")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn check_migrations() -> anyhow::Result<ExitCode> {
    let DatabaseAddress(connector) = DatabaseAddress::read(&Environment)?;
    let pending = migrate::pending(&connector).await?;
    let mut stdout = std::io::stdout().lock();
    if pending.is_empty() {
        writeln!(stdout, "The schema is up to date.")?;
        return Ok(ExitCode::SUCCESS);
    }
    for name in pending {
        writeln!(stdout, "pending {name}")?;
    }
    Ok(ExitCode::FAILURE)
}

/// Migrations wait for the database on a thread of their own, so they need more than one.
fn multi_threaded<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(future)
}
