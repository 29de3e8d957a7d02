//! Tags that are counted, changed, merged, deleted and assigned in bulk.

use crm_adapters::testing::platform;
use serde_json::{Value, json};

use crate::app::TestApp;

impl TestApp {
    /// Who has which tag, as `customer:tag by whom`, in order.
    async fn assignments(&self) -> Vec<String> {
        let sql =
            "SELECT customer_id || ':' || tag_id || ' by ' || assigned_by FROM customer_tag_assignment ORDER BY 1";
        self.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// The audit log: action and entity, in order.
    async fn audited(&self) -> Vec<String> {
        let sql = "SELECT action || ' ' || entity_id FROM audit_log ORDER BY id";
        self.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

#[actix_web::test]
async fn counts_are_those_of_listed_customers() {
    let app = TestApp::with_customers().await;
    platform::assign(&app.client, "usr_2", "tag_vip", "usr_manager").await;
    // Neither has a profile, nor is listed.
    platform::assign(&app.client, "usr_staff", "tag_vip", "usr_manager").await;
    platform::profile(&app.client, "usr_owner").await;
    platform::assign(&app.client, "usr_owner", "tag_vip", "usr_manager").await;
    let counted = async || {
        let answer = app.get("/api/tags?counts=true", "receptionist").await.json();
        let count = |tag: &Value| (tag["slug"].as_str().unwrap().to_owned(), tag["customerCount"].as_u64().unwrap());
        answer["data"]["tags"].as_array().unwrap().iter().map(count).collect::<Vec<_>>()
    };
    let expected: Vec<_> = [("bridal", 1), ("new", 0), ("vip", 2)].map(|(slug, n)| (slug.to_owned(), n)).into();
    assert_eq!(counted().await, expected);
    for target in ["/api/tags", "/api/tags?counts=false"] {
        let tags = app.get(target, "receptionist").await.json();
        assert!(tags["data"]["tags"][0].get("customerCount").is_none(), "{tags}");
    }
    for target in ["/api/tags?counts=", "/api/tags?counts=1", "/api/tags?counts=TRUE"] {
        assert_eq!(app.get(target, "receptionist").await.details(), json!({"counts": ["must be true or false"]}));
    }
}

#[actix_web::test]
async fn a_tag_is_changed_and_keeps_its_slug() {
    let app = TestApp::with_customers().await;
    let path = "/api/tags/tag_vip";
    let body = json!({"name": " Very important ", "color": null, "description": " Greet by name. "});
    let answer = app.send("PATCH", path, "manager", &body).await;
    let expected = json!({
        "id": "tag_vip", "name": "Very important", "slug": "vip", "color": null, "description": "Greet by name.",
        "createdAt": "2025-01-02T03:04:05.678Z"
    });
    assert_eq!((answer.status, &answer.json()["data"]["tag"]), (200, &expected));
    let after = app.rows().await;
    for same in [json!({}), json!({"name": "Very important"}), json!({"color": null}), body] {
        assert_eq!(app.send("PATCH", path, "manager", &same).await.json()["data"]["tag"], expected);
    }
    assert_eq!(app.rows().await, after, "what equals the stored values changes nothing");
    let values: String = app
        .client
        .query_one("SELECT old_values::text || ' ' || new_values::text FROM audit_log", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(
        values,
        r##"{"name": "VIP", "color": "#FFD700", "description": null} {"name": "Very important", "color": null, "description": "Greet by name."}"##
    );
    // The slug of another tag, though its name is another one by now; its own slug is free.
    app.send("PATCH", "/api/tags/tag_new", "manager", &json!({"name": "Fresh"})).await;
    assert_eq!(app.send("PATCH", path, "manager", &json!({"name": "NEW"})).await.error(), "CONFLICT");
    assert_eq!(app.send("PATCH", path, "manager", &json!({"name": "vip"})).await.status, 200);
    assert_eq!(
        app.send("PATCH", path, "manager", &json!({"description": "  "})).await.json()["data"]["tag"]["description"],
        Value::Null
    );
    assert_eq!(
        app.send("PATCH", "/api/tags/nothing", "manager", &json!({})).await.json()["error"]["message"],
        "Tag not found."
    );
    for (body, details) in [
        (json!({"name": null}), json!({"name": ["must be a string"]})),
        (
            json!({"name": "", "color": "red"}),
            json!({"name": ["must not be empty"], "color": ["must be a colour such as #1A2b3C: a hash and six hexadecimal digits"]}),
        ),
        (
            json!({"color": 7, "description": 7}),
            json!({"color": ["must be a string or null"], "description": ["must be a string or null"]}),
        ),
        (json!({"description": "x".repeat(201)}), json!({"description": ["must be at most 200 characters"]})),
        (json!({"description": "a\u{0}"}), json!({"description": ["must not contain a NUL character"]})),
    ] {
        assert_eq!(app.send("PATCH", path, "manager", &body).await.details(), details, "{body}");
    }
}

#[actix_web::test]
async fn a_tag_in_use_is_deleted_only_when_it_is_unassigned() {
    let app = TestApp::with_customers().await;
    platform::assign(&app.client, "usr_2", "tag_vip", "usr_manager").await;
    let before = app.rows().await;
    for target in ["/api/tags/tag_vip", "/api/tags/tag_vip?unassign=false"] {
        let refused = app.delete_as(target, "manager").await;
        assert_eq!(refused.error(), "CONFLICT");
        assert_eq!(refused.json()["error"]["details"], json!({"customerCount": 2}));
    }
    assert_eq!(app.rows().await, before);
    assert_eq!(
        app.delete_as("/api/tags/tag_vip?unassign=yes", "manager").await.details(),
        json!({"unassign": ["must be true or false"]})
    );
    assert_eq!(app.delete_as("/api/tags/tag_vip?unassign=true", "receptionist").await.error(), "FORBIDDEN");
    assert_eq!(app.delete_as("/api/tags/tag_vip?unassign=true", "manager").await.status, 200);
    assert_eq!(app.assignments().await, ["usr_1:tag_bridal by usr_receptionist"]);
    let mut audited = app.audited().await;
    audited.sort();
    assert_eq!(audited, ["delete tag_vip", "delete usr_1:tag_vip", "delete usr_2:tag_vip"]);
    assert_eq!(app.delete_as("/api/tags/tag_vip", "manager").await.error(), "NOT_FOUND");
    assert_eq!(app.delete_as("/api/tags/tag_new", "manager").await.status, 200, "nobody has it");
}

/// A table of the platform's that refers to tags, and that this service does not know.
#[actix_web::test]
async fn what_another_program_still_refers_to_is_a_conflict() {
    let app = TestApp::with_customers().await;
    let note = app.write_note("receptionist", "text").await;
    app.client
        .batch_execute(
            "CREATE TABLE campaign (tag_id text REFERENCES customer_tag (id), note_id text REFERENCES customer_note (id));
             INSERT INTO campaign SELECT 'tag_new', id FROM customer_note",
        )
        .await
        .unwrap();
    let before = app.rows().await;
    for target in ["/api/tags/tag_new", note.as_str()] {
        assert_eq!(app.delete_as(target, "manager").await.error(), "CONFLICT", "{target}");
    }
    assert_eq!(app.rows().await, before);
}

#[actix_web::test]
async fn a_merge_gives_everyone_the_other_tag_and_keeps_who_assigned_it() {
    let app = TestApp::with_customers().await;
    platform::assign(&app.client, "usr_2", "tag_vip", "usr_owner").await;
    platform::assign(&app.client, "usr_1", "tag_new", "usr_manager").await;
    let answer = app.send("POST", "/api/tags/tag_vip/merge", "manager", &json!({"into": "tag_new"})).await;
    assert_eq!((answer.status, &answer.json()["data"]["tag"]["id"]), (200, &json!("tag_new")));
    assert_eq!(
        app.assignments().await,
        ["usr_1:tag_bridal by usr_receptionist", "usr_1:tag_new by usr_manager", "usr_2:tag_new by usr_owner"]
    );
    let mut audited = app.audited().await;
    audited.sort();
    assert_eq!(
        audited,
        ["create usr_2:tag_new", "delete tag_vip", "delete usr_1:tag_vip", "delete usr_2:tag_vip"],
        "each assignment that changed, and the tag"
    );
    for (target, into, expected) in [
        ("/api/tags/tag_new/merge", json!("tag_new"), 400),
        ("/api/tags/nothing/merge", json!("nothing"), 400),
        ("/api/tags/nothing/merge", json!("tag_new"), 404),
        ("/api/tags/tag_new/merge", json!("nothing"), 404),
        ("/api/tags/tag_new/merge", json!(""), 400),
        ("/api/tags/tag_new/merge", json!(null), 400),
    ] {
        let answer = app.send("POST", target, "manager", &json!({"into": into})).await;
        assert_eq!(answer.status, expected, "{target} {into}: {}", answer.text);
    }
}

#[actix_web::test]
async fn a_bulk_assignment_changes_what_is_not_as_wanted_and_names_whom_it_does_not_know() {
    let app = TestApp::with_customers().await;
    let path = "/api/tags/tag_vip/assignments";
    platform::customer(&app.client, "usr_3", "Chitra").await;
    let body = json!({"assign": ["usr_2", "usr_3", "nobody", "usr_2"], "remove": ["usr_1", "no/one"]});
    let answer = app.send("POST", path, "receptionist", &body).await;
    let expected = json!({"assigned": 2, "removed": 1, "unchanged": 0, "notFound": ["no/one", "nobody"]});
    assert_eq!((answer.status, &answer.json()["data"]), (200, &expected), "{}", answer.text);
    let rest = [
        "usr_1:tag_bridal by usr_receptionist",
        "usr_2:tag_vip by usr_receptionist",
        "usr_3:tag_vip by usr_receptionist",
    ];
    assert_eq!(app.assignments().await, rest);
    let mut audited = app.audited().await;
    audited.sort();
    assert_eq!(audited, ["create usr_2:tag_vip", "create usr_3:tag_vip", "delete usr_1:tag_vip"]);
    let after = app.rows().await;
    let again = app.send("POST", path, "owner", &body).await.json();
    assert_eq!(again["data"], json!({"assigned": 0, "removed": 0, "unchanged": 3, "notFound": ["no/one", "nobody"]}));
    assert_eq!(app.rows().await, after, "idempotent: who assigned it first stays");

    let many: Vec<String> = (0..501).map(|n| format!("usr_{n}")).collect();
    for (body, field, message) in [
        (json!({}), "assign", "must name at least one customer, here or in the other list"),
        (json!({"assign": [], "remove": []}), "assign", "must name at least one customer, here or in the other list"),
        (json!({"assign": ["a", "b"], "remove": ["b"]}), "remove", "must not have a customer who is also in assign"),
        (json!({"assign": many}), "assign", "must have at most 500 customers together with the other list"),
        (json!({"assign": "usr_1"}), "assign", "must be an array of ids"),
        (json!({"remove": [1]}), "remove", "each id must be a string"),
        (json!({"remove": [""]}), "remove", "each id must not be empty"),
        (json!({"assign": ["a\u{0}"]}), "assign", "each id must not contain a NUL character"),
    ] {
        assert_eq!(app.send("POST", path, "receptionist", &body).await.details(), json!({field: [message]}));
    }
    let unknown =
        app.send("POST", "/api/tags/nothing/assignments", "receptionist", &json!({"assign": ["usr_1"]})).await;
    assert_eq!(unknown.json()["error"]["message"], "Tag not found.");
    assert_eq!(app.rows().await, after);
}

/// A merge and a deletion of ten thousand assignments: one statement for the rows and one for the audit entries, well within
/// the statement timeout.
#[actix_web::test]
async fn ten_thousand_assignments_are_merged_and_deleted_in_few_statements() {
    let app = TestApp::with_customers().await;
    app.client
        .batch_execute(
            "INSERT INTO \"user\" (id, name, email, role) SELECT 'c' || n, 'C', 'c' || n || '@x.io', 'customer' FROM generate_series(1, 10000) n;
             INSERT INTO customer_profile (id, user_id) SELECT 'p' || n, 'c' || n FROM generate_series(1, 10000) n;
             INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by)
               SELECT 'c' || n, 'tag_new', 'usr_owner' FROM generate_series(1, 10000) n;
             INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by)
               SELECT 'c' || n, 'tag_bridal', 'usr_owner' FROM generate_series(1, 5000) n;
             ANALYZE",
        )
        .await
        .unwrap();
    let into = json!({"into": "tag_bridal"});
    let merge = app.send("POST", "/api/tags/tag_new/merge", "manager", &into);
    // Other desks read and write meanwhile: other tags, notes, and the customers whose tags are merged.
    let others = async {
        for n in 1..=20 {
            let customer = format!("/api/customers/c{n}");
            assert_eq!(app.get(&customer, "receptionist").await.status, 200);
            assert_eq!(app.get("/api/customers?tag=bridal", "receptionist").await.status, 200);
            let (tag, note) = (json!({"tagId": "tag_vip"}), json!({"content": "text"}));
            assert_eq!(app.send("POST", &format!("{customer}/tags"), "receptionist", &tag).await.status, 201);
            assert_eq!(app.send("POST", &format!("{customer}/notes"), "receptionist", &note).await.status, 201);
        }
    };
    let (merged, ()) = futures_util::future::join(merge, others).await;
    assert_eq!(merged.status, 200, "{}", merged.text);
    assert_eq!(app.count("customer_tag_assignment WHERE tag_id = 'tag_bridal'").await, 10_001);
    assert_eq!(app.count("audit_log").await, 5_000 + 10_000 + 1 + 40);
    assert_eq!(app.count("crm.audit_customer").await, 15_000 + 40);
    assert_eq!(app.delete_as("/api/tags/tag_bridal?unassign=true", "manager").await.status, 200);
    assert_eq!(app.count("audit_log").await, 15_041 + 10_001 + 1);
}
