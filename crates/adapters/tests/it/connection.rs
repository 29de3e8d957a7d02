//! Connections: session parameters, TLS, replacement, and the store errors of their failures.

use std::{path::Path, time::Duration};

use crm_adapters::{
    postgres::{
        Pool, PoolSettings, Postgres,
        connect::{Connector, PoolMode, SessionSettings},
    },
    testing::{TestDatabase, platform, pool_settings, read_counts},
};
use crm_domain::{
    customer::ports::CustomerReads as _,
    directory::{DirectoryQuery, ports::DirectoryReads as _},
    ids::UserId,
    store_error::StoreError,
    unit_of_work::Store as _,
};

fn id() -> UserId {
    UserId::parse("usr_1").unwrap()
}

fn postgres_with(connector: Connector, settings: PoolSettings) -> Postgres {
    Postgres::new(Pool::new(connector, settings))
}

#[tokio::test]
async fn a_lock_timeout_is_unavailable() {
    let database = TestDatabase::migrated();
    let mut platform = database.client().await;
    platform::customer(&platform, "usr_1", "Asha Rao").await;
    let holder = platform.transaction().await.unwrap();
    holder.batch_execute("SELECT 1 FROM customer_profile FOR UPDATE").await.unwrap();

    let mut settings = pool_settings(2);
    settings.session.lock_timeout = Duration::from_millis(50);
    let mut tx = postgres_with(database.connector(), settings).begin().await.unwrap();
    let outcome = tx.lock_profile(&id()).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_statement_timeout_is_unavailable() {
    let database = TestDatabase::migrated();
    let mut platform = database.client().await;
    let holder = platform.transaction().await.unwrap();
    holder.batch_execute("LOCK TABLE customer_profile").await.unwrap();

    let mut settings = pool_settings(2);
    settings.session.statement_timeout = Duration::from_millis(50);
    let postgres = postgres_with(database.connector(), settings);
    let outcome = postgres.list_customers(&DirectoryQuery::default()).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    holder.rollback().await.unwrap();
    assert!(postgres.list_customers(&DirectoryQuery::default()).await.is_ok(), "the connection serves on");
}

#[tokio::test]
async fn an_exhausted_pool_and_an_unreachable_server_are_unavailable() {
    let database = TestDatabase::migrated();
    let mut settings = pool_settings(1);
    settings.wait = Duration::from_millis(50);
    let postgres = postgres_with(database.connector(), settings);
    let tx = postgres.begin().await.unwrap();
    let outcome = postgres.find_profile(&id()).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    tx.rollback().await.unwrap();
    assert!(postgres.find_profile(&id()).await.is_ok(), "the connection came back");

    let nowhere = Connector::parse("postgres://nobody@127.0.0.1:1/none").unwrap();
    let outcome = postgres_with(nowhere, pool_settings(1)).find_profile(&id()).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_connection_terminated_by_the_server_is_replaced() {
    let database = TestDatabase::migrated();
    let postgres = postgres_with(database.connector(), pool_settings(1));
    assert!(postgres.find_profile(&id()).await.is_ok());
    let client = database.client().await;
    let sql = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.execute(sql, &[]).await.unwrap();
    // The first read may fail on the terminated connection; later reads must not.
    let _ = postgres.find_profile(&id()).await;
    assert!(postgres.find_profile(&id()).await.is_ok());
}

/// A transaction with a failed statement must not report a successful commit.
#[tokio::test]
async fn a_unit_of_work_fails_after_its_first_failed_statement() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    client.batch_execute("ALTER TABLE customer_profile ADD CONSTRAINT few CHECK (noshow_count < 5)").await.unwrap();
    let mut tx = database.postgres().begin().await.unwrap();
    let mut profile = tx.lock_profile(&id()).await.unwrap().unwrap();
    profile.noshow_count = 7;
    assert!(matches!(tx.save_gates(&profile).await, Err(StoreError::Unexpected(_))));
    assert!(tx.lock_profile(&id()).await.is_err());
    assert!(tx.commit().await.is_err());
}

#[tokio::test]
async fn every_connection_sets_its_session_parameters() {
    let database = TestDatabase::migrated();
    let connector = database.connector();
    let settings = SessionSettings {
        mode: PoolMode::Session,
        statement_timeout: Duration::from_secs(5),
        lock_timeout: Duration::from_millis(1500),
        idle_in_transaction_timeout: Duration::from_secs(9),
    };
    // The server reports the parameters of this connection.
    let mut connection = connector.connect(settings).await.unwrap();
    for (name, value) in [
        ("statement_timeout", "5s"),
        ("lock_timeout", "1500ms"),
        ("idle_in_transaction_session_timeout", "9s"),
        ("TimeZone", "UTC"),
        ("plan_cache_mode", "force_generic_plan"),
        ("jit", "off"),
        ("application_name", "royal-glow-crm"),
    ] {
        let actual: String = diesel_async::RunQueryDsl::get_result(
            diesel::dsl::sql::<diesel::sql_types::Text>(&format!("SELECT current_setting('{name}')")),
            &mut connection,
        )
        .await
        .unwrap();
        assert_eq!(actual, value, "{name}");
    }
}

/// The test server has a self-signed certificate (`.just/cluster`): its connections are encrypted, but no known
/// authority has issued the certificate.
#[tokio::test]
async fn sslmode_and_sslrootcert_follow_libpq() {
    let database = TestDatabase::migrated();
    let encrypted = async |query: &str| -> Result<bool, String> {
        let connector =
            Connector::parse(&format!("{}?{query}", database.address())).map_err(|error| error.to_string())?;
        let mut connection = connector.connect_plainly().await.map_err(|error| error.to_string())?;
        diesel_async::RunQueryDsl::get_result(
            diesel::dsl::sql::<diesel::sql_types::Bool>("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"),
            &mut connection,
        )
        .await
        .map_err(|error| error.to_string())
    };
    assert_eq!(encrypted("sslmode=disable").await, Ok(false));
    assert_eq!(encrypted("sslmode=prefer").await, Ok(true));
    assert_eq!(encrypted("").await, Ok(true));
    assert_eq!(encrypted("sslmode=require").await, Ok(true));
    assert!(encrypted("sslmode=verify-full").await.is_err(), "the system's roots do not know this server");

    let client = database.client().await;
    let certificate: String =
        client.query_one("SELECT pg_read_file(current_setting('ssl_cert_file'))", &[]).await.unwrap().get(0);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate).unwrap();
    let root = format!("sslmode=verify-full&sslrootcert={}", file.path().display());
    assert_eq!(encrypted(&root).await, Ok(true));
    // The certificate is valid for 127.0.0.1 only.
    let other_name = database.address().replace("127.0.0.1", "localhost");
    let connector = Connector::parse(&format!("{other_name}?{root}")).unwrap();
    assert!(connector.connect_plainly().await.is_err());
    // The weaker modes verify the issuer of the certificate, but not its host name.
    let stranger = tempfile::NamedTempFile::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(stranger.path(), made.cert.pem()).unwrap();
    for mode in ["verify-ca", "require", "prefer"] {
        let query = |root: &Path| format!("sslmode={mode}&sslrootcert={}", root.display());
        let connector = Connector::parse(&format!("{other_name}?{}", query(file.path()))).unwrap();
        assert!(connector.connect_plainly().await.is_ok(), "{mode}");
        assert_eq!(encrypted(&query(file.path())).await, Ok(true), "{mode}");
        // Unlike libpq, `prefer` does not fall back to an unencrypted connection.
        assert!(
            encrypted(&query(stranger.path())).await.is_err(),
            "{mode}: not the authority of the server's certificate"
        );
    }
    assert!(encrypted("sslrootcert=system").await.is_err(), "as with verify-full");
}

