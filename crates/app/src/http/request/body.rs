//! The extractors of a JSON body.

use std::{fmt, time::Duration};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::Payload,
    http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName},
    web::{self, BytesMut},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt as _, future::LocalBoxFuture};
use garde::Validate;
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{
    field::{RawFields, RawValue},
    validation::validate,
};
use crate::{
    config::http::HttpSettings,
    http::response::error::{ApiError, Input},
};

/// The header of a request that may be repeated.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The most bytes a body may have: 64 KiB.
const MAX_BODY: usize = 64 * 1024;

/// A body that must be a JSON object, or what is wrong with its fields. A wrong content type or size is an error of the
/// extractor itself: it comes before anything that is wrong with the path.
pub(in crate::http) struct BodyOf<T>(pub(in crate::http) Result<T, ApiError>);

/// Like [`BodyOf`], where no body at all counts as `{}`, whatever its content type.
pub(in crate::http) struct OptionalBodyOf<T>(pub(in crate::http) Result<T, ApiError>);

impl<T: From<RawFields> + Validate<Context = ()>> FromRequest for BodyOf<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = read_body(&request, payload).await?;
            Ok(Self(parse_body(&body).and_then(|fields| validate(Input::Data, fields))))
        })
    }
}

impl<T: From<RawFields> + Validate<Context = ()>> FromRequest for OptionalBodyOf<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = read_body(&request, payload).await?;
            let fields = if body.is_empty() { Ok(RawFields::default()) } else { parse_body(&body) };
            Ok(Self(fields.and_then(|fields| validate(Input::Data, fields))))
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
    if request.headers().contains_key(IDEMPOTENCY_KEY) {
        request.extensions_mut().insert(BodyDigest(digest(&[&body])));
    }
    Ok(body)
}

/// The digest of texts, each with its length, so that no two lists of texts are written alike.
pub(super) fn digest(texts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

/// The digest of the body of a request with an idempotency key.
pub(super) struct BodyDigest(pub(super) String);

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

/// `serde_json` refuses a body whose arrays and objects nest deeper than 127 levels.
fn parse_body(body: &[u8]) -> Result<RawFields, ApiError> {
    serde_json::from_slice(body).map_err(|_| ApiError::malformed())
}

/// The fields of a JSON object.
impl<'de> Deserialize<'de> for RawFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = RawFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<RawFields, A::Error> {
                let mut fields = RawFields::default();
                while let Some((name, value)) = object.next_entry::<String, Value>()? {
                    fields.add(name, RawValue::Json(value));
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields<const N: usize>(values: [(&str, Value); N]) -> RawFields {
        let mut fields = RawFields::default();
        for (name, value) in values {
            fields.add(name.to_owned(), RawValue::Json(value));
        }
        fields
    }

    #[test]
    fn only_json_objects_are_accepted_as_bodies() {
        let body = parse_body(br#"{"a":1,"b":[{}],"a":1}"#).unwrap();
        assert_eq!(body, fields([("a", json!(1)), ("b", json!([{}])), ("a", json!(1))]));
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
            let error = parse_body(text.as_bytes()).unwrap_err();
            assert!(
                matches!(&error, ApiError::Invalid(Input::Data, details) if details.is_empty()),
                "{text}: {error:?}"
            );
        }
        assert!(parse_body(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn nesting_depth_is_limited_and_ignores_brackets_in_strings() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse_body(nested(127).as_bytes()).is_ok());
        assert!(parse_body(nested(128).as_bytes()).is_err());
        assert!(parse_body(nested(30_000).as_bytes()).is_err());
        let brackets = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(1000), "{".repeat(1000));
        assert!(parse_body(brackets.as_bytes()).is_ok());
    }
}
