//! Keys in simulated time: what the hearer gets of a speaker who talks, is silent, loses and reorders packets.

use proptest::prelude::*;

use super::super::{dial, key};
use super::*;
use crate::Packet;

const MS: u64 = 1_000_000;
const SPEAKER: u32 = 7;
const OWN: u32 = 99;
const FORMAT: Format = Format {
    payload_type: 101,
    clock_rate: 8000,
    audio_rate: 8000,
};

/// A packet as the hearer got it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Heard {
    at: u64,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    /// `None`: it is the speaker's.
    event: Option<TelephoneEvent>,
}

/// A speaker of packets of 20 ms, and the hearer's end.
struct Bed {
    inserter: Inserter,
    now: u64,
    sequence: u16,
    timestamp: u32,
    heard: Vec<Heard>,
}

impl Bed {
    /// The speaker's last packet, if he has sent any, came just now.
    fn new(format: Format, has_spoken: bool) -> Self {
        let now = 5_000 * MS;
        let at = |ssrc, sequence, timestamp| Position {
            ssrc,
            sequence,
            timestamp,
            at: now,
        };
        let (sequence, timestamp) = (65_530, u32::MAX - 500);
        let speaker = has_spoken.then(|| at(SPEAKER, sequence, timestamp));
        Self {
            inserter: Inserter::new(format, speaker, at(OWN, 1000, 50_000)),
            now,
            sequence,
            timestamp,
            heard: Vec::new(),
        }
    }

    fn press(&mut self, digits: &str, ms: u16, gap_ms: u16) {
        self.inserter.press(dial(digits, ms, gap_ms).unwrap());
    }

    /// Time passes, by the clock alone.
    fn wait(&mut self, ms: u64) {
        let until = self.now + ms * MS;
        while let Some(at) = self.inserter.poll_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            if let Some(made) = self.inserter.handle_timeout(self.now) {
                self.hear(&made);
            }
        }
        self.now = until;
    }

    /// The speaker's next packet exists.
    fn next(&mut self, units: u32) -> (u16, u32) {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(units);
        (self.sequence, self.timestamp)
    }

    fn receive(&mut self, (sequence, timestamp): (u16, u32)) {
        match self
            .inserter
            .handle_rtp(self.now, SPEAKER, sequence, timestamp)
        {
            Action::Relay(sequence) => self.heard.push(Heard {
                at: self.now,
                ssrc: SPEAKER,
                sequence,
                timestamp,
                marker: false,
                event: None,
            }),
            Action::Replace(packet) => self.hear(&packet),
            Action::Drop => {}
        }
    }

    /// The speaker talks.
    fn talk(&mut self, packets: usize) {
        for _ in 0..packets {
            self.wait(20);
            let packet = self.next(160);
            self.receive(packet);
        }
    }

    fn hear(&mut self, octets: &[u8]) {
        let packet = Packet::parse(octets).unwrap();
        assert_eq!(packet.payload_type(), 101);
        self.heard.push(Heard {
            at: self.now,
            ssrc: packet.ssrc(),
            sequence: packet.sequence(),
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            event: TelephoneEvent::parse(packet.payload()),
        });
    }

    /// The packets of events, each with all that tell of it.
    fn events(&self) -> Vec<Vec<Heard>> {
        let mut events: Vec<Vec<Heard>> = Vec::new();
        for heard in self.heard.iter().filter(|heard| heard.event.is_some()) {
            match (heard.marker, events.last_mut()) {
                (false, Some(event)) => event.push(*heard),
                _ => events.push(vec![*heard]),
            }
        }
        events
    }

    fn keys(&self) -> String {
        let events = self.events();
        let first = events.iter().filter_map(|packets| packets[0].event);
        first.filter_map(|event| key(event.event)).collect()
    }

    fn assert_continuous(&self) {
        for pair in self.heard.windows(2) {
            assert_eq!(
                pair[1].sequence,
                pair[0].sequence.wrapping_add(1),
                "{pair:?}"
            );
            assert_eq!(pair[1].ssrc, pair[0].ssrc);
        }
    }
}

