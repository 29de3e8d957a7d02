//! The check before serving: whether the database has what the statements of this service need.
//!
//! The list here differs from the tables in `schema` (types for diesel's query builder) and from the migration (whole
//! tables): it says what each column is needed for, and whether it may hold `NULL`. Tests hold the three together.

use std::collections::{HashMap, HashSet};

use crm_domain::store_error::StoreError;
use diesel::sql_types::{Bool, Text};

use super::{
    pool::Pool,
    statement::{Statement, named_row},
};

/// A column that a statement of this service names.
#[derive(Debug, Clone, Copy)]
pub struct NeededColumn {
    /// The column's name.
    pub name: &'static str,
    /// Whether it must be `NOT NULL`.
    pub is_not_null: bool,
    privileges: &'static [&'static str],
}

const fn column(name: &'static str, privileges: &'static [&'static str]) -> NeededColumn {
    NeededColumn { name, is_not_null: false, privileges }
}

impl NeededColumn {
    const fn not_null(self) -> Self {
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
    unique: &'static [UniqueColumns],
    /// Whether rows are deleted.
    is_deleted_from: bool,
}

/// Columns that must be unique together.
#[derive(Debug, Clone, Copy)]
struct UniqueColumns {
    /// The columns' names in alphabetical order.
    names: &'static [&'static str],
    /// Whether a statement names them in `ON CONFLICT`. PostgreSQL then needs an index on exactly these columns, and
    /// refuses the statement if any unique constraint on them is deferrable, even beside one that is not. A join needs
    /// only that nobody can commit a second row.
    is_conflict_target: bool,
}

const fn unique(names: &'static [&'static str]) -> UniqueColumns {
    UniqueColumns { names, is_conflict_target: false }
}

const fn conflict_target(names: &'static [&'static str]) -> UniqueColumns {
    UniqueColumns { names, is_conflict_target: true }
}

const READ: &[&str] = &["SELECT"];
const READ_INSERT: &[&str] = &["SELECT", "INSERT"];
const READ_UPDATE: &[&str] = &["SELECT", "UPDATE"];
const INSERT: &[&str] = &["INSERT"];

