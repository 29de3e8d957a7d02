//! Tags: listing, making, changing, merging, deleting; assigning them to one customer or to many.

use actix_web::http::StatusCode;
use crm_domain::{
    ids::{TagId, UserId},
    tag::{
        BulkAssignment, BulkError, BulkOutcome, CountedTag, Tag, TagColor, TagDescription, TagMerge, TagName, TagUpdate,
    },
};
use garde::Validate;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::{
        openapi::{
            document::{CustomerPath, OneTagPath, TagPath},
            schemas,
        },
        request::{
            body::{BodyOf, OptionalBodyOf},
            caller::Caller,
            field::{Field, RawFields, optional, required},
            idempotency::OnceOf,
            path::PathOf,
            precondition::{IfMatch, IfMatchHeader},
            query::QueryOf,
            validation::collect_errors,
        },
        response::{
            entity_tag::EntityTag,
            envelope::{self, Answer, Success},
            error::{ApiError, HandlerResult},
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
pub(in crate::http) struct OneTagResponse {
    tag: TagResponse,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TagResponse {
    id: String,
    name: String,
    slug: String,
    color: Option<String>,
    description: Option<String>,
    #[schema(schema_with = schemas::timestamp)]
    created_at: Rfc3339,
    /// How many customers of the directory have it. Only with `counts=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_count: Option<u64>,
}

impl From<Tag> for TagResponse {
    fn from(tag: Tag) -> Self {
        let Tag { id, name, slug, color, description, created_at } = tag;
        let created_at = Rfc3339(created_at);
        Self { id: id.to_string(), name, slug, color, description, created_at, customer_count: None }
    }
}

impl From<CountedTag> for TagResponse {
    fn from(counted: CountedTag) -> Self {
        let CountedTag { tag, customer_count } = counted;
        Self { customer_count: Some(customer_count), ..tag.into() }
    }
}

/// The answer about one tag, with its entity tag.
fn tag_answer(status: StatusCode, tag: Tag) -> Answer {
    let entity_tag = entity_tag(&tag);
    Answer::new(status, OneTagResponse { tag: tag.into() }).tagged(entity_tag)
}

fn entity_tag(tag: &Tag) -> EntityTag {
    EntityTag::of(&TagResponse::from(tag.clone()))
}

#[derive(Debug, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct TagsQuery {
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::counts)]
    counts: Field<bool>,
}

impl From<RawFields> for TagsQuery {
    fn from(mut fields: RawFields) -> Self {
        Self { counts: fields.field("counts") }
    }
}

/// All tags
///
/// A to Z ignoring case.
#[utoipa::path(
    get,
    path = "/api/tags",
    tag = "tags",
    params(TagsQuery),
    responses((status = 200, description = "Every tag.", body = Success<TagsResponse>))
)]
pub(in crate::http) async fn list_tags(services: ServicesData, query: QueryOf<TagsQuery>) -> HandlerResult {
    let tags = if query.0?.counts.optional() == Some(true) {
        services.tags.list_counted().await?.into_iter().map(TagResponse::from).collect()
    } else {
        services.tags.list().await?.into_iter().map(TagResponse::from).collect()
    };
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
        (
            status = 201,
            description = "The tag.",
            body = Success<OneTagResponse>,
            headers(("ETag" = String, description = "That of the tag; for `If-Match`."))
        ),
        (status = 409, description = "A tag with that slug exists.")
    )
)]
pub(in crate::http) async fn create_tag(
    services: ServicesData,
    caller: Caller,
    once: OnceOf,
    body: BodyOf<CreateTagRequest>,
) -> HandlerResult {
    let (once, CreateTagRequest { name, color }) = collect_errors(once.0, body.0)?;
    let (name, color) = (name.required()?, color.optional());
    let create = async |store| {
        let tag = services.tags.on(store).create(&caller.0, &name, color.as_ref()).await?;
        Ok(tag_answer(StatusCode::CREATED, tag))
    };
    once.run(&services, &caller.0, create).await
}

