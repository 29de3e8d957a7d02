//! The real process: started, asked, signalled, read.

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

use crate::app::{Answer, ROLES, TestApp, http_client, taken};

/// How long a busy machine may take for anything that is waited for here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program with those settings and no others.
pub(crate) fn crm(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crm"));
    command.args(arguments).env_clear().envs(settings.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end; what it printed.
pub(crate) async fn run(arguments: &[&str], settings: &[(&str, &str)]) -> (Output, String) {
    let output = crm(arguments, settings).output().await.unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, printed)
}

/// What a process logs.
pub(crate) struct Log(watch::Receiver<String>);

impl Log {
    /// Reads to the end whatever happens: a full pipe would stop the process.
    fn of(process: &mut Child) -> Self {
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (log, heard) = watch::channel(String::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.send_modify(|log| log.push_str(&(line + "\n")));
            }
        });
        Self(heard)
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.0.borrow().clone()
    }

    /// Waits until something is logged; the line that holds it.
    pub(crate) async fn line(&mut self, text: &str) -> String {
        let heard = timeout(PATIENCE, self.0.wait_for(|log| log.contains(text))).await;
        let found = heard.is_ok_and(|heard| heard.is_ok());
        assert!(found, "{text:?} was not logged:\n{}", self.text());
        self.text().lines().find(|line| line.contains(text)).unwrap_or_default().to_owned()
    }

    /// Waits until the process has closed it.
    async fn closed(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// `crm serve`, on its way.
pub(crate) struct Starting {
    process: Child,
    pub(crate) log: Log,
}

impl Starting {
    pub(crate) fn with(database_url: &str, more: &[(&str, &str)]) -> Self {
        let mut settings = settings(database_url);
        settings.extend_from_slice(more);
        Self::of(crm(&["serve"], &settings))
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::of(&mut process);
        Self { process, log }
    }

    /// Once it says where it listens.
    pub(crate) async fn serving(self) -> Service {
        let Self { process, mut log } = self;
        let event: Value = serde_json::from_str(&log.line(r#""message":"serving""#).await).unwrap();
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
    /// On that database, once it says where it listens.
    pub(crate) async fn start(database: &TestDatabase, more: &[(&str, &str)]) -> Self {
        Self::start_at(&database.address(), more).await
    }

    pub(crate) async fn start_at(database_url: &str, more: &[(&str, &str)]) -> Self {
        Starting::with(database_url, more).serving().await
    }

    pub(crate) fn request(&self, method: &str, target: &str, role: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{target}", self.base_url);
        self.client.request(method.parse().unwrap(), url).header("cookie", TestApp::cookie(role))
    }

    pub(crate) async fn get(&self, target: &str, role: &str) -> Answer {
        taken(self.request("GET", target, role)).await
    }

    /// What Prometheus would read.
    pub(crate) async fn metrics(&self) -> String {
        taken(self.client.get(&self.metrics_url)).await.text
    }

    /// Signals the process by its pid.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().expect("a process that runs").to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end; the status, and everything logged.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status = timeout(PATIENCE, self.process.wait()).await.expect("an end").unwrap();
        self.log.closed().await;
        (status, self.log.text())
    }
}

/// The least that `crm serve` needs, on a free port.
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

/// A database with a user `usr_<role>` and a session for each role, a customer `usr_1` and a tag `tag_vip`.
pub(crate) async fn arranged() -> TestDatabase {
    let database = TestDatabase::migrated();
    arrange(&database.client().await).await;
    database
}

/// Puts in what [`arranged`] holds.
pub(crate) async fn arrange(client: &tokio_postgres::Client) {
    for role in ROLES {
        let id = format!("usr_{role}");
        platform::user(client, &id, "A name", Some(role)).await;
        platform::sign_in(client, &id).await;
    }
    platform::customer(client, "usr_1", "Asha Rao").await;
    platform::tag(client, "tag_vip", "VIP", None).await;
}

/// Asks again and again, for something outside this process, until it is so.
pub(crate) async fn eventually(within: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut again = interval(Duration::from_millis(20));
    let asked = timeout(within, async {
        loop {
            again.tick().await;
            if is_so().await {
                break;
            }
        }
    });
    assert!(asked.await.is_ok(), "not within {within:?}: {what}");
}

/// Waits until a request waits for a lock that the test holds.
pub(crate) async fn until_somebody_waits_for_a_lock(client: &tokio_postgres::Client) {
    eventually(PATIENCE, "somebody waits for a lock", async || {
        let waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        !client.query(waiting, &[]).await.unwrap().is_empty()
    })
    .await;
}

/// A port that is free right now, for programs that cannot say which one they took. Below the range from which systems
/// take ports for outgoing connections.
pub(crate) fn free_port() -> u16 {
    let random = || RandomState::new().build_hasher().finish() % 12_000;
    let mut ports = std::iter::repeat_with(|| 20_000 + u16::try_from(random()).unwrap());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
