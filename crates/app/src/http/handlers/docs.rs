//! The reference page and the description of the API: `/api/openapi.json`, and Swagger UI at `/api/docs`, its files served by this
//! process. Everything here is public text.

use std::{borrow::Cow, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{CONTENT_SECURITY_POLICY, ContentType},
    web::{self, Bytes},
};
use utoipa_swagger_ui::Config;

use crate::http::response::error::{ApiError, HandlerResult};

/// Nothing from anywhere else, and no script or style but files: neither in the page nor in a string.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Royal Glow CRM: API reference</title>
<link rel="stylesheet" href="/api/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/api/docs/favicon-32x32.png">
</head>
<body>
<main id="reference"></main>
<script src="/api/docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/reference.js"></script>
</body>
</html>
"#;

/// The files of Swagger UI's that the page needs.
const FILES: [&str; 3] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];

const SCRIPT: &str = r##"SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  validatorUrl: null,
});
"##;

/// The description of the API, as JSON.
pub(in crate::http) struct ApiDocument(pub(in crate::http) Bytes);

/// An answer after which the connection closes: these are large, and anyone may ask for them.
fn last_answer() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.force_close();
    response
}

pub(in crate::http) async fn document(document: web::Data<ApiDocument>) -> HttpResponse {
    last_answer().insert_header(ContentType::json()).body(document.0.clone())
}

pub(in crate::http) async fn page() -> HttpResponse {
    last_answer().insert_header(ContentType::html()).insert_header((CONTENT_SECURITY_POLICY, POLICY)).body(PAGE)
}

/// A file of Swagger UI's.
pub(in crate::http) async fn file(request: HttpRequest) -> HandlerResult {
    let name = request.match_info().query("file");
    if name == "reference.js" {
        return Ok(last_answer().content_type("text/javascript").body(SCRIPT));
    }
    if !FILES.contains(&name) {
        return Err(ApiError::unknown_path());
    }
    let found = utoipa_swagger_ui::serve(name, Arc::new(Config::default()));
    let found = found.ok().flatten().ok_or_else(ApiError::unknown_path)?;
    let text: Bytes = match found.bytes {
        Cow::Borrowed(text) => Bytes::from_static(text),
        Cow::Owned(text) => text.into(),
    };
    Ok(last_answer().content_type(found.content_type).body(text))
}
