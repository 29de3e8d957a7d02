//! The server for operators: metrics and health on an address that the public cannot reach.
//!
//! It has its own connections, so health checks get an answer also when clients hold all connections of the API.

use std::{net::SocketAddr, sync::Arc};

use actix_web::{App, HttpResponse, HttpServer, http::header::CONTENT_TYPE, web};

use super::{Listening, listen};
use crate::{config::http::HttpSettings, http::handlers::health, services::ServicesData, shutdown::Lifecycle};

/// Binds the address and starts to answer `/metrics`, `/livez` and `/readyz`.
pub fn start(
    services: ServicesData,
    settings: &HttpSettings,
    lifecycle: Arc<Lifecycle>,
    address: SocketAddr,
) -> std::io::Result<Listening> {
    let listener = listen(address)?;
    let address = listener.local_addr()?;
    let settings = web::Data::new(settings.clone());
    let lifecycle = web::Data::from(lifecycle);
    let app = move || {
        App::new()
            .app_data(services.clone())
            .app_data(settings.clone())
            .app_data(lifecycle.clone())
            .route("/metrics", web::get().to(metrics))
            .route("/livez", web::get().to(health::livez))
            .route("/readyz", web::get().to(health::readyz))
    };
    let running = HttpServer::new(app)
        .workers(1)
        .disable_signals()
        // Nobody's work is lost when a scrape is.
        .shutdown_timeout(0)
        .listen(listener)?
        .run();
    Ok(Listening { address, running, certificate: None })
}

async fn metrics(services: ServicesData) -> HttpResponse {
    let format = "text/plain; version=0.0.4; charset=utf-8";
    HttpResponse::Ok().insert_header((CONTENT_TYPE, format)).body(services.metrics.exposition())
}
