//! The ports of the tag use cases.

use async_trait::async_trait;

use super::{Assignment, Tag};
use crate::{
    ids::{TagId, UserId},
    store_error::StoreError,
};

/// Reading tags.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait TagReads: Send + Sync {
    /// Every tag, by name (A to Z ignoring case, then id).
    async fn list_tags(&self) -> Result<Vec<Tag>, StoreError>;
}

/// What an assignment would connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignmentTarget {
    /// Whether a user with that id has a customer profile.
    pub customer_exists: bool,
    /// Whether there is such a tag.
    pub tag_exists: bool,
}

/// Writing tags and assignments, as part of a unit of work.
#[async_trait]
pub trait TagWrites {
    /// Adds `tag`; `false` when its slug is taken, also by a unit of work that commits meanwhile: `Tags::create`
    /// refuses it, and the app answers 409.
    async fn insert_tag(&mut self, tag: &Tag) -> Result<bool, StoreError>;

    /// Locks the assignment of that tag to that customer against other units of work, whether or not it exists, and
    /// looks for both. The lock ends with the unit of work.
    async fn lock_assignment(&mut self, customer: &UserId, tag: &TagId) -> Result<AssignmentTarget, StoreError>;

    /// Adds `assignment`; `false` when the customer has the tag already. [`StoreError::Missing`] says which row
    /// it points to was deleted.
    async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<bool, StoreError>;

    /// Removes the tag from the customer and returns the removed assignment, if there was one.
    async fn delete_assignment(&mut self, customer: &UserId, tag: &TagId) -> Result<Option<Assignment>, StoreError>;
}
