//! `/v1/node/trunks`: how the carriers and switches are, and what an operator does about it.

use std::sync::Arc;

use axum::{Json, extract};
use control::signal::{ProbeInfo, Request, Response, TrunkInfo};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Drain;
use crate::{
    State,
    asked::unexpected,
    body::Body,
    changes::{Change, Editor},
    events::TrunkState,
    problem::Problem,
    query::List,
};

/// The endpoints.
pub(super) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(drain))
        .routes(routes!(probe))
}

/// A trunk as it is now.
#[derive(Serialize, ToSchema)]
struct TrunkNow {
    #[serde(flatten)]
    state: TrunkState,
    /// Calls to it that are up, those that ring included.
    calls: u64,
    /// Calls that were tried through it since the node started.
    offered: u64,
    /// Those of them that it answered.
    answered: u64,
}

impl From<TrunkInfo> for TrunkNow {
    fn from(trunk: TrunkInfo) -> Self {
        Self {
            calls: trunk.calls,
            offered: trunk.offered,
            answered: trunk.answered,
            state: trunk.into(),
        }
    }
}

/// What a host said to OPTIONS.
#[derive(Serialize, ToSchema)]
struct HostProbed {
    #[schema(example = "192.0.2.1:5060")]
    host: String,
    /// Whether it is there.
    up: bool,
    /// The status that it answered with; `null` where it did not.
    status: Option<u16>,
    /// Why it is not there; `null` where it is.
    error: Option<String>,
    /// Milliseconds until that was known.
    took_ms: u64,
}

impl From<ProbeInfo> for HostProbed {
    fn from(probed: ProbeInfo) -> Self {
        Self {
            host: probed.host,
            up: probed.error.is_none(),
            status: probed.status,
            error: probed.error,
            took_ms: probed.took_ms,
        }
    }
}

/// How each trunk is: which hosts are up, whether this node is registered with it, and what goes through it.
/// There is one page.
#[utoipa::path(get, path = "/node/trunks", tag = "node", security(("bearer" = ["viewer", "node"])),
    responses((status = 200, body = List<TrunkNow>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
) -> Result<Json<List<TrunkNow>>, Problem> {
    let trunks = ask(&state, Request::Trunks).await?;
    Ok(Json(List {
        items: trunks.into_iter().map(TrunkNow::from).collect(),
        next: None,
    }))
}

/// How one trunk is.
#[utoipa::path(get, path = "/node/trunks/{name}", tag = "node",
    params(("name" = String, Path, description = "Of the trunk")),
    security(("bearer" = ["viewer", "node"])), responses(
        (status = 200, body = TrunkNow),
        (status = 404, description = "There is none of this name")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(name): extract::Path<String>,
) -> Result<Json<TrunkNow>, Problem> {
    let trunks = ask(&state, Request::Trunks).await?;
    named(&name, trunks)
}

/// Gives a trunk no new calls from now on, emergency calls apart, or gives it calls again. Calls that are up go
/// on, and calls from it are taken. A call that only drained trunks could carry is refused with 503. It holds
/// until the node's next start.
#[utoipa::path(put, path = "/node/trunks/{name}/drain", tag = "node", request_body = Drain,
    params(("name" = String, Path, description = "Of the trunk")),
    security(("bearer" = ["operator", "node"])), responses(
        (status = 200, body = TrunkNow),
        (status = 404, description = "There is none of this name")))]
async fn drain(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(name): extract::Path<String>,
    editor: Editor,
    Body(drain): Body<Drain>,
) -> Result<Json<TrunkNow>, Problem> {
    let on = drain.draining;
    let order = Request::DrainTrunk {
        name: name.clone(),
        on,
    };
    let trunk = named(&name, ask(&state, order).await?)?;
    record(&state, &editor, "drain", &name, json!({ "draining": on })).await;
    Ok(trunk)
}

/// Asks every host of a trunk whether it is there, by OPTIONS, now, and answers within 4 s. One that is there
/// counts as up at once, whatever it takes otherwise. There is one page.
#[utoipa::path(post, path = "/node/trunks/{name}/probe", tag = "node",
    params(("name" = String, Path, description = "Of the trunk")),
    security(("bearer" = ["operator", "node"])), responses(
        (status = 200, body = List<HostProbed>),
        (status = 404, description = "There is none of this name")))]
async fn probe(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(name): extract::Path<String>,
    editor: Editor,
) -> Result<Json<List<HostProbed>>, Problem> {
    let order = Request::ProbeTrunk { name: name.clone() };
    let hosts = match state.ask(order).await? {
        Response::Probed(hosts) => hosts,
        other => return Err(unexpected(&other)),
    };
    record(&state, &editor, "probe", &name, json!({})).await;
    Ok(Json(List {
        items: hosts.into_iter().map(HostProbed::from).collect(),
        next: None,
    }))
}

async fn ask(state: &State, request: Request) -> Result<Vec<TrunkInfo>, Problem> {
    match state.ask(request).await? {
        Response::Trunks(trunks) => Ok(trunks),
        other => Err(unexpected(&other)),
    }
}

fn named(name: &str, trunks: Vec<TrunkInfo>) -> Result<Json<TrunkNow>, Problem> {
    let found = trunks.into_iter().find(|trunk| trunk.name == name);
    let found = found.ok_or_else(|| {
        Problem::not_found(format!("there is no trunk '{name}'; list /v1/node/trunks"))
    })?;
    Ok(Json(found.into()))
}

async fn record(state: &State, editor: &Editor, action: &str, name: &str, detail: Value) {
    let change = Change {
        action,
        kind: "trunks",
        target: name,
        tenant: None,
        detail,
    };
    editor.record(state, change).await;
}
