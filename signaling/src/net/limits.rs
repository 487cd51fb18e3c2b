//! What clients may take of this node, and how much of it they have.

use std::{collections::HashMap, net::IpAddr, time::Duration};

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

/// Raises the descriptors that this process may have to what its connections take: beyond the hard limit where it may,
/// as root may until it drops that.
pub(super) fn raise_descriptors(connections: usize) {
    let wanted = descriptors_for(connections);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft >= wanted {
        return;
    }
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_err() {
        // Without CAP_SYS_RESOURCE, or beyond fs.nr_open. What comes of it is told later, when there is a log.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
    }
}

/// Tells the log where [`raise_descriptors`] has not come as far as it was to.
pub(super) fn warn_of_few_descriptors(connections: usize) {
    let wanted = descriptors_for(connections);
    let given = getrlimit(Resource::RLIMIT_NOFILE).map_or(wanted, |(soft, _)| soft);
    if given < wanted {
        warn!(
            limit = given,
            wanted,
            "fewer descriptors than [sip.connections] total needs; raise ulimit -n, or \
             LimitNOFILE of the service"
        );
    }
}

fn descriptors_for(connections: usize) -> u64 {
    let connections = u64::try_from(connections).unwrap_or(u64::MAX);
    connections.saturating_add(OTHERS)
}

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its source has as many as it may.
    Source,
    /// The network around it has.
    Network,
    /// All sources together have.
    Total,
    /// Its source has as many handshakes under way as it may.
    SourceHandshakes,
    /// The network around it has.
    NetworkHandshakes,
    /// All sources together have.
    TotalHandshakes,
}

impl Refused {
    /// As the metric has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Network => "network",
            Self::Total => "total",
            Self::SourceHandshakes => "source-handshakes",
            Self::NetworkHandshakes => "network-handshakes",
            Self::TotalHandshakes => "total-handshakes",
        }
    }
}

/// How much more a source may have that is known: many phones are behind one address.
const KNOWN: usize = 20;
/// How much more a network may have than one source of it: who has a /24, or a /48 of IPv6, has addresses
/// enough to take all that there is by the share of one.
const NETWORK: usize = 8;

/// How many connections clients have.
#[derive(Debug, Default)]
pub(super) struct Counts {
    all: Held,
    sources: HashMap<Source, Held>,
    networks: HashMap<u128, Network>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    connections: usize,
    handshakes: usize,
}

/// What a network has. The phones in it that are known, however many, take no place from one that is not
/// yet; and trunks have theirs beside both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Network {
    strangers: Held,
    known: Held,
}

/// A client's connection, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) address: IpAddr,
    pub(super) standing: Standing,
    /// Its handshake is under way.
    pub(super) handshake: bool,
}

impl Counts {
    /// Counts one more, where the limits have room for it. Strangers leave the last quarter to others, as
    /// does a network, whoever is in it, and trunks may have as many as there are.
    pub(super) fn enter(&mut self, limits: &Limits, one: Counted) -> Result<(), Refused> {
        let of_all = |all: usize| match one.standing {
            Standing::Stranger => all - all / 4,
            Standing::Known | Standing::Trusted => all,
        };
        let of_source = |most: usize| match one.standing {
            Standing::Stranger => most,
            Standing::Known => most.saturating_mul(KNOWN),
            Standing::Trusted => usize::MAX,
        };
        let source = self.sources.get(&Source::of(one.address));
        let source = source.copied().unwrap_or_default();
        let network = self.networks.get(&Source::network(one.address));
        let network = network.copied().unwrap_or_default();
        let network = network.of(one.standing).copied().unwrap_or_default();

        let connections = of_source(limits.per_source);
        if self.all.connections >= of_all(limits.total) {
            return Err(Refused::Total);
        }
        if source.connections >= connections {
            return Err(Refused::Source);
        }
        let of_network = |most: usize, all: usize| most.saturating_mul(NETWORK).min(all - all / 4);
        if network.connections >= of_network(connections, limits.total) {
            return Err(Refused::Network);
        }
        if one.handshake {
            let handshakes = of_source(limits.handshakes_per_source);
            if self.all.handshakes >= of_all(limits.handshakes) {
                return Err(Refused::TotalHandshakes);
            }
            if source.handshakes >= handshakes {
                return Err(Refused::SourceHandshakes);
            }
            if network.handshakes >= of_network(handshakes, limits.handshakes) {
                return Err(Refused::NetworkHandshakes);
            }
        }
        self.change(one, |held| held.add(one));
        Ok(())
    }

