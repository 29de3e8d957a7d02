//! The directory's read model against the direct statement: whatever the platform writes, both give the same pages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crm_adapters::{
    postgres::{
        Pool, Postgres,
        connect::Connector,
        directory::install::{self, Differences},
    },
    testing::{TestDatabase, platform, pool_settings},
};
use crm_domain::{
    directory::{
        Bound, Bounds, DirectoryFilter, DirectoryQuery, SearchTerm, SortKey, TagFilter, TagFilters,
        ports::DirectoryReads as _,
    },
    health::{DirectoryModelState, StoreHealth as _},
    page::{PageNumber, PageRequest, PageSize},
};
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::{directory_reference::filter, schema_check::documented_model_grants};

const CUSTOMERS: i32 = 30;
const TAGS: i32 = 4;

async fn install(database: &TestDatabase) {
    install::install(&database.connector(), &mut |_| {}).await.unwrap();
}

async fn uninstall(database: &TestDatabase) {
    install::uninstall(&database.connector(), &mut |_| {}).await.unwrap();
}

async fn verify(database: &TestDatabase) -> Differences {
    install::verify(&database.connector()).await.unwrap().expect("a model")
}

/// Customers, tags and a user of the desk.
async fn arrange(client: &Client) {
    platform::user(client, "desk", "Desk", Some("receptionist")).await;
    client
        .batch_execute(&format!(
            "INSERT INTO \"user\" (id, name, email, role)
               SELECT 'c' || n, 'Asha ' || n, 'c' || n || '@x.io', 'customer' FROM generate_series(1, {CUSTOMERS}) n;
             INSERT INTO customer_profile (id, user_id, phone, total_visits)
               SELECT 'p' || n, 'c' || n, '98' || n, n % 3 FROM generate_series(1, {CUSTOMERS}) n;
             INSERT INTO customer_tag (id, name, slug) SELECT 't' || n, 'T' || n, 'tag-' || n FROM generate_series(1, {TAGS}) n;
             INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by)
               SELECT 'c' || n, 't' || 1 + n % {TAGS}, 'desk' FROM generate_series(1, {CUSTOMERS}, 2) n"
        ))
        .await
        .unwrap();
}

