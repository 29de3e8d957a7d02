//! The services that handlers and middleware use: the session reader, the rate limits, the use cases, metrics and health.

use std::sync::Arc;

use actix_web::web;
use crm_domain::{
    calendar::SalonTimeZone,
    clock::Clock,
    customer::{ports::CustomerReads, usecases::Customers},
    directory::{ports::DirectoryReads, usecases::Directory},
    health::StoreHealth,
    history::{ports::HistoryReads, usecases::History},
    idempotency::usecases::Idempotency,
    ids::Ids,
    note::{ports::NoteReads, usecases::Notes},
    rate_limit::RateLimits,
    session::Sessions,
    tag::{ports::TagReads, usecases::Tags},
    timeline::{ports::TimelineReads, usecases::Timeline},
    unit_of_work::Store,
};

use crate::observability::{health_monitor::HealthMonitor, metrics::Metrics};

/// The services as actix hands them to handlers.
pub(crate) type ServicesData = web::Data<Services>;

/// The ports that the services are built on.
pub struct Ports {
    /// The session reader.
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
    /// Reading timelines.
    pub timeline: Arc<dyn TimelineReads>,
    /// Reading histories.
    pub history: Arc<dyn HistoryReads>,
    /// The rate limits.
    pub rate_limits: Arc<dyn RateLimits>,
    /// The database's health.
    pub health: Arc<dyn StoreHealth>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of new ids.
    pub ids: Arc<dyn Ids>,
    /// The salon's time zone.
    pub time_zone: SalonTimeZone,
}

/// The services.
pub struct Services {
    /// The session reader.
    pub sessions: Arc<dyn Sessions>,
    /// The rate limits.
    pub rate_limits: Arc<dyn RateLimits>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The health monitor.
    pub health: HealthMonitor,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of request ids.
    pub ids: Arc<dyn Ids>,
    /// The directory.
    pub directory: Directory,
    /// Customers.
    pub customers: Customers,
    /// Tags.
    pub tags: Tags,
    /// Notes.
    pub notes: Notes,
    /// Timelines.
    pub timeline: Timeline,
    /// Histories.
    pub history: History,
    /// Units of work.
    pub store: Arc<dyn Store>,
    /// Requests that may be repeated.
    pub idempotency: Idempotency,
    /// The salon's time zone.
    pub time_zone: SalonTimeZone,
}

impl Services {
    /// Builds the services on those ports.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        let Ports {
            sessions,
            store,
            directory,
            customers,
            tags,
            notes,
            timeline,
            history,
            rate_limits,
            health,
            clock,
            ids,
            time_zone,
        } = ports;
        Self {
            sessions,
            metrics: Arc::new(Metrics::new(health.clone(), rate_limits.clone())),
            health: HealthMonitor::new(health, rate_limits.clone()),
            rate_limits,
            directory: Directory { store: store.clone(), reads: directory, clock: clock.clone(), ids: ids.clone() },
            customers: Customers { store: store.clone(), reads: customers, clock: clock.clone(), ids: ids.clone() },
            tags: Tags { store: store.clone(), reads: tags, clock: clock.clone(), ids: ids.clone() },
            notes: Notes { store: store.clone(), reads: notes, clock: clock.clone(), ids: ids.clone() },
            timeline: Timeline { reads: timeline },
            history: History { reads: history, clock: clock.clone(), time_zone: time_zone.clone() },
            idempotency: Idempotency { store: store.clone(), clock: clock.clone() },
            store,
            clock,
            ids,
            time_zone,
        }
    }
}
