//! `crm migrate`: applies the migrations that are pending, or lists them.

use std::{io::Write as _, process::ExitCode};

use crm_adapters::postgres::{
    connect::Connector,
    migrate::{self, Platform},
};
use tokio::runtime;

use crate::config::{DatabaseAddress, Environment};

/// Applies what is pending; with `check` only lists it, and exits with 1 when anything is.
pub(crate) fn run(check: bool, standalone: bool) -> anyhow::Result<ExitCode> {
    let DatabaseAddress(connector) = DatabaseAddress::read(&Environment)?;
    let platform = if standalone { Platform::Standalone } else { Platform::Existing };
    // Migrations wait for the database on a thread of their own, so they need more than one.
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async move {
        if check { check_migrations(&connector, platform).await } else { apply_migrations(&connector, platform).await }
    })
}

async fn apply_migrations(connector: &Connector, platform: Platform) -> anyhow::Result<ExitCode> {
    let tables = migrate::platform_tables(connector).await?;
    let applied = migrate::migrate(connector, platform).await?;
    let mut stdout = std::io::stdout().lock();
    if applied.is_empty() {
        writeln!(stdout, "The schema is up to date.")?;
        return Ok(ExitCode::SUCCESS);
    }
    for (table, was_there) in tables {
        writeln!(stdout, "{} {table}", if was_there { "found  " } else { "created" })?;
    }
    for name in applied {
        writeln!(stdout, "applied {name}")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn check_migrations(connector: &Connector, platform: Platform) -> anyhow::Result<ExitCode> {
    let pending = migrate::pending(connector, platform).await?;
    let tables = migrate::platform_tables(connector).await?;
    let mut stdout = std::io::stdout().lock();
    if pending.is_empty() {
        writeln!(stdout, "The schema is up to date.")?;
        return Ok(ExitCode::SUCCESS);
    }
    for (table, is_there) in tables {
        writeln!(stdout, "{} {table}", if is_there { "found  " } else { "missing" })?;
    }
    for name in pending {
        writeln!(stdout, "pending {name}")?;
    }
    Ok(ExitCode::FAILURE)
}
