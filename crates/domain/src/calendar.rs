//! The salon's calendar: days and timestamps in its time zone.
//!
//! Source: contract extensions, "Filters of the directory": dates are days of the salon's time zone.

use std::fmt;

use jiff::{
    Timestamp, ToSpan as _, civil,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};
use thiserror::Error;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// The earliest timestamp that the API can express (RFC 3339 has years of four digits).
pub const FIRST: OffsetDateTime = time::macros::datetime!(0001-01-01 0:00 UTC);

/// The latest timestamp that the API can express.
pub const LAST: OffsetDateTime = time::macros::datetime!(9999-12-31 23:59:59.999_999 UTC);

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

/// A time of day by a clock on the wall, to the minute: `00:00` to `24:00`, the end of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay {
    minutes: u16,
}

impl TimeOfDay {
    /// The time so many minutes after midnight; `None` when that is beyond the end of the day.
    #[must_use]
    pub fn from_minutes(minutes: u16) -> Option<Self> {
        (minutes <= 24 * 60).then_some(Self { minutes })
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// What a clock on the salon's wall shows, and its calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallClock {
    /// The day.
    pub date: Date,
    /// The time of day.
    pub time: Time,
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

    /// The first timestamp of that day. A day may begin later than at midnight, where clocks are then set forward.
    #[must_use]
    pub fn start_of(&self, day: Date) -> OffsetDateTime {
        self.timestamp_of(PrimitiveDateTime::new(day, Time::MIDNIGHT))
    }

    /// The day in which that timestamp is.
    #[must_use]
    pub fn day_of(&self, at: OffsetDateTime) -> Date {
        let timestamp = Timestamp::from_nanosecond(at.unix_timestamp_nanos()).unwrap_or(Timestamp::MAX);
        date_of(self.0.to_datetime(timestamp).date()).unwrap_or(at.date())
    }

    /// What the salon's clock shows at that time. When clocks were set back, an hour is shown twice; the second time this
    /// is the end of that hour, so that what began in the first one does not lie ahead again.
    #[must_use]
    pub fn wall_clock_at(&self, at: OffsetDateTime) -> WallClock {
        let timestamp = Timestamp::from_nanosecond(at.unix_timestamp_nanos()).unwrap_or(Timestamp::MAX);
        let mut shown = self.0.to_datetime(timestamp);
        if let AmbiguousOffset::Fold { before, after } = self.0.to_ambiguous_timestamp(shown).offset()
            && self.0.to_offset(timestamp) == after
            && let Some(transition) =
                self.0.preceding(timestamp.saturating_add(1.nanosecond()).unwrap_or(timestamp)).next()
        {
            shown = before.to_datetime(transition.timestamp());
        }
        let (hour, minute, second) = (shown.hour(), shown.minute(), shown.second());
        let nanosecond = shown.subsec_nanosecond().unsigned_abs();
        let time = Time::from_hms_nano(hour.unsigned_abs(), minute.unsigned_abs(), second.unsigned_abs(), nanosecond);
        WallClock { date: date_of(shown.date()).unwrap_or(at.date()), time: time.unwrap_or(Time::MIDNIGHT) }
    }

    /// The timestamp at which the salon's clock shows that: of two, the first. A time that the clocks skip is moved forward by
    /// the length of the gap: with one hour, 02:30 becomes 03:30.
    #[must_use]
    pub fn timestamp_of(&self, shown: PrimitiveDateTime) -> OffsetDateTime {
        let (year, month, day) = shown.to_calendar_date();
        let (hour, minute, second, nanosecond) = shown.as_hms_nano();
        // Both libraries' years reach beyond those of `parse_date`.
        let date =
            civil::Date::new(i16::try_from(year).unwrap_or(i16::MAX), u8::from(month).cast_signed(), day.cast_signed());
        let time = civil::Time::new(
            hour.cast_signed(),
            minute.cast_signed(),
            second.cast_signed(),
            i32::try_from(nanosecond).unwrap_or_default(),
        );
        let zoned = date.and_then(|date| time.and_then(|time| date.to_datetime(time).to_zoned(self.0.clone())));
        let nanoseconds = zoned.map_or(i128::MAX, |zoned| zoned.timestamp().as_nanosecond());
        OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(LAST)
    }
}

/// The same day in the other library's terms; `None` in a year that it does not know.
fn date_of(day: civil::Date) -> Option<Date> {
    let month = Month::try_from(day.month().unsigned_abs()).ok()?;
    Date::from_calendar_date(day.year().into(), month, day.day().unsigned_abs()).ok()
}

/// The time from the beginning of one day to the end of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first timestamp, if there is one.
    pub from: Option<OffsetDateTime>,
    /// The first timestamp after it, if there is one.
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
    use time::macros::{date, datetime, time};

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
    fn a_time_before_midnight_in_utc_may_be_tomorrow_in_the_salon() {
        assert_eq!(kolkata().day_of(datetime!(2026-11-26 18:29:59.999_999 UTC)), date!(2026 - 11 - 26));
        assert_eq!(kolkata().day_of(datetime!(2026-11-26 18:30 UTC)), date!(2026 - 11 - 27));
    }

