//! Indexes on the platform's tables that this service's statements would use: which are missing, and how they are created
//! (`crm indexes`). The service works without them. It creates none unasked, because the platform compares its tables with
//! its own schema and reports every index that it does not know.

use std::time::Duration;

use diesel::{
    QueryResult,
    dsl::sql,
    sql_types::{BigInt, Bool, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use thiserror::Error;

use super::{
    connect::{Connector, PlatformSchema},
    operator::take_lock,
    statement::{Statement, named_row},
};

/// The key of the advisory lock that keeps two `crm indexes --create` from working at once.
const LOCK: i64 = 0x726F_7961_6C69_6478;

/// How long `crm indexes --create` waits for another one.
const LOCK_WAIT: Duration = Duration::from_secs(120);

/// An index that statements of this service would use.
#[derive(Debug)]
pub struct WantedIndex {
    /// The name that it gets: Drizzle's convention, as the platform's own indexes have.
    pub name: &'static str,
    /// The table of the platform's.
    pub table: &'static str,
    /// The columns, in order.
    pub columns: &'static [&'static str],
    /// The same columns as the platform's Drizzle schema names them.
    drizzle_columns: &'static [&'static str],
    /// What it makes faster.
    pub gain: &'static str,
    /// What slows down: the statements of the platform that maintain it.
    pub cost: &'static str,
}

/// Every index that this service would use and that a platform may lack.
pub const WANTED: [WantedIndex; 3] = [
    WantedIndex {
        name: "customer_note_customer_id_created_at_idx",
        table: "customer_note",
        columns: &["customer_id", "created_at"],
        drizzle_columns: &["customerId", "createdAt"],
        gain: "the list of a customer's notes reads that customer's rows instead of all notes",
        cost: "each new note adds an entry",
    },
    WantedIndex {
        name: "session_token_idx",
        table: "session",
        columns: &["token"],
        drizzle_columns: &["token"],
        gain: "every request looks its session up; without this index each look-up reads all sessions",
        cost: "each sign-in adds an entry",
    },
    WantedIndex {
        name: "booking_service_booking_id_idx",
        table: "booking_service",
        columns: &["booking_id"],
        drizzle_columns: &["bookingId"],
        gain: "a customer's bookings are read with their services; without this index each list reads all services",
        cost: "each new service of a booking adds an entry",
    },
];

impl WantedIndex {
    /// The statement that creates it beside running writes.
    #[must_use]
    pub fn sql(&self, schema: &PlatformSchema) -> String {
        let Self { name, table, columns, .. } = self;
        let schema = schema.quoted();
        format!("CREATE INDEX CONCURRENTLY {name} ON {schema}.\"{table}\" ({})", columns.join(", "))
    }

    /// The line for the table in the platform's Drizzle schema, so that its drift gate knows the index.
    #[must_use]
    pub fn drizzle(&self) -> String {
        let columns: Vec<_> = self.drizzle_columns.iter().map(|column| format!("table.{column}")).collect();
        format!("index(\"{}\").on({}),", self.name, columns.join(", "))
    }
}

/// An index that is missing, and how large it would be.
#[derive(Debug)]
pub struct MissingIndex {
    /// The index.
    pub index: &'static WantedIndex,
    /// The estimated number of rows of its table, by PostgreSQL's statistics; absent before the first `ANALYZE`.
    pub rows: Option<u64>,
    /// The size of its table in bytes.
    pub table_bytes: u64,
}

impl MissingIndex {
    /// An estimate of the index's size in bytes: keys of this service's kind take some 64 bytes with their overhead.
    #[must_use]
    pub fn estimated_bytes(&self) -> Option<u64> {
        self.rows.map(|rows| rows * 64)
    }
}

