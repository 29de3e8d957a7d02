//! The real process: it starts, migrates, serves, refuses, stops, and loses nothing that it acknowledged.

use std::collections::HashMap;

use crm_adapters::testing::{TestDatabase, platform::SECRET};
use serde_json::{Value, json};

use crate::{
    app::{TestApp, http_client, taken},
    service::{
        PATIENCE, Service, Starting, arranged, eventually, free_port, run, settings, until_somebody_waits_for_a_lock,
    },
};

#[tokio::test]
async fn bad_configuration_is_told_at_once_and_without_its_values() {
    let settings = [
        ("DATABASE_URL", "mysql://hunter2@localhost/x"),
        ("BETTER_AUTH_SECRET", "hunter2"),
        ("DATABASE_POOL_SIZE", "none"),
    ];
    let (output, printed) = run(&["serve"], &settings).await;
    assert_eq!(output.status.code(), Some(1));
    for name in ["DATABASE_URL", "BETTER_AUTH_SECRET", "BETTER_AUTH_URL", "DATABASE_POOL_SIZE"] {
        assert!(printed.contains(name), "{name} is missing from:\n{printed}");
    }
    assert!(!printed.contains("hunter2"), "{printed}");
    let (output, printed) = run(&["migrate"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("DATABASE_URL is not set"), "{printed}");
}

#[tokio::test]
async fn migrations_are_looked_at_then_applied_then_done() {
    let database = TestDatabase::empty();
    let address = database.address();
    let settings = [("DATABASE_URL", address.as_str())];
    let (output, printed) = run(&["migrate", "--check"], &settings).await;
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("pending "), "{printed}");
    let (output, printed) = run(&["migrate"], &settings).await;
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let (output, printed) = run(&["migrate", "--check"], &settings).await;
    assert_eq!((output.status.code(), printed.as_str()), (Some(0), "The schema is up to date.\n"));
}

#[tokio::test]
async fn a_database_that_lacks_something_is_refused_with_all_of_it() {
    let database = arranged().await;
    let sql = "ALTER TABLE customer_tag DROP COLUMN color; ALTER TABLE booking RENAME TO appointment; ALTER TABLE session DROP COLUMN token";
    database.client().await.batch_execute(sql).await.unwrap();
    let (output, printed) = run(&["serve"], &settings(&database.address())).await;
    assert_eq!(output.status.code(), Some(1));
    for missing in ["column customer_tag.color", "table booking", "column session.token"] {
        assert!(printed.contains(missing), "{missing} is missing from:\n{printed}");
    }
}

