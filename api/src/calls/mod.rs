//! `/v1/calls`: calls that are up.
//!
//! `view` and `quality` are what clients see of them; `orders` is what operators do to them.

mod orders;
mod quality;
mod view;

use std::sync::Arc;

use axum::{Json, extract};
use control::signal::{CallInfo, Request, Response};
use serde::Deserialize;
use store::Uuid;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    asked::unexpected,
    problem::Problem,
    query::{List, Params, limit},
};

pub(crate) use self::{quality::CallQuality, view::Call};

use self::view::Ladder;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, orders::originate))
        .routes(routes!(one, orders::hang_up))
        .routes(routes!(orders::mute))
        .routes(routes!(orders::hold))
        .routes(routes!(orders::dtmf))
        .routes(routes!(orders::record))
        .routes(routes!(orders::transfer))
        .routes(routes!(messages))
        .routes(routes!(quality::quality))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CallsQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Of this tenant.
    tenant: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessagesQuery {
    /// Only those after this `next`.
    #[serde(default)]
    after: u64,
    /// With the whole text of each.
    #[serde(default)]
    full: bool,
}

/// Calls that are up, oldest first.
#[utoipa::path(get, path = "/calls", tag = "calls", params(CallsQuery),
    security(("bearer" = ["viewer"])), responses((status = 200, body = List<Call>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<CallsQuery>,
) -> Result<Json<List<Call>>, Problem> {
    let limit = limit(query.limit)?;
    let after = match query.cursor {
        Some(cursor) if Uuid::try_parse(&cursor).is_err() => {
            return Err(Problem::bad_parameter(format!(
                "cursor: {}",
                store::CursorError
            )));
        }
        cursor => cursor.unwrap_or_default(),
    };

    // One more than asked for tells whether there is a next page.
    let request = Request::Calls {
        after,
        limit: limit + 1,
        tenant: caller.confine(query.tenant)?,
    };
    let calls = match state.ask(request).await? {
        Response::Calls(calls) => calls,
        other => return Err(unexpected(&other)),
    };
    let calls = calls.into_iter().map(Call::from);
    Ok(Json(List::cut(calls, limit, |last| last.id.clone())))
}

/// A call that is up.
#[utoipa::path(get, path = "/calls/{id}", tag = "calls", params(("id" = Uuid, Path)),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, body = Call),
        (status = 404, description = "No call of this id is up")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Json<Call>, Problem> {
    Ok(Json(find(&state, &caller, &id).await?.into()))
}

/// The call of this id, where the caller may see it.
async fn find(state: &State, caller: &Caller, id: &str) -> Result<CallInfo, Problem> {
    let id = Uuid::try_parse(id).map_err(|_| missing())?;
    // Ids sort by their numbers: the call is the first one after the number before.
    let before = Uuid::from_u128(id.as_u128().saturating_sub(1));
    let request = Request::Calls {
        after: before.to_string(),
        limit: 1,
        tenant: None,
    };
    let calls = match state.ask(request).await? {
        Response::Calls(calls) => calls,
        other => return Err(unexpected(&other)),
    };
    let call = calls.into_iter().find(|call| call.id == id.to_string());
    call.filter(|call| caller.sees(call.tenant.as_deref()))
        .ok_or_else(missing)
}

/// The messages of a call, while it is up and for as long as they are kept. Credentials are hidden in them.
#[utoipa::path(get, path = "/calls/{id}/messages", tag = "calls",
    params(
        ("id" = String, Path, description = "An id, until a minute after the end, or a Call-ID; \
            with a tenant's key an id"),
        MessagesQuery),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, body = Ladder),
        (status = 404, description = "Nothing is kept of it")))]
async fn messages(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
    Params(query): Params<MessagesQuery>,
) -> Result<Json<Ladder>, Problem> {
    let request = Request::Trace {
        id,
        after: query.after,
        full: query.full,
        tenant: caller.tenant,
    };
    match state.ask(request).await? {
        Response::Trace(page) => Ok(Json(page.into())),
        other => Err(unexpected(&other)),
    }
}

fn missing() -> Problem {
    Problem::not_found("no call of this id is up; one that is over is in /v1/cdrs")
}