/// A statement of the platform's.
fn write() -> impl Strategy<Value = String> {
    let customer = (1..=CUSTOMERS).prop_map(|n| format!("c{n}"));
    let tag = (1..=TAGS).prop_map(|n| format!("t{n}"));
    let name = select(vec!["Zoë Kumar", "asha", "Émile", "अनन्या शर्मा", "Aarav  Sharma", ""]);
    let role = select(vec!["'customer'", "'staff'", "NULL", "'customer,staff'"]);
    (customer, tag.clone(), tag, name, role, -3..4_i32, 0..17_u8).prop_map(|(customer, tag, other, name, role, value, kind)| {
        match kind {
            0 => format!("UPDATE customer_profile SET total_spent_paise = {value} WHERE user_id = '{customer}'"),
            1 => format!("UPDATE customer_profile SET total_visits = {value}, noshow_count = {value} WHERE user_id = '{customer}'"),
            2 => format!(
                "UPDATE customer_profile SET phone = '+91 98-{value}', booking_requires_approval = {} WHERE user_id = '{customer}'",
                value > 0
            ),
            3 => format!("UPDATE customer_profile SET last_visit_at = timestamptz '2026-01-01Z' + interval '{value} days' WHERE user_id = '{customer}'"),
            4 => format!(
                "UPDATE \"user\" SET name = '{name}', created_at = timestamptz '2026-01-01Z' + interval '{value} days'
                 WHERE id = '{customer}'"
            ),
            5 => format!("UPDATE \"user\" SET role = {role} WHERE id = '{customer}'"),
            6 => format!(
                "INSERT INTO loyalty_account (id, customer_id, gems_balance) SELECT id, id, {value} FROM \"user\" WHERE id = '{customer}'
                 ON CONFLICT (customer_id) DO UPDATE SET gems_balance = excluded.gems_balance"
            ),
            7 => format!("DELETE FROM loyalty_account WHERE customer_id = '{customer}'"),
            8 | 9 => format!(
                "INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by)
                 SELECT u.id, t.id, 'desk' FROM \"user\" u, customer_tag t WHERE u.id = '{customer}' AND t.id = '{tag}'
                 ON CONFLICT DO NOTHING"
            ),
            10 => format!("DELETE FROM customer_tag_assignment WHERE customer_id = '{customer}'"),
            11 => format!(
                "UPDATE customer_tag_assignment a SET tag_id = '{other}' WHERE tag_id = '{tag}'
                   AND EXISTS (SELECT FROM customer_tag WHERE id = '{other}')
                   AND NOT EXISTS (SELECT FROM customer_tag_assignment b WHERE b.customer_id = a.customer_id AND b.tag_id = '{other}')"
            ),
            12 => format!(
                "DELETE FROM customer_tag WHERE id = '{tag}';
                 INSERT INTO customer_tag (id, name, slug) VALUES ('{other}', 'T', 'tag-{}') ON CONFLICT DO NOTHING",
                &other[1..]
            ),
            13 => format!("DELETE FROM \"user\" WHERE id = '{customer}'"),
            14 => format!(
                "INSERT INTO \"user\" (id, name, email, role) VALUES ('{customer}', '{name}', '{customer}@x.io', {role}) ON CONFLICT DO NOTHING;
                 INSERT INTO customer_profile (id, user_id) VALUES ('{customer}', '{customer}') ON CONFLICT DO NOTHING"
            ),
            15 => "UPDATE customer_profile SET total_visits = total_visits + 1 WHERE total_visits < 9".to_owned(),
            _ => "UPDATE customer_profile SET late_cancellation_count = 1, updated_at = now()".to_owned(),
        }
    })
}

