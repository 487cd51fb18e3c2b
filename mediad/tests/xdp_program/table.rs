//! The table: one packet each, in and out.

use mediad::xdp::{Counter, Identity, Slot};

use super::{
    Bed, Expected, LOOPBACK, OTHER,
    common::{Checksum, Packet, internet_checksum, permitted, rtcp, rtp, udp_checksum},
    pair, slot,
};

const RTP: Identity = Identity {
    session: [7; 16],
    leg: 0,
    rtcp: false,
};
const RTCP: Identity = Identity { rtcp: true, ..RTP };

/// Both families with 0, 1 and 2 VLAN tags, and what each is called.
fn shapes() -> impl Iterator<Item = (String, Packet, Packet)> {
    let families = [false, true].into_iter();
    families
        .flat_map(|v6| (0..=2).map(move |tags| (v6, tags)))
        .map(|(v6, tags)| {
            let (mut packet, mut sent) = pair(v6);
            // Priority bits stay the packet's own; the ids and the outer TPID change.
            packet.tags = vec![(0x8100, 0xa064), (0x8100, 0x6065)];
            sent.tags = vec![(0x88a8, 0xa0c8), (0x8100, 0x60c9)];
            packet.tags.truncate(tags);
            sent.tags.truncate(tags);
            (
                format!("IPv{} with {tags} tags", if v6 { 6 } else { 4 }),
                packet,
                sent,
            )
        })
}

#[test]
fn rtp_and_rtcp_are_rewritten_and_sent() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in shapes() {
        for (ifindex, rtp_counter, rtcp_counter) in [
            (LOOPBACK, Counter::RtpTx, Counter::RtcpTx),
            (OTHER, Counter::RtpRedirect, Counter::RtcpRedirect),
        ] {
            bed.forward(&packet, &sent, ifindex, RTP);
            bed.expect(
                &name,
                &packet.frame(),
                &Expected::Sent(rtp_counter, sent.frame()),
            );

            // Multiplexed on RTP's port (RFC 5761), then on a port of its own.
            let report = Packet {
                payload: rtcp(1),
                ..packet.clone()
            };
            let sent_report = Packet {
                payload: rtcp(1),
                ..sent.clone()
            };
            let expected = Expected::Sent(rtcp_counter, sent_report.frame());
            bed.expect(&name, &report.frame(), &expected);
            bed.forward(&packet, &sent, ifindex, RTCP);
            bed.expect(&name, &report.frame(), &expected);
        }
    }
}

#[test]
fn payloads_of_any_length_keep_their_checksum() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for v6 in [false, true] {
        let (mut packet, mut sent) = pair(v6);
        bed.forward(&packet, &sent, LOOPBACK, RTP);
        for len in [12, 13, 14, 33, 171, 172, 1400, 1433] {
            let mut payload = rtp(9, 9, 9);
            payload.resize(len, 0xc3);
            (packet.payload, sent.payload) = (payload.clone(), payload);
            let expected = Expected::Sent(Counter::RtpTx, sent.frame());
            bed.expect(&format!("{len} octets"), &packet.frame(), &expected);
        }
    }
}

#[test]
fn padding_of_short_frames_is_kept() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let (mut packet, mut sent) = pair(false);
    (packet.payload, sent.payload) = (rtcp(5), rtcp(5));
    bed.forward(&packet, &sent, LOOPBACK, RTP);
    let pad = |packet: &Packet| [packet.frame(), vec![0; 10]].concat();
    bed.expect(
        "padded",
        &pad(&packet),
        &Expected::Sent(Counter::RtcpTx, pad(&sent)),
    );
}

#[test]
fn a_udp_checksum_of_zero() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let (mut packet, mut sent) = pair(false);
    bed.forward(&packet, &sent, LOOPBACK, RTP);
    (packet.checksum, sent.checksum) = (Checksum::None, Checksum::None);
    let expected = Expected::Sent(Counter::RtpTx, sent.frame());
    bed.expect("stays zero on IPv4", &packet.frame(), &expected);

    let (mut packet, sent) = pair(true);
    bed.forward(&packet, &sent, LOOPBACK, RTP);
    packet.checksum = Checksum::None;
    let expected = Expected::Pass(Counter::PassChecksum);
    bed.expect("is illegal on IPv6", &packet.frame(), &expected);
}

