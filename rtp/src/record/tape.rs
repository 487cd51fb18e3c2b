//! What is written of a [`Timeline`].

use std::collections::VecDeque;

use super::{RATE, Timeline};
use crate::activity::Activity;

/// What is left of the silence around what is said, where it is cut: 150 ms. Soft beginnings and ends lie in it.
const MARGIN: u64 = 1_200;
/// Samples of a millisecond.
const PER_MS: u64 = RATE as u64 / 1_000;

/// What a recording is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// 1, which mixes both, or 2: left and right.
    pub channels: u8,
    /// Silence that ends it, in milliseconds; `None` never does. It is the left party's, or the right one's where only
    /// that one is recorded. In such a recording nobody may have spoken: then nothing is recorded.
    pub silence_ms: Option<u32>,
    /// Left and right are recorded.
    pub tracks: [bool; 2],
    /// Silence at both ends is cut.
    pub trim: bool,
}

impl Form {
    /// Both parties of a call, all of it.
    pub const CALL: Self = Self {
        channels: 2,
        silence_ms: None,
        tracks: [true; 2],
        trim: false,
    };
}

/// How a recording goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Silence takes its time.
    Silence,
    /// The time is left out.
    Skip,
    /// It is recorded.
    Resume,
}

/// A recording. Times are nanoseconds of one clock.
#[derive(Debug)]
pub struct Tape {
    form: Form,
    line: Timeline,
    activity: [Activity; 2],
    /// From which places on it is paused, or goes on; those that the tape is past of are left out but for the last.
    pauses: VecDeque<(u64, Pause)>,
    /// The place of the next sample that is written.
    place: u64,
    /// Samples of each channel that were written, and of these, that are to be kept.
    written: u64,
    kept: u64,
    pairs: Vec<[i16; 2]>,
}

impl Tape {
    /// A recording that begins at `now`.
    #[must_use]
    pub fn new(form: Form, now: u64) -> Self {
        Self {
            form,
            line: Timeline::new(now),
            activity: Default::default(),
            pauses: VecDeque::from([(0, Pause::Resume)]),
            place: 0,
            written: 0,
            kept: 0,
            pairs: Vec::new(),
        }
    }

    /// Puts the samples of a packet in their place: see [`Timeline::put`]. `false` where that is not possible.
    pub fn put(
        &mut self,
        channel: usize,
        arrival: u64,
        position: (u32, u32),
        samples: &[i16],
    ) -> bool {
        let Some(place) = self.line.put(channel, arrival, position, samples) else {
            return false;
        };
        if self.mode(place) == Pause::Resume
            && let Some(activity) = self.activity.get_mut(channel)
        {
            activity.feed(place, samples);
        }
        true
    }

    /// Goes on in another way from `now` on.
    pub fn pause(&mut self, now: u64, how: Pause) {
        let place = self.line.place(now);
        if self.pauses.back().is_some_and(|(_, last)| *last == how) {
            return;
        }
        self.pauses.push_back((place, how));
    }

    /// Whether the party has been silent for as long as ends the recording.
    #[must_use]
    pub fn is_silent(&self, now: u64) -> bool {
        let (Some(most), Some((since, Pause::Resume))) = (self.form.silence_ms, self.pauses.back())
        else {
            return false;
        };
        let [left, right] = &self.activity;
        let party = if self.form.tracks[0] { left } else { right };
        let spoke = party.speech().map_or(0, |(_, last)| last);
        let silent = self.line.place(now).saturating_sub(spoke.max(*since));
        silent >= u64::from(most) * PER_MS
    }

    /// Appends to `out` what nothing can come before any more, as it stands in a WAV file.
    pub fn take(&mut self, now: u64, out: &mut Vec<u8>) {
        self.line.take(now, &mut self.pairs);
        self.write(out);
    }

    /// Appends all that is left of a recording that ends at `now`.
    pub fn finish(&mut self, now: u64, out: &mut Vec<u8>) {
        self.line.finish(now, &mut self.pairs);
        self.write(out);
    }

