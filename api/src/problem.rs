//! Errors as RFC 9457 problem documents.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// An error, as a client sees it.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    /// A URN that names the kind for a program; stays.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The kind in words; the same each time.
    title: &'static str,
    status: u16,
    /// What is wrong this time, and what to do.
    detail: String,
    #[serde(flatten)]
    more: Map<String, Value>,
    #[serde(skip)]
    header: Option<(&'static str, &'static str)>,
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            more: Map::new(),
            header: None,
        }
    }

    /// The request cannot be understood.
    pub(crate) fn bad_parameter(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:tandem:problem:bad-parameter",
            "A query parameter is wrong",
            detail,
        )
    }

    /// No key, or a wrong one; `challenge` is the answer's `WWW-Authenticate`.
    pub(crate) fn unauthorized(detail: &str, challenge: &'static str) -> Self {
        Self {
            header: Some(("www-authenticate", challenge)),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "urn:tandem:problem:unauthorized",
                "The admin key is needed",
                detail,
            )
        }
    }

    /// There is nothing of this name.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "urn:tandem:problem:not-found",
            "There is no such thing",
            detail,
        )
    }

    /// The node should get no new calls; `checks` tells why.
    pub(crate) fn not_ready(detail: String, checks: Value) -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:tandem:problem:not-ready",
            "The node does not take calls",
            detail,
        );
        problem.more.insert("checks".to_owned(), checks);
        problem
    }

    /// signaling or the database does not answer. The reason is for the log, not for the client.
    pub(crate) fn unavailable(what: &str, error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "{what} does not answer");
        Self {
            header: Some(("retry-after", "5")),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:tandem:problem:unavailable",
                "A part of the node does not answer",
                format!("{what} does not answer; try again, and see the log for the reason"),
            )
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some((name, value)) = self.header {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        response
    }
}

/// The answer to a path that nothing serves.
pub(crate) async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(format!(
        "nothing is served at {}; there are /healthz, /readyz, /metrics, /v1/calls and /v1/cdrs",
        uri.path()
    ))
}

/// The answer to a method that a path does not have; axum adds `Allow`.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "urn:tandem:problem:method-not-allowed",
        "The method is not allowed here",
        format!(
            "{method} is not allowed at {}; the Allow header field lists what is",
            uri.path()
        ),
    )
}
