//! Rate limits over HTTP: who is counted, when, and what is told. The clock stands still.

use crm_app::config::http::{HttpSettings, Quotas, TrustedProxies};
use crm_domain::rate_limit::Quota;
use serde_json::json;
use std::time::Duration;

use crate::app::{Answer, TestApp, settings, taken};

fn quota(requests: u32) -> Quota {
    Quota { requests, window: Duration::from_secs(10) }
}

async fn limited(user: u32, address: u32) -> TestApp {
    let trusted_proxies = TrustedProxies::parse("127.0.0.1/32").unwrap();
    let quotas = Quotas { user: Some(quota(user)), address: Some(quota(address)) };
    TestApp::start_with(HttpSettings { trusted_proxies, quotas, ..settings() }).await
}

fn told(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (answer.header("ratelimit-policy"), answer.header("ratelimit"))
}

#[actix_web::test]
async fn a_user_is_refused_when_the_budget_is_spent_and_told_when_to_come_again() {
    let app = limited(3, 100).await;
    for left in [2, 1, 0] {
        let answer = app.get("/api/tags", "manager").await;
        let state = format!("\"user\";r={left};t=10");
        assert_eq!(answer.status, 200);
        assert_eq!(told(&answer), (Some("\"user\";q=3;w=10"), Some(state.as_str())));
    }
    let refused = app.get("/api/tags", "manager").await;
    assert_eq!((refused.status, refused.error().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(refused.json()["error"]["details"], json!({"retryAfterSeconds": 10}));
    assert_eq!(refused.header("retry-after"), Some("10"));
    assert_eq!(told(&refused), (Some("\"user\";q=3;w=10"), Some("\"user\";r=0;t=10")));
    // Another user has a quota of their own.
    assert_eq!(app.get("/api/tags", "owner").await.status, 200);
    let metrics = app.metrics.exposition();
    assert!(metrics.contains("crm_rate_limit_refusals_total{policy=\"user\"} 1"), "{metrics}");
}

/// Contract, "Order of checks": session, rate limit, role, input.
#[actix_web::test]
async fn the_limit_comes_after_the_session_and_before_the_role() {
    let app = limited(1, 100).await;
    let forbidden = app.get("/api/tags", "customer").await;
    assert_eq!(forbidden.error(), "FORBIDDEN");
    assert_eq!(told(&forbidden).1, Some("\"user\";r=0;t=10"), "counted all the same");
    assert_eq!(app.get("/api/tags", "customer").await.error(), "RATE_LIMITED");
    assert_eq!(app.get("/api/customers?page=0", "manager").await.error(), "VALIDATION_ERROR");
    assert_eq!(app.get("/api/customers?page=0", "manager").await.error(), "RATE_LIMITED");
    // What comes before the session is not counted, and not refused.
    for _ in 0..3 {
        assert_eq!(app.get("/nothing", "manager").await.error(), "NOT_FOUND");
        assert_eq!(taken(app.request("PUT", "/api/tags", Some("manager"))).await.error(), "METHOD_NOT_ALLOWED");
        let crossing = app.request("POST", "/api/tags", Some("manager")).header("origin", "https://evil.example");
        assert_eq!(taken(crossing).await.error(), "FORBIDDEN");
        assert_eq!(taken(app.request("OPTIONS", "/api/tags", Some("manager"))).await.status, 204);
        assert_eq!(app.get("/livez", "manager").await.status, 200);
    }
    assert_eq!(
        taken(app.request("PUT", "/api/tags", None)).await.header("ratelimit-policy"),
        Some("\"user\";q=1;w=10, \"address\";q=100;w=10")
    );
}

#[actix_web::test]
async fn without_a_session_the_address_is_counted_as_the_proxy_tells_it() {
    let app = limited(100, 2).await;
    let from = |address: &str| taken(app.request("GET", "/api/tags", None).header("x-forwarded-for", address));
    for left in [1, 0] {
        let answer = from("198.51.100.1").await;
        assert_eq!(answer.error(), "UNAUTHENTICATED");
        let state = format!("\"address\";r={left};t=10");
        assert_eq!(told(&answer), (Some("\"address\";q=2;w=10"), Some(state.as_str())));
    }
    let refused = from("203.0.113.9, 198.51.100.1").await;
    assert_eq!((refused.status, refused.error().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(from("198.51.100.2").await.error(), "UNAUTHENTICATED", "another address");
    // One network of IPv6 is one client.
    for (address, error) in
        [("2001:db8::1", "UNAUTHENTICATED"), ("2001:db8::2", "UNAUTHENTICATED"), ("2001:db8::3", "RATE_LIMITED")]
    {
        assert_eq!(from(address).await.error(), error);
    }
    // Somebody who is signed in is not kept out by others behind the same address.
    let signed_in = app.request("GET", "/api/tags", Some("manager")).header("x-forwarded-for", "198.51.100.1");
    assert_eq!(taken(signed_in).await.status, 200);
    let metrics = app.metrics.exposition();
    for line in
        ["crm_rate_limit_refusals_total{policy=\"address\"} 2", "crm_session_refusals_total{reason=\"no_cookie\"} 7"]
    {
        assert!(metrics.contains(line), "{line} is missing from\n{metrics}");
    }
}

#[actix_web::test]
async fn without_limits_nothing_is_told() {
    let app = TestApp::start().await;
    for answer in [app.get("/api/tags", "manager").await, taken(app.request("GET", "/api/tags", None)).await] {
        assert_eq!(told(&answer), (None, None));
    }
}
