//! The thread that writes recordings, and those that complete their files.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control::media::Recorded;
use crossbeam_channel::{Receiver, Sender};
use rtp::record::{self, Form, Pause, Tape};
use tracing::{info, warn};

use super::rotation::{Parts, WAV_MOST};
use super::{Audio, Captured, LONGEST, Report, pcap};
use crate::io::monotonic_ns;

/// How often the queue is looked at.
const PACE: Duration = Duration::from_millis(20);
/// How often a recording is written to its file, in nanoseconds.
const EVERY: u64 = 250_000_000;
/// Frames are written in the order in which they came, though they come by two ways: so long they are waited for.
const HOLD: u64 = 100_000_000;
/// After so many octets the header says how long the file is: 5 s of a call.
const PATCH: u64 = 160_000;

/// What the thread is told.
pub(super) enum Order {
    /// There is a file.
    Begin(u64, Box<Writing>),
    /// Its recording begins.
    Start { number: u64, at: u64 },
    /// It goes on in another way.
    Pause { number: u64, at: u64, how: Pause },
    /// It is over.
    End {
        number: u64,
        at: u64,
        is_unwanted: bool,
    },
    /// Everything is.
    Stop,
}

/// A recording that is being written.
pub(super) struct Writing {
    file: File,
    path: PathBuf,
    content: Content,
    /// When it is written next.
    due: u64,
    octets: u64,
    patched: u64,
    /// Octets that the disk did not take.
    unwritten: u64,
    late: u64,
    lost: Arc<AtomicU64>,
    told: Told,
    /// Why the disk has ended it.
    failed: Option<String>,
    /// How it goes on in other files, where it may.
    parts: Option<Parts>,
}

/// Who is told what became of a recording.
pub(super) enum Told {
    /// Who has ordered it, when it is over. Where the disk does not take it, nothing is left.
    Order(Report),
    /// Whose call it is, where the disk has ended it. What was written is left.
    Call(Box<dyn FnOnce(String) + Send>),
    /// Nobody: the recording goes on in another file.
    Nobody,
}

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
    epoch: u64,
    waiting: Vec<Captured>,
}

/// A recording that is written but for its header, for a thread that may wait for the disk.
pub(super) struct Ended {
    file: File,
    path: PathBuf,
    /// Of a WAV file.
    channels: Option<u8>,
    /// Octets after the header that are kept, and milliseconds of audio.
    octets: u64,
    ms: u64,
    result: Result<(), String>,
    by_itself: bool,
    /// Nothing is to be left of it.
    is_unwanted: bool,
    unwritten: u64,
    late: u64,
    lost: u64,
    told: Told,
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

/// The thread.
pub(super) fn write(
    orders: &Receiver<Order>,
    audio: &Receiver<Audio>,
    frames: &Receiver<Captured>,
    closing: &Sender<Ended>,
) {
    let mut desk = Desk::default();
    let mut out = Vec::new();
    let close = |ended| {
        if closing.send(ended).is_err() {
            warn!("the threads that complete recordings have ended");
        }
    };
    loop {
        // Without recordings there is nothing to look at.
        if desk.all.is_empty() {
            match orders.recv() {
                Ok(order) => desk.obey(order),
                Err(_) => return,
            }
        }
        desk.obey_all(orders);
        while let Ok(heard) = audio.try_recv() {
            // What is heard of a recording comes after the order that has begun it, wherever that is by now.
            if !desk.has_begun(heard.recording) {
                desk.obey_all(orders);
            }
            if let Some(writing) = desk.all.get_mut(&heard.recording) {
                writing.put(&heard);
            }
        }
        while let Ok(captured) = frames.try_recv() {
            if !desk.has_begun(captured.recording) {
                desk.obey_all(orders);
            }
            if let Some(writing) = desk.all.get_mut(&captured.recording) {
                writing.capture(captured);
            }
        }
        for (number, at, is_unwanted) in desk.ended.drain(..) {
            if let Some(writing) = desk.all.remove(&number) {
                close(writing.finish(at, false, is_unwanted, &mut out));
            }
        }
        let now = monotonic_ns();
        for writing in desk.all.values_mut() {
            if let Some(part) = writing.go_on(now, &mut out) {
                close(part);
            }
        }
        for (_, writing) in desk.all.extract_if(|_, writing| writing.is_over(now)) {
            close(writing.finish(now, true, false, &mut out));
        }
        if desk.is_over {
            for (_, writing) in desk.all {
                close(writing.finish(now, false, false, &mut out));
            }
            return;
        }
        std::thread::sleep(PACE);
    }
}

/// What the thread has before it.
#[derive(Default)]
struct Desk {
    all: HashMap<u64, Writing>,
    /// Those that are to end, once everything is heard that came before: number, time, and whether it is not wanted.
    ended: Vec<(u64, u64, bool)>,
    is_over: bool,
}

impl Desk {
    fn obey_all(&mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.try_recv() {
            self.obey(order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Begin(number, writing) => drop(self.all.insert(number, *writing)),
            Order::Start { number, at } => {
                if let Some(writing) = self.all.get_mut(&number) {
                    writing.content.start(at);
                }
            }
            Order::Pause { number, at, how } => {
                if let Some(writing) = self.all.get_mut(&number) {
                    writing.content.pause(at, how);
                }
            }
            Order::End {
                number,
                at,
                is_unwanted,
            } => self.ended.push((number, at, is_unwanted)),
            Order::Stop => self.is_over = true,
        }
    }

    fn has_begun(&self, number: u64) -> bool {
        let writing = self.all.get(&number);
        writing.is_some_and(|writing| writing.content.has_begun())
    }
}

impl Writing {
    pub(super) fn new(
        file: File,
        path: PathBuf,
        content: Content,
        lost: Arc<AtomicU64>,
        told: Told,
    ) -> Self {
        Self {
            file,
            path,
            content,
            due: 0,
            octets: 0,
            patched: 0,
            unwritten: 0,
            late: 0,
            lost,
            told,
            failed: None,
            parts: None,
        }
    }

