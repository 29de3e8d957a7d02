//! Tags: their names, colours and slugs; assigning them to customers.
//!
//! Source: contract, "GET /api/tags", "POST /api/tags" and "…/{id}/tags"; contract extensions, "Tags".

pub mod ports;
pub mod usecases;

use std::collections::BTreeSet;

use thiserror::Error;
use time::OffsetDateTime;

use crate::{
    audit::{AuditAction, AuditEntity, AuditFields, AuditValue, Change},
    ids::{TagId, UserId},
    precondition::PreconditionFailed,
    store_error::{IsMissing, Reference, StoreError},
    text::{self, TextError},
};

/// The most characters a tag's name may have.
pub const MAX_NAME: usize = 40;

/// The most characters a tag's description may have.
pub const MAX_DESCRIPTION: usize = 200;

/// The most customers of one bulk assignment.
pub const MAX_BULK: usize = 500;

/// Why a tag's use case was refused.
#[derive(Debug, Error)]
pub enum TagError {
    /// No tag with that id.
    #[error("no such tag")]
    NotFound,
    /// No user with that id has a customer profile.
    #[error("no such customer")]
    CustomerNotFound,
    /// A tag with that slug exists. The app answers 409 (`response/error.rs`).
    #[error("the slug is taken")]
    SlugTaken,
    /// So many customers have the tag.
    #[error("{0} customers have the tag")]
    InUse(u64),
    /// There is no tag to merge into.
    #[error("no such tag to merge into")]
    IntoNotFound,
    /// The tag is not as the client requires.
    #[error("the tag has changed")]
    PreconditionFailed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PreconditionFailed> for TagError {
    fn from(_: PreconditionFailed) -> Self {
        Self::PreconditionFailed
    }
}

impl IsMissing for TagError {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Store(StoreError::Missing(Reference::Customer)))
    }
}

/// A tag's name: trimmed, 1 to [`MAX_NAME`] characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagName(String);

impl TagName {
    /// Trims `text`; empty, too long or with a NUL is refused.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        text::parse_filled(text, MAX_NAME).map(|text| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in lower case with each run of white space replaced by one hyphen.
    #[must_use]
    pub fn slug(&self) -> TagSlug {
        let lower = self.0.to_lowercase();
        let words: Vec<&str> = lower.split(text::is_white_space).filter(|word| !word.is_empty()).collect();
        TagSlug(words.join("-"))
    }
}

/// What identifies a tag in addresses; unique among tags. Made from a name by [`TagName::slug`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSlug(String);

impl TagSlug {
    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a colour was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be a colour such as #1A2b3C: a hash and six hexadecimal digits")]
pub struct TagColorError;

/// A tag's colour: `#` and six hexadecimal digits, kept as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagColor(String);

impl TagColor {
    /// Accepts `^#[0-9a-fA-F]{6}$`, nothing around it.
    pub fn parse(text: &str) -> Result<Self, TagColorError> {
        match text.strip_prefix('#') {
            Some(digits) if digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(TagColorError),
        }
    }

