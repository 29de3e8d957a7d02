//! The connection pool.
//!
//! A [`PooledConnection`] goes back to the pool only when it is known to be fit. Behind a pooler in transaction mode every
//! use of a connection is a transaction (see [`PoolMode`]); otherwise reads need none.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crm_domain::{health::Connections, store_error::StoreError};
use deadpool::{
    Runtime,
    managed::{self, Metrics, Object, RecycleError, RecycleResult, Timeouts},
};
use diesel::{ConnectionError, ConnectionResult, QueryResult, query_builder::QueryId};
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection as _,
    methods::{ExecuteDsl, LoadQuery},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span, info_span};

use super::{
    connect::{Connector, DrivenConnection, PoolMode, SessionSettings, english_messages},
    error,
    parts::AvailableParts,
};

/// The races between our writes and the platform's are thought through for this isolation level.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// One snapshot holds everything that such a transaction reads.
const BEGIN_MODEL_UPDATE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";

/// Waits until no other transaction writes to the directory's read model. The snapshot is taken by the first query, so it
/// begins after this, and no query may come before. The model can be computed anew, so the commit need not reach the disk.
const LOCK_MODEL: &str = "SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = 250; \
                          LOCK TABLE crm.directory_lock IN EXCLUSIVE MODE";

/// An export reads everyone from one snapshot, in many statements. The first one sorts, and between two of them a slow client
/// may be waited for.
const BEGIN_EXPORT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const EXPORT_SETTINGS: &str =
    "SET LOCAL statement_timeout = 60000; SET LOCAL idle_in_transaction_session_timeout = 60000";

/// How often a read, or the begin of a unit of work, is tried when its connection turns out to be dead or outdated.
const ATTEMPTS: usize = 3;

/// How connections are shared.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// The most connections at once.
    pub size: usize,
    /// How long a request waits for a connection to come free before it is answered 503.
    pub wait: Duration,
    /// How long making a new connection may take.
    pub connect: Duration,
    /// How old a connection may become: up to a tenth less, so that not all of them are replaced at once.
    pub max_age: Duration,
    /// What every connection is set to first.
    pub session: SessionSettings,
}

/// Connections that are made when first needed and shared after that.
#[derive(Clone)]
pub struct Pool {
    connections: managed::Pool<Manager>,
    /// Whether the platform's sessions say who impersonates their user, and the role may read that.
    has_impersonators: Arc<AtomicBool>,
    /// The optional parts that are available; absent before the first check of the schema.
    available_parts: Arc<Mutex<Option<AvailableParts>>>,
    mode: PoolMode,
    /// The statements that begin a transaction. Plain text rather than diesel's transaction manager: the transaction's
    /// settings go to the server in the same round trip.
    begin: Arc<str>,
    /// The statements that begin a transaction in which the directory's read model is written.
    begin_model_update: Arc<str>,
    /// The statements that begin an export.
    begin_export: Arc<str>,
}

