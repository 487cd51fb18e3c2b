use proptest::prelude::*;

use super::*;
use crate::tick;

const MS: u64 = 1_000_000;
const TICK: u32 = tick(8_000);
const OWN: u32 = 0x0770_0770;

/// A party that sends 20 ms of 8 kHz audio a packet.
#[derive(Clone, Copy, Debug)]
struct Speaker {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

impl Speaker {
    const fn new(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self {
            ssrc,
            sequence,
            timestamp,
        }
    }

    fn packet(&mut self) -> Rtp {
        let packet = self.at(0);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        packet
    }

    /// One that is so many ahead of the next.
    fn at(&self, ahead: i16) -> Rtp {
        let units = i32::from(ahead) * 160;
        Rtp {
            sequence: self.sequence.wrapping_add_signed(ahead),
            timestamp: self.timestamp.wrapping_add_signed(units),
            ssrc: self.ssrc,
        }
    }
}

fn stream(sequence: u16, timestamp: u32) -> Numbers {
    let mut numbers = Numbers::default();
    numbers.begin_stream(OWN, sequence, timestamp);
    numbers
}

fn sent(sequence: u16, timestamp: u32) -> Option<Rtp> {
    Some(Rtp {
        sequence,
        timestamp,
        ssrc: OWN,
    })
}

#[test]
fn one_that_is_asked_for_nothing_changes_nothing() {
    let mut numbers = Numbers::default();
    let packet = Speaker::new(1, 2, 3).packet();
    assert_eq!(numbers.renumber(packet, 5, TICK), Some(packet));
    assert_eq!(
        (numbers.payload_type(0x80 | 101), numbers),
        (0x80 | 101, Numbers::default())
    );
    assert!(!numbers.is_active());
}

#[test]
fn payload_types_are_changed_and_markers_stay() {
    let mut numbers = Numbers::default();
    numbers.set_types([[101, 96], [8, 8], [111, 97]]);
    let types = |of: &Numbers| [101, 0x80 | 101, 111, 8, 96, 0].map(|octet| of.payload_type(octet));
    assert_eq!(types(&numbers), [96, 0x80 | 96, 97, 8, 96, 0]);
    // A stream that begins or ends has nothing to do with it.
    numbers.begin_stream(OWN, 1, 1);
    numbers.end_stream();
    assert_eq!(types(&numbers), [96, 0x80 | 96, 97, 8, 96, 0]);
    assert!(numbers.is_active() && !numbers.is_one_stream());
    numbers.set_types([[8, 8]]);
    assert_eq!(
        numbers,
        Numbers {
            flags: 0,
            ..numbers
        }
    );
    assert_eq!(types(&numbers), [101, 0x80 | 101, 111, 8, 96, 0]);
    let many = (0..20).map(|from| [from, from + 100]);
    numbers.set_types(many);
    assert_eq!((numbers.payload_type(5), numbers.payload_type(6)), (105, 6));
}

#[test]
fn a_stream_goes_on_whoever_speaks() {
    let mut numbers = stream(0x7fff, u32::MAX - 100);
    let (mut first, mut second) = (Speaker::new(1, 65_535, 5), Speaker::new(2, 9, 777_777));
    let mut now = 1_000 * MS;
    let base = u32::MAX - 100;
    for nth in 0..3_u16 {
        let expected = sent(0x7fff + nth, base.wrapping_add(u32::from(nth) * 160));
        assert_eq!(numbers.renumber(first.packet(), now, TICK), expected);
        now += 20 * MS;
    }
    // 500 ms of nothing, and somebody else: 540 ms after the first packet.
    now += 480 * MS;
    let expected = sent(0x8002, base.wrapping_add(540 * 8));
    assert_eq!(numbers.renumber(second.packet(), now, TICK), expected);
    // At once, which is no earlier than after a packet's time.
    let mut third = Speaker::new(3, 30_000, 0);
    let expected = sent(0x8003, base.wrapping_add(560 * 8));
    assert_eq!(numbers.renumber(third.packet(), now + MS, TICK), expected);
    // Its clock is its own from there on.
    let expected = sent(0x8004, base.wrapping_add(580 * 8));
    assert_eq!(
        numbers.renumber(third.packet(), now + 90 * MS, TICK),
        expected
    );
}

#[test]
fn who_was_heard_before_fills_his_gaps_and_takes_no_number_of_the_next() {
    let mut numbers = stream(100, 0);
    let (mut first, mut second) = (Speaker::new(1, 50, 0), Speaker::new(2, 900, 0));
    let mut now = MS;
    for _ in 0..5 {
        numbers.renumber(first.packet(), now, TICK).unwrap();
        now += 20 * MS;
    }
    // The one after next is heard, the next one comes after the change.
    numbers.renumber(first.at(1), now, TICK).unwrap();
    let late = first.at(0);
    let begun = numbers.renumber(second.packet(), now, TICK).unwrap();
    assert_eq!(begun.sequence, 107);
    assert_eq!(numbers.renumber(late, now, TICK), sent(105, 5 * 160));
    // He goes on beside the new one, who has his numbers now.
    assert_eq!(numbers.renumber(first.at(2), now + MS, TICK), None);
    // So do those that the new one sent before his first that came.
    assert_eq!(numbers.renumber(second.at(-2), now + MS, TICK), None);
    let next = numbers
        .renumber(second.packet(), now + 20 * MS, TICK)
        .unwrap();
    assert_eq!(next.sequence, 108);
    // He is the one again when the new one has fallen silent.
    let again = numbers
        .renumber(first.at(50), now + 300 * MS, TICK)
        .unwrap();
    assert_eq!(again.sequence, 109);
    assert_eq!(again.timestamp, next.timestamp + 280 * 8);
}

#[test]
fn what_the_node_says_itself_is_heard_at_once_and_so_is_who_speaks_after_it() {
    let mut numbers = stream(100, 0);
    let (mut party, mut own) = (Speaker::new(1, 50, 0), Speaker::new(2, 900, 0));
    let mut now = MS;
    for turn in 0..3 {
        for nth in 0..3 {
            let sent = numbers.renumber(party.packet(), now, TICK).unwrap();
            assert_eq!(sent.sequence, 100 + turn * 6 + nth);
            now += 20 * MS;
        }
        for nth in 0..3 {
            let sent = numbers.renumber_own(own.packet(), now, TICK).unwrap();
            assert_eq!(sent.sequence, 103 + turn * 6 + nth);
            assert_eq!(u64::from(sent.timestamp), (now - MS) / MS * 8);
            now += 20 * MS;
        }
    }
    // What the party sent before is late all the same.
    assert_eq!(
        numbers.renumber(party.at(-1), now, TICK).unwrap().sequence,
        114
    );
}

#[test]
fn a_restart_of_one_source_is_none_of_the_stream() {
    let mut numbers = stream(7, 0);
    let mut speaker = Speaker::new(1, 1_000, 50_000);
    numbers.renumber(speaker.packet(), 0, TICK).unwrap();
    numbers.renumber(speaker.packet(), 20 * MS, TICK).unwrap();
    let mut restarted = Speaker::new(1, 40_000, 3);
    let next = numbers.renumber(restarted.packet(), 1_020 * MS, TICK);
    assert_eq!(next, sent(9, 160 + 8_000));
    assert_eq!(
        numbers.renumber(restarted.packet(), 1_040 * MS, TICK),
        sent(10, 320 + 8_000)
    );
}

/// Three packets were made in a silence of the source, with its next three numbers, while its clock stood still.
#[test]
fn numbers_that_were_given_away_are_not_given_twice() {
    let mut numbers = stream(7, 0);
    let mut speaker = Speaker::new(1, 1_000, 0);
    numbers.renumber(speaker.packet(), 0, TICK).unwrap();
    for nth in 0..3_i16 {
        let mut made = speaker.at(nth);
        made.timestamp += 2_400;
        let now = (400 + u64::try_from(nth).unwrap() * 20) * MS;
        numbers.renumber(made, now, TICK).unwrap();
    }
    numbers.pause();
    for nth in 0..3_u16 {
        // 60 ms after the last one that was made.
        let timestamp = 160 + 2_400 + 320 + 480 + u32::from(nth) * 160;
        let next = numbers.renumber(speaker.packet(), 500 * MS, TICK);
        assert_eq!(next, sent(11 + nth, timestamp));
    }
    let mut none = stream(7, 0);
    none.pause();
    assert_eq!(none.renumber(speaker.packet(), 0, TICK), sent(7, 0));
}

#[test]
fn a_key_that_is_held_does_not_stop_the_clock() {
    let mut numbers = stream(7, 0);
    let mut speaker = Speaker::new(1, 1_000, 0);
    numbers.renumber(speaker.packet(), 0, TICK).unwrap();
    let event = speaker.packet();
    for nth in 0..25_u16 {
        let sequence = event.sequence + nth;
        let now = u64::from(nth + 1) * 20 * MS;
        let told = numbers.renumber(Rtp { sequence, ..event }, now, TICK);
        assert_eq!(told, sent(8 + nth, 160));
    }
    let mut next = Speaker::new(2, 5, 5);
    assert_eq!(
        numbers.renumber(next.packet(), 520 * MS, TICK),
        sent(33, 160 + 500 * 8)
    );
}

#[test]
fn while_a_key_is_held_nobody_else_is_heard() {
    let mut numbers = stream(7, 0);
    let mut before = Speaker::new(1, 1_000, 0);
    numbers.renumber(before.packet(), 0, TICK).unwrap();
    let mut speaker = Speaker::new(2, 5, 5);
    numbers.renumber(speaker.packet(), 20 * MS, TICK).unwrap();
    // One of 2 s, told of every 50 ms, while the source before sends too.
    let event = speaker.packet();
    for nth in 0..40_u16 {
        let now = (40 + u64::from(nth) * 50) * MS;
        let sequence = event.sequence + nth;
        assert_eq!(
            numbers.renumber(Rtp { sequence, ..event }, now, TICK),
            sent(9 + nth, 320)
        );
        let other = numbers.renumber(before.packet(), now + 49 * MS, TICK);
        assert_eq!(other, None, "{nth}");
    }
    let audio = Rtp {
        sequence: event.sequence + 40,
        timestamp: event.timestamp + 16_000,
        ..event
    };
    assert_eq!(
        numbers.renumber(audio, 2_040 * MS, TICK),
        sent(49, 320 + 16_000)
    );
    // And once it is silent, the other one is.
    before.timestamp = 99;
    let other = numbers.renumber(before.packet(), 2_300 * MS, TICK);
    assert_eq!(other, sent(50, 320 + 16_000 + 260 * 8));
}

#[test]
fn a_source_whose_timestamps_alone_begin_anew_does_not_stop_the_clock() {
    for jump in [1 << 31, (1 << 31) + 1, 1 << 25, u32::MAX - (1 << 25)] {
        let mut numbers = stream(7, 0);
        let mut speaker = Speaker::new(1, 1_000, 0);
        numbers.renumber(speaker.packet(), 0, TICK).unwrap();
        numbers.renumber(speaker.packet(), 20 * MS, TICK).unwrap();
        speaker.timestamp = speaker.timestamp.wrapping_add(jump);
        for nth in 0..5_u16 {
            let now = (60 + u64::from(nth) * 20) * MS;
            let next = numbers.renumber(speaker.packet(), now, TICK);
            assert_eq!(next, sent(9 + nth, 480 + u32::from(nth) * 160), "{jump}");
        }
    }
    // Long silence is none of it.
    let mut numbers = stream(7, 0);
    let mut speaker = Speaker::new(1, 1_000, 0);
    numbers.renumber(speaker.packet(), 0, TICK).unwrap();
    speaker.timestamp += 8 * 3_600_000;
    let late = numbers.renumber(speaker.packet(), 3_600_000 * MS, TICK);
    assert_eq!(late, sent(8, 8 * 3_600_000 + 160));
}

#[test]
fn a_clock_that_is_not_known_or_stands_still_goes_on_by_packets() {
    for (tick, now) in [(0, 60_000 * MS), (TICK, u64::MAX), (TICK, 0)] {
        let mut numbers = stream(7, 0);
        let mut speaker = Speaker::new(1, 1_000, 0);
        numbers.renumber(speaker.packet(), 20 * MS, tick).unwrap();
        numbers.renumber(speaker.packet(), 40 * MS, tick).unwrap();
        let mut next = Speaker::new(2, 5, 5);
        assert_eq!(numbers.renumber(next.packet(), now, tick), sent(9, 320));
    }
}

/// What the network does to a packet: how many of the next ones come before it; lost; twice.
fn weather() -> impl Strategy<Value = Vec<(u8, bool, bool)>> {
    let one = (
        0..4_u8,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    );
    prop::collection::vec(one, 1..400)
}

proptest! {
    /// Any number of sources one after the other, over a network that loses, repeats and reorders: no number is given to
    /// two packets, those of one source keep their distances, and no timestamp goes back.
    #[test]
    fn numbers_are_never_given_twice(
        weather in weather(),
        starts in prop::collection::vec(any::<(u16, u32)>(), 1..5),
        begin in any::<(u16, u32)>(),
        pauses in prop::collection::vec(0..5_000_u64, 5),
    ) {
        let mut numbers = stream(begin.0, begin.1);
        let mut given = std::collections::HashMap::new();
        let mut now = MS;
        let turn = weather.len() / starts.len() + 1;
        let mut clock = None::<(u32, u32)>;
        for (nth, (part, start)) in weather.chunks(turn).zip(&starts).enumerate() {
            let mut speaker = Speaker::new(u32::try_from(nth).unwrap() + 1, start.0, start.1);
            let mut arrivals = Vec::new();
            for (at, (late, lost, twice)) in part.iter().enumerate() {
                let packet = speaker.packet();
                for copy in 0..=u8::from(*twice) {
                    if !lost {
                        arrivals.push((at + usize::from(late + copy), packet));
                    }
                }
            }
            arrivals.sort_by_key(|(at, _)| *at);
            now += pauses[nth] * MS;
            for (_, packet) in arrivals {
                now += 20 * MS;
                let Some(sent) = numbers.renumber(packet, now, TICK) else { continue };
                prop_assert_eq!(sent.ssrc, OWN);
                let place = given.entry(sent.sequence).or_insert((packet, sent));
                prop_assert_eq!(*place, (packet, sent));
                let (source, highest) = *clock.get_or_insert((packet.ssrc, sent.timestamp));
                let ahead = sent.timestamp.wrapping_sub(highest).cast_signed();
                prop_assert!(source == packet.ssrc || ahead > 0, "{ahead}");
                if source != packet.ssrc || ahead > 0 {
                    clock = Some((packet.ssrc, sent.timestamp));
                }
            }
        }
    }

    /// What has passed is undone by the offsets: what RTCP needs.
    #[test]
    fn numbers_lead_back(sequence in any::<u16>(), timestamp: u32, begin in any::<(u16, u32)>(), packets in 1..3_000_u16) {
        let mut numbers = stream(begin.0, begin.1);
        let mut speaker = Speaker::new(1, sequence, timestamp);
        for nth in 0..packets {
            let packet = speaker.packet();
            let sent = numbers.renumber(packet, u64::from(nth) * 20 * MS, TICK).unwrap();
            prop_assert_eq!(sent.sequence.wrapping_sub(low(numbers.sequence_offset)), packet.sequence);
            prop_assert_eq!(sent.timestamp.wrapping_sub(numbers.timestamp_offset), packet.timestamp);
        }
        let highest = numbers.sequence.wrapping_sub(numbers.sequence_offset);
        prop_assert_eq!(highest, u32::from(sequence) + u32::from(packets) - 1);
    }

    #[test]
    fn nothing_panics(packets in prop::collection::vec(any::<(u16, u32, u8, u64)>(), 0..50), tick: u32) {
        let mut numbers = stream(1, 1);
        for (sequence, timestamp, ssrc, now) in packets {
            let packet = Rtp { sequence, timestamp, ssrc: u32::from(ssrc % 3) };
            let _ = numbers.renumber(packet, now, tick);
        }
    }
}
