//! The direct statement: a page from the platform's tables alone, by going through every customer.

use crm_domain::directory::{DirectoryFilter, DirectoryQuery, SortKey, TagFilter};

use super::{
    super::statement::{Statement, join_chips, name_key, search_text},
    filter::{Figures, figures},
    words::Words,
};

/// The figures of the user `u` with the profile `p` and the loyalty account `l`.
const FIGURES: Figures = Figures {
    spent: "p.total_spent_paise",
    visits: "p.total_visits",
    noshows: "p.noshow_count",
    gems: "l.gems_balance",
    last_visit: "p.last_visit_at",
    created: "u.created_at",
    requires_approval: "p.booking_requires_approval",
};

/// The columns of a page's row, after `true AS has_item`, from the tables `u`, `p`, `l` and `chips`.
macro_rules! page_columns {
    () => {
        "true AS has_item, u.id, u.name, u.email, p.phone, p.total_visits, p.total_spent_paise, p.noshow_count,\
         p.first_visit_at, p.last_visit_at, l.gems_balance, u.created_at, chips.tags"
    };
}

/// Joins `keys` (`user_id`, …) with the rows `r` that are shown. Not pulled up: PostgreSQL would read all of a small table
/// rather than look up as many rows as a page may have.
macro_rules! rows_of_keys {
    () => {
        concat!(
            " CROSS JOIN LATERAL (SELECT ",
            $crate::postgres::directory::direct::page_columns!(),
            " FROM \"user\" u JOIN customer_profile p ON p.user_id = u.id",
            " LEFT JOIN loyalty_account l ON l.customer_id = u.id",
            $crate::postgres::statement::join_chips!(),
            " WHERE u.id = keys.user_id COLLATE \"default\" OFFSET 0) r"
        )
    };
}

pub(super) use {page_columns, rows_of_keys};

/// The statement of a page. By hand: diesel has no common table expressions and no lateral joins.
///
/// `matched` holds the ids and sort keys of everyone who matches and is gone through once, for the total and for the
/// page's ids; the rows are fetched for those ids alone. Filters that are not asked for are not in the text, so each
/// combination is planned for itself. The page is joined to a line that is always there, so that the total comes with an empty
/// page too.
pub(super) fn page_statement<'q>(query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
    let (_, order) = key_and_order(query.sort);
    matched(query, words)
        .sql(", page AS (SELECT m.id, m.key FROM matched m ORDER BY ")
        .sql(order)
        .sql(" LIMIT ")
        .bigint(query.page.limit().cast_signed())
        .sql(" OFFSET ")
        .bigint(query.page.offset().cast_signed())
        .sql(") SELECT (SELECT count(*) FROM matched) AS total_count, m.* FROM (SELECT) nothing LEFT JOIN (SELECT ")
        .sql(page_columns!())
        .sql(concat!(
            ", page.key FROM page JOIN \"user\" u ON u.id = page.id JOIN customer_profile p ON p.user_id = u.id",
            " LEFT JOIN loyalty_account l ON l.customer_id = u.id",
            join_chips!(),
            ") m ON true ORDER BY "
        ))
        .sql(order)
}

/// The statement of all rows in order, for an export. The keys are sorted before the rows are read.
pub(super) fn export_statement<'q>(query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
    let (_, order) = key_and_order(query.sort);
    matched(query, words)
        .sql(" SELECT r.* FROM (SELECT m.id AS user_id, m.id, m.key FROM matched m ORDER BY ")
        .sql(order)
        .sql(" OFFSET 0) keys")
        .sql(rows_of_keys!())
        .sql(" ORDER BY ")
        .sql(match query.sort {
            SortKey::Name => "keys.key, keys.id COLLATE \"C\"",
            SortKey::LastVisit | SortKey::Gems => "keys.key DESC NULLS LAST, keys.id COLLATE \"C\"",
            SortKey::Ltv | SortKey::Visits | SortKey::NoShows => "keys.key DESC, keys.id COLLATE \"C\"",
        })
}

