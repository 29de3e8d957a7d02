//! Builds the OpenAPI 3.1 document from the mounted endpoints, so none can be missing.
//!
//! What a handler's attribute says is its own (parameters, bodies, what it answers); what holds for every endpoint (who
//! may call, how errors look, which headers come) is added here, once.

use crm_domain::role::Role;
use serde_json::Value;
use utoipa::{
    IntoParams,
    openapi::{
        Components, Content, Header, Info, License, Object, ObjectBuilder, OpenApi, Paths, Ref, RefOr, Required,
        Response, Schema, Tag,
        extensions::ExtensionsBuilder,
        path::{HttpMethod, Operation, Parameter, ParameterIn},
        schema::{AnyOfBuilder, Type},
        security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme},
    },
};

use super::{examples, schemas};
use crate::http::response::error::ApiError;

const JSON: &str = "application/json";
/// The name of the one security scheme.
const SESSION: &str = "session";
/// The extension that names an operation's minimum role.
const MINIMUM_ROLE: &str = "x-minimum-role";
/// The id that examples show; every other value in them is from a real response.
const REQUEST_ID: &str = "req_01K4QZ8V7N3M5T2XRBW6YHJ9CD";

const ABOUT: &str = "\
The customers of the salon group, for the admin frontend: the directory, profiles, notes, tags and booking gates.

* **Who is calling** is told by the platform's Better Auth session cookie. Each operation has a least role; every role \
may do what the ones before it may: `customer`, `staff`, `receptionist`, `manager`, `owner`, `developer`.
* **Success** is `{\"success\":true,\"data\":…}`, with `meta` on paginated lists; **errors** are \
`{\"success\":false,\"error\":…}` with a `code` to decide by. An address that is not listed here is 404 `NOT_FOUND`, a \
method that is not listed 405 `METHOD_NOT_ALLOWED` with `Allow`.
* **A key is always there**; a value that is unknown is `null`. In requests an optional field may be absent, never \
`null`; fields and parameters that are not listed are ignored.
* `HEAD` answers like `GET` without the body.";

/// The path's parameter in every operation on a customer. Only described here: handlers read it with `PathOf`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a description")]
pub(in crate::http) struct CustomerPath {
    #[param(schema_with = schemas::customer_id)]
    id: String,
}

/// The path's other parameter, of a tag.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a description")]
pub(in crate::http) struct TagPath {
    #[param(rename = "tagId", schema_with = schemas::tag_id)]
    tag_id: String,
}

/// The path's parameter in every operation on a tag itself.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a description")]
pub(in crate::http) struct OneTagPath {
    #[param(schema_with = schemas::tag_id)]
    id: String,
}

/// The path's other parameter, of a note.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a description")]
pub(in crate::http) struct NotePath {
    #[param(rename = "noteId", schema_with = schemas::note_id)]
    note_id: String,
}

/// The header in every `POST`. Only described here: handlers read it with `OnceOf`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a description")]
struct IdempotencyKeyHeader {
    #[param(rename = "Idempotency-Key", required = false, schema_with = schemas::idempotency_key)]
    idempotency_key: String,
}

/// An endpoint, as its handler and its place in the list of routes describe it.
pub(in crate::http) struct OperationSpec {
    pub(in crate::http) path: String,
    pub(in crate::http) method: HttpMethod,
    /// What the handler's attribute says.
    pub(in crate::http) operation: Operation,
    /// The schemas that it refers to.
    pub(in crate::http) schemas: Vec<(String, RefOr<Schema>)>,
    /// `None`: open to anyone.
    pub(in crate::http) minimum_role: Option<Role>,
}

