//! Failover: another server becomes the primary, or the primary becomes read-only, while the service runs.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crm_adapters::testing::connect;
use serde_json::json;
use tokio::process::Command;

use crate::{
    app::send,
    service::{PATIENCE, Service, arrange, eventually, root, run},
};

/// Runs `.just/cluster`, which makes separate PostgreSQL clusters.
async fn cluster(arguments: &[&str]) -> String {
    let output = Command::new(root().join(".just/cluster")).args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Starts a cluster with the platform's tables and the rows of [`arrange`]. Returns its address.
async fn start_primary(name: &str) -> String {
    cluster(&["reset", name]).await;
    cluster(&["up", name]).await;
    let url = cluster(&["url", name]).await;
    assert!(run(&["migrate", "--standalone"], &[("DATABASE_URL", &url)]).await.0.status.success());
    arrange(&connect(&url).await).await;
    url
}

/// The ids of all notes in that database.
async fn notes(url: &str) -> HashSet<String> {
    let rows = connect(url).await.query("SELECT id FROM customer_note", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// `DATABASE_URL` names both hosts. The primary waits for its standby at each commit, is killed under load, and the standby
/// is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_is_used_without_a_restart_and_no_acknowledged_note_is_lost() {
    let first = start_primary("failovera").await;
    cluster(&["reset", "failoverb"]).await;
    cluster(&["standby", "failoverb", "failovera"]).await;
    let second = cluster(&["url", "failoverb"]).await;
    let client = connect(&first).await;
    eventually(PATIENCE, "the standby is synchronous", async || {
        let synchronous = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'";
        !client.query(synchronous, &[]).await.unwrap().is_empty()
    })
    .await;
    drop(client);

    let host_of = |url: &str| url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let both = first.replace(&host_of(&first), &format!("{},{}", host_of(&first), host_of(&second)));
    let service = Service::start_at(&format!("{both}?target_session_attrs=read-write"), &[]).await;
    let (acknowledged, stop) = (Arc::new(Mutex::new(HashSet::new())), Arc::new(AtomicBool::new(false)));
    let count = || acknowledged.lock().unwrap().len();
    let mut desks = Vec::new();
    for _ in 0..4 {
        let request = service.request("POST", "/api/customers/usr_1/notes", "manager").json(&json!({"content": "x"}));
        let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
        desks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = send(request.try_clone().unwrap()).await;
                match answer.status {
                    201 => {
                        let id = answer.json()["data"]["note"]["id"].as_str().unwrap().to_owned();
                        acknowledged.lock().unwrap().insert(id);
                    }
                    503 => {}
                    status => panic!("{status}: {}", answer.text),
                }
            }
        }));
    }
    eventually(PATIENCE, "notes are written", async || count() > 100).await;
    cluster(&["kill", "failovera"]).await;
    eventually(PATIENCE, "it is not ready", async || service.get("/readyz", "manager").await.status == 503).await;
    let before = count();
    cluster(&["promote", "failoverb"]).await;
    eventually(PATIENCE, "notes are written again", async || count() > before + 20).await;
    eventually(PATIENCE, "it is ready", async || service.get("/readyz", "manager").await.status == 200).await;
    stop.store(true, Ordering::Relaxed);
    for desk in desks {
        desk.await.unwrap();
    }
    let kept = notes(&second).await;
    let lost: Vec<_> = acknowledged.lock().unwrap().difference(&kept).cloned().collect();
    assert_eq!(lost, Vec::<String>::new());
    service.signal("-TERM");
    assert!(service.wait_for_exit().await.0.success());
    for name in ["failovera", "failoverb"] {
        cluster(&["reset", name]).await;
    }
}

/// The silent kind: connections stay open, reads go on, and every write would fail until somebody restarts the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_becomes_read_only_is_noticed_and_its_connections_are_dropped() {
    let url = start_primary("readonly").await;
    let mut service = Service::start_at(&url, &[]).await;
    let client = connect(&url).await;
    client.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    let pids = async || -> HashSet<i32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'royal-glow-crm'";
        client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let write = async || {
        let body = json!({"content": "x"});
        send(service.request("POST", "/api/customers/usr_1/notes", "manager").json(&body)).await.status
    };
    assert_eq!(write().await, 201);
    let before = pids().await;
    assert!(!before.is_empty());
    let set = async |value: &str| {
        client.batch_execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}")).await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };

    set("on").await;
    eventually(PATIENCE, "it is not ready", async || service.get("/readyz", "manager").await.status == 503).await;
    let answer = service.get("/readyz", "manager").await.json();
    assert_eq!((&answer["checks"]["writes"], &answer["checks"]["schema"]), (&json!("fail"), &json!("pass")));
    eventually(PATIENCE, "the connections of before are closed", async || pids().await.is_disjoint(&before)).await;
    assert_eq!(write().await, 503);

    set("off").await;
    eventually(PATIENCE, "it is ready", async || service.get("/readyz", "manager").await.status == 200).await;
    assert_eq!(write().await, 201);
    let line = service.log.wait_for_line(r#""message":"a health check fails","check":"writes""#).await;
    assert!(line.contains("read-only"), "{line}");
    service.log.wait_for_line(r#""message":"a health check passes again","check":"writes""#).await;
    service.signal("-TERM");
    assert!(service.wait_for_exit().await.0.success());
    cluster(&["reset", "readonly"]).await;
}
