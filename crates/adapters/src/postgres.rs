//! The domain's ports on PostgreSQL, with diesel's query types on tokio-postgres.
//!
//! One file for each noun, as in the domain; beside them [`connect`] (how a connection is made), `pool` (how it is
//! shared), `tx` (the unit of work), [`error`] (what a failure means), [`migrate`] and [`attach`] (the schema), `health`.

pub mod attach;
mod audit;
pub mod connect;
mod customer;
mod directory;
pub mod error;
mod health;
pub mod migrate;
mod moment;
mod note;
pub(crate) mod pool;
pub(crate) mod schema;
mod statement;
mod tag;
mod tx;

pub use pool::{Pool, PoolSettings};

/// Every port of the domain that keeps data, on one pool.
#[derive(Clone)]
pub struct Postgres {
    /// The connections.
    pub pool: Pool,
}