#[derive(Debug, Validate, ToSchema)]
pub(in crate::http) struct UpdateTagRequest {
    #[garde(custom(optional))]
    #[schema(required = false, schema_with = schemas::new_tag_name)]
    name: Field<TagName>,
    #[garde(custom(optional))]
    #[schema(required = false, schema_with = schemas::color_or_null)]
    color: Field<Option<TagColor>>,
    #[garde(custom(optional))]
    #[schema(required = false, schema_with = schemas::description_or_null)]
    description: Field<Option<TagDescription>>,
}

impl From<RawFields> for UpdateTagRequest {
    fn from(mut fields: RawFields) -> Self {
        Self { name: fields.field("name"), color: fields.field("color"), description: fields.field("description") }
    }
}

/// Change a tag
///
/// `null` clears colour and description. The slug stays: saved links and the platform's own programs find the tag by it.
/// What equals the stored values changes nothing. Audited.
#[utoipa::path(
    patch,
    path = "/api/tags/{id}",
    tag = "tags",
    params(OneTagPath, IfMatchHeader),
    request_body = UpdateTagRequest,
    responses(
        (
            status = 200,
            description = "The tag.",
            body = Success<OneTagResponse>,
            headers(("ETag" = String, description = "That of the tag; for `If-Match`."))
        ),
        (status = 404, description = "No such tag."),
        (status = 409, description = "Another tag has the slug that the name gives.")
    )
)]
pub(in crate::http) async fn update_tag(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    if_match: IfMatch,
    body: OptionalBodyOf<UpdateTagRequest>,
) -> HandlerResult {
    let path_and_header = collect_errors(path.id("id", TagId::parse), if_match.0);
    let ((id, required), UpdateTagRequest { name, color, description }) = collect_errors(path_and_header, body.0)?;
    let update = TagUpdate { name: name.optional(), color: color.optional(), description: description.optional() };
    let tag = services.tags.update(&caller.0, &id, update, &required.precondition(entity_tag)).await?;
    Ok(tag_answer(StatusCode::OK, tag).into())
}

#[derive(Debug, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DeleteTagQuery {
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::unassign)]
    unassign: Field<bool>,
}

impl From<RawFields> for DeleteTagQuery {
    fn from(mut fields: RawFields) -> Self {
        Self { unassign: fields.field("unassign") }
    }
}

/// Delete a tag
///
/// Audited, as is each customer whom it is taken off.
#[utoipa::path(
    delete,
    path = "/api/tags/{id}",
    tag = "tags",
    params(OneTagPath, DeleteTagQuery, IfMatchHeader),
    responses(
        (status = 200, description = "The tag is gone.", body = Success<OkResponse>),
        (status = 404, description = "No such tag."),
        (status = 409, description = "Customers have it; `details.customerCount` says how many.")
    )
)]
pub(in crate::http) async fn delete_tag(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    query: QueryOf<DeleteTagQuery>,
    if_match: IfMatch,
) -> HandlerResult {
    let path_and_header = collect_errors(path.id("id", TagId::parse), if_match.0);
    let ((id, required), query) = collect_errors(path_and_header, query.0)?;
    let unassign = query.unassign.optional().unwrap_or_default();
    services.tags.delete(&caller.0, &id, unassign, &required.precondition(entity_tag)).await?;
    Ok(envelope::success(StatusCode::OK, OkResponse::new()))
}

#[derive(Debug, Validate, ToSchema)]
pub(in crate::http) struct MergeTagRequest {
    /// The id of the tag that stays.
    #[garde(custom(required))]
    #[schema(schema_with = schemas::id)]
    into: Field<TagId>,
}

impl From<RawFields> for MergeTagRequest {
    fn from(mut fields: RawFields) -> Self {
        Self { into: fields.field("into") }
    }
}

/// Merge a tag into another one
///
/// Everyone who has the one has the other afterwards, assigned by whom and when the one was; the one is deleted. Audited,
/// assignment by assignment.
#[utoipa::path(
    post,
    path = "/api/tags/{id}/merge",
    tag = "tags",
    params(OneTagPath),
    request_body = MergeTagRequest,
    responses(
        (
            status = 200,
            description = "The tag that stays.",
            body = Success<OneTagResponse>,
            headers(("ETag" = String, description = "That of the tag that stays."))
        ),
        (status = 404, description = "There is no such tag.")
    )
)]
pub(in crate::http) async fn merge_tag(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    once: OnceOf,
    body: BodyOf<MergeTagRequest>,
) -> HandlerResult {
    let path_and_header = collect_errors(path.id("id", TagId::parse), once.0);
    let ((id, once), MergeTagRequest { into }) = collect_errors(path_and_header, body.0)?;
    let merge =
        TagMerge::new(id, into.required()?).map_err(|error| ApiError::invalid_field("into", error.to_string()))?;
    let work = async |store| {
        let tag = services.tags.on(store).merge(&caller.0, &merge).await?;
        Ok(tag_answer(StatusCode::OK, tag))
    };
    once.run(&services, &caller.0, work).await
}

