//! Rate limits counted in Redis, so that several instances share their quotas.
//!
//! The rule is the domain's `SlidingWindow`, written once more in Lua so that counting is one atomic step: one key of
//! Redis for each key, a sorted set of the times of the admitted requests by Redis's own clock. Instances whose clocks differ agree.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use crm_domain::{
    rate_limit::{Quota, RateLimitDecision, RateLimitKey, RateLimits},
    store_error::StoreError,
};
use redis::{
    Client, ErrorKind, IntoConnectionInfo as _, RedisError, Script, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use thiserror::Error;
use tokio::time::timeout;

/// How often at most a connection that failed is given up for a new one.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(500);

/// Times and lengths are whole microseconds, which Lua's numbers hold exactly until the year 2255.
///
/// `KEYS[1]` the set; `ARGV[1]` the window, `ARGV[2]` the quota. Answers whether the request was admitted,
/// how many are left, and in how many microseconds the oldest leaves the window.
const ACQUIRE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window = tonumber(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')
local left = ARGV[2] - redis.call('ZCARD', KEYS[1])
local admitted = left > 0
if admitted then
  -- The count tells requests of the same microsecond apart.
  redis.call('ZADD', KEYS[1], now, string.format('%.0f', now) .. '-' .. left)
  redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
  left = left - 1
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or now
return { admitted and 1 or 0, math.max(left, 0), oldest + window - now }
";

/// Why an address of Redis was refused. Never holds the address, which may hold a password.
#[derive(Debug, Error)]
#[error("must be an address such as redis://user:password@host:6379/0 or, by TLS, rediss://host:6379")]
pub struct RedisAddressError;

/// Where Redis is. Does not print what it holds.
#[derive(Clone)]
pub struct RedisAddress(Client);

impl RedisAddress {
    /// Reads an address; connects to nothing. With `authority`, certificates in PEM, a server behind `rediss://` must have a
    /// certificate of that authority; otherwise of one that the system trusts.
    pub fn parse(address: &str, authority: Option<Vec<u8>>) -> Result<Self, RedisAddressError> {
        // The crate's own messages may repeat a part of the address.
        let information = address.into_connection_info().map_err(|_| RedisAddressError)?;
        let client = match authority {
            None => Client::open(information),
            // The crate refuses these for an address without TLS.
            root_cert => Client::build_with_tls(information, TlsCertificates { client_tls: None, root_cert }),
        };
        client.map(Self).map_err(|_| RedisAddressError)
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisAddress(not shown)")
    }
}

/// How rate limits are kept in Redis.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where it is.
    pub address: RedisAddress,
    /// What every key begins with.
    pub key_prefix: String,
    /// How long Redis is waited for, once a request.
    pub timeout: Duration,
}

/// Rate limits in Redis. Connects when first asked, and anew after a failure.
pub struct RedisRateLimits {
    client: Client,
    connection: Mutex<Connection>,
    acquire: Script,
    key_prefix: String,
    timeout: Duration,
}

/// What requests share, and since when.
struct Connection {
    manager: ConnectionManager,
    made: Instant,
}

impl Connection {
    /// Connects when first asked.
    fn new(client: &Client, timeout: Duration) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            // The next request tries again.
            .set_number_of_retries(0);
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(Self { manager, made: Instant::now() })
    }
}

impl RedisRateLimits {
    /// Limits in that Redis. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up; Redis itself is not asked for anything yet.
    pub fn new(settings: RedisSettings) -> Result<Self, StoreError> {
        let RedisSettings { address: RedisAddress(client), key_prefix, timeout } = settings;
        let connection = Connection::new(&client, timeout).map_err(|error| store_error(&error))?;
        Ok(Self { client, connection: Mutex::new(connection), acquire: Script::new(ACQUIRE), key_prefix, timeout })
    }

    /// Asks on the shared connection, within the time that a request may spend on it.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let mut manager = self.connection().manager.clone();
        let answer = match timeout(self.timeout, question(&mut manager)).await {
            Ok(answer) => answer.map_err(|error| store_error(&error)),
            Err(_) => Err(StoreError::Unavailable("Redis did not answer in time".into())),
        };
        if answer.is_err() {
            self.connect_anew();
        }
        answer
    }

    async fn acquire(&self, key: String, quota: Quota) -> Result<RateLimitDecision, StoreError> {
        let mut acquire = self.acquire.key(key);
        acquire.arg(quota.window.as_micros().to_string()).arg(quota.requests);
        let (admitted, remaining, resets_in): (bool, u32, u64) =
            self.ask(async |connection| acquire.invoke_async(connection).await).await?;
        Ok(RateLimitDecision { admitted, remaining, resets_in: Duration::from_micros(resets_in) })
    }

    /// The manager mends a connection that broke, not one whose other end fell silent, nor one that was refused.
    fn connect_anew(&self) {
        let mut connection = self.connection();
        // Others may have failed on the same one, and this may have been seen to.
        if connection.made.elapsed() > RECONNECT_INTERVAL
            && let Ok(anew) = Connection::new(&self.client, self.timeout)
        {
            *connection = anew;
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What failed, for the operator: never the details, which may repeat what was sent.
fn store_error(error: &RedisError) -> StoreError {
    let cause = match error.code() {
        Some("WRONGPASS" | "NOAUTH") => "the user or the password is wrong".to_owned(),
        Some("NOPERM") => "the user lacks a right; docs/OPERATIONS.md has the ACL that it needs".to_owned(),
        _ if error.kind() == ErrorKind::AuthenticationFailed => "the user or the password is wrong".to_owned(),
        _ => io_cause(error).unwrap_or_else(|| error.category().to_owned()),
    };
    StoreError::Unavailable(format!("Redis: {cause}").into())
}

/// The cause of a failed connection, such as a refusal or a certificate that is not trusted.
fn io_cause(error: &RedisError) -> Option<String> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(mut cause) = source {
        // The crate keeps its causes in an `Arc`, which is an error of its own.
        if let Some(shared) = cause.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
            cause = &**shared;
        }
        if let Some(failure) = cause.downcast_ref::<rustls::Error>() {
            return Some(format!("TLS: {failure}"));
        }
        if let Some(failure) = cause.downcast_ref::<io::Error>() {
            let tls = failure.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return Some(tls.map_or_else(|| failure.kind().to_string(), |tls| format!("TLS: {tls}")));
        }
        source = cause.source();
    }
    None
}

#[async_trait]
impl RateLimits for RedisRateLimits {
    async fn try_acquire(&self, key: &RateLimitKey, quota: Quota) -> Result<RateLimitDecision, StoreError> {
        let key = match key {
            RateLimitKey::User(id) => format!("{}rate-limit:user:{id}", self.key_prefix),
            RateLimitKey::Address(address) => format!("{}rate-limit:address:{address}", self.key_prefix),
        };
        self.acquire(key, quota).await
    }

    fn tracked_keys(&self) -> Option<usize> {
        None
    }

    async fn check(&self) -> Result<(), StoreError> {
        // The same script as for a request, because a user may have the right to ask and not the right to count.
        let quota = Quota { requests: 1000, window: Duration::from_millis(1) };
        self.acquire(format!("{}rate-limit:check", self.key_prefix), quota).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_debug_output_omit_the_password() {
        for address in [
            "",
            "hunter2",
            "http://crm:hunter2@localhost",
            "redis://crm:hunter2@localhost:port/0",
            "redis://localhost/0?protocol=hunter2",
        ] {
            let error = RedisAddress::parse(address, None).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let address = RedisAddress::parse("rediss://crm:hunter2@localhost/0", None).unwrap();
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
