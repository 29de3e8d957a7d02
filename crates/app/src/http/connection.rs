//! Connections that nothing is asked on for too long.
//!
//! actix bounds the first header of a connection and silence after an answer. What it does not bound is a client that
//! goes on sending just enough: the beginning of another header, or the answers to HTTP/2's pings. So every connection
//! is watched, and closed when no request was in flight on it for its time.

use std::{
    any::Any,
    net::{Shutdown, TcpStream},
    os::fd::AsFd as _,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{dev::Extensions, rt::net::TcpStream as AsyncTcpStream};

use crate::lifecycle::Lifecycle;

/// How often connections are looked at.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long a connection may idle while the server stops: HTTP/2 has no answer that says "close".
const IDLE_WHILE_CLOSING: Duration = Duration::from_secs(2);

/// The most requests in flight on one connection: HTTP/2 has them side by side, and actix sets it no limit.
const MOST_REQUESTS: usize = 100;

/// One connection.
pub(super) struct Watched {
    /// A second handle, to close the connection by.
    socket: TcpStream,
    requests: Mutex<Requests>,
}

struct Requests {
    in_flight: usize,
    /// When the last one ended, or the connection began.
    idle_since: Instant,
}

impl Watched {
    fn requests(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins; the guard tells when it is over, however it ends. `None` when there are too many already.
    pub(super) fn begin_request(self: Arc<Self>) -> Option<InFlight> {
        let mut requests = self.requests();
        if requests.in_flight >= MOST_REQUESTS {
            return None;
        }
        requests.in_flight += 1;
        drop(requests);
        Some(InFlight(self))
    }

    fn has_idled(&self, limit: Duration) -> bool {
        let Requests { in_flight, idle_since } = &*self.requests();
        *in_flight == 0 && idle_since.elapsed() > limit
    }
}

/// A request in flight on a connection.
pub(super) struct InFlight(Arc<Watched>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.in_flight -= 1;
        requests.idle_since = Instant::now();
    }
}

/// Every connection of the server.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Vec<Weak<Watched>>>>);

impl Connections {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Watched>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a new connection; what is put beside it is found with its requests.
    pub(super) fn watch(&self, connection: &dyn Any, beside: &mut Extensions) {
        let plain = connection.downcast_ref::<AsyncTcpStream>();
        let socket = plain.or_else(|| Some(connection.downcast_ref::<TlsStream<AsyncTcpStream>>()?.get_ref().0));
        // Without a second handle (file descriptors have run out) the connection goes unwatched.
        let Some(Ok(socket)) = socket.map(|socket| socket.as_fd().try_clone_to_owned()) else { return };
        let requests = Mutex::new(Requests { in_flight: 0, idle_since: Instant::now() });
        let watched = Arc::new(Watched { socket: socket.into(), requests });
        self.all().push(Arc::downgrade(&watched));
        beside.insert(watched);
    }

    /// Closes what has idled for longer than `limit`, and forgets what is closed. Whoever serves it finds its end.
    pub(super) fn close_idle(&self, limit: Duration, lifecycle: &Lifecycle) {
        let limit = if lifecycle.is_closing() { limit.min(IDLE_WHILE_CLOSING) } else { limit };
        self.all().retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            if connection.has_idled(limit) {
                // It may be closed already.
                let _ = connection.socket.shutdown(Shutdown::Both);
            }
            true
        });
    }
}
