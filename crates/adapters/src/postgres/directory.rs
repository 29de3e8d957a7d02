//! The directory: one statement for a page, its chips and the exact total.

use async_trait::async_trait;
use crm_domain::{
    directory::{CustomerSummary, DirectoryQuery, SearchTerm, SortKey, ports::DirectoryReads},
    ids::UserId,
    page::Page,
    store::StoreError,
    tag::Chip,
};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl as _;
use time::OffsetDateTime;

use super::{
    Postgres,
    moment::Moment,
    pool::read,
    statement::{Statement, fold, join_chips},
};

/// A line of the page: the total, and a customer, or none when the page is past the end.
type SummarySql = (BigInt, Nullable<CustomerSql>);
type CustomerSql = (
    Text,
    Text,
    Text,
    Nullable<Text>,
    Integer,
    Integer,
    Integer,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Nullable<Integer>,
    Timestamptz,
    Array<Text>,
    Array<Text>,
    Array<Nullable<Text>>,
);

#[derive(diesel::Queryable)]
struct CustomerRow {
    id: String,
    name: String,
    email: String,
    phone: Option<String>,
    total_visits: i32,
    total_spent_paise: i32,
    noshow_count: i32,
    first_visit_at: Option<Moment>,
    last_visit_at: Option<Moment>,
    gems_balance: Option<i32>,
    created_at: Moment,
    slugs: Vec<String>,
    names: Vec<String>,
    colors: Vec<Option<String>>,
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
            slugs,
            names,
            colors,
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
            tags: chips(slugs, names, colors),
        }
    }
}

/// The chips that [`join_chips`] brings as three arrays.
pub(super) fn chips(slugs: Vec<String>, names: Vec<String>, colors: Vec<Option<String>>) -> Vec<Chip> {
    slugs.into_iter().zip(names).zip(colors).map(|((slug, name), color)| Chip { slug, name, color }).collect()
}

#[async_trait]
impl DirectoryReads for Postgres {
    async fn list_customers(&self, query: &DirectoryQuery) -> Result<Page<CustomerSummary>, StoreError> {
        let pattern = query.search.as_ref().map(like_pattern);
        let lines: Vec<(i64, Option<CustomerRow>)> =
            read!(self.pool, |connection| page_statement(query, pattern.as_deref()).load(connection))?;
        let total_count = if let [(total, _), ..] = lines.as_slice() { total.unsigned_abs() } else { 0 };
        let items = lines.into_iter().filter_map(|(_, row)| row.map(CustomerSummary::from)).collect();
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

/// `matched` holds the ids and sort keys of everyone who matches and is gone through once, for the total and for the
/// page's ids; the rows are fetched for those ids alone. Filters that are not asked for are not in the text, so each
/// combination is planned for itself.
fn page_statement<'q>(query: &'q DirectoryQuery, pattern: Option<&'q str>) -> Statement<'q, SummarySql> {
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
            ") SELECT (SELECT count(*) FROM matched), m.* FROM (SELECT) nothing LEFT JOIN (",
            "SELECT u.id, u.name, u.email, p.phone, p.total_visits, p.total_spent_paise, p.noshow_count,",
            " p.first_visit_at, p.last_visit_at, l.gems_balance, u.created_at,",
            " chips.slugs, chips.names, chips.colors, page.key",
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
    fn a_substring_is_not_a_pattern() {
        let term = |text| SearchTerm::parse(text).unwrap().unwrap();
        assert_eq!(like_pattern(&term("anya")), "%anya%");
        assert_eq!(like_pattern(&term(r"50%_\")), r"%50\%\_\\%");
    }
}
