//! What became of the packets that came to the shards. Counted without atomics by the shard, and
//! published for the metrics page on its tick.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use control::media::SessionId;
use crossbeam_queue::SegQueue;

use crate::io::IoCounters;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Handed to the kernel for the other party.
    Forwarded,
    /// From a source that is not the peer.
    Stranger,
    /// From a source that has not shown enough to be the peer.
    Unproven,
    /// Neither RTP nor RTCP nor anything else that media ports carry.
    Malformed,
    /// From the peer, but the other party cannot be reached yet, or is on hold.
    NoDestination,
    /// To a port whose session has just ended.
    NoSession,
    /// From a peer that is muted.
    Muted,
    /// From the peer, and telephone keys have taken its place.
    Replaced,
    /// From a peer whom the other party does not hear: something is played to it, or they are not joined.
    Apart,
    /// From a peer that sends more than its leg's cap.
    Limited,
    /// From the peer, and of what is not to be handed on of it.
    Filtered,
    /// RTCP of the peer, in whose place the other party has the node's own.
    Consumed,
    /// Of a source that another one has taken the place of, and too late; or RTCP that has nothing to say to the other
    /// party.
    Stale,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 13] = [
        Self::Forwarded,
        Self::Stranger,
        Self::Unproven,
        Self::Malformed,
        Self::NoDestination,
        Self::NoSession,
        Self::Muted,
        Self::Replaced,
        Self::Apart,
        Self::Limited,
        Self::Filtered,
        Self::Consumed,
        Self::Stale,
    ];

    /// Its label on the metrics page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Stranger => "stranger",
            Self::Unproven => "unproven",
            Self::Malformed => "malformed",
            Self::NoDestination => "no_destination",
            Self::NoSession => "no_session",
            Self::Muted => "muted",
            Self::Replaced => "replaced",
            Self::Apart => "apart",
            Self::Limited => "limited",
            Self::Filtered => "filtered",
            Self::Consumed => "consumed",
            Self::Stale => "stale",
        }
    }
}

/// Packets by outcome, of one shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcomes([u64; Outcome::ALL.len()]);

impl Outcomes {
    /// Counts a packet.
    pub const fn count(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    /// Packets of an outcome.
    #[must_use]
    pub const fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }
}

/// What a shard tells about itself, for other threads to read.
#[derive(Debug, Default)]
pub struct ShardGauges {
    /// Sessions now.
    pub sessions: AtomicU64,
    /// Ports in use now.
    pub ports_used: AtomicU32,
    /// Free ports with sockets that are kept for the next sessions.
    pub ports_kept: AtomicU32,
    /// RTP and RTCP sources learned.
    pub learned: AtomicU64,
    /// Synchronisation sources of which another one has taken the place, and what they have sent is known.
    pub sources_ended: AtomicU64,
    /// The same, of which it is known together with others.
    pub sources_untold: AtomicU64,
    /// Silences reported.
    pub timeouts: AtomicU64,
    /// Media ports that another process had.
    pub ports_busy: AtomicU64,
    /// Legs whose packets the XDP program forwards now.
    pub offloaded: AtomicU64,
    /// Copies sent to those who hear a party beside the other one.
    pub copied: AtomicU64,
    /// Those that there was no room for.
    pub copies_lost: AtomicU64,
    /// Sessions that the shard has dropped unasked, for the engine to forget.
    pub dropped: SegQueue<SessionId>,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    io: [AtomicU64; IO.len()],
}

type ReadCounter = fn(&IoCounters) -> u64;

/// The I/O counters by their label.
const IO: [(&str, ReadCounter); 7] = [
    ("received", |io| io.received),
    ("sent", |io| io.sent),
    ("send_failed", |io| io.send_failed),
    ("peer_unreachable", |io| io.peer_unreachable),
    ("oversized", |io| io.oversized),
    ("out_of_buffers", |io| io.out_of_buffers),
    ("left_over", |io| io.left_over),
];

impl ShardGauges {
    /// Publishes what was counted so far.
    pub fn publish(&self, outcomes: &Outcomes, io: &IoCounters) {
        for outcome in Outcome::ALL {
            self.outcomes[outcome as usize].store(outcomes.of(outcome), Ordering::Relaxed);
        }
        for (cell, (_, value)) in self.io.iter().zip(IO) {
            cell.store(value(io), Ordering::Relaxed);
        }
    }

    /// Packets of an outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// The I/O counters with their labels.
    pub fn io(&self) -> impl Iterator<Item = (&'static str, u64)> {
        IO.iter()
            .zip(&self.io)
            .map(|((name, _), cell)| (*name, cell.load(Ordering::Relaxed)))
    }
}
