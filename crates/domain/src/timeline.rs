//! The timeline: what happened to a customer in the CRM, as the audit log tells it.
//!
//! Source: contract extensions, "Timeline".

pub mod ports;
pub mod usecases;

use std::ops::Range;

use thiserror::Error;
use time::OffsetDateTime;

use crate::{
    audit::AuditValue,
    ids::{AuditId, UserId},
    store_error::StoreError,
};

/// The number of entries when none is asked for.
pub const DEFAULT_LIMIT: u64 = 20;
/// The most entries.
pub const MAX_LIMIT: u64 = 100;

/// Why the timeline was refused.
#[derive(Debug, Error)]
pub enum TimelineError {
    /// No user with that id has a customer profile.
    #[error("no such customer")]
    CustomerNotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a limit was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be between 1 and {MAX_LIMIT}")]
pub struct LimitError;

/// How many entries are wanted: 1 to [`MAX_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineLimit(u64);

impl TimelineLimit {
    /// Accepts 1 to [`MAX_LIMIT`].
    pub fn parse(value: i128) -> Result<Self, LimitError> {
        u64::try_from(value).ok().filter(|value| (1..=MAX_LIMIT).contains(value)).map(Self).ok_or(LimitError)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl Default for TimelineLimit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

/// The place after an entry, from which the next page goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineCursor {
    position: i64,
    id: AuditId,
}

impl TimelineCursor {
    /// The place after the entry with this id and time, which is the store's: microseconds since 2000-01-01 UTC, with the
    /// lowest and the highest number for the infinite ones. `None` when the store has no such time (PostgreSQL,
    /// "Date/Time Types": 4713 BC to 294276 AD).
    #[must_use]
    pub fn new(position: i64, id: AuditId) -> Option<Self> {
        const FINITE: Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
        let is_time = FINITE.contains(&position) || matches!(position, i64::MIN | i64::MAX);
        is_time.then_some(Self { position, id })
    }

    /// The entry's time, as the store keeps it.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The entry.
    #[must_use]
    pub fn id(&self) -> &AuditId {
        &self.id
    }
}

/// A field that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field's name in the API.
    pub field: String,
    /// Its value before.
    pub from: AuditValue,
    /// Its value after.
    pub to: AuditValue,
}

/// An entry of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// When, UTC.
    pub at: OffsetDateTime,
    /// Who did it.
    pub actor: UserId,
    /// Their name as it is now; `None` when they are gone.
    pub actor_name: Option<String>,
    /// What was done, as stored.
    pub action: String,
    /// To what, as stored.
    pub entity: String,
    /// What changed, as far as it is known to be harmless.
    pub changes: Vec<FieldChange>,
}

/// A page of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelinePage {
    /// The entries, newest first.
    pub entries: Vec<TimelineEntry>,
    /// Where the next page begins; `None` after the last entry.
    pub next: Option<TimelineCursor>,
}

/// What a stored value must be to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// A count.
    Integer,
    /// A yes or no.
    Boolean,
    /// An id, or a moment: short text without white space.
    Token,
}

/// The fields of each entity that are shown. This service writes them, and knows that none holds a note's text or how to reach
/// a customer; `event` is the platform's, a constant of its program.
const SHOWN: &[(&str, &[(&str, Shown)])] = &[
    (
        "customer_profile",
        &[
            ("noshowCount", Shown::Integer),
            ("bookingRequiresApproval", Shown::Boolean),
            ("marketingConsent", Shown::Boolean),
            ("event", Shown::Token),
        ],
    ),
    (
        "customer_note",
        &[
            ("id", Shown::Token),
            ("customerId", Shown::Token),
            ("authorId", Shown::Token),
            ("bookingId", Shown::Token),
            ("pinned", Shown::Boolean),
            ("editedAt", Shown::Token),
            ("createdAt", Shown::Token),
        ],
    ),
    (
        "customer_tag_assignment",
        &[
            ("customerId", Shown::Token),
            ("tagId", Shown::Token),
            ("assignedBy", Shown::Token),
            ("assignedAt", Shown::Token),
        ],
    ),
];