/// A migration of the platform invalidates the prepared statements that read the altered column, on every connection of
/// the pool at once.
#[tokio::test]
async fn an_altered_column_fails_no_read() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    let postgres = database.postgres();
    let query = DirectoryQuery::default();
    for column_type in ["varchar(300)", "text"] {
        // Every connection of the pool prepares the statement.
        let warm = (0..4).map(|_| postgres.list_customers(&query));
        futures_util::future::try_join_all(warm).await.unwrap();
        client.batch_execute(&format!("ALTER TABLE \"user\" ALTER name TYPE {column_type}")).await.unwrap();
        for _ in 0..8 {
            assert_eq!(postgres.list_customers(&query).await.unwrap().total_count, 1);
        }
    }
}

/// A unit of work cannot be retried. Its failure makes the pool replace all connections, so one unit of work fails, not
/// one for each connection.
#[tokio::test]
async fn an_altered_column_fails_at_most_one_unit_of_work() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    let postgres = database.postgres();
    let lock = async || {
        let mut tx = postgres.begin().await?;
        let locked = tx.lock_profile(&id()).await;
        tx.rollback().await?;
        locked
    };
    // Each connection of the pool prepares the statement.
    for _ in 0..2 {
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(postgres.begin().await.unwrap());
        }
        for mut tx in open {
            let _ = tx.lock_profile(&UserId::parse("usr_none").unwrap()).await.unwrap();
            tx.rollback().await.unwrap();
        }
    }
    client.batch_execute("ALTER TABLE customer_profile ALTER acquisition_source TYPE varchar(300)").await.unwrap();
    let mut failures = 0;
    for _ in 0..8 {
        match lock().await {
            Ok(profile) => assert!(profile.is_some()),
            Err(StoreError::Unavailable(_)) => failures += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(failures <= 1, "{failures}");
}

/// After the server has terminated all connections at once, every unit of work begins on a live connection.
#[tokio::test]
async fn connections_terminated_by_the_server_fail_no_unit_of_work() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    let postgres = database.postgres();
    for _ in 0..5 {
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(postgres.begin().await.unwrap());
        }
        for tx in open {
            tx.rollback().await.unwrap();
        }
        let sql = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        client.execute(sql, &[]).await.unwrap();
        for _ in 0..4 {
            let mut tx = postgres.begin().await.unwrap();
            assert!(tx.lock_profile(&id()).await.unwrap().is_some());
            tx.rollback().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_connection_past_its_maximum_age_is_replaced() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let backends = async || -> Vec<i32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'royal-glow-crm'";
        client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    for (max_age, is_replaced) in [(Duration::from_secs(600), false), (Duration::ZERO, true)] {
        let settings = PoolSettings { max_age, ..pool_settings(1) };
        let postgres = postgres_with(database.connector(), settings);
        assert!(postgres.find_profile(&id()).await.is_ok());
        let before = backends().await;
        assert!(postgres.find_profile(&id()).await.is_ok());
        let after = backends().await;
        let kept = after.iter().any(|pid| before.contains(pid) && before.len() == 1 && after.len() == 1);
        assert_eq!(kept, !is_replaced, "{before:?} {after:?}");
        drop(postgres);
        while !backends().await.is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

/// The message of a platform trigger may contain personal data, so it must not be logged.
#[tokio::test]
async fn the_cause_omits_the_message_of_a_trigger() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    for message in ["customer Jane Doe must not be changed", "canceling the visit of Jane Doe", "« Jane Doe »"] {
        let trigger = format!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{message}'; END $$;
             DROP TRIGGER IF EXISTS refuse ON customer_profile;
             CREATE TRIGGER refuse BEFORE UPDATE ON customer_profile FOR EACH ROW EXECUTE FUNCTION refuse()"
        );
        client.batch_execute(&trigger).await.unwrap();
        let mut tx = database.postgres().begin().await.unwrap();
        let mut profile = tx.lock_profile(&id()).await.unwrap().unwrap();
        profile.noshow_count = 7;
        let error = tx.save_gates(&profile).await.unwrap_err();
        let StoreError::Unexpected(cause) = &error else { panic!("{error:?}") };
        assert!(!cause.to_string().contains("Jane") && !format!("{error:?}").contains("Jane"), "{error:?}");
    }
}

/// The order of the columns in a statement does not matter.
#[tokio::test]
async fn columns_are_mapped_by_name() {
    let database = TestDatabase::empty();
    for sql in ["SELECT 7 AS total_visits, 3 AS noshow_count", "SELECT 3 AS noshow_count, 7 AS total_visits"] {
        assert_eq!(read_counts(&database.pool(), sql).await, (7, 3), "{sql}");
    }
}

/// Each statement that reads the row reports the column.
#[tokio::test]
async fn an_unexpected_null_is_an_error_that_names_its_column() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    client
        .batch_execute(
            "ALTER TABLE customer_profile ALTER total_visits DROP NOT NULL; UPDATE customer_profile SET total_visits = NULL",
        )
        .await
        .unwrap();
    let postgres = database.postgres();
    let failures = [
        postgres.list_customers(&DirectoryQuery::default()).await.map(drop).unwrap_err(),
        postgres.find_customer(&id()).await.map(drop).unwrap_err(),
        postgres.find_profile(&id()).await.map(drop).unwrap_err(),
    ];
    for failure in failures {
        let StoreError::Unexpected(cause) = &failure else { panic!("{failure:?}") };
        assert!(cause.to_string().contains("total_visits"), "{cause}");
    }
}

/// A read whose caller is cancelled must not return a busy connection to the pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_read_discards_its_connection() {
    let database = TestDatabase::migrated();
    let mut platform = database.client().await;
    platform::customer(&platform, "usr_1", "Asha Rao").await;
    let postgres = postgres_with(database.connector(), pool_settings(1));
    assert!(postgres.find_profile(&id()).await.is_ok());
    let holder = platform.transaction().await.unwrap();
    holder.batch_execute("LOCK TABLE customer_note").await.unwrap();
    let waiting = {
        let postgres = postgres.clone();
        tokio::spawn(async move {
            crm_domain::note::ports::NoteReads::list_notes(&postgres, &id(), crm_domain::page::PageRequest::default())
                .await
        })
    };
    crate::customer::wait_for_blocked_statement(&database).await;
    waiting.abort();
    assert!(waiting.await.is_err());
    // The pool's only place is free although the lock is still held.
    assert!(postgres.find_profile(&id()).await.unwrap().is_some());
    holder.rollback().await.unwrap();
}
