//! Logs and traces. One log line and one span for each request are made in [`crate::http`]; never personal data.
//!
//! Traces follow W3C Trace Context and go out by OTLP when an endpoint is set. Without one, spans still have ids, so that
//! log lines and answers carry a trace's id either way.

use std::{collections::HashMap, io::IsTerminal as _};

use actix_web::http::header::HeaderMap;
use anyhow::Context as _;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Level, Span, field::Empty, info_span, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, Targets, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};
use url::Url;

/// The header of W3C Trace Context.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// For people.
    Pretty,
}

/// Logs and traces.
#[derive(Debug)]
pub struct TelemetrySettings {
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged: directives that have been checked.
    pub log_filter: String,
    /// Where traces go by OTLP over HTTP; `None`: nowhere.
    pub otlp_endpoint: Option<Url>,
    /// The service's name in traces.
    pub service_name: String,
}

/// What has to be ended in order.
pub struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Sends the spans that have not been sent yet.
    pub fn shutdown(self) {
        // Whoever collects them may be gone by now, and nobody is left to tell.
        let _ = self.0.shutdown();
    }
}

/// Starts logging to standard error and, if wanted, sending traces. Not within an async runtime: the exporter brings a
/// blocking HTTP client.
pub fn init(settings: &TelemetrySettings) -> anyhow::Result<Telemetry> {
    let provider = tracer_provider(settings)?;
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("crm"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        // Our own spans, whatever is logged.
        .with_filter(
            Targets::new().with_targets([("crm_app", LevelFilter::INFO), ("crm_adapters", LevelFilter::INFO)]),
        );
    let registry = tracing_subscriber::registry().with(traces);
    // Whatever is asked for, libraries tell no more than warnings: their details hold cookies and bound values.
    let ours = filter_fn(|event| event.target().starts_with("crm_") || *event.level() <= Level::WARN);
    let filter = EnvFilter::new(&settings.log_filter).and(ours);
    match settings.log_format {
        LogFormat::Json => {
            let lines = fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_writer(std::io::stderr);
            registry.with(lines.with_filter(filter)).init();
        }
        LogFormat::Pretty => {
            let colours = std::io::stderr().is_terminal();
            let lines = fmt::layer().compact().with_ansi(colours).with_writer(std::io::stderr);
            registry.with(lines.with_filter(filter)).init();
        }
    }
    // The default hook prints the panic's message, which may hold personal data.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a thread panicked");
    }));
    Ok(Telemetry(provider))
}

fn tracer_provider(settings: &TelemetrySettings) -> anyhow::Result<SdkTracerProvider> {
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

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line = format!("{line}: {error}");
        source = error.source();
    }
    line
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
    // Fails only when nobody listens to spans.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    span
}

/// Tells a request's span what came of the request.
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

/// The trace of that span; `None` when nobody listens to spans.
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
