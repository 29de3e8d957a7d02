//! Opens connections: the address, TLS, and the settings of each session.

use std::{
    fmt, fs,
    ops::{Deref, DerefMut},
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};

use diesel::{ConnectionError, ConnectionResult, connection::CacheSize};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use percent_encoding::percent_decode_str;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::WebPkiServerVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use thiserror::Error;
use tokio_postgres::{Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

/// How long a host that does not answer is waited for where no pool's timeout counts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the search for a pooler in transaction mode may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest that sent data may stay unacknowledged by the server's host.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before TCP probes whether the server is still there. Less than the minute after
/// which address translators begin to forget connections.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(30);

/// How long TCP waits between two probes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How many probes may stay unanswered.
const KEEP_ALIVE_RETRIES: u32 = 3;

/// Why a database address was refused. Shown at start-up; never holds the address, which holds a password.
#[derive(Debug, Error)]
pub enum AddressError {
    /// Not an address of a PostgreSQL database.
    #[error("must be an address such as postgres://user:password@host:5432/database?sslmode=verify-full ({0})")]
    Malformed(String),
    /// An `sslmode` that is not offered.
    #[error("sslmode must be one of disable, prefer, require, verify-ca, verify-full")]
    SslMode,
    /// `sslmode=verify-ca` without an authority.
    #[error("sslmode=verify-ca needs sslrootcert, a file with the certificates of the authority")]
    VerifyCaNeedsRootCertificate,
    /// The system's roots without a check of the host's name.
    #[error("sslrootcert=system needs sslmode=verify-full: the system's authorities vouch for any host")]
    SystemRootsNeedVerifyFull,
    /// The file that `sslrootcert` names cannot be used.
    #[error("the file that sslrootcert names must hold PEM certificates and be readable ({0})")]
    RootCertificate(String),
    /// The system's certificates cannot be used.
    #[error("sslmode=verify-full needs the system's root certificates or sslrootcert ({0})")]
    SystemCertificates(String),
}

/// The kind of connection pooler between this service and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// Nothing, or a pooler that assigns a server connection to a client until it disconnects. Settings are set once for each
    /// connection, and prepared statements are kept.
    Session,
    /// A pooler such as PgBouncer in transaction mode, where each transaction may run on another server connection:
    /// every statement runs in a transaction that sets its own settings, and nothing outlives it.
    Transaction,
}

/// The PostgreSQL schema that holds the platform's tables. This service's own tables are always in the schema `crm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformSchema(String);

/// Why a name was refused.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("must be the name of a schema, of 1 to 63 bytes, and neither crm nor a name that begins with pg_")]
pub struct SchemaNameError;

impl PlatformSchema {
    /// Accepts the name of a schema as PostgreSQL stores it, without quotes.
    pub fn parse(name: &str) -> Result<Self, SchemaNameError> {
        let is_name = (1..=63).contains(&name.len()) && !name.contains('\0');
        if is_name && name != "crm" && !name.starts_with("pg_") {
            Ok(Self(name.to_owned()))
        } else {
            Err(SchemaNameError)
        }
    }

    /// The name as PostgreSQL stores it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as an SQL identifier.
    pub(super) fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

impl Default for PlatformSchema {
    /// `public`, where Better Auth and Drizzle put tables unless told otherwise.
    fn default() -> Self {
        Self("public".to_owned())
    }
}

/// The settings of each connection or transaction.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// Whether they are set for a connection or for each transaction.
    pub mode: PoolMode,
    /// The longest a statement may run.
    pub statement_timeout: Duration,
    /// The longest a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// The longest a transaction may sit idle: the server ends the connection of a client that went away.
    pub idle_in_transaction_timeout: Duration,
}

