//! Errors: the one file that knows status codes and codes.
//!
//! Source: contract, "Envelope". What the framework refuses by itself comes through here too.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use crm_domain::{
    customer::CustomerError,
    directory::ExportError,
    history::{HistoryError, HistoryList},
    note::NoteError,
    store_error::{Cause, Reference, StoreError},
    tag::TagError,
    timeline::TimelineError,
};
use serde::Serialize;

/// Messages by field: every failing field, each with at least one.
pub(crate) type Details = BTreeMap<String, Vec<String>>;

/// Which input failed its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The body or the path.
    Data,
    /// The query.
    Query,
}

/// Why a request was not answered with success.
#[derive(Debug)]
pub(crate) enum ApiError {
    Invalid(Input, Details),
    Unauthenticated,
    Forbidden,
    NotFound(&'static str),
    MethodNotAllowed,
    Conflict(&'static str),
    /// So many customers are in the way.
    InUse(u64),
    RequestInProgress,
    PreconditionFailed,
    PayloadTooLarge,
    UnsupportedMediaType,
    IdempotencyKeyReused,
    RateLimited {
        retry_after_seconds: u64,
    },
    Internal(Cause),
    Unavailable(Cause),
}

impl ApiError {
    /// A body that is not what it must be, with no single field to blame.
    pub(crate) fn malformed() -> Self {
        Self::Invalid(Input::Data, Details::new())
    }

    /// One field that fails its rule.
    pub(crate) fn invalid_field(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(Input::Data, Details::from([(field.to_owned(), vec![message.into()])]))
    }

    /// No route leads there.
    pub(crate) fn unknown_path() -> Self {
        Self::NotFound("There is nothing at this address.")
    }

    /// What a refusal of the framework's own means.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::unknown_path(),
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            status if status.is_client_error() => Self::malformed(),
            status => Self::Internal(format!("the framework answered {status}").into()),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(..) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) | Self::InUse(_) | Self::RequestInProgress => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Invalid(..) => "VALIDATION_ERROR",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound(_) => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::Conflict(_) | Self::InUse(_) => "CONFLICT",
            Self::RequestInProgress => "REQUEST_IN_PROGRESS",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Internal(_) => "INTERNAL_ERROR",
            Self::Unavailable(_) => "SERVICE_UNAVAILABLE",
        }
    }

    /// When it is answered: for the API's description.
    pub(crate) fn description(&self) -> &'static str {
        match self {
            Self::Invalid(..) => "The query, path or body breaks a rule, or the body is not a JSON object.",
            Self::Unauthenticated => "No valid session.",
            Self::Forbidden => "The caller's role is too low, or another site's page made the request.",
            Self::NotFound(_) => "There is no such thing.",
            Self::MethodNotAllowed => "The address is known, the method is not.",
            Self::Conflict(_) | Self::InUse(_) => "It exists already, or it is in use.",
            Self::RequestInProgress => "The first request with this idempotency key is still at work.",
            Self::PreconditionFailed => "It is not in the state that `If-Match` requires. Nothing was changed.",
            Self::IdempotencyKeyReused => "The idempotency key was used for a request with another body.",
            Self::PayloadTooLarge => "The body has more than 64 KiB.",
            Self::UnsupportedMediaType => "The body is not `application/json`.",
            Self::RateLimited { .. } => "Too many requests within the window.",
            Self::Internal(_) => "Something unexpected went wrong.",
            Self::Unavailable(_) => "The database cannot be reached or is busy, or a deadline passed.",
        }
    }

    /// One of each kind: for the API's description. A new kind belongs here, too.
    pub(crate) fn all_kinds() -> [Self; 14] {
        [
            Self::malformed(),
            Self::Unauthenticated,
            Self::Forbidden,
            CustomerError::NotFound.into(),
            Self::MethodNotAllowed,
            TagError::SlugTaken.into(),
            Self::RequestInProgress,
            Self::PreconditionFailed,
            Self::PayloadTooLarge,
            Self::UnsupportedMediaType,
            Self::IdempotencyKeyReused,
            Self::RateLimited { retry_after_seconds: 7 },
            Self::Internal("an example".into()),
            Self::Unavailable("an example".into()),
        ]
    }

    fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Invalid(Input::Data, _) => "Invalid request data",
            Self::Invalid(Input::Query, _) => "Invalid query parameters",
            Self::Unauthenticated => "You must be signed in.",
            Self::Forbidden => "You do not have permission to perform this action.",
            Self::NotFound(message) | Self::Conflict(message) => message,
            Self::MethodNotAllowed => "This address does not support that method.",
            Self::InUse(1) => "One customer has this tag. Take it off them first, or delete it with unassign=true.",
            Self::InUse(count) => {
                return format!(
                    "{count} customers have this tag. Take it off them first, or delete it with unassign=true."
                )
                .into();
            }
            Self::RequestInProgress => "The same request is still being processed. Please try again in a moment.",
            Self::PreconditionFailed => "It has changed since you loaded it. Load it again before you change it.",
            Self::IdempotencyKeyReused => "This Idempotency-Key was used for another request. Use a new key.",
            Self::PayloadTooLarge => "The request body must be at most 64 KiB.",
            Self::UnsupportedMediaType => "The request body must be application/json.",
            Self::RateLimited { retry_after_seconds } => {
                return format!("Too many requests. Please try again in {retry_after_seconds}s.").into();
            }
            Self::Internal(_) => "An unexpected error occurred. Please try again.",
            Self::Unavailable(_) => "The service is busy right now. Please try again in a moment.",
        })
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::RequestInProgress | Self::Internal(_) | Self::Unavailable(_))
    }

    /// What is logged of an error that is not the client's doing.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Internal(cause) | Self::Unavailable(cause) => Some(cause),
            _ => None,
        }
    }

    /// The body that the contract gives this error.
    pub(crate) fn body<'e>(&'e self, request_id: &'e str) -> ErrorBody<'e> {
        let details = match self {
            Self::Invalid(_, details) => Some(ErrorDetails::Fields(details)),
            Self::RateLimited { retry_after_seconds } => {
                Some(ErrorDetails::RateLimit { retry_after_seconds: *retry_after_seconds })
            }
            Self::InUse(customer_count) => Some(ErrorDetails::InUse { customer_count: *customer_count }),
            _ => None,
        };
        ErrorBody {
            success: false,
            error: ErrorObject {
                code: self.code(),
                message: self.message(),
                status_code: self.status().as_u16(),
                request_id,
                retryable: self.retryable(),
                details,
            },
        }
    }
}

