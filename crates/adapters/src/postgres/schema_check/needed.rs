//! Everything that the statements of this service name in the database.

/// A column that a statement of this service names.
#[derive(Debug, Clone, Copy)]
pub struct NeededColumn {
    /// The column's name.
    pub name: &'static str,
    /// Whether it must be `NOT NULL`.
    pub is_not_null: bool,
    pub(super) kind: Kind,
    pub(super) privileges: &'static [&'static str],
}

/// What a column may hold, whatever the platform calls its type: the statements read all types of a kind alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `text`, `varchar` and other strings; domains on them.
    Text,
    /// A string, or an enum that is read and never written.
    Label,
    /// `smallint`, `integer`, `bigint`.
    Integer,
    /// `integer` or `bigint`: it is written, with values up to that of `integer`.
    WrittenInteger,
    /// `boolean`.
    Boolean,
    /// `timestamptz`, or `timestamp` that holds UTC.
    Timestamp,
    /// `date`.
    Date,
    /// `time`.
    TimeOfDay,
    /// `jsonb` or `json`.
    Json,
    /// Checked elsewhere.
    Any,
}

impl Kind {
    /// Whether a type with that name and that category (`pg_type.typcategory`) is of this kind.
    pub(super) fn accepts(self, name: &str, category: &str) -> bool {
        match self {
            Self::Text => category == "S",
            Self::Label => matches!(category, "S" | "E"),
            Self::Integer => matches!(name, "int2" | "int4" | "int8"),
            Self::WrittenInteger => matches!(name, "int4" | "int8"),
            Self::Boolean => name == "bool",
            Self::Timestamp => matches!(name, "timestamp" | "timestamptz"),
            Self::Date => name == "date",
            Self::TimeOfDay => name == "time",
            Self::Json => matches!(name, "json" | "jsonb"),
            Self::Any => true,
        }
    }

    /// The types to choose from, as a person reads them.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text => "text or varchar",
            Self::Label => "text, varchar or an enum",
            Self::Integer => "smallint, integer or bigint",
            Self::WrittenInteger => "integer or bigint",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamptz or timestamp",
            Self::Date => "date",
            Self::TimeOfDay => "time",
            Self::Json => "jsonb or json",
            Self::Any => "any",
        }
    }
}

pub(super) const fn column(name: &'static str, kind: Kind, privileges: &'static [&'static str]) -> NeededColumn {
    NeededColumn { name, is_not_null: false, kind, privileges }
}

impl NeededColumn {
    pub(super) const fn not_null(self) -> Self {
        Self { is_not_null: true, ..self }
    }
}

/// A table that a statement of this service names.
#[derive(Debug, Clone, Copy)]
pub struct NeededTable {
    /// The table's name; `crm.` stands before the names of this service's own tables.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [NeededColumn],
    pub(super) unique: &'static [UniqueColumns],
    /// Whether rows are deleted.
    pub(super) is_deleted_from: bool,
}

impl NeededTable {
    /// Whether a statement needs that privilege on any column.
    pub(super) fn needs(&self, privilege: &str) -> bool {
        self.columns.iter().any(|column| column.privileges.contains(&privilege))
    }
}

/// Columns that must be unique together.
#[derive(Debug, Clone, Copy)]
pub(super) struct UniqueColumns {
    /// The columns' names in alphabetical order.
    pub(super) names: &'static [&'static str],
    /// Whether a statement names them in `ON CONFLICT`. PostgreSQL then needs an index on exactly these columns, and
    /// refuses the statement if any unique constraint on them is deferrable, even beside one that is not. A join needs
    /// only that nobody can commit a second row.
    pub(super) is_conflict_target: bool,
}

pub(super) const fn unique(names: &'static [&'static str]) -> UniqueColumns {
    UniqueColumns { names, is_conflict_target: false }
}

const fn conflict_target(names: &'static [&'static str]) -> UniqueColumns {
    UniqueColumns { names, is_conflict_target: true }
}

pub(super) const READ: &[&str] = &["SELECT"];
const READ_INSERT: &[&str] = &["SELECT", "INSERT"];
pub(super) const READ_UPDATE: &[&str] = &["SELECT", "UPDATE"];
const INSERT: &[&str] = &["INSERT"];
const READ_INSERT_UPDATE: &[&str] = &["SELECT", "INSERT", "UPDATE"];

use Kind::{Any, Boolean, Date, Integer, Json, Label, Text as Words, Timestamp, WrittenInteger};

