//! Timestamps, dates and times of day in the contract's form ("Envelope").

use std::fmt;

use crm_domain::calendar::TimeOfDay;
use serde::{Serialize, Serializer};
use time::{Date, OffsetDateTime, UtcOffset, macros::format_description};

/// A timestamp as `2025-09-10T05:30:00.000Z`.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Rfc3339(pub(in crate::http) OffsetDateTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        f.write_str(&self.0.to_offset(UtcOffset::UTC).format(form).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A date as `1994-02-28`.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct IsoDate(pub(in crate::http) Date);

impl fmt::Display for IsoDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(format_description!("[year]-[month]-[day]")).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for IsoDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A time of day as `14:30`.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct HourMinute(pub(in crate::http) TimeOfDay);

impl Serialize for HourMinute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    fn to_json(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn timestamps_and_dates_have_exactly_one_format() {
        let table = [
            (datetime!(2025-09-10 05:30 UTC), "\"2025-09-10T05:30:00.000Z\""),
            (datetime!(2025-09-10 05:30:00.999_999 UTC), "\"2025-09-10T05:30:00.999Z\""),
            (datetime!(2025-09-10 11:00 +5:30), "\"2025-09-10T05:30:00.000Z\""),
            (datetime!(0999-01-01 0:00 UTC), "\"0999-01-01T00:00:00.000Z\""),
        ];
        for (timestamp, text) in table {
            assert_eq!(to_json(Rfc3339(timestamp)), text);
        }
        assert_eq!(to_json(IsoDate(date!(1994 - 02 - 28))), "\"1994-02-28\"");
    }
}
