//! The schema check before the service starts: it names every missing object at once.

use std::{error::Error, sync::Arc};

use crm_adapters::{
    better_auth::{
        BetterAuth,
        cookie::{CookieName, Secret},
    },
    postgres::{
        Pool, Postgres,
        connect::{Connector, PlatformSchema},
        migrate, schema_check,
    },
    testing::{
        TestDatabase,
        platform::{self, SECRET},
        pool_settings,
    },
};
use crm_domain::{
    customer::{GateOverride, NoShowCount, ports::CustomerReads as _, usecases::Customers},
    directory::{DirectoryQuery, SearchTerm, SortKey, TagFilter, ports::DirectoryReads as _},
    health::StoreHealth as _,
    idempotency::{
        IdempotentRequest, KeptAnswer,
        usecases::{Idempotency, Outcome},
    },
    ids::{BookingId, TagId, UserId},
    note::{NoteContent, NoteUpdate, usecases::Notes},
    page::PageRequest,
    precondition::Precondition,
    role::Actor,
    session::Sessions as _,
    store_error::StoreError,
    tag::{BulkAssignment, TagError, TagMerge, TagName, TagUpdate, usecases::Tags},
    testing::{NOW, SequentialIds, clock},
    timeline::{TimelineLimit, ports::TimelineReads as _},
};
use tokio_postgres::Client;

use crate::optional_parts;

/// What the database lacks, a line each.
pub(crate) async fn missing_objects(pool: &Pool) -> Result<Vec<String>, StoreError> {
    Ok(schema_check::lacks(pool).await?.iter().map(ToString::to_string).collect())
}

/// The table's name in SQL.
fn quoted(table: &str) -> String {
    if table.starts_with("crm.") { table.to_owned() } else { format!("\"{table}\"") }
}

#[tokio::test]
async fn every_missing_column_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for schema_check::NeededTable { name: table, columns, .. } in schema_check::NEEDED {
        for column in columns.iter().map(|column| column.name) {
            client
                .batch_execute(&format!("ALTER TABLE {} RENAME COLUMN {column} TO elsewhere", quoted(table)))
                .await
                .unwrap();
            let missing = missing_objects(&database.pool()).await.unwrap();
            assert_eq!(missing, [format!("column {table}.{column}")]);
            client
                .batch_execute(&format!("ALTER TABLE {} RENAME COLUMN elsewhere TO {column}", quoted(table)))
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn an_empty_database_lacks_every_table() {
    let database = TestDatabase::empty();
    let missing = missing_objects(&database.pool()).await.unwrap();
    let tables: Vec<_> = schema_check::NEEDED.iter().map(|table| format!("table {}", table.name)).collect();
    assert_eq!(missing[..tables.len()], tables);
    assert_eq!(missing[tables.len()..], ["type audit_action with create, update, delete"]);
}

#[tokio::test]
async fn a_database_that_is_not_utf8_fails_the_check() {
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
    let missing = missing_objects(&pool).await.unwrap();
    client.batch_execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await.unwrap();
    assert!(missing.contains(&"encoding UTF8".to_owned()), "{missing:?}");
}

#[tokio::test]
async fn a_missing_value_of_the_audit_action_type_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client.batch_execute("ALTER TYPE audit_action RENAME VALUE 'update' TO 'change'").await.unwrap();
    let missing = missing_objects(&database.pool()).await.unwrap();
    assert_eq!(missing, ["type audit_action with create, update, delete"]);
}

#[tokio::test]
async fn a_nullable_column_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for table in schema_check::NEEDED {
        for column in table.columns.iter().filter(|column| column.is_not_null) {
            let (table, column) = (table.name, column.name);
            let alter = |what: &str| format!("ALTER TABLE {} ALTER {column} {what} NOT NULL", quoted(table));
            // A part of a primary key cannot hold NULL.
            if client.batch_execute(&alter("DROP")).await.is_err() {
                continue;
            }
            let missing = missing_objects(&database.pool()).await.unwrap();
            assert_eq!(missing, [format!("constraint NOT NULL on {table}.{column}")]);
            client.batch_execute(&alter("SET")).await.unwrap();
        }
    }
}