#[test]
fn a_udp_checksum_that_computes_to_zero_is_sent_as_ffff() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for v6 in [false, true] {
        let (mut packet, mut sent) = pair(v6);
        bed.forward(&packet, &sent, LOOPBACK, RTP);
        // Choose the payload's last word so that what is sent sums up to 0xffff.
        let at = sent.payload.len() - 2;
        sent.payload[at..].fill(0);
        let mut segment = sent.frame().split_off(sent.l4());
        segment[6..8].fill(0);
        let word = udp_checksum(sent.from.ip(), sent.to.ip(), &segment);
        sent.payload[at..].copy_from_slice(&word.to_be_bytes());
        packet.payload.clone_from(&sent.payload);

        let frame = sent.frame();
        assert_eq!(frame[sent.l4() + 6..][..2], [0xff, 0xff]);
        bed.expect(
            "0xffff",
            &packet.frame(),
            &Expected::Sent(Counter::RtpTx, frame),
        );
    }
}

#[test]
fn what_is_not_for_the_slot_passes_untouched() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in shapes() {
        bed.forward(&packet, &sent, LOOPBACK, RTP);
        let pass = |what: &str, packet: &Packet, counter| {
            bed.expect(
                &format!("{name}: {what}"),
                &packet.frame(),
                &Expected::Pass(counter),
            );
        };
        let payload = |payload: &[u8]| Packet {
            payload: payload.to_vec(),
            ..packet.clone()
        };

        let mut other = packet.clone();
        other.to.set_port(20_004);
        pass("another port", &other, Counter::PassNoSlot);
        let mut other = packet.clone();
        other.to.set_ip(packet.from.ip());
        pass("another destination", &other, Counter::PassAddress);

        let mut stun = vec![0; 20];
        stun[1] = 1;
        pass("STUN", &payload(&stun), Counter::PassStun);
        for first in [20, 22, 63] {
            pass("DTLS", &payload(&[first; 40]), Counter::PassDtls);
        }
        for first in [4, 19, 64, 79, 80, 127, 192, 255] {
            pass("neither", &payload(&[first; 40]), Counter::PassNotRtp);
        }
        pass(
            "short RTP",
            &payload(&rtp(1, 1, 1)[..11]),
            Counter::PassNotRtp,
        );
        pass("short RTCP", &payload(&rtcp(1)[..7]), Counter::PassNotRtp);
        pass("no payload", &payload(&[]), Counter::PassNotRtp);

        for ttl in [0, 1] {
            pass(
                "TTL",
                &Packet {
                    ttl,
                    ..packet.clone()
                },
                Counter::PassTtl,
            );
        }
        if packet.tags.len() == 2 {
            let mut tags = packet.tags.clone();
            tags.push((0x8100, 5));
            pass(
                "one tag more",
                &Packet {
                    tags,
                    ..packet.clone()
                },
                Counter::PassNotIp,
            );
        }
    }
}

#[test]
fn the_source_gate_is_exact() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in shapes() {
        let mut stranger = packet.clone();
        stranger.from.set_ip(sent.to.ip());
        let mut moved = packet.clone();
        moved.from.set_port(4001);
        // An address that differs in its last bit only.
        let mut neighbour = packet.clone();
        neighbour.from.set_ip(if packet.from.is_ipv4() {
            "198.51.100.6".parse().unwrap()
        } else {
            "2001:db8:1::6".parse().unwrap()
        });
        for (what, packet) in [
            ("address", stranger),
            ("port", moved),
            ("one bit", neighbour),
        ] {
            bed.forward(
                &Packet {
                    from: pair(packet.from.is_ipv6()).0.from,
                    ..packet.clone()
                },
                &sent,
                LOOPBACK,
                RTP,
            );
            let name = format!("{name}: {what}");
            bed.expect(&name, &packet.frame(), &Expected::Drop(Counter::DropSource));
            let report = Packet {
                payload: rtcp(1),
                ..packet
            };
            bed.expect(&name, &report.frame(), &Expected::Drop(Counter::DropSource));
        }
    }
}

