//! What must hold whatever comes, and whenever a slot changes.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use mediad::xdp::{Counter, CounterKind, Identity};
use proptest::{prelude::*, test_runner::TestRunner};

use super::{
    Bed, LOOPBACK, OTHER,
    common::{
        Packet, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX, internet_checksum, permitted, rtp,
        udp_checksum,
    },
    pair, slot,
};

/// Any frame: what passes or is dropped is untouched, and what is sent is as right as it came.
#[test]
fn any_frame() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let strategy = (
        any::<bool>(),
        0..=2_usize,
        any::<bool>(),
        edits,
        any::<prop::sample::Index>(),
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(4_000));
    let tested = runner.run(&strategy, |(v6, tags, other, edits, cut)| {
        let (mut packet, mut sent) = pair(v6);
        packet.tags = vec![(0x88a8, 0xa064), (0x8100, 0x6065)];
        packet.tags.truncate(tags);
        sent.tags.clone_from(&packet.tags);
        let ifindex = if other { OTHER } else { LOOPBACK };
        bed.forward(&packet, &sent, ifindex, Identity::default());

        let mut frame = packet.frame();
        // Most edits go to the headers, which are a quarter of the frame.
        let headers = packet.l4() + 20;
        for (at, value) in &edits {
            frame[at.index(headers)] = *value;
        }
        let cut = cut.index(4 * frame.len());
        frame.truncate(cut.max(14));

        let before = bed.xdp.counters().unwrap();
        let run = bed.xdp.test_run(&frame, 1).unwrap();
        let counted = bed.xdp.counters().unwrap().since(&before);
        let kind = match run.verdict {
            XDP_PASS => CounterKind::Passed,
            XDP_DROP => CounterKind::Dropped,
            XDP_TX | XDP_REDIRECT => CounterKind::Forwarded,
            other => panic!("verdict {other}"),
        };
        prop_assert_eq!(counted.total(kind), 1);
        prop_assert_eq!(counted.iter().map(|(_, value)| value).sum::<u64>(), 1);
        if kind == CounterKind::Forwarded {
            prop_assert_eq!(run.frame.len(), frame.len());
            prop_assert_eq!(sums(&run.frame, &packet), sums(&frame, &packet));
            prop_assert_eq!(&run.frame[packet.l4() + 8..], &frame[packet.l4() + 8..]);
        } else {
            prop_assert_eq!(&run.frame, &frame);
        }
        Ok(())
    });
    tested.unwrap();
}

/// What is left of the IP and of the UDP checksum over what they cover: zero where they are right,
/// and the same before and after where they are not. A UDP checksum of zero has none.
pub(super) fn sums(frame: &[u8], packet: &Packet) -> (u16, Option<u16>) {
    let (l3, l4) = (packet.l3(), packet.l4());
    let ip = if packet.from.is_ipv4() {
        internet_checksum(&frame[l3..l4])
    } else {
        0
    };
    let length = usize::from(u16::from_be_bytes([frame[l4 + 4], frame[l4 + 5]]));
    let segment = &frame[l4..][..length];
    let (from, to) = if packet.from.is_ipv4() {
        let end = |at: usize| <[u8; 4]>::try_from(&frame[at..][..4]).unwrap().into();
        (end(l3 + 12), end(l3 + 16))
    } else {
        let end = |at: usize| <[u8; 16]>::try_from(&frame[at..][..16]).unwrap().into();
        (end(l3 + 8), end(l3 + 24))
    };
    let udp = (segment[6..8] != [0, 0]).then(|| udp_checksum(from, to, segment));
    (ip, udp)
}

