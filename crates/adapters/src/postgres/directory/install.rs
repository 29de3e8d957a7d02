//! Installs, removes and checks the directory's read model (ADR 13): `crm directory install`, `uninstall`, `status` and
//! `verify`. The statements run on a connection of their own, as the role that owns the platform's tables.

use std::time::Duration;

use crm_domain::health::DirectoryModelState;
use diesel::{
    QueryResult,
    dsl::sql,
    sql_types::{BigInt, Bool, Nullable, Text, Timestamptz},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    super::{
        connect::{Connector, PlatformSchema},
        operator::{exists, pause, readers_of, take_lock},
        statement::{Statement, name_key, named_row, search_text},
        timestamp::PgTimestamp,
    },
    model::MODEL_VERSION,
};

const OBJECTS: &str = include_str!("objects.sql");
const CHANGED: &str = include_str!("changed.sql");

/// The key of the advisory lock that keeps two `crm directory` commands from working at once.
const LOCK: i64 = 0x726F_7961_6C64_6972;

/// How long a statement waits for a lock on a table of the platform's. While it waits, later writes wait behind it.
const LOCK_TIMEOUT: Duration = Duration::from_millis(300);

/// How long a statement that did not get its lock is tried again.
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

/// The back-off between two tries.
const BACK_OFF: Duration = Duration::from_millis(500);

/// How many users one transaction adds to the model.
const FILL_BATCH: i64 = 10_000;

/// How many queued customers one transaction computes anew.
const APPLY_BATCH: i64 = 2_000;

/// A table of the platform's whose changes are queued.
struct WatchedTable {
    table: &'static str,
    /// The trigger's function, in the schema `crm`; the triggers are named after it.
    function: &'static str,
    /// The column with the customer's id.
    id: &'static str,
    /// The columns that the directory orders, filters or searches by.
    columns: &'static [&'static str],
}

const WATCHED: [WatchedTable; 4] = [
    WatchedTable {
        table: "user",
        function: "directory_user_changed",
        id: "id",
        columns: &["id", "role", "name", "email", "created_at"],
    },
    WatchedTable {
        table: "customer_profile",
        function: "directory_profile_changed",
        id: "user_id",
        columns: &[
            "user_id",
            "phone",
            "total_spent_paise",
            "total_visits",
            "noshow_count",
            "last_visit_at",
            "booking_requires_approval",
        ],
    },
    WatchedTable {
        table: "loyalty_account",
        function: "directory_loyalty_changed",
        id: "customer_id",
        columns: &["customer_id", "gems_balance"],
    },
    WatchedTable {
        table: "customer_tag_assignment",
        function: "directory_assignment_changed",
        id: "customer_id",
        columns: &["customer_id", "tag_id"],
    },
];

/// The number of triggers of a complete model: one for rows and one for `TRUNCATE` on each table.
const TRIGGERS: i64 = 8;

/// Everybody may execute a new function, so the right is taken from them and given to the roles of the service.
const REVOKE: &str = "REVOKE ALL ON FUNCTION crm.directory_apply, crm.directory_expand, crm.directory_scrub, \
  crm.directory_fill, crm.directory_verify, crm.directory_truth FROM PUBLIC";

/// Whether ICU's root collation is at the version that the model was built with.
macro_rules! is_current_collation {
    () => {
        "(s.collation_version IS NOT DISTINCT FROM pg_collation_actual_version('pg_catalog.\"und-x-icu\"'::regcollation)) \
         AS is_current_collation"
    };
}

/// How many triggers of the model exist and are enabled.
macro_rules! enabled_triggers {
    () => {
        "(SELECT count(*) FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid \
          WHERE t.tgname IN ('crm_directory_rows', 'crm_directory_truncate') AND t.tgenabled = 'A' \
          AND f.pronamespace = to_regnamespace('crm'))"
    };
}

pub(super) use {enabled_triggers, is_current_collation};

/// Why a command failed. Only the operator sees these messages, so they may name tables.
#[derive(Debug, Error)]
pub enum DirectoryModelError {
    /// No connection.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// A statement failed.
    #[error("the database refused")]
    Query(#[from] diesel::result::Error),
    /// The schema `crm` is not there.
    #[error("the schema crm is missing; run `crm migrate` first")]
    NotMigrated,
    /// Another command of this kind was at work all the time. This one has changed nothing.
    #[error("another `crm directory` command is at work; wait until it ends, then run this again")]
    Busy,
    /// A table of the platform's stayed locked.
    #[error(
        "the table {0} stayed locked by a transaction of another program; wait for that transaction or end it \
         (pg_stat_activity shows it with an old xact_start), then run this again: it continues where it stopped"
    )]
    Locked(&'static str),
}