    /// It goes on in other files.
    pub(super) fn with_parts(self, parts: Parts) -> Self {
        let parts = Some(parts);
        Self { parts, ..self }
    }

    fn put(&mut self, heard: &Audio) {
        let Content::Wav {
            tape: Some(tape), ..
        } = &mut self.content
        else {
            return;
        };
        let decode = heard.law.decoder();
        let mut samples = [0; LONGEST];
        let octets = heard.payload.iter().take(heard.len);
        for (sample, octet) in samples.iter_mut().zip(octets) {
            *sample = decode(*octet);
        }
        let samples = samples.get(..heard.len).unwrap_or_default();
        let is_in_time = tape.put(heard.channel, heard.arrival, heard.position, samples);
        self.late += u64::from(!is_in_time);
    }

    fn capture(&mut self, captured: Captured) {
        if let Content::Pcap(capture) = &mut self.content {
            capture.put(captured);
        }
    }

    /// Silence has ended it, or the disk, or it is as long as its only file may be.
    fn is_over(&self, now: u64) -> bool {
        let is_full = self.parts.is_none() && self.is_full();
        self.content.is_silent(now) || self.failed.is_some() || is_full
    }

    const fn is_full(&self) -> bool {
        self.content.is_wav() && self.octets >= WAV_MOST
    }

    /// Writes what is complete, when it is time to. What there is of it in a file that is complete by that.
    fn go_on(&mut self, now: u64, out: &mut Vec<u8>) -> Option<Ended> {
        if now < self.due {
            return None;
        }
        self.due = now + EVERY;
        out.clear();
        self.content.take(now, out);
        if let Err(error) = self.append(out) {
            self.give_up(out, &error);
        }
        self.turn(now)
    }

    /// Goes on in another file, where it is time for that.
    fn turn(&mut self, now: u64) -> Option<Ended> {
        if self.failed.is_some() || !self.content.has_begun() {
            return None;
        }
        let parts = self.parts.as_mut()?;
        if !parts.is_due(now, self.octets, &self.content) {
            return None;
        }
        let (path, file) = match parts.next(now, &self.content) {
            Ok(next) => next,
            Err(error) => {
                if self.is_full() {
                    self.failed = Some(error.to_string());
                }
                return None;
            }
        };
        let part = Ended {
            file: std::mem::replace(&mut self.file, file),
            path: std::mem::replace(&mut self.path, path),
            channels: self.content.channels(),
            octets: std::mem::take(&mut self.octets),
            ms: 0,
            result: Ok(()),
            by_itself: true,
            is_unwanted: false,
            unwritten: 0,
            late: std::mem::take(&mut self.late),
            lost: 0,
            told: Told::Nobody,
        };
        self.patched = 0;
        Some(Ended {
            ms: self.content.ms(part.octets),
            ..part
        })
    }

