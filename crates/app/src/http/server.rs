//! The server: binds the listener, accepts connections, speaks TLS, and serves HTTP/1.1 on each connection.
//!
//! HTTP/1.1 alone: actix-http bounds neither the streams nor the header list of an HTTP/2 connection. A proxy in front
//! speaks HTTP/2 to browsers (docs/OPERATIONS.md, "HTTPS").

pub mod metrics_server;
pub mod tls;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Weak},
    time::Duration,
};

use actix_http::{HttpService, error::DispatchError};
use actix_server::ServerBuilder;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config};
use actix_web::{
    dev::{AppConfig, Server, Service as _},
    rt::net::TcpStream,
    web,
};
use tokio::{net::TcpSocket, time::timeout};
use tokio_rustls::TlsAcceptor;

use self::tls::CertificateInForce;
use super::{
    connection::{ClientSocket, ClientStream, ConnectionLimits, ConnectionTracker, TrackedConnection},
    request::client_address::network_of,
    routes::app,
};
use crate::{
    config::http::HttpSettings,
    observability::metrics::{EndReason, Metrics},
    services::ServicesData,
    shutdown::Lifecycle,
};

/// How many connections may wait to be accepted. The system's own limit (`net.core.somaxconn`) bounds it too.
const BACKLOG: u32 = 4096;

/// How many bytes the kernel keeps for each direction of a connection; Linux doubles it for its own book-keeping.
const SOCKET_BUFFER: u32 = 128 * 1024;

/// How often connections are checked for those that keep the server waiting.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// actix-http counts its timeouts from a clock that it reads every half second.
const CLOCK_LAG: Duration = Duration::from_millis(500);

/// How long a client is given to close its side after the last answer of a connection.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that listens.
pub struct Listening {
    /// Where: the port is known even when the setting said 0.
    pub address: SocketAddr,
    /// Ends when the server has stopped.
    pub running: Server,
    /// The certificate in force; `None`: plain HTTP.
    pub certificate: Option<CertificateInForce>,
}

/// Binds a listener with room for many connections that wait to be accepted. Needs a tokio runtime.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit these. Left to itself, the kernel keeps megabytes for a client that does not read, or whose
    // requests are not read, and a container's memory limit counts them.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Binds the address and starts to answer. The caller handles signals.
pub fn start(services: ServicesData, settings: &HttpSettings, lifecycle: Arc<Lifecycle>) -> io::Result<Listening> {
    let listener = listen(settings.bind_address)?;
    let address = listener.local_addr()?;
    let limits = ConnectionLimits {
        total: settings.max_connections,
        per_address: settings.max_connections_per_address,
        idle: settings.keep_alive,
        // actix-http answers a first header that is late with 408; this is for those after it.
        header: settings.header_timeout + 2 * CLOCK_LAG,
    };
    let metrics = services.metrics.clone();
    let tracker = ConnectionTracker::new(limits, metrics.clone());
    actix_web::rt::spawn(close_overdue(tracker.clone(), Arc::downgrade(&lifecycle)));
    let certificate = settings.tls.clone().map(CertificateInForce::new);
    let acceptor = Arc::new(Acceptor {
        tracker,
        tls: certificate.as_ref().map(|certificate| TlsAcceptor::from(Arc::new(certificate.server_config()))),
        metrics: metrics.clone(),
        settings: settings.clone(),
    });
    let data = web::Data::new(settings.clone());
    let lifecycle = web::Data::from(lifecycle);
    let (keep_alive, header_timeout) = (settings.keep_alive, settings.header_timeout);

    let builder = ServerBuilder::default()
        .workers(settings.workers)
        // Each worker counts its own connections.
        .max_concurrent_connections(settings.max_connections.div_ceil(settings.workers))
        .shutdown_timeout(settings.shutdown_timeout.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
        .disable_signals();
    let shutdown = builder.graceful_shutdown_signal();
    let builder = builder.listen("crm", listener, move || {
        let (acceptor, metrics, shutdown) = (acceptor.clone(), metrics.clone(), shutdown.clone());
        let app = app(services.clone(), data.clone(), lifecycle.clone());
        let app = map_config(app.into_factory().map_err(|error| error.error_response()), |()| AppConfig::default());
        let http = HttpService::build()
            .keep_alive(keep_alive)
            .client_request_timeout(header_timeout + CLOCK_LAG)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .graceful_shutdown_signal(move || {
                let shutdown = shutdown.clone();
                async move { shutdown.notified().await }
            })
            .on_connect_ext(|stream: &ClientStream, data| {
                data.insert(stream.connection().clone());
            })
            .h1(app);
        fn_service(move |socket: TcpStream| {
            let acceptor = acceptor.clone();
            async move { acceptor.accept(socket).await }
        })
        .and_then(apply_fn_factory(http, move |(stream, peer): (ClientStream, _), http| {
            let (connection, metrics) = (stream.connection().clone(), metrics.clone());
            let serving = http.call((stream, peer));
            async move {
                let outcome = serving.await;
                report_end(&connection, &metrics, &outcome);
                outcome
            }
        }))
    })?;
    Ok(Listening { address, running: builder.run(), certificate })
}

/// Makes a [`ClientStream`] of an accepted socket.
struct Acceptor {
    tracker: ConnectionTracker,
    tls: Option<TlsAcceptor>,
    metrics: Arc<Metrics>,
    settings: HttpSettings,
}

impl Acceptor {
    async fn accept(&self, socket: TcpStream) -> Result<(ClientStream, Option<SocketAddr>), DispatchError> {
        let peer = socket.peer_addr().map_err(DispatchError::Io)?;
        // An answer goes out at once, also when the one before it has not been acknowledged yet.
        socket.set_nodelay(true).map_err(DispatchError::Io)?;
        let address = peer.ip().to_canonical();
        let counted_for = (!self.settings.trusted_proxies.contains(address)).then(|| network_of(address));
        let refused = || DispatchError::Io(io::ErrorKind::ConnectionRefused.into());
        let guard = self.tracker.track(counted_for).ok_or_else(refused)?;
        let socket = match &self.tls {
            None => ClientSocket::Plain(socket),
            Some(tls) => {
                let handshake = timeout(self.settings.tls_handshake_timeout, tls.accept(socket)).await;
                let socket = handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| {
                    self.metrics.request_unanswered(EndReason::TlsHandshake);
                    DispatchError::Io(error)
                })?;
                ClientSocket::Tls(Box::new(socket))
            }
        };
        Ok((ClientStream::new(socket, guard, self.settings.write_timeout), Some(peer)))
    }
}

/// Logs and counts a connection that ended before a request on it was complete.
fn report_end(connection: &TrackedConnection, metrics: &Metrics, outcome: &Result<(), DispatchError>) {
    let reason = match outcome {
        Err(DispatchError::Parse(_)) => EndReason::Malformed,
        _ if connection.has_incomplete_header() => connection.end_reason().unwrap_or(EndReason::HeaderTimeout),
        _ => return,
    };
    metrics.request_unanswered(reason);
    tracing::info!(reason = reason.as_str(), "a connection ended before its request was complete");
}

/// Closes the connections that keep the server waiting for too long, as long as there is a server.
async fn close_overdue(tracker: ConnectionTracker, lifecycle: Weak<Lifecycle>) {
    let mut check = tokio::time::interval(CHECK_INTERVAL);
    loop {
        check.tick().await;
        let Some(lifecycle) = lifecycle.upgrade() else { return };
        tracker.close_overdue(lifecycle.is_closing());
    }
}
