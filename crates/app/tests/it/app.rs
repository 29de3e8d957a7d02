//! The application under test: on a free port, with real adapters, a fixed clock and sequential ids.

use std::{sync::Arc, time::Duration};

use actix_web::web;
use crm_adapters::{
    better_auth::{
        BetterAuth,
        cookie::{CookieName, Secret},
    },
    postgres::{Pool, Postgres, directory::install},
    rate_limit::memory::MemoryRateLimits,
    testing::{
        TestDatabase,
        platform::{self, SECRET},
    },
};
use crm_app::{
    config::http::{HttpSettings, Origins, Quotas, TrustedProxies},
    http::server,
    observability::metrics::Metrics,
    services::{Ports, Services},
    shutdown::Lifecycle,
};
use crm_domain::{
    calendar::SalonTimeZone,
    health::{DirectoryModelState, StoreHealth as _},
    testing::{SequentialIds, clock, monotonic_clock},
};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_postgres::Client;

pub(crate) const ROLES: [&str; 6] = ["customer", "staff", "receptionist", "manager", "owner", "developer"];

/// A running application and its database, which has a user `usr_<role>` with a session for each role.
pub(crate) struct TestApp {
    pub(crate) address: String,
    pub(crate) client: Client,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    postgres: Arc<Postgres>,
    http: reqwest::Client,
    // Dropped last: the database can be deleted only when nothing uses it any more.
    pub(crate) database: TestDatabase,
}

/// A client for HTTP and HTTPS.
pub(crate) fn http_client() -> reqwest::Client {
    client_builder().build().unwrap()
}

/// The builder of [`http_client`], for further options.
pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    // Only the first call in a process succeeds.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

