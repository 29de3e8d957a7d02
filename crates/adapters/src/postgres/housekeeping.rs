//! Keeps this service's own tables in order, in the background: removes idempotency keys that have expired, and adds older
//! audit entries to the timeline's table.

use std::{sync::Arc, time::Duration};

use crm_domain::{clock::Clock, idempotency::LIFETIME, store_error::StoreError};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use super::Postgres;

/// How often expired keys are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The pause between two batches of the fill, so that it does not disturb requests.
const FILL_INTERVAL: Duration = Duration::from_millis(100);

impl Postgres {
    /// Removes idempotency keys that have expired, until the process ends.
    pub async fn sweep_idempotency_keys_regularly(&self, clock: Arc<dyn Clock>) {
        let mut ticks = interval_at(Instant::now() + SWEEP_INTERVAL, SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let swept = async {
                while self.sweep_idempotency_keys(clock.now() - LIFETIME).await? > 0 {}
                Ok(())
            };
            log_failure(swept.await, "expired idempotency keys cannot be removed");
        }
    }

    /// Adds the audit entries of earlier versions to the timeline's table, batch by batch, until there are no more.
    pub async fn fill_audit_customers_to_the_end(&self) {
        let mut ticks = interval(FILL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_failed = false;
        loop {
            ticks.tick().await;
            match self.fill_audit_customers().await {
                Ok(true) => has_failed = false,
                Ok(false) => return,
                outcome => {
                    if !has_failed {
                        log_failure(outcome.map(|_| ()), "older audit entries cannot be added to timelines");
                    }
                    has_failed = true;
                }
            }
        }
    }
}

/// A database that does not answer is the health monitor's to tell of; the next step tries again.
fn log_failure(outcome: Result<(), StoreError>, what: &str) {
    match outcome {
        Ok(()) | Err(StoreError::Unavailable(_)) => {}
        Err(error) => tracing::warn!(%error, "{what}"),
    }
}
