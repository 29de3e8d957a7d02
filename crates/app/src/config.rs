//! The configuration: read from the environment, here alone, checked as a whole before anything starts.
//!
//! What there is to set stands in [`SETTINGS`]; this file says what each command needs of it, `reader` how one setting is
//! read.

pub mod certificate;
pub mod http;
mod problems;
mod reader;
mod settings;
mod source;
pub mod telemetry;
pub mod warnings;

use std::{net::SocketAddr, time::Duration};

use crm_adapters::{
    better_auth::cookie::{CookieName, Secret},
    postgres::{
        PoolSettings,
        connect::{Connector, PlatformSchema, PoolMode, SessionSettings},
    },
    rate_limit::redis::RedisSettings,
};
use crm_domain::{calendar::SalonTimeZone, rate_limit::Quota};
use tracing_subscriber::EnvFilter;
use url::Url;

use self::reader::{Reader, http_url};
use self::{
    http::{HttpSettings, Origins, Quotas},
    telemetry::{LogFormat, TelemetrySettings},
};
pub use self::{
    problems::Problems,
    settings::{SETTINGS, Setting},
    source::{Environment, NotUtf8, Source},
};

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
    /// Where rate limits are counted; `None`: in this process.
    pub redis: Option<RedisSettings>,
    /// The salon's time zone.
    pub time_zone: SalonTimeZone,
    /// How often the figures of customers are refreshed; `None`: never.
    pub kpi_refresh_interval: Option<Duration>,
    /// Starting and stopping.
    pub lifecycle: LifecycleConfig,
    /// Logs and traces.
    pub telemetry: TelemetrySettings,
    /// Where Prometheus reads metrics; `None`: nowhere.
    pub metrics_address: Option<SocketAddr>,
}

/// Starting and stopping.
#[derive(Debug)]
pub struct LifecycleConfig {
    /// The longest that a database that does not answer yet is waited for.
    pub startup_timeout: Duration,
    /// How long requests are still taken after SIGTERM.
    pub shutdown_delay: Duration,
}

/// Everything `crm migrate` needs.
#[derive(Debug)]
pub struct DatabaseAddress(pub Connector);

impl DatabaseAddress {
    /// Reads `DATABASE_URL` and `DATABASE_SCHEMA`.
    pub fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let connector = reader.connector();
        reader.finish(connector.map(Self))
    }
}

/// Everything `crm healthcheck` needs: an address that answers `/livez` and `/readyz`, and whether it speaks TLS there.
#[derive(Debug)]
pub struct HealthAddress {
    /// Where the service listens.
    pub address: SocketAddr,
    /// Whether it answers HTTPS.
    pub tls: bool,
}

impl HealthAddress {
    /// Reads `METRICS_ADDRESS`: there health checks get an answer also when clients hold all connections of the API. When
    /// it is unset, or its port is 0, reads `BIND_ADDRESS`, and whether `TLS_CERT_FILE` is set.
    pub fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let metrics_address = reader.address("METRICS_ADDRESS").filter(|address| address.port() != 0);
        let address = metrics_address.or_else(|| reader.address("BIND_ADDRESS"));
        let tls = metrics_address.is_none() && reader.text("TLS_CERT_FILE").is_some();
        reader.finish(address.map(|address| Self { address, tls }))
    }
}

/// What `crm check --grants` needs: the schema of the platform's tables.
#[derive(Debug)]
pub struct DatabaseSchema(pub PlatformSchema);

impl DatabaseSchema {
    /// Reads `DATABASE_SCHEMA`.
    pub fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let schema = reader.schema();
        reader.finish(schema.map(Self))
    }
}

impl DatabaseConfig {
    /// Reads what `crm check` needs: the address and the settings of the pool.
    pub fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let database = read_database(&mut reader);
        reader.finish(database)
    }
}

/// Everything `crm kpis` needs.
#[derive(Debug)]
pub struct KpiConfig {
    /// The database.
    pub database: DatabaseConfig,
    /// The salon's time zone.
    pub time_zone: SalonTimeZone,
}

impl KpiConfig {
    /// Reads the address of the database, the settings of the pool, and `SALON_TIME_ZONE`.
    pub fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let database = read_database(&mut reader);
        let time_zone = reader.time_zone();
        reader.finish(database.zip(time_zone).map(|(database, time_zone)| Self { database, time_zone }))
    }
}

