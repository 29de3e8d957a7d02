//! CORS, and the security headers for browsers.

use reqwest::RequestBuilder;
use serde_json::json;

use crate::app::{Answer, TestApp, send};

const DESK: &str = "https://desk.example.com";

fn vary(answer: &Answer) -> String {
    let values = answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap());
    values.collect::<Vec<_>>().join(", ")
}

fn preflight(app: &TestApp, target: &str, method: &str, origin: &str) -> RequestBuilder {
    app.request("OPTIONS", target, None)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "content-type")
}

#[actix_web::test]
async fn an_allowed_origin_passes_preflight_and_may_read_and_write() {
    let app = TestApp::with_customers().await;
    for (method, target) in [
        ("PATCH", "/api/customers/usr_1"),
        ("DELETE", "/api/customers/usr_1/tags/tag_vip"),
        ("POST", "/api/tags"),
        ("GET", "/api/tags"),
    ] {
        let answer = send(preflight(&app, target, method, DESK)).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{method} {target}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(DESK));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert!(answer.header("access-control-allow-methods").unwrap().split(", ").any(|allowed| allowed == method));
        assert!(answer.header("access-control-allow-headers").unwrap().contains("content-type"));
        assert!(answer.header("access-control-max-age").is_some());
        assert_eq!(vary(&answer), "Access-Control-Request-Method, Access-Control-Request-Headers, Origin");
    }
    let write = app.request("POST", "/api/tags", Some("manager")).json(&json!({"name": "From afar"}));
    let written = send(write.header("origin", DESK).header("sec-fetch-site", "cross-site")).await;
    assert_eq!(written.status, 201);
    let refused = send(app.request("GET", "/api/tags", None).header("origin", DESK)).await;
    for answer in [written, refused] {
        assert_eq!(answer.header("access-control-allow-origin"), Some(DESK), "also on errors: a page reads those too");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert!(answer.header("access-control-expose-headers").unwrap().contains("x-request-id"));
        assert_eq!(vary(&answer), "Origin");
    }
}

#[actix_web::test]
async fn other_origins_get_no_cors_headers() {
    let app = TestApp::with_customers().await;
    for origin in [
        "https://evil.example",
        "https://desk.example.com.evil.example",
        "https://desk.example.com/",
        "HTTPS://DESK.EXAMPLE.COM",
        "http://desk.example.com",
        // The platform's own pages have the same origin or must be listed.
        "https://admin.example.com",
        "null",
        "*",
    ] {
        let preflighted = send(preflight(&app, "/api/tags", "POST", origin)).await;
        assert_eq!(preflighted.status, 204);
        let read = send(app.request("GET", "/api/tags", Some("manager")).header("origin", origin)).await;
        assert_eq!(read.status, 200);
        for answer in [preflighted, read] {
            assert!(vary(&answer).contains("Origin"), "{origin}");
            let has_cors_header = answer.headers.keys().any(|name| name.as_str().starts_with("access-control-"));
            assert!(!has_cors_header, "{origin}: {:?}", answer.headers);
        }
    }
    // A preflight request to an unknown path gets 404.
    assert_eq!(send(preflight(&app, "/api/nothing", "GET", DESK)).await.error(), "NOT_FOUND");
    // The response to an OPTIONS request that is not a preflight request lists the methods only in `Allow`.
    let options = send(app.request("OPTIONS", "/api/tags", None).header("origin", DESK)).await;
    assert_eq!(options.status, 204);
    assert_eq!(options.header("access-control-allow-methods"), None);
}

#[actix_web::test]
async fn every_response_has_the_security_headers_for_browsers() {
    let app = TestApp::with_customers().await;
    for answer in [
        app.get("/api/tags", "manager").await,
        app.get("/nothing", "manager").await,
        app.get("/livez", "manager").await,
        send(app.request("OPTIONS", "/api/tags", None)).await,
        send(app.request("PUT", "/api/tags", None)).await,
    ] {
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("x-robots-tag", "noindex"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        assert_eq!(answer.header("strict-transport-security"), None, "nothing to promise over plain HTTP");
    }
}
