//! Timestamps, dates and times of day read from PostgreSQL; clamped to the years 0001–9999 that the API can express.
//!
//! PostgreSQL knows `infinity` and years without four digits. One such value must not make a whole page fail. Source: contract, "Envelope" (a timestamp is "always exactly that form").

use crm_domain::calendar::{FIRST, LAST, TimeOfDay};
use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    pg::{
        Pg, PgValue,
        data_types::{PgDate as RawDate, PgTime as RawTime, PgTimestamp as RawTimestamp},
    },
    sql_types,
};
use time::{Date, Duration, OffsetDateTime, macros::datetime};

/// The time that PostgreSQL counts from.
const EPOCH: OffsetDateTime = datetime!(2000-01-01 0:00 UTC);

/// A `timestamptz`, clamped to the years 0001–9999 that RFC 3339 can express.
#[derive(Debug, Clone, Copy, FromSqlRow)]
pub(super) struct PgTimestamp(OffsetDateTime);

impl FromSql<sql_types::Timestamptz, Pg> for PgTimestamp {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let RawTimestamp(microseconds) = FromSql::<sql_types::Timestamptz, Pg>::from_sql(bytes)?;
        Ok(Self(clamped(Duration::microseconds(microseconds))))
    }
}

impl From<PgTimestamp> for OffsetDateTime {
    fn from(timestamp: PgTimestamp) -> Self {
        timestamp.0
    }
}

/// A `date`, clamped to the years 0001–9999.
#[derive(Debug, Clone, Copy, FromSqlRow)]
pub(super) struct PgDate(Date);

impl FromSql<sql_types::Date, Pg> for PgDate {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let RawDate(days) = FromSql::<sql_types::Date, Pg>::from_sql(bytes)?;
        Ok(Self(clamped(Duration::days(days.into())).date()))
    }
}

impl From<PgDate> for Date {
    fn from(date: PgDate) -> Self {
        date.0
    }
}

/// A `time`, to the minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct PgTimeOfDay(TimeOfDay);

impl FromSql<sql_types::Time, Pg> for PgTimeOfDay {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        const MINUTE: i64 = 60_000_000;
        let RawTime(microseconds) = FromSql::<sql_types::Time, Pg>::from_sql(bytes)?;
        let time = u16::try_from(microseconds / MINUTE).ok().and_then(TimeOfDay::from_minutes);
        time.map(Self).ok_or_else(|| "no time of day".into())
    }
}

impl From<PgTimeOfDay> for TimeOfDay {
    fn from(time: PgTimeOfDay) -> Self {
        time.0
    }
}

fn clamped(since_epoch: Duration) -> OffsetDateTime {
    EPOCH + since_epoch.clamp(FIRST - EPOCH, LAST - EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_out_of_range_are_clamped() {
        assert_eq!(clamped(Duration::ZERO), EPOCH);
        assert_eq!(clamped(Duration::microseconds(i64::MAX)), LAST);
        assert_eq!(clamped(Duration::microseconds(i64::MIN)), FIRST);
        assert_eq!(clamped(Duration::days(i32::MAX.into())).date(), LAST.date());
        assert_eq!(clamped(Duration::microseconds(-1)), datetime!(1999-12-31 23:59:59.999_999 UTC));
    }
}
