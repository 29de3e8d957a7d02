//! The check before serving: whatever is missing is named, all of it at once.

use std::sync::Arc;

use crm_adapters::{
    better_auth::{
        BetterAuth,
        cookie::{CookieName, Secret},
    },
    postgres::{Pool, Postgres, connect::Connector, schema_check},
    testing::{
        TestDatabase,
        platform::{self, SECRET},
        pool_settings,
    },
};
use crm_domain::{
    customer::{GateOverride, NoShowCount, usecases::Customers},
    directory::{DirectoryQuery, SearchTerm, SortKey, TagFilter, ports::DirectoryReads as _},
    health::StoreHealth as _,
    ids::{BookingId, UserId},
    note::{NoteContent, usecases::Notes},
    page::PageRequest,
    session::Sessions as _,
    tag::{TagError, TagName, usecases::Tags},
    testing::{SequentialIds, clock},
};

#[tokio::test]
async fn every_table_and_column_that_is_missing_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for schema_check::NeededTable { name: table, columns, .. } in schema_check::NEEDED {
        for column in columns.iter().map(|column| column.name) {
            client
                .batch_execute(&format!("ALTER TABLE \"{table}\" RENAME COLUMN {column} TO elsewhere"))
                .await
                .unwrap();
            let missing = schema_check::missing_objects(&database.pool()).await.unwrap();
            assert_eq!(missing, [format!("column {table}.{column}")]);
            client
                .batch_execute(&format!("ALTER TABLE \"{table}\" RENAME COLUMN elsewhere TO {column}"))
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn an_empty_database_lacks_every_table() {
    let database = TestDatabase::empty();
    let missing = schema_check::missing_objects(&database.pool()).await.unwrap();
    let tables: Vec<_> = schema_check::NEEDED.iter().map(|table| format!("table {}", table.name)).collect();
    assert_eq!(missing[..tables.len()], tables);
    assert_eq!(missing[tables.len()..], ["type audit_action with create, update, delete"]);
}

#[tokio::test]
async fn a_database_that_is_not_utf8_is_refused() {
    let database = TestDatabase::empty();
    let client = database.client().await;
    let name: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let latin = format!("{name}_latin");
    client
        .batch_execute(&format!("CREATE DATABASE {latin} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"))
        .await
        .unwrap();
    let address = database.address().replace(&name, &latin);
    let pool = Pool::new(Connector::parse(&address).unwrap(), pool_settings(1));
    let missing = schema_check::missing_objects(&pool).await.unwrap();
    client.batch_execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await.unwrap();
    assert!(missing.contains(&"encoding UTF8".to_owned()), "{missing:?}");
}

#[tokio::test]
async fn what_the_writes_rely_on_is_named_too() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client
        .batch_execute(
            "ALTER TABLE customer_tag DROP CONSTRAINT customer_tag_slug_unique;
             CREATE UNIQUE INDEX partial ON customer_tag (slug) WHERE color IS NULL;
             ALTER TABLE customer_tag_assignment DROP CONSTRAINT customer_tag_assignment_customer_id_tag_id_pk;
             ALTER TYPE audit_action RENAME VALUE 'update' TO 'change'",
        )
        .await
        .unwrap();
    assert_eq!(
        schema_check::missing_objects(&database.pool()).await.unwrap(),
        [
            "unique index on customer_tag (slug)",
            "unique index on customer_tag_assignment (customer_id, tag_id)",
            "type audit_action with create, update, delete"
        ]
    );
}

#[tokio::test]
async fn a_column_that_may_hold_null_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for table in schema_check::NEEDED {
        for column in table.columns.iter().filter(|column| column.is_not_null) {
            let (table, column) = (table.name, column.name);
            let alter = |what: &str| format!("ALTER TABLE \"{table}\" ALTER {column} {what} NOT NULL");
            // A part of a primary key cannot hold NULL.
            if client.batch_execute(&alter("DROP")).await.is_err() {
                continue;
            }
            let missing = schema_check::missing_objects(&database.pool()).await.unwrap();
            assert_eq!(missing, [format!("constraint NOT NULL on {table}.{column}")]);
            client.batch_execute(&alter("SET")).await.unwrap();
        }
    }
}

/// A second row would make two lines of one.
#[tokio::test]
async fn what_the_joins_rely_on_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client
        .batch_execute(
            "ALTER TABLE loyalty_account DROP CONSTRAINT loyalty_account_customer_id_unique;
             CREATE UNIQUE INDEX including ON loyalty_account (customer_id, id);
             ALTER TABLE customer_profile DROP CONSTRAINT customer_profile_user_id_unique;
             CREATE UNIQUE INDEX expression ON customer_profile (lower(user_id));
             ALTER TABLE session DROP CONSTRAINT session_token_unique;
             CREATE UNIQUE INDEX token ON session (token) INCLUDE (user_id)",
        )
        .await
        .unwrap();
    assert_eq!(
        schema_check::missing_objects(&database.pool()).await.unwrap(),
        ["unique index on customer_profile (user_id)", "unique index on loyalty_account (customer_id)"]
    );
}

/// The documented grants, for a role of this test's own.
fn documented_grants(role: &str) -> Vec<String> {
    let document = include_str!("../../../../docs/OPERATIONS.md");
    let grants = document.split("\nGRANT").skip(1).filter_map(|grant| grant.split(" TO crm;").next());
    grants.map(|grant| format!("GRANT{grant} TO {role}")).collect()
}

/// A role with the documented grants and no other rights.
struct RestrictedRole {
    name: String,
    grants: Vec<String>,
}

