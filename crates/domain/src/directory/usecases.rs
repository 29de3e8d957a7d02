//! The directory use case: search and sort customers, page by page.

use std::sync::Arc;

use super::{CustomerSummary, DirectoryQuery, ports::DirectoryReads};
use crate::{page::Page, store_error::StoreError};

/// The directory's use case.
pub struct Directory {
    /// Reading the directory.
    pub reads: Arc<dyn DirectoryReads>,
}

impl Directory {
    /// The page that `query` asks for.
    pub async fn list(&self, query: &DirectoryQuery) -> Result<Page<CustomerSummary>, StoreError> {
        self.reads.list_customers(query).await
    }
}
