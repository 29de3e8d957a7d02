//! One field of a body or query: absent, valid, or invalid with its message.
//!
//! A field's rule is written once, in the domain's `parse`; this file only says how a value gets there from JSON or
//! from a query. Reading a field never fails, so that one response reports every failing field: garde collects them.

#![expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes its context by reference")]

use std::collections::HashMap;

use crm_domain::{
    calendar,
    customer::NoShowCount,
    directory::{Bound, SearchTerm, SortKey, TagFilter},
    history::When,
    ids::{BookingId, TagId, UserId},
    note::NoteContent,
    page::{PageNumber, PageSize},
    tag::{TagColor, TagDescription, TagName},
    text,
    timeline::TimelineLimit,
};
use serde_json::Value;
use time::Date;

use crate::http::response::error::ApiError;

/// The value of one name, before its rule is applied.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::http) enum RawValue {
    /// A value of a body.
    Json(Value),
    /// A value of a query.
    Text(String),
    /// A query's value whose escapes are malformed or not UTF-8.
    Undecodable,
}

/// The values of a body or a query by name, in the order in which they were given. Names that no request struct asks for are
/// ignored.
#[derive(Debug, Default, PartialEq)]
pub(in crate::http) struct RawFields(HashMap<String, Vec<RawValue>>);

impl RawFields {
    /// Adds a value.
    pub(super) fn add(&mut self, name: String, value: RawValue) {
        self.0.entry(name).or_default().push(value);
    }

    /// The field of that name, as the API calls it. Of a query's parameter that is repeated the last value counts; a body's
    /// field must not be repeated.
    pub(in crate::http) fn field<T: FieldValue>(&mut self, name: &str) -> Field<T> {
        match self.0.remove(name).unwrap_or_default().as_slice() {
            [] => Field::Absent,
            [_, .., RawValue::Json(_)] => Field::Invalid("must be given only once".to_owned()),
            [.., raw] => T::read(raw).map_or_else(Field::Invalid, Field::Present),
        }
    }

    /// All values of a query's parameter that may be repeated.
    pub(in crate::http) fn repeated<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&[&str]) -> Result<T, String>,
    ) -> Field<T> {
        let values = self.0.remove(name).unwrap_or_default();
        if values.is_empty() {
            return Field::Absent;
        }
        let texts: Result<Vec<&str>, String> = values.iter().map(query_text).collect();
        texts.and_then(|texts| parse(&texts)).map_or_else(Field::Invalid, Field::Present)
    }
}

/// A value that a field can hold.
pub(in crate::http) trait FieldValue: Sized {
    /// Reads it, or says what is allowed ("must be at most 100").
    fn read(raw: &RawValue) -> Result<Self, String>;
}

/// One field of a request.
#[derive(Debug, Clone, Default)]
pub(in crate::http) enum Field<T> {
    #[default]
    Absent,
    Present(T),
    Invalid(String),
}

impl<T> Field<T> {
    /// The value of an optional field, once the request has been validated.
    pub(in crate::http) fn optional(self) -> Option<T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Invalid(_) => None,
        }
    }

    /// Refuses a maximum below that minimum.
    pub(in crate::http) fn at_least(self, min: &Self, name: &str) -> Self
    where
        T: PartialOrd,
    {
        match (min, &self) {
            (Self::Present(min), Self::Present(max)) if max < min => {
                Self::Invalid(format!("must not be less than {name}"))
            }
            _ => self,
        }
    }

    /// The value of a required field, once the request has been validated.
    pub(in crate::http) fn required(self) -> Result<T, ApiError> {
        self.optional().ok_or_else(ApiError::malformed)
    }
}

/// garde's rule for a field that may be absent (never null: contract, "PATCH").
pub(in crate::http) fn optional<T>(field: &Field<T>, _context: &()) -> garde::Result {
    match field {
        Field::Absent | Field::Present(_) => Ok(()),
        Field::Invalid(message) => Err(garde::Error::new(message)),
    }
}

/// garde's rule for a field that must be there.
pub(in crate::http) fn required<T>(field: &Field<T>, context: &()) -> garde::Result {
    match field {
        Field::Absent => Err(garde::Error::new("is required")),
        Field::Present(_) | Field::Invalid(_) => optional(field, context),
    }
}

fn string(raw: &RawValue) -> Result<&str, String> {
    match raw {
        RawValue::Json(Value::String(text)) => Ok(text),
        _ => Err("must be a string".to_owned()),
    }
}

/// An integer of a JSON body. JSON has one kind of number: `3`, `3.0` and `3e0` are the same integer.
fn integer(raw: &RawValue) -> Result<i128, String> {
    let RawValue::Json(Value::Number(number)) = raw else { return Err("must be an integer".to_owned()) };
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    #[expect(clippy::cast_possible_truncation, reason = "a float too large becomes an integer too large")]
    let whole = whole.or_else(|| number.as_f64().filter(|float| float.fract() == 0.0).map(|float| float as i128));
    whole.ok_or_else(|| "must be an integer".to_owned())
}

/// An integer of a query: `7`, `+7`, `007`, white space around it ignored. One too long for any type is too large.
fn decimal(raw: &RawValue) -> Result<i128, String> {
    let text = text::trim(query_text(raw)?);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("must be an integer".to_owned());
    }
    let limit = if text.starts_with('-') { i128::MIN } else { i128::MAX };
    Ok(text.parse().unwrap_or(limit))
}

