//! Who a leg's peer is: learning the source of a stream without letting a stranger take it.
//!
//! Everybody who can reach a media port can send to it, so "the first to send is the peer" gives
//! strangers the audio (RTP Bleed) and lets them speak (RTP Inject, CVE-2025-53399). Here a source is
//! accepted for a reason, its [`Rank`]:
//!
//! - the address that the peer's SDP gave is accepted at once;
//! - the same host at another port (a NAT that maps ports) has to show [`EVIDENCE`] packets of one
//!   SSRC with sequence numbers that go on;
//! - so has another host, and it is considered only where the SDP's address is no public one: then the
//!   peer is behind a NAT. A peer with a public address is where its SDP says;
//! - for [`WINDOW`] after a source was learned, a better rank takes over; then the source is fixed.
//!
//! A fixed source is given up for one of two reasons: new SDP, or [`SILENCE`] from it. After silence
//! the same host, or whoever continues the very stream (same SSRC, sequence going on: a phone that
//! changed networks), may take over; another host with another stream may not, because silence is
//! also what a muted peer sends.
//!
//! Nothing that is refused here is forwarded, and nothing is ever sent to a source that was not
//! accepted.

use std::net::{IpAddr, SocketAddr};

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
    /// The host of the SDP, or of the source before it, at another port.
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

#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: SocketAddr,
    position: Position,
    seen: u8,
    /// It continues the stream of the peer that went silent.
    continues: bool,
}

/// Learns the source of one leg's RTP. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Learner {
    signalled: Option<SocketAddr>,
    peer: Option<Peer>,
    candidate: Option<Candidate>,
    /// Where the peer was before new SDP said otherwise: its host is no stranger.
    before: Option<SocketAddr>,
}

impl Learner {
    /// Takes the address of the peer's SDP. `true` when it is another one than before: then what
    /// was learned is forgotten, and learning starts again.
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
            return false;
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
        self.candidate = None;
        true
    }

    /// Takes back where an earlier process sent packets for the peer, as long as no SDP says better.
    pub const fn assume(&mut self, destination: SocketAddr) {
        self.before = Some(destination);
    }

    /// Takes back the source that an earlier process had learned. The first SDP after it is no news.
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
    /// its last SDP if that was behind a NAT, and else the SDP's address. `None` without an SDP, or
    /// with one that names no host (`0.0.0.0`: hold, RFC 3264 section 8.4).
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        self.source()
            .or(self.before)
            .or(self.signalled)
            .filter(|address| !address.ip().is_unspecified() && address.port() != 0)
    }

    /// Whether the learned source has sent nothing for [`SILENCE`].
    #[must_use]
    pub fn is_silent(&self, now: u64) -> bool {
        self.peer
            .is_some_and(|peer| now.saturating_sub(peer.last_seen) >= SILENCE)
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
        let rank = self.rank(source);
        let mut continues = false;
        if let Some(peer) = self.peer {
            let silent = now.saturating_sub(peer.last_seen) >= SILENCE;
            continues = silent
                && peer
                    .position
                    .is_some_and(|p| p.goes_on(position, MAX_CONTINUATION));
            let fresh = now.saturating_sub(peer.since) < WINDOW;
            let pending = self.continuing(source);
            let may = (fresh && rank > peer.rank)
                || (silent && rank > Rank::Foreign)
                || continues
                || (silent && pending);
            if !may {
                return Answer::Stranger;
            }
        }
        if rank == Rank::Foreign && !continues && !self.may_be_natted() && !self.continuing(source)
        {
            return Answer::Stranger;
        }
        if rank != Rank::Signalled && !self.enough_evidence(source, position, continues) {
            return Answer::Candidate;
        }
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

    /// Whether the peer may be behind a NAT: its SDP names no public address.
    fn may_be_natted(&self) -> bool {
        self.signalled
            .is_none_or(|signalled| !is_public(signalled.ip()))
    }

    /// Adds a packet to what its source has shown.
    fn enough_evidence(&mut self, source: SocketAddr, position: Position, continues: bool) -> bool {
        match &mut self.candidate {
            Some(candidate) if candidate.source == source => {
                if candidate.position.goes_on(position, MAX_SKIP) {
                    candidate.seen += 1;
                } else if candidate.position != position {
                    candidate.seen = 1;
                    candidate.continues = continues;
                }
                candidate.position = position;
            }
            // Two that take turns wear each other down: none of them is learned unless one goes on.
            Some(candidate) if candidate.seen > 1 => {
                candidate.seen -= 1;
                return false;
            }
            _ => {
                self.candidate = Some(Candidate {
                    source,
                    position,
                    seen: 1,
                    continues,
                });
            }
        }
        self.candidate
            .is_some_and(|candidate| candidate.seen >= EVIDENCE)
    }

    fn rank(&self, source: SocketAddr) -> Rank {
        if self.signalled == Some(source) {
            return Rank::Signalled;
        }
        let known = [self.signalled, self.before, self.source()];
        if known
            .iter()
            .flatten()
            .any(|address| address.ip() == source.ip())
        {
            Rank::SameHost
        } else {
            Rank::Foreign
        }
    }
}

