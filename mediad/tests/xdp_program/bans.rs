//! Banned sources: dropped at the SIP ports and nowhere else, and never those who are exempt.

use std::time::Duration;

use control::media::{BanOf, Bans, Block, Guarded};
use mediad::{io::monotonic_ns, xdp::Counter};

use super::{
    Bed, Expected, LOOPBACK,
    common::{Packet, permitted},
    pair,
};

const SIP: u16 = 5060;
const UDP: u8 = 17;
const TCP: u8 = 6;

fn block(text: &str) -> Block {
    let (address, prefix) = text.split_once('/').unwrap();
    Block {
        address: address.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
    }
}

fn ban(text: &str, for_ms: u64) -> BanOf {
    BanOf {
        block: block(text),
        for_ms,
        trickle_us: 0,
    }
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_ns())
}

/// A packet of either protocol to a port, and what it is passed as.
fn to_port(v6: bool, tags: usize, protocol: u8, port: u16) -> (Vec<u8>, Counter) {
    let (mut packet, _) = pair(v6);
    packet.tags = vec![(0x8100, 0xa064), (0x8100, 0x6065)];
    packet.tags.truncate(tags);
    packet.to.set_port(port);
    let mut frame = packet.frame();
    let at = packet.l3() + if v6 { 6 } else { 9 };
    frame[at] = protocol;
    let passed = if protocol == TCP {
        Counter::PassNotUdp
    } else {
        Counter::PassNoSlot
    };
    (frame, passed)
}

fn source(v6: bool) -> (String, String) {
    let (packet, _) = pair(v6);
    let ip = packet.from.ip();
    (format!("{ip}/{}", if v6 { 64 } else { 32 }), ip.to_string())
}

fn begin(bed: &mut Bed, allow: &[Block], bans: &[BanOf]) {
    let bans = Bans {
        anew: Some(Guarded {
            ports: vec![SIP, 5061],
            allow: allow.to_vec(),
        }),
        lift: Vec::new(),
        ban: bans.to_vec(),
    };
    assert_eq!(bed.xdp.ban(now(), &bans).unwrap(), 0);
}

/// Every shape of packet to the SIP port, with the verdict that all shall have.
fn expect_all(bed: &Bed, v6: bool, dropped: bool) {
    for tags in 0..=2 {
        for protocol in [UDP, TCP] {
            let name = format!("v6 {v6}, {tags} tags, protocol {protocol}");
            let (frame, passed) = to_port(v6, tags, protocol, SIP);
            let expected = if dropped {
                Expected::Drop(Counter::DropBanned)
            } else {
                Expected::Pass(passed)
            };
            bed.expect(&name, &frame, &expected);
            let (frame, passed) = to_port(v6, tags, protocol, 5062);
            bed.expect(&name, &frame, &Expected::Pass(passed));
        }
    }
}

#[test]
fn a_banned_source_is_dropped_at_the_sip_ports_until_it_is_lifted() {
    if !permitted() {
        return;
    }
    let mut bed = Bed::new();
    for v6 in [false, true] {
        let (one, _) = source(v6);
        expect_all(&bed, v6, false);
        begin(&mut bed, &[], &[ban(&one, 60_000)]);
        expect_all(&bed, v6, true);
        let lift = Bans {
            lift: vec![block(&one), block("198.51.100.200/32")],
            ..Bans::default()
        };
        bed.xdp.ban(now(), &lift).unwrap();
        expect_all(&bed, v6, false);
    }
}

#[test]
fn blocks_are_banned_whole_and_the_exempt_never() {
    if !permitted() {
        return;
    }
    let mut bed = Bed::new();
    for v6 in [false, true] {
        let (one, address) = source(v6);
        let wide = format!("{address}/{}", if v6 { 32 } else { 12 });
        begin(&mut bed, &[], &[ban(&wide, 60_000)]);
        expect_all(&bed, v6, true);
        let whole = format!("{address}/{}", if v6 { 128 } else { 32 });
        begin(
            &mut bed,
            &[block(&whole)],
            &[ban(&wide, 60_000), ban(&one, 60_000)],
        );
        expect_all(&bed, v6, false);
    }
}

#[test]
fn a_ban_ends_by_itself_and_what_begins_anew_forgets_all() {
    if !permitted() {
        return;
    }
    let mut bed = Bed::new();
    let (one, _) = source(false);
    begin(&mut bed, &[], &[ban(&one, 0)]);
    expect_all(&bed, false, false);
    assert_eq!(bed.xdp.sweep_bans(now()).unwrap(), 0);
    begin(
        &mut bed,
        &[],
        &[ban(&one, 60_000), ban("192.0.2.0/24", 60_000)],
    );
    expect_all(&bed, false, true);
    assert_eq!(bed.xdp.sweep_bans(now()).unwrap(), 2);
    begin(&mut bed, &[], &[]);
    expect_all(&bed, false, false);
    assert_eq!(bed.xdp.sweep_bans(now()).unwrap(), 0);
}

/// A test run takes microseconds, and the trickle's pace is ten minutes: of all packets one passes.
#[test]
fn a_source_that_floods_is_held_to_a_trickle_and_its_streams_are_left_alone() {
    if !permitted() {
        return;
    }
    let mut bed = Bed::new();
    for v6 in [false, true] {
        let (one, _) = source(v6);
        let trickle = BanOf {
            trickle_us: 600_000_000,
            ..ban(&one, 60_000)
        };
        begin(&mut bed, &[], &[trickle]);
        let (frame, passed) = to_port(v6, 0, UDP, SIP);
        bed.expect("the first", &frame, &Expected::Pass(passed));
        for nth in 0..3 {
            let dropped = Expected::Drop(Counter::DropBanned);
            bed.expect(&format!("later, {nth}"), &frame, &dropped);
        }
        let (frame, passed) = to_port(v6, 0, TCP, SIP);
        bed.expect("a stream", &frame, &Expected::Pass(passed));
    }
}

#[test]
fn the_media_of_a_banned_source_flows() {
    if !permitted() {
        return;
    }
    let mut bed = Bed::new();
    let (packet, sent): (Packet, Packet) = pair(false);
    let (one, _) = source(false);
    begin(&mut bed, &[], &[ban(&one, 60_000)]);
    bed.forward(&packet, &sent, LOOPBACK, mediad::xdp::Identity::default());
    let expected = Expected::Sent(Counter::RtpTx, sent.frame());
    bed.expect("its media", &packet.frame(), &expected);
}

#[test]
fn fragments_and_options_are_left_to_the_stack() {
    if !permitted() {
        return;
    }
    let mut bed = Bed::new();
    let (one, _) = source(false);
    begin(&mut bed, &[], &[ban(&one, 60_000)]);
    for protocol in [UDP, TCP] {
        let (mut frame, _) = to_port(false, 2, protocol, SIP);
        frame[14 + 2 * 4 + 6] = 0x20;
        let passed = if protocol == TCP {
            Counter::PassNotUdp
        } else {
            Counter::PassFragment
        };
        bed.expect("a first fragment", &frame, &Expected::Pass(passed));
    }
}