/// The durations of an event, and which of its packets say that it is over.
fn durations(event: &[Heard]) -> Vec<(u16, bool)> {
    let told = event.iter().filter_map(|heard| heard.event);
    told.map(|event| (event.duration, event.end)).collect()
}

#[test]
fn an_event_takes_the_place_of_packets() {
    let mut bed = Bed::new(FORMAT, true);
    bed.press("5#", 100, 100);
    bed.talk(22);
    bed.assert_continuous();
    let expected = [
        (160, false),
        (320, false),
        (480, false),
        (640, false),
        (800, true),
        (800, true),
        (800, true),
    ];
    let events = bed.events();
    assert_eq!(bed.keys(), "5#");
    for event in &events {
        assert_eq!(durations(event), expected);
        assert_eq!(event.iter().filter(|heard| heard.marker).count(), 1);
        // All of it has the timestamp of the packet that the first one took the place of.
        assert!(
            event
                .iter()
                .all(|heard| heard.timestamp == event[0].timestamp)
        );
        assert!(event.iter().all(|heard| heard.ssrc == SPEAKER));
    }
    assert_eq!(events[0][0].timestamp, (u32::MAX - 500).wrapping_add(160));
    // 100 ms of a key and 100 ms of a gap: ten packets.
    assert_eq!(
        events[1][0].timestamp,
        events[0][0].timestamp.wrapping_add(1600)
    );
    // The speaker is heard before, between and after them, as he was.
    assert_eq!(
        bed.heard
            .iter()
            .filter(|heard| heard.event.is_none())
            .count(),
        22 - 14
    );
    assert_eq!(bed.heard.last().unwrap().sequence, bed.sequence);
    assert!(!bed.inserter.moves());
}

#[test]
fn where_nobody_speaks_the_clock_makes_the_packets() {
    let mut bed = Bed::new(FORMAT, true);
    bed.wait(1000);
    bed.press("1", 100, 100);
    bed.wait(500);
    bed.assert_continuous();
    let event = &bed.events()[0];
    assert_eq!(durations(event).len(), 7);
    assert_eq!((event[0].sequence, event[0].ssrc), (65_531, SPEAKER));
    // The media clock has gone on in the silence.
    let silence = event[0].timestamp.wrapping_sub(u32::MAX - 500);
    assert!((8000..8800).contains(&silence), "{silence}");
    // 20 ms apart.
    assert!(
        event
            .windows(2)
            .all(|pair| pair[1].at - pair[0].at == 20 * MS)
    );

    // His own packets go on after those, and he is heard at his own timestamps.
    bed.sequence = 65_530;
    bed.timestamp = bed.timestamp.wrapping_add(1500 * 8);
    bed.talk(10);
    bed.assert_continuous();
    assert!(bed.inserter.moves());
    assert!(bed.inserter.is_idle());
    assert_eq!(bed.inserter.poll_timeout(), None);
    // Until he begins another stream.
    assert_eq!(
        bed.inserter.handle_rtp(bed.now, 8, 500, 0),
        Action::Relay(500)
    );
    assert!(!bed.inserter.moves());
}

#[test]
fn a_speaker_may_fall_silent_and_come_back_within_an_event() {
    let mut bed = Bed::new(FORMAT, true);
    bed.press("9", 1000, 100);
    bed.talk(10);
    bed.wait(400);
    bed.timestamp = bed.timestamp.wrapping_add(400 * 8);
    bed.talk(40);
    bed.assert_continuous();
    let event = &bed.events()[0];
    let told = durations(event);
    assert!(
        told.windows(2).all(|pair| pair[0].0 <= pair[1].0),
        "{told:?}"
    );
    assert_eq!(told.iter().filter(|(_, end)| *end).count(), 3);
    assert_eq!(told.last(), Some(&(8000, true)));
    let lasted = event.last().unwrap().at - event[0].at;
    assert!((1000..1120).contains(&(lasted / MS)), "{} ms", lasted / MS);
}

