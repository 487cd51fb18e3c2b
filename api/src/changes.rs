//! The record of changes: who did what.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{self, ConnectInfo, FromRequestParts},
    http::request::Parts,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{AuditEntry, AuditFilter, Timestamp, Uuid};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    problem::Problem,
    query::{List, Params, cursor, limit},
};

/// Who changes something, and from where.
#[derive(Debug)]
pub(crate) struct Editor {
    pub(crate) caller: Caller,
    pub(crate) source: SocketAddr,
    request_id: String,
}

/// Where a change comes from that was made at the machine itself.
pub(crate) const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The id that the middleware gave a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for Editor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let source = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let source = source.ok_or_else(|| Problem::internal("a request has no source"))?;
        let request_id = parts.extensions.get::<RequestId>();
        Ok(Self {
            caller,
            source: source.0,
            request_id: request_id.map_or(String::new(), |id| id.0.clone()),
        })
    }
}

/// What was done to what.
pub(crate) struct Change<'a> {
    /// `create`, `update`, `delete`, or what else.
    pub(crate) action: &'a str,
    /// As in the path: `tenants`.
    pub(crate) kind: &'a str,
    pub(crate) target: &'a str,
    pub(crate) tenant: Option<&'a str>,
    /// What was asked for, without secrets.
    pub(crate) detail: Value,
}

impl Editor {
    /// One who is at the machine.
    pub(crate) const fn local(caller: Caller) -> Self {
        Self::new(caller, HERE, String::new())
    }

    /// One who was nobody when the request came.
    pub(crate) const fn new(caller: Caller, source: SocketAddr, request_id: String) -> Self {
        Self {
            caller,
            source,
            request_id,
        }
    }

    /// Writes what was done. It is done by then: that it cannot be written goes to the log.
    pub(crate) async fn record(&self, state: &State, change: Change<'_>) {
        let entry = AuditEntry {
            id: Uuid::now_v7(),
            time: Timestamp::now(),
            tenant: change.tenant.map(str::to_owned),
            actor: self.caller.actor.clone(),
            action: change.action.to_owned(),
            kind: change.kind.to_owned(),
            target: change.target.to_owned(),
            source: self.source.ip().to_string(),
            request_id: self.request_id.clone(),
            detail: change.detail.to_string(),
        };
        tracing::info!(actor = %entry.actor, action = %entry.action, kind = %entry.kind,
            target = %entry.target, "change");
        if let Err(error) = state.store.audit(&entry).await {
            tracing::error!(%error, ?entry, "a change is not in the record of changes");
        }
    }
}

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangesQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Of this tenant.
    tenant: Option<String>,
    /// `admin-key`, `key:ID`, `operator:NAME`, `token:SUBJECT`, or `cli:NAME`.
    actor: Option<String>,
    /// As in the path: `tenants`.
    kind: Option<String>,
    /// The thing's id.
    target: Option<String>,
    /// Not before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// A change that somebody made through the API.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangeView {
    id: Uuid,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Whose thing it was; `null`: the node's.
    tenant: Option<String>,
    /// `admin-key`, `key:ID`, `operator:NAME` for who signed in, `token:SUBJECT` for who has a token of the
    /// identity provider, or `cli:NAME` for who typed a command at the machine.
    actor: String,
    /// `create`, `update`, `delete`, or what else was done.
    action: String,
    /// As in the path: `tenants`.
    kind: String,
    target: String,
    /// The client's address.
    source: String,
    request_id: String,
    /// What was asked for, without secrets.
    detail: Value,
}

impl From<AuditEntry> for ChangeView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            time: entry.time,
            tenant: entry.tenant,
            actor: entry.actor,
            action: entry.action,
            kind: entry.kind,
            target: entry.target,
            source: entry.source,
            request_id: entry.request_id,
            detail: serde_json::from_str(&entry.detail).unwrap_or(Value::Null),
        }
    }
}

/// What was changed through the API, and by whom: newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(ChangesQuery),
    security(("bearer" = ["admin"])), responses((status = 200, body = List<ChangeView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<ChangesQuery>,
) -> Result<axum::Json<List<ChangeView>>, Problem> {
    let limit = limit(query.limit)?;
    let cursor = cursor(query.cursor)?;
    let filter = AuditFilter {
        tenant: caller.confine(query.tenant)?,
        actor: query.actor,
        kind: query.kind,
        target: query.target,
        since: query.since,
        until: query.until,
    };
    let page = state.store.audit_entries(&filter, limit, cursor).await?;
    Ok(axum::Json(List {
        items: page.items.into_iter().map(ChangeView::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}
