//! Statements written by hand, for what diesel's query builder cannot say in one statement: a stated collation, a lateral
//! join, several results in one round trip.
//!
//! Values are always bound. Rows are mapped by the names of their columns ([`named_row`]), and an unexpected `NULL` is an
//! error that names its column: diesel's derives say only that there was one. A statement is prepared once
//! for each connection: diesel's own `sql_query` is prepared anew, in a round trip of its own, each time it runs.

use crm_domain::{ids::UserId, page::Page};
use diesel::{
    QueryResult,
    deserialize::{self, FromSql, QueryableByName},
    pg::{Pg, data_types::PgTimestamp},
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    row::NamedRow,
    sql_types::{self, Array, BigInt, Bool, Nullable, Text, Timestamptz, Untyped},
};
use time::{Date, OffsetDateTime, Time};

/// Folds case, accents and invisible characters, so that two texts that people take for the same become equal: NFKD, without
/// combining marks (U+0300 to U+036F) and invisible characters, then lower and upper case under the root collation of ICU
/// (where `ß` and `SS`, `ς` and `Σ` become equal). For ASCII text `upper` alone gives the same, several times faster.
///
/// Source: contract extensions, "Search as people type".
macro_rules! fold {
    ($text:literal) => {
        concat!(
            "CASE WHEN octet_length(",
            $text,
            ") = char_length(",
            $text,
            ") THEN upper(",
            $text,
            " COLLATE \"C\") ELSE upper(lower(regexp_replace(normalize(",
            $text,
            r", NFKD), '[\u0300-\u036F\u00AD\u200B-\u200D\u2060\uFEFF]', '', 'g')",
            " COLLATE \"und-x-icu\")) COLLATE \"C\" END"
        )
    };
}

/// What a search looks at, of the user `u` with the profile `p`: name, e-mail address and phone number, folded. They are
/// separated by U+FEFF, and `with phone digits` they are followed by U+2060 and the digits of the phone number. Folding
/// removes these two characters, so no word of a search holds them.
macro_rules! search_text {
    () => {
        concat!(
            $crate::postgres::statement::fold!("u.name"),
            " || '\u{FEFF}' || ",
            $crate::postgres::statement::fold!("u.email"),
            " || '\u{FEFF}' || coalesce(",
            $crate::postgres::statement::fold!("p.phone"),
            ", '')"
        )
    };
    (with phone digits) => {
        concat!(
            $crate::postgres::statement::search_text!(),
            // The inner `translate` gives what is not a digit, the outer one removes it.
            " || '\u{2060}' || coalesce(translate(",
            $crate::postgres::statement::fold!("p.phone"),
            ", translate(",
            $crate::postgres::statement::fold!("p.phone"),
            ", '0123456789', ''), ''), '')"
        )
    };
}

/// The order "by name": A to Z ignoring case, under a collation stated here so that no two databases differ, then id.
macro_rules! by_name {
    ($table:literal) => {
        concat!("lower(", $table, ".name COLLATE \"und-x-icu\"), ", $table, ".id COLLATE \"C\"")
    };
}

/// The key of the order "by name" in the directory: A to Z ignoring case. Names that are equal in their first 400 characters
/// count as equal, because the read model has an index on this key, and an index has a largest key.
macro_rules! name_key {
    () => {
        "left(lower(u.name COLLATE \"und-x-icu\"), 400)"
    };
}

/// Joins the chips of the customer `u.id`, by name, as one JSON array (see [`super::chip`]).
macro_rules! join_chips {
    () => {
        concat!(
            " CROSS JOIN LATERAL (SELECT coalesce(json_agg(json_build_object(",
            "'slug', t.slug, 'name', t.name, 'color', t.color) ORDER BY ",
            $crate::postgres::statement::by_name!("t"),
            "), '[]') AS tags FROM customer_tag_assignment a JOIN customer_tag t ON t.id = a.tag_id",
            " WHERE a.customer_id = u.id) chips"
        )
    };
}

/// Declares a row: `field: SqlType => RustType`. Each field is read from the column of its name.
macro_rules! named_row {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident { $($field:ident: $sql:ty => $rust:ty,)* }) => {
        $(#[$attribute])*
        $visibility struct $name {
            $($visibility $field: $rust,)*
        }

        impl diesel::deserialize::QueryableByName<diesel::pg::Pg> for $name {
            fn build<'a>(row: &impl diesel::row::NamedRow<'a, diesel::pg::Pg>) -> diesel::deserialize::Result<Self> {
                Ok(Self {
                    $($field: $crate::postgres::statement::column::<$sql, $rust>(row, stringify!($field))?,)*
                })
            }
        }
    };
}

