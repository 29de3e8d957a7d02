//! The read model's statements for filtered pages and for exports. A filter goes through the narrow rows of
//! `crm.directory_filter`, one for each customer, and never through the platform's wide tables.
//!
//! The exact total needs every row. The page itself is then read in one of two ways. The index in its order is walked, but
//! only so far: what a filter keeps may stand at the far end of that order (those who never came, sorted by spend). When the
//! walk does not find the page, a second pass sorts everyone who is kept.

use crm_domain::directory::{DirectoryFilter, DirectoryQuery, SortKey, TagFilter};

use super::{
    super::statement::Statement,
    direct::rows_of_keys,
    filter::{Figures, figures},
    model::{order_by, page_rows},
    words::Words,
};

/// The figures of the row `f`.
const FIGURES: Figures = Figures {
    spent: "f.ltv",
    visits: "f.visits",
    noshows: "f.noshows",
    gems: "f.gems",
    last_visit: "f.last_visit",
    created: "f.created",
    requires_approval: "f.approval",
};

/// How many times as long it takes to look up a customer by id as to pass over one.
const LOOK_UP: i64 = 100;

/// Adds the CTE `everyone` with the number of customers `n`, and `most`: how many may be looked up one by one, after which
/// going through everyone takes less time.
fn everyone(statement: Statement<'_>) -> Statement<'_> {
    statement
        .sql("everyone AS MATERIALIZED (SELECT c.n, c.n / ")
        .bigint(LOOK_UP)
        .sql(" AS most FROM crm.directory_count c WHERE c.tag = ''), ")
}

/// The column of the row `f` that a sort key compares, and the order of keys.
fn key_and_order(sort: SortKey) -> (&'static str, &'static str) {
    const LAST: &str = "k.key DESC NULLS LAST, k.user_id";
    match sort {
        SortKey::Ltv => ("f.ltv", LAST),
        SortKey::Visits => ("f.visits", LAST),
        SortKey::NoShows => ("f.noshows", LAST),
        SortKey::Gems => ("f.gems", LAST),
        SortKey::LastVisit => ("f.last_visit", LAST),
        SortKey::Name => ("f.name", "k.key, k.user_id"),
    }
}

/// The statement of a page. By hand, like the others.
pub(super) fn page_statement<'q>(query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
    let order = order_by(query.sort);
    let (column, keys) = key_and_order(query.sort);
    let (limit, offset) = (query.page.limit().cast_signed(), query.page.offset().cast_signed());
    let tags = Tags::of(query);
    let mut statement = tags.resolve(everyone(Statement::new("WITH ")));
    let found = if words.is_empty() {
        statement = statement.sql("chosen AS MATERIALIZED (SELECT count(*) AS n");
        statement = tags.matching(statement, query, words).sql("), ");
        let end = offset.saturating_add(limit);
        statement = walk(statement, query, &tags, end)
            .sql(
                "keys AS MATERIALIZED (SELECT z.* FROM (SELECT k.user_id, k.key FROM (\
                 SELECT user_id, key FROM walked WHERE (SELECT is_enough FROM walk) UNION ALL \
                 (SELECT k.user_id, k.key FROM (SELECT f.user_id, ",
            )
            .sql(column)
            .sql(" AS key");
        // Sorted here already, so that PostgreSQL's parallel workers can take part.
        let sorted =
            tags.matching(statement, query, words).sql(" AND NOT (SELECT is_enough FROM walk)) k ORDER BY ").sql(keys);
        sorted.sql(" LIMIT ").bigint(end).sql(")")
    } else {
        // Everyone whom a search finds is kept, because searching twice costs more.
        statement =
            words.patterns(statement).sql(", found AS MATERIALIZED (SELECT f.user_id, ").sql(column).sql(" AS key");
        tags.matching(statement, query, words).sql(
            "), chosen AS MATERIALIZED (SELECT count(*) AS n FROM found), \
             keys AS MATERIALIZED (SELECT z.* FROM (SELECT k.user_id, k.key FROM (SELECT user_id, key FROM found",
        )
    };
    let statement =
        found.sql(") k ORDER BY ").sql(keys).sql(" LIMIT ").bigint(limit).sql(" OFFSET ").bigint(offset).sql(") z");
    page_rows(statement, &order)
}

/// Adds the CTE `walked`: the first `end` customers whom the filter keeps, as far as a walk along the index finds them; and
/// the CTE `walk`, which says whether these are enough for the page. No walk begins that would most likely find too few.
fn walk<'q>(statement: Statement<'q>, query: &'q DirectoryQuery, tags: &Tags<'q>, end: i64) -> Statement<'q> {
    let order = order_by(query.sort);
    let statement = statement
        .sql("walked AS MATERIALIZED (SELECT e.user_id, e.key FROM (SELECT e.user_id, ")
        .sql(order.column)
        .sql(" AS key FROM crm.directory_entry e WHERE e.tag = '' AND (SELECT c.n::numeric * a.most / 8 >= a.n * ")
        .bigint(end)
        .sql("::numeric FROM chosen c, everyone a) ORDER BY ")
        .sql(order.forward)
        .sql(" LIMIT (SELECT most / 2 FROM everyone)) e CROSS JOIN LATERAL (SELECT f.* FROM crm.directory_filter f WHERE f.user_id = e.user_id OFFSET 0) f WHERE true");
    figures(tags.conditions(statement), &query.filter, &FIGURES)
        .sql(" LIMIT ")
        .bigint(end)
        .sql("), walk AS MATERIALIZED (SELECT count(*) = ")
        .bigint(end)
        .sql(" AS is_enough FROM walked), ")
}

