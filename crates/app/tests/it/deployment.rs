//! The files in `docs/deploy`: the nginx example with real nginx, the limits of the systemd unit.

use std::{
    fs,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crm_adapters::testing::platform;
use reqwest::Certificate;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    app::{TestApp, client_builder, send},
    service::{PATIENCE, Service, arrange_database, eventually, free_port, root},
};

/// The text of an example with its placeholders replaced.
fn fill_example(name: &str, replacements: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(root().join("docs/deploy").join(name)).unwrap();
    for (placeholder, value) in replacements {
        assert!(text.contains(placeholder), "{name} has no {placeholder}");
        text = text.replace(placeholder, value);
    }
    text
}

/// nginx with the example's configuration, in front of the service and another server that stands for the platform.
struct Proxy {
    _process: Child,
    folder: TempDir,
    certificate: Certificate,
    /// Host and port.
    address: String,
    origin: String,
}

impl Proxy {
    /// Starts nginx and waits until it listens.
    async fn start(service: &str, platform: &str) -> Self {
        Self::start_with([service, ""], platform).await
    }

    /// Starts nginx in front of two instances; an empty address stands for none.
    async fn start_with(services: [&str; 2], platform: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("chain.pem"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let port = free_port();
        let second = match services[1] {
            "" => String::new(),
            address => format!("server {address} max_fails=3 fail_timeout=1s;"),
        };
        let example = fill_example(
            "nginx.conf",
            &[
                ("server 127.0.0.1:8080 max_fails=3", &format!("server {} max_fails=3", services[0])),
                ("server 127.0.0.1:8081 max_fails=3 fail_timeout=1s;", &second),
                ("server 127.0.0.1:3000;", &format!("server {platform};")),
                ("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl")),
                ("server_name admin.example.com;", "server_name localhost;"),
                ("/etc/ssl/admin.example.com/", &format!("{path}/")),
                ("/var/log/nginx/admin.example.com.", &format!("{path}/")),
            ],
        );
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};\n"))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/nginx.log info;\nevents {{}}\n\
             http {{\n{temporary}{example}\n}}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let process = Command::new("nginx")
            .args(["-e", "stderr", "-c"])
            .arg(&file)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx: `just test` installs it");
        let address = format!("127.0.0.1:{port}");
        eventually(PATIENCE, "nginx listens", async || TcpStream::connect(&address).await.is_ok()).await;
        let certificate = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        Self { _process: process, folder, certificate, address, origin: format!("https://localhost:{port}") }
    }

    /// A client with another address than nginx's, because the service trusts nginx's address.
    fn client(&self) -> reqwest::Client {
        let client = client_builder().tls_certs_only([self.certificate.clone()]);
        client.local_address(Some([127, 0, 0, 9].into())).build().unwrap()
    }

    /// The content of a file that nginx writes.
    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// `openssl s_client`, connected to nginx.
    fn openssl(&self) -> Command {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &self.address]).kill_on_drop(true);
        openssl
    }

    /// Whether a TLS client with those options may connect.
    async fn accepts_tls(&self, options: &[&str]) -> bool {
        self.openssl().args(options).stdin(Stdio::null()).output().await.unwrap().status.success()
    }

    /// Sends a request exactly as it is written, and reads until nginx closes the connection. Returns the status.
    async fn send_raw(&self, request: &str) -> String {
        let mut openssl = self.openssl();
        openssl.arg("-quiet").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = openssl.spawn().unwrap();
        process.stdin.as_mut().unwrap().write_all(request.as_bytes()).await.unwrap();
        let output = timeout(PATIENCE, process.wait_with_output()).await.expect("a closed connection").unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        answer.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {answer}")).to_owned()
    }
}

