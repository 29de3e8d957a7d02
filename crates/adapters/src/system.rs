//! The machine's clocks and random ids.

use std::time::{Duration, Instant};

use crm_domain::{
    clock::{Clock, MonotonicClock},
    ids::Ids,
};
use time::OffsetDateTime;
use ulid::Ulid;

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Clocks that measure from now on.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the real clock")]
        let now = OffsetDateTime::now_utc();
        now.truncate_to_microsecond()
    }
}

impl MonotonicClock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// ULIDs from the machine's clock and random numbers.
#[derive(Debug, Clone, Copy)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn ulid(&self) -> Ulid {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that makes real ids")]
        Ulid::generate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_has_microsecond_precision_and_is_utc() {
        assert_eq!(SystemClock::new().now().nanosecond() % 1000, 0);
        assert!(SystemClock::new().now().offset().is_utc());
    }

    #[test]
    fn generated_ids_differ() {
        assert_ne!(RandomIds.ulid(), RandomIds.ulid());
    }
}
