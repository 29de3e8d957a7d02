//! The OpenAPI document: it equals the committed file, its examples equal real responses, and the service enforces the
//! minimum roles that it states. The tests iterate over the operations of the document.

use crm_app::config::http::HttpSettings;
use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use crate::{
    app::{ROLES, TestApp, send},
    service::{PATIENCE, eventually, root, run},
};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One operation of the document.
#[derive(Debug, Clone)]
struct Operation {
    method: String,
    path: String,
    id: String,
    said: Value,
}

impl Operation {
    fn minimum_role(&self) -> Option<&str> {
        self.said["x-minimum-role"].as_str()
    }

    /// The request target, with an existing customer and an existing tag.
    fn target(&self) -> String {
        let id = match self.id.as_str() {
            "delete_tag" => "tag_new",
            _ if self.path.starts_with("/api/tags") => "tag_bridal",
            _ => "usr_1",
        };
        self.path
            .replace("{id}", id)
            .replace("{tagId}", "tag_vip")
            .replace("{noteId}", "note_00000000000000000000000002")
    }

    /// The example of the response with that status.
    fn example(&self, status: &str) -> &Value {
        &self.said["responses"][status]["content"]["application/json"]["example"]
    }
}

async fn document(app: &TestApp) -> Value {
    let answer = send(app.request("GET", "/api/openapi.json", None)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            if let Some(said) = item.get(method) {
                let id = said["operationId"].as_str().unwrap().to_owned();
                found.push(Operation { method: method.to_uppercase(), path: path.clone(), id, said: said.clone() });
            }
        }
    }
    assert!(found.len() >= 12, "{}", found.len());
    found
}

#[tokio::test]
async fn the_committed_document_is_up_to_date() {
    let (output, printed) = run(&["openapi"], &[]).await;
    assert!(output.status.success());
    let committed = fs::read_to_string(root().join("docs/openapi.json")).unwrap();
    assert!(committed == printed, "docs/openapi.json is outdated: `just openapi` writes it anew");
}

#[actix_web::test]
async fn every_operation_rejects_users_below_its_minimum_role() {
    let app = TestApp::with_customers().await;
    let document = document(&app).await;
    assert_eq!(serde_json::to_string_pretty(&document).unwrap() + "\n", crm_app::http::routes::openapi());
    let before = app.rows().await;
    for operation in operations(&document) {
        let Operation { method, path, said, .. } = &operation;
        let Some(least) = operation.minimum_role() else {
            // Only the health operations need no session.
            assert_eq!(said["tags"], json!(["health"]), "{path}");
            assert_eq!(said["security"], json!([]), "{path}");
            continue;
        };
        assert_eq!(said["security"], json!([{"session": []}]), "{path}");
        assert!(said["description"].as_str().unwrap().contains(&format!("Least role: `{least}`.")), "{path}");
        let nobody = send(app.request(method, &operation.target(), None)).await;
        assert_eq!((nobody.status, nobody.error().as_str()), (401, "UNAUTHENTICATED"), "{method} {path}");
        let under = ROLES.iter().take_while(|role| **role != least);
        for role in under {
            let answer = send(app.request(method, &operation.target(), Some(role))).await;
            assert_eq!((answer.status, answer.error().as_str()), (403, "FORBIDDEN"), "{method} {path} {role}");
        }
    }
    assert_eq!(app.rows().await, before);
}

#[actix_web::test]
async fn every_operation_documents_its_errors() {
    let app = TestApp::start().await;
    for operation in operations(&document(&app).await) {
        let responses = operation.said["responses"].as_object().unwrap();
        if operation.minimum_role().is_none() {
            continue;
        }
        let mut expected = vec!["401", "403", "429", "500", "503"];
        if operation.said.get("requestBody").is_some() {
            expected.extend(["400", "413", "415"]);
        }
        if operation.said["parameters"].as_array().is_some_and(|parameters| !parameters.is_empty()) {
            expected.push("400");
        }
        for status in expected {
            assert!(responses.contains_key(status), "{} lacks {status}", operation.id);
        }
        for parameter in operation.said["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", operation.id);
            assert_eq!(parameter["required"], parameter["in"] == "path", "{}: {parameter}", operation.id);
        }
    }
}

/// Replaces the values that differ from one response to the next.
fn normalize(mut value: Value) -> Value {
    if value.get("uptime").is_some() {
        value["uptime"] = json!(86_400);
        for check in value["checks"].as_object_mut().unwrap().values_mut() {
            check["latencyMs"] = json!(1);
        }
    }
    if value["error"].get("requestId").is_some() {
        value["error"]["requestId"] = Value::Null;
    }
    value
}

