//! What is in the file of a recording: sound (WAV), or packets (pcap).

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rtp::record::{self, Form, Pause, Tape};

use super::{Captured, pcap};
use crate::io::monotonic_ns;

/// Frames are written in the order in which they came, though they come by two ways: so long they are waited for.
pub(super) const HOLD: u64 = 100_000_000;

/// What is written.
pub(super) enum Content {
    /// A WAV file; with a tape, once it has begun.
    Wav { form: Form, tape: Option<Box<Tape>> },
    /// A pcap file.
    Pcap(Capture),
}

/// Frames that are to be written.
pub(super) struct Capture {
    /// Since when; `None` before it has begun.
    began: Option<u64>,
    /// From when on it is paused (`true`) or goes on; of those that are past, the last.
    pauses: VecDeque<(u64, bool)>,
    /// Nanoseconds from 1970 to the beginning of this machine's time.
    pub(super) epoch: u64,
    waiting: Vec<Captured>,
}

/// Makes the file of a recording of this name: with the first of these numbers that is free, which is left out where it
/// is 1.
pub(super) fn create(
    folder: &Path,
    name: &str,
    numbers: RangeInclusive<u32>,
    content: &Content,
) -> io::Result<(u32, PathBuf, File)> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    if name.is_empty() || name.len() > 100 || !name.bytes().all(is_plain) {
        let why = "its name has other characters than letters, digits, - and _";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let ending = content.ending();
    for number in numbers {
        let path = match number {
            1 => folder.join(format!("{name}.{ending}")),
            number => folder.join(format!("{name}-{number}.{ending}")),
        };
        match options.open(&path) {
            Ok(mut file) => {
                if let Err(error) = file.write_all(&content.header()) {
                    drop(std::fs::remove_file(&path));
                    return Err(error);
                }
                return Ok((number, path, file));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Content {
    pub(super) const fn wav(form: Form) -> Self {
        Self::Wav { form, tape: None }
    }

    pub(super) fn pcap() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(0));
        Self::Pcap(Capture {
            began: None,
            pauses: VecDeque::from([(0, false)]),
            epoch: now.saturating_sub(monotonic_ns()),
            waiting: Vec::new(),
        })
    }

    pub(super) const fn is_wav(&self) -> bool {
        matches!(self, Self::Wav { .. })
    }

    /// Of a WAV file.
    pub(super) const fn channels(&self) -> Option<u8> {
        match self {
            Self::Wav { form, .. } => Some(form.channels),
            Self::Pcap(_) => None,
        }
    }

    /// How long so many octets are heard; 0 of a pcap file.
    pub(super) fn ms(&self, octets: u64) -> u64 {
        let per_ms = |channels: u8| u64::from(record::RATE) / 1000 * u64::from(channels) * 2;
        self.channels()
            .map_or(0, |channels| octets / per_ms(channels))
    }

    pub(super) const fn ending(&self) -> &'static str {
        match self {
            Self::Wav { .. } => "wav",
            Self::Pcap(_) => "pcap",
        }
    }

    pub(super) fn header(&self) -> Vec<u8> {
        match self {
            Self::Wav { form, .. } => record::header(form.channels, 0).to_vec(),
            Self::Pcap(_) => pcap::header().to_vec(),
        }
    }

    pub(super) fn start(&mut self, at: u64) {
        match self {
            Self::Wav { form, tape } => *tape = Some(Box::new(Tape::new(*form, at))),
            Self::Pcap(capture) => capture.began = Some(at),
        }
    }

    pub(super) const fn has_begun(&self) -> bool {
        match self {
            Self::Wav { tape, .. } => tape.is_some(),
            Self::Pcap(capture) => capture.began.is_some(),
        }
    }

    pub(super) fn pause(&mut self, at: u64, how: Pause) {
        match self {
            Self::Wav { tape, .. } => {
                if let Some(tape) = tape {
                    tape.pause(at, how);
                }
            }
            Self::Pcap(capture) => capture.pauses.push_back((at, how != Pause::Resume)),
        }
    }

    pub(super) fn is_silent(&self, now: u64) -> bool {
        match self {
            Self::Wav { tape, .. } => tape.as_ref().is_some_and(|tape| tape.is_silent(now)),
            Self::Pcap(_) => false,
        }
    }

    /// Appends what is complete.
    pub(super) fn take(&mut self, now: u64, out: &mut Vec<u8>) {
        match self {
            Self::Wav { tape, .. } => {
                if let Some(tape) = tape {
                    tape.take(now, out);
                }
            }
            Self::Pcap(capture) => capture.take(now.saturating_sub(HOLD), out),
        }
    }

    /// Appends what is left.
    pub(super) fn finish(&mut self, at: u64, out: &mut Vec<u8>) {
        match self {
            Self::Wav { tape, .. } => {
                if let Some(tape) = tape {
                    tape.finish(at, out);
                }
            }
            Self::Pcap(capture) => capture.take(u64::MAX, out),
        }
    }
}

impl Capture {
    pub(super) fn put(&mut self, captured: Captured) {
        let at = captured.arrival;
        let mut turns = self.pauses.iter().rev();
        let turn = turns.find(|(from, _)| *from <= at);
        let is_paused = turn.is_some_and(|(_, is_paused)| *is_paused);
        if !is_paused && self.began.is_some_and(|began| at >= began) {
            self.waiting.push(captured);
        }
    }

    /// Appends what came until a time, in order.
    fn take(&mut self, until: u64, out: &mut Vec<u8>) {
        while self.pauses.get(1).is_some_and(|(from, _)| *from <= until) {
            self.pauses.pop_front();
        }
        self.waiting.sort_by_key(|captured| captured.arrival);
        let complete = self
            .waiting
            .partition_point(|captured| captured.arrival <= until);
        for captured in self.waiting.drain(..complete) {
            let frame = captured.frame.get(..captured.kept).unwrap_or_default();
            pcap::write(self.epoch + captured.arrival, captured.len, frame, out);
        }
    }
}
