//! The connections of the server: their number by client address, and the state of each.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use crate::observability::metrics::{EndReason, Metrics};

use super::{
    chunked::{ChunkedFraming, Progress},
    delivery::Delivery,
};

/// How long a connection may idle while the server stops.
const IDLE_WHILE_CLOSING: Duration = Duration::from_secs(2);

/// How many connections there may be, and how long they may keep the server waiting.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct ConnectionLimits {
    /// The most connections at once.
    pub(in crate::http) total: usize,
    /// The most connections of one client address that is no trusted proxy.
    pub(in crate::http) per_address: usize,
    /// How long a connection may have no request.
    pub(in crate::http) idle: Duration,
    /// How long a client may take to send a header.
    pub(in crate::http) header: Duration,
}

/// What the server may read from a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readable {
    /// The next request's header.
    Header,
    /// The rest of a body of known length, in bytes.
    Body(u64),
    /// The rest of a chunked body.
    Chunks,
    /// Nothing before the answer is sent.
    Nothing,
    /// Nothing ever again: the last answer is sent.
    End,
}

/// The part of a request's body that has not been read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum UnreadBody {
    /// That many bytes, perhaps none.
    Length(u64),
    /// Chunks, as far as their framing has been read.
    Chunked,
}

struct State {
    has_request: bool,
    body: UnreadBody,
    framing: ChunkedFraming,
    framing_is_broken: bool,
    /// Whether bytes wait for the client to read.
    write_is_blocked: bool,
    /// Since when there has been no request.
    idle_since: Instant,
    /// Since when a header has been incomplete.
    header_since: Option<Instant>,
    /// Why the connection ends, as far as that is known.
    end: Option<EndReason>,
    must_close: bool,
    /// An answer that is in the write buffer and not flushed yet.
    unflushed: Option<Box<dyn Delivery>>,
    /// Wakes the task that serves the connection.
    waker: Option<Waker>,
}

/// One connection.
pub(in crate::http) struct TrackedConnection {
    /// The address whose connection limit this connection counts towards; `None` for a trusted proxy.
    limited_address: Option<IpAddr>,
    state: Mutex<State>,
}

