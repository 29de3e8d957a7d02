//! The real Better Auth signs users in and out; this service reads the sessions that it stores.
//!
//! The library runs in Node (`tests/better-auth/issuer.mjs`) on the platform's own tables.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use crm_adapters::{
    better_auth::{
        BetterAuth,
        cookie::{CookieName, Secret},
    },
    postgres::migrate,
    system::SystemClock,
    testing::{TestDatabase, platform::SECRET},
};
use crm_domain::{clock::Clock, role::Role, session::Sessions as _, testing::clock_at};
use serde_json::{Value, json};
use std::sync::Arc;
use time::Duration;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// The path of Node.
pub(super) fn node() -> PathBuf {
    let found = std::env::split_paths(&path()).map(|folder| folder.join("node")).find(|node| node.exists());
    found.expect("Node on the PATH")
}

/// The library in its own process.
pub(super) struct Issuer {
    process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Issuer {
    pub(super) fn start(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/better-auth");
        assert!(
            folder.join("node_modules").exists(),
            "`just test` installs the library; or `npm ci` in {}",
            folder.display()
        );
        let mut process = Command::new(node())
            .arg("issuer.mjs")
            .current_dir(folder)
            // An inherited BETTER_AUTH_SECRETS would override the secret of the test.
            .env_clear()
            .env("DATABASE_URL", database.address())
            .env("BETTER_AUTH_SECRET", SECRET)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the issuer");
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, commands, answers }
    }

    pub(super) async fn run_command(&mut self, command: Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let answer = self.answers.next_line().await.unwrap().expect("an answer of the issuer");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    /// Signs a user up. Returns the user id and the session cookie as a browser would send it.
    async fn sign_up(&mut self, cookie_name: &str) -> (String, String) {
        let answer = self
            .run_command(
                json!({"do": "sign-up", "email": "asha@example.com", "password": "a long password", "name": "Asha"}),
            )
            .await;
        assert_eq!(answer["status"], 200, "{answer}");
        let user = answer["body"]["user"]["id"].as_str().unwrap().to_owned();
        (user, cookie_of(&answer, cookie_name))
    }

    pub(super) async fn stop(mut self) {
        drop(self.commands);
        assert!(self.process.wait().await.unwrap().success());
    }
}

#[expect(clippy::disallowed_methods, reason = "finding Node is not the service's configuration")]
fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// `name=value` of the cookie that the library set.
fn cookie_of(answer: &Value, name: &str) -> String {
    let set: Vec<&str> = answer["setCookie"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let cookie =
        set.iter().find_map(|cookie| cookie.split(';').next().filter(|pair| pair.starts_with(&format!("{name}="))));
    cookie.unwrap_or_else(|| panic!("no cookie {name} in {set:?}")).to_owned()
}

fn reader(database: &TestDatabase, cookie_name: CookieName, clock: Arc<dyn Clock>) -> BetterAuth {
    BetterAuth { cookie_name, secret: Secret::new(SECRET).unwrap(), pool: database.pool(), clock }
}

/// Creates a database with the platform's whole schema, which the library needs, and applies this service's migrations.
async fn platform_database() -> TestDatabase {
    let database = TestDatabase::empty();
    let client = database.client().await;
    client.batch_execute(include_str!("../fixtures/platform-schema.sql")).await.unwrap();
    migrate::migrate(&database.connector(), migrate::Platform::Standalone).await.unwrap();
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_session_of_the_library_is_valid_until_sign_out_expiry_or_ban() {
    let database = platform_database().await;
    let client = database.client().await;
    let mut issuer = Issuer::start(&database, &[("BETTER_AUTH_URL", "http://localhost:3000")]);
    let name = CookieName::new(false, "better-auth", None);
    let (user, cookie) = issuer.sign_up(name.as_str()).await;
    client.execute("UPDATE \"user\" SET role = 'receptionist' WHERE id = $1", &[&user]).await.unwrap();

    let now = reader(&database, name.clone(), Arc::new(SystemClock::new()));
    let actor = now.find_actor(cookie.as_bytes()).await.unwrap().actor().expect("a session");
    assert_eq!((actor.id.as_str(), actor.role), (user.as_str(), Role::Receptionist));

    // This clock is eight days ahead; a session of the library lasts seven days.
    let later = reader(&database, name, clock_at(SystemClock::new().now() + Duration::days(8)));
    assert_eq!(later.find_actor(cookie.as_bytes()).await.unwrap().actor(), None, "expired");
    assert!(now.find_actor(cookie.as_bytes()).await.unwrap().actor().is_some());

    // The library still accepts the session after this service has read it.
    let session = issuer.run_command(json!({"do": "get-session", "cookie": cookie})).await;
    assert_eq!(session["body"]["user"]["id"], user.as_str());

    let answer = issuer.run_command(json!({"do": "sign-out", "cookie": cookie})).await;
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(now.find_actor(cookie.as_bytes()).await.unwrap().actor(), None, "signed out");

    // A new sign-in without "remember me" issues another cookie, which is accepted too.
    let sign_in =
        json!({"do": "sign-in", "email": "asha@example.com", "password": "a long password", "rememberMe": false});
    let answer = issuer.run_command(sign_in).await;
    let again = cookie_of(&answer, "better-auth.session_token");
    assert_ne!(again, cookie);
    assert_eq!(
        now.find_actor(again.as_bytes()).await.unwrap().actor().map(|actor| actor.id.to_string()),
        Some(user.clone())
    );

    // This service applies a ban at the next request; the library checks bans only at sign-in.
    client.execute("UPDATE \"user\" SET banned = true WHERE id = $1", &[&user]).await.unwrap();
    assert_eq!(now.find_actor(again.as_bytes()).await.unwrap().actor(), None, "banned");
    issuer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_cookie_name_follows_the_settings_of_the_library() {
    let table: [(&[(&str, &str)], CookieName); 5] = [
        (&[("BETTER_AUTH_URL", "https://admin.example.com")], CookieName::new(true, "better-auth", None)),
        (
            &[("BETTER_AUTH_URL", "https://admin.example.com"), ("USE_SECURE_COOKIES", "false")],
            CookieName::new(false, "better-auth", None),
        ),
        (
            &[("BETTER_AUTH_URL", "http://localhost:3000"), ("USE_SECURE_COOKIES", "true")],
            CookieName::new(true, "better-auth", None),
        ),
        (
            &[("BETTER_AUTH_URL", "http://localhost:3000"), ("COOKIE_PREFIX", "salon")],
            CookieName::new(false, "salon", None),
        ),
        (
            &[("BETTER_AUTH_URL", "https://admin.example.com"), ("COOKIE_PREFIX", "salon"), ("COOKIE_NAME", "sid")],
            CookieName::new(true, "salon", Some("sid")),
        ),
    ];
    for (settings, name) in table {
        let database = platform_database().await;
        let mut issuer = Issuer::start(&database, settings);
        let (user, cookie) = issuer.sign_up(name.as_str()).await;
        let reader = reader(&database, name, Arc::new(SystemClock::new()));
        let actor = reader.find_actor(cookie.as_bytes()).await.unwrap().actor();
        assert_eq!(actor.map(|actor| actor.id.to_string()), Some(user), "{settings:?}");
        issuer.stop().await;
    }
}
