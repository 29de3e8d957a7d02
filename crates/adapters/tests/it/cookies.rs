//! A hundred thousand mutated `Cookie` headers, each read by this service and by the real library.
//!
//! The headers are the same in every run. They contain every byte that the library's `Headers` object accepts: all
//! except NUL, CR and LF.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crm_adapters::{
    better_auth::cookie::{CookieName, Secret},
    testing::{TestDatabase, platform::SECRET},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use crate::interop::Issuer;

const HEADERS: usize = 100_000;
/// Number of headers that the library reads at a time. Larger batches take longer.
const BATCH: usize = 100;
const NAME: &str = "better-auth.session_token";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn mutated_cookie_headers_are_parsed_as_the_library_parses_them() {
    let database = TestDatabase::empty();
    let mut issuer = Issuer::start(&database, &[("BETTER_AUTH_URL", "http://localhost:3000")]);
    let name = CookieName::new(false, "better-auth", None);
    let secret = Secret::new(SECRET).unwrap();

    let headers = headers();
    let (mut accepted, mut non_ascii, mut with_nul, mut too_long) = (0, 0, 0, 0);
    let mut differences = Vec::new();
    for batch in headers.chunks(BATCH) {
        let encoded: Vec<String> = batch.iter().map(|header| STANDARD.encode(header)).collect();
        let answer = issuer.run_command(json!({"do": "verify-cookies", "headers": encoded})).await;
        let tokens = answer["tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), batch.len());
        for (header, token) in batch.iter().zip(tokens) {
            let theirs = token.as_str();
            // This service also rejects tokens that contain a NUL or are longer than 512 bytes. The library itself
            // rejects an empty token.
            let expected = theirs.filter(|token| !token.contains('\0') && token.len() <= 512);
            let value = name.find_in(header);
            let ours = value.as_deref().and_then(|value| secret.verify(value));
            if ours != expected {
                differences.push(format!("{}: {ours:?}, the library {theirs:?}", header.escape_ascii()));
            }
            accepted += usize::from(theirs.is_some());
            non_ascii += usize::from(expected.is_some_and(|token| !token.is_ascii()));
            with_nul += usize::from(theirs.is_some_and(|token| token.contains('\0')));
            too_long += usize::from(theirs.is_some_and(|token| token.len() > 512));
        }
    }
    issuer.stop().await;

    assert!(differences.is_empty(), "{} differences, the first: {}", differences.len(), differences[0]);
    // The comparison is meaningful only if the library accepts enough headers of each kind.
    assert!(accepted * 5 >= headers.len(), "the library accepts only {accepted}");
    assert!(non_ascii > 1_000, "only {non_ascii} accepted tokens go beyond ASCII");
    assert!(with_nul > 100 && too_long > 100, "only {with_nul} tokens with a NUL, {too_long} too long");
}

/// A header with each byte from 0x80 to 0xff at each position, then random headers.
fn headers() -> Vec<Vec<u8>> {
    let mut random = Random(0);
    let mut headers = insert_each_high_byte_at_each_position();
    let values: Vec<String> = (0..1_000).map(|_| signed_value(&mut random)).collect();
    while headers.len() < HEADERS {
        let mut header = random_header(&values, &mut random);
        for _ in 0..random.pick(&[0, 0, 1, 1, 2, 4]) {
            header = mutate(&header, &mut random);
        }
        headers.push(strip(&header).to_vec());
    }
    headers
}

fn insert_each_high_byte_at_each_position() -> Vec<Vec<u8>> {
    let signature = sign("té", SECRET);
    let parts: [&[u8]; 5] = [b"x=1; ", NAME.as_bytes(), b"=\"t\xe9.", signature.as_bytes(), b"\"; y=2"];
    let header = parts.concat();
    let mut headers = Vec::new();
    for position in 0..=header.len() {
        for byte in 0x80..=0xff {
            let mut header = header.clone();
            header.insert(position, byte);
            headers.push(header);
        }
    }
    headers
}

fn sign(token: &str, secret: &str) -> String {
    let key = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    STANDARD.encode(key.chain_update(token.as_bytes()).finalize().into_bytes())
}

/// `token.signature`, not encoded. A few signatures use another secret or have non-zero unused trailing bits.
fn signed_value(random: &mut Random) -> String {
    let token: String = match random.below(8) {
        0..=3 => (0..32).map(|_| char::from(random.pick(b"0123456789ABCXYZabcxyz"))).collect(),
        4 => "x".repeat(random.pick(&[1, 511, 512, 513])),
        5 => "é".repeat(random.pick(&[1, 255, 256, 257])),
        _ => (0..random.below(7)).map(|_| random.pick(TOKEN_PARTS)).collect(),
    };
    let secret = if random.below(16) == 0 { "another-secret-of-at-least-32-characters" } else { SECRET };
    let mut signature = sign(&token, secret);
    if random.below(8) == 0 {
        // The last character before the padding has two unused bits, both 0. The next character of the alphabet has one
        // of them set.
        let mut bytes = signature.into_bytes();
        bytes[42] += 1;
        signature = String::from_utf8(bytes).unwrap();
    }
    format!("{token}.{signature}")
}

const TOKEN_PARTS: &[&str] = &[
    "a", "Zz9", ".", "..", "\"", "%", "%41", "%zz", "%C3%A9", "+", "=", ",", ";", " ", "\t", "\r\n", "\0", "\u{80}",
    "\u{85}", "\u{a0}", "é", "ÿ", "α", "\u{2028}", "\u{feff}", "\u{fffd}", "😀",
];

/// One to four cookies, most of them session cookies.
fn random_header(values: &[String], random: &mut Random) -> Vec<u8> {
    let mut header = Vec::new();
    for number in 0..=random.below(4) {
        if number > 0 {
            header.extend(random.pick(SEPARATORS));
        }
        if random.below(3) == 0 {
            header.extend(random.pick(OTHER_COOKIES));
        } else {
            let value = &values[random.below(values.len())];
            header.extend(session_cookie(value, random));
        }
    }
    header
}

const SEPARATORS: &[&[u8]] = &[b"; ", b"; ", b"; ", b";", b" ;\t", b";\xa0", b";;", b","];
const OTHER_COOKIES: &[&[u8]] = &[
    b"x=1",
    b"flag",
    b"=1",
    b"",
    b"caf\xe9=\xff",
    b"caf\xc3\xa9=\"a;b\"",
    b"%=%",
    b"better-auth.session_data=x.y",
    b"better-auth.session_token",
    b"__Secure-better-auth.session_token=x.y",
];

fn session_cookie(value: &str, random: &mut Random) -> Vec<u8> {
    let any_byte = [random.byte()];
    let (open, close): (&[u8], &[u8]) = match random.below(8) {
        0 | 1 => (b"\"", b"\""),
        2 => (b"\"", &any_byte),
        3 => (b"\"", b""),
        _ => (b"", b""),
    };
    let name = if random.below(16) == 0 { random.pick(OTHER_NAMES) } else { NAME.as_bytes() };
    let value = encode(value, random);
    let mut white_space = || -> &[u8] { if random.below(4) == 0 { random.pick(WHITE_SPACE) } else { b"" } };
    let parts: [&[u8]; 9] =
        [white_space(), name, white_space(), b"=", white_space(), open, &value, close, white_space()];
    parts.concat()
}

const OTHER_NAMES: &[&[u8]] = &[
    b"Better-Auth.session_token",
    b"better-auth%2Esession_token",
    b"better-auth.session_token\xff",
    b"\xe9better-auth.session_token",
    b"better-auth.session_token.0",
    b"",
];
const WHITE_SPACE: &[&[u8]] = &[b" ", b"\t", b"\xa0", b"\x0b", b"\x0c", b" \xa0\t", b"\x85", b"\xc2\xa0"];

/// Encodes each character as its Latin-1 byte or as percent escapes of its UTF-8 bytes.
fn encode(value: &str, random: &mut Random) -> Vec<u8> {
    let style = random.below(4);
    let mut encoded = Vec::new();
    for character in value.chars() {
        let as_byte = match style {
            0 => character.is_ascii_alphanumeric() || "-_.!~*'()".contains(character), // `encodeURIComponent`
            1 => true,
            2 => false,
            _ => random.below(2) == 0,
        };
        match u8::try_from(character) {
            Ok(byte) if as_byte && can_be_sent(byte) => encoded.push(byte),
            _ => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let escape = if style == 2 { format!("%{byte:02x}") } else { format!("%{byte:02X}") };
                    encoded.extend(escape.as_bytes());
                }
            }
        }
    }
    encoded
}