/// Declares a row like [`named_row`], which may also be an item of an array of records, `ARRAY(SELECT row FROM (…) row)`: then
/// one statement can have several lists. The fields are in the order of the statement's columns.
macro_rules! record_row {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident { $($field:ident: $sql:ty => $rust:ty,)* }) => {
        $crate::postgres::statement::named_row! {
            $(#[$attribute])*
            $visibility struct $name { $($field: $sql => $rust,)* }
        }

        impl diesel::deserialize::FromSql<diesel::sql_types::Record<($($sql,)*)>, diesel::pg::Pg> for $name {
            fn from_sql(value: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
                let ($($field,)*): ($($rust,)*) =
                    diesel::deserialize::FromSql::<diesel::sql_types::Record<($($sql,)*)>, diesel::pg::Pg>::from_sql(value)?;
                Ok(Self { $($field,)* })
            }
        }

        impl $crate::postgres::statement::RecordRow for $name {
            type Sql = diesel::sql_types::Record<($($sql,)*)>;
        }
    };
}

/// A row that may be an item of an array of records, see [`record_row`].
pub(crate) trait RecordRow: FromSql<Self::Sql, Pg> {
    /// The type of the record.
    type Sql: 'static;
}

/// The items of a column that is an array of records, each as what it stands for; `None` when the column is null.
pub(crate) fn records<'a, Row: RecordRow, Item: From<Row>>(
    row: &impl NamedRow<'a, Pg>,
    name: &str,
) -> deserialize::Result<Option<Vec<Item>>> {
    let rows = column::<Nullable<Array<Row::Sql>>, Option<Vec<Row>>>(row, name)?;
    Ok(rows.map(|rows| rows.into_iter().map(Item::from).collect()))
}

pub(crate) use {by_name, fold, join_chips, name_key, named_row, record_row, search_text};

/// Reads the column of that name.
pub(crate) fn column<'a, Sql, Value>(row: &impl NamedRow<'a, Pg>, name: &str) -> deserialize::Result<Value>
where
    Value: FromSql<Sql, Pg>,
{
    NamedRow::get::<Sql, Value>(row, name).map_err(|error| format!("column {name}: {error}").into())
}

enum Part<'q> {
    Sql(&'static str),
    Text(Option<&'q str>),
    BigInt(i64),
    Texts(Vec<&'q str>),
    OwnedTexts(Vec<Option<String>>),
    Timestamps(Vec<OffsetDateTime>),
    RawTimestamp(PgTimestamp),
    Timestamp(OffsetDateTime),
    Date(Date),
    Time(Time),
}

/// A statement. Its rows are declared by [`named_row`].
pub(crate) struct Statement<'q> {
    parts: Vec<Part<'q>>,
    is_prepared_once: bool,
}

impl<'q> Statement<'q> {
    /// Begins a statement.
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { parts: vec![Part::Sql(sql)], is_prepared_once: true }
    }

    /// Has the statement prepared anew each time, for its values: for one whose text has so many variants that connections
    /// cannot keep them all.
    pub(crate) fn prepared_each_time(self) -> Self {
        Self { is_prepared_once: false, ..self }
    }

    fn with(mut self, part: Part<'q>) -> Self {
        self.parts.push(part);
        self
    }

    /// Adds SQL. `'static`, so that no value can be written into it.
    pub(crate) fn sql(self, sql: &'static str) -> Self {
        self.with(Part::Sql(sql))
    }

    /// Puts SQL before the statement.
    pub(crate) fn preceded_by(mut self, sql: &'static str) -> Self {
        self.parts.insert(0, Part::Sql(sql));
        self
    }

    /// Binds a text or null.
    pub(crate) fn text(self, value: impl Into<Option<&'q str>>) -> Self {
        self.with(Part::Text(value.into()))
    }

    /// Adds the column `customer_exists`: whether a user with that id has a profile.
    pub(crate) fn customer_exists(self, customer: &'q UserId) -> Self {
        self.sql("EXISTS (SELECT FROM customer_profile WHERE user_id = ")
            .text(customer.as_str())
            .sql(") AS customer_exists")
    }

    /// Binds a `bigint`.
    pub(crate) fn bigint(self, value: i64) -> Self {
        self.with(Part::BigInt(value))
    }

    /// Binds an array of texts.
    pub(crate) fn texts(self, values: Vec<&'q str>) -> Self {
        self.with(Part::Texts(values))
    }

    /// Binds an array of texts or nulls.
    pub(crate) fn owned_texts(self, values: Vec<Option<String>>) -> Self {
        self.with(Part::OwnedTexts(values))
    }

    /// Binds an array of timestamps.
    pub(crate) fn timestamps(self, values: Vec<OffsetDateTime>) -> Self {
        self.with(Part::Timestamps(values))
    }

    /// Binds a timestamp as PostgreSQL keeps it: microseconds since 2000, or an infinity.
    pub(crate) fn raw_timestamp(self, microseconds: i64) -> Self {
        self.with(Part::RawTimestamp(PgTimestamp(microseconds)))
    }

    /// Binds a timestamp.
    pub(crate) fn timestamp(self, value: OffsetDateTime) -> Self {
        self.with(Part::Timestamp(value))
    }

    /// Binds a date.
    pub(crate) fn date(self, value: Date) -> Self {
        self.with(Part::Date(value))
    }

    /// Binds a time of day.
    pub(crate) fn time(self, value: Time) -> Self {
        self.with(Part::Time(value))
    }
}

