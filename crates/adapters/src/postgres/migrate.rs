//! The schema's migrations: embedded, applied under a lock, or only looked at.

use std::time::Duration;

use crm_domain::store_error::StoreError;
use diesel::{
    QueryResult,
    connection::BoxableConnection,
    dsl::sql,
    migration::{self, Migration, MigrationMetadata, MigrationName, MigrationSource},
    pg::Pg,
    sql_types::Text,
};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use thiserror::Error;
use tokio::time::Instant;

use super::{
    connect::{Connector, PlatformSchema},
    operator::{exists, pause, readers_of, take_lock},
    pool::Pool,
    schema_check::{NEEDED, OPTIONAL},
};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");

/// Where diesel keeps the versions of the applied migrations: `__diesel_schema_migrations`, in the schema `crm`, because the
/// platform's tools propose to drop tables that they do not know from the platform's schema.
const BOOKKEEPING: &str = "crm.__diesel_schema_migrations";

/// How [`pending`] names what [`migrate`] does before the first migration: making the schema `crm` and the table in it.
const MAKE_BOOKKEEPING: &str = "schema crm with its list of applied migrations";

/// How [`pending`] names what [`migrate`] does after the last migration for [`Platform::Standalone`].
const MAKE_HISTORY: &str = "the platform's tables of a customer's history";

/// The statements that make them where they are missing.
const PLATFORM_HISTORY: &str = include_str!("migrate/platform_history.sql");

/// The key of the advisory lock that keeps two instances from migrating at once; any constant of this service's own.
const LOCK: i64 = 0x726F_7961_6C67_6C6F;

/// The `lock_timeout` of a migration's statements. While one waits for a lock on a table, all later statements of the
/// platform on that table wait behind it. Shorter than PostgreSQL's default `deadlock_timeout`, so that the migration gives
/// up before PostgreSQL looks for a deadlock, which might end a transaction of the platform.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// The back-off before the first retry of a migration. It doubles with each retry, up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(8);

/// How long [`migrate`] retries a migration, and how long it waits for another instance.
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

/// What a migration may make of the platform's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// The platform's users and sessions must be there already.
    Existing,
    /// An empty platform is wanted, for a demonstration or for tests.
    Standalone,
}

/// The tables that only the platform makes: without them, the database or the schema is another one.
const PLATFORM_TABLES: [&str; 2] = ["user", "session"];

/// Why migrating failed. Only the operator sees these messages, so they may name tables.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// No connection.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// A statement failed.
    #[error("a database statement failed")]
    Query(#[from] diesel::result::Error),
    /// Another instance was migrating all the time. This one has changed nothing.
    #[error("another `crm migrate` has been running for {} s; wait until it ends, then run this again", .0.as_secs())]
    Busy(Duration),
    /// A migration failed again and again after it had waited; those before it stay applied, nothing of it is.
    #[error(
        "a migration could not be applied, probably because a transaction of another program keeps a table locked; \
         wait for that transaction or end it (pg_stat_activity shows it with an old xact_start), then run this again: {0}"
    )]
    Locked(Box<dyn std::error::Error + Send + Sync>),
    /// This is not the platform's database, or not its schema. Nothing was changed.
    #[error(
        "there is no table {} in the schema {schema} of this database: check DATABASE_URL and DATABASE_SCHEMA. If an empty \
         platform is wanted, for a demonstration or for tests, run `crm migrate --standalone`", tables.join(" and no table ")
    )]
    NotThePlatform {
        /// The tables of the platform's that are missing.
        tables: Vec<&'static str>,
        /// The schema that `DATABASE_SCHEMA` names.
        schema: String,
    },
    /// A migration failed; those before it stay applied, it and those after it are not.
    #[error("a migration failed: {0}")]
    Migration(Box<dyn std::error::Error + Send + Sync>),
}

type Migrations = Vec<Box<dyn Migration<Pg>>>;

/// A migration whose unqualified names mean the platform's tables. Before and after it they mean those in `crm`, where
/// diesel keeps its table, whose name it does not qualify.
struct InPlatformSchema {
    migration: Box<dyn Migration<Pg>>,
    search_path: String,
}

impl Migration<Pg> for InPlatformSchema {
    fn run(&self, connection: &mut dyn BoxableConnection<Pg>) -> migration::Result<()> {
        connection.batch_execute(&self.search_path)?;
        self.migration.run(connection)?;
        Ok(connection.batch_execute("SET LOCAL search_path = crm")?)
    }

    fn revert(&self, connection: &mut dyn BoxableConnection<Pg>) -> migration::Result<()> {
        self.migration.revert(connection)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        self.migration.metadata()
    }

    fn name(&self) -> &dyn MigrationName {
        self.migration.name()
    }
}

