//! Endpoints: a method, the least role, a handler, and the checks that every request passes before its input is read.
//!
//! The order is the contract's ("Envelope"): unknown path, wrong method, cross-site write, session, rate limit, role;
//! only then does the handler's input get read.

use std::{panic::AssertUnwindSafe, rc::Rc};

use actix_web::{
    FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Resource, Responder, Route,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{ALLOW, COOKIE, HeaderMap, HeaderValue},
    },
    middleware::{Next, from_fn},
    web,
};
use crm_domain::role::{Actor, Role};
use futures_util::{FutureExt as _, future::Ready};

use tracing::{Instrument as _, info_span};

use utoipa::{
    __dev::{SchemaReferences, Tags},
    openapi::HttpMethod,
};

use super::{HttpSettings, cors, error::ApiError, openapi::Described, rate_limit};
use crate::wire::Services;

/// A handler, where it is mounted, and how it is described: all by its own attribute `utoipa::path`.
pub(super) struct Endpoint {
    /// What the API's description says of it.
    pub(super) described: Described,
    pub(super) mounted: Mounted,
}

/// Methods, and the route that answers them.
pub(super) struct Mounted {
    methods: &'static [Method],
    route: Route,
}

/// An endpoint of that handler: `endpoint!(least_role, module::handler)`, or `endpoint!(open, module::handler)` for
/// anyone, without any check.
macro_rules! endpoint {
    (open, $module:ident :: $handler:ident) => { endpoint!(@ None, $module::$handler) };
    (@ $least_role:expr, $module:ident :: $handler:ident) => {
        ::pastey::paste! {
            $crate::http::endpoint::described_by::<$module::[<__path_ $handler>], _, _>($least_role, $module::$handler)
        }
    };
    ($least_role:expr, $module:ident :: $handler:ident) => { endpoint!(@ Some($least_role), $module::$handler) };
}
pub(super) use endpoint;

/// For callers of at least that role; `None`: for anyone, without any check.
pub(super) fn described_by<P, F, Args>(least_role: Option<Role>, handler: F) -> Endpoint
where
    P: utoipa::Path + SchemaReferences + for<'t> Tags<'t>,
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let described = described::<P>(least_role);
    let methods = methods_of(&described);
    Endpoint { described, mounted: Mounted { methods, route: route_of(methods, handler, least_role) } }
}

/// A page that is no part of the API: for anyone, and not described.
pub(super) fn page<F, Args>(handler: F) -> Mounted
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Mounted { methods: READS, route: route_of(READS, handler, None) }
}

/// # Panics
///
/// When the attribute names no method, which it does not compile without.
fn described<P: utoipa::Path + SchemaReferences + for<'t> Tags<'t>>(least_role: Option<Role>) -> Described {
    let mut schemas = Vec::new();
    P::schemas(&mut schemas);
    let method = P::methods().pop().expect("a handler's attribute names a method");
    let mut operation = P::operation();
    operation.tags = Some(P::tags().into_iter().map(str::to_owned).collect());
    Described { path: P::path(), method, operation, schemas, least_role }
}

/// `HEAD` is answered like `GET` without the body.
const READS: &[Method] = &[Method::GET, Method::HEAD];

fn methods_of(described: &Described) -> &'static [Method] {
    match described.method {
        HttpMethod::Get => READS,
        HttpMethod::Post => &[Method::POST],
        HttpMethod::Put => &[Method::PUT],
        HttpMethod::Delete => &[Method::DELETE],
        HttpMethod::Options => &[Method::OPTIONS],
        HttpMethod::Head => &[Method::HEAD],
        HttpMethod::Patch => &[Method::PATCH],
        HttpMethod::Trace => &[Method::TRACE],
    }
}

fn route_of<F, Args>(methods: &'static [Method], handler: F, least_role: Option<Role>) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Route::new()
        .guard(actix_web::guard::fn_guard(move |context| methods.contains(&context.head().method)))
        .to(handler)
        .wrap(from_fn(move |request, next| admit(least_role, request, next)))
}