/// What a command does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A step begins.
    Step(&'static str),
    /// So many users are in the model, of about so many.
    Filled {
        /// Users that are in the model.
        done: u64,
        /// All users.
        total: u64,
    },
}

/// Receives what a command does.
pub type OnProgress<'p> = &'p mut (dyn FnMut(Progress) + Send);

named_row! {
    struct StateRow {
        version: BigInt => i64,
        is_current_collation: Bool => bool,
        is_filled: Bool => bool,
        is_ready: Bool => bool,
    }
}

named_row! {
    struct StatusRow {
        version: BigInt => i64,
        is_ready: Bool => bool,
        is_current_collation: Bool => bool,
        customers: BigInt => i64,
        queued: BigInt => i64,
        oldest_queued_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        installed_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        triggers: BigInt => i64,
    }
}

/// The model as `crm directory status` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The version of the model in the database.
    pub version: i64,
    /// The version that this program uses.
    pub expected_version: i64,
    /// Whether reads may use it.
    pub state: DirectoryModelState,
    /// Customers in the model.
    pub customers: u64,
    /// Changes that are not in the model yet.
    pub queued: u64,
    /// When the oldest of them was queued, UTC.
    pub oldest_queued_at: Option<OffsetDateTime>,
    /// When the installation was complete, UTC.
    pub installed_at: Option<OffsetDateTime>,
}

/// The state of a model that was found.
pub(super) fn state_of(version: i64, is_ready: bool, is_current_collation: bool, triggers: i64) -> DirectoryModelState {
    match (is_ready, version == MODEL_VERSION, is_current_collation, triggers == TRIGGERS) {
        (_, false, ..) => DirectoryModelState::OtherVersion,
        (false, ..) => DirectoryModelState::Incomplete,
        (_, _, false, _) => DirectoryModelState::OtherCollation,
        (.., false) => DirectoryModelState::MissingTriggers,
        (true, true, true, true) => DirectoryModelState::InUse,
    }
}

named_row! {
    struct DifferencesRow {
        entries: BigInt => i64,
        searches: BigInt => i64,
        counts: BigInt => i64,
    }
}

/// What `crm directory verify` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Differences {
    /// Customers whose entries differ from the platform's rows.
    pub entries: u64,
    /// Customers whose search text or tags differ.
    pub searches: u64,
    /// Counters that differ from the number of entries.
    pub counts: u64,
}

/// Installs the model, or continues an installation that was interrupted. The platform and the service may run meanwhile. A
/// model of another version or collation is replaced.
///
/// # Errors
///
/// See [`DirectoryModelError`]. What was done stays, and another call continues there.
pub async fn install(connector: &Connector, on_progress: OnProgress<'_>) -> Result<(), DirectoryModelError> {
    let mut session = Session::begin(connector).await?;
    let state = session.state().await?;
    // Without a trigger, changes may have gone unnoticed.
    let continued = match state.filter(|state| state.version == MODEL_VERSION && state.is_current_collation) {
        Some(state) if session.has_triggers().await? => Some(state),
        _ => None,
    };
    match continued {
        Some(StateRow { is_ready: true, .. }) => {
            on_progress(Progress::Step("the model is installed"));
            return Ok(());
        }
        Some(_) => on_progress(Progress::Step("continuing an installation that was interrupted")),
        None => {
            on_progress(Progress::Step("creating tables, functions and triggers"));
            // Another model, or what an interrupted command or a partial restore has left.
            session.remove().await?;
            session.create_objects().await?;
            session.create_triggers().await?;
        }
    }
    on_progress(Progress::Step("computing customers"));
    session.fill(on_progress).await?;
    on_progress(Progress::Step("creating indexes"));
    session.create_indexes(on_progress).await?;
    on_progress(Progress::Step("counting, and computing what changed meanwhile"));
    session.count().await?;
    while session.apply().await? >= APPLY_BATCH {}
    session.batch("UPDATE crm.directory_state SET is_ready = true, installed_at = now()").await?;
    on_progress(Progress::Step("the model is installed"));
    Ok(())
}

/// Removes the model, whatever is there of it. From then on the direct statement answers.
///
/// # Errors
///
/// See [`DirectoryModelError`]. Another call continues.
pub async fn uninstall(connector: &Connector, on_progress: OnProgress<'_>) -> Result<(), DirectoryModelError> {
    let mut session = Session::begin(connector).await?;
    on_progress(Progress::Step("removing triggers, functions and tables"));
    session.remove().await?;
    on_progress(Progress::Step("the model is removed"));
    Ok(())
}