impl RestrictedRole {
    async fn create(database: &TestDatabase) -> Self {
        let client = database.client().await;
        let name: String = client.query_one("SELECT current_database()::text || '_role'", &[]).await.unwrap().get(0);
        let grants = documented_grants(&name);
        client.batch_execute(&format!("CREATE ROLE {name}; {}", grants.join(";"))).await.unwrap();
        Self { name, grants }
    }

    fn pool(&self, database: &TestDatabase) -> Pool {
        let address = format!("{}?options=-c%20role%3D{}", database.address(), self.name);
        Pool::new(Connector::parse(&address).unwrap(), pool_settings(1))
    }

    async fn drop(self, database: &TestDatabase) {
        let client = database.client().await;
        client.batch_execute(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name)).await.unwrap();
    }
}

/// With the grants of docs/OPERATIONS.md, word for word, the check finds nothing missing; with one less, it names it.
#[tokio::test]
async fn the_documented_grants_are_enough_and_none_is_idle() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let role = RestrictedRole::create(&database).await;
    let pool = role.pool(&database);
    let complete = schema_check::missing_objects(&pool).await.unwrap();
    let mut lacking = Vec::new();
    for grant in &role.grants {
        let revoke = grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ");
        client.batch_execute(&revoke).await.unwrap();
        lacking.push(schema_check::missing_objects(&pool).await.unwrap());
        client.batch_execute(grant).await.unwrap();
    }
    let grants = role.grants.clone();
    // What a role has beyond the grants: it reads no column that no statement needs.
    let sql = "SELECT count(*) FROM information_schema.column_privileges WHERE grantee = $1";
    let granted: i64 = client.query_one(sql, &[&role.name]).await.unwrap().get(0);
    role.drop(&database).await;
    assert_eq!(complete, Vec::<String>::new());
    assert!(grants.len() > 10);
    for (grant, lacking) in grants.iter().zip(lacking) {
        let all_are_privileges = lacking.iter().all(|line| line.starts_with("privilege "));
        assert!(!lacking.is_empty() && all_are_privileges, "{grant}: {lacking:?}");
    }
    let needed = 8 + 3 + 23 + 3 + 2 + 6 * 2 + 4 * 2 + 2 + 6 * 2 + 8 + 1;
    assert_eq!(granted, needed, "exactly what the statements need");
}

/// Every port works with exactly the documented rights.
#[tokio::test]
async fn every_port_works_with_the_documented_grants() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    platform::user(&client, "usr_desk", "Desk", Some("receptionist")).await;
    platform::booking(&client, "bkg_1", "usr_1").await;
    let cookie = platform::sign_in(&client, "usr_desk").await;
    let role = RestrictedRole::create(&database).await;
    let pool = role.pool(&database);
    let postgres = Arc::new(Postgres::new(pool.clone()));
    let (clock, ids) = (clock(), Arc::new(SequentialIds::default()));
    let sessions = BetterAuth {
        cookie_name: CookieName::new(false, "better-auth", None),
        secret: Secret::new(SECRET).unwrap(),
        pool,
        clock: clock.clone(),
    };
    let customers =
        Customers { store: postgres.clone(), reads: postgres.clone(), clock: clock.clone(), ids: ids.clone() };
    let tags = Tags { store: postgres.clone(), reads: postgres.clone(), clock: clock.clone(), ids: ids.clone() };
    let notes = Notes { store: postgres.clone(), reads: postgres.clone(), clock, ids };
    let customer = UserId::parse("usr_1").unwrap();

    let header = format!("better-auth.session_token={cookie}");
    let desk = sessions.find_actor(header.as_bytes()).await.unwrap().actor().unwrap();
    assert!(postgres.has_schema().await.unwrap() && postgres.is_migrated().await.unwrap());
    let name = TagName::parse("VIP").unwrap();
    let tag = tags.create(&desk, &name, None).await.unwrap();
    assert!(matches!(tags.create(&desk, &name, None).await, Err(TagError::SlugTaken)));
    tags.assign(&desk, customer.clone(), tag.id.clone()).await.unwrap();
    tags.assign(&desk, customer.clone(), tag.id.clone()).await.unwrap();
    let booking = Some(BookingId::parse("bkg_1").unwrap());
    notes.write(&desk, customer.clone(), NoteContent::parse("patch test").unwrap(), booking).await.unwrap();
    let lift =
        GateOverride { noshow_count: Some(NoShowCount::parse(3).unwrap()), booking_requires_approval: Some(true) };
    assert_eq!(customers.override_gates(&desk, &customer, lift).await.unwrap().noshow_count, 3);
    assert_eq!(customers.find(&customer).await.unwrap().tags.len(), 1);
    for sort in SortKey::ALL {
        let tag = TagFilter::parse("vip").unwrap();
        let query =
            DirectoryQuery { sort, tag, search: SearchTerm::parse("asha").unwrap(), ..DirectoryQuery::default() };
        assert_eq!(postgres.list_customers(&query).await.unwrap().total_count, 1, "{sort:?}");
    }
    assert_eq!(notes.list(&customer, PageRequest::default()).await.unwrap().total_count, 1);
    assert_eq!(tags.list().await.unwrap().len(), 1);
    tags.unassign(&desk, &customer, &tag.id).await.unwrap();
    let entries: i64 = client.query_one("SELECT count(*) FROM audit_log", &[]).await.unwrap().get(0);
    role.drop(&database).await;
    assert_eq!(entries, 5);
}
