//! Who a leg's peer is: learning the source of a stream without letting a stranger take it.
//!
//! Everybody who can reach a media port can send to it, so "the first to send is the peer" gives
//! strangers the audio (RTP Bleed) and lets them speak (RTP Inject, CVE-2025-53399). Here a source is
//! accepted for a reason, its [`Rank`]:
//!
//! - without an SDP nobody is accepted;
//! - the address that the peer's SDP gave is accepted at once;
//! - the same host at another port (a NAT that maps ports) has to show [`EVIDENCE`] packets of one
//!   SSRC with sequence numbers that go on;
//! - so has another host, and it is considered only where the SDP's address is no public one: then the
//!   peer is behind a NAT. A peer with a public address is where its SDP says. One behind a NAT is
//!   likely where its signaling comes from: that host is as good as the SDP's;
//! - for [`WINDOW`] after a source was learned, a better rank takes over; then the source is fixed.
//!
//! A fixed source is given up for one of two reasons: new SDP, or [`SILENCE`] from it. After silence
//! the same host, or, with `handover`, whoever continues the very stream (same SSRC, sequence going on:
//! a phone that changed networks), may take over; another host with another stream, or with media that
//! is no RTP, may not, because silence is also what a muted peer sends. For the same reason the source
//! that was silent has its place back with its next packet. A source of another host that fell silent
//! before it was fixed has proven nothing: then it is as if none was known.
//!
//! That is [`SourcePolicy::Heuristic`]. With the other policies less may happen:
//!
//! | policy | who is accepted | succeeded by another | where packets for the peer go |
//! |---|---|---|---|
//! | `Strict` | the SDP's address | never | the SDP's address |
//! | `Heuristic` | as above | as above | the source, once it is known |
//! | `Once` | as above | never | the source, once it is known |
//! | `Off` | as above, and another host also where the SDP's address is public | as above | the SDP's address |
//!
//! Nothing that is refused here is forwarded, and nothing is ever sent to a source that was not
//! accepted.

use std::net::{IpAddr, SocketAddr};

use control::media::SourcePolicy;

mod control_port;

pub use control_port::ControlLearner;

/// Packets that an unexpected source has to show.
pub const EVIDENCE: u8 = 4;
/// How long after learning a better source takes over, in nanoseconds.
pub const WINDOW: u64 = 3_000_000_000;
/// How long a source must have sent nothing before another may take over, in nanoseconds.
pub const SILENCE: u64 = 2_000_000_000;
/// Sequence numbers may skip this many between the packets of a candidate (loss).
const MAX_SKIP: u16 = 8;
/// And this many when another address continues a stream (the packets lost while it moved).
const MAX_CONTINUATION: u16 = 3000;

/// Why a source is believed to be the peer, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Another host than the SDP's, with a consistent stream.
    Foreign,
    /// The host of the SDP, of the peer's signaling, or of the source before the latest SDP or silence.
    SameHost,
    /// The address of the SDP.
    Signalled,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is from the peer.
    Accept,
    /// It is from the peer, and its source is new.
    Learned,
    /// It is from a source that may turn out to be the peer; refused so far.
    Candidate,
    /// It is from somebody else; refused.
    Stranger,
}

/// The stream position of an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence: u16,
}

impl Position {
    /// Whether `later` is of the same stream and at most `skip` packets further.
    const fn goes_on(self, later: Self, skip: u16) -> bool {
        let ahead = later.sequence.wrapping_sub(self.sequence);
        self.ssrc == later.ssrc && ahead != 0 && ahead <= skip
    }
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    source: SocketAddr,
    rank: Rank,
    since: u64,
    last_seen: u64,
    position: Option<Position>,
}

impl Peer {
    /// A better rank may take over.
    const fn is_fresh(&self, now: u64) -> bool {
        now.saturating_sub(self.since) < WINDOW
    }