/// The description of those endpoints.
pub(in crate::http) fn document(endpoints: impl IntoIterator<Item = OperationSpec>) -> OpenApi {
    let mut paths = Paths::new();
    let mut components = Components::new();
    for OperationSpec { path, method, mut operation, schemas, minimum_role } in endpoints {
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            // A body that has to hold nothing may be left out.
            let request = schemas.iter().find(|(name, _)| name.ends_with("Request"));
            let empty = matches!(request, Some((_, RefOr::T(Schema::Object(object)))) if object.required.is_empty());
            body.required = Some(if empty { Required::False } else { Required::True });
        }
        components.schemas.extend(schemas.into_iter().map(|(name, mut schema)| {
            if !name.ends_with("Request") {
                require_all(&mut schema);
            }
            (name, schema)
        }));
        if method == HttpMethod::Post {
            describe_idempotency(&mut operation);
        }
        paths.add_path_operation(path, vec![method], complete(operation, minimum_role));
    }
    for error in ApiError::all_kinds() {
        let name = component_name(&error);
        components.schemas.insert(name.clone(), RefOr::T(Schema::Object(error_schema(&error))));
        // Those that operations tell of themselves are not referred to.
        if !matches!(error, ApiError::Invalid(..) | ApiError::NotFound(_) | ApiError::Conflict(_)) {
            components.responses.insert(name, RefOr::T(error_response(&error)));
        }
    }
    components.headers.extend(headers());
    components.add_security_scheme(SESSION, session_cookie());

    let mut info = Info::new("Royal Glow CRM", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    info.license = Some(license);
    let mut document = OpenApi::new(info, paths);
    document.components = Some(components);
    let tags = [
        ("customers", "The directory, profiles and booking gates."),
        (
            "history",
            "Bookings, invoices, memberships and gems, as the platform keeps them. A platform may lack any of these lists: \
             then it is 404, with a message that says so.",
        ),
        ("notes", "What the front desk writes down about a customer, and what it said before."),
        ("tags", "Tags, and which customers have them."),
        ("health", "For orchestrators, proxies and the status page. No session."),
    ];
    document.tags = Some(tags.map(|(name, about)| described_tag(name, about)).into());
    drop_unused(&mut document);
    document
}

/// Drops components that nothing refers to: utoipa also lists what the generic envelopes have written out in place.
fn drop_unused(document: &mut OpenApi) {
    loop {
        let text = serde_json::to_string(document).unwrap_or_default();
        let is_used = |kind: &str, name: &str| text.contains(&format!("\"#/components/{kind}/{name}\""));
        let Some(components) = &mut document.components else { return };
        let before = (components.schemas.len(), components.responses.len());
        components.schemas.retain(|name, _| is_used("schemas", name));
        components.responses.retain(|name, _| is_used("responses", name));
        // What was dropped may have been the last to refer to something else.
        if before == (components.schemas.len(), components.responses.len()) {
            return;
        }
    }
}

fn described_tag(name: &str, about: &str) -> Tag {
    let mut tag = Tag::new(name);
    tag.description = Some(about.to_owned());
    tag
}

fn session_cookie() -> SecurityScheme {
    SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
        "better-auth.session_token",
        "The platform's session cookie, as Better Auth signs it. With a base URL that begins with https:// it is called \
         `__Secure-better-auth.session_token`; a custom prefix or name is the platform's to configure.",
    )))
}

/// Adds what holds for every `POST`: its key, and that an answer may be the first one again.
fn describe_idempotency(operation: &mut Operation) {
    operation
        .parameters
        .get_or_insert_default()
        .extend(IdempotencyKeyHeader::into_params(|| None).into_iter().map(RefOr::T));
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.starts_with('2')
        {
            response.headers.insert("Idempotent-Replayed".to_owned(), header_ref("Idempotent-Replayed"));
        }
    }
    for error in [ApiError::IdempotencyKeyReused, ApiError::RequestInProgress] {
        let name = component_name(&error);
        let status = error.status().as_str().to_owned();
        // A 409 may have another reason, too, of which the handler's attribute tells.
        operation.responses.responses.entry(status).or_insert_with(|| Ref::from_response_name(name).into());
    }
}

