//! `crm check`: says whether `crm serve` would work on this database, and what to do where it would not.

use std::{io::Write as _, process::ExitCode};

use crm_adapters::postgres::{
    Pool,
    connect::PoolMode,
    directory::install,
    indexes,
    migrate::{self, Platform},
    schema_check::{self, Lack},
};
use tokio::runtime;

use crate::{
    config::{DatabaseConfig, DatabaseSchema, Environment},
    observability::logging::chain,
};

/// What to set when a pooler in transaction mode was found.
pub(super) const POOLER_ADVICE: &str = "a pooler in transaction mode is between this service and PostgreSQL, and \
     DATABASE_POOL_MODE is session: requests would fail as soon as several run at once. Set DATABASE_POOL_MODE=transaction, \
     or connect straight to PostgreSQL";

/// Prints the grants of that role: what the service needs, or those of a customer's history or of `crm kpis`. Reads `DATABASE_SCHEMA` and no other setting, and needs no database.
pub(crate) fn print_grants(role: &str, history: bool, kpis: bool) -> anyhow::Result<ExitCode> {
    let DatabaseSchema(schema) = DatabaseSchema::read(&Environment)?;
    let mut stdout = std::io::stdout().lock();
    let statements = if history || kpis {
        schema_check::optional_grants(role, &schema, kpis)
    } else {
        schema_check::documented_grants(role, &schema)
    };
    for statement in statements {
        writeln!(stdout, "{statement}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Exits with 0 when `crm serve` would work, else with 1.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let database = DatabaseConfig::read(&Environment)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(check(&database))
}

async fn check(database: &DatabaseConfig) -> anyhow::Result<ExitCode> {
    let pool = Pool::new(database.connector.clone(), database.pool);
    let is_for_no_pooler = database.pool.session.mode == PoolMode::Session;
    // A second connection that cannot be had is no reason to stop here.
    let pooler_found = is_for_no_pooler && database.connector.is_behind_transaction_pooler().await.unwrap_or(false);
    let mut stdout = std::io::stdout().lock();
    if pooler_found {
        // Nothing else can be asked reliably.
        writeln!(stdout, "FAIL pooler      {POOLER_ADVICE}")?;
        return Ok(ExitCode::FAILURE);
    }
    let findings = schema_check::check(&pool).await?;
    let lacks = &findings.lacks;
    let role = schema_check::role(&pool).await?;
    let mut faults = 0;
    let mut line = |what: &str, is_fault: bool, text: &str| {
        faults += usize::from(is_fault);
        writeln!(stdout, "{} {what:<11} {text}", if is_fault { "FAIL" } else { "ok  " })
    };
    line(
        "database",
        false,
        &format!("answers; the role is {role}, the platform's schema {}", database.connector.schema().as_str()),
    )?;
    line("pooler", false, "the setting DATABASE_POOL_MODE works here")?;
    if lacks.is_empty() {
        line("schema", false, "has everything that the service needs")?;
    }
    for lack in lacks {
        let what = if matches!(lack, Lack::Writable(_)) { "writes" } else { "schema" };
        line(what, true, &format!("lacks {lack}"))?;
    }
    match migrate::pending(&database.connector, Platform::Existing).await {
        Ok(pending) if pending.is_empty() => line("migrations", false, "all are applied")?,
        Ok(pending) => line("migrations", true, &format!("pending: {}; run `crm migrate`", pending.join(", ")))?,
        Err(error) => line("migrations", true, &chain(&error))?,
    }
    let is_english = schema_check::messages_are_english(&pool).await?;
    line("messages", false, if is_english { "are in English" } else { schema_check::ENGLISH_ADVICE })?;
    // Both are optional, and the service's role need not be allowed to look.
    if let Ok(status) = install::status(&database.connector).await {
        let text = match status.and_then(|status| status.state.advice().map(|advice| (status, advice))) {
            Some((_, advice)) => advice,
            None => "see `crm directory status`",
        };
        line("read model", false, text)?;
    }
    for (part, lacks) in &findings.optional {
        let lacks: Vec<_> = lacks.iter().map(Lack::to_string).collect();
        let text = if lacks.is_empty() {
            format!("available: {}", part.name())
        } else {
            format!("not available: {}; lacks {}", part.name(), lacks.join(", "))
        };
        line("optional", false, &text)?;
    }
    if let Ok(missing) = indexes::missing(&database.connector).await {
        let text = format!("{} missing on the platform's tables; `crm indexes` lists them", missing.len());
        line("indexes", false, &text)?;
    }
    for paragraph in schema_check::advice(lacks, &role, database.connector.schema()) {
        writeln!(stdout, "\n{paragraph}")?;
    }
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
