//! Customers: the customer view, overrides of gates, concurrent changes, cancelled requests.

use std::sync::Arc;

use crm_adapters::{
    postgres::Postgres,
    system::{RandomIds, SystemClock},
    testing::{TestDatabase, platform},
};
use crm_domain::{
    customer::{GateOverride, NoShowCount, ports::CustomerReads as _, usecases::Customers},
    ids::UserId,
    precondition::Precondition,
    role::Role,
    testing::actor,
    unit_of_work::Store as _,
};
use time::{
    OffsetDateTime,
    macros::{date, datetime},
};
use tokio_postgres::Client;

fn id(text: &str) -> UserId {
    UserId::parse(text).unwrap()
}

pub(crate) fn customers(postgres: &Postgres) -> Customers {
    let postgres = Arc::new(postgres.clone());
    Customers {
        store: postgres.clone(),
        reads: postgres,
        clock: Arc::new(SystemClock::new()),
        ids: Arc::new(RandomIds),
    }
}

fn noshow_override(count: i128) -> GateOverride {
    GateOverride { noshow_count: Some(NoShowCount::parse(count).unwrap()), booking_requires_approval: None }
}

async fn arrange(database: &TestDatabase) -> Client {
    let client = database.client().await;
    platform::user(&client, "usr_manager", "Manager", Some("manager")).await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    client
}

#[tokio::test]
async fn a_customer_view_is_complete_for_any_stored_role() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    platform::tag(&client, "tag_1", "VIP", Some("#FF0000")).await;
    platform::assign(&client, "usr_1", "tag_1", "usr_manager").await;
    client
        .batch_execute(
            "UPDATE \"user\" SET role = null, image = 'https://example.com/a.png' WHERE id = 'usr_1';
             UPDATE customer_profile SET gender = 'prefer_not_to_say', date_of_birth = '1994-02-28', late_cancellation_count = 2;
             INSERT INTO loyalty_account (id, customer_id, gems_balance) VALUES ('l', 'usr_1', 42)",
        )
        .await
        .unwrap();
    let customer = database.postgres().find_customer(&id("usr_1")).await.unwrap().unwrap();
    assert_eq!(customer.role, None);
    assert_eq!(customer.image.as_deref(), Some("https://example.com/a.png"));
    assert_eq!(customer.gender.as_deref(), Some("prefer_not_to_say"));
    assert_eq!(customer.date_of_birth, Some(date!(1994 - 02 - 28)));
    assert_eq!((customer.late_cancellation_count, customer.gems_balance), (2, Some(42)));
    assert_eq!(customer.created_at, datetime!(2025-01-02 03:04:05.678 UTC));
    assert_eq!(customer.tags.len(), 1);
    assert_eq!(database.postgres().find_customer(&id("usr_manager")).await.unwrap(), None, "no profile, no customer");
    assert_eq!(database.postgres().find_customer(&id("nobody")).await.unwrap(), None);
}

#[tokio::test]
async fn an_override_changes_only_its_columns() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    let postgres = database.postgres();
    let before = postgres.find_profile(&id("usr_1")).await.unwrap().unwrap();
    let wanted = GateOverride { booking_requires_approval: Some(true), ..noshow_override(3) };
    let manager = actor("usr_manager", Role::Manager);
    let overridden = customers(&postgres).override_gates(&manager, &id("usr_1"), wanted, &Precondition::none()).await;
    let (after, view) = overridden.unwrap();
    assert_eq!(postgres.find_customer(&id("usr_1")).await.unwrap(), Some(view));
    let mut expected = before.clone();
    expected.noshow_count = 3;
    expected.booking_requires_approval = true;
    expected.updated_at = after.updated_at;
    assert_eq!(after, expected);
    assert!(after.updated_at > before.updated_at);
    assert_eq!(postgres.find_profile(&id("usr_1")).await.unwrap(), Some(after));
    let audit = client
        .query_one(
            "SELECT action::text, entity_type, entity_id, actor_id, old_values::text, new_values::text FROM audit_log",
            &[],
        )
        .await
        .unwrap();
    let audit: Vec<String> = (0..6).map(|column| audit.get(column)).collect();
    assert_eq!(
        audit,
        [
            "update",
            "customer_profile",
            "usr_1",
            "usr_manager",
            r#"{"noshowCount": 0, "bookingRequiresApproval": false}"#,
            r#"{"noshowCount": 3, "bookingRequiresApproval": true}"#
        ]
    );
}