/// What the examples of a customer's history show.
const HISTORY: &str = "
    UPDATE booking SET status = 'completed', total_amount_paise = 118000, created_at = '2026-11-20T04:00:00Z' WHERE id = 'bkg_1';
    INSERT INTO booking (id, booking_number, branch_id, customer_id, status, service_type, booking_date, start_time, end_time,
      total_amount_paise, total_duration_minutes, created_at)
      VALUES ('bkg_3', 'RG-2026-000187', 'br', 'usr_1', 'confirmed', 'spa', '2026-11-27', '14:30', '15:30', 200000, 60,
        '2026-11-20T04:00:00Z');
    INSERT INTO booking_service (id, booking_id, service_id, service_name_snapshot, price_at_booking_paise, duration_minutes)
      VALUES ('bs_1', 'bkg_3', 'svc', 'Aroma massage', 200000, 60);
    INSERT INTO invoice (id, invoice_number, branch_id, booking_id, customer_id, subtotal_paise, gst_amount_paise,
      total_amount_paise, payment_method, payment_status, gems_earned, paid_at, created_at)
      VALUES ('inv_1', 'INV-2026-000093', 'br', 'bkg_1', 'usr_1', 100000, 18000, 118000, 'upi', 'paid', 11,
        '2026-11-22T06:00:00Z', '2026-11-22T05:50:00Z');
    INSERT INTO spa_membership (id, membership_number, customer_id, tier_id, tier_name_snapshot, total_hours_minutes,
      used_hours_minutes, price_paid_paise, starts_at, expires_at, created_by, created_at)
      VALUES ('mem_1', 'SPA-2026-000012', 'usr_1', 'tier', 'Gold', 1200, 90, 1500000, '2026-02-01Z', '2027-02-01Z',
        'usr_manager', '2026-02-01Z');
    INSERT INTO loyalty_transaction (id, loyalty_account_id, type, gems_amount, invoice_id, expires_at, created_at)
      VALUES ('gem_1', 'loy_1', 'earned', 11, 'inv_1', '2027-11-22Z', '2026-11-22T06:00:00Z')";