/// Everything that the statements name. `docs/OPERATIONS.md` grants exactly these rights, column by column.
pub const NEEDED: &[NeededTable] = &[
    NeededTable {
        name: "user",
        columns: &[
            column("id", READ).not_null(),
            column("name", READ).not_null(),
            column("email", READ).not_null(),
            column("image", READ),
            column("role", READ),
            column("banned", READ),
            column("ban_expires", READ),
            column("created_at", READ).not_null(),
        ],
        unique: &[unique(&["id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "session",
        columns: &[
            column("user_id", READ).not_null(),
            column("expires_at", READ).not_null(),
            column("token", READ).not_null(),
        ],
        unique: &[],
        is_deleted_from: false,
    },
    NeededTable {
        name: "customer_profile",
        columns: &[
            column("id", READ).not_null(),
            column("user_id", READ).not_null(),
            column("phone", READ),
            column("gender", READ),
            column("date_of_birth", READ),
            column("marketing_consent", READ).not_null(),
            column("marketing_consent_at", READ),
            column("appointment_reminders_enabled", READ).not_null(),
            column("membership_alerts_enabled", READ).not_null(),
            column("acquisition_source", READ),
            column("utm_campaign", READ),
            column("utm_medium", READ),
            column("utm_source", READ),
            column("first_visit_at", READ),
            column("last_visit_at", READ),
            column("total_visits", READ).not_null(),
            column("total_spent_paise", READ).not_null(),
            column("noshow_count", READ_UPDATE).not_null(),
            column("late_cancellation_count", READ).not_null(),
            column("consecutive_completed_bookings", READ).not_null(),
            column("booking_requires_approval", READ_UPDATE).not_null(),
            column("created_at", READ).not_null(),
            column("updated_at", READ_UPDATE).not_null(),
        ],
        unique: &[unique(&["id"]), unique(&["user_id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "loyalty_account",
        columns: &[column("customer_id", READ).not_null(), column("gems_balance", READ).not_null()],
        unique: &[unique(&["customer_id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "customer_tag",
        columns: &[
            column("id", READ_INSERT).not_null(),
            column("name", READ_INSERT).not_null(),
            column("slug", READ_INSERT).not_null(),
            column("color", READ_INSERT),
            column("description", READ_INSERT),
            column("created_at", READ_INSERT).not_null(),
        ],
        unique: &[unique(&["id"]), conflict_target(&["slug"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "customer_tag_assignment",
        columns: &[
            column("customer_id", READ_INSERT).not_null(),
            column("tag_id", READ_INSERT).not_null(),
            column("assigned_by", READ_INSERT).not_null(),
            column("assigned_at", READ_INSERT).not_null(),
        ],
        unique: &[conflict_target(&["customer_id", "tag_id"])],
        is_deleted_from: true,
    },
    NeededTable {
        name: "booking",
        columns: &[column("id", READ).not_null(), column("customer_id", READ).not_null()],
        unique: &[unique(&["id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "customer_note",
        columns: &[
            column("id", READ_INSERT).not_null(),
            column("customer_id", READ_INSERT).not_null(),
            column("author_id", READ_INSERT).not_null(),
            column("booking_id", READ_INSERT),
            column("content", READ_INSERT).not_null(),
            column("created_at", READ_INSERT).not_null(),
        ],
        unique: &[unique(&["id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "audit_log",
        columns: &[
            column("id", INSERT),
            column("actor_id", INSERT),
            column("action", INSERT),
            column("entity_type", INSERT),
            column("entity_id", INSERT),
            column("old_values", INSERT),
            column("new_values", INSERT),
            column("created_at", INSERT),
        ],
        unique: &[unique(&["id"])],
        is_deleted_from: false,
    },
    NeededTable {
        name: "crm.__diesel_schema_migrations",
        columns: &[column("version", READ).not_null()],
        unique: &[],
        is_deleted_from: false,
    },
];

/// The collation that names are searched and sorted under.
const COLLATION: &str = "und-x-icu";

named_row! {
    /// A fact of the catalogue. What `name` and `detail` hold depends on `kind`.
    struct FactRow {
        kind: Text => String,
        owner: Text => String,
        name: Text => String,
        detail: Text => String,
    }
}

/// Lists everything that the database lacks, a line for each table, column, privilege, constraint, unique index, type,
/// encoding or collation; empty when the service can serve.
pub async fn missing_objects(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let names: Vec<&str> = NEEDED.iter().map(|table| table.name).collect();
    let names = names.join(",");
    let facts: Vec<FactRow> = pool.read_rows(|| catalogue_statement(&names)).await?;
    let of_kind = |kind: &'static str| facts.iter().filter(move |fact| fact.kind == kind);
    let columns: HashMap<(&str, &str), &str> =
        of_kind("column").map(|fact| ((fact.owner.as_str(), fact.name.as_str()), fact.detail.as_str())).collect();
    let tables: HashSet<&str> = columns.keys().map(|(table, _)| *table).collect();
    // Whether any of the unique indexes on these columns of the table is deferrable.
    let mut unique: HashMap<(&str, &str), bool> = HashMap::new();
    for fact in of_kind("unique") {
        *unique.entry((fact.owner.as_str(), fact.name.as_str())).or_default() |= fact.detail == "DEFERRABLE";
    }

    let mut missing = Vec::new();
    for table in NEEDED {
        if !tables.contains(table.name) {
            missing.push(format!("table {}", table.name));
            continue;
        }
        for column in table.columns {
            let place = format!("{}.{}", table.name, column.name);
            let Some(detail) = columns.get(&(table.name, column.name)) else {
                missing.push(format!("column {place}"));
                continue;
            };
            let has = |word: &str| detail.split(' ').any(|known| known == word);
            let lacked = column.privileges.iter().filter(|privilege| !has(privilege));
            missing.extend(lacked.map(|privilege| format!("privilege {privilege} on {place}")));
            if column.is_not_null && !has("NOT_NULL") {
                missing.push(format!("constraint NOT NULL on {place}"));
            }
            if table.is_deleted_from && !has("DELETE") {
                missing.push(format!("privilege DELETE on {}", table.name));
            }
        }
        for UniqueColumns { names, is_conflict_target } in table.unique {
            if names.iter().any(|name| !columns.contains_key(&(table.name, *name))) {
                // The missing column has its own line.
                continue;
            }
            let names = names.join(", ");
            match unique.get(&(table.name, names.as_str())) {
                None => missing.push(format!("unique index on {} ({names})", table.name)),
                Some(true) if *is_conflict_target => {
                    missing.push(format!("NOT DEFERRABLE on each unique constraint on {} ({names})", table.name));
                }
                Some(_) => {}
            }
        }
    }
    // One line for a table, not one for each of its columns.
    missing.dedup();
    if of_kind("schema").any(|fact| fact.detail.is_empty()) {
        missing.push("privilege USAGE on schema crm".to_owned());
    }
    if of_kind("action").count() < 3 {
        missing.push("type audit_action with create, update, delete".to_owned());
    }
    if !of_kind("encoding").any(|fact| fact.name == "UTF8") {
        missing.push("encoding UTF8".to_owned());
    }
    if of_kind("collation").next().is_none() {
        missing.push(format!("collation {COLLATION} (a PostgreSQL built with ICU)"));
    }
    Ok(missing)
}

/// Selects the catalogue's facts about the tables with these names, which commas separate. One statement on these tables
/// alone, because health checks run it every second and the platform has many more tables. By hand: the catalogue is no
/// part of our schema. An unqualified name means a table of the platform's schema, as in all statements.
fn catalogue_statement(names: &str) -> Statement<'_> {
    Statement::new(
        "WITH named AS (SELECT unnest(string_to_array(")
        .text(names)
        .sql(
            ", ',')) AS name), \
             needed AS (SELECT c.oid, n.name AS relname FROM named n \
               JOIN pg_class c ON c.relname = regexp_replace(n.name, '^crm[.]', '')::name \
               JOIN pg_namespace s ON s.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
                 AND CASE WHEN n.name LIKE 'crm.%' THEN s.nspname = 'crm' ELSE pg_table_is_visible(c.oid) END) \
             SELECT 'column' AS kind, t.relname::text AS owner, a.attname::text AS name, concat_ws(' ', \
               CASE WHEN has_column_privilege(t.oid, a.attnum, 'SELECT') THEN 'SELECT' END, \
               CASE WHEN has_column_privilege(t.oid, a.attnum, 'INSERT') THEN 'INSERT' END, \
               CASE WHEN has_column_privilege(t.oid, a.attnum, 'UPDATE') THEN 'UPDATE' END, \
               CASE WHEN has_table_privilege(t.oid, 'DELETE') THEN 'DELETE' END, \
               CASE WHEN a.attnotnull THEN 'NOT_NULL' END) AS detail \
             FROM needed t JOIN pg_attribute a ON a.attrelid = t.oid WHERE a.attnum > 0 AND NOT a.attisdropped \
             UNION ALL \
             SELECT 'unique', t.relname::text, (SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_attribute a \
                 WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])), \
               CASE WHEN i.indimmediate THEN 'IMMEDIATE' ELSE 'DEFERRABLE' END \
             FROM needed t JOIN pg_index i ON i.indrelid = t.oid \
             WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
             UNION ALL \
             SELECT 'action', '', e.enumlabel::text, '' FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid \
             WHERE t.typname = 'audit_action' AND pg_type_is_visible(t.oid) \
               AND e.enumlabel IN ('create', 'update', 'delete') \
             UNION ALL \
             SELECT 'schema', '', nspname::text, CASE WHEN has_schema_privilege(oid, 'USAGE') THEN 'USAGE' ELSE '' END \
             FROM pg_namespace WHERE nspname = 'crm' \
             UNION ALL \
             SELECT 'encoding', '', current_setting('server_encoding'), '' \
             UNION ALL \
             SELECT 'collation', '', collname::text, '' FROM pg_collation WHERE collname = ",
        )
        .text(COLLATION)
}

named_row! {
    struct EnglishRow {
        is_english: Bool => bool,
    }
}

/// Whether PostgreSQL's messages are in English. [`super::error`] distinguishes some errors by their messages.
pub async fn messages_are_english(pool: &Pool) -> Result<bool, StoreError> {
    let statement = || Statement::new("SELECT current_setting('lc_messages') ~ '^(C|POSIX|en|$)' AS is_english");
    let row: Option<EnglishRow> = pool.read_row(statement).await?;
    Ok(row.is_some_and(|row| row.is_english))
}
