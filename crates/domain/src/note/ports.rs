//! The ports of the note use cases.

use async_trait::async_trait;

use super::{ListedNote, Note};
use crate::{
    ids::UserId,
    page::{Page, PageRequest},
    store_error::StoreError,
};

/// Reading notes.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait NoteReads: Send + Sync {
    /// A page of the customer's notes, newest first, with the exact total; `None` when no user with that id has a
    /// customer profile.
    async fn list_notes(&self, customer: &UserId, page: PageRequest) -> Result<Option<Page<ListedNote>>, StoreError>;
}

/// What a note would refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoteTarget {
    /// Whether a user with that id has a customer profile.
    pub customer_exists: bool,
    /// Whether the booking is one of the customer's; `true` without a booking.
    pub booking_is_of_customer: bool,
}

/// Writing notes, as part of a unit of work.
#[async_trait]
pub trait NoteWrites {
    /// Looks for the customer and, if the note has one, for the booking.
    async fn find_note_target(&mut self, note: &Note) -> Result<NoteTarget, StoreError>;

    /// Adds `note`. [`StoreError::Missing`] says which row it points to was deleted.
    async fn insert_note(&mut self, note: &Note) -> Result<(), StoreError>;
}
