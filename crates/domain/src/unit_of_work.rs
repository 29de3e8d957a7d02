//! The unit of work that every write goes through.
//!
//! A use case calls [`dyn Store::transaction`](trait.Store.html#method.transaction) with the steps of a write. All of them
//! happen, or none.

use async_trait::async_trait;

use crate::{
    audit::AuditWrites, customer::ports::ProfileWrites, note::ports::NoteWrites, store_error::StoreError,
    tag::ports::TagWrites,
};

/// Begins units of work.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Store: Send + Sync {
    /// Begins a unit of work.
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError>;
}

/// A unit of work: all of it happens at [`UnitOfWork::commit`], or none. Dropping it undoes it.
#[async_trait]
pub trait UnitOfWork: ProfileWrites + NoteWrites + TagWrites + AuditWrites + Send {
    /// Makes everything done so far durable and visible.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;

    /// Undoes everything done so far. Dropping does so too, but closes the connection.
    async fn rollback(self: Box<Self>) -> Result<(), StoreError>;
}

impl dyn Store {
    /// Runs `work` in a unit of work: commits when it succeeds, rolls back when it is refused or fails.
    pub async fn transaction<T, E: From<StoreError>>(
        &self,
        work: impl AsyncFnOnce(&mut dyn UnitOfWork) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut unit = self.begin().await?;
        match work(&mut *unit).await {
            Ok(value) => {
                unit.commit().await?;
                Ok(value)
            }
            Err(refusal) => {
                // The caller must learn of the refusal, whether or not the connection survives.
                let _ = unit.rollback().await;
                Err(refusal)
            }
        }
    }
}
