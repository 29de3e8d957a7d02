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
}
