//! The framing of chunked request bodies (RFC 9112, section 7.1).
//!
//! This parser only finds where a body ends, or that its framing is broken. actix-http decodes the body itself. Whatever
//! actix-http refuses is broken here too; trailer fields, which actix-http skips, are skipped here as well.

/// What a [`ChunkedFraming`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// All bytes belong to the body, and the body goes on.
    Incomplete,
    /// The body ends after that many of the bytes.
    Complete(usize),
    /// The framing is broken.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    SizeStart,
    Size,
    SizeWhitespace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
}

/// The position in a chunked body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ChunkedFraming {
    state: State,
    /// Bytes of the current chunk that have not come yet.
    remaining: u64,
}

impl ChunkedFraming {
    /// Goes on with the bytes that came next.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Progress {
        let mut position = 0;
        while position < bytes.len() {
            if self.state == State::Data {
                let here = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len() - position);
                position += here;
                self.remaining -= here as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            let byte = bytes[position];
            position += 1;
            self.state = match (self.state, byte) {
                (State::SizeStart | State::Size, byte) if byte.is_ascii_hexdigit() => {
                    let size = if self.state == State::SizeStart { 0 } else { self.remaining };
                    let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                    let Some(size) = size.checked_mul(16) else { return Progress::Broken };
                    self.remaining = size + digit;
                    State::Size
                }
                (State::Size | State::SizeWhitespace, b'\t' | b' ') => State::SizeWhitespace,
                (State::Size | State::SizeWhitespace | State::Extension, b'\r') => State::SizeLf,
                (State::Size | State::SizeWhitespace, b';') | (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                    State::Extension
                }
                (State::SizeLf, b'\n') if self.remaining > 0 => State::Data,
                (State::SizeLf | State::TrailerLf, b'\n') => State::TrailerStart,
                (State::DataCr, b'\r') => State::DataLf,
                (State::DataLf, b'\n') => State::SizeStart,
                (State::TrailerStart, b'\r') => State::EndLf,
                (State::Trailer, b'\r') => State::TrailerLf,
                (State::TrailerStart | State::Trailer, _) => State::Trailer,
                (State::EndLf, b'\n') => return Progress::Complete(position),
                _ => return Progress::Broken,
            };
        }
        Progress::Incomplete
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn advance(bytes: &[u8]) -> Progress {
        ChunkedFraming::default().advance(bytes)
    }

    #[test]
    fn a_body_ends_after_its_last_chunk() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5 ;a=b\r\nhello\r\n00\r\n\r\n",
            "A\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n",
            "2\r\n\r\n\r\n0\r\n\r\n",
        ] {
            assert_eq!(advance(body.as_bytes()), Progress::Complete(body.len()), "{body:?}");
            assert_eq!(advance(format!("{body}GET / HTTP/1.1").as_bytes()), Progress::Complete(body.len()), "{body:?}");
            assert_eq!(advance(&body.as_bytes()[..body.len() - 1]), Progress::Incomplete, "{body:?}");
        }
    }

    #[test]
    fn broken_framing_is_detected_at_once() {
        for body in [
            "zz\r\n",
            "\r\n",
            "10000000000000000\r\n",
            "5\nhello",
            "5\r\nhello0\r\n",
            "5\r\nhello\n",
            "5 5\r\n",
            "5;a=\n",
            "-1\r\n",
            "0\r\n\rx",
            "0\r\nx: 1\rx",
        ] {
            assert_eq!(advance(body.as_bytes()), Progress::Broken, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_how_the_bytes_are_split(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cut in 1_usize..20,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let mut framing = ChunkedFraming::default();
            let pieces: Vec<_> = body.chunks(cut).collect();
            let (last, first) = pieces.split_last().unwrap();
            for piece in first {
                prop_assert_eq!(framing.advance(piece), Progress::Incomplete);
            }
            prop_assert_eq!(framing.advance(last), Progress::Complete(last.len()));
        }
    }
}
