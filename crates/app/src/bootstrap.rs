//! Builds the services from the configuration: the only place that connects adapters to ports.

use std::sync::Arc;

use crm_adapters::{
    better_auth::BetterAuth,
    postgres::{Pool, PoolSettings, Postgres},
    rate_limit::{memory::MemoryRateLimits, redis::RedisRateLimits},
    system::{RandomIds, SystemClock},
};
use crm_domain::{
    calendar::SalonTimeZone, clock::Clock, kpis::usecases::Kpis, rate_limit::RateLimits, store_error::StoreError,
};

use crate::{
    config::{Config, DatabaseConfig},
    services::Ports,
};

/// The connection pool of that configuration.
#[must_use]
pub fn pool(config: &Config) -> Pool {
    Pool::new(config.database.connector.clone(), config.database.pool)
}

/// The use cases of the figures, on connections of their own: one holds the claim, another one works, and requests wait for
/// neither. `serving` is what the same process serves requests with.
#[must_use]
pub fn kpis(database: &DatabaseConfig, time_zone: &SalonTimeZone, serving: Option<&Postgres>) -> Kpis {
    let pool = Pool::new(database.connector.clone(), PoolSettings { size: 2, ..database.pool });
    let postgres = match serving {
        Some(serving) => serving.on(pool),
        None => Postgres::new(pool),
    };
    Kpis { store: Arc::new(postgres), clock: Arc::new(SystemClock::new()), time_zone: time_zone.clone() }
}

/// The real ports: PostgreSQL, the platform's sessions, Redis or memory, the machine's clock. Needs a tokio runtime.
///
/// # Errors
///
/// When Redis is configured with TLS and that cannot be set up.
pub fn ports(config: &Config, postgres: Arc<Postgres>, pool: &Pool) -> Result<Ports, StoreError> {
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
    Ok(Ports {
        sessions: Arc::new(sessions),
        store: postgres.clone(),
        directory: postgres.clone(),
        customers: postgres.clone(),
        tags: postgres.clone(),
        notes: postgres.clone(),
        timeline: postgres.clone(),
        history: postgres.clone(),
        rate_limits,
        health: postgres,
        clock,
        ids: Arc::new(RandomIds),
        time_zone: config.time_zone.clone(),
    })
}
