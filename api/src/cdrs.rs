//! `/v1/cdrs`: calls that are over.

use std::sync::Arc;

use axum::{Json, extract};
use serde::{Deserialize, Serialize};
use store::{Cause, Cdr, CdrFilter, EndedBy, MediaFlow, Timestamp, Uuid};

use crate::{
    State,
    problem::Problem,
    query::{List, Params, limit},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CdrsQuery {
    limit: Option<u32>,
    cursor: Option<String>,
    call_id: Option<String>,
    from: Option<String>,
    to: Option<String>,
    origin: Option<String>,
    callee_user: Option<String>,
    trunk: Option<String>,
    status: Option<u16>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// A CDR as a client sees it: with the names that `/v1/calls` has.
#[derive(Serialize)]
pub(crate) struct CdrView {
    id: Uuid,
    call_id: String,
    from: String,
    to: String,
    request_uri: String,
    /// `udp:192.0.2.1:5060`
    source: String,
    /// Who called: the trunk's name, or the user's address.
    origin: Option<String>,
    /// The user who was called.
    callee_user: Option<String>,
    trunk: Option<String>,
    route: Option<String>,
    started: Timestamp,
    ringing: Option<Timestamp>,
    answered: Option<Timestamp>,
    ended: Timestamp,
    /// From the answer to the end, in milliseconds.
    talk_ms: u128,
    status: u16,
    reason: String,
    ended_by: EndedBy,
    cause: Cause,
    datapath: Option<String>,
    media: MediaView,
}

/// What each party sent, as the node received it.
#[derive(Serialize)]
struct MediaView {
    caller: Option<MediaFlow>,
    callee: Option<MediaFlow>,
}

impl From<Cdr> for CdrView {
    fn from(cdr: Cdr) -> Self {
        Self {
            talk_ms: cdr.talk_time().as_millis(),
            id: cdr.id,
            call_id: cdr.call_id,
            from: cdr.from_uri,
            to: cdr.to_uri,
            request_uri: cdr.request_uri,
            source: format!("{}:{}", cdr.transport, cdr.source),
            origin: cdr.origin,
            callee_user: cdr.callee_user,
            trunk: cdr.trunk,
            route: cdr.route,
            started: cdr.started,
            ringing: cdr.ringing,
            answered: cdr.answered,
            ended: cdr.ended,
            status: cdr.status,
            reason: cdr.reason,
            ended_by: cdr.ended_by,
            cause: cdr.cause,
            datapath: cdr.datapath,
            media: MediaView {
                caller: cdr.from_caller,
                callee: cdr.from_callee,
            },
        }
    }
}

/// `GET /v1/cdrs`, newest first.
pub(crate) async fn list(
    extract::State(state): extract::State<Arc<State>>,
    Params(query): Params<CdrsQuery>,
) -> Result<Json<List<CdrView>>, Problem> {
    let limit = limit(query.limit)?;
    let cursor = query.cursor.map(|cursor| cursor.parse()).transpose();
    let cursor = cursor.map_err(|error| Problem::bad_parameter(format!("cursor: {error}")))?;
    let filter = CdrFilter {
        call_id: query.call_id,
        from: query.from.map(number),
        to: query.to.map(number),
        origin: query.origin,
        callee_user: query.callee_user,
        trunk: query.trunk,
        status: query.status,
        since: query.since,
        until: query.until,
    };
    let page = state
        .store
        .cdrs(&filter, limit, cursor)
        .await
        .map_err(|error| Problem::unavailable("the database", &error))?;
    Ok(Json(List {
        items: page.items.into_iter().map(CdrView::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}

/// `GET /v1/cdrs/{id}`
pub(crate) async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
) -> Result<Json<CdrView>, Problem> {
    let missing = || {
        Problem::not_found(
            "there is no CDR of this id; one is written when its call is over, \
             and a call that is up is in /v1/calls",
        )
    };
    let id = Uuid::try_parse(&id).map_err(|_| missing())?;
    let cdr = state
        .store
        .cdr(id)
        .await
        .map_err(|error| Problem::unavailable("the database", &error))?;
    Ok(Json(cdr.ok_or_else(missing)?.into()))
}

/// In a query `+` means a space, and people write `from=+15550100` all the same.
fn number(text: String) -> String {
    match text.strip_prefix(' ') {
        Some(rest) => format!("+{rest}"),
        None => text,
    }
}