/// The error envelope; its keys in the contract's order.
#[derive(Serialize)]
pub(crate) struct ErrorBody<'e> {
    success: bool,
    error: ErrorObject<'e>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorObject<'e> {
    code: &'static str,
    message: Cow<'static, str>,
    status_code: u16,
    request_id: &'e str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<ErrorDetails<'e>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ErrorDetails<'e> {
    Fields(&'e Details),
    #[serde(rename_all = "camelCase")]
    RateLimit {
        retry_after_seconds: u64,
    },
    #[serde(rename_all = "camelCase")]
    InUse {
        customer_count: u64,
    },
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    /// Without a body: the request context middleware knows the request id and writes it.
    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        match self {
            Self::Unavailable(_) | Self::RequestInProgress => response.insert_header((header::RETRY_AFTER, 1)),
            Self::RateLimited { retry_after_seconds } => {
                response.insert_header((header::RETRY_AFTER, *retry_after_seconds))
            }
            _ => &mut response,
        };
        response.finish()
    }
}

/// The adapters decide which failures of the database are `Unavailable` (`postgres/error.rs`).
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => Self::Unavailable(cause),
            // The caller's own user went away in the middle of the request, and the session with it.
            StoreError::Missing(Reference::Actor) => Self::Unauthenticated,
            StoreError::Missing(Reference::Customer) => CustomerError::NotFound.into(),
            StoreError::Missing(Reference::Tag) => TagError::NotFound.into(),
            StoreError::Missing(Reference::Booking) => NoteError::BookingNotOfCustomer.into(),
            StoreError::StillReferenced => Self::Conflict("Another part of the platform still uses it."),
            StoreError::Unexpected(cause) => Self::Internal(cause),
        }
    }
}

impl From<CustomerError> for ApiError {
    fn from(error: CustomerError) -> Self {
        match error {
            CustomerError::NotFound => Self::NotFound("Customer not found."),
            CustomerError::PreconditionFailed => Self::PreconditionFailed,
            CustomerError::Store(error) => error.into(),
        }
    }
}

impl From<TagError> for ApiError {
    fn from(error: TagError) -> Self {
        match error {
            TagError::NotFound | TagError::IntoNotFound => Self::NotFound("Tag not found."),
            TagError::InUse(count) => Self::InUse(count),
            TagError::PreconditionFailed => Self::PreconditionFailed,
            TagError::CustomerNotFound => CustomerError::NotFound.into(),
            TagError::SlugTaken => Self::Conflict("A tag with this name already exists."),
            TagError::Store(error) => error.into(),
        }
    }
}

impl From<NoteError> for ApiError {
    fn from(error: NoteError) -> Self {
        match error {
            NoteError::CustomerNotFound => CustomerError::NotFound.into(),
            NoteError::NotFound => Self::NotFound("Note not found."),
            NoteError::NotAuthor => Self::Forbidden,
            NoteError::PreconditionFailed => Self::PreconditionFailed,
            NoteError::BookingNotOfCustomer => {
                Self::invalid_field("bookingId", "must be the id of a booking of this customer")
            }
            NoteError::Store(error) => error.into(),
        }
    }
}

impl From<TimelineError> for ApiError {
    fn from(error: TimelineError) -> Self {
        match error {
            TimelineError::CustomerNotFound => CustomerError::NotFound.into(),
            TimelineError::Store(error) => error.into(),
        }
    }
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::CustomerNotFound => CustomerError::NotFound.into(),
            HistoryError::NotAvailable(list) => Self::NotFound(match list {
                HistoryList::Bookings => "Bookings are not available on this platform.",
                HistoryList::Invoices => "Invoices are not available on this platform.",
                HistoryList::Memberships => "Memberships are not available on this platform.",
                HistoryList::Gems => "Gems are not available on this platform.",
            }),
            HistoryError::Store(error) => error.into(),
        }
    }
}

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Busy => Self::Unavailable("two exports are under way".into()),
            ExportError::Store(error) => error.into(),
        }
    }
}

/// A handler's result.
pub(crate) type HandlerResult = Result<HttpResponse, ApiError>;
