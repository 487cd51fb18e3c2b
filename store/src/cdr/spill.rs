//! CDRs that a process could not write before its end, kept in a file for the next one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use tracing::{error, warn};

use super::CallRecord;

/// A file with one record as JSON on each line. It is there only while something is in it.
#[derive(Debug)]
pub(super) struct Spill(PathBuf);

impl Spill {
    /// The file in `data_dir`.
    pub(super) fn at(data_dir: &Path) -> Self {
        Self(data_dir.join("cdrs-unwritten.jsonl"))
    }

    /// What is in the file. A line that cannot be read is logged as a whole and passed over.
    pub(super) fn load(&self) -> Vec<CallRecord> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                error!(path = %self.0.display(), %error, "cannot read the CDRs that were kept");
                return Vec::new();
            }
        };
        let lines = text
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty());
        let cdrs: Vec<CallRecord> = lines
            .filter_map(|line| {
                serde_json::from_slice(line)
                    .inspect_err(|error| {
                        let line = String::from_utf8_lossy(line);
                        error!(path = %self.0.display(), %error, %line, "a CDR that was kept is damaged");
                    })
                    .ok()
            })
            .collect();
        warn!(path = %self.0.display(), count = cdrs.len(), "writing CDRs that an earlier process kept");
        cdrs
    }

    /// Puts exactly `cdrs` into the file, so that they survive a power failure too.
    pub(super) fn save(&self, cdrs: &[CallRecord]) -> io::Result<()> {
        let draft = self.0.with_extension("draft");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = BufWriter::new(options.open(&draft)?);
        for cdr in cdrs {
            serde_json::to_writer(&mut file, cdr)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&draft, &self.0)?;
        self.0
            .parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
        warn!(path = %self.0.display(), count = cdrs.len(), "CDRs wait in a file for the next start");
        Ok(())
    }

    /// Removes the file: all of it is in the database.
    pub(super) fn clear(&self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            // Harmless: a record that is written again stays as it is.
            warn!(path = %self.0.display(), %error, "cannot remove the file of CDRs");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_kept_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::at(folder.path());
        let old = r#"{"id":"019aa0c4-0000-7000-8000-000000000001","call_id":"old","from_uri":"sip:a@b",
            "to_uri":"sip:c@d","request_uri":"sip:c@d","source":"192.0.2.1:5060","transport":"udp",
            "trunk":"a","route":"","started":"2026-01-05T08:30:00.000Z","ringing":null,"answered":null,
            "ended":"2026-01-05T08:30:01.000Z","status":404,"reason":"Not Found","ended_by":"node",
            "cause":"no-route","datapath":null,"from_caller":null,"from_callee":null}"#;
        fs::write(&spill.0, old.replace('\n', "")).unwrap();
        let read = spill.load();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].events, []);
        let one = &read[0].cdr;
        assert_eq!(
            (&one.origin, &one.callee_user, &one.tenant),
            (&None, &None, &None)
        );
    }

    #[test]
    fn what_happened_is_kept_with_its_call() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::at(folder.path());
        let cdr = super::super::writer::tests::cdr("with events");
        let event = |number| crate::CallEvent {
            call: cdr.id,
            number,
            at: crate::Timestamp::from_millis(5),
            kind: "held".to_owned(),
            data: format!(r#"{{"on":{}}}"#, number == 0),
        };
        let kept = [
            CallRecord {
                events: vec![event(0), event(1)],
                recordings: vec![crate::Recording {
                    id: uuid::Uuid::now_v7(),
                    call: cdr.id,
                    tenant: None,
                    started: crate::Timestamp::from_millis(1),
                    ended: crate::Timestamp::from_millis(2),
                    channels: 2,
                    bytes: 44,
                    node: "one".to_owned(),
                    file: "one.wav".to_owned(),
                }],
                cdr: cdr.clone(),
            },
            cdr.clone().into(),
        ];
        spill.save(&kept).unwrap();
        assert_eq!(spill.load(), kept);
    }
}
