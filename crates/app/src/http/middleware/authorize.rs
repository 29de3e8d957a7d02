//! Authorization middleware: the checks that a request passes before its input is read.
//!
//! The order is the contract's ("Envelope"): unknown path and wrong method (the router), then cross-site write, session, rate
//! limit, role. Only then does the handler read its input.

use actix_web::{
    HttpMessage as _, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{COOKIE, HeaderMap, HeaderValue},
    middleware::Next,
    web,
};
use crm_domain::{role::Role, session::SessionLookup};
use tracing::{Instrument as _, info_span};

use super::{cross_site::passes_cross_site_check, rate_limit};
use crate::{
    config::http::HttpSettings,
    http::response::error::ApiError,
    services::{Services, ServicesData},
};

/// Passes a request of an actor with at least that role on to its handler. `None`: any request, without a check.
pub(in crate::http) async fn authorize(
    minimum_role: Option<Role>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if let Some(minimum_role) = minimum_role {
        let services = request.app_data::<ServicesData>().cloned();
        let settings = request.app_data::<web::Data<HttpSettings>>().cloned();
        let (Some(services), Some(settings)) = (services, settings) else {
            return Err(ApiError::Internal("the application was built without its services".into()).into());
        };
        run_checks(&services, &settings, minimum_role, request.request()).await?;
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

async fn run_checks(
    services: &Services,
    settings: &HttpSettings,
    minimum_role: Role,
    request: &HttpRequest,
) -> Result<(), ApiError> {
    if !passes_cross_site_check(&settings.origins, request.method(), request.uri(), request.headers()) {
        return Err(ApiError::Forbidden);
    }
    let cookie = cookie_header(request.headers());
    let actor = match services.sessions.find_actor(&cookie).instrument(info_span!("session")).await? {
        SessionLookup::SignedIn(actor) => actor,
        SessionLookup::NotSignedIn(reason) => {
            services.metrics.session_refused(reason);
            rate_limit::count_address(services, settings, request).await?;
            return Err(ApiError::Unauthenticated);
        }
    };
    let role = actor.role;
    rate_limit::count_user(services, settings, request, &actor).await?;
    // Also of those who are refused: the log tells their role.
    request.extensions_mut().insert(actor);
    if role < minimum_role { Err(ApiError::Forbidden) } else { Ok(()) }
}

/// The `Cookie` headers as one: HTTP/2 splits them.
fn cookie_header(headers: &HeaderMap) -> Vec<u8> {
    headers.get_all(COOKIE).map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..])
}
