//! `crm openapi`: prints the description of the API.

use std::{io::Write as _, process::ExitCode};

use crate::http::routes;

/// Prints OpenAPI 3.1 in JSON.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    match std::io::stdout().lock().write_all(routes::openapi().as_bytes()) {
        // The reader has read enough: `crm openapi | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
}