#[actix_web::test]
async fn the_nginx_example_serves_service_and_platform_under_one_origin() {
    let database = arrange_database().await;
    let limits = ("RATE_LIMIT_ADDRESS_REQUESTS", "3");
    let service = Service::start(&database, &[("TRUSTED_PROXIES", "127.0.0.1/32"), limits]).await;
    // Another HTTP server stands for the platform.
    let platform = TestApp::start().await;
    let proxy = Proxy::start(&service.address, &platform.address).await;
    let (client, origin) = (proxy.client(), &proxy.origin);

    let request = |method: &str, target: &str| {
        client
            .request(method.parse().unwrap(), format!("{origin}{target}"))
            .header("cookie", TestApp::cookie("manager"))
    };
    // The service's database has one tag; the platform's stand-in has none.
    for (target, served_by_us) in [
        ("/api/tags", true),
        ("/api/customers", true),
        ("/api/customers.csv", true),
        ("/api/customers-export", false),
        ("/api/health", false),
    ] {
        let id = send(request("GET", target)).await.header("x-request-id").unwrap().to_owned();
        // The stand-in's request ids are sequential from 1.
        assert_eq!(!id.starts_with("req_0000000000"), served_by_us, "{target} {id}");
    }
    // A page of the same origin may write, a page of another origin may not.
    let write = |origin: &str, site: &'static str| {
        let request = request("DELETE", "/api/customers/usr_1/tags/tag_vip").header("origin", origin.to_owned());
        send(if site.is_empty() { request } else { request.header("sec-fetch-site", site) })
    };
    assert_eq!(write(origin, "same-origin").await.status, 200);
    assert_eq!(write(origin, "").await.status, 200, "an old browser: by the Host that nginx passes on");
    assert_eq!(write("https://evil.example", "").await.error(), "FORBIDDEN");
    assert_eq!(write("https://evil.example", "cross-site").await.error(), "FORBIDDEN");
    // The body is too large for the service but not for nginx, so the service responds.
    let large = request("POST", "/api/tags").header("content-type", "application/json").body("x".repeat(70_000));
    assert_eq!(send(large).await.error(), "PAYLOAD_TOO_LARGE");
    // The service distinguishes clients by the address that nginx saw, whatever headers they send.
    let anonymous = |forged: &str| {
        let request = client.get(format!("{origin}/api/tags")).header("x-forwarded-for", forged.to_owned());
        send(request.header("forwarded", format!("for={forged}")))
    };
    for forged in ["198.51.100.1", "198.51.100.2", "198.51.100.3"] {
        assert_eq!(anonymous(forged).await.error(), "UNAUTHENTICATED");
    }
    assert_eq!(anonymous("198.51.100.4").await.error(), "RATE_LIMITED");
}