#[test]
fn who_has_never_been_heard_is_spoken_for_by_a_stream_of_our_own() {
    let mut bed = Bed::new(FORMAT, false);
    bed.press("12", 40, 40);
    bed.wait(600);
    bed.assert_continuous();
    assert_eq!(bed.keys(), "12");
    assert!(bed.heard.iter().all(|heard| heard.ssrc == OWN));
    assert_eq!(bed.heard[0].sequence, 1001);
    bed.talk(1);
    let last = bed.heard.last().unwrap();
    assert_eq!((last.ssrc, last.sequence), (SPEAKER, 65_531));
    assert!(!bed.inserter.moves());
}

#[test]
fn pauses_are_waited_for() {
    let mut bed = Bed::new(FORMAT, true);
    bed.press("1wW2", 40, 40);
    bed.talk(100);
    let events = bed.events();
    assert_eq!(bed.keys(), "12");
    let apart = (events[1][0].at - events[0][0].at) / MS;
    assert!((1580..=1660).contains(&apart), "{apart} ms");
    assert!(!bed.inserter.moves());
}

#[test]
fn what_is_pressed_later_comes_after_what_is_pressed_now() {
    let mut bed = Bed::new(FORMAT, true);
    bed.press("1", 100, 100);
    bed.talk(7);
    bed.press("2", 100, 100);
    assert_eq!(bed.inserter.waiting(), 1);
    bed.talk(30);
    assert_eq!(bed.keys(), "12");
    let events = bed.events();
    assert_eq!((events[1][0].at - events[0][0].at) / MS, 200);
}

#[test]
fn a_speaker_may_press_a_key_himself() {
    let mut bed = Bed::new(FORMAT, true);
    bed.press("12", 100, 100);
    // All packets of his event have its timestamp, for two seconds.
    bed.next(160);
    for _ in 0..100 {
        bed.wait(20);
        let packet = bed.next(0);
        bed.receive(packet);
    }
    assert_eq!(bed.keys(), "12");
    bed.assert_continuous();
    assert!(bed.inserter.is_idle());
    bed.timestamp = bed.timestamp.wrapping_add(100 * 160);
    bed.talk(5);
    bed.assert_continuous();
    for event in bed.events() {
        let lasted = (event.last().unwrap().at - event[0].at) / MS;
        assert!(lasted < 320, "{lasted} ms");
    }
}

#[test]
fn a_long_event_has_segments() {
    let format = Format {
        clock_rate: 48_000,
        audio_rate: 48_000,
        ..FORMAT
    };
    let mut bed = Bed::new(format, true);
    bed.press("0", 3000, 100);
    for _ in 0..200 {
        bed.wait(20);
        let packet = bed.next(960);
        bed.receive(packet);
    }
    let events = bed.events();
    assert_eq!(events.len(), 1, "one marker");
    let event = &events[0];
    let starts: Vec<_> = event.iter().map(|heard| heard.timestamp).collect();
    let start = starts[0];
    // 144,000 units: two whole segments of 65,535, and the rest.
    let mut segments = starts.clone();
    segments.dedup();
    assert_eq!(
        segments,
        [
            start,
            start.wrapping_add(65_535),
            start.wrapping_add(131_070)
        ]
    );
    let told = durations(event);
    assert_eq!(
        told.iter().filter(|told| **told == (65_535, false)).count(),
        2
    );
    assert_eq!(told.last(), Some(&(12_930, true)));
}

#[test]
fn a_clock_of_its_own_measures_the_event() {
    let format = Format {
        audio_rate: 48_000,
        ..FORMAT
    };
    let mut bed = Bed::new(format, true);
    bed.press("0", 100, 100);
    for _ in 0..20 {
        bed.wait(20);
        let packet = bed.next(960);
        bed.receive(packet);
    }
    let event = &bed.events()[0];
    assert_eq!(durations(event)[..2], [(160, false), (320, false)]);
    assert_eq!(durations(event).last(), Some(&(800, true)));
}