/// Every key that a join or an `ON CONFLICT` relies on: table, columns and the platform's constraint.
const KEYS: &[(&str, &str, &str)] = &[
    ("user", "id", "user_pkey"),
    ("customer_profile", "id", "customer_profile_pkey"),
    ("customer_profile", "user_id", "customer_profile_user_id_unique"),
    ("loyalty_account", "customer_id", "loyalty_account_customer_id_unique"),
    ("customer_tag", "id", "customer_tag_pkey"),
    ("customer_tag", "slug", "customer_tag_slug_unique"),
    ("customer_tag_assignment", "customer_id, tag_id", "customer_tag_assignment_customer_id_tag_id_pk"),
    ("booking", "id", "booking_pkey"),
    ("customer_note", "id", "customer_note_pkey"),
    ("audit_log", "id", "audit_log_pkey"),
];

/// Without the index, a second row could duplicate a row of a join or a slug. Indexes that do not prevent such a row do
/// not count.
#[tokio::test]
async fn a_missing_unique_index_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let pool = database.pool();
    for (table, columns, constraint) in KEYS {
        let first = columns.split(", ").next().unwrap();
        client
            .batch_execute(&format!(
                "ALTER TABLE \"{table}\" ADD COLUMN IF NOT EXISTS other text;
                 ALTER TABLE \"{table}\" DROP CONSTRAINT {constraint} CASCADE;
                 CREATE UNIQUE INDEX partial ON \"{table}\" ({columns}) WHERE {first} <> '';
                 CREATE UNIQUE INDEX expression ON \"{table}\" (lower({first}));
                 CREATE UNIQUE INDEX longer ON \"{table}\" ({columns}, other);
                 CREATE INDEX not_unique ON \"{table}\" ({columns});
                 CREATE UNIQUE INDEX invalid ON \"{table}\" ({columns});
                 UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'invalid'::regclass"
            ))
            .await
            .unwrap();
        let missing = missing_objects(&pool).await.unwrap();
        assert_eq!(missing, [format!("unique index on {table} ({columns})")]);
        // The order of the columns and included columns do not matter.
        let mut reversed: Vec<&str> = columns.split(", ").collect();
        reversed.reverse();
        client
            .batch_execute(&format!(
                "DROP INDEX partial, expression, longer, not_unique, invalid;
                 CREATE UNIQUE INDEX {constraint} ON \"{table}\" ({}) INCLUDE (other)",
                reversed.join(", ")
            ))
            .await
            .unwrap();
        assert_eq!(missing_objects(&pool).await.unwrap(), Vec::<String>::new(), "{table}");
    }
}

/// For a join it does not matter when PostgreSQL rejects the second row. `ON CONFLICT` does not accept a deferrable
/// constraint.
#[tokio::test]
async fn a_deferrable_constraint_is_named_where_on_conflict_relies_on_it() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client
        .batch_execute(
            "ALTER TABLE loyalty_account DROP CONSTRAINT loyalty_account_customer_id_unique;
             ALTER TABLE loyalty_account ADD CONSTRAINT loyalty_account_customer_id_unique UNIQUE (customer_id) DEFERRABLE",
        )
        .await
        .unwrap();
    let pool = database.pool();
    assert_eq!(missing_objects(&pool).await.unwrap(), Vec::<String>::new());

    // A deferrable constraint next to one that is not deferrable is named too.
    client.batch_execute("ALTER TABLE customer_tag ADD CONSTRAINT second UNIQUE (slug) DEFERRABLE").await.unwrap();
    let insert = "INSERT INTO customer_tag (id, name, slug) VALUES ('t', 'VIP', 'vip') ON CONFLICT (slug) DO NOTHING";
    assert!(client.batch_execute(insert).await.is_err(), "PostgreSQL refuses the statement");
    assert_eq!(
        missing_objects(&pool).await.unwrap(),
        ["NOT DEFERRABLE on each unique constraint on customer_tag (slug)"]
    );
}