/// A step of a platform's connection.
#[derive(Debug, Clone)]
enum Step {
    Begin(&'static str),
    Write(String),
    Truncate(&'static str),
    Savepoint,
    RollbackToSavepoint,
    Commit,
    Rollback,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => select(vec!["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]).prop_map(Step::Begin),
        14 => write().prop_map(Step::Write),
        1 => select(vec!["customer_tag_assignment", "loyalty_account", "customer_tag_assignment, customer_tag"])
            .prop_map(Step::Truncate),
        1 => Just(Step::Savepoint),
        1 => Just(Step::RollbackToSavepoint),
        3 => Just(Step::Commit),
        1 => Just(Step::Rollback),
    ]
}

/// Runs a step. What PostgreSQL refuses (a lock that another connection holds, a serialization failure) ends the transaction.
async fn run(client: &Client, step: &Step) {
    let sql = match step {
        Step::Begin(level) => format!("BEGIN ISOLATION LEVEL {level}"),
        Step::Write(sql) => sql.clone(),
        // Nobody can read the table until that transaction ends.
        Step::Truncate(tables) => format!("TRUNCATE {tables}; COMMIT"),
        Step::Savepoint => "SAVEPOINT s".to_owned(),
        Step::RollbackToSavepoint => "ROLLBACK TO SAVEPOINT s".to_owned(),
        Step::Commit => "COMMIT".to_owned(),
        Step::Rollback => "ROLLBACK".to_owned(),
    };
    if client.batch_execute(&sql).await.is_err() {
        client.batch_execute("ROLLBACK").await.unwrap();
    }
}

fn query() -> impl Strategy<Value = DirectoryQuery> {
    let search = select(vec!["", "", "asha", "zoe kumar", "98", "9812", "sharma", "शर्मा", "a", "x.io", "+91 98"]);
    let tag = select(vec!["", "", "tag-1", "tag-2", "tag-3", "unknown"]);
    let filter = prop_oneof![Just(DirectoryFilter::default()), filter()];
    (select(SortKey::ALL.to_vec()), search, tag, filter, 1..8_i128, select(vec![1, 5, 20, 100_i128])).prop_map(
        |(sort, search, tag, filter, number, size)| DirectoryQuery {
            sort,
            search: SearchTerm::parse(search).unwrap(),
            tag: TagFilter::parse(tag).unwrap(),
            filter,
            page: PageRequest { number: PageNumber::parse(number).unwrap(), size: PageSize::parse(size).unwrap() },
        },
    )
}

/// Two services on one database: the first one never looks at the model.
async fn services(database: &TestDatabase) -> (Postgres, Postgres) {
    let (direct, model) = (database.postgres(), database.postgres());
    model.maintain_directory_model_once().await.unwrap();
    assert_eq!(model.directory_reads().model, DirectoryModelState::InUse);
    (direct, model)
}

#[tokio::test]
async fn the_model_agrees_with_the_direct_statement_whatever_the_platform_writes() {
    let database = TestDatabase::migrated();
    arrange(&database.client().await).await;
    install(&database).await;
    let (direct, model) = services(&database).await;
    let mut platform = Vec::new();
    for _ in 0..3 {
        let client = database.client().await;
        client.batch_execute("SET lock_timeout = 30").await.unwrap();
        platform.push(client);
    }
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let steps = (0..3_usize, step());
    for round in 0..700 {
        if round % 7 == 0 {
            model.maintain_directory_model_once().await.unwrap();
        }
        let (connection, step) = steps.new_tree(&mut runner).unwrap().current();
        run(&platform[connection], &step).await;
        let query = query().new_tree(&mut runner).unwrap().current();
        let expected = direct.list_customers(&query).await.unwrap();
        assert_eq!(model.list_customers(&query).await.unwrap(), expected, "{step:?} {query:?}");
    }
    let reads = model.directory_reads();
    assert!(reads.clean > 50 && reads.applied > 20, "{reads:?}");
    for client in &platform {
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    model.maintain_directory_model_once().await.unwrap();
    assert_eq!(verify(&database).await, Differences::default());
    assert_eq!(model.directory_reads().repaired, 0);
}

/// Writers that run at the same time. Every snapshot agrees, apart from customers that are queued in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_agrees_in_every_snapshot_under_concurrent_writers() {
    let database = TestDatabase::migrated();
    arrange(&database.client().await).await;
    install(&database).await;
    let (_, model) = services(&database).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 0..6_u8 {
        let client = database.client().await;
        client.batch_execute("SET lock_timeout = 20").await.unwrap();
        let is_done = is_done.clone();
        writers.push(tokio::spawn(async move {
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
            let mut runner = TestRunner::new_with_rng(Config::default(), rng);
            let mut written = 0;
            while !is_done.load(Ordering::Relaxed) {
                let step = step().new_tree(&mut runner).unwrap().current();
                run(&client, &step).await;
                written += 1;
            }
            written
        }));
    }
    for _ in 0..6 {
        let query = DirectoryQuery::default();
        model.list_customers(&query).await.unwrap();
        assert_eq!(verify(&database).await, Differences::default());
        // A lock that a reader holds is no failure.
        let _ = model.maintain_directory_model_once().await;
    }
    is_done.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(timeout(Duration::from_secs(30), writer).await.unwrap().unwrap() > 0);
    }
    model.maintain_directory_model_once().await.unwrap();
    assert_eq!(verify(&database).await, Differences::default());
    assert_eq!(model.directory_reads().repaired, 0);
}

/// How many of the model's objects there are: tables, functions, triggers, extensions.
async fn objects(client: &Client) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'crm'::regnamespace AND relname LIKE 'directory%')
        + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'crm'::regnamespace)
        + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'crm%') + (SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm')";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn uninstalling_leaves_no_trace_and_reads_go_on_meanwhile() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    let before = objects(&client).await;
    install(&database).await;
    let (direct, model) = services(&database).await;
    let (_, exporting) = services(&database).await;
    uninstall(&database).await;
    assert_eq!(objects(&client).await, before);
    // These services have not looked again since.
    let mut export = exporting.begin_export(&DirectoryQuery::default()).await.unwrap().unwrap();
    assert!(!export.next_customers().await.unwrap().is_empty());
    assert_eq!(exporting.directory_reads().model, DirectoryModelState::Unreadable);
    drop(export);
    platform::customer(&client, "new", "New").await;
    let query = DirectoryQuery::default();
    assert_eq!(model.list_customers(&query).await.unwrap(), direct.list_customers(&query).await.unwrap());
    assert_eq!(model.directory_reads().model, DirectoryModelState::Unreadable);
    model.maintain_directory_model_once().await.unwrap();
    assert_eq!(model.directory_reads().model, DirectoryModelState::NotInstalled);
    install(&database).await;
    model.maintain_directory_model_once().await.unwrap();
    assert_eq!(model.list_customers(&query).await.unwrap(), direct.list_customers(&query).await.unwrap());
    assert_eq!(verify(&database).await, Differences::default());
}

