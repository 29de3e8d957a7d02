//! The envelope and the order of checks: one test for each line of the contract.

use serde_json::json;

use crate::app::{ROLES, TestApp, parse_response, send};

/// Every endpoint: method, target, minimum role, a valid body.
const ENDPOINTS: [(&str, &str, &str, &str); 25] = [
    ("GET", "/api/customers", "receptionist", ""),
    ("GET", "/api/customers/usr_1", "receptionist", ""),
    ("PATCH", "/api/customers/usr_1", "manager", r#"{"noshowCount":1}"#),
    ("GET", "/api/customers/usr_1/notes", "receptionist", ""),
    ("POST", "/api/customers/usr_1/notes", "receptionist", r#"{"content":"text"}"#),
    ("POST", "/api/customers/usr_1/tags", "receptionist", r#"{"tagId":"tag_vip"}"#),
    ("DELETE", "/api/customers/usr_1/tags/tag_vip", "receptionist", ""),
    ("GET", "/api/tags", "receptionist", ""),
    ("POST", "/api/tags", "manager", r#"{"name":"Another"}"#),
    ("GET", "/api/customers.csv", "manager", ""),
    ("GET", "/api/customers/usr_1/timeline", "receptionist", ""),
    ("GET", "/api/customers/usr_1/bookings", "receptionist", ""),
    ("GET", "/api/customers/usr_1/invoices", "receptionist", ""),
    ("GET", "/api/customers/usr_1/memberships", "receptionist", ""),
    ("GET", "/api/customers/usr_1/gems", "receptionist", ""),
    ("GET", "/api/customers/usr_1/overview", "receptionist", ""),
    ("PATCH", "/api/customers/usr_1/notes/note_1", "receptionist", r#"{"pinned":true}"#),
    ("GET", "/api/customers/usr_1/notes/note_1/revisions", "manager", ""),
    ("DELETE", "/api/customers/usr_1/notes/note_2", "receptionist", ""),
    ("GET", "/api/tags?counts=true", "receptionist", ""),
    ("PATCH", "/api/tags/tag_vip", "manager", r#"{"name":"Gold"}"#),
    ("POST", "/api/tags/tag_vip/assignments", "receptionist", r#"{"assign":["usr_2"]}"#),
    ("POST", "/api/tags/tag_new/merge", "manager", r#"{"into":"tag_vip"}"#),
    ("DELETE", "/api/tags/tag_bridal?unassign=true", "manager", ""),
    ("DELETE", "/api/customers/usr_1/notes/note_1", "receptionist", ""),
];

fn rank(role: &str) -> usize {
    ROLES.iter().position(|known| *known == role).unwrap()
}

#[actix_web::test]
async fn each_endpoint_requires_its_minimum_role() {
    let app = TestApp::with_customers().await;
    for (method, target, least, body) in ENDPOINTS {
        // Notes of the receptionist, which each role may find deleted by the one before.
        app.client
            .batch_execute(
                "INSERT INTO customer_note (id, customer_id, author_id, content) SELECT 'note_' || n, 'usr_1', 'usr_receptionist', 'text'
                 FROM generate_series(1, 2) n ON CONFLICT DO NOTHING",
            )
            .await
            .unwrap();
        let anonymous = send(app.request(method, target, None)).await;
        assert_eq!((anonymous.status, anonymous.error().as_str()), (401, "UNAUTHENTICATED"), "{method} {target}");
        assert_eq!(anonymous.json()["error"]["message"], "You must be signed in.");
        for role in ROLES {
            let before = app.rows().await;
            let answer = app.send_text(method, target, role, body).await;
            if rank(role) < rank(least) {
                assert_eq!((answer.status, answer.error().as_str()), (403, "FORBIDDEN"), "{method} {target} {role}");
                assert_eq!(answer.json()["error"]["message"], "You do not have permission to perform this action.");
                assert_eq!(app.rows().await, before);
            } else {
                // What the role before has made, deleted or merged.
                let is_repeated = role != least && matches!(answer.status, 404 | 409);
                assert!(answer.status < 300 || is_repeated, "{method} {target} {role}: {}", answer.text);
            }
        }
    }
}

#[actix_web::test]
async fn a_null_or_unknown_role_counts_as_customer() {
    let app = TestApp::start().await;
    for role in ["null", "'admin'", "'Manager'", "''", "'customer,unknown'"] {
        app.client.batch_execute(&format!("UPDATE \"user\" SET role = {role} WHERE id = 'usr_manager'")).await.unwrap();
        assert_eq!(app.get("/api/tags", "manager").await.error(), "FORBIDDEN", "{role}");
    }
    app.client.batch_execute("UPDATE \"user\" SET role = 'staff,receptionist' WHERE id = 'usr_manager'").await.unwrap();
    assert_eq!(app.get("/api/tags", "manager").await.status, 200);
}

#[actix_web::test]
async fn ban_sign_out_and_expiry_take_effect_at_the_next_request() {
    let app = TestApp::start().await;
    for (change, status) in [
        ("SELECT 1", 200),
        ("UPDATE \"user\" SET banned = true", 401),
        ("UPDATE \"user\" SET ban_expires = '2020-01-01'", 200),
        ("UPDATE session SET expires_at = '2026-11-23T10:00:00Z'", 401),
        ("UPDATE session SET expires_at = '2026-11-23T10:00:00.123456Z'", 200),
        ("DELETE FROM session", 401),
    ] {
        app.client.batch_execute(change).await.unwrap();
        assert_eq!(app.get("/api/tags", "manager").await.status, status, "{change}");
    }
}

#[actix_web::test]
async fn several_cookie_headers_are_read_and_bearer_tokens_are_ignored() {
    let app = TestApp::start().await;
    let cookie = TestApp::cookie("manager");
    let split = app.request("GET", "/api/tags", None).header("cookie", "a=1").header("cookie", &cookie);
    assert_eq!(send(split).await.status, 200);
    let token = cookie.split_once('=').unwrap().1;
    let bearer = app.request("GET", "/api/tags", None).header("authorization", format!("Bearer {token}"));
    assert_eq!(send(bearer).await.status, 401);
    let secure = app.request("GET", "/api/tags", None).header("cookie", format!("__Secure-{cookie}"));
    assert_eq!(send(secure).await.status, 401, "the one name from the configuration");
}

#[actix_web::test]
async fn an_unknown_path_is_rejected_before_any_other_check() {
    let app = TestApp::start().await;
    for target in [
        "/",
        "/api",
        "/api/",
        "/api/customers/",
        "/api/tags/",
        "/api/customers/usr_1/",
        "/api/customers/usr_1/notes/",
        "/api/customers//notes",
        "/api//customers",
        "/api/nothing",
        "/nothing",
        "/api/customers/usr_1/tags/a/b",
        "/api/%zz",
    ] {
        for method in ["GET", "POST", "PATCH", "OPTIONS", "TRACE"] {
            let request = app.request(method, target, None).header("origin", "https://evil.example");
            let answer = send(request).await;
            assert_eq!((answer.status, answer.error().as_str()), (404, "NOT_FOUND"), "{method} {target}");
        }
    }
}

#[actix_web::test]
async fn an_unsupported_method_is_rejected_before_the_session_check() {
    let app = TestApp::start().await;
    for (target, allow) in [
        ("/api/customers", "GET, HEAD, OPTIONS"),
        ("/api/customers/usr_1", "GET, HEAD, PATCH, OPTIONS"),
        ("/api/customers/usr_1/notes", "GET, HEAD, POST, OPTIONS"),
        ("/api/customers/usr_1/tags", "POST, OPTIONS"),
        ("/api/customers/usr_1/tags/tag_1", "DELETE, OPTIONS"),
        ("/api/tags", "GET, HEAD, POST, OPTIONS"),
        ("/api/customers.csv", "GET, HEAD, OPTIONS"),
        ("/api/customers/usr_1/timeline", "GET, HEAD, OPTIONS"),
        ("/api/customers/usr_1/bookings", "GET, HEAD, OPTIONS"),
        ("/api/customers/usr_1/invoices", "GET, HEAD, OPTIONS"),
        ("/api/customers/usr_1/memberships", "GET, HEAD, OPTIONS"),
        ("/api/customers/usr_1/gems", "GET, HEAD, OPTIONS"),
        ("/api/customers/usr_1/overview", "GET, HEAD, OPTIONS"),
        ("/api/customers/usr_1/notes/note_1", "PATCH, DELETE, OPTIONS"),
        ("/api/customers/usr_1/notes/note_1/revisions", "GET, HEAD, OPTIONS"),
        ("/api/tags/tag_vip", "PATCH, DELETE, OPTIONS"),
        ("/api/tags/tag_vip/merge", "POST, OPTIONS"),
        ("/api/tags/tag_vip/assignments", "POST, OPTIONS"),
    ] {
        for method in ["PUT", "TRACE", "PROPFIND"] {
            let answer = send(app.request(method, target, None).header("origin", "https://evil.example")).await;
            assert_eq!((answer.status, answer.error().as_str()), (405, "METHOD_NOT_ALLOWED"), "{method} {target}");
            assert_eq!(answer.header("allow"), Some(allow), "{target}");
        }
        let options = send(app.request("OPTIONS", target, None)).await;
        assert_eq!(
            (options.status, options.text.as_str(), options.header("allow")),
            (204, "", Some(allow)),
            "{target}"
        );
    }
}

#[actix_web::test]
async fn a_cross_site_write_is_rejected_before_the_session_check() {
    let app = TestApp::with_customers().await;
    let note = "INSERT INTO customer_note (id, customer_id, author_id, content) VALUES ('note_1', 'usr_1', 'usr_owner', 'text')";
    app.client.batch_execute(note).await.unwrap();
    let before = app.rows().await;
    for (method, target, _, body) in ENDPOINTS {
        for headers in
            [&[("origin", "https://evil.example")][..], &[("sec-fetch-site", "same-site")], &[("origin", "null")]]
        {
            for role in [None, Some("developer")] {
                let mut request =
                    app.request(method, target, role).header("content-type", "application/json").body(body);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let answer = send(request).await;
                match (method, role) {
                    ("GET", None) => assert_eq!(answer.status, 401, "{target}"),
                    ("GET", Some(_)) => assert_eq!(answer.status, 200, "{target}"),
                    _ => assert_eq!((answer.status, answer.error().as_str()), (403, "FORBIDDEN"), "{method} {target}"),
                }
            }
        }
    }
    // An export is a read, and audited.
    app.client.batch_execute("DELETE FROM audit_log WHERE entity_type = 'customer_export'").await.unwrap();
    assert_eq!(app.rows().await, before);
    for headers in [
        &[("origin", "https://desk.example.com"), ("sec-fetch-site", "cross-site")][..],
        &[("origin", "https://admin.example.com")],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://whatever.example")],
        &[("sec-fetch-site", "none")],
    ] {
        let mut request = app.request("DELETE", "/api/customers/usr_1/tags/tag_new", Some("receptionist"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        assert_eq!(send(request).await.status, 200, "{headers:?}");
    }
    let own = app.request("DELETE", "/api/customers/usr_1/tags/tag_new", Some("receptionist"));
    assert_eq!(
        send(own.header("origin", format!("http://{}", app.address))).await.status,
        200,
        "the request's own host"
    );
}

#[actix_web::test]
async fn checks_run_in_the_order_role_type_size_shape_existence_state() {
    let app = TestApp::with_customers().await;
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(65_536));
    // Role before content type.
    let answer =
        send(app.request("POST", "/api/tags", Some("receptionist")).header("content-type", "text/plain").body("x"))
            .await;
    assert_eq!(answer.error(), "FORBIDDEN");
    // Content type before size, even if the body is too large, and before the path's shape.
    for target in ["/api/tags", "/api/customers/%zz/notes"] {
        let answer =
            send(app.request("POST", target, Some("manager")).header("content-type", "text/plain").body(large.clone()))
                .await;
        assert_eq!((answer.status, answer.error().as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"), "{target}");
        // Size before shape.
        assert_eq!(
            app.send_text("POST", target, "manager", large.clone()).await.error(),
            "PAYLOAD_TOO_LARGE",
            "{target}"
        );
    }
    // Shape before existence.
    let answer = app.send("POST", "/api/customers/nobody/notes", "manager", &json!({"content": ""})).await;
    assert_eq!(answer.error(), "VALIDATION_ERROR");
    assert_eq!(
        app.send("PATCH", "/api/customers/nobody", "manager", &json!({"noshowCount": -1})).await.error(),
        "VALIDATION_ERROR"
    );
    assert_eq!(app.get("/api/customers/nobody/notes?page=0", "manager").await.error(), "VALIDATION_ERROR");
    // The customer before the booking and the tag.
    let answer =
        app.send("POST", "/api/customers/nobody/notes", "manager", &json!({"content": "x", "bookingId": "none"})).await;
    assert_eq!(answer.error(), "NOT_FOUND");
    // Shape before state.
    assert_eq!(
        app.send("POST", "/api/tags", "manager", &json!({"name": "VIP", "color": "red"})).await.error(),
        "VALIDATION_ERROR"
    );
    assert_eq!(app.send("POST", "/api/tags", "manager", &json!({"name": "VIP"})).await.error(), "CONFLICT");
}

#[actix_web::test]
async fn every_response_has_the_common_headers_and_a_request_id() {
    let app = TestApp::with_customers().await;
    let large = "x".repeat(70_000);
    let answers = [
        app.get("/api/tags", "manager").await,
        app.get("/api/tags", "customer").await,
        app.get("/api/customers?page=0", "manager").await,
        app.get("/nothing", "manager").await,
        send(app.request("HEAD", "/api/tags", Some("manager"))).await,
        send(app.request("OPTIONS", "/api/tags", None)).await,
        send(app.request("PUT", "/api/tags", None)).await,
        send(app.request("GET", "/api/tags", None)).await,
        app.send_text("POST", "/api/tags", "manager", large).await,
        app.send("POST", "/api/tags", "manager", &json!({"name": "Made"})).await,
    ];
    for answer in answers {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.status);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{}", answer.status);
        let id = answer.header("x-request-id").unwrap();
        assert_eq!((&id[..4], id.len()), ("req_", 30), "{id}");
        if !answer.text.is_empty() {
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
}

#[actix_web::test]
async fn a_safe_request_id_is_kept_and_any_other_is_replaced() {
    let app = TestApp::start().await;
    let longest = "x".repeat(64);
    for id in ["a", "A-Za_z-09", longest.as_str()] {
        let answer = send(app.request("GET", "/nothing", None).header("x-request-id", id)).await;
        assert_eq!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.json()["error"]["requestId"], id);
    }
    let too_long = "x".repeat(65);
    for id in ["", "a b", "a.b", "é", "a\"b", "<script>", too_long.as_str()] {
        let answer = send(app.request("GET", "/nothing", None).header("x-request-id", id)).await;
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"), "{id}");
        answer.error();
    }
}

#[actix_web::test]
async fn errors_have_their_keys_in_order() {
    let app = TestApp::start().await;
    let answer =
        send(app.request("GET", "/api/customers?page=0", Some("manager")).header("x-request-id", "kept")).await;
    assert_eq!(
        answer.text,
        r#"{"success":false,"error":{"code":"VALIDATION_ERROR","message":"Invalid query parameters","statusCode":400,"requestId":"kept","retryable":false,"details":{"page":["must be at least 1"]}}}"#
    );
    let answer = send(app.request("GET", "/api/tags", None).header("x-request-id", "kept")).await;
    assert_eq!(
        answer.text,
        r#"{"success":false,"error":{"code":"UNAUTHENTICATED","message":"You must be signed in.","statusCode":401,"requestId":"kept","retryable":false}}"#
    );
}

#[actix_web::test]
async fn head_responds_like_get_without_the_body() {
    let app = TestApp::with_customers().await;
    for (target, role) in [
        ("/api/customers", "manager"),
        ("/api/customers/usr_1", "manager"),
        ("/api/tags", "customer"),
        ("/nothing", "manager"),
    ] {
        let get = app.get(target, role).await;
        let head = send(app.request("HEAD", target, Some(role))).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{target}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{target}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{target}");
    }
}

#[actix_web::test]
async fn malformed_paths_are_rejected_with_400() {
    let app = TestApp::with_customers().await;
    for target in [
        &b"/api/customers/%zz"[..],
        b"/api/customers/%",
        b"/api/customers/a%4",
        b"/api/customers/%ff",
        b"/api/customers/%C3%28",
        b"/api/customers/%zz/notes",
    ] {
        let answer = app.get_raw(target, "manager").await;
        assert_eq!(
            answer.details(),
            json!({"id": ["must be percent-encoded UTF-8 text"]}),
            "{}",
            String::from_utf8_lossy(target)
        );
    }
    assert_eq!(
        app.get_raw(b"/api/customers/a%00b", "manager").await.details(),
        json!({"id": ["must not contain a NUL character"]})
    );
    let long = format!("/api/customers/{}", "x".repeat(10_000));
    assert_eq!(app.get_raw(long.as_bytes(), "manager").await.error(), "NOT_FOUND");
    let long = format!("/api/{}", "x".repeat(10_000));
    assert_eq!(app.get_raw(long.as_bytes(), "manager").await.error(), "NOT_FOUND");
    // The letters of the route itself may be encoded.
    assert_eq!(app.get_raw(b"/api/%63ustomers/usr_1", "manager").await.status, 200);
    let delete = format!(
        "DELETE /api/customers/%zz/tags/%00 HTTP/1.1\r\nHost: crm\r\nConnection: close\r\nCookie: {}\r\n\r\n",
        TestApp::cookie("manager")
    );
    assert_eq!(parse_response(&app.send_raw(delete.as_bytes()).await).error(), "VALIDATION_ERROR");
}

#[actix_web::test]
async fn an_unreachable_database_gives_503_and_a_broken_schema_500_without_details() {
    let app = TestApp::with_customers().await;
    app.client.batch_execute("ALTER TABLE customer_tag RENAME COLUMN color TO colour").await.unwrap();
    let broken = app.get("/api/tags", "manager").await;
    assert_eq!((broken.status, broken.error().as_str()), (500, "INTERNAL_ERROR"));
    assert_eq!(broken.json()["error"]["message"], "An unexpected error occurred. Please try again.");
    assert_eq!(app.get("/api/customers?page=0", "manager").await.status, 400, "the others go on");

    app.database.allow_connections(false).await;
    for _ in 0..3 {
        let away = app.get("/api/tags", "manager").await;
        assert_eq!((away.status, away.error().as_str()), (503, "SERVICE_UNAVAILABLE"));
        assert_eq!(away.header("retry-after"), Some("1"));
        for inside in ["customer_tag", "color", "SELECT", "connection", "crates/"] {
            assert!(!away.text.contains(inside) && !broken.text.contains(inside), "{inside}");
        }
    }
    app.database.allow_connections(true).await;
    let mended = "ALTER TABLE customer_tag RENAME COLUMN colour TO color";
    app.database.client().await.batch_execute(mended).await.unwrap();
    assert_eq!(app.get("/api/customers", "manager").await.status, 200, "and back");
}
