//! HTTPS by the real process: both protocols, split cookies, a certificate replaced under way.

use std::{fs, path::PathBuf};

use crm_adapters::testing::TestDatabase;
use reqwest::{Certificate, Version};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet, time::timeout};

use crate::{
    app::{TestApp, client_builder, taken},
    service::{PATIENCE, Service, arranged, run},
};

/// A certificate authority's files, and what clients need to know it by.
struct Files {
    folder: TempDir,
    authority: Certificate,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = write(&folder);
        Self { folder, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn serve(&self, database: &TestDatabase) -> Service {
        self.serve_with(database, &[]).await
    }

    async fn serve_with(&self, database: &TestDatabase, more: &[(&str, &str)]) -> Service {
        let (chain, key) = (self.path("chain.pem"), self.path("key.pem"));
        let files = [("TLS_CERT_FILE", chain.to_str().unwrap()), ("TLS_KEY_FILE", key.to_str().unwrap())];
        Service::start(database, &[&files, more].concat()).await
    }
}

/// Makes a certificate for 127.0.0.1 that vouches for itself.
fn write(folder: &TempDir) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let chain = made.cert.pem();
    fs::write(folder.path().join("chain.pem"), &chain).unwrap();
    fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    Certificate::from_pem(chain.as_bytes()).unwrap()
}

fn client(authority: &Certificate) -> reqwest::ClientBuilder {
    client_builder().tls_certs_only([authority.clone()])
}

#[tokio::test]
async fn both_protocols_are_spoken_and_split_cookies_joined() {
    let database = arranged().await;
    let files = Files::new();
    let service = files.serve(&database).await;
    let url = format!("{}/api/tags", service.base_url);
    assert!(url.starts_with("https://"));
    for (client, version) in
        [(client(&files.authority).http1_only(), Version::HTTP_11), (client(&files.authority), Version::HTTP_2)]
    {
        let client = client.build().unwrap();
        // HTTP/2 clients may send each cookie in a field of its own (RFC 9113, 8.2.3).
        let fields = client.get(&url).header("cookie", "first=1").header("cookie", TestApp::cookie("manager"));
        let response = fields.header("cookie", "last=1").send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
        let answer = taken(client.get(&url)).await;
        assert_eq!(answer.error(), "UNAUTHENTICATED");
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
        // The page's own origin may write; over HTTP/2 the host is part of the target.
        let delete = client.delete(format!("{}/api/customers/usr_1/tags/none", service.base_url));
        let own = delete.header("cookie", TestApp::cookie("manager")).header("origin", &service.base_url);
        assert_eq!(taken(own).await.status, 200, "{version:?}");
    }
    // Whoever does not know the certificate hears nothing, and neither does plain HTTP.
    assert!(client_builder().build().unwrap().get(&url).send().await.is_err());
    let plain = client_builder().build().unwrap().get(url.replace("https", "http")).send().await;
    assert!(plain.is_err() || !plain.unwrap().status().is_success());

    let chain = files.path("chain.pem");
    let settings = [("BIND_ADDRESS", service.address.as_str()), ("TLS_CERT_FILE", chain.to_str().unwrap())];
    assert_eq!(run(&["healthcheck"], &settings).await.0.status.code(), Some(0));
}

#[tokio::test]
async fn a_certificate_is_replaced_without_dropping_a_connection() {
    let database = arranged().await;
    let files = Files::new();
    let mut service = files.serve(&database).await;
    let url = format!("{}/livez", service.base_url);
    let mut connected = Vec::new();
    for builder in [client(&files.authority).http1_only(), client(&files.authority)] {
        let client = builder.build().unwrap();
        assert_eq!(taken(client.get(&url)).await.status, 200);
        connected.push(client);
    }
    let newcomer = |authority: &Certificate| client(authority).build().unwrap().get(&url).send();

    // A key that does not belong to the certificate: what was in force stays.
    let old_key = fs::read(files.path("key.pem")).unwrap();
    let replaced = write(&files.folder);
    let new_key = fs::read(files.path("key.pem")).unwrap();
    fs::write(files.path("key.pem"), old_key).unwrap();
    service.signal("-HUP");
    service.log.line("could not be read again").await;
    assert!(newcomer(&files.authority).await.is_ok());
    assert!(newcomer(&replaced).await.is_err());

    fs::write(files.path("key.pem"), new_key).unwrap();
    service.signal("-HUP");
    service.log.line("the certificate was read again").await;
    assert!(newcomer(&replaced).await.is_ok());
    assert!(newcomer(&files.authority).await.is_err());
    // These trust the former certificate alone: they still have the connection they had.
    for client in connected {
        assert_eq!(taken(client.get(&url)).await.status, 200);
    }
    service.signal("-TERM");
    assert!(service.ended().await.0.success());
}

#[tokio::test]
async fn who_does_not_shake_hands_in_time_is_dropped() {
    let database = arranged().await;
    let files = Files::new();
    let service = files.serve_with(&database, &[("TLS_HANDSHAKE_TIMEOUT_MS", "300")]).await;
    let mut stream = TcpStream::connect(&service.address).await.unwrap();
    let mut answer = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = closed.expect("the server closes the connection");
    assert!(answer.is_empty());
}

/// HTTP/2 keeps its connection open by pings; a client that idles does not hold the process up until its deadline.
#[tokio::test]
async fn an_idle_connection_of_http_2_does_not_hold_up_the_end() {
    let database = arranged().await;
    let files = Files::new();
    let mut service = files.serve_with(&database, &[("SHUTDOWN_TIMEOUT_MS", "3600000")]).await;
    let client = client(&files.authority).build().unwrap();
    let response = client.get(format!("{}/livez", service.base_url)).send().await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    service.signal("-TERM");
    service.log.line("stopping").await;
    // Within the patience of this, not within the hour that requests in flight would get.
    assert!(service.ended().await.0.success());
}

/// HTTP/2 has requests side by side, so a limit of connections alone would be none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_of_http_2_has_a_hundred_requests_in_flight_at_most() {
    let database = arranged().await;
    let files = Files::new();
    let patient = [
        ("DATABASE_POOL_WAIT_MS", "25000"),
        ("DATABASE_LOCK_TIMEOUT_MS", "25000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "25000"),
        ("REQUEST_TIMEOUT_MS", "30000"),
    ];
    let service = files.serve_with(&database, &patient).await;
    let client = client(&files.authority).http2_prior_knowledge().build().unwrap();
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // The connection that all of them share.
    assert_eq!(taken(client.get(format!("{}/livez", service.base_url))).await.status, 200);
    let url = format!("{}/api/customers/usr_1/notes", service.base_url);
    let mut requests = JoinSet::new();
    for _ in 0..130 {
        requests.spawn(taken(client.get(&url).header("cookie", TestApp::cookie("manager"))));
    }
    // Those that are refused are answered, the others wait.
    for _ in 0..30 {
        let refused = requests.join_next().await.unwrap().unwrap();
        assert_eq!((refused.status, refused.error().as_str()), (503, "SERVICE_UNAVAILABLE"));
    }
    lock.rollback().await.unwrap();
    while let Some(answer) = requests.join_next().await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(service.log.text().matches("too many requests at once").count(), 30);
}
