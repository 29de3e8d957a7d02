//! Failures around the real process and a real PostgreSQL: the behaviour during each failure, and the recovery after
//! it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    pin::pin,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crm_adapters::testing::{TestDatabase, connect};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    app::{TestApp, parse_response, send},
    service::{
        PATIENCE, Service, Starting, arrange, arrange_database, crm, eventually, free_port, root, run, settings,
    },
};

/// A separate PostgreSQL cluster that the test stops and starts (`.just/cluster`).
struct Cluster;

impl Cluster {
    const NAME: &str = "faults";

    async fn run(command: &str) -> String {
        let output = Command::new(root().join(".just/cluster")).args([command, Self::NAME]).output().await.unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// The only test that uses [`Cluster`].
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_database_is_used_again_within_five_seconds() {
    Cluster::run("reset").await;
    Cluster::run("up").await;
    let url = Cluster::run("url").await;
    assert!(run(&["migrate", "--standalone"], &[("DATABASE_URL", &url)]).await.0.status.success());
    let client = connect(&url).await;
    arrange(&client).await;
    let service = Service::start_at(&url, &[]).await;
    assert_eq!(service.get("/api/tags", "manager").await.status, 200);

    drop(client);
    Cluster::run("down").await;
    for _ in 0..3 {
        let began = Instant::now();
        let answer = service.get("/api/tags", "manager").await;
        assert_eq!((answer.status, answer.error().as_str()), (503, "SERVICE_UNAVAILABLE"));
        assert!(began.elapsed() < Duration::from_secs(10), "within the request's deadline");
    }
    assert_eq!(service.get("/livez", "manager").await.status, 200);
    eventually(PATIENCE, "it is not ready", async || service.get("/readyz", "manager").await.status == 503).await;

    Cluster::run("up").await;
    eventually(Duration::from_secs(5), "it answers again", async || {
        service.get("/api/tags", "manager").await.status == 200
    })
    .await;
    eventually(Duration::from_secs(5), "it is ready", async || service.get("/readyz", "manager").await.status == 200)
        .await;
    service.signal("-TERM");
    assert!(service.wait_for_exit().await.0.success());
    Cluster::run("down").await;
}

/// Clients in a closed loop, and the responses that they get.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<(u16, Value)>>>,
}

impl Load {
    /// Starts clients that read, write and search until [`Self::stop`].
    fn start(service: &Service, clients: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..clients)
            .map(|client| {
                let (stop, answered) = (stop.clone(), answered.clone());
                let requests = [
                    service.request("GET", "/api/tags", "manager"),
                    service.request("GET", "/api/customers?q=asha&sort=name", "manager"),
                    service.request("POST", "/api/customers/usr_1/notes", "manager").json(&json!({"content": "x"})),
                    service.request("GET", "/api/customers/usr_1", "manager"),
                    service.request("PATCH", "/api/customers/usr_1", "manager").json(&json!({"noshowCount": client})),
                    service.request("GET", "/api/customers/usr_1/notes", "manager"),
                    service.request("POST", "/api/customers/usr_1/tags", "manager").json(&json!({"tagId": "tag_vip"})),
                    service.request("DELETE", "/api/customers/usr_1/tags/tag_vip", "manager"),
                ];
                tokio::spawn(async move {
                    let mut answers = Vec::new();
                    for request in requests.iter().cycle().skip(client) {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let answer = send(request.try_clone().unwrap()).await;
                        answers.push((answer.status, answer.json()));
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    answers
                })
            })
            .collect();
        Self { stop, answered, clients }
    }

    /// Waits for `answers` more responses.
    async fn wait_for_responses(&self, answers: usize) {
        let wanted = self.answered.load(Ordering::Relaxed) + answers;
        eventually(PATIENCE, "answers", async || self.answered.load(Ordering::Relaxed) >= wanted).await;
    }

