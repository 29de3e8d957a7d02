//! The HTTP service: configuration, wiring, HTTP types and the command line around the domain.
//!
//! [`http`] holds the routes in one readable list; [`wire`] is the only place that puts adapters behind ports;
//! [`config`] the only one that reads the environment.

pub mod cli;
pub mod config;
mod healthcheck;
pub mod http;
pub mod lifecycle;
pub mod metrics;
mod serve;
pub mod telemetry;
pub mod wire;