/// Adds what holds for every endpoint.
fn complete(mut operation: Operation, minimum_role: Option<Role>) -> Operation {
    let id = operation.operation_id.clone().unwrap_or_default();
    for parameter in operation.parameters.iter_mut().flatten() {
        explain(parameter);
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            if let Some(RefOr::T(content)) = response.content.get_mut(JSON) {
                content.example = examples::answer(&id, status);
            }
            add_headers(response, minimum_role.is_some());
        }
    }
    let Some(role) = minimum_role else {
        // For anyone: no scheme is asked for.
        operation.security = Some(Vec::new());
        return operation;
    };

    let role = role.as_str();
    let description = operation.description.take().unwrap_or_default();
    operation.description = Some(format!("{description}\n\nLeast role: `{role}`.").trim().to_owned());
    operation.extensions = Some(ExtensionsBuilder::new().add(MINIMUM_ROLE, role).build());
    operation.security = Some(vec![SecurityRequirement::new(SESSION, Vec::<String>::new())]);

    let takes_input = operation.parameters.is_some() || operation.request_body.is_some();
    let takes_body = operation.request_body.is_some();
    let is_idempotent = operation.responses.responses.contains_key("422");
    let has_precondition = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "If-Match"));
    let responses = &mut operation.responses.responses;
    for error in ApiError::all_kinds() {
        let status = error.status().as_str().to_owned();
        match &error {
            // Each has its own fields.
            ApiError::Invalid(..) if takes_input => {
                let shown = examples::refusal(&id).unwrap_or(error);
                responses.insert(status, RefOr::T(error_response(&shown)));
            }
            // The handler's attribute tells whether, and when.
            ApiError::NotFound(_) | ApiError::Conflict(_) => {
                if let Some(RefOr::T(response)) = responses.get_mut(&status) {
                    let mut content = error_response(&error).content;
                    if let (true, "409", Some(RefOr::T(content))) = (is_idempotent, &*status, content.get_mut(JSON)) {
                        content.schema = Some(
                            AnyOfBuilder::new()
                                .item(Ref::from_schema_name(component_name(&error)))
                                .item(Ref::from_schema_name(component_name(&ApiError::RequestInProgress)))
                                .into(),
                        );
                    }
                    response.content = content;
                }
            }
            ApiError::PreconditionFailed if !has_precondition => {}
            ApiError::PayloadTooLarge | ApiError::UnsupportedMediaType if !takes_body => {}
            // The last two are described with the key.
            ApiError::Invalid(..) | ApiError::IdempotencyKeyReused | ApiError::RequestInProgress => {}
            ApiError::PayloadTooLarge
            | ApiError::UnsupportedMediaType
            | ApiError::PreconditionFailed
            | ApiError::InUse(_)
            // Of the same address, by a method that is not described.
            | ApiError::MethodNotAllowed
            | ApiError::Unauthenticated
            | ApiError::Forbidden
            | ApiError::RateLimited { .. }
            | ApiError::Internal(_)
            | ApiError::Unavailable(_) => {
                responses.insert(status, Ref::from_response_name(component_name(&error)).into());
            }
        }
    }
    operation
}

/// A parameter's explanation stands beside its schema, not in it, and no path goes without its parameters.
fn explain(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    match &mut parameter.schema {
        Some(RefOr::T(Schema::Object(schema))) => parameter.description = schema.description.take(),
        Some(RefOr::T(Schema::Array(schema))) => parameter.description = schema.description.take(),
        _ => {}
    }
    if parameter.parameter_in == ParameterIn::Path {
        parameter.required = Required::True;
    }
}

/// Refers to the headers of an answer.
fn add_headers(response: &mut Response, limited: bool) {
    let names: &[&str] = if limited { &["x-request-id", "RateLimit", "RateLimit-Policy"] } else { &["x-request-id"] };
    for name in names {
        response.headers.insert((*name).to_owned(), header_ref(name));
    }
}

fn header_ref(name: &str) -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

