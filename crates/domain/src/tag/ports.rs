//! What the tag use cases need from a store.

use async_trait::async_trait;

use super::{Assignment, Tag};
use crate::{
    ids::{TagId, UserId},
    store::StoreError,
};

/// Reading tags.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait TagReads: Send + Sync {
    /// Every tag, by name (A to Z ignoring case, then id).
    async fn list_tags(&self) -> Result<Vec<Tag>, StoreError>;
}

/// Writing tags and assignments, as part of a unit of work.
#[async_trait]
pub trait TagWrites {
    /// Adds `tag`; `false` when its slug is taken, also by a unit of work that commits meanwhile.
    async fn insert_tag(&mut self, tag: &Tag) -> Result<bool, StoreError>;

    /// Whether there is such a tag.
    async fn tag_exists(&mut self, id: &TagId) -> Result<bool, StoreError>;

    /// Adds `assignment`; `false` when the customer has the tag already. [`StoreError::Missing`] tells what it
    /// points to that went away.
    async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<bool, StoreError>;

    /// Removes the tag from the customer and answers what was removed, if anything.
    async fn delete_assignment(&mut self, customer: &UserId, tag: &TagId) -> Result<Option<Assignment>, StoreError>;
}
