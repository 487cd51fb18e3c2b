//! What operators do to calls, and those that they make.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use control::{
    media::RecordFormat,
    signal::{
        CallChange, CallInfo, CallOrder, DtmfOrder, Originate, Party, RecordOrder, Request,
        Response, TransferOrder,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::Uuid;
use utoipa::ToSchema;

use super::{
    find, missing,
    view::{Call, party},
};
use crate::{
    State,
    asked::unexpected,
    body::Body,
    changes::{Change, Editor},
    problem::Problem,
};

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

/// Connects two parties. `from` is called, and once it has answered `to` is, in the name of `from` where that is a user
/// of the node; then they talk. Either hangs up both. Each of the two is a call of its own, with its routes, limits and
/// record; the answer is the first of them, and its `peer` the second, by which the media goes and which is the one to
/// mute. `from` hears nothing while `to` rings.
#[utoipa::path(post, path = "/calls", tag = "calls", request_body = NewCall,
    security(("bearer" = ["operator", "node"])), responses(
        (status = 202, body = Call, description = "It is being called", headers(("Location" = String))),
        (status = 409, description = "`from` cannot be called now, or the node takes no calls"),
        (status = 422, description = "Something of it cannot be")))]
pub(super) async fn originate(
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

/// Ends a call: BYE to both sides, or CANCEL and 487 where nobody has answered yet.
#[utoipa::path(delete, path = "/calls/{id}", tag = "calls", params(("id" = Uuid, Path)),
    security(("bearer" = ["operator"])), responses(
        (status = 204, description = "It is being ended"),
        (status = 404, description = "No call of this id is up")))]
pub(super) async fn hang_up(
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
pub(super) async fn mute(
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
pub(super) async fn hold(
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
pub(super) async fn dtmf(
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
pub(super) async fn record(
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
pub(super) async fn transfer(
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
