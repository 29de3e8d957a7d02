//! Metrics for Prometheus: OpenTelemetry's semantic names in Prometheus' spelling, and how they are served.
//!
//! Sources: OpenTelemetry's semantic conventions of HTTP metrics and database client metrics, and its rules for their
//! spelling in Prometheus (`http.server.request.duration` in seconds is `http_server_request_duration_seconds`). Labels
//! never hold what a client chose freely.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crm_domain::{
    health::{Connections, DirectoryModelState, DirectoryReadCounts, StoreHealth},
    rate_limit::RateLimits,
    session::NotSignedIn,
    store_error::StoreError,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, prometheus_text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use super::logging::{chain, dropped_lines};
use crate::build;

/// The boundaries that the semantic conventions give `http.server.request.duration`, in seconds.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// How often at most an outage of the rate limits' store is logged.
const OUTAGE_LOG_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(clippy::struct_field_names, reason = "the conventions' names")]
struct RequestLabels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

/// The rate limit policy of signed-in users.
pub(crate) const USER_POLICY: &str = "user";
/// The rate limit policy of client addresses.
pub(crate) const ADDRESS_POLICY: &str = "address";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabels {
    policy: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Why a request or a connection ended without the service's whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The client closed or reset the connection.
    ClientGone,
    /// The client read nothing of an answer for too long.
    WriteTimeout,
    /// The client did not send a whole header in time.
    HeaderTimeout,
    /// The client sent what is not HTTP/1.1.
    Malformed,
    /// The TLS handshake failed or took too long.
    TlsHandshake,
    /// The connection had no request for too long.
    Idle,
    /// The connection was idle and made room for another.
    Evicted,
    /// The process stopped before the answer was complete.
    Stopped,
}

impl EndReason {
    const ALL: [Self; 8] = [
        Self::ClientGone,
        Self::WriteTimeout,
        Self::HeaderTimeout,
        Self::Malformed,
        Self::TlsHandshake,
        Self::Idle,
        Self::Evicted,
        Self::Stopped,
    ];

    /// The reason as logs and metrics name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::WriteTimeout => "write_timeout",
            Self::HeaderTimeout => "header_timeout",
            Self::Malformed => "malformed",
            Self::TlsHandshake => "tls_handshake",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Stopped => "stopped",
        }
    }
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    active: Gauge,
    rate_limit_refusals: Family<PolicyLabels, Counter>,
    rate_limit_store_failures: Counter,
    session_refusals: Family<ReasonLabels, Counter>,
    unanswered: Family<ReasonLabels, Counter>,
    connections: Gauge,
    connection_refusals: Counter,
    outage: Mutex<Outage>,
}

/// What has not been logged yet of an outage of the rate limits' store.
#[derive(Default)]
struct Outage {
    last_logged: Option<Instant>,
    unlogged: u64,
}

impl Metrics {
    /// Nothing counted yet; the pool's gauges are read off `store` at each scrape.
    #[must_use]
    pub fn new(store: Arc<dyn StoreHealth>, rate_limits: Arc<dyn RateLimits>) -> Self {
        let mut registry = Registry::default();
        let durations = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        registry.register_with_unit(
            "http_server_request_duration",
            "Duration of HTTP server requests",
            Unit::Seconds,
            durations.clone(),
        );
        let active = Gauge::default();
        registry.register("http_server_active_requests", "HTTP server requests in flight", active.clone());
        let rate_limit_refusals = Family::<PolicyLabels, Counter>::default();
        registry.register(
            "crm_rate_limit_refusals",
            "Requests refused with 429, by the policy that refused them",
            rate_limit_refusals.clone(),
        );
        let rate_limit_store_failures = Counter::default();
        registry.register(
            "crm_rate_limit_store_failures",
            "Requests that passed uncounted because Redis did not answer",
            rate_limit_store_failures.clone(),
        );
        let session_refusals = Family::<ReasonLabels, Counter>::default();
        registry.register(
            "crm_session_refusals",
            "Requests without a valid session, by reason",
            session_refusals.clone(),
        );
        let unanswered = Family::<ReasonLabels, Counter>::default();
        registry.register(
            "crm_unanswered_requests",
            "Requests and connections that ended without the whole answer, by reason",
            unanswered.clone(),
        );
        let connections = Gauge::default();
        registry.register("crm_client_connections", "Client connections that are open", connections.clone());
        let connection_refusals = Counter::default();
        registry.register(
            "crm_connection_refusals",
            "Client connections closed at once because their address had its share",
            connection_refusals.clone(),
        );
        let build = [("version".into(), build::VERSION.into()), ("commit".into(), build::COMMIT.into())];
        registry.sub_registry_with_labels(build.into_iter()).register(
            "crm_build_info",
            "The build that runs; always 1",
            ConstGauge::new(1_i64),
        );
        registry.register_collector(Box::new(StoreCollector(store)));
        registry.register_collector(Box::new(LogCollector));
        registry.register_collector(Box::new(RateLimitCollector(rate_limits)));
        // From the first scrape on: a counter that appears with its first count has no rate yet.
        for policy in [USER_POLICY, ADDRESS_POLICY] {
            drop(rate_limit_refusals.get_or_create(&PolicyLabels { policy }));
        }
        for reason in NotSignedIn::ALL {
            drop(session_refusals.get_or_create(&ReasonLabels { reason: reason_label(reason) }));
        }
        for reason in EndReason::ALL {
            drop(unanswered.get_or_create(&ReasonLabels { reason: reason.as_str() }));
        }
        Self {
            registry,
            durations,
            active,
            rate_limit_refusals,
            rate_limit_store_failures,
            session_refusals,
            unanswered,
            connections,
            connection_refusals,
            outage: Mutex::default(),
        }
    }

