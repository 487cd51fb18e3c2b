//! The thread that writes recordings, and those that complete their files.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use control::media::Recorded;
use crossbeam_channel::{Receiver, Sender};
use rtp::record::{self, Form, Pause, Tape};
use tracing::{info, warn};

use super::{Audio, LONGEST, Report};
use crate::io::monotonic_ns;

/// How often the queue is looked at.
const PACE: Duration = Duration::from_millis(20);
/// How often a recording is written to its file, in nanoseconds.
const EVERY: u64 = 250_000_000;
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
    form: Form,
    /// Once it has begun.
    tape: Option<Tape>,
    /// When it is written next.
    due: u64,
    octets: u64,
    patched: u64,
    /// Octets that the disk did not take.
    unwritten: u64,
    late: u64,
    lost: Arc<AtomicU64>,
    /// Of a recording that somebody waits for: it ends where the disk does not take it.
    report: Option<Report>,
    failed: Option<String>,
}

/// A recording that is written but for its header, for a thread that may wait for the disk.
pub(super) struct Ended {
    file: File,
    path: PathBuf,
    channels: u8,
    /// Octets of samples that are kept, and milliseconds.
    octets: u64,
    ms: u64,
    result: Result<(), String>,
    by_itself: bool,
    /// Nothing is to be left of it.
    is_unwanted: bool,
    unwritten: u64,
    late: u64,
    lost: u64,
    report: Option<Report>,
}