/// Whether Node's `Headers` accepts the byte.
fn can_be_sent(byte: u8) -> bool {
    !matches!(byte, b'\0' | b'\r' | b'\n')
}

/// Inserts or replaces bytes at a random position, repeats a part of the header there, or truncates the header.
fn mutate(header: &[u8], random: &mut Random) -> Vec<u8> {
    let start = random.below(header.len() + 1);
    let end = header.len().min(start + random.below(3));
    let inserted = match random.below(8) {
        0..=2 => vec![random.byte()],
        3 | 4 => random.pick(ESCAPES).to_vec(),
        5 => random.pick(SYNTAX).to_vec(),
        6 => header[random.below(start + 1)..start].to_vec(),
        _ => return header[..start].to_vec(),
    };
    [&header[..start], inserted.as_slice(), &header[end..]].concat()
}

const ESCAPES: &[&[u8]] = &[
    b"%",
    b"%4",
    b"%zz",
    b"%00",
    b"%0D%0A",
    b"%20",
    b"%22",
    b"%25",
    b"%2E",
    b"%3b",
    b"%3D",
    b"%61",
    b"%80",
    b"%A0",
    b"%C3",
    b"%C3%A9",
    b"%c2%a0",
    b"%FF",
    b"%C0%80",
    b"%ED%A0%80",
    b"%ED%B0%80",
    b"%F0%9F%98%80",
    b"%F4%90%80%80",
    b"%EF%BB%BF",
];
const SYNTAX: &[&[u8]] = &[b";", b"; ", b"=", b",", b"\"", b".", b" ", b"\t", b"\xa0", b"better-auth.session_token="];

/// Removes spaces and tabs at both ends, as an HTTP server and Node's `Headers` do.
fn strip(mut header: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = header {
        header = rest;
    }
    header
}

/// `SplitMix64`: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A byte that can be sent; in two of three cases 0x80 or more.
    fn byte(&mut self) -> u8 {
        let lowest = self.pick(&[0, 0x80, 0x80]);
        let byte = u8::try_from(lowest + self.below(0x80)).unwrap();
        if can_be_sent(byte) { byte } else { b'%' }
    }
}