    /// A request begins; the guard tells when it is over, however it ends.
    pub(crate) fn begin_request(&self) -> ActiveRequest {
        self.active.inc();
        ActiveRequest(self.active.clone())
    }

    /// A request was answered. `route` is the route's template, `None` when there is none.
    pub(crate) fn request_answered(
        &self,
        method: &'static str,
        route: Option<String>,
        status: u16,
        duration: Duration,
    ) {
        let labels = RequestLabels {
            http_request_method: method,
            http_route: route.unwrap_or_default(),
            http_response_status_code: status,
        };
        self.durations.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    /// A request was over its quota.
    pub(crate) fn rate_limit_refused(&self, policy: &'static str) {
        self.rate_limit_refusals.get_or_create(&PolicyLabels { policy }).inc();
    }

    /// A request passed uncounted. Logged once a minute, not once a request.
    pub(crate) fn rate_limit_store_failed(&self, error: &StoreError) {
        self.rate_limit_store_failures.inc();
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.unlogged += 1;
        if outage.last_logged.is_none_or(|logged| logged.elapsed() >= OUTAGE_LOG_INTERVAL) {
            tracing::warn!(
                cause = chain(error),
                requests = outage.unlogged,
                "the rate limit store is unavailable; requests are admitted without being counted"
            );
            *outage = Outage { last_logged: Some(Instant::now()), unlogged: 0 };
        }
    }

    /// A request had no valid session.
    pub(crate) fn session_refused(&self, reason: NotSignedIn) {
        self.session_refusals.get_or_create(&ReasonLabels { reason: reason_label(reason) }).inc();
    }

    /// A request or a connection ended without the whole answer.
    pub(crate) fn request_unanswered(&self, reason: EndReason) {
        self.unanswered.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc();
    }

    /// That many client connections are open.
    pub(crate) fn set_connections(&self, count: usize) {
        self.connections.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A client connection was closed at once because its address had its share.
    pub(crate) fn connection_refused(&self) {
        self.connection_refusals.inc();
    }

    /// Everything counted so far, in Prometheus' text format.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        // A string takes whatever is written.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct ActiveRequest(Gauge);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn reason_label(reason: NotSignedIn) -> &'static str {
    match reason {
        NotSignedIn::NoCookie => "no_cookie",
        NotSignedIn::BadSignature => "bad_signature",
        NotSignedIn::NoSession => "no_session",
    }
}

/// The log lines that nobody read.
#[derive(Debug)]
struct LogCollector;

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let help = "Log lines dropped because nobody read the log";
        let descriptor = encoder.encode_descriptor("crm_log_lines_dropped", help, None, MetricType::Counter)?;
        ConstCounter::new(dropped_lines()).encode(descriptor)
    }
}

/// The pool's connections, and how the directory was read.
struct StoreCollector(Arc<dyn StoreHealth>);

