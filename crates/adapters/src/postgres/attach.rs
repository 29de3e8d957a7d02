//! Whether a database has what this service needs: checked before it serves.

use std::collections::{HashMap, HashSet};

use crm_domain::store_error::StoreError;
use diesel::{
    dsl::sql,
    sql_types::{BigInt, Bool, Text},
};

use super::pool::Pool;

/// Every table and column that a statement of this service names.
pub const NEEDED: &[(&str, &[&str])] = &[
    ("user", &["id", "name", "email", "image", "role", "banned", "ban_expires", "created_at"]),
    ("session", &["user_id", "expires_at", "token"]),
    (
        "customer_profile",
        &[
            "id",
            "user_id",
            "phone",
            "gender",
            "date_of_birth",
            "marketing_consent",
            "marketing_consent_at",
            "appointment_reminders_enabled",
            "membership_alerts_enabled",
            "acquisition_source",
            "utm_campaign",
            "utm_medium",
            "utm_source",
            "first_visit_at",
            "last_visit_at",
            "total_visits",
            "total_spent_paise",
            "noshow_count",
            "late_cancellation_count",
            "consecutive_completed_bookings",
            "booking_requires_approval",
            "created_at",
            "updated_at",
        ],
    ),
    ("loyalty_account", &["customer_id", "gems_balance"]),
    ("customer_tag", &["id", "name", "slug", "color", "description", "created_at"]),
    ("customer_tag_assignment", &["customer_id", "tag_id", "assigned_by", "assigned_at"]),
    ("booking", &["id", "customer_id"]),
    ("customer_note", &["id", "customer_id", "author_id", "booking_id", "content", "created_at"]),
    ("audit_log", &["id", "actor_id", "action", "entity_type", "entity_id", "old_values", "new_values", "created_at"]),
    ("__diesel_schema_migrations", &["version"]),
];

/// What the writes' `ON CONFLICT` relies on; columns in alphabetical order.
const UNIQUE: &[(&str, &[&str])] =
    &[("customer_tag", &["slug"]), ("customer_tag_assignment", &["customer_id", "tag_id"])];

/// What the service's role must be allowed (docs/OPERATIONS.md, "Attach").
fn privileges_needed(table: &str, column: &str) -> impl Iterator<Item = &'static str> {
    let inserts = matches!(table, "customer_note" | "customer_tag" | "customer_tag_assignment" | "audit_log");
    let updates =
        table == "customer_profile" && matches!(column, "noshow_count" | "booking_requires_approval" | "updated_at");
    // The log is only ever added to.
    let selects = table != "audit_log";
    let deletes = table == "customer_tag_assignment";
    [(selects, "SELECT"), (inserts, "INSERT"), (updates, "UPDATE"), (deletes, "DELETE")]
        .into_iter()
        .filter_map(|(needed, privilege)| needed.then_some(privilege))
}

/// The collation that names are searched and sorted under.
const COLLATION: &str = "und-x-icu";

/// Everything the database lacks, a line for each table, column, privilege, unique index, type, encoding or collation;
/// empty when it is fit to serve.
pub async fn missing(pool: &Pool) -> Result<Vec<String>, StoreError> {
    // What an unqualified name finds on this connection's search path, as the statements themselves name tables.
    let statement = || {
        sql::<(Text, Text, Text)>(
            "SELECT c.relname::text, a.attname::text, concat_ws(' ', \
           CASE WHEN has_column_privilege(c.oid, a.attnum, 'SELECT') THEN 'SELECT' END, \
           CASE WHEN has_column_privilege(c.oid, a.attnum, 'INSERT') THEN 'INSERT' END, \
           CASE WHEN has_column_privilege(c.oid, a.attnum, 'UPDATE') THEN 'UPDATE' END, \
           CASE WHEN has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END) \
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
           AND c.relnamespace <> 'pg_catalog'::regnamespace AND pg_table_is_visible(c.oid)",
        )
    };
    let columns: Vec<(String, String, String)> = pool.read_rows(statement).await?;
    let tables: HashSet<&str> = columns.iter().map(|(table, _, _)| table.as_str()).collect();
    let privileges: HashMap<(&str, &str), &str> = columns
        .iter()
        .map(|(table, column, privileges)| ((table.as_str(), column.as_str()), privileges.as_str()))
        .collect();

    let mut missing = Vec::new();
    for (table, needed) in NEEDED {
        if !tables.contains(table) {
            missing.push(format!("table {table}"));
            continue;
        }
        for column in *needed {
            let Some(granted) = privileges.get(&(*table, *column)) else {
                missing.push(format!("column {table}.{column}"));
                continue;
            };
            let lacked = privileges_needed(table, column).filter(|privilege| !granted.contains(privilege));
            missing.extend(lacked.map(|privilege| format!("privilege {privilege} on {table}.{column}")));
        }
    }
    for (table, unique) in UNIQUE {
        if unique.iter().all(|column| privileges.contains_key(&(*table, *column))) {
            let columns = unique.join(", ");
            let statement = || {
                sql::<Bool>(
                "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
                 WHERE pg_table_is_visible(c.oid) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL AND c.relname = ",
            )
            .bind::<Text, _>(*table)
            .sql(
                " AND (SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_attribute a \
                 WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) = ",
            )
            .bind::<Text, _>(columns.as_str())
            .sql(")")
            };
            if pool.read_row(statement).await? != Some(true) {
                missing.push(format!("unique index on {table} ({columns})"));
            }
        }
    }
    let statement = || {
        sql::<BigInt>(
            "SELECT count(*) FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid \
         WHERE t.typname = 'audit_action' AND pg_type_is_visible(t.oid) AND e.enumlabel IN ('create', 'update', 'delete')",
        )
    };
    if pool.read_row(statement).await? != Some(3_i64) {
        missing.push("type audit_action with create, update, delete".to_owned());
    }

    let encoding: Option<String> = pool.read_row(|| sql::<Text>("SELECT current_setting('server_encoding')")).await?;
    if encoding.as_deref() != Some("UTF8") {
        missing.push("encoding UTF8".to_owned());
    }
    let statement = || sql::<BigInt>("SELECT count(*) FROM pg_collation WHERE collname = ").bind::<Text, _>(COLLATION);
    if pool.read_row(statement).await? == Some(0_i64) {
        missing.push(format!("collation {COLLATION} (a PostgreSQL built with ICU)"));
    }
    Ok(missing)
}
