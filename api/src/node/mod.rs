//! `/v1/node`: the node itself.

mod trunks;

use std::sync::Arc;

use axum::{
    Json, extract,
    http::StatusCode,
    response::{IntoResponse, Response as Answer},
};
use control::signal::{
    LogOrder, LogState, ReloadReport, Request, Response, RouteQuestion, SignalStatus, Subject,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    asked::unexpected,
    body::Body,
    changes::{Change, Editor},
    problem::Problem,
    query::Params,
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .merge(trunks::router())
        .routes(routes!(drain))
        .routes(routes!(reload))
        .routes(routes!(log, set_log))
        .routes(routes!(route))
}

/// How the node is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Node {
    /// `[node] name`
    name: String,
    version: String,
    /// Seconds since signaling started.
    uptime_s: u64,
    /// Calls that are up.
    calls: u64,
    /// It refuses new calls with 503.
    draining: bool,
    /// Where it has SIP.
    #[schema(example = json!(["udp:192.0.2.10:5060"]))]
    listen: Vec<String>,
    /// `null` while the media engine cannot be reached.
    media: Option<Media>,
    /// Contacts that are registered.
    registrations: u64,
    /// CDRs that wait for the database.
    cdrs_queued: u64,
    /// Seconds for which the database has taken no CDRs, or no registrations, that wait for it; `null`
    /// while it does.
    unwritten_s: Option<u64>,
}

/// How the media engine is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Media {
    /// `xdp`, `xdp-generic`, `io-uring` or `sockets`.
    datapath: String,
    /// Why it is not a better one; empty where it is the best, or the one that was asked for.
    stepped_down: String,
    interfaces: Vec<String>,
    shards: u16,
    sessions: u64,
    ports_used: u32,
    ports: u32,
}

impl From<SignalStatus> for Node {
    fn from(status: SignalStatus) -> Self {
        Self {
            name: status.node,
            version: status.version,
            uptime_s: status.uptime_s,
            calls: status.calls,
            draining: status.draining,
            listen: status.listen,
            media: status.media.map(|media| Media {
                datapath: media.path.name().to_owned(),
                stepped_down: media.stepped_down,
                interfaces: media.interfaces,
                shards: media.shards,
                sessions: media.sessions,
                ports_used: media.ports_used,
                ports: media.ports,
            }),
            registrations: status.registrations,
            cdrs_queued: status.cdrs_queued,
            unwritten_s: status.unwritten_s,
        }
    }
}

/// Whether the node, or a trunk of it, is to get no new calls.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drain {
    draining: bool,
}

/// What a reload took over.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reloaded {
    /// What calls are routed by now, in a few words.
    routing: String,
    /// The keys of the file whose change is in effect.
    changed: Vec<String>,
    /// Those whose change takes effect at the next start only.
    restart: Vec<String>,
    /// What the operator should know.
    warnings: Vec<String>,
}

impl From<ReloadReport> for Reloaded {
    fn from(report: ReloadReport) -> Self {
        Self {
            routing: report.routing,
            changed: report.changed,
            restart: report.restart,
            warnings: report.warnings,
        }
    }
}

/// What the node logs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Log {
    /// In `RUST_LOG`'s words.
    filter: String,
    /// Seconds until it is again what the node was started with; `null` where it is that.
    left_s: Option<u64>,
    /// Whose debug lines pass beside it.
    watches: Vec<Watch>,
}

/// Whose debug lines pass, for a while.
#[derive(Serialize, ToSchema)]
pub(crate) struct Watch {
    /// A Call-ID, an address or a user.
    subject: String,
    /// Seconds that are left.
    left_s: u64,
}

impl From<LogState> for Log {
    fn from(state: LogState) -> Self {
        let watch = |(subject, left_s)| Watch {
            subject: match subject {
                Subject::CallId(id) => format!("call {id}"),
                Subject::Source(address) => format!("source {address}"),
                Subject::User(user) => format!("user {user}"),
            },
            left_s,
        };
        Self {
            filter: state.filter,
            left_s: state.left_s,
            watches: state.watches.into_iter().map(watch).collect(),
        }
    }
}

/// What the node is to log; back to what it was started with where nothing is said.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogChange {
    /// In `RUST_LOG`'s words.
    #[schema(example = "info,signaling=debug")]
    filter: Option<String>,
    /// For so many seconds, 1 to 86,400; 300 unless told.
    #[schema(minimum = 1, maximum = 86_400)]
    seconds: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RouteQuery {
    /// The caller: a number, a user, or a `sip:` URI.
    from: String,
    /// Whom it calls, likewise.
    to: String,
    /// The trunk that it comes from.
    trunk: Option<String>,
    /// The user who calls, where `from` does not say it.
    user: Option<String>,
    /// When (RFC 3339); now unless told.
    at: Option<String>,
    /// The caller wants to stay unknown.
    #[serde(default)]
    private: bool,
}

