//! The adapters against a real PostgreSQL, a database per test; sessions also against the real Better Auth.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has to end")]

mod attach;
mod connection;
mod customer;
mod directory;
mod interop;
mod migrate;
mod note;
mod sessions;
mod tag;
