//! Reads and parses single settings, and collects the errors.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use crm_adapters::{
    better_auth::cookie::{MIN_SECRET_LENGTH, Secret},
    postgres::connect::{Connector, PlatformSchema},
    rate_limit::redis::{RedisAddress, RedisSettings},
};
use crm_domain::calendar::SalonTimeZone;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use url::Url;

use super::{
    certificate::{Certificate, CertificateErrors},
    http::TrustedProxies,
    problems::Problems,
    settings::SETTINGS,
    source::{NotUtf8, Source},
};

/// An address that begins with `http://` or `https://`.
pub(super) fn http_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// Reads settings of one source. What is `None` is unset, or has left a problem behind that [`Reader::finish`] tells.
pub(super) struct Reader<'s> {
    source: &'s dyn Source,
    problems: Problems,
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s dyn Source) -> Self {
        Self { source, problems: Problems::default() }
    }

    fn problem(&mut self, name: &'static str, problem: impl Into<String>) {
        self.problems.0.push((name, problem.into()));
    }

    /// The value, or the default; empty counts as unset.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.source.value(name).unwrap_or_else(|NotUtf8| {
            self.problem(name, "must be UTF-8 text");
            None
        });
        value.filter(|value| !value.is_empty()).or_else(|| {
            let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
            setting.default.map(str::to_owned)
        })
    }

    pub(super) fn parse<T>(
        &mut self,
        name: &'static str,
        rule: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.problem(name, rule);
        }
        value
    }

    pub(super) fn required(&mut self, name: &'static str, rule: &str) -> Option<String> {
        let text = self.text(name);
        if text.is_none() && !self.problems.names().contains(&name) {
            self.problem(name, format!("is not set: {rule}"));
        }
        text
    }

    pub(super) fn milliseconds(&mut self, name: &'static str) -> Option<Duration> {
        self.duration(name, 1)
    }

    /// Milliseconds of which there may be none.
    pub(super) fn milliseconds_or_none(&mut self, name: &'static str) -> Option<Duration> {
        self.duration(name, 0)
    }

    fn duration(&mut self, name: &'static str, min: u64) -> Option<Duration> {
        self.parse(name, &format!("must be a number of milliseconds from {min} to 3600000"), |text| {
            text.parse().ok().filter(|value| (min..=3_600_000).contains(value)).map(Duration::from_millis)
        })
    }

    /// The most requests in a window; 0 is no limit.
    pub(super) fn requests(&mut self, name: &'static str) -> Option<u32> {
        self.parse(name, "must be a number from 1 to 1000000, or 0 for no limit", |text| {
            text.parse().ok().filter(|value| *value <= 1_000_000)
        })
    }

    /// The salon's time zone.
    pub(super) fn time_zone(&mut self) -> Option<SalonTimeZone> {
        let message = "must be a time zone such as Asia/Kolkata";
        self.parse("SALON_TIME_ZONE", message, |name| SalonTimeZone::parse(name).ok())
    }

    pub(super) fn address(&mut self, name: &'static str) -> Option<SocketAddr> {
        self.parse(name, "must be an IP address and a port, such as 127.0.0.1:8080", |text| text.parse().ok())
    }

    /// The server's certificate, if its files are set.
    pub(super) fn certificate(&mut self) -> Option<Certificate> {
        const CHAIN: &str = "TLS_CERT_FILE";
        const KEY: &str = "TLS_KEY_FILE";
        let (chain, key) = match (self.text(CHAIN), self.text(KEY)) {
            (None, None) => return None,
            (Some(chain), Some(key)) => (chain, key),
            (chain, _) => {
                let (missing, set) = if chain.is_none() { (CHAIN, KEY) } else { (KEY, CHAIN) };
                self.problem(missing, format!("is not set, but {set} is: HTTPS needs both"));
                return None;
            }
        };
        match Certificate::read(chain.into(), key.into()) {
            Ok(certificate) => Some(certificate),
            Err(errors) => {
                let CertificateErrors { chain, key } = errors;
                let named = chain.map(|error| (CHAIN, error)).into_iter().chain(key.map(|error| (KEY, error)));
                for (name, error) in named {
                    self.problem(name, error);
                }
                None
            }
        }
    }

    pub(super) fn trusted_proxies(&mut self) -> TrustedProxies {
        let rule = "must be CIDRs such as 10.0.0.0/8, separated by commas";
        self.parse("TRUSTED_PROXIES", rule, TrustedProxies::parse).unwrap_or_default()
    }

    /// Where instances share their limits, if they do.
    pub(super) fn redis(&mut self) -> Option<RedisSettings> {
        let key_prefix = self.text("REDIS_KEY_PREFIX").unwrap_or_default();
        let timeout = self.milliseconds("REDIS_TIMEOUT_MS");
        let authority = self.redis_authority();
        let address = self.text("REDIS_URL")?;
        let address =
            RedisAddress::parse(&address, authority).map_err(|error| self.problem("REDIS_URL", error.to_string())).ok();
        Some(RedisSettings { address: address?, key_prefix, timeout: timeout? })
    }

    /// The certificates in `REDIS_CA_FILE`.
    fn redis_authority(&mut self) -> Option<Vec<u8>> {
        const NAME: &str = "REDIS_CA_FILE";
        let file = self.text(NAME)?;
        if !self.text("REDIS_URL").is_some_and(|address| address.starts_with("rediss://")) {
            self.problem(NAME, "needs a REDIS_URL that begins with rediss://");
            return None;
        }
        let pem = std::fs::read(file).ok();
        let is_readable = |pem: &Vec<u8>| {
            let mut certificates = CertificateDer::pem_slice_iter(pem).peekable();
            certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok())
        };
        let authority = pem.filter(is_readable);
        if authority.is_none() {
            self.problem(NAME, "must be a readable file with certificates in PEM");
        }
        authority
    }

    pub(super) fn count(&mut self, name: &'static str, max: usize) -> Option<usize> {
        self.parse(name, &format!("must be a number from 1 to {max}"), |text| {
            text.parse().ok().filter(|value| (1..=max).contains(value))
        })
    }

    /// The schema of the platform's tables.
    pub(super) fn schema(&mut self) -> Option<PlatformSchema> {
        let schema = self.text("DATABASE_SCHEMA").unwrap_or_default();
        PlatformSchema::parse(&schema).map_err(|error| self.problem("DATABASE_SCHEMA", error.to_string())).ok()
    }

    pub(super) fn connector(&mut self) -> Option<Connector> {
        let schema = self.schema();
        let address = self.required("DATABASE_URL", "it must be the address of the platform's database")?;
        let connector =
            Connector::parse(&address).map_err(|error| self.problem("DATABASE_URL", error.to_string())).ok();
        Some(connector?.with_schema(schema?))
    }

    pub(super) fn base_url(&mut self) -> Option<Url> {
        const RULE: &str = "must be a URL such as https://admin.example.com";
        self.required("BETTER_AUTH_URL", &format!("it {RULE}"))?;
        self.parse("BETTER_AUTH_URL", RULE, http_url)
    }

    /// The first of the rotated secrets, else the one secret. Better Auth trims the entries of the list and nothing
    /// else; it refuses a version twice, and so do we.
    pub(super) fn secret(&mut self) -> Option<Secret> {
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

    pub(super) fn allowed_origins(&mut self) -> HashSet<String> {
        let rule = "must be origins such as https://desk.example.com, separated by commas, without a path";
        self.parse("ALLOWED_ORIGINS", rule, origins).unwrap_or_default()
    }

    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        let place = |wanted: &str| SETTINGS.iter().position(|setting| setting.name == wanted);
        self.problems.0.sort_by_key(|(name, _)| place(name));
        match value {
            Some(value) if self.problems.0.is_empty() => Ok(value),
            _ => Err(self.problems),
        }
    }
}

fn origins(list: &str) -> Option<HashSet<String>> {
    let origins = list.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    // An origin that the parser writes differently would never equal what a browser sends.
    let as_sent = |origin: &&str| Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
    origins.map(|origin| Some(origin).filter(as_sent).map(str::to_owned)).collect()
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
