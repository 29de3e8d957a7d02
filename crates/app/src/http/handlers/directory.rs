//! The directory: a page of customers, or all of them as a file.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, Version,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    web::{self, Bytes},
};
use crm_domain::{
    calendar::{Period, SalonTimeZone},
    directory::{
        Bound, Bounds, CustomerSummary, DirectoryFilter, DirectoryQuery, SearchTerm, SortKey, TagFilter, TagFilters,
        ports::CustomerExport,
    },
    page::{Page, PageRequest},
    store_error::StoreError,
};
use futures_util::{Stream, stream};
use garde::Validate;
use serde::Serialize;
use time::{Date, OffsetDateTime};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::customers::{ChipResponse, chips};
use crate::{
    config::http::HttpSettings,
    http::{
        openapi::schemas,
        request::{
            caller::Caller,
            field::{Field, RawFields, optional},
            page::PageQuery,
            query::QueryOf,
            validation::collect_errors,
        },
        response::{
            csv,
            envelope::{self, Paginated},
            error::{ApiError, HandlerResult},
            timestamp::{IsoDate, Rfc3339},
        },
    },
    observability::logging::chain,
    services::ServicesData,
};

/// Which customers are wanted, and in which order.
#[derive(Debug, Validate, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in crate::http) struct CustomersQuery {
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::search)]
    q: Field<Option<SearchTerm>>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::sort)]
    sort: Field<SortKey>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::slug)]
    tag: Field<Option<TagFilter>>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::tag_any)]
    tag_any: Field<TagFilters>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::tag_all)]
    tag_all: Field<TagFilters>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::tag_none)]
    tag_none: Field<TagFilters>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::tagged)]
    tagged: Field<bool>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::spent_min)]
    spent_min: Field<Bound>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::spent_max)]
    spent_max: Field<Bound>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::visits_min)]
    visits_min: Field<Bound>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::visits_max)]
    visits_max: Field<Bound>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::noshows_min)]
    noshows_min: Field<Bound>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::noshows_max)]
    noshows_max: Field<Bound>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::gems_min)]
    gems_min: Field<Bound>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::gems_max)]
    gems_max: Field<Bound>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::last_visit_from)]
    last_visit_from: Field<Date>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::last_visit_to)]
    last_visit_to: Field<Date>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::created_from)]
    created_from: Field<Date>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::created_to)]
    created_to: Field<Date>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::visited)]
    visited: Field<bool>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::requires_approval)]
    requires_approval: Field<bool>,
}

impl From<RawFields> for CustomersQuery {
    fn from(mut fields: RawFields) -> Self {
        let mut slugs = |name| {
            fields.repeated(name, |texts| TagFilters::parse(texts.iter().copied()).map_err(|error| error.to_string()))
        };
        let (tag_any, tag_all, tag_none) = (slugs("tagAny"), slugs("tagAll"), slugs("tagNone"));
        let spent_min = fields.field("spentMin");
        let spent_max = fields.field("spentMax").at_least(&spent_min, "spentMin");
        let visits_min = fields.field("visitsMin");
        let visits_max = fields.field("visitsMax").at_least(&visits_min, "visitsMin");
        let noshows_min = fields.field("noshowsMin");
        let noshows_max = fields.field("noshowsMax").at_least(&noshows_min, "noshowsMin");
        let gems_min = fields.field("gemsMin");
        let gems_max = fields.field("gemsMax").at_least(&gems_min, "gemsMin");
        let last_visit_from = fields.field("lastVisitFrom");
        let last_visit_to = fields.field("lastVisitTo").at_least(&last_visit_from, "lastVisitFrom");
        let created_from = fields.field("createdFrom");
        let created_to = fields.field("createdTo").at_least(&created_from, "createdFrom");
        Self {
            q: fields.field("q"),
            sort: fields.field("sort"),
            tag: fields.field("tag"),
            tag_any,
            tag_all,
            tag_none,
            tagged: fields.field("tagged"),
            spent_min,
            spent_max,
            visits_min,
            visits_max,
            noshows_min,
            noshows_max,
            gems_min,
            gems_max,
            last_visit_from,
            last_visit_to,
            created_from,
            created_to,
            visited: fields.field("visited"),
            requires_approval: fields.field("requiresApproval"),
        }
    }
}

