//! The ports of the tag use cases.

use async_trait::async_trait;

use super::{Assignment, CountedTag, Tag, TagSlug};
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

    /// Every tag, by name, with the exact number of listed customers who have it.
    async fn list_counted_tags(&self) -> Result<Vec<CountedTag>, StoreError>;
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

    /// Locks the tags with these ids against every other unit of work that changes, merges or deletes them or assigns them to
    /// many, and gives those that exist. Always in the same order, so that two units of work cannot wait for each other. Single
    /// assignments go on, those of the platform's programs too.
    async fn lock_tags(&mut self, ids: &[TagId]) -> Result<Vec<Tag>, StoreError>;

    /// Waits for the assignments of a locked tag that are under way, and keeps everyone from assigning it.
    async fn bar_assignments(&mut self, id: &TagId) -> Result<(), StoreError>;

    /// Keeps the tag from being changed, deleted or merged until the unit of work ends; `false` when there is no such tag.
    /// Others may assign it meanwhile.
    async fn hold_tag(&mut self, id: &TagId) -> Result<bool, StoreError>;

    /// Whether another tag has that slug.
    async fn has_slug(&mut self, slug: &TagSlug, except: &TagId) -> Result<bool, StoreError>;

    /// Stores name, colour and description of a locked tag.
    async fn save_tag(&mut self, tag: &Tag) -> Result<(), StoreError>;

    /// Deletes a locked tag that no customer has.
    async fn delete_tag(&mut self, id: &TagId) -> Result<(), StoreError>;

    /// How many customers have the tag.
    async fn count_assignments(&mut self, tag: &TagId) -> Result<u64, StoreError>;

    /// Locks the assignments of that tag to these customers as [`Self::lock_assignment`] does, in the order of the ids, and
    /// gives those who have a customer profile.
    async fn lock_assignments(&mut self, tag: &TagId, customers: &[UserId]) -> Result<Vec<UserId>, StoreError>;

    /// Adds those of `assignments` that do not exist, and gives them. [`StoreError::Missing`] when a customer was deleted.
    async fn insert_assignments(&mut self, assignments: &[Assignment]) -> Result<Vec<Assignment>, StoreError>;

    /// Assigns the tag `into` to everyone who has `tag` and does not have `into`, as assigned by whom and when `tag` was, and
    /// gives the new assignments. [`StoreError::Missing`] when a customer was deleted.
    async fn copy_assignments(&mut self, tag: &TagId, into: &TagId) -> Result<Vec<Assignment>, StoreError>;

    /// Takes the tag off these customers, and gives the removed assignments.
    async fn delete_assignments(&mut self, tag: &TagId, customers: &[UserId]) -> Result<Vec<Assignment>, StoreError>;

    /// Takes the tag off everyone, and gives the removed assignments.
    async fn delete_all_assignments(&mut self, tag: &TagId) -> Result<Vec<Assignment>, StoreError>;
}
