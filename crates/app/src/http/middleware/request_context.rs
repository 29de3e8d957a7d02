//! The outermost middleware: request id, log line, span and metrics, the headers of every response, errors in the contract's
//! form.

use std::{
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use actix_web::{
    HttpMessage as _,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{
        ConnectionType, Version,
        header::{
            CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
            STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    web,
};
use crm_domain::role::Actor;
use futures_util::{StreamExt as _, stream};
use tracing::{Instrument as _, Span};

use super::{cors, rate_limit};
use crate::{
    config::http::HttpSettings,
    http::{
        connection::{AnswerBody, Delivery, RequestInFlight, TrackedConnection, UnreadBody},
        request::idempotency::RequestId,
        response::{
            envelope::{self, OwnBody},
            error::ApiError,
        },
    },
    observability::{
        logging::chain,
        metrics::{ActiveRequest, EndReason, Metrics},
        tracing::{self as tracing_context, known_method},
    },
    services::{Services, ServicesData},
    shutdown::Lifecycle,
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

/// What this middleware needs.
#[derive(Clone)]
pub(in crate::http) struct RequestContext {
    pub(in crate::http) services: ServicesData,
    pub(in crate::http) settings: web::Data<HttpSettings>,
    pub(in crate::http) lifecycle: web::Data<Lifecycle>,
}

/// Passes a request on and finishes its answer. Everything below answers `Ok`: [`mod@super::timeout`] and [`mod@super::authorize`] turn
/// panics, deadlines and refusals into responses, and so does actix itself.
pub(in crate::http) async fn wrap(
    context: RequestContext,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let began = Instant::now();
    let RequestContext { services, settings, lifecycle } = context;
    let request_id = kept_request_id(request.headers()).unwrap_or_else(|| format!("req_{}", services.ids.ulid()));
    let method = known_method(request.method().as_str());
    let mut answer = UnsentAnswer {
        metrics: services.metrics.clone(),
        in_flight: begin_request(&mut request),
        _active: services.metrics.begin_request(),
        request_id: request_id.clone(),
        method,
        route: None,
        began,
        is_sent: false,
    };
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let span = tracing_context::request_span(method, &request_id, request.headers());

    let work = async {
        let mut response = next.call(request).await?.map_into_boxed_body();
        let failed = response.status().is_client_error() || response.status().is_server_error();
        if failed && !response.response().extensions().contains::<OwnBody>() {
            response = with_error_body(response, &request_id);
        }
        set_headers(&mut response, &settings, &lifecycle, &request_id);
        if answer.has_broken_body() {
            // After the break, the next request's first byte cannot be found.
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        record_outcome(&mut response, &services, method, &request_id, began);
        answer.route = response.request().match_pattern();
        let connection = answer.in_flight.as_ref().map(|in_flight| in_flight.connection().clone());
        Ok(response.map_body(|_, body| BoxBody::new(AnswerBody::new(body, Box::new(answer), connection))))
    };
    work.instrument(span).await
}

/// Tells the request's connection that its body is to be read, and gives the handler a body that fails when its framing
/// breaks. `None` in tests without a connection.
fn begin_request(request: &mut ServiceRequest) -> Option<RequestInFlight> {
    let connection = request.conn_data::<Arc<TrackedConnection>>()?.clone();
    let body = unread_body(request);
    if body == UnreadBody::Chunked {
        let (connection, mut payload) = (connection.clone(), request.take_payload());
        let checked = stream::poll_fn(move |context| {
            if connection.has_broken_framing() {
                return Poll::Ready(Some(Err(PayloadError::EncodingCorrupted)));
            }
            payload.poll_next_unpin(context)
        });
        request.set_payload(Payload::Stream { payload: Box::pin(checked) });
    }
    Some(connection.begin_request(body))
}

/// How the request's body is framed, as actix-http has read it.
fn unread_body(request: &ServiceRequest) -> UnreadBody {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let is_chunked = header(TRANSFER_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if is_chunked && request.version() == Version::HTTP_11 {
        return UnreadBody::Chunked;
    }
    UnreadBody::Length(header(CONTENT_LENGTH).and_then(|length| length.parse().ok()).unwrap_or(0))
}

/// A request until its whole answer was sent. Dropped before that, it logs and counts why the client
/// got no answer, or not all of it (nginx logs the first as status 499).
struct UnsentAnswer {
    metrics: Arc<Metrics>,
    in_flight: Option<RequestInFlight>,
    _active: ActiveRequest,
    request_id: String,
    method: &'static str,
    route: Option<String>,
    began: Instant,
    is_sent: bool,
}

impl UnsentAnswer {
    fn has_broken_body(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| in_flight.connection().has_broken_framing())
    }
}

impl Delivery for UnsentAnswer {
    fn complete(mut self: Box<Self>) {
        self.is_sent = true;
    }
}

impl Drop for UnsentAnswer {
    fn drop(&mut self) {
        if self.is_sent {
            return;
        }
        let reason = self.in_flight.as_ref().and_then(|in_flight| in_flight.connection().end_reason());
        let reason = reason.unwrap_or(EndReason::Stopped);
        self.metrics.request_unanswered(reason);
        tracing::info!(
            request_id = self.request_id,
            method = self.method,
            route = self.route.as_deref().unwrap_or("unknown"),
            duration_ms = milliseconds(self.began.elapsed()),
            reason = reason.as_str(),
            "the response was not fully sent"
        );
    }
}

/// Sets the headers of every response.
fn set_headers<B>(response: &mut ServiceResponse<B>, settings: &HttpSettings, lifecycle: &Lifecycle, request_id: &str) {
    let request = response.request().clone();
    let headers = response.headers_mut();
    for (name, value) in &HEADERS {
        headers.insert(name.clone(), value.clone());
    }
    if settings.tls.is_some() {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS.clone());
    }
    // A kept id matches a safe pattern and a new one is made of letters and digits.
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    cors::set_headers(&settings.origins, &request, headers);
    rate_limit::set_headers(settings.quotas, &request, headers);
    // An upgrade that is not made is not announced.
    if lifecycle.is_draining() || request.head().upgrade() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
}

/// Writes the outcome of a request to log, span and metrics: never its target, which holds ids and search terms.
fn record_outcome<B>(
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
    let trace = tracing_context::trace_of(&span);
    tracing_context::finish_span(&span, method, route.as_deref(), status, role);
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
        response.headers_mut().insert(HeaderName::from_static(tracing_context::TRACEPARENT), value);
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
fn with_error_body(response: ServiceResponse<BoxBody>, request_id: &str) -> ServiceResponse<BoxBody> {
    let body = match response.response().error().and_then(|error| error.as_error::<ApiError>()) {
        Some(error) => {
            if let Some(cause) = error.cause() {
                tracing::error!(request_id, code = %error, cause = chain(&**cause), "a request failed");
            }
            envelope::json(&error.body(request_id))
        }
        None => envelope::json(&ApiError::of_status(response.status()).body(request_id)),
    };
    let mut response = response.map_body(|_, _| BoxBody::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
