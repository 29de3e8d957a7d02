//! The unit of work: a connection of its own, from `BEGIN` to `COMMIT`.

use std::sync::Arc;

use async_trait::async_trait;
use crm_domain::{
    store_error::StoreError,
    unit_of_work::{Store, UnitOfWork},
};
use diesel::query_builder::QueryId;
use diesel_async::{
    AsyncPgConnection,
    methods::{ExecuteDsl, LoadQuery},
};

use super::{
    Postgres,
    error::store_error,
    foreign_keys::{ForeignKeyCache, ForeignKeys, write_error},
    pool::PooledConnection,
};

/// A unit of work. Dropped without an end (the request went away in the middle, perhaps of a statement), its connection is
/// closed and the server rolls back: nothing is ever left `idle in transaction`.
pub(super) struct PgUnitOfWork {
    connection: PooledConnection,
    foreign_keys: Arc<ForeignKeys>,
    foreign_key_cache: ForeignKeyCache,
}

#[async_trait]
impl Store for Postgres {
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        let foreign_keys = self.foreign_keys.get(&self.pool).await?;
        let connection = self.pool.begin().await?;
        Ok(Box::new(PgUnitOfWork { connection, foreign_keys, foreign_key_cache: self.foreign_keys.clone() }))
    }
}

/// A failure ends the unit of work, so that nothing can follow: PostgreSQL answers a `COMMIT` after a failure with a silent
/// roll-back, which must not look like success.
impl PgUnitOfWork {
    /// Runs a statement and gives its rows.
    pub(super) async fn rows<'f, Row, S>(&'f mut self, statement: S) -> Result<Vec<Row>, StoreError>
    where
        Row: Send + 'f,
        S: LoadQuery<'f, AsyncPgConnection, Row> + Send + 'f,
    {
        let rows = self.connection.rows(statement).await;
        rows.map_err(|error| write_error(error, &self.foreign_keys, &self.foreign_key_cache))
    }

    /// Runs a statement and gives its first row, which need not be there.
    pub(super) async fn row<'f, Row, S>(&'f mut self, statement: S) -> Result<Option<Row>, StoreError>
    where
        Row: Send + 'f,
        S: LoadQuery<'f, AsyncPgConnection, Row> + Send + 'f,
    {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// Runs a statement and gives the number of rows that it changed.
    pub(super) async fn execute<'f, S>(&'f mut self, statement: S) -> Result<usize, StoreError>
    where
        S: ExecuteDsl<AsyncPgConnection> + QueryId + Send + 'f,
    {
        let changed = self.connection.execute(statement).await;
        changed.map_err(|error| write_error(error, &self.foreign_keys, &self.foreign_key_cache))
    }
}

#[async_trait]
impl UnitOfWork for PgUnitOfWork {
    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.connection.end("COMMIT").await.map_err(store_error)
    }

    async fn rollback(self: Box<Self>) -> Result<(), StoreError> {
        self.connection.end("ROLLBACK").await.map_err(store_error)
    }
}