/// What the platform changes unseen: each would end in answers that are wrong or fail, while every table and column is there.
#[tokio::test]
async fn changes_that_leave_names_alone_are_named_too() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let pool = database.pool();
    // They refer to a column whose type changes below.
    client.batch_execute("DROP TABLE booking_service, loyalty_transaction, invoice").await.unwrap();
    for (change, undo, lack) in [
        (
            "ALTER TABLE customer_profile ALTER COLUMN total_spent_paise TYPE numeric",
            "ALTER TABLE customer_profile ALTER COLUMN total_spent_paise TYPE integer",
            "type of customer_profile.total_spent_paise: it is numeric, and must be smallint, integer or bigint",
        ),
        (
            "ALTER TABLE customer_note ADD COLUMN branch_id text NOT NULL",
            "ALTER TABLE customer_note DROP COLUMN branch_id",
            "default of customer_note.branch_id, which must not be NULL and which this service does not know",
        ),
        (
            "ALTER TABLE booking ALTER COLUMN id TYPE uuid USING NULL",
            "ALTER TABLE booking ALTER COLUMN id TYPE text",
            "type of booking.id: it is uuid, and must be text or varchar",
        ),
    ] {
        client
            .batch_execute("ALTER TABLE customer_note DROP CONSTRAINT IF EXISTS customer_note_booking_id_fkey")
            .await
            .unwrap();
        client.batch_execute(change).await.unwrap();
        assert_eq!(missing_objects(&pool).await.unwrap(), [lack]);
        client.batch_execute(undo).await.unwrap();
    }
    // A column that fills itself, and one that may be empty, are no lack.
    for harmless in ["branch_id text NOT NULL DEFAULT 'b'", "n bigint GENERATED ALWAYS AS IDENTITY", "other text"] {
        client.batch_execute(&format!("ALTER TABLE customer_note ADD COLUMN {harmless}")).await.unwrap();
    }
    assert_eq!(missing_objects(&pool).await.unwrap(), Vec::<String>::new());
}

/// Integers of any width and strings of any kind are read alike.
#[tokio::test]
async fn every_port_works_with_wider_integers_varchars_and_enums() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let cookie = arrange(&client).await;
    client
        .batch_execute(
            "ALTER TABLE customer_profile ALTER COLUMN total_spent_paise TYPE bigint, ALTER COLUMN total_visits TYPE smallint,
               ALTER COLUMN noshow_count TYPE bigint, ALTER COLUMN phone TYPE varchar(40);
             ALTER TABLE loyalty_account ALTER COLUMN gems_balance TYPE bigint;
             ALTER TABLE customer_note ALTER COLUMN content TYPE varchar;
             CREATE TYPE role AS ENUM ('customer', 'staff', 'receptionist', 'manager');
             ALTER TABLE \"user\" ALTER COLUMN role DROP DEFAULT, ALTER COLUMN role TYPE role USING role::role, ALTER COLUMN name TYPE varchar;
             UPDATE customer_profile SET total_spent_paise = 9007199254740993, total_visits = 7;
             INSERT INTO loyalty_account (id, customer_id, gems_balance) VALUES ('l', 'usr_1', -9007199254740993)",
        )
        .await
        .unwrap();
    let pool = database.pool();
    assert_eq!(missing_objects(&pool).await.unwrap(), Vec::<String>::new());
    use_every_port(&pool, &cookie).await.unwrap();
    let customer = Postgres::new(pool).find_customer(&UserId::parse("usr_1").unwrap()).await.unwrap().unwrap();
    // What JavaScript holds exactly.
    assert_eq!((customer.total_spent_paise, customer.total_visits), (9_007_199_254_740_991, 7));
    assert_eq!(customer.gems_balance, Some(-9_007_199_254_740_991));
}

