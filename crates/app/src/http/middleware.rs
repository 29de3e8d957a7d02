//! Middleware: code that runs before and after the handlers.

pub(super) mod authorize;
pub(super) mod cors;
pub(super) mod cross_site;
pub(super) mod rate_limit;
pub(super) mod request_context;
pub(super) mod timeout;
