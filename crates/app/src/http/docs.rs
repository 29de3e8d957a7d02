//! The API described to people and programs: `/api/openapi.json`, and Swagger UI at `/api/docs`, its files served by this
//! process. Everything here is public text.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{CONTENT_SECURITY_POLICY, ContentType},
    web::{Bytes, ServiceConfig},
};
use utoipa_swagger_ui::Config;

use super::{
    endpoint::{self, Answer, resource},
    error::ApiError,
};

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

static DOCUMENT: LazyLock<String> = LazyLock::new(super::openapi);

/// Mounts the description and its page.
pub(super) fn mount(config: &mut ServiceConfig) {
    config
        .service(resource("/api/openapi.json", vec![endpoint::page(document)]))
        .service(resource("/api/docs", vec![endpoint::page(page)]))
        .service(resource("/api/docs/{file}", vec![endpoint::page(file)]));
}

/// An answer after which the connection closes: these are large, and anyone may ask for them.
fn last_answer() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.force_close();
    response
}

async fn document() -> HttpResponse {
    last_answer().insert_header(ContentType::json()).body(DOCUMENT.as_str())
}

async fn page() -> HttpResponse {
    last_answer().insert_header(ContentType::html()).insert_header((CONTENT_SECURITY_POLICY, POLICY)).body(PAGE)
}

/// A file of Swagger UI's.
async fn file(request: HttpRequest) -> Answer {
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
