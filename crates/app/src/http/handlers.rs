//! Handlers, a file for each noun: each parses its request, calls one use case and renders the result.

pub(super) mod customers;
pub(super) mod directory;
pub(super) mod docs;
pub(super) mod health;
pub(super) mod history;
pub(super) mod notes;
pub(super) mod tags;
pub(super) mod timeline;