    /// The disk takes no more.
    fn give_up(&mut self, out: &[u8], error: &io::Error) {
        self.unwritten += out.len() as u64;
        self.failed = Some(error.to_string());
    }

    fn finish(mut self, at: u64, by_itself: bool, is_unwanted: bool, out: &mut Vec<u8>) -> Ended {
        out.clear();
        if self.failed.is_none() {
            self.content.finish(at, out);
            if let Err(error) = self.append(out) {
                self.give_up(out, &error);
            }
        }
        let mut ended = Ended {
            file: self.file,
            path: self.path,
            channels: None,
            octets: self.octets,
            ms: 0,
            result: self.failed.map_or(Ok(()), Err),
            by_itself,
            is_unwanted,
            unwritten: self.unwritten,
            late: self.late,
            lost: self.lost.load(Ordering::Relaxed),
            told: self.told,
        };
        if let Content::Wav { form, tape } = &self.content {
            // Of a call's nothing is cut.
            if let Told::Order(_) = ended.told {
                let kept = tape.as_ref().map_or(0, |tape| tape.kept() * tape.frame());
                ended.octets = ended.octets.min(kept);
            }
            ended.channels = Some(form.channels);
            ended.ms = self.content.ms(ended.octets);
        }
        ended
    }

    fn append(&mut self, out: &[u8]) -> io::Result<()> {
        self.file.write_all(out)?;
        self.octets += out.len() as u64;
        // What was written is heard even where this process does not live to finish it.
        if let Content::Wav { form, .. } = &self.content
            && self.octets - self.patched >= PATCH
        {
            self.patched = self.octets;
            patch(&mut self.file, form.channels, self.octets)?;
        }
        Ok(())
    }
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
    const fn channels(&self) -> Option<u8> {
        match self {
            Self::Wav { form, .. } => Some(form.channels),
            Self::Pcap(_) => None,
        }
    }

    /// How long so many octets are heard; 0 of a pcap file.
    fn ms(&self, octets: u64) -> u64 {
        let per_ms = |channels: u8| u64::from(record::RATE) / 1000 * u64::from(channels) * 2;
        self.channels()
            .map_or(0, |channels| octets / per_ms(channels))
    }

    const fn ending(&self) -> &'static str {
        match self {
            Self::Wav { .. } => "wav",
            Self::Pcap(_) => "pcap",
        }
    }

    fn header(&self) -> Vec<u8> {
        match self {
            Self::Wav { form, .. } => record::header(form.channels, 0).to_vec(),
            Self::Pcap(_) => pcap::header().to_vec(),
        }
    }

    fn start(&mut self, at: u64) {
        match self {
            Self::Wav { form, tape } => *tape = Some(Box::new(Tape::new(*form, at))),
            Self::Pcap(capture) => capture.began = Some(at),
        }
    }

    const fn has_begun(&self) -> bool {
        match self {
            Self::Wav { tape, .. } => tape.is_some(),
            Self::Pcap(capture) => capture.began.is_some(),
        }
    }

    fn pause(&mut self, at: u64, how: Pause) {
        match self {
            Self::Wav { tape, .. } => {
                if let Some(tape) = tape {
                    tape.pause(at, how);
                }
            }
            Self::Pcap(capture) => capture.pauses.push_back((at, how != Pause::Resume)),
        }
    }

    fn is_silent(&self, now: u64) -> bool {
        match self {
            Self::Wav { tape, .. } => tape.as_ref().is_some_and(|tape| tape.is_silent(now)),
            Self::Pcap(_) => false,
        }
    }

