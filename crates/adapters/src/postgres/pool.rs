//! Sharing connections.

use std::time::Duration;

use crm_domain::store::StoreError;
use deadpool::{Runtime, managed::Timeouts};
use diesel_async::{
    AsyncPgConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool as diesel_deadpool,
    },
};
use futures_util::FutureExt as _;

use super::{
    connect::{Connector, SessionSettings},
    error,
};

/// A connection on loan; goes back to the pool when dropped.
pub(crate) type Connection = diesel_deadpool::Object<AsyncPgConnection>;

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

    /// A connection. [`StoreError::Unavailable`] when none comes free in time or none can be made.
    pub(crate) async fn connection(&self) -> Result<Connection, StoreError> {
        self.0.get().await.map_err(error::pool_error)
    }
}
