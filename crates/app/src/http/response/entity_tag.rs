//! Entity tags (RFC 9110, section 8.8.3): strong, made from the form in which something is shown.
//!
//! Source: contract extensions, "Two desks, one customer": a tag changes whenever anything that is shown does.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// How many bytes of the digest make a tag.
const LENGTH: usize = 18;

/// A strong entity tag, with its quotation marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct EntityTag(String);

impl EntityTag {
    /// The tag of what is shown as that JSON. Every instance of this version makes the same one.
    pub(in crate::http) fn of(shown: &impl Serialize) -> Self {
        // Our own types: their keys are text and their numbers finite, so there is nothing to fail.
        let digest = Sha256::digest(serde_json::to_vec(shown).unwrap_or_default());
        Self(format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..LENGTH])))
    }

    /// A tag that was made before.
    pub(in crate::http) fn from_kept(text: String) -> Self {
        Self(text)
    }

    /// The tag as a header has it.
    pub(in crate::http) fn as_str(&self) -> &str {
        &self.0
    }
}
