//! The configuration: read from the environment, here alone, checked as a whole before anything starts.
//!
//! Every setting stands in [`SETTINGS`]; `.env.example` and the table in `README.md` are tested against it.

use std::{collections::HashSet, fmt, net::SocketAddr, time::Duration};

use crm_adapters::{
    better_auth::cookie::{CookieName, MIN_SECRET_LENGTH, Secret},
    postgres::{
        PoolSettings,
        connect::{Connector, SessionSettings},
    },
};
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::{
    http::{HttpSettings, cross_site::Origins},
    telemetry::LogFormat,
};

/// One environment variable.
#[derive(Debug)]
pub struct Setting {
    /// The variable's name.
    pub name: &'static str,
    /// Its value when it is unset or empty; `None` when there is none.
    pub default: Option<&'static str>,
    /// What it is, in a sentence.
    pub what: &'static str,
}

const fn setting(name: &'static str, default: Option<&'static str>, what: &'static str) -> Setting {
    Setting { name, default, what }
}

/// Every environment variable that this service reads, in the order of `.env.example`.
pub const SETTINGS: &[Setting] = &[
    setting(
        "DATABASE_URL",
        None,
        "The platform's database, e.g. postgres://user:password@host:5432/database?sslmode=verify-full; sslmode is disable, prefer, require or verify-full (with sslrootcert=file for a private authority). Required.",
    ),
    setting(
        "BETTER_AUTH_SECRET",
        None,
        "The platform's secret, exactly as the platform has it, at least 32 characters. Required unless BETTER_AUTH_SECRETS is set.",
    ),
    setting(
        "BETTER_AUTH_SECRETS",
        None,
        "The platform's rotated secrets, newest first, e.g. 2:new,1:old; the first one counts. Wins over BETTER_AUTH_SECRET.",
    ),
    setting(
        "BETTER_AUTH_URL",
        None,
        "The platform's public base URL, e.g. https://admin.example.com; beginning with https:// the session cookie has the __Secure- prefix. Required.",
    ),
    setting("BETTER_AUTH_COOKIE_PREFIX", Some("better-auth"), "The platform's advanced.cookiePrefix."),
    setting(
        "BETTER_AUTH_COOKIE_NAME",
        None,
        "The platform's advanced.cookies.session_token.name, when it has one: replaces <prefix>.session_token.",
    ),
    setting(
        "BETTER_AUTH_SECURE_COOKIES",
        None,
        "The platform's advanced.useSecureCookies, true or false, when it has one: otherwise BETTER_AUTH_URL decides.",
    ),
    setting(
        "ALLOWED_ORIGINS",
        None,
        "Origins whose pages may write although this service has another host than they have, separated by commas, e.g. https://admin.example.com.",
    ),
    setting(
        "BIND_ADDRESS",
        Some("127.0.0.1:8080"),
        "Where to listen: an IP address and a port; port 0 takes a free one.",
    ),
    setting("HTTP_WORKERS", Some("2"), "How many threads answer requests, 1 to 256."),
    setting(
        "REQUEST_TIMEOUT_MS",
        Some("10000"),
        "The longest a request may take before it is answered 503, in milliseconds.",
    ),
    setting(
        "SHUTDOWN_TIMEOUT_MS",
        Some("10000"),
        "The longest that requests in flight are waited for at shutdown, in milliseconds.",
    ),
    setting("DATABASE_POOL_SIZE", Some("10"), "The most database connections at once, 1 to 1000."),
    setting(
        "DATABASE_POOL_WAIT_MS",
        Some("2000"),
        "The longest a request waits for a connection to come free before it is answered 503, in milliseconds.",
    ),
    setting(
        "DATABASE_CONNECT_TIMEOUT_MS",
        Some("3000"),
        "The longest that making a connection may take, in milliseconds.",
    ),
    setting("DATABASE_STATEMENT_TIMEOUT_MS", Some("5000"), "The longest a statement may run, in milliseconds."),
    setting("DATABASE_LOCK_TIMEOUT_MS", Some("2000"), "The longest a statement may wait for a lock, in milliseconds."),
    setting(
        "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS",
        Some("10000"),
        "The longest a transaction may sit idle before PostgreSQL ends its connection, in milliseconds.",
    ),
    setting("LOG_FORMAT", Some("json"), "json, one object a line, or pretty."),
    setting(
        "RUST_LOG",
        Some("info,actix_server=warn,actix_http=off,tokio_postgres=warn"),
        "What is logged: directives of the tracing crate's EnvFilter.",
    ),
];

