//! The outermost layer: request id, log line, headers of every answer, errors in the contract's shape.

use std::time::Instant;

use actix_web::{
    HttpMessage as _,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    middleware::Next,
    web,
};
use crm_domain::role::Actor;

use super::{error::ApiError, render};
use crate::wire::Services;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_REQUEST_ID: usize = 64;

/// Passes a request on and finishes its answer. Everything below answers `Ok`: [`super::endpoint`] turns panics,
/// deadlines and refusals into answers, and so does actix itself.
pub(super) async fn envelope(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody, BoxBody>>, actix_web::Error> {
    let began = Instant::now();
    let request_id = kept_request_id(request.headers()).unwrap_or_else(|| new_request_id(&request));

    let mut response = next.call(request).await?.map_into_left_body();

    if response.status().is_client_error() || response.status().is_server_error() {
        response = with_error_body(response, &request_id);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A kept id matches a safe pattern and a new one is made of letters and digits.
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    log(&response, &request_id, began);
    Ok(response)
}

/// An inbound id that matches `^[A-Za-z0-9_-]{1,64}$`.
fn kept_request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let safe = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    (safe && (1..=LONGEST_REQUEST_ID).contains(&id.len())).then(|| id.to_owned())
}

/// `req_` and a ULID.
fn new_request_id(request: &ServiceRequest) -> String {
    let services = request.app_data::<web::Data<Services>>();
    services.map_or_else(String::new, |services| format!("req_{}", services.ids.ulid()))
}

/// Writes the body of an error; headers that came with it (`Allow`, `Retry-After`) stay.
fn with_error_body<B: MessageBody>(
    response: ServiceResponse<EitherBody<B, BoxBody>>,
    request_id: &str,
) -> ServiceResponse<EitherBody<B, BoxBody>> {
    let body = match response.response().error().and_then(|error| error.as_error::<ApiError>()) {
        Some(error) => {
            if let Some(cause) = error.cause() {
                tracing::error!(request_id, code = %error, cause = chain(&**cause), "a request failed");
            }
            render::json(&error.body(request_id))
        }
        None => render::json(&ApiError::of_status(response.status()).body(request_id)),
    };
    let mut response = response.map_body(|_, _| EitherBody::right(BoxBody::new(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line = format!("{line}: {error}");
        source = error.source();
    }
    line
}

/// One line for each request: never the address itself, which holds ids and search terms.
fn log<B>(response: &ServiceResponse<B>, request_id: &str, began: Instant) {
    let request = response.request();
    let role = request.extensions().get::<Actor>().map(|actor| actor.role.as_str());
    tracing::info!(
        request_id,
        method = request.method().as_str(),
        route = request.match_pattern().as_deref().unwrap_or("unknown"),
        status = response.status().as_u16(),
        duration_ms = began.elapsed().as_secs_f64() * 1000.0,
        role,
        "request"
    );
}
