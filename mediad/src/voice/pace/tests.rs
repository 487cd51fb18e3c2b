//! Servers that speak to a leg, in simulated time.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtp::g711;

use super::*;
use crate::stream::tests::new_stream;
use crate::stream::{Line, Wake, connect_port};
use crate::voice::{Law, LegVoice, Sound};

const MS: u64 = 1_000_000;
const JOB: u32 = 7;

/// What a phone got.
struct Packet {
    at: u64,
    timestamp: u32,
    octets: Vec<u8>,
}

/// A leg that a server speaks to.
struct Bed {
    voice: LegVoice,
    line: Line,
    woken: Arc<AtomicBool>,
    packets: Vec<Packet>,
}

impl Bed {
    fn new() -> Self {
        let woken = Arc::new(AtomicBool::new(false));
        let wakes = Arc::clone(&woken);
        let wake = Wake::new(move || wakes.store(true, Ordering::Relaxed));
        let (port, line) = connect_port(wake, Arc::default());
        let mut voice = LegVoice::new(0);
        voice.begin_stream(&new_stream("ws://127.0.0.1:1"), 0);
        voice.connect(JOB, port);
        let packets = Vec::new();
        Self {
            voice,
            line,
            woken,
            packets,
        }
    }

    /// The server says something.
    fn say(&mut self, now: u64, octets: &[u8]) {
        let samples = octets.iter().map(|octet| g711::decode_ulaw(*octet));
        self.line.say(samples, now);
        if self.woken.swap(false, Ordering::Relaxed) {
            self.voice.wake(JOB, now);
        }
    }

    /// Has the leg its turns up to then.
    fn until(&mut self, now: u64) {
        while let Some(due) = self.voice.turn_due().filter(|due| *due <= now) {
            let sound = Sound {
                law: Law::Mu,
                payload_type: 0,
                samples: FRAME,
            };
            let mut out = Vec::new();
            self.voice.turn(due, Some(sound), &mut out);
            if let Ok(packet) = rtp::Packet::parse(&out) {
                self.packets.push(Packet {
                    at: due,
                    timestamp: packet.timestamp(),
                    octets: packet.payload().to_vec(),
                });
            }
        }
    }

    /// The server says frames, each 20 ms after the one before and late by so many microseconds.
    fn echo(&mut self, late: impl Iterator<Item = u64>) {
        let mut comes = BEGIN;
        for (number, late) in (0..).zip(late) {
            comes = comes.max(BEGIN + number * FRAME_NS + late * 1_000);
            self.until(comes);
            self.say(comes, &frame(number));
        }
        self.until(comes + 100 * MS);
    }

    /// Of each frame from this one on how long after its time it was heard, in milliseconds.
    fn delays(&self, frames: std::ops::Range<u64>) -> Vec<f64> {
        let mut packets = self.packets.iter();
        let delay = |number| {
            let packet = packets.find(|packet| packet.octets == frame(number));
            let packet = packet.unwrap_or_else(|| unreachable!("frame {number}, in order"));
            (packet.at - (BEGIN + number * FRAME_NS)) as f64 / MS as f64
        };
        frames.map(delay).collect()
    }

    /// Packets of silence after the first and before the last that is none.
    fn gaps(&self) -> usize {
        let is_silent = |packet: &&Packet| packet.octets.iter().all(|octet| *octet == 0xff);
        let all = self.packets.iter().skip_while(is_silent);
        let all: Vec<_> = all.collect();
        let end = all.iter().rposition(|packet| !is_silent(packet));
        all[..end.unwrap_or(0)]
            .iter()
            .filter(|one| is_silent(one))
            .count()
    }

    /// From a packet to the next one, up to the last that is none of silence: timestamps, and microseconds.
    fn steps(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let end = self
            .packets
            .iter()
            .rposition(|packet| packet.octets.iter().any(|octet| *octet != 0xff));
        let pairs = self.packets[..=end.unwrap_or(0)].array_windows();
        pairs.map(|[one, next]| {
            let units = next.timestamp.wrapping_sub(one.timestamp);
            (units, (next.at - one.at) / 1_000)
        })
    }
}

