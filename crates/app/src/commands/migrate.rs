//! `crm migrate`: applies the migrations that are pending, or lists them.

use std::{io::Write as _, process::ExitCode};

use crm_adapters::postgres::migrate;
use tokio::runtime;

use crate::config::{DatabaseAddress, Environment};

/// Applies what is pending; with `check` only lists it, and exits with 1 when anything is.
pub(crate) fn run(check: bool) -> anyhow::Result<ExitCode> {
    // Migrations wait for the database on a thread of their own, so they need more than one.
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async move { if check { check_migrations().await } else { apply_migrations().await } })
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
