//! Notes: listing and writing.

use actix_web::http::StatusCode;
use crm_domain::{
    ids::{BookingId, UserId},
    note::{ListedNote, Note, NoteContent},
    page::{Page, PageRequest},
};
use garde::Validate;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        openapi::{document::CustomerPath, schemas},
        request::{
            body::BodyOf,
            caller::Caller,
            field::{Field, RawFields, optional, required},
            page::PageQuery,
            path::PathOf,
            query::QueryOf,
            validation::collect_errors,
        },
        response::{
            envelope::{self, Paginated, Success},
            error::HandlerResult,
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
struct ListedNoteResponse {
    #[serde(flatten)]
    note: NoteResponse,
    author_name: String,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WrittenNoteResponse {
    note: NoteResponse,
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
        let ListedNote { note, author_name } = listed;
        Self { note: note.into(), author_name }
    }
}

/// A customer's notes
///
/// Newest first.
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
/// The author is the caller. Notes are only ever added. Audited, without the text.
#[utoipa::path(
    post,
    path = "/api/customers/{id}/notes",
    tag = "notes",
    params(CustomerPath),
    request_body = WriteNoteRequest,
    responses(
        (status = 201, description = "The note.", body = Success<WrittenNoteResponse>),
        (status = 404, description = "No user with that id has a profile.")
    )
)]
pub(in crate::http) async fn write_note(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    body: BodyOf<WriteNoteRequest>,
) -> HandlerResult {
    let (customer, WriteNoteRequest { content, booking_id }) = collect_errors(path.id("id", UserId::parse), body.0)?;
    let note = services.notes.write(&caller.0, customer, content.required()?, booking_id.optional()).await?;
    Ok(envelope::success(StatusCode::CREATED, WrittenNoteResponse { note: note.into() }))
}