fn query_text(raw: &RawValue) -> Result<&str, String> {
    match raw {
        RawValue::Text(text) => Ok(text),
        _ => Err("must be percent-encoded UTF-8 text".to_owned()),
    }
}

macro_rules! field_value {
    ($type:ty, $read:ident, $parse:expr) => {
        impl FieldValue for $type {
            fn read(raw: &RawValue) -> Result<Self, String> {
                $parse($read(raw)?).map_err(|error| error.to_string())
            }
        }
    };
}

// Of bodies.
field_value!(NoShowCount, integer, NoShowCount::parse);
field_value!(TagName, string, TagName::parse);
field_value!(TagColor, string, TagColor::parse);
field_value!(TagId, string, TagId::parse);
field_value!(NoteContent, string, NoteContent::parse);
field_value!(BookingId, string, BookingId::parse);

/// A field that `null` clears.
macro_rules! clearable_value {
    ($type:ty, $parse:expr) => {
        impl FieldValue for Option<$type> {
            fn read(raw: &RawValue) -> Result<Self, String> {
                if matches!(raw, RawValue::Json(Value::Null)) {
                    return Ok(None);
                }
                let text = string(raw).map_err(|_| "must be a string or null".to_owned())?;
                $parse(text).map_err(|error| error.to_string())
            }
        }
    };
}

clearable_value!(TagColor, |text| TagColor::parse(text).map(Some));
clearable_value!(TagDescription, TagDescription::parse);

impl FieldValue for Vec<UserId> {
    fn read(raw: &RawValue) -> Result<Self, String> {
        let RawValue::Json(Value::Array(items)) = raw else { return Err("must be an array of ids".to_owned()) };
        let id = |item: &Value| match item {
            Value::String(text) => UserId::parse(text).map_err(|error| format!("each id {error}")),
            _ => Err("each id must be a string".to_owned()),
        };
        items.iter().map(id).collect()
    }
}

/// `true` or `false`, in a body or in a query.
impl FieldValue for bool {
    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw {
            RawValue::Json(Value::Bool(value)) => Ok(*value),
            RawValue::Text(text) if text == "true" => Ok(true),
            RawValue::Text(text) if text == "false" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }
}

// Of queries.
field_value!(Bound, decimal, Bound::parse);
field_value!(Date, query_text, calendar::parse_date);
field_value!(PageNumber, decimal, PageNumber::parse);
field_value!(PageSize, decimal, PageSize::parse);
field_value!(TimelineLimit, decimal, TimelineLimit::parse);
field_value!(When, query_text, When::parse);
field_value!(SortKey, query_text, SortKey::parse);
field_value!(Option<SearchTerm>, query_text, SearchTerm::parse);
field_value!(Option<TagFilter>, query_text, TagFilter::parse);

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> RawValue {
        RawValue::Json(serde_json::from_str(json).unwrap())
    }

    /// With some of its features, `serde_json` reads an object with such a key as a value of another type.
    #[test]
    fn an_object_is_never_read_as_another_type() {
        for key in ["RawValue", "Number"] {
            let value = raw(&format!("{{\"$serde_json::private::{key}\":\"42\"}}"));
            assert!(matches!(&value, RawValue::Json(Value::Object(_))), "{value:?}");
            assert!(integer(&value).is_err() && string(&value).is_err());
        }
    }

    #[test]
    fn body_integers_are_json_numbers_with_an_integral_value() {
        for (json, expected) in [
            ("3", Ok(3)),
            ("-1", Ok(-1)),
            ("3.0", Ok(3)),
            ("-0.0", Ok(0)),
            ("1e3", Ok(1000)),
            ("18446744073709551615", Ok(i128::from(u64::MAX))),
            ("1e300", Ok(i128::MAX)),
            ("1.5", Err(())),
            ("\"3\"", Err(())),
            ("null", Err(())),
            ("true", Err(())),
            ("[3]", Err(())),
        ] {
            assert_eq!(integer(&raw(json)).map_err(|_| ()), expected, "{json}");
        }
    }

    #[test]
    fn query_integers_are_ascii_digits_with_an_optional_sign() {
        let decimal = |text: &str| decimal(&RawValue::Text(text.to_owned())).map_err(|_| ());
        for (text, expected) in [
            ("7", Ok(7)),
            ("+7", Ok(7)),
            ("007", Ok(7)),
            (" 7\u{FEFF}", Ok(7)),
            ("-7", Ok(-7)),
            ("-0", Ok(0)),
            ("9007199254740993", Ok(9_007_199_254_740_993)),
            ("", Err(())),
            (" ", Err(())),
            ("+", Err(())),
            ("+-7", Err(())),
            ("1.5", Err(())),
            ("1e3", Err(())),
            ("0x7", Err(())),
            ("abc", Err(())),
            ("٧", Err(())),
            ("7 7", Err(())),
        ] {
            assert_eq!(decimal(text), expected, "{text:?}");
        }
        assert_eq!(decimal(&"9".repeat(400)), Ok(i128::MAX));
        assert_eq!(decimal(&format!("-{}", "9".repeat(400))), Ok(i128::MIN));
        assert_eq!(decimal(&format!("{}7", "0".repeat(400))), Ok(7));
    }
}
