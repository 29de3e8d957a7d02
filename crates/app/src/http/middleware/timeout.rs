//! Timeout middleware: gives a request its deadline, and turns a panic of its handler into a 500.

use std::panic::AssertUnwindSafe;

use actix_web::{
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use futures_util::FutureExt as _;

use crate::{config::http::HttpSettings, http::response::error::ApiError};

/// Runs the rest of the request within `REQUEST_TIMEOUT_MS`.
pub(in crate::http) async fn limit_time(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    // The route has been found: from here on a second handle on the request is harmless.
    let http_request = request.request().clone();
    let Some(settings) = request.app_data::<web::Data<HttpSettings>>().cloned() else {
        return Err(ApiError::Internal("the application was built without its settings".into()).into());
    };
    let work = AssertUnwindSafe(next.call(request)).catch_unwind();
    let outcome = match tokio::time::timeout(settings.request_timeout, work).await {
        Ok(Ok(outcome)) => outcome.map(ServiceResponse::map_into_boxed_body),
        // The panic hook has logged where.
        Ok(Err(_)) => Err(ApiError::Internal("the handler panicked".into()).into()),
        Err(_) => Err(ApiError::Unavailable("the request's deadline passed".into()).into()),
    };
    Ok(outcome.unwrap_or_else(|error| ServiceResponse::from_err(error, http_request)))
}
