//! Health: the responses for orchestrators, proxies and the platform's status page.

use serde_json::{Value, json};

use crate::app::{TestApp, send};
use crate::service::{PATIENCE, eventually};

async fn fetch(app: &TestApp, target: &str) -> (u16, Value) {
    let answer = send(app.request("GET", target, None)).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{target}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{target}");
    (answer.status, answer.json())
}

#[actix_web::test]
async fn every_check_passes_on_a_healthy_instance() {
    let app = TestApp::start().await;
    assert_eq!(fetch(&app, "/livez").await, (200, json!({"status": "pass"})));
    let checks =
        json!({"process": "pass", "database": "pass", "schema": "pass", "writes": "pass", "migrations": "pass"});
    assert_eq!(fetch(&app, "/readyz").await, (200, json!({"status": "pass", "checks": checks})));

    let (status, mut health) = fetch(&app, "/api/health").await;
    assert_eq!(status, 200);
    for (_, check) in health["checks"].as_object_mut().unwrap() {
        assert!(check["latencyMs"].take().is_u64());
        assert_eq!(*check, json!({"status": "pass", "latencyMs": null}));
    }
    assert!(health["uptime"].take().is_u64());
    let passed = json!({"status": "pass", "latencyMs": null});
    let expected = json!({
        "status": "healthy",
        "timestamp": "2026-11-23T10:00:00.123Z",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": null,
        "checks": {"database": passed, "schema": passed, "writes": passed, "migrations": passed, "rateLimits": passed},
        "directory": {"source": "tables", "advice": null},
    });
    assert_eq!(health, expected);
    for target in ["/livez", "/readyz", "/api/health"] {
        assert_eq!(send(app.request("POST", target, None)).await.error(), "METHOD_NOT_ALLOWED");
        assert_eq!(send(app.request("HEAD", target, None)).await.status, 200);
        assert_eq!(send(app.request("GET", &format!("{target}/"), None)).await.error(), "NOT_FOUND");
    }
}

#[actix_web::test]
async fn an_unreachable_database_is_reported_without_details() {
    let app = TestApp::start().await;
    app.database.allow_connections(false).await;
    eventually(PATIENCE, "the end of the database is noticed", async || fetch(&app, "/readyz").await.0 == 503).await;
    let checks = json!({"process": "pass", "database": "fail"});
    assert_eq!(fetch(&app, "/readyz").await, (503, json!({"status": "fail", "checks": checks})));
    let (status, health) = fetch(&app, "/api/health").await;
    assert_eq!((status, &health["status"]), (503, &json!("unhealthy")));
    assert_eq!(health["checks"]["database"]["status"], "fail");
    assert_eq!(fetch(&app, "/livez").await.0, 200, "that is no reason to restart");

    app.database.allow_connections(true).await;
    eventually(PATIENCE, "the database is back", async || fetch(&app, "/readyz").await.0 == 200).await;
}

#[actix_web::test]
async fn a_missing_column_or_migration_makes_the_instance_unready_and_degraded() {
    let app = TestApp::start().await;
    for (breaks, mends, check) in [
        (
            "ALTER TABLE customer_tag RENAME COLUMN color TO colour",
            "ALTER TABLE customer_tag RENAME COLUMN colour TO color",
            "schema",
        ),
        (
            "UPDATE crm.__diesel_schema_migrations SET version = 'x' || version",
            "UPDATE crm.__diesel_schema_migrations SET version = substr(version, 2)",
            "migrations",
        ),
    ] {
        app.client.batch_execute(breaks).await.unwrap();
        eventually(PATIENCE, check, async || fetch(&app, "/readyz").await.1["checks"][check] == "fail").await;
        let (status, health) = fetch(&app, "/api/health").await;
        assert_eq!((status, &health["status"]), (200, &json!("degraded")), "{check}");
        assert_eq!(health["checks"][check]["status"], "fail");
        app.client.batch_execute(mends).await.unwrap();
        eventually(PATIENCE, check, async || fetch(&app, "/readyz").await.0 == 200).await;
    }
}

#[actix_web::test]
async fn a_draining_process_is_not_ready_and_closes_its_connections() {
    let app = TestApp::start().await;
    app.lifecycle.drain();
    let answer = send(app.request("GET", "/readyz", None)).await;
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert_eq!(answer.json()["checks"]["process"], "fail");
    let answer = app.get("/api/tags", "manager").await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "but it goes on answering");
}

#[actix_web::test]
async fn health_requests_query_the_database_at_most_once_a_second() {
    let app = TestApp::start().await;
    let request_health = async |times: usize| {
        for _ in 0..times {
            send(app.request("GET", "/api/health", None)).await;
        }
    };
    // Counts the executions of one statement of the schema check.
    let count_checks = async || -> i64 {
        let sql = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE query LIKE '%pg_collation%' \
                   AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
        app.client.query_one(sql, &[]).await.unwrap().get(0)
    };
    app.client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    request_health(1).await;
    let before = count_checks().await;
    assert!(before > 0);
    let began = std::time::Instant::now();
    request_health(200).await;
    let seconds = i64::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let after = count_checks().await;
    assert!(after - before <= seconds, "{} times in {seconds} s", after - before);
}