/// An installation that stops anywhere (here: its connection is ended, as by `kill -9`) is continued by the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_installation_is_continued_and_an_interrupted_removal_too() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    let before = objects(&client).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'royal-glow-crm'";
    for milliseconds in [2, 8, 15, 25, 45, 90] {
        let connector = database.connector();
        let installing = tokio::spawn(async move { install::install(&connector, &mut |_| {}).await });
        platform::customer(&client, &format!("during-{milliseconds}"), "During").await;
        // The time at which it is ended is random: this is not waiting for something to happen.
        let _ = timeout(Duration::from_millis(milliseconds), std::future::pending::<()>()).await;
        client.execute(end, &[]).await.unwrap();
        let _ = installing.await.unwrap();
        install(&database).await;
        assert_eq!(verify(&database).await, Differences::default(), "{milliseconds}");
        let (direct, model) = services(&database).await;
        let query = DirectoryQuery::default();
        assert_eq!(model.list_customers(&query).await.unwrap(), direct.list_customers(&query).await.unwrap());
        drop((direct, model));

        let connector = database.connector();
        let removing = tokio::spawn(async move { install::uninstall(&connector, &mut |_| {}).await });
        let _ = timeout(Duration::from_millis(milliseconds / 2), std::future::pending::<()>()).await;
        client.execute(end, &[]).await.unwrap();
        let _ = removing.await.unwrap();
        uninstall(&database).await;
        assert_eq!(objects(&client).await, before, "{milliseconds}");
    }
}

