//! Every setting, in the order of `.env.example`; that file and `docs/CONFIGURATION.md` are tested against it. What else a
//! new setting needs: `docs/ADDING-AN-ENDPOINT.md`, "Further changes".

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
        "The platform's database, e.g. postgres://user:password@host:5432/database?sslmode=verify-full; sslmode is disable, prefer, require, verify-ca or verify-full (with sslrootcert=file for a private authority). Required.",
    ),
    setting(
        "DATABASE_SCHEMA",
        Some("public"),
        "The PostgreSQL schema that holds the platform's tables. This service's own tables are always in the schema crm.",
    ),
    setting(
        "SALON_TIME_ZONE",
        Some("Asia/Kolkata"),
        "The salon's time zone, by its IANA name: the days of the directory's date filters, the day in the name of an exported file, which bookings are upcoming, and visits whose completion was not noted (crm kpis).",
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
        "Other origins whose pages may read responses and send writes (CORS), separated by commas, e.g. https://admin.example.com.",
    ),
    setting(
        "BIND_ADDRESS",
        Some("127.0.0.1:8080"),
        "Where to listen: an IP address and a port; port 0 takes a free one.",
    ),
    setting(
        "TLS_CERT_FILE",
        None,
        "A file with the server's certificate chain in PEM: with TLS_KEY_FILE, answers HTTPS itself (HTTP/1.1); both are read again on SIGHUP.",
    ),
    setting("TLS_KEY_FILE", None, "A file with the certificate's private key in PEM."),
    setting("TLS_HANDSHAKE_TIMEOUT_MS", Some("3000"), "The longest a TLS handshake may take, in milliseconds."),
    setting(
        "TRUSTED_PROXIES",
        None,
        "Proxies whose X-Forwarded-For (or Forwarded) is believed, as CIDRs separated by commas, e.g. 127.0.0.1/32,10.0.0.0/8.",
    ),
    setting("HTTP_WORKERS", Some("2"), "How many threads answer requests, 1 to 256."),
    setting(
        "HTTP_MAX_CONNECTIONS",
        Some("512"),
        "The most client connections at once, 1 to 65536; further ones wait to be accepted. When none is left, the one that has idled longest is closed.",
    ),
    setting(
        "HTTP_MAX_CONNECTIONS_PER_ADDRESS",
        None,
        "The most client connections at once of one address that is no trusted proxy, 1 to 65536. Unset: a quarter of HTTP_MAX_CONNECTIONS.",
    ),
    setting(
        "HTTP_KEEP_ALIVE_MS",
        Some("75000"),
        "How long an idle connection is kept, in milliseconds; longer than a proxy in front keeps its own.",
    ),
    setting(
        "HTTP_HEADER_TIMEOUT_MS",
        Some("5000"),
        "The longest a client may take to send a request's header, in milliseconds.",
    ),
    setting(
        "HTTP_BODY_TIMEOUT_MS",
        Some("5000"),
        "The longest a client may take to send a request's body, in milliseconds.",
    ),
    setting(
        "HTTP_WRITE_TIMEOUT_MS",
        Some("10000"),
        "The longest a client may read nothing of an answer that waits for it, in milliseconds; then its connection is closed.",
    ),
    setting(
        "REQUEST_TIMEOUT_MS",
        Some("10000"),
        "The longest a request may take before it is answered 503, in milliseconds.",
    ),
    setting(
        "EXPORT_TIMEOUT_MS",
        Some("600000"),
        "The longest an export of the directory may take before its connection is closed, in milliseconds.",
    ),
    setting(
        "KPI_REFRESH_INTERVAL_SECONDS",
        Some("0"),
        "How often the figures of customers are derived anew from bookings and invoices (crm kpis), in seconds, 1 to 604800, or 0 for never.",
    ),
    setting(
        "STARTUP_TIMEOUT_MS",
        Some("30000"),
        "The longest that a database that does not answer yet is waited for at start, in milliseconds.",
    ),
    setting(
        "SHUTDOWN_DELAY_MS",
        Some("0"),
        "How long requests are still taken after SIGTERM, while readyz answers 503 already, in milliseconds, 0 to 3600000.",
    ),
    setting(
        "SHUTDOWN_TIMEOUT_MS",
        Some("10000"),
        "The longest that requests in flight are waited for at shutdown, in milliseconds.",
    ),
    setting(
        "RATE_LIMIT_USER_REQUESTS",
        Some("100"),
        "The most requests of a signed-in user in a window, 1 to 1000000, or 0 for no limit.",
    ),
    setting(
        "RATE_LIMIT_ADDRESS_REQUESTS",
        Some("100"),
        "The most requests without a valid session of a client address in a window, 1 to 1000000, or 0 for no limit.",
    ),
    setting("RATE_LIMIT_WINDOW_SECONDS", Some("10"), "The sliding window of both limits, in seconds, 1 to 3600."),
    setting(
        "REDIS_URL",
        None,
        "Where instances share their rate limits, e.g. redis://user:password@host:6379/0, or rediss:// for TLS; without it each counts for itself.",
    ),
    setting(
        "REDIS_CA_FILE",
        None,
        "A file with the certificates, in PEM, of the private authority that vouches for Redis behind rediss://. Unset: the authorities that the system trusts.",
    ),
    setting("REDIS_KEY_PREFIX", Some("royal-glow-crm:"), "What every key in Redis begins with."),
    setting(
        "REDIS_TIMEOUT_MS",
        Some("100"),
        "The longest Redis is waited for before a request passes uncounted, in milliseconds.",
    ),
    setting(
        "DATABASE_POOL_MODE",
        Some("session"),
        "session, or transaction behind a pooler in transaction mode, such as PgBouncer.",
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
    setting(
        "DATABASE_CONNECTION_MAX_AGE_MS",
        Some("1800000"),
        "How old a database connection may become before another replaces it, in milliseconds; up to a tenth less for some.",
    ),
    setting("DATABASE_STATEMENT_TIMEOUT_MS", Some("5000"), "The longest a statement may run, in milliseconds."),
    setting("DATABASE_LOCK_TIMEOUT_MS", Some("2000"), "The longest a statement may wait for a lock, in milliseconds."),
    setting(
        "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS",
        Some("10000"),
        "The longest a transaction may sit idle before PostgreSQL ends its connection, in milliseconds.",
    ),
    setting(
        "METRICS_ADDRESS",
        None,
        "Where Prometheus reads /metrics, and health checks /livez and /readyz: an IP address and a port that the public cannot reach; port 0 takes a free one. Unset: nowhere.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "Where traces go by OTLP over HTTP, e.g. http://127.0.0.1:4318. Unset: nowhere. The OpenTelemetry SDK's other OTEL_… variables count too.",
    ),
    setting("OTEL_SERVICE_NAME", Some("royal-glow-crm"), "The service's name in traces."),
    setting(
        "API_DOCS",
        Some("false"),
        "Whether /api/openapi.json and the reference page /api/docs are served to anyone, true or false.",
    ),
    setting("LOG_FORMAT", Some("json"), "json, one object a line, or pretty."),
    setting(
        "RUST_LOG",
        Some("info,actix_http=off"),
        "What is logged: directives of the tracing crate's EnvFilter. Of libraries never more than warnings.",
    ),
];