#[test]
fn a_gap_of_the_network_moves_no_numbers() {
    let mut bed = Bed::new(FORMAT, true);
    bed.press("9", 200, 100);
    bed.talk(5);
    // All of it comes at once in the end.
    bed.wait(250);
    for _ in 0..13 {
        let packet = bed.next(160);
        bed.receive(packet);
    }
    bed.talk(10);
    bed.assert_continuous();
    assert_eq!(durations(&bed.events()[0]).last(), Some(&(1600, true)));
    assert!(!bed.inserter.moves());
    assert_eq!(bed.heard.last().unwrap().sequence, bed.sequence);

    // Who was silent before is not waited for.
    bed.wait(400);
    bed.press("8", 100, 100);
    bed.wait(30);
    assert_eq!(bed.keys(), "98");
}

#[test]
fn what_comes_late_takes_no_number_of_a_key() {
    let mut bed = Bed::new(FORMAT, true);
    bed.talk(3);
    let late = bed.next(160);
    bed.talk(1);
    bed.wait(500);
    bed.press("1", 40, 40);
    bed.wait(500);
    bed.timestamp = bed.timestamp.wrapping_add(8000);
    bed.talk(3);
    let heard = bed.heard.len();
    bed.receive(late);
    assert_eq!(bed.heard.len(), heard, "its number is that of an event");
    // After those he is late as ever.
    let late = bed.next(160);
    bed.talk(1);
    bed.receive(late);
    assert_eq!(bed.heard.len(), heard + 2);
}

#[test]
fn a_packet_of_one_unit_does_not_set_the_pace() {
    let format = Format {
        clock_rate: 96_000,
        audio_rate: 96_000,
        ..FORMAT
    };
    let mut bed = Bed::new(format, true);
    for _ in 0..2 {
        let packet = bed.next(1);
        bed.receive(packet);
    }
    bed.heard.clear();
    bed.press("5", 1000, 100);
    bed.wait(3000);
    let event = &bed.events()[0];
    assert!((45..60).contains(&event.len()), "{} packets", event.len());
    assert_eq!(event.iter().filter(|heard| heard.marker).count(), 1);
}

#[test]
fn another_clock_changes_neither_the_pace_nor_how_long_a_key_is_down() {
    let mut bed = Bed::new(FORMAT, true);
    bed.wait(1000);
    bed.press("5", 1000, 100);
    bed.wait(500);
    bed.inserter.set_format(Format {
        clock_rate: 48_000,
        audio_rate: 48_000,
        ..FORMAT
    });
    bed.wait(1500);
    let events = bed.events();
    assert_eq!(events.len(), 1);
    let pace = events[0].windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(pace.clone().all(|pace| pace == 20 * MS));
    assert_eq!(pace.count(), 50 + 3 - 2);
    assert_eq!(durations(&events[0]).last(), Some(&(48_000, true)));
}

#[test]
fn stopped_is_stopped() {
    let mut bed = Bed::new(FORMAT, true);
    bed.press("123", 100, 100);
    bed.talk(3);
    bed.inserter.stop();
    bed.talk(5);
    assert_eq!(bed.keys(), "1");
    bed.assert_continuous();
    assert!(!bed.inserter.moves());
}

/// What happens to a packet of the speaker on its way.
#[derive(Debug, Clone, Copy)]
enum Way {
    Arrives,
    Lost,
    /// It comes after the next one.
    Late,
    Twice,
    /// He says nothing for so many packets before it.
    Silence(u16),
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        20 => Just(Way::Arrives),
        2 => Just(Way::Lost),
        1 => Just(Way::Late),
        1 => Just(Way::Twice),
        1 => (1_u16..30).prop_map(Way::Silence),
    ]
}

