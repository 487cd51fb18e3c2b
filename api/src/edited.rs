//! `ETag` and `If-Match` (RFC 9110 sections 8.8.3 and 13.1.1), so that two people who edit the same thing
//! do not undo each other's work.

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use store::Timestamp;

use crate::problem::Problem;

/// A thing with the tag of its present state.
#[derive(Debug)]
pub(crate) struct Tagged<T>(pub(crate) Timestamp, pub(crate) T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.1).into_response();
        if let Ok(tag) = HeaderValue::from_str(&tag(self.0)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// The states that a client wants to change, where it says so.
#[derive(Debug)]
pub(crate) struct IfMatch(Option<Vec<String>>);

impl IfMatch {
    /// Whether a thing that was last changed at `updated` is in such a state; one that is not there, for
    /// which that is `None`, is in none.
    pub(crate) fn check(&self, updated: impl Into<Option<Timestamp>>) -> Result<(), Problem> {
        let updated = updated.into();
        let is_met = self.0.as_ref().is_none_or(|tags| {
            updated.is_some_and(|at| tags.iter().any(|given| given == "*" || *given == tag(at)))
        });
        is_met.then_some(()).ok_or_else(Problem::changed)
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut tags = None;
        for field in parts.headers.get_all(header::IF_MATCH) {
            let text = field
                .to_str()
                .map_err(|_| Problem::bad_header("If-Match: not ASCII"))?;
            let list = text.split(',').map(|tag| tag.trim().to_owned());
            tags.get_or_insert_with(Vec::new).extend(list);
        }
        Ok(Self(tags))
    }
}

fn tag(updated: Timestamp) -> String {
    format!("\"{:x}\"", updated.millis())
}