#[actix_web::test]
async fn the_examples_equal_the_responses_of_the_service() {
    let app = TestApp::with_customers().await;
    app.client.batch_execute(HISTORY).await.unwrap();
    let document = document(&app).await;
    let operations: BTreeMap<_, _> =
        operations(&document).into_iter().map(|operation| (operation.id.clone(), operation)).collect();
    // The order matters: later responses show what earlier requests have written.
    let requests = [
        ("list_customers", "", json!(null), "?pageSize=101", json!(null)),
        ("find_customer", "", json!(null), "", json!(null)),
        ("list_tags", "", json!(null), "?counts=1", json!(null)),
        ("write_note", "", json!({"content": "Patch test first.", "bookingId": "bkg_1"}), "", json!({})),
        ("list_notes", "", json!(null), "?page=0", json!(null)),
        ("update_note", "", json!({"content": "Patch test passed.", "pinned": true}), "", json!({"pinned": 1})),
        ("list_revisions", "", json!(null), "?pageSize=101", json!(null)),
        ("delete_note", "", json!(null), "", json!(null)),
        ("assign_tag", "", json!({"tagId": "tag_new"}), "", json!({})),
        ("unassign_tag", "", json!(null), "", json!(null)),
        ("create_tag", "", json!({"name": "Front Row", "color": "#1A2b3C"}), "", json!({"name": "x", "color": "red"})),
        ("update_tag", "", json!({"description": "Before the wedding."}), "", json!({"name": " "})),
        (
            "assign_many",
            "",
            json!({"assign": ["usr_2", "nobody"], "remove": ["usr_1"]}),
            "",
            json!({"assign": "usr_1"}),
        ),
        ("merge_tag", "", json!({"into": "tag_vip"}), "", json!({})),
        ("delete_tag", "?unassign=true", json!(null), "?unassign=1", json!(null)),
        ("override_gates", "", json!({"noshowCount": 0}), "", json!({"noshowCount": "none"})),
        ("list_timeline", "?limit=2", json!(null), "?limit=0", json!(null)),
        ("list_bookings", "?when=upcoming", json!(null), "?when=soon", json!(null)),
        ("list_invoices", "?paymentStatus=paid", json!(null), "?page=0", json!(null)),
        ("list_memberships", "", json!(null), "", json!(null)),
        ("list_gems", "", json!(null), "?pageSize=101", json!(null)),
        ("find_overview", "", json!(null), "", json!(null)),
        ("export_customers", "", json!(null), "?spentMin=2&spentMax=1", json!(null)),
        ("health", "", json!(null), "", json!(null)),
        ("livez", "", json!(null), "", json!(null)),
        ("readyz", "", json!(null), "", json!(null)),
    ];
    assert_eq!(requests.len(), operations.len(), "an operation without an example");
    for (id, query, body, wrong_query, wrong_body) in requests {
        let operation = &operations[id];
        let call = async |query: &str, body: &Value| {
            let request = app.request(&operation.method, &format!("{}{query}", operation.target()), Some("manager"));
            // A fixed request id, so that the ids in the responses do not depend on the number of requests.
            let request = request.header("x-request-id", "example");
            send(if body.is_null() { request } else { request.json(body) }).await
        };
        let answer = call(query, &body).await;
        // A file has no example.
        let is_json = answer.header("content-type") == Some("application/json");
        if !is_json {
            assert_eq!((answer.status, id), (200, "export_customers"));
        }
        let shown = operation.example(&answer.status.to_string());
        let answered = if is_json { normalize(answer.json()) } else { Value::Null };
        let shown = normalize(shown.clone());
        assert!(
            answered == shown,
            "the example of {id}, in crates/app/src/http/openapi/examples, should be\n{}",
            serde_json::to_string_pretty(&answered).unwrap()
        );
        if operation.said["responses"].get("400").is_none() {
            continue;
        }
        let refused = if wrong_query.is_empty() && wrong_body.is_null() {
            // Only the path can be invalid.
            let target = operation.path.replace("{id}", "%zz").replace("{tagId}", "tag_vip").replace("{noteId}", "n");
            let raw = format!(
                "{} {target} HTTP/1.1\r\nHost: crm\r\nConnection: close\r\nX-Request-Id: example\r\nCookie: {}\r\n\r\n",
                operation.method,
                TestApp::cookie("manager")
            );
            crate::app::parse_response(&app.send_raw(raw.as_bytes()).await)
        } else {
            call(wrong_query, &wrong_body).await
        };
        assert_eq!(normalize(refused.json()), normalize(operation.example("400").clone()), "{id}");
    }
    // The health responses without a database.
    app.database.allow_connections(false).await;
    for id in ["health", "readyz"] {
        let operation = &operations[id];
        let get = async || send(app.request("GET", &operation.path, None)).await;
        eventually(PATIENCE, "the database's end is noticed", async || get().await.status == 503).await;
        assert_eq!(normalize(get().await.json()), normalize(operation.example("503").clone()), "{id}");
    }
    // The shared responses: the name of each matches its error code.
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        let example = &response["content"]["application/json"]["example"]["error"];
        let code = example["code"].as_str().unwrap().replace('_', "").to_lowercase();
        assert_eq!(name.to_lowercase().trim_end_matches("error"), code.trim_end_matches("error"), "{name}");
        assert!(example["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
}

#[actix_web::test]
async fn the_document_and_the_reference_page_can_be_disabled() {
    let app = TestApp::start_with(HttpSettings { docs: false, ..crate::app::settings() }).await;
    for target in ["/api/openapi.json", "/api/docs", "/api/docs/swagger-ui.css"] {
        assert_eq!(send(app.request("GET", target, None)).await.error(), "NOT_FOUND", "{target}");
    }
}

#[actix_web::test]
async fn the_reference_page_serves_its_files_and_no_others() {
    let app = TestApp::start().await;
    let page = send(app.request("GET", "/api/docs", None)).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    for target in ["/api/docs", "/api/openapi.json", "/api/docs/swagger-ui.css"] {
        let head = send(app.request("HEAD", target, None)).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{target}");
        let post = send(app.request("POST", target, None)).await;
        assert_eq!((post.error().as_str(), post.header("allow")), ("METHOD_NOT_ALLOWED", Some("GET, HEAD, OPTIONS")));
    }
    let mut files = 0;
    for part in page.text.split(['"']).filter(|part| part.starts_with("/api/docs/")) {
        let file = send(app.request("GET", part, None)).await;
        assert_eq!(file.status, 200, "{part}");
        files += 1;
    }
    assert!(files >= 4);
    for target in ["/api/docs/", "/api/docs/index.html", "/api/docs/nothing.js", "/api/docs/../../Cargo.toml"] {
        assert_eq!(send(app.request("GET", target, None)).await.error(), "NOT_FOUND", "{target}");
    }
}
