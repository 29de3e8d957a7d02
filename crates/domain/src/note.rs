//! Notes on customers: text, perhaps about a booking. A note may be pinned, and what it said before an edit is kept.
//!
//! Source: contract, "…/{id}/notes"; contract extensions, "Notes".

pub mod ports;
pub mod usecases;

use thiserror::Error;
use time::OffsetDateTime;

use crate::{
    audit::{AuditAction, AuditEntity, AuditFields, AuditValue, Change},
    ids::{BookingId, NoteId, UserId},
    precondition::PreconditionFailed,
    role::{Actor, Role},
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
    /// No note with that id on this customer.
    #[error("no such note")]
    NotFound,
    /// The booking is not one of this customer's.
    #[error("the booking is not one of this customer's")]
    BookingNotOfCustomer,
    /// The text is another author's, and the actor is no manager.
    #[error("the note is another author's")]
    NotAuthor,
    /// The note is not as the client requires.
    #[error("the note has changed")]
    PreconditionFailed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PreconditionFailed> for NoteError {
    fn from(_: PreconditionFailed) -> Self {
        Self::PreconditionFailed
    }
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
        self.change(AuditAction::Create, None, Some(self.audit_fields()))
    }

    /// What the deletion of this note leaves in the audit log: everything but its text.
    #[must_use]
    pub fn deletion(&self) -> Change {
        self.change(AuditAction::Delete, Some(self.audit_fields()), None)
    }

    /// Whether the actor may change the text and delete the note: its author, and a manager.
    #[must_use]
    pub fn is_editable_by(&self, actor: &Actor) -> bool {
        self.author == actor.id || actor.role >= Role::Manager
    }

    fn change(&self, action: AuditAction, old_values: Option<AuditFields>, new_values: Option<AuditFields>) -> Change {
        Change { action, entity: AuditEntity::Note(self.customer.clone(), self.id.clone()), old_values, new_values }
    }

    fn audit_fields(&self) -> AuditFields {
        let Self { id, customer, author, booking, content: _, created_at } = self;
        vec![
            ("id", AuditValue::Text(id.to_string())),
            ("customerId", AuditValue::Text(customer.to_string())),
            ("authorId", AuditValue::Text(author.to_string())),
            ("bookingId", booking.as_ref().map(BookingId::as_str).into()),
            ("createdAt", AuditValue::Timestamp(*created_at)),
        ]
    }
}

/// The latest edit of a note's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// When, UTC.
    pub at: OffsetDateTime,
    /// The editor's name as it is now; `None` when they are gone.
    pub by_name: Option<String>,
}

/// A note as it is listed: with its author's name, its pin and its latest edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedNote {
    /// The note.
    pub note: Note,
    /// The author's name as it is now.
    pub author_name: String,
    /// Whether it stands before the others.
    pub pinned: bool,
    /// The latest edit of its text.
    pub edit: Option<Edit>,
}

/// What a client wants a note to be. A field that is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NoteUpdate {
    /// The text.
    pub content: Option<NoteContent>,
    /// Whether it stands before the others.
    pub pinned: Option<bool>,
}

/// What changes in a note. What equals the stored state is no change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteChange {
    /// The new text; the present one becomes a revision.
    pub content: Option<NoteContent>,
    /// The new pin.
    pub pinned: Option<bool>,
    /// What it leaves in the audit log: never a text.
    pub audit: Change,
}

