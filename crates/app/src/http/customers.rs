//! Customers: the directory, one profile, the gates.

use actix_web::{HttpResponse, http::StatusCode};
use crm_domain::{
    customer::{CustomerView, GateOverride, NoShowCount, Profile},
    directory::{CustomerSummary, DirectoryQuery, SearchTerm, SortKey, TagFilter},
    ids::UserId,
    page::{Page, PageNumber, PageRequest, PageSize},
    tag::Chip,
};
use garde::Validate;
use serde::Serialize;

use super::{
    endpoint::{Answer, Caller, Use},
    extract::{OptionalBodyOf, PathOf, QueryOf, both},
    field::{Field, Members, optional},
    render::{self, Day, Timestamp},
};

#[derive(Debug, Validate)]
pub(super) struct ListCustomersQuery {
    #[garde(custom(optional))]
    q: Field<Option<SearchTerm>>,
    #[garde(custom(optional))]
    sort: Field<SortKey>,
    #[garde(custom(optional))]
    page: Field<PageNumber>,
    #[garde(custom(optional))]
    page_size: Field<PageSize>,
    #[garde(custom(optional))]
    tag: Field<Option<TagFilter>>,
}

impl From<Members> for ListCustomersQuery {
    fn from(mut members: Members) -> Self {
        Self {
            q: members.take("q"),
            sort: members.take("sort"),
            page: members.take("page"),
            page_size: members.take("pageSize"),
            tag: members.take("tag"),
        }
    }
}

#[derive(Serialize)]
struct CustomersResponse {
    customers: Vec<CustomerSummaryResponse>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CustomerSummaryResponse {
    id: String,
    name: String,
    email: String,
    phone: Option<String>,
    total_visits: i32,
    total_spent_paise: i32,
    noshow_count: i32,
    first_visit_at: Option<Timestamp>,
    last_visit_at: Option<Timestamp>,
    gems_balance: Option<i32>,
    created_at: Timestamp,
    tags: Vec<ChipResponse>,
}

#[derive(Serialize)]
pub(super) struct ChipResponse {
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

fn chips(tags: Vec<Chip>) -> Vec<ChipResponse> {
    tags.into_iter().map(ChipResponse::from).collect()
}

impl From<CustomerSummary> for CustomerSummaryResponse {
    fn from(customer: CustomerSummary) -> Self {
        let CustomerSummary {
            id,
            name,
            email,
            phone,
            total_visits,
            total_spent_paise,
            noshow_count,
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
            phone,
            total_visits,
            total_spent_paise,
            noshow_count,
            first_visit_at: first_visit_at.map(Timestamp),
            last_visit_at: last_visit_at.map(Timestamp),
            gems_balance,
            created_at: Timestamp(created_at),
            tags: chips(tags),
        }
    }
}

/// `GET /api/customers`
pub(super) async fn list_customers(services: Use, query: QueryOf<ListCustomersQuery>) -> Answer {
    let ListCustomersQuery { q, sort, page, page_size, tag } = query.0?;
    let query = DirectoryQuery {
        search: q.optional().flatten(),
        tag: tag.optional().flatten(),
        sort: sort.optional().unwrap_or_default(),
        page: PageRequest {
            number: page.optional().unwrap_or_default(),
            size: page_size.optional().unwrap_or_default(),
        },
    };
    let Page { items, total_count } = services.directory.list(&query).await?;
    let customers = items.into_iter().map(CustomerSummaryResponse::from).collect();
    Ok(render::page(query.page, total_count, CustomersResponse { customers }))
}

#[derive(Serialize)]
struct CustomerResponse<T> {
    customer: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CustomerViewResponse {
    id: String,
    name: String,
    email: String,
    role: Option<String>,
    image: Option<String>,
    phone: Option<String>,
    gender: Option<String>,
    date_of_birth: Option<Day>,
    total_visits: i32,
    total_spent_paise: i32,
    noshow_count: i32,
    late_cancellation_count: i32,
    booking_requires_approval: bool,
    first_visit_at: Option<Timestamp>,
    last_visit_at: Option<Timestamp>,
    gems_balance: Option<i32>,
    created_at: Timestamp,
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
            date_of_birth: date_of_birth.map(Day),
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            booking_requires_approval,
            first_visit_at: first_visit_at.map(Timestamp),
            last_visit_at: last_visit_at.map(Timestamp),
            gems_balance,
            created_at: Timestamp(created_at),
            tags: chips(tags),
        }
    }
}

/// `GET /api/customers/{id}`
pub(super) async fn find_customer(services: Use, path: PathOf) -> Answer {
    let id = path.id("id", UserId::parse)?;
    let customer = services.customers.find(&id).await?;
    Ok(success(CustomerViewResponse::from(customer)))
}

fn success(customer: impl Serialize) -> HttpResponse {
    render::success(StatusCode::OK, CustomerResponse { customer })
}

#[derive(Debug, Validate)]
pub(super) struct OverrideGatesRequest {
    #[garde(custom(optional))]
    noshow_count: Field<NoShowCount>,
    #[garde(custom(optional))]
    booking_requires_approval: Field<bool>,
}

impl From<Members> for OverrideGatesRequest {
    fn from(mut members: Members) -> Self {
        Self {
            noshow_count: members.take("noshowCount"),
            booking_requires_approval: members.take("bookingRequiresApproval"),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProfileResponse {
    id: String,
    user_id: String,
    phone: Option<String>,
    gender: Option<String>,
    date_of_birth: Option<Day>,
    marketing_consent: bool,
    marketing_consent_at: Option<Timestamp>,
    appointment_reminders_enabled: bool,
    membership_alerts_enabled: bool,
    acquisition_source: Option<String>,
    utm_campaign: Option<String>,
    utm_medium: Option<String>,
    utm_source: Option<String>,
    first_visit_at: Option<Timestamp>,
    last_visit_at: Option<Timestamp>,
    total_visits: i32,
    total_spent_paise: i32,
    noshow_count: i32,
    late_cancellation_count: i32,
    consecutive_completed_bookings: i32,
    booking_requires_approval: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
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
            date_of_birth: date_of_birth.map(Day),
            marketing_consent,
            marketing_consent_at: marketing_consent_at.map(Timestamp),
            appointment_reminders_enabled,
            membership_alerts_enabled,
            acquisition_source,
            utm_campaign,
            utm_medium,
            utm_source,
            first_visit_at: first_visit_at.map(Timestamp),
            last_visit_at: last_visit_at.map(Timestamp),
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            consecutive_completed_bookings,
            booking_requires_approval,
            created_at: Timestamp(created_at),
            updated_at: Timestamp(updated_at),
        }
    }
}

/// `PATCH /api/customers/{id}`
pub(super) async fn override_gates(
    services: Use,
    caller: Caller,
    path: PathOf,
    body: OptionalBodyOf<OverrideGatesRequest>,
) -> Answer {
    let (id, body) = both(path.id("id", UserId::parse), body.0)?;
    let OverrideGatesRequest { noshow_count, booking_requires_approval } = body;
    let wanted = GateOverride {
        noshow_count: noshow_count.optional(),
        booking_requires_approval: booking_requires_approval.optional(),
    };
    let profile = services.customers.override_gates(&caller.0, &id, wanted).await?;
    Ok(success(ProfileResponse::from(profile)))
}