/// The longest text that counts as a token.
const MAX_TOKEN: usize = 128;

impl Shown {
    fn accepts(self, value: &AuditValue) -> bool {
        match (self, value) {
            (_, AuditValue::Null)
            | (Self::Integer, AuditValue::Integer(_))
            | (Self::Boolean, AuditValue::Boolean(_)) => true,
            (Self::Token, AuditValue::Text(text)) => {
                text.len() <= MAX_TOKEN
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte))
            }
            _ => false,
        }
    }
}

/// The values of an entry by field, before or after; `None` for a value that is neither text, a number nor a truth value.
pub type StoredFields = Vec<(String, Option<AuditValue>)>;

/// What changed between the values that an entry has stored, without what is not known to be harmless.
#[must_use]
pub fn shown_changes(entity: &str, old: &StoredFields, new: &StoredFields) -> Vec<FieldChange> {
    let Some((_, fields)) = SHOWN.iter().find(|(known, _)| *known == entity) else { return Vec::new() };
    let value_of = |stored: &StoredFields, name: &str| {
        stored.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
    };
    let change_of = |(name, shown): &(&str, Shown)| {
        let (from, to) = (value_of(old, name), value_of(new, name));
        if from.is_none() && to.is_none() {
            return None;
        }
        let (from, to) = (from.unwrap_or(Some(AuditValue::Null))?, to.unwrap_or(Some(AuditValue::Null))?);
        (shown.accepts(&from) && shown.accepts(&to)).then(|| FieldChange { field: (*name).to_owned(), from, to })
    };
    fields.iter().filter_map(change_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(fields: &[(&str, AuditValue)]) -> StoredFields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), Some(value.clone()))).collect()
    }

    fn text(text: &str) -> AuditValue {
        AuditValue::Text(text.to_owned())
    }

    #[test]
    fn known_fields_are_shown_with_both_values() {
        let changes = shown_changes(
            "customer_profile",
            &stored(&[("noshowCount", AuditValue::Integer(3))]),
            &stored(&[("noshowCount", AuditValue::Integer(0)), ("impersonatedBy", text("usr_admin"))]),
        );
        let change =
            FieldChange { field: "noshowCount".to_owned(), from: AuditValue::Integer(3), to: AuditValue::Integer(0) };
        assert_eq!(changes, [change]);
    }

    #[test]
    fn what_is_not_known_to_be_harmless_is_left_out() {
        let note = [("content", text("allergic to ammonia")), ("authorId", text("allergic to ammonia"))];
        assert_eq!(shown_changes("customer_note", &Vec::new(), &stored(&note)), []);
        let profile = [("phone", text("98")), ("noshowCount", text("0")), ("event", text("call +91 98123 45678"))];
        assert_eq!(shown_changes("customer_profile", &Vec::new(), &stored(&profile)), []);
        assert_eq!(shown_changes("booking", &Vec::new(), &stored(&[("pinned", AuditValue::Boolean(true))])), []);
        assert_eq!(shown_changes("customer_note", &Vec::new(), &vec![("id".to_owned(), None)]), []);
    }

    #[test]
    fn the_event_of_the_platform_is_shown() {
        let changes = shown_changes("customer_profile", &Vec::new(), &stored(&[("event", text("onboarding_consent"))]));
        assert_eq!((changes[0].field.as_str(), &changes[0].to), ("event", &text("onboarding_consent")));
    }

    #[test]
    fn a_limit_has_bounds() {
        assert_eq!(TimelineLimit::parse(100).map(TimelineLimit::get), Ok(100));
        for value in [0, -1, 101, i128::MAX] {
            assert_eq!(TimelineLimit::parse(value), Err(LimitError));
        }
    }
}