/// Row level security shows such a role an empty table, without an error.
#[tokio::test]
async fn row_level_security_that_hides_rows_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let role = RestrictedRole::create(&database).await;
    let pool = role.pool(&database);
    let hidden = "rows of customer_profile: row level security hides some from this role, or refuses them";
    let mut found = Vec::new();
    for (change, lacks) in [
        ("ALTER TABLE customer_profile ENABLE ROW LEVEL SECURITY", vec![hidden]),
        // The service updates this table too.
        ("CREATE POLICY reading ON customer_profile FOR SELECT USING (true)", vec![hidden]),
        ("CREATE POLICY changing ON customer_profile FOR UPDATE USING (true) WITH CHECK (id <> '')", vec![hidden]),
        ("ALTER POLICY changing ON customer_profile WITH CHECK (true)", vec![]),
        ("CREATE POLICY few ON customer_profile AS RESTRICTIVE USING (id = 'x')", vec![hidden]),
        (
            "DROP POLICY few ON customer_profile; DROP POLICY reading ON customer_profile; DROP POLICY changing ON customer_profile",
            vec![hidden],
        ),
        ("CREATE POLICY everything ON customer_profile USING (true)", vec![]),
    ] {
        client.batch_execute(change).await.unwrap();
        found.push((change, missing_objects(&pool).await.unwrap(), lacks));
    }
    let of_owner = missing_objects(&database.pool()).await.unwrap();
    role.drop(&database).await;
    for (change, found, expected) in found {
        assert_eq!(found, expected, "{change}");
    }
    assert_eq!(of_owner, Vec::<String>::new());
}

#[tokio::test]
async fn a_database_that_refuses_writes_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let name: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    client.batch_execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await.unwrap();
    let lacks = schema_check::lacks(&database.pool()).await.unwrap();
    assert!(matches!(lacks[..], [schema_check::Lack::Writable(_)]), "{lacks:?}");
}

#[tokio::test]
async fn a_schema_without_the_right_to_use_it_is_the_only_lack() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let role = RestrictedRole::create(&database).await;
    client.batch_execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC").await.unwrap();
    let lacks = schema_check::lacks(&role.pool(&database)).await.unwrap();
    let advice = schema_check::advice(&lacks, &role.name, &PlatformSchema::default()).join("\n");
    client.batch_execute("GRANT USAGE ON SCHEMA public TO PUBLIC").await.unwrap();
    let name = role.name.clone();
    role.drop(&database).await;
    assert_eq!(lacks, [schema_check::Lack::SchemaUsage("public".to_owned())]);
    assert!(advice.contains(&format!("GRANT USAGE ON SCHEMA public TO {name};")), "{advice}");
}

/// The command prints what docs/OPERATIONS.md shows.
#[test]
fn the_printed_grants_are_the_documented_ones() {
    let mut printed = schema_check::documented_grants("crm", &PlatformSchema::default());
    let setting = printed.pop().unwrap();
    assert_eq!(setting, "ALTER ROLE crm SET lc_messages = 'C';");
    assert_eq!(in_one_form(&printed), in_one_form(&documented_grants("crm")));
    assert!(OPERATIONS.contains(&setting));
    for (heading, kpis) in [(optional_parts::HISTORY, false), (optional_parts::KPIS, true)] {
        let printed = schema_check::optional_grants("crm", &PlatformSchema::default(), kpis);
        assert_eq!(in_one_form(&printed), in_one_form(&grants_below(heading, "crm")), "{heading}");
    }
}

/// Statements in alphabetical order, with single spaces and without a semicolon.
fn in_one_form(statements: &[String]) -> Vec<String> {
    let words = |statement: &String| statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut statements: Vec<_> =
        statements.iter().map(|statement| words(statement).trim_end_matches(';').to_owned()).collect();
    statements.sort();
    statements
}

