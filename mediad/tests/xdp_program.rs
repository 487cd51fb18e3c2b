//! The XDP program, packet by packet, through BPF_PROG_TEST_RUN: what goes in, the verdict, what
//! comes out, and what is counted.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say that it cannot fail"
)]

#[path = "xdp_program/bans.rs"]
mod bans;
#[path = "xdp_common/mod.rs"]
mod common;
#[path = "xdp_program/flows.rs"]
mod flows;
#[path = "xdp_program/hostile.rs"]
mod hostile;
#[path = "xdp_program/numbers.rs"]
mod numbers;
#[path = "xdp_program/reshape.rs"]
mod reshape;
#[path = "xdp_program/table.rs"]
mod table;
#[path = "xdp_program/tap.rs"]
mod tap;

use std::net::SocketAddr;

use common::{Packet, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use mediad::xdp::{Counter, CounterKind, Hop, Identity, Route, Slot, VlanTag, Xdp};

/// The interface that test runs come in by: loopback.
const LOOPBACK: u32 = 1;
/// A key of the device map that leads to some device.
const OTHER: u32 = 77;

const SOURCE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xa1];
const DESTINATION_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xb2];

/// The loaded program with checks around each run.
struct Bed {
    xdp: Xdp,
}

/// What shall become of a frame.
#[derive(Debug)]
enum Expected {
    Pass(Counter),
    Drop(Counter),
    /// Sent as this frame.
    Sent(Counter, Vec<u8>),
}

impl Bed {
    fn new() -> Self {
        let mut xdp = Xdp::load().unwrap();
        xdp.allow_device(OTHER, LOOPBACK).unwrap();
        Self { xdp }
    }

    /// Runs the program on `frame`; the verdict, the bytes and the counters must be as expected.
    fn expect(&self, name: &str, frame: &[u8], expected: &Expected) {
        let before = self.xdp.counters().unwrap();
        let run = self.xdp.test_run(frame, 1).unwrap();
        let counted = self.xdp.counters().unwrap().since(&before);
        let (verdict, counter, bytes) = match expected {
            Expected::Pass(counter) => (XDP_PASS, counter, frame),
            Expected::Drop(counter) => (XDP_DROP, counter, frame),
            Expected::Sent(counter @ (Counter::RtpTx | Counter::RtcpTx), bytes) => {
                (XDP_TX, counter, bytes.as_slice())
            }
            Expected::Sent(counter, bytes) => (XDP_REDIRECT, counter, bytes.as_slice()),
        };
        for (other, value) in counted.iter() {
            assert_eq!(
                value,
                u64::from(other == *counter),
                "{name}: {}",
                other.name()
            );
        }
        assert_eq!(run.verdict, verdict, "{name}");
        assert_eq!(run.frame, bytes, "{name}");
        let forwarded = counter.kind() == CounterKind::Forwarded;
        assert_eq!(matches!(expected, Expected::Sent(..)), forwarded, "{name}");
    }

    /// Puts a forwarding slot in force for `packet`, to leave as `sent` from `ifindex`.
    fn forward(&self, packet: &Packet, sent: &Packet, ifindex: u32, identity: Identity) {
        let slot = slot(packet, sent, ifindex, identity);
        self.xdp.slots().write(packet.to.port(), &slot);
    }
}

/// A slot that makes `sent` of `packet`.
fn slot(packet: &Packet, sent: &Packet, ifindex: u32, identity: Identity) -> Slot {
    let mut tags = [None; 2];
    for (tag, (tpid, tci)) in tags.iter_mut().zip(&sent.tags) {
        *tag = Some(VlanTag {
            tpid: *tpid,
            id: tci & 0xfff,
        });
    }
    let [destination, source] = sent.macs;
    let hop = Hop {
        ifindex,
        source,
        destination,
        tags,
    };
    let route = Route {
        local: packet.to,
        peer: packet.from,
        source: sent.from,
        destination: sent.to,
    };
    Slot::forwarding(identity, &route, &hop, 8_000).unwrap()
}

/// The packet that `packet` becomes between these ends.
fn rewritten(packet: &Packet, from: &str, to: &str) -> Packet {
    let end = |end: &str| end.parse::<SocketAddr>().unwrap();
    Packet {
        macs: [DESTINATION_MAC, SOURCE_MAC],
        from: end(from),
        to: end(to),
        ttl: packet.ttl - 1,
        ..packet.clone()
    }
}

/// A packet and what becomes of it, in either family.
fn pair(v6: bool) -> (Packet, Packet) {
    if v6 {
        let packet = Packet::new("[2001:db8:1::7]:4000", "[2001:db8:1::1]:20000");
        let sent = rewritten(&packet, "[2001:db8:2::1]:20002", "[2001:db8:2::9]:5000");
        return (packet, sent);
    }
    let packet = Packet::new("198.51.100.7:4000", "198.51.100.1:20000");
    let sent = rewritten(&packet, "203.0.113.1:20002", "203.0.113.9:5000");
    (packet, sent)
}
