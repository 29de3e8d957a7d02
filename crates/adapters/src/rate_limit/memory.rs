//! Rate limits counted in this process.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use crm_domain::{
    clock::MonotonicClock,
    rate_limit::{Quota, RateLimitDecision, RateLimitKey, RateLimits, SlidingWindow},
    store_error::StoreError,
};
use lru::LruCache;

/// The largest number of keys in memory. A new key beyond it evicts the least recently used one. So memory is bounded, but
/// a client with more addresses than this within a window is not limited by address.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

/// Rate limits of this process alone.
pub struct MemoryRateLimits {
    clock: Arc<dyn MonotonicClock>,
    windows: Mutex<LruCache<RateLimitKey, SlidingWindow>>,
}

impl MemoryRateLimits {
    /// Limits that have counted nothing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn MonotonicClock>) -> Self {
        Self { clock, windows: Mutex::new(LruCache::unbounded()) }
    }

    fn windows(&self) -> MutexGuard<'_, LruCache<RateLimitKey, SlidingWindow>> {
        // A thread that panicked while it held the lock left windows that are still right.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RateLimits for MemoryRateLimits {
    async fn try_acquire(&self, key: &RateLimitKey, quota: Quota) -> Result<RateLimitDecision, StoreError> {
        let mut windows = self.windows();
        // Under the lock, so that time never runs backwards for a window.
        let now = self.clock.elapsed();
        let decision = windows.get_or_insert_mut_ref(key, SlidingWindow::default).try_acquire(now, quota);
        // The cache grows with its content: one that is made with its bound takes all of its memory at once.
        if windows.len() > MAX_KEYS.get() {
            windows.pop_lru();
        }
        Ok(decision)
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn tracked_keys(&self) -> Option<usize> {
        Some(self.windows().len())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::atomic::{AtomicU64, Ordering},
        thread,
        time::Duration,
    };

    use crm_domain::{clock::MockMonotonicClock, ids::UserId};

    use super::*;
    use crate::system::SystemClock;

    const QUOTA: Quota = Quota { requests: 2, window: Duration::from_secs(10) };

    /// A clock that a test sets, in seconds.
    fn settable_clock() -> (Arc<AtomicU64>, Arc<dyn MonotonicClock>) {
        let now = Arc::new(AtomicU64::new(100));
        let mut clock = MockMonotonicClock::new();
        let shown = now.clone();
        clock.expect_elapsed().returning(move || Duration::from_secs(shown.load(Ordering::Relaxed)));
        (now, Arc::new(clock))
    }

    fn address(n: u32) -> RateLimitKey {
        RateLimitKey::Address(IpAddr::V4(Ipv4Addr::from(n)))
    }

    #[tokio::test]
    async fn each_key_has_its_own_quota() {
        let (now, clock) = settable_clock();
        let limits = MemoryRateLimits::new(clock);
        let user = RateLimitKey::User(UserId::parse("usr_1").unwrap());
        for key in [&user, &address(1), &address(2)] {
            for admitted in [true, true, false] {
                assert_eq!(limits.try_acquire(key, QUOTA).await.unwrap().admitted, admitted, "{key:?}");
            }
        }
        assert_eq!(limits.tracked_keys(), Some(3));
        now.fetch_add(10, Ordering::Relaxed);
        assert!(limits.try_acquire(&user, QUOTA).await.unwrap().admitted);
    }

    #[tokio::test]
    async fn the_least_recently_used_keys_are_evicted() {
        let (_, clock) = settable_clock();
        let limits = MemoryRateLimits::new(clock);
        let most = u32::try_from(MAX_KEYS.get()).unwrap();
        for n in 0..most {
            limits.try_acquire(&address(n), QUOTA).await.unwrap();
        }
        // Key 0 is used again, so key 1 is the least recently used one.
        limits.try_acquire(&address(0), QUOTA).await.unwrap();
        for n in most..most + 5 {
            limits.try_acquire(&address(n), QUOTA).await.unwrap();
        }
        assert_eq!(limits.tracked_keys(), Some(MAX_KEYS.get()));
        assert!(!limits.try_acquire(&address(0), QUOTA).await.unwrap().admitted, "it is remembered");
        assert_eq!(limits.try_acquire(&address(1), QUOTA).await.unwrap().remaining, 1, "it was forgotten");
    }

    /// The order of the threads does not matter.
    #[test]
    fn concurrent_threads_are_admitted_exactly_up_to_the_quota() {
        let limits = MemoryRateLimits::new(Arc::new(SystemClock::new()));
        let quota = Quota { requests: 1_000, window: Duration::from_secs(3_600) };
        let admitted = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    for _ in 0..2_000 {
                        let decision = runtime.block_on(limits.try_acquire(&address(1), quota)).unwrap();
                        admitted.fetch_add(u64::from(decision.admitted), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1_000);
    }
}
