//! The timeline: audit entries about a customer, found by the platform's index on the entity and by `crm.audit_customer`.

use async_trait::async_trait;
use crm_domain::{
    audit::AuditValue,
    ids::{AuditId, UserId},
    store_error::StoreError,
    timeline::{
        StoredFields, TimelineCursor, TimelineEntry, TimelineLimit, TimelinePage, ports::TimelineReads, shown_changes,
    },
};
use diesel::{
    QueryableByName,
    deserialize::{self, FromSql, FromSqlRow},
    pg::{Pg, PgValue, data_types::PgTimestamp as RawTimestamp},
    row::NamedRow,
    sql_types::{self, BigInt, Bool, Json, Nullable, Text, Timestamptz},
};
use serde_json::Value;

use super::{
    Postgres,
    error::store_error,
    statement::{Statement, column, named_row},
    timestamp::PgTimestamp,
};

/// How many audit entries one batch of the fill goes through.
const FILL_BATCH: i64 = 2000;

/// The key of the advisory lock that keeps two instances from filling at once.
const FILL_LOCK: i64 = 0x726F_7961_6C66_696C;

/// A timestamp as PostgreSQL keeps it, for the cursor: an infinity or an odd year stays what it is.
#[derive(Debug, FromSqlRow)]
struct Position(i64);

impl FromSql<sql_types::Timestamptz, Pg> for Position {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let RawTimestamp(microseconds) = FromSql::<sql_types::Timestamptz, Pg>::from_sql(value)?;
        Ok(Self(microseconds))
    }
}

/// The values of an audit entry. Other programs may store anything: what is no object has no fields.
#[derive(Debug, FromSqlRow)]
struct Fields(StoredFields);

impl FromSql<Json, Pg> for Fields {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        // An exponent may make a number that no type holds; then nothing is shown.
        let Ok(Value::Object(object)) = serde_json::from_slice(value.as_bytes()) else { return Ok(Self(Vec::new())) };
        Ok(Self(object.into_iter().map(|(name, value)| (name, audit_value(value))).collect()))
    }
}

fn audit_value(value: Value) -> Option<AuditValue> {
    match value {
        Value::Null => Some(AuditValue::Null),
        Value::Bool(value) => Some(AuditValue::Boolean(value)),
        Value::Number(value) => value.as_i64().map(AuditValue::Integer),
        Value::String(text) => Some(AuditValue::Text(text)),
        Value::Array(_) | Value::Object(_) => None,
    }
}

named_row! {
    struct EntryRow {
        id: Text => String,
        created_at: Timestamptz => PgTimestamp,
        position: Timestamptz => Position,
        actor_id: Text => String,
        actor_name: Nullable<Text> => Option<String>,
        action: Text => String,
        entity_type: Text => String,
        old_values: Nullable<Json> => Option<Fields>,
        new_values: Nullable<Json> => Option<Fields>,
    }
}

impl From<EntryRow> for TimelineEntry {
    fn from(row: EntryRow) -> Self {
        let fields = |fields: Option<Fields>| fields.map_or_else(Vec::new, |Fields(fields)| fields);
        let changes = shown_changes(&row.entity_type, &fields(row.old_values), &fields(row.new_values));
        Self {
            at: row.created_at.into(),
            actor: UserId::from_stored(row.actor_id),
            actor_name: row.actor_name,
            action: row.action,
            entity: row.entity_type,
            changes,
        }
    }
}

/// A line of the page, and whether the customer exists.
struct TimelineLine {
    customer_exists: bool,
    entry: Option<EntryRow>,
}

impl QueryableByName<Pg> for TimelineLine {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let has_entry = column::<Nullable<Bool>, Option<bool>>(row, "has_entry")? == Some(true);
        Ok(Self {
            customer_exists: column::<Bool, bool>(row, "customer_exists")?,
            entry: if has_entry { Some(EntryRow::build(row)?) } else { None },
        })
    }
}

#[async_trait]
impl TimelineReads for Postgres {
    async fn list_timeline(
        &self,
        customer: &UserId,
        limit: TimelineLimit,
        cursor: Option<TimelineCursor>,
    ) -> Result<Option<TimelinePage>, StoreError> {
        let lines: Vec<TimelineLine> = self.pool.read_rows(|| page_statement(customer, limit, cursor.as_ref())).await?;
        if !lines.first().is_some_and(|line| line.customer_exists) {
            return Ok(None);
        }
        let mut rows: Vec<EntryRow> = lines.into_iter().filter_map(|line| line.entry).collect();
        let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows
            .last()
            .filter(|_| has_more)
            .and_then(|row| TimelineCursor::new(row.position.0, AuditId::from_stored(row.id.clone())));
        Ok(Some(TimelinePage { entries: rows.into_iter().map(TimelineEntry::from).collect(), next }))
    }
}

