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
        "assign_tag" | "unassign_tag" => include_str!("examples/ok.json"),
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
        "list_customers" => (Input::Query, "pageSize", "must be at most 100"),
        "override_gates" => (Input::Data, "noshowCount", "must be an integer"),
        "list_notes" => (Input::Query, "page", "must be at least 1"),
        "write_note" => (Input::Data, "content", "is required"),
        "assign_tag" => (Input::Data, "tagId", "is required"),
        "create_tag" => (Input::Data, "color", "must be a colour such as #1A2b3C: a hash and six hexadecimal digits"),
        "find_customer" | "unassign_tag" => (Input::Data, "id", "must be percent-encoded UTF-8 text"),
        _ => return None,
    };
    Some(ApiError::Invalid(input, Details::from([(field.to_owned(), vec![message.to_owned()])])))
}
