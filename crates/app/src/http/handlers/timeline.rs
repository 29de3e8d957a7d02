//! The timeline of a customer.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use crm_domain::{
    audit::AuditValue,
    ids::{AuditId, UserId},
    timeline::{FieldChange, TimelineCursor, TimelineEntry, TimelineLimit, TimelinePage},
};
use garde::Validate;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::{
        openapi::{document::CustomerPath, schemas},
        request::{
            field::{Field, FieldValue, RawFields, RawValue, optional},
            path::PathOf,
            query::QueryOf,
            validation::collect_errors,
        },
        response::{
            envelope::{self, Continued},
            error::HandlerResult,
            timestamp::Rfc3339,
        },
    },
    services::ServicesData,
};

#[derive(Debug, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct TimelineQuery {
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::timeline_limit)]
    limit: Field<TimelineLimit>,
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::cursor)]
    cursor: Field<Cursor>,
}

impl From<RawFields> for TimelineQuery {
    fn from(mut fields: RawFields) -> Self {
        Self { limit: fields.field("limit"), cursor: fields.field("cursor") }
    }
}

/// A cursor as clients see it: opaque text.
#[derive(Debug)]
struct Cursor(TimelineCursor);

impl Cursor {
    fn encode(cursor: &TimelineCursor) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {}", cursor.position(), cursor.id()))
    }

    fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (position, id) = text.split_once(' ')?;
        TimelineCursor::new(position.parse().ok()?, AuditId::parse(id).ok()?).map(Self)
    }
}

impl FieldValue for Cursor {
    fn read(raw: &RawValue) -> Result<Self, String> {
        let text = match raw {
            RawValue::Text(text) => Some(text),
            _ => None,
        };
        text.and_then(|text| Self::decode(text)).ok_or_else(|| "must be a nextCursor of this timeline".to_owned())
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TimelineResponse {
    entries: Vec<EntryResponse>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EntryResponse {
    #[schema(schema_with = schemas::timestamp)]
    at: Rfc3339,
    actor_id: String,
    /// `null` when they are gone.
    actor_name: Option<String>,
    /// As stored: `create`, `update`, `delete`, or what another program writes.
    action: String,
    /// As stored: `customer_profile`, `customer_note`, `customer_tag_assignment`, or what another program writes.
    entity: String,
    /// Field by field what changed. Never a note's text, nor any value that is not known to be harmless.
    #[schema(schema_with = schemas::changes)]
    changes: Map<String, Value>,
}

impl From<TimelineEntry> for EntryResponse {
    fn from(entry: TimelineEntry) -> Self {
        let TimelineEntry { at, actor, actor_name, action, entity, changes } = entry;
        let change = |FieldChange { field, from, to }| (field, json!({"from": value(from), "to": value(to)}));
        Self {
            at: Rfc3339(at),
            actor_id: actor.to_string(),
            actor_name,
            action,
            entity,
            changes: changes.into_iter().map(change).collect(),
        }
    }
}

fn value(value: AuditValue) -> Value {
    match value {
        AuditValue::Null => Value::Null,
        AuditValue::Boolean(value) => value.into(),
        AuditValue::Integer(value) => value.into(),
        AuditValue::Text(text) => text.into(),
        AuditValue::Timestamp(at) => json!(Rfc3339(at)),
    }
}

/// What happened to a customer
///
/// Newest first, notes and tags that are gone included. Other programs' entries are shown as they stand.
#[utoipa::path(
    get,
    path = "/api/customers/{id}/timeline",
    tag = "customers",
    params(CustomerPath, TimelineQuery),
    responses(
        (status = 200, description = "Entries, and where the next ones begin.", body = Continued<TimelineResponse>),
        (status = 404, description = "No user with that id has a profile.")
    )
)]
pub(in crate::http) async fn list_timeline(
    services: ServicesData,
    path: PathOf,
    query: QueryOf<TimelineQuery>,
) -> HandlerResult {
    let (customer, TimelineQuery { limit, cursor }) = collect_errors(path.id("id", UserId::parse), query.0)?;
    let (limit, cursor) = (limit.optional().unwrap_or_default(), cursor.optional());
    let page = services.timeline.list(&customer, limit, cursor.map(|Cursor(cursor)| cursor)).await?;
    let TimelinePage { entries, next } = page;
    let entries = entries.into_iter().map(EntryResponse::from).collect();
    Ok(envelope::part(next.as_ref().map(Cursor::encode), TimelineResponse { entries }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_garbage_does_not() {
        for (position, id) in [(0, "audit_1"), (i64::MAX, "a b é"), (i64::MIN, "1")] {
            let cursor = TimelineCursor::new(position, AuditId::parse(id).unwrap()).unwrap();
            assert_eq!(Cursor::decode(&Cursor::encode(&cursor)).unwrap().0, cursor);
        }
        for text in ["", "x", "====", "MQ", "YSBi", "MSA", "MSAA"] {
            assert!(Cursor::decode(text).is_none(), "{text}");
        }
    }
}
