//! Programs that use the OpenAPI document: a linter, a generated TypeScript client, the API reference page in a
//! browser, and a fuzzer that compares responses with the document. All but the linter run against the real process.

use std::{path::PathBuf, process::Stdio};

use crm_adapters::testing::platform;
use tokio::process::Command;

use crate::{
    app::{ROLES, TestApp},
    service::{Service, arrange_database, root},
};

fn folder() -> PathBuf {
    root().join("crates/app/client")
}

/// A command in the client's folder. `just test` installs what it needs.
fn command(program: &str, arguments: &[&str]) -> Command {
    assert!(folder().join("node_modules").exists(), "`just test` installs the client's packages; or `npm ci` there");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder()).stdin(Stdio::null()).kill_on_drop(true);
    // The linter sends no usage data.
    command.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    command
}

/// Runs the command and requires that it succeeds. Returns what it printed.
async fn run_successfully(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{printed}");
    printed.into_owned()
}

fn add_service_environment<'c>(command: &'c mut Command, service: &Service) -> &'c mut Command {
    command.env("BASE_URL", &service.base_url);
    for role in ROLES {
        command.env(format!("COOKIE_{}", role.to_uppercase()), TestApp::cookie(role));
    }
    command
}

#[tokio::test]
async fn the_document_follows_the_recommended_rules_of_the_linter() {
    run_successfully(&mut command("npm", &["run", "lint:api"])).await;
}

#[tokio::test]
async fn the_generated_client_compiles_and_responses_match_its_types() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[("API_DOCS", "true")]).await;
    run_successfully(&mut command("npm", &["run", "build"])).await;
    let printed =
        run_successfully(add_service_environment(&mut command("node", &["--test", "dist/test/api.test.js"]), &service))
            .await;
    assert!(printed.contains("fail 0") && !printed.contains("pass 0"), "{printed}");
}

/// The test stores a screenshot next to the other test artefacts.
#[tokio::test]
async fn the_reference_page_works_in_a_browser() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[("API_DOCS", "true")]).await;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let screenshot = folder.join("reference-page.png");
    let _ = std::fs::remove_file(&screenshot);
    let mut browser = command("node", &["test/reference-page.mjs"]);
    browser.env("CHROMIUM", chromium()).env("SCREENSHOT", &screenshot);
    let printed = run_successfully(add_service_environment(&mut browser, &service)).await;
    assert!(printed.contains("the page shows"), "{printed}");
    let picture = std::fs::read(&screenshot).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes", picture.len());
}

/// Finds the browser on the PATH.
#[expect(clippy::disallowed_methods, reason = "finding Chromium is not the service's configuration")]
fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|program| program.exists());
    found.expect("chromium: `just test` installs it")
}

/// Sends valid and invalid requests for each role. Every response must match the document.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_reports_no_failures() {
    let database = arrange_database().await;
    platform::booking(&database.client().await, "bkg_1", "usr_1").await;
    let service = Service::start(&database, &[("API_DOCS", "true")]).await;
    let program = root().join(".local/schemathesis/bin/schemathesis");
    assert!(program.exists(), "`just test` installs schemathesis");
    for role in ROLES {
        let mut fuzzer = command(program.to_str().unwrap(), &["--config-file", "schemathesis.toml", "run"]);
        fuzzer.arg(format!("{}/api/openapi.json", service.base_url));
        // All checks run for a manager, who may call every operation. The other roles test authorization: for them only
        // the statuses are compared with the document, on the examples of each operation.
        let is_manager = role == "manager";
        if is_manager {
            fuzzer.args(["--checks", "all", "--max-examples", "12"]);
        } else {
            let checks = "not_a_server_error,status_code_conformance,ignored_auth";
            fuzzer.args(["--checks", checks, "--phases", "examples,fuzzing", "--max-examples", "2"]);
        }
        let cookie = TestApp::cookie(role);
        fuzzer.env("SESSION", cookie.split_once('=').unwrap().1);
        let printed = run_successfully(&mut fuzzer).await;
        // For example "424 generated, 424 passed", possibly with skipped cases, which are not sent.
        let counts = printed.lines().find(|line| line.contains(" generated, ")).unwrap_or_default().replace(',', "");
        let counts: Vec<_> = counts.split_whitespace().filter_map(|word| word.parse::<u32>().ok()).collect();
        assert!(
            matches!(counts[..], [generated, passed, ..] if generated == passed && generated > if is_manager { 50 } else { 8 }),
            "{printed}"
        );
    }
    service.signal("-TERM");
    let (status, log) = service.wait_for_exit().await;
    assert!(status.success());
    assert!(!log.contains(r#""status":500"#), "{log}");
}
