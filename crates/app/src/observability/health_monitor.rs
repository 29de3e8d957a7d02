//! The health monitor: asks the database and Redis at most once a second, however often health is asked for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crm_domain::{
    health::{DirectoryModelState, StoreHealth},
    rate_limit::RateLimits,
};
use tokio::sync::Mutex;

/// How long a report is valid.
const FRESH: Duration = Duration::from_secs(1);

/// The name of the check that the database answers.
pub(crate) const DATABASE: &str = "database";
/// The name of the check that the store of the rate limits answers.
pub(crate) const RATE_LIMITS: &str = "rateLimits";

/// Monitors what this service needs.
pub struct HealthMonitor(Arc<Monitored>);

struct Monitored {
    store: Arc<dyn StoreHealth>,
    rate_limits: Arc<dyn RateLimits>,
    latest: Mutex<Option<(Instant, Arc<HealthReport>)>>,
}

/// The checks that were made, in order.
#[derive(Debug)]
pub(crate) struct HealthReport(pub(crate) Vec<Check>);

/// One check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    /// What was checked.
    pub(crate) name: &'static str,
    /// Whether it passed.
    pub(crate) passed: bool,
    /// How long it took.
    pub(crate) took: Duration,
}

impl HealthMonitor {
    /// A monitor that has checked nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn StoreHealth>, rate_limits: Arc<dyn RateLimits>) -> Self {
        Self(Arc::new(Monitored { store, rate_limits, latest: Mutex::new(None) }))
    }

    /// The state of the directory's read model, which this process looks at every second.
    pub(crate) fn directory_model(&self) -> DirectoryModelState {
        self.0.store.directory_reads().model
    }

    /// The report of the last second, or a new one. Callers that come meanwhile wait for the same report. All checks
    /// together take at most `deadline`. They run in a task of their own, because a caller that disconnects must not make
    /// the next one begin anew.
    pub(crate) async fn report(&self, deadline: Duration) -> Arc<HealthReport> {
        let monitored = self.0.clone();
        let report = actix_web::rt::spawn(async move { monitored.report(deadline).await }).await;
        let failed = Check { name: DATABASE, passed: false, took: Duration::ZERO };
        report.unwrap_or_else(|_| Arc::new(HealthReport(vec![failed])))
    }
}

impl Monitored {
    async fn report(&self, deadline: Duration) -> Arc<HealthReport> {
        let mut latest = self.latest.lock().await;
        if let Some((made, report)) = &*latest
            && made.elapsed() < FRESH
        {
            return report.clone();
        }
        let report = Arc::new(self.run_checks(deadline).await);
        *latest = Some((Instant::now(), report.clone()));
        report
    }

    async fn run_checks(&self, deadline: Duration) -> HealthReport {
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
        HealthReport(checks)
    }
}

async fn check(name: &'static str, deadline: tokio::time::Instant, work: impl Future<Output = bool>) -> Check {
    let began = Instant::now();
    let passed = tokio::time::timeout_at(deadline, work).await.unwrap_or(false);
    Check { name, passed, took: began.elapsed() }
}
