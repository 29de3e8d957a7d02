//! Who is calling, as a port: the platform's sessions.

use async_trait::async_trait;

use crate::{role::Actor, store::StoreError};

/// The sessions of the platform that signs people in.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Sessions: Send + Sync {
    /// The actor whose session the request's `Cookie` header carries (several such headers joined by `"; "`), or
    /// `None`: no cookie, a bad signature, an unknown or expired session, a deleted or banned user.
    async fn find_actor(&self, cookie_header: &[u8]) -> Result<Option<Actor>, StoreError>;
}
