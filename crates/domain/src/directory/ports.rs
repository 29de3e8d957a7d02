//! The port of the directory use case.

use async_trait::async_trait;

use super::{CustomerSummary, DirectoryQuery};
use crate::{page::Page, store_error::StoreError};

/// Reading the directory.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait DirectoryReads: Send + Sync {
    /// The page `query` asks for, with the exact total; past the end it is empty and the total still true.
    async fn list_customers(&self, query: &DirectoryQuery) -> Result<Page<CustomerSummary>, StoreError>;

    /// Begins an export of everyone whom `query` matches, in its order; its page does not count. `None` when two exports are
    /// under way.
    async fn begin_export(&self, query: &DirectoryQuery) -> Result<Option<Box<dyn CustomerExport>>, StoreError>;
}

/// An export under way: all customers of one snapshot. Dropping it ends it.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait CustomerExport: Send {
    /// The next customers in order; none after the last one.
    async fn next_customers(&mut self) -> Result<Vec<CustomerSummary>, StoreError>;
}