impl Pool {
    /// Makes a pool of connections to that database. It connects to nothing yet.
    ///
    /// Its connections live on the runtime that this is called on, if any: threads share them that may end before the last
    /// request does.
    ///
    /// # Panics
    ///
    /// Never: the pool is given the runtime that its timeouts need.
    #[must_use]
    pub fn new(connector: Connector, settings: PoolSettings) -> Self {
        let PoolSettings { size, wait, connect, max_age, session } = settings;
        let search_path = connector.search_path("SET LOCAL");
        let manager =
            Manager { connector, session, max_age, runtime: Handle::try_current().ok(), generation: AtomicU64::new(0) };
        let connections = managed::Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait: Some(wait), create: Some(connect), recycle: Some(connect) })
            .build()
            .expect("a pool with timeouts has a runtime");
        // Behind such a pooler a transaction brings all settings along. The last statement may not come before `rest`: it is a
        // query, and the snapshot begins with the first one.
        let statements = |begin: &str, rest: &str| match session.mode {
            PoolMode::Session => format!("{begin}{rest}"),
            PoolMode::Transaction => {
                format!(
                    "{begin}; {}; {search_path}{rest}; {}",
                    session.statements("SET LOCAL"),
                    english_messages("true")
                )
            }
        };
        Self {
            connections,
            has_impersonators: Arc::default(),
            available_parts: Arc::default(),
            mode: session.mode,
            begin: statements(BEGIN, "").into(),
            begin_model_update: statements(BEGIN_MODEL_UPDATE, &format!("; {LOCK_MODEL}")).into(),
            begin_export: statements(BEGIN_EXPORT, &format!("; {EXPORT_SETTINGS}")).into(),
        }
    }

    /// Runs a statement that reads and gives its rows. When its connection is dead or outdated, the statement is built
    /// anew and runs on another one.
    ///
    /// The future is boxed because the compiler cannot prove otherwise that it is `Send` for every lifetime.
    pub(crate) fn read_rows<'f, Row, S>(
        &'f self,
        statement: impl Fn() -> S + Send + Sync + 'f,
    ) -> BoxFuture<'f, Result<Vec<Row>, StoreError>>
    where
        Row: Send + 'f,
        S: LoadQuery<'f, AsyncPgConnection, Row> + Send + 'f,
    {
        let reading = async move {
            let mut attempt = 1;
            loop {
                let mut connection = match self.mode {
                    PoolMode::Session => self.connection().await?,
                    PoolMode::Transaction => self.begin().await?,
                };
                match connection.rows(statement()).await {
                    Ok(rows) => {
                        // What was read stands, whatever becomes of the connection.
                        let _ = connection.end("COMMIT").await;
                        return Ok(rows);
                    }
                    Err(failure) if attempt < ATTEMPTS && error::is_connection_failure(&failure) => attempt += 1,
                    Err(failure) => return Err(error::store_error(failure)),
                }
            }
        };
        reading.boxed()
    }

    /// Like [`Self::read_rows`], of the first row, which need not be there.
    pub(crate) async fn read_row<'f, Row, S>(
        &'f self,
        statement: impl Fn() -> S + Send + Sync + 'f,
    ) -> Result<Option<Row>, StoreError>
    where
        Row: Send + 'f,
        S: LoadQuery<'f, AsyncPgConnection, Row> + Send + 'f,
    {
        self.read_rows(statement).await.map(|rows| rows.into_iter().next())
    }

    /// Takes a connection and begins a transaction on it.
    pub(crate) async fn begin(&self) -> Result<PooledConnection, StoreError> {
        self.begin_by(&self.begin).await
    }

    /// Takes a connection and begins a transaction that alone writes to the directory's read model, and whose snapshot
    /// begins after that of every other one of its kind has ended.
    pub(crate) async fn begin_model_update(&self) -> Result<PooledConnection, StoreError> {
        self.begin_by(&self.begin_model_update).await
    }

    /// Takes a connection and begins a transaction that reads one snapshot for long.
    pub(crate) async fn begin_export(&self) -> Result<PooledConnection, StoreError> {
        self.begin_by(&self.begin_export).await
    }

    async fn begin_by(&self, statements: &str) -> Result<PooledConnection, StoreError> {
        let mut attempt = 1;
        loop {
            let mut connection = self.connection().await?;
            match connection.batch(statements).await {
                Ok(()) => {
                    connection.has_transaction = true;
                    return Ok(connection);
                }
                Err(failure) if attempt < ATTEMPTS && error::is_connection_failure(&failure) => attempt += 1,
                Err(failure) => return Err(error::store_error(failure)),
            }
        }
    }

    async fn connection(&self) -> Result<PooledConnection, StoreError> {
        let waiting = self.connections.get().instrument(info_span!("wait for a connection"));
        let connection = waiting.await.map_err(error::pool_error)?;
        Ok(PooledConnection { connection: Some(connection), has_transaction: false })
    }

    /// Whether the optional column `session.impersonated_by` can be read, as the last check of the schema found it.
    pub(crate) fn has_impersonators(&self) -> bool {
        self.has_impersonators.load(Ordering::Relaxed)
    }

    /// Notes whether that column can be read.
    pub(crate) fn set_has_impersonators(&self, has: bool) {
        self.has_impersonators.store(has, Ordering::Relaxed);
    }

    /// The optional parts that are available, as the last check of the schema found them; absent before the first one.
    #[must_use]
    pub fn available_parts(&self) -> Option<AvailableParts> {
        *self.available_parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes which optional parts are available; gives what was noted before.
    pub(crate) fn set_available_parts(&self, parts: AvailableParts) -> Option<AvailableParts> {
        self.available_parts.lock().unwrap_or_else(PoisonError::into_inner).replace(parts)
    }

    /// Closes the idle connections, and those in use when they come back: new ones may lead to another server, as after a
    /// failover.
    pub fn close_idle(&self) {
        self.connections.manager().outdate_all();
        self.connections.retain(|_, _| false);
    }

    /// The connections right now.
    #[must_use]
    pub fn connections(&self) -> Connections {
        let status = self.connections.status();
        Connections {
            max: status.max_size,
            used: status.size.saturating_sub(status.available),
            idle: status.available,
            waiting: status.waiting,
        }
    }
}

/// Makes the pool's connections, and decides which of them are fit for another use.
struct Manager {
    connector: Connector,
    session: SessionSettings,
    max_age: Duration,
    runtime: Option<Handle>,
    /// Connections of an earlier generation are not used again.
    generation: AtomicU64,
}

/// A connection of the pool.
struct Member {
    connection: DrivenConnection,
    generation: u64,
    expires_at: Instant,
}

