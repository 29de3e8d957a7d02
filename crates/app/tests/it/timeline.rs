//! The timeline of a customer: entries of this service, of earlier versions and of other programs.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use crm_adapters::testing::platform;
use serde_json::{Value, json};

use crate::app::{TestApp, send};

const TIMELINE: &str = "/api/customers/usr_1/timeline";

/// The advisory lock that keeps two instances from filling the timeline's table at once.
const FILL_LOCK: i64 = 0x726F_7961_6C66_696C;

/// What the entries say, newest first: action and entity.
fn summaries(answer: &Value) -> Vec<String> {
    let entries = answer["data"]["entries"].as_array().unwrap();
    let summary =
        |entry: &Value| format!("{} {}", entry["action"].as_str().unwrap(), entry["entity"].as_str().unwrap());
    entries.iter().map(summary).collect()
}

#[actix_web::test]
async fn everything_that_happened_is_told_without_any_text() {
    let app = TestApp::with_customers().await;
    let note = app.write_note("receptionist", "allergic to ammonia").await;
    app.send("PATCH", &note, "manager", &json!({"content": "allergic to PPD", "pinned": true})).await;
    app.delete_as(&note, "manager").await;
    app.send("POST", "/api/customers/usr_1/tags", "receptionist", &json!({"tagId": "tag_new"})).await;
    app.delete_as("/api/customers/usr_1/tags/tag_new", "owner").await;
    app.send("PATCH", "/api/customers/usr_1", "manager", &json!({"noshowCount": 0, "bookingRequiresApproval": true}))
        .await;
    // Of another customer, and of a tag.
    app.send("POST", "/api/customers/usr_2/notes", "receptionist", &json!({"content": "another"})).await;
    app.send("PATCH", "/api/tags/tag_vip", "manager", &json!({"name": "Gold"})).await;
    let answer = app.get(TIMELINE, "receptionist").await;
    assert!(!answer.text.contains("allergic") && !answer.text.contains("another"), "{}", answer.text);
    let timeline = answer.json();
    assert_eq!(timeline["meta"], json!({"nextCursor": null}));
    assert_eq!(
        summaries(&timeline),
        [
            "update customer_profile",
            "delete customer_tag_assignment",
            "create customer_tag_assignment",
            "delete customer_note",
            "update customer_note",
            "create customer_note",
        ]
    );
    let entries = &timeline["data"]["entries"];
    assert_eq!(
        entries[0],
        json!({
            "at": "2026-11-23T10:00:00.123Z", "actorId": "usr_manager", "actorName": "The manager",
            "action": "update", "entity": "customer_profile",
            "changes": {"noshowCount": {"from": 2, "to": 0}, "bookingRequiresApproval": {"from": false, "to": true}}
        })
    );
    assert_eq!(
        entries[4]["changes"],
        json!({"pinned": {"from": false, "to": true}, "editedAt": {"from": null, "to": "2026-11-23T10:00:00.123Z"}})
    );
    assert_eq!(app.get("/api/customers/nobody/timeline", "receptionist").await.error(), "NOT_FOUND");
    assert_eq!(app.get("/api/customers/usr_staff/timeline", "receptionist").await.error(), "NOT_FOUND");
    assert_eq!(app.get(TIMELINE, "staff").await.error(), "FORBIDDEN");
}

