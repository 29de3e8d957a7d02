//! The directory: one statement for a page, its chips and the exact total.

use async_trait::async_trait;
use crm_domain::{
    directory::{CustomerSummary, DirectoryQuery, SearchTerm, SortKey, ports::DirectoryReads},
    ids::UserId,
    page::Page,
    store_error::StoreError,
};
use diesel::sql_types::{Integer, Json, Nullable, Text, Timestamptz};
use time::OffsetDateTime;

use super::{
    Postgres,
    chip::Chips,
    statement::{PageLine, Statement, fold, join_chips, named_row},
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
        let pattern = query.search.as_ref().map(like_pattern);
        let lines: Vec<PageLine<CustomerRow>> =
            self.pool.read_rows(|| page_statement(query, pattern.as_deref())).await?;
        let total_count = lines.as_slice().first().map_or(0, |line| line.total_count.unsigned_abs());
        let items = lines.into_iter().filter_map(|line| line.item.map(CustomerSummary::from)).collect();
        Ok(Page { items, total_count })
    }
}

/// The `LIKE` pattern of a substring, in which `%`, `_` and `\` stand for themselves.
fn like_pattern(term: &SearchTerm) -> String {
    let mut pattern = String::from("%");
    for c in term.as_str().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// The statement of a page. By hand: diesel has no common table expressions and no lateral joins.
///
/// `matched` holds the ids and sort keys of everyone who matches and is gone through once, for the total and for the
/// page's ids; the rows are fetched for those ids alone. Filters that are not asked for are not in the text, so each
/// combination is planned for itself.
fn page_statement<'q>(query: &'q DirectoryQuery, pattern: Option<&'q str>) -> Statement<'q> {
    let (key, order) = match query.sort {
        SortKey::Ltv => ("p.total_spent_paise", "m.key DESC, m.id COLLATE \"C\""),
        SortKey::Visits => ("p.total_visits", "m.key DESC, m.id COLLATE \"C\""),
        SortKey::LastVisit => ("p.last_visit_at", "m.key DESC NULLS LAST, m.id COLLATE \"C\""),
        SortKey::Name => ("lower(u.name COLLATE \"und-x-icu\")", "m.key, m.id COLLATE \"C\""),
        SortKey::Gems => ("l.gems_balance", "m.key DESC NULLS LAST, m.id COLLATE \"C\""),
        SortKey::NoShows => ("p.noshow_count", "m.key DESC, m.id COLLATE \"C\""),
    };
    let mut statement = Statement::new("WITH ");
    if let Some(pattern) = pattern {
        // Folded once, not once a row.
        statement =
            statement.sql("search AS (SELECT upper(lower(").text(pattern).sql(" COLLATE \"und-x-icu\")) AS pattern), ");
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
    statement = statement.sql(" WHERE u.role = 'customer'");
    if pattern.is_some() {
        statement = statement.sql(concat!(
            " AND (",
            fold!("u.name"),
            " LIKE (SELECT pattern FROM search) OR ",
            fold!("u.email"),
            " LIKE (SELECT pattern FROM search) OR ",
            fold!("p.phone"),
            " LIKE (SELECT pattern FROM search))"
        ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_in_a_search_term_are_escaped() {
        let term = |text| SearchTerm::parse(text).unwrap().unwrap();
        assert_eq!(like_pattern(&term("anya")), "%anya%");
        assert_eq!(like_pattern(&term(r"50%_\")), r"%50\%\_\\%");
    }
}
