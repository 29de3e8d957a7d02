//! Responses: the envelope, errors, timestamps.

pub(super) mod envelope;
pub(super) mod error;
pub(super) mod timestamp;
