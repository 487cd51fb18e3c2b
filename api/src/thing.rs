//! What is the same for everything of `/v1` that the store keeps under a key of its own: it is found for who may
//! see it, told of in the record of changes, and listed a page at a time.

use axum::{Json, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Store, StoreError, Timestamp, Uuid};
use utoipa::IntoParams;

use crate::{
    State,
    access::Caller,
    changes::{Change, Editor},
    edited::{IfMatch, Tagged},
    problem::Problem,
    query::{List, limit},
};

/// A kind of them.
pub(crate) trait Thing: Sized + Send {
    /// As in the path: `tenants`.
    const KIND: &'static str;
    /// What is told where there is none of a key.
    const MISSING: &'static str;

    /// The id, or name, that the path has.
    fn key(&self) -> String;

    /// Whose it is; `None` for the node's.
    fn tenant(&self) -> Option<&str>;

    /// When it was last changed.
    fn updated(&self) -> Timestamp;

    /// The one of this key, as a path has it.
    fn find(
        store: &Store,
        key: &str,
    ) -> impl Future<Output = Result<Option<Self>, StoreError>> + Send;
}

impl State {
    /// The thing of this key, where it exists for the caller.
    pub(crate) async fn find<T: Thing>(&self, caller: &Caller, key: &str) -> Result<T, Problem> {
        let known = T::find(&self.store, key).await?;
        known
            .filter(|thing| caller.sees(thing.tenant()))
            .ok_or_else(|| Problem::not_found(T::MISSING))
    }

    /// The same, to be changed: it is as the client has seen it.
    pub(crate) async fn seen<T: Thing>(
        &self,
        editor: &Editor,
        key: &str,
        if_match: &IfMatch,
    ) -> Result<T, Problem> {
        let thing: T = self.find(&editor.caller, key).await?;
        if_match.check(thing.updated())?;
        Ok(thing)
    }

    /// Writes down what was done to a thing; `detail` is what was asked for, without secrets.
    pub(crate) async fn record<T: Thing>(
        &self,
        editor: &Editor,
        action: &str,
        thing: &T,
        detail: Value,
    ) {
        let change = Change {
            action,
            kind: T::KIND,
            target: &thing.key(),
            tenant: thing.tenant(),
            detail,
        };
        editor.record(self, change).await;
    }
}

/// Whether what was to be changed was still as it had been read.
pub(crate) fn unchanged<E>(done: Result<bool, E>) -> Result<(), Problem>
where
    Problem: From<E>,
{
    done?.then_some(()).ok_or_else(Problem::changed)
}

/// Why the store does not take something new that names its tenant.
pub(crate) fn not_taken(error: StoreError) -> Problem {
    if error.is_rejection() {
        return Problem::bad_member("tenant: there is none of this id");
    }
    error.into()
}

/// Where a thing is.
pub(crate) fn place<T: Thing>(thing: &T) -> (&'static str, String) {
    ("location", format!("/v1/{}/{}", T::KIND, thing.key()))
}

/// The answer that has a thing.
pub(crate) fn shown<T: Thing, V: From<T>>(thing: T) -> Tagged<V> {
    Tagged(thing.updated(), V::from(thing))
}

/// The answer to who made a thing.
pub(crate) fn created<T: Thing, V: From<T> + Serialize>(thing: T) -> impl IntoResponse {
    (StatusCode::CREATED, [place(&thing)], shown::<T, V>(thing))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ThingsQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Of this tenant.
    tenant: Option<String>,
}

/// The page of a list that a client asked for.
pub(crate) struct Wanted {
    /// Whose things; `None` for everybody's.
    pub(crate) tenant: Option<String>,
    /// The key that the page begins behind; empty on the first one.
    pub(crate) after: String,
    limit: u32,
}

impl ThingsQuery {
    /// What is wanted, of what there is for the caller.
    pub(crate) fn of(self, caller: &Caller) -> Result<Wanted, Problem> {
        Ok(Wanted {
            tenant: caller.confine(self.tenant)?,
            after: self.cursor.unwrap_or_default(),
            limit: limit(self.limit)?,
        })
    }
}

impl Wanted {
    /// The key that the page begins behind, where keys are ids.
    pub(crate) fn after_id(&self) -> Result<Option<Uuid>, Problem> {
        if self.after.is_empty() {
            return Ok(None);
        }
        let id = Uuid::try_parse(&self.after);
        id.map(Some)
            .map_err(|_| Problem::bad_parameter(format!("cursor: {}", store::CursorError)))
    }

    /// How many the store is asked for: one more than the page has, which tells whether there is a next one.
    pub(crate) const fn most(&self) -> u32 {
        self.limit + 1
    }

    /// The page of what the store has.
    pub(crate) fn page<T: Thing, V: From<T>>(&self, things: Vec<T>) -> Json<List<V>> {
        let List { items, next } = List::cut(things.into_iter(), self.limit, T::key);
        let items = items.into_iter().map(V::from).collect();
        Json(List { items, next })
    }
}
