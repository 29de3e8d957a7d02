//! The port of the figures' use cases.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Facts, Figures};
use crate::{calendar::SalonTimeZone, ids::UserId, store_error::StoreError};

/// A customer's figures as stored, and what they follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerFigures {
    /// The customer.
    pub customer: UserId,
    /// As stored.
    pub stored: Figures,
    /// What the platform knows.
    pub facts: Facts,
}

/// What became of a batch of customers whose figures were to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    /// Customers whose figures were written.
    pub changed: u64,
    /// Customers whose row another program had locked: they are as they were.
    pub locked: u64,
}

/// The right to refresh the figures, which one instance has at a time. It ends with this value or with the process, whatever
/// comes first.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait RefreshClaim: Send {
    /// Says that the work goes on. Without this for a minute, the claim ends: its holder's machine may be gone.
    ///
    /// # Errors
    ///
    /// The claim is lost, and another instance may have it.
    async fn keep(&mut self) -> Result<(), StoreError>;

    /// Gives it back.
    async fn release(self: Box<Self>);
}

/// Reading and writing the figures, batch by batch.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait KpiStore: Send + Sync {
    /// What the store lacks to derive the figures, and if wanted to write them; a line each.
    async fn find_kpi_lacks(&self, with_writing: bool) -> Result<Vec<String>, StoreError>;

    /// The number of customers.
    async fn count_customers(&self) -> Result<u64, StoreError>;

    /// Claims the right to refresh; `None` while another instance has it.
    async fn claim_refresh(&self) -> Result<Option<Box<dyn RefreshClaim>>, StoreError>;

    /// The next customers by id after `after`; none at the end. The store decides how many, and may wait so that the work of
    /// other callers is not disturbed.
    async fn read_figures(&self, after: Option<UserId>) -> Result<Vec<CustomerFigures>, StoreError>;

    /// Derives the figures of these customers anew, with their rows locked, and writes those that differ, with `at` as the
    /// time of the change. A row that is locked is not waited for.
    async fn save_figures(
        &self,
        customers: &[UserId],
        zone: &SalonTimeZone,
        at: OffsetDateTime,
    ) -> Result<Saved, StoreError>;
}
