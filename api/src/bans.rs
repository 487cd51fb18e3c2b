//! `/v1/bans`: the sources that are kept out.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use control::signal::{BanInfo, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    asked::unexpected,
    body::Body,
    changes::{Change, Editor},
    problem::Problem,
    query::List,
};

/// Seconds that a ban lasts where nobody says how long.
const USUAL: u32 = 3600;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(lift))
}

/// A ban in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Ban {
    /// An address, the /64 of an IPv6 one, or a block.
    #[schema(example = "192.0.2.0/24")]
    source: String,
    /// What led to it, such as `wrong-password`, or `operator`.
    reason: String,
    /// An operator's words; empty otherwise.
    words: String,
    /// Seconds since it began.
    age_s: u64,
    /// Seconds until it ends.
    left_s: u64,
    /// Messages and connections that signaling refused; what the XDP program dropped is not in it.
    hits: u64,
}

impl From<BanInfo> for Ban {
    fn from(ban: BanInfo) -> Self {
        Self {
            source: ban.source,
            reason: ban.reason,
            words: ban.words,
            age_s: ban.age_s,
            left_s: ban.left_s,
            hits: ban.hits,
        }
    }
}

/// A ban to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBan {
    /// An address, or a block.
    #[schema(example = "192.0.2.0/24")]
    source: String,
    /// 1 to 31,536,000 s; an hour unless told.
    #[schema(minimum = 1, maximum = 31_536_000)]
    seconds: Option<u32>,
    /// Why, as the list shall say; 200 characters at most.
    #[serde(default)]
    #[schema(max_length = 200)]
    words: String,
}

/// The bans in force, in no order. There is one page.
#[utoipa::path(get, path = "/bans", tag = "bans", security(("bearer" = ["viewer", "node"])),
    responses((status = 200, body = List<Ban>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
) -> Result<Json<List<Ban>>, Problem> {
    let bans = match state.ask(Request::Bans).await? {
        Response::Bans(bans) => bans,
        other => return Err(unexpected(&other)),
    };
    Ok(Json(List {
        items: bans.into_iter().map(Ban::from).collect(),
        next: None,
    }))
}

/// Bans a source whatever it did, or bans it anew for another time. It lasts over restarts.
#[utoipa::path(post, path = "/bans", tag = "bans", request_body = NewBan,
    security(("bearer" = ["operator", "node"])), responses(
        (status = 201, description = "It is kept out"),
        (status = 422, description = "It is no source, or one that is never banned")))]
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewBan>,
) -> Result<impl IntoResponse, Problem> {
    let seconds = new.seconds.unwrap_or(USUAL);
    let request = Request::Ban {
        source: new.source.clone(),
        seconds,
        reason: new.words.clone(),
    };
    state.ask(request).await?;
    let detail = json!({ "seconds": seconds, "words": new.words });
    record(&state, &editor, "create", &new.source, detail).await;
    let place = format!("/v1/bans/{}", new.source);
    Ok((StatusCode::CREATED, [("location", place)]))
}

/// Ends a ban. A block is written as it is: `/v1/bans/192.0.2.0/24`.
#[utoipa::path(delete, path = "/bans/{*source}", tag = "bans",
    params(("source" = String, Path, description = "As in `source`, or an address of it")),
    security(("bearer" = ["operator", "node"])), responses(
        (status = 204, description = "It is over"),
        (status = 404, description = "It is not banned")))]
async fn lift(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(source): extract::Path<String>,
    editor: Editor,
) -> Result<StatusCode, Problem> {
    let request = Request::Lift {
        source: source.clone(),
    };
    state.ask(request).await?;
    record(&state, &editor, "delete", &source, json!({})).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn record(
    state: &State,
    editor: &Editor,
    action: &str,
    source: &str,
    detail: serde_json::Value,
) {
    let change = Change {
        action,
        kind: "bans",
        target: source,
        tenant: None,
        detail,
    };
    editor.record(state, change).await;
}
