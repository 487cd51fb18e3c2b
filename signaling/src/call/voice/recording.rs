//! What is recorded of a call: mediad writes a file, which can be fetched from then on.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ::control::media::{AudioTrouble, Recorded, VoiceOrder, VoiceRecord};
use store::{Timestamp, Uuid};
use tracing::warn;
use voice::{
    call::{self, Event, MediaError},
    sid::Sid,
    twiml::Tracks,
};

use super::{Core, Hosted, orders::trouble};

/// How long the end of what is recorded is waited for once the party is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is recorded of a call, by its job.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    all: BTreeMap<u32, Recording>,
    /// The party is gone, and they were stopped; until when they are waited for.
    until: Option<Instant>,
    /// Those that are whole, of which the REST API is to be told.
    files: Vec<store::Recording>,
}

#[derive(Debug)]
struct Recording {
    sid: Sid,
    started: Timestamp,
    channels: u8,
}

impl Recordings {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The file of a recording that is whole.
    pub(super) fn file_of(&mut self, sid: &Sid) -> Option<store::Recording> {
        let id = id_of(sid)?;
        let at = self.files.iter().position(|file| file.id == id)?;
        Some(self.files.swap_remove(at))
    }

    /// Those whose recordings nobody has waited for.
    pub(super) fn late_files(&mut self) -> impl Iterator<Item = store::Recording> + use<> {
        std::mem::take(&mut self.files).into_iter()
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.until
    }
}

fn id_of(sid: &Sid) -> Option<Uuid> {
    Uuid::try_parse(sid.as_str().get(2..)?).ok()
}

impl Hosted {
    pub(super) fn record(&mut self, now: Instant, recording: call::Recording, core: &mut Core) {
        let job = recording.job;
        let Some(side) = self.side_of(recording.leg) else {
            let result = Err(MediaError::Engine(
                "who was to be recorded is gone".to_owned(),
            ));
            return self.events.push_back(Event::Recorded { job, result });
        };
        let silence = recording.silence.map(|silence| silence.as_millis());
        self.orders.push(VoiceOrder::Record(VoiceRecord {
            job: job.number(),
            name: recording.sid.as_str().to_owned(),
            side,
            says: recording.tracks != Tracks::Outbound,
            hears: recording.tracks != Tracks::Inbound,
            channels: recording.channels,
            silence_ms: silence.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)),
            beep: recording.beep,
            trim: recording.trim,
        }));
        let begun = Recording {
            sid: recording.sid,
            started: core.time(now),
            channels: recording.channels,
        };
        self.recordings.all.insert(job.number(), begun);
        // The call's record waits for it.
        if let Some(call) = core.calls.get_mut(&self.key) {
            call.closing += 1;
        }
    }

    pub(super) fn on_recording_started(&mut self, now: Instant, job: u32, core: &Core) {
        if let Some(recording) = self.recordings.all.get_mut(&job) {
            recording.started = core.time(now);
            let job = job.into();
            self.events.push_back(Event::RecordingStarted { job });
        }
    }

    /// A recording is over, and written.
    pub(super) fn on_recorded(
        &mut self,
        now: Instant,
        job: u32,
        result: Result<Recorded, AudioTrouble>,
        core: &mut Core,
    ) {
        let Some(recording) = self.recordings.all.remove(&job) else {
            return;
        };
        let ended = core.time(now);
        if let Some(call) = core.calls.get_mut(&self.key) {
            call.closing = call.closing.saturating_sub(1);
            let written = result.as_ref().ok().filter(|recorded| recorded.ms > 0);
            if let Some((recorded, id)) = written.zip(id_of(&recording.sid)) {
                self.recordings.files.push(store::Recording {
                    id,
                    call: call.id,
                    tenant: call.tenant.as_deref().map(str::to_owned),
                    started: recording.started,
                    ended,
                    channels: recording.channels,
                    bytes: recorded.octets,
                    node: core.policy.node.clone(),
                    file: format!("{}.wav", recording.sid.as_str()),
                });
            }
        }
        core.try_forget(now, self.key);
        self.events.push_back(Event::Recorded {
            job: job.into(),
            result: result
                .map(|recorded| Duration::from_millis(recorded.ms))
                .map_err(trouble),
        });
    }

    /// The party is gone: what is recorded ends, and is waited for.
    pub(super) fn end_recordings(&mut self, now: Instant) {
        if self.recordings.until.is_none() {
            self.recordings.until = Some(now + PATIENCE);
            let jobs = self.recordings.all.keys();
            self.orders
                .extend(jobs.map(|job| VoiceOrder::Stop { job: *job }));
        }
    }

    pub(super) fn on_recordings_time(&mut self, now: Instant, core: &mut Core) {
        let is_due = |until: &mut Instant| *until <= now;
        if self.recordings.until.take_if(is_due).is_some() && !self.recordings.is_empty() {
            warn!(
                call = self.sid(),
                "mediad does not tell what became of a recording"
            );
            self.lose_recordings(now, "it does not tell what became of it", core);
        }
    }

    /// Nothing will be heard of what is recorded.
    pub(super) fn lose_recordings(&mut self, now: Instant, why: &str, core: &mut Core) {
        for job in self.recordings.all.keys().copied().collect::<Vec<_>>() {
            let trouble = AudioTrouble::Engine(why.to_owned());
            self.on_recorded(now, job, Err(trouble), core);
        }
    }
}
