//! What a search of the directory looks for.
//!
//! Source: contract extensions, "Search as people type". Case, accents and invisible characters are folded by the
//! adapter, because stored text must be folded in the same way.

use crate::text::{self, TextError};

/// The most characters a search may have.
pub const MAX_SEARCH: usize = 120;

/// The fewest digits of a word that also searches the digits of phone numbers.
const MIN_PHONE_DIGITS: usize = 3;

/// The digits of a phone number without its country code. More than that are compared without those in front.
const NATIONAL_DIGITS: usize = 10;

/// What to look for in name, e-mail address and phone number. A customer matches when every word occurs in one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTerm(Vec<SearchWord>);

impl SearchTerm {
    /// Splits `text` into words at white space. Text that consists of digits, white space and phone punctuation is one
    /// word. Empty means no filter; more than [`MAX_SEARCH`] characters after trimming or a NUL is refused.
    pub fn parse(text: &str) -> Result<Option<Self>, TextError> {
        let text = text::parse_up_to(text, MAX_SEARCH)?;
        let is_phone = text.chars().all(|c| is_phone_character(c) || is_separator(c));
        let words: Vec<_> = if is_phone && !text.is_empty() {
            vec![SearchWord::new(text)]
        } else {
            text.split(is_separator).filter(|word| !word.is_empty()).map(SearchWord::new).collect()
        };
        Ok((!words.is_empty()).then_some(Self(words)))
    }

    /// The words, at least one.
    #[must_use]
    pub fn words(&self) -> &[SearchWord] {
        &self.0
    }
}

/// One word of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchWord {
    /// The word as typed. It matches as a substring, ignoring case, accents and invisible characters.
    pub text: String,
    /// The digits that match as a substring of a phone number's digits, however that number is punctuated. `None` for a
    /// word that is not a phone number or part of one.
    pub phone_digits: Option<String>,
}

impl SearchWord {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), phone_digits: phone_digits(text) }
    }
}

/// The digits to look for in phone numbers: without zeros at the start (trunk prefix, `00`), and of more than ten the
/// last ten (no country code).
fn phone_digits(word: &str) -> Option<String> {
    if !word.chars().all(|c| is_phone_character(c) || is_separator(c)) {
        return None;
    }
    let digits: String = word.chars().filter(char::is_ascii_digit).collect();
    if digits.len() < MIN_PHONE_DIGITS {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    let national = &significant[significant.len().saturating_sub(NATIONAL_DIGITS)..];
    // Zeros alone say nothing about a number: every number would match.
    (!national.is_empty()).then(|| national.to_owned())
}

fn is_phone_character(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '+' | '-' | '(' | ')' | '.' | '/')
}

/// White space between words. U+FEFF is not: it is invisible, and folding removes it.
fn is_separator(c: char) -> bool {
    text::is_white_space(c) && c != '\u{FEFF}'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        let term = SearchTerm::parse(text).unwrap();
        term.map_or_else(Vec::new, |term| term.words().iter().map(|word| word.text.clone()).collect())
    }

    fn digits(text: &str) -> Option<String> {
        let term = SearchTerm::parse(text).unwrap().unwrap();
        assert_eq!(term.words().len(), 1, "{text:?}");
        term.words()[0].phone_digits.clone()
    }

    #[test]
    fn an_empty_search_is_no_filter() {
        for text in ["", " \t", "\u{A0}\u{FEFF}"] {
            assert_eq!(SearchTerm::parse(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn long_searches_and_nul_are_refused() {
        assert_eq!(SearchTerm::parse(&"x".repeat(121)), Err(TextError::TooLong { max: 120 }));
        assert!(SearchTerm::parse(&format!(" {} ", "é".repeat(120))).is_ok());
        assert_eq!(SearchTerm::parse("a\0"), Err(TextError::Nul));
    }

    #[test]
    fn white_space_separates_words() {
        assert_eq!(words(" sharma \t\u{3000}aarav "), ["sharma", "aarav"]);
        assert_eq!(words("aarav 98123"), ["aarav", "98123"]);
        assert_eq!(words("50%_\\"), ["50%_\\"]);
        assert_eq!(words("zo\u{FEFF}e"), ["zo\u{FEFF}e"], "invisible, not a separator");
    }

    #[test]
    fn a_phone_number_is_one_word() {
        for text in ["+91 98123 45678", "(022) 2345-678", "98.12/3", "- -"] {
            assert_eq!(words(text), [text]);
        }
        assert_eq!(words("+91 98123 x"), ["+91", "98123", "x"]);
    }

    #[test]
    fn phone_digits_have_no_trunk_prefix_and_no_country_code() {
        for (text, expected) in [
            ("981", Some("981")),
            ("98", None),
            ("+91", None),
            ("0 98123 45678", Some("9812345678")),
            ("+91 98123-45678", Some("9812345678")),
            ("0091 98123 45678", Some("9812345678")),
            ("0091", Some("91")),
            ("000", None),
            ("--/", None),
            ("12345678901234", Some("5678901234")),
            ("981x", None),
            ("٩٨١", None),
        ] {
            assert_eq!(digits(text).as_deref(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_word_is_part_of_the_text_and_nothing_else_is_lost(text in "[a-c0-3+ \\t\u{A0}é]{0,20}") {
            let visible = |text: &str| text.chars().filter(|c| !is_separator(*c)).collect::<String>();
            prop_assert_eq!(visible(&words(&text).concat()), visible(&text));
        }

        #[test]
        fn phone_digits_are_one_to_ten_digits_of_the_word(text in "[0-9+() ./-]{1,30}") {
            let Some(term) = SearchTerm::parse(&text).unwrap() else { return Ok(()) };
            let typed: String = text.chars().filter(char::is_ascii_digit).collect();
            if let Some(digits) = &term.words()[0].phone_digits {
                prop_assert!((1..=10).contains(&digits.len()));
                prop_assert!(typed.ends_with(digits.as_str()));
            } else {
                prop_assert!(typed.len() < 3 || typed.chars().all(|c| c == '0'));
            }
        }
    }
}
