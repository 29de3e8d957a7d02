//! The real process: start, migration, refusal to start, shutdown, and the durability of acknowledged writes.

use std::collections::HashMap;

use crm_adapters::testing::{TestDatabase, platform::SECRET};
use serde_json::{Value, json};

use crate::{
    app::{TestApp, http_client, send},
    service::{
        PATIENCE, Service, Starting, arrange_database, eventually, free_port, run, settings, wait_for_blocked_statement,
    },
};

#[tokio::test]
async fn configuration_errors_are_reported_together_and_without_values() {
    let settings = [
        ("DATABASE_URL", "mysql://hunter2@localhost/x"),
        ("BETTER_AUTH_SECRET", "hunter2"),
        ("DATABASE_POOL_SIZE", "none"),
    ];
    let (output, printed) = run(&["serve"], &settings).await;
    assert_eq!(output.status.code(), Some(78));
    for name in ["DATABASE_URL", "BETTER_AUTH_SECRET", "BETTER_AUTH_URL", "DATABASE_POOL_SIZE"] {
        assert!(printed.contains(name), "{name} is missing from:\n{printed}");
    }
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("`crm settings`"), "{printed}");
    let (output, printed) = run(&["migrate"], &[]).await;
    assert_eq!(output.status.code(), Some(78));
    assert!(printed.contains("DATABASE_URL is not set"), "{printed}");
}

#[tokio::test]
async fn migrate_check_reports_pending_migrations_until_migrate_applies_them() {
    let database = TestDatabase::empty();
    let address = database.address();
    let settings = [("DATABASE_URL", address.as_str())];
    let standalone = ["migrate", "--check", "--standalone"];
    let (output, printed) = run(&standalone, &settings).await;
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("pending ") && printed.contains("missing customer_note"), "{printed}");
    // Another database than the platform's is left alone.
    for arguments in [&["migrate"][..], &["migrate", "--check"]] {
        let (output, printed) = run(arguments, &settings).await;
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(printed.contains("no table user and no table session in the schema public"), "{printed}");
    }
    let (output, printed) = run(&["migrate", "--standalone"], &settings).await;
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let (output, printed) = run(&["migrate", "--check"], &settings).await;
    assert_eq!((output.status.code(), printed.as_str()), (Some(0), "The schema is up to date.\n"));
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_has_an_exit_code_of_its_own() {
    let address = format!("postgres://crm@127.0.0.1:{}/crm", free_port());
    for arguments in [
        &["migrate"][..],
        &["migrate", "--check"],
        &["directory", "status"],
        &["indexes"],
        &["check"],
        &["kpis", "status"],
    ] {
        let (output, printed) = run(arguments, &[("DATABASE_URL", &address)]).await;
        assert_eq!(output.status.code(), Some(2), "{printed}");
    }
}

