//! Rate limits: a quota of requests in a sliding window, and the port that counts them.
//!
//! The rule itself is [`SlidingWindow`], which knows no store. An adapter that shares quotas between instances has to keep
//! the same rule (`rate_limit/redis.rs` of the adapters).

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use async_trait::async_trait;

use crate::{ids::UserId, store_error::StoreError};

/// The requests that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    /// Those of a signed-in user.
    User(UserId),
    /// Those of a client address, without a valid session.
    Address(IpAddr),
}

/// The number of requests that are admitted in any window of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The most requests in a window; at least 1.
    pub requests: u32,
    /// The window's length; positive, whole microseconds.
    pub window: Duration,
}

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitDecision {
    /// Whether the request is within the quota. A refused request does not count against it.
    pub admitted: bool,
    /// How many more requests would be admitted right now.
    pub remaining: u32,
    /// How long until the oldest counted request leaves the window, and one more is admitted; positive.
    pub resets_in: Duration,
}

/// Counts requests.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait RateLimits: Send + Sync {
    /// Counts a request of `key` now, if `quota` admits it.
    async fn try_acquire(&self, key: &RateLimitKey, quota: Quota) -> Result<RateLimitDecision, StoreError>;

    /// Whether the store can be reached. One in memory always can.
    async fn check(&self) -> Result<(), StoreError>;

    /// How many keys are held in this process's memory; `None` when they are held elsewhere.
    fn tracked_keys(&self) -> Option<usize>;
}

/// The admitted requests of one key, oldest first. Exact: in no window of the quota's length are there more of them than
/// the quota has. Times are microseconds of a monotonic clock.
#[derive(Debug, Clone, Default)]
pub struct SlidingWindow(VecDeque<u64>);

impl SlidingWindow {
    /// Counts a request at `now`, if `quota` admits it. `now` must not be earlier than in the call before.
    pub fn try_acquire(&mut self, now: Duration, quota: Quota) -> RateLimitDecision {
        let (now, window) = (microseconds(now), microseconds(quota.window));
        while self.0.front().is_some_and(|time| time.saturating_add(window) <= now) {
            self.0.pop_front();
        }
        let limit = usize::try_from(quota.requests).unwrap_or(usize::MAX);
        let admitted = self.0.len() < limit;
        if admitted {
            self.0.push_back(now);
        }
        let oldest = self.0.front().copied().unwrap_or(now);
        RateLimitDecision {
            admitted,
            remaining: u32::try_from(limit.saturating_sub(self.0.len())).unwrap_or(u32::MAX),
            resets_in: Duration::from_micros(oldest.saturating_add(window).saturating_sub(now)),
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUOTA: Quota = Quota { requests: 3, window: Duration::from_secs(10) };

    #[test]
    fn requests_are_admitted_again_one_by_one_as_the_window_slides() {
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
            let decision = window.try_acquire(Duration::from_millis(milliseconds), QUOTA);
            let expected = RateLimitDecision { admitted, remaining, resets_in: Duration::from_millis(resets_in) };
            assert_eq!(decision, expected, "at {milliseconds} ms");
        }
    }

    #[test]
    fn extreme_times_cause_no_panic() {
        let mut window = SlidingWindow::default();
        let forever = Quota { requests: 1, window: Duration::MAX };
        for now in [Duration::ZERO, Duration::MAX, Duration::MAX] {
            window.try_acquire(now, forever);
        }
    }

    proptest! {
        #[test]
        fn no_window_contains_more_requests_than_the_quota(gaps in prop::collection::vec(0_u64..6_000, 1..200)) {
            let mut window = SlidingWindow::default();
            let mut now = Duration::ZERO;
            let mut admitted = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                let decision = window.try_acquire(now, QUOTA);
                prop_assert!(decision.resets_in > Duration::ZERO && decision.resets_in <= QUOTA.window);
                let in_window = admitted.iter().filter(|time| **time + QUOTA.window > now).count();
                prop_assert_eq!(decision.admitted, in_window < 3, "a request is refused only when the quota is used up");
                if decision.admitted {
                    admitted.push(now);
                }
            }
        }
    }
}
