//! The chips of a customer: their tags as [`super::statement::join_chips`] selects them.

use crm_domain::tag::Chip;
use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    pg::{Pg, PgValue},
    sql_types::Json,
};
use serde::Deserialize;

/// A `json` array of chips, in the order of the statement.
#[derive(Debug, FromSqlRow)]
pub(super) struct Chips(Vec<ChipRow>);

#[derive(Debug, Deserialize)]
struct ChipRow {
    slug: String,
    name: String,
    color: Option<String>,
}

impl FromSql<Json, Pg> for Chips {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        // PostgreSQL sends `json` as its text, also in the binary format.
        Ok(Self(serde_json::from_slice(value.as_bytes())?))
    }
}

impl From<Chips> for Vec<Chip> {
    fn from(Chips(rows): Chips) -> Self {
        rows.into_iter().map(|ChipRow { slug, name, color }| Chip { slug, name, color }).collect()
    }
}
