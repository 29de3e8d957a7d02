//! Rate limits counted in Redis, so that several instances share one budget.
//!
//! The rule is the domain's `SlidingWindow`, written once more in Lua so that counting is one atomic step: one key a
//! subject, a sorted set of the admitted requests' moments by Redis's own clock. Instances whose clocks differ agree.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use crm_domain::{
    rate_limit::{Budget, RateLimits, Spent, Subject},
    store::StoreError,
};
use redis::{
    Client, IntoConnectionInfo as _, RedisError, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use thiserror::Error;
use tokio::time::timeout;

/// Moments and lengths are whole microseconds, which Lua's numbers hold exactly until the year 2255.
///
/// `KEYS[1]` the subject's set; `ARGV[1]` the window, `ARGV[2]` the budget. Answers whether the request was admitted,
/// how many are left, and in how many microseconds the oldest leaves the window.
const SPEND: &str = r"
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
#[error("must be an address such as redis://user:password@host:6379/0 or, by TLS, rediss://host:6379 ({0})")]
pub struct RedisAddressError(String);

/// Where Redis is. Does not print what it holds.
#[derive(Clone)]
pub struct RedisAddress(Client);

impl RedisAddress {
    /// Reads an address; connects to nothing.
    pub fn parse(address: &str) -> Result<Self, RedisAddressError> {
        // The crate's own messages are fixed texts and show no part of the address.
        let refused = |error: RedisError| RedisAddressError(error.detail().unwrap_or("it cannot be read").to_owned());
        Client::open(address.into_connection_info().map_err(refused)?).map(Self).map_err(refused)
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

/// Rate limits in Redis. Connects when first asked; a connection that broke is made again in the background.
pub struct RedisRateLimits {
    manager: ConnectionManager,
    spend: Script,
    key_prefix: String,
    timeout: Duration,
}

impl RedisRateLimits {
    /// Limits in that Redis. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up; Redis itself is not asked for anything yet.
    pub fn new(settings: RedisSettings) -> Result<Self, StoreError> {
        let RedisSettings { address: RedisAddress(client), key_prefix, timeout } = settings;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            // The next request tries again.
            .set_number_of_retries(0);
        let manager = ConnectionManager::new_lazy_with_config(client, config).map_err(|error| store_error(&error))?;
        Ok(Self { manager, spend: Script::new(SPEND), key_prefix, timeout })
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, StoreError> {
        match timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(|error| store_error(&error)),
            Err(_) => Err(StoreError::Unavailable("Redis did not answer in time".into())),
        }
    }
}

/// Redis errors name the command or the address, never a value.
fn store_error(error: &RedisError) -> StoreError {
    StoreError::Unavailable(format!("Redis: {}", error.category()).into())
}

#[async_trait]
impl RateLimits for RedisRateLimits {
    async fn spend(&self, subject: &Subject, budget: Budget) -> Result<Spent, StoreError> {
        let key = match subject {
            Subject::User(id) => format!("{}rate-limit:user:{id}", self.key_prefix),
            Subject::Address(address) => format!("{}rate-limit:address:{address}", self.key_prefix),
        };
        let mut connection = self.manager.clone();
        let mut spend = self.spend.key(key);
        spend.arg(budget.window.whole_microseconds().to_string()).arg(budget.requests);
        let (admitted, remaining, resets_in): (bool, u32, i64) =
            self.within(spend.invoke_async(&mut connection)).await?;
        Ok(Spent { admitted, remaining, resets_in: time::Duration::microseconds(resets_in) })
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut connection = self.manager.clone();
        self.within(redis::cmd("PING").query_async(&mut connection)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_address_is_not_shown() {
        for address in ["", "hunter2", "http://crm:hunter2@localhost", "redis://crm:hunter2@localhost:port/0"] {
            let error = RedisAddress::parse(address).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let address = RedisAddress::parse("rediss://crm:hunter2@localhost/0").unwrap();
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
