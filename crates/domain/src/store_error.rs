//! The error of every port.

use std::error::Error as StdError;

use thiserror::Error;

/// The underlying error of a failed port call. Logged at the HTTP boundary, never sent to a client.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// The kind of row that a new row references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The calling user: the author of a note, or the user who assigns a tag.
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
    /// The row that a new row references was deleted in the meantime.
    #[error("a row that is pointed to is missing: {0:?}")]
    Missing(Reference),
    /// What is to be deleted is still referenced by rows of another program.
    #[error("it is still referenced")]
    StillReferenced,
    /// Anything else.
    #[error("the store failed unexpectedly")]
    Unexpected(#[source] Cause),
}

/// Tells whether an error says that a row was deleted in the meantime.
pub trait IsMissing {
    /// Whether it is [`StoreError::Missing`] of a row without which the work is worth another attempt.
    fn is_missing(&self) -> bool;
}