impl QueryFragment<Pg> for Statement<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if !self.is_prepared_once {
            out.unsafe_to_cache_prepared();
        }
        for part in &self.parts {
            match part {
                Part::Sql(sql) => out.push_sql(sql),
                Part::Text(value) => out.push_bind_param::<Nullable<Text>, _>(value)?,
                Part::BigInt(value) => out.push_bind_param::<BigInt, _>(value)?,
                Part::Texts(values) => out.push_bind_param::<Array<Text>, _>(values)?,
                Part::OwnedTexts(values) => out.push_bind_param::<Array<Nullable<Text>>, _>(values)?,
                Part::Timestamps(values) => out.push_bind_param::<Array<Timestamptz>, _>(values)?,
                Part::RawTimestamp(value) => out.push_bind_param::<Timestamptz, _>(value)?,
                Part::Timestamp(value) => out.push_bind_param::<Timestamptz, _>(value)?,
                Part::Date(value) => out.push_bind_param::<sql_types::Date, _>(value)?,
                Part::Time(value) => out.push_bind_param::<sql_types::Time, _>(value)?,
            }
        }
        Ok(())
    }
}

/// No id by type: the prepared statement is found by its text.
impl QueryId for Statement<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement<'_> {
    type SqlType = Untyped;
}

/// A line of a page: the total stands on every line, and the item is absent when the page is past the end.
///
/// The statement names the total `total_count` and marks a line that has an item by `true AS has_item`. So a `NULL` in the
/// item where none is expected is an error that names its column, and never an item that vanishes.
pub(super) struct PageLine<Item> {
    pub(super) total_count: i64,
    pub(super) item: Option<Item>,
}

impl<Item: QueryableByName<Pg>> QueryableByName<Pg> for PageLine<Item> {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let total_count = column::<BigInt, i64>(row, "total_count")?;
        let has_item = column::<Nullable<Bool>, Option<bool>>(row, "has_item")?;
        let item = if has_item == Some(true) { Some(Item::build(row)?) } else { None };
        Ok(Self { total_count, item })
    }
}

/// Stands between the query for the total of a page of [`PageLine`]s, and the one for its items.
pub(super) const PAGE_BEGINS: &str =
    ") AS total_count, page.* FROM (SELECT) nothing LEFT JOIN (SELECT true AS has_item, item.* FROM (";

/// Stands after the latter; the order follows.
pub(super) const PAGE_ENDS: &str = ") item) page ON true";

/// A line of a page of a customer's list, and whether the customer exists: `customer_exists`.
pub(super) struct CustomerPageLine<Item> {
    customer_exists: bool,
    line: PageLine<Item>,
}

impl<Item: QueryableByName<Pg>> QueryableByName<Pg> for CustomerPageLine<Item> {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        Ok(Self { customer_exists: column::<Bool, bool>(row, "customer_exists")?, line: PageLine::build(row)? })
    }
}

impl<Row> CustomerPageLine<Row> {
    /// The page that these lines make; `None` when the customer does not exist.
    pub(super) fn into_page<Item: From<Row>>(lines: Vec<Self>) -> Option<Page<Item>> {
        let Some(Self { customer_exists: true, line }) = lines.as_slice().first() else { return None };
        let total_count = line.total_count.unsigned_abs();
        Some(Page { items: lines.into_iter().filter_map(|line| line.line.item.map(Item::from)).collect(), total_count })
    }
}
