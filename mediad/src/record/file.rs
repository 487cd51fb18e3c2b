//! A recording that is being written: how it fills its file, goes on in another one, and comes to its end.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use super::closing::{Ended, patch};
use super::content::Content;
use super::rotation::{Parts, WAV_MOST};
use super::{Audio, Captured, LONGEST, Report};

/// How often a recording is written to its file, in nanoseconds.
pub(super) const EVERY: u64 = 250_000_000;
/// After so many milliseconds more of sound the header says how long the file is.
const PATCH: u64 = 1_000;

/// A recording that is being written.
pub(super) struct Writing {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) content: Content,
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
    /// Octets of sound after which it ends, where it may not.
    pub(super) most: u64,
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
            most: WAV_MOST,
        }
    }

    /// It goes on in other files.
    pub(super) fn with_parts(self, parts: Parts) -> Self {
        let parts = Some(parts);
        Self { parts, ..self }
    }

    pub(super) fn put(&mut self, heard: &Audio) {
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

    pub(super) fn capture(&mut self, captured: Captured) {
        if let Content::Pcap(capture) = &mut self.content {
            capture.put(captured);
        }
    }

    /// Silence has ended it, or the disk, or it is as long as its only file may be.
    pub(super) fn is_over(&self, now: u64) -> bool {
        let is_full = self.parts.is_none() && self.is_full();
        self.content.is_silent(now) || self.failed.is_some() || is_full
    }

    const fn is_full(&self) -> bool {
        self.content.is_wav() && self.octets >= self.most
    }

    /// Writes what is complete, when it is time to. What there is of it in a file that is complete by that.
    pub(super) fn go_on(&mut self, now: u64, out: &mut Vec<u8>) -> Option<Ended> {
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

    pub(super) fn finish(
        mut self,
        at: u64,
        by_itself: bool,
        is_unwanted: bool,
        out: &mut Vec<u8>,
    ) -> Ended {
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
            if by_itself && self.parts.is_none() && self.octets >= self.most {
                warn!(path = %ended.path.display(), "a recording has ended, as its file is as large as a WAV file can be");
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
        let since = self.octets - self.patched;
        let is_due = since > 0 && (self.patched == 0 || self.content.ms(since) >= PATCH);
        if let Some(channels) = self.content.channels().filter(|_| is_due) {
            self.patched = self.octets;
            patch(&mut self.file, channels, self.octets)?;
        }
        Ok(())
    }
}
