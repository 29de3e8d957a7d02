//! Health endpoints for orchestrators, proxies and the platform's status page. They need no session and show no detail that
//! helps an attacker.
//!
//! `/livez` says that the process runs, `/readyz` that it should get requests, `/api/health` what the platform documents.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::{HttpResponse, http::StatusCode, web};
use crm_domain::health::DirectoryModelState;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    config::http::HttpSettings,
    http::{
        openapi::schemas,
        response::{envelope, timestamp::Rfc3339},
    },
    observability::health_monitor::{DATABASE, HealthReport, RATE_LIMITS},
    services::{Services, ServicesData},
    shutdown::Lifecycle,
};

/// The latest report, within half of the time that a request may take: then there is an answer that names the failed check.
async fn latest_report(services: &Services, settings: &HttpSettings) -> Arc<HealthReport> {
    services.health.report(settings.request_timeout / 2).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum CheckStatus {
    Pass,
    Fail,
}

fn check_status(passed: bool) -> CheckStatus {
    if passed { CheckStatus::Pass } else { CheckStatus::Fail }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LivezResponse {
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
    envelope::bare(StatusCode::OK, &LivezResponse { status: CheckStatus::Pass })
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ReadyzResponse {
    status: CheckStatus,
    /// `process` (it is not stopping), `database` (it answers), `schema` (it has what is needed), `writes` (it
    /// takes them), `migrations` (all are applied). The last three are looked at only when the database answers.
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
    services: ServicesData,
    settings: web::Data<HttpSettings>,
    lifecycle: web::Data<Lifecycle>,
) -> HttpResponse {
    let mut checks = BTreeMap::from([("process", check_status(!lifecycle.is_draining()))]);
    let report = latest_report(&services, &settings).await;
    // Rate limits are no reason to go elsewhere: without their store requests pass.
    checks
        .extend(report.0.iter().filter(|check| check.name != RATE_LIMITS).map(|c| (c.name, check_status(c.passed()))));
    let ready = checks.values().all(|status| *status == CheckStatus::Pass);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    envelope::bare(status, &ReadyzResponse { status: check_status(ready), checks })
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

/// From what the pages of the directory are read.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum DirectorySource {
    ReadModel,
    Tables,
}

#[derive(Serialize, ToSchema)]
struct DirectoryResponse {
    /// `readModel` where it is installed and in use, else the platform's `tables`.
    source: DirectorySource,
    /// What the operator does so that an installed read model is used.
    advice: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct HealthResponse {
    /// `unhealthy` when the database fails, `degraded` when another check does.
    status: Overall,
    #[schema(schema_with = schemas::timestamp)]
    timestamp: Rfc3339,
    version: &'static str,
    /// How long the process has been running, in whole seconds.
    uptime: u64,
    /// `database`, `schema`, `writes`, `migrations`, `rateLimits`.
    #[schema(value_type = BTreeMap<String, CheckResponse>)]
    checks: BTreeMap<&'static str, CheckResponse>,
    directory: DirectoryResponse,
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
pub(in crate::http) async fn health(
    services: ServicesData,
    settings: web::Data<HttpSettings>,
    lifecycle: web::Data<Lifecycle>,
) -> HttpResponse {
    let report = latest_report(&services, &settings).await;
    let failed: Vec<_> = report.0.iter().filter(|check| !check.passed()).map(|check| check.name).collect();
    let (status, overall) = if failed.contains(&DATABASE) {
        (StatusCode::SERVICE_UNAVAILABLE, Overall::Unhealthy)
    } else if failed.is_empty() {
        (StatusCode::OK, Overall::Healthy)
    } else {
        (StatusCode::OK, Overall::Degraded)
    };
    let checks = report.0.iter().map(|check| {
        let latency_ms = u64::try_from(check.took.as_millis()).unwrap_or(u64::MAX);
        (check.name, CheckResponse { status: check_status(check.passed()), latency_ms })
    });
    let directory_model = services.health.directory_model();
    let body = HealthResponse {
        status: overall,
        timestamp: Rfc3339(services.clock.now()),
        version: env!("CARGO_PKG_VERSION"),
        uptime: lifecycle.uptime().as_secs(),
        checks: checks.collect(),
        directory: DirectoryResponse {
            source: match directory_model {
                DirectoryModelState::InUse => DirectorySource::ReadModel,
                _ => DirectorySource::Tables,
            },
            advice: directory_model.advice(),
        },
    };
    envelope::bare(status, &body)
}