fn key_and_order(sort: SortKey) -> (&'static str, &'static str) {
    match sort {
        SortKey::Ltv => ("p.total_spent_paise", "m.key DESC, m.id COLLATE \"C\""),
        SortKey::Visits => ("p.total_visits", "m.key DESC, m.id COLLATE \"C\""),
        SortKey::LastVisit => ("p.last_visit_at", "m.key DESC NULLS LAST, m.id COLLATE \"C\""),
        SortKey::Name => (name_key!(), "m.key, m.id COLLATE \"C\""),
        SortKey::Gems => ("l.gems_balance", "m.key DESC NULLS LAST, m.id COLLATE \"C\""),
        SortKey::NoShows => ("p.noshow_count", "m.key DESC, m.id COLLATE \"C\""),
    }
}

/// Begins a statement with `matched`: the ids and sort keys of everyone who matches.
fn matched<'q>(query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
    let (key, _) = key_and_order(query.sort);
    let mut statement = Statement::new("WITH ");
    if !words.is_empty() {
        statement = words.patterns(statement).sql(", ");
    }
    statement = statement
        .sql("matched AS MATERIALIZED (SELECT u.id, ")
        .sql(key)
        .sql(" AS key FROM \"user\" u JOIN customer_profile p ON p.user_id = u.id");
    if query.sort == SortKey::Gems || !query.filter.gems.is_empty() {
        statement = statement.sql(" LEFT JOIN loyalty_account l ON l.customer_id = u.id");
    }
    let required = query.required_tags();
    if let Some(tag) = required.first() {
        statement = statement
            .sql(" JOIN customer_tag_assignment a ON a.customer_id = u.id JOIN customer_tag t ON t.id = a.tag_id AND t.slug = ")
            .text(tag.as_str());
    }
    if words.have_phone_digits() {
        statement = statement.sql(concat!(
            " CROSS JOIN LATERAL (SELECT ",
            search_text!(with phone digits),
            " AS text OFFSET 0) s"
        ));
    } else if !words.is_empty() {
        statement = statement.sql(concat!(" CROSS JOIN LATERAL (SELECT ", search_text!(), " AS text OFFSET 0) s"));
    }
    statement = words.all_occur(statement.sql(" WHERE u.role = 'customer'"));
    statement = tags(statement, &query.filter, required.get(1..).unwrap_or_default());
    figures(statement, &query.filter, &FIGURES).sql(")")
}

/// Adds the conditions on the tags of the user `u`. `required` are those that no join requires.
fn tags<'q>(mut statement: Statement<'q>, filter: &'q DirectoryFilter, required: &[&'q TagFilter]) -> Statement<'q> {
    const HAS_TAG: &str = " (SELECT FROM customer_tag_assignment x JOIN customer_tag y ON y.id = x.tag_id WHERE x.customer_id = u.id AND y.slug = ";
    for slug in required {
        statement = statement.sql(" AND EXISTS").sql(HAS_TAG).text(slug.as_str()).sql(")");
    }
    if !filter.tag_any.is_empty() {
        statement = statement.sql(" AND EXISTS").sql(HAS_TAG).sql("ANY (").texts(filter.tag_any.as_texts()).sql("))");
    }
    if !filter.tag_none.is_empty() {
        statement =
            statement.sql(" AND NOT EXISTS").sql(HAS_TAG).sql("ANY (").texts(filter.tag_none.as_texts()).sql("))");
    }
    match filter.tagged {
        Some(true) => statement.sql(" AND EXISTS (SELECT FROM customer_tag_assignment x WHERE x.customer_id = u.id)"),
        Some(false) => {
            statement.sql(" AND NOT EXISTS (SELECT FROM customer_tag_assignment x WHERE x.customer_id = u.id)")
        }
        None => statement,
    }
}
