//! Logs, spans and metrics of the real process: what they contain, and what they must not contain.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use crm_adapters::testing::platform::{self, SECRET};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value::{IntValue, StringValue},
    trace::v1::Span,
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::{
    app::{ROLES, TestApp, send},
    service::{PATIENCE, Service, arrange_database, crm, eventually, free_port, root, settings},
};

/// Receives what an exporter sends, as a collector does.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    fn start() -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let data = web::Data::from(received.clone());
        let server =
            HttpServer::new(move || App::new().app_data(data.clone()).route("/v1/traces", web::post().to(receive)))
                .workers(1)
                .disable_signals()
                .bind("127.0.0.1:0")
                .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, received }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let exports = received.iter().map(|body| ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
        exports
            .flat_map(|export| export.resource_spans)
            .flat_map(|of_resource| of_resource.scope_spans)
            .flat_map(|of_scope| of_scope.spans)
            .collect()
    }

    fn text(&self) -> String {
        self.received.lock().unwrap().iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect()
    }
}

async fn receive(received: web::Data<Mutex<Vec<Vec<u8>>>>, body: web::Bytes) -> HttpResponse {
    received.lock().unwrap().push(body.to_vec());
    HttpResponse::Ok().content_type("application/x-protobuf").finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        StringValue(text) => Some(text.clone()),
        IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

#[actix_web::test]
async fn a_trace_is_read_continued_and_returned() {
    let database = arrange_database().await;
    let collector = Collector::start();
    let service = Service::start(&database, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]).await;
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let request = service.request("GET", "/api/customers/usr_1", "manager");
    let answer = send(request.header("traceparent", format!("00-{trace}-{parent}-01"))).await;
    assert_eq!(answer.status, 200);
    let out = answer.header("traceparent").unwrap().to_owned();
    let fresh = service.get("/nothing", "manager").await.header("traceparent").unwrap().to_owned();
    assert!(!fresh.contains(trace));
    service.signal("-TERM");
    let (status, log) = service.wait_for_exit().await;
    assert!(status.success());

    let spans = collector.spans();
    let server = spans.iter().find(|span| hex(&span.trace_id) == trace && span.name.starts_with("GET")).unwrap();
    assert_eq!(server.name, "GET /api/customers/{id}");
    assert_eq!(hex(&server.parent_span_id), parent);
    assert_eq!(out, format!("00-{trace}-{}-01", hex(&server.span_id)));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/api/customers/{id}"),
        ("http.response.status_code", "200"),
        ("role", "manager"),
    ] {
        assert_eq!(attribute(server, name).as_deref(), Some(value), "{name}");
    }
    // The spans of the database statements belong to the same trace.
    let below: Vec<_> =
        spans.iter().filter(|span| hex(&span.trace_id) == trace).map(|span| span.name.as_str()).collect();
    assert_eq!(
        below.iter().filter(|name| **name == "statement").count(),
        2,
        "the session's and the profile's: {below:?}"
    );
    let line = log.lines().find(|line| line.contains(r#""route":"/api/customers/{id}""#)).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["trace_id"], trace);
    for field in ["request_id", "method", "route", "status", "duration_ms", "role"] {
        assert!(!line[field].is_null(), "{field}: {line}");
    }
}

#[actix_web::test]
async fn without_a_collector_the_trace_id_is_still_logged_and_returned() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[]).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traced = service.request("GET", "/api/tags", "manager");
    let answer = send(traced.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))).await;
    assert!(answer.header("traceparent").unwrap().starts_with(&format!("00-{trace}-")));
    for bad in ["", "00-0-0-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
        let answer = send(service.request("GET", "/api/tags", "manager").header("traceparent", bad)).await;
        let fresh = answer.header("traceparent").unwrap();
        assert!(fresh.len() == 55 && !fresh.contains(trace), "{bad:?}: {fresh}");
    }
    assert!(service.log.text().contains(&format!(r#""trace_id":"{trace}""#)));
}

/// Sends valid and invalid requests to every endpoint, at the most verbose log level.
#[actix_web::test]
async fn logs_spans_and_metrics_contain_no_personal_data() {
    let database = arrange_database().await;
    let client = database.client().await;
    let collector = Collector::start();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("RUST_LOG", "trace"),
        ("DATABASE_LOCK_TIMEOUT_MS", "200"),
    ];
    let service = Service::start(&database, &settings).await;

    platform::customer(&client, "usr_priya", "Priyanka Unmistakable").await;
    client
        .batch_execute(
            "UPDATE customer_profile SET phone = '+919876501234' WHERE user_id = 'usr_priya';
             UPDATE \"user\" SET email = 'priyanka.private@example.com' WHERE id = 'usr_priya'",
        )
        .await
        .unwrap();
    platform::booking(&client, "bkg_1", "usr_priya").await;
    let personal = [
        "Unmistakable",
        "Priyanka",
        "priyanka.private",
        "9876501234",
        "usr_priya",
        "allergic to ammonia",
        "searchedfor",
        "Secret Tag",
        "secret-tag",
        "token-of-",
        "hunter2",
        SECRET,
    ];

    let requests: &[(&str, &str, &str)] = &[
        ("GET", "/api/customers?q=searchedfor", ""),
        ("GET", "/api/customers?q=Priyanka&sort=name", ""),
        ("GET", "/api/customers?q=9876501234&tag=secret-tag", ""),
        ("GET", "/api/customers?q=searchedfor&page=searchedfor", ""),
        ("GET", "/api/customers?q=searchedfor%00", ""),
        ("GET", "/api/customers/usr_priya", ""),
        ("GET", "/api/customers/usr_priya%zz", ""),
        ("GET", "/api/customers/usr_priya/", ""),
        ("PUT", "/api/customers/usr_priya", ""),
        ("PATCH", "/api/customers/usr_priya", r#"{"noshowCount":3}"#),
        ("PATCH", "/api/customers/usr_priya", r#"{"noshowCount":"hunter2"}"#),
        ("POST", "/api/customers/usr_priya/notes", r#"{"content":"allergic to ammonia"}"#),
        ("POST", "/api/customers/usr_priya/notes", r#"{"content":"allergic to ammonia","bookingId":"hunter2"}"#),
        ("POST", "/api/customers/usr_priya/notes", r#"{"content":"allergic to ammonia","bookingId":"bkg_1"}"#),
        ("POST", "/api/customers/usr_priya/notes", r#"{"content":"allergic to ammonia"#),
        ("GET", "/api/customers/usr_priya/notes", ""),
        ("POST", "/api/tags", r#"{"name":"Secret Tag"}"#),
        ("POST", "/api/tags", r#"{"name":"Secret Tag"}"#),
        ("POST", "/api/customers/usr_priya/tags", r#"{"tagId":"tag_vip"}"#),
        ("DELETE", "/api/customers/usr_priya/tags/tag_vip", ""),
        ("GET", "/api/tags", ""),
        ("GET", "/api/health", ""),
        ("GET", "/nothing/Priyanka?q=searchedfor", ""),
        ("BREW", "/api/tags", ""),
    ];
    let mut statuses = HashSet::new();
    // The second round lacks a column (500), the third has a locked table (503).
    let mut holder = database.client().await;
    for round in 0..3 {
        let lock = match round {
            1 => {
                client.batch_execute("ALTER TABLE customer_note RENAME COLUMN content TO hunter2").await.unwrap();
                None
            }
            2 => {
                client.batch_execute("ALTER TABLE customer_note RENAME COLUMN hunter2 TO content").await.unwrap();
                let lock = holder.transaction().await.unwrap();
                lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
                Some(lock)
            }
            _ => None,
        };
        for (method, target, body) in requests {
            for role in ["manager", "customer"] {
                let request = service.request(method, target, role).header("x-forwarded-for", "198.51.100.77");
                let request = request.header("content-type", "application/json").body((*body).to_owned());
                statuses.insert(send(request).await.status);
            }
        }
        drop(lock);
    }
    // A forged cookie, a signed cookie without a session, and a bearer token.
    for (name, value) in [
        ("cookie", "better-auth.session_token=hunter2".to_owned()),
        ("cookie", format!("better-auth.session_token={}", platform::signed("token-of-nobody", SECRET))),
        ("authorization", format!("Bearer {}", TestApp::cookie("manager"))),
    ] {
        let request = get_without_session(&service, "/api/tags").header(name, value);
        statuses.insert(send(request).await.status);
    }
    for expected in [200, 201, 400, 401, 403, 404, 405, 409, 500, 503] {
        assert!(statuses.contains(&expected), "{expected} did not occur: {statuses:?}");
    }
    let metrics = service.metrics().await;
    service.signal("-TERM");
    let (_, log) = service.wait_for_exit().await;
    let spans = collector.text();

    let (lines, counted) = (log.matches(r#""message":"request""#).count(), metrics.lines().count());
    assert!(lines > 100 && counted > 100 && collector.spans().len() > 300, "{lines} {counted}");
    for (what, text) in [("the log", &log), ("the spans", &spans), ("the metrics", &metrics)] {
        for personal in personal {
            assert!(!text.contains(personal), "{personal:?} is in {what}:\n{}", line_with(text, personal));
        }
        assert!(!text.contains("198.51.100.77"), "an address of a client is in {what}");
    }
    // Logs contain roles but no user ids.
    for role in ROLES {
        assert!(!log.contains(&format!("usr_{role}")), "{role}");
    }
}

fn get_without_session(service: &Service, target: &str) -> reqwest::RequestBuilder {
    crate::app::http_client().get(format!("{}{target}", service.base_url))
}

/// The line that contains `found`.
fn line_with<'t>(text: &'t str, found: &str) -> &'t str {
    text.lines().find(|line| line.contains(found)).unwrap_or_default()
}

/// The names of the metrics in an expression.
fn metric_names(expression: &str) -> Vec<String> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| ["http_server_", "db_client_", "crm_"].iter().any(|prefix| word.starts_with(prefix)))
        .map(|word| word.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum").to_owned())
        .collect()
}

/// Collects every expression under a key of that name.
fn collect_expressions(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(expression) if name == key => found.push(expression.clone()),
                    other => collect_expressions(other, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_expressions(item, key, found)),
        _ => {}
    }
}

#[actix_web::test]
async fn the_dashboard_and_the_alerts_use_existing_metrics() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/api/tags", "manager").await.status, 200);
    let metrics = app.metrics.exposition();
    // The names of these labels begin like metrics but are not metrics.
    let labels = ["http_route", "http_response_status_code", "http_request_method", "db_client_connection_state"];
    let shown: HashSet<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(|name| name.trim_end_matches("_count").to_owned())
        .collect();
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(root().join("docs/grafana-dashboard.json")).unwrap()).unwrap();
    let mut read = Vec::new();
    collect_expressions(&dashboard, "expr", &mut read);
    assert!(read.len() > 8, "{read:?}");
    let alerts = std::fs::read_to_string(root().join("docs/alerts.yml")).unwrap();
    let alerts: Vec<_> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned).collect();
    assert!(alerts.len() > 4, "{alerts:?}");
    for expression in read.iter().chain(&alerts) {
        for name in metric_names(expression).iter().filter(|name| !labels.contains(&name.as_str())) {
            assert!(shown.contains(name), "{name} of {expression:?} is not among {shown:?}");
            // Another program in the same Prometheus may use the same names.
            for (place, _) in expression.match_indices(name.as_str()) {
                let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let rest = &expression[place..];
                let selector = rest.trim_start_matches(is_of_name);
                let is_label = labels.contains(&&rest[..rest.len() - selector.len()]);
                assert!(is_label || selector.starts_with(r#"{job="royal-glow-crm""#), "{name} in {expression:?}");
            }
        }
    }
    assert_eq!(json!(dashboard["title"]), "Royal Glow CRM");
}

/// Each alert fires when it should and is silent when it should be (`docs/alerts.test.yml`).
#[tokio::test]
async fn the_alerts_pass_their_unit_tests() {
    let output = tokio::process::Command::new("promtool")
        .args(["test", "rules", "alerts.test.yml"])
        .current_dir(root().join("docs"))
        .output()
        .await
        .expect("promtool: `just test` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let alerts = std::fs::read_to_string(root().join("docs/alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(root().join("docs/alerts.test.yml")).unwrap();
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let cases: Vec<_> = tests.split("alertname: ").filter(|case| case.lines().next() == Some(alert)).collect();
        let (silent, firing): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.contains("exp_alerts: []"));
        assert!(!silent.is_empty() && !firing.is_empty(), "{alert}");
    }
}

/// A program that reads the log and hangs, as a full disk behind a log driver makes it.
#[tokio::test]
async fn a_log_that_nobody_reads_delays_no_request_and_its_dropped_lines_are_counted() {
    let database = arrange_database().await;
    let address = database.address();
    let (bind, metrics) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let mut settings = settings(&address);
    settings.extend_from_slice(&[("BIND_ADDRESS", bind.as_str()), ("METRICS_ADDRESS", metrics.as_str())]);
    let mut process = crm(&["serve"], &settings).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let client = crate::app::http_client();
    let url = format!("http://{bind}/livez");
    eventually(PATIENCE, "it serves", async || client.get(&url).send().await.is_ok()).await;
    // Some 200 lines fill the pipe, 4,096 more the buffer.
    let (sixteen, metrics_url) = (16, format!("http://{metrics}/metrics"));
    let asking = (0..sixteen).map(|_| {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move {
            for _ in 0..320 {
                assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
            }
        })
    });
    for task in asking.collect::<Vec<_>>() {
        tokio::time::timeout(PATIENCE, task).await.expect("answers").unwrap();
    }
    let text = crate::app::send(client.get(&metrics_url)).await.text;
    let dropped = text.lines().find_map(|line| line.strip_prefix("crm_log_lines_dropped_total ")).unwrap();
    assert!(dropped.parse::<u64>().unwrap() > 0, "{text}");
    assert!(text.contains("crm_build_info{version=\"") && text.contains("commit=\""), "{text}");
    process.kill().await.unwrap();
}
