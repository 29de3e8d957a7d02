//! One field of a body or query: absent, a value that keeps its rule, or what is wrong with it.
//!
//! A field's rule is written once, in the domain's `parse`; this file only says how a value gets there from JSON or
//! from a query. Reading a field never fails, so that every failing field is told at once: garde collects them.

#![expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes its context by reference"
)]

use crm_domain::{
    customer::NoShowCount,
    directory::{SearchTerm, SortKey, TagFilter},
    ids::{BookingId, TagId},
    note::NoteContent,
    page::{PageNumber, PageSize},
    tag::{TagColor, TagName},
    text,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::ApiError;

/// A value that a field can hold.
pub(super) trait FieldValue: Sized {
    /// Reads it, or says what is allowed ("must be at most 100").
    fn read(value: &Value) -> Result<Self, String>;
}

/// One field of a request.
#[derive(Debug, Clone, Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Present(T),
    Invalid(String),
}

impl<T> Field<T> {
    /// The value of an optional field, once the request has been validated.
    pub(super) fn optional(self) -> Option<T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Invalid(_) => None,
        }
    }

    /// The value of a required field, once the request has been validated.
    pub(super) fn required(self) -> Result<T, ApiError> {
        self.optional().ok_or_else(ApiError::malformed)
    }
}

impl<'de, T: FieldValue> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(T::read(&value).map_or_else(Self::Invalid, Self::Present))
    }
}

/// garde's rule for a field that may be absent (never null: contract, "PATCH").
pub(super) fn optional<T>(field: &Field<T>, _context: &()) -> garde::Result {
    match field {
        Field::Absent | Field::Present(_) => Ok(()),
        Field::Invalid(message) => Err(garde::Error::new(message)),
    }
}

/// garde's rule for a field that must be there.
pub(super) fn required<T>(field: &Field<T>, context: &()) -> garde::Result {
    match field {
        Field::Absent => Err(garde::Error::new("is required")),
        Field::Present(_) | Field::Invalid(_) => optional(field, context),
    }
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "must be a string".to_owned())
}

/// An integer of a JSON body. JSON has one kind of number: `3`, `3.0` and `3e0` are the same integer.
fn integer(value: &Value) -> Result<i128, String> {
    let Value::Number(number) = value else {
        return Err("must be an integer".to_owned());
    };
    if let Some(integer) = number.as_i64() {
        return Ok(i128::from(integer));
    }
    if let Some(integer) = number.as_u64() {
        return Ok(i128::from(integer));
    }
    match number.as_f64() {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float too large becomes an integer too large"
        )]
        Some(float) if float.fract() == 0.0 => Ok(float as i128),
        _ => Err("must be an integer".to_owned()),
    }
}

/// An integer of a query: `7`, `+7`, `007`, white space around it ignored. One too long for any type is too large.
fn decimal(value: &Value) -> Result<i128, String> {
    let text = text::trim(query_text(value)?);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("must be an integer".to_owned());
    }
    let limit = if text.starts_with('-') {
        i128::MIN
    } else {
        i128::MAX
    };
    Ok(text.parse().unwrap_or(limit))
}

/// A text of a query; null stands for one that could not be decoded.
fn query_text(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| "must be percent-encoded UTF-8 text".to_owned())
}

macro_rules! field_value {
    ($type:ty, $read:ident, $parse:expr) => {
        impl FieldValue for $type {
            fn read(value: &Value) -> Result<Self, String> {
                $parse($read(value)?).map_err(|error| error.to_string())
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

impl FieldValue for bool {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "must be true or false".to_owned())
    }
}

// Of queries.
field_value!(PageNumber, decimal, PageNumber::parse);
field_value!(PageSize, decimal, PageSize::parse);
field_value!(SortKey, query_text, SortKey::parse);
field_value!(Option<SearchTerm>, query_text, SearchTerm::parse);
field_value!(Option<TagFilter>, query_text, TagFilter::parse);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_of_bodies() {
        for (value, expected) in [
            (json!(3), Ok(3)),
            (json!(-1), Ok(-1)),
            (json!(3.0), Ok(3)),
            (json!(-0.0), Ok(0)),
            (json!(1e3), Ok(1000)),
            (json!(u64::MAX), Ok(i128::from(u64::MAX))),
            (json!(1e300), Ok(i128::MAX)),
            (json!(1.5), Err(())),
            (json!("3"), Err(())),
            (json!(null), Err(())),
            (json!(true), Err(())),
            (json!([3]), Err(())),
        ] {
            assert_eq!(integer(&value).map_err(|_| ()), expected, "{value}");
        }
    }

    #[test]
    fn integers_of_queries() {
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
            assert_eq!(decimal(&json!(text)).map_err(|_| ()), expected, "{text:?}");
        }
        assert_eq!(decimal(&json!("9".repeat(400))), Ok(i128::MAX));
        assert_eq!(decimal(&json!(format!("-{}", "9".repeat(400)))), Ok(i128::MIN));
        assert_eq!(decimal(&json!(format!("{}7", "0".repeat(400)))), Ok(7));
    }
}