/// The documented grants for the platform's tables, for a role of this test's own.
fn documented_grants(role: &str) -> Vec<String> {
    grants_below("## Deploy the service", role)
}

/// The documented grants for the directory's read model.
pub(crate) fn documented_model_grants(role: &str) -> Vec<String> {
    grants_below("## The directory's read model", role)
}

const OPERATIONS: &str = include_str!("../../../../docs/OPERATIONS.md");

/// The grants in the section of docs/OPERATIONS.md with that heading.
pub(crate) fn grants_below(heading: &str, role: &str) -> Vec<String> {
    let mut sections = OPERATIONS.split("\n## ").map(|section| format!("## {section}"));
    let section = sections.find(|section| section.starts_with(&format!("{heading}\n"))).unwrap();
    let grants = section.split("\nGRANT").skip(1).filter_map(|grant| grant.split(" TO crm;").next());
    let grants: Vec<_> = grants.map(|grant| format!("GRANT{grant} TO {role}")).collect();
    assert!(!grants.is_empty());
    grants
}

/// A role with the documented grants and no other rights.
pub(crate) struct RestrictedRole {
    pub(crate) name: String,
}

impl RestrictedRole {
    pub(crate) async fn create(database: &TestDatabase) -> Self {
        let client = database.client().await;
        let name: String = client.query_one("SELECT current_database()::text || '_role'", &[]).await.unwrap().get(0);
        let grants = documented_grants(&name);
        client.batch_execute(&format!("CREATE ROLE {name}; {}", grants.join(";"))).await.unwrap();
        Self { name }
    }

    pub(crate) fn pool(&self, database: &TestDatabase) -> Pool {
        self.pool_of(database, 1)
    }

    /// A pool of so many connections.
    pub(crate) fn pool_of(&self, database: &TestDatabase, size: usize) -> Pool {
        let address = format!("{}?options=-c%20role%3D{}", database.address(), self.name);
        Pool::new(Connector::parse(&address).unwrap(), pool_settings(size))
    }

    pub(crate) async fn drop(self, database: &TestDatabase) {
        let client = database.client().await;
        client.batch_execute(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name)).await.unwrap();
    }
}

/// Executes every statement of every port except the health checks. Writes five audit entries.
///
/// # Errors
///
/// The first failure of a port.
async fn use_every_port(pool: &Pool, cookie: &str) -> Result<(), Box<dyn Error>> {
    let postgres = Arc::new(Postgres::new(pool.clone()));
    let (clock, ids) = (clock(), Arc::new(SequentialIds::default()));
    let sessions = BetterAuth {
        cookie_name: CookieName::new(false, "better-auth", None),
        secret: Secret::new(SECRET).unwrap(),
        pool: pool.clone(),
        clock: clock.clone(),
    };
    let customers =
        Customers { store: postgres.clone(), reads: postgres.clone(), clock: clock.clone(), ids: ids.clone() };
    let tags = Tags { store: postgres.clone(), reads: postgres.clone(), clock: clock.clone(), ids: ids.clone() };
    let notes = Notes { store: postgres.clone(), reads: postgres.clone(), clock, ids };
    let customer = UserId::parse("usr_1").unwrap();

    let header = format!("better-auth.session_token={cookie}");
    let desk = sessions.find_actor(header.as_bytes()).await?.actor().unwrap();
    postgres.ping().await?;
    assert!(postgres.is_migrated().await?);
    let name = TagName::parse("VIP").unwrap();
    let tag = tags.create(&desk, &name, None).await?;
    assert!(matches!(tags.create(&desk, &name, None).await, Err(TagError::SlugTaken)));
    tags.assign(&desk, customer.clone(), tag.id.clone()).await?;
    tags.assign(&desk, customer.clone(), tag.id.clone()).await?;
    let booking = Some(BookingId::parse("bkg_1").unwrap());
    notes.write(&desk, customer.clone(), NoteContent::parse("patch test").unwrap(), booking).await?;
    let gate_override =
        GateOverride { noshow_count: Some(NoShowCount::parse(3).unwrap()), booking_requires_approval: Some(true) };
    let overridden = customers.override_gates(&desk, &customer, gate_override, &Precondition::none()).await?;
    assert_eq!(overridden.0.noshow_count, 3);
    assert_eq!(customers.find(&customer).await?.tags.len(), 1);
    assert!(postgres.find_profile(&customer).await?.is_some());
    for sort in SortKey::ALL {
        let tag = TagFilter::parse("vip").unwrap();
        let query =
            DirectoryQuery { sort, tag, search: SearchTerm::parse("asha").unwrap(), ..DirectoryQuery::default() };
        assert_eq!(postgres.list_customers(&query).await?.total_count, 1, "{sort:?}");
    }
    assert_eq!(notes.list(&customer, PageRequest::default()).await?.total_count, 1);
    assert_eq!(tags.list().await?.len(), 1);
    assert_eq!(tags.list_counted().await?[0].customer_count, 1);
    tags.unassign(&desk, &customer, &tag.id).await?;
    Box::pin(use_ports_of_extensions(&postgres, &desk, &notes, &tags, &tag.id)).await
}