/// While another source may take the peer's place, it is for userspace to judge, whatever it sends; the peer's own goes on.
#[test]
fn the_source_gate_is_open_where_the_slot_says_so() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in shapes() {
        for identity in [RTP, RTCP] {
            let slot = slot(&packet, &sent, LOOPBACK, identity).pass_sources();
            bed.xdp.slots().write(packet.to.port(), &slot);
            let report = |packet: &Packet| Packet {
                payload: rtcp(1),
                ..packet.clone()
            };
            let mut stranger = packet.clone();
            stranger.from.set_port(4001);
            let mut elsewhere = packet.clone();
            elsewhere.from.set_ip(sent.to.ip());
            for other in [stranger, elsewhere] {
                for frame in [other.frame(), report(&other).frame()] {
                    bed.expect(&name, &frame, &Expected::Pass(Counter::PassUserspace));
                }
            }
            let own = Expected::Sent(Counter::RtcpTx, report(&sent).frame());
            bed.expect(&name, &report(&packet).frame(), &own);
        }
    }
}

#[test]
fn slots_that_do_not_forward() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in shapes() {
        let forwarding = slot(&packet, &sent, LOOPBACK, RTP);
        let slots = bed.xdp.slots();
        let port = packet.to.port();
        let expect = |expected: &Expected| bed.expect(&name, &packet.frame(), expected);

        slots.write(port, &forwarding);
        expect(&Expected::Sent(Counter::RtpTx, sent.frame()));
        // What a stranger sends to a port in userspace's hands is userspace's to judge.
        slots.write(port, &Slot::passing(RTP, &forwarding.route(port), 8_000));
        expect(&Expected::Pass(Counter::PassUserspace));
        slots.write(port, &slot(&packet, &sent, 78, RTP));
        expect(&Expected::Pass(Counter::PassDevice));
        slots.write(port, &forwarding.pass_rtcp());
        expect(&Expected::Sent(Counter::RtpTx, sent.frame()));
        let report = Packet {
            payload: rtcp(1),
            ..packet.clone()
        };
        bed.expect(&name, &report.frame(), &Expected::Pass(Counter::PassRtcp));
        slots.clear(port);
        expect(&Expected::Pass(Counter::PassNoSlot));
    }
}

#[test]
fn fragments_options_and_extension_headers_pass() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in shapes() {
        bed.forward(&packet, &sent, LOOPBACK, RTP);
        let l3 = packet.l3();
        let pass = |what: &str, frame: &[u8], counter| {
            bed.expect(&format!("{name}: {what}"), frame, &Expected::Pass(counter));
        };
        let edit = |edit: &dyn Fn(&mut Vec<u8>)| {
            let mut frame = packet.frame();
            edit(&mut frame);
            frame
        };
        if packet.from.is_ipv4() {
            for (what, bits) in [("first", 0x2000_u16), ("middle", 0x20b9), ("last", 0x00b9)] {
                let frame = edit(&|frame| {
                    frame[l3 + 6..][..2].copy_from_slice(&bits.to_be_bytes());
                    sum_ipv4(frame, l3, 20);
                });
                pass(&format!("{what} fragment"), &frame, Counter::PassFragment);
            }
            let options = edit(&|frame| {
                frame.splice(l3 + 20..l3 + 20, [1, 1, 1, 1]);
                frame[l3] = 0x46;
                frame[l3 + 3] += 4;
                sum_ipv4(frame, l3, 24);
            });
            pass("options", &options, Counter::PassOptions);
            let tcp = edit(&|frame| {
                frame[l3 + 9] = 6;
                sum_ipv4(frame, l3, 20);
            });
            pass("TCP", &tcp, Counter::PassNotUdp);
            let short = edit(&|frame| {
                frame[l3 + 3] -= 1;
                sum_ipv4(frame, l3, 20);
            });
            pass("lengths at odds", &short, Counter::PassLength);
        } else {
            for header in [0, 43, 44, 51, 60, 135] {
                let frame = edit(&|frame| {
                    frame[l3 + 6] = header;
                    frame[l3 + 5] += 8;
                    frame.splice(l3 + 40..l3 + 40, [17, 0, 0, 0, 0, 0, 0, 0]);
                });
                pass(
                    &format!("extension header {header}"),
                    &frame,
                    Counter::PassExtension,
                );
            }
            let icmp = edit(&|frame| frame[l3 + 6] = 58);
            pass("ICMPv6", &icmp, Counter::PassNotUdp);
            let short = edit(&|frame| frame[l3 + 5] -= 1);
            pass("lengths at odds", &short, Counter::PassLength);
        }
        let runt = edit(&|frame| {
            frame[packet.l4() + 4..][..2].copy_from_slice(&[0, 7]);
            if packet.from.is_ipv4() {
                frame[l3 + 2..][..2].copy_from_slice(&[0, 27]);
                sum_ipv4(frame, l3, 20);
            } else {
                frame[l3 + 4..][..2].copy_from_slice(&[0, 7]);
            }
        });
        pass("a UDP length below its header", &runt, Counter::PassLength);
    }
}

