//! The extractor of a query.

use std::borrow::Cow;

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use futures_util::future::{Ready, ready};
use garde::Validate;
use percent_encoding::percent_decode_str;

use super::{
    field::{RawFields, RawValue},
    validation::validate,
};
use crate::http::response::error::{ApiError, Input};

/// The query, or what is wrong with it. Unknown parameters are ignored, of a repeated one the last counts.
pub(in crate::http) struct QueryOf<T>(pub(in crate::http) Result<T, ApiError>);

impl<T: From<RawFields> + Validate<Context = ()>> FromRequest for QueryOf<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(validate(Input::Query, parse_query(request.query_string())))))
    }
}

/// A parameter whose name cannot be decoded is ignored.
fn parse_query(query: &str) -> RawFields {
    let mut fields = RawFields::default();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let Some(name) = form_decoded(name) {
            fields.add(name, form_decoded(value).map_or(RawValue::Undecodable, RawValue::Text));
        }
    }
    fields
}

fn form_decoded(text: &str) -> Option<String> {
    decoded(&text.replace('+', " "))
}

/// Percent-decodes once; `None` when an escape is malformed or the result is not UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    let well_formed = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes();
        digits.len() >= 2 && digits[0].is_ascii_hexdigit() && digits[1].is_ascii_hexdigit()
    });
    if !well_formed {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> RawValue {
        RawValue::Text(text.to_owned())
    }

    fn fields<const N: usize>(values: [(&str, RawValue); N]) -> RawFields {
        let mut fields = RawFields::default();
        for (name, value) in values {
            fields.add(name.to_owned(), value);
        }
        fields
    }

    #[test]
    fn queries_are_decoded_once_and_keep_every_value() {
        assert_eq!(parse_query("q=a+b%2Bc&q=%C3%A9"), fields([("q", text("a b+c")), ("q", text("é"))]));
        assert_eq!(parse_query("q=a+b%2Bc"), fields([("q", text("a b+c"))]));
        assert_eq!(parse_query("q=a%2525"), fields([("q", text("a%25"))]));
        assert_eq!(parse_query("q"), fields([("q", text(""))]));
        assert_eq!(parse_query("page%53ize=5"), fields([("pageSize", text("5"))]));
        let undecodable =
            fields([("q", RawValue::Undecodable), ("tag", RawValue::Undecodable), ("sort", RawValue::Undecodable)]);
        assert_eq!(parse_query("q=%zz&tag=%ff&sort=%"), undecodable);
        assert_eq!(parse_query("q=%zz&q=a"), fields([("q", RawValue::Undecodable), ("q", text("a"))]));
        assert_eq!(parse_query("%zz=1&a=b=c"), fields([("a", text("b=c"))]));
    }
}