/// Entries as other programs write them: the profile's id, odd shapes, values that may be anything.
#[actix_web::test]
async fn entries_of_other_programs_are_shown_without_unknown_values() {
    let app = TestApp::with_customers().await;
    app.client
        .batch_execute(
            r#"INSERT INTO audit_log (id, actor_id, action, entity_type, entity_id, old_values, new_values, created_at) VALUES
               ('a1', 'usr_1', 'create', 'customer_profile', 'prof_usr_1', NULL,
                '{"event":"onboarding_consent","phone":"+91 98123 45678","marketingConsent":true,"ip":"10.0.0.1"}', '2026-01-01Z'),
               ('a2', 'usr_1', 'status_change', 'customer_profile', 'usr_1', '"a text"', '[1, {"noshowCount": 5}]', '2026-01-02Z'),
               ('a3', 'usr_1', 'update', 'customer_profile', 'usr_1', '{"noshowCount": {"deep": 1}}', '{"noshowCount": 1e400}', '-infinity'),
               ('a4', 'usr_1', 'update', 'customer_profile', 'usr_1', '{"noshowCount": "two"}', '{"noshowCount": 1.5}', 'infinity'),
               ('a5', 'usr_1', 'update', 'customer_profile', 'prof_usr_2', NULL, '{"noshowCount": 9}', '2026-01-03Z'),
               ('a6', 'usr_1', 'update', 'booking', 'usr_1', NULL, '{"noshowCount": 9}', '2026-01-03Z')"#,
        )
        .await
        .unwrap();
    let answer = app.get(TIMELINE, "receptionist").await;
    assert!(!answer.text.contains("98123") && !answer.text.contains("10.0.0.1"), "{}", answer.text);
    let timeline = answer.json();
    assert_eq!(
        summaries(&timeline),
        [
            "update customer_profile",
            "status_change customer_profile",
            "create customer_profile",
            "update customer_profile"
        ]
    );
    let changes: Vec<&Value> =
        timeline["data"]["entries"].as_array().unwrap().iter().map(|entry| &entry["changes"]).collect();
    let consent =
        json!({"marketingConsent": {"from": null, "to": true}, "event": {"from": null, "to": "onboarding_consent"}});
    assert_eq!(changes, [&json!({}), &json!({}), &consent, &json!({})]);
    // Page by page the same, infinities included.
    let mut found = Vec::new();
    let mut target = format!("{TIMELINE}?limit=1");
    loop {
        let page = app.get(&target, "receptionist").await.json();
        found.extend(page["data"]["entries"].as_array().unwrap().clone());
        match page["meta"]["nextCursor"].as_str() {
            Some(cursor) => target = format!("{TIMELINE}?limit=1&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(Value::from(found), timeline["data"]["entries"]);
}

#[actix_web::test]
async fn limits_and_cursors_are_checked_and_a_cursor_is_good_for_one_customer_alone() {
    let app = TestApp::with_customers().await;
    for customer in ["usr_1", "usr_2"] {
        for tag in ["tag_new", "tag_vip", "tag_bridal"] {
            let target = format!("/api/customers/{customer}/tags");
            app.send("POST", &target, "receptionist", &json!({"tagId": tag})).await;
        }
    }
    let first = app.get("/api/customers/usr_2/timeline?limit=2", "receptionist").await.json();
    let cursor = first["meta"]["nextCursor"].as_str().unwrap();
    // Of another customer: never more than that customer's own entries.
    let other = app.get(&format!("{TIMELINE}?cursor={cursor}"), "receptionist").await.json();
    for entry in other["data"]["entries"].as_array().unwrap() {
        assert_eq!(entry["changes"]["customerId"]["to"], "usr_1");
    }
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=", "limit"),
        ("limit=x", "limit"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=%zz", "cursor"),
        ("cursor=AAAA", "cursor"),
        // Times that the database does not have: "-300000000000000000 x" and "9223372000000000000 x".
        ("cursor=LTMwMDAwMDAwMDAwMDAwMDAwMCB4", "cursor"),
        ("cursor=OTIyMzM3MjAwMDAwMDAwMDAwMCB4", "cursor"),
    ] {
        let answer = app.get(&format!("{TIMELINE}?{query}"), "receptionist").await;
        assert!(answer.details()[field].is_array(), "{query}: {}", answer.text);
    }
    // The first and last times that it has, and the infinite ones.
    let ends = [-211_813_488_000_000_000, 9_223_371_331_199_999_999, i64::MIN, i64::MAX];
    for position in ends.map(|position| URL_SAFE_NO_PAD.encode(format!("{position} x"))) {
        let answer = app.get(&format!("{TIMELINE}?cursor={position}"), "receptionist").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

/// Entries that an earlier version wrote are added once, batch by batch, with those of notes that are gone.
#[actix_web::test]
async fn entries_of_earlier_versions_are_added() {
    let app = TestApp::with_customers().await;
    app.client
        .batch_execute(
            "INSERT INTO audit_log (id, actor_id, action, entity_type, entity_id, old_values, new_values)
               SELECT 'n' || n, 'usr_owner', 'create', 'customer_note', 'note_' || n, NULL,
                 jsonb_build_object('id', 'note_' || n, 'customerId', 'usr_' || 1 + n % 2)
               FROM generate_series(1, 5000) n;
               INSERT INTO audit_log (id, actor_id, action, entity_type, entity_id, old_values, new_values)
               SELECT 't' || n, 'usr_owner', 'delete', 'customer_tag_assignment', 'usr_1:tag_' || n,
                 jsonb_build_object('customerId', 'usr_1', 'tagId', 'tag_' || n), NULL
               FROM generate_series(1, 100) n;
               INSERT INTO audit_log (id, actor_id, action, entity_type, entity_id, new_values) VALUES
                 ('odd', 'usr_owner', 'create', 'customer_note', 'note_x', '7'),
                 ('none', 'usr_owner', 'create', 'customer_note', 'note_y', NULL)",
        )
        .await
        .unwrap();
    assert_eq!(summaries(&app.get(TIMELINE, "receptionist").await.json()), [""; 0]);
    // What is written meanwhile has its row already.
    app.send("POST", "/api/customers/usr_1/notes", "receptionist", &json!({"content": "text"})).await;
    let postgres = app.postgres();
    // While another instance has the lock there is nothing to do, but the end is not reached.
    app.client.batch_execute(&format!("SELECT pg_advisory_lock({FILL_LOCK})")).await.unwrap();
    assert!(postgres.fill_audit_customers().await.unwrap());
    assert_eq!(app.count("crm.audit_customer").await, 1);
    app.client.batch_execute(&format!("SELECT pg_advisory_unlock({FILL_LOCK})")).await.unwrap();
    let mut batches = 0;
    while postgres.fill_audit_customers().await.unwrap() {
        batches += 1;
    }
    assert!(batches >= 3, "{batches}");
    assert_eq!(app.count("crm.audit_customer").await, 5_101);
    assert_eq!(app.count("crm.audit_customer WHERE customer_id = 'usr_1'").await, 2_601);
    assert!(!postgres.fill_audit_customers().await.unwrap());
    let timeline = app.get(&format!("{TIMELINE}?limit=100"), "receptionist").await.json();
    assert_eq!(summaries(&timeline).len(), 100);
}

/// Beside very many other entries, a page reads few rows: by the platform's own index and by ours.
#[actix_web::test]
async fn a_page_reads_few_rows_beside_very_many_entries() {
    let app = TestApp::with_customers().await;
    app.client
        .batch_execute(
            "INSERT INTO audit_log (id, actor_id, action, entity_type, entity_id)
               SELECT 'x' || n, 'usr_owner', 'update', (ARRAY['customer_profile', 'customer_note', 'booking'])[1 + n % 3], 'e' || n
               FROM generate_series(1, 60000) n;
             INSERT INTO crm.audit_customer (audit_id, customer_id, created_at)
               SELECT id, entity_id, created_at FROM audit_log WHERE entity_type = 'customer_note';
             ANALYZE; CREATE EXTENSION pg_stat_statements",
        )
        .await
        .unwrap();
    platform::assign(&app.client, "usr_2", "tag_vip", "usr_owner").await;
    app.send("POST", "/api/customers/usr_1/tags", "receptionist", &json!({"tagId": "tag_new"})).await;
    send(app.request("GET", TIMELINE, Some("manager"))).await;
    let sql = "SELECT sum(shared_blks_hit + shared_blks_read)::bigint FROM pg_stat_statements s
               JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() AND query LIKE '%audit_customer%has_entry%'";
    let reset =
        "SELECT pg_stat_statements_reset(0, (SELECT oid FROM pg_database WHERE datname = current_database()), 0)";
    let buffers = loop {
        app.client.batch_execute(reset).await.unwrap();
        assert_eq!(summaries(&app.get(TIMELINE, "receptionist").await.json()).len(), 1);
        // Statements of other tests may have displaced this one.
        if let Some(buffers) = app.client.query_one(sql, &[]).await.unwrap().get::<_, Option<i64>>(0) {
            break buffers;
        }
    };
    assert!(buffers < 60, "{buffers} buffers");
}