/// Whether an address can be reached over the Internet: not private (RFC 1918, RFC 6598, RFC 4193),
/// nor of a link, of this host, or for documentation.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private()
                || shared
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_documentation())
        }
        IpAddr::V6(ip) => {
            let documentation = ip.segments()[..2] == [0x2001, 0xdb8];
            !(ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_loopback()
                || ip.is_unspecified()
                || documentation)
        }
    }
}

/// Learns the source of one leg's RTCP, where it has a port of its own.
#[derive(Debug, Clone, Default)]
pub struct ControlLearner {
    signalled: Option<SocketAddr>,
    source: Option<SocketAddr>,
}

impl ControlLearner {
    /// Takes the RTCP address of the peer's SDP; `true` when it is new.
    pub fn signal(&mut self, address: SocketAddr) -> bool {
        if self.signalled == Some(address) {
            return false;
        }
        self.signalled = Some(address);
        self.source = None;
        true
    }

    /// Takes back what an earlier process had learned.
    pub const fn restore(&mut self, source: SocketAddr) {
        self.source = Some(source);
    }

    /// Forgets the source: the RTP peer has moved, so RTCP will come from its new place.
    pub const fn forget(&mut self) {
        self.source = None;
    }

    /// The learned source.
    #[must_use]
    pub const fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// Decides about an RTCP packet, knowing where the leg's RTP comes from. The SDP's address is
    /// accepted, and one port of the host that RTP was learned from.
    pub fn rtcp(&mut self, source: SocketAddr, rtp: Option<SocketAddr>) -> Answer {
        if self.source == Some(source) {
            return Answer::Accept;
        }
        let signalled = self.signalled == Some(source);
        let from_rtp_host = rtp.is_some_and(|rtp| rtp.ip() == source.ip());
        if !(signalled || from_rtp_host && self.source.is_none()) {
            return Answer::Stranger;
        }
        self.source = Some(source);
        Answer::Learned
    }

    /// Where to send RTCP: the learned source; else beside the learned source of RTP if that is on
    /// another host than the SDP said; else the SDP's address.
    #[must_use]
    pub fn destination(&self, rtp: Option<SocketAddr>) -> Option<SocketAddr> {
        let beside = || {
            let rtp = rtp?;
            let moved = self
                .signalled
                .is_none_or(|signalled| signalled.ip() != rtp.ip());
            let port = rtp.port().checked_add(1)?;
            moved.then(|| SocketAddr::new(rtp.ip(), port))
        };
        self.source
            .or_else(beside)
            .or(self.signalled)
            .filter(|address| !address.ip().is_unspecified() && address.port() != 0)
    }
}

#[cfg(test)]
mod tests;
