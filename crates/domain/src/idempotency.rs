//! Idempotency keys: a client that repeats a request gets the first answer again, and nothing happens twice.
//!
//! Source: contract extensions, "Two desks, one customer".

pub mod ports;
pub mod usecases;

use thiserror::Error;
use time::Duration;

use crate::ids::NoteId;

/// How long a key is remembered.
pub const LIFETIME: Duration = Duration::hours(24);

/// The most characters of a key.
pub const MAX_KEY: usize = 255;

/// Why a key was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be 1 to {MAX_KEY} visible ASCII characters")]
pub struct KeyError;

/// A client's name for a request that it may repeat: 1 to [`MAX_KEY`] visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Takes the key as it stands.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let is_key = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_key { Ok(Self(text.to_owned())) } else { Err(KeyError) }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request with a key. Only digests of it are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotentRequest {
    /// The digest of caller, method, path and key: what must be the same.
    pub scope: String,
    /// The digest of the body.
    pub body: String,
}

/// The answer to a request, as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body. `None` once the note in it was deleted: its text must not survive here.
    pub body: Option<String>,
    /// The entity tag of what was changed.
    pub entity_tag: Option<String>,
    /// The note whose text is in the body.
    pub note: Option<NoteId>,
}

/// Without the body, which may hold a note's text.
impl std::fmt::Debug for KeptAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptAnswer").field("status", &self.status).field("note", &self.note).finish_non_exhaustive()
    }
}

/// What became of the attempt to claim a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The request may do its work; the claim ends with the unit of work.
    Free,
    /// The first request is still at work.
    InProgress,
    /// The key belongs to a request with another body.
    Reused,
    /// The first answer.
    Kept(KeptAnswer),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii() {
        for key in ["a", "!~", "9f1c4a2e-0b6d-4d0c-8a55-6c5d1b7b9e11"] {
            assert_eq!(IdempotencyKey::parse(key).unwrap().as_str(), key);
        }
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_ok());
        for key in ["", " ", "a b", "a\t", "é", "a\u{7f}", &"k".repeat(256)] {
            assert_eq!(IdempotencyKey::parse(key), Err(KeyError), "{key:?}");
        }
    }
}
