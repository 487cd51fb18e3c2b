//! `/v1/calls`: calls that are up.

use std::{net::SocketAddr, sync::Arc};

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use control::{
    FaultCode,
    channel::RequestError,
    media::{self, FlowSample, FlowStats, RecordFormat, SessionStats},
    signal::{
        CallChange, CallInfo, CallOrder, CallState, DtmfOrder, Originate, Party, QualitySample,
        RecordOrder, Request, Response, TracePage, TransferOrder,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Timestamp, Uuid};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        RefOr,
        schema::{ArrayBuilder, Schema},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    asked::unexpected,
    body::Body,
    changes::{Change, Editor},
    openapi::one_of,
    problem::Problem,
    query::{List, Params, limit},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, originate))
        .routes(routes!(one, hang_up))
        .routes(routes!(mute))
        .routes(routes!(hold))
        .routes(routes!(dtmf))
        .routes(routes!(record))
        .routes(routes!(transfer))
        .routes(routes!(messages))
        .routes(routes!(quality))
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

/// A call that is up.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Call {
    /// The id that its CDR will have.
    id: String,
    call_id: String,
    from: String,
    to: String,
    /// `udp:192.0.2.1:5060`
    source: String,
    /// Whose call it is: of the tenant who pays for it; `null`: the node's.
    tenant: Option<String>,
    trunk: Option<String>,
    #[schema(schema_with = state)]
    state: CallState,
    #[schema(value_type = String, format = DateTime)]
    started: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    answered: Option<Timestamp>,
    /// Ids of its media sessions, as mediad logs them.
    media: Vec<String>,
    /// Whom an operator has muted.
    #[schema(schema_with = parties)]
    muted: Vec<Party>,
    /// An operator has put both on hold.
    held: bool,
    /// The call that this one is connected with, where the node made both.
    peer: Option<String>,
    /// The latest transfer of one of its parties.
    transfer: Option<TransferView>,
    /// The file that it is being recorded to, on the machine of its media.
    recording: Option<String>,
}

/// How a transfer goes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TransferView {
    #[schema(schema_with = party)]
    party: Party,
    /// The URI that the party was sent to.
    to: String,
    /// What the party tells of its new call: below 200 it is being tried.
    status: u16,
}

/// Who is to be transferred, and to whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTransfer {
    #[schema(schema_with = party)]
    party: Party,
    /// A user, a number or a SIP URI.
    to: String,
}

/// Two parties that are to talk.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCall {
    /// Who is called first: a user, a number or a SIP URI.
    #[schema(example = "alice@example.test")]
    from: String,
    /// Who is called once the first one has answered.
    #[schema(example = "+15550100")]
    to: String,
    /// The number or user that both are shown. Else each is shown the other.
    caller_id: Option<String>,
    /// For how many seconds either is rung at most, 1 to 600; a route may say less.
    #[serde(default = "ring_timeout")]
    ring_timeout: u32,
}

const fn ring_timeout() -> u32 {
    60
}

impl From<CallInfo> for Call {
    fn from(call: CallInfo) -> Self {
        Self {
            id: call.id,
            call_id: call.call_id,
            from: call.from,
            to: call.to,
            source: call.source,
            tenant: call.tenant,
            trunk: call.trunk,
            state: call.state,
            started: Timestamp::from_millis(call.started_ms),
            answered: call.answered_ms.map(Timestamp::from_millis),
            media: call.media.iter().map(ToString::to_string).collect(),
            muted: call.muted,
            held: call.held,
            peer: call.peer,
            transfer: call.transfer.map(|transfer| TransferView {
                party: transfer.party,
                to: transfer.to,
                status: transfer.status,
            }),
            recording: call.recording,
        }
    }
}

fn state() -> RefOr<Schema> {
    one_of(["trying", "ringing", "answered", "ending"])
}

fn party() -> RefOr<Schema> {
    one_of(["caller", "callee"])
}

fn parties() -> RefOr<Schema> {
    let parties = ArrayBuilder::new().items(party());
    RefOr::T(Schema::Array(parties.build()))
}

/// Who is not to be heard.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mute {
    #[schema(schema_with = party)]
    party: Party,
    /// `false`: to be heard again.
    on: bool,
}

/// Whether both are on hold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    /// `false`: they hear each other again.
    on: bool,
}

