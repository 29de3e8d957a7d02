//! The success envelope.
//!
//! Source: contract, "Envelope".

use actix_web::{HttpResponse, http::StatusCode, http::header::ContentType, web::Bytes};
use crm_domain::page::PageRequest;
use serde::Serialize;
use utoipa::ToSchema;

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

/// `{"success":true,"data":…}` with that status.
pub(in crate::http) fn success(status: StatusCode, data: impl Serialize) -> HttpResponse {
    respond(status, &Success { success: true, data })
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
