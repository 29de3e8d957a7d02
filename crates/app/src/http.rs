//! HTTP: server, routes, middleware, handlers, requests and responses.
//!
//! A request passes through `middleware::request_context` (request id, log line, headers, errors in the contract's form) and
//! `middleware::authorize` (the checks before any input is read) to its handler. A handler parses the request, calls one use
//! case, and renders the result. [`routes`] lists them all.

mod connection;
mod handlers;
mod middleware;
mod openapi;
pub mod request;
mod response;
pub mod routes;
pub mod server;
