//! Errors as RFC 9457 problem documents.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use store::StoreError;
use utoipa::openapi::{
    RefOr,
    schema::{ObjectBuilder, Schema, Type},
};

use crate::{MOST_BODY, rate::NotAGuess};

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
    header: Option<More>,
    /// The key that was shown was good once.
    #[serde(skip)]
    is_no_guess: bool,
}

/// What the header says beside.
#[derive(Debug)]
enum More {
    /// `WWW-Authenticate`.
    Challenge(&'static str),
    /// `Retry-After`, in seconds.
    RetryAfter(u64),
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
            is_no_guess: false,
        }
    }

    /// What the OpenAPI document calls it.
    pub(crate) const NAME: &'static str = "Problem";

    /// How the OpenAPI document describes it.
    pub(crate) fn schema() -> RefOr<Schema> {
        let text = |words: &str| {
            let text = ObjectBuilder::new().schema_type(Type::String);
            text.description(Some(words)).build()
        };
        let status = ObjectBuilder::new().schema_type(Type::Integer);
        let object = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("An error (RFC 9457)."))
            .property("type", text("A URN that names the kind for a program."))
            .required("type")
            .property("title", text("The kind in words; the same each time."))
            .required("title")
            .property("status", status.build())
            .required("status")
            .property("detail", text("What is wrong this time, and what to do."))
            .required("detail");
        RefOr::T(Schema::Object(object.build()))
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

    /// A header field is malformed.
    pub(crate) fn bad_header(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:tandem:problem:bad-header",
            "A header field is wrong",
            detail,
        )
    }

    /// The body is no JSON, or not the document that is asked for.
    pub(crate) fn bad_body(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:tandem:problem:bad-body",
            "The body is not what is asked for",
            detail,
        )
    }

    /// A member of the body has a value that it cannot have.
    pub(crate) fn bad_member(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "urn:tandem:problem:bad-member",
            "A member of the body is wrong",
            detail,
        )
    }

    /// The node would not do it; `reasons`, a line each, say why.
    pub(crate) fn refused(reasons: &str) -> Self {
        let lines: Vec<&str> = reasons.lines().collect();
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "urn:tandem:problem:refused",
            "The node refuses this",
            lines.join("; "),
        );
        problem.more.insert("errors".to_owned(), lines.into());
        problem
    }

    /// The same of something that was to go, and that something else needs.
    pub(crate) fn still_needed(self) -> Self {
        if self.status != StatusCode::UNPROCESSABLE_ENTITY.as_u16() {
            return self;
        }
        Self {
            more: self.more,
            ..Self::conflict(self.detail)
        }
    }

    /// The body is not JSON by its own account.
    pub(crate) fn media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "urn:tandem:problem:media-type",
            "The body has the wrong type",
            "send JSON, and 'Content-Type: application/json'",
        )
    }

    /// The body is longer than any that makes sense.
    pub(crate) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "urn:tandem:problem:too-large",
            "The body is too large",
            format!("a body has {MOST_BODY} octets at most"),
        )
    }

    /// The body does not come.
    pub(crate) fn too_slow(patience: Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "urn:tandem:problem:too-slow",
            "The body takes too long",
            format!("all of a body is here within {} s", patience.as_secs()),
        )
    }

    /// Somebody else has changed the thing meanwhile.
    pub(crate) fn changed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "urn:tandem:problem:changed",
            "It was changed meanwhile",
            "it is not as If-Match says: read it again, and change what it is now",
        )
    }

    /// What is asked for cannot be beside what there is.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "urn:tandem:problem:conflict",
            "It is at odds with what there is",
            detail,
        )
    }

    /// A party of a call does not do what it was asked for.
    pub(crate) fn party(detail: &str) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "urn:tandem:problem:party",
            "A party of the call refuses",
            detail,
        )
    }

    /// More than there may be, for so many seconds.
    pub(crate) fn too_many(what: &str, seconds: u64) -> Self {
        Self {
            header: Some(More::RetryAfter(seconds)),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "urn:tandem:problem:too-many",
                "Too many requests",
                format!("{what}: try again in {seconds} s"),
            )
        }
    }

    /// The key is good, and not for this.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "urn:tandem:problem:forbidden",
            "The key does not allow this",
            detail,
        )
    }

    /// A fault of this program. The reason is for the log.
    pub(crate) fn internal(reason: &str) -> Self {
        tracing::error!(reason, "fault of the API");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "urn:tandem:problem:internal",
            "Tandem has a fault",
            "see the log for the reason",
        )
    }

    /// No key, or a wrong one; `challenge` is the answer's `WWW-Authenticate`.
    pub(crate) fn unauthorized(detail: &str, challenge: &'static str) -> Self {
        Self {
            header: Some(More::Challenge(challenge)),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "urn:tandem:problem:unauthorized",
                "A key is needed",
                detail,
            )
        }
    }

    /// The same, where the key was a good one once.
    pub(crate) fn not_a_guess(self) -> Self {
        Self {
            is_no_guess: true,
            ..self
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
            header: Some(More::RetryAfter(5)),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:tandem:problem:unavailable",
                "A part of the node does not answer",
                format!("{what} does not answer; try again, and see the log for the reason"),
            )
        }
    }
}

/// What the database refuses for good is the client's doing: a character that it cannot hold, say.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_rejection() {
            tracing::info!(%error, "the database refuses what a client sent");
            return Self::bad_member("something of the request cannot be stored, or looked for");
        }
        Self::unavailable("the database", &error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        match self.header {
            Some(More::Challenge(challenge)) => {
                let challenge = HeaderValue::from_static(challenge);
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            Some(More::RetryAfter(seconds)) => {
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            None => {}
        }
        if self.is_no_guess {
            response.extensions_mut().insert(NotAGuess);
        }
        response
    }
}

/// The answer to a path that nothing serves.
pub(crate) async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(format!(
        "nothing is served at {}; /openapi.json has what there is",
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
