//! The outermost layer: request id, log line, span and metrics, headers of every answer, errors in the contract's shape.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    HttpMessage as _,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType,
        header::{
            CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
            STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    web,
};
use crm_domain::role::Actor;
use tracing::{Instrument as _, Span};

use super::{
    HttpSettings,
    connection::Watched,
    cors,
    error::ApiError,
    rate_limit,
    render::{self, OwnBody},
};
use crate::{
    lifecycle::Lifecycle,
    telemetry::{self, chain, known_method},
    wire::Services,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_REQUEST_ID: usize = 64;

/// Headers of every answer: it is personal data, for the admin frontend alone.
static HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
];

/// A year. Subdomains are the platform's to decide about.
static HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What the outermost layer needs.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) services: web::Data<Services>,
    pub(super) settings: web::Data<HttpSettings>,
    pub(super) lifecycle: web::Data<Lifecycle>,
}

/// Passes a request on and finishes its answer. Everything below answers `Ok`: [`mod@super::endpoint`] turns panics,
/// deadlines and refusals into answers, and so does actix itself.
pub(super) async fn envelope(
    around: Surroundings,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody, BoxBody>>, actix_web::Error> {
    let began = Instant::now();
    let Surroundings { services, settings, lifecycle } = around;
    let request_id = kept_request_id(request.headers()).unwrap_or_else(|| format!("req_{}", services.ids.ulid()));
    let active = services.metrics.begin_request();
    let in_flight = request.conn_data::<Arc<Watched>>().cloned().map(Watched::begin_request);
    let is_one_too_many = matches!(in_flight, Some(None));
    let method = known_method(request.method().as_str());
    let span = telemetry::request_span(method, &request_id, request.headers());

    let work = async {
        let mut response = if is_one_too_many {
            let error = ApiError::Unavailable("too many requests at once on one connection".into());
            request.error_response(error).map_into_right_body()
        } else {
            next.call(request).await?.map_into_left_body()
        };
        let failed = response.status().is_client_error() || response.status().is_server_error();
        if failed && !response.response().extensions().contains::<OwnBody>() {
            response = with_error_body(response, &request_id);
        }
        finish(&mut response, &settings, &lifecycle, &request_id);
        observe(&mut response, &services, method, &request_id, began);
        drop((active, in_flight));
        Ok(response)
    };
    work.instrument(span).await
}

/// Adds the headers of every answer.
fn finish<B>(response: &mut ServiceResponse<B>, settings: &HttpSettings, lifecycle: &Lifecycle, request_id: &str) {
    let request = response.request().clone();
    let headers = response.headers_mut();
    for (name, value) in &HEADERS {
        headers.insert(name.clone(), value.clone());
    }
    if request.app_config().secure() {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS.clone());
    }
    // A kept id matches a safe pattern and a new one is made of letters and digits.
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    cors::tell(&settings.origins, &request, headers);
    rate_limit::tell(settings.limits, &request, headers);
    if lifecycle.is_draining() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
}

/// Tells log, span and metrics what came of a request: never the address itself, which holds ids and search terms.
fn observe<B>(
    response: &mut ServiceResponse<B>,
    services: &Services,
    method: &'static str,
    request_id: &str,
    began: Instant,
) {
    let request = response.request();
    let route = request.match_pattern();
    let status = response.status().as_u16();
    let role = request.extensions().get::<Actor>().map(|actor| actor.role.as_str());
    let duration = began.elapsed();
    let span = Span::current();
    let trace = telemetry::trace_of(&span);
    telemetry::finish_span(&span, method, route.as_deref(), status, role);
    tracing::info!(
        request_id,
        trace_id = trace.as_ref().map(|trace| trace.id.as_str()),
        method,
        route = route.as_deref().unwrap_or("unknown"),
        status,
        duration_ms = milliseconds(duration),
        role,
        "request"
    );
    services.metrics.request_answered(method, route, status, duration);
    if let Some(value) = trace.and_then(|trace| HeaderValue::from_str(&trace.parent).ok()) {
        response.headers_mut().insert(HeaderName::from_static(telemetry::TRACEPARENT), value);
    }
}

/// With three decimals.
fn milliseconds(duration: Duration) -> f64 {
    f64::from(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

/// An inbound id that matches `^[A-Za-z0-9_-]{1,64}$`.
fn kept_request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let safe = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    (safe && (1..=LONGEST_REQUEST_ID).contains(&id.len())).then(|| id.to_owned())
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
