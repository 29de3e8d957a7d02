//! The directory use cases: search, filter and sort customers, page by page or all of them.

use std::sync::Arc;

use super::{
    CustomerSummary, DirectoryQuery, ExportError,
    ports::{CustomerExport, DirectoryReads},
};
use crate::{
    audit::AuditEntry, clock::Clock, ids::Ids, page::Page, role::Actor, store_error::StoreError, unit_of_work::Store,
};

/// The directory's use cases.
pub struct Directory {
    /// Units of work.
    pub store: Arc<dyn Store>,
    /// Reading the directory.
    pub reads: Arc<dyn DirectoryReads>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
}

impl Directory {
    /// The page that `query` asks for.
    pub async fn list(&self, query: &DirectoryQuery) -> Result<Page<CustomerSummary>, StoreError> {
        self.reads.list_customers(query).await
    }

    /// Everyone whom `query` matches. Who exports what is in the audit log before the first customer is read.
    pub async fn export(&self, actor: &Actor, query: &DirectoryQuery) -> Result<Box<dyn CustomerExport>, ExportError> {
        let export = self.reads.begin_export(query).await?.ok_or(ExportError::Busy)?;
        let audited = self.store.transaction(async |unit| {
            let change = query.export_change(self.ids.export());
            unit.insert_audit_entry(&AuditEntry::new(self.ids.audit(), actor, change, self.clock.now())).await?;
            Ok::<_, StoreError>(())
        });
        audited.await?;
        Ok(export)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::AuditValue,
        directory::{
            DirectoryFilter, SearchTerm, TagFilters,
            ports::{MockCustomerExport, MockDirectoryReads},
        },
        role::Role,
        testing::{MockUnitOfWork, SequentialIds, actor, clock, store_of, store_that_must_not_begin, unavailable},
    };

    fn query() -> DirectoryQuery {
        DirectoryQuery {
            search: SearchTerm::parse("asha").unwrap(),
            filter: DirectoryFilter {
                tag_any: TagFilters::parse(["vip"]).unwrap(),
                visited: Some(true),
                ..DirectoryFilter::default()
            },
            ..DirectoryQuery::default()
        }
    }

    async fn export(store: Arc<dyn Store>, is_free: bool) -> Result<Box<dyn CustomerExport>, ExportError> {
        let mut reads = MockDirectoryReads::new();
        reads
            .expect_begin_export()
            .times(1)
            .returning(move |_| Ok(is_free.then(|| Box::new(MockCustomerExport::new()) as Box<dyn CustomerExport>)));
        let directory =
            Directory { store, reads: Arc::new(reads), clock: clock(), ids: Arc::new(SequentialIds::default()) };
        directory.export(&actor("usr_manager", Role::Manager), &query()).await
    }

    #[tokio::test]
    async fn an_export_is_audited_with_the_names_of_its_filters_before_it_is_read() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| {
                let names = AuditValue::Text("q,tagAny,visited".to_owned());
                entry.change.new_values == Some(vec![("filterCount", AuditValue::Integer(3)), ("filters", names)])
                    && !format!("{entry:?}").contains("asha")
            })
            .returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        assert!(export(store_of(unit), true).await.is_ok());
    }

    #[tokio::test]
    async fn an_export_that_cannot_be_audited_or_has_no_place_is_refused() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_insert_audit_entry().returning(|_| Err(unavailable()));
        unit.expect_rollback().times(1).returning(|| Ok(()));
        assert!(matches!(export(store_of(unit), true).await, Err(ExportError::Store(_))));
        assert!(matches!(export(store_that_must_not_begin(), false).await, Err(ExportError::Busy)));
    }
}