impl Config {
    /// Reads every setting; reports everything that is wrong at once.
    pub fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        // Every section is read to its end before a `None` in it counts: whatever is wrong has been noted by then.
        let database = read_database(&mut reader);
        let base_url = reader.base_url();
        let session = read_session(&mut reader, base_url.as_ref());
        let http = read_http(&mut reader, base_url.as_ref());
        let redis = reader.redis();
        let time_zone = reader.time_zone();
        let kpi_refresh_interval =
            reader.parse("KPI_REFRESH_INTERVAL_SECONDS", "must be a number from 1 to 604800, or 0 for never", |text| {
                text.parse().ok().filter(|value| *value <= 604_800)
            });
        let lifecycle = read_lifecycle(&mut reader);
        let telemetry = read_telemetry(&mut reader);
        let metrics_address = reader.address("METRICS_ADDRESS");
        let config = (|| {
            Some(Self {
                database: database?,
                session: session?,
                http: http?,
                redis,
                time_zone: time_zone?,
                kpi_refresh_interval: Some(kpi_refresh_interval?)
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs),
                lifecycle: lifecycle?,
                telemetry: telemetry?,
                metrics_address,
            })
        })();
        reader.finish(config)
    }
}

fn read_database(reader: &mut Reader<'_>) -> Option<DatabaseConfig> {
    let connector = reader.connector();
    let mode = reader.parse("DATABASE_POOL_MODE", "must be session or transaction", |text| match text {
        "session" => Some(PoolMode::Session),
        "transaction" => Some(PoolMode::Transaction),
        _ => None,
    });
    let size = reader.count("DATABASE_POOL_SIZE", 1000);
    let wait = reader.milliseconds("DATABASE_POOL_WAIT_MS");
    let connect = reader.milliseconds("DATABASE_CONNECT_TIMEOUT_MS");
    let max_age = reader.milliseconds("DATABASE_CONNECTION_MAX_AGE_MS");
    let statement_timeout = reader.milliseconds("DATABASE_STATEMENT_TIMEOUT_MS");
    let lock_timeout = reader.milliseconds("DATABASE_LOCK_TIMEOUT_MS");
    let idle_in_transaction_timeout = reader.milliseconds("DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS");
    Some(DatabaseConfig {
        connector: connector?,
        pool: PoolSettings {
            size: size?,
            wait: wait?,
            connect: connect?,
            max_age: max_age?,
            session: SessionSettings {
                mode: mode?,
                statement_timeout: statement_timeout?,
                lock_timeout: lock_timeout?,
                idle_in_transaction_timeout: idle_in_transaction_timeout?,
            },
        },
    })
}

fn read_session(reader: &mut Reader<'_>, base_url: Option<&Url>) -> Option<SessionConfig> {
    let secret = reader.secret();
    let prefix = reader.text("BETTER_AUTH_COOKIE_PREFIX").unwrap_or_default();
    let custom_name = reader.text("BETTER_AUTH_COOKIE_NAME");
    let secure = reader.parse("BETTER_AUTH_SECURE_COOKIES", "must be true or false", |text| text.parse().ok());
    let secure = secure.unwrap_or(base_url?.scheme() == "https");
    Some(SessionConfig { cookie_name: CookieName::new(secure, &prefix, custom_name.as_deref()), secret: secret? })
}

fn read_http(reader: &mut Reader<'_>, base_url: Option<&Url>) -> Option<HttpSettings> {
    let bind_address = reader.address("BIND_ADDRESS");
    let tls = reader.certificate();
    let tls_handshake_timeout = reader.milliseconds("TLS_HANDSHAKE_TIMEOUT_MS");
    let trusted_proxies = reader.trusted_proxies();
    let allowed = reader.allowed_origins();
    let workers = reader.count("HTTP_WORKERS", 256);
    let max_connections = reader.count("HTTP_MAX_CONNECTIONS", 65_536);
    let share = reader.count("HTTP_MAX_CONNECTIONS_PER_ADDRESS", 65_536);
    let keep_alive = reader.milliseconds("HTTP_KEEP_ALIVE_MS");
    let header_timeout = reader.milliseconds("HTTP_HEADER_TIMEOUT_MS");
    let body_timeout = reader.milliseconds("HTTP_BODY_TIMEOUT_MS");
    let write_timeout = reader.milliseconds("HTTP_WRITE_TIMEOUT_MS");
    let request_timeout = reader.milliseconds("REQUEST_TIMEOUT_MS");
    let export_timeout = reader.milliseconds("EXPORT_TIMEOUT_MS");
    let shutdown_timeout = reader.milliseconds("SHUTDOWN_TIMEOUT_MS");
    let quotas = read_quotas(reader);
    let docs = reader.parse("API_DOCS", "must be true or false", |text| text.parse().ok());
    Some(HttpSettings {
        bind_address: bind_address?,
        tls,
        tls_handshake_timeout: tls_handshake_timeout?,
        trusted_proxies,
        origins: Origins { public: base_url?.origin().ascii_serialization(), allowed },
        workers: workers?,
        max_connections: max_connections?,
        max_connections_per_address: share.unwrap_or(max_connections?.div_ceil(4)),
        keep_alive: keep_alive?,
        header_timeout: header_timeout?,
        body_timeout: body_timeout?,
        write_timeout: write_timeout?,
        request_timeout: request_timeout?,
        export_timeout: export_timeout?,
        shutdown_timeout: shutdown_timeout?,
        quotas: quotas?,
        docs: docs?,
    })
}