/// The statement of a page, and of one entry more. By hand: it unites two sources.
///
/// Of the customer's own row, by the platform's index on (`entity_type`, `entity_id`): this service writes the user's id, the
/// platform's sign-up the profile's.
fn page_statement<'q>(customer: &'q UserId, limit: TimelineLimit, cursor: Option<&'q TimelineCursor>) -> Statement<'q> {
    let most = i64::try_from(limit.get()).unwrap_or(i64::MAX).saturating_add(1);
    let after = |statement: Statement<'q>, time: &'static str, id: &'static str| match cursor {
        None => statement,
        Some(cursor) => statement
            .sql(" AND (")
            .sql(time)
            .sql(", ")
            .sql(id)
            .sql(" COLLATE \"C\") < (")
            .raw_timestamp(cursor.position())
            .sql("::timestamptz, ")
            .text(cursor.id().as_str())
            .sql(" COLLATE \"C\")"),
    };
    let statement = Statement::new("WITH ids AS MATERIALIZED (SELECT id FROM customer_profile WHERE user_id = ")
        .text(customer.as_str())
        .sql(
            "), own AS MATERIALIZED (SELECT l.id, l.created_at FROM audit_log l WHERE l.entity_type = 'customer_profile' \
             AND l.entity_id = ANY (ARRAY(SELECT id FROM ids) || ",
        )
        .text(customer.as_str())
        .sql("::text)");
    let statement = after(statement, "l.created_at", "l.id")
        .sql(" ORDER BY l.created_at DESC, l.id COLLATE \"C\" DESC LIMIT ")
        .bigint(most)
        .sql(
            "), others AS MATERIALIZED (SELECT a.audit_id AS id, a.created_at FROM crm.audit_customer a WHERE a.customer_id = ",
        )
        .text(customer.as_str());
    after(statement, "a.created_at", "a.audit_id")
        .sql(" ORDER BY a.created_at DESC, a.audit_id COLLATE \"C\" DESC LIMIT ")
        .bigint(most)
        .sql(
            ") SELECT EXISTS (SELECT FROM ids) AS customer_exists, page.* FROM (SELECT) nothing LEFT JOIN (\
               SELECT true AS has_entry, l.id, l.created_at, l.created_at AS position, l.actor_id, actor.name AS actor_name, \
                 l.action::text AS action, l.entity_type, l.old_values::json AS old_values, l.new_values::json AS new_values \
               FROM (SELECT id FROM own UNION SELECT id FROM others) found \
               CROSS JOIN LATERAL (SELECT l.id, l.created_at, l.actor_id, l.action, l.entity_type, l.old_values, l.new_values \
                 FROM audit_log l WHERE l.id = found.id OFFSET 0) l \
               LEFT JOIN \"user\" actor ON actor.id = l.actor_id \
               ORDER BY l.created_at DESC, l.id COLLATE \"C\" DESC LIMIT ",
        )
        .bigint(most)
        .sql(") page ON true ORDER BY page.created_at DESC, page.id COLLATE \"C\" DESC")
}

named_row! {
    struct FilledRow {
        is_free: Bool => bool,
        is_complete: Bool => bool,
    }
}

named_row! {
    struct TakenRow {
        taken: BigInt => i64,
    }
}

impl Postgres {
    /// Adds a batch of audit entries that are older than `crm.audit_customer` to it; `false` when there are no more. While
    /// another instance is at work, this one does nothing.
    ///
    /// # Errors
    ///
    /// When the database does not answer, or refuses a statement.
    pub async fn fill_audit_customers(&self) -> Result<bool, StoreError> {
        let mut connection = self.pool.begin().await?;
        let lock = Statement::new("SELECT pg_try_advisory_xact_lock(")
            .bigint(FILL_LOCK)
            .sql(") AS is_free, coalesce((SELECT is_complete FROM crm.audit_fill), true) AS is_complete");
        let state: Vec<FilledRow> = connection.rows(lock).await.map_err(store_error)?;
        let FilledRow { is_free, is_complete } =
            state.into_iter().next().ok_or_else(|| StoreError::Unexpected("a statement without a row".into()))?;
        if is_complete || !is_free {
            connection.end("COMMIT").await.map_err(store_error)?;
            return Ok(!is_complete);
        }
        // In the order of the platform's index. `jsonb` and `json` alike.
        let fill = Statement::new(
            "WITH since AS MATERIALIZED (SELECT entity_type, entity_id, audit_id FROM crm.audit_fill), \
             batch AS MATERIALIZED (SELECT l.id, l.entity_type, l.entity_id, l.created_at, \
                 coalesce(l.new_values::json ->> 'customerId', l.old_values::json ->> 'customerId') AS customer_id \
               FROM audit_log l WHERE l.entity_type IN ('customer_note', 'customer_tag_assignment') \
                 AND (l.entity_type, l.entity_id, l.id) > (SELECT entity_type, entity_id, audit_id FROM since) \
               ORDER BY l.entity_type, l.entity_id, l.id LIMIT ",
        )
        .bigint(FILL_BATCH)
        .sql(
            "), filled AS (INSERT INTO crm.audit_customer (audit_id, customer_id, created_at) \
               SELECT id, customer_id, created_at FROM batch WHERE customer_id IS NOT NULL ON CONFLICT (audit_id) DO NOTHING), \
             last AS (SELECT entity_type, entity_id, id FROM batch ORDER BY entity_type DESC, entity_id DESC, id DESC LIMIT 1), \
             moved AS (UPDATE crm.audit_fill f SET (entity_type, entity_id, audit_id, is_complete) = \
               (coalesce(l.entity_type, f.entity_type), coalesce(l.entity_id, f.entity_id), coalesce(l.id, f.audit_id), \
                (SELECT count(*) FROM batch) = 0) \
               FROM (SELECT) nothing LEFT JOIN last l ON true) \
             SELECT count(*) AS taken FROM batch",
        );
        let taken: Vec<TakenRow> = connection.rows(fill).await.map_err(store_error)?;
        connection.end("COMMIT").await.map_err(store_error)?;
        Ok(taken.first().is_some_and(|row| row.taken > 0))
    }
}
