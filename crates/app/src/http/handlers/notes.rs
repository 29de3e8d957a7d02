//! Notes: listing, writing, editing, pinning, deleting, and what a note said before.

use actix_web::http::StatusCode;
use crm_domain::{
    ids::{BookingId, NoteId, UserId},
    note::{ListedNote, Note, NoteContent, NoteUpdate, Revision},
    page::{Page, PageRequest},
};
use garde::Validate;
use serde::Serialize;
use utoipa::ToSchema;

use super::tags::OkResponse;
use crate::{
    http::{
        openapi::{
            document::{CustomerPath, NotePath},
            schemas,
        },
        request::{
            body::{BodyOf, OptionalBodyOf},
            caller::Caller,
            field::{Field, RawFields, optional, required},
            idempotency::OnceOf,
            page::PageQuery,
            path::PathOf,
            precondition::{IfMatch, IfMatchHeader},
            query::QueryOf,
            validation::collect_errors,
        },
        response::{
            entity_tag::EntityTag,
            envelope::{self, Answer, Paginated, Success},
            error::{ApiError, HandlerResult},
            timestamp::Rfc3339,
        },
    },
    services::ServicesData,
};

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct NotesResponse {
    notes: Vec<ListedNoteResponse>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedNoteResponse {
    #[serde(flatten)]
    note: NoteResponse,
    author_name: String,
    pinned: bool,
    /// When the text was last edited; `null` if never.
    #[schema(schema_with = schemas::timestamp_or_null)]
    edited_at: Option<Rfc3339>,
    edited_by_name: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WrittenNoteResponse {
    note: NoteResponse,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct UpdatedNoteResponse {
    note: ListedNoteResponse,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NoteResponse {
    id: String,
    customer_id: String,
    author_id: String,
    booking_id: Option<String>,
    content: String,
    #[schema(schema_with = schemas::timestamp)]
    created_at: Rfc3339,
}

impl From<Note> for NoteResponse {
    fn from(note: Note) -> Self {
        let Note { id, customer, author, booking, content, created_at } = note;
        Self {
            id: id.to_string(),
            customer_id: customer.to_string(),
            author_id: author.to_string(),
            booking_id: booking.map(|booking| booking.to_string()),
            content: content.as_str().to_owned(),
            created_at: Rfc3339(created_at),
        }
    }
}

impl From<ListedNote> for ListedNoteResponse {
    fn from(listed: ListedNote) -> Self {
        let ListedNote { note, author_name, pinned, edit } = listed;
        let (edited_at, edited_by_name) = edit.map_or((None, None), |edit| (Some(Rfc3339(edit.at)), edit.by_name));
        Self { note: note.into(), author_name, pinned, edited_at, edited_by_name }
    }
}

/// The entity tag of a note, as it is listed.
fn entity_tag(note: &ListedNote) -> EntityTag {
    EntityTag::of(&ListedNoteResponse::from(note.clone()))
}

/// A customer's notes
///
/// The pinned ones first, then newest first.
#[utoipa::path(
    get,
    path = "/api/customers/{id}/notes",
    tag = "notes",
    params(CustomerPath, PageQuery),
    responses(
        (status = 200, description = "A page of notes; `totalCount` is exact.", body = Paginated<NotesResponse>),
        (status = 404, description = "No user with that id has a profile.")
    )
)]
pub(in crate::http) async fn list_notes(
    services: ServicesData,
    path: PathOf,
    query: QueryOf<PageQuery>,
) -> HandlerResult {
    let (customer, query) = collect_errors(path.id("id", UserId::parse), query.0)?;
    let request = PageRequest::from(query);
    let Page { items, total_count } = services.notes.list(&customer, request).await?;
    let notes = items.into_iter().map(ListedNoteResponse::from).collect();
    Ok(envelope::page(request, total_count, NotesResponse { notes }))
}

#[derive(Debug, Validate, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct WriteNoteRequest {
    #[garde(custom(required))]
    #[schema(schema_with = schemas::note_content)]
    content: Field<NoteContent>,
    /// A booking of this customer.
    #[garde(custom(optional))]
    #[schema(required = false, schema_with = schemas::id)]
    booking_id: Field<BookingId>,
}

impl From<RawFields> for WriteNoteRequest {
    fn from(mut fields: RawFields) -> Self {
        Self { content: fields.field("content"), booking_id: fields.field("bookingId") }
    }
}

/// Write a note
///
/// The author is the caller. Audited, without the text.
#[utoipa::path(
    post,
    path = "/api/customers/{id}/notes",
    tag = "notes",
    params(CustomerPath),
    request_body = WriteNoteRequest,
    responses(
        (
            status = 201,
            description = "The note.",
            body = Success<WrittenNoteResponse>,
            headers(("ETag" = String, description = "That of the note as it is listed; for `If-Match`."))
        ),
        (status = 404, description = "No user with that id has a profile.")
    )
)]
pub(in crate::http) async fn write_note(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    once: OnceOf,
    body: BodyOf<WriteNoteRequest>,
) -> HandlerResult {
    let path_and_header = collect_errors(path.id("id", UserId::parse), once.0);
    let ((customer, once), WriteNoteRequest { content, booking_id }) = collect_errors(path_and_header, body.0)?;
    let (content, booking) = (content.required()?, booking_id.optional());
    let write = async |store| {
        let written = services.notes.on(store).write(&caller.0, customer, content, booking).await?;
        let (id, entity_tag) = (written.note.id.clone(), entity_tag(&written));
        let data = WrittenNoteResponse { note: written.note.into() };
        Ok(Answer::new(StatusCode::CREATED, data).tagged(entity_tag).of_note(id))
    };
    once.run(&services, &caller.0, write).await
}

