//! Lists files of recordings that no record of a call has told of: what mediad went on with when the call was over, and
//! what a node wrote that was killed.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use store::{Cdr, ERASED, Recording, StoreError, Timestamp, Uuid};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::Retention;

/// A file that was written in so long may go on, and its call's record may come.
const REST: Duration = Duration::from_secs(3600);
/// One whose call has no record rests for so long.
const LONG_REST: Duration = Duration::from_secs(24 * 3600);

/// A file of a call's name.
#[derive(Debug)]
struct File {
    name: String,
    call: Uuid,
    bytes: u64,
    written: Timestamp,
    rested: Duration,
}

impl Retention {
    /// Once. A file is of a call that is over where there is its record, or where it began before this process did.
    pub(super) async fn list_left(&self, folder: &Path) -> Result<(), StoreError> {
        let place = folder.to_owned();
        let files = match spawn_blocking(move || files(&place)).await {
            Ok(Ok(files)) => files,
            Ok(Err(error)) => {
                warn!(folder = %folder.display(), %error, "the folder of recordings cannot be seen");
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        let mut count = 0_u64;
        for file in files {
            if self
                .store
                .is_recording_listed(&self.node, &file.name)
                .await?
            {
                continue;
            }
            let call = self.store.cdr(file.call).await?;
            let began = began(file.call);
            if call.is_none()
                && (file.rested < LONG_REST || began.is_none_or(|at| at >= self.began))
            {
                continue;
            }
            let is_erased = call.as_ref().is_some_and(is_erased);
            let started = call.as_ref().map(|call| call.started).or(began);
            let recording = Recording {
                id: Uuid::now_v7(),
                call: file.call,
                tenant: call.and_then(|call| call.tenant),
                started: started.unwrap_or(file.written).min(file.written),
                ended: file.written,
                channels: 2,
                bytes: file.bytes,
                node: self.node.clone(),
                file: file.name,
            };
            self.store.insert_recording(&recording).await?;
            if is_erased {
                self.store.evict_recordings(&[recording.id]).await?;
            }
            count += 1;
        }
        if count > 0 {
            info!(
                count,
                "listed files of recordings that no record of a call has told of"
            );
        }
        Ok(())
    }
}

/// Whether a party of a call was erased: with it goes what is recorded of the call.
fn is_erased(call: &Cdr) -> bool {
    call.call_id == ERASED || call.request_uri.contains("@erased.invalid")
}

/// Those that have rested.
fn files(folder: &Path) -> std::io::Result<Vec<File>> {
    let now = SystemTime::now();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(call) = call_of(&name) else {
            continue;
        };
        // One may be gone by now.
        let Ok(file) = entry.metadata() else {
            continue;
        };
        let rested = file
            .modified()
            .ok()
            .and_then(|at| now.duration_since(at).ok());
        let Some(rested) = rested.filter(|rested| file.is_file() && *rested >= REST) else {
            continue;
        };
        files.push(File {
            name,
            call,
            bytes: file.len(),
            written: Timestamp::now().earlier(rested),
            rested,
        });
    }
    Ok(files)
}

/// Whose recording a file is, by its name: `ID.wav`, `ID-2.wav` and so on.
fn call_of(name: &str) -> Option<Uuid> {
    let (name, ending) = name.rsplit_once('.')?;
    let (id, number) = name.split_at_checked(36)?;
    let is_number = |number: &str| number.parse::<u32>().is_ok_and(|number| number > 1);
    let is_part = number.is_empty() || number.strip_prefix('-').is_some_and(is_number);
    (is_part && matches!(ending, "wav" | "pcap")).then_some(())?;
    Uuid::try_parse(id).ok()
}

/// When a call began, by its id.
fn began(call: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = call.get_timestamp()?.to_unix();
    let ms = seconds * 1000 + u64::from(nanos / 1_000_000);
    i64::try_from(ms).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_calls_by_its_name() {
        let call = Uuid::now_v7();
        for name in ["{}.wav", "{}-2.wav", "{}-10000.pcap"] {
            assert_eq!(call_of(&name.replace("{}", &call.to_string())), Some(call));
        }
        for name in [
            "{}",
            "{}.txt",
            "{}-1.wav",
            "{}-x.wav",
            "{}x.wav",
            "RE{}.wav",
            "x.wav",
            ".recordings",
            "ä.wav",
        ] {
            assert_eq!(
                call_of(&name.replace("{}", &call.to_string())),
                None,
                "{name}"
            );
        }
    }

    #[test]
    fn the_id_of_a_call_tells_when_it_began() {
        let now = Timestamp::now();
        let began = began(Uuid::now_v7()).unwrap();
        assert!(
            began >= now.earlier(Duration::from_millis(1)),
            "{began:?} {now:?}"
        );
        assert_eq!(super::began(Uuid::nil()), None);
    }
}