/// Whatever is missing or changed of the model, the platform's statements succeed and pages stay right.
#[tokio::test]
async fn the_model_never_fails_a_statement_of_the_platform() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    install(&database).await;
    let role: String = client.query_one("SELECT current_database()::text || '_platform'", &[]).await.unwrap().get(0);
    // A role that may write to the platform's tables, knows nothing of the schema crm, and has another search path.
    client
        .batch_execute(&format!(
            "CREATE ROLE {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; SET ROLE {role}; SET search_path = pg_temp;
             UPDATE public.customer_profile SET total_visits = 7 WHERE user_id = 'c1';
             RESET ROLE; SET search_path = public"
        ))
        .await
        .unwrap();
    let (direct, model) = services(&database).await;
    let query = DirectoryQuery { sort: SortKey::Visits, ..DirectoryQuery::default() };
    assert_eq!(model.list_customers(&query).await.unwrap(), direct.list_customers(&query).await.unwrap());
    // Changes of the platform's columns, in a session whose triggers have run.
    client
        .batch_execute(
            "ALTER TABLE customer_profile ALTER total_spent_paise TYPE bigint;
             UPDATE customer_profile SET total_spent_paise = 8 WHERE user_id = 'c2';
             ALTER TABLE customer_profile ALTER total_spent_paise TYPE integer;
             UPDATE customer_profile SET total_spent_paise = 9 WHERE user_id = 'c2';
             ALTER TABLE loyalty_account RENAME gems_balance TO gems;
             INSERT INTO loyalty_account (id, customer_id, gems) VALUES ('l', 'c3', 5);
             UPDATE loyalty_account SET gems = 6;
             ALTER TABLE loyalty_account RENAME gems TO gems_balance",
        )
        .await
        .unwrap();
    model.maintain_directory_model_once().await.unwrap();
    for sort in [SortKey::Ltv, SortKey::Gems] {
        let query = DirectoryQuery { sort, ..DirectoryQuery::default() };
        assert_eq!(model.list_customers(&query).await.unwrap(), direct.list_customers(&query).await.unwrap());
    }
    // A partial restore without the tables.
    client
        .batch_execute(
            "DROP TABLE crm.directory_queue; UPDATE customer_profile SET total_visits = 5 WHERE user_id = 'c4';
             DELETE FROM \"user\" WHERE id = 'c5'; TRUNCATE loyalty_account CASCADE",
        )
        .await
        .unwrap();
    assert_eq!(model.list_customers(&query).await.unwrap(), direct.list_customers(&query).await.unwrap());
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// A new version of ICU may order and fold text in another way: until `rebuild` the direct statement answers.
#[tokio::test]
async fn a_model_of_another_collation_version_or_without_a_trigger_is_not_used() {
    use DirectoryModelState::{InUse, Incomplete, MissingTriggers, OtherCollation, OtherVersion};
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    for (change, state) in [
        ("UPDATE crm.directory_state SET collation_version = '1.2.3'", OtherCollation),
        ("UPDATE crm.directory_state SET version = version + 1", OtherVersion),
        ("UPDATE crm.directory_state SET is_ready = false", Incomplete),
        ("ALTER TABLE \"user\" DISABLE TRIGGER crm_directory_rows", MissingTriggers),
        ("DROP TRIGGER crm_directory_truncate ON loyalty_account", MissingTriggers),
    ] {
        install(&database).await;
        let postgres = database.postgres();
        postgres.maintain_directory_model_once().await.unwrap();
        assert_eq!(postgres.directory_reads().model, DirectoryModelState::InUse);
        client.batch_execute(change).await.unwrap();
        postgres.maintain_directory_model_once().await.unwrap();
        assert_eq!(postgres.directory_reads().model, state, "{change}");
        let status = install::status(&database.connector()).await.unwrap().unwrap();
        assert_eq!(status.state, state, "{change}");
        assert!(state.advice().is_some());
    }
    install(&database).await;
    assert_eq!(install::status(&database.connector()).await.unwrap().unwrap().state, InUse);
}

/// The scrubber finds and repairs what changed without a trigger.
#[tokio::test]
async fn the_scrubber_repairs_and_counts_what_changed_unnoticed() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    install(&database).await;
    let (_, model) = services(&database).await;
    client
        .batch_execute(
            "UPDATE crm.directory_entry SET visits = 77 WHERE user_id = 'c1';
             UPDATE crm.directory_search SET text = 'X' WHERE user_id = 'c2';
             DELETE FROM crm.directory_entry WHERE user_id = 'c3';
             INSERT INTO crm.directory_search (user_id, tags, text) VALUES ('gone', '{}', 'GONE')",
        )
        .await
        .unwrap();
    assert_eq!(verify(&database).await.searches, 2);
    // A step goes through twenty users at least; a new round begins after the last.
    for _ in 0..6 {
        client.batch_execute("UPDATE crm.directory_scrub SET scrubbed_at = '-infinity'").await.unwrap();
        model.maintain_directory_model_once().await.unwrap();
    }
    let Differences { entries, searches, .. } = verify(&database).await;
    assert_eq!((entries, searches), (0, 0));
    assert_eq!(model.directory_reads().repaired, 4);
}

