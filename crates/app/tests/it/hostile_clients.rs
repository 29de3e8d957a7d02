//! Clients that try to exhaust the service: they do not read, they hold connections, or they send malformed HTTP. The
//! tests use the real process.

use std::{fs, time::Duration};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    app::{TestApp, parse_response, send},
    service::{PATIENCE, Service, arrange_database, eventually, run, wait_for_blocked_statement},
};

/// Limits above the number of connections that a test opens, also from one address.
const ROOMY: [(&str, &str); 2] = [("HTTP_MAX_CONNECTIONS", "2048"), ("HTTP_MAX_CONNECTIONS_PER_ADDRESS", "2048")];

/// Connects from the given address of this machine, so that a test can have several clients.
async fn connect_from(service: &Service, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(service.address.parse().unwrap()).await.unwrap()
}

async fn connect(service: &Service) -> TcpStream {
    connect_from(service, "127.0.0.1").await
}

/// Reads until the server closes the connection.
async fn read_until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset closes it too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes the connection");
    answer
}

/// The process's resident memory, in MB.
fn resident_memory(service: &Service) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.process.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

async fn read_metric(service: &Service, metric: &str) -> u64 {
    let metrics = service.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(metric)).unwrap_or_else(|| panic!("no {metric}"));
    line.trim().parse().unwrap()
}

async fn count_unanswered(service: &Service, reason: &str) -> u64 {
    read_metric(service, &format!("crm_unanswered_requests_total{{reason=\"{reason}\"}}")).await
}