/// Whether a call is recorded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// `false`: no longer.
    on: bool,
    /// Of a recording that is begun.
    #[serde(default)]
    format: RecordingFormat,
    /// Nothing is recorded until it is said again without this: silence in a WAV file, no packets in a pcap file.
    #[serde(default)]
    paused: bool,
}

/// What a recording is.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RecordingFormat {
    /// What both say: 16 bit at 8 kHz, the caller left and the callee right. Of G.711 alone.
    #[default]
    Wav,
    /// The packets of both as they came, RTP and RTCP, of whatever codec, for Wireshark.
    Pcap,
}

/// Telephone keys, and who hears them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dtmf {
    #[schema(schema_with = party)]
    party: Party,
    /// 0-9, A-D, `*` and `#`; `w` is a pause of half a second, `W` one of a second. 100 at most.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[0-9A-Da-d*#wW]+$",
        example = "12#"
    )]
    digits: String,
    /// For how many milliseconds each is pressed.
    #[serde(default = "key_time")]
    #[schema(minimum = 40, maximum = 6000, default = 100)]
    duration_ms: u16,
    /// For how many none is after it.
    #[serde(default = "key_time")]
    #[schema(minimum = 40, maximum = 6000, default = 100)]
    gap_ms: u16,
}

const fn key_time() -> u16 {
    100
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

/// The messages of a call, in their order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ladder {
    call_id: String,
    /// Whether the call is up.
    up: bool,
    /// 500 at most.
    items: Vec<Rung>,
    /// To be given as `after`: there may be more.
    next: u64,
}

/// A message that was received or sent.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rung {
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Received; else sent.
    received: bool,
    #[schema(example = "udp")]
    transport: String,
    /// This node's address.
    #[schema(value_type = String)]
    local: SocketAddr,
    /// The other end's.
    #[schema(value_type = String)]
    peer: SocketAddr,
    /// The first line.
    line: String,
    #[schema(example = "1 INVITE")]
    cseq: Option<String>,
    /// The whole message, where it was asked for.
    text: Option<String>,
}

/// How a call sounds now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Quality {
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// One for each stream of media that the node relays.
    sessions: Vec<SessionQuality>,
    /// How its first stream, as a rule the audio, has sounded since the call was answered: every 10 seconds, and less
    /// often as it grows long, so that there are 60 at most.
    samples: Vec<Sample>,
}

/// How a call sounded at a moment of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sample {
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    caller: FlowSampleView,
    callee: FlowSampleView,
}

/// What a party had sent by then.
#[derive(Serialize, ToSchema)]
#[schema(as = FlowSample)]
pub(crate) struct FlowSampleView {
    packets: u64,
    /// Lost before this node.
    lost: u64,
    /// Interarrival jitter at that moment.
    jitter_ms: f64,
    /// The lowest estimated mean opinion score of the time since the sample before, which is 10 seconds' or that of some
    /// times 10 seconds; `null` where hardly anything came.
    mos: Option<f32>,
}

impl From<QualitySample> for Sample {
    fn from(sample: QualitySample) -> Self {
        Self {
            time: Timestamp::from_millis(sample.at_ms),
            caller: sample.caller.into(),
            callee: sample.callee.into(),
        }
    }
}

impl From<FlowSample> for FlowSampleView {
    fn from(flow: FlowSample) -> Self {
        Self {
            packets: flow.packets,
            lost: flow.lost,
            jitter_ms: f64::from(flow.jitter_us) / 1000.0,
            mos: flow.mos,
        }
    }
}

/// What a session has carried so far.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionQuality {
    id: String,
    /// `xdp`, `xdp-generic`, `io-uring` or `sockets`.
    datapath: String,
    /// Milliseconds since anything came.
    silent_ms: u64,
    caller: FlowQuality,
    callee: FlowQuality,
}

/// What a party has sent so far, as the node received it.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlowQuality {
    /// Where it comes from; `null` before anything came.
    source: Option<String>,
    packets: u64,
    /// Of these, forwarded by XDP.
    packets_xdp: u64,
    bytes: u64,
    /// Lost before this node.
    lost: u64,
    /// Came again.
    duplicates: u64,
    /// Came after a later one.
    reordered: u64,
    /// Came too late for a jitter buffer of 60 ms to play them.
    late: u64,
    /// How much longer the runs of lost packets are than loss by chance would make them (G.107's BurstR): 1 and more.
    burst_ratio: f32,
    /// The longest time between two packets, pauses in which the party had nothing to say among them.
    longest_gap_ms: u32,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    jitter_ms: f64,
    /// The synchronisation source of the last packet; `null` before one came.
    ssrc: Option<u32>,
    /// Estimated mean opinion score (G.107) by the codec, loss and its bursts, what a jitter buffer would not have waited
    /// for, and jitter; `null` before enough packets came.
    mos: Option<f32>,
    /// From this node to the party and back, by the RTCP that it relays; `null` before a report was answered.
    rtt_ms: Option<f64>,
}