/// When the server begins.
const BEGIN: u64 = 107 * MS;

/// Octets that no other frame has.
fn frame(number: u64) -> [u8; FRAME] {
    let mut octets = [0x40; FRAME];
    octets[..8].copy_from_slice(&number.to_be_bytes().map(|octet| octet & 0x3f));
    octets[8] = u8::try_from(number >> 6 & 0x3f).unwrap_or(0);
    octets
}

fn most(delays: &[f64]) -> f64 {
    delays.iter().copied().fold(0.0, f64::max)
}

#[test]
fn who_is_never_late_has_the_least_cushion_and_nothing_is_touched() {
    let mut bed = Bed::new();
    bed.echo((0..1_000).map(|frame| frame * 700 % 2_000));
    let delays = bed.delays(0..1_000);
    assert!(most(&delays) <= 5.0, "{delays:?}");
    assert_eq!(bed.gaps(), 0);
    assert!(bed.steps().skip(10).all(|step| step == (160, 20_000)));
}

#[test]
fn who_is_late_moves_the_clock_by_just_that_and_gets_it_back() {
    let mut bed = Bed::new();
    bed.echo((0..500).map(|frame| if frame == 10 { 9_000 } else { 0 }));
    let delays = bed.delays(0..500);
    assert_eq!(bed.gaps(), 0);
    assert!(most(&delays) <= 10.01, "{delays:?}");
    assert!(most(&delays[80..]) <= 4.1, "{delays:?}");
}

#[test]
fn an_echo_that_was_late_in_its_first_two_seconds_comes_back() {
    let mut bed = Bed::new();
    let late = (0..1_000).map(|frame| {
        if frame < 100 {
            frame * 7_000 % 40_000
        } else {
            0
        }
    });
    bed.echo(late);
    assert!(bed.gaps() <= 4, "{}", bed.gaps());
    assert!(most(&bed.delays(80..100)) > 30.0);
    // Six seconds later, in which 20 ms were left out sample by sample.
    let delays = bed.delays(400..1_000);
    assert!(most(&delays) <= 5.0, "{delays:?}");
}

#[test]
fn a_first_frame_that_was_late_is_no_measure() {
    let mut bed = Bed::new();
    bed.echo((0..500).map(|frame| if frame == 0 { 15_000 } else { 0 }));
    let delays = bed.delays(0..500);
    assert!(most(&delays[140..]) <= 5.0, "{delays:?}");
    assert_eq!(bed.gaps(), 0);
}

#[test]
fn who_goes_on_being_late_keeps_his_cushion() {
    let mut bed = Bed::new();
    bed.echo((0..3_000).map(|frame| frame * 7_000 % 15_000));
    assert_eq!(bed.gaps(), 0);
    // What is sent is regular, once the worst was seen.
    assert!(bed.steps().skip(50).all(|step| step == (160, 20_000)));
}

#[test]
fn who_is_late_once_in_a_while_is_late_less_and_less() {
    let mut bed = Bed::new();
    // Five minutes with 60 of them.
    let late = (0..15_000).map(|frame| if frame % 250 == 249 { 9_000 } else { 0 });
    bed.echo(late);
    assert_eq!(bed.gaps(), 0);
    let late = bed.steps().filter(|step| step.1 > 22_000).count();
    assert!((1..=6).contains(&late), "{late}");
}

#[test]
fn a_clock_that_is_slower_or_faster_is_followed() {
    for (frame_us, most_delay) in [(19_990, 25.0), (20_010, 6.0)] {
        let mut bed = Bed::new();
        let mut comes = BEGIN;
        // Five minutes, by the end of which it is 150 ms off.
        for number in 0..15_000 {
            bed.until(comes);
            bed.say(comes, &[0x40; FRAME]);
            comes = BEGIN + (number + 1) * frame_us * 1_000;
        }
        bed.until(comes - 1);
        let last = bed.packets.last().expect("packets").at;
        // What was not yet heard.
        let rest = 2_400 - bed.line.room(2_400);
        let delay = (comes - last) as f64 / MS as f64 - 20.0 + rest as f64 / 8.0;
        assert!(delay.abs() < most_delay, "{frame_us}: {delay}");
    }
}