/// The role of the service, which may only read the platform's tables and what the documented grants name of `crm`.
#[tokio::test]
async fn the_services_role_reads_and_maintains_the_model() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    let role: String = client.query_one("SELECT current_database()::text || '_service'", &[]).await.unwrap().get(0);
    client
        .batch_execute(&format!(
            "CREATE ROLE {role}; GRANT USAGE ON SCHEMA crm TO {role};
             GRANT SELECT (version) ON crm.__diesel_schema_migrations TO {role};
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        ))
        .await
        .unwrap();
    install(&database).await;
    // What the installation has granted, the documented grants repeat for roles that come later.
    client
        .batch_execute(&format!(
            "REVOKE ALL ON ALL TABLES IN SCHEMA crm FROM {role}; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA crm FROM {role}; {}",
            documented_model_grants(&role).join(";")
        ))
        .await
        .unwrap();
    let address = format!("{}?options=-c%20role%3D{role}", database.address());
    let service = Postgres::new(Pool::new(Connector::parse(&address).unwrap(), pool_settings(2)));
    service.maintain_directory_model_once().await.unwrap();
    for name in ["Zoe", "Asha"] {
        client.execute("UPDATE \"user\" SET name = $1 WHERE id = 'c1'", &[&name]).await.unwrap();
        let query = DirectoryQuery { search: SearchTerm::parse(name).unwrap(), ..DirectoryQuery::default() };
        let page = service.list_customers(&query).await.unwrap();
        assert!(page.items.iter().any(|customer| customer.id.as_str() == "c1"), "{name}");
    }
    client.batch_execute("TRUNCATE loyalty_account CASCADE").await.unwrap();
    service.maintain_directory_model_once().await.unwrap();
    service.maintain_directory_model_once().await.unwrap();
    service.list_customers(&DirectoryQuery::default()).await.unwrap();
    let reads = service.directory_reads();
    // May neither write to the model nor queue anything by itself.
    let forbidden = database.client().await;
    forbidden.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
    for statement in [
        "INSERT INTO crm.directory_queue (user_id) VALUES ('c1')",
        "UPDATE crm.directory_entry SET visits = 1",
        "SELECT crm.directory_fill(1)",
        "SELECT * FROM crm.directory_truth(NULL)",
    ] {
        let refused = forbidden.batch_execute(statement).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{statement}");
    }
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    assert_eq!((reads.applied, reads.clean, reads.direct), (2, 1, 0));
}

