//! Makes room where recordings take more than they may, or leave less than is to stay free.

use std::{io, path::Path};

use control::config::Store as Config;
use store::{Disk, Recording, StoreError};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::Retention;

/// Octets of a MiB.
const MIB: u64 = 1 << 20;
/// Recordings that are deleted at a time.
const STEP: u32 = 200;

/// Whether there was too little room for recordings, and none that is over to make some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tight {
    #[default]
    No,
    Yes,
}

/// How the folder of recordings is.
#[derive(Clone, Copy, Debug)]
struct Usage {
    /// Octets of its files.
    used: u64,
    /// Octets that its file system has left.
    free: u64,
}

impl Usage {
    fn of(folder: &Path) -> io::Result<Self> {
        let mut used = 0;
        for entry in std::fs::read_dir(folder)? {
            // One may be gone by now.
            if let Ok(file) = entry?.metadata()
                && file.is_file()
            {
                used += file.len();
            }
        }
        let free = Disk::of(folder)?.available;
        Ok(Self { used, free })
    }

    /// Octets that are to go, and by which limit.
    fn excess(self, config: &Config) -> Option<(u64, &'static str)> {
        let most = u64::from(config.keep_recordings_mib) * MIB;
        let excess = self.used.saturating_sub(most);
        let size = (most > 0 && excess > 0).then_some((excess, "keep_recordings_mib"));
        let lack = (u64::from(config.keep_free_mib) * MIB).saturating_sub(self.free);
        let free = (lack > 0).then_some((lack, "keep_free_mib"));
        size.into_iter()
            .chain(free)
            .max_by_key(|(octets, _)| *octets)
    }
}

impl Retention {
    /// Deletes recordings, those that ended first, until the others are within the limits. What is being recorded is left
    /// alone, and so are files that are no recording of a call.
    pub(super) async fn make_room(
        &self,
        config: &Config,
        folder: Option<&Path>,
        before: Tight,
    ) -> Result<Tight, StoreError> {
        let has_limit = config.keep_recordings_mib > 0 || config.keep_free_mib > 0;
        let Some(folder) = folder.filter(|_| has_limit) else {
            return Ok(Tight::No);
        };
        let place = folder.to_owned();
        let usage = match spawn_blocking(move || Usage::of(&place)).await {
            Ok(Ok(usage)) => usage,
            Ok(Err(error)) => {
                warn!(folder = %folder.display(), %error, "the folder of recordings cannot be seen");
                return Ok(before);
            }
            Err(_) => return Ok(before),
        };
        self.metrics.recordings_room(usage.used, usage.free);
        let Some((excess, limit)) = usage.excess(config) else {
            return Ok(Tight::No);
        };
        let (mut count, mut freed) = (0, 0);
        while freed < excess {
            let oldest = self.store.oldest_recordings(&self.node, STEP).await?;
            let (ids, octets) = enough(sizes(oldest, folder).await, excess - freed);
            if ids.is_empty() {
                break;
            }
            let evicted = self.store.evict_recordings(&ids).await?;
            let swept = self.store.sweep_recordings(&self.node, folder).await?;
            count += evicted;
            freed += octets;
            // Where files cannot be removed no more are given up.
            if swept.removed == 0 {
                break;
            }
        }
        self.metrics.evicted(limit, count);
        if count > 0 {
            let mib = freed / MIB;
            info!(
                count,
                mib, limit, "deleted the oldest recordings to make room"
            );
        }
        if freed >= excess {
            return Ok(Tight::No);
        }
        if before == Tight::No {
            let missing_mib = (excess - freed).div_ceil(MIB);
            warn!(
                limit,
                missing_mib,
                folder = %folder.display(),
                "there is no recording left that could be deleted to make room: move other files away, or set another limit"
            );
        }
        Ok(Tight::Yes)
    }
}

/// With the sizes that the files have now.
async fn sizes(recordings: Vec<Recording>, folder: &Path) -> Vec<Recording> {
    let folder = folder.to_owned();
    let looked = spawn_blocking(move || {
        let mut recordings = recordings;
        for recording in &mut recordings {
            let path = recording.path(&folder);
            let file = path.and_then(|path| std::fs::metadata(path).ok());
            recording.bytes = file.map_or(0, |file| file.len());
        }
        recordings
    });
    looked.await.unwrap_or_default()
}

/// The first of these that have so many octets together, and how many they have.
fn enough(recordings: Vec<Recording>, wanted: u64) -> (Vec<store::Uuid>, u64) {
    let mut octets = 0;
    let mut ids = Vec::new();
    for recording in recordings {
        if octets >= wanted {
            break;
        }
        octets += recording.bytes;
        ids.push(recording.id);
    }
    (ids, octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(most: u32, free: u32) -> Config {
        let mut config = Config::default();
        (config.keep_recordings_mib, config.keep_free_mib) = (most, free);
        config
    }

    #[test]
    fn the_limit_that_is_passed_by_more_says_how_much_is_to_go() {
        let usage = Usage {
            used: 10 * MIB + 1,
            free: 5 * MIB,
        };
        let excess = |most, free| usage.excess(&config(most, free));
        assert_eq!(excess(0, 0), None);
        assert_eq!(excess(11, 5), None);
        assert_eq!(excess(10, 5), Some((1, "keep_recordings_mib")));
        assert_eq!(excess(10, 6), Some((MIB, "keep_free_mib")));
        assert_eq!(excess(1, 6), Some((9 * MIB + 1, "keep_recordings_mib")));
    }
}
