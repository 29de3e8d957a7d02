//! The read model's statement: a page, with its exact total, from the sorted entries in the schema `crm` (ADR 13). The rows
//! that are shown come from the platform's tables.

use crm_domain::directory::{DirectoryQuery, SortKey};
use diesel::{
    deserialize::{self, QueryableByName},
    pg::Pg,
    row::NamedRow,
    sql_types::{BigInt, Bool, Nullable},
};

use super::{
    super::statement::{PageLine, Statement, by_name, column, named_row},
    direct::rows_of_keys,
    words::Words,
};

/// The version of the objects in `objects.sql` and `changed.sql`. Another version in the database is not used.
pub(super) const MODEL_VERSION: i64 = 3;

/// The most queued customers that a read computes anew before it answers. Past it the direct statement answers.
pub(super) const MAX_APPLIED_BY_READ: i64 = 500;

named_row! {
    /// What `crm.directory_apply` did.
    pub(super) struct AppliedRow {
        taken: BigInt => i64,
    }
}

/// The statement that computes up to `most` queued customers anew. By hand: it calls a function.
pub(super) fn apply_statement(most: i64) -> Statement<'static> {
    Statement::new("SELECT taken FROM crm.directory_apply(").bigint(most).sql("::int, '{}')")
}

/// What `pending` says when everyone is queued.
const EVERYONE_PENDING: i64 = i64::MAX;

/// A line of a page, with the state of the model in the page's snapshot.
pub(super) struct ModelLine<Item> {
    /// Whether the model may be used.
    pub(super) is_usable: bool,
    /// How many customers are queued, up to one more than [`MAX_APPLIED_BY_READ`].
    pub(super) pending: i64,
    /// The line of the page.
    pub(super) line: PageLine<Item>,
}

impl<Item: QueryableByName<Pg>> QueryableByName<Pg> for ModelLine<Item> {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        Ok(Self {
            is_usable: column::<Nullable<Bool>, Option<bool>>(row, "is_usable")? == Some(true),
            pending: column::<BigInt, i64>(row, "pending")?,
            line: PageLine::build(row)?,
        })
    }
}

/// How a sort key reads the entries.
pub(super) struct Order {
    /// The column of the entries.
    pub(super) column: &'static str,
    /// The order of the directory, which an index has.
    pub(super) forward: &'static str,
    /// Its reverse, for pages that are nearer to the end.
    backward: &'static str,
    /// The order of the keys that were found.
    pub(super) keys: &'static str,
    /// The order of the page's rows.
    page: &'static str,
}

pub(super) fn order_by(sort: SortKey) -> Order {
    let keys = "e.key DESC NULLS LAST, e.user_id";
    let descending =
        |column, forward, backward| Order { column, forward, backward, keys, page: "m.key DESC, m.id COLLATE \"C\"" };
    let nulls_last = |column, forward, backward| Order {
        column,
        forward,
        backward,
        keys,
        page: "m.key DESC NULLS LAST, m.id COLLATE \"C\"",
    };
    match sort {
        SortKey::Ltv => descending("e.ltv", "e.ltv DESC, e.user_id", "e.ltv, e.user_id DESC"),
        SortKey::Visits => descending("e.visits", "e.visits DESC, e.user_id", "e.visits, e.user_id DESC"),
        SortKey::NoShows => descending("e.noshows", "e.noshows DESC, e.user_id", "e.noshows, e.user_id DESC"),
        SortKey::LastVisit => nulls_last(
            "e.last_visit",
            "e.last_visit DESC NULLS LAST, e.user_id",
            "e.last_visit NULLS FIRST, e.user_id DESC",
        ),
        SortKey::Gems => {
            nulls_last("e.gems", "e.gems DESC NULLS LAST, e.user_id", "e.gems NULLS FIRST, e.user_id DESC")
        }
        SortKey::Name => Order {
            column: "e.name",
            forward: "e.name, e.user_id",
            backward: "e.name DESC, e.user_id DESC",
            keys: "e.key, e.user_id",
            page: "m.key, m.id COLLATE \"C\"",
        },
    }
}

