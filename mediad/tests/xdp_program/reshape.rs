//! Packets that leave with other headers than they came with: between IPv4 and IPv6, and between
//! numbers of VLAN tags; and what is written into the TOS byte on the way.

use mediad::xdp::{Counter, Identity};
use proptest::{prelude::*, test_runner::TestRunner};

use super::{
    Bed, Expected, LOOPBACK, OTHER,
    common::{
        Checksum, Packet, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX, internet_checksum, permitted,
        rtcp, rtp,
    },
    hostile::sums,
    pair, rewritten, slot,
};

const RTCP: Identity = Identity {
    session: [0; 16],
    leg: 0,
    rtcp: true,
};

/// One side of a call: its family, and how many tags its wire has.
type Wire = (bool, usize);

/// A packet from one wire to another, before and after.
fn between((v6, tags): Wire, (out_v6, out_tags): Wire) -> (Packet, Packet) {
    let (mut packet, _) = pair(v6);
    let (_, other) = pair(out_v6);
    packet.tags = vec![(0x88a8, 0xa064), (0x8100, 0x6065)];
    packet.tags.truncate(tags);
    let mut sent = rewritten(&packet, &other.from.to_string(), &other.to.to_string());
    // Priorities are the packet's own; an inner tag that it did not have takes the outer one's.
    let outer = packet.tags.first().map_or(0, |(_, tci)| tci & 0xf000);
    let inner = packet.tags.get(1).map_or(outer, |(_, tci)| tci & 0xf000);
    sent.tags = vec![(0x8100, outer | 0xc8), (0x8100, inner | 0xc9)];
    sent.tags.truncate(out_tags);
    if v6 != out_v6 {
        (sent.identification, sent.label) = (0, 0);
    }
    (packet, sent)
}

/// Every pair of wires, with a name.
pub(super) fn all() -> impl Iterator<Item = (String, Packet, Packet)> {
    let wires = || {
        [false, true]
            .into_iter()
            .flat_map(|v6| (0..=2).map(move |tags| (v6, tags)))
    };
    wires().flat_map(move |from| {
        wires().map(move |to| {
            let (packet, sent) = between(from, to);
            (format!("(v6, tags) {from:?} to {to:?}"), packet, sent)
        })
    })
}

#[test]
fn every_wire_reaches_every_other() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in all() {
        for (ifindex, counter, control) in [
            (LOOPBACK, Counter::RtpTx, Counter::RtcpTx),
            (OTHER, Counter::RtpRedirect, Counter::RtcpRedirect),
        ] {
            bed.forward(&packet, &sent, ifindex, Identity::default());
            bed.expect(
                &name,
                &packet.frame(),
                &Expected::Sent(counter, sent.frame()),
            );

            let with = |packet: &Packet, payload: Vec<u8>| Packet {
                payload,
                ..packet.clone()
            };
            // RTCP, multiplexed and on a port of its own.
            let report = with(&packet, rtcp(1)).frame();
            let expected = Expected::Sent(control, with(&sent, rtcp(1)).frame());
            bed.expect(&name, &report, &expected);
            bed.forward(&packet, &sent, ifindex, RTCP);
            bed.expect(&name, &report, &expected);
        }
    }
}

#[test]
fn lengths_of_all_kinds_keep_their_checksums() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (v6, out) in [(false, true), (true, false)] {
        let (mut packet, mut sent) = between((v6, 0), (out, 1));
        bed.forward(&packet, &sent, LOOPBACK, Identity::default());
        for len in [12, 13, 14, 33, 171, 172, 1400, 1451, 1452] {
            let mut payload = rtp(9, 9, 9);
            payload.resize(len, 0xc3);
            (packet.payload, sent.payload) = (payload.clone(), payload);
            let expected = Expected::Sent(Counter::RtpTx, sent.frame());
            bed.expect(&format!("{len} octets"), &packet.frame(), &expected);
        }
        let flow = bed.xdp.flows().read(packet.to.port());
        assert_eq!(flow.packets, 9, "each is counted, once");
        bed.xdp
            .flows()
            .write(packet.to.port(), &mediad::xdp::Flow::default());
    }
}

