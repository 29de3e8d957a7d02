//! The timeline use case.

use std::sync::Arc;

use super::{TimelineCursor, TimelineError, TimelineLimit, TimelinePage, ports::TimelineReads};
use crate::ids::UserId;

/// The timeline's use case.
pub struct Timeline {
    /// Reading the timeline.
    pub reads: Arc<dyn TimelineReads>,
}

impl Timeline {
    /// A page of the customer's timeline, newest first, after `cursor`.
    pub async fn list(
        &self,
        customer: &UserId,
        limit: TimelineLimit,
        cursor: Option<TimelineCursor>,
    ) -> Result<TimelinePage, TimelineError> {
        self.reads.list_timeline(customer, limit, cursor).await?.ok_or(TimelineError::CustomerNotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::ports::MockTimelineReads;

    #[tokio::test]
    async fn the_timeline_of_an_unknown_customer_is_not_found() {
        let mut reads = MockTimelineReads::new();
        reads.expect_list_timeline().returning(|_, _, _| Ok(None));
        let timeline = Timeline { reads: Arc::new(reads) };
        let answer = timeline.list(&UserId::parse("usr_1").unwrap(), TimelineLimit::default(), None).await;
        assert!(matches!(answer, Err(TimelineError::CustomerNotFound)), "{answer:?}");
    }
}