/// Why a command failed. Only the operator sees these messages, so they may name tables.
#[derive(Debug, Error)]
pub enum IndexError {
    /// No connection.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// A statement failed.
    #[error("the database refused")]
    Query(#[from] diesel::result::Error),
    /// Another command of this kind was at work all the time. This one has changed nothing.
    #[error("another `crm indexes --create` is at work; wait until it ends, then run this again")]
    Busy,
    /// The name is that of another index.
    #[error("there is another index named {0}, on other columns; rename it, or create the index under another name")]
    NameTaken(&'static str),
}

named_row! {
    /// An index of a table, or the table alone.
    struct IndexRow {
        rows: BigInt => i64,
        bytes: BigInt => i64,
        equivalent: BigInt => i64,
    }
}

/// The wanted indexes for which the database has no equivalent: a valid index on all rows that begins with the same columns.
/// A table that does not exist or is partitioned is left out.
pub async fn missing(connector: &Connector) -> Result<Vec<MissingIndex>, IndexError> {
    let mut connection = connector.connect_plainly().await?;
    Ok(missing_on(&mut connection).await?)
}

async fn missing_on(connection: &mut AsyncPgConnection) -> QueryResult<Vec<MissingIndex>> {
    let mut missing = Vec::new();
    for index in &WANTED {
        let columns = index.columns.join(",");
        let statement = Statement::new(
            "SELECT c.reltuples::bigint AS rows, pg_table_size(c.oid) AS bytes, \
               (SELECT count(*) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam \
                WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND m.amname = 'btree' \
                  AND w.columns = ARRAY(SELECT a.attname::text \
                    FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, position) \
                    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
                    WHERE k.position <= least(i.indnkeyatts, cardinality(w.columns)) ORDER BY k.position)) AS equivalent \
             FROM (SELECT string_to_array(",
        )
        .text(columns.as_str())
        .sql(", ',') AS columns) w, pg_class c WHERE c.oid = to_regclass(quote_ident(")
        .text(index.table)
        .sql(")) AND c.relkind = 'r'");
        let found: Vec<IndexRow> = statement.load(connection).await?;
        let Some(IndexRow { rows, bytes, equivalent: 0 }) = found.into_iter().next() else { continue };
        missing.push(MissingIndex { index, rows: u64::try_from(rows).ok(), table_bytes: bytes.unsigned_abs() });
    }
    Ok(missing)
}

/// Creates the indexes that are missing, one after the other, beside running reads and writes, and calls `creating` before
/// each. An index that an interrupted run left behind is dropped first, so the command can be repeated at any time.
///
/// # Errors
///
/// [`IndexError::Busy`] when another instance does the same; [`IndexError::NameTaken`]. Indexes that were created before
/// stay.
pub async fn create_missing(
    connector: &Connector,
    creating: &mut (dyn FnMut(&'static WantedIndex) + Send),
) -> Result<(), IndexError> {
    let mut connection = connector.connect_plainly().await?;
    if !take_lock(&mut connection, LOCK, LOCK_WAIT).await? {
        return Err(IndexError::Busy);
    }
    // A large table takes as long as it takes.
    connection.batch_execute("SET statement_timeout = 0").await?;
    for MissingIndex { index, .. } in missing_on(&mut connection).await? {
        creating(index);
        // Valid, or of another table: that is not what an interrupted run left behind.
        let statement = sql::<Bool>("SELECT i.indisvalid OR i.indrelid <> to_regclass(quote_ident(")
            .bind::<Text, _>(index.table)
            .sql(")) FROM pg_index i WHERE i.indexrelid = to_regclass(")
            .bind::<Text, _>(index.name)
            .sql(")");
        let named: Vec<bool> = statement.load(&mut connection).await?;
        match named.as_slice().first() {
            Some(true) => return Err(IndexError::NameTaken(index.name)),
            Some(false) => {
                let drop = format!("DROP INDEX CONCURRENTLY {}.{}", connector.schema().quoted(), index.name);
                connection.batch_execute(&drop).await?;
            }
            None => {}
        }
        connection.batch_execute(&index.sql(connector.schema())).await?;
    }
    Ok(())
}
