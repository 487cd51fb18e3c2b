//! Calls and their messages, as clients see them.

use std::net::SocketAddr;

use control::signal::{CallInfo, CallState, Party, TracePage};
use serde::Serialize;
use store::Timestamp;
use utoipa::{
    ToSchema,
    openapi::{
        RefOr,
        schema::{ArrayBuilder, Schema},
    },
};

use crate::openapi::one_of;

/// A call that is up.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Call {
    /// The id that its CDR will have.
    pub(super) id: String,
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
    pub(super) recording: Option<String>,
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

pub(super) fn party() -> RefOr<Schema> {
    one_of(["caller", "callee"])
}

fn parties() -> RefOr<Schema> {
    let parties = ArrayBuilder::new().items(party());
    RefOr::T(Schema::Array(parties.build()))
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
