//! The HTTP service: command line, configuration, HTTP server.
//!
//! Imports point downwards only: [`cli`] and the commands, [`bootstrap`], [`http`], [`services`], [`observability`] and
//! [`shutdown`], [`config`]. A test holds them to it (`tests/it/architecture.rs`).

pub mod bootstrap;
pub mod build;
pub mod cli;
mod commands;
pub mod config;
pub mod http;
pub mod observability;
pub mod services;
pub mod shutdown;
