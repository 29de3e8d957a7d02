//! Notes on customers: append-only text, perhaps about a booking.
//!
//! Source: contract, "…/{id}/notes".

pub mod ports;
pub mod usecases;

use thiserror::Error;
use time::OffsetDateTime;

use crate::{
    audit::{AuditAction, AuditEntity, AuditValue, Change},
    ids::{BookingId, NoteId, UserId},
    store_error::StoreError,
    text::{self, TextError},
};

/// The most characters a note may have.
pub const MAX_CONTENT: usize = 1000;

/// Why a note's use case was refused.
#[derive(Debug, Error)]
pub enum NoteError {
    /// No user with that id has a customer profile.
    #[error("no such customer")]
    CustomerNotFound,
    /// The booking is not one of this customer's.
    #[error("the booking is not one of this customer's")]
    BookingNotOfCustomer,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A note's text: trimmed, 1 to [`MAX_CONTENT`] characters. Personal data: it has no place in a log or an audit
/// entry, so this type does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteContent(String);

impl std::fmt::Debug for NoteContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NoteContent({} characters)", self.0.chars().count())
    }
}

impl NoteContent {
    /// Trims `text`; empty, too long or with a NUL is refused.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        text::parse_filled(text, MAX_CONTENT).map(|text| Self(text.to_owned()))
    }

    /// Takes a text that the database already holds.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A whole `customer_note` row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The note.
    pub id: NoteId,
    /// Whom it is about.
    pub customer: UserId,
    /// Who wrote it.
    pub author: UserId,
    /// The booking it is about.
    pub booking: Option<BookingId>,
    /// The text.
    pub content: NoteContent,
    /// When it was written, UTC.
    pub created_at: OffsetDateTime,
}

impl Note {
    /// What the writing of this note leaves in the audit log: everything but its text.
    #[must_use]
    pub fn creation(&self) -> Change {
        let Self { id, customer, author, booking, content: _, created_at } = self;
        Change {
            action: AuditAction::Create,
            entity: AuditEntity::Note(id.clone()),
            old_values: None,
            new_values: Some(vec![
                ("id", AuditValue::Text(id.to_string())),
                ("customerId", AuditValue::Text(customer.to_string())),
                ("authorId", AuditValue::Text(author.to_string())),
                ("bookingId", booking.as_ref().map(BookingId::as_str).into()),
                ("createdAt", AuditValue::Timestamp(*created_at)),
            ]),
        }
    }
}

/// A note as it is listed: with its author's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedNote {
    /// The note.
    pub note: Note,
    /// The author's name as it is now.
    pub author_name: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_has_a_minimum_and_a_maximum_length() {
        assert_eq!(NoteContent::parse(&format!("\n{}\n", "ñ".repeat(1000))).unwrap().as_str(), "ñ".repeat(1000));
        assert_eq!(NoteContent::parse(&"x".repeat(1001)), Err(TextError::TooLong { max: 1000 }));
        assert_eq!(NoteContent::parse(" \n\t"), Err(TextError::Empty));
        assert_eq!(NoteContent::parse("a\0b"), Err(TextError::Nul));
    }

    #[test]
    fn the_debug_output_omits_the_content() {
        let content = NoteContent::parse("allergic to ammonia").unwrap();
        assert_eq!(format!("{content:?}"), "NoteContent(19 characters)");
    }

    #[test]
    fn the_audit_entry_has_every_field_except_the_content() {
        let note = Note {
            id: NoteId::parse("note_1").unwrap(),
            customer: UserId::parse("usr_1").unwrap(),
            author: UserId::parse("usr_desk").unwrap(),
            booking: None,
            content: NoteContent::parse("allergic to ammonia").unwrap(),
            created_at: OffsetDateTime::UNIX_EPOCH,
        };
        let change = note.creation();
        let names: Vec<_> = change.new_values.iter().flatten().map(|(name, _)| *name).collect();
        assert_eq!(names, ["id", "customerId", "authorId", "bookingId", "createdAt"]);
        assert!(!format!("{change:?}").contains("ammonia"));
    }

    proptest! {
        #[test]
        fn parsing_of_content_is_idempotent(text in "[\\s\\PC]{0,1100}") {
            if let Ok(content) = NoteContent::parse(&text) {
                prop_assert_eq!(NoteContent::parse(content.as_str()), Ok(content));
            }
        }
    }
}
