//! Requests that meet: over real connections, on one PostgreSQL.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    app::{TestApp, taken},
    service::{Service, arranged},
};

#[actix_web::test]
async fn the_same_tag_made_fifty_times_at_once_is_one_201_and_49_times_409() {
    let app = TestApp::start().await;
    let body = json!({"name": "At Risk"});
    let answers = join_all((0..50).map(|_| app.send("POST", "/api/tags", "manager", &body))).await;
    let mut statuses = BTreeMap::new();
    for answer in answers {
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(201, 1), (409, 49)]));
    assert_eq!((app.count("customer_tag").await, app.count("audit_log").await), (1, 1));
}

#[actix_web::test]
async fn the_same_assignment_made_fifty_times_at_once_is_one_row() {
    let app = TestApp::with_customers().await;
    let body = json!({"tagId": "tag_vip"});
    let roles = ["receptionist", "manager", "owner", "developer"];
    let answers = join_all((0..50).map(|n| app.send("POST", "/api/customers/usr_2/tags", roles[n % 4], &body))).await;
    assert!(answers.iter().all(|answer| answer.status == 201));
    let first =
        "customer_tag_assignment a JOIN audit_log l ON l.actor_id = a.assigned_by WHERE a.customer_id = 'usr_2'";
    assert_eq!((app.count(first).await, app.count("audit_log").await), (1, 1));
}

/// Many desks put the same tag on and take it off: the times in the audit log never run backwards, and each entry follows
/// from the one before it. The real clock, in the real process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_entries_of_one_assignment_are_in_the_order_of_their_times() {
    let database = arranged().await;
    let patient = [
        ("DATABASE_POOL_WAIT_MS", "25000"),
        ("DATABASE_LOCK_TIMEOUT_MS", "25000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "25000"),
        ("REQUEST_TIMEOUT_MS", "60000"),
    ];
    let service = Service::start(&database, &patient).await;
    let desks = (0..16).map(async |desk| {
        for n in 0..20 {
            let request = if (desk + n) % 2 == 0 {
                service.request("POST", "/api/customers/usr_1/tags", "manager").json(&json!({"tagId": "tag_vip"}))
            } else {
                service.request("DELETE", "/api/customers/usr_1/tags/tag_vip", "manager")
            };
            let answer = taken(request).await;
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
        }
    });
    join_all(desks).await;
    let client = database.client().await;
    // Entries are committed under the lock, one after the other: their transactions' ids tell the true order.
    let sql = "SELECT action::text, created_at = max(created_at) OVER (ORDER BY xmin::text::bigint) AS in_order \
               FROM audit_log ORDER BY xmin::text::bigint";
    let entries = client.query(sql, &[]).await.unwrap();
    assert!(entries.len() > 20, "{}", entries.len());
    for (n, entry) in entries.iter().enumerate() {
        assert!(entry.get::<_, bool>(1), "entry {n} is older than one before it");
        assert_eq!(entry.get::<_, &str>(0), if n % 2 == 0 { "create" } else { "delete" }, "entry {n}");
    }
}

/// PostgreSQL knows times that no calendar of ours has. A row that holds one can still be changed.
#[actix_web::test]
async fn a_row_of_the_end_of_time_can_be_changed() {
    let app = TestApp::with_customers().await;
    for time in ["infinity", "-infinity", "20000-01-01", "9999-12-31 23:59:59.999999+00", "4000-01-01 BC"] {
        app.client
            .batch_execute(&format!("UPDATE customer_profile SET updated_at = '{time}', noshow_count = 7"))
            .await
            .unwrap();
        let answer = app.send("PATCH", "/api/customers/usr_1", "manager", &json!({"noshowCount": 0})).await;
        assert_eq!((answer.status, &answer.json()["data"]["customer"]["noshowCount"]), (200, &json!(0)), "{time}");
        assert_eq!(app.count("customer_profile WHERE user_id = 'usr_1' AND isfinite(updated_at)").await, 1, "{time}");
    }
}