#[tokio::test]
async fn check_explains_what_is_missing_and_what_to_do() {
    let database = arrange_database().await;
    let address = database.address();
    let settings = [("DATABASE_URL", address.as_str())];
    let (output, printed) = run(&["check"], &settings).await;
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("ok   schema") && printed.contains("2 missing on the platform's tables"), "{printed}");
    let change =
        "ALTER TABLE customer_note ADD COLUMN branch_id text NOT NULL; DELETE FROM crm.__diesel_schema_migrations";
    database.client().await.batch_execute(change).await.unwrap();
    let (output, printed) = run(&["check"], &settings).await;
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for text in ["FAIL schema", "customer_note.branch_id", "ALTER COLUMN branch_id SET DEFAULT", "FAIL migrations"] {
        assert!(printed.contains(text), "{text} is missing from:\n{printed}");
    }
    assert!(printed.contains("ok   optional    available: invoices"), "{printed}");
    database.client().await.batch_execute("DROP TABLE invoice CASCADE").await.unwrap();
    let (_, printed) = run(&["check"], &settings).await;
    assert!(printed.contains("ok   optional    not available: invoices; lacks table invoice"), "{printed}");
    let (output, printed) = run(&["check", "--grants", "Desk", "--history"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("ON booking_service TO \"Desk\";") && !printed.contains("UPDATE"), "{printed}");
    let (_, printed) = run(&["check", "--grants", "Desk", "--kpis"], &[]).await;
    assert!(printed.contains("GRANT UPDATE (first_visit_at, last_visit_at, total_visits,"), "{printed}");
    let (output, printed) = run(&["check", "--grants", "Desk"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("GRANT DELETE ON customer_tag_assignment TO \"Desk\";"), "{printed}");
}

#[tokio::test]
async fn settings_are_printed_and_doubtful_ones_are_warned_of() {
    let (output, printed) = run(&["settings"], &[]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(printed.contains("#DATABASE_POOL_SIZE=10\n") && printed.contains("#DATABASE_URL=\n"), "{printed}");
    let database = arrange_database().await;
    let doubtful = [("DATABASE_POOLSIZE", "20"), ("DATABASE_LOCK_TIMEOUT_MS", "5000"), ("DATABASE_POOL_SIZE", "3")];
    let mut service = Service::start(&database, &doubtful).await;
    service.log.wait_for_line("DATABASE_POOLSIZE is no setting and has no effect; is DATABASE_POOL_SIZE meant?").await;
    service.log.wait_for_line("DATABASE_LOCK_TIMEOUT_MS should be less than DATABASE_STATEMENT_TIMEOUT_MS").await;
    service.log.wait_for_line("DATABASE_POOL_SIZE should be at least 4").await;
}

#[tokio::test]
async fn an_incomplete_schema_is_refused_with_every_missing_object() {
    let database = arrange_database().await;
    let sql = "ALTER TABLE customer_tag DROP COLUMN color; ALTER TABLE booking RENAME TO appointment; ALTER TABLE session DROP COLUMN token";
    database.client().await.batch_execute(sql).await.unwrap();
    let (output, printed) = run(&["serve"], &settings(&database.address())).await;
    assert_eq!(output.status.code(), Some(1));
    for missing in ["column customer_tag.color", "table booking", "column session.token"] {
        assert!(printed.contains(missing), "{missing} is missing from:\n{printed}");
    }
}

#[tokio::test]
async fn the_service_serves_requests_and_stops_at_sigterm() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[]).await;
    let answer = service.get("/api/customers", "receptionist").await;
    assert_eq!((answer.status, answer.json()["meta"]["totalCount"].as_u64()), (200, Some(1)));
    for signal in ["-HUP", "-TERM"] {
        service.signal(signal);
    }
    let (status, log) = service.wait_for_exit().await;
    assert!(status.success(), "{status}");
    // The request has one log line, without personal data.
    assert!(log.contains(r#""route":"/api/customers""#), "{log}");
    for personal in ["Asha", "usr_1", "example.com", "token-of", SECRET] {
        assert!(!log.contains(personal), "{personal} in:\n{log}");
    }
}

/// A request that waits for a lock is in flight when the first signal arrives.
#[tokio::test]
async fn requests_in_flight_finish_while_the_draining_process_is_not_ready() {
    let database = arrange_database().await;
    let more = [
        ("SHUTDOWN_DELAY_MS", "5000"),
        ("DATABASE_LOCK_TIMEOUT_MS", "20000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"),
        ("REQUEST_TIMEOUT_MS", "25000"),
    ];
    let mut service = Service::start(&database, &more).await;
    assert_eq!(service.get("/readyz", "manager").await.status, 200);
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let written = service.request("POST", "/api/customers/usr_1/notes", "receptionist").json(&json!({"content": "x"}));
    let written = tokio::spawn(send(written));
    let watcher = database.client().await;
    wait_for_blocked_statement(&watcher).await;

    service.signal("-TERM");
    service.log.wait_for_line("stopping").await;
    // During the delay, the service still accepts new connections.
    let readiness = service.get("/readyz", "manager").await;
    assert_eq!((readiness.status, readiness.header("connection")), (503, Some("close")));
    assert_eq!(readiness.json()["checks"]["process"], "fail");
    assert_eq!(service.get("/api/tags", "manager").await.status, 200);
    eventually(PATIENCE, "nobody listens any more", async || {
        tokio::net::TcpStream::connect(&service.address).await.is_err()
    })
    .await;
    assert!(!written.is_finished());
    lock.rollback().await.unwrap();
    assert_eq!(written.await.unwrap().status, 201);
    assert!(service.wait_for_exit().await.0.success());
}

/// The first worker opens the database connection, has no requests left and ends, while the second worker writes on
/// that connection.
#[tokio::test]
async fn a_database_connection_outlives_the_worker_that_opened_it() {
    let database = arrange_database().await;
    let more = [
        ("HTTP_WORKERS", "2"),
        ("DATABASE_POOL_SIZE", "1"),
        ("DATABASE_LOCK_TIMEOUT_MS", "20000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"),
        ("REQUEST_TIMEOUT_MS", "25000"),
        ("SHUTDOWN_TIMEOUT_MS", "25000"),
    ];
    let mut service = Service::start(&database, &more).await;
    let watcher = database.client().await;
    // Closes the connection that the schema check at the start has opened.
    let kill = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'royal-glow-crm'";
    watcher.execute(kill, &[]).await.unwrap();
    // Two clients, one for each worker. The first makes its worker open the database connection, and later disconnects.
    let (first, second) = (http_client(), http_client());
    let request = |client: &reqwest::Client, method: &str, target: &str| {
        let url = format!("{}{target}", service.base_url);
        client.request(method.parse().unwrap(), url).header("cookie", TestApp::cookie("receptionist"))
    };
    assert_eq!(send(request(&first, "GET", "/api/tags")).await.status, 200);
    assert_eq!(send(request(&second, "GET", "/livez")).await.status, 200);
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let note = request(&second, "POST", "/api/customers/usr_1/notes").json(&json!({"content": "x"}));
    let written = tokio::spawn(send(note));
    wait_for_blocked_statement(&watcher).await;
    let threads = format!("/proc/{}/task", service.process.id().unwrap());
    let serving = || {
        let names = std::fs::read_dir(&threads)
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("actix-rt|system")).count()
    };
    let before = serving();
    drop(first);
    service.signal("-TERM");
    service.log.wait_for_line("stopping").await;
    eventually(PATIENCE, "a thread has ended", async || serving() < before).await;
    assert!(!written.is_finished());
    lock.rollback().await.unwrap();
    assert_eq!(written.await.unwrap().status, 201);
    assert!(service.wait_for_exit().await.0.success());
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let database = arrange_database().await;
    let mut service = Service::start(&database, &[("SHUTDOWN_DELAY_MS", "3600000")]).await;
    service.signal("-TERM");
    service.log.wait_for_line("stopping").await;
    service.signal("-INT");
    let (status, log) = service.wait_for_exit().await;
    assert_eq!(status.code(), Some(130));
    assert!(log.trim_end().lines().last().unwrap_or_default().contains("stopping at once"), "{log}");
}

#[tokio::test]
async fn an_unreachable_database_is_reported_at_the_startup_timeout() {
    let address = format!("postgres://crm:hunter2@127.0.0.1:{}/crm", free_port());
    let mut settings = settings(&address);
    settings.push(("STARTUP_TIMEOUT_MS", "700"));
    let (output, printed) = run(&["serve"], &settings).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(printed.contains("the database did not answer within 700 ms"), "{printed}");
    assert!(printed.contains("does not answer yet") && !printed.contains("hunter2"), "{printed}");
}

/// The host accepts connections and never responds.
#[tokio::test]
async fn an_unresponsive_database_is_reported_at_the_startup_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("postgres://crm@{}/crm?sslmode=disable", silent.local_addr().unwrap());
    let mut settings = settings(&address);
    settings.extend([("STARTUP_TIMEOUT_MS", "1500"), ("DATABASE_CONNECT_TIMEOUT_MS", "300")]);
    let (output, printed) = run(&["serve"], &settings).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(printed.contains("the database did not answer within 1500 ms"), "{printed}");
}

