//! Text from users: white space, trimming, length, and NUL, which PostgreSQL cannot store.
//!
//! Source: contract, "GET /api/customers" (white space is ECMAScript's, lengths are counted in Unicode scalar
//! values after trimming) and "Everything" (a NUL anywhere in a string is refused).

use thiserror::Error;

/// Why a text was refused. The messages are shown to people as they stand.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TextError {
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// More than `max` characters after trimming.
    #[error("must be at most {max} characters")]
    TooLong {
        /// The most characters allowed.
        max: usize,
    },
    /// U+0000, which no text column can hold.
    #[error("must not contain a NUL character")]
    Nul,
}

/// Whether ECMAScript counts `c` as white space: Unicode `White_Space` without U+0085, and U+FEFF.
#[must_use]
pub fn is_white_space(c: char) -> bool {
    c == '\u{FEFF}' || (c.is_whitespace() && c != '\u{85}')
}

/// `text` without white space at either end, as `String.prototype.trim` does it.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_white_space)
}

/// Trims `text` and accepts it when it has at most `max` characters and no NUL; it may be empty.
pub fn parse_up_to(text: &str, max: usize) -> Result<&str, TextError> {
    let text = trim(text);
    refuse_nul(text)?;
    if text.chars().count() > max {
        return Err(TextError::TooLong { max });
    }
    Ok(text)
}

/// Like [`parse_up_to`], for a text that must not be empty.
pub fn parse_filled(text: &str, max: usize) -> Result<&str, TextError> {
    let text = parse_up_to(text, max)?;
    if text.is_empty() { Err(TextError::Empty) } else { Ok(text) }
}

/// Accepts opaque text (an id or slug made elsewhere) as it stands: not trimmed, not empty, no NUL.
pub fn parse_opaque(text: &str) -> Result<&str, TextError> {
    refuse_nul(text)?;
    if text.is_empty() { Err(TextError::Empty) } else { Ok(text) }
}

fn refuse_nul(text: &str) -> Result<(), TextError> {
    if text.contains('\0') { Err(TextError::Nul) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ECMA-262 `WhiteSpace` and `LineTerminator`, spelled out.
    const ECMASCRIPT: &[char] = &[
        '\u{9}', '\u{A}', '\u{B}', '\u{C}', '\u{D}', ' ', '\u{A0}', '\u{1680}', '\u{2000}', '\u{2001}', '\u{2002}',
        '\u{2003}', '\u{2004}', '\u{2005}', '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}', '\u{200A}', '\u{2028}',
        '\u{2029}', '\u{202F}', '\u{205F}', '\u{3000}', '\u{FEFF}',
    ];

    #[test]
    fn white_space_is_exactly_that_of_ecmascript() {
        let found: Vec<char> = ('\0'..=char::MAX).filter(|c| is_white_space(*c)).collect();
        assert_eq!(found, ECMASCRIPT);
    }

    #[test]
    fn next_line_is_kept_and_byte_order_mark_is_trimmed() {
        assert_eq!(trim("\u{85}a\u{85}"), "\u{85}a\u{85}");
        assert_eq!(trim("\u{FEFF} a b \u{2029}"), "a b");
    }

    #[test]
    fn length_is_counted_in_scalar_values_after_trimming() {
        assert_eq!(parse_up_to("  ééé  ", 3), Ok("ééé"));
        assert_eq!(parse_up_to("👩‍🦰", 3), Ok("👩‍🦰"), "woman, joiner, hair: three scalar values");
        assert_eq!(parse_up_to("abcd", 3), Err(TextError::TooLong { max: 3 }));
    }

    #[test]
    fn empty_text_and_nul_give_different_errors() {
        assert_eq!(parse_filled(" \u{3000} ", 3), Err(TextError::Empty));
        assert_eq!(parse_filled("a\0", 3), Err(TextError::Nul));
        assert_eq!(parse_opaque(" "), Ok(" "), "opaque text is not trimmed");
        assert_eq!(parse_opaque(""), Err(TextError::Empty));
        assert_eq!(parse_opaque("\0"), Err(TextError::Nul));
    }
}
