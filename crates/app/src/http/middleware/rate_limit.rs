//! Rate limiting middleware: counts requests per user and per client address and sets the `RateLimit` header fields.
//!
//! The quotas come from `config.rs`, `read_quotas`; `authorize.rs` chooses the key; the rule is `SlidingWindow` in the domain.
//! Source: contract, "Order of checks"; the fields are those of the IETF draft draft-ietf-httpapi-ratelimit-headers.

use actix_web::{
    HttpMessage as _, HttpRequest,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};
use crm_domain::{
    rate_limit::{Quota, RateLimitDecision, RateLimitKey},
    role::Actor,
};

use crate::{
    config::http::{HttpSettings, Quotas},
    http::{
        request::client_address::{client_address, network_of},
        response::error::ApiError,
    },
    observability::metrics::{ADDRESS_POLICY, USER_POLICY},
    services::Services,
};

/// Counts a request of a signed-in user.
pub(super) async fn count_user(
    services: &Services,
    settings: &HttpSettings,
    request: &HttpRequest,
    actor: &Actor,
) -> Result<(), ApiError> {
    let Some(quota) = settings.quotas.user else { return Ok(()) };
    count(services, request, USER_POLICY, &RateLimitKey::User(actor.id.clone()), quota).await
}

/// Counts a request without a valid session.
pub(super) async fn count_address(
    services: &Services,
    settings: &HttpSettings,
    request: &HttpRequest,
) -> Result<(), ApiError> {
    let (Some(quota), Some(peer)) = (settings.quotas.address, request.peer_addr()) else { return Ok(()) };
    let address = client_address(&settings.trusted_proxies, peer.ip(), request.headers());
    count(services, request, ADDRESS_POLICY, &RateLimitKey::Address(network_of(address)), quota).await
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
        // Fail open: admit the request if the store fails.
        Err(error) => {
            services.metrics.rate_limit_store_failed(&error);
            return Ok(());
        }
    };
    request.extensions_mut().insert(CountedRequest { policy, quota, decision });
    if decision.admitted {
        return Ok(());
    }
    services.metrics.rate_limit_refused(policy);
    Err(ApiError::RateLimited { retry_after_seconds: whole_seconds(decision) })
}

/// The quota that a request was counted against, and the decision.
#[derive(Debug, Clone, Copy)]
struct CountedRequest {
    policy: &'static str,
    quota: Quota,
    decision: RateLimitDecision,
}

/// Seconds until one more request is admitted, rounded up.
fn whole_seconds(decision: RateLimitDecision) -> u64 {
    decision.resets_in.as_micros().div_ceil(1_000_000).max(1).try_into().unwrap_or(u64::MAX)
}

/// Sets the policies on every response, and what remains of the quota on the response to a counted request.
pub(in crate::http) fn set_headers(quotas: Quotas, request: &HttpRequest, headers: &mut HeaderMap) {
    let policy = |name: &str, quota: Quota| format!("\"{name}\";q={};w={}", quota.requests, quota.window.as_secs());
    let counted = request.extensions().get::<CountedRequest>().copied();
    let policies = if let Some(CountedRequest { policy: name, quota, .. }) = counted {
        policy(name, quota)
    } else {
        // The request was rejected before a policy was chosen, so both are listed.
        let all = [(USER_POLICY, quotas.user), (ADDRESS_POLICY, quotas.address)];
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
    if let Some(CountedRequest { policy, decision, .. }) = counted {
        insert("ratelimit", format!("\"{policy}\";r={};t={}", decision.remaining, whole_seconds(decision)));
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use std::time::Duration;

    use super::*;

    const QUOTA: Quota = Quota { requests: 20, window: Duration::from_secs(10) };

    fn headers_of(quotas: Quotas, counted: Option<CountedRequest>) -> (Option<String>, Option<String>) {
        let request = TestRequest::default().to_http_request();
        if let Some(counted) = counted {
            request.extensions_mut().insert(counted);
        }
        let mut headers = HeaderMap::new();
        set_headers(quotas, &request, &mut headers);
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        (header("ratelimit-policy"), header("ratelimit"))
    }

    #[test]
    fn rate_limit_headers_follow_the_ietf_draft() {
        let both = Quotas { user: Some(QUOTA), address: Some(Quota { requests: 100, ..QUOTA }) };
        let decision = RateLimitDecision { admitted: true, remaining: 19, resets_in: Duration::from_millis(9_001) };
        let counted = CountedRequest { policy: USER_POLICY, quota: QUOTA, decision };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(headers_of(both, Some(counted)), (text("\"user\";q=20;w=10"), text("\"user\";r=19;t=10")));
        assert_eq!(headers_of(both, None), (text("\"user\";q=20;w=10, \"address\";q=100;w=10"), None));
        assert_eq!(headers_of(Quotas { user: None, address: None }, None), (None, None));
    }

    #[test]
    fn reset_seconds_are_rounded_up_to_at_least_one() {
        for (microseconds, seconds) in [(0, 1), (1, 1), (1_000_000, 1), (1_000_001, 2), (9_999_999, 10)] {
            let resets_in = Duration::from_micros(microseconds);
            let decision = RateLimitDecision { admitted: false, remaining: 0, resets_in };
            assert_eq!(whole_seconds(decision), seconds, "{microseconds}");
        }
    }
}
