//! HTTPS of the real process: HTTP/1.1 only, split cookies, replacement of the certificate, missing handshakes.

use std::{fs, path::PathBuf};

use crm_adapters::testing::TestDatabase;
use reqwest::{Certificate, Version};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use crate::{
    app::{TestApp, client_builder, send},
    service::{PATIENCE, Service, arrange_database, run},
};

/// The files of a self-signed certificate, and the certificate that clients trust.
struct Files {
    folder: TempDir,
    authority: Certificate,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = write_certificate(&folder);
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

/// Writes a self-signed certificate for 127.0.0.1 and its key.
fn write_certificate(folder: &TempDir) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let chain = made.cert.pem();
    fs::write(folder.path().join("chain.pem"), &chain).unwrap();
    fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    Certificate::from_pem(chain.as_bytes()).unwrap()
}

fn client_trusting(authority: &Certificate) -> reqwest::ClientBuilder {
    client_builder().tls_certs_only([authority.clone()])
}

/// Only a proxy may offer HTTP/2, because actix-http limits neither its streams nor its header lists.
#[tokio::test]
async fn https_accepts_only_http_1_1() {
    let database = arrange_database().await;
    let files = Files::new();
    let service = files.serve(&database).await;
    let url = format!("{}/api/tags", service.base_url);
    assert!(url.starts_with("https://"));
    // This client offers both protocols.
    let both = client_trusting(&files.authority).build().unwrap();
    // Clients may send each cookie in a field of its own (RFC 9113, 8.2.3), and a proxy may pass that on.
    let fields = both.get(&url).header("cookie", "first=1").header("cookie", TestApp::cookie("manager"));
    let response = fields.header("cookie", "last=1").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_11));
    let answer = send(both.get(&url)).await;
    assert_eq!(answer.error(), "UNAUTHENTICATED");
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    // A page of the service's own origin may write.
    let delete = both.delete(format!("{}/api/customers/usr_1/tags/none", service.base_url));
    let own = delete.header("cookie", TestApp::cookie("manager")).header("origin", &service.base_url);
    assert_eq!(send(own).await.status, 200);
    // A client that uses only HTTP/2, encrypted or not, gets no response.
    let http2 = client_trusting(&files.authority).http2_prior_knowledge().build().unwrap();
    assert!(http2.get(&url).send().await.is_err());
    let plain = Service::start(&database, &[]).await;
    let http2 = client_builder().http2_prior_knowledge().build().unwrap();
    assert!(http2.get(format!("{}/livez", plain.base_url)).send().await.is_err());
    // A client that does not trust the certificate fails, and so does a client that uses plain HTTP.
    assert!(client_builder().build().unwrap().get(&url).send().await.is_err());
    let plain = client_builder().build().unwrap().get(url.replace("https", "http")).send().await;
    assert!(plain.is_err() || !plain.unwrap().status().is_success());

    let chain = files.path("chain.pem");
    let settings = [("BIND_ADDRESS", service.address.as_str()), ("TLS_CERT_FILE", chain.to_str().unwrap())];
    assert_eq!(run(&["healthcheck"], &settings).await.0.status.code(), Some(0));
}

#[tokio::test]
async fn a_certificate_is_replaced_without_dropping_a_connection() {
    let database = arrange_database().await;
    let files = Files::new();
    let mut service = files.serve(&database).await;
    let url = format!("{}/livez", service.base_url);
    let connected = client_trusting(&files.authority).build().unwrap();
    assert_eq!(send(connected.get(&url)).await.status, 200);
    let newcomer = |authority: &Certificate| client_trusting(authority).build().unwrap().get(&url).send();

    // The key does not belong to the certificate, so the former certificate stays in force.
    let old_key = fs::read(files.path("key.pem")).unwrap();
    let replaced = write_certificate(&files.folder);
    let new_key = fs::read(files.path("key.pem")).unwrap();
    fs::write(files.path("key.pem"), old_key).unwrap();
    service.signal("-HUP");
    service.log.wait_for_line("could not be read again").await;
    assert!(newcomer(&files.authority).await.is_ok());
    assert!(newcomer(&replaced).await.is_err());

    fs::write(files.path("key.pem"), new_key).unwrap();
    service.signal("-HUP");
    service.log.wait_for_line("the certificate was read again").await;
    assert!(newcomer(&replaced).await.is_ok());
    assert!(newcomer(&files.authority).await.is_err());
    // This client trusts only the former certificate, so it uses the connection that it already had.
    assert_eq!(send(connected.get(&url)).await.status, 200);
    service.signal("-TERM");
    assert!(service.wait_for_exit().await.0.success());
}

#[tokio::test]
async fn a_connection_without_a_tls_handshake_in_time_is_closed() {
    let database = arrange_database().await;
    let files = Files::new();
    let service = files.serve_with(&database, &[("TLS_HANDSHAKE_TIMEOUT_MS", "300")]).await;
    let mut stream = TcpStream::connect(&service.address).await.unwrap();
    let mut answer = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = closed.expect("the server closes the connection");
    assert!(answer.is_empty());
}
