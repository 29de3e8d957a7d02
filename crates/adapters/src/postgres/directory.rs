//! The directory: one statement for a page, its chips and the exact total.

use async_trait::async_trait;
use crm_domain::{
    directory::{CustomerSummary, DirectoryQuery, SearchTerm, SearchWord, SortKey, ports::DirectoryReads},
    ids::UserId,
    page::Page,
    store_error::StoreError,
};
use diesel::sql_types::{Integer, Json, Nullable, Text, Timestamptz};
use time::OffsetDateTime;

use super::{
    Postgres,
    chip::Chips,
    statement::{PageLine, Statement, fold, join_chips, named_row, search_text},
    timestamp::PgTimestamp,
};

named_row! {
    /// A customer as the directory lists them.
    struct CustomerRow {
        id: Text => String,
        name: Text => String,
        email: Text => String,
        phone: Nullable<Text> => Option<String>,
        total_visits: Integer => i32,
        total_spent_paise: Integer => i32,
        noshow_count: Integer => i32,
        first_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        last_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        gems_balance: Nullable<Integer> => Option<i32>,
        created_at: Timestamptz => PgTimestamp,
        tags: Json => Chips,
    }
}

impl From<CustomerRow> for CustomerSummary {
    fn from(row: CustomerRow) -> Self {
        let CustomerRow {
            id,
            name,
            email,
            phone,
            total_visits,
            total_spent_paise,
            noshow_count,
            first_visit_at,
            last_visit_at,
            gems_balance,
            created_at,
            tags,
        } = row;
        Self {
            id: UserId::from_stored(id),
            name,
            email,
            phone,
            total_visits,
            total_spent_paise,
            noshow_count,
            first_visit_at: first_visit_at.map(OffsetDateTime::from),
            last_visit_at: last_visit_at.map(OffsetDateTime::from),
            gems_balance,
            created_at: created_at.into(),
            tags: tags.into(),
        }
    }
}

#[async_trait]
impl DirectoryReads for Postgres {
    async fn list_customers(&self, query: &DirectoryQuery) -> Result<Page<CustomerSummary>, StoreError> {
        let words = query.search.as_ref().map_or_else(Vec::new, padded_words);
        let lines: Vec<PageLine<CustomerRow>> = self.pool.read_rows(|| page_statement(query, &words)).await?;
        let total_count = lines.as_slice().first().map_or(0, |line| line.total_count.unsigned_abs());
        let items = lines.into_iter().filter_map(|line| line.item.map(CustomerSummary::from)).collect();
        Ok(Page { items, total_count })
    }
}

/// The words of a search, the last one repeated until their number is a power of two: each number of words makes a
/// statement of its own, which every connection keeps prepared.
fn padded_words(term: &SearchTerm) -> Vec<&SearchWord> {
    let words = term.words();
    words.iter().chain(words.last().into_iter().cycle()).take(words.len().next_power_of_two()).collect()
}

