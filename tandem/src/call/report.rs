//! How a call was: for people, and as JSON for scripts.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    agent::{Ending, Plan},
    media::Stats,
};
use crate::{exit::Exit, output};

/// What is noted down while a call runs.
#[derive(Debug)]
pub(super) struct Log {
    began: Instant,
    ringing: Option<Duration>,
    answered: Option<Duration>,
    plan: Option<Plan>,
}

impl Log {
    /// The call begins now.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            ringing: None,
            answered: None,
            plan: None,
        }
    }

    /// It rings.
    pub(super) fn ringing(&mut self) {
        self.ringing.get_or_insert_with(|| self.began.elapsed());
    }

    /// Whether a provisional response came.
    pub(super) const fn is_ringing(&self) -> bool {
        self.ringing.is_some()
    }

    /// It was answered.
    pub(super) fn answered(&mut self) {
        self.answered.get_or_insert_with(|| self.began.elapsed());
    }

    /// Where audio goes.
    pub(super) const fn plan(&mut self, plan: Plan) {
        self.plan = Some(plan);
    }

    /// The time since the answer, once there is one.
    pub(super) fn up(&self) -> Option<Duration> {
        let answered = self.answered?;
        Some(self.began.elapsed().saturating_sub(answered))
    }
}

/// A call that is over. The names of its JSON stay.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The caller's URI.
    from: String,
    /// The URI that was called.
    to: String,
    call_id: String,
    answered: bool,
    /// The last status: 200 where it was answered, 487 where it was given up.
    status: u16,
    reason: String,
    /// `local`, `remote`, or `none` where it was not answered.
    ended_by: &'static str,
    ringing_ms: Option<u64>,
    answered_ms: Option<u64>,
    duration_ms: u64,
    codec: Option<&'static str>,
    remote_media: Option<String>,
    sent: Sent,
    received: Received,
    /// How the other side heard us, where it sent RTCP.
    remote: Option<Remote>,
    recording: Option<PathBuf>,
    #[serde(skip)]
    advice: String,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Debug, Serialize)]
struct Sent {
    packets: u64,
    octets: u64,
}

#[derive(Debug, Serialize)]
struct Received {
    packets: u64,
    octets: u64,
    lost: u64,
    loss_pct: f64,
    reordered: u32,
    duplicates: u32,
    refused: u64,
    jitter_ms: f64,
    /// `None` before enough came to judge.
    mos: Option<f64>,
    /// In dB below the loudest sine; `None` for silence.
    level_db: Option<f64>,
    /// From the moment when both sides' addresses were known; early media comes before.
    first_ms: Option<u64>,
    source: Option<String>,
}

#[derive(Debug, Serialize)]
struct Remote {
    lost: i32,
    loss_pct: f64,
    jitter_ms: f64,
    rtt_ms: Option<f64>,
}

/// Whose call it was.
#[derive(Debug)]
pub(super) struct Parties {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) call_id: String,
}

impl Report {
    pub(super) fn new(
        parties: Parties,
        log: &Log,
        ending: &Ending,
        stats: &Stats,
        recording: Option<&Path>,
    ) -> Self {
        let answered = log.answered.is_some();
        let (status, reason, ended_by, advice) = told(ending, answered);
        let received = &stats.received;
        let heard = received.packets() > 0;
        let exit = match (answered, heard) {
            (false, _) => Exit::NotAnswered,
            (true, false) => Exit::Silent,
            (true, true) => Exit::Done,
        };
        let planned = stats.planned.unwrap_or_default();
        Self {
            from: parties.from,
            to: parties.to,
            call_id: parties.call_id,
            answered,
            status,
            reason,
            ended_by,
            ringing_ms: log.ringing.map(ms),
            answered_ms: log.answered.map(ms),
            duration_ms: log.up().map_or(0, ms),
            codec: log.plan.map(|plan| plan.codec.name()),
            remote_media: log.plan.map(|plan| plan.remote.to_string()),
            sent: Sent {
                packets: stats.sent_packets,
                octets: stats.sent_octets,
            },
            received: Received {
                packets: received.packets(),
                octets: received.octets(),
                lost: received.lost(),
                loss_pct: rounded(received.loss_pct()),
                reordered: received.reordered(),
                duplicates: received.duplicates(),
                refused: received.refused,
                jitter_ms: rounded(received.jitter_ms()),
                mos: stats.mos().map(rounded),
                level_db: received.level_db().map(rounded),
                first_ms: received
                    .first
                    .map(|first| ms(first.saturating_sub(planned))),
                source: received.source.map(|source| source.to_string()),
            },
            remote: stats.remote.map(|remote| Remote {
                lost: remote.lost,
                loss_pct: rounded(remote.loss_pct),
                jitter_ms: rounded(remote.jitter_ms),
                rtt_ms: remote.rtt_ms.map(rounded),
            }),
            recording: recording.map(Path::to_owned),
            advice,
            exit,
        }
    }