/// Whatever the order, tag and position of the page: it reads a bounded number of pages of PostgreSQL, with a plan made once.
#[tokio::test]
async fn a_page_reads_a_bounded_number_of_buffers() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO \"user\" (id, name, email, role)
               SELECT 'c' || n, 'Asha ' || n, 'c' || n || '@x.io', 'customer' FROM generate_series(1, 50000) n;
             INSERT INTO customer_profile (id, user_id, phone, total_visits, total_spent_paise)
               SELECT 'p' || n, 'c' || n, '98' || n, n % 30, n * 7919 % 100003 FROM generate_series(1, 50000) n;
             INSERT INTO loyalty_account (id, customer_id, gems_balance)
               SELECT 'l' || n, 'c' || n, n % 1000 FROM generate_series(1, 50000, 2) n;
             INSERT INTO customer_tag (id, name, slug) VALUES ('t1', 'Rare', 'rare'), ('t2', 'Common', 'common');
             INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by)
               SELECT 'c' || n, 't1', 'c1' FROM generate_series(1, 50000, 200) n
               UNION ALL SELECT 'c' || n, 't2', 'c1' FROM generate_series(1, 50000, 3) n;
             ANALYZE; CREATE EXTENSION pg_stat_statements",
        )
        .await
        .unwrap();
    install(&database).await;
    let (_, model) = services(&database).await;
    let mut queries = Vec::new();
    for sort in SortKey::ALL {
        for (slug, last) in [("", 2500), ("rare", 13), ("common", 834)] {
            for number in [1, 3, last] {
                queries.push(DirectoryQuery {
                    sort,
                    tag: TagFilter::parse(slug).unwrap(),
                    filter: DirectoryFilter::default(),
                    search: None,
                    page: PageRequest {
                        number: PageNumber::parse(number).unwrap(),
                        size: PageSize::parse(20).unwrap(),
                    },
                });
            }
        }
    }
    let page_of_word = |word| DirectoryQuery { search: SearchTerm::parse(word).unwrap(), ..DirectoryQuery::default() };
    queries.extend(["asha 49999", "9849998", "c1234@x.io", "nobody"].map(page_of_word));
    // How often statements with that text ran for one page, and how many buffers they touched.
    let measure = async |text: &str, query: &DirectoryQuery, before: &str| loop {
        let sql = "SELECT sum(calls)::bigint, sum(shared_blks_hit + shared_blks_read)::bigint FROM pg_stat_statements s
                   JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() AND query LIKE $1";
        let reset =
            "SELECT pg_stat_statements_reset(0, (SELECT oid FROM pg_database WHERE datname = current_database()), 0)";
        client.batch_execute(&format!("{before}; {reset}")).await.unwrap();
        model.list_customers(query).await.unwrap();
        let row = client.query_one(sql, &[&text]).await.unwrap();
        // Statements of other tests may have displaced this one.
        if let (Some(calls), Some(buffers)) = (row.get::<_, Option<i64>>(0), row.get::<_, Option<i64>>(1)) {
            break (calls, buffers);
        }
    };
    for query in &queries {
        // The first run plans the statement.
        model.list_customers(query).await.unwrap();
        let (calls, buffers) = measure("%total_count%", query, "").await;
        assert_eq!(calls, 1, "{query:?}");
        // Everyone is 50,000 customers, whose users alone fill 500 pages, and whose look-ups by id 150,000.
        assert!(buffers < 450, "{buffers} buffers: {query:?}");
    }
    // A filter goes through the narrow rows at most twice, and through no table of the platform's.
    let pages = "SELECT pg_relation_size('crm.directory_filter') / 8192";
    let pages: i64 = client.query_one(pages, &[]).await.unwrap().get(0);
    let tags = |slug| TagFilters::parse([slug]).unwrap();
    let least = |value| Bounds { min: Bound::parse(value).ok(), max: None };
    let none = DirectoryFilter::default;
    for filter in [
        DirectoryFilter { tag_any: tags("common"), ..none() },
        DirectoryFilter { tag_none: tags("common"), ..none() },
        DirectoryFilter { tagged: Some(false), ..none() },
        DirectoryFilter { spent: least(900), ..none() },
        DirectoryFilter { gems: least(1), requires_approval: Some(false), ..none() },
        DirectoryFilter { visited: Some(false), ..none() },
    ] {
        for sort in SortKey::ALL {
            let query = DirectoryQuery { filter: filter.clone(), sort, ..DirectoryQuery::default() };
            let (calls, buffers) = measure("%total_count%", &query, "").await;
            assert_eq!(calls, 1, "{query:?}");
            assert!(buffers < 2 * pages + 10_000, "{buffers} buffers, {pages} pages: {query:?}");
        }
    }
    let rare =
        DirectoryQuery { filter: DirectoryFilter { tag_any: tags("rare"), ..none() }, ..DirectoryQuery::default() };
    let (_, buffers) = measure("%total_count%", &rare, "").await;
    assert!(buffers < 250 * 20, "{buffers} buffers for 250 customers");
    // Computing queued customers anew looks each of them up by key.
    let queue = "INSERT INTO crm.directory_queue (user_id) SELECT 'c' || n FROM generate_series(1, 2000, 20) n";
    let everyone = DirectoryQuery::default();
    measure("%directory_apply%", &everyone, queue).await;
    let (calls, buffers) = measure("%directory_apply%", &everyone, queue).await;
    assert_eq!(calls, 1);
    assert!(buffers < 100 * 100, "{buffers} buffers for 100 customers");
    assert_eq!(model.directory_reads().direct, 0);
}