    async fn stop(self) -> Vec<(u16, Value)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers = Vec::new();
        for client in self.clients {
            answers.extend(client.await.unwrap());
        }
        answers
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_killed_under_load_cause_only_retryable_errors_and_no_loss() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[]).await;
    let killer = database.client().await;
    let load = Load::start(&service, 8);
    for _ in 0..6 {
        load.wait_for_responses(40).await;
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'royal-glow-crm'";
        killer.execute(kill, &[]).await.unwrap();
    }
    let answers = load.stop().await;
    assert!(answers.len() >= 240);
    for (status, answer) in &answers {
        assert!(matches!(status, 200 | 201) || answer["error"]["retryable"] == true, "{status} {answer}");
    }
    let load = Load::start(&service, 8);
    load.wait_for_responses(100).await;
    for (status, answer) in load.stop().await {
        assert!(matches!(status, 200 | 201), "{status} {answer}");
    }
    // Every acknowledged note is stored with its audit entry.
    let acknowledged: HashSet<_> =
        answers.iter().filter_map(|(_, answer)| answer["data"]["note"]["id"].as_str().map(str::to_owned)).collect();
    let sql = "SELECT n.id FROM customer_note n JOIN audit_log a ON a.entity_id = n.id";
    let kept: HashSet<String> = killer.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(!acknowledged.is_empty() && acknowledged.is_subset(&kept));
}

/// Clients write notes over persistent connections in a closed loop. They write HTTP themselves, because an HTTP
/// library would retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_under_load_drops_no_response() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[("SHUTDOWN_DELAY_MS", "300")]).await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> =
        (0..8).map(|client| tokio::spawn(write_notes(service.address.clone(), client, acknowledged.clone()))).collect();
    eventually(PATIENCE, "traffic", async || acknowledged.load(Ordering::Relaxed) > 100).await;
    service.signal("-TERM");
    let mut written = HashMap::new();
    for client in clients {
        written.extend(client.await.unwrap());
    }
    assert!(service.wait_for_exit().await.0.success());
    let rows = database.client().await.query("SELECT content, id FROM customer_note", &[]).await.unwrap();
    let kept: HashMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(written.len() > 100);
    assert_eq!(written, kept, "what was written was acknowledged, and the reverse");
}

/// Writes notes until the service no longer listens. Returns the content and the id of each acknowledged note. A
/// response that begins must be complete.
async fn write_notes(address: String, client: usize, acknowledged: Arc<AtomicUsize>) -> HashMap<String, String> {
    let mut written = HashMap::new();
    let mut connection: Option<TcpStream> = None;
    for n in 0.. {
        let content = format!("note {client} {n}");
        let body = json!({"content": content}).to_string();
        let request = format!(
            "POST /api/customers/usr_1/notes HTTP/1.1\r\nHost: crm\r\nCookie: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            TestApp::cookie("receptionist"),
            body.len()
        );
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => match TcpStream::connect(&address).await {
                Ok(stream) => stream,
                Err(_) => break,
            },
        };
        if stream.write_all(request.as_bytes()).await.is_err() {
            continue;
        }
        let answer = read_response(&mut stream).await;
        // The service closed the connection before it read the request, so the note must not be stored. The caller
        // checks that in the database.
        if answer.is_empty() {
            continue;
        }
        let answer = parse_response(&answer);
        assert_eq!(answer.status, 201, "{}", answer.text);
        written.insert(content, answer.json()["data"]["note"]["id"].as_str().unwrap().to_owned());
        acknowledged.fetch_add(1, Ordering::Relaxed);
        connection = (answer.header("connection") != Some("close")).then_some(stream);
    }
    written
}

/// Reads a whole response, or nothing if the service has closed the connection.
async fn read_response(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse::<usize>().unwrap() {
                return answer;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                assert!(answer.is_empty(), "an answer was cut off: {text}");
                return answer;
            }
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
        }
    }
}

