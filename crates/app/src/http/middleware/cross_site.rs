//! The check for cross-site writes. It comes before the session cookie is read.
//!
//! `SameSite=Lax` does not stop a page on a sibling subdomain. The algorithm is that of Go's
//! `http.CrossOriginProtection` with a list of allowed origins (`docs/SESSIONS.md`, "Cross-site writes").

use actix_web::http::{
    Method, Uri,
    header::{HOST, HeaderMap, ORIGIN},
};

use crate::config::http::Origins;

/// Whether a request with that method and those headers is a read, or comes from a page that may write, or from no browser.
pub(super) fn passes_cross_site_check(origins: &Origins, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return true;
    }
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or("null"));
    if origin.is_some_and(|origin| origins.allowed.contains(origin)) {
        return true;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = origin else { return true };
    // A target in absolute form names the host; the `Host` field must not say otherwise (RFC 9112, 3.2.2).
    let target = uri.authority().map(actix_web::http::uri::Authority::as_str);
    let host = target.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()));
    origin == origins.public || (origin.split_once("://").map(|(_, host)| host) == host && host.is_some())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use actix_web::test::TestRequest;

    use super::*;

    fn is_admitted(method: Method, headers: &[(&'static str, &str)]) -> bool {
        let origins = Origins {
            public: "https://admin.example.com".to_owned(),
            allowed: HashSet::from(["https://desk.example.com".to_owned()]),
        };
        let mut request = TestRequest::default().method(method);
        for header in headers {
            request = request.append_header(*header);
        }
        let request = request.to_http_request();
        passes_cross_site_check(&origins, request.method(), request.uri(), request.headers())
    }

    #[test]
    fn cross_site_writes_are_rejected_as_specified() {
        let host = ("host", "crm.example.com:8080");
        let table: [(&[(&'static str, &str)], bool); 17] = [
            (&[host], true),
            (&[host, ("sec-fetch-site", "same-origin")], true),
            (&[host, ("sec-fetch-site", "none")], true),
            (&[host, ("sec-fetch-site", "same-site")], false),
            (&[host, ("sec-fetch-site", "cross-site")], false),
            (&[host, ("sec-fetch-site", "")], false),
            (&[host, ("origin", "https://desk.example.com"), ("sec-fetch-site", "cross-site")], true),
            (&[host, ("origin", "https://desk.example.com.evil.example"), ("sec-fetch-site", "cross-site")], false),
            (&[host, ("origin", "https://admin.example.com"), ("sec-fetch-site", "cross-site")], false),
            (&[host, ("origin", "https://admin.example.com")], true),
            (&[host, ("origin", "https://crm.example.com:8080")], true),
            (&[host, ("origin", "http://crm.example.com:8080")], true),
            (&[host, ("origin", "https://crm.example.com")], false),
            (&[host, ("origin", "https://evil.example")], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("origin", "")], false),
            (&[("origin", "null")], false),
        ];
        for (headers, admits) in table {
            assert_eq!(is_admitted(Method::POST, headers), admits, "{headers:?}");
            assert_eq!(is_admitted(Method::DELETE, headers), admits, "{headers:?}");
        }
    }

    #[test]
    fn reads_are_always_admitted() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(is_admitted(method, &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]));
        }
    }
}
