//! The success envelope.
//!
//! Source: contract, "Envelope".

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{ContentType, ETAG},
    },
    web::Bytes,
};
use crm_domain::{ids::NoteId, page::PageRequest};
use serde::Serialize;
use utoipa::ToSchema;

use super::entity_tag::EntityTag;
use crate::http::openapi::schemas;

/// Where a page stands in its list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MetaResponse)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Meta {
    /// As requested.
    #[schema(minimum = 1)]
    page: u64,
    /// At least 1.
    #[schema(minimum = 1)]
    total_pages: u64,
    /// Exact for the filter.
    total_count: u64,
}

/// The success envelope.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Success<T> {
    #[schema(schema_with = schemas::always_true)]
    success: bool,
    data: T,
}

/// The success envelope of a page of a list.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Paginated<T> {
    #[schema(schema_with = schemas::always_true)]
    success: bool,
    data: T,
    meta: Meta,
}

/// A successful answer: its parts, because that to an idempotent request is kept before it is sent.
pub(in crate::http) struct Answer {
    pub(in crate::http) status: StatusCode,
    pub(in crate::http) body: Bytes,
    pub(in crate::http) entity_tag: Option<EntityTag>,
    /// The note whose text is in the body.
    pub(in crate::http) note: Option<NoteId>,
}

impl Answer {
    /// `{"success":true,"data":…}` with that status.
    pub(in crate::http) fn new(status: StatusCode, data: impl Serialize) -> Self {
        Self { status, body: json(&Success { success: true, data }), entity_tag: None, note: None }
    }

    /// Adds the entity tag of what is shown.
    pub(in crate::http) fn tagged(self, entity_tag: EntityTag) -> Self {
        Self { entity_tag: Some(entity_tag), ..self }
    }

    /// Names the note whose text is in the body.
    pub(in crate::http) fn of_note(self, note: NoteId) -> Self {
        Self { note: Some(note), ..self }
    }
}

impl From<Answer> for HttpResponse {
    fn from(answer: Answer) -> Self {
        let Answer { status, body, entity_tag, note: _ } = answer;
        let mut response = HttpResponse::build(status);
        if let Some(entity_tag) = entity_tag {
            response.insert_header((ETAG, entity_tag.as_str()));
        }
        response.insert_header(ContentType::json()).body(body)
    }
}

/// `{"success":true,"data":…}` with that status.
pub(in crate::http) fn success(status: StatusCode, data: impl Serialize) -> HttpResponse {
    Answer::new(status, data).into()
}

/// The success envelope of a part of a list that a cursor continues.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Continued<T> {
    #[schema(schema_with = schemas::always_true)]
    success: bool,
    data: T,
    meta: CursorMeta,
}

/// Where the next part begins.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CursorMetaResponse)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct CursorMeta {
    /// The `cursor` of the next part; `null` after the last one.
    next_cursor: Option<String>,
}

/// `{"success":true,"data":…,"meta":{"nextCursor":…}}`.
pub(in crate::http) fn part(next_cursor: Option<String>, data: impl Serialize) -> HttpResponse {
    respond(StatusCode::OK, &Continued { success: true, data, meta: CursorMeta { next_cursor } })
}

/// `{"success":true,"data":…,"meta":…}`.
pub(in crate::http) fn page(request: PageRequest, total_count: u64, data: impl Serialize) -> HttpResponse {
    let meta = Meta { page: request.number(), total_pages: request.total_pages(total_count), total_count };
    respond(StatusCode::OK, &Paginated { success: true, data, meta })
}

/// An answer outside the envelope, a failure too (contract, "Envelope": health).
pub(in crate::http) fn bare(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let mut response = respond(status, body);
    response.extensions_mut().insert(OwnBody);
    response
}

/// Marks a response that has its final body, also for an error status.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct OwnBody;

fn respond(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).insert_header(ContentType::json()).body(json(body))
}

/// The JSON of one of our own types: their keys are text and their numbers finite, so there is nothing to fail.
pub(in crate::http) fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).map(Bytes::from).unwrap_or_default()
}
