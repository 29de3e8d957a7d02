//! The port of the readiness check: whether the store can serve.

use async_trait::async_trait;

use crate::store_error::StoreError;

/// The connections of a store, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// The most there may be.
    pub max: usize,
    /// Those in use.
    pub used: usize,
    /// Those that wait for somebody.
    pub idle: usize,
    /// Requests that wait for one.
    pub waiting: usize,
}

/// The store's health.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait StoreHealth: Send + Sync {
    /// Asks the store for an answer: it can be reached.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Whether the store has every table, column and privilege that this service needs.
    async fn has_schema(&self) -> Result<bool, StoreError>;

    /// Whether every migration that this service knows is applied.
    async fn is_migrated(&self) -> Result<bool, StoreError>;

    /// The connections right now.
    fn connections(&self) -> Connections;
}
