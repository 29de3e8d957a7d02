//! How often somebody may call: a budget of requests in a sliding window, and the port that keeps count.
//!
//! The rule itself is [`SlidingWindow`], which knows no store. Whoever shares budgets between instances has to keep the
//! same rule (`rate_limit/redis.rs` of the adapters).

use std::{collections::VecDeque, net::IpAddr};

use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use crate::{ids::UserId, store::StoreError};

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A signed-in user.
    User(UserId),
    /// A client address, of requests without a valid session.
    Address(IpAddr),
}

/// How many requests are admitted in any window of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The most requests in a window; at least 1.
    pub requests: u32,
    /// The window's length; positive.
    pub window: Duration,
}

/// What became of a request that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Whether the request is within the budget. A refused one does not count against it.
    pub admitted: bool,
    /// How many more requests would be admitted right now.
    pub remaining: u32,
    /// How long until the oldest counted request leaves the window, and one more is admitted; positive.
    pub resets_in: Duration,
}

/// Keeps count of requests.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait RateLimits: Send + Sync {
    /// Counts a request of `subject` now, if `budget` admits it.
    async fn spend(&self, subject: &Subject, budget: Budget) -> Result<Spent, StoreError>;

    /// Whether the store can be reached. One in memory always can.
    async fn check(&self) -> Result<(), StoreError>;
}

/// The admitted requests of one subject, oldest first. Exact: in no window of the budget's length are there more of
/// them than the budget has.
#[derive(Debug, Clone, Default)]
pub struct SlidingWindow(VecDeque<OffsetDateTime>);

impl SlidingWindow {
    /// Counts a request at `now`, if `budget` admits it. What a clock that was set back left in the future is
    /// forgotten.
    pub fn spend(&mut self, now: OffsetDateTime, budget: Budget) -> Spent {
        self.forget(now, budget);
        let limit = usize::try_from(budget.requests).unwrap_or(usize::MAX);
        let admitted = self.0.len() < limit;
        if admitted {
            self.0.push_back(now);
        }
        let oldest = self.0.front().copied().unwrap_or(now);
        Spent {
            admitted,
            remaining: u32::try_from(limit.saturating_sub(self.0.len())).unwrap_or(u32::MAX),
            resets_in: oldest + budget.window - now,
        }
    }

    /// Whether nothing is counted any more at `now`.
    pub fn is_over(&mut self, now: OffsetDateTime, budget: Budget) -> bool {
        self.forget(now, budget);
        self.0.is_empty()
    }

    fn forget(&mut self, now: OffsetDateTime, budget: Budget) {
        while self.0.front().is_some_and(|moment| *moment + budget.window <= now) {
            self.0.pop_front();
        }
        while self.0.back().is_some_and(|moment| *moment > now) {
            self.0.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const BUDGET: Budget = Budget { requests: 3, window: Duration::seconds(10) };
    const START: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);

    #[test]
    fn a_budget_is_spent_refused_and_comes_back_one_by_one() {
        let mut window = SlidingWindow::default();
        for (milliseconds, admitted, remaining, resets_in) in [
            (0, true, 2, 10_000),
            (1_000, true, 1, 9_000),
            (5_000, true, 0, 5_000),
            (5_000, false, 0, 5_000),
            (9_999, false, 0, 1),
            (10_000, true, 0, 1_000),
            (10_500, false, 0, 500),
            (11_000, true, 0, 4_000),
            (40_000, true, 2, 10_000),
        ] {
            let spent = window.spend(START + Duration::milliseconds(milliseconds), BUDGET);
            let expected = Spent { admitted, remaining, resets_in: Duration::milliseconds(resets_in) };
            assert_eq!(spent, expected, "at {milliseconds} ms");
        }
    }

    #[test]
    fn it_is_over_when_its_last_request_left() {
        let mut window = SlidingWindow::default();
        window.spend(START, BUDGET);
        assert!(!window.is_over(START + Duration::milliseconds(9_999), BUDGET));
        assert!(window.is_over(START + Duration::seconds(10), BUDGET));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut window = SlidingWindow::default();
        for _ in 0..3 {
            assert!(window.spend(START, BUDGET).admitted);
        }
        assert!(window.spend(START - Duration::hours(1), BUDGET).admitted);
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_budget(gaps in prop::collection::vec(0_i64..6_000, 1..200)) {
            let mut window = SlidingWindow::default();
            let mut now = START;
            let mut admitted = Vec::new();
            for gap in gaps {
                now += Duration::milliseconds(gap);
                let spent = window.spend(now, BUDGET);
                prop_assert!(spent.resets_in > Duration::ZERO && spent.resets_in <= BUDGET.window);
                let in_window = admitted.iter().filter(|moment| now - **moment < BUDGET.window).count();
                prop_assert_eq!(spent.admitted, in_window < 3, "a request is refused only when the budget is spent");
                if spent.admitted {
                    admitted.push(now);
                }
            }
        }
    }
}