impl Manager {
    async fn connect(&self) -> ConnectionResult<DrivenConnection> {
        let Some(runtime) = &self.runtime else { return self.connector.connect(self.session).await };
        let (connector, session) = (self.connector.clone(), self.session);
        // Whoever gives up waiting ends the task, and with it the socket.
        let connecting = AbortOnDropHandle::new(runtime.spawn(async move { connector.connect(session).await }));
        connecting.await.unwrap_or_else(|_| Err(ConnectionError::BadConnection("the process is ending".to_owned())))
    }

    /// Has all connections that exist now replaced before their next use.
    fn outdate_all(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

impl managed::Manager for Manager {
    type Type = Member;
    type Error = ConnectionError;

    async fn create(&self) -> ConnectionResult<Member> {
        let generation = self.generation.load(Ordering::Relaxed);
        let connection = self.connect().await?;
        Ok(Member { connection, generation, expires_at: Instant::now() + with_jitter(self.max_age) })
    }

    async fn recycle(&self, member: &mut Member, _: &Metrics) -> RecycleResult<ConnectionError> {
        let is_outdated = member.generation != self.generation.load(Ordering::Relaxed);
        if is_outdated || member.connection.is_closed() || member.expires_at <= Instant::now() {
            return Err(RecycleError::message("closed, outdated or too old"));
        }
        Ok(())
    }
}

/// `duration`, less up to a tenth.
fn with_jitter(duration: Duration) -> Duration {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    // The standard library's hasher is seeded anew each time, which is random enough for this.
    let percent = RandomState::new().build_hasher().finish() % 10;
    duration.mul_f64(1.0 - f64::from(u8::try_from(percent).unwrap_or_default()) / 100.0)
}

/// A span without the statement's text, which must not hold what a statement might.
fn statement_span() -> Span {
    info_span!("statement", otel.kind = "client", db.system.name = "postgresql")
}

/// A connection in use. Unless [`Self::end`] gives it back it is closed: after a failure, or when the caller of a statement
/// went away in the middle of it, nobody knows what state it is in.
pub(crate) struct PooledConnection {
    connection: Option<Object<Manager>>,
    has_transaction: bool,
}

impl PooledConnection {
    /// Runs a statement and gives its rows.
    pub(crate) fn rows<'c, 'q: 'c, Row, S>(&'c mut self, statement: S) -> BoxFuture<'c, QueryResult<Vec<Row>>>
    where
        Row: Send + 'c,
        S: LoadQuery<'q, AsyncPgConnection, Row> + Send + 'q,
    {
        let running = async move {
            let rows = diesel_async::RunQueryDsl::load(statement, self.open()?).await;
            self.close_on_failure(rows)
        };
        running.instrument(statement_span()).boxed()
    }

    /// Runs a statement and gives the number of rows that it changed.
    pub(crate) fn execute<'f, S>(&'f mut self, statement: S) -> BoxFuture<'f, QueryResult<usize>>
    where
        S: ExecuteDsl<AsyncPgConnection> + QueryId + Send + 'f,
    {
        let running = async move {
            let changed = diesel_async::RunQueryDsl::execute(statement, self.open()?).await;
            self.close_on_failure(changed)
        };
        running.instrument(statement_span()).boxed()
    }

    /// Runs statements without values or rows.
    pub(crate) async fn batch(&mut self, sql: &str) -> QueryResult<()> {
        let done = self.open()?.batch_execute(sql).instrument(statement_span()).await;
        self.close_on_failure(done)
    }

    fn open(&mut self) -> QueryResult<&mut AsyncPgConnection> {
        let member = self.connection.as_mut().ok_or(diesel::result::Error::BrokenTransactionManager)?;
        Ok(&mut member.connection)
    }

    fn close_on_failure<T>(&mut self, outcome: QueryResult<T>) -> QueryResult<T> {
        if let Err(failure) = &outcome {
            if error::is_connection_failure(failure)
                && let Some(pool) = self.connection.as_ref().and_then(Object::pool)
            {
                // What ended this one, or outdated its prepared statements, did so to the others.
                pool.manager().outdate_all();
            }
            self.close();
        }
        outcome
    }

    /// Ends the transaction, if one has begun, by `COMMIT` or `ROLLBACK`, and gives the connection back to the pool.
    pub(crate) async fn end(mut self, by: &str) -> QueryResult<()> {
        if self.has_transaction {
            self.batch(by).await?;
        }
        self.connection = None;
        Ok(())
    }

    fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}

/// Nothing is waited for here, so there is no `ROLLBACK` and no reading of what is still to come: the server sees the socket
/// close, ends what runs on it (`client_connection_check_interval`) and rolls back.
impl Drop for PooledConnection {
    fn drop(&mut self) {
        self.close();
    }
}
