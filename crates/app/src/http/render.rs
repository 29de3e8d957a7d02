//! Answers: the success envelope, and the forms of moments and dates.
//!
//! Source: contract, "Envelope".

use actix_web::{HttpResponse, http::StatusCode, http::header::ContentType, web::Bytes};
use crm_domain::page::PageRequest;
use serde::{Serialize, Serializer, ser::Error as _};
use time::{Date, OffsetDateTime, UtcOffset, macros::format_description};
use utoipa::ToSchema;

use super::openapi::schemas;

/// Where a page stands in its list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MetaResponse)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    /// As requested.
    #[schema(minimum = 1)]
    page: u64,
    /// At least 1.
    #[schema(minimum = 1)]
    total_pages: u64,
    /// Exact for the filter.
    total_count: u64,
}

/// The success envelope.
#[derive(Serialize, ToSchema)]
pub(super) struct Success<T> {
    #[schema(schema_with = schemas::always_true)]
    success: bool,
    data: T,
}

/// The success envelope of a page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Paginated<T> {
    #[schema(schema_with = schemas::always_true)]
    success: bool,
    data: T,
    meta: Meta,
}

/// `{"success":true,"data":…}` with that status.
pub(super) fn success(status: StatusCode, data: impl Serialize) -> HttpResponse {
    respond(status, &Success { success: true, data })
}

/// `{"success":true,"data":…,"meta":…}`.
pub(super) fn page(request: PageRequest, total_count: u64, data: impl Serialize) -> HttpResponse {
    let meta = Meta { page: request.number(), total_pages: request.total_pages(total_count), total_count };
    respond(StatusCode::OK, &Paginated { success: true, data, meta })
}

/// An answer outside the envelope, a failure too (contract, "Envelope": health).
pub(super) fn bare(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let mut response = respond(status, body);
    response.extensions_mut().insert(OwnBody);
    response
}

/// Marks a response whose body is what it should be, whatever its status.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnBody;

fn respond(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).insert_header(ContentType::json()).body(json(body))
}

/// The JSON of one of our own types: their keys are text and their numbers finite, so there is nothing to fail.
pub(super) fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).map(Bytes::from).unwrap_or_default()
}

/// A moment as `2025-09-10T05:30:00.000Z`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timestamp(pub(super) OffsetDateTime);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let text = self.0.to_offset(UtcOffset::UTC).format(form).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

/// A date as `1994-02-28`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Day(pub(super) Date);

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.format(format_description!("[year]-[month]-[day]")).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    fn rendered(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn moments_have_exactly_one_form() {
        let table = [
            (datetime!(2025-09-10 05:30 UTC), "\"2025-09-10T05:30:00.000Z\""),
            (datetime!(2025-09-10 05:30:00.999_999 UTC), "\"2025-09-10T05:30:00.999Z\""),
            (datetime!(2025-09-10 11:00 +5:30), "\"2025-09-10T05:30:00.000Z\""),
            (datetime!(0999-01-01 0:00 UTC), "\"0999-01-01T00:00:00.000Z\""),
        ];
        for (moment, text) in table {
            assert_eq!(rendered(Timestamp(moment)), text);
        }
        assert_eq!(rendered(Day(date!(1994 - 02 - 28))), "\"1994-02-28\"");
    }
}
