//! `/v1/calls`: calls that are up.

use std::sync::Arc;

use axum::{Json, extract};
use control::signal::{CallInfo, CallState, Request, Response};
use serde::{Deserialize, Serialize};
use store::{Timestamp, Uuid};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{RefOr, schema::Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    openapi::one_of,
    problem::Problem,
    query::{List, Params, limit},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CallsQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A call that is up.
#[derive(Serialize, ToSchema)]
pub(crate) struct Call {
    /// The id that its CDR will have.
    id: String,
    call_id: String,
    from: String,
    to: String,
    /// `udp:192.0.2.1:5060`
    source: String,
    trunk: Option<String>,
    #[schema(schema_with = state)]
    state: CallState,
    #[schema(value_type = String, format = DateTime)]
    started: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
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

fn state() -> RefOr<Schema> {
    one_of(["trying", "ringing", "answered", "ending"])
}

/// Calls that are up, oldest first.
#[utoipa::path(get, path = "/calls", tag = "calls", params(CallsQuery),
    security(("bearer" = ["viewer", "node"])), responses((status = 200, body = List<Call>)))]
async fn list(
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
    let calls = calls.into_iter().map(Call::from);
    Ok(Json(List::cut(calls, limit, |last| last.id.clone())))
}
