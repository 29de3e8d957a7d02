//! Moments and dates as the API can show them. PostgreSQL knows `infinity` and years that have no four digits; one such
//! value, whoever wrote it, must not take a whole page down: it is shown as the first or last that has a form.
//!
//! Source: contract, "Envelope" (a timestamp is "always exactly that form").

use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    pg::{
        Pg, PgValue,
        data_types::{PgDate, PgTimestamp},
    },
    sql_types,
};
use time::{Date, Duration, OffsetDateTime, macros::datetime};

/// What PostgreSQL counts from.
const EPOCH: OffsetDateTime = datetime!(2000-01-01 0:00 UTC);
const FIRST: OffsetDateTime = datetime!(0001-01-01 0:00 UTC);
const LAST: OffsetDateTime = datetime!(9999-12-31 23:59:59.999_999 UTC);

/// A moment, in UTC.
#[derive(Debug, Clone, Copy, FromSqlRow)]
pub(super) struct Moment(OffsetDateTime);

impl FromSql<sql_types::Timestamptz, Pg> for Moment {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let PgTimestamp(microseconds) = FromSql::<sql_types::Timestamptz, Pg>::from_sql(bytes)?;
        Ok(Self(moment(Duration::microseconds(microseconds))))
    }
}

impl From<Moment> for OffsetDateTime {
    fn from(moment: Moment) -> Self {
        moment.0
    }
}

/// A date.
#[derive(Debug, Clone, Copy, FromSqlRow)]
pub(super) struct Day(Date);

impl FromSql<sql_types::Date, Pg> for Day {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let PgDate(days) = FromSql::<sql_types::Date, Pg>::from_sql(bytes)?;
        Ok(Self(moment(Duration::days(days.into())).date()))
    }
}

impl From<Day> for Date {
    fn from(day: Day) -> Self {
        day.0
    }
}

fn moment(since_epoch: Duration) -> OffsetDateTime {
    EPOCH + since_epoch.clamp(FIRST - EPOCH, LAST - EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_form_becomes_the_nearest_that_has() {
        assert_eq!(moment(Duration::ZERO), EPOCH);
        assert_eq!(moment(Duration::microseconds(i64::MAX)), LAST);
        assert_eq!(moment(Duration::microseconds(i64::MIN)), FIRST);
        assert_eq!(moment(Duration::days(i32::MAX.into())).date(), LAST.date());
        assert_eq!(moment(Duration::microseconds(-1)), datetime!(1999-12-31 23:59:59.999_999 UTC));
    }
}
