//! What the REST API begins, changes and ends in a call beside its document: streams, recordings, dialled legs.

use std::time::Instant;

use super::{
    Action, Call, Cause, LegId, Pause, news::RecordingStatus, record::NewRecording, script::Step,
};
use crate::{
    sid::Sid,
    twiml::{RecordingCallback, Stream, Tracks},
    url::UrlError,
};

/// The most recordings of a call at once.
const MAX_RECORDINGS: usize = 4;
/// What stands for the recording that goes on.
const CURRENT: &str = "Twilio.CURRENT";

/// A recording that the REST API asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingOrder {
    /// Who is recorded.
    pub tracks: Tracks,
    /// 1, or 2 where each party has one.
    pub channels: u8,
    /// Cut silence from both ends.
    pub trim: bool,
    /// Who is told of it, by an absolute URL.
    pub callback: Option<RecordingCallback>,
}

/// What becomes of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingChange {
    /// Leave something out of it, or go on.
    Pause(Pause),
    /// End it.
    Stop,
}

/// Why something was not begun, or not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The call has not been answered, or is over.
    #[error("the call is not in progress")]
    NotInProgress,
    /// There is none of this SID or name, or it is over.
    #[error("the call has no {0} of that name or SID that goes on")]
    Missing(&'static str),
    /// It is somebody whom a document has dialled.
    #[error("the call was dialled by a document: do it to the call that dialled it")]
    Dialled,
    /// A stream's name is not its own.
    #[error("the call has one of the name {0:?} already")]
    Taken(String),
    /// A stream's URL cannot be used.
    #[error("{0}")]
    Url(UrlError),
    /// The call has as many streams as it may.
    #[error("a call has {0} tracks streamed at most")]
    Streams(usize),
    /// The call has as many recordings as it may.
    #[error("a call has {0} recordings at once at most")]
    Recordings(usize),
}

impl Call {
    /// Forks the call's audio to a WebSocket, as `<Start>` does. Its SID.
    ///
    /// # Errors
    /// The call is not in progress, or the stream is one that it cannot have.
    pub fn start_stream(&mut self, stream: Stream) -> Result<Sid, Refused> {
        if !self.is_up() {
            return Err(Refused::NotInProgress);
        }
        let job = self.try_stream(stream, false)?;
        let begun = self.streams.get(&job);
        begun
            .map(|begun| begun.sid.clone())
            .ok_or(Refused::Missing("stream"))
    }

    /// Ends the stream of this SID or name; a call that was given to it goes on. Its SID.
    ///
    /// # Errors
    /// There is none.
    pub fn end_stream(&mut self, now: Instant, which: &str) -> Result<Sid, Refused> {
        let is_meant = |sid: &Sid, name: &str| sid.as_str() == which || name == which;
        let mut all = self.streams.iter();
        let found = all.find(|(_, stream)| is_meant(&stream.sid, &stream.name));
        let (job, sid) = found
            .map(|(job, stream)| (*job, stream.sid.clone()))
            .ok_or(Refused::Missing("stream"))?;
        if matches!(self.main.step, Step::Streaming(connected, _) if connected == job) {
            self.act(Action::CloseStream { job });
            self.on_stream_ended(now, job, Ok(()));
        } else {
            self.close_stream(now, job);
        }
        Ok(sid)
    }

    /// Records the call until it is over or the recording is ended. Its SID.
    ///
    /// # Errors
    /// The call is not in progress, or has as many as it may.
    pub fn start_recording(&mut self, now: Instant, order: RecordingOrder) -> Result<Sid, Refused> {
        if !self.is_up() {
            return Err(Refused::NotInProgress);
        }
        if self.recordings.len() >= MAX_RECORDINGS {
            return Err(Refused::Recordings(MAX_RECORDINGS));
        }
        let new = NewRecording::ordered(order, "StartCallRecordingAPI");
        let (_, sid) = self.record(now, new);
        Ok(sid)
    }

    /// Pauses, resumes or ends the recording of this SID, or with `Twilio.CURRENT` the last that was begun. What is so
    /// already is no error. Its SID.
    ///
    /// # Errors
    /// There is none that goes on.
    pub fn change_recording(
        &mut self,
        now: Instant,
        which: &str,
        change: RecordingChange,
    ) -> Result<Sid, Refused> {
        let all = self.recordings.iter().rev();
        let mut up = all.filter(|(_, recording)| recording.guard.is_none());
        let found = up.find(|(_, recording)| which == CURRENT || recording.sid.as_str() == which);
        let (job, recording) = found.ok_or(Refused::Missing("recording"))?;
        let (job, sid, is_paused) = (*job, recording.sid.clone(), recording.is_paused);
        let RecordingChange::Pause(how) = change else {
            self.stop_recording(now, job);
            return Ok(sid);
        };
        let status = match how {
            Pause::Resume if !is_paused => return Ok(sid),
            Pause::Resume => RecordingStatus::InProgress,
            Pause::Silence | Pause::Skip => RecordingStatus::Paused,
        };
        self.act(Action::PauseRecording { job, how });
        if let Some(recording) = self.recordings.get_mut(&job) {
            recording.is_paused = status == RecordingStatus::Paused;
        }
        self.recording_news(job, status, None);
        Ok(sid)
    }

    /// Its own SID, and then those of the legs that it has dialled and that are not over.
    pub fn sids(&self) -> impl Iterator<Item = &Sid> {
        let others = self.legs.iter().filter(|(id, _)| **id != LegId::PARTY);
        std::iter::once(self.sid()).chain(others.map(|(_, leg)| &leg.sid))
    }

    /// Hangs up who was dialled: the party's document goes on as if he had done so himself.
    ///
    /// # Errors
    /// There is no such leg.
    pub fn end_dialled(&mut self, now: Instant, sid: &str) -> Result<(), Refused> {
        let (leg, is_answered) = self.dialled(sid).ok_or(Refused::Missing("leg"))?;
        self.act(Action::HangUp { leg });
        let cause = if is_answered {
            Cause::HungUp
        } else {
            Cause::Canceled
        };
        self.on_child_ended(now, leg, cause, None);
        Ok(())
    }

    fn dialled(&self, sid: &str) -> Option<(LegId, bool)> {
        let mut others = self.legs.iter().filter(|(id, _)| **id != LegId::PARTY);
        let (id, leg) = others.find(|(_, leg)| leg.sid.as_str() == sid)?;
        Some((*id, leg.answered.is_some()))
    }

    fn is_up(&self) -> bool {
        !self.is_over && self.is_answered()
    }
}