/// Where settings come from.
pub trait Source {
    /// The value of a variable; `Err` when it is not UTF-8.
    fn value(&self, name: &str) -> Result<Option<String>, NotUtf8>;
}

/// A value that is not UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct NotUtf8;

/// The process's environment.
#[derive(Debug, Clone, Copy)]
pub struct Environment;

impl Source for Environment {
    fn value(&self, name: &str) -> Result<Option<String>, NotUtf8> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(NotUtf8),
        }
    }
}

/// Everything that is wrong with the configuration. Never holds a value.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<(&'static str, String)>);

impl Problems {
    /// The names of the variables that are wrong.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "crm: the configuration is not usable:")?;
        for (name, problem) in &self.0 {
            writeln!(f, "  {name} {problem}")?;
        }
        writeln!(f, "Every setting is explained in .env.example.")
    }
}

impl std::error::Error for Problems {}

/// The database.
#[derive(Debug)]
pub struct DatabaseConfig {
    /// How to reach it.
    pub connector: Connector,
    /// How connections are shared.
    pub pool: PoolSettings,
}

/// The platform's sessions.
#[derive(Debug)]
pub struct SessionConfig {
    /// The session cookie.
    pub cookie_name: CookieName,
    /// What signs it.
    pub secret: Secret,
}

/// Everything `crm serve` needs.
#[derive(Debug)]
pub struct Config {
    /// The database.
    pub database: DatabaseConfig,
    /// The platform's sessions.
    pub session: SessionConfig,
    /// The HTTP side.
    pub http: HttpSettings,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged: directives that have been checked.
    pub log_filter: String,
}

/// Everything `crm migrate` needs.
#[derive(Debug)]
pub struct DatabaseAddress(pub Connector);

impl DatabaseAddress {
    /// Reads `DATABASE_URL` alone.
    pub fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let connector = reader.connector();
        reader.finish(connector.map(Self))
    }
}

impl Config {
    /// Reads every setting; reports everything that is wrong at once.
    pub fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let connector = reader.connector();
        let secret = reader.secret();
        let base_url = reader.base_url();
        let prefix = reader.text("BETTER_AUTH_COOKIE_PREFIX").unwrap_or_default();
        let custom_name = reader.text("BETTER_AUTH_COOKIE_NAME");
        let secure = reader.parse("BETTER_AUTH_SECURE_COOKIES", "must be true or false", |text| text.parse().ok());
        let allowed = reader.allowed_origins();
        let bind_address =
            reader.parse("BIND_ADDRESS", "must be an IP address and a port, such as 127.0.0.1:8080", |text| {
                text.parse::<SocketAddr>().ok()
            });
        let workers = reader.count("HTTP_WORKERS", 256);
        let request_timeout = reader.milliseconds("REQUEST_TIMEOUT_MS");
        let shutdown_timeout = reader.milliseconds("SHUTDOWN_TIMEOUT_MS");
        let pool_size = reader.count("DATABASE_POOL_SIZE", 1000);
        let wait = reader.milliseconds("DATABASE_POOL_WAIT_MS");
        let connect = reader.milliseconds("DATABASE_CONNECT_TIMEOUT_MS");
        let statement_timeout = reader.milliseconds("DATABASE_STATEMENT_TIMEOUT_MS");
        let lock_timeout = reader.milliseconds("DATABASE_LOCK_TIMEOUT_MS");
        let idle_in_transaction_timeout = reader.milliseconds("DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS");
        let log_format = reader.parse("LOG_FORMAT", "must be json or pretty", |text| match text {
            "json" => Some(LogFormat::Json),
            "pretty" => Some(LogFormat::Pretty),
            _ => None,
        });