#[tokio::test]
async fn the_service_recovers_after_it_ran_out_of_file_descriptors() {
    let database = arrange_database().await;
    let address = database.address();
    let limited = crm(&["serve"], &settings(&address));
    let mut command = Command::new("sh");
    // Enough for the process itself and a few clients.
    command.args(["-c", "ulimit -n 64; exec \"$0\" serve"]).arg(limited.as_std().get_program()).env_clear();
    command.envs(settings(&address)).stdin(Stdio::null()).kill_on_drop(true);
    let service = Starting::spawn(command).wait_until_serving().await;
    assert_eq!(service.get("/api/tags", "manager").await.status, 200);

    let mut holders = Vec::new();
    for _ in 0..100 {
        holders.push(TcpStream::connect(&service.address).await.unwrap());
    }
    let held = format!("/proc/{}/fd", service.process.id().unwrap());
    eventually(PATIENCE, "they have run out", async || fs::read_dir(&held).unwrap().count() >= 63).await;
    drop(holders);
    eventually(PATIENCE, "it answers again", async || service.get("/api/tags", "manager").await.status == 200).await;
    assert_eq!(service.get("/readyz", "manager").await.status, 200);
    service.signal("-TERM");
    assert!(service.wait_for_exit().await.0.success());
}

/// PgBouncer in transaction mode in front of the test cluster, with fewer server connections than client connections.
struct PgBouncer {
    port: u16,
    process: Child,
    _folder: TempDir,
}

