//! `/v1/cdrs`: calls that are over.

mod events;
mod export;
mod stats;

use std::sync::Arc;

use axum::{
    Json, extract,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use store::{Cause, Cdr, CdrFilter, EndedBy, MediaFlow, Timestamp, Uuid};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{RefOr, schema::Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    openapi::one_of,
    problem::Problem,
    query::{List, Params, cursor, limit},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(events::list))
        .routes(routes!(stats::trunks))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CdrsQuery {
    /// Pages, or all of them in one stream.
    #[serde(default)]
    #[param(inline)]
    format: Format,
    /// Of a page: 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// The Call-ID header field.
    call_id: Option<String>,
    /// The caller: a number or user, or a URI.
    from: Option<String>,
    /// Who was called, likewise.
    to: Option<String>,
    /// The trunk's name or the user's address that called.
    origin: Option<String>,
    /// The user who was called.
    callee_user: Option<String>,
    /// Whose call it was.
    tenant: Option<String>,
    /// The trunk that it went out by.
    trunk: Option<String>,
    /// The last status.
    status: Option<u16>,
    /// Begun not before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Begun before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// How CDRs are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A page.
    #[default]
    Json,
    /// All, a JSON document a line.
    Ndjson,
    /// All, by RFC 4180 with a header line.
    Csv,
}

impl CdrsQuery {
    /// Of what the caller may see.
    fn filter(self, caller: &Caller) -> Result<CdrFilter, Problem> {
        Ok(CdrFilter {
            call_id: self.call_id,
            from: self.from.map(number),
            to: self.to.map(number),
            origin: self.origin,
            callee_user: self.callee_user,
            tenant: caller.confine(self.tenant)?,
            trunk: self.trunk,
            status: self.status,
            since: self.since,
            until: self.until,
        })
    }
}

/// A call that is over, with the names that `/v1/calls` has.
#[derive(Serialize, ToSchema)]
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
    /// Whose call it was: of the tenant who pays for it; `null`: the node's.
    tenant: Option<String>,
    trunk: Option<String>,
    route: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    started: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    ringing: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    answered: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    ended: Timestamp,
    /// From the answer to the end, in milliseconds.
    #[schema(value_type = u64)]
    talk_ms: u128,
    status: u16,
    reason: String,
    #[schema(schema_with = ended_by)]
    ended_by: EndedBy,
    #[schema(schema_with = cause)]
    cause: Cause,
    datapath: Option<String>,
    media: MediaView,
}

/// What each party sent, as the node received it.
#[derive(Serialize, ToSchema)]
struct MediaView {
    caller: Option<FlowView>,
    callee: Option<FlowView>,
}

/// What one party sent.
#[derive(Serialize, ToSchema)]
struct FlowView {
    /// RTP packets.
    packets: u64,
    /// Octets of RTP, its headers included.
    bytes: u64,
    /// Packets that did not arrive (RFC 3550 A.3).
    lost: u64,
    /// Interarrival jitter (RFC 3550 6.4.1), in milliseconds.
    jitter_ms: f64,
    /// Estimated mean opinion score, 1.0 to 4.5; `null` where too little was heard.
    mos: Option<f64>,
    /// From the node to the party and back, by the RTCP that it relayed, in milliseconds; `null` where none told of it.
    rtt_ms: Option<f64>,
    /// How much longer the runs of lost packets were than loss by chance would make them (G.107's BurstR): 1 and more.
    /// `null`, as what follows, in records of an older Tandem.
    burst_ratio: Option<f64>,
    /// Packets that came too late for a jitter buffer of 60 ms to play them.
    late: Option<u64>,
    /// The longest time between two packets, pauses in which the party had nothing to say among them.
    longest_gap_ms: Option<u64>,
    /// Packets that came again.
    duplicates: Option<u64>,
    /// Packets that came after a later one.
    reordered: Option<u64>,
    /// Synchronisation sources (SSRCs) that they were of.
    sources: Option<u64>,
}

impl From<MediaFlow> for FlowView {
    fn from(flow: MediaFlow) -> Self {
        Self {
            packets: flow.packets,
            bytes: flow.bytes,
            lost: flow.lost,
            jitter_ms: flow.jitter_ms,
            mos: flow.mos,
            rtt_ms: flow.rtt_ms,
            burst_ratio: flow.burst_ratio,
            late: flow.late,
            longest_gap_ms: flow.longest_gap_ms,
            duplicates: flow.duplicates,
            reordered: flow.reordered,
            sources: flow.sources,
        }
    }
}

fn ended_by() -> RefOr<Schema> {
    one_of(EndedBy::ALL.iter().map(|one| one.name()))
}

fn cause() -> RefOr<Schema> {
    one_of(Cause::ALL.iter().map(|one| one.name()))
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
            tenant: cdr.tenant,
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
                caller: cdr.from_caller.map(FlowView::from),
                callee: cdr.from_callee.map(FlowView::from),
            },
        }
    }
}

/// Calls that are over, newest first.
#[utoipa::path(get, path = "/cdrs", tag = "cdrs", params(CdrsQuery),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, description = "A page, or a stream that breaks off where the database fails", content(
            (List<CdrView> = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv")))))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<CdrsQuery>,
) -> Result<Response, Problem> {
    let (format, asked) = (query.format, query.limit);
    let limit = limit(asked)?;
    let cursor = cursor(query.cursor.clone())?;
    let filter = query.filter(&caller)?;
    if format != Format::Json {
        if asked.is_some() {
            return Err(Problem::bad_parameter("limit: a stream has all of them"));
        }
        return export::export(state, filter, format, cursor).await;
    }
    let page = state.store.cdrs(&filter, limit, cursor).await?;
    Ok(Json(List {
        items: page.items.into_iter().map(CdrView::from).collect(),
        next: page.next.map(|next| next.to_string()),
    })
    .into_response())
}

/// A call that is over.
#[utoipa::path(get, path = "/cdrs/{id}", tag = "cdrs", params(("id" = Uuid, Path)),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, body = CdrView),
        (status = 404, description = "There is none of this id")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Json<CdrView>, Problem> {
    Ok(Json(find(&state, &caller, &id).await?.into()))
}

/// The record of this id, where the caller may see it.
async fn find(state: &State, caller: &Caller, id: &str) -> Result<Cdr, Problem> {
    let missing = || {
        Problem::not_found(
            "there is no CDR of this id; one is written when its call is over, \
             and a call that is up is in /v1/calls",
        )
    };
    let id = Uuid::try_parse(id).map_err(|_| missing())?;
    let cdr = state.store.cdr(id).await?;
    let cdr = cdr.filter(|cdr| caller.sees(cdr.tenant.as_deref()));
    cdr.ok_or_else(missing)
}

/// In a query `+` means a space, and people write `from=+15550100` all the same.
fn number(text: String) -> String {
    match text.strip_prefix(' ') {
        Some(rest) => format!("+{rest}"),
        None => text,
    }
}
