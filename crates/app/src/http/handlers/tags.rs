//! Tags: listing, making, assigning.

use actix_web::http::StatusCode;
use crm_domain::{
    ids::{TagId, UserId},
    tag::{Tag, TagColor, TagName},
};
use garde::Validate;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        openapi::{
            document::{CustomerPath, TagPath},
            schemas,
        },
        request::{
            body::BodyOf,
            caller::Caller,
            field::{Field, RawFields, optional, required},
            path::PathOf,
            validation::collect_errors,
        },
        response::{
            envelope::{self, Success},
            error::HandlerResult,
            timestamp::Rfc3339,
        },
    },
    services::ServicesData,
};

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TagsResponse {
    tags: Vec<TagResponse>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CreatedTagResponse {
    tag: TagResponse,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TagResponse {
    id: String,
    name: String,
    slug: String,
    color: Option<String>,
    description: Option<String>,
    #[schema(schema_with = schemas::timestamp)]
    created_at: Rfc3339,
}

impl From<Tag> for TagResponse {
    fn from(tag: Tag) -> Self {
        let Tag { id, name, slug, color, description, created_at } = tag;
        Self { id: id.to_string(), name, slug, color, description, created_at: Rfc3339(created_at) }
    }
}

/// All tags
///
/// A to Z ignoring case.
#[utoipa::path(
    get,
    path = "/api/tags",
    tag = "tags",
    responses((status = 200, description = "Every tag.", body = Success<TagsResponse>))
)]
pub(in crate::http) async fn list_tags(services: ServicesData) -> HandlerResult {
    let tags = services.tags.list().await?.into_iter().map(TagResponse::from).collect();
    Ok(envelope::success(StatusCode::OK, TagsResponse { tags }))
}

#[derive(Debug, Validate, ToSchema)]
pub(in crate::http) struct CreateTagRequest {
    #[garde(custom(required))]
    #[schema(schema_with = schemas::tag_name)]
    name: Field<TagName>,
    #[garde(custom(optional))]
    #[schema(required = false, schema_with = schemas::color)]
    color: Field<TagColor>,
}

impl From<RawFields> for CreateTagRequest {
    fn from(mut fields: RawFields) -> Self {
        Self { name: fields.field("name"), color: fields.field("color") }
    }
}

/// Make a tag
///
/// Audited.
#[utoipa::path(
    post,
    path = "/api/tags",
    tag = "tags",
    request_body = CreateTagRequest,
    responses(
        (status = 201, description = "The tag.", body = Success<CreatedTagResponse>),
        (status = 409, description = "A tag with that slug exists.")
    )
)]
pub(in crate::http) async fn create_tag(
    services: ServicesData,
    caller: Caller,
    body: BodyOf<CreateTagRequest>,
) -> HandlerResult {
    let CreateTagRequest { name, color } = body.0?;
    let tag = services.tags.create(&caller.0, &name.required()?, color.optional().as_ref()).await?;
    Ok(envelope::success(StatusCode::CREATED, CreatedTagResponse { tag: tag.into() }))
}

#[derive(Debug, Validate, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct AssignTagRequest {
    /// The tag's id.
    #[garde(custom(required))]
    #[schema(schema_with = schemas::id)]
    tag_id: Field<TagId>,
}

impl From<RawFields> for AssignTagRequest {
    fn from(mut fields: RawFields) -> Self {
        Self { tag_id: fields.field("tagId") }
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct OkResponse {
    #[schema(schema_with = schemas::always_true)]
    ok: bool,
}

/// Put a tag on a customer
///
/// Idempotent: a second assignment changes nothing, who assigned it first included, and answers the same. Audited.
#[utoipa::path(
    post,
    path = "/api/customers/{id}/tags",
    tag = "tags",
    params(CustomerPath),
    request_body = AssignTagRequest,
    responses(
        (status = 201, description = "The customer has the tag.", body = Success<OkResponse>),
        (status = 404, description = "No such customer, or no such tag.")
    )
)]
pub(in crate::http) async fn assign_tag(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    body: BodyOf<AssignTagRequest>,
) -> HandlerResult {
    let (customer, AssignTagRequest { tag_id }) = collect_errors(path.id("id", UserId::parse), body.0)?;
    services.tags.assign(&caller.0, customer, tag_id.required()?).await?;
    Ok(envelope::success(StatusCode::CREATED, OkResponse { ok: true }))
}

/// Take a tag off a customer
///
/// Idempotent: answers the same when there was nothing to remove, unknown customer and unknown tag included. Audited.
#[utoipa::path(
    delete,
    path = "/api/customers/{id}/tags/{tagId}",
    tag = "tags",
    params(
        CustomerPath,
        TagPath
    ),
    responses((status = 200, description = "The customer does not have the tag.", body = Success<OkResponse>))
)]
pub(in crate::http) async fn unassign_tag(services: ServicesData, caller: Caller, path: PathOf) -> HandlerResult {
    let (customer, tag) = collect_errors(path.id("id", UserId::parse), path.id("tagId", TagId::parse))?;
    services.tags.unassign(&caller.0, &customer, &tag).await?;
    Ok(envelope::success(StatusCode::OK, OkResponse { ok: true }))
}
