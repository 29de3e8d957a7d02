//! The ports of the note use cases.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{ListedNote, Note, NoteContent, NoteLookup, Revision};
use crate::{
    ids::{NoteId, UserId},
    page::{Page, PageRequest},
    store_error::StoreError,
};

/// Reading notes.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait NoteReads: Send + Sync {
    /// A page of the customer's notes, the pinned ones first, then newest first, with the exact total; `None` when no user
    /// with that id has a customer profile.
    async fn list_notes(&self, customer: &UserId, page: PageRequest) -> Result<Option<Page<ListedNote>>, StoreError>;

    /// A page of what the note said before, newest first, with the exact total.
    async fn list_revisions(
        &self,
        customer: &UserId,
        note: &NoteId,
        page: PageRequest,
    ) -> Result<NoteLookup<Page<Revision>>, StoreError>;
}

/// What a note would refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteTarget {
    /// Whether a user with that id has a customer profile.
    pub customer_exists: bool,
    /// Whether the booking is one of the customer's; `true` without a booking.
    pub booking_is_of_customer: bool,
    /// The author's name; `None` when there is no such user.
    pub author_name: Option<String>,
}

/// Writing notes, as part of a unit of work.
#[async_trait]
pub trait NoteWrites {
    /// Looks for the customer, the author and, if the note has one, for the booking.
    async fn find_note_target(&mut self, note: &Note) -> Result<NoteTarget, StoreError>;

    /// Adds `note`. [`StoreError::Missing`] says which row it points to was deleted.
    async fn insert_note(&mut self, note: &Note) -> Result<(), StoreError>;

    /// Locks the note against other units of work that change or delete it, then reads it.
    async fn lock_note(&mut self, customer: &UserId, note: &NoteId) -> Result<NoteLookup<ListedNote>, StoreError>;

    /// Stores the text of a locked note, and as a revision the text that it had until `at`.
    async fn save_content(
        &mut self,
        note: &Note,
        content: &NoteContent,
        by: &UserId,
        at: OffsetDateTime,
    ) -> Result<(), StoreError>;

    /// Pins a locked note, or removes its pin.
    async fn save_pin(
        &mut self,
        note: &NoteId,
        pinned: bool,
        by: &UserId,
        at: OffsetDateTime,
    ) -> Result<(), StoreError>;

    /// The note as it is now.
    async fn view_note(&mut self, note: &NoteId) -> Result<Option<ListedNote>, StoreError>;

    /// Deletes a locked note with its pin, its revisions and every other copy of its text.
    async fn delete_note(&mut self, note: &NoteId) -> Result<(), StoreError>;
}
