//! Concurrent requests, over real connections, on one PostgreSQL.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    app::{TestApp, send},
    service::{Service, arrange_database},
};

#[actix_web::test]
async fn fifty_concurrent_creations_of_one_tag_give_one_201_and_49_times_409() {
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
async fn fifty_concurrent_assignments_of_one_tag_create_one_row() {
    let app = TestApp::with_customers().await;
    let body = json!({"tagId": "tag_vip"});
    let roles = ["receptionist", "manager", "owner", "developer"];
    let answers = join_all((0..50).map(|n| app.send("POST", "/api/customers/usr_2/tags", roles[n % 4], &body))).await;
    assert!(answers.iter().all(|answer| answer.status == 201));
    let first =
        "customer_tag_assignment a JOIN audit_log l ON l.actor_id = a.assigned_by WHERE a.customer_id = 'usr_2'";
    assert_eq!((app.count(first).await, app.count("audit_log").await), (1, 1));
}

/// Concurrent clients assign and unassign the same tag: timestamps in the audit log never decrease, and create and
/// delete entries alternate. The test needs the real clock, so it uses the real process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_entries_of_one_assignment_are_in_the_order_of_their_timestamps() {
    let database = arrange_database().await;
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
            let answer = send(request).await;
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
        }
    });
    join_all(desks).await;
    let client = database.client().await;
    // Entries are committed under the lock, one after the other, so their transaction ids give the actual order.
    let sql = "SELECT action::text, created_at = max(created_at) OVER (ORDER BY xmin::text::bigint) AS in_order \
               FROM audit_log ORDER BY xmin::text::bigint";
    let entries = client.query(sql, &[]).await.unwrap();
    assert!(entries.len() > 20, "{}", entries.len());
    for (n, entry) in entries.iter().enumerate() {
        assert!(entry.get::<_, bool>(1), "entry {n} is older than one before it");
        assert_eq!(entry.get::<_, &str>(0), if n % 2 == 0 { "create" } else { "delete" }, "entry {n}");
    }
}

/// PostgreSQL can store timestamps that the service cannot represent. A row with such a timestamp can still be changed.
#[actix_web::test]
async fn a_profile_with_an_out_of_range_timestamp_can_be_changed() {
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
async fn two_concurrent_overrides_both_take_effect() {
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

/// The platform deletes the customer's row and commits while the write waits for it. The response is 404, never 500.
#[actix_web::test]
async fn a_customer_deleted_during_a_write_is_not_found() {
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
        let waiting = actix_web::rt::spawn(send(request));
        wait_until(
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

/// Unassigning succeeds, because the deletion of the customer has also deleted the assignment.
#[actix_web::test]
async fn unassigning_succeeds_if_the_customer_is_deleted_during_the_request() {
    let app = TestApp::with_customers().await;
    app.client.batch_execute("DELETE FROM booking").await.unwrap();
    let mut platform = app.database.client().await;
    let deletion = platform.transaction().await.unwrap();
    deletion.batch_execute("DELETE FROM \"user\" WHERE id = 'usr_1'").await.unwrap();
    let waiting =
        actix_web::rt::spawn(send(app.request("DELETE", "/api/customers/usr_1/tags/tag_vip", Some("manager"))));
    wait_until(
        &app,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await;
    deletion.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(app.count("audit_log").await, 0);
}

#[actix_web::test]
async fn a_disconnected_client_leaves_no_transaction_open() {
    let app = TestApp::with_customers().await;
    let before = app.rows().await;
    let mut platform = app.database.client().await;
    let holder = platform.transaction().await.unwrap();
    holder.batch_execute("SELECT 1 FROM customer_profile FOR UPDATE").await.unwrap();
    let request = app.request("PATCH", "/api/customers/usr_1", Some("manager")).json(&json!({"noshowCount": 9}));
    let waiting = actix_web::rt::spawn(request.send());
    wait_until(
        &app,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await;
    waiting.abort();
    // The statement still waits when the service notices that the client has disconnected.
    wait_until(
        &app,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await;
    holder.commit().await.unwrap();
    wait_until(
        &app,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
         AND (state LIKE 'idle in transaction%' OR state = 'active')",
    )
    .await;
    // The write was either rolled back or completed, never done in part.
    let after = app.rows().await;
    assert!(after == before || app.count("audit_log").await == 1);
    assert_eq!(app.get("/api/customers/usr_1", "manager").await.status, 200);
}

/// Repeats the query `question` until it returns true.
async fn wait_until(app: &TestApp, question: &str) {
    let asking = async {
        while !app.client.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), asking).await.expect(question);
}
