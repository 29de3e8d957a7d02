//! The OpenAPI document.

pub(super) mod document;
mod examples;
pub(super) mod schemas;
