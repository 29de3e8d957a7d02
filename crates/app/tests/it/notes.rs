//! Notes that are edited, pinned and deleted, and their history.

use serde_json::{Value, json};

use crate::app::{Answer, TestApp, send};

const NOTES: &str = "/api/customers/usr_1/notes";

impl TestApp {
    /// Writes a note on `usr_1` as that role. Returns its path.
    pub(crate) async fn write_note(&self, role: &str, content: &str) -> String {
        let answer = self.send("POST", NOTES, role, &json!({"content": content})).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        format!("{NOTES}/{}", answer.json()["data"]["note"]["id"].as_str().unwrap())
    }

    pub(crate) async fn delete_as(&self, target: &str, role: &str) -> Answer {
        send(self.request("DELETE", target, Some(role))).await
    }

    /// Everything that the database holds, as text: every table of both schemas.
    async fn whole_database(&self) -> String {
        let tables =
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'crm')";
        let mut text = String::new();
        for table in self.client.query(tables, &[]).await.unwrap() {
            let sql = format!("SELECT t::text FROM {} t", table.get::<_, String>(0));
            for row in self.client.query(&sql, &[]).await.unwrap() {
                text += row.get::<_, &str>(0);
            }
        }
        text
    }
}

#[actix_web::test]
async fn an_edit_keeps_a_revision_and_equal_values_change_nothing() {
    let app = TestApp::with_customers().await;
    let note = app.write_note("receptionist", "allergic to ammonia").await;
    let edited = app.send("PATCH", &note, "receptionist", &json!({"content": " allergic to ammonia and PPD "})).await;
    assert_eq!(edited.status, 200, "{}", edited.text);
    let shown = &edited.json()["data"]["note"];
    assert_eq!(
        (&shown["content"], &shown["authorName"], &shown["pinned"], &shown["editedByName"]),
        (&json!("allergic to ammonia and PPD"), &json!("The receptionist"), &json!(false), &json!("The receptionist"))
    );
    assert_eq!(shown["editedAt"], "2026-11-23T10:00:00.123Z");
    assert_eq!(&app.get(NOTES, "receptionist").await.json()["data"]["notes"][0], shown, "as listed");

    let after = app.rows().await;
    for body in [json!({}), json!({"content": "allergic to ammonia and PPD"}), json!({"pinned": false}), Value::Null] {
        let same = match body {
            Value::Null => send(app.request("PATCH", &note, Some("owner"))).await,
            body => app.send("PATCH", &note, "owner", &body).await,
        };
        assert_eq!((same.status, &same.json()["data"]["note"]), (200, shown), "{}", same.text);
    }
    assert_eq!(app.rows().await, after);

    app.send("PATCH", &note, "manager", &json!({"content": "third"})).await;
    let revisions = app.get(&format!("{note}/revisions?pageSize=1"), "manager").await.json();
    assert_eq!(revisions["meta"], json!({"page": 1, "totalPages": 2, "totalCount": 2}));
    let newest = json!([{
        "content": "allergic to ammonia and PPD", "editedAt": "2026-11-23T10:00:00.123Z", "editedByName": "The manager"
    }]);
    assert_eq!(revisions["data"]["revisions"], newest);
    assert_eq!(app.get(&format!("{note}/revisions"), "receptionist").await.error(), "FORBIDDEN");
}

#[actix_web::test]
async fn the_text_is_its_authors_and_the_managers_and_the_pin_everyones() {
    let app = TestApp::with_customers().await;
    let note = app.write_note("manager", "written by the manager").await;
    let before = app.rows().await;
    // A body that changes a text it may not change is refused whole.
    for body in [json!({"content": "new"}), json!({"content": "new", "pinned": true})] {
        assert_eq!(app.send("PATCH", &note, "receptionist", &body).await.error(), "FORBIDDEN");
    }
    assert_eq!(app.delete_as(&note, "receptionist").await.error(), "FORBIDDEN");
    assert_eq!(app.rows().await, before);
    // The text is the stored one: only the pin changes.
    let pinned = json!({"content": "written by the manager", "pinned": true});
    assert_eq!(app.send("PATCH", &note, "receptionist", &pinned).await.json()["data"]["note"]["pinned"], true);
    for role in ["manager", "owner", "developer"] {
        assert_eq!(app.send("PATCH", &note, role, &json!({"content": role})).await.status, 200, "{role}");
    }
    let own = app.write_note("receptionist", "own").await;
    assert_eq!(app.send("PATCH", &own, "receptionist", &json!({"content": "mine"})).await.status, 200);
    assert_eq!(app.delete_as(&own, "receptionist").await.json(), json!({"success": true, "data": {"ok": true}}));
    assert_eq!(app.delete_as(&own, "receptionist").await.json()["error"]["message"], "Note not found.");
    assert_eq!(app.delete_as(&note, "owner").await.status, 200);
}

