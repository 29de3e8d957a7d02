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
mod notes;
mod openapi;
pub mod rate_limit;
mod render;
mod tags;
pub mod tls;

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Weak},
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
    client_address::TrustedProxies,
    connection::Connections,
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
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// The longest a client may take to send a request's header.
    pub header_timeout: Duration,
    /// The longest a client may take to send a request's body.
    pub body_timeout: Duration,
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

/// A server that listens.
pub struct Listening {
    /// Where: the port is known even when the setting said 0.
    pub address: SocketAddr,
    /// Ends when the server has stopped.
    pub running: Server,
}

/// Binds the address and starts to answer. Signals are the caller's to handle.
pub fn server(services: Services, settings: &HttpSettings, lifecycle: Arc<Lifecycle>) -> io::Result<Listening> {
    let listener = TcpListener::bind(settings.bind_address)?;
    let address = listener.local_addr()?;
    let services = web::Data::new(services);
    let data = web::Data::new(settings.clone());
    let connections = Connections::default();
    actix_web::rt::spawn(close_idle(connections.clone(), settings.clone(), Arc::downgrade(&lifecycle)));
    let lifecycle = web::Data::from(lifecycle);
    let server = HttpServer::new(move || app(services.clone(), data.clone(), lifecycle.clone()))
        .on_connect(move |connection, beside| connections.watch(connection, beside))
        .workers(settings.workers)
        // actix counts for each worker.
        .max_connections(settings.max_connections.div_ceil(settings.workers))
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.header_timeout)
        .tls_handshake_timeout(settings.tls_handshake_timeout)
        .shutdown_timeout(settings.shutdown_timeout.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
        .disable_signals();
    let running = match &settings.tls {
        Some(certificate) => server.listen_rustls_0_23(listener, certificate.server_config())?,
        None => server.listen(listener)?,
    }
    .run();
    Ok(Listening { address, running })
}

/// Closes idle connections as long as there is a server.
async fn close_idle(connections: Connections, settings: HttpSettings, lifecycle: Weak<Lifecycle>) {
    // A header may begin when a connection has idled for its whole time.
    let limit = settings.keep_alive + settings.header_timeout;
    let mut look = tokio::time::interval(connection::LOOK_INTERVAL);
    loop {
        look.tick().await;
        let Some(lifecycle) = lifecycle.upgrade() else { return };
        connections.close_idle(limit, &lifecycle);
    }
}