impl SessionSettings {
    /// The statements that tell a connection (`SET`) or a transaction (`SET LOCAL`).
    ///
    /// `client_connection_check_interval`: what nobody waits for any more ends within a second. `force_generic_plan` and
    /// `jit = off`: planning these statements anew costs more than running them (docs/BENCHMARKS.md).
    pub(crate) fn statements(self, set: &str) -> String {
        let Self { mode: _, statement_timeout, lock_timeout, idle_in_transaction_timeout } = self;
        [
            ("statement_timeout", statement_timeout.as_millis().to_string()),
            ("lock_timeout", lock_timeout.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", idle_in_transaction_timeout.as_millis().to_string()),
            ("plan_cache_mode", "force_generic_plan".to_owned()),
            ("jit", "off".to_owned()),
            // Moments compare with `timestamp` columns that hold UTC (docs/SESSIONS.md), whatever a pooler's connection is at.
            ("TimeZone", "'UTC'".to_owned()),
            ("client_connection_check_interval", "1000".to_owned()),
        ]
        .map(|(name, value)| format!("{set} {name} = {value}"))
        .join("; ")
    }
}

/// The statement that sets the language of messages to English if the role may do so, because [`super::error`] distinguishes
/// errors by their messages. It holds for the connection, or with `is_local` for the transaction.
pub(super) fn english_messages(is_local: &str) -> String {
    format!("SELECT set_config('lc_messages', 'C', {is_local}) WHERE has_parameter_privilege('lc_messages', 'SET')")
}

/// A connection and the task that moves its bytes. Dropping it closes the socket at once, also when an answer is due.
pub struct DrivenConnection {
    connection: AsyncPgConnection,
    driver: AbortOnDropHandle<()>,
}

impl DrivenConnection {
    /// Whether the connection is known to be closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Deref for DrivenConnection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.connection
    }
}

impl DerefMut for DrivenConnection {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.connection
    }
}

/// Makes connections to one database.
#[derive(Clone)]
pub struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    schema: PlatformSchema,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector(address not shown)")
    }
}