#[actix_web::test]
async fn pinned_notes_come_first_on_every_page() {
    let app = TestApp::with_customers().await;
    let notes = [
        app.write_note("receptionist", "first").await,
        app.write_note("receptionist", "second").await,
        app.write_note("receptionist", "third").await,
    ];
    app.send("PATCH", &notes[0], "receptionist", &json!({"pinned": true})).await;
    let mut listed = Vec::new();
    for page in 1..=3 {
        let answer = app.get(&format!("{NOTES}?pageSize=1&page={page}"), "receptionist").await.json();
        listed.push(answer["data"]["notes"][0]["content"].as_str().unwrap().to_owned());
    }
    assert_eq!(listed, ["first", "third", "second"]);
    app.send("PATCH", &notes[0], "receptionist", &json!({"pinned": false})).await;
    let listed = app.get(NOTES, "receptionist").await.json();
    assert_eq!(listed["data"]["notes"][0]["content"], "third");
}

#[actix_web::test]
async fn a_note_of_another_customer_is_not_found() {
    let app = TestApp::with_customers().await;
    let note = app.write_note("receptionist", "allergic").await;
    let id = note.rsplit('/').next().unwrap().to_owned();
    let before = app.rows().await;
    for (customer, message) in [("usr_2", "Note not found."), ("nobody", "Customer not found.")] {
        let path = format!("/api/customers/{customer}/notes/{id}");
        for answer in [
            app.send("PATCH", &path, "manager", &json!({"content": "x"})).await,
            app.send("PATCH", &path, "manager", &json!({})).await,
            app.delete_as(&path, "manager").await,
            app.get(&format!("{path}/revisions"), "manager").await,
        ] {
            assert_eq!((answer.status, &answer.json()["error"]["message"]), (404, &json!(message)));
            assert!(!answer.text.contains("allergic"));
        }
    }
    assert_eq!(app.rows().await, before);
}

/// No table holds the text of a deleted note, whoever deletes it; neither does the audit log of a note that is there.
#[actix_web::test]
async fn a_deleted_note_leaves_no_text_behind() {
    let app = TestApp::with_customers().await;
    let texts = ["allergic to ammonia", "allergic to PPD", "allergic to nickel"];
    for deleted_by_platform in [false, true] {
        let keyed = app.request("POST", NOTES, Some("receptionist")).header("idempotency-key", "k");
        let written = send(keyed.json(&json!({"content": texts[0]}))).await;
        let id = written.json()["data"]["note"]["id"].as_str().unwrap().to_owned();
        let note = format!("{NOTES}/{id}");
        for text in &texts[1..] {
            let edit = app.send("PATCH", &note, "receptionist", &json!({"content": text, "pinned": true})).await;
            assert_eq!(edit.status, 200);
        }
        let audit: Vec<String> = app
            .client
            .query("SELECT l::text FROM audit_log l", &[])
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert!(audit.len() >= 3 && !audit.concat().contains("allergic"));
        assert!(app.whole_database().await.contains(texts[0]), "a revision");
        if deleted_by_platform {
            app.client.batch_execute("DELETE FROM customer_note").await.unwrap();
            app.postgres()
                .sweep_idempotency_keys(crm_domain::testing::NOW - crm_domain::idempotency::LIFETIME)
                .await
                .unwrap();
        } else {
            assert_eq!(app.delete_as(&note, "receptionist").await.status, 200);
        }
        assert!(!app.whole_database().await.contains("allergic"), "by the platform: {deleted_by_platform}");
        assert_eq!(app.count("crm.note_pin").await + app.count("crm.note_revision").await, 0);
        assert_eq!(app.get(&format!("{note}/revisions"), "manager").await.error(), "NOT_FOUND");
        // The request is not done again, and its answer is gone with the note.
        let keyed = app.request("POST", NOTES, Some("receptionist")).header("idempotency-key", "k");
        let replayed = send(keyed.json(&json!({"content": texts[0]}))).await;
        assert_eq!((replayed.status, app.count("customer_note").await), (404, 0), "{}", replayed.text);
        app.client.batch_execute("DELETE FROM crm.idempotency_key").await.unwrap();
    }
}

/// The platform edits and deletes in its own tables, and needs to know nothing of ours.
#[actix_web::test]
async fn the_platform_edits_and_deletes_behind_our_back() {
    let app = TestApp::with_customers().await;
    let note = app.write_note("receptionist", "ours").await;
    app.client.batch_execute("UPDATE customer_note SET content = 'theirs'").await.unwrap();
    let edited = app.send("PATCH", &note, "receptionist", &json!({"content": "ours again"})).await;
    assert_eq!(edited.json()["data"]["note"]["content"], "ours again");
    let revisions = app.get(&format!("{note}/revisions"), "manager").await.json();
    assert_eq!(revisions["data"]["revisions"][0]["content"], "theirs");
    let stored: String = app.client.query_one("SELECT content FROM customer_note", &[]).await.unwrap().get(0);
    assert_eq!(stored, "ours again");
    // An editor whom the platform deletes leaves the edit without a name.
    app.client.batch_execute("UPDATE crm.note_revision SET edited_by = 'gone'").await.unwrap();
    let listed = app.get(NOTES, "receptionist").await.json()["data"]["notes"][0].clone();
    assert_eq!((&listed["editedByName"], listed["editedAt"].is_string()), (&Value::Null, true));
    // A customer whom the platform deletes takes everything along.
    app.client.batch_execute("DELETE FROM booking; DELETE FROM \"user\" WHERE id = 'usr_1'").await.unwrap();
    assert_eq!(app.count("customer_note").await + app.count("crm.note_revision").await, 0);
}
