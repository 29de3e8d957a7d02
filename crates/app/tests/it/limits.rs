//! Rate limits over HTTP: which key counts, when, and which headers report it. The clock is fixed.

use crm_app::config::http::{HttpSettings, Quotas, TrustedProxies};
use crm_domain::rate_limit::Quota;
use serde_json::json;
use std::time::Duration;

use crate::app::{Answer, TestApp, send, settings};

fn quota(requests: u32) -> Quota {
    Quota { requests, window: Duration::from_secs(10) }
}

async fn start_with_quotas(user: u32, address: u32) -> TestApp {
    let trusted_proxies = TrustedProxies::parse("127.0.0.1/32").unwrap();
    let quotas = Quotas { user: Some(quota(user)), address: Some(quota(address)) };
    TestApp::start_with(HttpSettings { trusted_proxies, quotas, ..settings() }).await
}

fn rate_limit_headers(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (answer.header("ratelimit-policy"), answer.header("ratelimit"))
}

#[actix_web::test]
async fn a_user_over_the_quota_gets_429_with_retry_after() {
    let app = start_with_quotas(3, 100).await;
    for left in [2, 1, 0] {
        let answer = app.get("/api/tags", "manager").await;
        let state = format!("\"user\";r={left};t=10");
        assert_eq!(answer.status, 200);
        assert_eq!(rate_limit_headers(&answer), (Some("\"user\";q=3;w=10"), Some(state.as_str())));
    }
    let refused = app.get("/api/tags", "manager").await;
    assert_eq!((refused.status, refused.error().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(refused.json()["error"]["details"], json!({"retryAfterSeconds": 10}));
    assert_eq!(refused.header("retry-after"), Some("10"));
    assert_eq!(rate_limit_headers(&refused), (Some("\"user\";q=3;w=10"), Some("\"user\";r=0;t=10")));
    // Another user has a quota of their own.
    assert_eq!(app.get("/api/tags", "owner").await.status, 200);
    let metrics = app.metrics.exposition();
    assert!(metrics.contains("crm_rate_limit_refusals_total{policy=\"user\"} 1"), "{metrics}");
}

/// Contract, "Order of checks": session, rate limit, role, input.
#[actix_web::test]
async fn the_rate_limit_is_checked_after_the_session_and_before_the_role() {
    let app = start_with_quotas(1, 100).await;
    let forbidden = app.get("/api/tags", "customer").await;
    assert_eq!(forbidden.error(), "FORBIDDEN");
    assert_eq!(rate_limit_headers(&forbidden).1, Some("\"user\";r=0;t=10"), "counted all the same");
    assert_eq!(app.get("/api/tags", "customer").await.error(), "RATE_LIMITED");
    assert_eq!(app.get("/api/customers?page=0", "manager").await.error(), "VALIDATION_ERROR");
    assert_eq!(app.get("/api/customers?page=0", "manager").await.error(), "RATE_LIMITED");
    // Requests that end before the session check are neither counted nor rejected with 429.
    for _ in 0..3 {
        assert_eq!(app.get("/nothing", "manager").await.error(), "NOT_FOUND");
        assert_eq!(send(app.request("PUT", "/api/tags", Some("manager"))).await.error(), "METHOD_NOT_ALLOWED");
        let crossing = app.request("POST", "/api/tags", Some("manager")).header("origin", "https://evil.example");
        assert_eq!(send(crossing).await.error(), "FORBIDDEN");
        assert_eq!(send(app.request("OPTIONS", "/api/tags", Some("manager"))).await.status, 204);
        assert_eq!(app.get("/livez", "manager").await.status, 200);
    }
    assert_eq!(
        send(app.request("PUT", "/api/tags", None)).await.header("ratelimit-policy"),
        Some("\"user\";q=1;w=10, \"address\";q=100;w=10")
    );
}

#[actix_web::test]
async fn without_a_session_the_forwarded_client_address_is_counted() {
    let app = start_with_quotas(100, 2).await;
    let from = |address: &str| send(app.request("GET", "/api/tags", None).header("x-forwarded-for", address));
    for left in [1, 0] {
        let answer = from("198.51.100.1").await;
        assert_eq!(answer.error(), "UNAUTHENTICATED");
        let state = format!("\"address\";r={left};t=10");
        assert_eq!(rate_limit_headers(&answer), (Some("\"address\";q=2;w=10"), Some(state.as_str())));
    }
    let refused = from("203.0.113.9, 198.51.100.1").await;
    assert_eq!((refused.status, refused.error().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(from("198.51.100.2").await.error(), "UNAUTHENTICATED", "another address");
    // All addresses of one IPv6 network count as one client.
    for (address, error) in
        [("2001:db8::1", "UNAUTHENTICATED"), ("2001:db8::2", "UNAUTHENTICATED"), ("2001:db8::3", "RATE_LIMITED")]
    {
        assert_eq!(from(address).await.error(), error);
    }
    // Requests from the same address without a session do not limit a signed-in user.
    let signed_in = app.request("GET", "/api/tags", Some("manager")).header("x-forwarded-for", "198.51.100.1");
    assert_eq!(send(signed_in).await.status, 200);
    let metrics = app.metrics.exposition();
    for line in
        ["crm_rate_limit_refusals_total{policy=\"address\"} 2", "crm_session_refusals_total{reason=\"no_cookie\"} 7"]
    {
        assert!(metrics.contains(line), "{line} is missing from\n{metrics}");
    }
}

#[actix_web::test]
async fn without_quotas_no_rate_limit_headers_are_sent() {
    let app = TestApp::start().await;
    for answer in [app.get("/api/tags", "manager").await, send(app.request("GET", "/api/tags", None)).await] {
        assert_eq!(rate_limit_headers(&answer), (None, None));
    }
}
