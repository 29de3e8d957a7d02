//! The unit of work that every write goes through, and the one error of all ports.
//!
//! A use case calls [`Store::begin`], works on the [`Tx`], and hands it with its outcome to [`conclude`]: without a
//! commit nothing happened.

use std::error::Error as StdError;

use async_trait::async_trait;
use thiserror::Error;

use crate::{audit::AuditWrites, customer::ports::ProfileWrites, note::ports::NoteWrites, tag::ports::TagWrites};

/// What a port's cause looks like; logged at the boundary, never shown to a client.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// A row that a new row points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The caller: the author of a note, whoever assigns a tag.
    Actor,
    /// The customer.
    Customer,
    /// The tag.
    Tag,
    /// The booking.
    Booking,
}

/// Why a port could not do its work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store cannot be reached, is too busy, or a deadline passed. Trying again may help.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// A row that a new row points to went away meanwhile.
    #[error("a row that is pointed to is missing: {0:?}")]
    Missing(Reference),
    /// Anything else.
    #[error("the store failed unexpectedly")]
    Unexpected(#[source] Cause),
}

/// Begins units of work.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Store: Send + Sync {
    /// Begins a unit of work.
    async fn begin(&self) -> Result<Box<dyn Tx>, StoreError>;
}

/// A unit of work: all of it happens at [`Tx::commit`], or none. Dropping it undoes it.
#[async_trait]
pub trait Tx: ProfileWrites + NoteWrites + TagWrites + AuditWrites + Send {
    /// Makes everything done so far durable and visible.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;

    /// Undoes everything done so far. Dropping does so too; saying it keeps the connection.
    async fn rollback(self: Box<Self>) -> Result<(), StoreError>;
}

/// Commits when the work came to a result, undoes it when it was refused or failed.
pub async fn conclude<T, E: From<StoreError>>(tx: Box<dyn Tx>, outcome: Result<T, E>) -> Result<T, E> {
    match outcome {
        Ok(value) => {
            tx.commit().await?;
            Ok(value)
        }
        Err(refusal) => {
            // The refusal is what the caller must hear of, whether or not the connection survives.
            let _ = tx.rollback().await;
            Err(refusal)
        }
    }
}
