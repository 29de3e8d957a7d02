//! The salon's calendar: days and moments in its time zone.
//!
//! Source: contract extensions, "Filters of the directory": dates are days of the salon's time zone.

use std::fmt;

use jiff::{
    Timestamp, civil,
    tz::{TimeZone, TimeZoneDatabase},
};
use thiserror::Error;
use time::{Date, Month, OffsetDateTime};

/// The latest moment that the API can express (RFC 3339 has years of four digits).
const LAST: OffsetDateTime = time::macros::datetime!(9999-12-31 23:59:59.999_999 UTC);

/// Why a date was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be a date such as 2026-11-27")]
pub struct DateError;

/// Reads a date of the years 0001 to 9999, in the form `YYYY-MM-DD` alone.
pub fn parse_date(text: &str) -> Result<Date, DateError> {
    let digits = |range: std::ops::Range<usize>| {
        let part = text.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse::<u16>().ok()
    };
    let date = || {
        if text.len() != 10 || text.as_bytes()[4] != b'-' || text.as_bytes()[7] != b'-' {
            return None;
        }
        let year = digits(0..4).filter(|year| *year > 0)?;
        let month = Month::try_from(u8::try_from(digits(5..7)?).ok()?).ok()?;
        Date::from_calendar_date(year.into(), month, u8::try_from(digits(8..10)?).ok()?).ok()
    };
    date().ok_or(DateError)
}

/// Why the name of a time zone was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be a time zone of the IANA database such as Asia/Kolkata")]
pub struct TimeZoneError;

/// The salon's time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct SalonTimeZone(TimeZone);

impl fmt::Debug for SalonTimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SalonTimeZone({})", self.0.iana_name().unwrap_or_default())
    }
}

impl SalonTimeZone {
    /// The time zone of that name, from the database in this program: what the machine has installed does not count.
    pub fn parse(name: &str) -> Result<Self, TimeZoneError> {
        TimeZoneDatabase::bundled().get(name).map(Self).map_err(|_| TimeZoneError)
    }

    /// The first moment of that day. A day may begin later than at midnight, where clocks are then set forward.
    #[must_use]
    pub fn start_of(&self, day: Date) -> OffsetDateTime {
        let (year, month, day) = day.to_calendar_date();
        // Both libraries' years reach beyond those of `parse_date`.
        let day =
            civil::Date::new(i16::try_from(year).unwrap_or(i16::MAX), u8::from(month).cast_signed(), day.cast_signed());
        let start = day.and_then(|day| day.to_zoned(self.0.clone()));
        let nanoseconds = start.map_or(i128::MAX, |start| start.timestamp().as_nanosecond());
        OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(LAST)
    }

    /// The day in which that moment is.
    #[must_use]
    pub fn day_of(&self, moment: OffsetDateTime) -> Date {
        let timestamp = Timestamp::from_nanosecond(moment.unix_timestamp_nanos()).unwrap_or(Timestamp::MAX);
        let day = self.0.to_datetime(timestamp).date();
        let month = Month::try_from(day.month().unsigned_abs()).unwrap_or(Month::January);
        Date::from_calendar_date(day.year().into(), month, day.day().unsigned_abs()).unwrap_or(moment.date())
    }
}

/// The moments from the beginning of one day to the end of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first moment, if there is one.
    pub from: Option<OffsetDateTime>,
    /// The first moment after it, if there is one.
    pub until: Option<OffsetDateTime>,
}

