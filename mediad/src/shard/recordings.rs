//! Recordings of calls, and of parties of programmable voice.
//!
//! Of the latter an order makes an entry of the leg; the engine has the file made, for a shard waits for no disk, and hands over the
//! [`Reel`]; then the tone is played, where there is to be one, and the recording begins. What became of it is told by
//! the thread that has completed the file, whoever has ended it.

use std::path::PathBuf;

use control::media::{AudioTrouble, Pause as PauseOrder, SessionId, Side, VoiceEvent, VoiceRecord};
use control::{Fault, FaultCode};
use rtp::record::Pause;

use super::commands::not_found;
use super::voice::fault_of;
use super::{Shard, keys};
use crate::io::{PacketIo, monotonic_ns};
use crate::record::{self, Reel, Tap};
use crate::voice::Loaded;

impl<I: PacketIo> Shard<I> {
    /// Begins the recording of a call, unless it has one, or ends it. Where that is.
    pub(super) fn record(
        &mut self,
        id: SessionId,
        taps: Option<[Tap; 2]>,
        how: PauseOrder,
    ) -> Result<Option<PathBuf>, Fault> {
        let index = self.find(id)?;
        let session = self.relay.session_mut(index).ok_or_else(|| not_found(id))?;
        let [a, b] = &mut session.legs;
        match taps {
            None => {
                a.end_recording();
                b.end_recording();
            }
            Some([caller, callee]) => {
                if a.tap.is_none() {
                    if caller.wants_speech() {
                        record::check(
                            [a.remote.as_ref(), b.remote.as_ref()],
                            keys::is_secret([a, b]),
                        )
                        .map_err(|why| Fault::new(FaultCode::Conflict, why))?;
                    }
                    (a.tap, b.tap) = (Some(caller), Some(callee));
                }
                if let Some(tap) = &a.tap {
                    tap.pause(monotonic_ns(), pause(how));
                }
            }
        }
        let path = a.tap.as_ref().map(Tap::path);
        if !session.unclaimed {
            self.program(index);
        }
        Ok(path)
    }

    /// Lets the recording of a call go on in another way, if it has one. Where that is.
    pub(super) fn pause(
        &mut self,
        id: SessionId,
        how: PauseOrder,
    ) -> Result<Option<PathBuf>, Fault> {
        let index = self.find(id)?;
        let session = self.relay.session(index).ok_or_else(|| not_found(id))?;
        let tap = session.legs[0].tap.as_ref();
        Ok(tap.map(|tap| {
            tap.pause(monotonic_ns(), pause(how));
            tap.path()
        }))
    }

    /// The recording of a call has ended by itself.
    pub(super) fn unrecord(&mut self, id: SessionId, number: u64) {
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        let Some(session) = self.relay.session_mut(index) else {
            return;
        };
        for leg in &mut session.legs {
            if leg.tap.as_ref().is_some_and(|tap| tap.number() == number) {
                leg.end_recording();
            }
        }
        if !session.unclaimed {
            self.program(index);
        }
    }

    /// Begins a recording; its file is to be made, unless it was begun before or cannot be.
    pub(super) fn begin_record(
        &mut self,
        id: SessionId,
        index: u32,
        record: VoiceRecord,
    ) -> Option<VoiceRecord> {
        let now = monotonic_ns();
        let session = self.relay.session_mut(index)?;
        session.attach(now);
        let (leg, other) = session.split(record.side);
        let fault = fault_of(leg, other);
        let voice = leg.voice.as_mut()?;
        if voice.has_begun(record.job) {
            return None;
        }
        let why = match fault {
            Some(why) => why,
            None if voice.begin_recording(&record) => return Some(record),
            None => "too much of the party is recorded already",
        };
        let result = Err(AudioTrouble::Engine(why.to_owned()));
        let job = record.job;
        self.tell(id, VoiceEvent::Recorded { job, result });
        None
    }

    /// The file of a recording is there, or there will be none, which somebody was told of.
    pub(super) fn reel(&mut self, id: SessionId, job: u32, reel: Option<Reel>) {
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        let Some(reel) = reel else {
            return self.recorded(id, job);
        };
        let Some((side, loaded)) = self.load(index, job, reel) else {
            return;
        };
        match loaded {
            Loaded::Gone => {}
            Loaded::Ready => self.start_recording(id, index, side, job),
            Loaded::Beep => {
                self.cut_beep(id, index, side);
                self.withdraw(index);
                let beep = self.beep.clone();
                let now = monotonic_ns();
                let session = self.relay.session_mut(index);
                let voice = session.and_then(|session| session.split(side).0.voice.as_mut());
                let due = voice.map(|voice| voice.beep(job, beep, now));
                self.schedule(due, index, side);
                self.program(index);
            }
        }
    }

    fn load(&mut self, index: u32, job: u32, reel: Reel) -> Option<(Side, Loaded)> {
        let session = self.relay.session_mut(index)?;
        let side = [Side::A, Side::B].into_iter().find(|side| {
            let voice = session.split(*side).0.voice.as_ref();
            voice.is_some_and(|voice| voice.recordings.has(job))
        })?;
        let voice = session.split(side).0.voice.as_mut()?;
        Some((side, voice.recordings.load(job, reel)))
    }

    /// The tone is over, or there is none.
    pub(super) fn start_recording(&mut self, id: SessionId, index: u32, side: Side, job: u32) {
        let session = self.relay.session_mut(index);
        let voice = session.and_then(|session| session.split(side).0.voice.as_mut());
        if let Some(voice) = voice {
            voice.recordings.start(job, monotonic_ns());
            self.tell(id, VoiceEvent::RecordingStarted { job });
        }
    }

    /// Something else is played to a party: a recording whose tone that party hears begins now.
    pub(super) fn cut_beep(&mut self, id: SessionId, index: u32, side: Side) {
        let session = self.relay.session_mut(index);
        let voice = session.and_then(|session| session.split(side).0.voice.as_mut());
        if let Some(job) = voice.and_then(|voice| voice.beeping()) {
            self.start_recording(id, index, side, job);
        }
    }

    /// A recording is over by itself: the parties' packets may take the fast path again.
    pub(super) fn recorded(&mut self, id: SessionId, job: u32) {
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        self.withdraw(index);
        if let Some(session) = self.relay.session_mut(index) {
            for voice in session.legs.iter_mut().filter_map(|leg| leg.voice.as_mut()) {
                voice.recordings.stop(job);
            }
        }
        self.program(index);
    }
}

/// As the pure core has it.
pub(super) const fn pause(how: PauseOrder) -> Pause {
    match how {
        PauseOrder::Silence => Pause::Silence,
        PauseOrder::Skip => Pause::Skip,
        PauseOrder::Resume => Pause::Resume,
    }
}
