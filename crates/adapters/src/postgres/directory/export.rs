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
            let declared = if self.directory_model.is_usable() {
                declare_from_model(&mut connection, query).await
            } else {
                Ok(FromModel::No)
            };
            match declared {
                Ok(FromModel::Declared) => {}
                Ok(FromModel::Outdated) if attempt < ATTEMPTS => {
                    attempt += 1;
                    connection.end("COMMIT").await.map_err(store_error)?;
                    // A lock that another instance holds: its work counts as well.
                    let _ = self.apply_batch().await;
                    continue;
                }
                Ok(FromModel::Outdated | FromModel::No) => {
                    let words = Words::without_index(query.search.as_ref());
                    declare(&mut connection, direct::export_statement(query, &words)).await?;
                }
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => {
                    // The model is gone, or no longer readable. The transaction has failed, so another one goes on.
                    self.directory_model.give_up(&error);
                    continue;
                }
            }
            return Ok(Some(Box::new(PgCustomerExport { connection: Some(connection), pause: Duration::ZERO })));
        }
    }
}

/// Whether the cursor reads the read model.
enum FromModel {
    /// It does.
    Declared,
    /// Not yet: changes wait in the model's queue.
    Outdated,
    /// The model cannot be used.
    No,
}

/// Declares the cursor on the read model, if that is up to date in the transaction's snapshot.
async fn declare_from_model(
    connection: &mut PooledConnection,
    query: &DirectoryQuery,
) -> Result<FromModel, StoreError> {
    let state: Vec<StateRow> = connection.rows(state_columns(Statement::new("SELECT"))).await.map_err(store_error)?;
    match state.first() {
        Some(StateRow { is_usable: Some(true), pending: 0 }) => {
            let words = Words::with_index(query.search.as_ref());
            declare(connection, filtered::export_statement(query, &words)).await?;
            Ok(FromModel::Declared)
        }
        Some(StateRow { is_usable: Some(true), .. }) => Ok(FromModel::Outdated),
        _ => Ok(FromModel::No),
    }
}

async fn declare(connection: &mut PooledConnection, statement: Statement<'_>) -> Result<(), StoreError> {
    let declare = statement.preceded_by("DECLARE export NO SCROLL CURSOR FOR ").prepared_each_time();
    connection.execute(declare).await.map(|_| ()).map_err(store_error)
}
