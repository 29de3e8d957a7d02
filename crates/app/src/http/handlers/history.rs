//! A customer's history with the platform: bookings, invoices, memberships, gems, and all of a profile page at once.

use actix_web::http::StatusCode;
use crm_domain::{
    history::{
        BookedService, Booking, BookingFilter, GemTransaction, GemsPage, Invoice, Labels, Membership, Memberships,
        Overview, When,
    },
    ids::UserId,
    page::{Page, PageRequest},
};
use garde::Validate;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::{customers::CustomerViewResponse, notes::ListedNoteResponse, tags::TagResponse};
use crate::{
    http::{
        openapi::{document::CustomerPath, schemas},
        request::{
            field::{Field, RawFields, optional},
            page::PageQuery,
            path::PathOf,
            query::QueryOf,
            validation::collect_errors,
        },
        response::{
            envelope::{self, Paginated, Success},
            error::HandlerResult,
            timestamp::{HourMinute, IsoDate, Rfc3339},
        },
    },
    services::ServicesData,
};

#[derive(Debug, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct BookingsQuery {
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::booking_status)]
    status: Field<Labels>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::when)]
    when: Field<When>,
}

impl From<RawFields> for BookingsQuery {
    fn from(mut fields: RawFields) -> Self {
        Self { status: labels(&mut fields, "status"), when: fields.field("when") }
    }
}

#[derive(Debug, Validate, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in crate::http) struct InvoicesQuery {
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::payment_status)]
    payment_status: Field<Labels>,
}

impl From<RawFields> for InvoicesQuery {
    fn from(mut fields: RawFields) -> Self {
        Self { payment_status: labels(&mut fields, "paymentStatus") }
    }
}

