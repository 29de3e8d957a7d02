//! The real Better Auth signs people in and out; this service reads what it left.
//!
//! The library runs in Node (`tests/better-auth/issuer.mjs`) on the platform's own tables.

use std::{path::Path, process::Stdio};

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

/// The library in its own process.
struct Issuer {
    process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Issuer {
    fn start(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/better-auth");
        assert!(
            folder.join("node_modules").exists(),
            "`just test` installs the library; or `npm ci` in {}",
            folder.display()
        );
        let path = std::env::split_paths(&path()).map(|folder| folder.join("node")).find(|node| node.exists());
        let mut process = Command::new(path.expect("Node on the PATH"))
            .arg("issuer.mjs")
            .current_dir(folder)
            // An inherited BETTER_AUTH_SECRETS would win over the secret of the test.
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

    async fn ask(&mut self, command: Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let answer = self.answers.next_line().await.unwrap().expect("an answer of the issuer");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    /// Signs somebody up; the answer's user id and the session cookie as a browser would send it.
    async fn sign_up(&mut self, cookie_name: &str) -> (String, String) {
        let answer = self
            .ask(json!({"do": "sign-up", "email": "asha@example.com", "password": "a long password", "name": "Asha"}))
            .await;
        assert_eq!(answer["status"], 200, "{answer}");
        let user = answer["body"]["user"]["id"].as_str().unwrap().to_owned();
        (user, cookie_of(&answer, cookie_name))
    }

    async fn stop(mut self) {
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

/// The platform's whole schema, which the library needs, with this service attached to it.
async fn platform_database() -> TestDatabase {
    let database = TestDatabase::empty();
    let client = database.client().await;
    client.batch_execute(include_str!("../fixtures/platform-schema.sql")).await.unwrap();
    migrate::migrate(&database.connector()).await.unwrap();
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_the_library_issues_is_accepted_until_it_is_signed_out_or_expires() {
    let database = platform_database().await;
    let client = database.client().await;
    let mut issuer = Issuer::start(&database, &[("BETTER_AUTH_URL", "http://localhost:3000")]);
    let name = CookieName::new(false, "better-auth", None);
    let (user, cookie) = issuer.sign_up(name.as_str()).await;
    client.execute("UPDATE \"user\" SET role = 'receptionist' WHERE id = $1", &[&user]).await.unwrap();

    let now = reader(&database, name.clone(), Arc::new(SystemClock::new()));
    let actor = now.find_actor(cookie.as_bytes()).await.unwrap().actor().expect("a session");
    assert_eq!((actor.id.as_str(), actor.role), (user.as_str(), Role::Receptionist));

    // As if eight days had passed: the library gives a session seven.
    let later = reader(&database, name, clock_at(SystemClock::new().now() + Duration::days(8)));
    assert_eq!(later.find_actor(cookie.as_bytes()).await.unwrap().actor(), None, "expired");
    assert!(now.find_actor(cookie.as_bytes()).await.unwrap().actor().is_some());

    // The library agrees, and goes on agreeing after this service has read the session.
    let session = issuer.ask(json!({"do": "get-session", "cookie": cookie})).await;
    assert_eq!(session["body"]["user"]["id"], user.as_str());

    let answer = issuer.ask(json!({"do": "sign-out", "cookie": cookie})).await;
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(now.find_actor(cookie.as_bytes()).await.unwrap().actor(), None, "signed out");

    // Signed in again, without "remember me": another cookie, accepted as well.
    let sign_in =
        json!({"do": "sign-in", "email": "asha@example.com", "password": "a long password", "rememberMe": false});
    let answer = issuer.ask(sign_in).await;
    let again = cookie_of(&answer, "better-auth.session_token");
    assert_ne!(again, cookie);
    assert_eq!(
        now.find_actor(again.as_bytes()).await.unwrap().actor().map(|actor| actor.id.to_string()),
        Some(user.clone())
    );

    // A ban counts at the next request here, though the library looks at bans only when signing in.
    client.execute("UPDATE \"user\" SET banned = true WHERE id = $1", &[&user]).await.unwrap();
    assert_eq!(now.find_actor(again.as_bytes()).await.unwrap().actor(), None, "banned");
    issuer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_cookie_has_the_name_that_the_librarys_settings_give_it() {
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
