//! Sharing connections: a [`Lease`] is a connection that goes back to the pool only when it is known to be fit.
//!
//! Behind a pooler in transaction mode every lease is a transaction (see [`PoolMode`]); else reads need none.

use std::{sync::Arc, time::Duration};

use crm_domain::{health::Connections, store::StoreError};
use deadpool::{Runtime, managed::Timeouts};
use diesel::{ConnectionError, QueryResult};
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection as _,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool as diesel_deadpool},
};
use futures_util::FutureExt as _;
use tokio::{runtime::Handle, task::JoinSet};
use tracing::{Instrument as _, info_span};

use super::{
    connect::{Connector, PoolMode, SessionSettings},
    error,
};

/// The level that the races between our writes and the platform's are thought through for.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

type Connection = diesel_deadpool::Object<AsyncPgConnection>;

/// How connections are shared.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// The most connections at once.
    pub size: usize,
    /// How long a request waits for a connection to come free before it is answered 503.
    pub wait: Duration,
    /// How long making a new connection may take.
    pub connect: Duration,
    /// What every connection is told first.
    pub session: SessionSettings,
}

/// Connections that are made when first needed and shared after that.
#[derive(Clone)]
pub struct Pool {
    connections: diesel_deadpool::Pool<AsyncPgConnection>,
    mode: PoolMode,
    /// What begins a transaction.
    begin: Arc<str>,
}

impl Pool {
    /// A pool of connections to that database. Connects to nothing yet.
    ///
    /// Its connections live on the runtime that this is called on, if any: they are shared by threads that may end before
    /// the last request does.
    ///
    /// # Panics
    ///
    /// Never: the pool is given the runtime that its timeouts need.
    #[must_use]
    pub fn new(connector: Connector, settings: PoolSettings) -> Self {
        let mut config = ManagerConfig::default();
        // `Fast` still refuses a connection that is known to be closed; asking the server each time would cost a
        // round trip a query.
        config.recycling_method = RecyclingMethod::Fast;
        let runtime = Handle::try_current().ok();
        config.custom_setup = Box::new(move |_| {
            let (connector, runtime) = (connector.clone(), runtime.clone());
            async move {
                let Some(runtime) = runtime else { return connector.connect(settings.session).await };
                // A set ends its tasks with itself: whoever gives up waiting leaves nothing behind.
                let mut making = JoinSet::new();
                making.spawn_on(async move { connector.connect(settings.session).await }, &runtime);
                let made = making.join_next().await.and_then(Result::ok);
                made.unwrap_or_else(|| Err(ConnectionError::BadConnection("the process is ending".to_owned())))
            }
            .boxed()
        });
        // The address stands in the connector, not here: it holds a password.
        let manager = AsyncDieselConnectionManager::new_with_config(String::new(), config);
        let connections = diesel_deadpool::Pool::builder(manager)
            .max_size(settings.size)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(settings.wait),
                create: Some(settings.connect),
                recycle: Some(settings.connect),
            })
            .build()
            .expect("a pool with timeouts has a runtime");
        let PoolSettings { session, .. } = settings;
        let begin = match session.mode {
            PoolMode::Session => BEGIN.to_owned(),
            PoolMode::Transaction => format!("{BEGIN}; {}", session.statements("SET LOCAL")),
        };
        Self { connections, mode: session.mode, begin: begin.into() }
    }

    /// A connection on which a unit of work has begun.
    pub(crate) async fn begin(&self) -> Result<Lease, StoreError> {
        let mut attempts = self.attempts();
        loop {
            let mut lease = attempts.connection().await?;
            match lease.begin(&self.begin).await {
                Ok(()) => return Ok(lease),
                Err(failure) => attempts.allow_another(failure)?,
            }
        }
    }

    /// Attempts at a statement that may be run again.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts { pool: self, left: self.connections.status().max_size }
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

/// Attempts at the same statement on one connection after the other. What a statement meets on a connection that died,
/// or whose prepared statements the platform's latest migration outdated, it may well not meet on another: so there is
/// one attempt more than the pool has connections.
pub(crate) struct Attempts<'p> {
    pool: &'p Pool,
    left: usize,
}