#[test]
fn a_clock_that_is_slower_makes_no_beginning_late() {
    let mut bed = Bed::new();
    let mut comes = BEGIN;
    // Five minutes, 0.1 % slower.
    for _ in 0..15_000 {
        bed.until(comes);
        bed.say(comes, &[0x40; FRAME]);
        comes += 20_020_000;
    }
    comes += 2_007 * MS;
    bed.until(comes);
    bed.say(comes, &frame(1));
    bed.until(comes + 100 * MS);
    let is_it = |packet: &&Packet| packet.octets == frame(1);
    let at = bed.packets.iter().find(is_it).expect("the frame").at;
    assert!(at - comes <= 5 * MS, "{} us", (at - comes) / 1_000);
}

#[test]
fn a_beginning_in_pieces_of_less_than_a_frame_is_not_torn() {
    // Samples, and how long they last in microseconds.
    let pieces = [(40, 5_000), (80, 10_000), (100, 12_500)];
    let phases = |piece| (0..20).map(move |ms| (piece, ms * MS));
    for ((piece, lasts), phase) in pieces.into_iter().flat_map(phases) {
        let mut bed = Bed::new();
        let mut comes = BEGIN + phase;
        for _ in 0..2_400 / piece {
            bed.until(comes);
            bed.say(comes, &vec![0x40; piece]);
            comes += lasts * 1_000;
        }
        bed.until(BEGIN + 1_000 * MS);
        let heard = bed.packets.iter().flat_map(|packet| packet.octets.iter());
        let heard: Vec<_> = heard.collect();
        let is_said = |octet: &&u8| **octet == 0x40;
        let from = heard.iter().position(is_said).unwrap();
        let to = heard.iter().rposition(is_said).unwrap();
        // All of it, and nothing between.
        assert_eq!(to + 1 - from, 2_400, "{piece} {phase}");
        assert!(heard[from..=to].iter().all(is_said), "{piece} {phase}");
    }
}

#[test]
fn a_short_word_is_said_though_nothing_follows() {
    let mut bed = Bed::new();
    bed.until(BEGIN);
    bed.say(BEGIN, &[0x40; 100]);
    bed.until(BEGIN + 60 * MS);
    let is_said = |packet: &Packet| packet.octets.iter().filter(|octet| **octet == 0x40).count();
    assert_eq!(bed.packets.iter().map(is_said).sum::<usize>(), 100);
}

#[test]
fn a_long_speech_is_played_to_the_sample() {
    // 30 s that are there at once, and 10 s that come by twice what is played.
    let long: Vec<u8> = (0..240_000_u32).map(|at| (at % 127) as u8).collect();
    for (seconds, by) in [(30, 240_000), (10, 320)] {
        let octets = &long[..seconds * 8_000];
        let mut bed = Bed::new();
        let (mut sent, mut now) = (0, BEGIN);
        while sent < octets.len() {
            bed.until(now);
            let there = octets
                .len()
                .min(by * (1 + ((now - BEGIN) / FRAME_NS) as usize));
            let end = there.min(sent + bed.line.room(2_400));
            bed.say(now, &octets[sent..end]);
            sent = end;
            now += FRAME_NS;
        }
        bed.until(now + 1_000 * MS);
        let all: Vec<u8> = bed
            .packets
            .iter()
            .flat_map(|packet| &packet.octets)
            .copied()
            .collect();
        let begin = all
            .iter()
            .position(|octet| *octet != 0xff)
            .expect("a beginning");
        assert!(all[begin..].starts_with(octets), "{by}");
        assert!(bed.steps().skip(10).all(|step| step.0 == 160));
    }
}

