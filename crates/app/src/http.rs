//! HTTP: the routes, and the server around them.
//!
//! Where a handler is mounted stands in its own attribute, which the API's description is made of too.
//!
//! A request passes through `envelope` (request id, log line, headers, errors as the contract shapes them) to its
//! `endpoint` (the checks that come before any input is read), and only then to its handler. A handler parses,
//! calls one use case, renders.

pub mod client_address;
mod connection;
mod cors;
pub mod cross_site;
mod customers;
mod docs;
mod endpoint;
mod envelope;
mod error;
mod extract;
mod field;
pub mod health;
pub mod metrics_server;
mod notes;
mod openapi;
pub mod rate_limit;
mod render;
pub mod server;
mod tags;
pub mod tls;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use actix_web::{
    App,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use crm_domain::role::Role;

use self::{
    client_address::TrustedProxies,
    cross_site::Origins,
    endpoint::{Endpoint, Mounted, endpoint, resource},
    envelope::Surroundings,
    rate_limit::Limits,
    tls::Certificate,
};
use crate::{lifecycle::Lifecycle, wire::Services};

/// How the service listens and how long it takes its time.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where to listen.
    pub bind_address: SocketAddr,
    /// What is shown to clients of HTTPS; `None`: plain HTTP.
    pub tls: Option<Certificate>,
    /// The longest a TLS handshake may take.
    pub tls_handshake_timeout: Duration,
    /// Who may say whom they forward for.
    pub trusted_proxies: TrustedProxies,
    /// Whose pages may read and write.
    pub origins: Origins,
    /// How many threads answer requests.
    pub workers: usize,
    /// The most client connections at once.
    pub max_connections: usize,
    /// The most client connections at once of one address that is no trusted proxy.
    pub max_connections_per_address: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// The longest a client may take to send a request's header.
    pub header_timeout: Duration,
    /// The longest a client may take to send a request's body.
    pub body_timeout: Duration,
    /// The longest a client may read nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// The longest a request may take.
    pub request_timeout: Duration,
    /// The longest that requests in flight are waited for at shutdown.
    pub shutdown_timeout: Duration,
    /// How often somebody may call.
    pub limits: Limits,
    /// Whether the API describes itself to whoever asks.
    pub docs: bool,
}

/// Every endpoint: its least role and its handler, whose attribute says where it is mounted.
fn endpoints() -> Vec<Endpoint> {
    let front_desk = Role::Receptionist;
    let managers = Role::Manager;
    vec![
        endpoint!(front_desk, customers::list_customers),
        endpoint!(front_desk, customers::find_customer),
        endpoint!(managers, customers::override_gates),
        endpoint!(front_desk, notes::list_notes),
        endpoint!(front_desk, notes::write_note),
        endpoint!(front_desk, tags::assign_tag),
        endpoint!(front_desk, tags::unassign_tag),
        endpoint!(front_desk, tags::list_tags),
        endpoint!(managers, tags::create_tag),
        endpoint!(open, health::health),
        endpoint!(open, health::livez),
        endpoint!(open, health::readyz),
    ]
}

/// Mounts every endpoint at its path, and, if wanted, the pages that describe them.
fn routes(config: &mut ServiceConfig, docs: bool) {
    let mut by_path = BTreeMap::<String, Vec<Mounted>>::new();
    for Endpoint { described, mounted } in endpoints() {
        by_path.entry(described.path).or_default().push(mounted);
    }
    for (path, mounted) in by_path {
        config.service(resource(&path, mounted));
    }
    if docs {
        docs::mount(config);
    }
}

/// The API's description: OpenAPI 3.1 in JSON, with a line break at its end.
#[must_use]
pub fn openapi() -> String {
    let document = openapi::document(endpoints().into_iter().map(|endpoint| endpoint.described));
    // Its keys are text and its numbers finite, so there is nothing to fail.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// The application: what each worker runs, and what tests run in process.
pub fn app(
    services: web::Data<Services>,
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
    let around = Surroundings { services: services.clone(), settings: settings.clone(), lifecycle: lifecycle.clone() };
    App::new()
        .app_data(services)
        .app_data(settings)
        .app_data(lifecycle)
        .configure(move |config| routes(config, docs))
        .default_service(web::to(endpoint::unknown_path))
        .wrap(from_fn(move |request, next| envelope::envelope(around.clone(), request, next)))
}
