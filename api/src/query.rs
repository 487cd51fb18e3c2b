//! Query parameters and pages.

use axum::{
    extract::{FromRequestParts, Query},
    http::{Uri, request::Parts},
};
use serde::{Serialize, de::DeserializeOwned};
use store::Cursor;
use utoipa::ToSchema;

use crate::problem::Problem;

/// The most items of a page.
pub(crate) const MOST: u32 = store::MAX_PAGE;
/// The items of a page whose size the client does not say.
const USUAL: u32 = 100;

/// Query parameters, each known and well formed: what is unknown is refused, so that a misspelt
/// filter does not list everything.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Problem::bad_parameter(error.body_text())),
        }
    }
}

/// Keeps out what has a NUL in it: PostgreSQL's text cannot hold one, so there is nothing of such a name.
pub(crate) fn no_nul(uri: &Uri) -> Result<(), Problem> {
    if uri.path().contains("%00") {
        return Err(Problem::not_found("nothing has a NUL (%00) in its name"));
    }
    if uri.query().is_some_and(|query| query.contains("%00")) {
        return Err(Problem::bad_parameter("a parameter has a NUL (%00) in it"));
    }
    Ok(())
}

/// A part of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    /// `cursor` of the next page; `null` on the last.
    pub(crate) next: Option<String>,
}

impl<T> List<T> {
    /// Of items of which one more than `limit` was asked for, to see whether there is a next page. `mark` is
    /// the cursor that names an item.
    pub(crate) fn cut(
        items: impl Iterator<Item = T>,
        limit: u32,
        mark: impl FnOnce(&T) -> String,
    ) -> Self {
        let mut items: Vec<T> = items.collect();
        let has_more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| has_more).map(mark);
        Self { items, next }
    }
}

/// The place that a client's cursor names.
pub(crate) fn cursor(text: Option<String>) -> Result<Option<Cursor>, Problem> {
    let cursor = text.map(|text| text.parse()).transpose();
    cursor.map_err(|error: store::CursorError| Problem::bad_parameter(format!("cursor: {error}")))
}

/// The page size that a client asked for.
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(limit),
        other => Err(Problem::bad_parameter(format!(
            "limit: {other} is not in 1 to {MOST}; take several pages with cursor"
        ))),
    }
}