/// Sends `bytes` on that many connections and reads nothing. Requires that the service still serves other clients and
/// stays below the memory limit.
async fn flood(service: &Service, connections: usize, bytes: &[u8], limit_in_mb: u64) {
    let connections = (0..connections).map(async |_| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(service.address.parse().unwrap()).await.unwrap();
        // The server stops reading at some point, so the client may not be able to send everything.
        let _ = timeout(Duration::from_millis(300), stream.write_all(bytes)).await;
        stream
    });
    let mut connections = join_all(connections).await;
    for _ in 0..4 {
        assert_eq!(service.get("/livez", "manager").await.status, 200);
        // The 512 clients may have valid sessions and keep the whole connection pool busy.
        assert!(matches!(service.get("/api/tags", "manager").await.status, 200 | 503));
        let resident = resident_memory(service);
        assert!(resident < limit_in_mb, "{resident} MB");
        // The client sends more if the server has read in between.
        for stream in &mut connections {
            let _ = stream.try_write(bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelining_clients_that_do_not_read_use_little_memory() {
    let database = arrange_database().await;
    let more = [ROOMY[0], ROOMY[1], ("API_DOCS", "true")];
    let service = Service::start(&database, &more).await;
    let cookie = TestApp::cookie("manager");
    for (connections, request) in [
        (512, "GET /api/openapi.json HTTP/1.1\r\nHost: crm\r\n\r\n".to_owned()),
        // With a session, and with a body after which more requests follow: the same per connection, at less cost.
        (128, format!("GET /api/customers HTTP/1.1\r\nHost: crm\r\nCookie: {cookie}\r\n\r\n")),
        (
            128,
            "POST /api/tags HTTP/1.1\r\nHost: crm\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_owned(),
        ),
    ] {
        flood(&service, connections, request.repeat(2_500).as_bytes(), if connections == 512 { 96 } else { 64 }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_headers_use_little_memory() {
    let database = arrange_database().await;
    let service = Service::start(&database, &ROOMY).await;
    let fields = (0..2_000).map(|n| format!("x-field-{n}: {n}\r\n")).collect::<Vec<_>>().concat();
    flood(&service, 512, format!("GET /livez HTTP/1.1\r\nHost: crm\r\n{fields}").as_bytes(), 96).await;
    flood(&service, 512, format!("GET /livez HTTP/1.1\r\nHost: crm\r\nx: {}", "x".repeat(200_000)).as_bytes(), 96)
        .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_at_the_write_timeout() {
    let database = arrange_database().await;
    let more = [("API_DOCS", "true"), ("HTTP_WRITE_TIMEOUT_MS", "300")];
    let service = Service::start(&database, &more).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(service.address.parse().unwrap()).await.unwrap();
    let (_unread, mut requests) = stream.into_split();
    // The responses exceed what the kernel buffers for both sides. Writing fails when the server closes the connection.
    let pipelined = b"GET /livez HTTP/1.1\r\nHost: crm\r\n\r\n".repeat(1_000);
    let writing = async { while requests.write_all(&pipelined).await.is_ok() {} };
    timeout(PATIENCE, writing).await.expect("the server closes the connection");
    assert_eq!(count_unanswered(&service, "write_timeout").await, 1);
    // A client that reads gets the whole response, even if that takes longer.
    let whole = send(service.request("GET", "/api/docs/swagger-ui-bundle.js", "manager")).await;
    assert!(whole.text.len() > 1_000_000);
}

#[tokio::test]
async fn pipelined_requests_get_their_responses_in_order() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[]).await;
    let cookie = TestApp::cookie("manager");
    let format_request = |method: &str, target: &str, id: &str, rest: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: crm\r\nCookie: {cookie}\r\nx-request-id: {id}\r\n{rest}")
    };
    let json = "Content-Type: application/json\r\n";
    let body = "{\"content\":\"a\\n\\nb\"}";
    let requests = [
        format_request("GET", "/livez", "1", "\r\n"),
        format_request(
            "POST",
            "/api/customers/usr_1/notes",
            "2",
            &format!("{json}Content-Length: {}\r\n\r\n{body}", body.len()),
        ),
        format_request("GET", "/api/tags", "3", "\r\n"),
        format_request(
            "POST",
            "/api/customers/usr_1/notes",
            "4",
            &format!("{json}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        ),
        format_request("GET", "/api/customers/usr_1/notes", "5", "Connection: close\r\n\r\n"),
    ]
    .concat();
    // Sent whole, and in pieces that end at arbitrary positions.
    for piece in [requests.len(), 7] {
        let mut stream = connect(&service).await;
        for piece in requests.as_bytes().chunks(piece) {
            stream.write_all(piece).await.unwrap();
        }
        let answers = String::from_utf8(read_until_closed(&mut stream).await).unwrap();
        let seen: Vec<_> = answers
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| {
                let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: "));
                (&answer[..3], id.unwrap())
            })
            .collect();
        assert_eq!(seen, [("200", "1"), ("201", "2"), ("200", "3"), ("201", "4"), ("200", "5")], "{answers}");
    }
    let notes = service.get("/api/customers/usr_1/notes", "manager").await.json();
    assert_eq!(notes["meta"]["totalCount"], 4);
    assert_eq!(notes["data"]["notes"][0]["content"], "a\n\nb");
}

#[tokio::test]
async fn idle_connections_are_evicted_for_new_ones() {
    let database = arrange_database().await;
    let more = [("HTTP_MAX_CONNECTIONS", "16"), ("HTTP_MAX_CONNECTIONS_PER_ADDRESS", "16"), ("METRICS_ADDRESS", "")];
    let service = Service::start(&database, &more).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut stream = connect(&service).await;
        // Half of the connections have sent a request.
        if idle.len() % 2 == 0 {
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: crm\r\n\r\n").await.unwrap();
        }
        idle.push(stream);
    }
    let address = service.address.clone();
    let settings = [("BIND_ADDRESS", address.as_str())];
    for _ in 0..10 {
        assert_eq!(run(&["healthcheck"], &settings).await.0.status.code(), Some(0));
        assert_eq!(service.get("/api/tags", "manager").await.status, 200);
    }
    drop(idle);
}

#[tokio::test]
async fn the_metrics_listener_also_serves_the_health_endpoints() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[]).await;
    let address = service.metrics_url.trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
    // No server listens on the other address, so the command must use this one.
    let settings = [("METRICS_ADDRESS", address.as_str()), ("BIND_ADDRESS", "127.0.0.1:1")];
    assert_eq!(run(&["healthcheck"], &settings).await.0.status.code(), Some(0));
    assert_eq!(run(&["healthcheck", "--ready"], &settings).await.0.status.code(), Some(0));
    database.allow_connections(false).await;
    eventually(PATIENCE, "the database's end is noticed", async || {
        run(&["healthcheck", "--ready"], &settings).await.0.status.code() == Some(1)
    })
    .await;
}

/// Connections in use are not evicted. The service refuses further connections of an address that has its share.
#[tokio::test]
async fn connections_beyond_the_share_of_an_address_are_refused() {
    let database = arrange_database().await;
    let more = [
        ("HTTP_MAX_CONNECTIONS", "16"),
        ("DATABASE_LOCK_TIMEOUT_MS", "20000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"),
        ("REQUEST_TIMEOUT_MS", "25000"),
    ];
    let service = Service::start(&database, &more).await;
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let request = format!(
        "GET /api/customers/usr_1/notes HTTP/1.1\r\nHost: crm\r\nCookie: {}\r\nConnection: close\r\n\r\n",
        TestApp::cookie("manager")
    );
    let mut busy = Vec::new();
    // The share is a quarter of sixteen.
    for _ in 0..4 {
        let mut stream = connect_from(&service, "127.0.0.7").await;
        stream.write_all(request.as_bytes()).await.unwrap();
        busy.push(stream);
    }
    wait_for_blocked_statement(&database.client().await).await;
    eventually(PATIENCE, "all requests have arrived", async || {
        read_metric(&service, "http_server_active_requests").await == 4
    })
    .await;
    let mut refused = connect_from(&service, "127.0.0.7").await;
    let _ = refused.write_all(b"GET /livez HTTP/1.1\r\nHost: crm\r\n\r\n").await;
    assert!(read_until_closed(&mut refused).await.is_empty());
    assert_eq!(read_metric(&service, "crm_connection_refusals_total").await, 1);
    assert_eq!(service.get("/livez", "manager").await.status, 200, "another address is served");
    lock.rollback().await.unwrap();
    for mut stream in busy {
        assert_eq!(parse_response(&read_until_closed(&mut stream).await).status, 200);
    }
    let mut again = connect_from(&service, "127.0.0.7").await;
    again.write_all(b"GET /livez HTTP/1.1\r\nHost: crm\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(parse_response(&read_until_closed(&mut again).await).status, 200);
}

#[tokio::test]
async fn a_trusted_proxy_may_exceed_the_share_of_an_address() {
    let database = arrange_database().await;
    let more = [("HTTP_MAX_CONNECTIONS", "16"), ("TRUSTED_PROXIES", "127.0.0.7/32")];
    let service = Service::start(&database, &more).await;
    let mut streams = Vec::new();
    for _ in 0..12 {
        let mut stream = connect_from(&service, "127.0.0.7").await;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: crm\r\n\r\n").await.unwrap();
        assert_ne!(stream.read_u8().await.unwrap(), 0);
        streams.push(stream);
    }
    assert_eq!(read_metric(&service, "crm_connection_refusals_total").await, 0);
}

/// The kernel completes these connections while the process is suspended.
#[tokio::test]
async fn many_clients_can_connect_at_once() {
    let database = arrange_database().await;
    let service = Service::start(&database, &ROOMY).await;
    for address in [&service.address, &service.metrics_url.replace("http://", "").replace("/metrics", "")] {
        service.signal("-STOP");
        let connections = join_all((0..1_000).map(|_| timeout(PATIENCE, TcpStream::connect(address)))).await;
        service.signal("-CONT");
        assert!(connections.into_iter().all(|connection| connection.is_ok_and(|connected| connected.is_ok())));
    }
    assert_eq!(service.get("/api/tags", "manager").await.status, 200);
}

#[tokio::test]
async fn a_body_with_broken_framing_is_rejected_in_the_envelope() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[]).await;
    for body in ["zz\r\n", "11111111111111111\r\n", "5\nhello", "2\r\n{}\r\nzz\r\n", "2\r\n{}0\r\n\r\n"] {
        for (cookie, status) in [(TestApp::cookie("manager"), 400), ("none=1".to_owned(), 401)] {
            let mut stream = connect(&service).await;
            let request = format!(
                "POST /api/tags HTTP/1.1\r\nHost: crm\r\nCookie: {cookie}\r\nContent-Type: application/json\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{body}"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = parse_response(&read_until_closed(&mut stream).await);
            assert_eq!(answer.status, status, "{body:?}");
            let code = answer.error();
            assert_eq!(code, if status == 400 { "VALIDATION_ERROR" } else { "UNAUTHENTICATED" }, "{body:?}");
        }
    }
    eventually(PATIENCE, "each is logged as any other request", async || {
        service.log.text().lines().filter(|line| line.contains(r#""message":"request""#)).count() == 10
    })
    .await;
}

#[tokio::test]
async fn malformed_and_incomplete_requests_are_logged_and_counted() {
    let database = arrange_database().await;
    let mut service = Service::start(&database, &[("HTTP_HEADER_TIMEOUT_MS", "300")]).await;
    let mut stream = connect(&service).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nContent-Length: x\r\n\r\n").await.unwrap();
    assert!(read_until_closed(&mut stream).await.starts_with(b"HTTP/1.1 400"));
    let line = service.log.wait_for_line("a connection ended before its request was complete").await;
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["reason"], "malformed");
    assert_eq!(count_unanswered(&service, "malformed").await, 1);
    let mut stream = connect(&service).await;
    stream.write_all(b"GET /livez HTT").await.unwrap();
    read_until_closed(&mut stream).await;
    eventually(PATIENCE, "the timeout is counted", async || count_unanswered(&service, "header_timeout").await == 1)
        .await;
    // The client disconnects in the middle of its header.
    let mut stream = connect(&service).await;
    stream.write_all(b"GET /livez HTT").await.unwrap();
    drop(stream);
    eventually(PATIENCE, "it is counted", async || count_unanswered(&service, "client_gone").await == 1).await;
}

#[tokio::test]
async fn a_client_that_disconnects_before_its_response_is_logged_and_counted() {
    let database = arrange_database().await;
    let more = [
        ("DATABASE_LOCK_TIMEOUT_MS", "20000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"),
        ("REQUEST_TIMEOUT_MS", "25000"),
    ];
    let mut service = Service::start(&database, &more).await;
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut stream = connect(&service).await;
    let request = format!(
        "GET /api/customers/usr_1/notes HTTP/1.1\r\nHost: crm\r\nCookie: {}\r\n\r\n",
        TestApp::cookie("manager")
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    wait_for_blocked_statement(&database.client().await).await;
    // With this option, closing resets the connection, as closing with unread data does.
    stream.set_zero_linger().unwrap();
    drop(stream);
    let line = service.log.wait_for_line("the response was not fully sent").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["reason"], &line["method"]), (&"client_gone".into(), &"GET".into()));
    assert_eq!(count_unanswered(&service, "client_gone").await, 1);
    lock.rollback().await.unwrap();
}

#[tokio::test]
async fn an_upgrade_request_gets_a_plain_response_without_an_upgrade_header() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[]).await;
    for protocol in ["h2c", "websocket", "TLS/1.0"] {
        let mut stream = connect(&service).await;
        let request = format!(
            "GET /livez HTTP/1.1\r\nHost: crm\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\
             HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = parse_response(&read_until_closed(&mut stream).await);
        assert_eq!((answer.status, answer.header("connection"), answer.header("upgrade")), (200, Some("close"), None));
    }
}
