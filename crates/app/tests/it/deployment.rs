//! The files in `docs/deploy`, with what they are for.

use std::{fs, process::Stdio};

use tokio::process::Command;

use crate::{
    app::{TestApp, client_builder, taken},
    service::{PATIENCE, Service, arranged, eventually, free_port, root},
};

/// The example's text, each placeholder replaced by what the test has.
fn filled(name: &str, replacements: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(root().join("docs/deploy").join(name)).unwrap();
    for (placeholder, value) in replacements {
        assert!(text.contains(placeholder), "{name} has no {placeholder}");
        text = text.replace(placeholder, value);
    }
    text
}

#[actix_web::test]
async fn the_nginx_example_puts_the_service_and_the_platform_under_one_origin() {
    let database = arranged().await;
    let limits = ("RATE_LIMIT_ADDRESS_REQUESTS", "3");
    let service = Service::start(&database, &[("TRUSTED_PROXIES", "127.0.0.1/32"), limits]).await;
    // Any other HTTP server stands for the platform.
    let platform = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    fs::write(&chain, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let server = filled(
        "nginx.conf",
        &[
            ("server 127.0.0.1:8080 max_fails=3", &format!("server {} max_fails=3", service.address)),
            ("server 127.0.0.1:3000;", &format!("server {};", platform.address)),
            ("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl")),
            ("admin.example.com;", "localhost;"),
            ("/etc/ssl/admin.example.com/chain.pem", chain.to_str().unwrap()),
            ("/etc/ssl/admin.example.com/key.pem", key.to_str().unwrap()),
        ],
    );
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", folder.path().display()))
        .concat();
    let configuration = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr;\nevents {{}}\n\
         http {{ access_log off;\n{temporary}{server}\n}}",
        folder.path().display()
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let _nginx = Command::new("nginx")
        .args(["-e", "stderr", "-c"])
        .arg(&file)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nginx: `just test` installs it");
    let origin = format!("https://localhost:{port}");
    let authority = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    // From an address that is not nginx's, which the service trusts.
    let client = client_builder().tls_certs_only([authority]).local_address(Some([127, 0, 0, 9].into()));
    let client = client.build().unwrap();
    eventually(PATIENCE, "nginx listens", async || client.get(format!("{origin}/livez")).send().await.is_ok()).await;

    let request = |method: &str, target: &str| {
        client
            .request(method.parse().unwrap(), format!("{origin}{target}"))
            .header("cookie", TestApp::cookie("manager"))
    };
    // The service's database has one tag; the platform's stand-in has none.
    for (target, served_by_us) in [("/api/tags", true), ("/api/customers", true), ("/api/health", false)] {
        let id = taken(request("GET", target)).await.header("x-request-id").unwrap().to_owned();
        // The stand-in counts its ids up from 1.
        assert_eq!(!id.starts_with("req_0000000000"), served_by_us, "{target} {id}");
    }
    // A page of the same origin writes, a page of another does not.
    let write = |origin: &str, site: &'static str| {
        let request = request("DELETE", "/api/customers/usr_1/tags/tag_vip").header("origin", origin.to_owned());
        taken(if site.is_empty() { request } else { request.header("sec-fetch-site", site) })
    };
    assert_eq!(write(&origin, "same-origin").await.status, 200);
    assert_eq!(write(&origin, "").await.status, 200, "an old browser: by the Host that nginx passes on");
    assert_eq!(write("https://evil.example", "").await.error(), "FORBIDDEN");
    assert_eq!(write("https://evil.example", "cross-site").await.error(), "FORBIDDEN");
    // Too large for the service, not for nginx: the API's own answer.
    let large = request("POST", "/api/tags").header("content-type", "application/json").body("x".repeat(70_000));
    assert_eq!(taken(large).await.error(), "PAYLOAD_TOO_LARGE");
    // Clients are told apart by the address that nginx saw, whatever they write themselves.
    let anonymous = |forged: &str| {
        let request = client.get(format!("{origin}/api/tags")).header("x-forwarded-for", forged.to_owned());
        taken(request.header("forwarded", format!("for={forged}")))
    };
    for forged in ["198.51.100.1", "198.51.100.2", "198.51.100.3"] {
        assert_eq!(anonymous(forged).await.error(), "UNAUTHENTICATED");
    }
    assert_eq!(anonymous("198.51.100.4").await.error(), "RATE_LIMITED");
}

#[test]
fn the_unit_gives_the_service_its_time_and_its_files() {
    let unit = filled("royal-glow-crm.service", &[]);
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
    assert!(value("LimitNOFILE") > 2 * default("HTTP_MAX_CONNECTIONS") + default("DATABASE_POOL_SIZE") + 64);
}
