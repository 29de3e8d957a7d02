//! Timestamps and dates in the contract's form ("Envelope").

use serde::{Serialize, Serializer, ser::Error as _};
use time::{Date, OffsetDateTime, UtcOffset, macros::format_description};

/// A timestamp as `2025-09-10T05:30:00.000Z`.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Rfc3339(pub(in crate::http) OffsetDateTime);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let text = self.0.to_offset(UtcOffset::UTC).format(form).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

/// A date as `1994-02-28`.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct IsoDate(pub(in crate::http) Date);

impl Serialize for IsoDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.format(format_description!("[year]-[month]-[day]")).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
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
