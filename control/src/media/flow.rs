//! What one direction of a session was made of, and how it sounds at a moment of it.

use serde::{Deserialize, Serialize};

use super::{Path, SessionId};

/// What one synchronisation source of a direction has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStats {
    /// The source's identifier.
    pub ssrc: u32,
    /// RTP packets received.
    pub packets: u64,
    /// Bytes of RTP, its header included.
    pub bytes: u64,
    /// Packets lost before this node.
    pub lost: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came too late for a jitter buffer of 60 ms to play them.
    pub late: u64,
    /// As in [`FlowStats`](super::FlowStats).
    pub burst_ratio: f32,
    /// The longest time between two packets, in milliseconds.
    pub longest_gap_ms: u32,
    /// Interarrival jitter in the end, in microseconds.
    pub jitter_us: u32,
    /// Its highest sequence number, extended to 32 bits.
    pub highest_sequence: u32,
    /// Milliseconds since its first packet came.
    pub first_seen_ms: u64,
    /// Milliseconds since its last packet came.
    pub last_seen_ms: u64,
    /// Estimated mean opinion score (G.107), 1.0 to 4.5; `None` where too few packets came.
    pub mos: Option<f32>,
}

/// Synchronisation sources that are not told apart any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherSources {
    /// How many; one that came back between others counts each time.
    pub count: u32,
    /// RTP packets received.
    pub packets: u64,
    /// Bytes of RTP.
    pub bytes: u64,
    /// Packets lost before this node.
    pub lost: u64,
}

/// How a session sounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surveyed {
    /// The session.
    pub id: SessionId,
    /// What the caller sends.
    pub from_a: FlowSample,
    /// What the callee sends.
    pub from_b: FlowSample,
    /// The path that its packets take now.
    pub path: Path,
}

/// One direction of a session, at a moment of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowSample {
    /// RTP packets received so far.
    pub packets: u64,
    /// Packets lost so far before this node.
    pub lost: u64,
    /// Interarrival jitter now, in microseconds.
    pub jitter_us: u32,
    /// Estimated mean opinion score of what has come since the survey before, 1.0 to 4.5; `None` where that is less than
    /// a second of speech.
    pub mos: Option<f32>,
    /// The time to the party and back, in microseconds, where it is known.
    pub rtt_us: Option<u32>,
}
