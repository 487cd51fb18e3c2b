//! What a source is seen to do, and how much it says about the source.

use std::time::Instant;

use control::config::Transport;

use super::ban::Rules;

/// What was seen of a source.
///
/// A failure of this node's own, such as a store that is down, is none of these and is not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// A digest that does not fit the password. Only of a nonce that was given to this very address.
    WrongPassword,
    /// A digest of a user that there is not. Only of a nonce that was given to this very address.
    UnknownUser,
    /// A nonce that was given to this very address came again with a count that was used before.
    ReplayedNonce,
    /// A nonce that this node never made, or made for another address.
    ForgedNonce,
    /// What came by a connection is no SIP, or in no frames of a WebSocket.
    NotSip,
    /// An HTTP request to a WebSocket listener that asks for something else than SIP.
    BadUpgrade,
    /// A tool that looks for open switches, by its User-Agent.
    Scanner,
    /// A connection that went on asking far more than its source may.
    Flooding,
    /// A TLS handshake that failed.
    HandshakeFailed,
    /// An INVITE whose final answer was never acknowledged. Only of a user, who has answered a nonce that
    /// was given to this very address; and not where phones have registered, behind a router that eats ACKs
    /// perhaps.
    NeverAcked,
    /// Credentials that hold.
    Success,
    /// Those of a REGISTER.
    Registered,
    /// It answered a request of ours, with the branch that only it was told.
    Answered,
    /// A request of a trunk's by the certificate that its connection showed.
    Certified,
}

/// No honest peer does it often: four of them ban by the default threshold.
pub(super) const STRONG: u32 = 3;
/// It happens to honest peers too.
pub(super) const WEAK: u32 = 1;

impl Evidence {
    /// Points against the source, where it was seen over `transport`.
    ///
    /// Anybody can put anybody's address on a datagram. So over UDP only what shows that the sender
    /// receives at its address counts, else a third party could have an innocent banned. A stream's
    /// handshake has shown it.
    pub(crate) const fn points(self, transport: Transport) -> u32 {
        let is_forgeable = matches!(transport, Transport::Udp);
        match self {
            Self::WrongPassword | Self::UnknownUser | Self::ReplayedNonce => STRONG,
            Self::ForgedNonce
            | Self::NotSip
            | Self::BadUpgrade
            | Self::Scanner
            | Self::Flooding
                if !is_forgeable =>
            {
                STRONG
            }
            Self::NeverAcked => WEAK,
            Self::HandshakeFailed if !is_forgeable => WEAK,
            _ => 0,
        }
    }

    /// Whether it shows that the source is one of ours.
    pub(super) const fn is_good(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Registered | Self::Answered | Self::Certified
        )
    }

    /// Whether credentials that hold show it.
    pub(super) const fn is_login(self) -> bool {
        matches!(self, Self::Success | Self::Registered)
    }

    /// As bans and metrics name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong-password",
            Self::UnknownUser => "unknown-user",
            Self::ReplayedNonce => "replayed-nonce",
            Self::ForgedNonce => "forged-nonce",
            Self::NotSip => "not-sip",
            Self::BadUpgrade => "bad-upgrade",
            Self::Scanner => "scanner",
            Self::Flooding => "flooding",
            Self::HandshakeFailed => "handshake-failed",
            Self::NeverAcked => "never-acked",
            Self::Success => "success",
            Self::Registered => "registered",
            Self::Answered => "answered",
            Self::Certified => "certified",
        }
    }
}

/// Points, of which one is forgotten at a time: as many as ban in the window's length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    pub(super) points: u32,
    /// Nothing that came before then is left to be forgotten.
    pub(super) at: Instant,
}

impl Score {
    pub(super) const fn new(now: Instant) -> Self {
        Self { points: 0, at: now }
    }

    /// Forgets what the time since then makes forgotten, and adds so many.
    pub(super) fn add(&mut self, now: Instant, rules: &Rules, points: u32) {
        let step = rules.window / rules.threshold;
        let elapsed = now.saturating_duration_since(self.at);
        let forgotten = u32::try_from(elapsed.as_nanos() / step.as_nanos().max(1));
        let forgotten = forgotten.unwrap_or(u32::MAX);
        if forgotten >= self.points {
            *self = Self::new(now);
        } else {
            self.points -= forgotten;
            self.at += step * forgotten;
        }
        self.points = self.points.saturating_add(points);
    }
}
