//! Logs, traces, metrics and health.

pub(crate) mod health_monitor;
pub mod logging;
pub mod metrics;
pub(crate) mod tracing;