impl From<SessionStats> for SessionQuality {
    fn from(stats: SessionStats) -> Self {
        Self {
            id: stats.id.to_string(),
            datapath: stats.path.name().to_owned(),
            silent_ms: stats.silent_ms,
            caller: stats.from_a.into(),
            callee: stats.from_b.into(),
        }
    }
}

impl From<FlowStats> for FlowQuality {
    fn from(flow: FlowStats) -> Self {
        Self {
            source: flow.source.map(|source| source.to_string()),
            packets: flow.packets,
            packets_xdp: flow.packets_xdp,
            bytes: flow.bytes,
            lost: flow.lost,
            duplicates: flow.duplicates,
            reordered: flow.reordered,
            late: flow.late,
            burst_ratio: flow.burst_ratio,
            longest_gap_ms: flow.longest_gap_ms,
            jitter_ms: f64::from(flow.jitter_us) / 1000.0,
            ssrc: flow.ssrc,
            mos: flow.mos,
            rtt_ms: flow.rtt_us.map(|us| f64::from(us) / 1000.0),
        }
    }
}

impl From<TracePage> for Ladder {
    fn from(page: TracePage) -> Self {
        let rungs = page.messages.into_iter().map(|message| Rung {
            time: Timestamp::from_millis(message.at_us.div_euclid(1000)),
            received: message.received,
            transport: message.transport,
            local: message.local,
            peer: message.peer,
            line: message.line,
            cseq: message.cseq,
            text: message.text,
        });
        Self {
            call_id: page.call_id,
            up: page.up,
            items: rungs.collect(),
            next: page.next,
        }
    }
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

/// Connects two parties. `from` is called, and once it has answered `to` is, in the name of `from` where that is a user
/// of the node; then they talk. Either hangs up both. Each of the two is a call of its own, with its routes, limits and
/// record; the answer is the first of them, and its `peer` the second, by which the media goes and which is the one to
/// mute. `from` hears nothing while `to` rings.
#[utoipa::path(post, path = "/calls", tag = "calls", request_body = NewCall,
    security(("bearer" = ["operator", "node"])), responses(
        (status = 202, body = Call, description = "It is being called", headers(("Location" = String))),
        (status = 409, description = "`from` cannot be called now, or the node takes no calls"),
        (status = 422, description = "Something of it cannot be")))]
async fn originate(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewCall>,
) -> Result<impl IntoResponse, Problem> {
    let detail = json!({ "from": new.from, "to": new.to, "caller_id": new.caller_id });
    let order = Request::Originate(Originate {
        from: new.from,
        to: new.to,
        caller_id: new.caller_id,
        ring_timeout_s: new.ring_timeout,
    });
    let call: Call = match state.ask(order).await? {
        Response::Call(call) => (*call).into(),
        other => return Err(unexpected(&other)),
    };
    let change = Change {
        action: "originate",
        kind: "calls",
        target: &call.id,
        tenant: None,
        detail,
    };
    editor.record(&state, change).await;
    let place = format!("/v1/calls/{}", call.id);
    Ok((StatusCode::ACCEPTED, [("location", place)], Json(call)))
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

/// Ends a call: BYE to both sides, or CANCEL and 487 where nobody has answered yet.
#[utoipa::path(delete, path = "/calls/{id}", tag = "calls", params(("id" = Uuid, Path)),
    security(("bearer" = ["operator"])), responses(
        (status = 204, description = "It is being ended"),
        (status = 404, description = "No call of this id is up")))]
