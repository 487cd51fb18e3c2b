//! Pages for people, whose files are part of the program: nothing is loaded from anywhere else.

use axum::{
    Router, extract,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use sha2::{Digest as _, Sha256};

use crate::{hex::hex, problem::Problem};

/// What a page may load and where it may be shown: of this node alone, and nowhere else.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file that pages load.
struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Each with its kind, from `web`.
macro_rules! files {
    ($($name:literal: $kind:expr),+ $(,)?) => {
        &[$(File { name: $name, kind: $kind, text: include_str!(concat!("../web/", $name)) }),+]
    };
}

const FILES: &[File] = files![
    "style.css": CSS,
    "docs.css": CSS,
    "docs.js": SCRIPT,
    "app.css": CSS,
    "app.js": SCRIPT,
    "dom.js": SCRIPT,
    "client.js": SCRIPT,
    "live.js": SCRIPT,
    "schema.js": SCRIPT,
    "overview.js": SCRIPT,
    "calls.js": SCRIPT,
    "call.js": SCRIPT,
    "cdrs.js": SCRIPT,
    "registrations.js": SCRIPT,
    "bans.js": SCRIPT,
    "edit.js": SCRIPT,
];

/// The pages and what they load.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(dashboard))
        .route("/docs", get(docs))
        .route("/web/{name}", get(file))
}

async fn dashboard(headers: HeaderMap) -> Response {
    served(&headers, HTML, include_str!("../web/index.html"))
}

async fn docs(headers: HeaderMap) -> Response {
    served(&headers, HTML, include_str!("../web/docs.html"))
}

async fn file(extract::Path(name): extract::Path<String>, headers: HeaderMap) -> Response {
    let file = FILES.iter().find(|file| file.name == name);
    file.map_or_else(
        || Problem::not_found("the pages have no such file").into_response(),
        |file| served(&headers, file.kind, file.text),
    )
}

/// A text of this program: who has it already is told that it is the same.
fn served(asked: &HeaderMap, kind: &'static str, text: &'static str) -> Response {
    let hash = hex(&Sha256::digest(text)[..16]);
    let tag = HeaderValue::from_str(&format!("\"{hash}\""));
    let tag = tag.unwrap_or(HeaderValue::from_static("\"\""));
    let mut response = match asked.get(header::IF_NONE_MATCH) == Some(&tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => text.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
