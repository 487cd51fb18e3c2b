//! Recordings of calls that go on in another file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use super::content::{self, Content};

/// What a WAV file may have: its header counts octets in 32 bits, and some seconds may come at once.
pub(super) const WAV_MOST: u64 = (1 << 32) - (1 << 24);
/// What applications record is one file each, of 24 hours at most where they are as Twilio's: both parties' fit.
const _: () = assert!(24 * 3600 * rtp::record::RATE as u64 * 2 * 2 <= WAV_MOST);
/// Files of one call's name at most, of whichever of its recordings.
pub(super) const PARTS: u32 = 10_000;
/// How long a disk that gives no new file is left alone, in nanoseconds.
const AGAIN: u64 = 10_000_000_000;

/// When a recording goes on in another file. 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rotation {
    /// After so long.
    pub(crate) after: Duration,
    /// After so many octets.
    pub(crate) octets: u64,
}

/// Where a recording is written now: what is told of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Place(Arc<Mutex<PathBuf>>);

/// How a recording goes on.
pub(super) struct Parts {
    rotation: Rotation,
    folder: PathBuf,
    name: String,
    /// The number of the latest file.
    number: u32,
    /// When that was begun, in [`monotonic_ns`](crate::io::monotonic_ns): while nothing is in it, it begins.
    since: u64,
    /// No other file is asked for before this time.
    not_before: u64,
    place: Place,
    /// Is told of each file after the first.
    tell: Box<dyn Fn(PathBuf) + Send>,
}

impl Place {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Mutex::new(path)))
    }

    pub(super) fn path(&self) -> PathBuf {
        let path = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        path.clone()
    }

    fn put(&self, path: PathBuf) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }
}

impl Parts {
    pub(super) fn new(
        rotation: Rotation,
        (folder, name, number): (&Path, &str, u32),
        place: Place,
        tell: Box<dyn Fn(PathBuf) + Send>,
    ) -> Self {
        Self {
            rotation,
            folder: folder.to_owned(),
            name: name.to_owned(),
            number,
            since: 0,
            not_before: 0,
            place,
            tell,
        }
    }

    /// Whether it is time for the next file, of one with so many octets after its header.
    pub(super) fn is_due(&mut self, now: u64, octets: u64, content: &Content) -> bool {
        if self.since == 0 || octets == 0 {
            self.since = now;
        }
        if content.is_wav() && octets >= WAV_MOST {
            return true;
        }
        if now < self.not_before {
            return false;
        }
        let Rotation {
            after,
            octets: most,
        } = self.rotation;
        let is_old =
            !after.is_zero() && u128::from(now.saturating_sub(self.since)) >= after.as_nanos();
        let is_large = most != 0 && octets >= most;
        is_old || is_large
    }

    /// Begins the next file, and tells of it.
    ///
    /// # Errors
    /// There can be none. It is not tried again for a while.
    pub(super) fn next(
        &mut self,
        now: u64,
        content: &Content,
    ) -> io::Result<(PathBuf, std::fs::File)> {
        let numbers = self.number + 1..=PARTS;
        let made = content::create(&self.folder, &self.name, numbers, content);
        let (number, path, file) = match made {
            Ok(made) => made,
            Err(error) => {
                warn!(name = self.name, %error, "a recording cannot go on in another file: trying again");
                self.not_before = now.saturating_add(AGAIN);
                return Err(error);
            }
        };
        self.number = number;
        self.since = now;
        self.place.put(path.clone());
        (self.tell)(path.clone());
        Ok((path, file))
    }
}
