//! `crm kpis …`: compares and refreshes the figures of customers, which follow from bookings and invoices.

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::Subcommand;
use crm_domain::kpis::{Differences, usecases::Kpis};
use tokio::{
    runtime,
    time::{Instant, sleep_until},
};

use super::progress::ProgressOutput;
use crate::{
    bootstrap,
    config::{Environment, KpiConfig},
};

/// How often a refresh goes through everybody, when other programs have rows locked.
const PASSES: u32 = 5;

/// How long such a row is waited for between two passes.
const PASS_INTERVAL: Duration = Duration::from_secs(2);

/// What to do with the figures.
#[derive(Debug, Subcommand)]
pub(crate) enum KpisCommand {
    /// Compare visits, first and last visit and spend of all customers with their bookings and invoices; exits with 1 when
    /// any differ. Changes nothing.
    Status,
    /// Write the figures that differ. Can be repeated after an interruption.
    Refresh,
}

/// Runs one command.
pub(crate) fn run(command: &KpisCommand) -> anyhow::Result<ExitCode> {
    let config = KpiConfig::read(&Environment)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let kpis = bootstrap::kpis(&config.database, &config.time_zone, None);
        match command {
            KpisCommand::Status => compare(&kpis).await,
            KpisCommand::Refresh => refresh(&kpis).await,
        }
    })
}

async fn compare(kpis: &Kpis) -> anyhow::Result<ExitCode> {
    let mut output = ProgressOutput::new("customers");
    let differences = kpis.compare(&mut |progress| output.show(progress.done, progress.total)).await?;
    output.end();
    let Differences { compared, customers, total_visits, first_visit_at, last_visit_at, total_spent_paise } =
        differences;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "customers    {compared}")?;
    writeln!(stdout, "differ       {customers}")?;
    if customers == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(stdout, "visits       {total_visits}")?;
    writeln!(stdout, "first visit  {first_visit_at}")?;
    writeln!(stdout, "last visit   {last_visit_at}")?;
    writeln!(stdout, "spend        {total_spent_paise}")?;
    writeln!(stdout, "`crm kpis refresh` writes what differs.")?;
    Ok(ExitCode::FAILURE)
}

async fn refresh(kpis: &Kpis) -> anyhow::Result<ExitCode> {
    let mut output = ProgressOutput::new("customers");
    let mut changed = 0;
    // Ends with this function, also when a pass fails.
    let mut claim = kpis.claim().await?;
    let mut pass = 1;
    loop {
        let refreshed = kpis.refresh(&mut *claim, &mut |progress| output.show(progress.done, progress.total)).await?;
        output.end();
        changed += refreshed.changed;
        let mut stdout = std::io::stdout().lock();
        if refreshed.locked == 0 {
            writeln!(stdout, "Compared {} customers and wrote the figures of {changed}.", refreshed.compared)?;
            return Ok(ExitCode::SUCCESS);
        }
        if pass == PASSES {
            writeln!(
                stdout,
                "Wrote the figures of {changed} customers. Other programs have the rows of {} locked: run this again.",
                refreshed.locked
            )?;
            return Ok(ExitCode::FAILURE);
        }
        output.begin(&format!("{} rows are locked by other programs; going through all again", refreshed.locked));
        sleep_until(Instant::now() + PASS_INTERVAL).await;
        pass += 1;
    }
}