/// What is offered beyond the platform's contract.
async fn use_ports_of_extensions(
    postgres: &Arc<Postgres>,
    desk: &Actor,
    notes: &Notes,
    tags: &Tags,
    tag: &TagId,
) -> Result<(), Box<dyn Error>> {
    let customer = UserId::parse("usr_1").unwrap();
    let note = notes.list(&customer, PageRequest::default()).await?.items.remove(0).note.id;
    for (text, pinned) in [("patch test passed", true), ("patch test passed twice", false)] {
        let update = NoteUpdate { content: Some(NoteContent::parse(text).unwrap()), pinned: Some(pinned) };
        notes.update(desk, &customer, &note, update, &Precondition::none()).await?;
    }
    assert_eq!(notes.revisions(&customer, &note, PageRequest::default()).await?.total_count, 2);
    notes.delete(desk, &customer, &note, &Precondition::none()).await?;

    let update = TagUpdate { name: TagName::parse("Gold").ok(), color: Some(None), description: Some(None) };
    tags.update(desk, tag, update, &Precondition::none()).await?;
    let other = tags.create(desk, &TagName::parse("Other").unwrap(), None).await?;
    let bulk = BulkAssignment::new(std::slice::from_ref(&customer), &[]).unwrap();
    assert_eq!(tags.assign_many(desk, &other.id, &bulk).await?.assigned, 1);
    tags.merge(desk, &TagMerge::new(other.id, tag.clone())?).await?;
    tags.delete(desk, tag, true, &Precondition::none()).await?;

    assert!(
        postgres
            .list_timeline(&customer, TimelineLimit::default(), None)
            .await?
            .is_some_and(|page| page.entries.len() > 5)
    );
    assert!(postgres.fill_audit_customers().await?);
    let request = IdempotentRequest { scope: "scope".to_owned(), body: "body".to_owned() };
    let idempotency = Idempotency { store: postgres.clone(), clock: clock() };
    let answer = KeptAnswer { status: 201, body: Some("{}".to_owned()), entity_tag: None, note: None };
    for is_repeated in [false, true] {
        let work = async |_| Ok::<_, StoreError>(());
        let outcome = idempotency.run(request.clone(), work, |_| Some(answer.clone())).await?;
        assert_eq!(matches!(outcome, Outcome::Replayed(_)), is_repeated);
    }
    postgres.sweep_idempotency_keys(NOW).await?;
    let mut export = postgres.begin_export(&DirectoryQuery::default()).await?.expect("a free place");
    assert_eq!(export.next_customers().await?.len(), 1);
    Ok(())
}