/// A slot that is rewritten all the time: each packet leaves whole by one of its contents, or passes.
#[test]
fn a_slot_in_change_is_never_a_mixture() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let (packet, first) = pair(false);
    let mut second = first.clone();
    second.from = "192.0.2.200:30000".parse().unwrap();
    second.to = "192.0.2.201:40000".parse().unwrap();
    second.macs = [[0x02, 9, 9, 9, 9, 9], [0x02, 8, 8, 8, 8, 8]];
    let identity = Identity::default();
    let slots = bed.xdp.slots();
    let port = packet.to.port();
    let bodies = [
        slot(&packet, &first, LOOPBACK, identity),
        slot(&packet, &second, OTHER, identity),
    ];
    slots.write(port, &bodies[0]);
    let (frame, first, second) = (packet.frame(), first.frame(), second.frame());

    let stop = AtomicBool::new(false);
    let mut seen = [0_u32; 3];
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for body in &bodies {
                    slots.write(port, body);
                    // Long enough for a packet to come between, short enough to hit one.
                    (0..200).for_each(|_| std::hint::spin_loop());
                }
            }
        });
        for _ in 0..30_000 {
            let run = bed.xdp.test_run(&frame, 1).unwrap();
            match run.verdict {
                XDP_TX if run.frame == first => seen[0] += 1,
                XDP_REDIRECT if run.frame == second => seen[1] += 1,
                XDP_PASS if run.frame == frame => seen[2] += 1,
                verdict => {
                    stop.store(true, Ordering::Relaxed);
                    panic!("a mixture left with verdict {verdict}: {:x?}", run.frame);
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        seen[0] > 0 && seen[1] > 0,
        "both contents were in force: {seen:?}"
    );
    let counters = bed.xdp.counters().unwrap();
    let passed = counters.of(Counter::PassBusy) + counters.of(Counter::PassNoSlot);
    assert_eq!(passed, u64::from(seen[2]));
}

/// Many flows side by side are kept apart.
#[test]
fn every_port_is_its_own() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let ports = [1_u16, 1023, 20_000, 20_001, 40_000, 65_534, 65_535];
    let (packet, sent) = pair(false);
    let on = |port: u16, packet: &Packet, sent: &Packet| {
        let (mut packet, mut sent) = (packet.clone(), sent.clone());
        packet.to.set_port(port);
        sent.to.set_port(port ^ 0x1555);
        (packet, sent)
    };
    for port in ports {
        let (packet, sent) = on(port, &packet, &sent);
        bed.forward(
            &packet,
            &sent,
            LOOPBACK,
            Identity {
                leg: 1,
                ..Identity::default()
            },
        );
    }
    for (nth, port) in ports.into_iter().enumerate() {
        let (mut packet, mut sent) = on(port, &packet, &sent);
        for sequence in 0..=u16::try_from(nth).unwrap() {
            packet.payload = rtp(sequence, 0, u32::from(port));
            sent.payload.clone_from(&packet.payload);
            let expected = super::Expected::Sent(Counter::RtpTx, sent.frame());
            bed.expect(&format!("port {port}"), &packet.frame(), &expected);
        }
    }
    let live: Vec<u16> = bed
        .xdp
        .adopted()
        .into_iter()
        .map(|(port, _)| port)
        .collect();
    assert_eq!(live, ports);
    for (nth, port) in ports.into_iter().enumerate() {
        let flow = bed.xdp.flows().read(port);
        assert_eq!((flow.packets, flow.ssrc), (nth as u64 + 1, u32::from(port)));
    }
}

/// Every port has a slot in force, the first and the last among them.
#[test]
fn slots_filled_to_the_last() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let (first, sent) = pair(false);
    let of = |port: u16| {
        let mut packet = first.clone();
        packet.to.set_port(port);
        packet
    };
    for port in 1..=u16::MAX {
        bed.forward(&of(port), &sent, LOOPBACK, Identity::default());
    }
    let live = bed.xdp.slots().live();
    assert_eq!(live.len(), usize::from(u16::MAX));
    for port in (1..=u16::MAX).step_by(257).chain([u16::MAX - 1, u16::MAX]) {
        let run = bed.xdp.test_run(&of(port).frame(), 1).unwrap();
        assert_eq!((run.verdict, &run.frame), (XDP_TX, &sent.frame()), "{port}");
        assert_eq!(bed.xdp.flows().read(port).packets, 1, "{port}");
    }
    // Each has its own generation, and one that goes takes no other with it.
    let generations: HashSet<_> = live.iter().map(|(_, slot)| slot.generation).collect();
    assert_eq!(generations.len(), live.len());
    bed.xdp.slots().clear(u16::MAX);
    let run = bed.xdp.test_run(&of(u16::MAX).frame(), 1).unwrap();
    assert_eq!(run.verdict, XDP_PASS);
    let run = bed.xdp.test_run(&of(u16::MAX - 1).frame(), 1).unwrap();
    assert_eq!(run.verdict, XDP_TX);
}