#[tokio::test(flavor = "local")]
async fn concurrent_overrides_form_a_chain_in_the_audit_log() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    let postgres = database.postgres();
    let overrides: Vec<_> = (1..=20)
        .map(|count| {
            let customers = customers(&postgres);
            tokio::task::spawn_local(async move {
                customers
                    .override_gates(
                        &actor("usr_manager", Role::Manager),
                        &id("usr_1"),
                        noshow_override(count),
                        &Precondition::none(),
                    )
                    .await
                    .unwrap()
            })
        })
        .collect();
    for outcome in overrides {
        outcome.await.unwrap();
    }
    // Starting from 0, each entry's new value is the next entry's old value, and the last new value is stored.
    let rows = client
        .query("SELECT (old_values->>'noshowCount')::int, (new_values->>'noshowCount')::int FROM audit_log", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 20);
    let next: std::collections::HashMap<i32, i32> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut at = 0;
    let mut steps = 0;
    while let Some(to) = next.get(&at) {
        at = *to;
        steps += 1;
    }
    assert_eq!(steps, 20, "{next:?}");
    let stored: i32 = client.query_one("SELECT noshow_count FROM customer_profile", &[]).await.unwrap().get(0);
    assert_eq!(stored, at);
}

/// The platform deletes the customer while the override waits for the row.
#[tokio::test(flavor = "local")]
async fn a_customer_deleted_during_an_override_is_not_found() {
    let database = TestDatabase::migrated();
    let mut platform = arrange(&database).await;
    let deletion = platform.transaction().await.unwrap();
    deletion.batch_execute("DELETE FROM \"user\" WHERE id = 'usr_1'").await.unwrap();

    let customers = customers(&database.postgres());
    let waiting = tokio::task::spawn_local(async move {
        customers
            .override_gates(
                &actor("usr_manager", Role::Manager),
                &id("usr_1"),
                noshow_override(1),
                &Precondition::none(),
            )
            .await
    });
    wait_for_blocked_statement(&database).await;
    deletion.commit().await.unwrap();
    let outcome = waiting.await.unwrap();
    assert!(matches!(outcome, Err(crm_domain::customer::CustomerError::NotFound)), "{outcome:?}");
}

/// Waits until a statement in the test database waits for a lock.
pub(crate) async fn wait_for_blocked_statement(database: &TestDatabase) {
    let sql =
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait_until(&database.client().await, sql).await;
}

/// Repeats the query `question` until it returns true.
async fn wait_until(client: &Client, question: &str) {
    let asking = async {
        while !client.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), asking).await.expect(question);
}

#[tokio::test(flavor = "local")]
async fn a_cancelled_request_leaves_no_transaction_open() {
    let database = TestDatabase::migrated();
    let mut platform = arrange(&database).await;
    let postgres = database.postgres();

    // The unit of work is dropped between two statements.
    let tx = postgres.begin().await.unwrap();
    drop(tx);

    // The unit of work is dropped during a statement, as when a client disconnects.
    let holder = platform.transaction().await.unwrap();
    holder.batch_execute("SELECT 1 FROM customer_profile FOR UPDATE").await.unwrap();
    let customers = customers(&postgres);
    let waiting = tokio::task::spawn_local(async move {
        customers
            .override_gates(
                &actor("usr_manager", Role::Manager),
                &id("usr_1"),
                noshow_override(1),
                &Precondition::none(),
            )
            .await
    });
    wait_for_blocked_statement(&database).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    holder.commit().await.unwrap();

    // Neither transaction is left open: every other connection is idle or closed.
    let client = database.client().await;
    let sql = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
               AND (state LIKE 'idle in transaction%' OR state = 'active')";
    wait_until(&client, sql).await;
    let stored: i32 = client.query_one("SELECT noshow_count FROM customer_profile", &[]).await.unwrap().get(0);
    assert_eq!(stored, 0, "the dropped override must not have happened");
    // The pool still works.
    assert!(postgres.find_profile(&id("usr_1")).await.unwrap().is_some());
}

/// One such row must not make a page of the directory or a customer view fail.
#[tokio::test]
async fn timestamps_out_of_range_are_clamped_to_the_years_1_to_9999() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    client
        .batch_execute(
            "UPDATE customer_profile SET date_of_birth = '20001-01-01', first_visit_at = '-infinity', last_visit_at = 'infinity';
             UPDATE \"user\" SET created_at = '12000-01-01'",
        )
        .await
        .unwrap();
    let customer = database.postgres().find_customer(&id("usr_1")).await.unwrap().unwrap();
    assert_eq!(customer.date_of_birth, Some(date!(9999 - 12 - 31)));
    assert_eq!(customer.first_visit_at, Some(datetime!(0001-01-01 0:00 UTC)));
    assert_eq!(customer.last_visit_at.map(OffsetDateTime::year), Some(9999));
    assert_eq!(customer.created_at.year(), 9999);
}
