//! Timestamps, dates and times of day read from PostgreSQL, from its binary format or from JSON that it made; clamped to the years 0001–9999 that the API can express.
//!
//! PostgreSQL knows `infinity` and years without four digits. One such value must not make a whole page fail. Source: contract, "Envelope" (a timestamp is "always exactly that form").

use crm_domain::calendar::{self, TimeOfDay};
use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    pg::{
        Pg, PgValue,
        data_types::{PgDate as RawDate, PgTimestamp as RawTimestamp},
    },
    sql_types,
};
use serde::{Deserialize, Deserializer, de};
use time::{Date, Duration, OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};

/// The time that PostgreSQL counts from.
const EPOCH: OffsetDateTime = datetime!(2000-01-01 0:00 UTC);
const FIRST: OffsetDateTime = datetime!(0001-01-01 0:00 UTC);
const LAST: OffsetDateTime = datetime!(9999-12-31 23:59:59.999_999 UTC);

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

/// A `time`, read as its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct PgTimeOfDay(TimeOfDay);

impl FromSql<sql_types::Text, Pg> for PgTimeOfDay {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let text: String = FromSql::<sql_types::Text, Pg>::from_sql(bytes)?;
        TimeOfDay::parse(&text).map(Self).ok_or_else(|| "no time of day".into())
    }
}

impl From<PgTimeOfDay> for TimeOfDay {
    fn from(time: PgTimeOfDay) -> Self {
        time.0
    }
}

/// Reads a text of JSON.
fn deserialize_text<'de, D, T>(deserializer: D, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    // The text is a value of the platform's: an error must not hold it.
    parse(&text)
        .ok_or_else(|| de::Error::custom(format_args!("{} bytes are no {}", text.len(), std::any::type_name::<T>())))
}

/// As a `timestamptz` stands in JSON, in a session at UTC: `2026-11-27T10:00:00+00:00`; a `timestamp` has no offset.
impl<'de> Deserialize<'de> for PgTimestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| match out_of_range(text) {
            Some(end) => Some(Self(end)),
            None => {
                let text = if text.len() > TIME_ENDS && text[TIME_ENDS..].contains(['+', '-', 'Z']) {
                    OffsetDateTime::parse(text, &Rfc3339)
                } else {
                    OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339)
                };
                text.ok().map(Self)
            }
        })
    }
}

/// As a `date` stands in JSON.
impl<'de> Deserialize<'de> for PgDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| match out_of_range(text) {
            Some(end) => Some(Self(end.date())),
            None => calendar::parse_date(text).ok().map(Self),
        })
    }
}

/// As a `time` stands in JSON.
impl<'de> Deserialize<'de> for PgTimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| TimeOfDay::parse(text).map(Self))
    }
}

/// Where the time ends in `2026-11-27T10:00:00`.
const TIME_ENDS: usize = 19;

/// What stands for a date or timestamp in JSON that the API cannot express.
fn out_of_range(text: &str) -> Option<OffsetDateTime> {
    match text {
        "infinity" => Some(LAST),
        "-infinity" => Some(FIRST),
        _ if text.ends_with(" BC") => Some(FIRST),
        _ if text.find('-').is_some_and(|digits| digits > 4) => Some(LAST),
        _ => None,
    }
}

fn clamped(since_epoch: Duration) -> OffsetDateTime {
    EPOCH + since_epoch.clamp(FIRST - EPOCH, LAST - EPOCH)
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    fn from_json<'j, T: Deserialize<'j>>(text: &'j str) -> Option<T> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn timestamps_of_json_are_read_and_clamped() {
        for (text, expected) in [
            (r#""2026-11-27T10:00:00+00:00""#, Some(datetime!(2026-11-27 10:00 UTC))),
            (r#""2026-11-27T10:00:00.123456+00:00""#, Some(datetime!(2026-11-27 10:00:00.123_456 UTC))),
            (r#""2026-11-27T10:00:00.1""#, Some(datetime!(2026-11-27 10:00:00.1 UTC))),
            (r#""0001-01-01T00:00:00+00:00""#, Some(FIRST)),
            (r#""infinity""#, Some(LAST)),
            (r#""-infinity""#, Some(FIRST)),
            (r#""0044-03-15T12:00:00+00:00 BC""#, Some(FIRST)),
            (r#""294276-12-31T23:59:59+00:00""#, Some(LAST)),
            (r#""noon""#, None),
            (r#""""#, None),
            ("5", None),
        ] {
            assert_eq!(from_json::<PgTimestamp>(text).map(|timestamp| timestamp.0), expected, "{text}");
        }
    }

    #[test]
    fn dates_of_json_are_read_and_clamped() {
        for (text, expected) in [
            (r#""2026-11-27""#, Some(date!(2026 - 11 - 27))),
            (r#""infinity""#, Some(date!(9999 - 12 - 31))),
            (r#""-infinity""#, Some(date!(0001 - 01 - 01))),
            (r#""0044-03-15 BC""#, Some(date!(0001 - 01 - 01))),
            (r#""12026-11-27""#, Some(date!(9999 - 12 - 31))),
            (r#""tomorrow""#, None),
        ] {
            assert_eq!(from_json::<PgDate>(text).map(|date| date.0), expected, "{text}");
        }
    }

    #[test]
    fn an_error_of_json_holds_no_value() {
        let error = serde_json::from_str::<PgDate>(r#""Asha Rao""#).unwrap_err().to_string();
        assert!(!error.contains("Asha"), "{error}");
    }

    #[test]
    fn timestamps_out_of_range_are_clamped() {
        assert_eq!(clamped(Duration::ZERO), EPOCH);
        assert_eq!(clamped(Duration::microseconds(i64::MAX)), LAST);
        assert_eq!(clamped(Duration::microseconds(i64::MIN)), FIRST);
        assert_eq!(clamped(Duration::days(i32::MAX.into())).date(), LAST.date());
        assert_eq!(clamped(Duration::microseconds(-1)), datetime!(1999-12-31 23:59:59.999_999 UTC));
    }
}
