//! What a client sends, as JSON.

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
};
use serde::de::DeserializeOwned;

use crate::{problem::Problem, rules};

/// A JSON document, each member known and well formed: what is unknown is refused, so that a misspelt
/// one is not taken for the default.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::media_type()),
            Err(JsonRejection::BytesRejection(error)) if error.status().as_u16() == 413 => {
                Err(Problem::too_large())
            }
            Err(error) => Err(Problem::bad_body(error.body_text())),
        }
    }
}

/// A name that people give to something: 1 to 200 characters.
pub(crate) fn name(name: String) -> Result<String, Problem> {
    rules::name(&name).map_err(Problem::bad_member)?;
    Ok(name)
}
