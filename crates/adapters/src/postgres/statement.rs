//! Statements written by hand, for what diesel's query builder cannot say (a stated collation, a lateral join, an
//! enum made from text). Values are always bound, and the statement is prepared once a connection: diesel's own
//! `sql_query` is prepared anew, in a round trip of its own, each time it runs.

use std::marker::PhantomData;

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::{BigInt, Jsonb, Nullable, Text, Timestamptz},
};
use time::OffsetDateTime;

/// What makes two texts equal but for case, beyond ASCII too and whatever the database's locale: lower, then upper
/// case under a collation that every PostgreSQL with ICU has (`ß` and `SS`, `ς` and `Σ` meet there).
macro_rules! fold {
    ($text:literal) => {
        concat!("upper(lower(", $text, " COLLATE \"und-x-icu\"))")
    };
}

/// The order "by name": A to Z ignoring case, under a collation stated here so that no two databases differ, then id.
macro_rules! by_name {
    ($table:literal) => {
        concat!("lower(", $table, ".name COLLATE \"und-x-icu\"), ", $table, ".id COLLATE \"C\"")
    };
}

/// Joins the chips of the customer `u.id`, by name, as three arrays.
macro_rules! join_chips {
    () => {
        concat!(
            " CROSS JOIN LATERAL (SELECT coalesce(array_agg(t.slug ORDER BY ",
            $crate::postgres::statement::by_name!("t"),
            "), '{}') AS slugs, coalesce(array_agg(t.name ORDER BY ",
            $crate::postgres::statement::by_name!("t"),
            "), '{}') AS names, coalesce(array_agg(t.color ORDER BY ",
            $crate::postgres::statement::by_name!("t"),
            "), '{}') AS colors FROM customer_tag_assignment a JOIN customer_tag t ON t.id = a.tag_id",
            " WHERE a.customer_id = u.id) chips"
        )
    };
}

pub(crate) use {by_name, fold, join_chips};

enum Part<'q> {
    Sql(&'static str),
    Text(&'q str),
    BigInt(i64),
    Timestamp(OffsetDateTime),
    Json(Option<serde_json::Value>),
}

/// A statement whose rows have the SQL type `Row`.
pub(super) struct Statement<'q, Row> {
    parts: Vec<Part<'q>>,
    row: PhantomData<Row>,
}

impl<'q, Row> Statement<'q, Row> {
    /// Begins a statement.
    pub(super) fn new(sql: &'static str) -> Self {
        Self { parts: vec![Part::Sql(sql)], row: PhantomData }
    }

    fn with(mut self, part: Part<'q>) -> Self {
        self.parts.push(part);
        self
    }

    /// Adds SQL. `'static`, so that no value can be written into it.
    pub(super) fn sql(self, sql: &'static str) -> Self {
        self.with(Part::Sql(sql))
    }

    /// Binds a text.
    pub(super) fn text(self, value: &'q str) -> Self {
        self.with(Part::Text(value))
    }

    /// Binds a `bigint`.
    pub(super) fn bigint(self, value: i64) -> Self {
        self.with(Part::BigInt(value))
    }

    /// Binds a moment.
    pub(super) fn timestamp(self, value: OffsetDateTime) -> Self {
        self.with(Part::Timestamp(value))
    }

    /// Binds a JSON document or null.
    pub(super) fn json(self, value: Option<serde_json::Value>) -> Self {
        self.with(Part::Json(value))
    }
}

impl<Row> QueryFragment<Pg> for Statement<'_, Row> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for part in &self.parts {
            match part {
                Part::Sql(sql) => out.push_sql(sql),
                Part::Text(value) => out.push_bind_param::<Text, _>(value)?,
                Part::BigInt(value) => out.push_bind_param::<BigInt, _>(value)?,
                Part::Timestamp(value) => out.push_bind_param::<Timestamptz, _>(value)?,
                Part::Json(value) => out.push_bind_param::<Nullable<Jsonb>, _>(value)?,
            }
        }
        Ok(())
    }
}

/// No id by type: the prepared statement is found by its text.
impl<Row> QueryId for Statement<'_, Row> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Row> Query for Statement<'_, Row> {
    type SqlType = Row;
}
