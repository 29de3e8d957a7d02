//! The settings of logs and traces.

use url::Url;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// A line that people read.
    Pretty,
}

/// Logs and traces.
#[derive(Debug)]
pub struct TelemetrySettings {
    /// The form of log lines.
    pub log_format: LogFormat,
    /// The directives that say what is logged; they have been checked.
    pub log_filter: String,
    /// The collector that gets traces by OTLP over HTTP; `None`: none.
    pub otlp_endpoint: Option<Url>,
    /// The service's name in traces.
    pub service_name: String,
}