    /// Appends what is complete.
    fn take(&mut self, now: u64, out: &mut Vec<u8>) {
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
    fn finish(&mut self, at: u64, out: &mut Vec<u8>) {
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
    fn put(&mut self, captured: Captured) {
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

impl Ended {
    /// Completes the file, or removes it, and tells who waits for that.
    pub(super) fn close(mut self) {
        let is_ordered = matches!(self.told, Told::Order(_));
        let is_empty = is_ordered && self.octets == 0;
        if self.is_unwanted || is_empty || (is_ordered && self.result.is_err()) {
            self.remove();
        } else if let Err(error) = self.complete() {
            warn!(path = %self.path.display(), %error, "a recording cannot be written to its end");
            self.result = Err(error.to_string());
            // Nobody would know of what is left of it.
            if is_ordered {
                self.remove();
            }
        } else {
            if let Err(error) = &self.result {
                warn!(path = %self.path.display(), error, "a recording has ended, as it cannot be written: make room on the disk");
            }
            info!(
                path = %self.path.display(),
                unwritten = self.unwritten,
                ms = self.ms,
                lost = self.lost,
                late = self.late,
                "a recording is complete"
            );
        }
        match (self.told, self.result) {
            (Told::Order(report), result) => {
                let header = if is_empty { 0 } else { record::HEADER as u64 };
                report(result.map(|()| Recorded {
                    ms: self.ms,
                    octets: header + self.octets,
                    by_itself: self.by_itself,
                }));
            }
            (Told::Call(trouble), Err(why)) if !self.is_unwanted => trouble(why),
            (Told::Call(_) | Told::Nobody, _) => {}
        }
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "cannot remove a recording");
        }
    }

    fn complete(&mut self) -> io::Result<()> {
        match self.channels {
            Some(channels) => {
                self.file.set_len(record::HEADER as u64 + self.octets)?;
                patch(&mut self.file, channels, self.octets)?;
            }
            None => self.file.set_len(pcap::HEADER as u64 + self.octets)?,
        }
        self.file.sync_all()?;
        // The file's name lasts with its folder.
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// Says in the header how long a file is, and goes back to its end.
fn patch(file: &mut File, channels: u8, octets: u64) -> io::Result<()> {
    file.rewind()?;
    file.write_all(&record::header(channels, octets))?;
    let end = record::HEADER as u64 + octets;
    file.seek(SeekFrom::Start(end)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::rotation::{Place, Rotation};
    use super::*;

    fn on_a_full_disk(content: Content, told: Told) -> Writing {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let lost = Arc::new(AtomicU64::new(0));
        let mut writing = Writing::new(file, "/dev/full".into(), content, lost, told);
        writing.content.start(0);
        writing
    }

    fn frame(arrival: u64) -> Captured {
        Captured {
            recording: 0,
            arrival,
            len: 60,
            kept: 60,
            frame: [7; ebpf_abi::LARGE],
        }
    }

    #[test]
    fn a_full_disk_ends_a_calls_recording_and_leaves_what_is_written() {
        for content in [Content::wav(Form::CALL), Content::pcap()] {
            let (tell, told) = std::sync::mpsc::channel();
            let told_of = Told::Call(Box::new(move |why| tell.send(why).unwrap()));
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            let header = content.header();
            std::fs::write(&path, &header).unwrap();
            let mut writing = on_a_full_disk(content, told_of);
            writing.path = path.clone();
            let mut out = Vec::new();
            writing.go_on(2 * EVERY, &mut out);
            assert!(
                !writing.is_over(2 * EVERY),
                "there is nothing to be written yet"
            );
            writing.capture(frame(3 * EVERY));
            writing.go_on(6 * EVERY, &mut out);
            assert!(writing.is_over(6 * EVERY));
            // A file on that disk can be truncated still.
            writing.file = OpenOptions::new().write(true).open(&path).unwrap();
            writing.finish(6 * EVERY, true, false, &mut out).close();
            let why = told.try_recv().unwrap();
            assert!(why.contains("No space left"), "{why}");
            assert_eq!(std::fs::read(&path).unwrap().len(), header.len());
        }
    }

    #[test]
    fn a_recording_goes_on_in_another_file_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content, rotation) in [
            ("p", Content::pcap(), (Duration::ZERO, 1)),
            ("w", Content::wav(Form::CALL), (Duration::from_secs(1), 0)),
        ] {
            let (tell, told) = std::sync::mpsc::channel();
            let (_, path, file) = create(folder.path(), name, 1..=1, &content).unwrap();
            let ending = content.ending();
            // Somebody else's.
            std::fs::write(folder.path().join(format!("{name}-3.{ending}")), b"").unwrap();
            let lost = Arc::new(AtomicU64::new(0));
            let of_call = Told::Call(Box::new(|why| panic!("{why}")));
            let mut writing = Writing::new(file, path.clone(), content, lost, of_call);
            let (after, octets) = rotation;
            let place = Place::new(path.clone());
            let parts = Parts::new(
                Rotation { after, octets },
                (folder.path(), name, 1),
                place.clone(),
                Box::new(move |path| tell.send(path).unwrap()),
            );
            writing = writing.with_parts(parts);
            writing.content.start(1);
            let (mut out, mut now, mut complete) = (Vec::new(), 1, Vec::new());
            for _ in 0..11 {
                writing.capture(frame(now));
                now += EVERY;
                let part = writing.go_on(now, &mut out);
                if let Some(part) = part {
                    complete.push((part.path.clone(), part.octets));
                    part.close();
                }
            }
            let last = writing.finish(now, false, false, &mut out);
            complete.push((last.path.clone(), last.octets));
            last.close();
            let told: Vec<_> = told.try_iter().collect();
            let numbered = |number: u32| folder.path().join(format!("{name}-{number}.{ending}"));
            let files: Vec<_> = complete.iter().map(|(path, _)| path.clone()).collect();
            assert_eq!(files[0], path);
            assert_eq!(files[1..], told, "each is told");
            assert_eq!(
                (told[0].clone(), told[1].clone()),
                (numbered(2), numbered(4))
            );
            assert_eq!(place.path(), told[told.len() - 1]);
            let sum: u64 = complete.iter().map(|(_, octets)| octets).sum();
            let header = match ending {
                // A frame for each time, and 2.75 s of both parties.
                "pcap" => {
                    assert_eq!(sum, 11 * (16 + 60));
                    pcap::HEADER as u64
                }
                _ => {
                    assert_eq!(sum, 2_750 * 8 * 4);
                    assert_eq!(complete.len(), 3);
                    record::HEADER as u64
                }
            };
            for (path, octets) in &complete {
                let file = std::fs::read(path).unwrap();
                assert_eq!(file.len() as u64, header + octets);
                if ending == "wav" {
                    assert_eq!(file[..record::HEADER], record::header(2, *octets));
                }
            }
        }
    }

    #[test]
    fn frames_are_written_in_order_and_not_in_pauses() {
        let mut content = Content::pcap();
        let put = |content: &mut Content, at| {
            let Content::Pcap(capture) = content else {
                unreachable!("it was made so");
            };
            capture.put(frame(at));
        };
        // What comes before it has begun is not in it.
        put(&mut content, 6);
        content.start(5);
        for at in [7, 6, 4] {
            put(&mut content, at);
        }
        content.pause(10, Pause::Skip);
        for at in [11, 9] {
            put(&mut content, at);
        }
        content.pause(20, Pause::Resume);
        for at in [HOLD + 30, 21, 19] {
            put(&mut content, at);
        }
        let epoch = match &content {
            Content::Pcap(capture) => capture.epoch,
            Content::Wav { .. } => 0,
        };
        let times = |out: &[u8]| -> Vec<u64> {
            let word = |octets: &[u8]| u64::from(u32::from_le_bytes(octets.try_into().unwrap()));
            let frames = out.chunks(16 + 60);
            let time = |frame: &[u8]| word(&frame[..4]) * 1_000_000_000 + word(&frame[4..8]);
            frames.map(|frame| time(frame) - epoch).collect()
        };
        let mut out = Vec::new();
        content.take(HOLD + 25, &mut out);
        assert_eq!(times(&out), [6, 7, 9, 21]);
        out.clear();
        content.finish(0, &mut out);
        assert_eq!(times(&out), [HOLD + 30]);
    }

    #[test]
    fn a_full_disk_ends_a_recording_that_somebody_waits_for() {
        let (tell, told) = std::sync::mpsc::channel();
        let report: Report = Box::new(move |result| tell.send(result).unwrap());
        let mut writing = on_a_full_disk(Content::wav(Form::CALL), Told::Order(report));
        let folder = tempfile::tempdir().unwrap();
        writing.path = folder.path().join("a.wav");
        std::fs::write(&writing.path, b"RIFF").unwrap();
        let (path, mut out) = (writing.path.clone(), Vec::new());
        assert!(!writing.is_over(2 * EVERY));
        writing.go_on(6 * EVERY, &mut out);
        assert!(writing.is_over(6 * EVERY));
        writing.finish(6 * EVERY, true, false, &mut out).close();
        let why = told.try_recv().unwrap().unwrap_err();
        assert!(why.contains("No space left"), "{why}");
        assert!(!path.exists());
    }
}
