//! Customers: one profile, the gates.

use actix_web::http::StatusCode;
use crm_domain::{
    customer::{CustomerView, GateOverride, NoShowCount, Profile},
    ids::UserId,
    tag::Chip,
};
use garde::Validate;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        openapi::{document::CustomerPath, schemas},
        request::{
            body::OptionalBodyOf,
            caller::Caller,
            field::{Field, RawFields, optional},
            path::PathOf,
            precondition::{IfMatch, IfMatchHeader},
            validation::collect_errors,
        },
        response::{
            entity_tag::EntityTag,
            envelope::{Answer, Success},
            error::HandlerResult,
            timestamp::{IsoDate, Rfc3339},
        },
    },
    services::ServicesData,
};

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ChipResponse {
    slug: String,
    name: String,
    color: Option<String>,
}

impl From<Chip> for ChipResponse {
    fn from(chip: Chip) -> Self {
        let Chip { slug, name, color } = chip;
        Self { slug, name, color }
    }
}

pub(super) fn chips(tags: Vec<Chip>) -> Vec<ChipResponse> {
    tags.into_iter().map(ChipResponse::from).collect()
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CustomerResponse<T> {
    customer: T,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct CustomerViewResponse {
    /// The user's id.
    id: String,
    name: String,
    email: String,
    /// As stored.
    role: Option<String>,
    image: Option<String>,
    phone: Option<String>,
    gender: Option<String>,
    #[schema(schema_with = schemas::day_or_null)]
    date_of_birth: Option<IsoDate>,
    total_visits: i64,
    /// Whole paise; 100 are 1 rupee.
    total_spent_paise: i64,
    noshow_count: i64,
    late_cancellation_count: i64,
    booking_requires_approval: bool,
    #[schema(schema_with = schemas::timestamp_or_null)]
    first_visit_at: Option<Rfc3339>,
    #[schema(schema_with = schemas::timestamp_or_null)]
    last_visit_at: Option<Rfc3339>,
    /// `null` without a loyalty account.
    gems_balance: Option<i64>,
    #[schema(schema_with = schemas::timestamp)]
    created_at: Rfc3339,
    /// A to Z ignoring case.
    tags: Vec<ChipResponse>,
}

impl From<CustomerView> for CustomerViewResponse {
    fn from(customer: CustomerView) -> Self {
        let CustomerView {
            id,
            name,
            email,
            role,
            image,
            phone,
            gender,
            date_of_birth,
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            booking_requires_approval,
            first_visit_at,
            last_visit_at,
            gems_balance,
            created_at,
            tags,
        } = customer;
        Self {
            id: id.to_string(),
            name,
            email,
            role,
            image,
            phone,
            gender,
            date_of_birth: date_of_birth.map(IsoDate),
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            booking_requires_approval,
            first_visit_at: first_visit_at.map(Rfc3339),
            last_visit_at: last_visit_at.map(Rfc3339),
            gems_balance,
            created_at: Rfc3339(created_at),
            tags: chips(tags),
        }
    }
}

/// One customer
///
/// Whoever has a profile, whatever their role.
#[utoipa::path(
    get,
    path = "/api/customers/{id}",
    tag = "customers",
    params(CustomerPath),
    responses(
        (
            status = 200,
            description = "The customer.",
            body = Success<CustomerResponse<CustomerViewResponse>>,
            headers(("ETag" = String, description = "Changes whenever anything shown does; for `If-Match`."))
        ),
        (status = 404, description = "No user with that id has a profile.")
    )
)]
pub(in crate::http) async fn find_customer(services: ServicesData, path: PathOf) -> HandlerResult {
    let id = path.id("id", UserId::parse)?;
    let customer = CustomerViewResponse::from(services.customers.find(&id).await?);
    let entity_tag = EntityTag::of(&customer);
    Ok(Answer::new(StatusCode::OK, CustomerResponse { customer }).tagged(entity_tag).into())
}

/// The entity tag of a customer, as `GET /api/customers/{id}` shows them.
fn entity_tag(customer: &CustomerView) -> EntityTag {
    EntityTag::of(&CustomerViewResponse::from(customer.clone()))
}

#[derive(Debug, Validate, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct OverrideGatesRequest {
    #[garde(custom(optional))]
    #[schema(required = false, schema_with = schemas::noshow_count)]
    noshow_count: Field<NoShowCount>,
    /// Whether each booking has to be approved.
    #[garde(custom(optional))]
    #[schema(required = false, value_type = bool)]
    booking_requires_approval: Field<bool>,
}

