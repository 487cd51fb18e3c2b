//! Packets that leave with numbers of the node's own: SSRC, sequence, timestamp, payload type.

use mediad::xdp::{Counter, Flow, Identity, Numbers, Rtp, tick};

use super::{
    Bed, Expected, LOOPBACK, OTHER,
    common::{Checksum, Packet, permitted, rtcp, rtp},
    reshape::all,
    slot,
};

const OWN: u32 = 0x0102_0304;

/// The same with RTP of these numbers; `types` is marker and payload type.
fn with(packet: &Packet, types: u8, rtp_of: Rtp) -> Packet {
    let mut payload = rtp(rtp_of.sequence, rtp_of.timestamp, rtp_of.ssrc);
    payload[1] = types;
    Packet {
        payload,
        ..packet.clone()
    }
}

fn begin(bed: &Bed, port: u16) -> Numbers {
    let mut numbers = Numbers::default();
    numbers.begin_stream(OWN, 7, u32::MAX - 200);
    numbers.set_types([[101, 96]]);
    bed.xdp.numbers().write(port, &numbers);
    bed.xdp.flows().write(port, &Flow::default());
    numbers
}

/// On every wire, and to every other: what leaves is what the same function makes on the host, with right checksums.
#[test]
fn numbers_in_the_kernel_are_those_of_the_host() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for (name, packet, sent) in all() {
        let port = packet.to.port();
        for (ifindex, counter) in [(LOOPBACK, Counter::RtpTx), (OTHER, Counter::RtpRedirect)] {
            let slot = slot(&packet, &sent, ifindex, Identity::default()).renumbered();
            bed.xdp.slots().write(port, &slot);
            let mut host = begin(&bed, port);
            // A source, a key of it, another source, one that is late, one that has no place, and one that is lost.
            let arrivals = [
                (1, 65_535, 80, 0),
                (1, 0, 240, 0x80 | 101),
                (2, 40_000, 7, 0x80),
                (1, 65_534, u32::MAX - 79, 0),
                (1, 2, 560, 0),
                (2, 40_002, 327, 101),
            ];
            for (nth, (ssrc, sequence, timestamp, types)) in arrivals.into_iter().enumerate() {
                let came = Rtp {
                    sequence,
                    timestamp,
                    ssrc,
                };
                let frame = with(&packet, types, came).frame();
                let before = bed.xdp.numbers().read(port);
                // The time is the kernel's: found by what the first run notes, and told again by the second one.
                bed.xdp.test_run(&frame, 1).unwrap();
                let at = bed.xdp.flows().last_arrival(port);
                let leaves = host.renumber(came, at, tick(8_000));
                let kernel = bed.xdp.numbers().read(port);
                assert_eq!(kernel, host, "{name}: packet {nth} after {before:?}");
                let expected = match leaves {
                    Some(leaves) => {
                        let frame = with(&sent, host.payload_type(types), leaves).frame();
                        Expected::Sent(counter, frame)
                    }
                    None => Expected::Drop(Counter::DropStale),
                };
                bed.expect(&format!("{name}: packet {nth}"), &frame, &expected);
            }
        }
    }
}

#[test]
fn only_rtp_is_renumbered_and_a_checksum_that_is_missing_stays_so() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let (packet, sent) = super::pair(false);
    let port = packet.to.port();
    let slot = slot(&packet, &sent, LOOPBACK, Identity::default()).renumbered();
    bed.xdp.slots().write(port, &slot);
    begin(&bed, port);
    let control = |packet: &Packet| Packet {
        payload: rtcp(1),
        ..packet.clone()
    };
    let expected = Expected::Sent(Counter::RtcpTx, control(&sent).frame());
    bed.expect("RTCP", &control(&packet).frame(), &expected);
    let bare = |packet: &Packet| Packet {
        checksum: Checksum::None,
        ..packet.clone()
    };
    let own = Rtp {
        sequence: 7,
        timestamp: u32::MAX - 200,
        ssrc: OWN,
    };
    let expected = with(&bare(&sent), 0, own).frame();
    let expected = Expected::Sent(Counter::RtpTx, expected);
    bed.expect("no checksum", &bare(&packet).frame(), &expected);
}

#[test]
fn payload_types_alone_leave_the_stream_its_own() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for v6 in [false, true] {
        let (packet, sent) = super::pair(v6);
        let port = packet.to.port();
        let slot = slot(&packet, &sent, LOOPBACK, Identity::default()).renumbered();
        bed.xdp.slots().write(port, &slot);
        let mut numbers = Numbers::default();
        numbers.set_types([[111, 96], [101, 126]]);
        bed.xdp.numbers().write(port, &numbers);
        let came = Rtp {
            sequence: 9,
            timestamp: 8,
            ssrc: 7,
        };
        for (types, leaves) in [(111, 96), (0x80 | 101, 0x80 | 126), (0, 0), (96, 96)] {
            let expected = Expected::Sent(Counter::RtpTx, with(&sent, leaves, came).frame());
            bed.expect("types", &with(&packet, types, came).frame(), &expected);
        }
        assert_eq!(bed.xdp.numbers().read(port), numbers);
    }
}
