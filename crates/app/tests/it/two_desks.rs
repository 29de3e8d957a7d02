//! Two desks, one customer: entity tags and preconditions, idempotency keys.

use std::collections::BTreeMap;

use crm_adapters::testing::platform;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    app::{Answer, TestApp, send},
    service::{PATIENCE, Service, arrange_database, eventually},
};

const CUSTOMER: &str = "/api/customers/usr_1";
const NOTES: &str = "/api/customers/usr_1/notes";

fn tag_of(answer: &Answer) -> String {
    let tag = answer.header("etag").unwrap_or_else(|| panic!("no tag: {}", answer.text));
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 20, "strong: {tag}");
    tag.to_owned()
}

impl TestApp {
    async fn send_if_match(&self, method: &str, target: &str, if_match: &str, body: &Value) -> Answer {
        send(self.request(method, target, Some("manager")).header("if-match", if_match).json(body)).await
    }

    async fn send_with_key(&self, target: &str, role: &str, key: &str, body: &Value) -> Answer {
        send(self.request("POST", target, Some(role)).header("idempotency-key", key).json(body)).await
    }
}

#[actix_web::test]
async fn the_tag_of_a_customer_changes_whenever_anything_shown_does() {
    let app = TestApp::with_customers().await;
    let mut tags = vec![tag_of(&app.get(CUSTOMER, "receptionist").await)];
    assert_eq!(tag_of(&app.get(CUSTOMER, "owner").await), tags[0], "the same for everyone");
    let head = send(app.request("HEAD", CUSTOMER, Some("receptionist"))).await;
    assert_eq!(tag_of(&head), tags[0]);
    for change in [
        "UPDATE \"user\" SET name = 'Asha R' WHERE id = 'usr_1'",
        "UPDATE customer_profile SET phone = NULL WHERE user_id = 'usr_1'",
        "UPDATE customer_profile SET late_cancellation_count = 9 WHERE user_id = 'usr_1'",
        "UPDATE loyalty_account SET gems_balance = 1",
        "UPDATE customer_tag SET color = '#000000' WHERE id = 'tag_vip'",
        "DELETE FROM customer_tag_assignment WHERE tag_id = 'tag_vip'",
    ] {
        app.client.batch_execute(change).await.unwrap();
        let tag = tag_of(&app.get(CUSTOMER, "receptionist").await);
        assert!(!tags.contains(&tag), "{change}");
        tags.push(tag);
    }
    let patched = app.send("PATCH", CUSTOMER, "manager", &json!({"noshowCount": 7})).await;
    assert!(!tags.contains(&tag_of(&patched)));
    assert_eq!(tag_of(&patched), tag_of(&app.get(CUSTOMER, "receptionist").await), "that of GET");
    let same = app.send("PATCH", CUSTOMER, "manager", &json!({})).await;
    assert_eq!(tag_of(&same), tag_of(&patched));
}

