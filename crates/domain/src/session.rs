//! The port that finds the caller's session.

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

/// The result of looking for the session of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionLookup {
    /// The request has a valid session of this actor.
    SignedIn(Actor),
    /// The request has no valid session.
    NotSignedIn(NotSignedIn),
}

impl SessionLookup {
    /// The actor of a valid session.
    #[must_use]
    pub fn actor(self) -> Option<Actor> {
        match self {
            Self::SignedIn(actor) => Some(actor),
            Self::NotSignedIn(_) => None,
        }
    }
}

/// The sessions of the platform that signs people in.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Looks for the session that the request's `Cookie` header carries (several such headers joined by `"; "`).
    async fn find_actor(&self, cookie_header: &[u8]) -> Result<SessionLookup, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{role::Role, testing::actor};

    #[test]
    fn only_a_valid_session_has_an_actor() {
        let desk = actor("usr_desk", Role::Receptionist);
        assert_eq!(SessionLookup::SignedIn(desk.clone()).actor(), Some(desk));
        for reason in NotSignedIn::ALL {
            assert_eq!(SessionLookup::NotSignedIn(reason).actor(), None);
        }
    }
}