    /// Its address, or how long it has sent, speaks for it.
    fn is_proven(&self) -> bool {
        self.rank > Rank::Foreign || self.last_seen.saturating_sub(self.since) >= WINDOW
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: SocketAddr,
    rank: Rank,
    position: Position,
    seen: u8,
    /// It continues the stream of the peer that went silent.
    continues: bool,
    /// When its latest packet came.
    at: u64,
}

impl Candidate {
    const fn is_stale(&self, now: u64) -> bool {
        now.saturating_sub(self.at) >= SILENCE
    }
}

/// What is allowed in finding a leg's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Who may be the peer.
    pub sources: SourcePolicy,
    /// Whoever continues the stream of a peer that went silent may take over from another host.
    pub handover: bool,
    /// Where the peer's signaling comes from.
    pub seen_at: Option<IpAddr>,
    /// Nothing is sent to the peer before a packet has come from it.
    pub waits: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            sources: SourcePolicy::default(),
            handover: true,
            seen_at: None,
            waits: false,
        }
    }
}

impl Policy {
    /// Packets go where the SDP says, wherever they come from.
    const fn sends_to_sdp(self) -> bool {
        matches!(self.sources, SourcePolicy::Strict | SourcePolicy::Off)
    }

    /// A known source stays until new SDP.
    const fn is_final(self) -> bool {
        matches!(self.sources, SourcePolicy::Strict | SourcePolicy::Once)
    }
}

/// Learns the source of one leg's RTP. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Learner {
    policy: Policy,
    /// No media can be due yet: nobody new is accepted.
    closed: bool,
    signalled: Option<SocketAddr>,
    peer: Option<Peer>,
    /// The fixed source that another has succeeded after silence.
    displaced: Option<Peer>,
    candidate: Option<Candidate>,
    /// Where the peer was before new SDP said otherwise: its host is no stranger.
    before: Option<SocketAddr>,
}

impl Learner {
    /// Says by which policy the source is found from now on. `true` when that undoes what was learned.
    pub fn follow(&mut self, policy: Policy) -> bool {
        if self.policy == policy {
            return false;
        }
        let (before, known) = (self.destination(), self.source());
        let was_off = self.policy.sources == SourcePolicy::Off;
        self.policy = policy;
        self.candidate = None;
        self.drop_unsignalled();
        if was_off && policy.sources != SourcePolicy::Off {
            self.drop_foreign();
        }
        before != self.destination() || known != self.source()
    }

    /// Says whether media can be due: before that only strangers are in a hurry.
    pub const fn open(&mut self, open: bool) {
        self.closed = !open;
    }

    /// Takes the address of the peer's SDP. `true` when it is another one than before: then what
    /// was learned is forgotten, and learning starts again. An address that names no host (`0.0.0.0`:
    /// hold, RFC 3264 section 8.4) says where not to send, and nothing of where the peer is: its
    /// source stays.
    pub fn signal(&mut self, address: SocketAddr) -> bool {
        if self.signalled == Some(address) {
            return false;
        }
        if self.signalled.is_none()
            && let Some(peer) = &mut self.peer
        {
            // Restored: the SDP that it was learned under is told again.
            if peer.source == address {
                peer.rank = Rank::Signalled;
            }
            self.signalled = Some(address);
            self.before = None;
            return self.drop_unsignalled();
        }
        self.candidate = None;
        if address.ip().is_unspecified() {
            self.signalled = Some(address);
            return true;
        }
        // A peer behind a NAT stays reachable where it was until it shows up elsewhere: the SDP of
        // such a peer was no way to reach it before, and is none now.
        self.before = self
            .peer
            .filter(|peer| peer.rank != Rank::Signalled)
            .map(|peer| peer.source)
            .or_else(|| self.before.filter(|_| self.peer.is_none()));
        self.signalled = Some(address);
        self.peer = None;
        self.displaced = None;
        true
    }

    /// Where only the SDP's address counts, no other is the peer; `true` if one was.
    fn drop_unsignalled(&mut self) -> bool {
        let is_strict = self.policy.sources == SourcePolicy::Strict && self.signalled.is_some();
        let stale = |peer: &mut Peer| is_strict && peer.rank != Rank::Signalled;
        self.peer.take_if(stale).is_some()
    }

    /// What only [`SourcePolicy::Off`] has let in would now be sent to: other hosts than the SDP's, where that names a
    /// public one, or none as yet.
    fn drop_foreign(&mut self) {
        let is_barred = |at: SocketAddr| at.ip().is_unspecified() || is_public(at.ip());
        if self.signalled.is_some_and(is_barred) {
            let is_foreign = |peer: &mut Peer| peer.rank == Rank::Foreign;
            self.peer.take_if(is_foreign);
            self.displaced.take_if(is_foreign);
            self.before = None;
        }
    }