    /// Its handshake is over.
    pub(super) fn shook_hands(&mut self, one: Counted) {
        self.change(one, |held| {
            held.handshakes = held.handshakes.saturating_sub(1);
        });
    }

    /// It is closed.
    pub(super) fn leave(&mut self, one: Counted) {
        self.change(one, |held| held.take(one));
    }

    /// Its source is another to us than it was when it connected.
    pub(super) fn rank(&mut self, one: Counted, standing: Standing) {
        self.leave(one);
        self.change(Counted { standing, ..one }, |held| held.add(one));
    }

    /// Handshakes under way.
    pub(super) const fn handshakes(&self) -> usize {
        self.all.handshakes
    }

    fn change(&mut self, one: Counted, change: impl Fn(&mut Held)) {
        change(&mut self.all);
        let source = Source::of(one.address);
        let held = self.sources.entry(source).or_default();
        change(held);
        if *held == Held::default() {
            self.sources.remove(&source);
        }
        let key = Source::network(one.address);
        let network = self.networks.entry(key).or_default();
        if let Some(held) = network.of_mut(one.standing) {
            change(held);
        }
        if *network == Network::default() {
            self.networks.remove(&key);
        }
    }
}

impl Network {
    const fn of(&self, standing: Standing) -> Option<&Held> {
        match standing {
            Standing::Stranger => Some(&self.strangers),
            Standing::Known => Some(&self.known),
            Standing::Trusted => None,
        }
    }

    const fn of_mut(&mut self, standing: Standing) -> Option<&mut Held> {
        match standing {
            Standing::Stranger => Some(&mut self.strangers),
            Standing::Known => Some(&mut self.known),
            Standing::Trusted => None,
        }
    }
}

impl Held {
    fn add(&mut self, one: Counted) {
        self.connections += 1;
        self.handshakes += usize::from(one.handshake);
    }

