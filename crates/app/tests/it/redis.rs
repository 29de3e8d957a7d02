//! Rate limits in a real Redis: two processes share them, and requests pass while Redis is unavailable.

use std::{process::Stdio, time::Duration};

use crm_adapters::rate_limit::{
    memory::MemoryRateLimits,
    redis::{RedisAddress, RedisRateLimits, RedisSettings},
};
use crm_domain::{
    ids::UserId,
    rate_limit::{Quota, RateLimitKey, RateLimits as _},
    testing::monotonic_clock,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

use crate::service::{PATIENCE, Service, arrange_database, eventually, free_port};

/// A private Redis server that stores nothing on disk.
struct Redis {
    port: u16,
    process: Child,
    folder: TempDir,
}

impl Redis {
    async fn start() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let process = Self::spawn(port, &folder, &[]);
        let redis = Self { port, process, folder };
        redis.wait_until_ready().await;
        redis
    }

    fn spawn(port: u16, folder: &TempDir, more: &[String]) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .args(more)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server: `just test` installs it")
    }

    async fn wait_until_ready(&self) {
        eventually(PATIENCE, "Redis answers", async || {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await else { return false };
            let mut answer = [0; 7];
            stream.write_all(b"PING\r\n").await.is_ok()
                && stream.read_exact(&mut answer).await.is_ok()
                && &answer == b"+PONG\r\n"
        })
        .await;
    }

    async fn stop(&mut self) {
        self.process.kill().await.unwrap();
    }

    async fn restart(&mut self) {
        self.process = Self::spawn(self.port, &self.folder, &[]);
        self.wait_until_ready().await;
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn settings(&self, key_prefix: &str) -> RedisSettings {
        let address = RedisAddress::parse(&self.url(), None).unwrap();
        RedisSettings { address, key_prefix: key_prefix.to_owned(), timeout: PATIENCE }
    }
}

#[tokio::test]
async fn two_instances_share_a_quota_and_requests_pass_during_an_outage() {
    let database = arrange_database().await;
    let mut redis = Redis::start().await;
    let url = redis.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_TIMEOUT_MS", "2000"),
        ("RATE_LIMIT_USER_REQUESTS", "5"),
        ("RATE_LIMIT_WINDOW_SECONDS", "3600"),
    ];
    let one = Service::start(&database, &settings).await;
    let other = Service::start(&database, &settings).await;
    let mut left = Vec::new();
    for service in [&one, &other, &one, &other, &one] {
        let answer = service.get("/api/tags", "manager").await;
        assert_eq!(answer.status, 200);
        left.push(answer.header("ratelimit").unwrap().split(';').nth(1).unwrap().to_owned());
    }
    assert_eq!(left, ["r=4", "r=3", "r=2", "r=1", "r=0"]);
    for service in [&one, &other] {
        let refused = service.get("/api/tags", "manager").await;
        assert_eq!(refused.error(), "RATE_LIMITED");
        let seconds = refused.json()["error"]["details"]["retryAfterSeconds"].as_u64().unwrap();
        assert!((1..=3600).contains(&seconds));
        assert_eq!(service.get("/api/tags", "owner").await.status, 200, "somebody else's quota");
    }
    let health = one.get("/api/health", "manager").await.json();
    assert_eq!(health["checks"]["rateLimits"]["status"], "pass");

    redis.stop().await;
    for _ in 0..10 {
        let answer = one.get("/api/tags", "manager").await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, None), "it passes uncounted");
        assert!(answer.header("ratelimit-policy").unwrap().starts_with("\"user\";q=5;w=3600"));
    }
    let metrics = one.metrics().await;
    assert!(metrics.contains("\ncrm_rate_limit_store_failures_total 10\n"), "{metrics}");
    let logged = one.log.text().matches("the rate limit store is unavailable").count();
    assert_eq!(logged, 1, "once a minute, not once a request:\n{}", one.log.text());
    eventually(PATIENCE, "the outage is told", async || {
        let answer = one.get("/api/health", "manager").await;
        answer.status == 200 && answer.json()["status"] == "degraded"
    })
    .await;
    assert_eq!(one.get("/readyz", "manager").await.status, 200, "that is no reason to go elsewhere");

    // The service counts again by itself, with an empty window, because this Redis stores nothing on disk.
    redis.restart().await;
    eventually(PATIENCE, "requests are counted again", async || {
        one.get("/api/tags", "manager").await.header("ratelimit").is_some()
    })
    .await;
    eventually(PATIENCE, "and refused", async || other.get("/api/tags", "manager").await.status == 429).await;
}