impl PgBouncer {
    async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, "transaction", 3).await
    }

    /// Starts in that mode, with that many server connections.
    async fn start_with(database: &TestDatabase, mode: &str, server_connections: usize) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let address = url::Url::parse(&database.address()).unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let users = format!("\"{}\" \"{}\"\n", address.username(), address.password().unwrap());
        let users = file("users.txt", users);
        let configuration = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\nserver_login_retry = 1\n\
             default_pool_size = {server_connections}\nmax_client_conn = 200\n",
            address.port().unwrap(),
            users.display(),
        );
        let configuration = file("pgbouncer.ini", configuration);
        // PgBouncer refuses to run as root.
        let mut command = if fs::metadata(folder.path()).unwrap().uid() == 0 {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "pgbouncer"]);
            command
        } else {
            Command::new("pgbouncer")
        };
        let process = command
            .arg(configuration)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("pgbouncer: `just test` installs it");
        let bouncer = Self { port, process, _folder: folder };
        eventually(PATIENCE, "PgBouncer listens", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        bouncer
    }

    fn address(&self, database: &TestDatabase) -> String {
        let mut address = url::Url::parse(&database.address()).unwrap();
        address.set_port(Some(self.port)).unwrap();
        address.to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_works_behind_pgbouncer_in_transaction_mode() {
    let database = arrange_database().await;
    let mut bouncer = PgBouncer::start(&database).await;
    let url = bouncer.address(&database);
    let settings = [("DATABASE_POOL_MODE", "transaction"), ("DATABASE_LOCK_TIMEOUT_MS", "1500")];
    // Two instances use prepared statements with the same names on the same server connections.
    let (one, other) = tokio::join!(Service::start_at(&url, &settings), Service::start_at(&url, &settings));
    let loads = [Load::start(&one, 8), Load::start(&other, 8)];
    for load in &loads {
        load.wait_for_responses(150).await;
    }
    let mut answers = Vec::new();
    for load in loads {
        answers.extend(load.stop().await);
    }
    for (status, answer) in &answers {
        assert!(matches!(status, 200 | 201), "{status} {answer}\n{}", one.log.text());
    }
    // Killing the server connections under load causes only retryable errors, and none afterwards.
    let killer = database.client().await;
    let load = Load::start(&one, 8);
    for _ in 0..5 {
        load.wait_for_responses(40).await;
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
        killer.execute(kill, &[]).await.unwrap();
    }
    for (status, answer) in load.stop().await {
        let known = matches!(status, 200 | 201) || answer["error"]["code"] == "SERVICE_UNAVAILABLE";
        assert!(known, "{status} {answer}\n{}", one.log.text());
    }
    eventually(PATIENCE, "all is well again", async || one.get("/api/tags", "manager").await.status == 200).await;
    // The session settings, which a connection without a pooler sets once, apply here too.
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let refused = one.get("/api/customers/usr_1/notes", "manager").await;
    assert_eq!((refused.status, refused.error().as_str()), (503, "SERVICE_UNAVAILABLE"));
    lock.rollback().await.unwrap();
    for target in ["/readyz", "/api/health", "/api/customers/usr_1/notes"] {
        assert_eq!(one.get(target, "manager").await.status, 200, "{target}");
    }
    // Every transaction has ended, including that of the failed request.
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let client = database.client().await;
    eventually(PATIENCE, "no transaction is left open", async || {
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    assert!(bouncer.process.try_wait().unwrap().is_none(), "PgBouncer still runs");
}

/// With the setting for no pooler, requests would meet each other's server connections as soon as several run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_is_noticed_at_start_and_one_in_session_mode_is_used() {
    let database = arrange_database().await;
    for connections in [1, 3] {
        let bouncer = PgBouncer::start_with(&database, "transaction", connections).await;
        let url = bouncer.address(&database);
        let (output, printed) = run(&["serve"], &settings(&url)).await;
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(printed.contains("Set DATABASE_POOL_MODE=transaction"), "{printed}");
        let (output, printed) = run(&["check"], &[("DATABASE_URL", &url)]).await;
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(printed.contains("FAIL pooler"), "{printed}");
    }
    let bouncer = PgBouncer::start_with(&database, "session", 8).await;
    for mode in ["session", "transaction"] {
        let settings = [("DATABASE_POOL_MODE", mode), ("DATABASE_POOL_SIZE", "3")];
        let service = Service::start_at(&bouncer.address(&database), &settings).await;
        assert_eq!(service.get("/api/tags", "manager").await.status, 200, "{mode}");
        service.signal("-TERM");
        assert!(service.wait_for_exit().await.0.success());
    }
}

/// PgBouncer refuses clients for `server_login_retry` after a failed login, 15 s by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_returns_behind_pgbouncer_is_used_again_within_seconds() {
    let database = arrange_database().await;
    let bouncer = PgBouncer::start(&database).await;
    let settings = [("DATABASE_POOL_MODE", "transaction")];
    let service = Service::start_at(&bouncer.address(&database), &settings).await;
    database.allow_connections(false).await;
    eventually(PATIENCE, "it fails", async || service.get("/api/tags", "manager").await.status == 503).await;
    database.allow_connections(true).await;
    let within = Duration::from_secs(8);
    eventually(within, "it answers again", async || service.get("/api/tags", "manager").await.status == 200).await;
}

/// The number of connections of this machine to that port, as the kernel reports it.
fn count_connections_to(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_established = |line: &&str| {
        let mut columns = line.split_whitespace().skip(2);
        let remote = columns.next().unwrap_or_default();
        remote.ends_with(&format!(":{port:04X}")) && columns.next() == Some("01")
    };
    table.lines().filter(is_established).count()
}

/// A request that times out while its connection waits for a server connection leaves no socket open, and neither does
/// a connection attempt that gets no response.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_opens_no_more_connections_to_pgbouncer_than_its_pool_size() {
    let database = arrange_database().await;
    let bouncer = PgBouncer::start_with(&database, "transaction", 1).await;
    let settings = [
        ("DATABASE_POOL_MODE", "transaction"),
        ("DATABASE_POOL_SIZE", "4"),
        ("DATABASE_POOL_WAIT_MS", "200"),
        ("DATABASE_CONNECT_TIMEOUT_MS", "200"),
        ("DATABASE_LOCK_TIMEOUT_MS", "20000"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "20000"),
        ("REQUEST_TIMEOUT_MS", "300"),
    ];
    let service = Service::start_at(&bouncer.address(&database), &settings).await;
    let mut holder = database.client().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE customer_note IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut connected = false;
    for _ in 0..10 {
        let notes = (0..8).map(|_| send(service.request("GET", "/api/customers/usr_1/notes", "manager")));
        let mut answers = pin!(futures_util::future::join_all(notes));
        // All connections may be closed when the requests have timed out, so the test also counts them while the
        // requests wait.
        let answers = loop {
            match timeout(Duration::from_millis(20), &mut answers).await {
                Ok(answers) => break answers,
                Err(_) => connected |= count_connections_to(bouncer.port) > 0,
            }
        };
        for answer in answers {
            assert_eq!(answer.status, 503);
        }
        let now = count_connections_to(bouncer.port);
        assert!(now <= 4, "{now} connections");
    }
    assert!(connected, "no request reached PgBouncer");
    lock.rollback().await.unwrap();
    eventually(PATIENCE, "it answers again", async || {
        service.get("/api/customers/usr_1/notes", "manager").await.status == 200
    })
    .await;
}
