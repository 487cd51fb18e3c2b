//! A network in simulated time: it delays, loses, duplicates and reorders, by a seed.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::transaction::Flow;

/// Where a message of a host goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) remote: SocketAddr,
    pub(crate) reliable: bool,
}

impl Flow for Path {
    fn is_reliable(&self) -> bool {
        self.reliable
    }
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in so many cases of a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What the network does to a datagram. A reliable one only delays, and keeps the order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) reliable: bool,
    pub(crate) loss_per_mille: u64,
    pub(crate) duplicate_per_mille: u64,
    pub(crate) delay_ms: (u64, u64),
}

pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Bytes,
}

/// Something with an address and timers.
pub(crate) trait Host {
    fn address(&self) -> SocketAddr;
    fn receive(&mut self, now: Instant, from: SocketAddr, payload: Bytes);
    fn poll_timeout(&self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Instant);
    /// Handles what happened, and hands out what is to be sent.
    fn drain(&mut self, now: Instant) -> Vec<(SocketAddr, Bytes)>;
}

pub(crate) struct Net {
    pub(crate) now: Instant,
    /// How many messages the hosts have sent.
    pub(crate) sent: u64,
    queued: u64,
    rng: Rng,
    weather: Weather,
    queue: BTreeMap<(Instant, u64), Packet>,
    last: HashMap<(SocketAddr, SocketAddr), Instant>,
}

impl Net {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Self {
            now: Instant::now(),
            sent: 0,
            queued: 0,
            rng: Rng(seed),
            weather,
            queue: BTreeMap::new(),
            last: HashMap::new(),
        }
    }

    /// Runs until nothing is on its way and no host waits for a timer.
    pub(crate) fn run(&mut self, hosts: &mut [&mut dyn Host]) {
        loop {
            for host in hosts.iter_mut() {
                let from = host.address();
                for (to, payload) in host.drain(self.now) {
                    self.send(Packet { from, to, payload });
                }
            }
            let arrival = self.queue.keys().next().map(|(at, _)| *at);
            let timeouts = hosts.iter().filter_map(|host| host.poll_timeout());
            let Some(at) = timeouts.chain(arrival).min() else {
                return;
            };
            assert!(at >= self.now, "time runs backwards");
            self.now = at;
            while let Some(entry) = self.queue.first_entry() {
                if entry.key().0 > at {
                    break;
                }
                let packet = entry.remove();
                let host = hosts.iter_mut().find(|host| host.address() == packet.to);
                if let Some(host) = host {
                    host.receive(at, packet.from, packet.payload);
                }
            }
            for host in hosts.iter_mut() {
                if host.poll_timeout().is_some_and(|due| due <= at) {
                    host.handle_timeout(at);
                }
            }
        }
    }

    fn send(&mut self, packet: Packet) {
        self.sent += 1;
        assert!(self.sent < 5_000_000, "the hosts talk without end");
        if self.weather.reliable {
            let key = (packet.from, packet.to);
            let at = self.arrival();
            let at = self.last.get(&key).map_or(at, |last| at.max(*last));
            self.last.insert(key, at);
            self.queue_at(at, packet);
            return;
        }
        if self.rng.chance(self.weather.loss_per_mille) {
            return;
        }
        if self.rng.chance(self.weather.duplicate_per_mille) {
            let Packet { from, to, payload } = &packet;
            let copy = Packet {
                from: *from,
                to: *to,
                payload: payload.clone(),
            };
            let at = self.arrival();
            self.queue_at(at, copy);
        }
        let at = self.arrival();
        self.queue_at(at, packet);
    }

    fn queue_at(&mut self, at: Instant, packet: Packet) {
        self.queued += 1;
        self.queue.insert((at, self.queued), packet);
    }

    fn arrival(&mut self) -> Instant {
        let (least, most) = self.weather.delay_ms;
        self.now + Duration::from_millis(least + self.rng.below(most - least + 1))
    }
}
