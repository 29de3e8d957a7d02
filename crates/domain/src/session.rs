//! Who is calling, as a port: the platform's sessions.

use async_trait::async_trait;

use crate::{role::Actor, store_error::StoreError};

/// Why a request has no session. Told to those who operate the service, never to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotSignedIn {
    /// The request carries no session cookie.
    NoCookie,
    /// The cookie is not one that the configured secret signed: many of these mean that the platform has another secret.
    BadSignature,
    /// The cookie is genuine, but its session is over: signed out, expired, its user deleted or banned.
    NoSession,
}

impl NotSignedIn {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::NoCookie, Self::BadSignature, Self::NoSession];
}

/// The sessions of the platform that signs people in.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Sessions: Send + Sync {
    /// The actor whose session the request's `Cookie` header carries (several such headers joined by `"; "`), or why
    /// there is none.
    async fn find_actor(&self, cookie_header: &[u8]) -> Result<Result<Actor, NotSignedIn>, StoreError>;
}
