//! Requests: extractors of path, query, body, headers and caller, and the client's address.

pub(super) mod body;
pub(super) mod caller;
pub mod client_address;
pub(super) mod field;
pub(super) mod idempotency;
pub(super) mod page;
pub(super) mod path;
pub(super) mod precondition;
pub(super) mod query;
pub(super) mod validation;