impl CustomersQuery {
    /// The query in the domain's terms: dates are days of that time zone.
    fn into_domain(self, zone: &SalonTimeZone, page: PageRequest) -> DirectoryQuery {
        let bounds = |min: Field<Bound>, max: Field<Bound>| Bounds { min: min.optional(), max: max.optional() };
        let days = |from: Field<Date>, to: Field<Date>| Period::of_days(zone, from.optional(), to.optional());
        DirectoryQuery {
            search: self.q.optional().flatten(),
            tag: self.tag.optional().flatten(),
            filter: DirectoryFilter {
                tag_any: self.tag_any.optional().unwrap_or_default(),
                tag_all: self.tag_all.optional().unwrap_or_default(),
                tag_none: self.tag_none.optional().unwrap_or_default(),
                tagged: self.tagged.optional(),
                spent: bounds(self.spent_min, self.spent_max),
                visits: bounds(self.visits_min, self.visits_max),
                noshows: bounds(self.noshows_min, self.noshows_max),
                gems: bounds(self.gems_min, self.gems_max),
                last_visit: days(self.last_visit_from, self.last_visit_to),
                created: days(self.created_from, self.created_to),
                visited: self.visited.optional(),
                requires_approval: self.requires_approval.optional(),
            },
            sort: self.sort.optional().unwrap_or_default(),
            page,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CustomersResponse {
    customers: Vec<CustomerSummaryResponse>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CustomerSummaryResponse {
    /// The user's id.
    id: String,
    name: String,
    email: String,
    phone: Option<String>,
    total_visits: i64,
    /// Whole paise; 100 are 1 rupee.
    total_spent_paise: i64,
    noshow_count: i64,
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
            first_visit_at: first_visit_at.map(Rfc3339),
            last_visit_at: last_visit_at.map(Rfc3339),
            gems_balance,
            created_at: Rfc3339(created_at),
            tags: chips(tags),
        }
    }
}

/// The customer directory
///
/// Everyone whose stored role is `customer` and who has a profile: searched, filtered, sorted, a page at a time.
#[utoipa::path(
    get,
    path = "/api/customers",
    tag = "customers",
    params(CustomersQuery, PageQuery),
    responses((status = 200, description = "A page of customers; `totalCount` is exact.", body = Paginated<CustomersResponse>))
)]
pub(in crate::http) async fn list_customers(
    services: ServicesData,
    query: QueryOf<CustomersQuery>,
    page: QueryOf<PageQuery>,
) -> HandlerResult {
    let (query, page) = collect_errors(query.0, page.0)?;
    let query = query.into_domain(&services.time_zone, page.into());
    let Page { items, total_count } = services.directory.list(&query).await?;
    let customers = items.into_iter().map(CustomerSummaryResponse::from).collect();
    Ok(envelope::page(query.page, total_count, CustomersResponse { customers }))
}

/// The cells of the header line: the fields of `customers[]`.
const COLUMNS: [&str; 12] = [
    "id",
    "name",
    "email",
    "phone",
    "totalVisits",
    "totalSpentPaise",
    "noshowCount",
    "firstVisitAt",
    "lastVisitAt",
    "gemsBalance",
    "createdAt",
    "tags",
];

fn cells(customer: CustomerSummary) -> [String; COLUMNS.len()] {
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
    let timestamp = |at: OffsetDateTime| Rfc3339(at).to_string();
    let slugs: Vec<String> = tags.into_iter().map(|tag| tag.slug).collect();
    [
        id.to_string(),
        name,
        email,
        phone.unwrap_or_default(),
        total_visits.to_string(),
        total_spent_paise.to_string(),
        noshow_count.to_string(),
        first_visit_at.map(timestamp).unwrap_or_default(),
        last_visit_at.map(timestamp).unwrap_or_default(),
        gems_balance.map(|gems| gems.to_string()).unwrap_or_default(),
        timestamp(created_at),
        slugs.join(";"),
    ]
}

/// Export the directory
///
/// Everyone who matches, in order, as CSV (RFC 4180): UTF-8 with a byte order mark, a header line, the slugs of the tags joined
/// by `;`. A cell that a spreadsheet would take for a formula begins with an apostrophe. All lines are from one moment. When
/// the connection breaks off, the file is not complete. At most two exports at once. Audited: how many filters of which names.
#[utoipa::path(
    get,
    path = "/api/customers.csv",
    tag = "customers",
    params(CustomersQuery),
    responses((
        status = 200,
        description = "The customers.",
        body = String,
        content_type = "text/csv",
        headers(("Content-Disposition" = String, description = "`attachment`, with the salon's day in the file's name."))
    ))
)]
pub(in crate::http) async fn export_customers(
    services: ServicesData,
    settings: web::Data<HttpSettings>,
    request: HttpRequest,
    caller: Caller,
    query: QueryOf<CustomersQuery>,
) -> HandlerResult {
    let query = query.0?.into_domain(&services.time_zone, PageRequest::default());
    let day = IsoDate(services.time_zone.day_of(services.clock.now()));
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, "text/csv; charset=utf-8"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"customers-{day}.csv\"")));
    if request.method() == Method::HEAD {
        // Nothing is exported.
        return Ok(response.finish());
    }
    if request.version() < Version::HTTP_11 {
        // Without chunks, a file that broke off would pass for a whole one.
        return Err(ApiError::malformed());
    }
    let export = services.directory.export(&caller.0, &query).await?;
    Ok(response.streaming(stream_of(export, settings.export_timeout)))
}

/// The file, batch by batch as the client reads it. A failure ends the connection, so that no half file passes for a whole
/// one.
fn stream_of(export: Box<dyn CustomerExport>, timeout: Duration) -> impl Stream<Item = Result<Bytes, StoreError>> {
    let deadline = Instant::now() + timeout;
    let head = format!("{}{}\r\n", csv::BYTE_ORDER_MARK, COLUMNS.join(","));
    stream::try_unfold((export, Some(head)), move |(mut export, head)| async move {
        if let Some(head) = head {
            return Ok(Some((Bytes::from(head), (export, None))));
        }
        let batch = timeout_at(deadline, export.next_customers()).await;
        let batch = batch.unwrap_or_else(|_| Err(StoreError::Unavailable("the export took too long".into())));
        let customers = batch.inspect_err(|error| tracing::error!(cause = chain(error), "an export broke off"))?;
        let lines = csv::lines(customers.into_iter().map(cells));
        Ok((!lines.is_empty()).then_some((lines, (export, None))))
    })
}
