//! The extractor of the caller (the actor of a request).

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use crm_domain::role::Actor;
use futures_util::future::Ready;

use crate::http::response::error::ApiError;

/// The actor whose session the request carries. The authorization middleware has put it there.
pub(in crate::http) struct Caller(pub(in crate::http) Actor);

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let actor = request.extensions().get::<Actor>().cloned();
        futures_util::future::ready(actor.map(Self).ok_or(ApiError::Unauthenticated))
    }
}