        let log_filter = reader.parse("RUST_LOG", "must be directives such as info,crm_app=debug", |text| {
            EnvFilter::try_new(text).ok().map(|_| text.to_owned())
        });

        // Every `None` below has left a problem above.
        let config = (|| {
            let base_url = base_url?;
            let secure = secure.unwrap_or_else(|| base_url.scheme() == "https");
            Some(Self {
                database: DatabaseConfig {
                    connector: connector?,
                    pool: PoolSettings {
                        size: pool_size?,
                        wait: wait?,
                        connect: connect?,
                        session: SessionSettings {
                            statement_timeout: statement_timeout?,
                            lock_timeout: lock_timeout?,
                            idle_in_transaction_timeout: idle_in_transaction_timeout?,
                        },
                    },
                },
                session: SessionConfig {
                    cookie_name: CookieName::new(secure, &prefix, custom_name.as_deref()),
                    secret: secret?,
                },
                http: HttpSettings {
                    bind_address: bind_address?,
                    workers: workers?,
                    request_timeout: request_timeout?,
                    shutdown_timeout: shutdown_timeout?,
                    origins: Origins { public: base_url.origin().ascii_serialization(), allowed: allowed? },
                },
                log_format: log_format?,
                log_filter: log_filter?,
            })
        })();
        reader.finish(config)
    }
}

struct Reader<'s> {
    source: &'s dyn Source,
    problems: Problems,
}

impl<'s> Reader<'s> {
    fn new(source: &'s dyn Source) -> Self {
        Self { source, problems: Problems::default() }
    }

    fn problem(&mut self, name: &'static str, problem: impl Into<String>) {
        self.problems.0.push((name, problem.into()));
    }

    /// The value, or the default; empty counts as unset.
    fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.source.value(name).unwrap_or_else(|NotUtf8| {
            self.problem(name, "must be UTF-8 text");
            None
        });
        value.filter(|value| !value.is_empty()).or_else(|| {
            let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
            setting.default.map(str::to_owned)
        })
    }

    fn parse<T>(&mut self, name: &'static str, rule: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.problem(name, rule);
        }
        value
    }

    fn required(&mut self, name: &'static str, rule: &str) -> Option<String> {
        let text = self.text(name);
        if text.is_none() && !self.problems.names().contains(&name) {
            self.problem(name, format!("is not set: {rule}"));
        }
        text
    }

    fn milliseconds(&mut self, name: &'static str) -> Option<Duration> {
        self.parse(name, "must be a number of milliseconds from 1 to 3600000", |text| {
            text.parse().ok().filter(|value| (1..=3_600_000).contains(value)).map(Duration::from_millis)
        })
    }

    fn count(&mut self, name: &'static str, max: usize) -> Option<usize> {
        self.parse(name, &format!("must be a number from 1 to {max}"), |text| {
            text.parse().ok().filter(|value| (1..=max).contains(value))
        })
    }

    fn connector(&mut self) -> Option<Connector> {
        let address = self.required("DATABASE_URL", "it must be the address of the platform's database")?;
        Connector::parse(&address).map_err(|error| self.problem("DATABASE_URL", error.to_string())).ok()
    }

    fn base_url(&mut self) -> Option<Url> {
        const RULE: &str = "must be a URL such as https://admin.example.com";
        self.required("BETTER_AUTH_URL", &format!("it {RULE}"))?;
        self.parse("BETTER_AUTH_URL", RULE, |text| {
            Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
        })
    }

    /// The first of the rotated secrets, else the one secret. Better Auth trims the entries of the list and nothing
    /// else; it refuses a version twice, and so do we.
    fn secret(&mut self) -> Option<Secret> {
        const LIST: &str = "BETTER_AUTH_SECRETS";
        const ONE: &str = "BETTER_AUTH_SECRET";
        let (name, secret) = if let Some(list) = self.text(LIST) {
            let Some(secret) = first_of_rotated(&list) else {
                self.problem(LIST, "must be a list such as 2:new,1:old: whole numbers that differ, each with a secret");
                return None;
            };
            (LIST, secret)
        } else {
            let secret = self
                .required(ONE, &format!("it must be the platform's secret, at least {MIN_SECRET_LENGTH} characters"))?;
            (ONE, secret)
        };
        Secret::new(&secret).map_err(|error| self.problem(name, error.to_string())).ok()
    }

    fn allowed_origins(&mut self) -> Option<HashSet<String>> {
        let Some(list) = self.text("ALLOWED_ORIGINS") else {
            return Some(HashSet::new());
        };
        let origins: Option<HashSet<String>> = list
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            // An origin that the parser writes differently would never equal what a browser sends.
            .map(|origin| {
                Url::parse(origin)
                    .ok()
                    .filter(|url| url.origin().ascii_serialization() == origin)
                    .map(|_| origin.to_owned())
            })
            .collect();
        if origins.is_none() {
            self.problem(
                "ALLOWED_ORIGINS",
                "must be origins such as https://desk.example.com, separated by commas, without a path",
            );
        }
        origins
    }

    fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.0.is_empty() => Ok(value),
            _ => Err(self.problems),
        }
    }
}

