//! Tags: listing, making, assigning.

use actix_web::http::StatusCode;
use crm_domain::{
    ids::{TagId, UserId},
    tag::{Tag, TagColor, TagName},
};
use garde::Validate;
use serde::Serialize;

use super::{
    endpoint::{Answer, Caller, Use},
    extract::{BodyOf, PathOf, both},
    field::{Field, Members, optional, required},
    render::{self, Timestamp},
};

#[derive(Serialize)]
struct TagsResponse {
    tags: Vec<TagResponse>,
}

#[derive(Serialize)]
struct CreatedTagResponse {
    tag: TagResponse,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TagResponse {
    id: String,
    name: String,
    slug: String,
    color: Option<String>,
    description: Option<String>,
    created_at: Timestamp,
}

impl From<Tag> for TagResponse {
    fn from(tag: Tag) -> Self {
        let Tag { id, name, slug, color, description, created_at } = tag;
        Self { id: id.to_string(), name, slug, color, description, created_at: Timestamp(created_at) }
    }
}

/// `GET /api/tags`
pub(super) async fn list_tags(services: Use) -> Answer {
    let tags = services.tags.list().await?.into_iter().map(TagResponse::from).collect();
    Ok(render::success(StatusCode::OK, TagsResponse { tags }))
}

#[derive(Debug, Validate)]
pub(super) struct CreateTagRequest {
    #[garde(custom(required))]
    name: Field<TagName>,
    #[garde(custom(optional))]
    color: Field<TagColor>,
}

impl From<Members> for CreateTagRequest {
    fn from(mut members: Members) -> Self {
        Self { name: members.take("name"), color: members.take("color") }
    }
}

/// `POST /api/tags`
pub(super) async fn create_tag(services: Use, caller: Caller, body: BodyOf<CreateTagRequest>) -> Answer {
    let CreateTagRequest { name, color } = body.0?;
    let tag = services.tags.create(&caller.0, &name.required()?, color.optional().as_ref()).await?;
    Ok(render::success(StatusCode::CREATED, CreatedTagResponse { tag: tag.into() }))
}

#[derive(Debug, Validate)]
pub(super) struct AssignTagRequest {
    #[garde(custom(required))]
    tag_id: Field<TagId>,
}

impl From<Members> for AssignTagRequest {
    fn from(mut members: Members) -> Self {
        Self { tag_id: members.take("tagId") }
    }
}

#[derive(Serialize)]
struct OkResponse {
    ok: bool,
}

/// `POST /api/customers/{id}/tags`
pub(super) async fn assign_tag(services: Use, caller: Caller, path: PathOf, body: BodyOf<AssignTagRequest>) -> Answer {
    let (customer, AssignTagRequest { tag_id }) = both(path.id("id", UserId::parse), body.0)?;
    services.tags.assign(&caller.0, customer, tag_id.required()?).await?;
    Ok(render::success(StatusCode::CREATED, OkResponse { ok: true }))
}

/// `DELETE /api/customers/{id}/tags/{tagId}`
pub(super) async fn unassign_tag(services: Use, caller: Caller, path: PathOf) -> Answer {
    let (customer, tag) = both(path.id("id", UserId::parse), path.id("tagId", TagId::parse))?;
    services.tags.unassign(&caller.0, &customer, &tag).await?;
    Ok(render::success(StatusCode::OK, OkResponse { ok: true }))
}
