//! The session reader: reads the platform's Better Auth sessions as the real library does.
//!
//! [`cookie`] finds and verifies the cookie; this file looks the session up. The app's `middleware/authorize.rs` calls it. Nothing here writes: `SELECT` on
//! `session` and `"user"` is all it needs. What is ignored on purpose (Better Auth's `session_data` cookie cache,
//! bearer tokens, secondary storage) and where this service is stricter than the library: see ADR 4.

pub mod cookie;

use std::sync::Arc;

use async_trait::async_trait;
use crm_domain::{
    clock::Clock,
    ids::UserId,
    role::{Actor, Role},
    session::{NotSignedIn, SessionLookup, Sessions},
    store_error::StoreError,
};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, JoinOnDsl as _, PgExpressionMethods as _, QueryDsl as _,
};

use self::cookie::{CookieName, Secret};
use crate::postgres::{
    Pool,
    schema::{session, user},
};

/// The session reader.
pub struct BetterAuth {
    /// The one cookie that counts; from configuration, never from the request.
    pub cookie_name: CookieName,
    /// What signs the cookies.
    pub secret: Secret,
    /// Where the sessions are.
    pub pool: Pool,
    /// The time that sessions and bans expire by.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Sessions for BetterAuth {
    async fn find_actor(&self, cookie_header: &[u8]) -> Result<SessionLookup, StoreError> {
        let Some(value) = self.cookie_name.find_in(cookie_header) else {
            return Ok(SessionLookup::NotSignedIn(NotSignedIn::NoCookie));
        };
        let Some(token) = self.secret.verify(&value) else {
            return Ok(SessionLookup::NotSignedIn(NotSignedIn::BadSignature));
        };
        let now = self.clock.now();

        // A session that expires exactly now is still valid. The connection's time zone is UTC, so this comparison
        // is also right where the columns are `timestamp` and hold UTC.
        let statement = || {
            session::table
                .inner_join(user::table.on(user::id.eq(session::user_id)))
                .filter(session::token.eq(token))
                .filter(session::expires_at.ge(now))
                .filter(user::banned.is_distinct_from(true).or(user::ban_expires.le(now)))
                .select((user::id, user::role))
        };
        let found: Option<(String, Option<String>)> = self.pool.read_row(statement).await?;

        Ok(found.map_or(SessionLookup::NotSignedIn(NotSignedIn::NoSession), |(id, role)| {
            SessionLookup::SignedIn(Actor { id: UserId::from_stored(id), role: Role::from_stored(role.as_deref()) })
        }))
    }
}