/// The headers that answers refer to.
fn headers() -> [(String, RefOr<Header>); 5] {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    [
        (
            "x-request-id",
            text().pattern(Some("^[A-Za-z0-9_-]{1,64}$")),
            "The request's own `x-request-id` if it matched this pattern, else a new one.",
        ),
        (
            "RateLimit-Policy",
            text(),
            "The rate limit that counts here (IETF draft), as `\"user\";q=20;w=10`. Absent when switched off.",
        ),
        ("RateLimit", text(), "What is left of it, as `\"user\";r=19;t=10`. Absent when the request was not counted."),
        (
            "Retry-After",
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)),
            "Seconds to wait before trying again.",
        ),
        (
            "Idempotent-Replayed",
            text().enum_values(Some(["true"])),
            "The first answer to a request with this idempotency key, given again. Absent from a first answer.",
        ),
    ]
    .map(|(name, schema, about)| {
        let mut header = Header::new(schema.build());
        header.description = Some(about.to_owned());
        (name.to_owned(), RefOr::T(header))
    })
}

/// The answer that tells of an error.
fn error_response(error: &ApiError) -> Response {
    let mut content = Content::new(Some(Ref::from_schema_name(component_name(error))));
    content.example = Some(error_example(error));
    let mut response = Response::new(error.description());
    response.content.insert(JSON.to_owned(), RefOr::T(content));
    add_headers(&mut response, true);
    if matches!(error, ApiError::RateLimited { .. } | ApiError::RequestInProgress | ApiError::Unavailable(_)) {
        response.headers.insert("Retry-After".to_owned(), header_ref("Retry-After"));
    }
    response
}

/// `UNSUPPORTED_MEDIA_TYPE` as `UnsupportedMediaTypeError`.
fn component_name(error: &ApiError) -> String {
    let words = error.code().split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase());
    let name = words.collect::<String>();
    name.strip_suffix("Error").unwrap_or(&name).to_owned() + "Error"
}

fn error_example(error: &ApiError) -> Value {
    serde_json::to_value(error.body(REQUEST_ID)).unwrap_or_default()
}

/// The schema of the body of one kind of error: everything that never differs is said so.
fn error_schema(error: &ApiError) -> Object {
    let shown = error_example(error);
    let only = |value: &Value, of: Type| ObjectBuilder::new().schema_type(of).enum_values(Some([value.clone()]));
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let mut inner = ObjectBuilder::new()
        .property("code", only(&shown["error"]["code"], Type::String))
        .property("message", text().description(Some("For people, in plain English.")))
        .property("statusCode", only(&shown["error"]["statusCode"], Type::Integer))
        .property("requestId", text().description(Some("As in the header `x-request-id`.")))
        .property(
            "retryable",
            only(&shown["error"]["retryable"], Type::Boolean)
                .description(Some("Whether the same request may succeed later.")),
        );
    let mut required = vec!["code", "message", "statusCode", "requestId", "retryable"];
    let details = match error {
        ApiError::Invalid(..) => {
            let messages = text().to_array_builder().min_items(Some(1));
            let about = "Messages by field, every failing field at once; empty where no single field is to blame.";
            Some(ObjectBuilder::new().additional_properties(Some(messages)).description(Some(about)))
        }
        ApiError::RateLimited { .. } => {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
            Some(ObjectBuilder::new().property("retryAfterSeconds", seconds).required("retryAfterSeconds"))
        }
        _ => None,
    };
    if let Some(details) = details {
        inner = inner.property("details", details);
        required.push("details");
    }
    if matches!(error, ApiError::Conflict(_)) {
        let count = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let about = "Of a tag that is in use: how many customers have it.";
        let details = ObjectBuilder::new().property("customerCount", count).required("customerCount");
        inner = inner.property("details", details.description(Some(about)));
    }
    for name in required {
        inner = inner.required(name);
    }
    ObjectBuilder::new()
        .description(Some(error.description()))
        .property("success", schemas::always_false())
        .required("success")
        .property("error", inner)
        .required("error")
        .build()
}

/// The one key of an answer that a request must ask for.
const SOMETIMES_ABSENT: &str = "customerCount";

/// An answer's keys are always there (contract, "Envelope"): utoipa takes an `Option` for one that may be absent. Also in
/// what it has written out within.
fn require_all(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            object.required = object.properties.keys().filter(|key| *key != SOMETIMES_ABSENT).cloned().collect();
            object.properties.values_mut().for_each(require_all);
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(require_all),
        _ => {}
    }
}
