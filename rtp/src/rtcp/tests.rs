use proptest::prelude::*;

use super::*;

fn block() -> ReportBlock {
    ReportBlock {
        ssrc: 9,
        fraction_lost: 64,
        cumulative_lost: -3,
        highest_sequence: 0x0001_0203,
        jitter: 17,
        last_sr: 0xaabb_ccdd,
        delay_since_last_sr: 65_536,
    }
}

#[test]
fn a_compound_is_read_as_it_was_written() {
    let info = SenderInfo {
        ntp: 0x1234_5678_9abc_def0,
        rtp_timestamp: 1,
        packets: 2,
        octets: 3,
    };
    let mut out = Vec::new();
    write_report(7, Some(info), &[block()], &mut out);
    write_cname(7, "tandem@example.test", &mut out);
    write_bye(7, &mut out);
    assert_eq!(
        parse(&out).unwrap(),
        [
            Packet::SenderReport {
                ssrc: 7,
                info,
                blocks: vec![block()]
            },
            Packet::SourceDescription {
                cnames: vec![(7, b"tandem@example.test")]
            },
            Packet::Goodbye {
                sources: vec![7],
                reason: b""
            },
        ]
    );
}

#[test]
fn octets_are_where_the_rfc_puts_them() {
    let mut out = Vec::new();
    write_report(0x0102_0304, None, &[block()], &mut out);
    let mut wire = vec![
        0x81, 201, 0, 7, 1, 2, 3, 4, 0, 0, 0, 9, 64, 0xff, 0xff, 0xfd, 0, 1, 2, 3,
    ];
    wire.extend([0, 0, 0, 17, 0xaa, 0xbb, 0xcc, 0xdd, 0, 1, 0, 0]);
    assert_eq!(out, wire);
}

#[test]
fn padding_feedback_and_a_reason_are_understood() {
    // Generic NACK, then BYE with a reason and 4 octets of padding.
    let wire = [
        0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 5, 0, 0, //
        0xa1, 203, 0, 3, 0, 0, 0, 1, 2, b'o', b'k', 0, 0, 0, 0, 4,
    ];
    assert_eq!(
        parse(&wire).unwrap(),
        [
            Packet::Other {
                packet_type: 205,
                count: 1,
                body: &[0, 0, 0, 1, 0, 0, 0, 2, 0, 5, 0, 0]
            },
            Packet::Goodbye {
                sources: vec![1],
                reason: b"ok"
            },
        ]
    );
}

#[test]
fn broken_packets_are_named() {
    assert_eq!(validate(&[]), Err(RtcpError::Truncated { at: 0 }));
    assert_eq!(
        validate(&[0x80, 201, 0, 2, 0, 0, 0, 1]),
        Err(RtcpError::Truncated { at: 0 })
    );
    assert_eq!(
        validate(&[0x40, 201, 0, 1, 0, 0, 0, 1]),
        Err(RtcpError::Version(1))
    );
    // A second packet that is not there in full.
    assert_eq!(
        validate(&[0x80, 201, 0, 1, 0, 0, 0, 1, 0x80]),
        Err(RtcpError::Truncated { at: 8 })
    );
    // One report block counted, none there.
    assert_eq!(
        parse(&[0x81, 201, 0, 1, 0, 0, 0, 1]),
        Err(RtcpError::Inconsistent(201))
    );
    // Padding of nothing, and of more than there is.
    assert_eq!(
        validate(&[0xa0, 201, 0, 1, 0, 0, 0, 0]),
        Err(RtcpError::Inconsistent(201))
    );
    assert_eq!(
        validate(&[0xa0, 201, 0, 1, 0, 0, 0, 9]),
        Err(RtcpError::Inconsistent(201))
    );
}

proptest! {
    #[test]
    fn no_octets_panic(datagram in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse(&datagram);
    }

    #[test]
    fn nor_do_almost_valid_ones(
        mut body in prop::collection::vec(any::<u8>(), 0..30), kind in 200_u8..208, count in 0_u8..32,
    ) {
        body.truncate(body.len() / 4 * 4);
        let words = u8::try_from(body.len() / 4).unwrap();
        let mut datagram = vec![0x80 | count, kind, 0, words];
        datagram.extend(body);
        prop_assert!(validate(&datagram).is_ok());
        let _ = parse(&datagram);
    }

    #[test]
    fn reports_survive(lost in -0x80_0000..0x7f_ffff_i32, fraction: u8, jitter: u32, n in 0..31_usize) {
        let block = ReportBlock { cumulative_lost: lost, fraction_lost: fraction, jitter, ..block() };
        let blocks = vec![block; n];
        let mut out = Vec::new();
        write_report(1, None, &blocks, &mut out);
        prop_assert_eq!(parse(&out), Ok(vec![Packet::ReceiverReport { ssrc: 1, blocks }]));
    }
}
