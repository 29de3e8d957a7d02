//! Middleware: what every request passes through before its handler, and its response after it.

pub(super) mod authorize;
pub(super) mod cors;
pub(super) mod cross_site;
pub(super) mod rate_limit;
pub(super) mod request_context;
pub(super) mod timeout;