/// A request that takes longer than `SHUTDOWN_TIMEOUT_MS` is aborted and rolled back.
#[tokio::test]
async fn a_shutdown_ends_at_its_timeout() {
    let database = arrange_database().await;
    let more = [
        ("SHUTDOWN_TIMEOUT_MS", "1000"),
        ("DATABASE_LOCK_TIMEOUT_MS", "3600000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "3600000"),
        ("REQUEST_TIMEOUT_MS", "3600000"),
    ];
    let service = Service::start(&database, &more).await;
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let note = service.request("POST", "/api/customers/usr_1/notes", "receptionist").json(&json!({"content": "x"}));
    let written = tokio::spawn(note.send());
    let watcher = database.client().await;
    wait_for_blocked_statement(&watcher).await;
    service.signal("-TERM");
    assert!(service.wait_for_exit().await.0.success());
    assert!(written.await.unwrap().is_err());
    lock.rollback().await.unwrap();
    let notes: i64 = watcher.query_one("SELECT count(*) FROM customer_note", &[]).await.unwrap().get(0);
    assert_eq!(notes, 0);
}

#[tokio::test]
async fn the_service_waits_for_a_database_that_starts_later() {
    let database = arrange_database().await;
    database.allow_connections(false).await;
    let mut starting = Starting::start(&database.address(), &[]);
    starting.log.wait_for_line("does not answer yet").await;
    database.allow_connections(true).await;
    let service = starting.wait_until_serving().await;
    assert_eq!(service.get("/api/tags", "manager").await.status, 200);
}

#[tokio::test]
async fn the_healthcheck_command_reports_liveness_and_readiness() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[]).await;
    let settings = [("BIND_ADDRESS", service.address.as_str())];
    assert_eq!(run(&["healthcheck"], &settings).await.0.status.code(), Some(0));
    assert_eq!(run(&["healthcheck", "--ready"], &settings).await.0.status.code(), Some(0));
    database.allow_connections(false).await;
    // The service reuses a health report for a second.
    eventually(PATIENCE, "the database's end is noticed", async || {
        run(&["healthcheck", "--ready"], &settings).await.0.status.code() == Some(1)
    })
    .await;
    assert_eq!(run(&["healthcheck"], &settings).await.0.status.code(), Some(0), "it lives all the same");
    let nobody = format!("127.0.0.1:{}", free_port());
    let (output, printed) = run(&["healthcheck"], &[("BIND_ADDRESS", nobody.as_str())]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("nothing answers"), "{printed}");
}

