//! The unit of work that every write goes through.
//!
//! A use case calls [`dyn Store::transaction`](trait.Store.html#method.transaction) with the steps of a write. All of them
//! happen, or none.

use async_trait::async_trait;

use crate::{
    audit::AuditWrites,
    customer::ports::ProfileWrites,
    idempotency::ports::IdempotencyWrites,
    note::ports::NoteWrites,
    store_error::{IsMissing, StoreError},
    tag::ports::TagWrites,
};

/// How often a unit of work is run that found a row which was deleted while it ran.
const ATTEMPTS: usize = 5;

/// Begins and finishes units of work.
#[async_trait]
pub trait Store: Send + Sync {
    /// Begins a unit of work.
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError>;

    /// Finishes a unit of work that succeeded: commits it.
    async fn finish(&self, unit: Box<dyn UnitOfWork>) -> Result<(), StoreError> {
        unit.commit().await
    }
}

/// A unit of work: all of it happens at [`UnitOfWork::commit`], or none. Dropping it undoes it.
#[async_trait]
pub trait UnitOfWork: ProfileWrites + NoteWrites + TagWrites + AuditWrites + IdempotencyWrites + Send {
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
                self.finish(unit).await?;
                Ok(value)
            }
            Err(refusal) => {
                // The caller must learn of the refusal, whether or not the connection survives.
                let _ = unit.rollback().await;
                Err(refusal)
            }
        }
    }

    /// Like `transaction`, for work on many rows: when a row that it counts on was deleted while it ran, it is run
    /// again, a few times, and then is [`StoreError::Unavailable`].
    pub async fn transaction_on_many<T, E: From<StoreError> + IsMissing>(
        &self,
        work: impl AsyncFn(&mut dyn UnitOfWork) -> Result<T, E>,
    ) -> Result<T, E> {
        for _ in 0..ATTEMPTS {
            match self.transaction(&work).await {
                Err(error) if error.is_missing() => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::Unavailable("rows were deleted again and again while they were worked on".into()).into())
    }
}
