//! The call detail record: what is left of a call when it is over.

mod columns;
mod event;
mod search;
mod spill;
mod stats;
mod table;
mod writer;

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use event::{CallEvent, CallRecord, Recorded};
pub use search::CdrFilter;
pub use stats::TrunkStats;
pub use writer::{CdrWriter, WriterCounts, WriterOptions, WriterTask};

use crate::{Timestamp, named::named};

/// One call. Written once, when the call is over, under an id that was chosen when it began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cdr {
    /// A UUID version 7, so that ids sort by the time of arrival.
    pub id: Uuid,
    /// The Call-ID header field; 255 octets of it are kept.
    pub call_id: String,
    /// The URI of From, without tag or display name.
    pub from_uri: String,
    /// The URI of To.
    pub to_uri: String,
    /// The Request-URI as it came.
    pub request_uri: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// Over what, in lower case: `udp`, `tcp`.
    pub transport: String,
    /// Who called, as the node found out: the trunk's name, or the user's address.
    #[serde(default)]
    pub origin: Option<String>,
    /// The user whose phone answered, or was rung last: `alice@example.test`.
    #[serde(default)]
    pub callee_user: Option<String>,
    /// Whose call it was: of the tenant who pays for it; `None`: the node's.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The trunk that carried the call on, or was the last to be tried.
    pub trunk: Option<String>,
    /// The prefix of the route that matched; the route for everything has an empty one.
    pub route: Option<String>,
    /// The INVITE came.
    pub started: Timestamp,
    /// The first 180 or 183 went to the caller.
    pub ringing: Option<Timestamp>,
    /// The 200 went to the caller.
    pub answered: Option<Timestamp>,
    /// The BYE, the failure or the timeout.
    pub ended: Timestamp,
    /// The final status that the caller was sent, 200 to 699.
    pub status: u16,
    /// Its reason phrase.
    pub reason: String,
    /// Who ended the call.
    pub ended_by: EndedBy,
    /// Why.
    pub cause: Cause,
    /// The path that the media took last: `xdp`, `xdp-generic`, `io-uring`, `sockets`; `None` where
    /// none was relayed.
    pub datapath: Option<String>,
    /// What the caller sent, as this node received it.
    pub from_caller: Option<MediaFlow>,
    /// What the callee sent, as this node received it.
    pub from_callee: Option<MediaFlow>,
}

impl Cdr {
    /// From the answer to the end; zero for a call that was not answered.
    pub fn talk_time(&self) -> Duration {
        self.answered
            .map_or(Duration::ZERO, |answered| self.ended.since(answered))
    }
}

/// One direction of a call's media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MediaFlow {
    /// RTP packets.
    pub packets: u64,
    /// Bytes of RTP, headers of RTP included.
    pub bytes: u64,
    /// RTP packets that were sent to this node and did not arrive (RFC 3550 A.3).
    pub lost: u64,
    /// Interarrival jitter (RFC 3550 6.4.1), in milliseconds.
    pub jitter_ms: f64,
    /// Estimated mean opinion score (G.107), 1.0 to 4.5; `None` where too little was heard.
    pub mos: Option<f64>,
    /// From this node to the party and back, in milliseconds; `None` where no RTCP told of it.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// How much longer the runs of lost packets were than loss by chance would make them (G.107's BurstR): 1.0 and more.
    /// `None`, as what follows, in records of an older Tandem.
    #[serde(default)]
    pub burst_ratio: Option<f64>,
    /// Packets that came too late for a jitter buffer of 60 ms to play them.
    #[serde(default)]
    pub late: Option<u64>,
    /// The longest time between two packets, in milliseconds.
    #[serde(default)]
    pub longest_gap_ms: Option<u64>,
    /// Packets that came again.
    #[serde(default)]
    pub duplicates: Option<u64>,
    /// Packets that came after a later one.
    #[serde(default)]
    pub reordered: Option<u64>,
    /// Synchronisation sources (SSRCs) that they were of.
    #[serde(default)]
    pub sources: Option<u64>,
}

named! {
    /// Who ended a call.
    EndedBy {
        /// The side that sent the INVITE.
        Caller = "caller",
        /// The side that received it.
        Callee = "callee",
        /// This node.
        Node = "node",
    }
}

named! {
    /// Why a call ended.
    Cause {
        /// A party hung up an answered call.
        Bye = "bye",
        /// The caller gave up before an answer.
        Cancel = "cancel",
        /// The callee's side answered with a failure.
        Rejected = "rejected",
        /// The node refused the caller: who it is, or what it sent.
        Refused = "refused",
        /// No route matches.
        NoRoute = "no-route",
        /// No host of the trunk answered, or each was out of service.
        Unreachable = "unreachable",
        /// Nobody picked up within the route's ring timeout.
        RingTimeout = "ring-timeout",
        /// No packet came from either side within the media timeout.
        MediaTimeout = "media-timeout",
        /// mediad had no ports, or could not be reached.
        MediaUnavailable = "media-unavailable",
        /// An offer or an answer that cannot be relayed.
        MediaUnusable = "media-unusable",
        /// A party stopped answering within the dialog, or the caller's connection closed before an
        /// answer and he could not be reached.
        PartyLost = "party-lost",
        /// No refresh came within the session interval that the parties had agreed on (RFC 4028).
        SessionExpired = "session-expired",
        /// The caller never acknowledged the answer.
        NoAck = "no-ack",
        /// The caller, or where it goes to, is blocked.
        Blocked = "blocked",
        /// A number, user, trunk or prefix has as many calls as it may have.
        Limit = "limit",
        /// The call lasted as long as it may.
        LongestCall = "longest-call",
        /// The node was draining or at its limit.
        Overload = "overload",
        /// An operator ended it.
        Operator = "operator",
        /// An operator had one of the parties transferred to somebody else.
        Transfer = "transfer",
        /// The node stopped.
        Shutdown = "shutdown",
        /// The node failed in a way that it did not foresee; its log says more.
        Internal = "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_are_what_serde_writes() {
        for &cause in Cause::ALL {
            assert_eq!(Cause::from_name(cause.name()), Some(cause));
            let json = serde_json::to_string(&cause).unwrap();
            assert_eq!(json, format!("\"{}\"", cause.name()));
        }
        for &party in EndedBy::ALL {
            assert_eq!(EndedBy::from_name(party.name()), Some(party));
        }
        assert_eq!(Cause::from_name("Bye"), None);
    }
}
