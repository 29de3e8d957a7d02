//! Audit entries: who changed which field, with the old and the new value.
//!
//! Source: contract, "Everything", Audit. Exactly one entry for each change, in the same transaction; none when
//! nothing changed; never a note's text.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{
    ids::{AuditId, ExportId, NoteId, TagId, UserId},
    role::Actor,
    store_error::StoreError,
};

/// What was done to the entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    /// It was made.
    Create,
    /// Some of its fields changed.
    Update,
    /// It was removed.
    Delete,
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditEntity {
    /// A customer's profile.
    Profile(UserId),
    /// A note on a customer.
    Note(UserId, NoteId),
    /// A tag.
    Tag(TagId),
    /// A tag on a customer.
    TagAssignment(UserId, TagId),
    /// An export of the directory.
    Export(ExportId),
}

impl AuditEntity {
    /// The customer that the entity belongs to, if its own id does not say so already.
    #[must_use]
    pub fn belongs_to(&self) -> Option<&UserId> {
        match self {
            Self::Note(customer, _) | Self::TagAssignment(customer, _) => Some(customer),
            Self::Profile(_) | Self::Tag(_) | Self::Export(_) => None,
        }
    }
}

/// A value of a changed field. A type of its own, because the domain has no JSON: the adapter makes JSON of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditValue {
    /// No value.
    Null,
    /// A yes or no.
    Boolean(bool),
    /// A count.
    Integer(i64),
    /// Text.
    Text(String),
    /// A moment, in UTC.
    Timestamp(OffsetDateTime),
}

impl From<Option<&str>> for AuditValue {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.to_owned()))
    }
}

/// Changed fields by their names in the API, in the API's order.
pub type AuditFields = Vec<(&'static str, AuditValue)>;

/// What changed, before anyone knows who did it and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was done.
    pub action: AuditAction,
    /// To what.
    pub entity: AuditEntity,
    /// The fields as they were; `None` on create.
    pub old_values: Option<AuditFields>,
    /// The fields as they are; `None` on delete.
    pub new_values: Option<AuditFields>,
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The entry's id.
    pub id: AuditId,
    /// Who did it.
    pub actor: UserId,
    /// The administrator who acted as that user.
    pub impersonator: Option<UserId>,
    /// What was done.
    pub change: Change,
    /// When.
    pub created_at: OffsetDateTime,
}

impl AuditEntry {
    /// The entry about a change that `actor` made.
    #[must_use]
    pub fn new(id: AuditId, actor: &Actor, change: Change, created_at: OffsetDateTime) -> Self {
        Self { id, actor: actor.id.clone(), impersonator: actor.impersonator.clone(), change, created_at }
    }
}

/// Writing to the audit log, as part of a unit of work.
#[async_trait]
pub trait AuditWrites {
    /// Adds `entries` at once. A failure undoes the changes that they tell of.
    async fn insert_audit_entries(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError>;

    /// Adds `entry`.
    async fn insert_audit_entry(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.insert_audit_entries(std::slice::from_ref(entry)).await
    }
}
