//! Builds one route from a handler: its method and path and its description come from the handler's attribute
//! `utoipa::path`; the route table adds the minimum role.

use std::rc::Rc;

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route,
    http::{
        Method,
        header::{ALLOW, HeaderValue},
    },
    middleware::from_fn,
    web,
};
use crm_domain::role::Role;
use utoipa::{
    __dev::{SchemaReferences, Tags},
    openapi::HttpMethod,
};

use crate::{
    config::http::HttpSettings,
    http::{
        middleware::{authorize::authorize, cors, timeout::limit_time},
        openapi::document::OperationSpec,
        response::error::ApiError,
    },
};

/// A handler with its route and its description, both taken from its attribute `utoipa::path`.
pub(super) struct Endpoint {
    /// Its entry in the OpenAPI document.
    pub(super) operation: OperationSpec,
    pub(super) route: MountedRoute,
}

/// Methods, and the route that answers them.
pub(super) struct MountedRoute {
    methods: &'static [Method],
    route: Route,
}

/// An endpoint of that handler: `endpoint!(minimum_role, module::handler)`, or `endpoint!(open, module::handler)` for
/// anyone, without any check.
macro_rules! endpoint {
    (open, $module:ident :: $handler:ident) => { endpoint!(@ None, $module::$handler) };
    (@ $minimum_role:expr, $module:ident :: $handler:ident) => {
        ::pastey::paste! {
            $crate::http::routes::route::describe_endpoint::<$module::[<__path_ $handler>], _, _>($minimum_role, $module::$handler)
        }
    };
    ($minimum_role:expr, $module:ident :: $handler:ident) => { endpoint!(@ Some($minimum_role), $module::$handler) };
}
pub(in crate::http) use endpoint;

/// For callers of at least that role; `None`: for anyone, without any check.
pub(super) fn describe_endpoint<P, F, Args>(minimum_role: Option<Role>, handler: F) -> Endpoint
where
    P: utoipa::Path + SchemaReferences + for<'t> Tags<'t>,
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let operation = operation_of::<P>(minimum_role);
    let methods = methods_of(&operation);
    Endpoint { operation, route: MountedRoute { methods, route: route_of(methods, handler, minimum_role) } }
}

/// A page outside the API: open to everyone, and not in the OpenAPI document.
pub(super) fn page<F, Args>(handler: F) -> MountedRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    MountedRoute { methods: READS, route: route_of(READS, handler, None) }
}

/// # Panics
///
/// When the attribute names no method, which it does not compile without.
fn operation_of<P: utoipa::Path + SchemaReferences + for<'t> Tags<'t>>(minimum_role: Option<Role>) -> OperationSpec {
    let mut schemas = Vec::new();
    P::schemas(&mut schemas);
    let method = P::methods().pop().expect("a handler's attribute names a method");
    let mut operation = P::operation();
    operation.tags = Some(P::tags().into_iter().map(str::to_owned).collect());
    OperationSpec { path: P::path(), method, operation, schemas, minimum_role }
}

/// `HEAD` is answered like `GET` without the body.
const READS: &[Method] = &[Method::GET, Method::HEAD];

fn methods_of(operation: &OperationSpec) -> &'static [Method] {
    match operation.method {
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

fn route_of<F, Args>(methods: &'static [Method], handler: F, minimum_role: Option<Role>) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Route::new()
        .guard(actix_web::guard::fn_guard(move |context| methods.contains(&context.head().method)))
        .to(handler)
        .wrap(from_fn(move |request, next| authorize(minimum_role, request, next)))
        .wrap(from_fn(limit_time))
}

/// A resource: a path with its routes. `OPTIONS` is answered 204, any other method 405 with `Allow`.
pub(super) fn resource(path: &str, route: Vec<MountedRoute>) -> Resource {
    let methods = route.iter().flat_map(|route| route.methods).chain(&[Method::OPTIONS]);
    let allow: Rc<str> = methods.map(Method::as_str).collect::<Vec<_>>().join(", ").into();

    let options = allow.clone();
    let mut resource = web::resource(path).route(web::method(Method::OPTIONS).to(
        move |request: HttpRequest, settings: web::Data<HttpSettings>| {
            let options = options.clone();
            async move {
                let mut response = HttpResponse::NoContent().finish();
                if let Ok(methods) = HeaderValue::from_str(&options) {
                    cors::set_preflight_headers(&settings.origins, &request, &methods, response.headers_mut());
                    response.headers_mut().insert(ALLOW, methods);
                }
                response
            }
        },
    ));
    for MountedRoute { methods: _, route } in route {
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