#[actix_web::test]
async fn a_change_is_made_only_in_a_state_that_if_match_names() {
    let app = TestApp::with_customers().await;
    let note = app.write_note("receptionist", "text").await;
    for (method, target, body, again) in [
        ("PATCH", CUSTOMER, json!({"noshowCount": 0}), json!({"noshowCount": 1})),
        ("PATCH", note.as_str(), json!({"content": "new"}), json!({"pinned": true})),
        ("PATCH", "/api/tags/tag_vip", json!({"name": "Gold"}), json!({"color": null})),
        ("DELETE", note.as_str(), json!({}), json!({})),
        ("DELETE", "/api/tags/tag_new", json!({}), json!({})),
    ] {
        let before = app.rows().await;
        for stale in ["\"stale\"", "W/\"stale\", \"other\"", "\"\""] {
            let answer = app.send_if_match(method, target, stale, &body).await;
            assert_eq!((answer.status, answer.error().as_str()), (412, "PRECONDITION_FAILED"), "{method} {target}");
        }
        for malformed in ["stale", "", ",", "\"a", "*, \"a\"", "W/stale"] {
            let details = app.send_if_match(method, target, malformed, &body).await.details();
            assert!(details["If-Match"].is_array(), "{method} {target} {malformed:?}");
        }
        assert_eq!(app.rows().await, before, "nothing changed");
        if method == "DELETE" {
            assert_eq!(app.send_if_match(method, target, "*", &body).await.status, 200);
            // Existence comes before the state.
            assert_eq!(app.send_if_match(method, target, "\"stale\"", &body).await.error(), "NOT_FOUND");
            assert_eq!(app.send_if_match(method, target, "*", &body).await.error(), "NOT_FOUND");
            continue;
        }
        let first = app.send_if_match(method, target, "*", &body).await;
        assert_eq!(first.status, 200, "{}", first.text);
        let tag = tag_of(&first);
        let weak = format!("W/{tag}");
        assert_eq!(app.send_if_match(method, target, &weak, &again).await.status, 412, "a weak tag never matches");
        // In a list, and in headers that are repeated.
        let list = format!("\"stale\" , {tag}");
        let second = app.send_if_match(method, target, &list, &again).await;
        assert_eq!(second.status, 200, "{}", second.text);
        assert_ne!(tag_of(&second), tag);
        assert_eq!(app.send_if_match(method, target, &tag, &body).await.status, 412, "{method} {target}");
        let request = app.request(method, target, Some("manager")).header("if-match", "\"stale\"");
        let repeated = send(request.header("if-match", tag_of(&second)).json(&body)).await;
        assert_eq!(repeated.status, 200, "{}", repeated.text);
    }
    let missing = app.send_if_match("PATCH", "/api/customers/nobody", "\"x\"", &json!({"noshowCount": 1})).await;
    assert_eq!(missing.error(), "NOT_FOUND");
    // Before the conflict: the name is taken.
    let taken = app.send_if_match("PATCH", "/api/tags/tag_vip", "\"stale\"", &json!({"name": "Bridal"})).await;
    assert_eq!(taken.status, 412);
}

/// Of desks that all loaded the same state, one saves its change; without a precondition every one does, and each text that
/// was replaced is a revision.
#[actix_web::test]
async fn edits_against_edits_lose_nothing() {
    let app = TestApp::with_customers().await;
    let written = app.send("POST", NOTES, "receptionist", &json!({"content": "text"})).await;
    let note = format!("{NOTES}/{}", written.json()["data"]["note"]["id"].as_str().unwrap());
    let tag = tag_of(&written);
    let bodies: Vec<Value> = (0..12).map(|n| json!({"content": format!("edit {n}")})).collect();
    let answers = join_all(bodies.iter().map(|body| app.send_if_match("PATCH", &note, &tag, body))).await;
    let mut statuses = BTreeMap::new();
    for answer in &answers {
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 1), (412, 11)]));
    assert_eq!(app.count("crm.note_revision").await, 1);

    let answers = join_all(bodies.iter().map(|body| app.send("PATCH", &note, "manager", body))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let revisions = app.get(&format!("{note}/revisions?pageSize=100"), "manager").await.json();
    let mut texts: Vec<&str> = revisions["data"]["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|revision| revision["content"].as_str().unwrap())
        .collect();
    let current = app.get(NOTES, "manager").await.json()["data"]["notes"][0]["content"].as_str().unwrap().to_owned();
    texts.push(&current);
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 13, "the first text and every edit: {texts:?}");
    assert_eq!(app.count("audit_log WHERE action = 'update'").await, app.count("crm.note_revision").await);
}

#[actix_web::test]
async fn a_deletion_against_a_pin_leaves_no_pin_without_a_note() {
    let app = TestApp::with_customers().await;
    for round in 0..12 {
        let note = app.write_note("receptionist", "text").await;
        let pin = json!({"pinned": true, "content": format!("text {round}")});
        let (deleted, pinned) =
            futures_util::future::join(app.delete_as(&note, "manager"), app.send("PATCH", &note, "manager", &pin))
                .await;
        assert_eq!(deleted.status, 200);
        assert!(matches!(pinned.status, 200 | 404), "{}", pinned.text);
        assert_eq!(
            app.count("customer_note").await + app.count("crm.note_pin").await + app.count("crm.note_revision").await,
            0
        );
    }
}

