//! An export of the directory: everyone who matches, in order, from one snapshot. A cursor gives a batch at a time, so neither
//! this process nor PostgreSQL holds all rows.

use std::time::Duration;

use async_trait::async_trait;
use crm_domain::{
    directory::{CustomerSummary, DirectoryQuery, ports::CustomerExport},
    store_error::StoreError,
};
use diesel::sql_types::Bool;
use tokio::time::Instant;

use super::{
    super::{
        Postgres,
        error::store_error,
        operator::pause,
        pool::PooledConnection,
        statement::{Statement, named_row},
    },
    CustomerRow, direct, filtered,
    model::{StateRow, state_columns},
    words::Words,
};

/// How many customers are read at once.
const BATCH: &str = "FETCH 100 FROM export";

/// How many times as long as a batch took an export pauses after it, so that requests find the database's processors free.
const PAUSE: u32 = 2;
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How often the queue of the read model is worked off before the platform's tables are read instead.
const ATTEMPTS: usize = 3;

named_row! {
    struct SlotRow {
        is_free: Bool => bool,
    }
}

/// An export under way. Dropped, its connection is closed and the server ends the transaction.
struct PgCustomerExport {
    connection: Option<PooledConnection>,
    pause: Duration,
}

#[async_trait]
impl CustomerExport for PgCustomerExport {
    async fn next_customers(&mut self) -> Result<Vec<CustomerSummary>, StoreError> {
        let Some(connection) = &mut self.connection else { return Ok(Vec::new()) };
        if !self.pause.is_zero() {
            pause(self.pause).await;
        }
        let began = Instant::now();
        // Prepared each time: to PostgreSQL, another cursor of the same name is another statement.
        let fetch = Statement::new(BATCH).prepared_each_time();
        let rows: Vec<CustomerRow> = connection.rows(fetch).await.map_err(store_error)?;
        self.pause = (began.elapsed() * PAUSE).min(LONGEST_PAUSE);
        if rows.is_empty()
            && let Some(connection) = self.connection.take()
        {
            connection.end("COMMIT").await.map_err(store_error)?;
        }
        Ok(rows.into_iter().map(CustomerSummary::from).collect())
    }
}

impl Postgres {
    /// Begins an export; `None` when two are under way, here or in other instances.
    pub(super) async fn open_export(
        &self,
        query: &DirectoryQuery,
    ) -> Result<Option<Box<dyn CustomerExport>>, StoreError> {
        let mut attempt = 1;
        loop {
            let mut connection = self.pool.begin_export().await?;
            // The locks end with the transaction, also when the process is killed.
            let slots = Statement::new(
                "SELECT pg_try_advisory_xact_lock(8241986172645470501) OR pg_try_advisory_xact_lock(8241986172645470502) AS is_free",
            );
            let slots: Vec<SlotRow> = connection.rows(slots).await.map_err(store_error)?;
            if !slots.first().is_some_and(|slot| slot.is_free) {
                connection.end("COMMIT").await.map_err(store_error)?;
                return Ok(None);
            }
            let state = if self.directory_model.is_usable() {
                connection.rows(state_columns(Statement::new("SELECT"))).await.map_err(store_error)?
            } else {
                Vec::new()
            };
            let statement = match state.first() {
                Some(StateRow { is_usable: Some(true), pending: 0 }) => {
                    let words = Words::with_index(query.search.as_ref());
                    filtered::export_statement(query, &words)
                }
                Some(StateRow { is_usable: Some(true), .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    connection.end("COMMIT").await.map_err(store_error)?;
                    // A lock that another instance holds: its work counts as well.
                    let _ = self.apply_batch().await;
                    continue;
                }
                _ => direct::export_statement(query, &Words::without_index(query.search.as_ref())),
            };
            let declare = statement.preceded_by("DECLARE export NO SCROLL CURSOR FOR ").prepared_each_time();
            connection.execute(declare).await.map_err(store_error)?;
            return Ok(Some(Box::new(PgCustomerExport { connection: Some(connection), pause: Duration::ZERO })));
        }
    }
}
