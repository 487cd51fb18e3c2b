//! `/v1/calls`: calls that are up.

use std::sync::Arc;

use axum::{Json, extract};
use control::signal::{CallInfo, CallState, Request, Response};
use serde::{Deserialize, Serialize};
use store::{Timestamp, Uuid};

use crate::{
    State,
    problem::Problem,
    query::{List, Params, limit},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallsQuery {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A call as a client sees it.
#[derive(Serialize)]
pub(crate) struct Call {
    /// The id that its CDR will have.
    id: String,
    call_id: String,
    from: String,
    to: String,
    /// `udp:192.0.2.1:5060`
    source: String,
    trunk: Option<String>,
    state: CallState,
    started: Timestamp,
    answered: Option<Timestamp>,
    /// Ids of its media sessions, as mediad logs them.
    media: Vec<String>,
}

impl From<CallInfo> for Call {
    fn from(call: CallInfo) -> Self {
        Self {
            id: call.id,
            call_id: call.call_id,
            from: call.from,
            to: call.to,
            source: call.source,
            trunk: call.trunk,
            state: call.state,
            started: Timestamp::from_millis(call.started_ms),
            answered: call.answered_ms.map(Timestamp::from_millis),
            media: call.media.iter().map(ToString::to_string).collect(),
        }
    }
}

/// `GET /v1/calls`, oldest first.
pub(crate) async fn list(
    extract::State(state): extract::State<Arc<State>>,
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
    };
    let calls = match state.signal.request(request).await {
        Ok(Response::Calls(calls)) => calls,
        Ok(other) => {
            let error = std::io::Error::other(format!("unexpected answer {other:?}"));
            return Err(Problem::unavailable("signaling", &error));
        }
        Err(error) => return Err(Problem::unavailable("signaling", &error)),
    };
    let more = calls.len() > limit as usize;
    let items: Vec<Call> = calls
        .into_iter()
        .take(limit as usize)
        .map(Call::from)
        .collect();
    let next = items.last().filter(|_| more).map(|call| call.id.clone());
    Ok(Json(List { items, next }))
}