#[test]
fn a_clear_is_silent_at_once() {
    let mut bed = Bed::new();
    bed.say(BEGIN, &[0x40; 2_000]);
    bed.until(BEGIN + 100 * MS);
    bed.line.clear();
    bed.until(BEGIN + 200 * MS);
    let mut packets = bed.packets.iter();
    let last = packets.rfind(|packet| packet.octets.contains(&0x40));
    assert!(last.expect("what was said").at <= BEGIN + 100 * MS);
    // And nobody waits for more.
    assert!(bed.steps().skip(8).all(|step| step == (160, 20_000)));
}

#[test]
fn what_lies_there_for_nothing_is_left_out_and_is_not_heard_to_be() {
    // Four frames at once, and then one every 20 ms: 60 ms more than needed.
    let octets: Vec<u8> = (0..8_000 * 20)
        .map(|at| g711::encode_ulaw(voice(at)))
        .collect();
    let mut bed = Bed::new();
    for (number, piece) in (0_u64..).zip(octets.chunks(FRAME)) {
        let comes = BEGIN + number.saturating_sub(3) * FRAME_NS;
        bed.until(comes);
        bed.say(comes, piece);
    }
    bed.until(BEGIN + 20_000 * MS);
    assert_eq!(bed.gaps(), 0);
    let heard: Vec<i16> = bed
        .packets
        .iter()
        .flat_map(|packet| &packet.octets)
        .map(|octet| g711::decode_ulaw(*octet))
        .collect();
    let begin = heard
        .iter()
        .position(|sample| *sample != 0)
        .expect("a beginning")
        / FRAME
        * FRAME;
    let said: Vec<i16> = octets
        .iter()
        .map(|octet| g711::decode_ulaw(*octet))
        .collect();
    // 60 ms less of it, within 8 s.
    let at = 8_000 * 8;
    assert_eq!(
        heard[begin + at..begin + at + 800],
        said[at + 480..at + 1_280]
    );
    // Wherever it is looked at, 10 ms of it are 10 ms of what was said, but for a sample that is missing in their midst.
    let best = |from: usize| {
        let piece = &heard[begin + from..begin + from + 80];
        let shifts = from..=from + 481;
        let all = shifts.map(|shift| correlation(piece, &said[shift..shift + 80]));
        all.fold(0.0, f64::max)
    };
    let best: Vec<f64> = (0..at).step_by(80).map(best).collect();
    let least = best.iter().copied().fold(1.0, f64::min);
    let mean = best.iter().sum::<f64>() / best.len() as f64;
    // The least is where a pulse of the voice lies beside the missing sample: half of the piece is off by one.
    assert!(least > 0.8 && mean > 0.985, "{least} {mean}");
    // No click: no step is longer than what was said has.
    let longest = |samples: &[i16]| samples.array_windows().map(|[a, b]| a.abs_diff(*b)).max();
    let steps = [&said[..], &heard[begin..begin + at]].map(longest);
    assert!(
        steps[1] <= steps[0].map(|most| most + most / 8),
        "{steps:?}"
    );
}

/// Something like a voice: harmonics that swell and fade.
fn voice(at: u32) -> i16 {
    let seconds = f64::from(at) / 8_000.0;
    let pitch = 120.0 + 20.0 * (TAU * 0.7 * seconds).sin();
    let harmonics = (1..=12).map(f64::from);
    let sum: f64 = harmonics
        .map(|n| (TAU * pitch * n * seconds).sin() / n)
        .sum();
    let loudness = 4_000.0 * (1.2 + (TAU * 3.0 * seconds).sin());
    #[expect(clippy::cast_possible_truncation, reason = "it is within 16 bits")]
    let sample = (sum * loudness) as i16;
    sample
}

fn correlation(a: &[i16], b: &[i16]) -> f64 {
    let dot = |a: &[i16], b: &[i16]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1.0)
}