/// Makes the file of a recording of this name, or, for as many of the same name as may be, of the first that is free
/// after it.
pub(super) fn create(
    folder: &Path,
    name: &str,
    same_name: u32,
    channels: u8,
) -> io::Result<(PathBuf, File)> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    if name.is_empty() || name.len() > 100 || !name.bytes().all(is_plain) {
        let why = "its name has other characters than letters, digits, - and _";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    for number in 1..=same_name {
        let path = match number {
            1 => folder.join(format!("{name}.wav")),
            number => folder.join(format!("{name}-{number}.wav")),
        };
        match options.open(&path) {
            Ok(mut file) => {
                if let Err(error) = file.write_all(&record::header(channels, 0)) {
                    drop(std::fs::remove_file(&path));
                    return Err(error);
                }
                return Ok((path, file));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The thread.
pub(super) fn write(orders: &Receiver<Order>, audio: &Receiver<Audio>, closing: &Sender<Ended>) {
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
        for (number, at, is_unwanted) in desk.ended.drain(..) {
            if let Some(writing) = desk.all.remove(&number) {
                close(writing.finish(at, false, is_unwanted, &mut out));
            }
        }
        let now = monotonic_ns();
        for writing in desk.all.values_mut() {
            writing.go_on(now, &mut out);
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
                    writing.tape = Some(Tape::new(writing.form, at));
                }
            }
            Order::Pause { number, at, how } => {
                let writing = self.all.get_mut(&number);
                if let Some(tape) = writing.and_then(|writing| writing.tape.as_mut()) {
                    tape.pause(at, how);
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
        writing.is_some_and(|writing| writing.tape.is_some())
    }
}

impl Writing {
    pub(super) fn new(
        file: File,
        path: PathBuf,
        form: Form,
        lost: Arc<AtomicU64>,
        report: Option<Report>,
    ) -> Self {
        Self {
            file,
            path,
            form,
            tape: None,
            due: 0,
            octets: 0,
            patched: 0,
            unwritten: 0,
            late: 0,
            lost,
            report,
            failed: None,
        }
    }

    fn put(&mut self, heard: &Audio) {
        let Some(tape) = &mut self.tape else {
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

    /// Silence has ended it, or the disk.
    fn is_over(&self, now: u64) -> bool {
        let is_silent = self.tape.as_ref().is_some_and(|tape| tape.is_silent(now));
        is_silent || self.failed.is_some()
    }

    /// Writes what is complete, when it is time to.
    fn go_on(&mut self, now: u64, out: &mut Vec<u8>) {
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        out.clear();
        if let Some(tape) = &mut self.tape {
            tape.take(now, out);
        }
        if let Err(error) = self.append(out) {
            self.give_up(out, &error);
        }
    }

    /// The disk takes nothing now. It may do so again, which is waited for where nobody is to be told.
    fn give_up(&mut self, out: &[u8], error: &io::Error) {
        if self.report.is_some() {
            self.failed = Some(error.to_string());
            return;
        }
        if self.unwritten == 0 {
            warn!(path = %self.path.display(), %error, "a recording cannot be written, and loses what comes until it can");
        }
        self.unwritten += out.len() as u64;
        // A part may have been written.
        if let Err(error) = self.file.seek(SeekFrom::Start(self.end())) {
            warn!(path = %self.path.display(), %error, "a recording may be damaged");
        }
    }

    const fn end(&self) -> u64 {
        record::HEADER as u64 + self.octets
    }

    fn finish(mut self, at: u64, by_itself: bool, is_unwanted: bool, out: &mut Vec<u8>) -> Ended {
        out.clear();
        let mut kept = 0;
        if let Some(tape) = self.tape.as_mut().filter(|_| self.failed.is_none()) {
            tape.finish(at, out);
            // Without a report nothing is cut, and what the disk did not take may lie in between.
            kept = match self.report {
                Some(_) => tape.kept() * tape.frame(),
                None => u64::MAX,
            };
        }
        if let Err(error) = self.append(out) {
            self.give_up(out, &error);
        }
        let octets = self.octets.min(kept);
        let per_ms = u64::from(record::RATE) / 1000 * u64::from(self.form.channels) * 2;
        Ended {
            file: self.file,
            path: self.path,
            channels: self.form.channels,
            octets,
            ms: octets / per_ms,
            result: self.failed.map_or(Ok(()), Err),
            by_itself,
            is_unwanted,
            unwritten: self.unwritten,
            late: self.late,
            lost: self.lost.load(Ordering::Relaxed),
            report: self.report,
        }
    }

    fn append(&mut self, out: &[u8]) -> io::Result<()> {
        self.file.write_all(out)?;
        self.octets += out.len() as u64;
        // What was written is heard even where this process does not live to finish it.
        if self.octets - self.patched >= PATCH {
            self.patched = self.octets;
            patch(&mut self.file, self.form.channels, self.octets)?;
        }
        Ok(())
    }
}

impl Ended {
    /// Completes the file, or removes it, and tells who waits for that.
    pub(super) fn close(mut self) {
        let is_empty = self.report.is_some() && self.octets == 0;
        if self.is_unwanted || is_empty || self.result.is_err() {
            if let Err(error) = std::fs::remove_file(&self.path) {
                warn!(path = %self.path.display(), %error, "cannot remove a recording");
            }
        } else if let Err(error) = self.complete() {
            warn!(path = %self.path.display(), %error, "a recording cannot be written to its end");
            self.result = Err(error.to_string());
            // Nobody would know of what is left of it.
            if self.report.is_some()
                && let Err(error) = std::fs::remove_file(&self.path)
            {
                warn!(path = %self.path.display(), %error, "cannot remove a recording");
            }
        } else {
            info!(
                path = %self.path.display(),
                unwritten = self.unwritten,
                ms = self.ms,
                lost = self.lost,
                late = self.late,
                "a recording is complete"
            );
        }
        let Some(report) = self.report else { return };
        let header = if is_empty { 0 } else { record::HEADER as u64 };
        report(self.result.map(|()| Recorded {
            ms: self.ms,
            octets: header + self.octets,
            by_itself: self.by_itself,
        }));
    }

    fn complete(&mut self) -> io::Result<()> {
        self.file.set_len(record::HEADER as u64 + self.octets)?;
        patch(&mut self.file, self.channels, self.octets)?;
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
    use super::*;

    fn on_a_full_disk(report: Option<Report>) -> Writing {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let lost = Arc::new(AtomicU64::new(0));
        Writing {
            tape: Some(Tape::new(Form::CALL, 0)),
            ..Writing::new(file, "/dev/full".into(), Form::CALL, lost, report)
        }
    }

    #[test]
    fn a_full_disk_loses_what_it_does_not_take() {
        let mut writing = on_a_full_disk(None);
        let mut out = Vec::new();
        writing.go_on(2 * EVERY, &mut out);
        assert_eq!(writing.unwritten, 0, "there is nothing to be written yet");
        writing.go_on(6 * EVERY, &mut out);
        // A second, of which half is held back, in stereo.
        assert_eq!((writing.unwritten, writing.octets), (4 * 8_000, 0));
        writing.file = tempfile::tempfile().unwrap();
        writing.file.seek(SeekFrom::Start(writing.end())).unwrap();
        writing.go_on(10 * EVERY, &mut out);
        assert_eq!((writing.unwritten, writing.octets), (4 * 8_000, 4 * 8_000));
    }

    #[test]
    fn a_full_disk_ends_a_recording_that_somebody_waits_for() {
        let (tell, told) = std::sync::mpsc::channel();
        let report: Report = Box::new(move |result| tell.send(result).unwrap());
        let mut writing = on_a_full_disk(Some(report));
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
