//! What the REST API asks of calls that applications have.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ::control::{
    Fault, FaultCode,
    media::Family,
    signal::{VoiceCall, VoiceDone, VoiceEntry, VoiceLink, VoiceOrder, VoiceUpdate},
};
use tracing::info;
use voice::{
    call::{Call, CallStatus, Direction, Entry, Event, LegId, NewLeg, Setup, Update},
    form::Params,
    sid::{Kind, Sid},
    twiml::{StatusEvents, Target},
};

use super::{
    Core, Hosted, MOST, Purpose, Terms, VoicePurpose,
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
            VoiceOrder::Update { call, update } => self.update_voice(now, call, update),
            VoiceOrder::Stream { call, .. }
            | VoiceOrder::StopStream { call, .. }
            | VoiceOrder::Record { call, .. }
            | VoiceOrder::ChangeRecording { call, .. } => {
                let why = "a stream or recording is begun and ended by a document here";
                let fault = Fault::new(FaultCode::Unsupported, why);
                self.voice_of(call).map(|_| Err(fault))
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
        if self.voices.by_id.len() >= MOST {
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
        if order.record.is_some() {
            return refuse(
                FaultCode::Unsupported,
                "record: this node does not record such calls",
            );
        }
        if order.auth.is_some() {
            return refuse(
                FaultCode::Unsupported,
                "auth: this node answers challenges of trunks alone: configure one",
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
        });
        let invalid =
            |error: voice::sid::SidError| Fault::new(FaultCode::Invalid, error.to_string());
        let terms = Terms::of(&application).map_err(invalid)?;
        let time = self.time(now);
        let uuid = self.call_uuid(time);
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
            api: self.policy.voice.api.clone(),
            started: SystemTime::UNIX_EPOCH + Duration::from_millis(millis),
            time_limit: limit.unwrap_or(LONGEST),
            plain_streams: self.policy.voice.plain_streams,
        };
        let sid = Sid::new(Kind::Call, setup.uuid);
        info!(call = %uuid, from = order.from, to = order.to, "an application calls");
        let party = NewLeg {
            leg: LegId::PARTY,
            sid: sid.clone(),
            target: target_of(&order.to),
            from: order.from.clone(),
            parameters: Vec::new(),
        };
        let session = Self::session_id(&mut self.tokens, self.session_mark);
        // The proxy has no call yet.
        let key = CallKey(0);
        let family = self.policy.families.nearest(Family::V4);
        let origin = self.tokens.bits();
        let hosted = Hosted {
            order: Some(Box::new(party)),
            ring_timeout: Duration::from_secs(order.ring_timeout_s.into()),
            digits: order.send_digits.clone().filter(|keys| !keys.is_empty()),
            call: Some(Call::new(setup, now)),
            ..Hosted::new(key, application, terms, (session, family), origin)
        };
        let id = self.number();
        let create = hosted.create(session);
        self.voices.by_id.insert(id, Box::new(hosted));
        self.voices.by_session.insert(session, id);
        self.by_session.insert(session, key);
        self.ask(key, session, Purpose::Voice(VoicePurpose::Open), create);
        self.with_voice(now, id, |_, _| ());
        Ok(VoiceDone::Queued {
            sid: sid.as_str().to_owned(),
            queue_ms: 0,
        })
    }

    fn update_voice(
        &mut self,
        now: Instant,
        call: &str,
        update: &VoiceUpdate,
    ) -> Option<Result<VoiceDone, Fault>> {
        let id = self.voice_of(call)?;
        let hosted = self.voices.by_id.get(&id)?;
        let call = hosted.call.as_ref()?;
        let is_up = call.status() == CallStatus::InProgress;
        let update = match update {
            _ if call.is_over() => {
                let why = "the call is not in progress: it is over";
                return Some(Err(Fault::new(FaultCode::Conflict, why)));
            }
            VoiceUpdate::Cancel if is_up => {
                let why = "the call has been answered: complete it";
                return Some(Err(Fault::new(FaultCode::Conflict, why)));
            }
            VoiceUpdate::Complete | VoiceUpdate::Cancel => Update::Complete,
            VoiceUpdate::Redirect { entry, .. } => match entry {
                VoiceEntry::Url(to) => Update::Redirect(link(to)),
                VoiceEntry::Document(text) => Update::Document(text.clone()),
            },
        };
        self.with_voice(now, id, |hosted, _| {
            hosted.order = hosted.order.take().filter(|_| update != Update::Complete);
            hosted.events.push_back(Event::Update(update));
        });
        Some(Ok(VoiceDone::Done))
    }

    /// The call of a SID.
    fn voice_of(&self, sid: &str) -> Option<u64> {
        let mut all = self.voices.by_id.iter();
        let found = all.find(|(_, hosted)| hosted.sid() == Some(sid));
        found.map(|(id, _)| *id)
    }
}

fn entry_of(entry: &VoiceEntry) -> Entry {
    match entry {
        VoiceEntry::Url(to) => Entry::Url(link(to)),
        VoiceEntry::Document(text) => Entry::Document(text.clone()),
    }
}

/// Whom a REST API's `To` names.
fn target_of(to: &str) -> Target {
    if let Some(name) = to.strip_prefix("client:") {
        return Target::Client(name.to_owned());
    }
    match to.starts_with("sip:") || to.starts_with("sips:") {
        true => Target::Sip {
            uri: to.to_owned(),
            username: None,
            password: None,
        },
        false => Target::Number(to.to_owned()),
    }
}
