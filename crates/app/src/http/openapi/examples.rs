//! Examples of responses. `tests/it/openapi.rs` compares each with a real response.

use serde_json::Value;

use crate::http::response::error::{ApiError, Details, Input};

/// The answer of that operation with that status, to a request that is right.
pub(super) fn answer(operation: &str, status: &str) -> Option<Value> {
    let text = match operation {
        "health" if status == "503" => include_str!("examples/health_unhealthy.json"),
        "readyz" if status == "503" => include_str!("examples/readyz_unready.json"),
        "list_customers" => include_str!("examples/list_customers.json"),
        "find_customer" => include_str!("examples/find_customer.json"),
        "override_gates" => include_str!("examples/override_gates.json"),
        "list_notes" => include_str!("examples/list_notes.json"),
        "write_note" => include_str!("examples/write_note.json"),
        "list_timeline" => include_str!("examples/list_timeline.json"),
        "list_bookings" => include_str!("examples/list_bookings.json"),
        "list_invoices" => include_str!("examples/list_invoices.json"),
        "list_memberships" => include_str!("examples/list_memberships.json"),
        "list_gems" => include_str!("examples/list_gems.json"),
        "find_overview" => include_str!("examples/find_overview.json"),
        "update_note" => include_str!("examples/update_note.json"),
        "list_revisions" => include_str!("examples/list_revisions.json"),
        "update_tag" => include_str!("examples/update_tag.json"),
        "merge_tag" => include_str!("examples/merge_tag.json"),
        "assign_many" => include_str!("examples/assign_many.json"),
        "assign_tag" | "unassign_tag" | "delete_note" | "delete_tag" => include_str!("examples/ok.json"),
        "list_tags" => include_str!("examples/list_tags.json"),
        "create_tag" => include_str!("examples/create_tag.json"),
        "health" => include_str!("examples/health.json"),
        "livez" => include_str!("examples/livez.json"),
        "readyz" => include_str!("examples/readyz.json"),
        _ => return None,
    };
    serde_json::from_str(text).ok()
}

/// Its answer to one that breaks a rule.
pub(super) fn refusal(operation: &str) -> Option<ApiError> {
    let (input, field, message) = match operation {
        "list_customers" | "list_revisions" | "list_gems" => (Input::Query, "pageSize", "must be at most 100"),
        "override_gates" => (Input::Data, "noshowCount", "must be an integer"),
        "list_notes" | "list_invoices" => (Input::Query, "page", "must be at least 1"),
        "write_note" => (Input::Data, "content", "is required"),
        "assign_tag" => (Input::Data, "tagId", "is required"),
        "create_tag" => (Input::Data, "color", "must be a colour such as #1A2b3C: a hash and six hexadecimal digits"),
        "export_customers" => (Input::Query, "spentMax", "must not be less than spentMin"),
        "list_timeline" => (Input::Query, "limit", "must be between 1 and 100"),
        "list_tags" => (Input::Query, "counts", "must be true or false"),
        "update_note" => (Input::Data, "pinned", "must be true or false"),
        "update_tag" => (Input::Data, "name", "must not be empty"),
        "delete_tag" => (Input::Query, "unassign", "must be true or false"),
        "merge_tag" => (Input::Data, "into", "is required"),
        "assign_many" => (Input::Data, "assign", "must be an array of ids"),
        "list_bookings" => (Input::Query, "when", "must be upcoming or past"),
        "find_customer" | "unassign_tag" | "delete_note" | "list_memberships" | "find_overview" => {
            (Input::Data, "id", "must be percent-encoded UTF-8 text")
        }
        _ => return None,
    };
    Some(ApiError::Invalid(input, Details::from([(field.to_owned(), vec![message.to_owned()])])))
}
