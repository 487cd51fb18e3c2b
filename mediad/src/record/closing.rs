//! How the file of a recording that is over is completed, or removed, and who is told.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use control::media::Recorded;
use rtp::record;
use tracing::{info, warn};

use super::file::Told;
use super::pcap;

/// A recording that is written but for its header, for a thread that may wait for the disk.
pub(super) struct Ended {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Of a WAV file.
    pub(super) channels: Option<u8>,
    /// Octets after the header that are kept, and milliseconds of audio.
    pub(super) octets: u64,
    pub(super) ms: u64,
    pub(super) result: Result<(), String>,
    pub(super) by_itself: bool,
    /// Nothing is to be left of it.
    pub(super) is_unwanted: bool,
    pub(super) unwritten: u64,
    pub(super) late: u64,
    pub(super) lost: u64,
    pub(super) told: Told,
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
pub(super) fn patch(file: &mut File, channels: u8, octets: u64) -> io::Result<()> {
    file.rewind()?;
    file.write_all(&record::header(channels, octets))?;
    let end = record::HEADER as u64 + octets;
    file.seek(SeekFrom::Start(end)).map(drop)
}
