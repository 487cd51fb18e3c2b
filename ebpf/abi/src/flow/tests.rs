use super::*;
use proptest::prelude::*;

const MS: u64 = 1_000_000;
const RATE: u32 = 8000;

struct Sender {
    flow: Flow,
    start: u64,
    ssrc: u32,
    first: u16,
    timestamp: u32,
}

impl Sender {
    fn new(first: u16) -> Self {
        Self {
            flow: Flow::default(),
            start: 7_000 * MS,
            ssrc: 0x1234,
            first,
            timestamp: u32::MAX - 900,
        }
    }

    /// The `nth` packet of 20 ms, `late_us` after its time.
    fn receive(&mut self, nth: u32, late_us: u64) {
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
        let rtp = Rtp {
            sequence: self.first.wrapping_add(nth as u16),
            timestamp: self.timestamp.wrapping_add(nth * 160),
            ssrc: self.ssrc,
        };
        let now = self.start + u64::from(nth) * 20 * MS + late_us * 1000;
        self.flow.record_rtp(rtp, 172, now, tick(RATE));
    }
}

#[test]
fn a_clean_stream_over_the_wraps_of_sequence_and_timestamp() {
    let mut sender = Sender::new(65_530);
    (0..70_000).for_each(|nth| sender.receive(nth, 0));
    let flow = sender.flow;
    assert_eq!((flow.packets, flow.octets), (70_000, 70_000 * 172));
    assert_eq!((flow.expected(), flow.lost()), (70_000, 0));
    assert_eq!((flow.reordered, flow.duplicates), (0, 0));
    // The arrival clock's own unit is a microsecond.
    assert!(flow.jitter < 2_000, "jitter {} ns", flow.jitter);
}

#[test]
fn loss_reordering_and_repetition_are_told_apart() {
    let mut sender = Sender::new(65_500);
    for nth in [0, 1, 2, 4, 3, 5, 5, 6, 10, 9, 9, 7, 11] {
        sender.receive(nth, 0);
    }
    let flow = sender.flow;
    assert_eq!(flow.expected(), 12);
    assert_eq!(flow.lost(), 1, "only 8 never came");
    assert_eq!(flow.reordered, 3);
    assert_eq!(flow.duplicates, 2);
}

#[test]
fn a_packet_from_before_the_first_is_expected_and_not_lost() {
    let mut sender = Sender::new(0);
    for nth in [2, 1, 0, 3] {
        sender.receive(nth, 0);
    }
    assert_eq!((sender.flow.expected(), sender.flow.lost()), (4, 0));
}

#[test]
fn another_source_or_a_jump_keeps_what_was_lost() {
    let mut sender = Sender::new(10);
    [0, 1, 3].iter().for_each(|nth| sender.receive(*nth, 0));
    sender.ssrc = 0x9999;
    sender.first = 40_000;
    [4, 5, 7].iter().for_each(|nth| sender.receive(*nth, 0));
    sender.first = 20_000;
    [8, 9].iter().for_each(|nth| sender.receive(*nth, 0));
    let flow = sender.flow;
    assert_eq!((flow.expected(), flow.lost()), (4 + 4 + 2, 2));
    assert_eq!((flow.reordered, flow.duplicates), (0, 0));
}

#[test]
fn jitter_follows_rfc_3550() {
    let mut sender = Sender::new(1);
    // Every other packet is 2 ms late: |D| is always 2 ms, so J tends to 2 ms.
    (0..400).for_each(|nth| sender.receive(nth, u64::from(nth % 2) * 2_000));
    let jitter = sender.flow.jitter;
    assert!(
        (1_990_000..=2_010_000).contains(&jitter),
        "jitter {jitter} ns"
    );
    assert_eq!(sender.flow.jitter_units(RATE), jitter / 125_000);
}

#[test]
fn a_dtmf_event_with_one_timestamp_is_not_jitter() {
    let mut sender = Sender::new(1);
    (0..50).for_each(|nth| sender.receive(nth, 0));
    let timestamp = sender.timestamp.wrapping_add(50 * 160);
    for nth in 50..60_u16 {
        let now = sender.start + u64::from(nth) * 20 * MS;
        let rtp = Rtp {
            sequence: 1 + nth,
            timestamp,
            ssrc: sender.ssrc,
        };
        sender.flow.record_rtp(rtp, 16, now, tick(RATE));
    }
    (60..100).for_each(|nth| sender.receive(nth, 0));
    assert!(
        sender.flow.jitter < 2_000,
        "jitter {} ns",
        sender.flow.jitter
    );
    assert_eq!(sender.flow.lost(), 0);
}