/// The statement of a page. By hand, like the direct one.
///
/// `counted` has the exact total: a kept counter, or for a search the number of customers `found`. `chosen` says how the ids
/// of the page are read: those found are sorted, or the index is walked forward or backward. All three are in the text,
/// and PostgreSQL does not begin those that are not chosen, so one plan serves every page.
pub(super) fn page_statement<'q>(query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
    let order = order_by(query.sort);
    let (limit, offset) = (query.page.limit().cast_signed(), query.page.offset().cast_signed());
    let tag = if query.tag.is_some() { "(SELECT id FROM tag)" } else { "''" };
    let is_search = !words.is_empty();
    let mut statement = Statement::new("WITH ");
    if let Some(slug) = &query.tag {
        statement = statement
            .sql("tag AS MATERIALIZED (SELECT (SELECT id FROM customer_tag WHERE slug = ")
            .text(slug.as_str())
            .sql(") COLLATE \"C\" AS id), ");
    }
    statement = statement
        .sql("kept AS MATERIALIZED (SELECT coalesce((SELECT c.n FROM crm.directory_count c WHERE c.tag = ")
        .sql(tag)
        .sql("), 0) AS n), ");
    if is_search {
        statement = words
            .patterns(statement)
            .sql(", found AS MATERIALIZED (SELECT s.user_id FROM crm.directory_search s WHERE true");
        if query.tag.is_some() {
            statement = statement.sql(" AND s.tags @> ARRAY[(SELECT id FROM tag)]");
        }
        statement = words.all_occur(statement).sql(concat!(
            "), counted AS MATERIALIZED (SELECT count(*) AS n FROM found)",
            // Sorting all of n found costs about n steps; walking the index until the page is found, about
            // (rows to skip and show) × everyone / n.
            ", chosen AS MATERIALIZED (SELECT f.n, CASE WHEN f.n::float8 * f.n <= 0.5 * (greatest(0, least("
        ));
        statement = statement
            .bigint(offset)
            .sql("::float8, f.n - ")
            .bigint(offset)
            .sql("::float8)) + ")
            .bigint(limit)
            .sql("::float8) * k.n THEN 'sort' WHEN f.n >= 2 * ")
            .bigint(offset)
            .sql("::numeric THEN 'forward' ELSE 'backward' END AS way FROM counted f, kept k)");
    } else {
        statement = statement
            .sql("chosen AS MATERIALIZED (SELECT k.n, CASE WHEN k.n >= 2 * ")
            .bigint(offset)
            .sql("::numeric THEN 'forward' ELSE 'backward' END AS way FROM kept k)");
    }
    statement = statement.sql(", keys AS MATERIALIZED (SELECT * FROM (");
    if is_search {
        statement = statement
            .sql("(SELECT e.user_id, e.key FROM found f CROSS JOIN LATERAL (SELECT e.user_id, ")
            .sql(order.column)
            .sql(" AS key FROM crm.directory_entry e WHERE e.user_id = f.user_id AND e.tag = '' OFFSET 0) e WHERE (SELECT way FROM chosen) = 'sort' ORDER BY ")
            .sql(order.keys)
            .sql(" LIMIT ")
            .bigint(limit)
            .sql(" OFFSET ")
            .bigint(offset)
            .sql(") UNION ALL ");
    }
    let walk = |statement: Statement<'q>, way: &'static str, by: &'static str| {
        let statement = statement
            .sql("(SELECT e.user_id, ")
            .sql(order.column)
            .sql(" AS key FROM crm.directory_entry e WHERE e.tag = ")
            .sql(tag)
            .sql(" AND (SELECT way FROM chosen) = ")
            .sql(way);
        // Written so that PostgreSQL builds a hash of those found and does not join, which would lose the index's order.
        let statement = if is_search {
            statement.sql(" AND (e.user_id IN (SELECT f.user_id FROM found f)) IS TRUE")
        } else {
            statement
        };
        statement.sql(" ORDER BY ").sql(by)
    };
    statement = walk(statement, "'forward'", order.forward).sql(" LIMIT ").bigint(limit).sql(" OFFSET ").bigint(offset);
    statement = walk(statement.sql(") UNION ALL "), "'backward'", order.backward)
        .sql(" LIMIT (SELECT greatest(0, least(")
        .bigint(limit)
        .sql(", n - ")
        .bigint(offset)
        .sql(")) FROM chosen) OFFSET (SELECT greatest(n - ")
        .bigint(offset)
        .sql(" - ")
        .bigint(limit)
        .sql(", 0) FROM chosen))) z");
    page_rows(statement, &order)
}

/// Adds the state of the model in the statement's snapshot, as columns.
pub(super) fn state_columns(statement: Statement<'_>) -> Statement<'_> {
    statement
        .sql(" (SELECT s.is_ready AND s.version = ")
        .bigint(MODEL_VERSION)
        .sql(" FROM crm.directory_state s) AS is_usable, (SELECT CASE WHEN bool_or(q.user_id = '*') THEN ")
        .bigint(EVERYONE_PENDING)
        .sql(" ELSE count(*) END FROM (SELECT user_id FROM crm.directory_queue LIMIT ")
        .bigint(MAX_APPLIED_BY_READ + 1)
        .sql(") q) AS pending")
}

/// Ends the CTE `keys` (`user_id`, `key`) and adds the rows of the page, with the total `n` in `chosen` and the state of the
/// model.
pub(super) fn page_rows<'q>(statement: Statement<'q>, order: &Order) -> Statement<'q> {
    // The bound lets PostgreSQL plan for few rows; no page is longer.
    state_columns(statement.sql(" LIMIT 100) SELECT"))
        .sql(", (SELECT n FROM chosen) AS total_count, m.* FROM (SELECT) nothing LEFT JOIN (SELECT r.*, keys.key FROM keys")
        .sql(rows_of_keys!())
        .sql(") m ON true ORDER BY ")
        .sql(order.page)
}

/// The statement of every tag with the number of its customers. By hand: it calls the state of the model.
pub(super) fn counted_tags_statement<'q>() -> Statement<'q> {
    state_columns(Statement::new("SELECT"))
        .sql(concat!(
            ", 0::bigint AS total_count, t.* FROM (SELECT) nothing LEFT JOIN (SELECT true AS has_item, t.id, t.name, t.slug, ",
            "t.color, t.description, t.created_at, coalesce(c.n, 0) AS customer_count ",
            "FROM customer_tag t LEFT JOIN crm.directory_count c ON c.tag = t.id COLLATE \"C\") t ON true ORDER BY ",
            by_name!("t")
        ))
}

named_row! {
    /// The state of the model in a snapshot.
    pub(super) struct StateRow {
        is_usable: Nullable<Bool> => Option<bool>,
        pending: BigInt => i64,
    }
}