/// Settings for tests: timeouts long enough for a busy machine, no rate limits.
pub(crate) fn settings() -> HttpSettings {
    HttpSettings {
        bind_address: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        tls_handshake_timeout: Duration::from_secs(10),
        trusted_proxies: TrustedProxies::default(),
        origins: Origins {
            public: "https://admin.example.com".to_owned(),
            allowed: ["https://desk.example.com".to_owned()].into(),
        },
        workers: 1,
        max_connections: 1000,
        max_connections_per_address: 1000,
        keep_alive: Duration::from_secs(30),
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(30),
        export_timeout: Duration::from_secs(60),
        shutdown_timeout: Duration::from_secs(1),
        quotas: Quotas { user: None, address: None },
        docs: true,
    }
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks everything that every error must have, and returns the error code.
    pub(crate) fn error(&self) -> String {
        let body = self.json();
        assert_eq!(body["success"], false, "{}", self.text);
        let error = &body["error"];
        assert_eq!(error["statusCode"], self.status, "{}", self.text);
        assert_eq!(error["requestId"].as_str(), self.header("x-request-id"), "{}", self.text);
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", self.text);
        let code = error["code"].as_str().unwrap_or_default();
        let retryable =
            matches!(code, "INTERNAL_ERROR" | "SERVICE_UNAVAILABLE" | "RATE_LIMITED" | "REQUEST_IN_PROGRESS");
        assert_eq!(error["retryable"], retryable, "{}", self.text);
        if code != "CONFLICT" {
            let has_details = matches!(code, "VALIDATION_ERROR" | "RATE_LIMITED");
            assert_eq!(error.get("details").is_some(), has_details, "{}", self.text);
        }
        assert_eq!(self.header("content-type"), Some("application/json"));
        code.to_owned()
    }

    /// The messages of a validation error, by field.
    pub(crate) fn details(&self) -> Value {
        assert_eq!((self.status, self.error().as_str()), (400, "VALIDATION_ERROR"), "{}", self.text);
        self.json()["error"]["details"].clone()
    }
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(settings()).await
    }

    pub(crate) async fn start_with(settings: HttpSettings) -> Self {
        let database = TestDatabase::migrated();
        let pool = database.pool();
        Self::start_on(database, pool, settings).await
    }

    /// Starts on connections of the caller's choice to that database.
    pub(crate) async fn start_on(database: TestDatabase, pool: Pool, settings: HttpSettings) -> Self {
        let client = database.client().await;
        for role in ROLES {
            let id = format!("usr_{role}");
            platform::user(&client, &id, &format!("The {role}"), Some(role)).await;
            platform::sign_in(&client, &id).await;
        }
        let postgres = Arc::new(Postgres::new(pool.clone()));
        let services = web::Data::new(Services::new(ports(pool, postgres.clone())));
        let metrics = services.metrics.clone();
        let lifecycle = Arc::new(Lifecycle::default());
        let server = server::start(services, &settings, lifecycle.clone()).unwrap();
        let address = server.address.to_string();
        actix_web::rt::spawn(server.running);
        Self { address, client, metrics, lifecycle, postgres, http: http_client(), database }
    }

    /// Starts with two customers, three tags and two bookings, as the snapshots show them.
    pub(crate) async fn with_customers() -> Self {
        let app = Self::start().await;
        platform::customer(&app.client, "usr_1", "Asha Rao").await;
        platform::customer(&app.client, "usr_2", "Élodie D’Souza").await;
        platform::tag(&app.client, "tag_vip", "VIP", Some("#FFD700")).await;
        platform::tag(&app.client, "tag_bridal", "Bridal", None).await;
        platform::tag(&app.client, "tag_new", "New", Some("#00ff00")).await;
        platform::assign(&app.client, "usr_1", "tag_vip", "usr_receptionist").await;
        platform::assign(&app.client, "usr_1", "tag_bridal", "usr_receptionist").await;
        platform::booking(&app.client, "bkg_1", "usr_1").await;
        platform::booking(&app.client, "bkg_2", "usr_2").await;
        app.client
            .batch_execute(
                "UPDATE \"user\" SET image = 'https://example.com/asha.png' WHERE id = 'usr_1';
                 UPDATE customer_profile SET phone = '+919800000001', gender = 'female', date_of_birth = '1994-02-28',
                   acquisition_source = 'instagram', utm_source = 'ig', marketing_consent = true,
                   marketing_consent_at = '2025-01-02T03:04:05Z', first_visit_at = '2025-09-10T05:30:00Z',
                   last_visit_at = '2025-10-10T05:30:00.987654Z', total_visits = 4, total_spent_paise = 1250000,
                   noshow_count = 2, late_cancellation_count = 1, consecutive_completed_bookings = 2
                   WHERE user_id = 'usr_1';
                 INSERT INTO loyalty_account (id, customer_id, gems_balance) VALUES ('loy_1', 'usr_1', 120)",
            )
            .await
            .unwrap();
        app
    }

    /// The session cookie of the user with that role.
    pub(crate) fn cookie(role: &str) -> String {
        format!("better-auth.session_token={}", platform::signed(&format!("token-of-usr_{role}"), SECRET))
    }

    /// A request to `target` with the session of `role`, or without a session.
    pub(crate) fn request(&self, method: &str, target: &str, role: Option<&str>) -> reqwest::RequestBuilder {
        let url = format!("http://{}{target}", self.address);
        let request = self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        match role {
            Some(role) => request.header("cookie", Self::cookie(role)),
            None => request,
        }
    }

    pub(crate) async fn get(&self, target: &str, role: &str) -> Answer {
        send(self.request("GET", target, Some(role))).await
    }

    pub(crate) async fn send(&self, method: &str, target: &str, role: &str, body: &Value) -> Answer {
        send(self.request(method, target, Some(role)).json(body)).await
    }

    /// Sends a JSON body exactly as given.
    pub(crate) async fn send_text(
        &self,
        method: &str,
        target: &str,
        role: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        send(self.request(method, target, Some(role)).header("content-type", "application/json").body(body)).await
    }

    /// Sends the bytes unchanged and reads until the server closes the connection.
    pub(crate) async fn send_raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
        answer
    }

    /// Sends a request with an unchanged target. HTTP clients normalize their targets.
    pub(crate) async fn get_raw(&self, target: &[u8], role: &str) -> Answer {
        let mut request = b"GET ".to_vec();
        request.extend_from_slice(target);
        let rest = format!(" HTTP/1.1\r\nHost: crm\r\nConnection: close\r\nCookie: {}\r\n\r\n", Self::cookie(role));
        request.extend_from_slice(rest.as_bytes());
        parse_response(&self.send_raw(&request).await)
    }

    /// The application's adapters.
    pub(crate) fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// Installs the directory's read model and lets the application notice it.
    pub(crate) async fn install_directory_model(&self) {
        install::install(&self.database.connector(), &mut |_| {}).await.unwrap();
        self.postgres.maintain_directory_model_once().await.unwrap();
        assert_eq!(self.postgres.directory_reads().model, DirectoryModelState::InUse);
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        self.client.query_one(&format!("SELECT count(*) FROM {from}"), &[]).await.unwrap().get(0)
    }

    /// Every row that this service could have changed, as text.
    pub(crate) async fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for table in [
            "customer_profile",
            "customer_note",
            "customer_tag",
            "customer_tag_assignment",
            "audit_log",
            "crm.note_pin",
            "crm.note_revision",
            "crm.audit_customer",
            "crm.idempotency_key",
        ] {
            let sql = format!("SELECT '{table} ' || row_to_json(t)::text FROM {table} t ORDER BY 1");
            rows.extend(self.client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
        }
        rows
    }
}

/// The real adapters, except the clock and the id generator.
fn ports(pool: Pool, postgres: Arc<Postgres>) -> Ports {
    let sessions = BetterAuth {
        cookie_name: CookieName::new(false, "better-auth", None),
        secret: Secret::new(SECRET).unwrap(),
        pool,
        clock: clock(),
    };
    Ports {
        sessions: Arc::new(sessions),
        store: postgres.clone(),
        directory: postgres.clone(),
        customers: postgres.clone(),
        tags: postgres.clone(),
        notes: postgres.clone(),
        timeline: postgres.clone(),
        history: postgres.clone(),
        rate_limits: Arc::new(MemoryRateLimits::new(monotonic_clock())),
        health: postgres,
        clock: clock(),
        ids: Arc::new(SequentialIds::default()),
        time_zone: SalonTimeZone::parse("Asia/Kolkata").unwrap(),
    }
}

/// Sends the request and reads the whole response.
pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    Answer { status, headers, text: response.text().await.unwrap() }
}

/// Parses an HTTP/1.1 response with a `Content-Length`.
pub(crate) fn parse_response(answer: &[u8]) -> Answer {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse::<StatusCode>().unwrap().as_u16();
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse().unwrap(), value.parse().unwrap())
        })
        .collect();
    Answer { status, headers, text: body.to_owned() }
}