#[test]
fn a_hold_or_a_jumped_timestamp_is_not_jitter() {
    let mut sender = Sender::new(1);
    (0..50).for_each(|nth| sender.receive(nth, 0));
    sender.timestamp = sender.timestamp.wrapping_add(1 << 30);
    (50..100).for_each(|nth| sender.receive(nth, 0));
    sender.start += 3_600_000 * MS;
    (100..150).for_each(|nth| sender.receive(nth, 0));
    assert!(
        sender.flow.jitter < 2_000,
        "jitter {} ns",
        sender.flow.jitter
    );
}

#[test]
fn ticks() {
    assert_eq!(tick(0), 0);
    assert_eq!(tick(8_000), 125_000 * 256);
    assert_eq!(tick(48_000), 5_333_333);
    let mut flow = Flow::default();
    for sequence in 0..100_u16 {
        let rtp = Rtp {
            sequence,
            timestamp: 0,
            ssrc: 0,
        };
        flow.record_rtp(rtp, 12, u64::from(sequence) * 7 * MS, 0);
    }
    assert_eq!(flow.jitter, 0);
}

#[test]
fn nothing_is_expected_of_a_flow_without_rtp() {
    let mut flow = Flow::default();
    flow.record_other(60, 5);
    assert_eq!((flow.packets, flow.octets, flow.last_arrival), (1, 60, 5));
    assert_eq!((flow.expected(), flow.lost()), (0, 0));
}

proptest! {
    /// Any order of arrival within 30 packets, with some lost and some repeated: the counts are
    /// exact.
    #[test]
    fn counts_are_exact(
        first in any::<u16>(),
        fates in prop::collection::vec((0..10_u8, 0..30_u32), 2..400),
    ) {
        let count = u32::try_from(fates.len()).unwrap();
        let mut arrivals: Vec<(u32, u32)> = Vec::new();
        let mut lost = 0;
        for (nth, (fate, delay)) in (0..count).zip(&fates) {
            // The first and the last come for sure, so that the range is known.
            let edge = nth == 0 || nth + 1 == count;
            match fate {
                0 if !edge => lost += 1,
                1 if !edge => arrivals.push((nth + delay / 2, nth)),
                2 => arrivals.extend([(nth, nth), (nth, nth)]),
                _ => arrivals.push((nth, nth)),
            }
        }
        arrivals.sort_by_key(|(at, _)| *at);
        let mut sender = Sender::new(first);
        arrivals.iter().for_each(|(_, nth)| sender.receive(*nth, 0));
        prop_assert_eq!(sender.flow.expected(), u64::from(count));
        prop_assert_eq!(sender.flow.lost(), lost);
    }

    /// No sequence of headers makes it panic (overflow checks are on in tests).
    #[test]
    fn anything_goes(packets in prop::collection::vec(any::<(u16, u32, bool, u64, u32)>(), 1..200)) {
        let mut flow = Flow::default();
        for (sequence, timestamp, other, now, tick) in packets {
            let rtp = Rtp { sequence, timestamp, ssrc: u32::from(other) };
            flow.record_rtp(rtp, 172, now, tick);
            prop_assert!(flow.jitter <= 1_000_000_000);
            prop_assert!(flow.lost() <= flow.expected());
        }
    }
}

#[test]
fn runs_of_loss_are_counted_whatever_fills_them_later() {
    let gaps = |nths: &[u32]| {
        let mut sender = Sender::new(65_530);
        nths.iter().for_each(|nth| sender.receive(*nth, 0));
        (sender.flow.gaps, sender.flow.lost())
    };
    assert_eq!(gaps(&[0, 1, 2, 3]), (0, 0));
    assert_eq!(gaps(&[0, 3, 4, 6]), (2, 3));
    // One of one is no run any more; one of the middle parts it, one of its end makes it shorter.
    assert_eq!(gaps(&[0, 2, 1, 3]), (0, 0));
    assert_eq!(gaps(&[0, 4, 2]), (2, 2));
    assert_eq!(gaps(&[0, 4, 1]), (1, 2));
    assert_eq!(gaps(&[0, 4, 3]), (1, 2));
    assert_eq!(gaps(&[0, 4, 3, 2, 1]), (0, 0));
}

