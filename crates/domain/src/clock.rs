//! The time, as a port, so that tests can fix it.

use time::OffsetDateTime;

/// Tells the time.
#[cfg_attr(feature = "testing", mockall::automock)]
pub trait Clock: Send + Sync {
    /// Now, in UTC, truncated to microseconds: what PostgreSQL keeps, so that a value reads back as it was written.
    fn now(&self) -> OffsetDateTime;
}
