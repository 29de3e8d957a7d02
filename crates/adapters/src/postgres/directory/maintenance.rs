//! Keeps the read model up to date in the background: notices when it is installed or removed, computes queued customers
//! anew, and compares everybody with the platform's rows over an hour or so.

use std::time::Duration;

use crm_domain::{health::DirectoryModelState, store_error::StoreError};
use diesel::{
    dsl::sql,
    sql_types::{BigInt, Bool, Nullable},
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    super::{
        Postgres,
        error::store_error,
        pool::PooledConnection,
        statement::{Statement, named_row},
    },
    install::{enabled_triggers, is_current_collation, state_of},
    model::{self, AppliedRow},
};

/// How often the model is looked at, and queued customers are computed anew.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many queued customers one transaction computes anew. A read that needs the model's lock waits that long.
const BATCH: i64 = 500;

/// In how many steps, one for each [`INTERVAL`], the scrubber goes through everybody.
const SCRUB_STEPS: i64 = 3600;

/// The fewest customers of a step.
const MIN_SCRUB: i64 = 20;

named_row! {
    struct ModelRow {
        version: BigInt => i64,
        is_ready: Bool => bool,
        is_current_collation: Bool => bool,
        triggers: BigInt => i64,
        customers: BigInt => i64,
        is_pending: Bool => bool,
    }
}

impl Postgres {
    /// Keeps the directory's read model up to date until the process ends. Does nothing while no model is installed.
    pub async fn maintain_directory_model(&self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_failed = false;
        loop {
            ticks.tick().await;
            match self.maintain_directory_model_once().await {
                Ok(()) => has_failed = false,
                // A lock that another instance holds, or a database that does not answer: the next step tries again.
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => {
                    if !has_failed {
                        tracing::warn!(%error, "the directory's read model cannot be kept up to date");
                    }
                    has_failed = true;
                }
            }
        }
    }

    /// One step of [`Self::maintain_directory_model`].
    ///
    /// # Errors
    ///
    /// When the database does not answer, or refuses a statement.
    pub async fn maintain_directory_model_once(&self) -> Result<(), StoreError> {
        let Some(model) = self.look_at_directory_model().await? else { return Ok(()) };
        let mut may_have_more = model.is_pending;
        while may_have_more {
            may_have_more = self.apply_batch().await? >= BATCH;
        }
        self.scrub(MIN_SCRUB.max(model.customers / SCRUB_STEPS)).await
    }

    /// Notes whether the directory is read from its read model.
    pub(in crate::postgres) async fn note_directory_model(&self) -> Result<(), StoreError> {
        self.look_at_directory_model().await.map(|_| ())
    }

    /// Looks whether a model is installed that this version can use.
    async fn look_at_directory_model(&self) -> Result<Option<ModelRow>, StoreError> {
        let exists =
            || sql::<Bool>("SELECT coalesce(has_table_privilege(to_regclass('crm.directory_state'), 'SELECT'), false)");
        if self.pool.read_row::<bool, _>(exists).await? != Some(true) {
            self.directory_model.set(DirectoryModelState::NotInstalled);
            return Ok(None);
        }
        let statement = || {
            Statement::new(concat!(
                "SELECT s.version, s.is_ready, ",
                is_current_collation!(),
                ", ",
                enabled_triggers!(),
                " AS triggers, coalesce((SELECT n FROM crm.directory_count WHERE tag = ''), 0) AS customers, \
                 EXISTS (SELECT FROM crm.directory_queue) AS is_pending FROM crm.directory_state s"
            ))
        };
        let row: Option<ModelRow> = self.pool.read_row(statement).await?;
        let state = row.as_ref().map_or(DirectoryModelState::Incomplete, |row| {
            state_of(row.version, row.is_ready, row.is_current_collation, row.triggers)
        });
        self.directory_model.set(state);
        Ok(row.filter(|_| state == DirectoryModelState::InUse))
    }

    /// Computes a batch of queued customers anew; gives their number.
    pub(super) async fn apply_batch(&self) -> Result<i64, StoreError> {
        let mut connection = self.pool.begin_model_update().await?;
        let taken = apply_queued(&mut connection).await?;
        connection.end("COMMIT").await.map_err(store_error)?;
        Ok(taken)
    }

    async fn scrub(&self, most: i64) -> Result<(), StoreError> {
        let mut connection = self.pool.begin_model_update().await?;
        // A little less than the interval, so that a step which comes early is not left out.
        let scrub = Statement::new("SELECT crm.directory_scrub(").bigint(most).sql("::int, '900 ms') AS repaired");
        let scrubbed: Vec<ScrubbedRow> = connection.rows(scrub).await.map_err(store_error)?;
        connection.end("COMMIT").await.map_err(store_error)?;
        let repaired = scrubbed.first().and_then(|row| row.repaired).unwrap_or(0).unsigned_abs();
        if repaired > 0 {
            self.directory_model.count_repaired(repaired);
            tracing::error!(repaired, "customers in the directory's read model differed from the platform's tables");
        }
        Ok(())
    }
}

/// Computes a batch of queued customers anew, in a transaction that updates the model; gives their number.
pub(in crate::postgres) async fn apply_queued(connection: &mut PooledConnection) -> Result<i64, StoreError> {
    let expand = sql::<BigInt>("SELECT crm.directory_expand()");
    let expanded: Vec<i64> = connection.rows(expand).await.map_err(store_error)?;
    let applied: Vec<AppliedRow> = connection.rows(model::apply_statement(BATCH)).await.map_err(store_error)?;
    let is_expanded = expanded.first().is_some_and(|count| *count > 0);
    Ok(if is_expanded { BATCH } else { applied.first().map_or(0, |row| row.taken) })
}

named_row! {
    struct ScrubbedRow {
        repaired: Nullable<BigInt> => Option<i64>,
    }
}
