//! Tracing by OpenTelemetry: W3C Trace Context in and out, spans by OTLP when a collector is configured.
//!
//! Without a collector, spans still have ids, so log lines and responses carry a trace's id either way.

use std::collections::HashMap;

use actix_web::http::header::HeaderMap;
use anyhow::Context as _;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::TraceContextExt as _,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::config::telemetry::TelemetrySettings;

/// The header of W3C Trace Context.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The provider of tracers. Exports spans when a collector is configured.
pub(super) fn tracer_provider(settings: &TelemetrySettings) -> anyhow::Result<SdkTracerProvider> {
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = &settings.otlp_endpoint else {
        return Ok(provider.with_sampler(Sampler::AlwaysOff).build());
    };
    // The base of all signals, to which the standard has each signal's path added.
    let traces = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
    let client = reqwest::blocking::Client::builder().build().context("traces cannot be sent")?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(traces)
        .build()
        .context("traces cannot be sent by OTLP")?;
    Ok(provider.with_batch_exporter(exporter).build())
}

/// The method, or `_OTHER` for one that OpenTelemetry's conventions do not know: clients may write what they like.
pub(crate) fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

/// The span of a request, a child of the trace that its headers name.
pub(crate) fn request_span(method: &str, request_id: &str, headers: &HeaderMap) -> Span {
    let span = info_span!(
        "request",
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = Empty,
        http.response.status_code = Empty,
        request_id,
        role = Empty,
    );
    // Fails only without a subscriber.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    span
}

/// Records the outcome of a request in its span.
pub(crate) fn finish_span(span: &Span, method: &str, route: Option<&str>, status: u16, role: Option<&'static str>) {
    // The conventions' name for a method that they do not know.
    let method = if method == "_OTHER" { "HTTP" } else { method };
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    // The layer takes a name only before a span has begun.
    span.context().span().update_name(name);
    span.record("http.route", route);
    span.record("http.response.status_code", status);
    span.record("role", role);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// The trace that a span belongs to.
pub(crate) struct Trace {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    /// The span as the header `traceparent` names it.
    pub(crate) parent: String,
}

/// The trace of that span; `None` without a subscriber.
pub(crate) fn trace_of(span: &Span) -> Option<Trace> {
    let context: Context = span.context();
    let mut headers = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut headers);
    let parent = headers.remove(TRACEPARENT)?;
    Some(Trace { id: context.span().span_context().trace_id().to_string(), parent })
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(actix_web::http::header::HeaderName::as_str).collect()
    }
}