    #[test]
    fn a_time_of_day_has_hours_and_minutes() {
        for (minutes, shown) in
            [(0, Some("00:00")), (545, Some("09:05")), (1439, Some("23:59")), (1440, Some("24:00")), (1441, None)]
        {
            assert_eq!(TimeOfDay::from_minutes(minutes).map(|time| time.to_string()).as_deref(), shown, "{minutes}");
        }
    }

    fn wall(zone: &str, at: OffsetDateTime) -> WallClock {
        SalonTimeZone::parse(zone).unwrap().wall_clock_at(at)
    }

    #[test]
    fn the_wall_clock_shows_the_time_of_the_salon() {
        let shown = wall("Asia/Kolkata", datetime!(2026-11-26 18:59:59.999_999 UTC));
        assert_eq!(shown, WallClock { date: date!(2026 - 11 - 27), time: time!(00:29:59.999_999) });
        // The clocks leave out the hour from two to three.
        let shown = wall("Europe/Berlin", datetime!(2026-03-29 01:00 UTC));
        assert_eq!(shown, WallClock { date: date!(2026 - 03 - 29), time: time!(03:00) });
    }

    #[test]
    fn an_hour_that_is_shown_twice_passes_once() {
        let day = date!(2026 - 10 - 25);
        for (at, time) in [
            (datetime!(2026-10-25 00:30 UTC), time!(02:30)),
            (datetime!(2026-10-25 01:00 UTC), time!(03:00)),
            (datetime!(2026-10-25 01:30 UTC), time!(03:00)),
            (datetime!(2026-10-25 02:00 UTC), time!(03:00)),
            (datetime!(2026-10-25 02:01 UTC), time!(03:01)),
        ] {
            assert_eq!(wall("Europe/Berlin", at), WallClock { date: day, time }, "{at}");
        }
        // At midnight, the day before is shown twice.
        let shown = wall("America/Sao_Paulo", datetime!(2018-02-18 02:30 UTC));
        assert_eq!(shown, WallClock { date: date!(2018 - 02 - 18), time: time!(00:00) });
    }

    #[test]
    fn a_time_that_is_shown_twice_is_the_first_and_one_left_out_comes_later() {
        let berlin = SalonTimeZone::parse("Europe/Berlin").unwrap();
        assert_eq!(berlin.timestamp_of(datetime!(2026-10-25 02:30)), datetime!(2026-10-25 00:30 UTC));
        assert_eq!(berlin.timestamp_of(datetime!(2026-03-29 02:30)), datetime!(2026-03-29 01:30 UTC));
        assert_eq!(kolkata().timestamp_of(datetime!(2026-11-27 00:30)), datetime!(2026-11-26 19:00 UTC));
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

        /// What is upcoming becomes past, and never upcoming again.
        #[test]
        fn the_wall_clock_never_goes_back(second in 0..2_000_000_000_i64, later in 0..10_000_i64, zone in 0..4_usize) {
            let names = ["Asia/Kolkata", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"];
            let at = |second| wall(names[zone], OffsetDateTime::from_unix_timestamp(second).unwrap());
            prop_assert!(at(second) <= at(second + later));
        }
    }
}