impl Connector {
    /// Reads an address. `sslmode` has libpq's meaning (ADR 8). `prefer` (the default) and `require` encrypt without
    /// verifying the server, unless `sslrootcert` names a file: then they verify like `verify-ca` that an authority in that
    /// file issued the server's certificate, whatever host it names. `verify-full` verifies the host's name too, by the
    /// system's roots or `sslrootcert`; `sslrootcert=system` makes it the default and is an error with anything weaker.
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        let (base, query) = address.split_once('?').unwrap_or((address, ""));
        if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
            return Err(AddressError::Malformed("it does not begin with postgres://".to_owned()));
        }
        let mut ssl_mode: Option<String> = None;
        let mut root_certificate: Option<RootCertificate> = None;
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "sslmode" => ssl_mode = Some(value),
                "sslrootcert" if value == "system" => root_certificate = Some(RootCertificate::System),
                "sslrootcert" => root_certificate = Some(RootCertificate::File(value)),
                _ => rest.push(pair),
            }
        }
        let mut config = Config::from_str(&format!("{base}?{}", rest.join("&")))
            .map_err(|error| AddressError::Malformed(cause_of(&error)))?;
        if config.get_application_name().is_none() {
            config.application_name("royal-glow-crm");
        }
        let (mode, tls) = tls_of(ssl_mode.as_deref(), root_certificate.as_ref())?;
        config.ssl_mode(mode);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_USER_TIMEOUT);
        }
        if !rest.iter().any(|pair| pair.starts_with("keepalives_idle=")) {
            config.keepalives_idle(KEEP_ALIVE_IDLE);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEP_ALIVE_INTERVAL);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(KEEP_ALIVE_RETRIES);
        }
        Ok(Self { config, tls: MakeRustlsConnect::new(tls), schema: PlatformSchema::default() })
    }

    /// The same address, with the platform's tables in that schema instead of `public`.
    #[must_use]
    pub fn with_schema(self, schema: PlatformSchema) -> Self {
        Self { schema, ..self }
    }

    /// The schema that holds the platform's tables.
    #[must_use]
    pub fn schema(&self) -> &PlatformSchema {
        &self.schema
    }

    /// The statement that makes unqualified names mean the platform's tables, whatever `search_path` the role or the
    /// database has. `set` is `SET` or `SET LOCAL`.
    pub(super) fn search_path(&self, set: &str) -> String {
        format!("{set} search_path = {}", self.schema.quoted())
    }

    /// Connects. In [`PoolMode::Session`] the connection gets its `settings` here; otherwise each of its transactions does.
    pub async fn connect(&self, settings: SessionSettings) -> ConnectionResult<DrivenConnection> {
        let (client, driver) = self.open().await?;
        let for_session = match settings.mode {
            PoolMode::Session => {
                format!("{}; {}; {}", settings.statements("SET"), self.search_path("SET"), english_messages("false"))
            }
            PoolMode::Transaction => String::new(),
        };
        // diesel-async sets a new connection's time zone and encoding by prepared statements. In a transaction they meet the
        // same connection of the server as their preparation did, also behind a pooler.
        client.batch_execute(&format!("BEGIN; {for_session}")).await.map_err(connection_failure)?;
        let mut connection = AsyncPgConnection::try_from(client).await?;
        connection.batch_execute("COMMIT").await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        if settings.mode == PoolMode::Transaction {
            connection.set_prepared_statement_cache_size(CacheSize::Disabled);
        }
        Ok(DrivenConnection { connection, driver })
    }

    /// Opens a connection without settings, and the task that moves its bytes.
    async fn open(&self) -> ConnectionResult<(tokio_postgres::Client, AbortOnDropHandle<()>)> {
        let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(connection_failure)?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // The statement that waits for a result gets this error too.
            let _ = connection.await;
        }));
        Ok((client, driver))
    }

    /// Whether a pooler in transaction mode is between this service and PostgreSQL: then two connections that are both open
    /// meet the same server process, or one meets two. `false` when a second connection cannot be had in time.
    pub async fn is_behind_transaction_pooler(&self) -> ConnectionResult<bool> {
        let asking = async {
            let (first, _first_driver) = self.open().await?;
            let (second, _second_driver) = self.open().await?;
            let before = server_process(&first, "").await?;
            // The pooler gives the transaction the server connection that is idle, so the other client needs another.
            let other = server_process(&second, "BEGIN; ").await?;
            // If that is the only one, the first client would wait for the end of the transaction.
            let is_shared = before == other || before != server_process(&first, "").await?;
            second.batch_execute("COMMIT").await.map_err(connection_failure)?;
            Ok(is_shared)
        };
        tokio::time::timeout(PROBE_TIMEOUT, asking).await.unwrap_or(Ok(false))
    }

    /// Connects with the server's own timeouts: for migrations and checks.
    pub async fn connect_plainly(&self) -> ConnectionResult<AsyncPgConnection> {
        let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(connection_failure)?;
        let mut connection = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
        let set = self.search_path("SET");
        connection.batch_execute(&set).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(connection)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn connection_failure(error: tokio_postgres::Error) -> ConnectionError {
    ConnectionError::BadConnection(cause_of(&error))
}

/// The id of the server process that a client meets at the moment.
async fn server_process(client: &tokio_postgres::Client, before: &str) -> ConnectionResult<Option<String>> {
    let messages =
        client.simple_query(&format!("{before}SELECT pg_backend_pid()")).await.map_err(connection_failure)?;
    Ok(messages.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

/// The message of an error's innermost cause: the outer ones only repeat that something failed.
fn cause_of(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// # Panics
///
/// Never: the provider offers rustls' default protocol versions.
fn tls_builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring offers the default protocol versions")
}

fn unverified_tls() -> ClientConfig {
    let verifier = Arc::new(AnyCertificate(provider()));
    tls_builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

/// Where the certificates of the authorities are.
enum RootCertificate {
    System,
    File(String),
}

/// The TLS settings for an address's `sslmode` and `sslrootcert`. With a file in `sslrootcert`, `prefer` verifies as in
/// libpq, but a certificate that does not pass is an error: libpq would connect again, without encryption.
fn tls_of(
    ssl_mode: Option<&str>,
    root_certificate: Option<&RootCertificate>,
) -> Result<(SslMode, ClientConfig), AddressError> {
    use RootCertificate::{File, System};
    // The system's roots vouch for anybody, so without a check of the host's name they would verify nothing.
    let default = if matches!(root_certificate, Some(System)) { "verify-full" } else { "prefer" };
    Ok(match (ssl_mode.unwrap_or(default), root_certificate) {
        ("verify-full", root) => (SslMode::Require, verified_tls(root)?),
        (_, Some(System)) => return Err(AddressError::SystemRootsNeedVerifyFull),
        ("disable", _) => (SslMode::Disable, unverified_tls()),
        ("prefer", None) => (SslMode::Prefer, unverified_tls()),
        ("prefer", Some(File(path))) => (SslMode::Prefer, tls_of_authority(path)?),
        ("require", None) => (SslMode::Require, unverified_tls()),
        ("require" | "verify-ca", Some(File(path))) => (SslMode::Require, tls_of_authority(path)?),
        ("verify-ca", None) => return Err(AddressError::VerifyCaNeedsRootCertificate),
        _ => return Err(AddressError::SslMode),
    })
}

fn verified_tls(root_certificate: Option<&RootCertificate>) -> Result<ClientConfig, AddressError> {
    let Some(RootCertificate::File(path)) = root_certificate else {
        return tls_builder()
            .with_platform_verifier()
            .map(rustls::ConfigBuilder::<ClientConfig, _>::with_no_client_auth)
            .map_err(|error| AddressError::SystemCertificates(error.to_string()));
    };
    Ok(tls_builder().with_root_certificates(read_roots(path)?).with_no_client_auth())
}

fn tls_of_authority(path: &str) -> Result<ClientConfig, AddressError> {
    let verifier = Arc::new(AnyHost::new(read_roots(path)?)?);
    Ok(tls_builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn read_roots(path: &str) -> Result<RootCertStore, AddressError> {
    let refused = |error: &dyn fmt::Display| AddressError::RootCertificate(error.to_string());
    let pem = fs::read(path).map_err(|error| refused(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| refused(&error))?;
        roots.add(certificate).map_err(|error| refused(&error))?;
    }
    if roots.is_empty() {
        return Err(refused(&"no certificate found"));
    }
    Ok(roots)
}

/// Takes a certificate of a known authority for any host, as libpq does with `sslmode=verify-ca`.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl AnyHost {
    fn new(roots: RootCertStore) -> Result<Self, AddressError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        verifier.map(Self).map_err(|error| AddressError::RootCertificate(error.to_string()))
    }
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::{CertificateError, Error};
        // The name is compared last, after the whole chain was verified.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Takes any certificate, as libpq does with `sslmode=require`: it keeps out listeners, not impostors. The
/// handshake's signatures are still verified.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    #[test]
    fn a_schema_has_a_name_that_postgresql_could_have_given_it() {
        for name in ["public", "Salon \"A\"", "crm2", &"x".repeat(63)] {
            assert_eq!(PlatformSchema::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "crm", "pg_catalog", "a\0", &"x".repeat(64)] {
            assert_eq!(PlatformSchema::parse(name), Err(SchemaNameError), "{name:?}");
        }
        assert_eq!(PlatformSchema::parse("Salon \"A\"").unwrap().quoted(), "\"Salon \"\"A\"\"\"");
    }

    #[test]
    fn addresses_of_common_providers_are_accepted() {
        for address in [
            "postgres://crm:secret@127.0.0.1:5432/crm",
            "postgresql://crm:s%40cret@db.example.com/crm?sslmode=require",
            "postgres://crm:secret@ep-x.ap-south-1.example.com/crm?sslmode=require&channel_binding=require",
            "postgres://crm@/crm?host=/var/run/postgresql",
            "postgres://crm:secret@db.example.com/crm?sslmode=disable&application_name=desk",
            "postgres://crm:secret@db.example.com/crm?sslmode=verify-full&sslrootcert=system",
        ] {
            assert!(Connector::parse(address).is_ok(), "{address}");
        }
    }

    #[test]
    fn errors_and_debug_output_omit_the_password() {
        for address in [
            "",
            "mysql://crm:hunter2@localhost/crm",
            "postgres://crm:hunter2@localhost:port/crm",
            "postgres://crm:hunter2@localhost/crm?sslmode=maybe",
            "postgres://crm:hunter2@localhost/crm?sslmode=verify-full&sslrootcert=/nowhere/hunter.pem",
            "postgres://crm:hunter2@localhost/crm?sslmode=require&sslrootcert=/nowhere/hunter.pem",
            "postgres://crm:hunter2@localhost/crm?sslmode=verify-ca",
            "postgres://crm:hunter2@localhost/crm?sslmode=require&sslrootcert=system",
            "postgres://crm:hunter2@localhost/crm?unheard=of",
        ] {
            let error = Connector::parse(address).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let connector = Connector::parse("postgres://crm:hunter2@localhost/crm").unwrap();
        assert!(!format!("{connector:?}").contains("hunter2"));
    }

    fn parse(query: &str) -> Result<Config, AddressError> {
        Connector::parse(&format!("postgres://crm@localhost/crm?{query}")).map(|connector| connector.config)
    }

    #[test]
    fn sslmode_and_sslrootcert_are_parsed_as_in_libpq() {
        let (root, _) = authority();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), root.pem()).unwrap();
        let file = file.path().display();
        for (query, mode) in [
            (String::new(), SslMode::Prefer),
            ("sslmode=disable".to_owned(), SslMode::Disable),
            ("sslmode=prefer".to_owned(), SslMode::Prefer),
            ("sslmode=require".to_owned(), SslMode::Require),
            ("sslmode=verify-full".to_owned(), SslMode::Require),
            (format!("sslrootcert={file}"), SslMode::Prefer),
            (format!("sslmode=disable&sslrootcert={file}"), SslMode::Disable),
            (format!("sslmode=require&sslrootcert={file}"), SslMode::Require),
            (format!("sslmode=verify-ca&sslrootcert={file}"), SslMode::Require),
            (format!("sslmode=verify-full&sslrootcert={file}"), SslMode::Require),
            // The system's roots make `verify-full` the default, in either order.
            ("sslrootcert=system".to_owned(), SslMode::Require),
            ("sslrootcert=system&sslmode=verify-full".to_owned(), SslMode::Require),
        ] {
            assert_eq!(parse(&query).unwrap().get_ssl_mode(), mode, "{query}");
        }
        for weaker in ["disable", "prefer", "require", "verify-ca"] {
            let outcome = parse(&format!("sslmode={weaker}&sslrootcert=system"));
            assert!(matches!(outcome, Err(AddressError::SystemRootsNeedVerifyFull)), "{weaker}");
        }
        assert!(matches!(parse("sslmode=verify-ca"), Err(AddressError::VerifyCaNeedsRootCertificate)));
        for unknown in ["allow", "verify", ""] {
            assert!(matches!(parse(&format!("sslmode={unknown}")), Err(AddressError::SslMode)), "{unknown}");
        }
        // Unlike libpq, which then verifies nothing in the weaker modes.
        for mode in ["prefer", "require", "verify-ca", "verify-full"] {
            let outcome = parse(&format!("sslmode={mode}&sslrootcert=/nowhere.pem"));
            assert!(matches!(outcome, Err(AddressError::RootCertificate(_))), "{mode}");
        }
    }

    #[test]
    fn tcp_keep_alive_has_defaults_that_the_address_can_override() {
        let keep_alive = |query: &str| {
            let config = parse(query).unwrap();
            (
                config.get_keepalives(),
                config.get_keepalives_idle().as_secs(),
                config.get_keepalives_interval().map(|interval| interval.as_secs()),
                config.get_keepalives_retries(),
            )
        };
        assert_eq!(keep_alive(""), (true, 30, Some(10), Some(3)));
        assert_eq!(keep_alive("application_name=keepalives"), (true, 30, Some(10), Some(3)));
        // The address overrides each parameter separately.
        assert_eq!(keep_alive("keepalives_idle=600"), (true, 600, Some(10), Some(3)));
        assert_eq!(keep_alive("keepalives_interval=5"), (true, 30, Some(5), Some(3)));
        assert_eq!(keep_alive("keepalives_retries=9"), (true, 30, Some(10), Some(9)));
        assert!(!keep_alive("keepalives=0").0);
    }

    /// Creates a certificate authority.
    fn authority() -> (Certificate, Issuer<'static, KeyPair>) {
        let mut parameters = CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        (parameters.self_signed(&key).unwrap(), Issuer::new(parameters, key))
    }

    /// The host name is compared last, so a certificate that fails only by its name has passed all other checks.
    #[test]
    fn a_valid_certificate_of_a_known_authority_is_accepted_for_any_host() {
        let (root, issuer) = authority();
        let (_, stranger) = authority();
        let verifier = {
            let mut roots = RootCertStore::empty();
            roots.add(root.der().clone()).unwrap();
            AnyHost::new(roots).unwrap()
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        let verify = |issuer: &Issuer<'static, KeyPair>, host: &str, last_year: i32| {
            let mut parameters = CertificateParams::new(vec!["db.example.com".to_owned()]).unwrap();
            parameters.not_after = rcgen::date_time_ymd(last_year, 12, 31);
            let certificate = parameters.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap();
            let host = ServerName::try_from(host.to_owned()).unwrap();
            verifier.verify_server_cert(certificate.der(), &[], &host, &[], now)
        };
        for host in ["db.example.com", "other.example.com", "127.0.0.1"] {
            assert!(verify(&issuer, host, 2030).is_ok(), "{host}");
            assert!(verify(&issuer, host, 2026).is_err(), "{host}: expired");
            assert!(verify(&stranger, host, 2030).is_err(), "{host}: of another authority");
        }
    }
}
