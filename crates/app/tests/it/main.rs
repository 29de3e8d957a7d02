//! The service over HTTP: in process with a fixed clock and ids, and as the real process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has to end")]

mod app;
mod architecture;
mod bodies;
mod checks;
mod client;
mod concurrency;
mod cors;
mod deployment;
mod endpoints;
mod export;
mod failover;
mod faults;
mod filters;
mod health;
mod history;
mod hostile_clients;
mod house;
mod kpis;
mod limits;
mod notes;
mod openapi;
mod process;
mod queries;
mod random_input;
mod redis;
mod round_trips;
mod service;
mod slow_clients;
mod tags;
mod telemetry;
mod timeline;
mod tls;
mod two_desks;
