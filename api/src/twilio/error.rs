//! Errors as Twilio has them.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use control::{FaultCode, channel::RequestError};
use serde_json::json;
use store::StoreError;

/// An error, as a client sees it.
#[derive(Debug)]
pub(super) struct Error {
    status: StatusCode,
    /// What programs branch on.
    code: u32,
    message: String,
    /// Seconds.
    retry_after: Option<u64>,
}

impl Error {
    pub(super) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    /// The request makes no sense, in the way that the code says.
    pub(super) fn bad(code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// A parameter has a value that it cannot have.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::bad(20001, message)
    }

    /// There is nothing of this path.
    pub(super) fn missing(path: &str) -> Self {
        let message = format!("The requested resource {path} was not found");
        Self::new(StatusCode::NOT_FOUND, 20404, message)
    }

    /// Who asks is nobody.
    pub(super) fn unauthenticated() -> Self {
        let message = "Authenticate: send the SID and the token of an account, or the SID and the secret of \
                       one of its keys, by Basic authentication";
        Self::new(StatusCode::UNAUTHORIZED, 20003, message)
    }

    /// Whether it is that there is no such thing.
    pub(super) fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// The path does not have this method.
    pub(super) fn method() -> Self {
        let message = "This resource does not have this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, 20004, message)
    }

    /// Too many of something, for so many seconds.
    pub(super) fn too_many(message: &str, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, 20429, message)
        }
    }

    /// Twilio has this, and Tandem does not.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, 20501, message)
    }

    /// A fault of this program. The reason is for the log.
    pub(super) fn internal(reason: &str) -> Self {
        tracing::error!(reason, "fault of the API");
        let message = "Tandem has a fault: see its log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 20500, message)
    }

    fn unavailable(what: &str, error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "{what} does not answer");
        let message = format!("{what} does not answer; try again, and see the log for the reason");
        Self {
            retry_after: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, 20503, message)
        }
    }
}

/// What the database refuses for good is the client's doing.
impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        if error.is_rejection() {
            tracing::info!(%error, "the database refuses what a client sent");
            return Self::invalid("something of the request cannot be stored, or looked for");
        }
        Self::unavailable("the database", &error)
    }
}

/// What signaling refuses. A conflict is a call that is not in the state for it.
impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        let RequestError::Fault(fault) = &error else {
            return Self::unavailable("signaling", &error);
        };
        let message = fault.message.as_str();
        match fault.code {
            FaultCode::NotFound => Self::new(StatusCode::NOT_FOUND, 20404, message),
            FaultCode::Invalid => Self::invalid(message),
            FaultCode::Party => Self::bad(13224, message),
            FaultCode::Conflict | FaultCode::Changed => Self::bad(21220, message),
            FaultCode::Exhausted => Self::too_many(message, 1),
            FaultCode::Unavailable => Self::unavailable("signaling", &error),
            FaultCode::Unsupported => Self::unsupported(message),
            FaultCode::Internal => Self::internal(message),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.status.as_u16(),
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Basic realm=\"Tandem\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