#[tokio::test]
async fn it_serves_and_stops_when_asked() {
    let database = arranged().await;
    let service = Service::start(&database, &[]).await;
    let answer = service.get("/api/customers", "receptionist").await;
    assert_eq!((answer.status, answer.json()["meta"]["totalCount"].as_u64()), (200, Some(1)));
    for signal in ["-HUP", "-TERM"] {
        service.signal(signal);
    }
    let (status, log) = service.ended().await;
    assert!(status.success(), "{status}");
    // One line for the request, without anything personal.
    assert!(log.contains(r#""route":"/api/customers""#), "{log}");
    for personal in ["Asha", "usr_1", "example.com", "token-of", SECRET] {
        assert!(!log.contains(personal), "{personal} in:\n{log}");
    }
}

/// A request that waits for a lock is in flight as the first signal comes.
#[tokio::test]
async fn what_is_in_flight_is_answered_and_meanwhile_it_is_not_ready() {
    let database = arranged().await;
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
    let written = tokio::spawn(taken(written));
    let watcher = database.client().await;
    until_somebody_waits_for_a_lock(&watcher).await;

    service.signal("-TERM");
    service.log.line("stopping").await;
    // Within the delay, by a new connection too.
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
    assert!(service.ended().await.0.success());
}

/// Database connections do not die with the thread that asked for them first: here one thread has nothing left to do, and
/// ends, while another writes on a connection that the first had made.
#[tokio::test]
async fn a_thread_that_ends_takes_no_database_connection_with_it() {
    let database = arranged().await;
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
    // The connection that the check at the start left behind.
    let kill = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'royal-glow-crm'";
    watcher.execute(kill, &[]).await.unwrap();
    // Two clients, one for each thread. The first has the connection made, and goes.
    let (first, second) = (http_client(), http_client());
    let request = |client: &reqwest::Client, method: &str, target: &str| {
        let url = format!("{}{target}", service.base_url);
        client.request(method.parse().unwrap(), url).header("cookie", TestApp::cookie("receptionist"))
    };
    assert_eq!(taken(request(&first, "GET", "/api/tags")).await.status, 200);
    assert_eq!(taken(request(&second, "GET", "/livez")).await.status, 200);
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let note = request(&second, "POST", "/api/customers/usr_1/notes").json(&json!({"content": "x"}));
    let written = tokio::spawn(taken(note));
    until_somebody_waits_for_a_lock(&watcher).await;
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
    service.log.line("stopping").await;
    eventually(PATIENCE, "a thread has ended", async || serving() < before).await;
    assert!(!written.is_finished());
    lock.rollback().await.unwrap();
    assert_eq!(written.await.unwrap().status, 201);
    assert!(service.ended().await.0.success());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let database = arranged().await;
    let mut service = Service::start(&database, &[("SHUTDOWN_DELAY_MS", "3600000")]).await;
    service.signal("-TERM");
    service.log.line("stopping").await;
    service.signal("-INT");
    let (status, _) = service.ended().await;
    assert_eq!(status.code(), Some(130));
}

#[tokio::test]
async fn a_database_that_never_answers_is_waited_for_and_then_told() {
    let address = format!("postgres://crm:hunter2@127.0.0.1:{}/crm", free_port());
    let mut settings = settings(&address);
    settings.push(("STARTUP_TIMEOUT_MS", "700"));
    let (output, printed) = run(&["serve"], &settings).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("the database did not answer within 700 ms"), "{printed}");
    assert!(printed.contains("does not answer yet") && !printed.contains("hunter2"), "{printed}");
}

/// A host that takes connections and never says a word.
#[tokio::test]
async fn a_database_that_is_silent_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("postgres://crm@{}/crm?sslmode=disable", silent.local_addr().unwrap());
    let mut settings = settings(&address);
    settings.extend([("STARTUP_TIMEOUT_MS", "1500"), ("DATABASE_CONNECT_TIMEOUT_MS", "300")]);
    let (output, printed) = run(&["serve"], &settings).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("the database did not answer within 1500 ms"), "{printed}");
}

/// What would take longer than `SHUTDOWN_TIMEOUT_MS` is cut off, and rolled back.
#[tokio::test]
async fn a_shutdown_has_an_end() {
    let database = arranged().await;
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
    until_somebody_waits_for_a_lock(&watcher).await;
    service.signal("-TERM");
    assert!(service.ended().await.0.success());
    assert!(written.await.unwrap().is_err());
    lock.rollback().await.unwrap();
    let notes: i64 = watcher.query_one("SELECT count(*) FROM customer_note", &[]).await.unwrap().get(0);
    assert_eq!(notes, 0);
}

#[tokio::test]
async fn a_database_that_comes_up_later_is_waited_for() {
    let database = arranged().await;
    database.allow_connections(false).await;
    let mut starting = Starting::with(&database.address(), &[]);
    starting.log.line("does not answer yet").await;
    database.allow_connections(true).await;
    let service = starting.serving().await;
    assert_eq!(service.get("/api/tags", "manager").await.status, 200);
}

#[tokio::test]
async fn a_container_can_ask_whether_it_lives() {
    let database = arranged().await;
    let service = Service::start(&database, &[]).await;
    let settings = [("BIND_ADDRESS", service.address.as_str())];
    assert_eq!(run(&["healthcheck"], &settings).await.0.status.code(), Some(0));
    assert_eq!(run(&["healthcheck", "--ready"], &settings).await.0.status.code(), Some(0));
    database.allow_connections(false).await;
    // What was found is told again for a second.
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

/// The process is killed in the middle of a stream of notes: each one that was answered 201 is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_note_survives_a_kill() {
    let database = arranged().await;
    let service = Service::start(&database, &[]).await;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let told = told.clone();
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
                    let _ = told.send((body["data"]["note"]["id"].as_str().unwrap().to_owned(), content));
                }
            })
        })
        .collect();
    drop(told);
    let mut acknowledged = HashMap::new();
    while let Some((id, content)) = heard.recv().await {
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
    // And each note that is there has its audit entry.
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