impl TrackedConnection {
    fn new(limited_address: Option<IpAddr>) -> Self {
        let state = State {
            has_request: false,
            body: UnreadBody::Length(0),
            framing: ChunkedFraming::default(),
            framing_is_broken: false,
            write_is_blocked: false,
            idle_since: Instant::now(),
            header_since: None,
            end: None,
            must_close: false,
            unflushed: None,
            waker: None,
        };
        Self { limited_address, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and a state is right after each step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the begin of a request whose body has not been read. The guard marks the end of its answer.
    pub(in crate::http) fn begin_request(self: Arc<Self>, body: UnreadBody) -> RequestInFlight {
        let mut state = self.state();
        state.has_request = true;
        state.body = body;
        state.framing = ChunkedFraming::default();
        state.header_since = None;
        drop(state);
        RequestInFlight(self)
    }

    /// Whether the framing of the request's body is broken, so that no more of it can be read.
    pub(in crate::http) fn has_broken_framing(&self) -> bool {
        self.state().framing_is_broken
    }

    /// Why the connection ended, as far as that is known.
    pub(in crate::http) fn end_reason(&self) -> Option<EndReason> {
        self.state().end
    }

    /// Whether a client sent a part of a header and no more.
    pub(in crate::http) fn has_incomplete_header(&self) -> bool {
        self.state().header_since.is_some()
    }

    /// Remembers who is to be woken, and tells whether the connection has to be closed.
    pub(super) fn register(&self, waker: &Waker) -> bool {
        let mut state = self.state();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        state.must_close
    }

    pub(super) fn readable(&self) -> Readable {
        let state = self.state();
        match state.body {
            _ if state.framing_is_broken && state.has_request => Readable::Nothing,
            _ if state.framing_is_broken => Readable::End,
            UnreadBody::Chunked => Readable::Chunks,
            UnreadBody::Length(remaining) if remaining > 0 => Readable::Body(remaining),
            UnreadBody::Length(_) if state.has_request || state.write_is_blocked => Readable::Nothing,
            UnreadBody::Length(_) => Readable::Header,
        }
    }

    /// Notes that a part of a header was handed over.
    pub(super) fn header_received(&self) {
        self.state().header_since.get_or_insert_with(Instant::now);
    }

    /// Notes that `count` bytes of a body of known length were handed over.
    pub(super) fn body_received(&self, count: u64) {
        let mut state = self.state();
        if let UnreadBody::Length(remaining) = &mut state.body {
            *remaining = remaining.saturating_sub(count);
        }
    }

    /// Goes on with the framing of a chunked body: how many of `bytes` belong to it, `None` when it is broken.
    pub(super) fn chunks_received(&self, bytes: &[u8]) -> Option<usize> {
        let mut state = self.state();
        match state.framing.advance(bytes) {
            Progress::Incomplete => Some(bytes.len()),
            Progress::Complete(end) => {
                state.body = UnreadBody::Length(0);
                Some(end)
            }
            Progress::Broken => {
                state.framing_is_broken = true;
                None
            }
        }
    }

    /// Notes whether the client's side is full. Reading goes on once it is not.
    pub(super) fn set_write_blocked(&self, is_blocked: bool) {
        let mut state = self.state();
        if state.write_is_blocked == is_blocked {
            return;
        }
        state.write_is_blocked = is_blocked;
        if !is_blocked {
            state.idle_since = Instant::now();
            wake(&mut state);
        }
    }

    /// Notes that a whole answer is in the connection's write buffer.
    pub(super) fn answer_written(&self, delivery: Box<dyn Delivery>) {
        self.state().unflushed = Some(delivery);
    }

    /// The answer that was in the write buffer. The caller says what became of it.
    pub(super) fn take_unflushed(&self) -> Option<Box<dyn Delivery>> {
        self.state().unflushed.take()
    }

    /// Notes why the connection ends. The first reason counts.
    pub(super) fn record_end_reason(&self, reason: EndReason) {
        self.state().end.get_or_insert(reason);
    }

    /// Has the connection closed by the task that serves it.
    fn close(&self, reason: EndReason) {
        let mut state = self.state();
        state.end.get_or_insert(reason);
        state.must_close = true;
        wake(&mut state);
    }

    /// Since when the connection has been of no use, if it is of none: no request, nothing to write.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        let is_idle = !state.has_request && !state.write_is_blocked && !state.must_close;
        is_idle.then_some(state.idle_since)
    }

    /// Why the connection has to be closed now, if it has to.
    fn overdue(&self, idle: Duration, header: Duration) -> Option<EndReason> {
        let since = self.idle_since()?;
        if self.state().header_since.is_some_and(|since| since.elapsed() > header) {
            return Some(EndReason::HeaderTimeout);
        }
        (since.elapsed() > idle).then_some(EndReason::Idle)
    }
}

fn wake(state: &mut State) {
    if let Some(waker) = state.waker.take() {
        waker.wake();
    }
}

/// A request whose answer is not sent yet.
pub(in crate::http) struct RequestInFlight(Arc<TrackedConnection>);

impl RequestInFlight {
    /// The request's connection.
    pub(in crate::http) fn connection(&self) -> &Arc<TrackedConnection> {
        &self.0
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.has_request = false;
        state.idle_since = Instant::now();
        wake(&mut state);
    }
}

/// All connections of the server.
#[derive(Clone)]
pub(in crate::http) struct ConnectionTracker(Arc<Shared>);

struct Shared {
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    next_id: AtomicU64,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    by_id: HashMap<u64, Arc<TrackedConnection>>,
    count_by_address: HashMap<IpAddr, usize>,
}

impl ConnectionTracker {
    pub(in crate::http) fn new(limits: ConnectionLimits, metrics: Arc<Metrics>) -> Self {
        let shared = Shared { limits, metrics, next_id: AtomicU64::new(0), connections: Mutex::default() };
        Self(Arc::new(shared))
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tracks a new connection that counts for that address (`None`: for nobody). `None` when the address has its share
    /// of connections and all of them are in use: then the new one has to be closed.
    ///
    /// When the address has its share already, its connection that has idled longest is closed. When no more connections
    /// can be accepted after this one, the connection of any address that has idled longest is closed, so that there is
    /// always room for one more, unless all are in use.
    pub(in crate::http) fn track(&self, limited_address: Option<IpAddr>) -> Option<ConnectionGuard> {
        let ConnectionLimits { total, per_address, .. } = self.0.limits;
        let mut connections = self.connections();
        if let Some(address) = limited_address
            && connections.count_by_address.get(&address).is_some_and(|count| *count >= per_address)
            && !connections.close_longest_idle(|connection| connection.limited_address == Some(address))
        {
            self.0.metrics.connection_refused();
            return None;
        }
        if connections.by_id.len() + 1 >= total {
            connections.close_longest_idle(|_| true);
        }
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(TrackedConnection::new(limited_address));
        connections.by_id.insert(id, connection.clone());
        if let Some(address) = limited_address {
            *connections.count_by_address.entry(address).or_default() += 1;
        }
        self.0.metrics.set_connections(connections.by_id.len());
        drop(connections);
        Some(ConnectionGuard { tracker: self.clone(), id, connection })
    }

    /// Closes the connections that have kept the server waiting for too long. While the server stops, idle connections
    /// are closed after two seconds.
    pub(in crate::http) fn close_overdue(&self, is_closing: bool) {
        let ConnectionLimits { idle, header, .. } = self.0.limits;
        let idle = if is_closing { idle.min(IDLE_WHILE_CLOSING) } else { idle };
        for connection in self.connections().by_id.values() {
            if let Some(reason) = connection.overdue(idle, header) {
                connection.close(reason);
            }
        }
    }
}

impl Connections {
    /// Closes the connection that has idled longest among those that `may_close` names; whether there was one.
    fn close_longest_idle(&self, may_close: impl Fn(&TrackedConnection) -> bool) -> bool {
        let candidates = self.by_id.values().filter(|connection| may_close(connection));
        let idle = candidates.filter_map(|connection| Some((connection.idle_since()?, connection)));
        let Some((_, connection)) = idle.min_by_key(|(since, _)| *since) else { return false };
        connection.close(EndReason::Evicted);
        true
    }
}

/// A connection's place among the tracked ones, for as long as it is open.
pub(in crate::http) struct ConnectionGuard {
    tracker: ConnectionTracker,
    id: u64,
    connection: Arc<TrackedConnection>,
}

impl ConnectionGuard {
    pub(in crate::http) fn connection(&self) -> &Arc<TrackedConnection> {
        &self.connection
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut connections = self.tracker.connections();
        connections.by_id.remove(&self.id);
        if let Some(address) = self.connection.limited_address
            && let Some(count) = connections.count_by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                connections.count_by_address.remove(&address);
            }
        }
        self.tracker.0.metrics.set_connections(connections.by_id.len());
    }
}
