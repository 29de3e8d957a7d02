//! The words of a search in a statement: their patterns, and the condition that each of them occurs.

use crm_domain::directory::{SearchTerm, SearchWord};

use super::super::statement::{Statement, fold};

/// The length of a trigram: an index on trigrams helps a word that has a run of at least so many letters or digits.
const TRIGRAM: usize = 3;

/// The words of a search. Each number of words makes a statement of its own, which every connection keeps prepared, so the
/// last word is repeated until their number is a power of two.
pub(super) struct Words<'q> {
    /// Those that the index on trigrams helps, then the others.
    words: Vec<&'q SearchWord>,
    /// How many of them the index helps.
    indexed: usize,
}

impl<'q> Words<'q> {
    /// For a statement that has no index to use.
    pub(super) fn without_index(term: Option<&'q SearchTerm>) -> Self {
        let words: Vec<_> = term.map_or(&[][..], SearchTerm::words).iter().collect();
        Self { words: padded(&words), indexed: 0 }
    }

    /// For a statement on a table with an index on trigrams.
    pub(super) fn with_index(term: Option<&'q SearchTerm>) -> Self {
        let words = term.map_or(&[][..], SearchTerm::words);
        let (indexed, others): (Vec<_>, Vec<_>) = words.iter().partition(|word| has_trigram(word));
        let mut words = padded(&indexed);
        let indexed = words.len();
        words.extend(padded(&others));
        Self { words, indexed }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether any word is looked for among the digits of phone numbers, too.
    pub(super) fn have_phone_digits(&self) -> bool {
        self.words.iter().any(|word| word.phone_digits.is_some())
    }

    /// Adds the patterns, each folded once and not once a row, as `words(number, pattern, phone_pattern)`.
    pub(super) fn patterns(&self, statement: Statement<'q>) -> Statement<'q> {
        let mut statement = statement.sql(concat!(
            "words AS MATERIALIZED (SELECT number, ",
            // `%`, `_` and `\` stand for themselves. Escaped after folding, which makes them out of other characters.
            "'%' || regexp_replace(",
            fold!("word"),
            ", '([\\\\%_])', '\\\\\\1', 'g') || '%' AS pattern, '%\u{2060}%' || digits || '%' AS phone_pattern FROM (VALUES ",
        ));
        for (number, word) in (1..).zip(&self.words) {
            statement = statement
                .sql(if number == 1 { "(" } else { ", (" })
                .bigint(number)
                .sql(", ")
                .text(&*word.text)
                .sql(", ")
                .text(word.phone_digits.as_deref())
                .sql(")");
        }
        statement.sql(") w (number, word, digits))")
    }

    /// Adds the condition that every word occurs in the text `s.text`, beginning with `AND`.
    pub(super) fn all_occur(&self, mut statement: Statement<'q>) -> Statement<'q> {
        let have_phone_digits = self.have_phone_digits();
        for (index, number) in (1..).enumerate().take(self.words.len()) {
            // An expression instead of the column keeps PostgreSQL from reading the whole index for a word without trigrams.
            let text = if index < self.indexed { "s.text" } else { "(s.text || '')" };
            statement = statement
                .sql(" AND (")
                .sql(text)
                .sql(" LIKE (SELECT pattern FROM words WHERE number = ")
                .bigint(number)
                .sql(")");
            if have_phone_digits {
                statement = statement
                    .sql(" OR ")
                    .sql(text)
                    .sql(" LIKE (SELECT phone_pattern FROM words WHERE number = ")
                    .bigint(number)
                    .sql(")");
            }
            statement = statement.sql(")");
        }
        statement
    }
}

fn padded<'q>(words: &[&'q SearchWord]) -> Vec<&'q SearchWord> {
    let length = if words.is_empty() { 0 } else { words.len().next_power_of_two() };
    words.iter().chain(words.last().into_iter().cycle()).take(length).copied().collect()
}

/// Whether everything that the word may match has a trigram. Only ASCII counts: what other letters are depends on the
/// database's locale. Folding keeps these runs.
fn has_trigram(word: &SearchWord) -> bool {
    let has_run = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| run.len() >= TRIGRAM);
    has_run(&word.text) && word.phone_digits.as_deref().is_none_or(has_run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &Words<'_>) -> (String, usize) {
        let texts: Vec<_> = words.words.iter().map(|word| word.text.as_str()).collect();
        (texts.join(" "), words.indexed)
    }

    #[test]
    fn words_are_padded_to_a_power_of_two() {
        for (text, expected) in [("a", "a"), ("a b", "a b"), ("a b c", "a b c c"), ("a b c d e", "a b c d e e e e")] {
            let term = SearchTerm::parse(text).unwrap();
            assert_eq!(texts(&Words::without_index(term.as_ref())), (expected.to_owned(), 0));
        }
        assert!(Words::without_index(None).is_empty());
    }

    #[test]
    fn words_with_trigrams_come_first() {
        for (text, expected, indexed) in [
            ("ra kumar", "kumar ra", 1),
            ("kumar 98123 ra io", "kumar 98123 ra io", 2),
            ("élo अनन्या a-b", "élo अनन्या a-b a-b", 0),
            ("0091", "0091", 0),
            ("98-1 2", "98-1 2", 0),
            ("+91 98123 45678", "+91 98123 45678", 1),
            ("aaa bbb ccc d", "aaa bbb ccc ccc d", 4),
        ] {
            let term = SearchTerm::parse(text).unwrap();
            assert_eq!(texts(&Words::with_index(term.as_ref())), (expected.to_owned(), indexed), "{text}");
        }
    }
}
