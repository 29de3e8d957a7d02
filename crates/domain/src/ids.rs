//! Ids: opaque text. This service creates a prefix and a ULID; other programs may use any form.

use std::fmt;

use ulid::Ulid;

use crate::text::{self, TextError};

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// Accepts any text that is not empty and holds no NUL, as it stands.
            pub fn parse(text: &str) -> Result<Self, TextError> {
                text::parse_opaque(text).map(|text| Self(text.to_owned()))
            }

            /// Takes an id that the database already holds.
            #[must_use]
            pub fn from_stored(text: String) -> Self {
                Self(text)
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

opaque_id!(
    /// A user of the platform; also the public id of a customer (contract, "Words").
    UserId
);
opaque_id!(
    /// The id of a `customer_profile` row.
    ProfileId
);
opaque_id!(
    /// The id of a tag: `tag_` and a ULID when made here.
    TagId
);
opaque_id!(
    /// The id of a note: `note_` and a ULID when made here.
    NoteId
);
opaque_id!(
    /// The id of a booking, made by the booking program.
    BookingId
);
opaque_id!(
    /// The id of an invoice, made by the billing program.
    InvoiceId
);
opaque_id!(
    /// The id of a membership, made by the platform.
    MembershipId
);
opaque_id!(
    /// The id of an entry of a loyalty account, made by the platform.
    GemTransactionId
);
opaque_id!(
    /// The id of an audit entry: `audit_` and a ULID.
    AuditId
);

opaque_id!(
    /// The id of an export of the directory: `export_` and a ULID.
    ExportId
);

/// Makes new ULIDs. A port, so that tests can predict ids.
#[cfg_attr(feature = "testing", mockall::automock)]
pub trait Ids: Send + Sync {
    /// A new ULID, later in order than those made in earlier milliseconds.
    fn ulid(&self) -> Ulid;
}

impl dyn Ids {
    /// A new id for a tag.
    #[must_use]
    pub fn tag(&self) -> TagId {
        TagId(format!("tag_{}", self.ulid()))
    }

    /// A new id for a note.
    #[must_use]
    pub fn note(&self) -> NoteId {
        NoteId(format!("note_{}", self.ulid()))
    }

    /// A new id for an export.
    #[must_use]
    pub fn export(&self) -> ExportId {
        ExportId(format!("export_{}", self.ulid()))
    }

    /// A new id for an audit entry.
    #[must_use]
    pub fn audit(&self) -> AuditId {
        AuditId(format!("audit_{}", self.ulid()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_platform_may_have_any_format() {
        for text in ["1", "a/b", " ", "usr:é", "%zz"] {
            assert_eq!(UserId::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(UserId::parse(""), Err(TextError::Empty));
        assert_eq!(UserId::parse("a\0b"), Err(TextError::Nul));
    }

    #[test]
    fn new_ids_have_the_prefix_of_their_type() {
        let mut ids = MockIds::new();
        ids.expect_ulid().returning(|| Ulid::from_parts(1, 2));
        let ids: &dyn Ids = &ids;
        assert_eq!(ids.tag().as_str(), "tag_00000000010000000000000002");
        assert_eq!(ids.note().as_str(), "note_00000000010000000000000002");
        assert_eq!(ids.audit().as_str(), "audit_00000000010000000000000002");
    }
}
