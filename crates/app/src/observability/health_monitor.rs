//! The health monitor: asks the database and Redis at most once a second, however often health is asked for.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use crm_domain::{
    health::{DirectoryModelState, StoreHealth},
    rate_limit::RateLimits,
};
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval, timeout_at},
};

use super::logging::chain;

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
    latest: Mutex<Option<Latest>>,
}

/// The latest report.
struct Latest {
    made: Instant,
    report: Arc<HealthReport>,
    /// The checks that failed when they were last made, in this or in an earlier report.
    failing: BTreeSet<&'static str>,
}

/// The checks that were made, in order.
#[derive(Debug)]
pub(crate) struct HealthReport(pub(crate) Vec<Check>);

/// How often [`HealthMonitor::watch`] runs the checks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

impl Check {
    /// Whether it passed.
    pub(crate) fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// One check.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    /// What was checked.
    pub(crate) name: &'static str,
    /// Why it failed, for the log; `None` when it passed.
    failure: Option<String>,
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

    /// Runs the checks once a second until the process ends, so that what turns is logged, and a database that begins to
    /// refuse writes is noticed, also when nobody asks.
    pub(crate) async fn watch(&self, deadline: Duration) {
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.renew(deadline).await;
        }
    }

    /// The report of the last second, or a new one. Callers that come meanwhile wait for the same report. All checks
    /// together take at most `deadline`. They run in a task of their own, because a caller that disconnects must not make
    /// the next one begin anew.
    pub(crate) async fn report(&self, deadline: Duration) -> Arc<HealthReport> {
        let monitored = self.0.clone();
        let report = actix_web::rt::spawn(async move { monitored.report(deadline).await }).await;
        let failure = Some("the checks did not end".to_owned());
        let failed = Check { name: DATABASE, failure, took: Duration::ZERO };
        report.unwrap_or_else(|_| Arc::new(HealthReport(vec![failed])))
    }
}

impl Monitored {
    async fn report(&self, deadline: Duration) -> Arc<HealthReport> {
        let mut latest = self.latest.lock().await;
        if let Some(Latest { made, report, .. }) = &*latest
            && made.elapsed() < FRESH
        {
            return report.clone();
        }
        self.run_and_keep(&mut latest, deadline).await
    }

    /// Makes a new report, whatever the age of the latest.
    async fn renew(&self, deadline: Duration) {
        let mut latest = self.latest.lock().await;
        self.run_and_keep(&mut latest, deadline).await;
    }

    async fn run_and_keep(&self, latest: &mut Option<Latest>, deadline: Duration) -> Arc<HealthReport> {
        let report = Arc::new(self.run_checks(deadline).await);
        let failing = latest.take().map(|latest| latest.failing).unwrap_or_default();
        let failing = log_turns(failing, &report);
        *latest = Some(Latest { made: Instant::now(), report: report.clone(), failing });
        report
    }

    async fn run_checks(&self, deadline: Duration) -> HealthReport {
        let deadline = tokio::time::Instant::now() + deadline;
        let store = async {
            let ping = async { self.store.ping().await.map_err(|error| chain(&error)) };
            let mut checks = vec![check(DATABASE, deadline, ping).await];
            if checks[0].passed() {
                let mut writes = None;
                let schema = async {
                    let lacks = self.store.find_lacks().await.map_err(|error| chain(&error))?;
                    writes = Some(none_of(&lacks.writes));
                    none_of(&lacks.schema)
                };
                checks.push(check("schema", deadline, schema).await);
                if let Some(writes) = writes {
                    checks.push(check("writes", deadline, async { writes }).await);
                }
                let migrations = async {
                    match self.store.is_migrated().await {
                        Ok(true) => Ok(()),
                        Ok(false) => Err("migrations are pending; run `crm migrate`".to_owned()),
                        Err(error) => Err(chain(&error)),
                    }
                };
                checks.push(check("migrations", deadline, migrations).await);
            }
            checks
        };
        let rate_limits = async { self.rate_limits.check().await.map_err(|error| chain(&error)) };
        let rate_limits = check(RATE_LIMITS, deadline, rate_limits);
        let (mut checks, rate_limits) = futures_util::join!(store, rate_limits);
        checks.push(rate_limits);
        HealthReport(checks)
    }
}

async fn check(
    name: &'static str,
    deadline: tokio::time::Instant,
    work: impl Future<Output = Result<(), String>>,
) -> Check {
    let began = Instant::now();
    let outcome = timeout_at(deadline, work).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    Check { name, failure: outcome.err(), took: began.elapsed() }
}

fn none_of(lacks: &[String]) -> Result<(), String> {
    if lacks.is_empty() { Ok(()) } else { Err(lacks.join("; ")) }
}

/// Logs each check that fails and did not when it was last made, with its cause, and each that passes again. Returns the
/// checks that fail now; one that was not made, because the database does not answer, stays as it was.
fn log_turns(mut failing: BTreeSet<&'static str>, report: &HealthReport) -> BTreeSet<&'static str> {
    for check in &report.0 {
        match &check.failure {
            Some(cause) => {
                if failing.insert(check.name) {
                    tracing::warn!(check = check.name, cause, "a health check fails");
                }
            }
            None => {
                if failing.remove(check.name) {
                    tracing::info!(check = check.name, "a health check passes again");
                }
            }
        }
    }
    failing
}
