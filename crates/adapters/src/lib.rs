//! The domain's ports, implemented: on PostgreSQL with diesel ([`postgres`]), the platform's Better Auth sessions
//! ([`better_auth`]), rate limits in memory or Redis ([`rate_limit`]), the machine's clock and random ids ([`system`]).
//!
//! This crate sees the domain and never the app. Row types are private to the file that queries them.

pub mod better_auth;
pub mod postgres;
pub mod rate_limit;
pub mod system;
#[cfg(feature = "testing")]
pub mod testing;
