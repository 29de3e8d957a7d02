//! The clocks as ports, so that tests can set the time.

use std::time::Duration;

use time::OffsetDateTime;

/// Tells the time of day.
#[cfg_attr(feature = "testing", mockall::automock)]
pub trait Clock: Send + Sync {
    /// The time now, in UTC, truncated to microseconds: PostgreSQL keeps no more, so a value reads back as it was written.
    fn now(&self) -> OffsetDateTime;
}

/// Measures time by a clock that is never set back.
#[cfg_attr(feature = "testing", mockall::automock)]
pub trait MonotonicClock: Send + Sync {
    /// The time since a fixed moment, at the latest when the process started.
    fn elapsed(&self) -> Duration;
}