    fn take(&mut self, one: Counted) {
        self.connections = self.connections.saturating_sub(1);
        self.handshakes = self.handshakes.saturating_sub(one.handshake.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Standing = Standing::Stranger;

    fn one(text: &str, standing: Standing, handshake: bool) -> Counted {
        Counted {
            address: text.parse().unwrap(),
            standing,
            handshake,
        }
    }

    fn limits(total: usize, per_source: usize) -> Limits {
        Limits {
            total,
            per_source,
            handshakes: total,
            handshakes_per_source: per_source,
            ..Limits::new(&config::Sip::default())
        }
    }

    #[test]
    fn each_limit_holds_and_what_leaves_makes_room() {
        let mut limits = limits(5, 3);
        (limits.handshakes, limits.handshakes_per_source) = (4, 2);
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|text| one(text, STRANGER, true));
        let quiet = Counted {
            handshake: false,
            ..a
        };
        let mut counts = Counts::default();
        counts.enter(&limits, a).unwrap();
        counts.enter(&limits, a).unwrap();
        assert_eq!(counts.enter(&limits, a), Err(Refused::SourceHandshakes));
        counts.enter(&limits, b).unwrap();
        assert_eq!(counts.enter(&limits, b), Err(Refused::TotalHandshakes));
        counts.shook_hands(a);
        counts.enter(&limits, a).unwrap();
        assert_eq!(counts.enter(&limits, quiet), Err(Refused::Total));
        counts.leave(b);
        assert_eq!(counts.enter(&limits, quiet), Err(Refused::Source));
        for gone in [quiet, a, a] {
            counts.leave(gone);
        }
        assert_eq!(counts.all, Held::default());
        assert!(counts.sources.is_empty() && counts.networks.is_empty());
    }

    #[test]
    fn strangers_leave_room_for_those_who_are_known() {
        let limits = limits(400, 4);
        let mut counts = Counts::default();
        let mut entered = 0;
        for number in 0..400_u16 {
            let address = format!("10.{}.{}.1", number / 250, number % 250);
            let stranger = one(&address, STRANGER, false);
            entered += usize::from(counts.enter(&limits, stranger).is_ok());
        }
        assert_eq!(entered, 300);
        let phone = one("198.51.100.1", Standing::Known, true);
        for _ in 0..4 * KNOWN {
            counts.enter(&limits, phone).unwrap();
        }
        assert_eq!(counts.enter(&limits, phone), Err(Refused::Source));
        let trunk = one("198.51.100.2", Standing::Trusted, true);
        for _ in 0..20 {
            counts.enter(&limits, trunk).unwrap();
        }
        assert_eq!(counts.enter(&limits, trunk), Err(Refused::Total));
    }

    #[test]
    fn the_addresses_of_one_customer_are_one_source() {
        let limits = Limits::new(&config::Sip::default());
        let mut counts = Counts::default();
        let entered = (0..1_000).filter(|number| {
            let customer = one(&format!("2001:db8:1:2::{number:x}"), STRANGER, false);
            counts.enter(&limits, customer).is_ok()
        });
        assert_eq!(entered.count(), limits.per_source);
    }

    #[test]
    fn a_network_has_a_share_however_many_addresses_it_has() {
        let limits = limits(10_000, 4);
        for (network, other) in [("192.0.2.", "192.0.3.1"), ("2001:db8:1:", "2001:db8:2::1")] {
            let address = |number: u32| match network.contains(':') {
                true => format!("{network}{number:x}::1"),
                false => format!("{network}{number}"),
            };
            for handshake in [false, true] {
                let mut counts = Counts::default();
                let mut enter = |number, standing| {
                    counts.enter(&limits, one(&address(number), standing, handshake))
                };
                let entered = |results: [Result<(), Refused>; 250]| {
                    let taken = results.iter().take_while(|result| result.is_ok()).count();
                    assert!(
                        results[taken..]
                            .iter()
                            .all(|one| *one == Err(Refused::Network))
                    );
                    taken
                };
                let mut numbers = 0..1_000;
                let results = [(); 250].map(|()| enter(numbers.next().unwrap() % 250, STRANGER));
                assert_eq!(entered(results), 4 * NETWORK);
                // Neither who is known in it, nor a trunk, nor another network, has less for that.
                for _ in 0..4 {
                    for number in 0..40 {
                        enter(number, Standing::Known).unwrap();
                    }
                    enter(1, Standing::Trusted).unwrap();
                }
                counts
                    .enter(&limits, one(other, STRANGER, handshake))
                    .unwrap();
            }
        }
    }

    #[test]
    fn a_network_of_known_phones_leaves_a_quarter_to_others() {
        for (total, most) in [(1_000, 4 * KNOWN * NETWORK), (400, 300)] {
            let limits = limits(total, 4);
            let mut counts = Counts::default();
            let mut enter = |address: String| {
                let known = one(&address, Standing::Known, false);
                counts.enter(&limits, known)
            };
            let taken = (0..1_000).take_while(|n| enter(format!("2001:db8:1:{n:x}::1")).is_ok());
            assert_eq!(taken.count(), most);
            enter("192.0.2.1".to_owned()).unwrap();
        }
    }

    #[test]
    fn who_proves_himself_frees_a_place_of_the_networks_strangers() {
        let limits = limits(10_000, 4);
        let mut counts = Counts::default();
        let phones: Vec<_> = (0..4 * NETWORK)
            .map(|number| one(&format!("192.0.2.{number}"), STRANGER, false))
            .collect();
        for phone in &phones {
            counts.enter(&limits, *phone).unwrap();
        }
        let next = one("192.0.2.200", STRANGER, false);
        assert_eq!(counts.enter(&limits, next), Err(Refused::Network));
        for (phone, standing) in phones.iter().zip([Standing::Known, Standing::Trusted]) {
            counts.rank(*phone, standing);
            counts.enter(&limits, next).unwrap();
        }
        assert_eq!(counts.enter(&limits, next), Err(Refused::Network));
        assert_eq!(counts.all.connections, 4 * NETWORK + 2);
    }
}