impl ListedNote {
    /// What `update` changes at that time; `None` when it changes nothing. [`NoteError::NotAuthor`] when it changes a text
    /// that the actor may not change: then nothing of it may happen.
    pub fn plan(
        &self,
        actor: &Actor,
        update: NoteUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<NoteChange>, NoteError> {
        let content = update.content.filter(|content| *content != self.note.content);
        let pinned = update.pinned.filter(|pinned| *pinned != self.pinned);
        if content.is_some() && !self.note.is_editable_by(actor) {
            return Err(NoteError::NotAuthor);
        }
        let (mut old_values, mut new_values) = (AuditFields::new(), AuditFields::new());
        if let Some(pinned) = pinned {
            old_values.push(("pinned", AuditValue::Boolean(self.pinned)));
            new_values.push(("pinned", AuditValue::Boolean(pinned)));
        }
        if content.is_some() {
            let edited_at = self.edit.as_ref().map_or(AuditValue::Null, |edit| AuditValue::Timestamp(edit.at));
            old_values.push(("editedAt", edited_at));
            new_values.push(("editedAt", AuditValue::Timestamp(now)));
        }
        if new_values.is_empty() {
            return Ok(None);
        }
        let audit = self.note.change(AuditAction::Update, Some(old_values), Some(new_values));
        Ok(Some(NoteChange { content, pinned, audit }))
    }
}

/// What a note said before an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The text.
    pub content: NoteContent,
    /// Until when it said so, UTC.
    pub edited_at: OffsetDateTime,
    /// Who changed it then; `None` when they are gone.
    pub edited_by_name: Option<String>,
}

/// What was found of a note of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteLookup<T> {
    /// No user with that id has a customer profile.
    NoCustomer,
    /// The customer has no such note.
    NoNote,
    /// The note.
    Found(T),
}

impl<T> NoteLookup<T> {
    /// What was found, or the error that says what was not.
    pub fn found(self) -> Result<T, NoteError> {
        match self {
            Self::NoCustomer => Err(NoteError::CustomerNotFound),
            Self::NoNote => Err(NoteError::NotFound),
            Self::Found(found) => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{NOW, actor, listed_note};

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
        let note = listed_note().note;
        let change = note.creation();
        let names: Vec<_> = change.new_values.iter().flatten().map(|(name, _)| *name).collect();
        assert_eq!(names, ["id", "customerId", "authorId", "bookingId", "createdAt"]);
        assert!(!format!("{change:?}").contains("ammonia"));
        assert_eq!(note.deletion().old_values, change.new_values);
        assert_eq!((note.deletion().action, note.deletion().new_values), (AuditAction::Delete, None));
    }

    fn update(content: Option<&str>, pinned: Option<bool>) -> NoteUpdate {
        NoteUpdate { content: content.map(|text| NoteContent::parse(text).unwrap()), pinned }
    }

    /// Author, text and pin that are wanted, and what changes: the text, the pin; `None`: refused.
    #[test]
    fn only_what_differs_changes_and_only_the_author_and_managers_change_a_text() {
        let (author, desk, manager) = (
            actor("usr_desk", Role::Receptionist),
            actor("usr_other", Role::Receptionist),
            actor("usr_manager", Role::Manager),
        );
        let same = "allergic to ammonia";
        for (actor, content, pinned, expected) in [
            (&author, None, None, Some((false, false))),
            (&author, Some(same), Some(false), Some((false, false))),
            (&author, Some("new"), None, Some((true, false))),
            (&author, Some("new"), Some(true), Some((true, true))),
            (&desk, Some(same), Some(true), Some((false, true))),
            (&desk, Some("new"), Some(true), None),
            (&desk, Some("new"), None, None),
            (&manager, Some("new"), None, Some((true, false))),
        ] {
            let planned = listed_note().plan(actor, update(content, pinned), NOW);
            let Some((has_content, has_pin)) = expected else {
                assert!(matches!(planned, Err(NoteError::NotAuthor)), "{content:?} {pinned:?}");
                continue;
            };
            let change = planned.unwrap();
            assert_eq!(change.is_some(), has_content || has_pin, "{content:?} {pinned:?}");
            if let Some(change) = change {
                assert_eq!((change.content.is_some(), change.pinned.is_some()), (has_content, has_pin));
                let names: Vec<_> = change.audit.new_values.iter().flatten().map(|(name, _)| *name).collect();
                let expected: Vec<_> = [(has_pin, "pinned"), (has_content, "editedAt")]
                    .iter()
                    .filter(|(is, _)| *is)
                    .map(|(_, name)| *name)
                    .collect();
                assert_eq!(names, expected);
                assert!(!format!("{:?}", change.audit).contains("new\""));
            }
        }
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
