//! The adapters against a real PostgreSQL, one database for each test; sessions also against the real Better Auth.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has to end")]

mod connection;
mod cookies;
mod customer;
mod directory;
mod directory_harm;
mod directory_model;
mod directory_reference;
mod drizzle;
mod foreign_keys;
mod indexes;
mod interop;
mod kpis;
mod migrate;
mod note;
mod optional_parts;
mod schema_check;
mod sessions;
mod tag;