/// Everyone assigns and merges at once: whoever was assigned one of the tags has the one that stays, and nothing deadlocks.
#[actix_web::test]
async fn a_merge_against_assignments_loses_nobody() {
    let app = TestApp::with_customers().await;
    for n in 0..30 {
        platform::customer(&app.client, &format!("c{n}"), "C").await;
    }
    let ids = |range: std::ops::Range<u32>| range.map(|n| format!("c{n}")).collect::<Vec<_>>();
    let bulk = json!({"assign": ids(0..20)});
    let reversed = json!({"assign": ids(10..30).into_iter().rev().collect::<Vec<_>>(), "remove": ["usr_1"]});
    let merge = json!({"into": "tag_bridal"});
    let single = json!({"tagId": "tag_vip"});
    let singles = join_all((0..30).map(async |n| {
        let answer = app.send("POST", &format!("/api/customers/c{n}/tags"), "receptionist", &single).await;
        (n, answer.status)
    }));
    // Those who have both tags meanwhile: an assignment of the one that stays must not wait for the merge, which may wait for it.
    let into = json!({"tagId": "tag_bridal"});
    let others = join_all(
        (0..30)
            .map(async |n| app.send("POST", &format!("/api/customers/c{n}/tags"), "receptionist", &into).await.status),
    );
    let bulks = join_all([
        app.send("POST", "/api/tags/tag_vip/assignments", "receptionist", &bulk),
        app.send("POST", "/api/tags/tag_vip/assignments", "receptionist", &reversed),
        app.send("POST", "/api/tags/tag_bridal/assignments", "receptionist", &bulk),
        app.send("POST", "/api/tags/tag_vip/merge", "manager", &merge),
    ]);
    let (singles, others, bulks) = futures_util::future::join3(singles, others, bulks).await;
    assert_eq!(others, [201; 30]);
    assert_eq!((bulks[3].status, bulks[2].status), (200, 200), "{} {}", bulks[3].text, bulks[2].text);
    let mut acknowledged: Vec<u32> = singles.iter().filter(|(_, status)| *status == 201).map(|(n, _)| *n).collect();
    assert!(singles.iter().all(|(_, status)| matches!(status, 201 | 404)), "{singles:?}");
    for (answer, range) in bulks.iter().zip([0..20, 10..30]) {
        assert!(matches!(answer.status, 200 | 404), "{}", answer.text);
        if answer.status == 200 {
            acknowledged.extend(range);
        }
    }
    for n in acknowledged {
        let has =
            app.count(&format!("customer_tag_assignment WHERE customer_id = 'c{n}' AND tag_id = 'tag_bridal'")).await;
        assert_eq!(has, 1, "c{n}");
    }
    assert_eq!(app.count("customer_tag_assignment WHERE tag_id = 'tag_vip'").await, 0);
}

/// Customers are deleted while their tag is merged and assigned in bulk.
#[actix_web::test]
async fn a_merge_and_a_bulk_assignment_survive_deletions_of_customers() {
    let app = TestApp::with_customers().await;
    for n in 0..40 {
        platform::customer(&app.client, &format!("c{n}"), "C").await;
        platform::assign(&app.client, &format!("c{n}"), "tag_new", "usr_owner").await;
    }
    let ids: Vec<_> = (0..40).map(|n| format!("c{n}")).collect();
    let deletions = async {
        for n in 0..40 {
            app.client.execute("DELETE FROM \"user\" WHERE id = $1", &[&format!("c{n}")]).await.unwrap();
        }
    };
    let (body, into) = (json!({"assign": ids}), json!({"into": "tag_vip"}));
    let requests = join_all([
        app.send("POST", "/api/tags/tag_bridal/assignments", "receptionist", &body),
        app.send("POST", "/api/tags/tag_new/merge", "manager", &into),
    ]);
    let (answers, ()) = futures_util::future::join(requests, deletions).await;
    for answer in answers {
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text);
    }
    assert_eq!(app.count("customer_tag_assignment WHERE customer_id LIKE 'c%'").await, 0);
}

