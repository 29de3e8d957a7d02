//! The session cookie: its name, finding it in a header, verifying its signature.
//!
//! Source: `docs/SESSIONS.md`; checked against what the real library answered
//! (`tests/fixtures/better-auth-vectors.json`).

use std::fmt;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::percent_decode;
use sha2::{Digest as _, Sha256};

/// The prefix of a cookie that browsers send over HTTPS only.
const SECURE_PREFIX: &str = "__Secure-";
/// Tokens longer than this, in bytes, are refused before any look-up. The library's own have 32.
const MAX_TOKEN_LENGTH: usize = 512;
/// The shortest secret, in characters.
pub const MIN_SECRET_LENGTH: usize = 32;
/// A base64-encoded HMAC-SHA-256, padding included.
const SIGNATURE_LENGTH: usize = 44;

/// The Latin-1 characters that JavaScript's `trim` removes. Rust's `trim` also removes U+0085, and `trim_ascii` keeps
/// U+000B and U+00A0.
const WHITE_SPACE: [char; 7] = ['\t', '\n', '\u{b}', '\u{c}', '\r', ' ', '\u{a0}'];

/// Padding is required, other trailing bits than zero are not refused: as the library does it.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The name of the session cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieName(String);

impl CookieName {
    /// The name that the platform's settings give: `[__Secure-]` and the custom name, else
    /// `<prefix>.session_token`.
    #[must_use]
    pub fn new(secure: bool, prefix: &str, custom_name: Option<&str>) -> Self {
        let secure = if secure { SECURE_PREFIX } else { "" };
        Self(custom_name.map_or_else(|| format!("{secure}{prefix}.session_token"), |name| format!("{secure}{name}")))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The decoded value of the first cookie of this name in a `Cookie` header, even when it is empty; `None` when
    /// there is none.
    #[must_use]
    pub fn find_in(&self, cookie_header: &[u8]) -> Option<String> {
        // Node's HTTP parser reads each byte as one character (Latin-1), and the library works on those characters.
        let header: String = cookie_header.iter().copied().map(char::from).collect();
        header.split(';').find_map(|segment| {
            let (name, value) = segment.split_once('=')?;
            (name.trim_matches(WHITE_SPACE) == self.0).then(|| decode(value.trim_matches(WHITE_SPACE)))
        })
    }
}

/// Drops the first and the last character of a value that begins with a quote, whatever the last one is. Then decodes
/// percent escapes once: all of them, or, when any is malformed or they are not UTF-8, none.
fn decode(value: &str) -> String {
    let value = if value.starts_with('"') {
        let mut characters = value.chars();
        characters.next();
        characters.next_back();
        characters.as_str()
    } else {
        value
    };
    if has_malformed_escape(value) {
        return value.to_owned();
    }
    // Characters that are not escaped are whole UTF-8 sequences here, so they cannot complete an escaped one.
    percent_decode(value.as_bytes()).decode_utf8().map_or_else(|_| value.to_owned(), std::borrow::Cow::into_owned)
}

fn has_malformed_escape(value: &str) -> bool {
    value.split('%').skip(1).any(|rest| {
        let digits = rest.as_bytes();
        digits.len() < 2 || !digits[0].is_ascii_hexdigit() || !digits[1].is_ascii_hexdigit()
    })
}

/// Why a secret was refused. Shown at start-up; never holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be at least {MIN_SECRET_LENGTH} characters long")]
pub struct SecretTooShort;

/// What the platform signs its session cookies with. Used as it stands, never printed.
#[derive(Clone)]
pub struct Secret {
    key: Hmac<Sha256>,
    fingerprint: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(sha256 {}…)", self.fingerprint)
    }
}

impl Secret {
    /// Takes a secret of at least [`MIN_SECRET_LENGTH`] characters as it stands.
    ///
    /// # Panics
    ///
    /// Never: an HMAC key may have any length.
    pub fn new(secret: &str) -> Result<Self, SecretTooShort> {
        if secret.chars().count() < MIN_SECRET_LENGTH {
            return Err(SecretTooShort);
        }
        let key = Hmac::new_from_slice(secret.as_bytes()).expect("an HMAC key may have any length");
        let digest = Sha256::digest(secret.as_bytes());
        let fingerprint = format!("{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
        Ok(Self { key, fingerprint })
    }

    /// The first 8 hexadecimal digits of the secret's SHA-256: lets two deployments be compared, tells nothing else.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The token of a signed value `token.signature`; `None` when it is malformed, too long, holds a NUL or was not
    /// signed with this secret. The comparison takes the same time wherever the signatures differ.
    #[must_use]
    pub fn verify<'v>(&self, value: &'v str) -> Option<&'v str> {
        let (token, signature) = value.rsplit_once('.')?;
        if token.is_empty() || token.len() > MAX_TOKEN_LENGTH || token.contains('\0') {
            return None;
        }
        if signature.len() != SIGNATURE_LENGTH || !signature.ends_with('=') {
            return None;
        }
        let signature = BASE64.decode(signature).ok()?;
        self.key.clone().chain_update(token.as_bytes()).verify_slice(&signature).ok()?;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "test-secret-of-at-least-32-characters-long!!";

