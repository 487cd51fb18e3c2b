//! What the REST API asks of calls that applications have.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ::control::{
    Fault, FaultCode,
    media::Family,
    signal::{
        Secret, VoiceCall, VoiceDone, VoiceEntry, VoiceLink, VoiceOrder, VoiceRecording,
        VoiceStream, VoiceUpdate,
    },
};
use tracing::{info, warn};
use voice::{
    call::{
        self, Call, CallStatus, Cause, Direction, Entry, Event, LegId, NewLeg, Pause,
        RecordingChange, RecordingOrder, Refused, Setup, Update,
    },
    form::Params,
    sid::{Kind, Sid},
    twiml::{RecordingCallback, StatusEvents, Stream, Target, Tracks},
};

use super::{
    Core, Hosted, Purpose, Terms, VoicePurpose, pace,
    setup::{LONGEST, link},
};
use crate::{call::state::CallKey, directory::Application};

impl Core {
    /// Does what is asked; `None` where it is about a call that is not this worker's.
    pub(crate) fn order_voice(
        &mut self,
        now: Instant,
        order: &VoiceOrder,
    ) -> Option<Result<VoiceDone, Fault>> {
        let done = match order {
            VoiceOrder::Call(call) => Some(self.call_for(now, call)),
            VoiceOrder::Message(message) => Some(self.send_for(now, message)),
            VoiceOrder::Update { call, update } => self.update_voice(now, call, update),
            VoiceOrder::Stream { call, stream } => {
                let stream = stream_of(stream);
                self.change_call(now, call, |call| call.start_stream(stream))
            }
            VoiceOrder::StopStream { call, stream } => {
                self.change_call(now, call, |call| call.end_stream(now, stream))
            }
            VoiceOrder::Record { call, recording } => {
                let order = recording_of(recording);
                self.change_call(now, call, |call| call.start_recording(now, order))
            }
            VoiceOrder::ChangeRecording {
                call,
                recording,
                change,
            } => {
                let change = change_of(*change);
                self.change_call(now, call, |call| {
                    call.change_recording(now, recording, change)
                })
            }
        };
        self.drain(now);
        done
    }

    /// Calls somebody, and runs documents once the call is answered.
    fn call_for(&mut self, now: Instant, order: &VoiceCall) -> Result<VoiceDone, Fault> {
        let refuse = |code, why: &str| Err(Fault::new(code, why));
        if self.draining {
            return refuse(
                FaultCode::Conflict,
                "the node is draining: it takes no new calls",
            );
        }
        let voices = &self.voices;
        if voices.is_full() || voices.is_queue_full() {
            return refuse(
                FaultCode::Exhausted,
                "too many calls of applications are up",
            );
        }
        if !self.media_up {
            return refuse(
                FaultCode::Unavailable,
                "mediad cannot be reached; is it running?",
            );
        }
        let account = self.directory.account(&order.account).cloned();
        let account = account.ok_or_else(|| {
            let why = format!("there is no account '{}'", order.account);
            Fault::new(FaultCode::NotFound, why)
        })?;
        let entry = entry_of(&order.entry);
        let none = VoiceLink {
            url: String::new(),
            post: true,
        };
        let application = Arc::new(Application {
            account,
            voice: match &order.entry {
                VoiceEntry::Url(link) => link.clone(),
                VoiceEntry::Document(_) => none,
            },
            fallback: order.fallback.clone(),
            status: order.status.clone(),
            message: None,
        });
        let invalid =
            |error: voice::sid::SidError| Fault::new(FaultCode::Invalid, error.to_string());
        let terms = Terms::of(&application).map_err(invalid)?;
        let time = self.time(now);
        let uuid = self.call_uuid(time);
        let rate = application.account.calls_per_second;
        let wait = self.policy.pace.admit(now, &order.account, rate);
        let wait = wait.ok_or_else(|| {
            let why = format!(
                "{} calls of the account wait already, which begins {rate} a second",
                pace::MOST
            );
            Fault::new(FaultCode::Exhausted, why)
        })?;
        let queue_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let events = order.status_events.iter().map(String::as_str);
        let events = StatusEvents::of(events);
        let millis = u64::try_from(time.millis()).unwrap_or_default();
        let limit = order.time_limit_s.map(|s| Duration::from_secs(s.into()));
        let setup = Setup {
            uuid: uuid.into_bytes(),
            account: terms.account.clone(),
            token: application.account.token.clone(),
            direction: Direction::OutboundApi,
            from: order.from.clone(),
            to: order.to.clone(),
            caller_name: None,
            forwarded_from: None,
            extra: Params::new(),
            entry,
            fallback: order.fallback.as_ref().map(link),
            status: order.status.as_ref().map(|status| (link(status), events)),
            record: order.record.as_deref().map(recording_of),
            api: self.policy.voice.api.clone(),
            started: SystemTime::UNIX_EPOCH + Duration::from_millis(millis),
            time_limit: limit.unwrap_or(LONGEST),
            plain_streams: self.policy.voice.plain_streams,
        };
        let sid = Sid::new(Kind::Call, setup.uuid);
        info!(call = %uuid, from = order.from, to = order.to, queue_ms, "an application calls");
        let party = NewLeg {
            leg: LegId::PARTY,
            sid: sid.clone(),
            target: target_of(&order.to, order.auth.as_ref()),
            from: order.from.clone(),
            parameters: Vec::new(),
        };
        // The proxy has no call yet.
        let key = CallKey(0);
        let handling = self.policy.handlings(None, true);
        let family = self.policy.families(&handling[0]).nearest(Family::V4);
        let origin = self.tokens.bits();
        let hosted = Hosted {
            order: Some(Box::new(party)),
            queued: Some(pace::Turn::new(now + wait, &self.metrics.voice_queued)),
            queued_ms: queue_ms,
            ring_timeout: Duration::from_secs(order.ring_timeout_s.into()),
            digits: order.send_digits.clone().filter(|keys| !keys.is_empty()),
            call: Some(Call::queued(setup, now)),
            handling,
            ..Hosted::new(key, application, terms, family, origin)
        };
        let id = self.number();
        self.voices.put(id, Box::new(hosted));
        self.with_voice(now, id, |hosted, core| hosted.on_time(now, id, core));
        Ok(VoiceDone::Queued {
            sid: sid.as_str().to_owned(),
            queue_ms,
        })
    }

