//! What the program copies of what it sends on.

use ebpf_abi::{LARGE, TapHead};
use mediad::xdp::{Counter, Identity, TapRing};

use super::{
    Bed, Expected, LOOPBACK,
    common::{Packet, XDP_TX, permitted, rtcp, rtp},
    pair, slot,
};

const RTP: Identity = Identity {
    session: [7; 16],
    leg: 0,
    rtcp: false,
};

/// The program, and the ring that it fills.
fn bed() -> (Bed, TapRing) {
    let mut bed = Bed::new();
    let ring = bed.xdp.take_tap().unwrap();
    assert!(bed.xdp.take_tap().is_none(), "there is one reader");
    (bed, ring)
}

fn next(ring: &mut TapRing) -> Option<(TapHead, Vec<u8>)> {
    let mut next = None;
    ring.next(|head, frame| next = Some((*head, frame.to_vec())));
    next
}

/// Lets RTP to the packet's port be copied.
fn tapped(bed: &Bed, packet: &Packet, sent: &Packet) {
    let slot = slot(packet, sent, LOOPBACK, RTP).tapped();
    bed.xdp.slots().write(packet.to.port(), &slot);
}

#[test]
fn frames_are_copied_as_they_came() {
    if !permitted() {
        return;
    }
    let (bed, mut ring) = bed();
    for v6 in [false, true] {
        for tags in 0..=2 {
            let (mut packet, mut sent) = pair(v6);
            packet.tags = vec![(0x8100, 0xa064), (0x8100, 0x6065)];
            sent.tags = vec![(0x88a8, 0xa0c8), (0x8100, 0x60c9)];
            packet.tags.truncate(tags);
            sent.tags.truncate(tags);
            tapped(&bed, &packet, &sent);
            // Around the sizes of the ring's entries.
            for len in [12, 172, 180, 190, 200, 210, 220, 450, 470, 1_433] {
                let mut payload = rtp(9, 9, 9);
                payload.resize(len, 0xc3);
                (packet.payload, sent.payload) = (payload.clone(), payload);
                let name = format!("{len} octets, {tags} tags, v6: {v6}");
                let before = mediad::io::monotonic_ns();
                let expected = Expected::Sent(Counter::RtpTx, sent.frame());
                bed.expect(&name, &packet.frame(), &expected);
                let (head, frame) = next(&mut ring).expect(&name);
                assert_eq!(frame, packet.frame(), "{name}");
                assert_eq!(head.port, packet.to.port(), "{name}");
                assert_eq!(usize::from(head.payload), packet.l4() + 8, "{name}");
                assert!(!head.is_rtcp(), "{name}");
                assert!(head.arrival >= before && head.arrival <= mediad::io::monotonic_ns());
                assert_eq!(next(&mut ring), None, "{name}");
            }
        }
    }
}

#[test]
fn rtcp_is_copied_and_rtp_where_it_is_wanted() {
    if !permitted() {
        return;
    }
    let (bed, mut ring) = bed();
    for v6 in [false, true] {
        let (packet, sent) = pair(v6);
        bed.forward(&packet, &sent, LOOPBACK, RTP);
        let expected = Expected::Sent(Counter::RtpTx, sent.frame());
        bed.expect("RTP", &packet.frame(), &expected);
        assert_eq!(next(&mut ring), None);
        let with = |packet: &Packet| Packet {
            payload: rtcp(5),
            ..packet.clone()
        };
        let report = with(&packet).frame();
        let expected = Expected::Sent(Counter::RtcpTx, with(&sent).frame());
        bed.expect("RTCP", &report, &expected);
        let (head, frame) = next(&mut ring).unwrap();
        assert!(head.is_rtcp());
        assert_eq!(frame, report);
        // What is left to userspace is seen there.
        tapped(&bed, &packet, &sent);
        let stranger = Packet {
            from: if v6 {
                "[2001:db8::66]:1"
            } else {
                "203.0.113.66:1"
            }
            .parse()
            .unwrap(),
            ..packet.clone()
        };
        bed.expect(
            "stranger",
            &stranger.frame(),
            &Expected::Drop(Counter::DropSource),
        );
        assert_eq!(next(&mut ring), None);
    }
}

#[test]
fn a_ring_that_is_full_costs_copies_and_no_packets() {
    if !permitted() {
        return;
    }
    let (bed, mut ring) = bed();
    let (mut packet, mut sent) = pair(false);
    let mut payload = rtp(9, 9, 9);
    payload.resize(1_400, 0xc3);
    (packet.payload, sent.payload) = (payload.clone(), payload);
    tapped(&bed, &packet, &sent);
    let (came, left) = (packet.frame(), sent.frame());
    let room = u64::from(ebpf_abi::TAP_BYTES) / u64::try_from(LARGE).unwrap();
    let before = bed.xdp.counters().unwrap();
    for _ in 0..room + 100 {
        let run = bed.xdp.test_run(&came, 1).unwrap();
        assert_eq!((run.verdict, &run.frame), (XDP_TX, &left));
    }
    let counted = bed.xdp.counters().unwrap().since(&before);
    assert_eq!(counted.of(Counter::RtpTx), room + 100);
    let full = counted.of(Counter::TapFull);
    assert!((100..400).contains(&full), "{full}");
    let mut copies = 0;
    while let Some((_, frame)) = next(&mut ring) {
        assert_eq!(frame, came);
        copies += 1;
    }
    assert_eq!(copies, room + 100 - full);
    // And there is room again.
    let expected = Expected::Sent(Counter::RtpTx, left);
    bed.expect("after", &came, &expected);
    assert!(next(&mut ring).is_some());
}

/// The ring is everybody's: a flood of RTCP to one port is sent on, and copied no more than its party has to say.
#[test]
fn rtcp_is_not_copied_without_end() {
    if !permitted() {
        return;
    }
    for identity in [RTP, Identity { rtcp: true, ..RTP }] {
        let (bed, mut ring) = bed();
        let (mut packet, mut sent) = pair(false);
        (packet.payload, sent.payload) = (rtcp(5), rtcp(5));
        bed.forward(&packet, &sent, LOOPBACK, identity);
        let before = bed.xdp.counters().unwrap();
        let start = std::time::Instant::now();
        for _ in 0..1_000 {
            bed.xdp.test_run(&packet.frame(), 1).unwrap();
        }
        let seconds = start.elapsed().as_secs();
        let counted = bed.xdp.counters().unwrap().since(&before);
        assert_eq!(counted.of(Counter::RtcpTx), 1_000);
        let mut copies = 0;
        while next(&mut ring).is_some() {
            copies += 1;
        }
        assert!((200..=200 * (seconds + 2)).contains(&copies), "{copies}");
    }
}
