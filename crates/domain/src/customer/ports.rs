//! The ports of the customer use cases.

use async_trait::async_trait;

use super::{CustomerView, Profile};
use crate::{ids::UserId, store_error::StoreError};

/// Reading customers.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait CustomerReads: Send + Sync {
    /// The customer with that id; `None` when no such user has a profile.
    async fn find_customer(&self, id: &UserId) -> Result<Option<CustomerView>, StoreError>;

    /// The customer's whole profile row; `None` when there is none.
    async fn find_profile(&self, id: &UserId) -> Result<Option<Profile>, StoreError>;
}

/// Writing profiles, as part of a unit of work.
#[async_trait]
pub trait ProfileWrites {
    /// The customer's profile, locked against other writers until the unit of work ends.
    async fn lock_profile(&mut self, id: &UserId) -> Result<Option<Profile>, StoreError>;

    /// The customer as they are now.
    async fn view_customer(&mut self, id: &UserId) -> Result<Option<CustomerView>, StoreError>;

    /// Stores the gates and `updated_at` of a locked profile.
    async fn save_gates(&mut self, profile: &Profile) -> Result<(), StoreError>;
}
