//! Complete responses of every endpoint as snapshots (status and JSON, key by key), and the rows that each request
//! leaves in the database.

use serde_json::{Value, json};

use crate::app::{Answer, TestApp};

/// Status and body, with the keys in the order in which they were sent.
fn render(answer: &Answer) -> String {
    format!("{}\n{}", answer.status, pretty(&answer.text))
}

/// The JSON text with line breaks and no reordering.
fn pretty(text: &str) -> String {
    let mut out = String::new();
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for c in text.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '{' | '[' => {
                depth += 1;
                out.push(c);
                out.push('\n');
                out.push_str(&"  ".repeat(depth));
            }
            '}' | ']' => {
                depth -= 1;
                out.push('\n');
                out.push_str(&"  ".repeat(depth));
                out.push(c);
            }
            ',' => {
                out.push_str(",\n");
                out.push_str(&"  ".repeat(depth));
            }
            _ => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[actix_web::test]
async fn the_directory_is_returned_page_by_page() {
    let app = TestApp::with_customers().await;
    insta::assert_snapshot!(render(&app.get("/api/customers", "receptionist").await));
    insta::assert_snapshot!(
        "the_directory_past_the_end",
        render(&app.get("/api/customers?page=7&pageSize=1", "receptionist").await)
    );
}

#[actix_web::test]
async fn a_customer_is_returned_with_every_field() {
    let app = TestApp::with_customers().await;
    insta::assert_snapshot!(render(&app.get("/api/customers/usr_1", "receptionist").await));
    insta::assert_snapshot!(
        "a_customer_without_anything",
        render(&app.get("/api/customers/usr_2", "receptionist").await)
    );
    insta::assert_snapshot!(
        "a_customer_that_is_not_there",
        render(&app.get("/api/customers/nobody", "receptionist").await)
    );
    // A user without a profile is not a customer, and a customer may have another role.
    assert_eq!(app.get("/api/customers/usr_manager", "receptionist").await.status, 404);
    app.client.batch_execute("UPDATE \"user\" SET role = null WHERE id = 'usr_2'").await.unwrap();
    assert_eq!(app.get("/api/customers/usr_2", "receptionist").await.json()["data"]["customer"]["role"], Value::Null);
}

#[actix_web::test]
async fn ids_created_by_the_platform_may_have_any_format() {
    let app = TestApp::start().await;
    for (id, target) in [
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("a b", "a%20b"),
        ("a+b", "a+b"),
        ("é", "%C3%A9"),
        ("%2F", "%252F"),
        ("..", "%2E%2E"),
    ] {
        crm_adapters::testing::platform::customer(&app.client, id, "Asha").await;
        let target = format!("/api/customers/{target}");
        let answer = app.get_raw(target.as_bytes(), "receptionist").await;
        assert_eq!((answer.status, &answer.json()["data"]["customer"]["id"]), (200, &json!(id)), "{target}");
    }
}

#[actix_web::test]
async fn an_override_returns_the_profile_and_is_audited() {
    let app = TestApp::with_customers().await;
    let path = "/api/customers/usr_1";
    let before = app.rows().await;

    // Requests that change nothing return the current row and write no audit entry.
    for body in [
        json!({}),
        json!({"noshowCount": 2}),
        json!({"noshowCount": 2, "bookingRequiresApproval": false}),
        json!({"unknown": null}),
    ] {
        assert_eq!(app.send("PATCH", path, "manager", &body).await.status, 200, "{body}");
    }
    let nothing = crate::app::send(app.request("PATCH", path, Some("manager"))).await;
    assert_eq!(nothing.status, 200);
    let nothing =
        crate::app::send(app.request("PATCH", path, Some("manager")).header("content-type", "text/plain")).await;
    assert_eq!(nothing.status, 200, "an empty body, whatever its content type");
    assert_eq!(app.rows().await, before);

    let answer = app.send("PATCH", path, "manager", &json!({"noshowCount": 0, "bookingRequiresApproval": true})).await;
    insta::assert_snapshot!(render(&answer));
    insta::assert_snapshot!("the_gates_audit", read_audit_log(&app).await);

    assert_eq!(app.send("PATCH", path, "manager", &json!({"noshowCount": 2_147_483_647})).await.status, 200);
    assert_eq!(
        app.send("PATCH", "/api/customers/nobody", "manager", &json!({"noshowCount": 1})).await.error(),
        "NOT_FOUND"
    );
    assert_eq!(app.send("PATCH", "/api/customers/nobody", "manager", &json!({})).await.error(), "NOT_FOUND");
}

/// The audit log, oldest first.
async fn read_audit_log(app: &TestApp) -> String {
    let sql = "SELECT format('%s %s %s %s by %s%s  old %s%s  new %s', id, action, entity_type, entity_id, actor_id, chr(10), old_values, chr(10), new_values) \
               FROM audit_log ORDER BY id";
    let rows = app.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

#[actix_web::test]
async fn a_note_is_written_listed_and_audited() {
    let app = TestApp::with_customers().await;
    let path = "/api/customers/usr_1/notes";
    let body = json!({"content": " \u{FEFF}allergic to ammonia\n", "bookingId": "bkg_1", "unknown": 1});
    insta::assert_snapshot!(render(&app.send("POST", path, "receptionist", &body).await));
    insta::assert_snapshot!("notes_audit", read_audit_log(&app).await);
    assert_eq!(app.send("POST", path, "owner", &json!({"content": "ñ".repeat(1000)})).await.status, 201);
    insta::assert_snapshot!(
        "notes_listed",
        render(&app.get(&format!("{path}?pageSize=1&page=2"), "receptionist").await)
    );

    assert_eq!(app.get("/api/customers/usr_2/notes", "receptionist").await.json()["data"], json!({"notes": []}));
    assert_eq!(app.get("/api/customers/nobody/notes", "receptionist").await.error(), "NOT_FOUND");
    assert_eq!(
        app.send("POST", "/api/customers/nobody/notes", "receptionist", &json!({"content": "x", "bookingId": "bkg_1"}))
            .await
            .error(),
        "NOT_FOUND"
    );
    for booking in ["bkg_2", "nothing"] {
        let answer = app.send("POST", path, "receptionist", &json!({"content": "x", "bookingId": booking})).await;
        assert_eq!(answer.details(), json!({"bookingId": ["must be the id of a booking of this customer"]}));
    }
    assert_eq!((app.count("customer_note").await, app.count("audit_log").await), (2, 2));
}

#[actix_web::test]
async fn a_tag_is_created_listed_and_audited() {
    let app = TestApp::with_customers().await;
    insta::assert_snapshot!(render(&app.get("/api/tags", "receptionist").await));
    let answer =
        app.send("POST", "/api/tags", "manager", &json!({"name": "  Sensitive \t skin ", "color": "#aBcDeF"})).await;
    insta::assert_snapshot!("tags_made", render(&answer));
    let answer = app.send("POST", "/api/tags", "manager", &json!({"name": "SENSITIVE SKIN"})).await;
    insta::assert_snapshot!("tags_taken", render(&answer));
    assert_eq!(
        app.send("POST", "/api/tags", "manager", &json!({"name": "É".repeat(40)})).await.json()["data"]["tag"]["color"],
        Value::Null
    );
    insta::assert_snapshot!("tags_audit", read_audit_log(&app).await);
}

#[actix_web::test]
async fn an_assignment_is_created_deleted_and_audited() {
    let app = TestApp::with_customers().await;
    let path = "/api/customers/usr_2/tags";
    let body = json!({"tagId": "tag_vip"});
    insta::assert_snapshot!(render(&app.send("POST", path, "receptionist", &body).await));
    // A second assignment by another user changes nothing.
    let after = app.rows().await;
    assert_eq!(app.send("POST", path, "owner", &body).await.status, 201);
    assert_eq!(app.rows().await, after);

    let none = json!({"tagId": "nothing"});
    let answer = app.send("POST", path, "receptionist", &none).await;
    assert_eq!(answer.json()["error"]["message"], "Tag not found.");
    let answer = app.send("POST", "/api/customers/nobody/tags", "receptionist", &none).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["message"]),
        (404, &json!("Customer not found.")),
        "the customer before anything else"
    );

    let removed = app.send("DELETE", "/api/customers/usr_2/tags/tag_vip", "receptionist", &json!({})).await;
    insta::assert_snapshot!("assignments_removed", render(&removed));
    let after = app.rows().await;
    for target in
        ["/api/customers/usr_2/tags/tag_vip", "/api/customers/usr_2/tags/nothing", "/api/customers/nobody/tags/tag_vip"]
    {
        assert_eq!(app.delete(target).await.json(), json!({"success": true, "data": {"ok": true}}), "{target}");
    }
    assert_eq!(app.rows().await, after);
    insta::assert_snapshot!("assignments_audit", read_audit_log(&app).await);
}

impl TestApp {
    async fn delete(&self, target: &str) -> Answer {
        let answer = crate::app::send(self.request("DELETE", target, Some("receptionist"))).await;
        assert_eq!(answer.status, 200);
        answer
    }
}

#[actix_web::test]
async fn tags_with_ids_of_any_format_can_be_assigned_and_unassigned() {
    let app = TestApp::start().await;
    crm_adapters::testing::platform::customer(&app.client, "a/b", "Asha").await;
    crm_adapters::testing::platform::tag(&app.client, "t/%", "VIP", None).await;
    let answer = app.send("POST", "/api/customers/a%2Fb/tags", "receptionist", &json!({"tagId": "t/%"})).await;
    assert_eq!(answer.status, 201);
    app.delete("/api/customers/a%2Fb/tags/t%2F%25").await;
    assert_eq!(app.count("customer_tag_assignment").await, 0);
    assert_eq!(app.count("audit_log WHERE entity_id = 'a/b:t/%'").await, 2);
}
