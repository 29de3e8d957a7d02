//! Refreshes the figures of customers in the background of `crm serve` (`KPI_REFRESH_INTERVAL_SECONDS`).

use std::time::{Duration, Instant};

use crm_domain::kpis::{
    KpiError,
    usecases::{Kpis, Refreshed},
};
use tokio::time::{MissedTickBehavior, interval};

/// Refreshes the figures at each interval, until the process ends.
pub(super) async fn refresh_regularly(kpis: Kpis, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_failed = false;
    loop {
        ticks.tick().await;
        let began = Instant::now();
        match refresh(&kpis).await {
            Ok(refreshed) => {
                has_failed = false;
                tracing::info!(
                    compared = refreshed.compared,
                    changed = refreshed.changed,
                    locked = refreshed.locked,
                    milliseconds = began.elapsed().as_millis(),
                    "the figures of customers were refreshed"
                );
            }
            // Another instance does it.
            Err(KpiError::Busy) => {}
            Err(error) => {
                if !has_failed {
                    let cause = format!("{:#}", anyhow::Error::from(error));
                    tracing::warn!(cause, "the figures of customers cannot be refreshed");
                }
                has_failed = true;
            }
        }
    }
}

/// One pass. Rows that other programs have locked are for the next one.
async fn refresh(kpis: &Kpis) -> Result<Refreshed, KpiError> {
    let mut claim = kpis.claim().await?;
    let outcome = kpis.refresh(&mut *claim, &mut |_| ()).await;
    claim.release().await;
    outcome
}
