//! Whether a database has what this service needs: checked before it serves.

use std::collections::HashSet;

use diesel::sql_types::Text;
use diesel_async::RunQueryDsl as _;
use thiserror::Error;

use super::{connect::Connector, statement::Statement};

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
];

/// The collation that names are searched and sorted under.
const COLLATION: &str = "und-x-icu";

/// Why the check could not be made.
#[derive(Debug, Error)]
pub enum CheckError {
    /// No connection.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// A statement failed.
    #[error("the database refused")]
    Query(#[from] diesel::result::Error),
}

/// Everything the database lacks, a line for each table, column, encoding or collation; empty when it is fit to serve.
pub async fn missing(connector: &Connector) -> Result<Vec<String>, CheckError> {
    let mut connection = connector.connect_plainly().await?;
    // What an unqualified name finds on this connection's search path, as the statements themselves name tables.
    let columns: Vec<(String, String)> = Statement::<(Text, Text)>::new(
        "SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_table_is_visible(c.oid)",
    )
    .load(&mut connection)
    .await?;
    let tables: HashSet<&str> = columns.iter().map(|(table, _)| table.as_str()).collect();
    let columns: HashSet<(&str, &str)> =
        columns.iter().map(|(table, column)| (table.as_str(), column.as_str())).collect();

    let mut missing = Vec::new();
    for (table, needed) in NEEDED {
        if tables.contains(table) {
            missing.extend(
                needed
                    .iter()
                    .filter(|column| !columns.contains(&(*table, **column)))
                    .map(|column| format!("column {table}.{column}")),
            );
        } else {
            missing.push(format!("table {table}"));
        }
    }

    let encoding: String =
        Statement::<Text>::new("SELECT current_setting('server_encoding')").get_result(&mut connection).await?;
    if encoding != "UTF8" {
        missing.push("encoding UTF8".to_owned());
    }
    let collations: i64 =
        Statement::<diesel::sql_types::BigInt>::new("SELECT count(*) FROM pg_collation WHERE collname = ")
            .text(COLLATION)
            .get_result(&mut connection)
            .await?;
    if collations == 0 {
        missing.push(format!("collation {COLLATION} (a PostgreSQL built with ICU)"));
    }
    Ok(missing)
}
