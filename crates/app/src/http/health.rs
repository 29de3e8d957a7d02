//! Health: for orchestrators, proxies and the platform's status page. No session, and no detail that helps an attacker.
//!
//! `/livez` tells that the process runs, `/readyz` that it should be sent requests, `/api/health` what the platform
//! documents. The last two ask the database at most once a second, however often they are asked.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, http::StatusCode, web};
use crm_domain::{health::StoreHealth, rate_limit::RateLimits};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::{
    HttpSettings,
    openapi::schemas,
    render::{self, Timestamp},
};
use crate::{lifecycle::Lifecycle, wire::Services};

/// How long what was found is told again.
const FRESH: Duration = Duration::from_secs(1);

/// Looks after what this service needs.
pub struct Health(Arc<Looking>);

struct Looking {
    store: Arc<dyn StoreHealth>,
    rate_limits: Arc<dyn RateLimits>,
    found: Mutex<Option<(Instant, Arc<Found>)>>,
}

/// What was found: every check that was made, in order.
#[derive(Debug)]
struct Found(Vec<Check>);

#[derive(Debug, Clone, Copy)]
struct Check {
    name: &'static str,
    passed: bool,
    took: Duration,
}

const DATABASE: &str = "database";
const RATE_LIMITS: &str = "rateLimits";

impl Health {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new(store: Arc<dyn StoreHealth>, rate_limits: Arc<dyn RateLimits>) -> Self {
        Self(Arc::new(Looking { store, rate_limits, found: Mutex::new(None) }))
    }

    /// What was found within the last second, or is found now. Whoever asks meanwhile waits for the same. In a task of its
    /// own: somebody who asks and goes away must not make the next one begin anew.
    async fn found(&self, settings: &HttpSettings) -> Arc<Found> {
        // Half of what the request itself may take: then there is an answer that tells which check failed.
        let deadline = settings.request_timeout / 2;
        let looking = self.0.clone();
        let found = actix_web::rt::spawn(async move { looking.found(deadline).await }).await;
        found.unwrap_or_else(|_| Arc::new(Found(vec![Check { name: DATABASE, passed: false, took: Duration::ZERO }])))
    }
}

impl Looking {
    async fn found(&self, deadline: Duration) -> Arc<Found> {
        let mut found = self.found.lock().await;
        if let Some((when, found)) = &*found
            && when.elapsed() < FRESH
        {
            return found.clone();
        }
        let now = Arc::new(self.look(deadline).await);
        *found = Some((Instant::now(), now.clone()));
        now
    }

    /// All checks together have until the deadline.
    async fn look(&self, deadline: Duration) -> Found {
        let deadline = tokio::time::Instant::now() + deadline;
        let store = async {
            let mut checks = vec![check(DATABASE, deadline, async { self.store.ping().await.is_ok() }).await];
            if checks[0].passed {
                let schema = async { self.store.has_schema().await.unwrap_or(false) };
                checks.push(check("schema", deadline, schema).await);
                let migrations = async { self.store.is_migrated().await.unwrap_or(false) };
                checks.push(check("migrations", deadline, migrations).await);
            }
            checks
        };
        let rate_limits = check(RATE_LIMITS, deadline, async { self.rate_limits.check().await.is_ok() });
        let (mut checks, rate_limits) = futures_util::join!(store, rate_limits);
        checks.push(rate_limits);
        Found(checks)
    }
}

async fn check(name: &'static str, deadline: tokio::time::Instant, work: impl Future<Output = bool>) -> Check {
    let began = Instant::now();
    let passed = tokio::time::timeout_at(deadline, work).await.unwrap_or(false);
    Check { name, passed, took: began.elapsed() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckStatus {
    Pass,
    Fail,
}

fn check_status(passed: bool) -> CheckStatus {
    if passed { CheckStatus::Pass } else { CheckStatus::Fail }
}

#[derive(Serialize, ToSchema)]
pub(super) struct LivezResponse {
    status: CheckStatus,
}

/// The process runs
///
/// Asks nothing else: a database that is away is no reason to restart.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "health",
    responses((status = 200, description = "It runs.", body = LivezResponse))
)]
pub(in crate::http) async fn livez() -> HttpResponse {
    render::bare(StatusCode::OK, &LivezResponse { status: CheckStatus::Pass })
}

