//! Who sends a leg's RTCP, where it has a port of its own.

use std::net::SocketAddr;

use control::media::SourcePolicy;

use super::{Answer, Policy};

/// Learns the source of one leg's RTCP, where it has a port of its own.
#[derive(Debug, Clone, Default)]
pub struct ControlLearner {
    policy: Policy,
    signalled: Option<SocketAddr>,
    source: Option<SocketAddr>,
}

impl ControlLearner {
    /// Says by which policy the source is found from now on. `true` when that undoes what was learned.
    pub fn follow(&mut self, policy: Policy) -> bool {
        self.policy = policy;
        let is_strict = policy.sources == SourcePolicy::Strict && self.signalled.is_some();
        let unsignalled = |source: &mut SocketAddr| is_strict && self.signalled != Some(*source);
        self.source.take_if(unsignalled).is_some()
    }

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

    /// The source of RTP is another one: RTCP will come from there. What came from elsewhere, or from a port that only
    /// the host spoke for, was of whoever was there before.
    pub fn follow_rtp(&mut self, rtp: Option<SocketAddr>) {
        let signalled = self.signalled;
        let is_of = |source: SocketAddr| rtp.is_some_and(|rtp| rtp.ip() == source.ip());
        let stale = |source: &mut SocketAddr| signalled != Some(*source) || !is_of(*source);
        self.source.take_if(stale);
    }

    /// The learned source.
    #[must_use]
    pub const fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// Whether the SDP's address may take the learned one's place, so that the packets of others have to be looked at.
    #[must_use]
    pub fn is_contested(&self) -> bool {
        let is_final = self.policy.sources == SourcePolicy::Once;
        !is_final && self.source.is_some() && self.source != self.signalled
    }

    /// Decides about an RTCP packet, knowing where the leg's RTP comes from. The SDP's address is
    /// accepted, and one port of the host that RTP was learned from, unless only the SDP's counts.
    pub fn rtcp(&mut self, source: SocketAddr, rtp: Option<SocketAddr>) -> Answer {
        if self.source == Some(source) {
            return Answer::Accept;
        }
        let signalled = self.signalled == Some(source);
        let from_rtp_host = self.policy.sources != SourcePolicy::Strict
            && rtp.is_some_and(|rtp| rtp.ip() == source.ip());
        let settled = self.source.is_some();
        let is_final = settled && self.policy.sources == SourcePolicy::Once;
        if is_final || !(signalled || from_rtp_host && !settled) {
            return Answer::Stranger;
        }
        self.source = Some(source);
        Answer::Learned
    }

    /// Where to send RTCP: the learned source; else beside the learned source of RTP if that is on
    /// another host than the SDP said; else the SDP's address, and always that where the policy says so. `None` where
    /// the SDP names no host, as on hold.
    #[must_use]
    pub fn destination(&self, rtp: Option<SocketAddr>) -> Option<SocketAddr> {
        let is_nowhere = |at: SocketAddr| at.ip().is_unspecified() || at.port() == 0;
        if self.signalled.is_some_and(is_nowhere) {
            return None;
        }
        if self.policy.waits && rtp.or(self.source).is_none() {
            return None;
        }
        let learned = || {
            if self.policy.sends_to_sdp() && self.signalled.is_some() {
                return None;
            }
            self.source.or_else(|| self.beside(rtp?))
        };
        learned().or(self.signalled)
    }

    fn beside(&self, rtp: SocketAddr) -> Option<SocketAddr> {
        let moved = self
            .signalled
            .is_none_or(|signalled| signalled.ip() != rtp.ip());
        let port = rtp.port().checked_add(1)?;
        moved.then(|| SocketAddr::new(rtp.ip(), port))
    }
}
