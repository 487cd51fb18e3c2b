//! `/v1/cdrs/{id}/events`: what happened to a call that is over.

use std::sync::Arc;

use axum::{Json, extract};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{CallEvent, Timestamp};
use utoipa::{IntoParams, ToSchema};

use crate::{
    State,
    access::Caller,
    problem::Problem,
    query::{List, Params, limit},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<u32>,
}

/// Something that happened to a call.
#[derive(Serialize, ToSchema)]
pub(crate) struct CallEventView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `muted`, `held`, `transfer`, `quality`, or what else there will be.
    #[schema(example = "transfer")]
    kind: String,
    /// More of it, by the kind: `party` and `on` of `muted`, `on` of `held`, `party`, `to` and `status` of
    /// `transfer`, and the `samples` of `quality`, which are those of `/calls/{id}/quality`.
    #[schema(value_type = Object, example = json!({ "party": "callee", "to": "sip:+15550199@example.test", "status": 200 }))]
    data: Value,
}

impl From<CallEvent> for CallEventView {
    fn from(event: CallEvent) -> Self {
        Self {
            at: event.at,
            kind: event.kind,
            // It was written as JSON.
            data: serde_json::from_str(&event.data).unwrap_or(Value::String(event.data)),
        }
    }
}

/// What happened to a call that is over, in order, as far as its record has no member for it: who was muted and
/// held, transfers with how they came out, and how a call of more than ten seconds has sounded.
#[utoipa::path(get, path = "/cdrs/{id}/events", tag = "cdrs", params(("id" = Uuid, Path), EventsQuery),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, body = List<CallEventView>),
        (status = 404, description = "There is no CDR of this id")))]
pub(super) async fn list(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
    Params(query): Params<EventsQuery>,
) -> Result<Json<List<CallEventView>>, Problem> {
    let limit = limit(query.limit)?;
    let cdr = super::find(&state, &caller, &id).await?;
    let from = query.cursor.unwrap_or_default();
    let events = state.store.call_events(cdr.id, from, limit + 1).await?;
    // The cursor is the number of the next one.
    let next = events.get(limit as usize);
    Ok(Json(List {
        next: next.map(|next| next.number.to_string()),
        items: events
            .into_iter()
            .take(limit as usize)
            .map(CallEventView::from)
            .collect(),
    }))
}
