//! HTTP: the routes, and the server around them.
//!
//! A request passes through `envelope` (request id, log line, headers, errors as the contract shapes them) to its
//! `endpoint` (the checks that come before any input is read), and only then to its handler. A handler parses,
//! calls one use case, renders.

pub mod cross_site;
mod customers;
mod endpoint;
mod envelope;
mod error;
mod extract;
mod field;
mod notes;
mod render;
mod tags;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    body::MessageBody,
    dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use crm_domain::role::Role;

use self::{
    cross_site::Origins,
    endpoint::{delete, get, patch, post, resource},
};
use crate::wire::Services;

/// How the service listens and how long it takes its time.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where to listen.
    pub bind_address: SocketAddr,
    /// How many threads answer requests.
    pub workers: usize,
    /// The longest a request may take.
    pub request_timeout: Duration,
    /// The longest that requests in flight are waited for at shutdown.
    pub shutdown_timeout: Duration,
    /// Whose pages may write.
    pub origins: Origins,
}

/// Every route: path, method, least role, handler.
fn routes(config: &mut ServiceConfig) {
    let front_desk = Role::Receptionist;
    let managers = Role::Manager;

    config
        .service(resource("/api/customers", [get(front_desk, customers::list_customers)]))
        .service(resource(
            "/api/customers/{id}",
            [get(front_desk, customers::find_customer), patch(managers, customers::override_gates)],
        ))
        .service(resource(
            "/api/customers/{id}/notes",
            [get(front_desk, notes::list_notes), post(front_desk, notes::write_note)],
        ))
        .service(resource("/api/customers/{id}/tags", [post(front_desk, tags::assign_tag)]))
        .service(resource("/api/customers/{id}/tags/{tagId}", [delete(front_desk, tags::unassign_tag)]))
        .service(resource("/api/tags", [get(front_desk, tags::list_tags), post(managers, tags::create_tag)]));
}

/// The application: what each worker runs, and what tests run in process.
pub fn app(
    services: web::Data<Services>,
    settings: web::Data<HttpSettings>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(services)
        .app_data(settings)
        .configure(routes)
        .default_service(web::to(endpoint::unknown_path))
        .wrap(from_fn(envelope::envelope))
}

/// A server that listens.
pub struct Listening {
    /// Where: the port is known even when the setting said 0.
    pub address: SocketAddr,
    /// Ends when the server has stopped.
    pub running: Server,
}

/// Binds the address and starts to answer.
pub fn server(services: Services, settings: &HttpSettings) -> io::Result<Listening> {
    let listener = TcpListener::bind(settings.bind_address)?;
    let address = listener.local_addr()?;
    let services = web::Data::new(services);
    let data = web::Data::new(settings.clone());
    let running = HttpServer::new(move || app(services.clone(), data.clone()))
        .workers(settings.workers)
        .shutdown_timeout(settings.shutdown_timeout.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
        .listen(listener)?
        .run();
    Ok(Listening { address, running })
}