/// The process is killed while clients write notes. Every note with a 201 response is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_note_survives_a_kill() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[]).await;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let sender = sender.clone();
            let request = service.request("POST", "/api/customers/usr_1/notes", "receptionist");
            tokio::spawn(async move {
                for n in 0.. {
                    let content = format!("note {writer} {n}");
                    let Some(request) = request.try_clone() else {
                        return;
                    };
                    let Ok(answer) = request.json(&json!({"content": content})).send().await else {
                        return;
                    };
                    assert_eq!(answer.status(), 201);
                    let Ok(body) = answer.json::<Value>().await else {
                        return;
                    };
                    let _ = sender.send((body["data"]["note"]["id"].as_str().unwrap().to_owned(), content));
                }
            })
        })
        .collect();
    drop(sender);
    let mut acknowledged = HashMap::new();
    while let Some((id, content)) = receiver.recv().await {
        acknowledged.insert(id, content);
        if acknowledged.len() == 200 {
            service.signal("-KILL");
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(acknowledged.len() >= 200);
    let client = database.client().await;
    let rows = client.query("SELECT id, content FROM customer_note", &[]).await.unwrap();
    let kept: HashMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (id, content) in &acknowledged {
        assert_eq!(kept.get(id), Some(content), "an acknowledged note was lost");
    }
    // Every stored note has its audit entry.
    let unaudited: i64 = client
        .query_one(
            "SELECT count(*) FROM customer_note n WHERE NOT EXISTS (SELECT FROM audit_log a WHERE a.entity_id = n.id)",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(unaudited, 0);
}

/// `Type=notify` of the unit: systemd waits for this message at start.
#[tokio::test]
async fn systemd_is_told_when_the_service_serves_and_when_it_stops() {
    let database = arrange_database().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
    let receive = async || {
        let mut buffer = [0; 256];
        let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("a message").unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    let service = Service::start(&database, &[("NOTIFY_SOCKET", path.to_str().unwrap())]).await;
    assert_eq!(receive().await, "READY=1");
    assert_eq!(service.get("/livez", "manager").await.status, 200);
    service.signal("-TERM");
    assert!(service.wait_for_exit().await.0.success());
    assert_eq!(receive().await, "STOPPING=1");
}
