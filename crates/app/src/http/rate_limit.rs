//! How often somebody may call: what is counted, and the fields that tell it.
//!
//! Source: contract, "Order of checks"; the fields are those of the IETF draft draft-ietf-httpapi-ratelimit-headers.

use actix_web::{
    HttpMessage as _, HttpRequest,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};
use crm_domain::{
    rate_limit::{Quota, RateLimitDecision, RateLimitKey},
    role::Actor,
};

use super::{HttpSettings, client_address::counted_as, error::ApiError};
use crate::wire::Services;

/// The quotas; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of each signed-in user.
    pub user: Option<Quota>,
    /// Of each client address, for requests without a valid session.
    pub address: Option<Quota>,
}

/// The policy of signed-in users.
pub(crate) const USER: &str = "user";
/// The policy of client addresses.
pub(crate) const ADDRESS: &str = "address";

/// Counts a request of a signed-in user.
pub(super) async fn count_user(
    services: &Services,
    settings: &HttpSettings,
    request: &HttpRequest,
    actor: &Actor,
) -> Result<(), ApiError> {
    let Some(quota) = settings.limits.user else { return Ok(()) };
    count(services, request, USER, &RateLimitKey::User(actor.id.clone()), quota).await
}

/// Counts a request without a valid session.
pub(super) async fn count_address(
    services: &Services,
    settings: &HttpSettings,
    request: &HttpRequest,
) -> Result<(), ApiError> {
    let (Some(quota), Some(peer)) = (settings.limits.address, request.peer_addr()) else { return Ok(()) };
    let address = settings.trusted_proxies.client(peer.ip(), request.headers());
    count(services, request, ADDRESS, &RateLimitKey::Address(counted_as(address)), quota).await
}

async fn count(
    services: &Services,
    request: &HttpRequest,
    policy: &'static str,
    key: &RateLimitKey,
    quota: Quota,
) -> Result<(), ApiError> {
    let decision = match services.rate_limits.try_acquire(key, quota).await {
        Ok(decision) => decision,
        // Rather too many requests than none.
        Err(error) => {
            services.metrics.rate_limit_store_failed(&error);
            return Ok(());
        }
    };
    request.extensions_mut().insert(Counted { policy, quota, decision });
    if decision.admitted {
        return Ok(());
    }
    services.metrics.rate_limit_refused(policy);
    Err(ApiError::RateLimited { retry_after_seconds: whole_seconds(decision) })
}

/// What a request was counted against.
#[derive(Debug, Clone, Copy)]
struct Counted {
    policy: &'static str,
    quota: Quota,
    decision: RateLimitDecision,
}

/// Seconds until one more request is admitted, rounded up.
fn whole_seconds(decision: RateLimitDecision) -> u64 {
    decision.resets_in.as_micros().div_ceil(1_000_000).max(1).try_into().unwrap_or(u64::MAX)
}

/// Tells the policies on every answer, and what is left on the answer to a request that was counted.
pub(super) fn tell(limits: Limits, request: &HttpRequest, headers: &mut HeaderMap) {
    let policy = |name: &str, quota: Quota| format!("\"{name}\";q={};w={}", quota.requests, quota.window.as_secs());
    let counted = request.extensions().get::<Counted>().copied();
    let policies = if let Some(Counted { policy: name, quota, .. }) = counted {
        policy(name, quota)
    } else {
        // Which of them would have counted was not looked at.
        let all = [(USER, limits.user), (ADDRESS, limits.address)];
        all.into_iter().filter_map(|(name, quota)| Some(policy(name, quota?))).collect::<Vec<_>>().join(", ")
    };
    let mut insert = |name, value: String| {
        // Digits, letters and punctuation of our own.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    if !policies.is_empty() {
        insert("ratelimit-policy", policies);
    }
    if let Some(Counted { policy, decision, .. }) = counted {
        insert("ratelimit", format!("\"{policy}\";r={};t={}", decision.remaining, whole_seconds(decision)));
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use std::time::Duration;

    use super::*;

    const QUOTA: Quota = Quota { requests: 20, window: Duration::from_secs(10) };

    fn told(limits: Limits, counted: Option<Counted>) -> (Option<String>, Option<String>) {
        let request = TestRequest::default().to_http_request();
        if let Some(counted) = counted {
            request.extensions_mut().insert(counted);
        }
        let mut headers = HeaderMap::new();
        tell(limits, &request, &mut headers);
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        (header("ratelimit-policy"), header("ratelimit"))
    }

    #[test]
    fn the_fields_are_those_of_the_draft() {
        let both = Limits { user: Some(QUOTA), address: Some(Quota { requests: 100, ..QUOTA }) };
        let decision = RateLimitDecision { admitted: true, remaining: 19, resets_in: Duration::from_millis(9_001) };
        let counted = Counted { policy: USER, quota: QUOTA, decision };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(told(both, Some(counted)), (text("\"user\";q=20;w=10"), text("\"user\";r=19;t=10")));
        assert_eq!(told(both, None), (text("\"user\";q=20;w=10, \"address\";q=100;w=10"), None));
        assert_eq!(told(Limits { user: None, address: None }, None), (None, None));
    }

    #[test]
    fn seconds_are_rounded_up_and_never_none() {
        for (microseconds, seconds) in [(0, 1), (1, 1), (1_000_000, 1), (1_000_001, 2), (9_999_999, 10)] {
            let resets_in = Duration::from_micros(microseconds);
            let decision = RateLimitDecision { admitted: false, remaining: 0, resets_in };
            assert_eq!(whole_seconds(decision), seconds, "{microseconds}");
        }
    }
}