/// How the node is.
#[utoipa::path(get, path = "/node", tag = "node", security(("bearer" = ["viewer", "node"])),
    responses((status = 200, body = Node)))]
async fn status(extract::State(state): extract::State<Arc<State>>) -> Result<Json<Node>, Problem> {
    match state.ask(Request::Status).await? {
        Response::Status(status) => Ok(Json(status.into())),
        other => Err(unexpected(&other)),
    }
}

/// Makes the node refuse new calls with 503, or take them again. Calls that are up go on.
#[utoipa::path(put, path = "/node/drain", tag = "node", request_body = Drain,
    security(("bearer" = ["operator", "node"])), responses((status = 200, body = Node)))]
async fn drain(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(drain): Body<Drain>,
) -> Result<Json<Node>, Problem> {
    let on = drain.draining;
    let node = match state.ask(Request::Drain { on }).await? {
        Response::Status(status) => status.into(),
        other => return Err(unexpected(&other)),
    };
    record(&state, &editor, "drain", json!({ "draining": on })).await;
    Ok(Json(node))
}

/// Reads the configuration and the store again, and takes over what can be while the node runs, where all
/// of it is good.
#[utoipa::path(post, path = "/node/reload", tag = "node",
    security(("bearer" = ["operator", "node"])), responses(
        (status = 200, body = Reloaded),
        (status = 202, description = "It takes longer; the log tells what came of it"),
        (status = 422, description = "Something is wrong, and nothing was changed")))]
async fn reload(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
) -> Result<Answer, Problem> {
    let own = state.reload.as_ref().map(|reload| reload.read());
    let own = own.transpose();
    let own = own.map_err(|reasons| Problem::refused(&reasons.join("\n")))?;
    let answer = match state.ask(Request::Reload).await? {
        Response::Reloaded(report) => {
            if let Some(take_over) = own {
                take_over();
            }
            Json(Reloaded::from(report)).into_response()
        }
        // Nobody knows yet whether all is good, so nothing of it is taken over here.
        Response::Reloading => StatusCode::ACCEPTED.into_response(),
        other => return Err(unexpected(&other)),
    };
    record(&state, &editor, "reload", json!({})).await;
    Ok(answer)
}

/// What the node logs.
#[utoipa::path(get, path = "/node/log", tag = "node", security(("bearer" = ["viewer", "node"])),
    responses((status = 200, body = Log)))]
async fn log(extract::State(state): extract::State<Arc<State>>) -> Result<Json<Log>, Problem> {
    match state.ask(Request::Log(LogOrder::Show)).await? {
        Response::Log(log) => Ok(Json(log.into())),
        other => Err(unexpected(&other)),
    }
}

/// Makes the node log more or less for a while.
#[utoipa::path(put, path = "/node/log", tag = "node", request_body = LogChange,
    security(("bearer" = ["operator", "node"])), responses(
        (status = 200, body = Log),
        (status = 422, description = "The filter cannot be read")))]
async fn set_log(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(change): Body<LogChange>,
) -> Result<Json<Log>, Problem> {
    let order = match &change.filter {
        None => LogOrder::Reset,
        Some(filter) => LogOrder::Raise {
            filter: filter.clone(),
            seconds: change.seconds.unwrap_or(300),
        },
    };
    let log = match state.ask(Request::Log(order)).await? {
        Response::Log(log) => log.into(),
        other => return Err(unexpected(&other)),
    };
    record(&state, &editor, "log", json!({ "filter": change.filter })).await;
    Ok(Json(log))
}

/// Where a call would go, and why: each rule that has a say. Nobody is called.
#[utoipa::path(get, path = "/route", tag = "node", params(RouteQuery),
    security(("bearer" = ["viewer", "node"])), responses(
        (status = 200, description = "As `tandem route --json` shows it", body = Value),
        (status = 422, description = "That is no call")))]
async fn route(
    extract::State(state): extract::State<Arc<State>>,
    Params(query): Params<RouteQuery>,
) -> Result<Json<Value>, Problem> {
    let question = RouteQuestion {
        from: query.from,
        to: query.to,
        trunk: query.trunk,
        user: query.user,
        at: query.at,
        private: query.private,
        draw: 0,
    };
    match state.ask(Request::Route(question)).await? {
        Response::Route(report) => Ok(Json(json!(report))),
        other => Err(unexpected(&other)),
    }
}

async fn record(state: &State, editor: &Editor, action: &str, detail: Value) {
    let change = Change {
        action,
        kind: "node",
        target: "node",
        tenant: None,
        detail,
    };
    editor.record(state, change).await;
}