#[actix_web::test]
async fn two_overrides_at_once_both_land() {
    let app = TestApp::with_customers().await;
    let (count, approval) = (json!({"noshowCount": 9}), json!({"bookingRequiresApproval": true}));
    let path = "/api/customers/usr_1";
    let (one, other) = futures_util::future::join(
        app.send("PATCH", path, "manager", &count),
        app.send("PATCH", path, "owner", &approval),
    )
    .await;
    assert_eq!((one.status, other.status), (200, 200));
    assert_eq!(app.count("customer_profile WHERE noshow_count = 9 AND booking_requires_approval").await, 1);
    assert_eq!(app.count("audit_log").await, 2);
}

/// The platform holds the customer's row, deletes it, and lets go while each write waits: 404, never 500.
#[actix_web::test]
async fn a_customer_deleted_in_the_middle_of_any_write_is_not_found() {
    for (method, target, body) in [
        ("PATCH", "/api/customers/usr_2", json!({"noshowCount": 1})),
        ("POST", "/api/customers/usr_2/notes", json!({"content": "text"})),
        ("POST", "/api/customers/usr_2/tags", json!({"tagId": "tag_vip"})),
    ] {
        let app = TestApp::with_customers().await;
        app.client.batch_execute("DELETE FROM booking").await.unwrap();
        let mut platform = app.database.client().await;
        let deletion = platform.transaction().await.unwrap();
        deletion.batch_execute("DELETE FROM \"user\" WHERE id = 'usr_2'").await.unwrap();
        let request = app.request(method, target, Some("manager")).json(&body);
        let waiting = actix_web::rt::spawn(taken(request));
        until(
            &app,
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .await;
        deletion.commit().await.unwrap();
        let answer = waiting.await.unwrap();
        assert_eq!((answer.status, answer.error().as_str()), (404, "NOT_FOUND"), "{method} {target}");
        assert_eq!(app.count("audit_log").await, 0);
    }
}

/// A removal has nothing to find: what the platform deleted is gone either way.
#[actix_web::test]
async fn a_customer_deleted_in_the_middle_of_a_removal_is_fine() {
    let app = TestApp::with_customers().await;
    app.client.batch_execute("DELETE FROM booking").await.unwrap();
    let mut platform = app.database.client().await;
    let deletion = platform.transaction().await.unwrap();
    deletion.batch_execute("DELETE FROM \"user\" WHERE id = 'usr_1'").await.unwrap();
    let waiting =
        actix_web::rt::spawn(taken(app.request("DELETE", "/api/customers/usr_1/tags/tag_vip", Some("manager"))));
    until(
        &app,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await;
    deletion.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(app.count("audit_log").await, 0);
}

#[actix_web::test]
async fn a_client_that_goes_away_leaves_no_transaction_open() {
    let app = TestApp::with_customers().await;
    let before = app.rows().await;
    let mut platform = app.database.client().await;
    let holder = platform.transaction().await.unwrap();
    holder.batch_execute("SELECT 1 FROM customer_profile FOR UPDATE").await.unwrap();
    let request = app.request("PATCH", "/api/customers/usr_1", Some("manager")).json(&json!({"noshowCount": 9}));
    let waiting = actix_web::rt::spawn(request.send());
    until(
        &app,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await;
    waiting.abort();
    // The service notices that the client is gone while its statement still waits.
    until(
        &app,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await;
    holder.commit().await.unwrap();
    until(
        &app,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
         AND (state LIKE 'idle in transaction%' OR state = 'active')",
    )
    .await;
    // Either it was undone, or the server had already gone on to the end: never half of it.
    let after = app.rows().await;
    assert!(after == before || app.count("audit_log").await == 1);
    assert_eq!(app.get("/api/customers/usr_1", "manager").await.status, 200);
}

/// Asks until `question` is answered with yes.
async fn until(app: &TestApp, question: &str) {
    let asking = async {
        while !app.client.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), asking).await.expect(question);
}
