//! What the program counts of a flow, against the same function on the host.

use mediad::xdp::{Counter, Flow, Identity, Rtp, spacing, tick};

use super::{
    Bed, LOOPBACK,
    common::{Packet, XDP_DROP, XDP_TX, permitted, rtcp, rtp},
    pair, slot,
};

const OCTETS: u32 = 172;

#[test]
fn statistics_in_the_kernel_are_those_of_the_host() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for v6 in [false, true] {
        let (packet, sent) = pair(v6);
        let port = packet.to.port();
        bed.forward(&packet, &sent, LOOPBACK, Identity::default());
        bed.xdp.flows().write(port, &Flow::default());
        let mut host = Flow::default();
        // Over the wrap of the sequence: lost (2, 9, 10), late, repeated, a jump, another source.
        let arrivals = [
            (65_533, 1),
            (65_534, 1),
            (65_535, 1),
            (0, 1),
            (1, 1),
            (3, 1),
            (5, 1),
            (4, 1),
            (4, 1),
            (6, 1),
            (7, 1),
            (8, 1),
            (11, 1),
            (30_000, 1),
            (30_001, 1),
            (100, 2),
            (102, 2),
        ];
        for (nth, (sequence, ssrc)) in arrivals.into_iter().enumerate() {
            let timestamp = u32::from(sequence).wrapping_mul(160).wrapping_sub(900);
            let payload = rtp(sequence, timestamp, ssrc);
            let run = bed
                .xdp
                .test_run(
                    &Packet {
                        payload,
                        ..packet.clone()
                    }
                    .frame(),
                    1,
                )
                .unwrap();
            assert_eq!(run.verdict, XDP_TX);
            let kernel = bed.xdp.flows().read(port);
            assert!(kernel.last_arrival > host.last_arrival);
            let rtp = Rtp {
                sequence,
                timestamp,
                ssrc,
            };
            if host.is_ended_by(ssrc) {
                assert!(host.admits_telling(kernel.last_arrival));
            }
            host.record_rtp(rtp, OCTETS, kernel.last_arrival, tick(8_000));
            host.bucket = kernel.bucket;
            assert_eq!(kernel, host, "after packet {nth}");
        }
        assert_eq!(host.packets, 17);
        assert_eq!(host.octets, 17 * u64::from(OCTETS));
        assert_eq!((host.lost(), host.reordered, host.duplicates), (4, 1, 1));
        assert_eq!(host.ssrc, 2);
    }
}

#[test]
fn the_arrival_clock_is_the_monotonic_one() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let (packet, sent) = pair(false);
    bed.forward(&packet, &sent, LOOPBACK, Identity::default());
    let before = monotonic();
    bed.xdp.test_run(&packet.frame(), 1).unwrap();
    let arrival = bed.xdp.flows().last_arrival(packet.to.port());
    assert!((before..=monotonic()).contains(&arrival));
}

/// The cap is 4 x 50 packets a second, and a second's worth may come at once: the test is far quicker.
#[test]
fn what_is_beyond_the_cap_is_dropped_and_counted() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    for v6 in [false, true] {
        let (packet, sent) = pair(v6);
        let port = packet.to.port();
        let capped = slot(&packet, &sent, LOOPBACK, Identity::default()).cap(spacing(20, 4));
        bed.xdp.slots().write(port, &capped);
        bed.xdp.flows().write(port, &Flow::default());
        let before = bed.xdp.counters().unwrap();
        let report = Packet {
            payload: rtcp(1),
            ..packet.clone()
        };
        let frames = [packet.frame(), report.frame()];
        let mut verdicts = [0_u64; 2];
        for nth in 0..600 {
            let frame = &frames[usize::from(nth % 50 == 49)];
            match bed.xdp.test_run(frame, 1).unwrap().verdict {
                XDP_TX => verdicts[0] += 1,
                XDP_DROP => verdicts[1] += 1,
                other => panic!("verdict {other}"),
            }
        }
        let [sent, dropped] = verdicts;
        assert!(sent >= 200 && dropped > 0, "{sent} sent, {dropped} dropped");
        let counted = bed.xdp.counters().unwrap().since(&before);
        assert_eq!(counted.of(Counter::DropRate), dropped);
        let flow = bed.xdp.flows().read(port);
        assert_eq!(flow.limited, dropped);
        assert!(flow.packets <= sent && flow.lost() == 0);
    }
}

#[test]
fn only_what_is_forwarded_counts_into_a_flow() {
    if !permitted() {
        return;
    }
    let bed = Bed::new();
    let (packet, sent) = pair(false);
    let port = packet.to.port();
    bed.forward(&packet, &sent, LOOPBACK, Identity::default());
    let run = |packet: &Packet| bed.xdp.test_run(&packet.frame(), 1).unwrap().verdict;

    let mut stranger = packet.clone();
    stranger.from.set_port(9);
    assert_eq!(run(&stranger), XDP_DROP);
    assert_eq!(bed.xdp.flows().read(port), Flow::default());

    // RTCP on RTP's port belongs to no stream.
    let report = Packet {
        payload: rtcp(1),
        ..packet.clone()
    };
    assert_eq!(run(&report), XDP_TX);
    let counted = Flow {
        bucket: bed.xdp.flows().read(port).bucket,
        copies: bed.xdp.flows().read(port).copies,
        ..Flow::default()
    };
    assert_eq!(bed.xdp.flows().read(port), counted);

    // On its own port it keeps that port's flow alive.
    bed.forward(
        &packet,
        &sent,
        LOOPBACK,
        Identity {
            rtcp: true,
            ..Identity::default()
        },
    );
    assert_eq!(run(&report), XDP_TX);
    let flow = bed.xdp.flows().read(port);
    assert_eq!((flow.packets, flow.octets, flow.expected()), (1, 8, 0));
    assert_eq!(
        bed.xdp
            .flows()
            .range(port - 1..=port + 1)
            .filter(|(_, f)| f.packets > 0)
            .count(),
        1
    );
}

#[expect(unsafe_code, reason = "std does not tell CLOCK_MONOTONIC's value")]
fn monotonic() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a struct to write to, alive during the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(result, 0);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}
