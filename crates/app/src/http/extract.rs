//! Input: the query, the path and the body, read as the contract says.
//!
//! Bodies and queries both become [`Members`] first, and a request struct of [`super::field::Field`]s then; garde
//! collects what is wrong with it.

use std::{fmt, time::Duration};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{CONTENT_LENGTH, CONTENT_TYPE},
    web::{self, BytesMut},
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
    de::{Deserializer, MapAccess, Visitor},
};

use tokio::time::timeout;

use super::{
    HttpSettings,
    error::{ApiError, Details, Input},
    field::{Given, Members},
};

/// The most bytes a body may have: 64 KiB.
const MAX_BODY: usize = 64 * 1024;

/// The deepest that a body's arrays and objects may stand in each other. Reading one takes no stack, but nobody who
/// means well sends it.
const MAX_NESTING: usize = 128;

/// Makes a request struct of its members and checks all of its fields.
fn validated<T: From<Members> + Validate<Context = ()>>(input: Input, members: Members) -> Result<T, ApiError> {
    let request = T::from(members);
    request.validate().map_err(|report| {
        let mut details = Details::new();
        for (path, error) in report.iter() {
            details.entry(camel_case(&path.to_string())).or_default().push(error.message().to_owned());
        }
        ApiError::Invalid(input, details)
    })?;
    Ok(request)
}

/// Both values, or what is wrong with either: every failing field of path, query and body is told at once.
pub(super) fn both<A, B>(a: Result<A, ApiError>, b: Result<B, ApiError>) -> Result<(A, B), ApiError> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(ApiError::Invalid(_, mut details)), Err(ApiError::Invalid(_, more))) => {
            details.extend(more);
            Err(ApiError::Invalid(Input::Data, details))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// `page_size` as the API calls it: `pageSize`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        name + &letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    })
}

/// The query, or what is wrong with it. Unknown parameters are ignored, of a repeated one the last counts.
pub(super) struct QueryOf<T>(pub(super) Result<T, ApiError>);

impl<T: From<Members> + Validate<Context = ()>> FromRequest for QueryOf<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(validated(Input::Query, query_members(request.query_string())))))
    }
}

/// A name that cannot be decoded is nobody's.
fn query_members(query: &str) -> Members {
    let pairs = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((form_decoded(name)?, form_decoded(value).map_or(Given::Undecodable, Given::Text)))
    });
    Members(pairs.collect())
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
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
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
        let segment = place.and_then(|place| self.0.uri().path().split('/').nth(place)).unwrap_or_default();
        let text =
            decoded(segment).ok_or_else(|| ApiError::invalid_field(name, "must be percent-encoded UTF-8 text"))?;
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

/// A body that must be a JSON object, or what is wrong with its fields. A wrong content type or size is an error of the
/// extractor itself: it comes before anything that is wrong with the path.
pub(super) struct BodyOf<T>(pub(super) Result<T, ApiError>);

/// Like [`BodyOf`], where no body at all counts as `{}`, whatever its content type.
pub(super) struct OptionalBodyOf<T>(pub(super) Result<T, ApiError>);

impl<T: From<Members> + Validate<Context = ()>> FromRequest for BodyOf<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = read_body(&request, payload).await?;
            Ok(Self(body_members(&body).and_then(|members| validated(Input::Data, members))))
        })
    }
}

impl<T: From<Members> + Validate<Context = ()>> FromRequest for OptionalBodyOf<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = read_body(&request, payload).await?;
            let members = if body.is_empty() { Ok(Members::default()) } else { body_members(&body) };
            Ok(Self(members.and_then(|members| validated(Input::Data, members))))
        })
    }
}

