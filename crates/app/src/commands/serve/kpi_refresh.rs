//! Refreshes the figures of customers in the background of `crm serve` (`KPI_REFRESH_INTERVAL_SECONDS`).

use std::time::{Duration, Instant};

use crm_domain::{
    kpis::{KpiError, usecases::Kpis},
    store_error::StoreError,
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
        match kpis.refresh(&mut |_| ()).await {
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
            // Another instance does it; a database that does not answer is the health monitor's to tell of.
            Err(KpiError::Busy | KpiError::Store(StoreError::Unavailable(_))) => {}
            Err(error) => {
                if !has_failed {
                    tracing::warn!(%error, "the figures of customers cannot be refreshed");
                }
                has_failed = true;
            }
        }
    }
}