    /// Samples of each channel that are to be kept of what was written: the rest, at the end, is silence that is cut.
    /// 0 where nothing was recorded.
    #[must_use]
    pub fn kept(&self) -> u64 {
        if self.form.silence_ms.is_some() && self.speech().is_none() {
            return 0;
        }
        if self.form.trim {
            self.kept
        } else {
            self.written
        }
    }

    /// Octets of a sample of all channels.
    #[must_use]
    pub const fn frame(&self) -> u64 {
        self.form.channels as u64 * 2
    }

    /// Where anybody spoke first and last.
    fn speech(&self) -> Option<(u64, u64)> {
        let spoken = self.activity.iter().filter_map(Activity::speech);
        spoken.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    }

    fn mode(&self, place: u64) -> Pause {
        let mut modes = self.pauses.iter().rev();
        let mode = modes.find(|(from, _)| *from <= place);
        mode.map_or(Pause::Resume, |(_, how)| *how)
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        // What is spoken is known before it is its turn: the line holds everything back for longer than the margin.
        let spoken = self.speech().map(|(first, last)| {
            let from = first.saturating_sub(MARGIN);
            (from, last + MARGIN)
        });
        let mut pairs = std::mem::take(&mut self.pairs);
        for pair in pairs.drain(..) {
            let place = self.place;
            self.place += 1;
            while self.pauses.get(1).is_some_and(|(from, _)| *from <= place) {
                self.pauses.pop_front();
            }
            let mode = self.pauses.front().map_or(Pause::Resume, |(_, how)| *how);
            let is_before = spoken.is_none_or(|(from, _)| place < from);
            if mode == Pause::Skip || (self.form.trim && is_before) {
                continue;
            }
            let [left, right] = match mode {
                Pause::Silence => [0; 2],
                _ => pair,
            };
            match self.form.channels {
                1 => out.extend(left.saturating_add(right).to_le_bytes()),
                _ => out.extend([left, right].iter().flat_map(|sample| sample.to_le_bytes())),
            }
            self.written += 1;
            if spoken.is_some_and(|(_, until)| place < until) {
                self.kept = self.written;
            }
        }
        self.pairs = pairs;
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "tests know how large their numbers are"
)]
mod tests {
    use super::*;
    use crate::activity::tests::speech;

    const MS: u64 = 1_000_000;

    const PARTY: Form = Form {
        channels: 1,
        silence_ms: Some(1_000),
        tracks: [true, false],
        trim: true,
    };

    /// Sends samples in packets of 20 ms from a time on, in ms; what was written until the last one of them.
    fn say(tape: &mut Tape, channel: usize, from: u64, samples: &[i16], out: &mut Vec<u8>) {
        for (packet, number) in samples.chunks(160).zip(0_u32..) {
            let arrival = (from + u64::from(number) * 20) * MS;
            let ssrc = channel as u32 + 1;
            let timestamp = (from as u32 * 8).wrapping_add(number * 160);
            assert!(tape.put(channel, arrival, (ssrc, timestamp), packet));
            tape.take(arrival, out);
        }
    }

    fn samples(octets: &[u8]) -> Vec<i16> {
        let (pairs, rest) = octets.as_chunks();
        assert!(rest.is_empty());
        pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
    }

    fn kept(tape: &mut Tape, end: u64, mut out: Vec<u8>) -> Vec<i16> {
        tape.finish(end * MS, &mut out);
        out.truncate((tape.kept() * tape.frame()) as usize);
        samples(&out)
    }