#[actix_web::test]
async fn a_repeated_request_gets_the_first_answer_and_does_nothing() {
    let app = TestApp::with_customers().await;
    let requests = [
        (NOTES, "receptionist", json!({"content": "text"})),
        ("/api/customers/usr_2/tags", "receptionist", json!({"tagId": "tag_vip"})),
        ("/api/tags", "manager", json!({"name": "Front Row"})),
        ("/api/tags/tag_new/assignments", "receptionist", json!({"assign": ["usr_1", "nobody"]})),
        ("/api/tags/tag_new/merge", "manager", json!({"into": "tag_vip"})),
        // Refusals that a repeat would get, too.
        ("/api/tags", "manager", json!({"name": "VIP"})),
        ("/api/customers/nobody/notes", "receptionist", json!({"content": "text"})),
        (NOTES, "receptionist", json!({"content": "text", "bookingId": "bkg_2"})),
    ];
    for (number, (target, role, body)) in requests.into_iter().enumerate() {
        let key = format!("key-{number}");
        let first = app.send_with_key(target, role, &key, &body).await;
        assert_eq!(first.header("idempotent-replayed"), None);
        let after = app.rows().await;
        let again = app.send_with_key(target, role, &key, &body).await;
        assert_eq!(
            (again.status, again.header("idempotent-replayed")),
            (first.status, Some("true")),
            "{target}: {}",
            again.text
        );
        assert_eq!(again.header("etag"), first.header("etag"));
        if first.status < 400 {
            assert_eq!(again.text, first.text);
        } else {
            assert_eq!(again.error(), first.error(), "with the id of this request");
            assert_eq!(again.json()["error"]["details"], first.json()["error"]["details"]);
            // It stays refused, although it would succeed by now.
            app.client.batch_execute("DELETE FROM customer_tag WHERE slug = 'vip'").await.unwrap();
            let third = app.send_with_key(target, role, &key, &body).await;
            assert_eq!(third.status, first.status, "{}", third.text);
            continue;
        }
        assert_eq!(app.rows().await, after, "{target}");
        let other_body = app.send_with_key(target, role, &key, &json!({"content": "other", "name": "Other", "tagId": "tag_vip", "assign": ["usr_2"], "into": "tag_bridal"})).await;
        assert_eq!((other_body.status, other_body.error().as_str()), (422, "IDEMPOTENCY_KEY_REUSED"), "{target}");
        assert_eq!(app.rows().await, after, "{target}");
    }
}

#[actix_web::test]
async fn a_key_belongs_to_one_caller_method_and_path_for_a_day() {
    let app = TestApp::with_customers().await;
    let body = json!({"content": "text"});
    let first = app.send_with_key(NOTES, "receptionist", "k", &body).await;
    for (target, role) in [(NOTES, "manager"), ("/api/customers/usr_2/notes", "receptionist")] {
        let answer = app.send_with_key(target, role, "k", &body).await;
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (201, None));
    }
    assert_eq!(app.send_with_key(NOTES, "receptionist", "K", &body).await.header("idempotent-replayed"), None);
    assert_eq!(app.count("customer_note").await, 4);
    // Input that breaks the rules is refused before the key counts, and its key stays free.
    assert_eq!(app.send_with_key(NOTES, "receptionist", "fresh", &json!({"content": ""})).await.status, 400);
    assert_eq!(app.send_with_key(NOTES, "receptionist", "fresh", &body).await.status, 201);
    // A day later it is another request.
    app.client
        .batch_execute("UPDATE crm.idempotency_key SET created_at = created_at - interval '24 hours'")
        .await
        .unwrap();
    let later = app.send_with_key(NOTES, "receptionist", "k", &body).await;
    assert_eq!((later.status, later.header("idempotent-replayed")), (201, None));
    assert_ne!(later.text, first.text);
    let now = crm_domain::testing::NOW;
    assert_eq!(app.postgres().sweep_idempotency_keys(now - crm_domain::idempotency::LIFETIME).await.unwrap(), 4);
    assert_eq!(app.count("crm.idempotency_key").await, 1);

    for key in ["", " ", "é", "a b", &"k".repeat(256)] {
        let answer = app.send_with_key(NOTES, "receptionist", key, &json!({"content": ""})).await;
        let expected =
            json!({"Idempotency-Key": ["must be 1 to 255 visible ASCII characters"], "content": ["must not be empty"]});
        assert_eq!(answer.details(), expected, "{key:?}");
    }
    assert_eq!(app.send_with_key(NOTES, "receptionist", &"k".repeat(255), &body).await.status, 201);
    let twice =
        app.request("POST", NOTES, Some("manager")).header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(send(twice.json(&body)).await.details(), json!({"Idempotency-Key": ["must be given only once"]}));
    // Who may not do it learns nothing of a key.
    assert_eq!(app.send_with_key("/api/tags", "receptionist", "", &json!({})).await.error(), "FORBIDDEN");
}

