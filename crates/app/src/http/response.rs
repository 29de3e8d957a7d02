//! Responses: the envelope, entity tags, CSV, errors, timestamps.

pub(super) mod csv;
pub(super) mod entity_tag;
pub(super) mod envelope;
pub(super) mod error;
pub(super) mod timestamp;