/// The statement of all rows in order, for an export.
pub(super) fn export_statement<'q>(query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
    let order = order_by(query.sort);
    let (column, keys) = key_and_order(query.sort);
    let tags = Tags::of(query);
    let mut statement = Statement::new("WITH ");
    if query.filter == DirectoryFilter::default() && words.is_empty() && tags.required.is_empty() {
        // Everyone, in the order of an index, which PostgreSQL walks where that is cheaper than sorting.
        statement = statement
            .sql("one AS (SELECT) SELECT r.* FROM (SELECT k.user_id, k.key FROM (SELECT e.user_id, ")
            .sql(order.column)
            .sql(" AS key FROM crm.directory_entry e WHERE e.tag = '' ORDER BY ")
            .sql(order.forward);
    } else {
        statement = tags.resolve(everyone(statement));
        if !words.is_empty() {
            statement = words.patterns(statement).sql(", ");
        }
        statement = statement.sql("one AS (SELECT) SELECT r.* FROM (SELECT k.user_id, k.key FROM (SELECT f.user_id, ");
        statement = tags.matching(statement.sql(column).sql(" AS key"), query, words);
    }
    statement.sql(") k ORDER BY ").sql(keys).sql(" OFFSET 0) keys").sql(rows_of_keys!()).sql(" ORDER BY ").sql(
        if query.sort == SortKey::Name { "keys.key, keys.user_id" } else { "keys.key DESC NULLS LAST, keys.user_id" },
    )
}

/// The tags of a query.
struct Tags<'q> {
    filter: &'q DirectoryFilter,
    required: Vec<&'q TagFilter>,
}

impl<'q> Tags<'q> {
    fn of(query: &'q DirectoryQuery) -> Self {
        Self { filter: &query.filter, required: query.required_tags() }
    }

    /// Whether only customers with certain tags are kept.
    fn are_wanted(&self) -> bool {
        !self.required.is_empty() || !self.filter.tag_any.is_empty()
    }

    /// Adds the ids of the tags, each set as a CTE with one row, and `few`: the tags whose customers are looked up one by one,
    /// if they are few.
    fn resolve(&self, mut statement: Statement<'q>) -> Statement<'q> {
        let sets = [
            ("all_of", self.required.iter().map(|slug| slug.as_str()).collect()),
            ("any_of", self.filter.tag_any.as_texts()),
            ("none_of", self.filter.tag_none.as_texts()),
        ];
        for (name, slugs) in sets {
            if !slugs.is_empty() {
                statement = statement
                    .sql(name)
                    .sql(
                        " AS MATERIALIZED (SELECT coalesce(array_agg(t.id COLLATE \"C\" ORDER BY coalesce(c.n, 0)), '{}') AS ids, \
                         count(*) AS known, coalesce(sum(c.n), 0) AS total, coalesce(min(coalesce(c.n, 0)), 0) AS least \
                         FROM customer_tag t LEFT JOIN crm.directory_count c ON c.tag = t.id COLLATE \"C\" WHERE t.slug = ANY (",
                    )
                    .texts(slugs)
                    .sql(")), ");
            }
        }
        if !self.required.is_empty() {
            // The rarest of them.
            statement = statement.sql("few AS MATERIALIZED (SELECT ids[1:1] AS ids, least <= (SELECT most FROM everyone) AS is_few FROM all_of), ");
        } else if self.are_wanted() {
            statement = statement
                .sql("few AS MATERIALIZED (SELECT ids, total <= (SELECT most FROM everyone) AS is_few FROM any_of), ");
        }
        statement
    }

    /// Adds the conditions on the tags of the row `f`, each beginning with `AND`.
    fn conditions(&self, mut statement: Statement<'q>) -> Statement<'q> {
        if !self.required.is_empty() {
            // A slug that no tag has is a tag that nobody has.
            statement = statement
                .sql(" AND f.tags @> (SELECT ids FROM all_of) AND (SELECT known FROM all_of) = ")
                .bigint(i64::try_from(self.required.len()).unwrap_or(i64::MAX));
        }
        if !self.filter.tag_any.is_empty() {
            statement = statement.sql(" AND f.tags && (SELECT ids FROM any_of)");
        }
        if !self.filter.tag_none.is_empty() {
            statement = statement.sql(" AND NOT f.tags && (SELECT ids FROM none_of)");
        }
        match self.filter.tagged {
            Some(true) => statement.sql(" AND f.tags <> '{}'"),
            Some(false) => statement.sql(" AND f.tags = '{}'"),
            None => statement,
        }
    }

    /// Adds `FROM` and `WHERE`: the rows `f` that the query keeps.
    fn matching(&self, mut statement: Statement<'q>, query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
        statement = if self.are_wanted() {
            // PostgreSQL begins only one of the two.
            statement.sql(
                " FROM (SELECT f.* FROM (SELECT DISTINCT e.user_id FROM few CROSS JOIN LATERAL unnest(few.ids) wanted (tag) \
                     JOIN crm.directory_entry e ON e.tag = wanted.tag WHERE few.is_few) few \
                   CROSS JOIN LATERAL (SELECT f.* FROM crm.directory_filter f WHERE f.user_id = few.user_id OFFSET 0) f \
                   UNION ALL SELECT f.* FROM crm.directory_filter f WHERE NOT (SELECT is_few FROM few)) f",
            )
        } else {
            statement.sql(" FROM crm.directory_filter f")
        };
        if !words.is_empty() {
            statement = statement.sql(" JOIN crm.directory_search s ON s.user_id = f.user_id");
        }
        figures(self.conditions(words.all_occur(statement.sql(" WHERE true"))), &query.filter, &FIGURES)
    }
}
