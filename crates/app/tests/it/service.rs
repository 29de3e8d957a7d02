//! The real process: the tests start it, send it requests and signals, and read its log.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::Path,
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use crm_adapters::testing::{
    TestDatabase,
    platform::{self, SECRET},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
    time::{interval, timeout},
};

use crate::app::{Answer, ROLES, TestApp, http_client, send};

/// The timeout of every wait in the tests, long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program `crm` with the given settings and no others.
pub(crate) fn crm(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crm"));
    command.args(arguments).env_clear().envs(settings.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs `crm` until it exits. Returns its output, and all that it printed as one text.
pub(crate) async fn run(arguments: &[&str], settings: &[(&str, &str)]) -> (Output, String) {
    let output = crm(arguments, settings).output().await.unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, printed)
}

/// The log of a process.
pub(crate) struct Log(watch::Receiver<String>);

impl Log {
    /// Reads until the process closes its log, because a full pipe would block the process.
    fn read_from(process: &mut Child) -> Self {
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (log, receiver) = watch::channel(String::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.send_modify(|log| log.push_str(&(line + "\n")));
            }
        });
        Self(receiver)
    }

    /// Everything logged so far.
    pub(crate) fn text(&self) -> String {
        self.0.borrow().clone()
    }

    /// Waits until `text` is logged. Returns the line that contains it.
    pub(crate) async fn wait_for_line(&mut self, text: &str) -> String {
        let found = timeout(PATIENCE, self.0.wait_for(|log| log.contains(text))).await;
        let is_found = found.is_ok_and(|found| found.is_ok());
        assert!(is_found, "{text:?} was not logged:\n{}", self.text());
        self.text().lines().find(|line| line.contains(text)).unwrap_or_default().to_owned()
    }

    /// Waits until the process has closed its log.
    async fn wait_until_closed(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// A process `crm serve` that does not serve yet.
pub(crate) struct Starting {
    process: Child,
    pub(crate) log: Log,
}

impl Starting {
    pub(crate) fn start(database_url: &str, more: &[(&str, &str)]) -> Self {
        let mut settings = settings(database_url);
        settings.extend_from_slice(more);
        Self::spawn(crm(&["serve"], &settings))
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::read_from(&mut process);
        Self { process, log }
    }

    /// Waits until the process logs the address on which it listens.
    pub(crate) async fn wait_until_serving(self) -> Service {
        let Self { process, mut log } = self;
        let event: Value = serde_json::from_str(&log.wait_for_line(r#""message":"serving""#).await).unwrap();
        let address = event["address"].as_str().unwrap().to_owned();
        let scheme = if event["tls"] == true { "https" } else { "http" };
        let metrics_url = format!("http://{}/metrics", event["metrics_address"].as_str().unwrap_or_default());
        let base_url = format!("{scheme}://{address}");
        Service { process, base_url, address, metrics_url, log, client: http_client() }
    }
}

/// `crm serve` on a free port.
pub(crate) struct Service {
    pub(crate) process: Child,
    /// `http://` or `https://`, host and port.
    pub(crate) base_url: String,
    pub(crate) address: String,
    pub(crate) metrics_url: String,
    pub(crate) log: Log,
    client: reqwest::Client,
}

impl Service {
    /// Starts the service on the database and waits until it listens.
    pub(crate) async fn start(database: &TestDatabase, more: &[(&str, &str)]) -> Self {
        Self::start_at(&database.address(), more).await
    }

    pub(crate) async fn start_at(database_url: &str, more: &[(&str, &str)]) -> Self {
        Starting::start(database_url, more).wait_until_serving().await
    }

    pub(crate) fn request(&self, method: &str, target: &str, role: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{target}", self.base_url);
        self.client.request(method.parse().unwrap(), url).header("cookie", TestApp::cookie(role))
    }

    pub(crate) async fn get(&self, target: &str, role: &str) -> Answer {
        send(self.request("GET", target, role)).await
    }

    /// The metrics as Prometheus reads them.
    pub(crate) async fn metrics(&self) -> String {
        send(self.client.get(&self.metrics_url)).await.text
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().expect("a process that runs").to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits until the process exits. Returns the exit status and everything logged.
    pub(crate) async fn wait_for_exit(mut self) -> (ExitStatus, String) {
        let status = timeout(PATIENCE, self.process.wait()).await.expect("an end").unwrap();
        self.log.wait_until_closed().await;
        (status, self.log.text())
    }
}

/// The settings that every test uses for `crm serve`: the required ones, free ports, high rate limits.
pub(crate) fn settings(database_url: &str) -> Vec<(&str, &str)> {
    vec![
        ("DATABASE_URL", database_url),
        ("BETTER_AUTH_SECRET", SECRET),
        ("BETTER_AUTH_URL", "http://localhost:3000"),
        ("BIND_ADDRESS", "127.0.0.1:0"),
        ("METRICS_ADDRESS", "127.0.0.1:0"),
        ("RATE_LIMIT_USER_REQUESTS", "1000000"),
        ("RATE_LIMIT_ADDRESS_REQUESTS", "1000000"),
        // Ten connections at once, each with a TLS handshake and a password check, take seconds on a busy machine.
        ("DATABASE_CONNECT_TIMEOUT_MS", "20000"),
    ]
}

/// Creates a database with a user `usr_<role>` and a session for each role, a customer `usr_1` and a tag `tag_vip`.
pub(crate) async fn arrange_database() -> TestDatabase {
    let database = TestDatabase::migrated();
    arrange(&database.client().await).await;
    database
}

/// Inserts the rows of [`arrange_database`].
pub(crate) async fn arrange(client: &tokio_postgres::Client) {
    for role in ROLES {
        let id = format!("usr_{role}");
        platform::user(client, &id, "A name", Some(role)).await;
        platform::sign_in(client, &id).await;
    }
    platform::customer(client, "usr_1", "Asha Rao").await;
    platform::tag(client, "tag_vip", "VIP", None).await;
}

/// Repeats a check of something outside this process until it is true.
pub(crate) async fn eventually(within: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut again = interval(Duration::from_millis(20));
    let waited = timeout(within, async {
        loop {
            again.tick().await;
            if is_so().await {
                break;
            }
        }
    });
    assert!(waited.await.is_ok(), "not within {within:?}: {what}");
}

/// Waits until a statement waits for a lock that the test holds.
pub(crate) async fn wait_for_blocked_statement(client: &tokio_postgres::Client) {
    eventually(PATIENCE, "somebody waits for a lock", async || {
        let waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        !client.query(waiting, &[]).await.unwrap().is_empty()
    })
    .await;
}

/// A port that is free now, for programs that cannot report their port. It is below the range from which systems take
/// ports for outgoing connections.
pub(crate) fn free_port() -> u16 {
    let random = || RandomState::new().build_hasher().finish() % 12_000;
    let mut ports = std::iter::repeat_with(|| 20_000 + u16::try_from(random()).unwrap());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
