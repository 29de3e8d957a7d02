//! The schema's migrations: embedded, applied under a lock, or only looked at.

use std::time::Duration;

use crm_domain::store_error::StoreError;
use diesel::{
    QueryResult,
    dsl::sql,
    migration::{Migration, MigrationSource, MigrationVersion},
    pg::Pg,
    sql_types::{BigInt, Bool, Text, Untyped},
};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use thiserror::Error;
use tokio::time::{Instant, interval_at};

use super::{connect::Connector, pool::Pool};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");

/// The key of the advisory lock that keeps two instances from migrating at once; any constant of this service's own.
const LOCK: i64 = 0x726F_7961_6C67_6C6F;

/// How long a statement of a migration waits for a lock on a table.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a migration pauses, without any lock, before it is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a migration is tried again while other programs keep its tables locked.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why migrating failed. Shown to whoever runs it: these messages may name tables.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// No connection.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// A statement failed.
    #[error("the database refused")]
    Query(#[from] diesel::result::Error),
    /// Other programs kept a table locked for too long. Nothing of the migration is applied.
    #[error(
        "another program's transaction kept a table locked for {} s; end it (pg_stat_activity shows it) and run this again",
        PATIENCE.as_secs()
    )]
    Locked,
    /// A migration failed; those before it stay applied, it and those after it are not.
    #[error("a migration failed: {0}")]
    Migration(Box<dyn std::error::Error + Send + Sync>),
}

type Migrations = Vec<Box<dyn Migration<Pg>>>;

fn embedded() -> Result<Migrations, MigrateError> {
    let mut migrations: Migrations = MIGRATIONS.migrations().map_err(MigrateError::Migration)?;
    migrations.sort_by(|a, b| a.name().version().cmp(&b.name().version()));
    Ok(migrations)
}

fn names(migrations: &Migrations) -> Vec<String> {
    migrations.iter().map(|migration| migration.name().to_string()).collect()
}

/// Applies what is pending, each migration in a transaction, and answers the names of what it applied. A second
/// instance that starts meanwhile waits and then finds nothing to do. Needs a multi-threaded tokio runtime.
pub async fn migrate(connector: &Connector) -> Result<Vec<String>, MigrateError> {
    let mut connection = connector.connect_plainly().await?;
    // Waits as long as the other instance needs; the lock ends with the connection, whatever happens to this process.
    connection.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
    sql::<Untyped>("SELECT pg_advisory_lock(").bind::<BigInt, _>(LOCK).sql(")").execute(&mut connection).await?;
    // A statement that waits for a lock on a table lets all later statements of the platform wait behind it.
    connection.batch_execute(&format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis())).await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let mut applied = Vec::new();
    let began = Instant::now();
    let mut pause = interval_at(began + RETRY_INTERVAL, RETRY_INTERVAL);
    // A migration is one transaction: what failed holds no lock and can be tried again.
    loop {
        match apply_pending(&mut harness, &mut applied) {
            Err(MigrateError::Migration(error)) if is_lock_timeout(&*error) => {
                if began.elapsed() > PATIENCE {
                    return Err(MigrateError::Locked);
                }
                pause.tick().await;
            }
            done => return done.map(|()| applied),
        }
    }
}

fn apply_pending(
    harness: &mut AsyncMigrationHarness<AsyncPgConnection>,
    applied: &mut Vec<String>,
) -> Result<(), MigrateError> {
    for migration in pending_in(&harness.applied_migrations().map_err(MigrateError::Migration)?)? {
        harness.run_migration(&migration).map_err(MigrateError::Migration)?;
        applied.push(migration.name().to_string());
    }
    Ok(())
}

/// By the message: diesel's error of a migration shows its cause and does not hand it out.
fn is_lock_timeout(error: &(dyn std::error::Error + Send + Sync)) -> bool {
    error.to_string().contains("canceling statement due to lock timeout")
}

/// The names of the migrations that are not applied yet. Changes nothing. Needs a multi-threaded tokio runtime.
pub async fn pending(connector: &Connector) -> Result<Vec<String>, MigrateError> {
    let mut connection = connector.connect_plainly().await?;
    let applied = if has_bookkeeping(&mut connection).await? {
        AsyncMigrationHarness::new(connection).applied_migrations().map_err(MigrateError::Migration)?
    } else {
        Vec::new()
    };
    pending_in(&applied).map(|migrations| names(&migrations))
}

/// Whether every migration of this service is applied, asked as a request asks. Needs no right but to read diesel's own
/// table.
pub(super) async fn is_current(pool: &Pool) -> Result<bool, StoreError> {
    let applied: Vec<String> = pool.read_rows(|| sql::<Text>("SELECT version FROM __diesel_schema_migrations")).await?;
    let known = embedded().map_err(|error| StoreError::Unexpected(Box::new(error)))?;
    Ok(known.iter().all(|migration| {
        let version = migration.name().version().to_string();
        applied.contains(&version)
    }))
}

/// Whether diesel's own table is there. Asking diesel would make it.
async fn has_bookkeeping(connection: &mut AsyncPgConnection) -> QueryResult<bool> {
    sql::<Bool>("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL").get_result(connection).await
}

fn pending_in(applied: &[MigrationVersion<'_>]) -> Result<Migrations, MigrateError> {
    let mut migrations = embedded()?;
    migrations.retain(|migration| !applied.contains(&migration.name().version()));
    Ok(migrations)
}
