//! The command line: `crm serve`, `crm migrate`, `crm migrate --check`.

use std::{io::Write as _, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use crm_adapters::postgres::{attach, migrate};
use tokio::runtime;

use crate::{
    config::{Config, DatabaseAddress, Environment, Problems},
    http, telemetry,
    wire::{self, Services},
};

/// The customer CRM service of the Royal Glow salon platform.
#[derive(Debug, Parser)]
#[command(name = "crm", version, about, after_help = "Settings come from the environment: see .env.example.")]
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
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn run() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let outcome = match command {
        Command::Serve => serve(),
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

fn serve() -> anyhow::Result<ExitCode> {
    let config = Config::read(&Environment)?;
    telemetry::init(config.log_format, &config.log_filter);
    // actix runs its workers on threads of their own; this thread only waits.
    actix_web::rt::System::new().block_on(async {
        let missing = attach::missing(&config.database.connector).await?;
        if !missing.is_empty() {
            bail!(
                "the database lacks what this service needs:\n  {}\nRun `crm migrate`, or check that DATABASE_URL is the platform's.",
                missing.join("\n  ")
            );
        }
        let services = Services::of(wire::ports(&config));
        let server = http::server(services, &config.http)
            .with_context(|| format!("cannot listen on {}", config.http.bind_address))?;
        tracing::info!(
            address = %server.address,
            cookie = config.session.cookie_name.as_str(),
            secret_sha256 = config.session.secret.fingerprint(),
            pool = config.database.pool.size,
            "serving"
        );
        server.running.await?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    })
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
