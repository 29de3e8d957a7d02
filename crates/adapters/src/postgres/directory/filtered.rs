//! The read model's statement for a filtered page: it goes through the narrow entries of everyone, or of the rarest tag that
//! is required, and never through the platform's wide tables.
//!
//! No index is walked in the order of the page, although one has it: what a filter keeps may stand at the far end of that
//! order (those who never came, sorted by spend), and then nearly everyone would be read in random order. Two passes over the
//! entries cost the same for every filter.

use crm_domain::directory::{DirectoryQuery, SortKey, TagFilter};

use super::{
    super::statement::Statement,
    direct::rows_of_keys,
    filter::{Figures, figures},
    model::{order_by, page_rows},
    words::Words,
};

/// The figures of the entry `e`.
const FIGURES: Figures = Figures {
    spent: "e.ltv",
    visits: "e.visits",
    noshows: "e.noshows",
    gems: "e.gems",
    last_visit: "e.last_visit",
    created: "e.created",
    requires_approval: "e.approval",
};

/// The statement of a page. By hand, like the others.
///
/// Of a search, `found` holds everyone who matches. Without a search they are counted and sorted in two passes, because a
/// filter may match nearly everyone, and keeping them all costs more than a second pass.
pub(super) fn page_statement<'q>(query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
    let order = order_by(query.sort);
    let required = query.required_tags();
    let mut statement = resolve_tags(Statement::new("WITH "), query, &required);
    if words.is_empty() {
        statement = matching(statement.sql("chosen AS MATERIALIZED (SELECT count(*) AS n"), query, words, &required);
        statement = statement
            .sql("), keys AS MATERIALIZED (SELECT z.* FROM (SELECT e.user_id, e.key FROM (SELECT e.user_id, ")
            .sql(order.column)
            .sql(" AS key");
        // The fence keeps PostgreSQL from walking an index in the order of the page.
        statement = matching(statement, query, words, &required).sql(" OFFSET 0) e");
    } else {
        statement = words
            .patterns(statement)
            .sql(", found AS MATERIALIZED (SELECT e.user_id, ")
            .sql(order.column)
            .sql(" AS key");
        statement = matching(statement, query, words, &required).sql(
            "), chosen AS MATERIALIZED (SELECT count(*) AS n FROM found), \
             keys AS MATERIALIZED (SELECT z.* FROM (SELECT e.user_id, e.key FROM found e",
        );
    }
    statement = statement
        .sql(" ORDER BY ")
        .sql(order.keys)
        .sql(" LIMIT ")
        .bigint(query.page.limit().cast_signed())
        .sql(" OFFSET ")
        .bigint(query.page.offset().cast_signed())
        .sql(") z");
    page_rows(statement, &order)
}

/// The statement of all rows in order, for an export.
pub(super) fn export_statement<'q>(query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
    let order = order_by(query.sort);
    let required = query.required_tags();
    let mut statement = resolve_tags(Statement::new("WITH "), query, &required);
    if !words.is_empty() {
        statement = words.patterns(statement).sql(", ");
    }
    statement = statement.sql("one AS (SELECT) SELECT r.* FROM (SELECT e.user_id, ").sql(order.column).sql(" AS key");
    // In the order of an index, which PostgreSQL walks where that is cheaper than sorting.
    matching(statement, query, words, &required)
        .sql(" ORDER BY ")
        .sql(order.forward)
        .sql(" OFFSET 0) keys")
        .sql(rows_of_keys!())
        .sql(" ORDER BY ")
        .sql(if query.sort == SortKey::Name {
            "keys.key, keys.user_id"
        } else {
            "keys.key DESC NULLS LAST, keys.user_id"
        })
}

/// Adds the ids of the tags that the filter names, each set as a CTE with one row.
fn resolve_tags<'q>(
    mut statement: Statement<'q>,
    query: &'q DirectoryQuery,
    required: &[&'q TagFilter],
) -> Statement<'q> {
    if !required.is_empty() {
        // The rarest of them gives the entries to go through. A slug that no tag has gives none.
        statement = statement
            .sql(
                "required AS MATERIALIZED (SELECT (array_agg(t.id COLLATE \"C\" ORDER BY coalesce(c.n, 0), t.id)) AS ids, \
                 count(*) AS n FROM customer_tag t LEFT JOIN crm.directory_count c ON c.tag = t.id COLLATE \"C\" WHERE t.slug = ANY (",
            )
            .texts(required.iter().map(|slug| slug.as_str()).collect())
            .sql(")), ");
    }
    for (name, slugs) in [("any_of", &query.filter.tag_any), ("none_of", &query.filter.tag_none)] {
        if !slugs.is_empty() {
            statement = statement
                .sql(name)
                .sql(" AS MATERIALIZED (SELECT array_agg(t.id COLLATE \"C\") AS ids FROM customer_tag t WHERE t.slug = ANY (")
                .texts(slugs.as_texts())
                .sql(")), ");
        }
    }
    statement
}

/// Adds `FROM` and `WHERE`: the entries `e` that the query keeps, one for each customer.
fn matching<'q>(
    statement: Statement<'q>,
    query: &'q DirectoryQuery,
    words: &Words<'q>,
    required: &[&'q TagFilter],
) -> Statement<'q> {
    let mut statement = statement.sql(" FROM crm.directory_entry e");
    if !words.is_empty() {
        statement = statement.sql(" JOIN crm.directory_search s ON s.user_id = e.user_id");
    }
    statement = statement.sql(" WHERE e.tag = ");
    if required.is_empty() {
        statement = statement.sql("''");
    } else {
        statement =
            statement.sql("(SELECT ids[1] FROM required) AND (SELECT n FROM required) = ").bigint(count(required));
    }
    for place in 2..=count(required) {
        statement = statement
            .sql(" AND EXISTS (SELECT FROM crm.directory_entry o WHERE o.user_id = e.user_id AND o.tag = (SELECT ids[")
            .bigint(place)
            .sql("::int] FROM required))");
    }
    if !query.filter.tag_any.is_empty() {
        statement = statement.sql(
            " AND EXISTS (SELECT FROM crm.directory_entry o WHERE o.user_id = e.user_id AND o.tag = ANY ((SELECT ids FROM any_of)::text[]))",
        );
    }
    if !query.filter.tag_none.is_empty() {
        statement = statement.sql(
            " AND NOT EXISTS (SELECT FROM crm.directory_entry o WHERE o.user_id = e.user_id AND o.tag = ANY ((SELECT ids FROM none_of)::text[]))",
        );
    }
    statement = match query.filter.tagged {
        Some(true) => statement.sql(" AND e.tagged"),
        Some(false) => statement.sql(" AND NOT e.tagged"),
        None => statement,
    };
    figures(words.all_occur(statement), &query.filter, &FIGURES)
}

fn count(tags: &[&TagFilter]) -> i64 {
    i64::try_from(tags.len()).unwrap_or(i64::MAX)
}
