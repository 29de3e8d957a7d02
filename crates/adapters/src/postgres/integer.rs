//! Integers of the platform's tables, whatever width its columns have.

use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    pg::{Pg, PgValue},
    sql_types::BigInt,
};

/// The largest integer that JavaScript holds exactly, 2^53 - 1. The API's clients read numbers with it.
const MAX_SAFE: i64 = (1 << 53) - 1;

/// An integer as the API gives it: read from `smallint`, `integer` or `bigint` alike, because the platform may widen a
/// column, and clamped to what JavaScript holds exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromSqlRow)]
pub(super) struct ApiInteger(i64);

impl FromSql<BigInt, Pg> for ApiInteger {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        // In the binary format an integer is its bytes, in network order.
        let bytes = value.as_bytes();
        let integer = match bytes.len() {
            2 => i16::from_be_bytes(bytes.try_into()?).into(),
            4 => i32::from_be_bytes(bytes.try_into()?).into(),
            8 => i64::from_be_bytes(bytes.try_into()?),
            width => return Err(format!("an integer of {width} bytes").into()),
        };
        Ok(Self(integer.clamp(-MAX_SAFE, MAX_SAFE)))
    }
}

impl From<ApiInteger> for i64 {
    fn from(ApiInteger(integer): ApiInteger) -> Self {
        integer
    }
}
