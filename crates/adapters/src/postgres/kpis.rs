//! The figures of customers, derived from bookings and invoices in batches of customers.

use std::time::Duration;

use async_trait::async_trait;
use crm_domain::{
    calendar::SalonTimeZone,
    ids::UserId,
    kpis::{
        Facts, Figures,
        ports::{CustomerFigures, KpiStore, RefreshClaim, Saved},
    },
    store_error::StoreError,
};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use serde::Serialize;
use time::{OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use super::{
    Postgres,
    directory::maintenance::apply_queued,
    error::store_error,
    integer::ApiInteger,
    operator::pause,
    parts::Part,
    pool::PooledConnection,
    schema_check,
    statement::{Statement, named_row},
    timestamp::PgTimestamp,
};

/// The key of the advisory lock that one instance holds while it refreshes the figures.
const LOCK: i64 = 0x726F_7961_6C6B_7069;

/// How many customers a batch has.
const BATCH: i64 = 500;

/// How many customers one transaction writes and takes into the directory's read model. It holds the model's lock meanwhile.
const WRITTEN_WITH_MODEL: usize = 50;

/// How long the work rests after it reads or saves a batch, as a multiple of the time that this took: other callers get their
/// turn.
const REST: f64 = 1.0;

named_row! {
    struct FiguresRow {
        user_id: Text => String,
        total_visits: BigInt => ApiInteger,
        first_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        last_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        total_spent_paise: BigInt => ApiInteger,
        completed_bookings: BigInt => i64,
        first_completed_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        last_completed_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        other_ends: Array<Timestamptz> => Vec<PgTimestamp>,
        paid_paise: BigInt => i64,
    }
}

impl From<FiguresRow> for CustomerFigures {
    fn from(row: FiguresRow) -> Self {
        let timestamp = |at: Option<PgTimestamp>| at.map(OffsetDateTime::from);
        let shown = |end: PgTimestamp| {
            let end = OffsetDateTime::from(end);
            PrimitiveDateTime::new(end.date(), end.time())
        };
        Self {
            customer: UserId::from_stored(row.user_id),
            stored: Figures {
                total_visits: row.total_visits.into(),
                first_visit_at: timestamp(row.first_visit_at),
                last_visit_at: timestamp(row.last_visit_at),
                total_spent_paise: row.total_spent_paise.into(),
            },
            facts: Facts {
                completed_bookings: row.completed_bookings.unsigned_abs(),
                first_completed_at: timestamp(row.first_completed_at),
                last_completed_at: timestamp(row.last_completed_at),
                other_ends: row.other_ends.into_iter().map(shown).collect(),
                paid_paise: row.paid_paise,
            },
        }
    }
}

named_row! {
    struct CountRow {
        customers: BigInt => i64,
    }
}

named_row! {
    struct IdRow {
        user_id: Text => String,
    }
}

named_row! {
    struct ClaimRow {
        is_claimed: Bool => bool,
    }
}

/// Figures to be written, as a row of JSON.
#[derive(Serialize)]
struct NewFigures {
    user_id: String,
    total_visits: i64,
    first_visit_at: Option<String>,
    last_visit_at: Option<String>,
    total_spent_paise: i64,
}

impl NewFigures {
    fn new(customer: &UserId, figures: Figures) -> Result<Self, StoreError> {
        let text = |at: Option<OffsetDateTime>| at.map(|at| at.format(&Rfc3339)).transpose();
        let visits = || Ok((text(figures.first_visit_at)?, text(figures.last_visit_at)?));
        let (first_visit_at, last_visit_at) =
            visits().map_err(|error: time::error::Format| StoreError::Unexpected(Box::new(error)))?;
        Ok(Self {
            user_id: customer.to_string(),
            total_visits: figures.total_visits,
            first_visit_at,
            last_visit_at,
            total_spent_paise: figures.total_spent_paise,
        })
    }
}

/// The lock, held by a transaction that does nothing else: behind a pooler in transaction mode a session's lock would stay
/// with a connection that is somebody else's. It has no snapshot, so it keeps nothing from being vacuumed.
struct Claim(PooledConnection);

#[async_trait]
impl RefreshClaim for Claim {
    async fn keep(&mut self) -> Result<(), StoreError> {
        self.0.batch("SELECT").await.map_err(store_error)
    }

    async fn release(self: Box<Self>) {
        // When the connection has died, so has the lock.
        let _ = self.0.end("COMMIT").await;
    }
}

#[async_trait]
impl KpiStore for Postgres {
    async fn find_kpi_lacks(&self, with_writing: bool) -> Result<Vec<String>, StoreError> {
        let findings = schema_check::look(&self.pool).await?;
        let wanted = if with_writing { Part::KpiRefresh } else { Part::Kpis };
        let lacks = findings.optional.iter().filter(|(part, _)| *part == wanted).flat_map(|(_, lacks)| lacks);
        Ok(lacks.map(ToString::to_string).collect())
    }

    async fn count_customers(&self) -> Result<u64, StoreError> {
        let statement = || Statement::new("SELECT count(*) AS customers FROM customer_profile");
        let row: Option<CountRow> = self.pool.read_row(statement).await?;
        Ok(row.map_or(0, |row| row.customers.unsigned_abs()))
    }

    async fn claim_refresh(&self) -> Result<Option<Box<dyn RefreshClaim>>, StoreError> {
        // Whether the directory is read from its read model decides how much is written at once.
        self.note_directory_model().await?;
        let mut connection = self.pool.begin().await?;
        let statement = Statement::new("SELECT pg_try_advisory_xact_lock(")
            .bigint(LOCK)
            .sql(") AS is_claimed FROM set_config('idle_in_transaction_session_timeout', '60000', true)");
        let claimed: Vec<ClaimRow> = connection.rows(statement).await.map_err(store_error)?;
        if claimed.first().is_some_and(|row| row.is_claimed) {
            return Ok(Some(Box::new(Claim(connection))));
        }
        connection.end("COMMIT").await.map_err(store_error)?;
        Ok(None)
    }

    async fn read_figures(&self, after: Option<UserId>) -> Result<Vec<CustomerFigures>, StoreError> {
        let began = Instant::now();
        let statement = || {
            let statement = Statement::new(BATCH_BEGINS);
            let statement = match &after {
                Some(after) => statement.sql(" WHERE p.user_id > ").text(after.as_str()),
                None => statement,
            };
            statement.sql(" ORDER BY p.user_id LIMIT ").bigint(BATCH).sql(FIGURES_OF_BATCH)
        };
        let rows: Vec<FiguresRow> = self.pool.read_rows(statement).await?;
        rest(began.elapsed()).await;
        Ok(rows.into_iter().map(CustomerFigures::from).collect())
    }

    async fn save_figures(
        &self,
        customers: &[UserId],
        zone: &SalonTimeZone,
        at: OffsetDateTime,
    ) -> Result<Saved, StoreError> {
        let has_model = self.directory_model.is_usable();
        let written_at_once = if has_model { WRITTEN_WITH_MODEL } else { customers.len().max(1) };
        let mut all = Saved::default();
        for customers in customers.chunks(written_at_once) {
            let began = Instant::now();
            let Saved { changed, locked } = match self.save(customers, zone, at, has_model).await {
                // Others hold the model's lock, or have changed one of the customers: the model follows later.
                Err(StoreError::Unavailable(_)) if has_model => self.save(customers, zone, at, false).await?,
                saved => saved?,
            };
            all = Saved { changed: all.changed + changed, locked: all.locked + locked };
            rest(began.elapsed()).await;
        }
        Ok(all)
    }
}

impl Postgres {
    /// Saves figures in one transaction, which takes them into the directory's read model too if `with_model` is set: a page that
    /// came between two transactions would have to.
    async fn save(
        &self,
        customers: &[UserId],
        zone: &SalonTimeZone,
        at: OffsetDateTime,
        with_model: bool,
    ) -> Result<Saved, StoreError> {
        let begun = if with_model { self.pool.begin_model_update().await } else { self.pool.begin().await };
        let mut connection = begun?;
        let saved = save(&mut connection, customers, zone, at).await?;
        if with_model && saved.changed > 0 {
            apply_queued(&mut connection).await?;
        }
        connection.end("COMMIT").await.map_err(store_error)?;
        Ok(saved)
    }
}

/// The figures of those customers, derived under their locks and written.
async fn save(
    connection: &mut PooledConnection,
    customers: &[UserId],
    zone: &SalonTimeZone,
    at: OffsetDateTime,
) -> Result<Saved, StoreError> {
    let ids: Vec<&str> = customers.iter().map(UserId::as_str).collect();
    // In one order, and without waiting: nobody else's transaction waits for a row of this one while this one waits for it.
    let lock = Statement::new("SELECT p.user_id FROM customer_profile p WHERE p.user_id = ANY (")
        .texts(ids.clone())
        .sql(") ORDER BY p.user_id FOR NO KEY UPDATE SKIP LOCKED");
    let locked: Vec<IdRow> = connection.rows(lock).await.map_err(store_error)?;
    // Another statement, whose snapshot begins under the locks. An update of the model has one snapshot for all its statements;
    // there PostgreSQL refuses to lock a row that was changed since.
    let read = Statement::new(BATCH_BEGINS)
        .sql(" WHERE p.user_id = ANY (")
        .texts(locked.iter().map(|row| row.user_id.as_str()).collect())
        .sql(")")
        .sql(FIGURES_OF_BATCH);
    let rows: Vec<FiguresRow> = connection.rows(read).await.map_err(store_error)?;
    let mut new = Vec::new();
    for CustomerFigures { customer, stored, facts } in rows.into_iter().map(CustomerFigures::from) {
        let figures = facts.figures(zone);
        if figures != stored {
            new.push(NewFigures::new(&customer, figures)?);
        }
    }
    let locked_elsewhere = if locked.len() < ids.len() {
        // Or deleted meanwhile.
        let select_existing =
            Statement::new("SELECT p.user_id FROM customer_profile p WHERE p.user_id = ANY (").texts(ids).sql(")");
        let existing: Vec<IdRow> = connection.rows(select_existing).await.map_err(store_error)?;
        let is_locked_elsewhere = |row: &&IdRow| !locked.iter().any(|locked| locked.user_id == row.user_id);
        existing.iter().filter(is_locked_elsewhere).count()
    } else {
        0
    };
    let json = serde_json::to_string(&new).map_err(|error| StoreError::Unexpected(Box::new(error)))?;
    let write = Statement::new(
        "UPDATE customer_profile p SET total_visits = n.total_visits, first_visit_at = n.first_visit_at, \
         last_visit_at = n.last_visit_at, total_spent_paise = n.total_spent_paise, updated_at = greatest(",
    )
    .timestamp(at)
    // It increases with every change, whatever clock the last writer had.
    .sql(", p.updated_at + interval '1 microsecond') FROM json_to_recordset(")
    .text(json.as_str())
    .sql(
        "::json) AS n (user_id text, total_visits bigint, first_visit_at timestamptz, last_visit_at timestamptz, \
         total_spent_paise bigint) WHERE p.user_id = n.user_id",
    );
    let changed = connection.execute(write).await.map_err(store_error)?;
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Ok(Saved { changed: count(changed), locked: count(locked_elsewhere) })
}

/// The beginning of a statement that reads a batch of customers. What stands for a time of the salon's clock here is a
/// timestamp without a time zone, which is read as if it were UTC.
const BATCH_BEGINS: &str = "WITH batch AS MATERIALIZED (SELECT p.user_id, p.total_visits, p.first_visit_at, p.last_visit_at, \
    p.total_spent_paise FROM customer_profile p";

/// The rest of that statement. Bookings and invoices of the whole batch are found in one go each.
const FIGURES_OF_BATCH: &str = "), ids AS MATERIALIZED (SELECT ARRAY(SELECT user_id FROM batch) AS ids) \
    SELECT b.user_id, b.total_visits, b.first_visit_at, b.last_visit_at, b.total_spent_paise, \
      coalesce(v.completed_bookings, 0) AS completed_bookings, v.first_completed_at, v.last_completed_at, \
      coalesce(v.other_ends, '{}') AS other_ends, coalesce(i.paid_paise, 0) AS paid_paise \
    FROM batch b LEFT JOIN (\
      SELECT k.customer_id, count(*) AS completed_bookings, min(k.completed_at) AS first_completed_at, \
        max(k.completed_at) AS last_completed_at, \
        array_agg(least(greatest(k.booking_date, date '0001-01-01'), date '9999-12-31') + k.end_time) \
          FILTER (WHERE k.completed_at IS NULL) AS other_ends \
      FROM booking k WHERE k.customer_id = ANY ((SELECT ids FROM ids)::text[]) AND k.status::text = 'completed' \
      GROUP BY k.customer_id\
    ) v ON v.customer_id = b.user_id LEFT JOIN (\
      SELECT k.customer_id, \
        least(greatest(sum(k.total_amount_paise), -2147483648), 2147483647)::bigint AS paid_paise \
      FROM invoice k WHERE k.customer_id = ANY ((SELECT ids FROM ids)::text[]) AND k.payment_status::text = 'paid' \
      GROUP BY k.customer_id\
    ) i ON i.customer_id = b.user_id ORDER BY b.user_id";

/// Rests for as long as the work took, in proportion.
async fn rest(worked: Duration) {
    pause(worked.mul_f64(REST).max(Duration::from_micros(1))).await;
}