    #[test]
    fn silence_ends_it_and_is_cut_at_both_ends() {
        let (mut tape, mut out) = (Tape::new(PARTY, 0), Vec::new());
        let said = speech(-20.0, 16_000);
        say(&mut tape, 0, 800, &said, &mut out);
        let ended = (0..5_000).find(|ms| tape.is_silent(ms * MS)).unwrap();
        // The last syllable ends 250 ms before what is said does.
        assert!((3_480..3_560).contains(&ended), "{ended}");
        let kept = kept(&mut tape, ended, out);
        let ms = kept.len() / 8;
        assert!((1_950..2_100).contains(&ms), "{ms}");
        let begin = kept.iter().position(|sample| *sample != 0).unwrap();
        assert!((1_000..1_300).contains(&begin), "{begin}");
        let lead = said.iter().position(|sample| *sample != 0).unwrap();
        assert_eq!(kept[begin..begin + 12_000], said[lead..lead + 12_000]);
    }

    #[test]
    fn who_says_nothing_is_not_recorded() {
        let (mut tape, mut out) = (Tape::new(PARTY, 0), Vec::new());
        say(&mut tape, 0, 0, &[8; 8_160], &mut out);
        assert!(!tape.is_silent(999 * MS) && tape.is_silent(1_000 * MS));
        assert_eq!(kept(&mut tape, 1_020, out), []);
        // Where no silence would end it, it is what it is.
        let form = Form {
            silence_ms: None,
            trim: false,
            ..PARTY
        };
        let mut tape = Tape::new(form, 0);
        assert!(!tape.is_silent(9_999 * MS));
        assert_eq!(kept(&mut tape, 1_000, Vec::new()), [0; 8_000]);
    }

    #[test]
    fn what_is_not_sent_is_silence_of_its_length() {
        let form = Form {
            trim: false,
            ..PARTY
        };
        let (mut tape, mut out) = (Tape::new(form, 0), Vec::new());
        say(&mut tape, 0, 0, &[1_000; 800], &mut out);
        say(&mut tape, 0, 600, &[2_000; 800], &mut out);
        let kept = kept(&mut tape, 1_000, out);
        let expected = [
            [1_000; 800].to_vec(),
            vec![0; 4_000],
            vec![2_000; 800],
            vec![0; 2_400],
        ];
        assert_eq!(kept, expected.concat());
    }

    #[test]
    fn both_are_mixed_or_apart() {
        for channels in [1, 2] {
            let form = Form {
                channels,
                tracks: [true; 2],
                silence_ms: None,
                trim: false,
            };
            let (mut tape, mut out) = (Tape::new(form, 0), Vec::new());
            say(&mut tape, 0, 0, &[30_000; 160], &mut out);
            say(&mut tape, 1, 0, &[5_000; 320], &mut out);
            let kept = kept(&mut tape, 40, out);
            let expected = match channels {
                1 => [vec![i16::MAX; 160], vec![5_000; 160]].concat(),
                _ => [[30_000, 5_000].repeat(160), [0, 5_000].repeat(160)].concat(),
            };
            assert_eq!(kept, expected);
        }
    }

    #[test]
    fn pauses_are_silent_or_left_out_and_end_nothing() {
        for (how, len) in [(Pause::Silence, 3_000), (Pause::Skip, 1_000)] {
            let form = Form {
                trim: false,
                ..PARTY
            };
            let (mut tape, mut out) = (Tape::new(form, 0), Vec::new());
            say(&mut tape, 0, 0, &[4_000; 4_000], &mut out);
            tape.pause(500 * MS, how);
            say(&mut tape, 0, 500, &[9_000; 16_000], &mut out);
            assert!(!tape.is_silent(2_400 * MS), "he may not speak");
            tape.pause(2_500 * MS, Pause::Resume);
            assert!(!tape.is_silent(2_500 * MS));
            say(&mut tape, 0, 2_500, &[5_000; 4_000], &mut out);
            let kept = kept(&mut tape, 3_000, out);
            assert_eq!(kept.len(), len * 8);
            assert_eq!(kept[..4_000], [4_000; 4_000]);
            assert!(
                kept[4_000..kept.len() - 4_000]
                    .iter()
                    .all(|sample| *sample == 0)
            );
            assert_eq!(kept[kept.len() - 4_000..], [5_000; 4_000]);
        }
    }
}