impl From<RawFields> for OverrideGatesRequest {
    fn from(mut fields: RawFields) -> Self {
        Self {
            noshow_count: fields.field("noshowCount"),
            booking_requires_approval: fields.field("bookingRequiresApproval"),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ProfileResponse {
    /// The profile's id, not the user's.
    id: String,
    user_id: String,
    phone: Option<String>,
    gender: Option<String>,
    #[schema(schema_with = schemas::day_or_null)]
    date_of_birth: Option<IsoDate>,
    marketing_consent: bool,
    #[schema(schema_with = schemas::timestamp_or_null)]
    marketing_consent_at: Option<Rfc3339>,
    appointment_reminders_enabled: bool,
    membership_alerts_enabled: bool,
    acquisition_source: Option<String>,
    utm_campaign: Option<String>,
    utm_medium: Option<String>,
    utm_source: Option<String>,
    #[schema(schema_with = schemas::timestamp_or_null)]
    first_visit_at: Option<Rfc3339>,
    #[schema(schema_with = schemas::timestamp_or_null)]
    last_visit_at: Option<Rfc3339>,
    total_visits: i64,
    /// Whole paise; 100 are 1 rupee.
    total_spent_paise: i64,
    noshow_count: i64,
    late_cancellation_count: i64,
    consecutive_completed_bookings: i64,
    booking_requires_approval: bool,
    #[schema(schema_with = schemas::timestamp)]
    created_at: Rfc3339,
    /// Moves with every change.
    #[schema(schema_with = schemas::timestamp)]
    updated_at: Rfc3339,
}

impl From<Profile> for ProfileResponse {
    fn from(profile: Profile) -> Self {
        let Profile {
            id,
            user_id,
            phone,
            gender,
            date_of_birth,
            marketing_consent,
            marketing_consent_at,
            appointment_reminders_enabled,
            membership_alerts_enabled,
            acquisition_source,
            utm_campaign,
            utm_medium,
            utm_source,
            first_visit_at,
            last_visit_at,
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            consecutive_completed_bookings,
            booking_requires_approval,
            created_at,
            updated_at,
        } = profile;
        Self {
            id: id.to_string(),
            user_id: user_id.to_string(),
            phone,
            gender,
            date_of_birth: date_of_birth.map(IsoDate),
            marketing_consent,
            marketing_consent_at: marketing_consent_at.map(Rfc3339),
            appointment_reminders_enabled,
            membership_alerts_enabled,
            acquisition_source,
            utm_campaign,
            utm_medium,
            utm_source,
            first_visit_at: first_visit_at.map(Rfc3339),
            last_visit_at: last_visit_at.map(Rfc3339),
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            consecutive_completed_bookings,
            booking_requires_approval,
            created_at: Rfc3339(created_at),
            updated_at: Rfc3339(updated_at),
        }
    }
}

/// Override the booking gates
///
/// Both fields may be absent; `{}`, no body at all, and values that are there already change nothing and answer the row as
/// it is. A change is audited.
#[utoipa::path(
    patch,
    path = "/api/customers/{id}",
    tag = "customers",
    params(CustomerPath, IfMatchHeader),
    request_body = OverrideGatesRequest,
    responses(
        (
            status = 200,
            description = "The whole profile row.",
            body = Success<CustomerResponse<ProfileResponse>>,
            headers(("ETag" = String, description = "That of the customer, as `GET` answers it now."))
        ),
        (status = 404, description = "No user with that id has a profile.")
    )
)]
pub(in crate::http) async fn override_gates(
    services: ServicesData,
    caller: Caller,
    path: PathOf,
    if_match: IfMatch,
    body: OptionalBodyOf<OverrideGatesRequest>,
) -> HandlerResult {
    let path_and_header = collect_errors(path.id("id", UserId::parse), if_match.0);
    let ((id, required), body) = collect_errors(path_and_header, body.0)?;
    let OverrideGatesRequest { noshow_count, booking_requires_approval } = body;
    let wanted = GateOverride {
        noshow_count: noshow_count.optional(),
        booking_requires_approval: booking_requires_approval.optional(),
    };
    let precondition = required.precondition(entity_tag);
    let (profile, customer) = services.customers.override_gates(&caller.0, &id, wanted, &precondition).await?;
    let answer = Answer::new(StatusCode::OK, CustomerResponse { customer: ProfileResponse::from(profile) });
    Ok(answer.tagged(entity_tag(&customer)).into())
}
