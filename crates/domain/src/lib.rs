//! The customer, tag and note rules of the salon group, and the ports to storage, sessions, clocks and ids.
//!
//! # What lives here
//!
//! One noun, one file: [`customer`], [`directory`], [`tag`], [`note`], [`timeline`], [`history`], [`kpis`]. Beside each noun's types stand its
//! `ports` (traits an adapter implements) and its `usecases` (plain structs that hold ports as `Arc<dyn …>`).
//! Every write runs in a [`unit_of_work`] and adds an entry to the [`audit`] log. Used by all nouns: [`session`] and [`role`]
//! (the caller), [`precondition`] and [`idempotency`] (writes that are not lost and not doubled), [`rate_limit`] (the number of requests), [`health`] (whether the store can serve).
//!
//! # How to add a rule
//!
//! * What a value *is* (length, form): a type with a `parse` that is the only way to make one ([`tag::TagName`]).
//! * What may happen *now*: a synchronous method on the type whose state decides
//!   ([`customer::Profile::change_gates`]), tested by a table, without mocks.
//! * The order of steps: a use case, tested against mocked ports (feature `testing`).
//!
//! # What this crate must never know
//!
//! HTTP, JSON, SQL, configuration, logging, the real clock. A domain type cannot be serialised or queried, on
//! purpose: the shape of an answer belongs to the app, the shape of a row to the adapters.

pub mod audit;
pub mod calendar;
pub mod clock;
pub mod customer;
pub mod directory;
pub mod health;
pub mod history;
pub mod idempotency;
pub mod ids;
pub mod kpis;
pub mod note;
pub mod page;
pub mod precondition;
pub mod rate_limit;
pub mod role;
pub mod session;
pub mod store_error;
pub mod tag;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
pub mod timeline;
pub mod unit_of_work;