fn read_quotas(reader: &mut Reader<'_>) -> Option<Quotas> {
    let window = reader.parse("RATE_LIMIT_WINDOW_SECONDS", "must be a number from 1 to 3600", |text| {
        text.parse().ok().filter(|value| (1..=3600).contains(value)).map(Duration::from_secs)
    });
    let user = reader.requests("RATE_LIMIT_USER_REQUESTS");
    let address = reader.requests("RATE_LIMIT_ADDRESS_REQUESTS");
    let (window, user, address) = (window?, user?, address?);
    // 0 disables the limit.
    let quota = |requests: u32| (requests > 0).then_some(Quota { requests, window });
    Some(Quotas { user: quota(user), address: quota(address) })
}

fn read_lifecycle(reader: &mut Reader<'_>) -> Option<LifecycleConfig> {
    let startup_timeout = reader.milliseconds("STARTUP_TIMEOUT_MS");
    let shutdown_delay = reader.milliseconds_or_none("SHUTDOWN_DELAY_MS");
    Some(LifecycleConfig { startup_timeout: startup_timeout?, shutdown_delay: shutdown_delay? })
}

fn read_telemetry(reader: &mut Reader<'_>) -> Option<TelemetrySettings> {
    let log_format = reader.parse("LOG_FORMAT", "must be json or pretty", |text| match text {
        "json" => Some(LogFormat::Json),
        "pretty" => Some(LogFormat::Pretty),
        _ => None,
    });
    let log_filter = reader.parse("RUST_LOG", "must be directives such as info,crm_app=debug", |text| {
        EnvFilter::try_new(text).ok().map(|_| text.to_owned())
    });
    let otlp_endpoint =
        reader.parse("OTEL_EXPORTER_OTLP_ENDPOINT", "must be a URL such as http://127.0.0.1:4318", http_url);
    let service_name = reader.text("OTEL_SERVICE_NAME");
    Some(TelemetrySettings {
        log_format: log_format?,
        log_filter: log_filter?,
        otlp_endpoint,
        service_name: service_name?,
    })
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

        fn names(&self) -> Vec<String> {
            self.keys().map(|name| (*name).to_owned()).collect()
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
    fn three_settings_are_sufficient() {
        let config = Config::read(&minimal()).unwrap();
        assert_eq!(config.session.cookie_name.as_str(), "__Secure-better-auth.session_token");
        assert_eq!(config.http.bind_address.to_string(), "127.0.0.1:8080");
        assert_eq!(config.http.origins.public, "https://admin.example.com");
        assert_eq!(config.database.pool.session.lock_timeout, Duration::from_secs(2));
    }

    #[test]
    fn all_invalid_settings_are_reported_together_and_without_values() {
        let source = HashMap::from([
            ("DATABASE_URL", "mysql://crm:hunter2@127.0.0.1/crm"),
            ("BETTER_AUTH_SECRET", "hunter2"),
            ("BETTER_AUTH_URL", "hunter2"),
            ("BETTER_AUTH_SECURE_COOKIES", "hunter2"),
            ("ALLOWED_ORIGINS", "https://desk.example.com/hunter2"),
            ("BIND_ADDRESS", "hunter2"),
            ("TLS_CERT_FILE", "/nowhere/hunter.pem"),
            ("TLS_KEY_FILE", "/nowhere/hunter.pem"),
            ("TLS_HANDSHAKE_TIMEOUT_MS", "soon"),
            ("TRUSTED_PROXIES", "hunter2"),
            ("HTTP_WORKERS", "0"),
            ("HTTP_MAX_CONNECTIONS", "65537"),
            ("HTTP_KEEP_ALIVE_MS", "forever"),
            ("HTTP_HEADER_TIMEOUT_MS", "0"),
            ("HTTP_BODY_TIMEOUT_MS", "0"),
            ("HTTP_WRITE_TIMEOUT_MS", "0"),
            ("HTTP_MAX_CONNECTIONS_PER_ADDRESS", "0"),
            ("SALON_TIME_ZONE", "hunter2"),
            ("KPI_REFRESH_INTERVAL_SECONDS", "604801"),
            ("STARTUP_TIMEOUT_MS", "0"),
            ("SHUTDOWN_DELAY_MS", "3600001"),
            ("RATE_LIMIT_USER_REQUESTS", "-1"),
            ("RATE_LIMIT_ADDRESS_REQUESTS", "1000001"),
            ("RATE_LIMIT_WINDOW_SECONDS", "0"),
            ("REDIS_URL", "http://crm:hunter2@127.0.0.1"),
            ("REDIS_TIMEOUT_MS", "0"),
            ("DATABASE_POOL_MODE", "hunter2"),
            ("METRICS_ADDRESS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2"),
            ("REQUEST_TIMEOUT_MS", "-1"),
            ("EXPORT_TIMEOUT_MS", "0"),
            ("SHUTDOWN_TIMEOUT_MS", "1.5"),
            ("DATABASE_POOL_SIZE", "1001"),
            ("DATABASE_POOL_WAIT_MS", "0"),
            ("DATABASE_CONNECT_TIMEOUT_MS", "3600001"),
            ("DATABASE_CONNECTION_MAX_AGE_MS", "0"),
            ("DATABASE_STATEMENT_TIMEOUT_MS", "5s"),
            ("DATABASE_LOCK_TIMEOUT_MS", "x"),
            ("DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS", "18446744073709551616"),
            ("API_DOCS", "hunter2"),
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
    fn certificate_and_key_are_required_together() {
        for (set, wrong) in [("TLS_CERT_FILE", "TLS_KEY_FILE"), ("TLS_KEY_FILE", "TLS_CERT_FILE")] {
            let problems = Config::read(&with(set, "/nowhere/file.pem")).unwrap_err();
            assert!(problems.names().contains(&wrong), "{problems}");
        }
    }

    #[test]
    fn each_rate_limit_can_be_disabled() {
        let limits = |source| Config::read(&source).unwrap().http.quotas;
        let window = Duration::from_secs(10);
        let quota = |requests| Some(Quota { requests, window });
        assert_eq!(limits(minimal()), Quotas { user: quota(100), address: quota(100) });
        assert_eq!(limits(with("RATE_LIMIT_USER_REQUESTS", "0")), Quotas { user: None, address: quota(100) });
        assert_eq!(limits(with("RATE_LIMIT_ADDRESS_REQUESTS", "0")), Quotas { user: quota(100), address: None });
    }

    #[test]
    fn the_debug_output_of_the_configuration_omits_secrets() {
        let printed = format!("{:?}", Config::read(&with("REDIS_URL", "redis://crm:hunter2@127.0.0.1")).unwrap());
        assert!(!printed.contains("hunter2") && !printed.contains(SECRET), "{printed}");
    }

    #[test]
    fn the_cookie_name_follows_the_settings_of_the_platform() {
        let name = |source| Config::read(&source).unwrap().session.cookie_name.as_str().to_owned();
        assert_eq!(name(with("BETTER_AUTH_URL", "http://localhost:3000")), "better-auth.session_token");
        assert_eq!(name(with("BETTER_AUTH_URL", "HTTPS://admin.example.com/")), "__Secure-better-auth.session_token");
        assert_eq!(name(with("BETTER_AUTH_SECURE_COOKIES", "false")), "better-auth.session_token");
        assert_eq!(name(with("BETTER_AUTH_COOKIE_PREFIX", "salon")), "__Secure-salon.session_token");
        assert_eq!(name(with("BETTER_AUTH_COOKIE_NAME", "sid")), "__Secure-sid");
    }

    #[test]
    fn the_first_of_several_secrets_is_used() {
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
        // `BETTER_AUTH_SECRET` is not trimmed.
        let padded =
            Config::read(&with("BETTER_AUTH_SECRET", " test-secret-of-at-least-32-characters-long!! ")).unwrap();
        assert_ne!(padded.session.secret.fingerprint(), fingerprint(SECRET));
    }

    #[test]
    fn the_example_and_the_document_list_every_setting() {
        let example = include_str!("../../../.env.example");
        let document = include_str!("../../../docs/CONFIGURATION.md");
        for Setting { name, default, what } in SETTINGS {
            let line = format!("# {what}\n#{name}={}\n", default.unwrap_or_default());
            assert!(example.contains(&line), ".env.example lacks:\n{line}");
            let default = default.map_or(String::new(), |default| format!("`{default}`"));
            let row = format!("| `{name}` | {default} | {what} |");
            assert!(document.contains(&row), "docs/CONFIGURATION.md lacks:\n{row}");
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