/// The statement of a page. By hand: diesel has no common table expressions and no lateral joins.
///
/// `matched` holds the ids and sort keys of everyone who matches and is gone through once, for the total and for the
/// page's ids; the rows are fetched for those ids alone. Filters that are not asked for are not in the text, so each
/// combination is planned for itself.
fn page_statement<'q>(query: &'q DirectoryQuery, words: &[&'q SearchWord]) -> Statement<'q> {
    let (key, order) = match query.sort {
        SortKey::Ltv => ("p.total_spent_paise", "m.key DESC, m.id COLLATE \"C\""),
        SortKey::Visits => ("p.total_visits", "m.key DESC, m.id COLLATE \"C\""),
        SortKey::LastVisit => ("p.last_visit_at", "m.key DESC NULLS LAST, m.id COLLATE \"C\""),
        SortKey::Name => ("lower(u.name COLLATE \"und-x-icu\")", "m.key, m.id COLLATE \"C\""),
        SortKey::Gems => ("l.gems_balance", "m.key DESC NULLS LAST, m.id COLLATE \"C\""),
        SortKey::NoShows => ("p.noshow_count", "m.key DESC, m.id COLLATE \"C\""),
    };
    let mut statement = Statement::new("WITH ");
    if !words.is_empty() {
        statement = word_patterns(statement, words);
    }
    statement = statement
        .sql("matched AS MATERIALIZED (SELECT u.id, ")
        .sql(key)
        .sql(" AS key FROM \"user\" u JOIN customer_profile p ON p.user_id = u.id");
    if query.sort == SortKey::Gems {
        statement = statement.sql(" LEFT JOIN loyalty_account l ON l.customer_id = u.id");
    }
    if let Some(tag) = &query.tag {
        statement = statement
            .sql(" JOIN customer_tag_assignment a ON a.customer_id = u.id JOIN customer_tag t ON t.id = a.tag_id AND t.slug = ")
            .text(tag.as_str());
    }
    let has_phone_digits = words.iter().any(|word| word.phone_digits.is_some());
    if has_phone_digits {
        statement = statement.sql(concat!(
            " CROSS JOIN LATERAL (SELECT ",
            search_text!(with phone digits),
            " AS text OFFSET 0) s"
        ));
    } else if !words.is_empty() {
        statement = statement.sql(concat!(" CROSS JOIN LATERAL (SELECT ", search_text!(), " AS text OFFSET 0) s"));
    }
    statement = statement.sql(" WHERE u.role = 'customer'");
    for (number, _) in (1..).zip(words) {
        statement = word_occurs(statement, number, has_phone_digits);
    }
    statement
        .sql("), page AS (SELECT m.id, m.key FROM matched m ORDER BY ")
        .sql(order)
        .sql(" LIMIT ")
        .bigint(query.page.limit().cast_signed())
        .sql(" OFFSET ")
        .bigint(query.page.offset().cast_signed())
        .sql(concat!(
            ") SELECT (SELECT count(*) FROM matched) AS total_count, m.* FROM (SELECT) nothing LEFT JOIN (",
            "SELECT true AS has_item, u.id, u.name, u.email, p.phone, p.total_visits, p.total_spent_paise, p.noshow_count,",
            " p.first_visit_at, p.last_visit_at, l.gems_balance, u.created_at,",
            " chips.tags, page.key",
            " FROM page JOIN \"user\" u ON u.id = page.id JOIN customer_profile p ON p.user_id = u.id",
            " LEFT JOIN loyalty_account l ON l.customer_id = u.id",
            join_chips!(),
            ") m ON true ORDER BY "
        ))
        .sql(order)
}

/// The patterns of the words, each folded once and not once a row: `words(number, pattern, phone_pattern)`.
fn word_patterns<'q>(statement: Statement<'q>, words: &[&'q SearchWord]) -> Statement<'q> {
    let mut statement = statement.sql(concat!(
        "words AS MATERIALIZED (SELECT number, ",
        // `%`, `_` and `\` stand for themselves. Escaped after folding, which makes them out of other characters.
        "'%' || regexp_replace(",
        fold!("word"),
        ", '([\\\\%_])', '\\\\\\1', 'g') || '%' AS pattern, '%\u{2060}%' || digits || '%' AS phone_pattern FROM (VALUES ",
    ));
    for (number, word) in (1..).zip(words) {
        statement = statement
            .sql(if number == 1 { "(" } else { ", (" })
            .bigint(number)
            .sql(", ")
            .text(&*word.text)
            .sql(", ")
            .text(word.phone_digits.as_deref())
            .sql(")");
    }
    statement.sql(") w (number, word, digits)), ")
}

/// The condition that a word occurs in the text `s.text`.
fn word_occurs(statement: Statement<'_>, number: i64, has_phone_digits: bool) -> Statement<'_> {
    let statement =
        statement.sql(" AND (s.text LIKE (SELECT pattern FROM words WHERE number = ").bigint(number).sql(")");
    let statement = if has_phone_digits {
        statement.sql(" OR s.text LIKE (SELECT phone_pattern FROM words WHERE number = ").bigint(number).sql(")")
    } else {
        statement
    };
    statement.sql(")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_padded_to_a_power_of_two() {
        for (text, expected) in [("a", "a"), ("a b", "a b"), ("a b c", "a b c c"), ("a b c d e", "a b c d e e e e")] {
            let term = SearchTerm::parse(text).unwrap().unwrap();
            let padded: Vec<_> = padded_words(&term).into_iter().map(|word| word.text.as_str()).collect();
            assert_eq!(padded.join(" "), expected);
        }
    }
}