/// Inserts the rows that [`use_every_port`] needs. Returns the session cookie of its actor.
async fn arrange(client: &Client) -> String {
    platform::customer(client, "usr_1", "Asha Rao").await;
    platform::user(client, "usr_desk", "Desk", Some("receptionist")).await;
    platform::booking(client, "bkg_1", "usr_1").await;
    platform::sign_in(client, "usr_desk").await
}

/// Reverts what [`use_every_port`] wrote.
async fn reset(client: &Client) {
    client
        .batch_execute(
            "DELETE FROM audit_log; DELETE FROM customer_note; DELETE FROM customer_tag_assignment;
             DELETE FROM customer_tag; DELETE FROM crm.audit_customer; DELETE FROM crm.idempotency_key;
             UPDATE crm.audit_fill SET entity_type = '', entity_id = '', audit_id = '', is_complete = false;
             UPDATE customer_profile SET noshow_count = 0, booking_requires_approval = false",
        )
        .await
        .unwrap();
}

/// With exactly the grants of docs/OPERATIONS.md, the check reports nothing missing and every port works.
#[tokio::test]
async fn every_port_works_with_the_documented_grants() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let cookie = arrange(&client).await;
    let role = RestrictedRole::create(&database).await;
    let pool = role.pool(&database);
    let missing = missing_objects(&pool).await;
    let used = use_every_port(&pool, &cookie).await;
    // `crm migrate --check` as that role.
    let connector = Connector::parse(&format!("{}?options=-c%20role%3D{}", database.address(), role.name)).unwrap();
    let pending = migrate::pending(&connector, migrate::Platform::Existing).await;
    let entries: i64 = client.query_one("SELECT count(*) FROM audit_log", &[]).await.unwrap().get(0);
    role.drop(&database).await;
    assert_eq!(missing.unwrap(), Vec::<String>::new());
    assert_eq!(pending.unwrap(), Vec::<String>::new());
    used.unwrap();
    assert_eq!(entries, 16);
}

/// Without any single right, column by column, the check names that right and a port fails. So the documented role has
/// no right that no statement needs.
#[tokio::test]
async fn every_documented_right_is_needed() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let cookie = arrange(&client).await;
    let role = RestrictedRole::create(&database).await;
    let pool = role.pool(&database);
    let sql = "SELECT format('%s (%I) ON %I.%I', privilege_type, column_name, table_schema, table_name),
                 format('privilege %s on %s%s.%s', privilege_type, CASE table_schema WHEN 'crm' THEN 'crm.' END, table_name,
                   column_name)
               FROM information_schema.column_privileges WHERE grantee = $1
               UNION ALL
               SELECT format('%s ON %I.%I', privilege_type, table_schema, table_name),
                 format('privilege %s on %s%s', privilege_type, CASE table_schema WHEN 'crm' THEN 'crm.' END, table_name)
               FROM information_schema.table_privileges WHERE grantee = $1
               UNION ALL
               SELECT 'USAGE ON SCHEMA crm', 'privilege USAGE on schema crm'";
    let rights = client.query(sql, &[&role.name]).await.unwrap();
    let mut wrong = Vec::new();
    for row in &rights {
        let (right, line): (String, String) = (row.get(0), row.get(1));
        client.batch_execute(&format!("REVOKE {right} FROM {}", role.name)).await.unwrap();
        let missing = missing_objects(&pool).await.unwrap();
        if missing != [line] {
            wrong.push(format!("{right}: the check reports {missing:?}"));
        }
        match use_every_port(&pool, &cookie).await {
            Err(failure) if error_chain(&*failure).contains("permission denied") => {}
            outcome => wrong.push(format!("{right}: {outcome:?}")),
        }
        client.batch_execute(&format!("GRANT {right} TO {}", role.name)).await.unwrap();
        reset(&client).await;
    }
    role.drop(&database).await;
    assert_eq!(wrong, Vec::<String>::new());
    assert!(!rights.is_empty());
}

/// The messages of an error and its causes.
fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
