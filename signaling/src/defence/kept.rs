//! The bans of operators, kept in a file so that a restart ends none of them. What a source is banned for by
//! evidence it has to do again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use control::{Fault, FaultCode, config::Cidr};
use serde::{Deserialize, Serialize};
use store::Timestamp;
use tokio::{sync::Mutex, task::spawn_blocking};
use tracing::{error, info, warn};

use super::{Ban, Defence, ban::Reason, command::LONGEST};

/// A file in the data directory with one ban as JSON on each line.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    /// Held while it is written, so that the latest is what stays.
    writing: Mutex<()>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    source: String,
    since: Timestamp,
    until: Timestamp,
    words: String,
}

impl Kept {
    /// The file in `data_dir`.
    pub(crate) fn at(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("bans.jsonl"),
            writing: Mutex::default(),
        }
    }

    /// Puts in force what the file has and is not over. What cannot be read is logged and passed over: a node
    /// that does not start keeps nobody out.
    pub(crate) fn load(&self, defence: &Defence, now: Instant, time: Timestamp) {
        let path = self.path.display();
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                error!(%path, %error, "cannot read whom operators have banned: nobody is, until they do it again");
                return;
            }
        };
        let mut bans = 0;
        for line in text.lines().filter(|line| !line.is_empty()) {
            match put(defence, now, time, line) {
                Ok(is_over) => bans += usize::from(!is_over),
                Err(error) => warn!(%path, line, error, "passed over a ban of an operator's"),
            }
        }
        info!(bans, "operators' bans are in force again");
    }

    /// Writes down which there are now.
    ///
    /// # Errors
    /// They end with this process, and why.
    pub(crate) async fn save(&self, defence: &Defence) -> Result<(), Fault> {
        let writing = self.writing.lock().await;
        let lines = lines(defence, Instant::now(), Timestamp::now());
        let path = self.path.clone();
        let written = spawn_blocking(move || write(&path, &lines)).await;
        drop(writing);
        let error = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let message = format!(
            "done, but only until signaling is restarted: cannot write {}: {error}; make the data directory \
             writable and ask again",
            self.path.display()
        );
        error!("{message}");
        Err(Fault::new(FaultCode::Internal, message))
    }
}

/// Puts a ban in force; tells whether it is over already.
fn put(defence: &Defence, now: Instant, time: Timestamp, line: &str) -> Result<bool, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let block: Cidr = line.source.parse().map_err(|error| format!("{error}"))?;
    let left = line
        .until
        .since(time)
        .min(Duration::from_secs(LONGEST.into()));
    if left.is_zero() {
        return Ok(true);
    }
    let age = time.since(line.since);
    let since = now.checked_sub(age).unwrap_or(now);
    let ban = Ban::by_operator(since, now + left, &line.words);
    let put = defence.put(now, block, ban);
    put.map(|()| false).map_err(|error| error.to_string())
}

fn lines(defence: &Defence, now: Instant, time: Timestamp) -> Vec<Line> {
    let later = |length: Duration| i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let bans = defence.list(now).into_iter();
    let lines = bans.filter_map(|(block, ban)| {
        let Reason::Operator(words) = ban.reason else {
            return None;
        };
        let age = later(now.saturating_duration_since(ban.since));
        let left = later(ban.until.saturating_duration_since(now));
        Some(Line {
            source: block.to_string(),
            since: Timestamp::from_millis(time.millis().saturating_sub(age)),
            until: Timestamp::from_millis(time.millis().saturating_add(left)),
            words,
        })
    });
    lines.collect()
}

/// Under another name first, so that the file is whole whenever it is read.
fn write(path: &Path, lines: &[Line]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = BufWriter::new(options.open(&draft)?);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use control::config::{self, Transport};

    use super::*;
    use crate::defence::Evidence;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn defence(now: Instant) -> Defence {
        let config = config::Defence {
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            ..config::Defence::default()
        };
        Defence::new(&config, Duration::from_millis(500), now)
    }

    fn shown(defence: &Defence, now: Instant) -> Vec<(String, u64, u64, String)> {
        let bans = defence.list(now).into_iter();
        let mut shown: Vec<_> = bans
            .map(|(block, ban)| {
                let age = now.saturating_duration_since(ban.since).as_secs();
                let left = ban.until.saturating_duration_since(now).as_secs();
                (block.to_string(), age, left, ban.reason.to_string())
            })
            .collect();
        shown.sort();
        shown
    }

    #[tokio::test]
    async fn what_operators_ban_outlasts_a_restart_until_its_end_and_what_they_lift_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        let now = Instant::now();
        let first = defence(now);
        kept.load(&first, now, Timestamp::now());
        for (source, hours) in [
            ("203.0.113.5", 1),
            ("198.51.100.0/24", 3),
            ("2001:db8:1::/48", 3),
            ("203.0.113.6", 9),
        ] {
            let length = HOUR.as_secs() * hours;
            let length = u32::try_from(length).unwrap();
            first.order(now, source, length, "toll \"fraud\"").unwrap();
            kept.save(&first).await.unwrap();
        }
        first.pardon("203.0.113.6").unwrap();
        kept.save(&first).await.unwrap();
        let guesser = "203.0.113.77".parse().unwrap();
        while !first.report_from(now, guesser, Transport::Tcp, Evidence::NotSip) {}
        kept.save(&first).await.unwrap();

        let millis = Timestamp::now().millis() + 2 * 3_600_000 - 500;
        let second = defence(now);
        kept.load(&second, now + HOUR, Timestamp::from_millis(millis));
        let shown = shown(&second, now + HOUR);
        let about = |seconds: u64, hours: u64| seconds.abs_diff(hours * 3_600) < 60;
        let [(a, _, left, words), (b, ..)] = &shown[..] else {
            panic!("{shown:?}");
        };
        assert_eq!(
            (a.as_str(), b.as_str()),
            ("198.51.100.0/24", "2001:db8:1::/48")
        );
        assert!(
            about(*left, 1) && words == "operator: toll \"fraud\"",
            "{shown:?}"
        );
    }

    #[test]
    fn what_cannot_be_used_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        let line = |source: &str, until: &str| {
            format!(
                "{{\"source\":\"{source}\",\"since\":\"2026-01-01T00:00:00.000Z\",\"until\":\"{until}\",\
                 \"words\":\"\"}}\n"
            )
        };
        let text = [
            line("192.0.2.7", "2026-06-01T00:00:00.000Z"),
            line("nobody", "2026-06-01T00:00:00.000Z"),
            "{\"source\":\n\u{1}\n".to_owned(),
            line("203.0.113.5/32", "9999-01-01T00:00:00.000Z"),
        ];
        fs::write(&kept.path, text.concat()).unwrap();
        let now = Instant::now();
        let defence = defence(now);
        kept.load(&defence, now, "2026-02-01T00:00:00Z".parse().unwrap());
        let shown = shown(&defence, now);
        let [(source, _, left, _)] = &shown[..] else {
            panic!("{shown:?}");
        };
        assert_eq!(
            (source.as_str(), *left),
            ("203.0.113.5/32", u64::from(LONGEST))
        );
    }

    #[tokio::test]
    async fn an_operator_hears_that_a_ban_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(&folder.path().join("missing"));
        let fault = kept.save(&defence(Instant::now())).await.unwrap_err();
        assert!(
            fault.message.contains("until signaling is restarted"),
            "{fault}"
        );
    }
}
