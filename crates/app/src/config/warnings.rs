//! What is allowed in a configuration and probably not meant: misspelt names, and limits in the wrong order.

use std::time::Duration;

use strsim::normalized_damerau_levenshtein;

use super::{Config, SETTINGS, Source};

/// How alike a name must be to a setting's to be taken for a misspelling, from 0 to 1.
const ALIKE: f64 = 0.8;

/// A line for each.
#[must_use]
pub fn warnings(config: &Config, source: &dyn Source) -> Vec<String> {
    let mut warnings = misspellings(source.names());
    warnings.extend(limits_in_the_wrong_order(config));
    warnings.extend(too_small_a_pool(config));
    warnings
}

/// Two exports hold a connection each, and each needs another one for a moment (docs/OPERATIONS.md, "Capacity").
fn too_small_a_pool(config: &Config) -> Option<String> {
    const FEWEST: usize = 4;
    (config.database.pool.size < FEWEST).then(|| {
        format!("DATABASE_POOL_SIZE should be at least {FEWEST}: with fewer connections, an export of the directory keeps others waiting (docs/OPERATIONS.md)")
    })
}

/// Variables that look like a setting and are none.
fn misspellings(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    let is_setting = |name: &String| SETTINGS.iter().any(|setting| setting.name == name);
    names.retain(|name| !is_setting(name));
    let nearest = |name: &str| {
        let likeness = |setting: &str| normalized_damerau_levenshtein(name, setting);
        // Who misspells a name begins it right; SSL_CERT_FILE is another program's and not a misspelt TLS_CERT_FILE.
        let begins_alike = SETTINGS.iter().filter(|setting| setting.name.as_bytes().first() == name.as_bytes().first());
        let nearest = begins_alike.map(|setting| (likeness(setting.name), setting.name));
        nearest.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|(likeness, _)| *likeness >= ALIKE)
    };
    let line = |name: &String| {
        nearest(name).map(|(_, setting)| format!("{name} is no setting and has no effect; is {setting} meant?"))
    };
    names.iter().filter_map(line).collect()
}

/// The relations of docs/OPERATIONS.md, "Dependencies between limits", as far as both sides are settings of this service.
fn limits_in_the_wrong_order(config: &Config) -> Vec<String> {
    let pool = &config.database.pool;
    let http = &config.http;
    let lock = ("DATABASE_LOCK_TIMEOUT_MS", pool.session.lock_timeout);
    let statement = ("DATABASE_STATEMENT_TIMEOUT_MS", pool.session.statement_timeout);
    let request = ("REQUEST_TIMEOUT_MS", http.request_timeout);
    let body = ("HTTP_BODY_TIMEOUT_MS", http.body_timeout);
    let connect = ("DATABASE_POOL_WAIT_MS + DATABASE_CONNECT_TIMEOUT_MS", pool.wait + pool.connect);
    let shutdown = ("SHUTDOWN_TIMEOUT_MS", http.shutdown_timeout + Duration::from_nanos(1));
    let pairs = [(lock, statement), (statement, request), (connect, request), (body, request), (request, shutdown)];
    let wrong = pairs.into_iter().filter(|((_, shorter), (_, longer))| shorter >= longer);
    wrong
        .map(|((shorter, _), (longer, _))| {
            format!("{shorter} should be less than {longer}: what is nearer to a cause should end first (docs/OPERATIONS.md)")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_a_setting_are_named_with_it() {
        let names = [
            "TRUSTED_PROXY",
            "BETTER_AUTH_COOKIES_PREFIX",
            "DATABASE_POOLSIZE",
            "DATABASE_URL",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "PATH",
            "PGHOST",
            "REDIS_HOST",
            "SSL_CERT_FILE",
            "LOG_LEVEL",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ];
        let warnings = misspellings(names.map(str::to_owned).to_vec());
        assert_eq!(
            warnings,
            [
                "BETTER_AUTH_COOKIES_PREFIX is no setting and has no effect; is BETTER_AUTH_COOKIE_PREFIX meant?",
                "DATABASE_POOLSIZE is no setting and has no effect; is DATABASE_POOL_SIZE meant?",
                "TRUSTED_PROXY is no setting and has no effect; is TRUSTED_PROXIES meant?",
            ]
        );
    }
}