fn labels(fields: &mut RawFields, name: &str) -> Field<Labels> {
    fields.repeated(name, |texts| Labels::parse(texts.iter().copied()).map_err(|error| error.to_string()))
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct BookingsResponse {
    bookings: Vec<BookingResponse>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BookingResponse {
    id: String,
    booking_number: String,
    /// The platform's label.
    status: String,
    /// The platform's label.
    service_type: String,
    /// The day, by the salon's calendar.
    #[schema(schema_with = schemas::date)]
    booking_date: IsoDate,
    /// By the salon's clock.
    #[schema(schema_with = schemas::time_of_day)]
    start_time: HourMinute,
    /// By the salon's clock; the end of a day is `24:00`.
    #[schema(schema_with = schemas::time_of_day)]
    end_time: HourMinute,
    /// Whole paise; 100 are 1 rupee.
    total_amount_paise: i64,
    total_duration_minutes: i64,
    is_walkin: bool,
    is_membership_session: bool,
    /// In the platform's order; empty also where the platform does not keep them.
    services: Vec<ServiceResponse>,
    #[schema(schema_with = schemas::timestamp)]
    created_at: Rfc3339,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServiceResponse {
    /// As it was called when it was booked.
    name: String,
    duration_minutes: i64,
    /// Whole paise; 100 are 1 rupee.
    price_paise: i64,
}

impl From<Booking> for BookingResponse {
    fn from(booking: Booking) -> Self {
        let Booking {
            id,
            number,
            status,
            service_type,
            date,
            start_time,
            end_time,
            total_amount_paise,
            total_duration_minutes,
            is_walkin,
            is_membership_session,
            services,
            created_at,
        } = booking;
        Self {
            id: id.to_string(),
            booking_number: number,
            status,
            service_type,
            booking_date: IsoDate(date),
            start_time: HourMinute(start_time),
            end_time: HourMinute(end_time),
            total_amount_paise,
            total_duration_minutes,
            is_walkin,
            is_membership_session,
            services: services.into_iter().map(ServiceResponse::from).collect(),
            created_at: Rfc3339(created_at),
        }
    }
}

impl From<BookedService> for ServiceResponse {
    fn from(service: BookedService) -> Self {
        let BookedService { name, duration_minutes, price_paise } = service;
        Self { name, duration_minutes, price_paise }
    }
}

/// A customer's bookings
///
/// Latest first. Empty values of `status` are ignored.
#[utoipa::path(
    get,
    path = "/api/customers/{id}/bookings",
    tag = "history",
    params(CustomerPath, BookingsQuery, PageQuery),
    responses(
        (status = 200, description = "A page of bookings; `totalCount` is exact.", body = Paginated<BookingsResponse>),
        (status = 404, description = "No user with that id has a profile, or bookings are not available on this platform.")
    )
)]
pub(in crate::http) async fn list_bookings(
    services: ServicesData,
    path: PathOf,
    query: QueryOf<BookingsQuery>,
    page: QueryOf<PageQuery>,
) -> HandlerResult {
    let query = collect_errors(query.0, page.0);
    let (customer, (BookingsQuery { status, when }, page)) = collect_errors(path.id("id", UserId::parse), query)?;
    let request = PageRequest::from(page);
    let filter = BookingFilter { statuses: status.optional().unwrap_or_default(), when: when.optional() };
    let Page { items, total_count } = services.history.bookings(&customer, &filter, request).await?;
    let bookings = items.into_iter().map(BookingResponse::from).collect();
    Ok(envelope::page(request, total_count, BookingsResponse { bookings }))
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct InvoicesResponse {
    invoices: Vec<InvoiceResponse>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InvoiceResponse {
    id: String,
    invoice_number: String,
    /// The platform's label.
    invoice_type: String,
    /// The platform's label.
    payment_status: String,
    /// The platform's label.
    payment_method: String,
    /// Whole paise; 100 are 1 rupee.
    subtotal_paise: i64,
    discount_amount_paise: i64,
    gst_amount_paise: i64,
    total_amount_paise: i64,
    gems_earned: i64,
    gems_redeemed: i64,
    booking_id: String,
    #[schema(schema_with = schemas::timestamp_or_null)]
    paid_at: Option<Rfc3339>,
    #[schema(schema_with = schemas::timestamp)]
    created_at: Rfc3339,
}

impl From<Invoice> for InvoiceResponse {
    fn from(invoice: Invoice) -> Self {
        let Invoice {
            id,
            number,
            invoice_type,
            payment_status,
            payment_method,
            subtotal_paise,
            discount_amount_paise,
            gst_amount_paise,
            total_amount_paise,
            gems_earned,
            gems_redeemed,
            booking,
            paid_at,
            created_at,
        } = invoice;
        Self {
            id: id.to_string(),
            invoice_number: number,
            invoice_type,
            payment_status,
            payment_method,
            subtotal_paise,
            discount_amount_paise,
            gst_amount_paise,
            total_amount_paise,
            gems_earned,
            gems_redeemed,
            booking_id: booking.to_string(),
            paid_at: paid_at.map(Rfc3339),
            created_at: Rfc3339(created_at),
        }
    }
}

/// A customer's invoices
///
/// Newest first. Empty values of `paymentStatus` are ignored.
#[utoipa::path(
    get,
    path = "/api/customers/{id}/invoices",
    tag = "history",
    params(CustomerPath, InvoicesQuery, PageQuery),
    responses(
        (status = 200, description = "A page of invoices; `totalCount` is exact.", body = Paginated<InvoicesResponse>),
        (status = 404, description = "No user with that id has a profile, or invoices are not available on this platform.")
    )
)]
pub(in crate::http) async fn list_invoices(
    services: ServicesData,
    path: PathOf,
    query: QueryOf<InvoicesQuery>,
    page: QueryOf<PageQuery>,
) -> HandlerResult {
    let query = collect_errors(query.0, page.0);
    let (customer, (InvoicesQuery { payment_status }, page)) = collect_errors(path.id("id", UserId::parse), query)?;
    let request = PageRequest::from(page);
    let statuses = payment_status.optional().unwrap_or_default();
    let Page { items, total_count } = services.history.invoices(&customer, &statuses, request).await?;
    let invoices = items.into_iter().map(InvoiceResponse::from).collect();
    Ok(envelope::page(request, total_count, InvoicesResponse { invoices }))
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MembershipsResponse {
    /// The one that the platform calls active; `null` without one.
    active: Option<MembershipResponse>,
    /// The others, newest first.
    past: Vec<MembershipResponse>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MembershipResponse {
    id: String,
    membership_number: String,
    /// The tier, as it was called when it was bought.
    tier_name_snapshot: String,
    /// The platform's label.
    status: String,
    total_hours_minutes: i64,
    used_hours_minutes: i64,
    /// Whole paise; 100 are 1 rupee.
    price_paid_paise: i64,
    #[schema(schema_with = schemas::timestamp)]
    starts_at: Rfc3339,
    #[schema(schema_with = schemas::timestamp)]
    expires_at: Rfc3339,
}

impl From<Membership> for MembershipResponse {
    fn from(membership: Membership) -> Self {
        let Membership {
            id,
            number,
            tier_name,
            status,
            total_hours_minutes,
            used_hours_minutes,
            price_paid_paise,
            starts_at,
            expires_at,
        } = membership;
        Self {
            id: id.to_string(),
            membership_number: number,
            tier_name_snapshot: tier_name,
            status,
            total_hours_minutes,
            used_hours_minutes,
            price_paid_paise,
            starts_at: Rfc3339(starts_at),
            expires_at: Rfc3339(expires_at),
        }
    }
}

impl From<Memberships> for MembershipsResponse {
    fn from(Memberships { active, past }: Memberships) -> Self {
        Self {
            active: active.map(MembershipResponse::from),
            past: past.into_iter().map(MembershipResponse::from).collect(),
        }
    }
}

/// A customer's memberships
///
/// All of them at once.
#[utoipa::path(
    get,
    path = "/api/customers/{id}/memberships",
    tag = "history",
    params(CustomerPath),
    responses(
        (status = 200, description = "The memberships.", body = Success<MembershipsResponse>),
        (status = 404, description = "No user with that id has a profile, or memberships are not available on this platform.")
    )
)]
pub(in crate::http) async fn list_memberships(services: ServicesData, path: PathOf) -> HandlerResult {
    let customer = path.id("id", UserId::parse)?;
    let memberships = services.history.memberships(&customer).await?;
    Ok(envelope::success(StatusCode::OK, MembershipsResponse::from(memberships)))
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GemsResponse {
    /// `null` without a loyalty account.
    balance: Option<i64>,
    transactions: Vec<GemTransactionResponse>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GemTransactionResponse {
    id: String,
    /// The platform's label.
    #[serde(rename = "type")]
    transaction_type: String,
    /// Negative when they were taken.
    gems_amount: i64,
    description: Option<String>,
    invoice_id: Option<String>,
    #[schema(schema_with = schemas::timestamp_or_null)]
    expires_at: Option<Rfc3339>,
    #[schema(schema_with = schemas::timestamp)]
    created_at: Rfc3339,
}

impl From<GemTransaction> for GemTransactionResponse {
    fn from(transaction: GemTransaction) -> Self {
        let GemTransaction { id, transaction_type, gems_amount, description, invoice, expires_at, created_at } =
            transaction;
        Self {
            id: id.to_string(),
            transaction_type,
            gems_amount,
            description,
            invoice_id: invoice.map(|invoice| invoice.to_string()),
            expires_at: expires_at.map(Rfc3339),
            created_at: Rfc3339(created_at),
        }
    }
}

/// A customer's gems
///
/// The balance, and what changed it, newest first.
#[utoipa::path(
    get,
    path = "/api/customers/{id}/gems",
    tag = "history",
    params(CustomerPath, PageQuery),
    responses(
        (status = 200, description = "A page of entries; `totalCount` is exact.", body = Paginated<GemsResponse>),
        (status = 404, description = "No user with that id has a profile, or gems are not available on this platform.")
    )
)]
pub(in crate::http) async fn list_gems(
    services: ServicesData,
    path: PathOf,
    page: QueryOf<PageQuery>,
) -> HandlerResult {
    let (customer, page) = collect_errors(path.id("id", UserId::parse), page.0)?;
    let request = PageRequest::from(page);
    let GemsPage { balance, transactions } = services.history.gems(&customer, request).await?;
    let Page { items, total_count } = transactions;
    let transactions = items.into_iter().map(GemTransactionResponse::from).collect();
    Ok(envelope::page(request, total_count, GemsResponse { balance, transactions }))
}

/// The first items of a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FirstItems<T> {
    /// The first 20, as listed.
    items: Vec<T>,
    /// Of the whole list, exactly.
    total_count: u64,
}