/// A path with what is mounted there. `OPTIONS` is answered 204, any other method 405 with `Allow`.
pub(super) fn resource(path: &str, mounted: Vec<Mounted>) -> Resource {
    let methods = mounted.iter().flat_map(|mounted| mounted.methods).chain(&[Method::OPTIONS]);
    let allow: Rc<str> = methods.map(Method::as_str).collect::<Vec<_>>().join(", ").into();

    let options = allow.clone();
    let mut resource = web::resource(path).route(web::method(Method::OPTIONS).to(
        move |request: HttpRequest, settings: web::Data<HttpSettings>| {
            let options = options.clone();
            async move {
                let mut response = HttpResponse::NoContent().finish();
                if let Ok(methods) = HeaderValue::from_str(&options) {
                    cors::tell_preflight(&settings.origins, &request, &methods, response.headers_mut());
                    response.headers_mut().insert(ALLOW, methods);
                }
                response
            }
        },
    ));
    for Mounted { methods: _, route } in mounted {
        resource = resource.route(route);
    }
    resource.default_service(web::to(move || {
        let mut response = HttpResponse::from_error(ApiError::MethodNotAllowed);
        if let Ok(allow) = allow.parse() {
            response.headers_mut().insert(ALLOW, allow);
        }
        async move { response }
    }))
}

/// Answers whatever no route leads to.
pub(super) async fn unknown_path() -> Result<HttpResponse, ApiError> {
    Err(ApiError::unknown_path())
}

/// Checks a request, unless its handler is open to anyone, then runs the handler within the deadline; turns a panic into
/// a 500.
async fn admit(
    least_role: Option<Role>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    // The route has been found: from here on a second handle on the request is harmless.
    let http_request = request.request().clone();
    let outcome = match (
        request.app_data::<web::Data<Services>>().cloned(),
        request.app_data::<web::Data<HttpSettings>>().cloned(),
    ) {
        (Some(services), Some(settings)) => {
            let work = async {
                if let Some(least_role) = least_role {
                    check(&services, &settings, least_role, &http_request).await?;
                }
                next.call(request).await.map(ServiceResponse::map_into_boxed_body)
            };
            match tokio::time::timeout(settings.request_timeout, AssertUnwindSafe(work).catch_unwind()).await {
                Ok(Ok(outcome)) => outcome,
                // The panic hook has logged where.
                Ok(Err(_)) => Err(ApiError::Internal("the handler panicked".into()).into()),
                Err(_) => Err(ApiError::Unavailable("the request's deadline passed".into()).into()),
            }
        }
        _ => Err(ApiError::Internal("the application was built without its services".into()).into()),
    };
    Ok(outcome.unwrap_or_else(|error| ServiceResponse::from_err(error, http_request)))
}

async fn check(
    services: &Services,
    settings: &HttpSettings,
    least_role: Role,
    request: &HttpRequest,
) -> Result<(), ApiError> {
    if !settings.origins.admit(request.method(), request.uri(), request.headers()) {
        return Err(ApiError::Forbidden);
    }
    let cookie = cookie_header(request.headers());
    let actor = match services.sessions.find_actor(&cookie).instrument(info_span!("session")).await? {
        Ok(actor) => actor,
        Err(reason) => {
            services.metrics.session_refused(reason);
            rate_limit::count_address(services, settings, request).await?;
            return Err(ApiError::Unauthenticated);
        }
    };
    let role = actor.role;
    rate_limit::count_user(services, settings, request, &actor).await?;
    // Also of those who are refused: the log tells their role.
    request.extensions_mut().insert(actor);
    if role < least_role { Err(ApiError::Forbidden) } else { Ok(()) }
}

/// The `Cookie` headers as one: HTTP/2 splits them.
fn cookie_header(headers: &HeaderMap) -> Vec<u8> {
    headers.get_all(COOKIE).map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..])
}

/// Whoever [`admit`] let in.
pub(super) struct Caller(pub(super) Actor);

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let actor = request.extensions().get::<Actor>().cloned();
        futures_util::future::ready(actor.map(Self).ok_or(ApiError::Unauthenticated))
    }
}

/// The use cases, for handlers.
pub(super) type Use = web::Data<Services>;

/// A handler's answer.
pub(super) type Answer = Result<HttpResponse, ApiError>;
