//! The routes: method and path (in the handler's attribute), minimum role, handler.

pub(crate) mod route;

use std::collections::BTreeMap;

use actix_web::{
    App,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use crm_domain::role::Role;

use self::route::{Endpoint, MountedRoute, endpoint, page, resource};
use super::{
    handlers::{
        customers, directory,
        docs::{self, ApiDocument},
        health, history, notes, tags, timeline,
    },
    middleware::request_context::{self, RequestContext},
    openapi::document::document,
    response::error::ApiError,
};
use crate::{config::http::HttpSettings, services::ServicesData, shutdown::Lifecycle};

/// Every endpoint: its minimum role and its handler, whose attribute states the path.
fn endpoints() -> Vec<Endpoint> {
    let front_desk = Role::Receptionist;
    let managers = Role::Manager;
    vec![
        endpoint!(front_desk, directory::list_customers),
        endpoint!(front_desk, customers::find_customer),
        endpoint!(managers, customers::override_gates),
        endpoint!(managers, directory::export_customers),
        endpoint!(front_desk, timeline::list_timeline),
        endpoint!(front_desk, history::find_overview),
        endpoint!(front_desk, history::list_bookings),
        endpoint!(front_desk, history::list_invoices),
        endpoint!(front_desk, history::list_memberships),
        endpoint!(front_desk, history::list_gems),
        endpoint!(front_desk, notes::list_notes),
        endpoint!(front_desk, notes::write_note),
        endpoint!(front_desk, notes::update_note),
        endpoint!(front_desk, notes::delete_note),
        endpoint!(managers, notes::list_revisions),
        endpoint!(front_desk, tags::assign_tag),
        endpoint!(front_desk, tags::unassign_tag),
        endpoint!(front_desk, tags::list_tags),
        endpoint!(managers, tags::create_tag),
        endpoint!(managers, tags::update_tag),
        endpoint!(managers, tags::delete_tag),
        endpoint!(managers, tags::merge_tag),
        endpoint!(front_desk, tags::assign_many),
        endpoint!(open, health::health),
        endpoint!(open, health::livez),
        endpoint!(open, health::readyz),
    ]
}

/// Mounts every endpoint at its path, and, if configured, the pages that describe them.
fn mount(config: &mut ServiceConfig, docs: bool) {
    let mut by_path = BTreeMap::<String, Vec<MountedRoute>>::new();
    for Endpoint { operation, route } in endpoints() {
        by_path.entry(operation.path).or_default().push(route);
    }
    for (path, routes) in by_path {
        config.service(resource(&path, routes));
    }
    if docs {
        config
            .app_data(web::Data::new(ApiDocument(openapi().into())))
            .service(resource("/api/openapi.json", vec![page(docs::document)]))
            .service(resource("/api/docs", vec![page(docs::page)]))
            .service(resource("/api/docs/{file}", vec![page(docs::file)]));
    }
}

/// The description of the API: OpenAPI 3.1 in JSON, with a line break at its end.
#[must_use]
pub fn openapi() -> String {
    let document = document(endpoints().into_iter().map(|endpoint| endpoint.operation));
    // Its keys are text and its numbers finite, so there is nothing to fail.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// The application: what each worker runs, and what tests run in process.
pub fn app(
    services: ServicesData,
    settings: web::Data<HttpSettings>,
    lifecycle: web::Data<Lifecycle>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let docs = settings.docs;
    let context =
        RequestContext { services: services.clone(), settings: settings.clone(), lifecycle: lifecycle.clone() };
    App::new()
        .app_data(services)
        .app_data(settings)
        .app_data(lifecycle)
        .configure(move |config| mount(config, docs))
        .default_service(web::to(unknown_path))
        .wrap(from_fn(move |request, next| request_context::wrap(context.clone(), request, next)))
}

/// Answers a request that no route leads to.
async fn unknown_path() -> Result<actix_web::HttpResponse, ApiError> {
    Err(ApiError::unknown_path())
}
