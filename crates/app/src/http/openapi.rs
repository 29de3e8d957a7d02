//! The description of the API.

pub(super) mod document;
mod examples;
pub(super) mod schemas;
