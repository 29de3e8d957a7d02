//! Sharing connections: a [`Lease`] is a connection that goes back to the pool only when it is known to be fit.

use std::time::Duration;

use crm_domain::store::StoreError;
use deadpool::{Runtime, managed::Timeouts};
use diesel::QueryResult;
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection as _,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool as diesel_deadpool},
};
use futures_util::FutureExt as _;

use super::{
    connect::{Connector, SessionSettings},
    error,
};

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
pub struct Pool(diesel_deadpool::Pool<AsyncPgConnection>);

impl Pool {
    /// A pool of connections to that database. Connects to nothing yet.
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
        config.custom_setup = Box::new(move |_| {
            let connector = connector.clone();
            async move { connector.connect(settings.session).await }.boxed()
        });
        // The address stands in the connector, not here: it holds a password.
        let manager = AsyncDieselConnectionManager::new_with_config(String::new(), config);
        let pool = diesel_deadpool::Pool::builder(manager)
            .max_size(settings.size)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(settings.wait),
                create: Some(settings.connect),
                recycle: Some(settings.connect),
            })
            .build()
            .expect("a pool with timeouts has a runtime");
        Self(pool)
    }

    /// A connection on which a unit of work has begun.
    pub(crate) async fn begin(&self) -> Result<Lease, StoreError> {
        let mut attempts = self.attempts();
        loop {
            let mut lease = attempts.lease().await?;
            // The level that the races between our writes and the platform's are thought through for.
            let begun =
                lease.run(async |connection| connection.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await);
            match begun.await {
                Ok(()) => return Ok(lease),
                Err(failure) => attempts.allow_another(failure)?,
            }
        }
    }

    /// Attempts at a statement that may be run again.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts { pool: self, left: self.0.status().max_size }
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
    /// A connection for the next attempt.
    pub(crate) async fn lease(&self) -> Result<Lease, StoreError> {
        self.pool.0.get().await.map(|connection| Lease(Some(connection))).map_err(error::pool_error)
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
                    lease.give_back();
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
pub(crate) struct Lease(Option<Connection>);

impl Lease {
    /// Runs a statement; a failure ends the lease.
    pub(crate) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
    ) -> QueryResult<T> {
        let Some(connection) = self.0.as_mut() else {
            return Err(diesel::result::Error::BrokenTransactionManager);
        };
        let outcome = statement(connection).await;
        if outcome.is_err() {
            self.close();
        }
        outcome
    }

    /// Gives the connection back to the pool.
    pub(crate) fn give_back(mut self) {
        self.0 = None;
    }

    fn close(&mut self) {
        if let Some(connection) = self.0.take() {
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