#[derive(Debug, Validate, ToSchema)]
pub(in crate::http) struct AssignManyRequest {
    /// Who shall have the tag.
    #[garde(custom(optional))]
    #[schema(required = false, schema_with = schemas::customer_ids)]
    assign: Field<Vec<UserId>>,
    /// Who shall not have it.
    #[garde(custom(optional))]
    #[schema(required = false, schema_with = schemas::customer_ids)]
    remove: Field<Vec<UserId>>,
}

impl From<RawFields> for AssignManyRequest {
    fn from(mut fields: RawFields) -> Self {
        Self { assign: fields.field("assign"), remove: fields.field("remove") }
    }
}

impl AssignManyRequest {
    fn into_bulk(self) -> Result<BulkAssignment, ApiError> {
        let (assign, remove) = (self.assign.optional().unwrap_or_default(), self.remove.optional().unwrap_or_default());
        BulkAssignment::new(&assign, &remove).map_err(|error| {
            let field = if error == BulkError::InBoth { "remove" } else { "assign" };
            ApiError::invalid_field(field, error.to_string())
        })
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct BulkResponse {
    /// How many have the tag now and had it not before.
    assigned: u64,
    /// How many had it before and have it no more.
    removed: u64,
    /// How many were as wanted.
    unchanged: u64,
    /// Ids that no customer has.
    not_found: Vec<String>,
}

impl From<BulkOutcome> for BulkResponse {
    fn from(outcome: BulkOutcome) -> Self {
        let BulkOutcome { assigned, removed, unchanged, not_found } = outcome;
        Self { assigned, removed, unchanged, not_found: not_found.iter().map(ToString::to_string).collect() }
    }
}

/// Put a tag on many customers, take it off others
///
/// 1 to 500 customers in all: all of it happens, or nothing. Idempotent. Unknown customers are named, not refused. Audited,
/// assignment by assignment.
#[utoipa::path(
    post,
    path = "/api/tags/{id}/assignments",
    tag = "tags",
    params(OneTagPath),
    request_body = AssignManyRequest,
    responses(
        (status = 200, description = "What changed.", body = Success<BulkResponse>),
        (status = 404, description = "No such tag.")
    )
)]
pub(in crate::http) async fn assign_many(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    once: OnceOf,
    body: BodyOf<AssignManyRequest>,
) -> HandlerResult {
    let path_and_header = collect_errors(path.id("id", TagId::parse), once.0);
    let ((id, once), bulk) = collect_errors(path_and_header, body.0.and_then(AssignManyRequest::into_bulk))?;
    let assign = async |store| {
        let outcome = services.tags.on(store).assign_many(&caller.0, &id, &bulk).await?;
        Ok(Answer::new(StatusCode::OK, BulkResponse::from(outcome)))
    };
    once.run(&services, &caller.0, assign).await
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

impl OkResponse {
    pub(super) fn new() -> Self {
        Self { ok: true }
    }
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
    once: OnceOf,
    body: BodyOf<AssignTagRequest>,
) -> HandlerResult {
    let path_and_header = collect_errors(path.id("id", UserId::parse), once.0);
    let ((customer, once), AssignTagRequest { tag_id }) = collect_errors(path_and_header, body.0)?;
    let tag = tag_id.required()?;
    let assign = async |store| {
        services.tags.on(store).assign(&caller.0, customer, tag).await?;
        Ok(Answer::new(StatusCode::CREATED, OkResponse::new()))
    };
    once.run(&services, &caller.0, assign).await
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
    Ok(envelope::success(StatusCode::OK, OkResponse::new()))
}