async fn hang_up(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
) -> Result<StatusCode, Problem> {
    let CallInfo { id, tenant, .. } = find(&state, &editor.caller, &id).await?;
    state.ask(Request::Hangup { id: id.clone() }).await?;
    let change = Change {
        action: "hang-up",
        kind: "calls",
        target: &id,
        tenant: tenant.as_deref(),
        detail: json!({}),
    };
    editor.record(&state, change).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Mutes a party: what it sends is received, and the other party hears nothing of it. The phones are not told, nothing
/// of the call is negotiated anew, and it stays so through offers of the parties and a restart of the media engine.
/// Events of telephone keys are media too. Not for calls whose media bypasses the node.
#[utoipa::path(post, path = "/calls/{id}/mute", tag = "calls", params(("id" = Uuid, Path)), request_body = Mute,
    security(("bearer" = ["operator"])), responses(
        (status = 200, body = Call),
        (status = 404, description = "No call of this id is up"),
        (status = 409, description = "Its media does not pass this node")))]
async fn mute(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    Body(Mute { party, on }): Body<Mute>,
) -> Result<Json<Call>, Problem> {
    let change = CallChange::Mute { party, on };
    order(
        &state,
        &editor,
        &id,
        change,
        "mute",
        json!({ "party": party, "on": on }),
    )
    .await
}

/// Puts both parties on hold, or lets them go on: neither hears the other, as if both were muted. Who is muted
/// besides stays muted afterwards. The phones are not told, and play no music.
#[utoipa::path(post, path = "/calls/{id}/hold", tag = "calls", params(("id" = Uuid, Path)), request_body = Hold,
    security(("bearer" = ["operator"])), responses(
        (status = 200, body = Call),
        (status = 404, description = "No call of this id is up"),
        (status = 409, description = "Its media does not pass this node")))]
async fn hold(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    Body(Hold { on }): Body<Hold>,
) -> Result<Json<Call>, Problem> {
    let change = CallChange::Hold { on };
    order(&state, &editor, &id, change, "hold", json!({ "on": on })).await
}

/// Presses telephone keys: a party hears them as if the other one had, as RTP events (RFC 4733) in place of what the other
/// one says meanwhile. They are pressed after those of requests before; the answer does not wait until they are. Not for
/// calls whose media bypasses the node, is SRTP, or was agreed on without `telephone-event`.
#[utoipa::path(post, path = "/calls/{id}/dtmf", tag = "calls", params(("id" = Uuid, Path)), request_body = Dtmf,
    security(("bearer" = ["operator"])), responses(
        (status = 202, body = Call, description = "They are being pressed, or will be after those before"),
        (status = 404, description = "No call of this id is up"),
        (status = 409, description = "The party cannot be told of keys, as the detail says, or 200 wait already"),
        (status = 422, description = "These are no keys, or no times for keys")))]
async fn dtmf(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    Body(Dtmf {
        party,
        digits,
        duration_ms,
        gap_ms,
    }): Body<Dtmf>,
) -> Result<(StatusCode, Json<Call>), Problem> {
    let CallInfo { id, tenant, .. } = find(&state, &editor.caller, &id).await?;
    // Keys may be somebody's PIN: the audit has how many they were.
    let detail = json!({ "party": party, "digits": digits.chars().count() });
    let order = DtmfOrder {
        id,
        party,
        digits,
        duration_ms,
        gap_ms,
    };
    let call: Call = match state.ask(Request::Dtmf(order)).await? {
        Response::Call(call) => (*call).into(),
        other => return Err(unexpected(&other)),
    };
    let change = Change {
        action: "dtmf",
        kind: "calls",
        target: &call.id,
        tenant: tenant.as_deref(),
        detail,
    };
    editor.record(&state, change).await;
    Ok((StatusCode::ACCEPTED, Json(call)))
}

/// Records what both parties say from now on, to a WAV file in the folder that `[media] recordings` names: the caller left,
/// the callee right; or their packets to a pcap file, with `"format": "pcap"`. Asked again, it pauses (`"paused": true`) or goes on. `recording` says which, while it lasts; it ends with the call, or when it is turned off, and another one is
/// another file. Who is muted is not recorded. What they say of G.711 alone, and not of SRTP; nothing of calls whose media bypasses
/// the node.
/// Nobody is told: whether parties have to be is the operator's to know.
#[utoipa::path(post, path = "/calls/{id}/recording", tag = "calls", params(("id" = Uuid, Path)), request_body = Record,
    security(("bearer" = ["operator"])), responses(
        (status = 200, body = Call),
        (status = 404, description = "No call of this id is up"),
        (status = 409, description = "It cannot be recorded, as the detail says")))]