fn first_of_rotated(list: &str) -> Option<String> {
    let mut versions = HashSet::new();
    let mut first = None;
    for entry in list.split(',') {
        let (version, secret) = entry.trim().split_once(':')?;
        let version: u64 = version.trim().parse().ok()?;
        let secret = secret.trim();
        if secret.is_empty() || !versions.insert(version) {
            return None;
        }
        first.get_or_insert_with(|| secret.to_owned());
    }
    first
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[expect(clippy::implicit_hasher, reason = "the tests' maps are all of one kind")]
    impl Source for HashMap<&'static str, &'static str> {
        fn value(&self, name: &str) -> Result<Option<String>, NotUtf8> {
            Ok(self.get(name).map(|value| (*value).to_owned()))
        }
    }

    const SECRET: &str = "test-secret-of-at-least-32-characters-long!!";

    fn minimal() -> HashMap<&'static str, &'static str> {
        HashMap::from([
            ("DATABASE_URL", "postgres://crm:hunter2@127.0.0.1/crm"),
            ("BETTER_AUTH_SECRET", SECRET),
            ("BETTER_AUTH_URL", "https://admin.example.com"),
        ])
    }

    fn with(name: &'static str, value: &'static str) -> HashMap<&'static str, &'static str> {
        let mut source = minimal();
        source.insert(name, value);
        source
    }

    #[test]
    fn three_settings_are_enough() {
        let config = Config::read(&minimal()).unwrap();
        assert_eq!(config.session.cookie_name.as_str(), "__Secure-better-auth.session_token");
        assert_eq!(config.http.bind_address.to_string(), "127.0.0.1:8080");
        assert_eq!(config.http.origins.public, "https://admin.example.com");
        assert_eq!(config.database.pool.session.lock_timeout, Duration::from_secs(2));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_no_value_is() {
        let source = HashMap::from([
            ("DATABASE_URL", "mysql://crm:hunter2@127.0.0.1/crm"),
            ("BETTER_AUTH_SECRET", "hunter2"),
            ("BETTER_AUTH_URL", "hunter2"),
            ("BETTER_AUTH_SECURE_COOKIES", "hunter2"),
            ("ALLOWED_ORIGINS", "https://desk.example.com/hunter2"),
            ("BIND_ADDRESS", "hunter2"),
            ("HTTP_WORKERS", "0"),
            ("REQUEST_TIMEOUT_MS", "-1"),
            ("SHUTDOWN_TIMEOUT_MS", "1.5"),
            ("DATABASE_POOL_SIZE", "1001"),
            ("DATABASE_POOL_WAIT_MS", "0"),
            ("DATABASE_CONNECT_TIMEOUT_MS", "3600001"),
            ("DATABASE_STATEMENT_TIMEOUT_MS", "5s"),
            ("DATABASE_LOCK_TIMEOUT_MS", "x"),
            ("DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS", "18446744073709551616"),
            ("LOG_FORMAT", "hunter2"),
            ("RUST_LOG", "hunter2=hunter2"),
        ]);
        let problems = Config::read(&source).unwrap_err();
        let mut wrong = problems.names();
        wrong.sort_unstable();
        let mut expected: Vec<_> = source.keys().copied().collect();
        expected.sort_unstable();
        assert_eq!(wrong, expected);
        assert!(!problems.to_string().contains("hunter2"), "{problems}");

        let nothing = HashMap::new();
        let problems = Config::read(&nothing).unwrap_err();
        assert_eq!(problems.names(), ["DATABASE_URL", "BETTER_AUTH_SECRET", "BETTER_AUTH_URL"]);
    }

    #[test]
    fn the_configuration_does_not_print_its_secrets() {
        let printed = format!("{:?}", Config::read(&minimal()).unwrap());
        assert!(!printed.contains("hunter2") && !printed.contains(SECRET), "{printed}");
    }

    #[test]
    fn the_cookie_is_the_platforms() {
        let name = |source| Config::read(&source).unwrap().session.cookie_name.as_str().to_owned();
        assert_eq!(name(with("BETTER_AUTH_URL", "http://localhost:3000")), "better-auth.session_token");
        assert_eq!(name(with("BETTER_AUTH_URL", "HTTPS://admin.example.com/")), "__Secure-better-auth.session_token");
        assert_eq!(name(with("BETTER_AUTH_SECURE_COOKIES", "false")), "better-auth.session_token");
        assert_eq!(name(with("BETTER_AUTH_COOKIE_PREFIX", "salon")), "__Secure-salon.session_token");
        assert_eq!(name(with("BETTER_AUTH_COOKIE_NAME", "sid")), "__Secure-sid");
    }

    #[test]
    fn of_rotated_secrets_the_first_counts() {
        let fingerprint = |secret| Secret::new(secret).unwrap().fingerprint().to_owned();
        let of = |list| {
            Config::read(&with("BETTER_AUTH_SECRETS", list))
                .map(|config| config.session.secret.fingerprint().to_owned())
        };
        let new = "a-new-secret-of-at-least-32-characters";
        assert_eq!(of("2:a-new-secret-of-at-least-32-characters,1:old"), Ok(fingerprint(new)));
        assert_eq!(of(" 2 : a-new-secret-of-at-least-32-characters ,1:old"), Ok(fingerprint(new)));
        assert_eq!(
            of("2:with:a:colon:and-at-least-32-characters"),
            Ok(fingerprint("with:a:colon:and-at-least-32-characters"))
        );
        assert_eq!(of(""), Ok(fingerprint(SECRET)), "empty counts as unset");
        for list in [
            "a-new-secret-of-at-least-32-characters",
            "x:a-new-secret-of-at-least-32-characters",
            "2:",
            "1:short",
            "2:a-new-secret-of-at-least-32-characters,2:old",
        ] {
            assert_eq!(of(list).unwrap_err().names(), ["BETTER_AUTH_SECRETS"], "{list}");
        }
        // The one secret is used as it stands.
        let padded =
            Config::read(&with("BETTER_AUTH_SECRET", " test-secret-of-at-least-32-characters-long!! ")).unwrap();
        assert_ne!(padded.session.secret.fingerprint(), fingerprint(SECRET));
    }

    #[test]
    fn the_examples_and_the_readme_hold_every_setting() {
        let example = include_str!("../../../.env.example");
        let readme = include_str!("../../../README.md");
        for Setting { name, default, what } in SETTINGS {
            let line = format!("# {what}\n#{name}={}\n", default.unwrap_or_default());
            assert!(example.contains(&line), ".env.example lacks:\n{line}");
            let default = default.map_or(String::new(), |default| format!("`{default}`"));
            let row = format!("| `{name}` | {default} | {what} |");
            assert!(readme.contains(&row), "README.md lacks:\n{row}");
        }
        let listed: Vec<_> = example
            .lines()
            .filter_map(|line| line.strip_prefix('#')?.split_once('='))
            .map(|(name, _)| name)
            .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
            .collect();
        assert_eq!(listed, SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>());
    }
}