proptest! {
    #[test]
    fn whatever_the_speaker_does_every_key_is_told_once(
        ways in prop::collection::vec(way(), 0..150),
        digits in "[0-9A-D*#w]{1,6}",
        ms in 40_u16..300,
        gap_ms in 40_u16..200,
        has_spoken: bool,
    ) {
        let mut bed = Bed::new(FORMAT, has_spoken);
        bed.press(&digits, ms, gap_ms);
        let mut late = None;
        for way in ways {
            if let Way::Silence(packets) = way {
                bed.wait(u64::from(packets) * 20);
                bed.timestamp = bed.timestamp.wrapping_add(u32::from(packets) * 160);
            }
            bed.wait(20);
            let packet = bed.next(160);
            match way {
                Way::Lost => {}
                Way::Late => late = Some(packet),
                Way::Twice => {
                    bed.receive(packet);
                    bed.receive(packet);
                }
                Way::Arrives | Way::Silence(_) => bed.receive(packet),
            }
            if !matches!(way, Way::Late) && let Some(packet) = late.take() {
                bed.receive(packet);
            }
        }
        bed.wait(60_000);
        prop_assert!(bed.inserter.is_idle());

        let keys: String = digits.chars().filter(|digit| *digit != 'w').collect();
        prop_assert_eq!(bed.keys(), keys);
        let mut used = std::collections::HashSet::new();
        for event in bed.events() {
            let told = durations(&event);
            prop_assert!(told.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            prop_assert_eq!(told.iter().filter(|(_, end)| *end).count(), 3);
            prop_assert_eq!(told.last().unwrap().0, ms * 8);
            prop_assert!(told.iter().all(|(duration, _)| *duration > 0));
            for heard in &event {
                prop_assert!(used.insert((heard.ssrc, heard.sequence)), "a number was used twice");
            }
        }
        for heard in bed.heard.iter().filter(|heard| heard.event.is_none()) {
            prop_assert!(!used.contains(&(heard.ssrc, heard.sequence)), "it is that of an event");
        }
    }

    #[test]
    fn nobody_has_the_hearer_flooded(
        moves in prop::collection::vec((0_u32..400, 0_u64..120, 0_u16..4, 0_usize..5), 0..60),
        rest_ms in 0_u64..5000,
    ) {
        let mut bed = Bed::new(FORMAT, true);
        bed.press("12#w4", 1000, 40);
        let (began, mut sent) = (bed.now, 0);
        for (units, wait_ms, lost, rate) in moves {
            bed.wait(wait_ms);
            if let Some(rate) = [1_000, 8_000, 48_000, 96_000].get(rate) {
                bed.inserter.set_format(Format { audio_rate: *rate, ..FORMAT });
            }
            bed.sequence = bed.sequence.wrapping_add(lost);
            let packet = bed.next(units);
            bed.receive(packet);
            sent += 1;
        }
        bed.wait(rest_ms);
        let most = sent + (bed.now - began) / (5 * MS) + 5;
        prop_assert!(bed.heard.len() as u64 <= most, "{} of {most}", bed.heard.len());
    }

    #[test]
    fn no_numbers_panic(
        packets in prop::collection::vec((any::<u32>(), any::<u16>(), any::<u32>(), 0_u64..1 << 40), 0..50),
        payload_type: u8, clock_rate: u32, audio_rate: u32,
    ) {
        let format = Format { payload_type, clock_rate, audio_rate };
        let own = Position { ssrc: 1, sequence: 0, timestamp: 0, at: 0 };
        let mut inserter = Inserter::new(format, None, own);
        inserter.press(dial("19w#", 6000, 6000).unwrap());
        let mut now = 0;
        for (ssrc, sequence, timestamp, wait) in packets {
            now += wait;
            inserter.handle_timeout(now);
            inserter.handle_rtp(now, ssrc % 3, sequence, timestamp);
        }
    }
}
