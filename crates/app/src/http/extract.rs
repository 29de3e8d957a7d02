//! Input: the query, the path and the body, read as the contract says.
//!
//! Bodies and queries both become an object of JSON values first, and a request struct of [`super::field::Field`]s
//! then; garde collects what is wrong with it.

use std::fmt;

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{CONTENT_LENGTH, CONTENT_TYPE},
    web::BytesMut,
};
use crm_domain::text::TextError;
use futures_util::{
    StreamExt as _,
    future::{LocalBoxFuture, Ready, ready},
};
use garde::Validate;
use percent_encoding::percent_decode_str;
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use super::error::{ApiError, Details, Input};

/// The most bytes a body may have: 64 KiB.
const MAX_BODY: usize = 64 * 1024;

type Members = Map<String, Value>;

/// Reads a request struct from its members and checks all of its fields.
fn validated<T: DeserializeOwned + Validate<Context = ()>>(
    input: Input,
    members: Members,
) -> Result<T, ApiError> {
    let request: T = serde_json::from_value(Value::Object(members)).map_err(|_| ApiError::malformed())?;
    request.validate().map_err(|report| {
        let mut details = Details::new();
        for (path, error) in report.iter() {
            details
                .entry(camel_case(&path.to_string()))
                .or_default()
                .push(error.message().to_owned());
        }
        ApiError::Invalid(input, details)
    })?;
    Ok(request)
}

/// `page_size` as the API calls it: `pageSize`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        name + &letters
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(letters)
            .collect::<String>()
    })
}

/// The query. Unknown parameters are ignored, of a repeated one the last counts.
pub(super) struct QueryOf<T>(pub(super) T);

impl<T: DeserializeOwned + Validate<Context = ()>> FromRequest for QueryOf<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(validated(Input::Query, query_members(request.query_string())).map(Self))
    }
}

/// A value that cannot be decoded becomes null, which no field accepts; a name that cannot is nobody's.
fn query_members(query: &str) -> Members {
    query
        .split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((
                form_decoded(name)?,
                form_decoded(value).map_or(Value::Null, Value::String),
            ))
        })
        .collect()
}

fn form_decoded(text: &str) -> Option<String> {
    decoded(&text.replace('+', " "))
}

/// Percent-decodes once; `None` when an escape is malformed or the result is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let well_formed = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes();
        digits.len() >= 2 && digits[0].is_ascii_hexdigit() && digits[1].is_ascii_hexdigit()
    });
    if !well_formed {
        return None;
    }
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

/// The path's parameters, read by the handler, because what is wrong with a body comes before them.
pub(super) struct PathOf(HttpRequest);

impl PathOf {
    /// The id that stands where the route has `{name}`, decoded once: an id may hold a slash (`%2F`) or a percent
    /// sign (`%25`).
    pub(super) fn id<T>(&self, name: &str, parse: fn(&str) -> Result<T, TextError>) -> Result<T, ApiError> {
        let pattern = self.0.match_pattern().unwrap_or_default();
        let place = pattern
            .split('/')
            .position(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) == Some(name));
        // The path as it was sent; the router's own copy has been decoded in parts.
        let segment = place
            .and_then(|place| self.0.uri().path().split('/').nth(place))
            .unwrap_or_default();
        let text = decoded(segment)
            .ok_or_else(|| ApiError::invalid_field(name, "must be percent-encoded UTF-8 text"))?;
        parse(&text).map_err(|error| ApiError::invalid_field(name, error.to_string()))
    }
}

impl FromRequest for PathOf {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(request.clone())))
    }
}

/// A body that must be a JSON object.
pub(super) struct BodyOf<T>(pub(super) T);

/// Like [`BodyOf`], where no body at all counts as `{}`, whatever its content type.
pub(super) struct OptionalBodyOf<T>(pub(super) T);

impl<T: DeserializeOwned + Validate<Context = ()>> FromRequest for BodyOf<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = read_body(&request, payload).await?;
            validated(Input::Data, body_members(&body)?).map(Self)
        })
    }
}

impl<T: DeserializeOwned + Validate<Context = ()>> FromRequest for OptionalBodyOf<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = read_body(&request, payload).await?;
            let members = if body.is_empty() {
                Members::new()
            } else {
                body_members(&body)?
            };
            validated(Input::Data, members).map(Self)
        })
    }
}

