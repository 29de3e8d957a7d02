//! How often somebody may call: what is counted, and the fields that tell it.
//!
//! Source: contract, "Order of checks"; the fields are those of the IETF draft draft-ietf-httpapi-ratelimit-headers.

use actix_web::{
    HttpMessage as _, HttpRequest,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};
use crm_domain::{
    rate_limit::{Budget, Spent, Subject},
    role::Actor,
};

use super::{HttpSettings, client_address::counted_as, error::ApiError};
use crate::wire::Services;

/// The budgets; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of each signed-in user.
    pub user: Option<Budget>,
    /// Of each client address, for requests without a valid session.
    pub address: Option<Budget>,
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
    let Some(budget) = settings.limits.user else { return Ok(()) };
    count(services, request, USER, &Subject::User(actor.id.clone()), budget).await
}

/// Counts a request without a valid session.
pub(super) async fn count_address(
    services: &Services,
    settings: &HttpSettings,
    request: &HttpRequest,
) -> Result<(), ApiError> {
    let (Some(budget), Some(peer)) = (settings.limits.address, request.peer_addr()) else { return Ok(()) };
    let address = settings.trusted_proxies.client(peer.ip(), request.headers());
    count(services, request, ADDRESS, &Subject::Address(counted_as(address)), budget).await
}

async fn count(
    services: &Services,
    request: &HttpRequest,
    policy: &'static str,
    subject: &Subject,
    budget: Budget,
) -> Result<(), ApiError> {
    let spent = match services.rate_limits.spend(subject, budget).await {
        Ok(spent) => spent,
        // Rather too many requests than none.
        Err(error) => {
            services.metrics.rate_limit_store_failed(&error);
            return Ok(());
        }
    };
    request.extensions_mut().insert(Counted { policy, budget, spent });
    if spent.admitted {
        return Ok(());
    }
    services.metrics.rate_limit_refused(policy);
    Err(ApiError::RateLimited { retry_after_seconds: whole_seconds(spent) })
}

/// What a request was counted against.
#[derive(Debug, Clone, Copy)]
struct Counted {
    policy: &'static str,
    budget: Budget,
    spent: Spent,
}

/// Seconds until one more request is admitted, rounded up.
fn whole_seconds(spent: Spent) -> u64 {
    let nanoseconds = spent.resets_in.whole_nanoseconds().max(1).unsigned_abs();
    u64::try_from(nanoseconds.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

/// Tells the policies on every answer, and what is left on the answer to a request that was counted.
pub(super) fn tell(limits: Limits, request: &HttpRequest, headers: &mut HeaderMap) {
    let policy =
        |name: &str, budget: Budget| format!("\"{name}\";q={};w={}", budget.requests, budget.window.whole_seconds());
    let counted = request.extensions().get::<Counted>().copied();
    let policies = if let Some(Counted { policy: name, budget, .. }) = counted {
        policy(name, budget)
    } else {
        // Which of them would have counted was not looked at.
        let all = [(USER, limits.user), (ADDRESS, limits.address)];
        all.into_iter().filter_map(|(name, budget)| Some(policy(name, budget?))).collect::<Vec<_>>().join(", ")
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
    if let Some(Counted { policy, spent, .. }) = counted {
        insert("ratelimit", format!("\"{policy}\";r={};t={}", spent.remaining, whole_seconds(spent)));
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use time::Duration;

    use super::*;

    const BUDGET: Budget = Budget { requests: 20, window: Duration::seconds(10) };

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
        let both = Limits { user: Some(BUDGET), address: Some(Budget { requests: 100, ..BUDGET }) };
        let spent = Spent { admitted: true, remaining: 19, resets_in: Duration::milliseconds(9_001) };
        let counted = Counted { policy: USER, budget: BUDGET, spent };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(told(both, Some(counted)), (text("\"user\";q=20;w=10"), text("\"user\";r=19;t=10")));
        assert_eq!(told(both, None), (text("\"user\";q=20;w=10, \"address\";q=100;w=10"), None));
        assert_eq!(told(Limits { user: None, address: None }, None), (None, None));
    }

    #[test]
    fn seconds_are_rounded_up_and_never_none() {
        for (microseconds, seconds) in [(0, 1), (1, 1), (1_000_000, 1), (1_000_001, 2), (9_999_999, 10)] {
            let resets_in = Duration::microseconds(microseconds);
            let spent = Spent { admitted: false, remaining: 0, resets_in };
            assert_eq!(whole_seconds(spent), seconds, "{microseconds}");
        }
    }
}