async fn record(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    Body(Record { on, format, paused }): Body<Record>,
) -> Result<Json<Call>, Problem> {
    let CallInfo { id, tenant, .. } = find(&state, &editor.caller, &id).await?;
    let order = RecordOrder {
        id,
        on,
        format: match format {
            RecordingFormat::Wav => RecordFormat::Wav,
            RecordingFormat::Pcap => RecordFormat::Pcap,
        },
        paused,
    };
    let call: Call = match state.ask(Request::Record(order)).await? {
        Response::Call(call) => (*call).into(),
        other => return Err(unexpected(&other)),
    };
    let change = Change {
        action: "record",
        kind: "calls",
        target: &call.id,
        tenant: tenant.as_deref(),
        detail: json!({ "on": on, "paused": paused, "file": call.recording }),
    };
    editor.record(&state, change).await;
    Ok(Json(call))
}

/// Transfers a party to somebody who is not asked first: it gets REFER and makes the new call itself, as this node lets it. Once
/// it says that this was answered, the call is ended; where it was not, the call goes on, and `transfer` says with which
/// status. The phone has to understand REFER, but for a call that was made by `POST /v1/calls`: there the node calls.
#[utoipa::path(post, path = "/calls/{id}/transfer", tag = "calls", params(("id" = Uuid, Path)), request_body = NewTransfer,
    security(("bearer" = ["operator", "node"])), responses(
        (status = 202, body = Call, description = "The party tries, or has not answered yet"),
        (status = 404, description = "No call of this id is up"),
        (status = 409, description = "It is not answered yet, or a party is being transferred already"),
        (status = 422, description = "Nobody can be called like this"),
        (status = 502, description = "The party does not take it; the detail has its answer")))]
async fn transfer(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    Body(NewTransfer { party, to }): Body<NewTransfer>,
) -> Result<(StatusCode, Json<Call>), Problem> {
    let id = Uuid::try_parse(&id).map_err(|_| missing())?.to_string();
    let detail = json!({ "party": party, "to": to });
    let order = TransferOrder { id, party, to };
    let call = match state.ask(Request::Transfer(order)).await? {
        Response::Call(call) => *call,
        other => return Err(unexpected(&other)),
    };
    let change = Change {
        action: "transfer",
        kind: "calls",
        target: &call.id,
        tenant: call.tenant.as_deref(),
        detail,
    };
    editor.record(&state, change).await;
    Ok((StatusCode::ACCEPTED, Json(call.into())))
}

/// Has signaling do something to a call, and tells how it is then.
async fn order(
    state: &State,
    editor: &Editor,
    id: &str,
    change: CallChange,
    action: &str,
    detail: Value,
) -> Result<Json<Call>, Problem> {
    let CallInfo { id, tenant, .. } = find(state, &editor.caller, id).await?;
    let order = CallOrder { id, change };
    let call: Call = match state.ask(Request::Call(order)).await? {
        Response::Call(call) => (*call).into(),
        other => return Err(unexpected(&other)),
    };
    let change = Change {
        action,
        kind: "calls",
        target: &call.id,
        tenant: tenant.as_deref(),
        detail,
    };
    editor.record(state, change).await;
    Ok(Json(call))
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

/// How a call sounds: what each party has sent so far, counted where its packets pass, and how that was over time, from the
/// answer on. When it is over, its record has what it was in the end.
#[utoipa::path(get, path = "/calls/{id}/quality", tag = "calls", params(("id" = Uuid, Path)),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, body = Quality),
        (status = 404, description = "No call of this id is up")))]
async fn quality(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Json<Quality>, Problem> {
    let call = find(&state, &caller, &id).await?;
    let samples = match state.ask(Request::Quality { id: call.id }).await? {
        Response::Quality(samples) => samples.into_iter().map(Sample::from).collect(),
        other => return Err(unexpected(&other)),
    };
    let mut sessions = Vec::new();
    for session in call.media {
        match state.media.request(media::Request::Query(session)).await {
            Ok(media::Response::Stats(stats)) => sessions.push((*stats).into()),
            Ok(other) => {
                return Err(Problem::internal(&format!("mediad answered {other:?}")));
            }
            // It ended just now, or mediad is a new one that has not been told of it yet.
            Err(RequestError::Fault(fault)) if fault.code == FaultCode::NotFound => {}
            Err(error) => return Err(Problem::unavailable("mediad", &error)),
        }
    }
    Ok(Json(Quality {
        time: Timestamp::now(),
        sessions,
        samples,
    }))
}

fn missing() -> Problem {
    Problem::not_found("no call of this id is up; one that is over is in /v1/cdrs")
}