/// Requests with personal data in target, body and headers: method, target, body, and the route in the proxy's log.
const PERSONAL_REQUESTS: [(&str, &str, &str, &str); 22] = [
    ("GET", "/api/customers?q=Priyanka%20Unmistakable&tag=secret-tag", "", "/api/customers"),
    ("GET", "/api/customers/usr_priya", "", "/api/customers/{id}"),
    ("GET", "/api/customers/usr%5Fpriya", "", "/api/customers/{id}"),
    ("GET", "/api/customers/usr_priya%2Fnotes", "", "/api/customers/{id}"),
    ("PATCH", "/api/customers/usr_priya?q=Priyanka", r#"{"noshowCount":0}"#, "/api/customers/{id}"),
    ("GET", "/api/customers/usr_priya/notes?page=Priyanka", "", "/api/customers/{id}/notes"),
    ("POST", "/api/customers/usr_priya/notes", r#"{"content":"allergic to ammonia"}"#, "/api/customers/{id}/notes"),
    ("POST", "/api/customers/usr_priya/tags", r#"{"tagId":"tag_vip"}"#, "/api/customers/{id}/tags"),
    ("DELETE", "/api/customers/usr_priya/tags/tag_vip", "", "/api/customers/{id}/tags/{tagId}"),
    ("POST", "/api/tags", r#"{"name":"Secret Tag"}"#, "/api/tags"),
    ("GET", "/api/customers/usr_priya/", "", "/api/customers/..."),
    ("GET", "/api/customers/usr_priya/secret-tag/Priyanka", "", "/api/customers/..."),
    ("GET", "/api/customers.csv?q=Priyanka&tagAny=secret-tag", "", "/api/customers.csv"),
    ("GET", "/api/customers/usr_priya/timeline?cursor=Priyanka", "", "/api/customers/{id}/timeline"),
    (
        "PATCH",
        "/api/customers/usr_priya/notes/note_priya",
        r#"{"content":"allergic to ammonia"}"#,
        "/api/customers/{id}/notes/{noteId}",
    ),
    ("GET", "/api/customers/usr_priya/notes/note_priya/revisions", "", "/api/customers/{id}/notes/{noteId}/revisions"),
    ("POST", "/api/tags/secret-tag/assignments", r#"{"assign":["usr_priya"]}"#, "/api/tags/{id}/assignments"),
    ("GET", "/api/tags/secret-tag", "", "/api/tags/{id}"),
    ("GET", "/api/auth/usr_priya?q=Priyanka", "", "/api/..."),
    ("GET", "/api/%63ustomers/usr_priya", "", "/api/..."),
    ("GET", "/api/customers/usr_priya%zz", "", "other"),
    ("GET", "/admin/customers/usr_priya?q=Priyanka", "", "other"),
];

/// Requests that no HTTP client sends: the request line, and the route in the proxy's log.
const FORGED_REQUESTS: [(&str, &str); 6] = [
    ("GET /api/customers/../usr_priya HTTP/1.1", "/api/customers/..."),
    ("GET //api//customers//usr_priya HTTP/1.1", "other"),
    ("GET usr_priya HTTP/1.1", "other"),
    ("GET https://usr_priya/api/tags HTTP/1.1", "other"),
    ("GET /api/tags HTTP/usr_priya", "other"),
    ("PRIYANKA /api/tags HTTP/1.1", "/api/tags"),
];

#[actix_web::test]
async fn the_nginx_example_logs_every_request_and_no_personal_data() {
    let database = arrange_database().await;
    platform::customer(&database.client().await, "usr_priya", "Priyanka Unmistakable").await;
    let service = Service::start(&database, &[("TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let platform = TestApp::start().await;
    let proxy = Proxy::start(&service.address, &platform.address).await;
    let (client, origin) = (proxy.client(), &proxy.origin);
    let request = |method: &str, target: &str, body: &str| {
        let request = client.request(method.parse().unwrap(), format!("{origin}{target}"));
        let request = request.header("cookie", TestApp::cookie("manager")).header("user-agent", "Priyanka's phone");
        let request = request.header("referer", format!("{origin}/admin/customers?q=Priyanka"));
        let request = request.header("x-forwarded-for", "198.51.100.77");
        send(request.header("content-type", "application/json").body(body.to_owned()))
    };

    let mut sent = Vec::new();
    let mut ids = Vec::new();
    for (method, target, body, route) in PERSONAL_REQUESTS {
        let answer = request(method, target, body).await;
        sent.push((route.to_owned(), answer.status.to_string()));
        ids.extend(answer.header("x-request-id").map(str::to_owned));
    }
    for (line, route) in FORGED_REQUESTS {
        let status = proxy.send_raw(&format!("{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        sent.push((route.to_owned(), status));
    }
    // Without the service, nginx responds itself and logs an error.
    service.signal("-KILL");
    service.wait_for_exit().await;
    let answer = request("GET", "/api/customers/usr_priya/notes?page=Priyanka", "").await;
    assert_eq!(answer.status, 503);
    sent.push(("/api/customers/{id}/notes".to_owned(), "503".to_owned()));

    // nginx writes the line of a request after the response.
    let log = || proxy.file("access.log");
    eventually(PATIENCE, "nginx has logged every request", async || log().lines().count() >= sent.len()).await;
    let log = log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let field = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let mut logged: Vec<_> = lines.iter().map(|line| (field(line, "route"), field(line, "status"))).collect();
    sent.sort();
    logged.sort();
    assert_eq!(logged, sent);
    for status in ["200", "201", "400", "404", "503"] {
        assert!(sent.iter().any(|(_, sent)| sent == status), "{status} did not occur: {sent:?}");
    }
    // nginx logs the request id of the service.
    assert!(ids.len() > 10 && ids.iter().all(|id| lines.iter().any(|line| line["request_id"] == **id)), "{log}");
    assert_eq!((&*field(&lines[0], "protocol"), &*field(&lines[0], "tls")), ("HTTP/2.0", "TLSv1.3"));

    let personal =
        ["riya", "RIYA", "nmistakable", "allergic", "ecret", "tag_vip", "token-of-", "198.51.100.77", "127.0.0.9"];
    for name in ["access.log", "error.log", "nginx.log"] {
        let text = proxy.file(name);
        for personal in personal {
            assert!(!text.contains(personal), "{personal:?} is in {name}:\n{text}");
        }
    }
}

#[actix_web::test]
async fn the_nginx_example_accepts_only_current_tls_versions_and_ciphers() {
    // This test needs no server behind nginx.
    let proxy = Proxy::start("127.0.0.1:9", "127.0.0.1:9").await;
    assert!(proxy.accepts_tls(&["-tls1_3"]).await);
    assert!(proxy.accepts_tls(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]).await);
    assert!(!proxy.accepts_tls(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA"]).await);
    // At its default security level, OpenSSL does not offer TLS 1.1.
    assert!(!proxy.accepts_tls(&["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]).await);
}

#[test]
fn the_limits_of_the_systemd_unit_exceed_the_default_settings() {
    let unit = fill_example("royal-glow-crm@.service", &[]);
    let value = |name: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap();
        line.parse::<u64>().unwrap()
    };
    let default = |name: &str| {
        let settings = crm_app::config::SETTINGS.iter();
        let found = settings.filter(|setting| setting.name == name).find_map(|setting| setting.default);
        found.unwrap().parse::<u64>().unwrap()
    };
    assert!(value("TimeoutStopSec") * 1000 > default("SHUTDOWN_DELAY_MS") + default("SHUTDOWN_TIMEOUT_MS"));
    assert!(value("LimitNOFILE") > default("HTTP_MAX_CONNECTIONS") + default("DATABASE_POOL_SIZE") + 64);
}

/// An update of the service as docs/OPERATIONS.md describes it, while desks work.
#[actix_web::test]
async fn restarting_both_instances_in_turn_fails_no_request() {
    let database = arrange_database().await;
    let addresses = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let start = async |address: &str| {
        let settings = [("BIND_ADDRESS", address), ("TRUSTED_PROXIES", "127.0.0.1/32"), ("SHUTDOWN_DELAY_MS", "2000")];
        Service::start(&database, &settings).await
    };
    let mut instances = [start(&addresses[0]).await, start(&addresses[1]).await];
    let platform = TestApp::start().await;
    let proxy = Proxy::start_with([&addresses[0], &addresses[1]], &platform.address).await;
    let client = proxy.client();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut desks = Vec::new();
    for _ in 0..3 {
        let request = |method: &str, target: &str| {
            let url = format!("{}{target}", proxy.origin);
            client.request(method.parse().unwrap(), url).header("cookie", TestApp::cookie("manager"))
        };
        let requests = [
            request("GET", "/api/customers?q=asha"),
            request("GET", "/api/customers/usr_1"),
            request("GET", "/api/tags"),
            request("DELETE", "/api/customers/usr_1/tags/tag_vip").header("origin", &proxy.origin),
        ];
        let (stop, answered) = (stop.clone(), answered.clone());
        desks.push(actix_web::rt::spawn(async move {
            let mut failed = Vec::new();
            for request in requests.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return failed;
                }
                let answer = send(request.try_clone().unwrap()).await;
                if answer.status != 200 {
                    failed.push(format!("{} {}", answer.status, answer.text));
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
            failed
        }));
    }
    let more_answers = async || {
        let before = answered.load(Ordering::Relaxed);
        let is_so = async || answered.load(Ordering::Relaxed) >= before + 60;
        eventually(PATIENCE, "requests are answered", is_so).await;
    };
    more_answers().await;
    for (instance, address) in addresses.iter().enumerate() {
        instances[instance].signal("-TERM");
        // On the other one.
        more_answers().await;
        let former = std::mem::replace(&mut instances[instance], {
            // The port is free when the process has ended.
            eventually(PATIENCE, "it has ended", async || TcpStream::connect(address).await.is_err()).await;
            start(address).await
        });
        assert!(former.wait_for_exit().await.0.success());
        more_answers().await;
    }
    stop.store(true, Ordering::Relaxed);
    for desk in desks {
        let failed: Vec<String> = desk.await.unwrap();
        assert!(failed.is_empty(), "{} failed; the first: {}", failed.len(), failed[0]);
    }

    // When nobody answers, the frontend gets JSON in the API's form.
    for instance in instances {
        instance.signal("-INT");
        instance.wait_for_exit().await;
    }
    let url = format!("{}/api/tags", proxy.origin);
    let answer = send(client.get(url).header("cookie", TestApp::cookie("manager"))).await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "SERVICE_UNAVAILABLE"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}
