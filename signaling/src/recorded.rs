//! What is in the files of a call's recordings, when the call is over.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use store::{CallRecord, Recording, Uuid};
use tracing::warn;

/// How long mediad may take to write the end of a recording: it writes four times a second.
const WRITTEN: Duration = Duration::from_millis(500);

/// How long the files may take to be looked at.
const PATIENCE: Duration = Duration::from_secs(1);

/// A call's record with the sizes of the files of its recordings, which are on this machine as mediad is, and with those
/// files that mediad has begun since the call was over: it hears of that later.
pub(crate) async fn complete(mut record: CallRecord, folder: Option<PathBuf>) -> CallRecord {
    tokio::time::sleep(WRITTEN).await;
    let Some(folder) = folder else {
        return record;
    };
    let recordings = record.recordings.clone();
    let looked = tokio::task::spawn_blocking(move || look(recordings, &folder));
    // A record does not wait for a disk that hangs.
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(recordings)) => record.recordings = recordings,
        Ok(Err(error)) => warn!(call = %record.cdr.id, %error, "recordings cannot be seen"),
        Err(_) => warn!(call = %record.cdr.id, "the disk does not tell how long recordings are"),
    }
    record
}

fn look(mut recordings: Vec<Recording>, folder: &Path) -> Vec<Recording> {
    recordings.extend(later(&recordings, folder));
    for recording in &mut recordings {
        let Some(path) = recording.path(folder) else {
            continue;
        };
        match std::fs::metadata(&path) {
            Ok(file) => recording.bytes = file.len(),
            Err(error) => warn!(file = %path.display(), %error, "a recording cannot be seen"),
        }
    }
    recordings
}

/// The files after the last one of each kind that is listed.
fn later(recordings: &[Recording], folder: &Path) -> Vec<Recording> {
    let mut last = BTreeMap::new();
    for recording in recordings {
        let Some((number, ending)) = part_of(&recording.file, recording.call) else {
            continue;
        };
        let latest = last.entry(ending).or_insert((number, recording));
        if number >= latest.0 {
            *latest = (number, recording);
        }
    }
    let mut later = Vec::new();
    for (ending, (number, before)) in last {
        for number in number.saturating_add(1)..=u32::MAX {
            let next = Recording {
                id: Uuid::now_v7(),
                started: before.ended,
                bytes: 0,
                file: format!("{}-{number}.{ending}", before.call),
                ..before.clone()
            };
            if !next.path(folder).is_some_and(|path| is_file(&path)) {
                break;
            }
            later.push(next);
        }
    }
    later
}

fn is_file(path: &Path) -> bool {
    let looked: io::Result<_> = std::fs::metadata(path);
    looked.is_ok_and(|file| file.is_file())
}

/// The number of a file among those of a call, 1 for the first, and what it ends with.
fn part_of(file: &str, call: Uuid) -> Option<(u32, &str)> {
    let (name, ending) = file.rsplit_once('.')?;
    match name.strip_prefix(&call.to_string())? {
        "" => Some((1, ending)),
        number => Some((number.strip_prefix('-')?.parse().ok()?, ending)),
    }
}

#[cfg(test)]
mod tests {
    use store::Timestamp;

    use super::*;

    #[test]
    fn files_that_a_recording_went_on_in_after_its_call_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let call = Uuid::now_v7();
        let recording = |file: String, ended| Recording {
            id: Uuid::now_v7(),
            call,
            tenant: Some("acme".into()),
            started: Timestamp::from_millis(1),
            ended: Timestamp::from_millis(ended),
            channels: 2,
            bytes: 0,
            node: "one".into(),
            file,
        };
        // Of sound two files are listed and two are not; of packets there is one.
        let listed = vec![
            recording(format!("{call}.wav"), 5),
            recording(format!("{call}-2.wav"), 9),
            recording(format!("{call}.pcap"), 7),
            recording("of-an-application.wav".into(), 7),
        ];
        let other = Uuid::now_v7();
        for name in [
            format!("{call}.wav"),
            format!("{call}-2.wav"),
            format!("{call}-3.wav"),
            format!("{call}-4.wav"),
            format!("{call}-6.wav"),
            format!("{call}.pcap"),
            format!("{other}-2.pcap"),
            "of-an-application.wav".into(),
        ] {
            std::fs::write(folder.path().join(name), [7; 44]).unwrap();
        }
        let all = look(listed.clone(), folder.path());
        let files: Vec<_> = all.iter().map(|it| it.file.as_str()).collect();
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| listed[at].file.as_str());
        let (third, fourth) = (format!("{call}-3.wav"), format!("{call}-4.wav"));
        assert_eq!(files, [a, b, c, d, &*third, &*fourth]);
        assert!(all.iter().all(|it| it.bytes == 44), "{all:?}");
        let third = &all[4];
        assert_eq!(
            (third.started, third.ended),
            (listed[1].ended, listed[1].ended)
        );
        assert_eq!(third.tenant, listed[1].tenant);
        assert_ne!(third.id, listed[1].id);
    }
}