#[derive(Debug, Validate, ToSchema)]
pub(in crate::http) struct UpdateNoteRequest {
    #[garde(custom(optional))]
    #[schema(required = false, schema_with = schemas::note_content)]
    content: Field<NoteContent>,
    /// Whether the note stands before the others.
    #[garde(custom(optional))]
    #[schema(required = false, value_type = bool)]
    pinned: Field<bool>,
}

impl From<RawFields> for UpdateNoteRequest {
    fn from(mut fields: RawFields) -> Self {
        Self { content: fields.field("content"), pinned: fields.field("pinned") }
    }
}

/// Edit or pin a note
///
/// The text may be changed by its author and by managers, the pin by everyone. What the text said before is kept as a
/// revision. What equals the stored state changes nothing. Audited, without the text.
#[utoipa::path(
    patch,
    path = "/api/customers/{id}/notes/{noteId}",
    tag = "notes",
    params(CustomerPath, NotePath, IfMatchHeader),
    request_body = UpdateNoteRequest,
    responses(
        (
            status = 200,
            description = "The note, as listed.",
            body = Success<UpdatedNoteResponse>,
            headers(("ETag" = String, description = "That of the note as it is listed; for `If-Match`."))
        ),
        (status = 404, description = "No such customer, or no such note of theirs.")
    )
)]
pub(in crate::http) async fn update_note(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    if_match: IfMatch,
    body: OptionalBodyOf<UpdateNoteRequest>,
) -> HandlerResult {
    let path_and_header = collect_errors(note_ids(&path), if_match.0);
    let (((customer, note), required), UpdateNoteRequest { content, pinned }) =
        collect_errors(path_and_header, body.0)?;
    let update = NoteUpdate { content: content.optional(), pinned: pinned.optional() };
    let precondition = required.precondition(entity_tag);
    let updated = services.notes.update(&caller.0, &customer, &note, update, &precondition).await?;
    let entity_tag = entity_tag(&updated);
    Ok(Answer::new(StatusCode::OK, UpdatedNoteResponse { note: updated.into() }).tagged(entity_tag).into())
}

/// Delete a note
///
/// For good, with everything that it said before: its author and managers. Audited, without the text.
#[utoipa::path(
    delete,
    path = "/api/customers/{id}/notes/{noteId}",
    tag = "notes",
    params(CustomerPath, NotePath, IfMatchHeader),
    responses(
        (status = 200, description = "The note is gone.", body = Success<OkResponse>),
        (status = 404, description = "No such customer, or no such note of theirs.")
    )
)]
pub(in crate::http) async fn delete_note(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    if_match: IfMatch,
) -> HandlerResult {
    let ((customer, note), required) = collect_errors(note_ids(&path), if_match.0)?;
    services.notes.delete(&caller.0, &customer, &note, &required.precondition(entity_tag)).await?;
    Ok(envelope::success(StatusCode::OK, OkResponse::new()))
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RevisionsResponse {
    revisions: Vec<RevisionResponse>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RevisionResponse {
    /// What the note said.
    content: String,
    /// Until when.
    #[schema(schema_with = schemas::timestamp)]
    edited_at: Rfc3339,
    /// Who changed it then; `null` when they are gone.
    edited_by_name: Option<String>,
}

impl From<Revision> for RevisionResponse {
    fn from(revision: Revision) -> Self {
        let Revision { content, edited_at, edited_by_name } = revision;
        Self { content: content.as_str().to_owned(), edited_at: Rfc3339(edited_at), edited_by_name }
    }
}

/// What a note said before
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/customers/{id}/notes/{noteId}/revisions",
    tag = "notes",
    params(CustomerPath, NotePath, PageQuery),
    responses(
        (status = 200, description = "A page of revisions; `totalCount` is exact.", body = Paginated<RevisionsResponse>),
        (status = 404, description = "No such customer, or no such note of theirs.")
    )
)]
pub(in crate::http) async fn list_revisions(
    services: ServicesData,
    path: PathOf,
    query: QueryOf<PageQuery>,
) -> HandlerResult {
    let ((customer, note), query) = collect_errors(note_ids(&path), query.0)?;
    let request = PageRequest::from(query);
    let Page { items, total_count } = services.notes.revisions(&customer, &note, request).await?;
    let revisions = items.into_iter().map(RevisionResponse::from).collect();
    Ok(envelope::page(request, total_count, RevisionsResponse { revisions }))
}

fn note_ids(path: &PathOf) -> Result<(UserId, NoteId), ApiError> {
    collect_errors(path.id("id", UserId::parse), path.id("noteId", NoteId::parse))
}
