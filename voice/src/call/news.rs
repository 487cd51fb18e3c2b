//! How what a call has is now: what a host keeps for those who ask the REST API.

use std::time::{Duration, SystemTime};

use super::{Call, CallStatus, Direction, JobId, LegId};
use crate::{sid::Sid, twiml::Tracks};

/// How something is now, in place of what was told of it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A leg: the party, or who is dialled.
    Leg(LegNews),
    /// A stream.
    Stream(StreamNews),
    /// A recording.
    Recording(RecordingNews),
}

/// How a leg is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegNews {
    /// Which.
    pub leg: LegId,
    /// What it is called.
    pub sid: Sid,
    /// The party's leg, of one that was dialled.
    pub parent: Option<Sid>,
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// Who began it.
    pub direction: Direction,
    /// How it is.
    pub status: CallStatus,
}

/// How a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamNews {
    /// What it is called.
    pub sid: Sid,
    /// What its author calls it; its SID where he does not.
    pub name: String,
    /// It goes on.
    pub is_up: bool,
}

/// How a recording is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingNews {
    /// What it is called.
    pub sid: Sid,
    /// What asked for it, in the words of callbacks: `RecordVerb`, `DialVerb`, `OutboundAPI` or
    /// `StartCallRecordingAPI`.
    pub source: &'static str,
    /// Who is recorded.
    pub tracks: Tracks,
    /// 1, or 2 where each party has one.
    pub channels: u8,
    /// How it is.
    pub status: RecordingStatus,
    /// When it began.
    pub started: SystemTime,
    /// How long it is; `None` until it is over.
    pub length: Option<Duration>,
}

/// How a recording is, in the words of the REST API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingStatus {
    /// It goes on, or is about to.
    InProgress,
    /// It waits to go on.
    Paused,
    /// It is over, and being written.
    Processing,
    /// It can be fetched.
    Completed,
    /// There was nothing to record.
    Absent,
}

impl RecordingStatus {
    /// As the REST API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Paused => "paused",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Absent => "absent",
        }
    }
}

impl Call {
    /// How something of the call is that has changed, until there is no more. To be drained as actions are.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    pub(super) fn leg_news(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        self.news.push_back(News::Leg(LegNews {
            leg: id,
            sid: leg.sid.clone(),
            parent: (id != LegId::PARTY).then(|| self.sid.clone()),
            from: leg.from.clone(),
            to: leg.to.clone(),
            direction: leg.direction,
            status: leg.status,
        }));
    }

    pub(super) fn stream_news(&mut self, job: JobId, is_up: bool) {
        let Some(streaming) = self.streams.get(&job) else {
            return;
        };
        self.news.push_back(News::Stream(StreamNews {
            sid: streaming.sid.clone(),
            name: streaming.name.clone(),
            is_up,
        }));
    }

    pub(super) fn recording_news(
        &mut self,
        job: JobId,
        status: RecordingStatus,
        length: Option<Duration>,
    ) {
        let Some(recording) = self.recordings.get(&job) else {
            return;
        };
        self.news.push_back(News::Recording(RecordingNews {
            sid: recording.sid.clone(),
            source: recording.source,
            tracks: recording.tracks,
            channels: recording.channels,
            status,
            started: recording.started,
            length,
        }));
    }
}