    /// Calls nobody of those who wait for it.
    pub(in crate::call) fn empty_queue(&mut self, now: Instant) {
        let all = self.voices.by_id.iter();
        let queued = all.filter(|(_, hosted)| hosted.queued.is_some());
        for id in queued.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.with_voice(now, id, |hosted, _| hosted.give_up());
        }
    }

    /// Begins, changes or ends something in a call.
    fn change_call(
        &mut self,
        now: Instant,
        sid: &str,
        change: impl FnOnce(&mut Call) -> Result<Sid, Refused>,
    ) -> Option<Result<VoiceDone, Fault>> {
        let id = self.voice_of(sid)?;
        let mut done = Err(Refused::NotInProgress);
        self.with_voice(now, id, |hosted, _| {
            let call = hosted.call.as_mut();
            match call.filter(|call| call.sid().as_str() == sid) {
                Some(call) => done = change(call),
                None => done = Err(Refused::Dialled),
            }
        });
        let done = done.map(|sid| VoiceDone::Sid(sid.as_str().to_owned()));
        Some(done.map_err(|refused| fault_of(&refused)))
    }

    fn update_voice(
        &mut self,
        now: Instant,
        call: &str,
        update: &VoiceUpdate,
    ) -> Option<Result<VoiceDone, Fault>> {
        let id = self.voice_of(call)?;
        let hosted = self.voices.by_id.get(&id)?;
        let known = hosted.call.as_ref()?;
        if known.sid().as_str() != call {
            return Some(self.update_dialled(now, id, call, update));
        }
        let conflict = |why| Some(Err(Fault::new(FaultCode::Conflict, why)));
        let updates = match update {
            _ if known.is_over() => return conflict("the call is not in progress: it is over"),
            VoiceUpdate::Cancel if known.status() == CallStatus::InProgress => {
                return conflict("the call has been answered: complete it");
            }
            VoiceUpdate::Complete | VoiceUpdate::Cancel => vec![Update::Complete],
            VoiceUpdate::Change {
                entry,
                fallback,
                status,
                time_limit_s,
            } => {
                let terms = Update::Terms(call::Terms {
                    fallback: fallback.as_ref().map(link),
                    status: status.as_ref().map(link),
                    time_limit: time_limit_s.map(|s| Duration::from_secs(s.into())),
                });
                let entry = entry.as_ref().map(|entry| match entry {
                    VoiceEntry::Url(to) => Update::Redirect(link(to)),
                    VoiceEntry::Document(text) => Update::Document(text.clone()),
                });
                [terms].into_iter().chain(entry).collect()
            }
        };
        self.with_voice(now, id, |hosted, _| {
            if updates.contains(&Update::Complete) {
                hosted.order = None;
                hosted.queued = None;
            }
            hosted.events.extend(updates.into_iter().map(Event::Update));
        });
        Some(Ok(VoiceDone::Done))
    }

    /// The SID of the account whose a call is.
    pub(crate) fn voice_account(&self, call: &str) -> Option<String> {
        let hosted = self.voices.by_id.get(&self.voice_of(call)?)?;
        Some(hosted.terms.account.as_str().to_owned())
    }

    /// Changes who was dialled by a document: such a call can be ended alone.
    fn update_dialled(
        &mut self,
        now: Instant,
        id: u64,
        sid: &str,
        update: &VoiceUpdate,
    ) -> Result<VoiceDone, Fault> {
        if matches!(update, VoiceUpdate::Change { .. }) {
            return Err(fault_of(&Refused::Dialled));
        }
        let mut done = Err(Refused::Missing("leg"));
        self.with_voice(now, id, |hosted, _| {
            if let Some(call) = &mut hosted.call {
                done = call.end_dialled(now, sid);
            }
        });
        let done = done.map(|()| VoiceDone::Done);
        done.map_err(|refused| fault_of(&refused))
    }

    /// The call of a SID, or that whose document has dialled the one of the SID.
    fn voice_of(&self, sid: &str) -> Option<u64> {
        self.voices.by_sid.get(sid).copied()
    }
}

