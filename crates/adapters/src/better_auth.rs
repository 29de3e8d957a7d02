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
use diesel::sql_types::{Nullable, Text};
use time::OffsetDateTime;

use self::cookie::{CookieName, Secret};
use crate::postgres::{
    Pool,
    statement::{Statement, named_row},
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

        let look_up = |has_impersonators| self.pool.read_row(move || statement(token, now, has_impersonators));
        let has_impersonators = self.pool.has_impersonators();
        let found: Result<Option<SessionRow>, StoreError> = look_up(has_impersonators).await;
        let found = match found {
            // The optional column may have gone since the schema was last looked at.
            Err(StoreError::Unexpected(_)) if has_impersonators => {
                self.pool.set_has_impersonators(false);
                look_up(false).await?
            }
            found => found?,
        };
        Ok(found.map_or(SessionLookup::NotSignedIn(NotSignedIn::NoSession), |row| {
            let SessionRow { id, role, impersonated_by } = row;
            SessionLookup::SignedIn(Actor {
                id: UserId::from_stored(id),
                role: Role::from_stored(role.as_deref()),
                impersonator: impersonated_by.map(UserId::from_stored),
            })
        }))
    }
}

named_row! {
    struct SessionRow {
        id: Text => String,
        role: Nullable<Text> => Option<String>,
        impersonated_by: Nullable<Text> => Option<String>,
    }
}

/// By hand: the platform has the column `impersonated_by` only with Better Auth's admin plugin.
///
/// A session that expires exactly now is still valid. The connection's time zone is UTC, so these comparisons are also
/// right where the columns are `timestamp` and hold UTC.
fn statement(token: &str, now: OffsetDateTime, has_impersonators: bool) -> Statement<'_> {
    Statement::new("SELECT u.id, u.role, ")
        .sql(if has_impersonators { "s.impersonated_by" } else { "NULL::text AS impersonated_by" })
        .sql(" FROM session s JOIN \"user\" u ON u.id = s.user_id WHERE s.token = ")
        .text(token)
        .sql(" AND s.expires_at >= ")
        .timestamp(now)
        .sql(" AND (u.banned IS DISTINCT FROM true OR u.ban_expires <= ")
        .timestamp(now)
        .sql(")")
}