/// Reads the body: first its type (415), then its size (413). An empty one has neither.
async fn read_body(request: &HttpRequest, mut payload: Payload) -> Result<BytesMut, ApiError> {
    let declared: Option<u64> = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let json = is_json(request);
    let mut body = BytesMut::new();
    if declared.is_some_and(|length| length > 0) {
        check_size(
            json,
            declared.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX)),
        )?;
    }
    while let Some(chunk) = payload.next().await {
        // The client went away or sent what is not HTTP.
        let chunk = chunk.map_err(|_| ApiError::malformed())?;
        if !chunk.is_empty() {
            check_size(json, body.len() + chunk.len())?;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn check_size(json: bool, length: usize) -> Result<(), ApiError> {
    if !json {
        return Err(ApiError::UnsupportedMediaType);
    }
    if length > MAX_BODY {
        Err(ApiError::PayloadTooLarge)
    } else {
        Ok(())
    }
}

/// Whether the content type is `application/json`, whatever its parameters.
fn is_json(request: &HttpRequest) -> bool {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

fn body_members(body: &[u8]) -> Result<Members, ApiError> {
    let Body { members, duplicates } = serde_json::from_slice(body).map_err(|_| ApiError::malformed())?;
    if duplicates.is_empty() {
        Ok(members)
    } else {
        Err(ApiError::Invalid(Input::Data, duplicates))
    }
}

/// A JSON object, with what its members are named twice.
struct Body {
    members: Members,
    duplicates: Details,
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
                let mut body = Body {
                    members: Members::new(),
                    duplicates: Details::new(),
                };
                while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                    let value = match serde_json::from_str(raw.get()) {
                        Ok(value) => value,
                        // JSON, but no number of ours (1e999): its field's doing, and null is what no field accepts.
                        Err(_) if raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                            Value::Null
                        }
                        // Nested too deeply, half a surrogate pair: the whole body's doing.
                        Err(error) => return Err(A::Error::custom(error)),
                    };
                    if body.members.insert(name.clone(), value).is_some() {
                        body.duplicates
                            .insert(name, vec!["must be given only once".to_owned()]);
                    }
                }
                Ok(body)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(query: &str) -> Value {
        Value::Object(query_members(query))
    }

    #[test]
    fn queries_are_decoded_once_and_the_last_of_a_name_counts() {
        assert_eq!(
            members("q=a+b%2Bc&q=%C3%A9"),
            json!({"": null, "q": "é"})
                .as_object()
                .map(|_| json!({"q": "é"}))
                .unwrap()
        );
        assert_eq!(members("q=a%2525"), json!({"q": "a%25"}));
        assert_eq!(members("q"), json!({"q": ""}));
        assert_eq!(members("page%53ize=5"), json!({"pageSize": "5"}));
        assert_eq!(
            members("q=%zz&tag=%ff&sort=%"),
            json!({"q": null, "tag": null, "sort": null})
        );
        assert_eq!(members("q=%zz&q=a"), json!({"q": "a"}));
        assert_eq!(members("%zz=1&a=b=c"), json!({"a": "b=c"}));
    }

    fn body(text: &str) -> Result<Value, ApiError> {
        body_members(text.as_bytes()).map(Value::Object)
    }

    #[test]
    fn bodies_are_objects_of_json() {
        assert_eq!(body(r#"{"a":1,"b":[{}]}"#).unwrap(), json!({"a": 1, "b": [{}]}));
        assert_eq!(
            body(r#"{"a":1e999,"b":-1e999}"#).unwrap(),
            json!({"a": null, "b": null})
        );
        for text in [
            "",
            "null",
            "[]",
            "\"a\"",
            "1",
            "{",
            "{}x",
            "{'a':1}",
            r#"{"a":"\ud800"}"#,
            r#"{"\ud800":1}"#,
            "\u{FEFF}{}",
            r#"{"a":01}"#,
            "{\"a\":\"\n\"}",
        ] {
            let error = body(text).unwrap_err();
            assert!(
                matches!(&error, ApiError::Invalid(Input::Data, details) if details.is_empty()),
                "{text}: {error:?}"
            );
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(body(&deep).is_err());
        let invalid_utf8 = body_members(b"{\"a\":\"\xff\"}");
        assert!(invalid_utf8.is_err());
    }

    #[test]
    fn a_name_given_twice_is_told() {
        let error = body(r#"{"a":1,"b":2,"a":1}"#).unwrap_err();
        let ApiError::Invalid(Input::Data, details) = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            details,
            Details::from([("a".to_owned(), vec!["must be given only once".to_owned()])])
        );
    }

    #[test]
    fn fields_are_called_what_the_api_calls_them() {
        assert_eq!(camel_case("page"), "page");
        assert_eq!(camel_case("booking_requires_approval"), "bookingRequiresApproval");
    }
}