/// Redis stops responding without closing its connections, as behind a firewall: the attempt times out, and the service
/// uses Redis again when it responds. The same holds after Redis has refused requests.
#[tokio::test]
async fn redis_is_used_again_after_it_was_unresponsive_or_refused() {
    let redis = Redis::start().await;
    let settings = RedisSettings { timeout: Duration::from_millis(200), ..redis.settings("crm:") };
    let limits = RedisRateLimits::new(settings).unwrap();
    let quota = Quota { requests: 1_000_000, window: Duration::from_secs(3600) };
    let subject = RateLimitKey::User(UserId::parse("usr_1").unwrap());
    let counts = async || limits.try_acquire(&subject, quota).await.is_ok();
    assert!(counts().await);
    let signal = |name: &str| {
        let pid = redis.process.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    assert!(!counts().await);
    signal("-CONT");
    eventually(PATIENCE, "it is asked again after a silence", counts).await;

    let client = redis::Client::open(redis.url()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    let mut execute = async |command: &str| {
        let mut words = command.split(' ').map(|word| word.trim_matches('"'));
        let mut redis_command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            redis_command.arg(word);
        });
        redis_command.exec_async(&mut admin).await.unwrap();
    };
    execute("CONFIG SET requirepass hunter2").await;
    execute("CLIENT KILL SKIPME yes TYPE normal").await;
    eventually(PATIENCE, "it refuses", async || !counts().await).await;
    execute("CONFIG SET requirepass \"\"").await;
    eventually(PATIENCE, "it is asked again after a refusal", counts).await;
}

/// The sliding window is implemented twice, in Rust and in Lua.
#[tokio::test]
async fn redis_and_memory_count_alike() {
    let redis = Redis::start().await;
    let in_redis = RedisRateLimits::new(redis.settings("here:")).unwrap();
    let in_memory = MemoryRateLimits::new(monotonic_clock());
    let quota = Quota { requests: 3, window: Duration::from_secs(3600) };
    let subject = RateLimitKey::User(UserId::parse("usr_1").unwrap());
    for _ in 0..5 {
        let (one, other) = (
            in_redis.try_acquire(&subject, quota).await.unwrap(),
            in_memory.try_acquire(&subject, quota).await.unwrap(),
        );
        assert_eq!((one.admitted, one.remaining), (other.admitted, other.remaining));
        // The clock of Redis runs, the clock of the memory adapter is fixed.
        assert!(one.resets_in <= other.resets_in && one.resets_in > time::Duration::ZERO);
    }
    // Keys with another prefix are counted separately.
    let elsewhere = RedisRateLimits::new(redis.settings("there:")).unwrap();
    assert!(elsewhere.try_acquire(&subject, quota).await.unwrap().admitted);

    // Requests are admitted again when earlier ones leave the window, and the keys expire.
    let short = Quota { requests: 2, window: Duration::from_secs(2) };
    let subject = RateLimitKey::Address("198.51.100.1".parse().unwrap());
    for admitted in [true, true, false] {
        assert_eq!(in_redis.try_acquire(&subject, short).await.unwrap().admitted, admitted);
    }
    eventually(PATIENCE, "a request is admitted again", async || {
        in_redis.try_acquire(&subject, short).await.unwrap().admitted
    })
    .await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    eventually(PATIENCE, "the key is gone with the window", async || {
        let keys: Vec<String> = redis::cmd("KEYS").arg("*address*").query_async(&mut connection).await.unwrap();
        keys.is_empty()
    })
    .await;
}

