//! Timeouts and connection limits: slow clients, idle connections, too many connections, an exhausted pool, a locked
//! table. The tests use the real process.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    app::{TestApp, parse_response, send},
    service::{PATIENCE, Service, arrange_database, eventually, wait_for_blocked_statement},
};

/// Reads until the server closes the connection.
async fn read_until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset closes it too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes the connection");
    answer
}

#[tokio::test]
async fn a_connection_that_sends_no_complete_header_in_time_is_closed() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[("HTTP_HEADER_TIMEOUT_MS", "2000")]).await;
    for begun in ["", "GET /api/tags HT", "GET /api/tags HTTP/1.1\r\nHost: crm\r\nCookie: "] {
        let mut stream = TcpStream::connect(&service.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let answer = read_until_closed(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{begun:?}");
    }
    assert_eq!(service.get("/api/tags", "manager").await.status, 200);
}

/// After a complete request, an incomplete second header keeps the connection open no longer than the keep-alive
/// timeout.
#[tokio::test]
async fn a_connection_that_sends_an_endless_second_header_is_closed() {
    let database = arrange_database().await;
    let settings = [("HTTP_HEADER_TIMEOUT_MS", "1000"), ("HTTP_KEEP_ALIVE_MS", "1000")];
    let service = Service::start(&database, &settings).await;
    let mut stream = TcpStream::connect(&service.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: crm\r\n\r\nGET /livez HTTP/1.1\r\nX: ").await.unwrap();
    let (mut answers, mut rest) = stream.into_split();
    let dribbling = tokio::spawn(async move {
        let mut again = tokio::time::interval(Duration::from_millis(100));
        while rest.write_all(b"x").await.is_ok() {
            again.tick().await;
        }
    });
    let mut answer = Vec::new();
    let closed = timeout(PATIENCE, answers.read_to_end(&mut answer)).await;
    let _ = closed.expect("the server closes the connection");
    assert_eq!(parse_response(&answer).status, 200);
    timeout(PATIENCE, dribbling).await.expect("writing fails").unwrap();
}

#[tokio::test]
async fn an_incomplete_body_at_the_timeout_gets_an_error_and_a_closed_connection() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[("HTTP_BODY_TIMEOUT_MS", "300")]).await;
    for (cookie, status, code) in
        [(TestApp::cookie("manager"), 503, "SERVICE_UNAVAILABLE"), ("none=1".to_owned(), 401, "UNAUTHENTICATED")]
    {
        let mut stream = TcpStream::connect(&service.address).await.unwrap();
        let begun = format!(
            "POST /api/tags HTTP/1.1\r\nHost: crm\r\nCookie: {cookie}\r\nContent-Type: application/json\r\n\
             Content-Length: 1000\r\n\r\n{{\"name\""
        );
        stream.write_all(begun.as_bytes()).await.unwrap();
        let answer = parse_response(&read_until_closed(&mut stream).await);
        assert_eq!((answer.status, answer.error().as_str()), (status, code));
    }
    assert_eq!(service.get("/api/tags", "manager").await.json()["data"]["tags"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_the_keep_alive_timeout() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[("HTTP_KEEP_ALIVE_MS", "300")]).await;
    let mut stream = TcpStream::connect(&service.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: crm\r\n\r\n").await.unwrap();
    assert_eq!(parse_response(&read_until_closed(&mut stream).await).status, 200);
}

#[tokio::test]
async fn connections_over_the_limit_wait_until_others_close() {
    let database = arrange_database().await;
    let settings = [
        ("HTTP_MAX_CONNECTIONS", "2"),
        ("HTTP_MAX_CONNECTIONS_PER_ADDRESS", "2"),
        ("HTTP_WORKERS", "1"),
        ("DATABASE_LOCK_TIMEOUT_MS", "20000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"),
        ("REQUEST_TIMEOUT_MS", "25000"),
    ];
    let service = Service::start(&database, &settings).await;
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waiting = format!(
        "GET /api/customers/usr_1/notes HTTP/1.1\r\nHost: crm\r\nCookie: {}\r\nConnection: close\r\n\r\n",
        TestApp::cookie("manager")
    );
    let watcher = database.client().await;
    let mut holders = Vec::new();
    for count in 1..=2 {
        let mut stream = TcpStream::connect(&service.address).await.unwrap();
        stream.write_all(waiting.as_bytes()).await.unwrap();
        holders.push(stream);
        eventually(PATIENCE, "it waits", async || {
            let sql = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
            watcher.query(sql, &[]).await.unwrap().len() == count
        })
        .await;
    }
    let mut late = TcpStream::connect(&service.address).await.unwrap();
    late.write_all(b"GET /livez HTTP/1.1\r\nHost: crm\r\n\r\n").await.unwrap();
    assert!(timeout(Duration::from_millis(300), late.read_u8()).await.is_err(), "not served yet");
    lock.rollback().await.unwrap();
    assert_ne!(timeout(PATIENCE, late.read_u8()).await.expect("its turn").unwrap(), 0);
}

/// A request that waits for a lock holds the pool's only connection.
#[tokio::test]
async fn an_exhausted_pool_gives_503_in_time_and_the_held_request_finishes() {
    let database = arrange_database().await;
    let settings = [
        ("DATABASE_POOL_SIZE", "1"),
        ("DATABASE_POOL_WAIT_MS", "300"),
        ("DATABASE_LOCK_TIMEOUT_MS", "20000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"),
        ("REQUEST_TIMEOUT_MS", "25000"),
    ];
    let service = Service::start(&database, &settings).await;
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let held = tokio::spawn(send(service.request("GET", "/api/customers/usr_1/notes", "manager")));
    let watcher = database.client().await;
    wait_for_blocked_statement(&watcher).await;
    let refused = service.get("/api/tags", "manager").await;
    assert_eq!((refused.status, refused.error().as_str()), (503, "SERVICE_UNAVAILABLE"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let metrics = service.metrics().await;
    assert!(metrics.contains("db_client_connection_count{db_client_connection_state=\"used\"} 1\n"), "{metrics}");
    assert_eq!(service.get("/livez", "manager").await.status, 200);
    // The report may be up to a second old.
    eventually(PATIENCE, "it is not ready", async || service.get("/readyz", "manager").await.status == 503).await;
    assert!(!held.is_finished());
    lock.rollback().await.unwrap();
    assert_eq!(held.await.unwrap().status, 200);
    assert_eq!(service.get("/api/tags", "manager").await.status, 200);
}

#[tokio::test]
async fn a_locked_table_gives_503_at_the_timeout_and_other_endpoints_respond() {
    let database = arrange_database().await;
    let patient = ("REQUEST_TIMEOUT_MS", "25000");
    for settings in [
        [("DATABASE_LOCK_TIMEOUT_MS", "300"), ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"), patient],
        [("DATABASE_LOCK_TIMEOUT_MS", "20000"), ("DATABASE_STATEMENT_TIMEOUT_MS", "300"), patient],
        [
            ("DATABASE_LOCK_TIMEOUT_MS", "20000"),
            ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"),
            ("REQUEST_TIMEOUT_MS", "2000"),
        ],
    ] {
        let service = Service::start(&database, &settings).await;
        let mut holder = database.client().await;
        let lock = holder.transaction().await.unwrap();
        lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let note = json!({"content": "x"});
        let read = send(service.request("GET", "/api/customers/usr_1/notes", "manager"));
        let write = send(service.request("POST", "/api/customers/usr_1/notes", "manager").json(&note));
        let (read, write) = tokio::join!(read, write);
        for answer in [read, write] {
            assert_eq!((answer.status, answer.error().as_str()), (503, "SERVICE_UNAVAILABLE"), "{settings:?}");
        }
        for target in ["/api/tags", "/api/customers", "/api/customers/usr_1", "/readyz"] {
            assert_eq!(service.get(target, "manager").await.status, 200, "{target}");
        }
        lock.rollback().await.unwrap();
        assert_eq!(service.get("/api/customers/usr_1/notes", "manager").await.status, 200);
    }
}