impl Hosted {
    /// It is its turn to be called.
    pub(super) fn leave_queue(&mut self, now: Instant, id: u64, core: &mut Core) {
        if core.draining || !core.media_up || core.voices.is_full() {
            warn!(
                call = self.sid(),
                "a call that was queued is not made: the node is draining, mediad cannot be reached, or too many \
                 calls of applications are up"
            );
            return self.give_up();
        }
        let Some(call) = self.call.as_mut().filter(|call| !call.is_over()) else {
            return;
        };
        call.leave_queue(now);
        let waited = Duration::from_millis(self.queued_ms);
        core.metrics.voice_queue.observe(waited.as_secs_f64());
        let session = Core::session_id(&mut core.tokens, core.session_mark);
        self.session = Some(session);
        core.voices.by_session.insert(session, id);
        core.by_session.insert(session, self.key);
        let purpose = Purpose::Voice(VoicePurpose::Open);
        core.ask(self.key, session, purpose, self.create(session));
    }

    /// The node takes no new calls any more.
    fn give_up(&mut self) {
        self.order = None;
        self.queued = None;
        self.party_ended(Cause::Failed, None);
    }
}

/// A stream that copies what is said; its server plays nothing.
fn stream_of(stream: &VoiceStream) -> Stream {
    Stream {
        name: Some(stream.name.clone()).filter(|name| !name.is_empty()),
        url: stream.url.clone(),
        tracks: tracks_of(stream.inbound, stream.outbound),
        parameters: stream.parameters.clone(),
        callback: stream.status.as_ref().map(link),
        audio_format: None,
        sample_rate: None,
    }
}

fn recording_of(recording: &VoiceRecording) -> RecordingOrder {
    let events = &recording.status_events;
    let has = |name: &str| events.iter().any(|event| event == name);
    let callback = recording.status.as_ref().map(|to| RecordingCallback {
        link: link(to),
        in_progress: has("in-progress"),
        completed: has("completed") || events.is_empty(),
        absent: has("absent"),
    });
    RecordingOrder {
        tracks: tracks_of(recording.inbound, recording.outbound),
        channels: recording.channels,
        trim: recording.trim,
        callback,
    }
}

const fn tracks_of(inbound: bool, outbound: bool) -> Tracks {
    match (inbound, outbound) {
        (true, true) => Tracks::Both,
        (false, true) => Tracks::Outbound,
        (_, false) => Tracks::Inbound,
    }
}

const fn change_of(change: control::signal::RecordingChange) -> RecordingChange {
    use control::signal::RecordingChange as Asked;
    match change {
        Asked::Pause { skip: true } => RecordingChange::Pause(Pause::Skip),
        Asked::Pause { skip: false } => RecordingChange::Pause(Pause::Silence),
        Asked::Resume => RecordingChange::Pause(Pause::Resume),
        Asked::Stop => RecordingChange::Stop,
    }
}

fn fault_of(refused: &Refused) -> Fault {
    let code = match refused {
        Refused::Missing(_) => FaultCode::NotFound,
        Refused::Taken(_) | Refused::Url(_) => FaultCode::Invalid,
        Refused::NotInProgress
        | Refused::Dialled
        | Refused::Streams(_)
        | Refused::Recordings(_) => FaultCode::Conflict,
    };
    Fault::new(code, refused.to_string())
}

fn entry_of(entry: &VoiceEntry) -> Entry {
    match entry {
        VoiceEntry::Url(to) => Entry::Url(link(to)),
        VoiceEntry::Document(text) => Entry::Document(text.clone()),
    }
}

/// Whom a REST API's `To` names.
fn target_of(to: &str, auth: Option<&(String, Secret)>) -> Target {
    if let Some(name) = to.strip_prefix("client:") {
        return Target::Client(name.to_owned());
    }
    match to.starts_with("sip:") || to.starts_with("sips:") {
        true => Target::Sip {
            uri: to.to_owned(),
            username: auth.map(|(user, _)| user.clone()),
            password: auth.map(|(_, password)| password.expose().to_owned()),
        },
        false => Target::Number(to.to_owned()),
    }
}
