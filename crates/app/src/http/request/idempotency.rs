//! The extractor of `Idempotency-Key`: does the work of a request once, and answers a repeat with the first answer.

use std::sync::Arc;

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, HttpResponse,
    dev::Payload,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
};
use crm_domain::{
    idempotency::{IdempotencyKey, IdempotentRequest, KeptAnswer, usecases::Outcome},
    role::Actor,
    unit_of_work::Store,
};
use futures_util::future::{Ready, ready};
use serde_json::Value;

use super::body::{BodyDigest, IDEMPOTENCY_KEY, digest};
use crate::{
    http::response::{
        entity_tag::EntityTag,
        envelope::{self, Answer},
        error::{ApiError, HandlerResult},
    },
    services::Services,
};

/// The header of an answer that is given again.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The id of the request, which the request context has put there.
#[derive(Debug, Clone)]
pub(in crate::http) struct RequestId(pub(in crate::http) String);

/// What is done once for each key.
pub(in crate::http) struct Once {
    request: HttpRequest,
    key: Option<IdempotencyKey>,
}

/// The extractor of [`Once`], or what is wrong with the key.
pub(in crate::http) struct OnceOf(pub(in crate::http) Result<Once, ApiError>);

impl FromRequest for OnceOf {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let values: Vec<&HeaderValue> = request.headers().get_all(IDEMPOTENCY_KEY).collect();
        let parse = |value: &HeaderValue| value.to_str().ok().and_then(|text| IdempotencyKey::parse(text).ok());
        let key = match values.as_slice() {
            [] => Ok(None),
            [value] => parse(value).map(Some).ok_or("must be 1 to 255 visible ASCII characters"),
            _ => Err("must be given only once"),
        };
        let once = key.map(|key| Once { request: request.clone(), key });
        ready(Ok(Self(once.map_err(|message| ApiError::invalid_field("Idempotency-Key", message)))))
    }
}

impl Once {
    /// Does `work`, on a store that keeps its answer in the same unit of work; or gives the first answer again. Without a key,
    /// just does it.
    pub(in crate::http) async fn run(
        self,
        services: &Services,
        caller: &Actor,
        work: impl AsyncFnOnce(Arc<dyn Store>) -> Result<Answer, ApiError>,
    ) -> HandlerResult {
        let Some(key) = &self.key else { return work(services.store.clone()).await.map(HttpResponse::from) };
        let request = IdempotentRequest {
            scope: digest(
                &[caller.id.as_str(), self.request.method().as_str(), self.request.uri().path(), key.as_str()]
                    .map(str::as_bytes),
            ),
            body: self.request.extensions().get::<BodyDigest>().map(|digest| digest.0.clone()).unwrap_or_default(),
        };
        match services.idempotency.run(request, work, |result| self.kept(result)).await? {
            Outcome::Done(result) => result.map(HttpResponse::from),
            Outcome::Replayed(answer) => self.replay(answer),
            Outcome::InProgress => Err(ApiError::RequestInProgress),
            Outcome::Reused => Err(ApiError::IdempotencyKeyReused),
        }
    }

    /// The answer as it is kept: a success, or a refusal that a repeat would get, too.
    fn kept(&self, result: &Result<Answer, ApiError>) -> Option<KeptAnswer> {
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).ok();
        match result {
            Ok(Answer { status, body, entity_tag, note }) => Some(KeptAnswer {
                status: status.as_u16(),
                body: text(body),
                entity_tag: entity_tag.as_ref().map(|tag| tag.as_str().to_owned()),
                note: note.clone(),
            }),
            Err(
                error @ (ApiError::Invalid(..) | ApiError::NotFound(_) | ApiError::Conflict(_) | ApiError::InUse(_)),
            ) => Some(KeptAnswer {
                status: error.status().as_u16(),
                body: text(&envelope::json(&error.body(&self.request_id()))),
                entity_tag: None,
                note: None,
            }),
            Err(_) => None,
        }
    }

    /// The first answer again. An error names the id of this request, as every error does.
    fn replay(&self, answer: KeptAnswer) -> HandlerResult {
        let KeptAnswer { status, body, entity_tag, note: _ } = answer;
        // The note was deleted meanwhile, and its text with it.
        let Some(mut body) = body else { return Err(ApiError::NotFound("Note not found.")) };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if !status.is_success()
            && let Ok(mut value) = serde_json::from_str::<Value>(&body)
        {
            value["error"]["requestId"] = self.request_id().into();
            body = value.to_string();
        }
        let entity_tag = entity_tag.map(EntityTag::from_kept);
        let mut response = HttpResponse::from(Answer { status, body: body.into(), entity_tag, note: None });
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        response.extensions_mut().insert(envelope::OwnBody);
        Ok(response)
    }

    fn request_id(&self) -> String {
        self.request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
    }
}