/// The state of the model; `None` without one.
///
/// # Errors
///
/// See [`DirectoryModelError`].
pub async fn status(connector: &Connector) -> Result<Option<Status>, DirectoryModelError> {
    let mut connection = connector.connect_plainly().await?;
    if !exists(&mut connection, "crm.directory_state").await? {
        return Ok(None);
    }
    let statement = Statement::new(concat!(
        "SELECT s.version, s.is_ready, s.installed_at, ",
        is_current_collation!(),
        ", coalesce((SELECT n FROM crm.directory_count WHERE tag = ''), 0) AS customers, \
         (SELECT count(*) FROM crm.directory_queue) AS queued, \
         (SELECT min(queued_at) FROM crm.directory_queue) AS oldest_queued_at, ",
        enabled_triggers!(),
        " AS triggers FROM crm.directory_state s"
    ));
    let rows: Vec<StatusRow> = statement.load(&mut connection).await?;
    Ok(rows.into_iter().next().map(|row| {
        let StatusRow {
            version,
            is_ready,
            is_current_collation,
            customers,
            queued,
            oldest_queued_at,
            installed_at,
            triggers,
        } = row;
        Status {
            version,
            expected_version: MODEL_VERSION,
            state: state_of(version, is_ready, is_current_collation, triggers),
            customers: customers.unsigned_abs(),
            queued: queued.unsigned_abs(),
            oldest_queued_at: oldest_queued_at.map(OffsetDateTime::from),
            installed_at: installed_at.map(OffsetDateTime::from),
        }
    }))
}

/// Compares the model with the platform's tables, in one snapshot; customers that are queued are left out. `None` without a
/// model. Goes through everyone twice.
///
/// # Errors
///
/// See [`DirectoryModelError`].
pub async fn verify(connector: &Connector) -> Result<Option<Differences>, DirectoryModelError> {
    let mut connection = connector.connect_plainly().await?;
    if !exists(&mut connection, "crm.directory_state").await? {
        return Ok(None);
    }
    connection.batch_execute("SET statement_timeout = 0; SET work_mem = '256MB'").await?;
    connection.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let rows: Vec<DifferencesRow> =
        Statement::new("SELECT * FROM crm.directory_verify()").load(&mut connection).await?;
    connection.batch_execute("COMMIT").await?;
    Ok(rows.into_iter().next().map(|row| Differences {
        entries: row.entries.unsigned_abs(),
        searches: row.searches.unsigned_abs(),
        counts: row.counts.unsigned_abs(),
    }))
}

/// A connection that holds the lock of these commands.
struct Session {
    connection: AsyncPgConnection,
    schema: PlatformSchema,
}

impl Session {
    async fn begin(connector: &Connector) -> Result<Self, DirectoryModelError> {
        let mut connection = connector.connect_plainly().await?;
        let settings =
            format!("SET statement_timeout = 0; SET jit = off; SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
        connection.batch_execute(&settings).await?;
        if !exists(&mut connection, "crm.__diesel_schema_migrations").await? {
            return Err(DirectoryModelError::NotMigrated);
        }
        if !take_lock(&mut connection, LOCK, RETRY_TIMEOUT).await? {
            return Err(DirectoryModelError::Busy);
        }
        Ok(Self { connection, schema: connector.schema().clone() })
    }

    async fn batch(&mut self, statements: &str) -> QueryResult<()> {
        self.connection.batch_execute(statements).await
    }

    async fn state(&mut self) -> QueryResult<Option<StateRow>> {
        if !exists(&mut self.connection, "crm.directory_state").await? {
            return Ok(None);
        }
        let statement = Statement::new(concat!(
            "SELECT s.version, s.is_filled, s.is_ready, ",
            is_current_collation!(),
            " FROM crm.directory_state s"
        ));
        let rows: Vec<StateRow> = statement.load(&mut self.connection).await?;
        Ok(rows.into_iter().next())
    }

    async fn has_triggers(&mut self) -> QueryResult<bool> {
        let statement = sql::<BigInt>(concat!("SELECT ", enabled_triggers!()));
        Ok(statement.get_result::<i64>(&mut self.connection).await? == TRIGGERS)
    }

    /// Creates tables and functions in one transaction. The roles that may read the list of migrations are those of the
    /// service: they may use the model.
    async fn create_objects(&mut self) -> QueryResult<()> {
        let functions: String = WATCHED.iter().map(WatchedTable::function).collect();
        let objects = OBJECTS
            .replace("{platform}", &self.schema.quoted())
            .replace("{name_key}", name_key!())
            .replace("{search_text}", search_text!(with phone digits));
        let state = format!(
            "INSERT INTO crm.directory_state (version, collation_version)
             SELECT {MODEL_VERSION}, pg_collation_actual_version('pg_catalog.\"und-x-icu\"'::regcollation)"
        );
        let readers = readers_of("'crm.__diesel_schema_migrations'");
        let grants = format!(
            "DO $$ DECLARE role text; BEGIN
              FOR role IN {readers}
              LOOP
                EXECUTE 'GRANT SELECT ON crm.directory_state, crm.directory_queue, crm.directory_count,
                  crm.directory_entry, crm.directory_search, crm.directory_filter TO ' || role;
                EXECUTE 'GRANT UPDATE ON crm.directory_lock TO ' || role;
                EXECUTE 'GRANT EXECUTE ON FUNCTION crm.directory_apply, crm.directory_expand, crm.directory_scrub TO ' || role;
              END LOOP;
            END $$"
        );
        self.batch(&format!("BEGIN; {objects}; {functions}; {state}; {REVOKE}; {grants}; COMMIT")).await
    }

    async fn create_triggers(&mut self) -> Result<(), DirectoryModelError> {
        for watched in &WATCHED {
            let table = format!("{}.\"{}\"", self.schema.quoted(), watched.table);
            for (trigger, events, level, function) in [
                ("crm_directory_rows", "INSERT OR UPDATE OR DELETE", "ROW", watched.function),
                ("crm_directory_truncate", "TRUNCATE", "STATEMENT", "directory_truncated"),
            ] {
                // ALWAYS: also for rows that logical replication applies.
                let statements = format!(
                    "BEGIN;
                     CREATE TRIGGER {trigger} AFTER {events} ON {table} FOR EACH {level} EXECUTE FUNCTION crm.{function}();
                     ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger};
                     COMMIT"
                );
                self.retry(&statements, watched.table).await?;
            }
        }
        Ok(())
    }