#[test]
fn what_cannot_be_reshaped_is_left_as_it_was() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    // IPv6 has no packets without a checksum (RFC 8200 section 8.1).
    let (mut packet, sent) = between((false, 1), (true, 0));
    bed.forward(&packet, &sent, LOOPBACK, Identity::default());
    packet.checksum = Checksum::None;
    let expected = Expected::Pass(Counter::PassChecksum);
    bed.expect("none on IPv4, to IPv6", &packet.frame(), &expected);
    let (mut packet, sent) = between((true, 0), (false, 0));
    bed.forward(&packet, &sent, LOOPBACK, Identity::default());
    packet.checksum = Checksum::None;
    bed.expect("none on IPv6", &packet.frame(), &expected);

    // What fills an Ethernet frame over IPv4 is too long with IPv6's header.
    let (mut packet, sent) = between((false, 0), (true, 0));
    bed.forward(&packet, &sent, LOOPBACK, Identity::default());
    packet.payload.resize(1453, 1);
    let expected = Expected::Pass(Counter::PassTooLong);
    bed.expect("too long", &packet.frame(), &expected);

    for ttl in [0, 1] {
        let (mut packet, sent) = between((true, 0), (false, 0));
        bed.forward(&packet, &sent, LOOPBACK, Identity::default());
        packet.ttl = ttl;
        bed.expect("TTL", &packet.frame(), &Expected::Pass(Counter::PassTtl));
    }
    // A device that the program may not send from.
    let (packet, sent) = between((true, 0), (false, 0));
    bed.forward(&packet, &sent, 78, Identity::default());
    let expected = Expected::Pass(Counter::PassDevice);
    bed.expect("device", &packet.frame(), &expected);
}

#[test]
fn no_checksum_stays_none_between_tags() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let (mut packet, mut sent) = between((false, 2), (false, 0));
    bed.forward(&packet, &sent, LOOPBACK, Identity::default());
    (packet.checksum, sent.checksum) = (Checksum::None, Checksum::None);
    let expected = Expected::Sent(Counter::RtpTx, sent.frame());
    bed.expect("stays zero", &packet.frame(), &expected);
}

#[test]
fn the_tos_byte_is_the_slots_where_it_has_one() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, mut sent) in all() {
        let plain = slot(&packet, &sent, LOOPBACK, Identity::default());
        for tos in [0, 0x2e << 2, 0xff, packet.tos] {
            bed.xdp
                .slots()
                .write(packet.to.port(), &plain.mark(Some(tos)));
            sent.tos = tos;
            let expected = Expected::Sent(Counter::RtpTx, sent.frame());
            bed.expect(&format!("{name}, TOS {tos}"), &packet.frame(), &expected);
        }
        bed.xdp.slots().write(packet.to.port(), &plain.mark(None));
        sent.tos = packet.tos;
        bed.expect(
            &name,
            &packet.frame(),
            &Expected::Sent(Counter::RtpTx, sent.frame()),
        );
    }
}

/// Any frame: what is sent has its payload and, where it was right before, right checksums; what is
/// not is untouched.
#[test]
fn any_frame() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let wire = || (any::<bool>(), 0..=2_usize);
    let strategy = (wire(), wire(), edits, any::<prop::sample::Index>());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(4_000));
    let tested = runner.run(&strategy, |(from, to, edits, cut)| {
        let (packet, sent) = between(from, to);
        bed.forward(&packet, &sent, OTHER, Identity::default());
        let mut frame = packet.frame();
        let headers = packet.l4() + 20;
        for (at, value) in &edits {
            frame[at.index(headers)] = *value;
        }
        frame.truncate(cut.index(4 * frame.len()).max(14));

        let run = bed.xdp.test_run(&frame, 1).unwrap();
        match run.verdict {
            XDP_PASS | XDP_DROP => prop_assert_eq!(&run.frame, &frame),
            XDP_TX | XDP_REDIRECT => {
                prop_assert_eq!(&run.frame[sent.l4() + 8..], &frame[packet.l4() + 8..]);
                let (before, after) = (sums(&frame, &packet), sums(&run.frame, &sent));
                prop_assert_eq!(after.1, before.1, "what was right of UDP's is right");
                let header = &run.frame[sent.l3()..sent.l4()];
                match (from.0, to.0) {
                    (false, false) => prop_assert_eq!(after.0, before.0),
                    (true, false) => prop_assert_eq!(internet_checksum(header), 0),
                    _ => {}
                }
            }
            other => prop_assert!(false, "verdict {}", other),
        }
        Ok(())
    });
    tested.unwrap();
}