#[derive(Serialize, ToSchema)]
pub(super) struct ReadyzResponse {
    status: CheckStatus,
    /// `process` (it is not stopping), `database` (it answers), `schema` (it has what is needed), `migrations` (all are
    /// applied). The last two are looked at only when the database answers.
    #[schema(value_type = BTreeMap<String, CheckStatus>)]
    checks: BTreeMap<&'static str, CheckStatus>,
}

/// Requests can be sent here
///
/// The process is not stopping, the database answers and has what is needed.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses(
        (status = 200, description = "It is ready.", body = ReadyzResponse),
        (status = 503, description = "It is not; `checks` tells why.", body = ReadyzResponse)
    )
)]
pub(in crate::http) async fn readyz(
    services: web::Data<Services>,
    settings: web::Data<HttpSettings>,
    lifecycle: web::Data<Lifecycle>,
) -> HttpResponse {
    let mut checks = BTreeMap::from([("process", check_status(!lifecycle.is_draining()))]);
    let found = services.health.found(&settings).await;
    // Rate limits are no reason to go elsewhere: without their store requests pass.
    checks.extend(found.0.iter().filter(|check| check.name != RATE_LIMITS).map(|c| (c.name, check_status(c.passed))));
    let ready = checks.values().all(|status| *status == CheckStatus::Pass);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    render::bare(status, &ReadyzResponse { status: check_status(ready), checks })
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Overall {
    Healthy,
    Degraded,
    Unhealthy,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckResponse {
    status: CheckStatus,
    /// How long the check took, in milliseconds.
    latency_ms: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct HealthResponse {
    /// `unhealthy` when the database fails, `degraded` when another check does.
    status: Overall,
    #[schema(schema_with = schemas::timestamp)]
    timestamp: Timestamp,
    version: &'static str,
    /// How long the process has been running, in whole seconds.
    uptime: u64,
    /// `database`, `schema`, `migrations`, `rateLimits`.
    #[schema(value_type = BTreeMap<String, CheckResponse>)]
    checks: BTreeMap<&'static str, CheckResponse>,
}

/// Health, as the platform documents it
///
/// The database is asked once a second at most, however often this is.
#[utoipa::path(
    get,
    path = "/api/health",
    tag = "health",
    responses(
        (status = 200, description = "The database answers.", body = HealthResponse),
        (status = 503, description = "It does not.", body = HealthResponse)
    )
)]
pub(super) async fn health(
    services: web::Data<Services>,
    settings: web::Data<HttpSettings>,
    lifecycle: web::Data<Lifecycle>,
) -> HttpResponse {
    let found = services.health.found(&settings).await;
    let failed: Vec<_> = found.0.iter().filter(|check| !check.passed).map(|check| check.name).collect();
    let (status, overall) = if failed.contains(&DATABASE) {
        (StatusCode::SERVICE_UNAVAILABLE, Overall::Unhealthy)
    } else if failed.is_empty() {
        (StatusCode::OK, Overall::Healthy)
    } else {
        (StatusCode::OK, Overall::Degraded)
    };
    let checks = found.0.iter().map(|check| {
        let latency_ms = u64::try_from(check.took.as_millis()).unwrap_or(u64::MAX);
        (check.name, CheckResponse { status: check_status(check.passed), latency_ms })
    });
    let body = HealthResponse {
        status: overall,
        timestamp: Timestamp(services.clock.now()),
        version: env!("CARGO_PKG_VERSION"),
        uptime: lifecycle.uptime().as_secs(),
        checks: checks.collect(),
    };
    render::bare(status, &body)
}
