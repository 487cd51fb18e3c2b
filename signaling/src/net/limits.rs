//! What clients may take of this node, and how much of it they have.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use control::config;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// `[sip.connections]` and `[sip.websocket]` as they are used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) total: usize,
    pub(super) per_source: usize,
    pub(super) handshakes: usize,
    pub(super) handshakes_per_source: usize,
    /// From the connection to the end of its handshakes.
    pub(super) handshake: Duration,
    /// From the end of its handshakes to the end of a client's first message.
    pub(super) first: Duration,
    /// From the first byte of a message to its last.
    pub(super) message: Duration,
    /// Until a peer makes room for what is written to it.
    pub(super) write: Duration,
    /// Silence in both directions.
    pub(super) idle: Duration,
    /// Between two pings of a WebSocket.
    pub(super) ping: Duration,
}

impl Limits {
    pub(super) const fn new(config: &config::Sip) -> Self {
        let connections = &config.connections;
        Self {
            total: connections.total,
            per_source: connections.per_source,
            handshakes: connections.handshakes,
            handshakes_per_source: connections.handshakes_per_source,
            handshake: Duration::from_secs(connections.handshake_timeout),
            first: Duration::from_secs(connections.first_message_timeout),
            message: Duration::from_secs(connections.message_timeout),
            write: Duration::from_secs(connections.write_timeout),
            idle: Duration::from_secs(connections.idle_timeout),
            ping: Duration::from_secs(config.websocket.ping),
        }
    }
}

/// Descriptors that are for other things than connections.
const OTHERS: u64 = 1024;

/// Raises the descriptors that this process may have to what its connections take, as far as the
/// system lets it, and warns where that is not enough.
pub(super) fn raise_descriptors(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX);
    let wanted = wanted.saturating_add(OTHERS);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft >= wanted {
        return;
    }
    let given = wanted.min(hard);
    let raised = setrlimit(Resource::RLIMIT_NOFILE, given, hard);
    if given < wanted || raised.is_err() {
        warn!(
            limit = given,
            wanted,
            "fewer descriptors than [sip.connections] total needs; raise ulimit -n, or \
             LimitNOFILE of the service"
        );
    }
}

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its source has as many as it may.
    Source,
    /// All sources together have.
    Total,
    /// Its source has as many handshakes under way as it may.
    SourceHandshakes,
    /// All sources together have.
    TotalHandshakes,
}

impl Refused {
    /// As the metric has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Total => "total",
            Self::SourceHandshakes => "source-handshakes",
            Self::TotalHandshakes => "total-handshakes",
        }
    }
}

/// How many connections clients have.
#[derive(Debug, Default)]
pub(super) struct Counts {
    total: usize,
    handshakes: usize,
    sources: HashMap<IpAddr, Source>,
}

#[derive(Debug, Default)]
struct Source {
    connections: usize,
    handshakes: usize,
}

impl Counts {
    /// Counts one more of `source`, where the limits have room for it.
    pub(super) fn enter(
        &mut self,
        limits: &Limits,
        source: IpAddr,
        handshake: bool,
    ) -> Result<(), Refused> {
        if self.total >= limits.total {
            return Err(Refused::Total);
        }
        if handshake && self.handshakes >= limits.handshakes {
            return Err(Refused::TotalHandshakes);
        }
        if let Some(one) = self.sources.get(&source) {
            if one.connections >= limits.per_source {
                return Err(Refused::Source);
            }
            if handshake && one.handshakes >= limits.handshakes_per_source {
                return Err(Refused::SourceHandshakes);
            }
        }
        let one = self.sources.entry(source).or_default();
        one.connections += 1;
        self.total += 1;
        if handshake {
            one.handshakes += 1;
            self.handshakes += 1;
        }
        Ok(())
    }

    /// A handshake of `source` is over.
    pub(super) fn shook_hands(&mut self, source: IpAddr) {
        self.handshakes = self.handshakes.saturating_sub(1);
        if let Some(one) = self.sources.get_mut(&source) {
            one.handshakes = one.handshakes.saturating_sub(1);
        }
    }

    /// A connection of `source` is closed, its handshake over.
    pub(super) fn leave(&mut self, source: IpAddr) {
        self.total = self.total.saturating_sub(1);
        if let Some(one) = self.sources.get_mut(&source) {
            one.connections = one.connections.saturating_sub(1);
            if one.connections == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// Handshakes under way.
    pub(super) const fn handshakes(&self) -> usize {
        self.handshakes
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn each_limit_holds_and_what_leaves_makes_room() {
        let mut limits = Limits::new(&config::Sip::default());
        (limits.total, limits.per_source) = (4, 3);
        (limits.handshakes, limits.handshakes_per_source) = (3, 2);
        let mut counts = Counts::default();
        counts.enter(&limits, A, true).unwrap();
        counts.enter(&limits, A, true).unwrap();
        assert_eq!(
            counts.enter(&limits, A, true),
            Err(Refused::SourceHandshakes)
        );
        counts.enter(&limits, B, true).unwrap();
        assert_eq!(
            counts.enter(&limits, B, true),
            Err(Refused::TotalHandshakes)
        );
        counts.shook_hands(A);
        counts.enter(&limits, A, true).unwrap();
        assert_eq!(counts.enter(&limits, A, false), Err(Refused::Total));
        counts.shook_hands(B);
        counts.leave(B);
        assert_eq!(counts.enter(&limits, A, false), Err(Refused::Source));
        for _ in 0..2 {
            counts.shook_hands(A);
        }
        for _ in 0..3 {
            counts.leave(A);
        }
        assert_eq!((counts.total, counts.handshakes()), (0, 0));
        assert!(counts.sources.is_empty());
    }
}
