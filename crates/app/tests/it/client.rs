//! The description put to use: linted, a typed client generated from it and run, the page in a browser, and a fuzzer
//! that believes every word of it. All against the real process.

use std::{path::PathBuf, process::Stdio};

use crm_adapters::testing::platform;
use tokio::process::Command;

use crate::{
    app::{ROLES, TestApp},
    service::{Service, arranged, root},
};

fn folder() -> PathBuf {
    root().join("crates/app/client")
}

/// A program of the client's folder; `just test` has installed what it needs.
fn command(program: &str, arguments: &[&str]) -> Command {
    assert!(folder().join("node_modules").exists(), "`just test` installs the client's packages; or `npm ci` there");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder()).stdin(Stdio::null()).kill_on_drop(true);
    // Nobody is told that it ran.
    command.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    command
}

/// Runs it to its end; what it printed.
async fn passes(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{printed}");
    printed.into_owned()
}

fn with_cookies<'c>(command: &'c mut Command, service: &Service) -> &'c mut Command {
    command.env("BASE_URL", &service.base_url);
    for role in ROLES {
        command.env(format!("COOKIE_{}", role.to_uppercase()), TestApp::cookie(role));
    }
    command
}

#[tokio::test]
async fn the_document_keeps_the_linters_recommended_rules() {
    passes(&mut command("npm", &["run", "lint:api"])).await;
}

#[tokio::test]
async fn the_generated_client_compiles_and_does_what_its_types_say() {
    let database = arranged().await;
    let service = Service::start(&database, &[("API_DOCS", "true")]).await;
    passes(&mut command("npm", &["run", "build"])).await;
    let printed = passes(with_cookies(&mut command("node", &["--test", "dist/test/api.test.js"]), &service)).await;
    assert!(printed.contains("fail 0") && !printed.contains("pass 0"), "{printed}");
}

/// The picture is kept beside the other test artefacts.
#[tokio::test]
async fn the_reference_page_works_in_a_browser() {
    let database = arranged().await;
    let service = Service::start(&database, &[("API_DOCS", "true")]).await;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let screenshot = folder.join("reference-page.png");
    let _ = std::fs::remove_file(&screenshot);
    let mut browser = command("node", &["test/reference-page.mjs"]);
    browser.env("CHROMIUM", chromium()).env("SCREENSHOT", &screenshot);
    let printed = passes(with_cookies(&mut browser, &service)).await;
    assert!(printed.contains("the page shows"), "{printed}");
    let picture = std::fs::read(&screenshot).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes", picture.len());
}

/// The browser on the PATH.
#[expect(clippy::disallowed_methods, reason = "finding Chromium is not the service's configuration")]
fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|program| program.exists());
    found.expect("chromium: `just test` installs it")
}

/// Requests that keep the document's rules and requests that break them, for each role: what comes back must be what the
/// document says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing_to_complain_about() {
    let database = arranged().await;
    platform::booking(&database.client().await, "bkg_1", "usr_1").await;
    let service = Service::start(&database, &[("API_DOCS", "true")]).await;
    let program = root().join(".local/schemathesis/bin/schemathesis");
    assert!(program.exists(), "`just test` installs schemathesis");
    for role in ROLES {
        let mut fuzzer = command(program.to_str().unwrap(), &["--config-file", "schemathesis.toml", "run"]);
        fuzzer.arg(format!("{}/api/openapi.json", service.base_url));
        // A manager may do everything, so all checks are made as one. The other roles show who may do what: for them the
        // statuses are compared with the document, on the examples of each operation.
        let is_manager = role == "manager";
        if is_manager {
            fuzzer.args(["--checks", "all", "--max-examples", "12"]);
        } else {
            let checks = "not_a_server_error,status_code_conformance,ignored_auth";
            fuzzer.args(["--checks", checks, "--phases", "examples,fuzzing", "--max-examples", "2"]);
        }
        let cookie = TestApp::cookie(role);
        fuzzer.env("SESSION", cookie.split_once('=').unwrap().1);
        let printed = passes(&mut fuzzer).await;
        // "424 generated, 424 passed", perhaps with some skipped: those are no requests at all.
        let counts = printed.lines().find(|line| line.contains(" generated, ")).unwrap_or_default().replace(',', "");
        let counts: Vec<_> = counts.split_whitespace().filter_map(|word| word.parse::<u32>().ok()).collect();
        assert!(
            matches!(counts[..], [generated, passed, ..] if generated == passed && generated > if is_manager { 50 } else { 8 }),
            "{printed}"
        );
    }
    service.signal("-TERM");
    let (status, log) = service.ended().await;
    assert!(status.success());
    assert!(!log.contains(r#""status":500"#), "{log}");
}