    /// Takes back where an earlier process sent packets for the peer, as long as no SDP says better.
    pub const fn assume(&mut self, destination: SocketAddr) {
        self.before = Some(destination);
    }

    /// Takes back the source that an earlier process had learned, which nobody succeeds before the
    /// SDP is told again. That first SDP is no news.
    pub const fn restore(&mut self, source: SocketAddr, now: u64) {
        self.peer = Some(Peer {
            source,
            rank: Rank::SameHost,
            since: now,
            last_seen: now,
            position: None,
        });
    }

    /// The learned source.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        self.peer.map(|peer| peer.source)
    }

    /// Where to send to the peer: the learned source; before it is known, where the peer was before
    /// its last SDP if that was behind a NAT, and else the SDP's address; always the SDP's where the
    /// policy says so. `None` without an SDP, or with one that names no host.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        let Some(signalled) = self.signalled else {
            // Adopted: where the process before sent to.
            return self.before.or_else(|| self.source());
        };
        if signalled.ip().is_unspecified() || signalled.port() == 0 {
            return None;
        }
        if self.policy.waits && self.source().or(self.before).is_none() {
            return None;
        }
        if self.policy.sends_to_sdp() {
            return Some(signalled);
        }
        self.source().or(self.before).or(Some(signalled))
    }

    /// Whether the learned source has sent nothing for [`SILENCE`], so that another may succeed it.
    #[must_use]
    pub fn is_silent(&self, now: u64) -> bool {
        !self.policy.is_final()
            && self
                .peer
                .is_some_and(|peer| now.saturating_sub(peer.last_seen) >= SILENCE)
    }

    /// Whether another source may take this one's place while it sends, so that the packets of others
    /// have to be looked at.
    #[must_use]
    pub fn is_contested(&self, now: u64) -> bool {
        let is_fresh = |peer: Peer| peer.rank < Rank::Signalled && peer.is_fresh(now);
        !self.policy.is_final() && (self.displaced.is_some() || self.peer.is_some_and(is_fresh))
    }

    /// Notes packets of the learned source that were forwarded without being seen here (by XDP).
    pub fn seen(&mut self, at: u64, position: Position) {
        if let Some(peer) = &mut self.peer
            && at > peer.last_seen
        {
            peer.last_seen = at;
            peer.position = Some(position);
        }
    }

    /// Decides about an RTP packet.
    pub fn rtp(&mut self, source: SocketAddr, position: Position, now: u64) -> Answer {
        if let Some(peer) = &mut self.peer
            && peer.source == source
        {
            peer.last_seen = now;
            peer.position = Some(position);
            return Answer::Accept;
        }
        self.judge(source, position, now)
    }

    /// Decides about a packet that is not RTP, which proves nothing: accepted from the peer, or
    /// from the SDP's address as long as no peer is known.
    #[must_use]
    pub fn other(&self, source: SocketAddr) -> bool {
        match self.peer {
            Some(peer) => peer.source == source,
            None => self.signalled == Some(source),
        }
    }

    /// A packet from a source that is not the peer.
    #[cold]
    fn judge(&mut self, source: SocketAddr, position: Position, now: u64) -> Answer {
        let mut rank = self.rank(source);
        let is_strict = self.policy.sources == SourcePolicy::Strict;
        let is_early = self.closed || self.signalled.is_none();
        if is_early || is_strict && rank != Rank::Signalled {
            return Answer::Stranger;
        }
        let pending = self.continuing(source);
        let mut continues = false;
        if let Some(peer) = self.peer {
            if self.policy.is_final() {
                return Answer::Stranger;
            }
            if let Some(mut former) = self.displaced.take_if(|former| former.source == source) {
                (former.last_seen, former.position) = (now, Some(position));
                self.peer = Some(former);
                self.candidate = None;
                return Answer::Learned;
            }
            let silent = now.saturating_sub(peer.last_seen) >= SILENCE;
            // UDPTL has no SSRC, and whoever guesses a sequence number would go on with it.
            continues = silent
                && self.policy.handover
                && position.ssrc != 0
                && peer
                    .position
                    .is_some_and(|p| p.goes_on(position, MAX_CONTINUATION));
            // Only after silence: before that it may be a neighbour behind the same NAT.
            if silent && (continues || peer.source.ip() == source.ip()) {
                rank = rank.max(Rank::SameHost);
            }
            let may = (peer.is_fresh(now) && rank > peer.rank)
                || (silent && (rank > Rank::Foreign || pending || !peer.is_proven()));
            if !may {
                return Answer::Stranger;
            }
        }
        if rank == Rank::Foreign && !self.may_be_elsewhere() && !pending {
            return Answer::Stranger;
        }
        let shown = Candidate {
            source,
            rank,
            position,
            seen: 1,
            continues,
            at: now,
        };
        if rank != Rank::Signalled && !self.enough_evidence(shown) {
            return Answer::Candidate;
        }
        let silent = |peer: &Peer| now.saturating_sub(peer.last_seen) >= SILENCE;
        let former = self.peer.filter(|peer| silent(peer) && peer.is_proven());
        self.displaced = self.displaced.or(former);
        self.peer = Some(Peer {
            source,
            rank,
            since: now,
            last_seen: now,
            position: Some(position),
        });
        self.candidate = None;
        self.before = None;
        Answer::Learned
    }

    /// Whether the source has begun to continue the stream of a peer that went silent.
    fn continuing(&self, source: SocketAddr) -> bool {
        self.candidate
            .is_some_and(|candidate| candidate.source == source && candidate.continues)
    }

    /// Whether the peer may be on another host than its SDP says: behind a NAT, or by the policy. A hold
    /// names no host at all.
    fn may_be_elsewhere(&self) -> bool {
        let is_held = self.signalled.is_none_or(|at| at.ip().is_unspecified());
        !is_held && (self.may_be_natted() || self.policy.sources == SourcePolicy::Off)
    }

    /// Whether the SDP names no public address.
    fn may_be_natted(&self) -> bool {
        self.signalled
            .is_some_and(|signalled| !is_public(signalled.ip()))
    }

    /// Adds a packet to what its source has shown.
    fn enough_evidence(&mut self, shown: Candidate) -> bool {
        match &mut self.candidate {
            Some(candidate) if candidate.source == shown.source => {
                if candidate.position.goes_on(shown.position, MAX_SKIP) {
                    candidate.seen += 1;
                } else if candidate.position != shown.position {
                    candidate.seen = 1;
                    candidate.continues = shown.continues;
                }
                (candidate.position, candidate.at) = (shown.position, shown.at);
            }
            // A better one is not disturbed.
            Some(candidate) if candidate.rank > shown.rank && !candidate.is_stale(shown.at) => {
                return false;
            }
            // Two that take turns wear each other down: none of them is learned unless one goes on.
            Some(candidate) if candidate.rank == shown.rank && candidate.seen > 1 => {
                candidate.seen -= 1;
                return false;
            }
            _ => self.candidate = Some(shown),
        }
        self.candidate
            .is_some_and(|candidate| candidate.seen >= EVIDENCE)
    }

    fn rank(&self, source: SocketAddr) -> Rank {
        if self.signalled == Some(source) {
            return Rank::Signalled;
        }
        // A phone behind a NAT is likely to send media from where it sends SIP.
        let seen_at = self.policy.seen_at.filter(|_| self.may_be_natted());
        let known = [self.signalled, self.before].map(|known| known.map(|known| known.ip()));
        if known.contains(&Some(source.ip())) || seen_at == Some(source.ip()) {
            Rank::SameHost
        } else {
            Rank::Foreign
        }
    }
}

/// Whether an address can be reached over the Internet: not private (RFC 1918, RFC 6598, RFC 4193),
/// nor of a link, of this host, for documentation, or nobody's (RFC 6890, RFC 6666).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private()
                || shared
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.octets()[..3] == [192, 0, 0]
                || ip.is_documentation())
        }
        IpAddr::V6(ip) => {
            let documentation = ip.segments()[..2] == [0x2001, 0xdb8];
            !(ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_loopback()
                || ip.is_unspecified()
                || ip.segments()[..4] == [0x100, 0, 0, 0]
                || documentation)
        }
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