    /// The exit code that this call deserves.
    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = output::printable(&self.reason);
        if !self.answered {
            write!(f, "not answered: {} {reason}", self.status)?;
            if !self.advice.is_empty() {
                write!(f, "\n  {}", output::printable(&self.advice))?;
            }
            return Ok(());
        }
        let who = if self.ended_by == "remote" {
            "the other side"
        } else {
            "us"
        };
        write!(
            f,
            "the call lasted {:.1} s and was ended by {who}",
            seconds(self.duration_ms)
        )?;
        if self.status != 200 {
            write!(f, ": {reason}")?;
        }
        let after =
            |at: Option<u64>| at.map_or_else(|| "never".to_owned(), |at| format!("after {at} ms"));
        write!(
            f,
            "\n  setup      rang {}, answered {}",
            after(self.ringing_ms),
            after(self.answered_ms)
        )?;
        if let (Some(codec), Some(remote)) = (self.codec, &self.remote_media) {
            write!(f, "\n  media      {codec} to {remote}")?;
        }
        write!(f, "\n  sent       {} packets", self.sent.packets)?;
        self.received.fmt(f)?;
        if let Some(remote) = &self.remote {
            write!(
                f,
                "\n  other end  {} lost, jitter {:.1} ms",
                remote.lost, remote.jitter_ms
            )?;
            if let Some(rtt) = remote.rtt_ms {
                write!(f, ", round trip {rtt:.1} ms")?;
            }
        }
        if let Some(path) = &self.recording {
            write!(f, "\n  recorded   {}", path.display())?;
        }
        Ok(())
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.packets == 0 {
            f.write_str("\n  heard      nothing: no RTP came")?;
            if self.refused > 0 {
                write!(f, " but {} packets that are no G.711", self.refused)?;
            }
            return Ok(());
        }
        let level = self
            .level_db
            .map_or_else(|| "silence".to_owned(), |level| format!("{level:.1} dB"));
        write!(
            f,
            "\n  heard      {} packets, {} lost ({:.2} %), {} late, jitter {:.2} ms, level {level}",
            self.packets, self.lost, self.loss_pct, self.reordered, self.jitter_ms
        )?;
        if let Some(mos) = self.mos {
            write!(f, ", MOS {mos:.2}")?;
        }
        Ok(())
    }
}

/// Status, reason, who ended it, and what to do about it.
fn told(ending: &Ending, answered: bool) -> (u16, String, &'static str, String) {
    let ended_by = |who| if answered { who } else { "none" };
    match ending {
        Ending::Refused {
            status,
            reason,
            advice,
        } => (*status, reason.clone(), "none", advice.clone()),
        Ending::Cancelled => (
            487,
            "given up before an answer".to_owned(),
            "none",
            String::new(),
        ),
        Ending::HungUp => (200, "OK".to_owned(), ended_by("local"), String::new()),
        Ending::RemoteHungUp => (200, "OK".to_owned(), ended_by("remote"), String::new()),
        Ending::NoMedia(reason) => (488, reason.clone(), ended_by("local"), String::new()),
        Ending::NoAck => (
            408,
            "our answer was never acknowledged".to_owned(),
            ended_by("local"),
            String::new(),
        ),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

/// To three digits, so that JSON is fit to be read.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