    /// The colour as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a tag is for: trimmed, 1 to [`MAX_DESCRIPTION`] characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagDescription(String);

impl TagDescription {
    /// Trims `text`; too long or with a NUL is refused. An empty one is none.
    pub fn parse(text: &str) -> Result<Option<Self>, TextError> {
        let text = text::parse_up_to(text, MAX_DESCRIPTION)?;
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client wants a tag to be. A field that is absent stays as it is; `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagUpdate {
    /// The name.
    pub name: Option<TagName>,
    /// The colour.
    pub color: Option<Option<TagColor>>,
    /// What it is for.
    pub description: Option<Option<TagDescription>>,
}

/// A tag as it is shown on a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// The tag's slug.
    pub slug: String,
    /// The tag's name.
    pub name: String,
    /// The tag's colour.
    pub color: Option<String>,
}

/// A whole `customer_tag` row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The tag.
    pub id: TagId,
    /// Its name.
    pub name: String,
    /// Its slug, unique.
    pub slug: String,
    /// Its colour.
    pub color: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// When it was made, UTC.
    pub created_at: OffsetDateTime,
}

impl Tag {
    /// A new tag, with the slug its name gives.
    #[must_use]
    pub fn new(id: TagId, name: &TagName, color: Option<&TagColor>, created_at: OffsetDateTime) -> Self {
        Self {
            id,
            name: name.as_str().to_owned(),
            slug: name.slug().as_str().to_owned(),
            color: color.map(|color| color.as_str().to_owned()),
            description: None,
            created_at,
        }
    }

    /// What the making of this tag leaves in the audit log.
    #[must_use]
    pub fn creation(&self) -> Change {
        self.change_of(AuditAction::Create, None, Some(self.audit_fields()))
    }

    /// What the deletion of this tag leaves in the audit log.
    #[must_use]
    pub fn deletion(&self) -> Change {
        self.change_of(AuditAction::Delete, Some(self.audit_fields()), None)
    }

    /// Changes what `update` wants to be different; `None` when nothing is. The slug stays: saved links and the platform's
    /// own programs find the tag by it.
    pub fn update(&mut self, update: TagUpdate) -> Option<Change> {
        let TagUpdate { name, color, description } = update;
        let before = self.clone();
        if let Some(name) = name {
            self.name = name.0;
        }
        if let Some(color) = color {
            self.color = color.map(|color| color.0);
        }
        if let Some(description) = description {
            self.description = description.map(|description| description.0);
        }
        let fields = before.audit_fields().into_iter().zip(self.audit_fields()).filter(|(old, new)| old != new);
        let (old_values, new_values): (AuditFields, AuditFields) = fields.unzip();
        (!new_values.is_empty()).then(|| self.change_of(AuditAction::Update, Some(old_values), Some(new_values)))
    }

    fn change_of(
        &self,
        action: AuditAction,
        old_values: Option<AuditFields>,
        new_values: Option<AuditFields>,
    ) -> Change {
        Change { action, entity: AuditEntity::Tag(self.id.clone()), old_values, new_values }
    }

    fn audit_fields(&self) -> AuditFields {
        let Self { id, name, slug, color, description, created_at } = self;
        vec![
            ("id", AuditValue::Text(id.to_string())),
            ("name", AuditValue::Text(name.clone())),
            ("slug", AuditValue::Text(slug.clone())),
            ("color", color.as_deref().into()),
            ("description", description.as_deref().into()),
            ("createdAt", AuditValue::Timestamp(*created_at)),
        ]
    }
}

/// Why a merge was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be another tag")]
pub struct MergeError;

/// A tag, and another one that it is merged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagMerge {
    pub(super) id: TagId,
    pub(super) into: TagId,
}

impl TagMerge {
    /// The merge of `id` into `into`. A tag cannot be merged into itself.
    pub fn new(id: TagId, into: TagId) -> Result<Self, MergeError> {
        if id == into { Err(MergeError) } else { Ok(Self { id, into }) }
    }
}

/// A tag and the number of listed customers who have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedTag {
    /// The tag.
    pub tag: Tag,
    /// How many customers of the directory have it.
    pub customer_count: u64,
}

/// Why a bulk assignment was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BulkError {
    /// No customer at all.
    #[error("must name at least one customer, here or in the other list")]
    Empty,
    /// More than [`MAX_BULK`].
    #[error("must have at most {MAX_BULK} customers together with the other list")]
    TooMany,
    /// A customer in both lists.
    #[error("must not have a customer who is also in assign")]
    InBoth,
}

/// Whom to give a tag, and whom to take it from: each customer once, in the order of their ids, so that two bulk assignments
/// lock them in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkAssignment {
    assign: BTreeSet<String>,
    remove: BTreeSet<String>,
}

impl BulkAssignment {
    /// Accepts 1 to [`MAX_BULK`] ids in all; an id in both lists is refused.
    pub fn new(assign: &[UserId], remove: &[UserId]) -> Result<Self, BulkError> {
        match assign.len() + remove.len() {
            0 => return Err(BulkError::Empty),
            count if count > MAX_BULK => return Err(BulkError::TooMany),
            _ => {}
        }
        let set = |ids: &[UserId]| ids.iter().map(|id| id.as_str().to_owned()).collect::<BTreeSet<_>>();
        let (assign, remove) = (set(assign), set(remove));
        if assign.is_disjoint(&remove) { Ok(Self { assign, remove }) } else { Err(BulkError::InBoth) }
    }

    /// Who shall have the tag.
    #[must_use]
    pub fn assign(&self) -> Vec<UserId> {
        self.assign.iter().cloned().map(UserId::from_stored).collect()
    }

    /// Who shall not have it.
    #[must_use]
    pub fn remove(&self) -> Vec<UserId> {
        self.remove.iter().cloned().map(UserId::from_stored).collect()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<UserId> {
        self.assign.union(&self.remove).cloned().map(UserId::from_stored).collect()
    }
}

/// What a bulk assignment did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BulkOutcome {
    /// How many customers have the tag now and had it not before.
    pub assigned: u64,
    /// How many had it before and have it no more.
    pub removed: u64,
    /// How many were as wanted.
    pub unchanged: u64,
    /// Ids that no customer has.
    pub not_found: Vec<UserId>,
}

/// A tag on a customer: a whole `customer_tag_assignment` row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The customer.
    pub customer: UserId,
    /// The tag.
    pub tag: TagId,
    /// Who assigned it first.
    pub assigned_by: UserId,
    /// When, UTC.
    pub assigned_at: OffsetDateTime,
}

impl Assignment {
    /// What making this assignment leaves in the audit log.
    #[must_use]
    pub fn creation(&self) -> Change {
        Change {
            action: AuditAction::Create,
            entity: self.audit_entity(),
            old_values: None,
            new_values: Some(self.audit_fields()),
        }
    }

    /// What removing this assignment leaves in the audit log.
    #[must_use]
    pub fn deletion(&self) -> Change {
        Change {
            action: AuditAction::Delete,
            entity: self.audit_entity(),
            old_values: Some(self.audit_fields()),
            new_values: None,
        }
    }

    fn audit_entity(&self) -> AuditEntity {
        AuditEntity::TagAssignment(self.customer.clone(), self.tag.clone())
    }

    fn audit_fields(&self) -> AuditFields {
        let Self { customer, tag, assigned_by, assigned_at } = self;
        vec![
            ("customerId", AuditValue::Text(customer.to_string())),
            ("tagId", AuditValue::Text(tag.to_string())),
            ("assignedBy", AuditValue::Text(assigned_by.to_string())),
            ("assignedAt", AuditValue::Timestamp(*assigned_at)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn slugs_are_derived_as_specified() {
        let table = [
            ("VIP", "vip"),
            ("  At Risk ", "at-risk"),
            ("Sensitive \t\u{A0} skin", "sensitive-skin"),
            ("a - b", "a---b"),
            ("-", "-"),
            ("ÉLITE Çelik", "élite-çelik"),
            ("ΝΙΚΟΣ ΣΑ", "νικος-σα"),
            ("İ", "i\u{307}"),
            ("50% OFF!", "50%-off!"),
            ("वी आई पी", "वी-आई-पी"),
            ("a\u{85}b", "a\u{85}b"),
        ];
        for (name, slug) in table {
            assert_eq!(TagName::parse(name).unwrap().slug().as_str(), slug, "{name:?}");
        }
    }

    #[test]
    fn names_have_a_minimum_and_a_maximum_length() {
        assert_eq!(TagName::parse(&format!(" {} ", "é".repeat(40))).unwrap().as_str(), "é".repeat(40));
        assert_eq!(TagName::parse(&"x".repeat(41)), Err(TextError::TooLong { max: 40 }));
        assert_eq!(TagName::parse(" \u{FEFF}"), Err(TextError::Empty));
        assert_eq!(TagName::parse("a\0"), Err(TextError::Nul));
    }

    #[test]
    fn colours_are_six_hexadecimal_digits_and_keep_their_case() {
        for color in ["#000000", "#aBcDeF", "#FFFFFF"] {
            assert_eq!(TagColor::parse(color).unwrap().as_str(), color);
        }
        for color in ["", "#", "#fff", "fffffff", "#gggggg", "#1234567", " #123456", "#123456\n", "#é2345", "#12345\0"]
        {
            assert_eq!(TagColor::parse(color), Err(TagColorError), "{color:?}");
        }
    }

    fn vip() -> Tag {
        let color = TagColor::parse("#FFD700").unwrap();
        let name = TagName::parse("VIP").unwrap();
        Tag::new(TagId::parse("tag_1").unwrap(), &name, Some(&color), datetime!(2026-11-23 10:00 UTC))
    }

    #[test]
    fn an_update_audits_only_what_differs_and_keeps_the_slug() {
        let name = |text| Some(TagName::parse(text).unwrap());
        let description = |text| Some(TagDescription::parse(text).unwrap());
        for (update, expected) in [
            (TagUpdate::default(), None),
            (TagUpdate { name: name(" VIP "), color: None, description: Some(None) }, None),
            (TagUpdate { name: name("Gold"), ..TagUpdate::default() }, Some(vec!["name"])),
            (
                TagUpdate { color: Some(None), description: description("Best"), name: None },
                Some(vec!["color", "description"]),
            ),
            (TagUpdate { description: description("  "), ..TagUpdate::default() }, None),
        ] {
            let mut tag = vip();
            let change = tag.update(update.clone());
            let names =
                change.map(|change| change.new_values.unwrap().iter().map(|(name, _)| *name).collect::<Vec<_>>());
            assert_eq!(names, expected, "{update:?}");
            assert_eq!(tag.slug, "vip");
        }
    }

    #[test]
    fn a_description_is_trimmed_and_limited() {
        assert_eq!(
            TagDescription::parse(&format!(" {} ", "é".repeat(200))).unwrap().unwrap().as_str(),
            "é".repeat(200)
        );
        assert_eq!(TagDescription::parse(&"x".repeat(201)), Err(TextError::TooLong { max: 200 }));
        assert_eq!(TagDescription::parse("a\0"), Err(TextError::Nul));
    }

    #[test]
    fn a_bulk_assignment_names_each_customer_once_in_order() {
        let ids = |ids: &[&str]| ids.iter().map(|id| UserId::parse(id).unwrap()).collect::<Vec<_>>();
        let bulk = BulkAssignment::new(&ids(&["b", "a", "b"]), &ids(&["c"])).unwrap();
        assert_eq!((bulk.assign(), bulk.remove(), bulk.all()), (ids(&["a", "b"]), ids(&["c"]), ids(&["a", "b", "c"])));
        assert_eq!(BulkAssignment::new(&[], &[]), Err(BulkError::Empty));
        assert_eq!(BulkAssignment::new(&ids(&["a"]), &ids(&["b", "a"])), Err(BulkError::InBoth));
        let many: Vec<_> = (0..=MAX_BULK).map(|n| UserId::parse(&n.to_string()).unwrap()).collect();
        assert_eq!(BulkAssignment::new(&many, &[]), Err(BulkError::TooMany));
        assert!(BulkAssignment::new(&many[..1], &many[1..MAX_BULK]).is_ok());
    }

    #[test]
    fn creation_and_deletion_of_an_assignment_audit_the_same_fields() {
        let assignment = Assignment {
            customer: UserId::parse("usr_1").unwrap(),
            tag: TagId::parse("tag_1").unwrap(),
            assigned_by: UserId::parse("usr_desk").unwrap(),
            assigned_at: datetime!(2026-11-23 10:00 UTC),
        };
        let fields = vec![
            ("customerId", AuditValue::Text("usr_1".to_owned())),
            ("tagId", AuditValue::Text("tag_1".to_owned())),
            ("assignedBy", AuditValue::Text("usr_desk".to_owned())),
            ("assignedAt", AuditValue::Timestamp(datetime!(2026-11-23 10:00 UTC))),
        ];
        assert_eq!(assignment.creation().new_values, Some(fields.clone()));
        assert_eq!(assignment.deletion().old_values, Some(fields));
        assert_eq!(assignment.creation().old_values, None);
        assert_eq!(assignment.deletion().new_values, None);
    }

    proptest! {
        #[test]
        fn slug_derivation_is_idempotent(text in "\\PC{1,40}") {
            if let Ok(name) = TagName::parse(&text) {
                let slug = name.slug();
                // Lower-casing may lengthen a name past the bound; the rule itself is what is idempotent.
                let again = TagName(slug.as_str().to_owned()).slug();
                prop_assert_eq!(again, slug);
            }
        }

        #[test]
        fn a_slug_has_neither_white_space_nor_upper_case(text in "[ -~\u{A0}-\u{24F}]{1,40}") {
            if let Ok(name) = TagName::parse(&text) {
                let slug = name.slug();
                prop_assert!(!slug.as_str().is_empty());
                prop_assert!(!slug.as_str().contains(text::is_white_space));
                prop_assert_eq!(slug.as_str().to_lowercase(), slug.as_str());
            }
        }

        #[test]
        fn parsing_of_names_and_colours_is_idempotent(text in "\\PC{0,50}", color in "#[0-9a-fA-F]{6}") {
            if let Ok(name) = TagName::parse(&text) {
                prop_assert_eq!(TagName::parse(name.as_str()), Ok(name));
            }
            let color = TagColor::parse(&color).unwrap();
            prop_assert_eq!(TagColor::parse(color.as_str()), Ok(color));
        }
    }
}
