//! What clients may take of this node, and how much of it they have.

use std::{collections::HashMap, time::Duration};

use control::config;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::defence::{Source, Standing};

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

/// How much more a source may have that is known: many phones are behind one address.
const KNOWN: usize = 20;

/// How many connections clients have.
#[derive(Debug, Default)]
pub(super) struct Counts {
    total: usize,
    handshakes: usize,
    sources: HashMap<Source, Held>,
}

#[derive(Debug, Default)]
struct Held {
    connections: usize,
    handshakes: usize,
}

impl Counts {
    /// Counts one more of `source`, where the limits have room for it. Strangers leave the last quarter
    /// to others, and trunks may have as many as there are.
    pub(super) fn enter(
        &mut self,
        limits: &Limits,
        source: Source,
        standing: Standing,
        handshake: bool,
    ) -> Result<(), Refused> {
        let of_all = |all: usize| match standing {
            Standing::Stranger => all - all / 4,
            Standing::Known | Standing::Trusted => all,
        };
        let of_source = |most: usize| match standing {
            Standing::Stranger => most,
            Standing::Known => most.saturating_mul(KNOWN),
            Standing::Trusted => usize::MAX,
        };
        if self.total >= of_all(limits.total) {
            return Err(Refused::Total);
        }
        if handshake && self.handshakes >= of_all(limits.handshakes) {
            return Err(Refused::TotalHandshakes);
        }
        if let Some(one) = self.sources.get(&source) {
            if one.connections >= of_source(limits.per_source) {
                return Err(Refused::Source);
            }
            if handshake && one.handshakes >= of_source(limits.handshakes_per_source) {
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
    pub(super) fn shook_hands(&mut self, source: Source) {
        self.handshakes = self.handshakes.saturating_sub(1);
        if let Some(one) = self.sources.get_mut(&source) {
            one.handshakes = one.handshakes.saturating_sub(1);
        }
    }

    /// A connection of `source` is closed, its handshake over.
    pub(super) fn leave(&mut self, source: Source) {
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
    use super::*;

    const STRANGER: Standing = Standing::Stranger;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn each_limit_holds_and_what_leaves_makes_room() {
        let mut limits = Limits::new(&config::Sip::default());
        (limits.total, limits.per_source) = (5, 3);
        (limits.handshakes, limits.handshakes_per_source) = (4, 2);
        let (a, b) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut counts = Counts::default();
        let mut enter = |source, handshake| counts.enter(&limits, source, STRANGER, handshake);
        enter(a, true).unwrap();
        enter(a, true).unwrap();
        assert_eq!(enter(a, true), Err(Refused::SourceHandshakes));
        enter(b, true).unwrap();
        assert_eq!(enter(b, true), Err(Refused::TotalHandshakes));
        counts.shook_hands(a);
        counts.enter(&limits, a, STRANGER, true).unwrap();
        let more = counts.enter(&limits, a, STRANGER, false);
        assert_eq!(more, Err(Refused::Total));
        counts.shook_hands(b);
        counts.leave(b);
        let more = counts.enter(&limits, a, STRANGER, false);
        assert_eq!(more, Err(Refused::Source));
        for _ in 0..2 {
            counts.shook_hands(a);
        }
        for _ in 0..3 {
            counts.leave(a);
        }
        assert_eq!((counts.total, counts.handshakes()), (0, 0));
        assert!(counts.sources.is_empty());
    }

    #[test]
    fn strangers_leave_room_for_those_who_are_known() {
        let mut limits = Limits::new(&config::Sip::default());
        (limits.total, limits.per_source) = (400, 4);
        limits.handshakes_per_source = 4;
        let mut counts = Counts::default();
        let mut entered = 0;
        for number in 0..400_u16 {
            let source = source(&format!("192.0.{}.{}", number / 250, number % 250));
            entered += usize::from(counts.enter(&limits, source, STRANGER, false).is_ok());
        }
        assert_eq!(entered, 300);
        let (phones, trunk) = (source("198.51.100.1"), source("198.51.100.2"));
        for _ in 0..4 * KNOWN {
            counts
                .enter(&limits, phones, Standing::Known, true)
                .unwrap();
        }
        let more = counts.enter(&limits, phones, Standing::Known, false);
        assert_eq!(more, Err(Refused::Source));
        for _ in 0..20 {
            counts
                .enter(&limits, trunk, Standing::Trusted, true)
                .unwrap();
        }
        let more = counts.enter(&limits, trunk, Standing::Trusted, true);
        assert_eq!(more, Err(Refused::Total));
    }

    #[test]
    fn the_addresses_of_one_customer_are_one_source() {
        let limits = Limits::new(&config::Sip::default());
        let mut counts = Counts::default();
        let entered = (0..1_000).filter(|number| {
            let source = source(&format!("2001:db8:1:2::{number:x}"));
            counts.enter(&limits, source, STRANGER, false).is_ok()
        });
        assert_eq!(entered.count(), limits.per_source);
    }
}