/// Reads the body: first its type (415), then its size (413). An empty one has neither.
async fn read_body(request: &HttpRequest, mut payload: Payload) -> Result<BytesMut, ApiError> {
    let declared: Option<u64> =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let json = is_json(request);
    let mut body = BytesMut::new();
    if declared.is_some_and(|length| length > 0) {
        check_size(json, declared.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX)))?;
    }
    let read = async {
        while let Some(chunk) = payload.next().await {
            // The client went away or sent what is not HTTP.
            let chunk = chunk.map_err(|_| ApiError::malformed())?;
            if !chunk.is_empty() {
                check_size(json, body.len() + chunk.len())?;
            }
            body.extend_from_slice(&chunk);
        }
        Ok::<(), ApiError>(())
    };
    let settings = request.app_data::<web::Data<HttpSettings>>();
    let deadline = settings.map_or(Duration::ZERO, |settings| settings.body_timeout);
    timeout(deadline, read).await.map_err(|_| ApiError::Unavailable("the body did not arrive in time".into()))??;
    Ok(body)
}

fn check_size(json: bool, length: usize) -> Result<(), ApiError> {
    if !json {
        return Err(ApiError::UnsupportedMediaType);
    }
    if length > MAX_BODY { Err(ApiError::PayloadTooLarge) } else { Ok(()) }
}

/// Whether the content type is `application/json`, whatever its parameters.
fn is_json(request: &HttpRequest) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn body_members(body: &[u8]) -> Result<Members, ApiError> {
    if nesting(body) > MAX_NESTING {
        return Err(ApiError::malformed());
    }
    serde_json::from_slice(body).map_err(|_| ApiError::malformed())
}

/// How deep arrays and objects stand in each other, at the deepest.
fn nesting(body: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The members of a JSON object.
impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some((name, given)) = object.next_entry::<String, Given>()? {
                    members.0.entry(name).and_modify(|given| *given = Given::Twice).or_insert(given);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Given {
        Given::Text(text.to_owned())
    }

    fn members<const N: usize>(members: [(&str, Given); N]) -> Members {
        Members(members.into_iter().map(|(name, given)| (name.to_owned(), given)).collect())
    }

    #[test]
    fn queries_are_decoded_once_and_the_last_of_a_name_counts() {
        assert_eq!(query_members("q=a+b%2Bc&q=%C3%A9"), members([("q", text("é"))]));
        assert_eq!(query_members("q=a+b%2Bc"), members([("q", text("a b+c"))]));
        assert_eq!(query_members("q=a%2525"), members([("q", text("a%25"))]));
        assert_eq!(query_members("q"), members([("q", text(""))]));
        assert_eq!(query_members("page%53ize=5"), members([("pageSize", text("5"))]));
        let undecodable =
            members([("q", Given::Undecodable), ("tag", Given::Undecodable), ("sort", Given::Undecodable)]);
        assert_eq!(query_members("q=%zz&tag=%ff&sort=%"), undecodable);
        assert_eq!(query_members("q=%zz&q=a"), members([("q", text("a"))]));
        assert_eq!(query_members("%zz=1&a=b=c"), members([("a", text("b=c"))]));
    }

    #[test]
    fn bodies_are_objects_of_json() {
        let body = body_members(br#"{"a":1,"b":[{}],"a":1}"#).unwrap();
        assert_eq!(body, members([("a", Given::Twice), ("b", Given::Composite)]));
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
            let error = body_members(text.as_bytes()).unwrap_err();
            assert!(
                matches!(&error, ApiError::Invalid(Input::Data, details) if details.is_empty()),
                "{text}: {error:?}"
            );
        }
        assert!(body_members(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(body_members(nested(MAX_NESTING).as_bytes()).is_ok());
        assert!(body_members(nested(MAX_NESTING + 1).as_bytes()).is_err());
        assert!(body_members(nested(30_000).as_bytes()).is_err());
        let brackets = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(1000), "{".repeat(1000));
        assert!(body_members(brackets.as_bytes()).is_ok());
    }

    #[test]
    fn fields_are_called_what_the_api_calls_them() {
        assert_eq!(camel_case("page"), "page");
        assert_eq!(camel_case("booking_requires_approval"), "bookingRequiresApproval");
    }
}
