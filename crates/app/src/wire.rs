//! The wiring: the only place that names adapter types.

use std::sync::Arc;

use crm_adapters::{
    better_auth::BetterAuth,
    postgres::{Pool, Postgres},
    system::{RandomIds, SystemClock},
};
use crm_domain::{
    clock::Clock,
    customer::{ports::CustomerReads, usecases::Customers},
    directory::{ports::DirectoryReads, usecases::Directory},
    ids::Ids,
    note::{ports::NoteReads, usecases::Notes},
    session::Sessions,
    store::Store,
    tag::{ports::TagReads, usecases::Tags},
};

use crate::config::Config;

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
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
}

/// The real ports: PostgreSQL, the platform's sessions, the machine's clock.
#[must_use]
pub fn ports(config: &Config) -> Ports {
    let pool = Pool::new(config.database.connector.clone(), config.database.pool);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sessions = BetterAuth {
        cookie_name: config.session.cookie_name.clone(),
        secret: config.session.secret.clone(),
        pool: pool.clone(),
        clock: clock.clone(),
    };
    let postgres = Arc::new(Postgres { pool });
    Ports {
        sessions: Arc::new(sessions),
        store: postgres.clone(),
        directory: postgres.clone(),
        customers: postgres.clone(),
        tags: postgres.clone(),
        notes: postgres,
        clock,
        ids: Arc::new(RandomIds),
    }
}

/// What a handler can ask for: the session reader and the use cases.
pub struct Services {
    /// Who is calling.
    pub sessions: Arc<dyn Sessions>,
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
        let Ports { sessions, store, directory, customers, tags, notes, clock, ids } = ports;
        Self {
            sessions,
            directory: Directory { reads: directory },
            customers: Customers { store: store.clone(), reads: customers, clock: clock.clone(), ids: ids.clone() },
            tags: Tags { store: store.clone(), reads: tags, clock: clock.clone(), ids: ids.clone() },
            notes: Notes { store, reads: notes, clock, ids: ids.clone() },
            ids,
        }
    }
}