impl fmt::Debug for StoreCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreCollector")
    }
}

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Connections { max, used, idle, waiting } = self.0.connections();
        let gauge = |value: usize| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let name = "db_client_connection_count";
        let mut count =
            encoder.encode_descriptor(name, "Connections of the pool, by state", None, MetricType::Gauge)?;
        for (state, value) in [("used", used), ("idle", idle)] {
            gauge(value).encode(count.encode_family(&[("db_client_connection_state", state)])?)?;
        }
        for (name, help, value) in [
            ("db_client_connection_max", "The most connections of the pool", max),
            ("db_client_connection_pending_requests", "Requests that wait for a connection", waiting),
        ] {
            gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let DirectoryReadCounts { clean, applied, direct, repaired, model } = self.0.directory_reads();
        let help = "Pages of the directory, by the way they were read";
        let mut reads = encoder.encode_descriptor("crm_directory_reads", help, None, MetricType::Counter)?;
        for (way, value) in [("model", clean), ("model_after_apply", applied), ("direct", direct)] {
            ConstCounter::new(value).encode(reads.encode_family(&[("way", way)])?)?;
        }
        let help = "Customers in the directory's read model that were wrong and were repaired";
        let descriptor =
            encoder.encode_descriptor("crm_directory_repaired_customers", help, None, MetricType::Counter)?;
        ConstCounter::new(repaired).encode(descriptor)?;
        let help = "Whether the directory is read from its read model";
        let descriptor = encoder.encode_descriptor("crm_directory_uses_model", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(model == DirectoryModelState::InUse)).encode(descriptor)
    }
}

/// The number of rate limit keys in memory.
struct RateLimitCollector(Arc<dyn RateLimits>);

impl fmt::Debug for RateLimitCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RateLimitCollector")
    }
}

impl Collector for RateLimitCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(keys) = self.0.tracked_keys() else { return Ok(()) };
        let gauge = ConstGauge::new(i64::try_from(keys).unwrap_or(i64::MAX));
        let help = "Users and addresses whose requests are counted in this process";
        gauge.encode(encoder.encode_descriptor("crm_rate_limit_keys", help, None, MetricType::Gauge)?)
    }
}

#[cfg(test)]
mod tests {
    use crm_domain::{health::MockStoreHealth, rate_limit::MockRateLimits, testing::unavailable};

    use super::*;

    fn metrics() -> Metrics {
        let mut store = MockStoreHealth::new();
        store.expect_connections().return_const(Connections { max: 10, used: 3, idle: 2, waiting: 1 });
        let reads =
            DirectoryReadCounts { clean: 7, applied: 6, direct: 5, repaired: 0, model: DirectoryModelState::InUse };
        store.expect_directory_reads().return_const(reads);
        let mut rate_limits = MockRateLimits::new();
        rate_limits.expect_tracked_keys().return_const(Some(4));
        Metrics::new(Arc::new(store), Arc::new(rate_limits))
    }

    #[test]
    fn every_metric_is_exposed_under_its_standard_name() {
        let metrics = metrics();
        let active = metrics.begin_request();
        metrics.request_answered("GET", Some("/api/tags".to_owned()), 200, Duration::from_millis(7));
        metrics.request_answered("_OTHER", None, 405, Duration::from_millis(7));
        metrics.rate_limit_refused("user");
        metrics.rate_limit_store_failed(&unavailable());
        metrics.session_refused(NotSignedIn::BadSignature);
        let text = metrics.exposition();
        let get = r#"http_request_method="GET",http_route="/api/tags",http_response_status_code="200""#;
        let other = r#"http_request_method="_OTHER",http_route="",http_response_status_code="405""#;
        for line in [
            format!("http_server_request_duration_seconds_bucket{{{get},le=\"0.01\"}} 1"),
            format!("http_server_request_duration_seconds_count{{{other}}} 1"),
            "http_server_active_requests 1".to_owned(),
            "crm_rate_limit_refusals_total{policy=\"user\"} 1".to_owned(),
            "crm_rate_limit_store_failures_total 1".to_owned(),
            "crm_session_refusals_total{reason=\"bad_signature\"} 1".to_owned(),
            "db_client_connection_count{db_client_connection_state=\"used\"} 3".to_owned(),
            "db_client_connection_count{db_client_connection_state=\"idle\"} 2".to_owned(),
            "db_client_connection_max 10".to_owned(),
            "db_client_connection_pending_requests 1".to_owned(),
            "crm_rate_limit_keys 4".to_owned(),
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing from\n{text}");
        }
        drop(active);
        assert!(metrics.exposition().contains("http_server_active_requests 0"));
    }

    #[test]
    fn an_outage_is_logged_once_a_minute() {
        let metrics = metrics();
        for _ in 0..3 {
            metrics.rate_limit_store_failed(&unavailable());
        }
        assert_eq!(metrics.outage.lock().unwrap().unlogged, 2, "the first was logged");
        let long_ago = Instant::now().checked_sub(OUTAGE_LOG_INTERVAL);
        metrics.outage.lock().unwrap().last_logged = long_ago;
        metrics.rate_limit_store_failed(&unavailable());
        assert_eq!(metrics.outage.lock().unwrap().unlogged, 0, "and so was the one a minute later");
    }
}
