//! `crm indexes`: lists or creates indexes on the platform's tables that this service would use.

use std::{io::Write as _, process::ExitCode};

use crm_adapters::postgres::indexes::{self, MissingIndex};
use tokio::runtime;

use crate::config::{DatabaseAddress, Environment};

/// Lists what is missing, and exits with 1 when anything is; with `create`, creates it.
pub(crate) fn run(create: bool) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move { if create { create_missing().await } else { list_missing().await } })
}

async fn create_missing() -> anyhow::Result<ExitCode> {
    let DatabaseAddress(connector) = DatabaseAddress::read(&Environment)?;
    let mut created = 0;
    let mut show = |index: &'static indexes::WantedIndex| {
        created += 1;
        // Progress is a courtesy: the work goes on when nobody can read it.
        let _ = writeln!(std::io::stderr(), "creating {}", index.name);
    };
    indexes::create_missing(&connector, &mut show).await?;
    let mut stdout = std::io::stdout().lock();
    match created {
        0 => writeln!(stdout, "No index is missing.")?,
        _ => writeln!(
            stdout,
            "Created {created}. Add them to the platform's schema: `crm indexes` prints the lines before."
        )?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_missing() -> anyhow::Result<ExitCode> {
    let DatabaseAddress(connector) = DatabaseAddress::read(&Environment)?;
    let missing = indexes::missing(&connector).await?;
    let mut stdout = std::io::stdout().lock();
    if missing.is_empty() {
        writeln!(stdout, "No index is missing.")?;
        return Ok(ExitCode::SUCCESS);
    }
    for missing in missing {
        let MissingIndex { index, rows, table_bytes } = &missing;
        let table_size = megabytes(*table_bytes);
        writeln!(stdout, "{} ({})", index.table, index.columns.join(", "))?;
        match rows {
            Some(rows) => writeln!(stdout, "  gain     {} (about {rows} rows, {table_size})", index.gain)?,
            None => writeln!(stdout, "  gain     {} ({table_size}, never analyzed)", index.gain)?,
        }
        match missing.estimated_bytes() {
            Some(bytes) => writeln!(stdout, "  cost     about {}; {}", megabytes(bytes), index.cost)?,
            None => writeln!(stdout, "  cost     {}", index.cost)?,
        }
        writeln!(stdout, "  SQL      {};", index.sql(connector.schema()))?;
        writeln!(stdout, "  Drizzle  {}", index.drizzle())?;
    }
    writeln!(stdout, "`crm indexes --create` creates them beside running reads and writes.")?;
    Ok(ExitCode::FAILURE)
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1 << 20))
}