    /// Runs a transaction that takes a lock on that table of the platform's, until it gets it.
    async fn retry(&mut self, statements: &str, table: &'static str) -> Result<(), DirectoryModelError> {
        let began = Instant::now();
        loop {
            let tried = Instant::now();
            let Err(error) = self.batch(statements).await else { return Ok(()) };
            let _ = self.batch("ROLLBACK").await;
            // diesel does not pass on the SQLSTATE of a lock timeout; it takes at least this time.
            if tried.elapsed() < LOCK_TIMEOUT {
                return Err(error.into());
            }
            if began.elapsed() >= RETRY_TIMEOUT {
                return Err(DirectoryModelError::Locked(table));
            }
            pause(BACK_OFF).await;
        }
    }

    async fn fill(&mut self, on_progress: OnProgress<'_>) -> QueryResult<()> {
        if self.state().await?.is_some_and(|state| state.is_filled) {
            return Ok(());
        }
        let count = |condition: &str| format!("SELECT count(*) FROM {}.\"user\" u {condition}", self.schema.quoted());
        let total = count("");
        let done = count("WHERE u.id <= (SELECT filled_up_to COLLATE \"default\" FROM crm.directory_state)");
        let total: i64 = sql::<BigInt>(&total).get_result(&mut self.connection).await?;
        let mut done: i64 = sql::<BigInt>(&done).get_result(&mut self.connection).await?;
        loop {
            on_progress(Progress::Filled { done: done.min(total).unsigned_abs(), total: total.unsigned_abs() });
            let fill = sql::<Bool>("SELECT crm.directory_fill(").bind::<BigInt, _>(FILL_BATCH).sql("::int)");
            if !fill.get_result(&mut self.connection).await? {
                return Ok(());
            }
            done += FILL_BATCH;
        }
    }

    async fn create_indexes(&mut self, on_progress: OnProgress<'_>) -> QueryResult<()> {
        for (name, columns) in [
            ("directory_entry_ltv", "tag, ltv DESC, user_id"),
            ("directory_entry_visits", "tag, visits DESC, user_id"),
            ("directory_entry_noshows", "tag, noshows DESC, user_id"),
            ("directory_entry_gems", "tag, gems DESC NULLS LAST, user_id"),
            ("directory_entry_last_visit", "tag, last_visit DESC NULLS LAST, user_id"),
            ("directory_entry_name", "tag, name, user_id"),
        ] {
            self.batch(&format!("CREATE INDEX IF NOT EXISTS {name} ON crm.directory_entry ({columns})")).await?;
        }
        match self.trigram_schema().await? {
            Some(schema) => {
                let statement = format!(
                    "CREATE INDEX IF NOT EXISTS directory_search_text ON crm.directory_search USING gin (text {schema}.gin_trgm_ops) \
                     WITH (fastupdate = off)"
                );
                self.batch(&statement).await?;
            }
            None => on_progress(Progress::Step(
                "the extension pg_trgm is not available: searches read the search text of every customer",
            )),
        }
        self.batch("VACUUM (ANALYZE) crm.directory_entry").await?;
        self.batch("VACUUM (ANALYZE) crm.directory_filter").await?;
        self.batch("VACUUM (ANALYZE) crm.directory_search").await
    }

