//! `<Record>`, and the recordings of it and of `<Dial>`.

use std::time::{Duration, Instant, SystemTime};

use super::{
    Action, Call, JobId, Lane, LegId, MediaError, RecordingOrder, Topic, action, leg::API_VERSION,
    news::RecordingStatus, script::Step,
};
use crate::{
    date::rfc2822,
    form::Params,
    notice::Code,
    sid::{Kind, Sid},
    twiml::{Link, Record, RecordingCallback, Tracks},
};

/// What a recording of a whole call is called, which the REST API asked for with the call.
pub(super) const CALL_RECORDING: &str = "OutboundAPI";
/// How long the outcome of a recording that was stopped is waited for: it is written meanwhile.
const GUARD: Duration = Duration::from_secs(30);

/// A `<Record>` under way.
#[derive(Debug)]
pub(super) struct Recorder {
    job: JobId,
    finish_on_key: String,
    /// What ended it.
    digit: Option<char>,
    max_length: Duration,
    /// When it has lasted as long as it may.
    pub(super) until: Option<Instant>,
    action: Link,
}

/// A recording under way, or being written.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) sid: Sid,
    pub(super) source: &'static str,
    pub(super) channels: u8,
    pub(super) tracks: Tracks,
    pub(super) started: SystemTime,
    pub(super) is_paused: bool,
    callback: Option<RecordingCallback>,
    /// It was asked to end, and is not waited for any longer than this.
    pub(super) guard: Option<Instant>,
    /// Who is told of it though the party has hung up; absolute.
    action: Option<Link>,
}

/// What is to be recorded.
pub(super) struct NewRecording {
    pub(super) source: &'static str,
    pub(super) tracks: Tracks,
    pub(super) channels: u8,
    pub(super) silence: Option<Duration>,
    pub(super) beep: bool,
    pub(super) trim: bool,
    pub(super) callback: Option<RecordingCallback>,
}

impl NewRecording {
    /// What the REST API asks for.
    pub(super) fn ordered(order: RecordingOrder, source: &'static str) -> Self {
        Self {
            source,
            tracks: order.tracks,
            channels: order.channels,
            silence: None,
            beep: false,
            trim: order.trim,
            callback: order.callback,
        }
    }
}

impl Call {
    pub(super) fn begin_record(&mut self, now: Instant, record: Record) -> bool {
        self.answer(now);
        let new = NewRecording {
            source: "RecordVerb",
            tracks: Tracks::Inbound,
            channels: 1,
            silence: Some(record.timeout),
            beep: record.beep,
            trim: record.trim,
            callback: record.callback,
        };
        let (job, _) = self.record(now, new);
        self.main.step = Step::Recording(Box::new(Recorder {
            job,
            finish_on_key: record.finish_on_key,
            digit: None,
            max_length: record.max_length,
            until: now.checked_add(record.max_length + GUARD),
            action: record.action,
        }));
        false
    }

    pub(super) fn record(&mut self, now: Instant, new: NewRecording) -> (JobId, Sid) {
        let callback = new.callback.and_then(|callback| {
            let link = self.absolute(LegId::PARTY, &callback.link)?;
            Some(RecordingCallback { link, ..callback })
        });
        let callback = self.recording_or_socket(callback);
        let job = self.job();
        let sid = self.sid.derive(Kind::Recording, job.0);
        self.act(Action::Record(Box::new(action::Recording {
            job,
            sid: sid.clone(),
            leg: LegId::PARTY,
            tracks: new.tracks,
            channels: new.channels,
            silence: new.silence,
            beep: new.beep,
            trim: new.trim,
        })));
        let recording = Recording {
            sid: sid.clone(),
            source: new.source,
            channels: new.channels,
            tracks: new.tracks,
            started: self.wall(now),
            is_paused: false,
            callback,
            guard: None,
            action: None,
        };
        self.recordings.insert(job, recording);
        self.recording_news(job, RecordingStatus::InProgress, None);
        (job, sid)
    }

    pub(super) fn on_recording_started(&mut self, now: Instant, job: JobId) {
        let wall = self.wall(now);
        let Some(recording) = self.recordings.get_mut(&job) else {
            return;
        };
        recording.started = wall;
        let is_over = recording.guard.is_some();
        let is_paused = recording.is_paused;
        if let Step::Recording(recorder) = &mut self.main.step
            && recorder.job == job
        {
            recorder.until = now.checked_add(recorder.max_length);
        }
        if !is_over && !is_paused {
            self.recording_news(job, RecordingStatus::InProgress, None);
        }
        self.tell_recording(now, job, "in-progress", None);
    }

    /// A key of a party that is recorded.
    pub(super) fn on_record_digit(&mut self, now: Instant, digit: char) {
        let Step::Recording(recorder) = &mut self.main.step else {
            return;
        };
        if recorder.digit.is_some() || !recorder.finish_on_key.contains(digit) {
            return;
        }
        recorder.digit = Some(digit);
        recorder.until = None;
        let job = recorder.job;
        self.stop_recording(now, job);
    }

    /// A `<Record>` has lasted as long as it may.
    pub(super) fn on_record_timeout(&mut self, now: Instant) {
        let Step::Recording(recorder) = &mut self.main.step else {
            return;
        };
        recorder.until = None;
        let job = recorder.job;
        self.stop_recording(now, job);
    }

