//! Process lifecycle: uptime, signals, and the state of a graceful shutdown.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::dev::ServerHandle;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::observability::logging;

/// The state that is shared by everything that behaves differently while the process stops.
#[derive(Debug)]
pub struct Lifecycle {
    started: Instant,
    draining: AtomicBool,
    closing: AtomicBool,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { started: Instant::now(), draining: AtomicBool::new(false), closing: AtomicBool::new(false) }
    }
}

impl Lifecycle {
    /// From now on the process is not ready for new requests, and its connections close after their answers.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on there are no new connections, and idle ones are closed.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::close`] was called.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// How long the process has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Tells systemd's `Type=notify`, if that started this process, so that `systemctl restart` waits until it serves.
pub(crate) fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// The signals that an operator sends.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.hang_up.recv() => SignalAction::Reload,
        }
    }

    /// Waits for a signal to stop.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != SignalAction::Stop {}
    }
}

#[derive(PartialEq, Eq)]
/// What a signal asks for.
enum SignalAction {
    Stop,
    Reload,
}

/// Handles signals until the server has stopped. SIGHUP calls `reload`. SIGTERM or SIGINT: the process is no longer ready;
/// after `delay` it takes no new connections and ends when everything in flight is answered, or at the deadline. A second one
/// ends the process at once.
pub(crate) async fn handle_signals(
    mut signals: Signals,
    server: ServerHandle,
    lifecycle: Arc<Lifecycle>,
    delay: Duration,
    reload: impl Fn(),
) {
    while signals.next().await == SignalAction::Reload {
        reload();
    }
    tracing::info!("stopping: answering what is in flight");
    lifecycle.drain();
    tell_systemd(NotifyState::Stopping);
    let drained = async {
        // A proxy sees that this instance is not ready, and sends requests elsewhere.
        tokio::time::sleep_until(tokio::time::Instant::now() + delay).await;
        lifecycle.close();
        server.stop(true).await;
    };
    tokio::select! {
        () = drained => (),
        () = signals.stop() => {
            tracing::warn!("stopping at once");
            logging::write_last_lines();
            std::process::exit(130);
        }
    }
}
