//! The error of every port.

use std::error::Error as StdError;

use thiserror::Error;

/// The underlying error of a failed port call. Logged at the HTTP boundary, never sent to a client.
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
    /// A row that a new row points to was deleted meanwhile.
    #[error("a row that is pointed to is missing: {0:?}")]
    Missing(Reference),
    /// Anything else.
    #[error("the store failed unexpectedly")]
    Unexpected(#[source] Cause),
}
