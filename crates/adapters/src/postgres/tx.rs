//! The unit of work: a connection of its own, from `BEGIN` to `COMMIT`.

use async_trait::async_trait;
use crm_domain::store::{Store, StoreError, Tx};
use diesel::QueryResult;
use diesel_async::AsyncPgConnection;

use super::{Postgres, error::store_error, pool::Lease};

/// A unit of work. Dropped without an end (the request went away in the middle, perhaps of a statement), its lease
/// closes the connection and the server rolls back: nothing is ever left `idle in transaction`.
pub(super) struct PgTx(Lease);

#[async_trait]
impl Store for Postgres {
    async fn begin(&self) -> Result<Box<dyn Tx>, StoreError> {
        Ok(Box::new(PgTx(self.pool.begin().await?)))
    }
}

impl PgTx {
    /// Runs a statement in this unit of work. A failure ends it, so that nothing can follow: PostgreSQL answers a
    /// `COMMIT` after a failure with a silent roll-back, which must not look like success.
    pub(super) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        self.0.run(statement).await.map_err(store_error)
    }
}

#[async_trait]
impl Tx for PgTx {
    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.0.end("COMMIT").await.map_err(store_error)
    }

    async fn rollback(self: Box<Self>) -> Result<(), StoreError> {
        self.0.end("ROLLBACK").await.map_err(store_error)
    }
}