    pub(super) fn stop_recording(&mut self, now: Instant, job: JobId) {
        let Some(recording) = self.recordings.get_mut(&job) else {
            return;
        };
        if recording.guard.is_none() {
            recording.guard = now.checked_add(GUARD);
            self.act(Action::StopRecording { job });
            self.recording_news(job, RecordingStatus::Processing, None);
        }
    }

    pub(super) fn on_recorded(
        &mut self,
        now: Instant,
        job: JobId,
        result: Result<Duration, MediaError>,
    ) {
        if !self.recordings.contains_key(&job) {
            return;
        }
        let length = match result {
            Ok(length) => length,
            Err(error) => {
                self.warn(
                    Code::Internal,
                    None,
                    format!("a recording came to nothing: {error}"),
                );
                Duration::ZERO
            }
        };
        // What is shorter than a second is a second: 0 says that there is nothing.
        let seconds = length.as_secs() + u64::from(length.subsec_nanos() > 0);
        let status = match seconds {
            0 => RecordingStatus::Absent,
            _ => RecordingStatus::Completed,
        };
        self.recording_news(job, status, Some(length));
        self.tell_recording(now, job, status.as_str(), Some(seconds));
        let Some(recording) = self.recordings.remove(&job) else {
            return;
        };
        let mut params = Params::new();
        params.push("RecordingUrl", self.recording_url(&recording.sid));
        params.push("RecordingSid", recording.sid.as_str());
        params.push("RecordingDuration", seconds.to_string());
        if ["RecordVerb", CALL_RECORDING].contains(&recording.source) {
            self.recorded = Some(params.clone());
        }
        if !self.is_recorded_whole()
            && let Some((then, status, sip)) = self.ending.take()
        {
            self.set_status(then, LegId::PARTY, status, sip);
        }
        if let Some(action) = recording.action {
            if seconds > 0 {
                params.push("Digits", "hangup");
                let mut all = self.base_params(LegId::PARTY);
                all.extend(&params);
                self.tell(now, Lane::Action, action, all);
            }
            return;
        }
        if self.is_over {
            return;
        }
        let Step::Recording(recorder) = &self.main.step else {
            return;
        };
        if recorder.job != job {
            return;
        }
        if seconds == 0 && !self.is_last_by_socket(LegId::PARTY) {
            return self.proceed(now, LegId::PARTY);
        }
        let action = recorder.action.clone();
        let digit = recorder.digit;
        params.push("Digits", digit.map(String::from).unwrap_or_default());
        self.fetch(now, LegId::PARTY, &action, &params, Topic::Recorded);
    }

    /// The host has not said what became of a recording.
    pub(super) fn on_recording_lost(&mut self, now: Instant, job: JobId) {
        let lost = MediaError::Engine("nothing was heard of it".to_owned());
        self.on_recorded(now, job, Err(lost));
    }

    /// The party's leg is over, and its recordings with it: their outcome is still waited for.
    pub(super) fn end_recordings(&mut self, now: Instant) {
        if let Step::Recording(recorder) = &self.main.step {
            let (job, action) = (recorder.job, recorder.action.clone());
            let action = self.absolute(LegId::PARTY, &action);
            if let Some(recording) = self.recordings.get_mut(&job) {
                recording.action = action;
            }
        }
        let jobs: Vec<_> = self.recordings.keys().copied().collect();
        for job in jobs {
            let guard = self.recordings.get_mut(&job).map(|it| &mut it.guard);
            if let Some(guard) = guard.filter(|guard| guard.is_none()) {
                *guard = now.checked_add(GUARD);
                self.recording_news(job, RecordingStatus::Processing, None);
            }
        }
    }

    /// Whether the recording is under way, or being written, that was asked for with the call.
    pub(super) fn is_recorded_whole(&self) -> bool {
        let mut all = self.recordings.values();
        all.any(|recording| recording.source == CALL_RECORDING)
    }

    /// A `<Record>` is called off: nobody is asked what comes next.
    pub(super) fn abort_record(&mut self, now: Instant) {
        if let Step::Recording(recorder) = &self.main.step {
            let job = recorder.job;
            self.stop_recording(now, job);
        }
    }

    pub(super) fn recording_url(&self, sid: &Sid) -> String {
        let (api, account) = (self.setup.api.trim_end_matches('/'), &self.setup.account);
        format!("{api}/{API_VERSION}/Accounts/{account}/Recordings/{sid}")
    }

    fn tell_recording(&mut self, now: Instant, job: JobId, status: &str, seconds: Option<u64>) {
        let Some(recording) = self.recordings.get(&job) else {
            return;
        };
        let Some(callback) = &recording.callback else {
            return;
        };
        let is_wanted = match status {
            "in-progress" => callback.in_progress,
            "completed" => callback.completed,
            _ => callback.absent,
        };
        if !is_wanted {
            return;
        }
        let link = callback.link.clone();
        let mut params = Params::new();
        params.push("AccountSid", self.setup.account.as_str());
        params.push("CallSid", self.sid.as_str());
        params.push("RecordingSid", recording.sid.as_str());
        params.push("RecordingUrl", self.recording_url(&recording.sid));
        params.push("RecordingStatus", status);
        params.push_some("RecordingDuration", seconds.map(|s| s.to_string()));
        params.push("RecordingChannels", recording.channels.to_string());
        params.push("RecordingStartTime", rfc2822(recording.started));
        params.push("RecordingSource", recording.source);
        params.push("RecordingTrack", recording.tracks.recorded());
        self.tell(now, Lane::Recording(job), link, params);
    }
}
