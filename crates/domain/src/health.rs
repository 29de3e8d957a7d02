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

/// The state of the directory's read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DirectoryModelState {
    /// No model is installed.
    #[default]
    NotInstalled,
    /// The installation has begun and is not complete.
    Incomplete,
    /// The model is of another version of this service.
    OtherVersion,
    /// Text is ordered and folded otherwise than when the model was built: ICU was updated.
    OtherCollation,
    /// Triggers are missing or disabled, so changes may have gone unnoticed.
    MissingTriggers,
    /// The store refused to read the model.
    Unreadable,
    /// Pages are read from the model.
    InUse,
}

impl DirectoryModelState {
    /// What the operator does so that the model is used; `None` where it is in use, or was never installed.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::NotInstalled | Self::InUse => None,
            Self::Incomplete => Some("the installation is not complete; run `crm directory install`"),
            Self::OtherVersion => Some("the model is of another version; run `crm directory install`"),
            Self::OtherCollation => Some("ICU was updated; run `crm directory rebuild`"),
            Self::MissingTriggers => Some("triggers are missing or disabled; run `crm directory rebuild`"),
            Self::Unreadable => Some("the model cannot be read; run `crm directory status` and `crm directory verify`"),
        }
    }
}

/// How a store read the pages of the directory since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectoryReadCounts {
    /// From the read model, with nothing queued.
    pub clean: u64,
    /// From the read model, after the queued customers were computed anew.
    pub applied: u64,
    /// By the direct statement.
    pub direct: u64,
    /// Customers in the read model that were found wrong and repaired. Anything but 0 is a fault.
    pub repaired: u64,
    /// The read model's state when this process last looked.
    pub model: DirectoryModelState,
}

/// What a store lacks of what this service needs, a line each, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreLacks {
    /// Tables, columns, types, privileges and the like.
    pub schema: Vec<String>,
    /// Why writes are refused; empty when they are not.
    pub writes: Vec<String>,
}

/// The store's health.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait StoreHealth: Send + Sync {
    /// Asks the store for an answer: it can be reached.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What the store lacks of what this service needs. While it refuses writes its idle connections are
    /// closed, because new ones may lead to another server.
    async fn find_lacks(&self) -> Result<StoreLacks, StoreError>;

    /// Whether every migration that this service knows is applied.
    async fn is_migrated(&self) -> Result<bool, StoreError>;

    /// The connections right now.
    fn connections(&self) -> Connections;

    /// How the directory was read.
    fn directory_reads(&self) -> DirectoryReadCounts;
}
