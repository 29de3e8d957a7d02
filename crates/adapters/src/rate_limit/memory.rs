//! Rate limits counted in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use crm_domain::{
    clock::Clock,
    rate_limit::{Budget, RateLimits, SlidingWindow, Spent, Subject},
    store::StoreError,
};

/// How many subjects are kept before those whose windows are over are looked for.
const FIRST_SWEEP: usize = 1024;

/// Rate limits of this process alone. Holds as many subjects as call within a window, each with at most a budget of
/// moments: what is over is swept out whenever their number has doubled.
pub struct MemoryRateLimits {
    clock: Arc<dyn Clock>,
    windows: Mutex<Windows>,
}

struct Windows {
    of: HashMap<Subject, (Budget, SlidingWindow)>,
    next_sweep: usize,
}

impl MemoryRateLimits {
    /// Nobody has called yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, windows: Mutex::new(Windows { of: HashMap::new(), next_sweep: FIRST_SWEEP }) }
    }
}

#[async_trait]
impl RateLimits for MemoryRateLimits {
    async fn spend(&self, subject: &Subject, budget: Budget) -> Result<Spent, StoreError> {
        let now = self.clock.now();
        // Whoever panicked while holding the lock left windows that are still right.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.of.len() >= windows.next_sweep {
            windows.of.retain(|_, (budget, window)| !window.is_over(now, *budget));
            windows.next_sweep = (windows.of.len() * 2).max(FIRST_SWEEP);
        }
        let (_, window) = windows.of.entry(subject.clone()).or_insert_with(|| (budget, SlidingWindow::default()));
        Ok(window.spend(now, budget))
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use crm_domain::{clock::MockClock, ids::UserId};
    use time::{Duration, OffsetDateTime, macros::datetime};

    use super::*;

    const BUDGET: Budget = Budget { requests: 2, window: Duration::seconds(10) };
    const START: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);

    /// A clock that a test can set.
    fn settable() -> (Arc<Mutex<OffsetDateTime>>, Arc<dyn Clock>) {
        let now = Arc::new(Mutex::new(START));
        let mut clock = MockClock::new();
        let shown = now.clone();
        clock.expect_now().returning(move || *shown.lock().unwrap());
        (now, Arc::new(clock))
    }

    fn address(n: u32) -> Subject {
        Subject::Address(IpAddr::V4(Ipv4Addr::from(n)))
    }

    #[tokio::test]
    async fn subjects_have_budgets_of_their_own() {
        let (now, clock) = settable();
        let limits = MemoryRateLimits::new(clock);
        let user = Subject::User(UserId::parse("usr_1").unwrap());
        for subject in [&user, &address(1), &address(2)] {
            for admitted in [true, true, false] {
                assert_eq!(limits.spend(subject, BUDGET).await.unwrap().admitted, admitted, "{subject:?}");
            }
        }
        *now.lock().unwrap() += Duration::seconds(10);
        assert!(limits.spend(&user, BUDGET).await.unwrap().admitted);
    }

    #[tokio::test]
    async fn whoever_went_away_is_forgotten() {
        let (now, clock) = settable();
        let limits = MemoryRateLimits::new(clock);
        for n in 0..5_000 {
            limits.spend(&address(n), BUDGET).await.unwrap();
        }
        assert_eq!(limits.windows.lock().unwrap().of.len(), 5_000, "nobody is forgotten within the window");
        *now.lock().unwrap() += Duration::seconds(10);
        for n in 0..5_000 {
            limits.spend(&address(n % 10), BUDGET).await.unwrap();
        }
        // At the next look, when as many have come as were there at the last.
        for n in 10_000..15_000 {
            limits.spend(&address(n), BUDGET).await.unwrap();
        }
        *now.lock().unwrap() += Duration::seconds(10);
        for n in 20_000..25_000 {
            limits.spend(&address(n), BUDGET).await.unwrap();
        }
        assert!(limits.windows.lock().unwrap().of.len() <= 10_000, "{}", limits.windows.lock().unwrap().of.len());
    }
}
