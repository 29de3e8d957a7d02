//! The real process: it starts, migrates, serves, refuses, stops, and loses nothing that it acknowledged.

use std::{
    collections::HashMap,
    process::{Output, Stdio},
    time::Duration,
};

use crm_adapters::testing::{
    TestDatabase,
    platform::{self, SECRET},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use crate::app::{TestApp, taken};

fn crm(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crm"));
    command.args(arguments).env_clear().envs(settings.iter().copied()).kill_on_drop(true);
    command
}

async fn run(arguments: &[&str], settings: &[(&str, &str)]) -> (Output, String) {
    let output = crm(arguments, settings).stdin(Stdio::null()).output().await.unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, printed)
}

/// `crm serve` on a free port, once it says where it listens.
struct Service {
    process: Child,
    address: String,
    log: Lines<BufReader<ChildStderr>>,
}

impl Service {
    async fn start(database: &TestDatabase, more: &[(&str, &str)]) -> Self {
        let address = database.address();
        let mut settings = vec![
            ("DATABASE_URL", address.as_str()),
            ("BETTER_AUTH_SECRET", SECRET),
            ("BETTER_AUTH_URL", "http://localhost:3000"),
            ("BIND_ADDRESS", "127.0.0.1:0"),
        ];
        settings.extend_from_slice(more);
        let mut process = crm(&["serve"], &settings).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = log.next_line().await.unwrap().expect("the service ended before it served");
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if event["message"] == "serving" {
                break event["address"].as_str().unwrap().to_owned();
            }
        };
        Self { process, address, log }
    }

    fn request(&self, method: &str, target: &str, role: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{target}", self.address);
        reqwest::Client::new().request(method.parse().unwrap(), url).header("cookie", TestApp::cookie(role))
    }

    /// Ends the process by its pid.
    fn signal(&self, name: &str) {
        let pid = self.process.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

async fn arranged() -> TestDatabase {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for role in ["receptionist", "manager"] {
        let id = format!("usr_{role}");
        platform::user(&client, &id, "A name", Some(role)).await;
        platform::sign_in(&client, &id).await;
    }
    platform::customer(&client, "usr_1", "Asha Rao").await;
    database
}

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
    let address = database.address();
    let settings = [
        ("DATABASE_URL", address.as_str()),
        ("BETTER_AUTH_SECRET", SECRET),
        ("BETTER_AUTH_URL", "http://localhost:3000"),
        ("BIND_ADDRESS", "127.0.0.1:0"),
    ];
    let (output, printed) = run(&["serve"], &settings).await;
    assert_eq!(output.status.code(), Some(1));
    for missing in ["column customer_tag.color", "table booking", "column session.token"] {
        assert!(printed.contains(missing), "{missing} is missing from:\n{printed}");
    }
}

#[tokio::test]
async fn it_serves_and_stops_when_asked() {
    let database = arranged().await;
    let mut service = Service::start(&database, &[]).await;
    let answer = taken(service.request("GET", "/api/customers", "receptionist")).await;
    assert_eq!((answer.status, answer.json()["meta"]["totalCount"].as_u64()), (200, Some(1)));
    service.signal("-TERM");
    let status = tokio::time::timeout(Duration::from_secs(30), service.process.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    // One line for the request, without anything personal.
    let mut lines = Vec::new();
    while let Some(line) = service.log.next_line().await.unwrap() {
        lines.push(line);
    }
    let log = lines.join("\n");
    assert!(log.contains(r#""route":"/api/customers""#), "{log}");
    for personal in ["Asha", "usr_1", "example.com", "token-of", SECRET] {
        assert!(!log.contains(personal), "{personal} in:\n{log}");
    }
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
