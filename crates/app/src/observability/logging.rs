//! Logging to standard error, and the start of tracing. No log line and no span holds personal data.

use std::{
    io::IsTerminal as _,
    sync::{Mutex, OnceLock, PoisonError},
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, level_filters::LevelFilter};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, Targets, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::tracing::tracer_provider;
use crate::config::telemetry::{LogFormat, TelemetrySettings};

/// How many log lines wait at most for a reader that does not read, such as a container engine's log driver. Further ones
/// are dropped: no request ever waits for the log.
const BUFFERED_LINES: usize = 4096;

/// Counts the lines that were dropped. For the process, as the log is.
static DROPPED_LINES: OnceLock<ErrorCounter> = OnceLock::new();

/// How many log lines were dropped because nobody read the log.
#[must_use]
pub fn dropped_lines() -> u64 {
    DROPPED_LINES.get().map_or(0, |counter| u64::try_from(counter.dropped_lines()).unwrap_or(u64::MAX))
}

/// What writes the log. For the process, as the log is: a process that ends at once has last lines, too.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Writes the last log lines, as far as somebody reads them within a second. Later ones are lost.
pub fn write_last_lines() {
    drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Traces, to be shut down at the end with the log.
pub struct Telemetry {
    traces: SdkTracerProvider,
}

impl Telemetry {
    /// Exports the spans that have not been exported yet, and writes the last log lines.
    pub fn shutdown(self) {
        // The collector may be gone by now; there is nobody left to report that to.
        let _ = self.traces.shutdown();
        write_last_lines();
    }
}

/// Starts logging to standard error and, if configured, exporting traces. Call it outside of an async runtime: the exporter
/// brings a blocking HTTP client.
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
    // Libraries log warnings at most, whatever `RUST_LOG` says: their details hold cookies and bound values.
    let ours = filter_fn(|event| event.target().starts_with("crm_") || *event.level() <= Level::WARN);
    let filter = EnvFilter::new(&settings.log_filter).and(ours);
    let (writer, log) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(BUFFERED_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    // Only the first logger of a process is in force.
    let _ = DROPPED_LINES.set(writer.error_counter());
    match settings.log_format {
        LogFormat::Json => {
            let lines = fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_writer(writer);
            registry.with(lines.with_filter(filter)).init();
        }
        LogFormat::Pretty => {
            let colours = std::io::stderr().is_terminal();
            let lines = fmt::layer().compact().with_ansi(colours).with_writer(writer);
            registry.with(lines.with_filter(filter)).init();
        }
    }
    // The default hook prints the panic's message, which may hold personal data.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a thread panicked");
    }));
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
    Ok(Telemetry { traces: provider })
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line = format!("{line}: {error}");
        source = error.source();
    }
    line
}
