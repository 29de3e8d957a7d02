//! The domain's ports on PostgreSQL, with diesel's query types on tokio-postgres.
//!
//! One file for each noun, as in the domain; beside them [`connect`] (how a connection is made), `pool` (how it is
//! shared), `unit_of_work`, [`error`] (what a failure means), [`migrate`] and [`schema_check`] (the schema), `health`.

mod audit;
mod chip;
pub mod connect;
mod customer;
pub mod directory;
pub mod error;
mod foreign_keys;
mod health;
mod history;
mod housekeeping;
mod idempotency;
pub mod indexes;
mod integer;
mod kpis;
pub mod migrate;
mod note;
mod operator;
pub mod parts;
pub(crate) mod pool;
pub(crate) mod schema;
pub mod schema_check;
pub(crate) mod statement;
mod tag;
mod timeline;
mod timestamp;
mod unit_of_work;

use std::sync::Arc;

pub use pool::{Pool, PoolSettings};

use self::directory::state::DirectoryModel;

/// Every port of the domain that keeps data, on one pool.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    foreign_keys: foreign_keys::ForeignKeyCache,
    directory_model: Arc<DirectoryModel>,
}

impl Postgres {
    /// The adapters on that pool.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool, foreign_keys: foreign_keys::ForeignKeyCache::default(), directory_model: Arc::default() }
    }

    /// The same adapters on another pool to the same database.
    #[must_use]
    pub fn on(&self, pool: Pool) -> Self {
        Self { pool, ..self.clone() }
    }
}