    fn sign(token: &str, secret: &str) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(token.as_bytes());
        format!("{token}.{}", BASE64.encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn cookie_names_follow_the_settings_of_the_platform() {
        let table = [
            (false, "better-auth", None, "better-auth.session_token"),
            (true, "better-auth", None, "__Secure-better-auth.session_token"),
            (false, "salon", None, "salon.session_token"),
            (true, "salon", Some("sid"), "__Secure-sid"),
            (false, "salon", Some("sid"), "sid"),
        ];
        for (secure, prefix, custom, name) in table {
            assert_eq!(CookieName::new(secure, prefix, custom).as_str(), name);
        }
    }

    #[test]
    fn headers_are_parsed_as_the_library_parses_them() {
        let name = CookieName::new(false, "", Some("sid"));
        let table: [(&[u8], Option<&str>); 27] = [
            (b"sid=a", Some("a")),
            (b"x=1; sid=a; y=2", Some("a")),
            (b"x=1;sid=a", Some("a")),
            (b"flag; sid=a", Some("a")),
            (b"=1; sid=a", Some("a")),
            (b"sid = a ", Some("a")),
            (b"sid=\ta\t", Some("a")),
            (b"sid=; sid=a", Some("")),
            (b"sid=a; sid=b", Some("a")),
            (b"SID=a", None),
            (b"s%69d=a", None),
            (b"xsid=a", None),
            (b"x=1, sid=a", None),
            (b"sid==a", Some("=a")),
            (b"", None),
            // Bytes from 0x80 are Latin-1 characters, in the session cookie too.
            (b"x=\xff; sid=a", Some("a")),
            (b"sid=\xff", Some("ÿ")),
            (b"sid=\xc3\xa9", Some("Ã©")),
            (b"sid=\"a\xe9", Some("a")),
            (b"\xe9sid=a", None),
            // White space of JavaScript is trimmed before the quotes are removed.
            (b"\xa0sid\xa0=\xa0\"a\"\xa0", Some("a")),
            (b"\x0b\x0csid=\x0b\x0ca", Some("a")),
            (b"sid=\"\xa0a \"", Some("\u{a0}a ")),
            (b"sid=\x85a\x85", Some("\u{85}a\u{85}")),
            (b"\x85sid=a", None),
            (b"\xc2\xa0sid=a", None),
            (b"sid=a\xc2\xa0", Some("aÂ")),
        ];
        for (header, value) in table {
            assert_eq!(name.find_in(header).as_deref(), value, "{}", String::from_utf8_lossy(header));
        }
    }

    #[test]
    fn values_are_decoded_once_or_not_at_all() {
        let table = [
            ("a%2Bb", "a+b"),
            ("a+b", "a+b"),
            ("a%252Bb", "a%2Bb"),
            ("a%2bb%zz", "a%2bb%zz"),
            ("a%2", "a%2"),
            ("a%", "a%"),
            ("%ff", "%ff"),
            ("%C3%A9", "é"),
            ("\"a%3D\"", "a="),
            ("\"a", ""),
            ("\"ab", "a"),
            ("a\"", "a\""),
            ("\"", ""),
            ("\"é\"", "é"),
            ("\"aé", "a"),
            ("é%C3%A9", "éé"),
            ("%C3©", "%C3©"),
            ("Ã%A9", "Ã%A9"),
            ("%F0%9F%98%80", "😀"),
            ("%ED%A0%80", "%ED%A0%80"),
            ("%C0%80", "%C0%80"),
            ("%F4%90%80%80", "%F4%90%80%80"),
            ("%00", "\0"),
        ];
        for (raw, decoded) in table {
            assert_eq!(decode(raw), decoded, "{raw}");
        }
    }

    #[test]
    fn a_secret_has_a_minimum_length_and_is_not_printed() {
        assert_eq!(Secret::new(&"é".repeat(31)).unwrap_err(), SecretTooShort);
        let secret = Secret::new(&"é".repeat(32)).unwrap();
        assert!(!format!("{secret:?}").contains('é'));
        // `printf %s "$SECRET" | sha256sum | cut -c 1-8`
        assert_eq!(Secret::new(SECRET).unwrap().fingerprint(), "4705cbfb");
    }

    #[test]
    fn tokens_that_are_empty_too_long_or_contain_nul_are_rejected() {
        let secret = Secret::new(SECRET).unwrap();
        for (token, accepted) in [
            ("a", true),
            ("a.b", true),
            ("é", true),
            ("", false),
            ("a\0", false),
            (&*"x".repeat(512), true),
            (&*"x".repeat(513), false),
        ] {
            assert_eq!(secret.verify(&sign(token, SECRET)), accepted.then_some(token), "{token}");
        }
    }

    proptest! {
        #[test]
        fn values_with_any_other_signature_are_rejected(token in "[ -~]{1,40}", flip in 0..43usize) {
            let secret = Secret::new(SECRET).unwrap();
            let value = sign(&token, SECRET);
            prop_assert_eq!(secret.verify(&value), Some(token.as_str()));
            let other = sign(&token, "another-secret-of-at-least-32-characters");
            prop_assert_eq!(secret.verify(&other), None);
            // Any other signature is rejected, apart from the two unused bits of the last character.
            let at = token.len() + 1 + flip;
            let other = if value.as_bytes()[at] == b'A' { "Q" } else { "A" };
            let forged = format!("{}{other}{}", &value[..at], &value[at + 1..]);
            prop_assert_eq!(secret.verify(&forged), None);
        }

        #[test]
        fn any_header_is_parsed_without_a_panic(header in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut header = header;
            header.extend_from_slice(b"; sid=\"%");
            let name = CookieName::new(false, "", Some("sid"));
            let value = name.find_in(&header);
            let secret = Secret::new(SECRET).unwrap();
            prop_assert_eq!(value.as_deref().and_then(|value| secret.verify(value)), None);
        }
    }
}