/// Concurrent requests are admitted exactly up to the quota.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_is_atomic() {
    let redis = Redis::start().await;
    let quota = Quota { requests: 50, window: Duration::from_secs(3600) };
    let instances: Vec<_> = (0..4)
        .map(|_| {
            let limits = RedisRateLimits::new(redis.settings("crm:")).unwrap();
            tokio::spawn(async move {
                let subject = RateLimitKey::User(UserId::parse("usr_1").unwrap());
                let mut admitted = 0;
                for _ in 0..50 {
                    admitted += usize::from(limits.try_acquire(&subject, quota).await.unwrap().admitted);
                }
                admitted
            })
        })
        .collect();
    let mut admitted = 0;
    for instance in instances {
        admitted += instance.await.unwrap();
    }
    assert_eq!(admitted, 50);
}

/// A service whose Redis cannot be used says why, once, and requests pass.
#[tokio::test]
async fn the_cause_of_an_unusable_redis_is_logged_at_start() {
    let database = arrange_database().await;
    let mut redis = Redis::start().await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let acl: String = redis::cmd("ACL")
        .arg(&["SETUSER", "desk", "on", ">right", "~*", "+ping", "+hello", "+client"][..])
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(acl, "OK");
    let port = redis.port;
    for (url, cause) in [
        (format!("redis://desk:wrong@127.0.0.1:{port}/0"), "the user or the password is wrong"),
        (format!("redis://desk:right@127.0.0.1:{port}/0"), "the user lacks a right"),
        (format!("redis://127.0.0.1:{}/0", free_port()), "connection refused"),
    ] {
        let settings = [("REDIS_URL", url.as_str()), ("REDIS_TIMEOUT_MS", "2000")];
        let mut service = Service::start(&database, &settings).await;
        let line = service.log.wait_for_line(r#""check":"rateLimits""#).await;
        assert!(line.contains(cause), "{line}");
        assert_eq!(service.get("/api/tags", "manager").await.status, 200);
        assert_eq!(service.get("/readyz", "manager").await.status, 200);
        assert!(!service.log.text().contains("right@") && !service.log.text().contains("wrong@"));
    }
    // What docs/OPERATIONS.md says that the user needs is enough.
    let document = include_str!("../../../../docs/OPERATIONS.md");
    let rights = document.lines().find_map(|line| line.strip_prefix("ACL SETUSER crm on >… ")).unwrap();
    let mut command = redis::cmd("ACL");
    command.arg(&["SETUSER", "crm", "on", ">secret"][..]).arg(rights.split(' ').collect::<Vec<_>>());
    let acl: String = command.query_async(&mut connection).await.unwrap();
    assert_eq!(acl, "OK");
    let address = RedisAddress::parse(&format!("redis://crm:secret@127.0.0.1:{port}/0"), None).unwrap();
    let settings = RedisSettings { address, ..redis.settings("royal-glow-crm:") };
    RedisRateLimits::new(settings).unwrap().check().await.unwrap();
    redis.stop().await;
}

/// TLS with a private authority.
#[tokio::test]
async fn redis_behind_tls_is_verified_by_a_private_authority() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, certificate.cert.pem()).unwrap();
    std::fs::write(&key, certificate.signing_key.serialize_pem()).unwrap();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let more = [
        "--tls-port".to_owned(),
        port.to_string(),
        "--port".to_owned(),
        "0".to_owned(),
        "--tls-auth-clients".to_owned(),
        "no".to_owned(),
        "--tls-cert-file".to_owned(),
        path(&chain),
        "--tls-key-file".to_owned(),
        path(&key),
        "--tls-ca-cert-file".to_owned(),
        path(&chain),
    ];
    let _process = Redis::spawn(free_port(), &folder, &more);
    let url = format!("rediss://127.0.0.1:{port}/0");
    let limits = |authority: Option<Vec<u8>>| {
        let address = RedisAddress::parse(&url, authority).unwrap();
        let settings = RedisSettings { address, key_prefix: "crm:".to_owned(), timeout: PATIENCE };
        RedisRateLimits::new(settings).unwrap()
    };
    let trusted = limits(Some(std::fs::read(&chain).unwrap()));
    eventually(PATIENCE, "Redis answers by TLS", async || trusted.check().await.is_ok()).await;
    let error = limits(None).check().await.unwrap_err();
    let cause = format!("{error} {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
    assert!(cause.contains("certificate"), "{cause}");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    assert!(limits(Some(other.cert.pem().into_bytes())).check().await.is_err());
}