/// Many requests with one key at once: one does the work; the others are told to wait, or get its answer.
#[actix_web::test]
async fn of_requests_with_one_key_at_once_one_does_the_work() {
    let app = TestApp::with_customers().await;
    let body = json!({"content": "once"});
    let answers = join_all((0..40).map(|_| app.send_with_key(NOTES, "receptionist", "k", &body))).await;
    let mut first = 0;
    for answer in &answers {
        match answer.status {
            201 if answer.header("idempotent-replayed").is_none() => first += 1,
            201 => {}
            _ => {
                assert_eq!((answer.status, answer.error().as_str()), (409, "REQUEST_IN_PROGRESS"), "{}", answer.text);
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
        }
    }
    assert_eq!((first, app.count("customer_note").await, app.count("audit_log").await), (1, 1, 1));
}

/// A request with a key waits for a lock; its repeat is told so; the process is killed, and nothing of it remains. Another
/// instance then does it, and answers every further repeat, after a restart, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_process_is_killed_is_done_once() {
    let database = arrange_database().await;
    let patient = [
        ("DATABASE_LOCK_TIMEOUT_MS", "20000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"),
        ("REQUEST_TIMEOUT_MS", "25000"),
    ];
    let (victim, other) = (Service::start(&database, &patient).await, Service::start(&database, &patient).await);
    let mut client = database.client().await;
    let watcher = database.client().await;
    let body = json!({"content": "allergic to ammonia"});
    let post =
        |service: &Service| send(service.request("POST", NOTES, "manager").header("idempotency-key", "k").json(&body));
    let count = async |from: &str| {
        watcher.query_one(&format!("SELECT count(*) FROM {from}"), &[]).await.unwrap().get::<_, i64>(0)
    };
    let raw = format!(
        "POST {NOTES} HTTP/1.1\r\nHost: crm\r\nCookie: {}\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: {}\r\n\r\n{body}",
        TestApp::cookie("manager"),
        body.to_string().len()
    );

    // Before its commit.
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN EXCLUSIVE MODE").await.unwrap();
    let mut waiting = TcpStream::connect(&victim.address).await.unwrap();
    waiting.write_all(raw.as_bytes()).await.unwrap();
    let blocked = "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    eventually(PATIENCE, "the request waits", async || count(blocked).await == 1).await;
    let repeated = post(&other).await;
    assert_eq!((repeated.status, repeated.error().as_str()), (409, "REQUEST_IN_PROGRESS"));
    victim.signal("-KILL");
    eventually(PATIENCE, "the server notices the end", async || count(blocked).await == 0).await;
    lock.rollback().await.unwrap();
    assert_eq!((count("customer_note").await, count("crm.idempotency_key").await), (0, 0));

    // After its commit, and before its answer is read.
    let second = Service::start(&database, &patient).await;
    let mut unread = TcpStream::connect(&second.address).await.unwrap();
    unread.write_all(raw.as_bytes()).await.unwrap();
    eventually(PATIENCE, "the note is written", async || count("customer_note").await == 1).await;
    second.signal("-KILL");
    drop(unread);
    let replayed = post(&other).await;
    assert_eq!((replayed.status, replayed.header("idempotent-replayed")), (201, Some("true")), "{}", replayed.text);
    let restarted = Service::start(&database, &patient).await;
    let again = post(&restarted).await;
    assert_eq!((again.text, again.status), (replayed.text, 201));
    assert_eq!((count("customer_note").await, count("audit_log").await), (1, 1));
}