/// Everything that the statements name. `docs/OPERATIONS.md` grants exactly these rights, column by column.
pub const NEEDED: &[NeededTable] = &[
    NeededTable {
        name: "user",
        columns: &[
            column("id", Words, READ).not_null(),
            column("name", Words, READ).not_null(),
            column("email", Words, READ).not_null(),
            column("image", Words, READ),
            column("role", Label, READ),
            column("banned", Boolean, READ),
            column("ban_expires", Timestamp, READ),
            column("created_at", Timestamp, READ).not_null(),
        ],
        unique: &[unique(&["id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "session",
        columns: &[
            column("user_id", Words, READ).not_null(),
            column("expires_at", Timestamp, READ).not_null(),
            column("token", Words, READ).not_null(),
        ],
        unique: &[],
        is_deleted_from: false,
    },
    NeededTable {
        name: "customer_profile",
        columns: &[
            column("id", Words, READ).not_null(),
            column("user_id", Words, READ).not_null(),
            column("phone", Words, READ),
            column("gender", Label, READ),
            column("date_of_birth", Date, READ),
            column("marketing_consent", Boolean, READ).not_null(),
            column("marketing_consent_at", Timestamp, READ),
            column("appointment_reminders_enabled", Boolean, READ).not_null(),
            column("membership_alerts_enabled", Boolean, READ).not_null(),
            column("acquisition_source", Words, READ),
            column("utm_campaign", Words, READ),
            column("utm_medium", Words, READ),
            column("utm_source", Words, READ),
            column("first_visit_at", Timestamp, READ),
            column("last_visit_at", Timestamp, READ),
            column("total_visits", Integer, READ).not_null(),
            column("total_spent_paise", Integer, READ).not_null(),
            column("noshow_count", WrittenInteger, READ_UPDATE).not_null(),
            column("late_cancellation_count", Integer, READ).not_null(),
            column("consecutive_completed_bookings", Integer, READ).not_null(),
            column("booking_requires_approval", Boolean, READ_UPDATE).not_null(),
            column("created_at", Timestamp, READ).not_null(),
            column("updated_at", Timestamp, READ_UPDATE).not_null(),
        ],
        unique: &[unique(&["id"]), unique(&["user_id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "loyalty_account",
        columns: &[column("customer_id", Words, READ).not_null(), column("gems_balance", Integer, READ).not_null()],
        unique: &[unique(&["customer_id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "customer_tag",
        columns: &[
            column("id", Words, READ_INSERT).not_null(),
            column("name", Words, READ_INSERT_UPDATE).not_null(),
            column("slug", Words, READ_INSERT).not_null(),
            column("color", Words, READ_INSERT_UPDATE),
            column("description", Words, READ_INSERT_UPDATE),
            column("created_at", Timestamp, READ_INSERT).not_null(),
        ],
        unique: &[unique(&["id"]), conflict_target(&["slug"])],
        is_deleted_from: true,
    },
    NeededTable {
        name: "customer_tag_assignment",
        columns: &[
            column("customer_id", Words, READ_INSERT).not_null(),
            column("tag_id", Words, READ_INSERT).not_null(),
            column("assigned_by", Words, READ_INSERT).not_null(),
            column("assigned_at", Timestamp, READ_INSERT).not_null(),
        ],
        unique: &[conflict_target(&["customer_id", "tag_id"])],
        is_deleted_from: true,
    },
    NeededTable {
        name: "booking",
        columns: &[column("id", Words, READ).not_null(), column("customer_id", Words, READ).not_null()],
        unique: &[unique(&["id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "customer_note",
        columns: &[
            column("id", Words, READ_INSERT).not_null(),
            column("customer_id", Words, READ_INSERT).not_null(),
            column("author_id", Words, READ_INSERT).not_null(),
            column("booking_id", Words, READ_INSERT),
            column("content", Words, READ_INSERT_UPDATE).not_null(),
            column("created_at", Timestamp, READ_INSERT).not_null(),
        ],
        unique: &[unique(&["id"])],
        is_deleted_from: true,
    },
    NeededTable {
        name: "audit_log",
        columns: &[
            column("id", Words, READ_INSERT).not_null(),
            column("actor_id", Words, READ_INSERT).not_null(),
            column("action", Any, READ_INSERT).not_null(),
            column("entity_type", Words, READ_INSERT).not_null(),
            column("entity_id", Words, READ_INSERT).not_null(),
            column("old_values", Json, READ_INSERT),
            column("new_values", Json, READ_INSERT),
            column("created_at", Timestamp, READ_INSERT).not_null(),
        ],
        unique: &[unique(&["id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "crm.__diesel_schema_migrations",
        columns: &[column("version", Words, READ).not_null()],
        unique: &[],
        is_deleted_from: false,
    },
    NeededTable {
        name: "crm.note_pin",
        columns: &[
            column("note_id", Words, READ_INSERT).not_null(),
            column("pinned_by", Words, INSERT).not_null(),
            column("pinned_at", Timestamp, INSERT).not_null(),
        ],
        unique: &[unique(&["note_id"])],
        is_deleted_from: true,
    },
    NeededTable {
        name: "crm.note_revision",
        columns: &[
            column("note_id", Words, READ_INSERT).not_null(),
            column("number", Integer, READ_INSERT).not_null(),
            column("content", Words, READ_INSERT).not_null(),
            column("edited_by", Words, READ_INSERT).not_null(),
            column("edited_at", Timestamp, READ_INSERT).not_null(),
        ],
        unique: &[unique(&["note_id", "number"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "crm.audit_customer",
        columns: &[
            column("audit_id", Words, READ_INSERT).not_null(),
            column("customer_id", Words, READ_INSERT).not_null(),
            column("created_at", Timestamp, READ_INSERT).not_null(),
        ],
        unique: &[conflict_target(&["audit_id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "crm.audit_fill",
        columns: &[
            column("entity_type", Words, READ_UPDATE).not_null(),
            column("entity_id", Words, READ_UPDATE).not_null(),
            column("audit_id", Words, READ_UPDATE).not_null(),
            column("is_complete", Boolean, READ_UPDATE).not_null(),
        ],
        unique: &[],
        is_deleted_from: false,
    },
    NeededTable {
        name: "crm.idempotency_key",
        columns: &[
            column("scope", Words, READ_INSERT).not_null(),
            column("body_hash", Words, READ_INSERT_UPDATE).not_null(),
            column("status", WrittenInteger, READ_INSERT_UPDATE).not_null(),
            column("body", Words, READ_INSERT_UPDATE),
            column("entity_tag", Words, READ_INSERT_UPDATE),
            column("note_id", Words, READ_INSERT_UPDATE),
            column("created_at", Timestamp, READ_INSERT_UPDATE).not_null(),
        ],
        unique: &[conflict_target(&["scope"])],
        is_deleted_from: true,
    },
];

/// The collation that names are searched and sorted under.
pub(super) const COLLATION: &str = "und-x-icu";