fn embedded() -> Result<Migrations, MigrateError> {
    let mut migrations: Migrations = MIGRATIONS.migrations().map_err(MigrateError::Migration)?;
    migrations.sort_by(|a, b| a.name().version().cmp(&b.name().version()));
    Ok(migrations)
}

fn names(migrations: &Migrations) -> Vec<String> {
    migrations.iter().map(|migration| migration.name().to_string()).collect()
}

/// Applies the pending migrations, each in a transaction, and returns the names of those it applied. A second instance
/// that starts meanwhile waits and then finds nothing to do. Needs a multi-threaded tokio runtime.
///
/// # Errors
///
/// [`MigrateError::NotThePlatform`]; [`MigrateError::Locked`] and [`MigrateError::Busy`] after two minutes; see
/// [`migrate_within`].
pub async fn migrate(connector: &Connector, platform: Platform) -> Result<Vec<String>, MigrateError> {
    migrate_within(connector, platform, RETRY_TIMEOUT).await
}

/// Like [`migrate`], with `timeout` as the time for which it waits for another instance, and then for which it retries a
/// migration that waits for a lock.
///
/// # Errors
///
/// [`MigrateError::Locked`] or [`MigrateError::Busy`] when that time has passed.
pub async fn migrate_within(
    connector: &Connector,
    platform: Platform,
    timeout: Duration,
) -> Result<Vec<String>, MigrateError> {
    let mut connection = connector.connect_plainly().await?;
    if platform == Platform::Existing {
        require_platform(&mut connection, connector).await?;
    }
    // A migration may take long, but no statement of it may wait long.
    let settings = format!("SET statement_timeout = 0; SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    connection.batch_execute(&settings).await?;
    if !take_lock(&mut connection, LOCK, timeout).await? {
        return Err(MigrateError::Busy(timeout));
    }
    let mut applied = Vec::new();
    if !exists(&mut connection, BOOKKEEPING).await? {
        connection.batch_execute(&bookkeeping_statements(connector.schema())).await?;
        applied.push(MAKE_BOOKKEEPING.to_owned());
    }
    connection.batch_execute("SET search_path = crm").await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let mut back_off = FIRST_BACK_OFF;
    let began = Instant::now();
    loop {
        match apply_pending(&mut harness, connector, &mut applied) {
            // Rolled back: no lock is held during the back-off, and the platform's statements proceed.
            Err(MigrateError::Locked(_)) if began.elapsed() < timeout => pause(back_off).await,
            outcome => {
                outcome?;
                break;
            }
        }
        back_off = LONGEST_BACK_OFF.min(back_off * 2);
    }
    if platform == Platform::Standalone {
        // After the migrations: these tables refer to others of the platform's.
        let mut connection = harness.into_inner();
        if lacks_history(&mut connection, connector).await? {
            let search_path = connector.search_path("SET LOCAL");
            connection.batch_execute(&format!("BEGIN; {search_path}; {PLATFORM_HISTORY}; COMMIT")).await?;
            applied.push(MAKE_HISTORY.to_owned());
        }
    }
    Ok(applied)
}

/// Whether a table of a customer's history is missing.
async fn lacks_history(connection: &mut AsyncPgConnection, connector: &Connector) -> QueryResult<bool> {
    for table in OPTIONAL.iter().flat_map(|optional| optional.tables) {
        if !platform_has(connection, connector, table.name).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Applies the pending migrations and adds their names to `applied`.
///
/// # Errors
///
/// [`MigrateError::Locked`] when a migration may succeed later. diesel does not pass on the SQLSTATE of a lock timeout,
/// and its message may be in any language. But it takes [`LOCK_TIMEOUT`], and to retry a migration that failed for another
/// reason after that time does no harm: it was one transaction, so nothing of it is applied.
fn apply_pending(
    harness: &mut AsyncMigrationHarness<AsyncPgConnection>,
    connector: &Connector,
    applied: &mut Vec<String>,
) -> Result<(), MigrateError> {
    let known: Vec<_> = harness.applied_migrations().map_err(MigrateError::Migration)?;
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    for migration in pending_in(&known)? {
        let migration = InPlatformSchema { migration, search_path: connector.search_path("SET LOCAL") };
        let began = Instant::now();
        if let Err(cause) = harness.run_migration(&migration) {
            let has_waited = began.elapsed() >= LOCK_TIMEOUT;
            let is_retryable = has_waited && migration.metadata().run_in_transaction();
            return Err(if is_retryable { MigrateError::Locked(cause) } else { MigrateError::Migration(cause) });
        }
        applied.push(migration.name().to_string());
    }
    Ok(())
}

/// The statements that make the schema `crm` and [`BOOKKEEPING`] in it. Earlier versions kept that table among the platform's:
/// its rows and the rights on it are copied, and it stays, because instances of those versions still read it.
fn bookkeeping_statements(schema: &PlatformSchema) -> String {
    let former = former_bookkeeping(schema);
    let literal = format!("'{}'", former.replace('\'', "''"));
    let readers = readers_of(&literal);
    format!(
        "BEGIN;
         DO $$ BEGIN
           IF to_regnamespace('crm') IS NULL THEN CREATE SCHEMA crm; END IF;
         END $$;
         CREATE TABLE {BOOKKEEPING} (
           version varchar(50) PRIMARY KEY,
           run_on  timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
         );
         DO $$ DECLARE reader text; BEGIN
           IF to_regclass({literal}) IS NOT NULL THEN
             INSERT INTO {BOOKKEEPING} SELECT version, run_on FROM {former};
             FOR reader IN
               {readers}
             LOOP
               EXECUTE 'GRANT USAGE ON SCHEMA crm TO ' || reader;
               EXECUTE 'GRANT SELECT ON {BOOKKEEPING} TO ' || reader;
             END LOOP;
           END IF;
         END $$;
         COMMIT"
    )
}

/// Where earlier versions kept diesel's table.
fn former_bookkeeping(schema: &PlatformSchema) -> String {
    format!("{}.__diesel_schema_migrations", schema.quoted())
}

/// Whether that table of the platform's is there.
async fn platform_has(connection: &mut AsyncPgConnection, connector: &Connector, table: &str) -> QueryResult<bool> {
    exists(connection, &format!("{}.\"{table}\"", connector.schema().quoted())).await
}

async fn require_platform(connection: &mut AsyncPgConnection, connector: &Connector) -> Result<(), MigrateError> {
    let mut tables = Vec::new();
    for table in PLATFORM_TABLES {
        if !platform_has(connection, connector, table).await? {
            tables.push(table);
        }
    }
    if tables.is_empty() {
        return Ok(());
    }
    Err(MigrateError::NotThePlatform { tables, schema: connector.schema().as_str().to_owned() })
}

/// Each table of the platform's that this service needs, and whether it is there. [`migrate`] makes those that are not.
pub async fn platform_tables(connector: &Connector) -> Result<Vec<(&'static str, bool)>, MigrateError> {
    let mut connection = connector.connect_plainly().await?;
    let mut tables = Vec::new();
    for table in NEEDED.iter().map(|table| table.name).filter(|name| !name.starts_with("crm.")) {
        tables.push((table, platform_has(&mut connection, connector, table).await?));
    }
    Ok(tables)
}

/// The names of the migrations that are not applied yet. Changes nothing. The rights of the service's role are enough.
///
/// # Errors
///
/// [`MigrateError::NotThePlatform`], as [`migrate`].
pub async fn pending(connector: &Connector, platform: Platform) -> Result<Vec<String>, MigrateError> {
    let mut connection = connector.connect_plainly().await?;
    if platform == Platform::Existing {
        require_platform(&mut connection, connector).await?;
    }
    let mut pending = Vec::new();
    let former = former_bookkeeping(connector.schema());
    let applied = if exists(&mut connection, BOOKKEEPING).await? {
        applied_in(&mut connection, BOOKKEEPING).await?
    } else {
        pending.push(MAKE_BOOKKEEPING.to_owned());
        if exists(&mut connection, &former).await? { applied_in(&mut connection, &former).await? } else { Vec::new() }
    };
    pending.extend(names(&pending_in(&applied)?));
    if platform == Platform::Standalone && lacks_history(&mut connection, connector).await? {
        pending.push(MAKE_HISTORY.to_owned());
    }
    Ok(pending)
}

/// The versions of the applied migrations in that table. By hand: the table may be in one of two schemas.
async fn applied_in(connection: &mut AsyncPgConnection, table: &str) -> QueryResult<Vec<String>> {
    sql::<Text>(&format!("SELECT version FROM {table}")).load(connection).await
}

/// Whether every migration of this service is applied, asked as a request asks. Needs no right but to read diesel's own
/// table.
pub(super) async fn is_current(pool: &Pool) -> Result<bool, StoreError> {
    let applied: Vec<String> =
        pool.read_rows(|| sql::<Text>("SELECT version FROM crm.__diesel_schema_migrations")).await?;
    let pending = pending_in(&applied).map_err(|error| StoreError::Unexpected(Box::new(error)))?;
    Ok(pending.is_empty())
}

fn pending_in(applied: &[String]) -> Result<Migrations, MigrateError> {
    let mut migrations = embedded()?;
    migrations.retain(|migration| !applied.contains(&migration.name().version().to_string()));
    Ok(migrations)
}