impl Period {
    /// The days from `from` to `to`, both included; `None` without either.
    #[must_use]
    pub fn of_days(zone: &SalonTimeZone, from: Option<Date>, to: Option<Date>) -> Option<Self> {
        let period = Self {
            from: from.map(|day| zone.start_of(day)),
            // The last day that can be written has no end.
            until: to.and_then(Date::next_day).map(|day| zone.start_of(day)),
        };
        (from.is_some() || to.is_some()).then_some(period)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::{date, datetime};

    use super::*;

    fn kolkata() -> SalonTimeZone {
        SalonTimeZone::parse("Asia/Kolkata").unwrap()
    }

    #[test]
    fn only_dates_in_one_form_are_accepted() {
        assert_eq!(parse_date("2026-11-27"), Ok(date!(2026 - 11 - 27)));
        assert_eq!(parse_date("0001-01-01"), Ok(date!(0001 - 01 - 01)));
        assert_eq!(parse_date("2024-02-29"), Ok(date!(2024 - 02 - 29)));
        for text in [
            "",
            "2026-11-7",
            "2026-11-31",
            "2025-02-29",
            "0000-01-01",
            "26-11-27",
            "2026/11/27",
            "2026-11-27T00:00:00Z",
            " 2026-11-27",
            "+026-11-27",
            "2026-1١-27",
            "20261127",
            "2026-00-10",
            "2026-13-10",
            "2026-10-00",
            "today",
        ] {
            assert_eq!(parse_date(text), Err(DateError), "{text:?}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight_of_the_salon() {
        assert_eq!(kolkata().start_of(date!(2026 - 11 - 27)), datetime!(2026-11-26 18:30 UTC));
        assert_eq!(kolkata().start_of(date!(0001 - 01 - 01)).date(), date!(0000 - 12 - 31));
        let berlin = SalonTimeZone::parse("Europe/Berlin").unwrap();
        assert_eq!(berlin.start_of(date!(2026 - 03 - 29)), datetime!(2026-03-28 23:00 UTC));
        assert_eq!(berlin.start_of(date!(2026 - 03 - 30)), datetime!(2026-03-29 22:00 UTC), "a day of 23 hours");
        // There, clocks were set forward at midnight: the day began at 1 o'clock.
        let sao_paulo = SalonTimeZone::parse("America/Sao_Paulo").unwrap();
        assert_eq!(sao_paulo.start_of(date!(2018 - 11 - 04)), datetime!(2018-11-04 03:00 UTC));
    }

    #[test]
    fn a_moment_before_midnight_in_utc_may_be_tomorrow_in_the_salon() {
        assert_eq!(kolkata().day_of(datetime!(2026-11-26 18:29:59.999_999 UTC)), date!(2026 - 11 - 26));
        assert_eq!(kolkata().day_of(datetime!(2026-11-26 18:30 UTC)), date!(2026 - 11 - 27));
    }

    #[test]
    fn names_of_time_zones_are_those_of_iana() {
        for name in ["", "Kolkata", "+05:30", "Asia/Kolkata ", "../etc/passwd"] {
            assert_eq!(SalonTimeZone::parse(name), Err(TimeZoneError), "{name}");
        }
        assert!(SalonTimeZone::parse("UTC").is_ok());
    }

    #[test]
    fn a_period_includes_both_days() {
        let days = |from, to| Period::of_days(&kolkata(), from, to);
        assert_eq!(days(None, None), None);
        let day = date!(2026 - 11 - 27);
        let period = days(Some(day), Some(day)).unwrap();
        assert_eq!(period.from, Some(datetime!(2026-11-26 18:30 UTC)));
        assert_eq!(period.until, Some(datetime!(2026-11-27 18:30 UTC)));
        assert_eq!(days(None, Some(Date::MAX)), Some(Period { from: None, until: None }));
    }

    proptest! {
        #[test]
        fn the_start_of_a_day_is_in_that_day(ordinal in 1..=3_652_058_i32, zone in 0..4_usize) {
            let names = ["Asia/Kolkata", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia"];
            let zone = SalonTimeZone::parse(names[zone]).unwrap();
            let day = Date::from_julian_day(date!(0001 - 01 - 01).to_julian_day() + ordinal).unwrap();
            let found = zone.day_of(zone.start_of(day));
            // Samoa left out a whole day.
            prop_assert!(found == day || day == date!(2011 - 12 - 30), "{day} {found}");
        }
    }
}
