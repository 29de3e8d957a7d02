//! Migrations: on an empty database, on the platform's database, from several instances at once, and with locked
//! tables.

use std::time::Duration;

use crm_adapters::{
    postgres::{
        Pool, Postgres,
        connect::{PlatformSchema, PoolMode},
        migrate::{self, MigrateError},
        schema_check,
    },
    testing::{TestDatabase, platform, pool_settings},
};
use crm_domain::{
    directory::{DirectoryQuery, ports::DirectoryReads as _},
    health::StoreHealth as _,
};
use tokio_postgres::Client;

use crate::schema_check::missing_objects;

const PLATFORM: &str =
    concat!(include_str!("../fixtures/platform-schema.sql"), include_str!("../fixtures/platform-schema-history.sql"));

/// The catalog's description of the tables, except those that this service does not use.
async fn catalog(client: &Client) -> Vec<String> {
    let sql = "
      SELECT format('column %s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                    CASE WHEN a.attnotnull THEN 'not null' END, pg_get_expr(d.adbin, d.adrelid))
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
          AND c.relname NOT IN ('account', 'verification')
      UNION ALL
      SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
          AND conrelid::regclass::text NOT IN ('account', 'verification')
      UNION ALL
      SELECT format('index %s', indexdef) FROM pg_indexes
        WHERE schemaname = 'public' AND tablename NOT IN ('account', 'verification')
      UNION ALL
      SELECT format('enum %s %s %s', t.typname, e.enumsortorder, e.enumlabel) FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
      ORDER BY 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_empty_database_gets_the_platforms_tables() {
    let platform = TestDatabase::empty();
    let platform = (platform.client().await, platform);
    platform.0.batch_execute(PLATFORM).await.unwrap();

    let ours = TestDatabase::empty();
    assert!(!migrate::pending(&ours.connector(), migrate::Platform::Standalone).await.unwrap().is_empty());
    let applied = migrate::migrate(&ours.connector(), migrate::Platform::Standalone).await.unwrap();
    assert!(!applied.is_empty());
    assert_eq!(catalog(&ours.client().await).await, catalog(&platform.0).await);

    assert_eq!(migrate::pending(&ours.connector(), migrate::Platform::Standalone).await.unwrap(), Vec::<String>::new());
    assert_eq!(migrate::migrate(&ours.connector(), migrate::Platform::Standalone).await.unwrap(), Vec::<String>::new());
    assert_eq!(missing_objects(&ours.pool()).await.unwrap(), Vec::<String>::new());
}

/// Every row of the platform's tables, as text.
async fn rows(client: &Client) -> Vec<String> {
    let mut rows = Vec::new();
    for table in schema_check::NEEDED.iter().map(|table| table.name).filter(|name| !name.starts_with("crm.")) {
        let sql = format!("SELECT '{table}' || row_to_json(t)::text FROM \"{table}\" t ORDER BY 1");
        rows.extend(client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn migrations_leave_an_existing_platform_database_unchanged() {
    let database = TestDatabase::empty();
    let client = database.client().await;
    client.batch_execute(PLATFORM).await.unwrap();
    platform::customer(&client, "usr_1", "Asha Rao").await;
    platform::user(&client, "usr_desk", "Desk", Some("receptionist")).await;
    platform::tag(&client, "tag_1", "VIP", None).await;
    platform::assign(&client, "usr_1", "tag_1", "usr_desk").await;
    platform::booking(&client, "bkg_1", "usr_1").await;
    platform::sign_in(&client, "usr_desk").await;
    // Changes that the platform may have made to its tables: another type, column, index, name.
    client
        .batch_execute(
            "ALTER TABLE session ALTER expires_at TYPE timestamp;
             ALTER TABLE \"user\" ADD COLUMN phone_number text;
             ALTER TYPE gender ADD VALUE 'unknown';
             DROP INDEX booking_status_idx;
             ALTER TABLE customer_note RENAME CONSTRAINT customer_note_author_id_fkey TO customer_note_author_id_user_id_fk",
        )
        .await
        .unwrap();
    let before = (catalog(&client).await, rows(&client).await);

    assert!(!migrate::migrate(&database.connector(), migrate::Platform::Standalone).await.unwrap().is_empty());
    assert_eq!((catalog(&client).await, rows(&client).await), before);
    assert_eq!(missing_objects(&database.pool()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_missing_table_is_created_and_the_others_are_kept() {
    let database = TestDatabase::empty();
    let client = database.client().await;
    client.batch_execute(PLATFORM).await.unwrap();
    let whole = catalog(&client).await;
    client
        .batch_execute("DROP TABLE customer_note; DROP TABLE customer_tag_assignment; DROP TABLE customer_tag")
        .await
        .unwrap();
    migrate::migrate(&database.connector(), migrate::Platform::Standalone).await.unwrap();
    assert_eq!(catalog(&client).await, whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_instances_apply_each_migration_once() {
    let database = TestDatabase::empty();
    let instances: Vec<_> = (0..4)
        .map(|_| {
            let connector = database.connector();
            tokio::spawn(async move { migrate::migrate(&connector, migrate::Platform::Standalone).await.unwrap() })
        })
        .collect();
    let mut applied = Vec::new();
    for instance in instances {
        applied.extend(instance.await.unwrap());
    }
    let mut once = applied.clone();
    once.sort();
    once.dedup();
    assert_eq!(applied.len(), once.len(), "applied twice: {applied:?}");
    assert_eq!(missing_objects(&database.pool()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn listing_pending_migrations_changes_nothing() {
    let database = TestDatabase::empty();
    assert!(!migrate::pending(&database.connector(), migrate::Platform::Standalone).await.unwrap().is_empty());
    let client = database.client().await;
    let count = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace)
                   + (SELECT count(*) FROM pg_namespace WHERE nspname = 'crm')";
    let objects: i64 = client.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(objects, 0);
}

/// The list of applied migrations as earlier versions kept it: among the platform's tables, readable for the role of the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_list_of_migrations_moves_and_running_older_versions_still_find_it() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let role: String = client.query_one("SELECT current_database()::text || '_role'", &[]).await.unwrap().get(0);
    client
        .batch_execute(&format!(
            "DROP SCHEMA crm CASCADE; CREATE ROLE {role};
             CREATE TABLE __diesel_schema_migrations (version varchar(50) PRIMARY KEY, run_on timestamp NOT NULL DEFAULT now());
             INSERT INTO __diesel_schema_migrations (version) VALUES ('20261123090000');
             GRANT SELECT (version) ON __diesel_schema_migrations TO {role}"
        ))
        .await
        .unwrap();
    let pending = migrate::pending(&database.connector(), migrate::Platform::Standalone).await.unwrap();
    let later = "2026-11-27-090000_notes_timeline_and_idempotency";
    assert_eq!(pending, ["schema crm with its list of applied migrations", later]);
    assert_eq!(migrate::migrate(&database.connector(), migrate::Platform::Standalone).await.unwrap(), pending);
    assert_eq!(
        migrate::pending(&database.connector(), migrate::Platform::Standalone).await.unwrap(),
        Vec::<String>::new()
    );
    client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
    for (table, expected) in [
        ("crm.__diesel_schema_migrations", &["20261123090000", "20261127090000"][..]),
        ("public.__diesel_schema_migrations", &["20261123090000"]),
    ] {
        let sql = format!("SELECT version FROM {table} ORDER BY 1");
        let versions: Vec<String> = client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert_eq!(versions, expected, "{table}");
    }
    client.batch_execute(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_platforms_tables_may_be_in_any_schema_whatever_the_search_path() {
    let database = TestDatabase::empty();
    let client = database.client().await;
    let name: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    client
        .batch_execute(&format!(
            "CREATE SCHEMA \"Salon \"\"A\"\"\"; CREATE SCHEMA other; ALTER DATABASE {name} SET search_path = other"
        ))
        .await
        .unwrap();
    let connector = database.connector().with_schema(PlatformSchema::parse("Salon \"A\"").unwrap());
    migrate::migrate(&connector, migrate::Platform::Standalone).await.unwrap();
    for mode in [PoolMode::Session, PoolMode::Transaction] {
        let mut settings = pool_settings(1);
        settings.session.mode = mode;
        let pool = Pool::new(connector.clone(), settings);
        assert_eq!(missing_objects(&pool).await.unwrap(), Vec::<String>::new(), "{mode:?}");
        let postgres = Postgres::new(pool);
        assert_eq!(postgres.list_customers(&DirectoryQuery::default()).await.unwrap().total_count, 0, "{mode:?}");
        assert!(postgres.is_migrated().await.unwrap());
    }
    let elsewhere =
        "SELECT count(*) FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'other'::regnamespace)";
    assert_eq!(client.query_one(elsewhere, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// Creates the platform's tables without `customer_profile`. A migration that creates it references `"user"`, which
/// needs a lock that waits for writers. Returns a connection of the platform.
async fn platform_without_profiles(database: &TestDatabase) -> Client {
    let client = database.client().await;
    client.batch_execute(PLATFORM).await.unwrap();
    platform::user(&client, "usr_1", "Asha Rao", Some("customer")).await;
    platform::user(&client, "usr_2", "Bela Shah", Some("customer")).await;
    client.batch_execute("DROP TABLE customer_profile").await.unwrap();
    client
}

/// The migration gives up its lock request and lets the platform's statements pass before it retries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_waits_for_a_lock_does_not_block_the_platform() {
    let database = TestDatabase::empty();
    let mut client = platform_without_profiles(&database).await;
    let holder = client.transaction().await.unwrap();
    holder.batch_execute("UPDATE \"user\" SET name = 'Asha' WHERE id = 'usr_1'").await.unwrap();

    let connector = database.connector();
    let migrating = tokio::spawn(async move { migrate::migrate(&connector, migrate::Platform::Standalone).await });
    let platform = database.client().await;
    platform.batch_execute("SET lock_timeout = '3s'").await.unwrap();
    // Once during the first attempt, once during a retry.
    for _ in 0..2 {
        crate::customer::wait_for_blocked_statement(&database).await;
        // The update waits behind the migration's lock request and proceeds when the migration gives that up.
        platform.batch_execute("UPDATE \"user\" SET name = 'Bela' WHERE id = 'usr_2'").await.unwrap();
    }
    assert!(!migrating.is_finished());
    holder.commit().await.unwrap();
    assert!(!migrating.await.unwrap().unwrap().is_empty());
    assert_eq!(missing_objects(&database.pool()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_migration_blocked_by_a_lock_times_out_and_leaves_no_changes() {
    let database = TestDatabase::empty();
    let mut client = platform_without_profiles(&database).await;
    let holder = client.transaction().await.unwrap();
    holder.batch_execute("UPDATE \"user\" SET name = 'Asha' WHERE id = 'usr_1'").await.unwrap();

    let outcome =
        migrate::migrate_within(&database.connector(), migrate::Platform::Standalone, Duration::from_secs(1)).await;
    let Err(error @ MigrateError::Locked(_)) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("run this again"), "{error}");
    let sql = "SELECT to_regclass('customer_profile') IS NULL";
    assert!(database.client().await.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
    assert!(!migrate::pending(&database.connector(), migrate::Platform::Standalone).await.unwrap().is_empty());

    holder.commit().await.unwrap();
    assert!(!migrate::migrate(&database.connector(), migrate::Platform::Standalone).await.unwrap().is_empty());
}

/// An error of the migration itself, not of a lock, is reported at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_migration_that_cannot_succeed_is_not_retried() {
    let database = TestDatabase::empty();
    // A foreign key cannot refer to a view.
    database.client().await.batch_execute("CREATE VIEW \"user\" AS SELECT 'usr_1' AS id").await.unwrap();
    let outcome =
        migrate::migrate_within(&database.connector(), migrate::Platform::Standalone, Duration::from_secs(60)).await;
    assert!(matches!(outcome, Err(MigrateError::Migration(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_times_out_while_another_one_still_migrates() {
    let database = TestDatabase::empty();
    let mut client = platform_without_profiles(&database).await;
    let holder = client.transaction().await.unwrap();
    holder.batch_execute("UPDATE \"user\" SET name = 'Asha' WHERE id = 'usr_1'").await.unwrap();
    let connector = database.connector();
    let first = tokio::spawn(async move { migrate::migrate(&connector, migrate::Platform::Standalone).await });
    crate::customer::wait_for_blocked_statement(&database).await;

    let second =
        migrate::migrate_within(&database.connector(), migrate::Platform::Standalone, Duration::from_secs(1)).await;
    assert!(matches!(second, Err(MigrateError::Busy(_))), "{second:?}");
    holder.commit().await.unwrap();
    assert!(!first.await.unwrap().unwrap().is_empty());
}
