//! The port of the timeline use case.

use async_trait::async_trait;

use super::{TimelineCursor, TimelineLimit, TimelinePage};
use crate::{ids::UserId, store_error::StoreError};

/// Reading the timeline.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait TimelineReads: Send + Sync {
    /// A page of the customer's timeline, newest first, after `cursor`; `None` when no user with that id has a customer
    /// profile.
    async fn list_timeline(
        &self,
        customer: &UserId,
        limit: TimelineLimit,
        cursor: Option<TimelineCursor>,
    ) -> Result<Option<TimelinePage>, StoreError>;
}
