//! A database per test (feature `testing`): cloned from a migrated template, dropped with its handle.
//!
//! What the platform's own programs would write stands in [`platform`].
//!
//! The server is the one that `CRM_TEST_DATABASE_URL` names; `just test` starts a private one.

#![expect(clippy::missing_panics_doc, reason = "a test that cannot get its database has to end")]

pub mod platform;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::OnceLock,
    thread,
    time::Duration,
};

use diesel::sql_types::Integer;
use diesel_async::AsyncPgConnection;
use tokio::runtime;
use tokio_postgres::{Client, NoTls};
use ulid::Ulid;

use crate::postgres::{
    Pool, PoolSettings, Postgres,
    connect::{Connector, PoolMode, SessionSettings},
    migrate,
    statement::{Statement, named_row},
};

/// The key of the advisory lock under which the template is made.
const TEMPLATE_LOCK: i64 = 0x7465_6D70_6C61_7465;

/// A database of a test's own.
pub struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// A database with this service's schema and no rows.
    #[must_use]
    pub fn migrated() -> Self {
        Self::create(Some(template()))
    }

    /// A database with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self::create(None)
    }

    fn create(template: Option<&str>) -> Self {
        let name = format!("test_{}", random());
        blocking(async {
            let template = template.unwrap_or("template0");
            admin()
                .await
                .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
                .await
                .expect("a database");
        });
        Self { name }
    }

    /// The database's address.
    #[must_use]
    pub fn address(&self) -> String {
        address_of(&self.name)
    }

    /// Makes connections to the database.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector::parse(&self.address()).expect("the test server's address")
    }

    /// A pool of four connections with short timeouts.
    #[must_use]
    pub fn pool(&self) -> Pool {
        Pool::new(self.connector(), pool_settings(4))
    }

    /// The adapters on such a pool.
    #[must_use]
    pub fn postgres(&self) -> Postgres {
        Postgres::new(self.pool())
    }

    /// Takes the database away, as far as its users can tell, or brings it back.
    pub async fn allow_connections(&self, allow: bool) {
        let admin = admin().await;
        let name = &self.name;
        admin.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allow}")).await.expect("a setting");
        if !allow {
            let terminate = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1";
            admin.execute(terminate, &[name]).await.expect("an answer");
        }
    }

    /// A connection of tokio-postgres's own, for what a test arranges and looks at: the platform's side.
    pub async fn client(&self) -> Client {
        connect(&self.address()).await
    }

    /// A connection of diesel's own.
    pub async fn connection(&self) -> AsyncPgConnection {
        self.connector().connect_plainly().await.expect("a connection")
    }
}

named_row! {
    struct CountsRow {
        total_visits: Integer => i32,
        noshow_count: Integer => i32,
    }
}

/// Runs a statement with the columns `total_visits` and `noshow_count` and reads its row as the adapters read all rows.
pub async fn read_counts(pool: &Pool, sql: &'static str) -> (i32, i32) {
    let row: Option<CountsRow> = pool.read_row(|| Statement::new(sql)).await.expect("an answer");
    let CountsRow { total_visits, noshow_count } = row.expect("a row");
    (total_visits, noshow_count)
}

/// Settings for tests: timeouts long enough for a busy machine and short enough to wait for.
#[must_use]
pub fn pool_settings(size: usize) -> PoolSettings {
    PoolSettings {
        size,
        wait: Duration::from_secs(10),
        connect: Duration::from_secs(10),
        max_age: Duration::from_secs(600),
        session: SessionSettings {
            mode: PoolMode::Session,
            statement_timeout: Duration::from_secs(20),
            lock_timeout: Duration::from_secs(15),
            idle_in_transaction_timeout: Duration::from_secs(30),
        },
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = &self.name;
        blocking(async {
            let dropped = admin().await.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
            // A second panic would hide the first one.
            assert!(dropped.is_ok() || thread::panicking(), "{dropped:?}");
        });
    }
}

/// The template's name; made once for each version of the migrations, by whichever test process comes first.
fn template() -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let mut version = DefaultHasher::new();
        // A changed migration, or another way of applying them, needs another template.
        include_str!("postgres/migrate.rs").hash(&mut version);
        include_str!("postgres/migrate/platform_history.sql").hash(&mut version);
        for migration in migrations() {
            migration.hash(&mut version);
        }
        let name = format!("template_{:016x}", version.finish());
        blocking(async {
            let admin = admin().await;
            admin.execute("SELECT pg_advisory_lock($1)", &[&TEMPLATE_LOCK]).await.expect("the template's lock");
            let found =
                admin.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]).await.expect("an answer");
            if found.is_none() {
                // Named at the end: one that was left half done is not taken for the template.
                let unfinished = format!("unfinished_{}", random());
                admin
                    .batch_execute(&format!("CREATE DATABASE {unfinished} TEMPLATE template0"))
                    .await
                    .expect("a template");
                let connector = Connector::parse(&address_of(&unfinished)).expect("the test server's address");
                migrate::migrate(&connector, migrate::Platform::Standalone).await.expect("the migrations");
                rename(&admin, &unfinished, &name).await;
            }
        });
        name
    })
}

/// The text of every migration, in order.
fn migrations() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    let folders = std::fs::read_dir(folder).expect("the folder of migrations");
    let mut files: Vec<_> = folders.map(|entry| entry.expect("a migration").path().join("up.sql")).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).expect("a migration")).collect()
}

/// The migrator's connection has ended, but its server process may take a moment to notice.
async fn rename(admin: &Client, from: &str, to: &str) {
    let terminate = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1";
    admin.execute(terminate, &[&from]).await.expect("an answer");
    admin.batch_execute(&format!("ALTER DATABASE {from} RENAME TO {to}")).await.expect("the template's name");
}

fn random() -> String {
    #[expect(clippy::disallowed_methods, reason = "test databases need names that nobody predicts")]
    Ulid::generate().to_string().to_lowercase()
}

fn server() -> String {
    #[expect(clippy::disallowed_methods, reason = "the tests' one setting")]
    std::env::var("CRM_TEST_DATABASE_URL")
        .expect("CRM_TEST_DATABASE_URL names a PostgreSQL server; `just test` sets it")
}

fn address_of(database: &str) -> String {
    let server = server();
    let (base, _) = server.rsplit_once('/').expect("an address with a database");
    format!("{base}/{database}")
}

async fn admin() -> Client {
    connect(&server()).await
}

/// A connection of tokio-postgres's own to that address.
pub async fn connect(address: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// Runs `future` to its end on a thread of its own: works inside a test's runtime, and in `Drop`.
fn blocking<T: Send>(future: impl Future<Output = T> + Send) -> T {
    thread::scope(|scope| {
        let outcome = scope.spawn(|| {
            let runtime =
                runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
            runtime.block_on(future)
        });
        outcome.join().expect("what a test needs of the server")
    })
}