#[test]
fn loss_in_runs_is_told_from_loss_by_chance() {
    // 10 of 100, alone and all at once.
    let alone = (0..100).filter(|nth| nth % 10 != 5).collect::<Vec<_>>();
    let at_once = (0..100).filter(|nth| !(40..50).contains(nth));
    let ratio = |nths: &mut dyn Iterator<Item = u32>| {
        let mut sender = Sender::new(9);
        nths.for_each(|nth| sender.receive(nth, 0));
        assert_eq!(sender.flow.lost(), 10);
        sender.flow.burst_ratio()
    };
    assert!((ratio(&mut alone.into_iter()) - 1.0).abs() < 1e-9);
    assert!((ratio(&mut { at_once }) - 9.0).abs() < 1e-9);
}

#[test]
fn what_a_jitter_buffer_would_not_wait_for_is_late() {
    let late = |delay: &dyn Fn(u32) -> u64| {
        let mut sender = Sender::new(1);
        let mut last = 0;
        for nth in 0..1_000 {
            // They come in order.
            let at = (u64::from(nth) * 20_000 + delay(nth)).max(last);
            last = at;
            sender.receive(nth, at - u64::from(nth) * 20_000);
        }
        sender.flow.late
    };
    assert_eq!(
        late(&|nth| u64::from(nth / 3 * 7 % 20) * 3_000),
        0,
        "57 ms of jitter"
    );
    // A queue that holds five packets up by 150 ms, and lets them go at once.
    let burst = |nth: u32| match nth % 250 {
        at @ 100..105 => 150_000 - u64::from(at - 100) * 20_000,
        _ => 0,
    };
    assert_eq!(late(&burst), 4 * 5, "150, 130, 110, 90 and 70 ms");
    // A way that is 100 ms longer from now on: the buffer follows.
    let moved = late(&|nth| if nth < 500 { 0 } else { 100_000 });
    assert!((1..200).contains(&moved), "{moved}");
}

#[test]
fn a_cap_is_a_multiple_of_what_a_codec_needs() {
    // 4 x 50 packets a second is one each 5 ms.
    assert_eq!(u64::from(spacing(20, 4)) << 10, 4_999_168);
    assert_eq!((spacing(20, 0), spacing(0, 4)), (0, 0));
    assert_eq!((spacing(1, u32::MAX), spacing(1000, 1)), (1, u16::MAX));
}

#[test]
fn a_stream_within_its_cap_is_never_limited_and_a_flood_is() {
    let mut flow = Flow::default();
    let spacing = spacing(20, 4);
    // Ten times over the wrap of the short clock, with a pause in it.
    let mut now = 5_000 * MS;
    for nth in 0..100_000_u64 {
        assert!(flow.admits(now, spacing), "packet {nth}");
        now += if nth % 10_000 == 0 {
            7_000_000 * MS
        } else {
            20 * MS
        };
    }
    // What was held up for a second comes at once.
    let burst = (0..1_000).filter(|_| flow.admits(now, spacing)).count();
    assert_eq!(burst, 200);
    assert_eq!(flow.limited, 800);
    // A flood gets four times the codec's packets, and no cap none.
    let flood = (0..10_000_u64).filter(|nth| flow.admits(now + nth * MS / 10, spacing));
    assert_eq!(flood.count(), 200);
    assert!((0..10_000).all(|_| flow.admits(now, 0)));
}

proptest! {
    #[test]
    fn no_span_of_time_has_more_than_the_cap(
        gaps in prop::collection::vec(0..40 * MS, 1..2_000),
        spacing in 1..=u16::MAX,
        from in any::<prop::sample::Index>(),
    ) {
        let mut flow = Flow::default();
        let mut now = u64::from(u32::MAX) << 10;
        let mut admitted = Vec::new();
        for gap in gaps {
            now += gap;
            if flow.admits(now, spacing) {
                admitted.push(now);
            }
        }
        let from = from.index(admitted.len());
        let (first, last) = (admitted[from], admitted[admitted.len() - 1]);
        let most = ((last - first + 1_000 * MS) >> 10) / u64::from(spacing) + 1;
        prop_assert!((admitted.len() - from) as u64 <= most);
    }
}

#[test]
fn the_longest_gap_is_kept() {
    let mut sender = Sender::new(0);
    for nth in [0, 1, 2, 52, 53] {
        sender.receive(nth, 0);
    }
    let gap = sender.flow.longest_gap_ms();
    assert!((999..=1_000).contains(&gap), "{gap} ms");
}