#[test]
fn other_protocols_pass() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06]);
    arp.resize(60, 0);
    bed.expect("ARP", &arp, &Expected::Pass(Counter::PassNotIp));
    for tags in 1..=2 {
        let mut tagged = arp.clone();
        for _ in 0..tags {
            tagged.splice(12..12, [0x81, 0, 0, 5]);
        }
        bed.expect("tagged ARP", &tagged, &Expected::Pass(Counter::PassNotIp));
    }

    // ICMP of both families, neighbour discovery among it, whatever is in it: here what a live port sent.
    for (name, packet, sent) in shapes() {
        bed.forward(&packet, &sent, LOOPBACK, RTP);
        let (at, protocol) = if packet.from.is_ipv4() {
            (packet.l3() + 9, 1)
        } else {
            (packet.l3() + 6, 58)
        };
        let mut frame = packet.frame();
        frame[at] = protocol;
        if packet.from.is_ipv4() {
            sum_ipv4(&mut frame, packet.l3(), 20);
        }
        let name = format!("{name}: ICMP");
        bed.expect(&name, &frame, &Expected::Pass(Counter::PassNotUdp));
    }
}

/// A resolver's answer to a port between those of calls, which it may have taken for its question.
#[test]
fn dns_in_the_media_range_passes() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in shapes() {
        bed.forward(&packet, &sent, LOOPBACK, RTP);
        let mut answer = packet.clone();
        answer.from.set_port(53);
        answer.to.set_port(packet.to.port() + 2);
        // The first octets of an identification may look like RTP's.
        for first in [0x80, 0x12] {
            answer.payload = vec![first, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 7, 0];
            let expected = Expected::Pass(Counter::PassNoSlot);
            bed.expect(&name, &answer.frame(), &expected);
        }
    }
}

#[test]
fn a_frame_cut_anywhere_passes() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in shapes() {
        bed.forward(&packet, &sent, LOOPBACK, RTP);
        let whole = packet.frame();
        // The kernel takes no test frame shorter than an Ethernet header.
        for len in 14..whole.len() {
            let name = format!("{name}: {len} bytes");
            bed.expect(
                &name,
                &whole[..len],
                &Expected::Pass(Counter::PassTruncated),
            );
        }
    }
}

/// Makes the IPv4 header's checksum right.
fn sum_ipv4(frame: &mut [u8], l3: usize, len: usize) {
    frame[l3 + 10..][..2].fill(0);
    let sum = internet_checksum(&frame[l3..][..len]);
    frame[l3 + 10..][..2].copy_from_slice(&sum.to_be_bytes());
}