impl<T> FirstItems<T> {
    fn of<Item: Into<T>>(page: Page<Item>) -> Self {
        let Page { items, total_count } = page;
        Self { items: items.into_iter().map(Into::into).collect(), total_count }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct OverviewResponse {
    customer: CustomerViewResponse,
    /// Whole paise for each visit, half a paisa rounded up; `null` without visits.
    average_spend_paise: Option<i64>,
    /// The soonest booking that begins now or later and whose status is not `completed`, `cancelled`, `rejected` or `no_show`;
    /// `null` if there is none, or where bookings are not available.
    next_booking: Option<BookingResponse>,
    /// `null` where bookings are not available.
    bookings: Option<FirstItems<BookingResponse>>,
    /// `null` where invoices are not available.
    invoices: Option<FirstItems<InvoiceResponse>>,
    notes: FirstItems<ListedNoteResponse>,
    /// `null` where memberships are not available.
    memberships: Option<MembershipsResponse>,
    /// Every tag that there is, A to Z ignoring case; those of the customer are in `customer`.
    tags: Vec<TagResponse>,
}

impl From<Overview> for OverviewResponse {
    fn from(overview: Overview) -> Self {
        let average_spend_paise = overview.average_spend_paise();
        let Overview { customer, next_booking, bookings, invoices, notes, memberships, tags } = overview;
        Self {
            customer: customer.into(),
            average_spend_paise,
            next_booking: next_booking.map(BookingResponse::from),
            bookings: bookings.map(FirstItems::of),
            invoices: invoices.map(FirstItems::of),
            notes: FirstItems::of(notes),
            memberships: memberships.map(MembershipsResponse::from),
            tags: tags.into_iter().map(TagResponse::from).collect(),
        }
    }
}

/// All of a profile page
///
/// In one request and from one snapshot: the customer, and the beginning of each list.
#[utoipa::path(
    get,
    path = "/api/customers/{id}/overview",
    tag = "history",
    params(CustomerPath),
    responses(
        (status = 200, description = "Everything that a profile page shows.", body = Success<OverviewResponse>),
        (status = 404, description = "No user with that id has a profile.")
    )
)]
pub(in crate::http) async fn find_overview(services: ServicesData, path: PathOf) -> HandlerResult {
    let customer = path.id("id", UserId::parse)?;
    let overview = services.history.overview(&customer).await?;
    Ok(envelope::success(StatusCode::OK, OverviewResponse::from(overview)))
}
