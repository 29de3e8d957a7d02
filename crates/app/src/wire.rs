//! The wiring: the only place that puts adapters behind ports. (Besides it only the configuration, the migrations and the
//! check before serving name adapters.)

use std::sync::Arc;

use crm_adapters::{
    better_auth::BetterAuth,
    postgres::{Pool, Postgres},
    rate_limit::{memory::MemoryRateLimits, redis::RedisRateLimits},
    system::{RandomIds, SystemClock},
};
use crm_domain::{
    clock::Clock,
    customer::{ports::CustomerReads, usecases::Customers},
    directory::{ports::DirectoryReads, usecases::Directory},
    health::StoreHealth,
    ids::Ids,
    note::{ports::NoteReads, usecases::Notes},
    rate_limit::RateLimits,
    session::Sessions,
    store_error::StoreError,
    tag::{ports::TagReads, usecases::Tags},
    unit_of_work::Store,
};

use crate::{config::Config, http::health::Health, metrics::Metrics};

/// Everything the use cases reach the world through.
pub struct Ports {
    /// Who is calling.
    pub sessions: Arc<dyn Sessions>,
    /// Units of work.
    pub store: Arc<dyn Store>,
    /// Reading the directory.
    pub directory: Arc<dyn DirectoryReads>,
    /// Reading customers.
    pub customers: Arc<dyn CustomerReads>,
    /// Reading tags.
    pub tags: Arc<dyn TagReads>,
    /// Reading notes.
    pub notes: Arc<dyn NoteReads>,
    /// How often somebody called.
    pub rate_limits: Arc<dyn RateLimits>,
    /// The database's health.
    pub health: Arc<dyn StoreHealth>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
}

/// The connections of that configuration.
#[must_use]
pub fn pool(config: &Config) -> Pool {
    Pool::new(config.database.connector.clone(), config.database.pool)
}

/// The real ports: PostgreSQL, the platform's sessions, Redis or memory, the machine's clock. Needs a tokio runtime.
///
/// # Errors
///
/// When Redis is configured with TLS and that cannot be set up.
pub fn ports(config: &Config, pool: Pool) -> Result<Ports, StoreError> {
    let system_clock = Arc::new(SystemClock::new());
    let clock: Arc<dyn Clock> = system_clock.clone();
    let sessions = BetterAuth {
        cookie_name: config.session.cookie_name.clone(),
        secret: config.session.secret.clone(),
        pool: pool.clone(),
        clock: clock.clone(),
    };
    let rate_limits: Arc<dyn RateLimits> = match &config.redis {
        Some(settings) => Arc::new(RedisRateLimits::new(settings.clone())?),
        None => Arc::new(MemoryRateLimits::new(system_clock)),
    };
    let postgres = Arc::new(Postgres::new(pool));
    Ok(Ports {
        sessions: Arc::new(sessions),
        store: postgres.clone(),
        directory: postgres.clone(),
        customers: postgres.clone(),
        tags: postgres.clone(),
        notes: postgres.clone(),
        rate_limits,
        health: postgres,
        clock,
        ids: Arc::new(RandomIds),
    })
}

/// What a handler can ask for: the session reader, the limits, the use cases, and what watches over them.
pub struct Services {
    /// Who is calling.
    pub sessions: Arc<dyn Sessions>,
    /// How often somebody called.
    pub rate_limits: Arc<dyn RateLimits>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether what this service needs is there.
    pub health: Health,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids: for requests that bring none.
    pub ids: Arc<dyn Ids>,
    /// The directory.
    pub directory: Directory,
    /// Customers.
    pub customers: Customers,
    /// Tags.
    pub tags: Tags,
    /// Notes.
    pub notes: Notes,
}

impl Services {
    /// The use cases on those ports.
    #[must_use]
    pub fn of(ports: Ports) -> Self {
        let Ports { sessions, store, directory, customers, tags, notes, rate_limits, health, clock, ids } = ports;
        Self {
            sessions,
            metrics: Arc::new(Metrics::new(health.clone(), rate_limits.clone())),
            health: Health::new(health, rate_limits.clone()),
            rate_limits,
            directory: Directory { reads: directory },
            customers: Customers { store: store.clone(), reads: customers, clock: clock.clone(), ids: ids.clone() },
            tags: Tags { store: store.clone(), reads: tags, clock: clock.clone(), ids: ids.clone() },
            notes: Notes { store, reads: notes, clock: clock.clone(), ids: ids.clone() },
            clock,
            ids,
        }
    }
}