impl Attempts<'_> {
    /// A connection on which the next attempt at a read can be made.
    pub(crate) async fn lease(&mut self) -> Result<Lease, StoreError> {
        loop {
            let mut lease = self.connection().await?;
            match self.pool.mode {
                PoolMode::Session => return Ok(lease),
                PoolMode::Transaction => match lease.begin(&self.pool.begin).await {
                    Ok(()) => return Ok(lease),
                    Err(failure) => self.allow_another(failure)?,
                },
            }
        }
    }

    async fn connection(&self) -> Result<Lease, StoreError> {
        let waiting = self.pool.connections.get().instrument(info_span!("wait for a connection"));
        waiting.await.map(|connection| Lease { connection: Some(connection), begun: false }).map_err(error::pool_error)
    }

    /// `Ok` when there may be another attempt after `failure`.
    pub(crate) fn allow_another(&mut self, failure: diesel::result::Error) -> Result<(), StoreError> {
        if self.left == 0 || !error::is_of_the_connection(&failure) {
            return Err(error::store_error(failure));
        }
        self.left -= 1;
        Ok(())
    }
}

/// Runs a read, `|connection| statement`, and gives a `Result<_, StoreError>`. A macro because the statement is built
/// anew for each attempt and borrows from its surroundings, which a closure's type cannot yet say of a `Send` future.
macro_rules! read {
    ($pool:expr, |$connection:ident| $statement:expr) => {{
        let mut attempts = $pool.attempts();
        loop {
            let mut lease = attempts.lease().await?;
            match lease.run(async |$connection| $statement.await).await {
                Ok(value) => {
                    // What was read stands, whatever becomes of the connection.
                    let _ = lease.end("COMMIT").await;
                    break Ok::<_, crm_domain::store::StoreError>(value);
                }
                Err(failure) => attempts.allow_another(failure)?,
            }
        }
    }};
}

/// Like [`read`], of one row that need not be there.
macro_rules! read_optional {
    ($pool:expr, |$connection:ident| $statement:expr) => {
        $crate::postgres::pool::read!($pool, |$connection| async {
            diesel::OptionalExtension::optional($statement.await)
        })
    };
}

pub(crate) use {read, read_optional};

/// A connection on loan. Unless it is given back it is closed: after a failure, or when whoever waited for a statement
/// went away in the middle of it, nobody knows what state it is in.
pub(crate) struct Lease {
    connection: Option<Connection>,
    /// Whether a transaction has begun on it.
    begun: bool,
}

impl Lease {
    /// Runs a statement; a failure ends the lease.
    pub(crate) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
    ) -> QueryResult<T> {
        let Some(connection) = self.connection.as_mut() else {
            return Err(diesel::result::Error::BrokenTransactionManager);
        };
        // Without its text: a span must not hold what a statement might.
        let span = info_span!("statement", otel.kind = "client", db.system.name = "postgresql");
        let outcome = statement(connection).instrument(span).await;
        if outcome.is_err() {
            self.close();
        }
        outcome
    }

    async fn begin(&mut self, begin: &str) -> QueryResult<()> {
        self.run(async |connection| connection.batch_execute(begin).await).await?;
        self.begun = true;
        Ok(())
    }

    /// Ends the transaction, if one has begun, by `COMMIT` or `ROLLBACK`, and gives the connection back to the pool.
    pub(crate) async fn end(mut self, by: &str) -> QueryResult<()> {
        if self.begun {
            self.run(async |connection| connection.batch_execute(by).await).await?;
        }
        self.connection = None;
        Ok(())
    }

    fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Connection::take(connection));
        }
    }
}

/// No waiting here, so no `ROLLBACK` and no reading of what is still to come: the server sees the connection close, ends
/// what runs on it (`client_connection_check_interval`) and rolls back.
impl Drop for Lease {
    fn drop(&mut self) {
        self.close();
    }
}
