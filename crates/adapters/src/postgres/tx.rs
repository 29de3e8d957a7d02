//! The unit of work: a connection of its own, from `BEGIN` to `COMMIT`.

use async_trait::async_trait;
use crm_domain::store::{Store, StoreError, Tx};
use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};

use super::{Postgres, error::store_error, pool::Connection};

/// A unit of work. `None` once it has ended and the connection went back to the pool.
pub(super) struct PgTx(Option<Connection>);

#[async_trait]
impl Store for Postgres {
    async fn begin(&self) -> Result<Box<dyn Tx>, StoreError> {
        // Owned by the unit of work before `BEGIN` is sent: whatever happens from here, `Drop` sees to it.
        let mut tx = PgTx(Some(self.pool.connection().await?));
        tx.run(async |connection| connection.batch_execute("BEGIN").await)
            .await?;
        Ok(Box::new(tx))
    }
}

impl PgTx {
    /// Runs a statement in this unit of work. After a failure the connection is given up, and the transaction with
    /// it: PostgreSQL answers a `COMMIT` after a failure with a silent roll-back, which must not look like success.
    pub(super) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        let connection = self.0.as_mut().ok_or_else(ended)?;
        let outcome = statement(connection).await;
        if outcome.is_err() {
            self.give_up();
        }
        outcome.map_err(store_error)
    }

    /// Takes the connection out of the pool and closes it; the server rolls back.
    fn give_up(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Connection::take(connection));
        }
    }

    async fn end(&mut self, statement: &'static str) -> Result<(), StoreError> {
        self.run(async |connection| connection.batch_execute(statement).await)
            .await?;
        self.0 = None;
        Ok(())
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the unit of work has ended after a failure".into())
}

#[async_trait]
impl Tx for PgTx {
    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    async fn rollback(mut self: Box<Self>) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }
}

/// Neither committed nor rolled back: the request was dropped in the middle, perhaps in the middle of a statement.
/// The connection must not go back to the pool inside a transaction, and there is no waiting here, so it is closed.
impl Drop for PgTx {
    fn drop(&mut self) {
        self.give_up();
    }
}
