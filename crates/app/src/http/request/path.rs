//! The extractor of the path's parameters.

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use crm_domain::text::TextError;
use futures_util::future::{Ready, ready};

use super::query::decoded;
use crate::http::response::error::ApiError;

/// The path's parameters, read by the handler, because what is wrong with a body comes before them.
pub(in crate::http) struct PathOf(HttpRequest);

impl PathOf {
    /// The id that stands where the route has `{name}`, decoded once: an id may hold a slash (`%2F`) or a percent
    /// sign (`%25`).
    pub(in crate::http) fn id<T>(&self, name: &str, parse: fn(&str) -> Result<T, TextError>) -> Result<T, ApiError> {
        let pattern = self.0.match_pattern().unwrap_or_default();
        let place = pattern
            .split('/')
            .position(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) == Some(name));
        // The path as it was sent; the router's own copy has been decoded in parts.
        let segment = place.and_then(|place| self.0.uri().path().split('/').nth(place)).unwrap_or_default();
        let text =
            decoded(segment).ok_or_else(|| ApiError::invalid_field(name, "must be percent-encoded UTF-8 text"))?;
        parse(&text).map_err(|error| ApiError::invalid_field(name, error.to_string()))
    }
}

impl FromRequest for PathOf {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(request.clone())))
    }
}
