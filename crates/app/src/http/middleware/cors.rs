//! CORS middleware (Fetch standard): pages of the allowed origins may read answers, with the session cookie; nothing is reflected
//! for others.
//!
//! Our own rather than actix-cors: that answers preflights with 200, and before the path is looked at, where the
//! contract wants 204, and 404 first.

use actix_web::{
    HttpRequest,
    http::header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
    },
};

use crate::config::http::Origins;

/// What a page may send: JSON, a request id, a trace, a precondition, a key.
static REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("content-type, x-request-id, traceparent, tracestate, if-match, idempotency-key");
/// What a page may read besides the body.
static RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "x-request-id, retry-after, ratelimit, ratelimit-policy, traceparent, etag, idempotent-replayed, content-disposition",
);
/// How long a browser may remember a preflight: Chromium's upper limit, in seconds.
static MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

fn allowed_origin<'r>(origins: &Origins, request: &'r HttpRequest) -> Option<&'r HeaderValue> {
    let origin = request.headers().get(ORIGIN)?;
    origin.to_str().is_ok_and(|origin| origins.allowed.contains(origin)).then_some(origin)
}

/// Sets the headers of every response: which origin's pages may read it.
pub(in crate::http) fn set_headers(origins: &Origins, request: &HttpRequest, headers: &mut HeaderMap) {
    // `Vary` is set for every origin, because the response depends on it.
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed_origin(origins, request) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS.clone());
    }
}

/// Sets the headers of the response to a preflight: what a page may send. `methods` are those of the path.
pub(in crate::http) fn set_preflight_headers(
    origins: &Origins,
    request: &HttpRequest,
    methods: &HeaderValue,
    headers: &mut HeaderMap,
) {
    headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"));
    if request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) && allowed_origin(origins, request).is_some() {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE.clone());
    }
}