    /// The schema of the extension `pg_trgm`, which is created in `crm` when the database does not have it.
    async fn trigram_schema(&mut self) -> QueryResult<Option<String>> {
        let _ = self.batch("CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA crm").await;
        let found = sql::<Text>(
            "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
             WHERE e.extname = 'pg_trgm'",
        );
        Ok(found.load(&mut self.connection).await?.into_iter().next())
    }

    async fn count(&mut self) -> QueryResult<()> {
        self.batch(
            "BEGIN ISOLATION LEVEL REPEATABLE READ;
             LOCK TABLE crm.directory_lock;
             DELETE FROM crm.directory_count;
             INSERT INTO crm.directory_count (tag, n) SELECT tag, count(*) FROM crm.directory_entry GROUP BY tag;
             COMMIT",
        )
        .await
    }

    /// Computes queued customers anew; gives their number.
    async fn apply(&mut self) -> QueryResult<i64> {
        self.batch("BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE crm.directory_lock").await?;
        let expand = sql::<BigInt>("SELECT crm.directory_expand()");
        let expanded: i64 = expand.get_result(&mut self.connection).await?;
        let apply =
            sql::<BigInt>("SELECT taken FROM crm.directory_apply(").bind::<BigInt, _>(APPLY_BATCH).sql("::int, '{}')");
        let taken: i64 = apply.get_result(&mut self.connection).await?;
        self.batch("COMMIT").await?;
        Ok(if expanded > 0 { APPLY_BATCH } else { taken })
    }

    /// Removes everything of the model. Reads stop using it first, then the triggers go, then what they need.
    async fn remove(&mut self) -> Result<(), DirectoryModelError> {
        if exists(&mut self.connection, "crm.directory_state").await? {
            self.batch("UPDATE crm.directory_state SET is_ready = false").await?;
        }
        for watched in &WATCHED {
            let table = format!("{}.\"{}\"", self.schema.quoted(), watched.table);
            if !exists(&mut self.connection, &table).await? {
                continue;
            }
            for trigger in ["crm_directory_rows", "crm_directory_truncate"] {
                let is_there = sql::<BigInt>("SELECT count(*) FROM pg_trigger WHERE tgname = ")
                    .bind::<Text, _>(trigger)
                    .sql(" AND tgrelid = ")
                    .bind::<Text, _>(&table)
                    .sql("::regclass");
                if is_there.get_result::<i64>(&mut self.connection).await? > 0 {
                    self.retry(&format!("BEGIN; DROP TRIGGER IF EXISTS {trigger} ON {table}; COMMIT"), watched.table)
                        .await?;
                }
            }
        }
        let functions: Vec<_> = WATCHED.iter().map(|watched| format!("crm.{}()", watched.function)).collect();
        let functions = functions.join(", ");
        self.retry(
            &format!(
                "BEGIN;
                 DROP FUNCTION IF EXISTS {functions};
                 DROP FUNCTION IF EXISTS crm.directory_truncated(), crm.directory_verify(), crm.directory_fill(int),
                   crm.directory_scrub(int, interval), crm.directory_expand(), crm.directory_apply(int, text[]),
                   crm.directory_truth(text[]);
                 DROP TABLE IF EXISTS crm.directory_state, crm.directory_lock, crm.directory_queue, crm.directory_count,
                   crm.directory_entry, crm.directory_search, crm.directory_filter, crm.directory_scrub;
                 DO $$ BEGIN
                   IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm' AND extnamespace = 'crm'::regnamespace) THEN
                     DROP EXTENSION pg_trgm;
                   END IF;
                 END $$;
                 COMMIT"
            ),
            "crm.directory_state",
        )
        .await
    }
}

impl WatchedTable {
    /// The definition of the trigger's function.
    fn function(&self) -> String {
        let columns = |record: &str| {
            self.columns.iter().map(|column| format!("{record}.{column}")).collect::<Vec<_>>().join(", ")
        };
        CHANGED
            .replace("{name}", self.function)
            .replace("{id}", self.id)
            .replace("{old}", &columns("OLD"))
            .replace("{new}", &columns("NEW"))
    }
}
