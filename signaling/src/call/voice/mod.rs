//! Calls that an application answers: documents of its webhooks say what is done ([`voice::call::Call`]).
//!
//! Such a call is one of the proxy's like any other, with a callee that is beside it in this process
//! ([`server`]): so it is admitted, limited, shown, hung up and recorded as a row by what does that for all.
//! Its media is a session of our own, with the party as side A, of which the proxy knows no more than whose
//! it is.
//!
//! [`caller`] is who has come in, and [`legs`] are those who are called: a party itself, where the REST API has asked for
//! that ([`api`]), and whom documents dial. [`hosted`] does what documents want; [`orders`] says it in mediad's words.

mod api;
mod caller;
mod hosted;
mod legs;
mod orders;
mod pace;
mod recording;
pub(super) mod refer;
mod row;
mod sdp;
mod sent;
mod server;
pub(super) mod setup;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use ::control::{
    FaultCode,
    channel::RequestError,
    media::{self, Family, SessionId, SessionInfo, VoiceEvent, VoiceOrder},
};
use sip::message::{Message, Method};
use store::{Cause, Uuid};
use tracing::{debug, warn};
use voice::{
    call::{self, Call, LegId, NewLeg, RequestId},
    sid::Sid,
};

use self::{
    hosted::key_of,
    legs::Leg,
    orders::Terms,
    recording::Recordings,
    refer::Referral,
    sdp::{Agreed, Origin},
    sent::Sent,
    server::{Server, Stage, USER},
};
use super::{
    Core, Output,
    asked::{Asked, Purpose},
    output::WebhookToken,
    state::{CallKey, Failure},
    stream::OWNER,
};
use crate::{
    directory::{Application, Caller, Destination, Plan},
    net::Flow,
    trunks::Credentials,
};

pub(super) use pace::Pace;
pub(super) use server::uri;

/// The job that sends a party keys before its document runs: no job of a document's has this number.
const DIALLED: u32 = u32::MAX;

/// Calls of one worker that applications have, at most; and as many that wait to be made.
const MOST: usize = 16_384;
/// Documents that dial a number with another document, one after the other, at most.
const DEEPEST: usize = 5;

/// The calls that applications answer.
#[derive(Debug, Default)]
pub(super) struct Voices {
    by_id: HashMap<u64, Box<Hosted>>,
    /// By the SIDs of the call and of whom it has dialled.
    by_sid: HashMap<Sid, u64>,
    /// How many wait for the rate of their accounts.
    queued: usize,
    /// By our tag.
    by_tag: HashMap<String, u64>,
    /// By Call-ID and the caller's tag, while the INVITE has no final response.
    early: HashMap<(String, String), u64>,
    by_session: HashMap<SessionId, u64>,
    /// Whom documents dial, by the Call-ID of their call.
    legs: HashMap<String, (u64, LegId)>,
    /// Whom webhooks are asked for.
    asking: HashMap<WebhookToken, (u64, RequestId)>,
}

/// A call that an application answers.
#[derive(Debug)]
struct Hosted {
    /// The proxy's.
    key: CallKey,
    /// The id of that one, where it is promised to a leg of this node's own, which calls here: the SID has one of its own.
    promised: Option<Uuid>,
    application: Arc<Application>,
    terms: Terms,
    /// Of a call that has come in; `None` where this node calls the party.
    server: Option<Server>,
    /// Whom it calls, until the session is there.
    order: Option<Box<NewLeg>>,
    /// While it waits for the rate of its account.
    queued: Option<pace::Turn>,
    /// How long that is in all, in milliseconds.
    queued_ms: u64,
    /// How long that one may ring, wherever it does.
    ring_timeout: Duration,
    /// Until when it rings.
    ring_until: Option<Instant>,
    /// Keys that it is sent first.
    digits: Option<String>,
    origin: Origin,
    /// `None` while it waits to be opened, and once it is closed.
    session: Option<SessionId>,
    /// Once mediad has opened it.
    info: Option<SessionInfo>,
    family: Family,
    /// How the media of the party and of the other side is treated.
    handling: [media::Handling; 2],
    /// What was made of the party's last description.
    agreed: Option<Agreed>,
    /// Whom it dials.
    legs: BTreeMap<LegId, Leg>,
    /// Who of them has answered, and has side B.
    answered: Option<LegId>,
    /// What was made of that one's last description.
    other: Option<Agreed>,
    /// It and the party hear each other.
    joined: bool,
    /// mediad tells of keys.
    attending: bool,
    /// Once the session is there.
    call: Option<Call>,
    /// The SIDs by which it is found.
    sids: Vec<Sid>,
    /// What is played and not over.
    playing: BTreeSet<u32>,
    /// The same of streams.
    streaming: BTreeSet<u32>,
    /// What is being understood.
    listening: BTreeSet<u32>,
    recordings: Recordings,
    referral: Option<Referral>,
    /// What the call is to be told.
    events: VecDeque<call::Event>,
    /// What mediad is to be told, and what it has not answered.
    orders: Vec<VoiceOrder>,
    sent: Sent,
    /// What the REST API has been told.
    told: row::Told,
    /// How many documents have dialled until it came to this one.
    depth: usize,
}

/// Why mediad was asked for such a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VoicePurpose {
    /// The call begins when its session is open.
    Open,
    /// The session is as it was before mediad was restarted.
    Reopen,
    /// The party has said something new.
    Change,
    /// Something is to be done in it, by this request.
    Order(u32),
}

impl Voices {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
            && self.by_sid.is_empty()
            && self.queued == 0
            && self.by_tag.is_empty()
            && self.early.is_empty()
            && self.by_session.is_empty()
            && self.asking.is_empty()
            && self.legs.is_empty()
    }

    /// Whether as many are up as may be. Those that wait take nobody's room.
    fn is_full(&self) -> bool {
        self.by_id.len() - self.queued >= MOST
    }

    /// Whether as many wait as may.
    const fn is_queue_full(&self) -> bool {
        self.queued >= MOST
    }

    /// Keeps a call, which is found by its SIDs from now on.
    fn put(&mut self, id: u64, mut hosted: Box<Hosted>) {
        self.queued += usize::from(hosted.queued.is_some());
        if let Some(call) = hosted
            .call
            .as_ref()
            .filter(|call| !call.sids().eq(&hosted.sids))
        {
            let sids = call.sids().cloned().collect();
            self.forget(&std::mem::replace(&mut hosted.sids, sids));
            let sids = hosted.sids.iter().cloned();
            self.by_sid.extend(sids.map(|sid| (sid, id)));
        }
        self.by_id.insert(id, hosted);
    }

    /// Takes a call out, for it to be put back, or for its SIDs to be forgotten.
    fn take(&mut self, id: u64) -> Option<Box<Hosted>> {
        let hosted = self.by_id.remove(&id)?;
        self.queued -= usize::from(hosted.queued.is_some());
        Some(hosted)
    }

    fn forget(&mut self, sids: &[Sid]) {
        for sid in sids {
            self.by_sid.remove(sid);
        }
    }

    /// Whom a call of this node's own is to, where a document has dialled it.
    fn leg(&self, flow: &Flow, call_id: &str) -> Option<(&Hosted, &Leg)> {
        let (id, leg) = self.legs.get(call_id).filter(|_| flow.is_node())?;
        let hosted = self.by_id.get(id)?;
        Some((hosted, hosted.legs.get(leg)?))
    }

    /// The id that such a call was promised.
    pub(super) fn promised(&self, flow: &Flow, call_id: &str) -> Option<Uuid> {
        Some(self.leg(flow, call_id)?.1.uuid)
    }

    /// In whose name it is made.
    pub(super) fn by(&self, flow: &Flow, call_id: &str) -> Option<Caller> {
        Some(self.leg(flow, call_id)?.1.by.clone())
    }

    /// What answers challenges of who is called.
    pub(super) fn credentials(&self, flow: &Flow, call_id: &str) -> Option<Arc<Credentials>> {
        self.leg(flow, call_id)?.1.credentials.clone()
    }

    /// The call whose document has dialled it.
    pub(super) fn parent(&self, flow: &Flow, call_id: &str) -> Option<CallKey> {
        let (_, leg) = self.legs.get(call_id)?;
        let (hosted, _) = self.leg(flow, call_id)?;
        (*leg != LegId::PARTY).then_some(hosted.key)
    }

    /// Whether a call of this node's own is an application's: it was let in with that one, or by an order.
    pub(super) fn has(&self, flow: &Flow, call_id: &str) -> bool {
        self.leg(flow, call_id).is_some()
    }

    /// Has it go by its plan: its media is the session that there is.
    pub(super) fn adjust(&self, flow: &Flow, call_id: &str, plan: &mut Plan) {
        if self.has(flow, call_id) {
            for stage in &mut plan.stages {
                stage.relay = false;
            }
        }
    }

    /// The proxy has made a call of the one to a party.
    pub(super) fn adopt(&mut self, flow: &Flow, call_id: &str, key: CallKey) -> Option<SessionId> {
        let (id, leg) = *self.legs.get(call_id).filter(|_| flow.is_node())?;
        let hosted = self.by_id.get_mut(&id)?;
        if leg != LegId::PARTY {
            return None;
        }
        hosted.key = key;
        hosted.session
    }

    /// Whose a message from the proxy is: `None` where it is nobody's of ours.
    fn of(&self, message: &Message) -> Option<u64> {
        let tag = match message.is_request() {
            true => message.to_tag(),
            false => message.from_tag(),
        };
        if let Some(tag) = tag {
            return self.by_tag.get(tag).copied();
        }
        let id = message.call_id().ok()?.to_owned();
        let from = message.from_tag()?.to_owned();
        self.early.get(&(id, from)).copied()
    }
}

impl Core {
    /// Takes a message of the proxy's that is for an application. `false` where it is not.
    pub(super) fn hand_to_voice(&mut self, now: Instant, message: &Message) -> bool {
        let known = self.voices.of(message);
        let is_ours = match message.is_request() {
            false => known.is_some(),
            true => {
                let uri = message.request_uri().ok();
                uri.is_some_and(|uri| uri.user() == Some(USER))
            }
        };
        if !is_ours {
            let call_id = message.call_id().unwrap_or_default();
            let Some((id, leg)) = self.voices.legs.get(call_id).copied() else {
                return false;
            };
            self.with_voice(now, id, |hosted, core| {
                hosted.on_leg_message(now, leg, message, core);
            });
            return true;
        }
        match (message.method(), known) {
            (Some(Method::Invite), None) if message.to_tag().is_none() => {
                self.begin_voice(message);
            }
            (_, Some(id)) => {
                self.with_voice(now, id, |hosted, core| match message.is_request() {
                    true => hosted.on_request(now, message, core),
                    false => hosted.on_response(now, message),
                });
            }
            (Some(Method::Ack) | None, None) => {}
            (Some(method), None) => {
                let is_new = message.to_tag().is_none() && *method != Method::Cancel;
                let status = if is_new { 405 } else { 481 };
                let response = message.respond(status).to_tag(self.tokens.tag()).build();
                self.tell_proxy(response.ok());
            }
        }
        true
    }

    /// A call has come to an application.
    fn begin_voice(&mut self, invite: &Message) {
        let sent_by = self.sent_by().to_owned();
        let Some(mut server) = Server::new(invite, &sent_by, &mut self.tokens) else {
            let response = invite.respond(400).to_tag(self.tokens.tag()).build();
            return self.tell_proxy(response.ok());
        };
        let Some((key, application)) = self.application_of(invite) else {
            return self.tell_proxy(server.refuse(404, None));
        };
        let terms = match Terms::of(&application) {
            Ok(terms) => terms,
            Err(error) => {
                warn!(%error, "a call to an application is refused: its account's SID is none");
                return self.tell_proxy(server.refuse(500, None));
            }
        };
        let source = self.calls.get(&key).map(|call| &call.source);
        let by = source.and_then(|source| self.voices.leg(source, invite.call_id().ok()?));
        let depth = by.map_or(0, |(hosted, _)| hosted.depth + 1);
        let promised = by.map(|(_, leg)| leg.uuid);
        if depth > DEEPEST {
            warn!("refused a call to an application: documents dial each other in a circle");
            return self.tell_proxy(server.refuse(482, None));
        }
        if self.voices.is_full() {
            warn!("refused a call to an application: too many of them are up");
            return self.tell_proxy(server.refuse(503, None));
        }
        if !self.media_up {
            warn!("refused a call to an application: mediad cannot be reached; is it running?");
            return self.tell_proxy(server.refuse(503, None));
        }
        let caller = self.calls.get(&key);
        let caller = caller.map(|call| (&call.caller, call.source.remote.ip()));
        let handling = self.policy.handlings(caller, true);
        let families = self.policy.families(&handling[0]);
        let agreed = match super::bridge::description_of(invite).map(|offer| Agreed::of(&offer)) {
            Some(Ok(agreed)) => Some(agreed),
            Some(Err(why)) => return self.tell_proxy(server.refuse(488, Some(&why))),
            None => None,
        };
        let source = self.calls.get(&key).map(|call| call.source.local);
        let family = match (&agreed, source) {
            (Some(agreed), _) => Family::of(&agreed.party().rtp),
            (None, Some(source)) => families.nearest(Family::of(&source)),
            (None, None) => families.nearest(Family::V4),
        };
        if families.nearest(family) != family {
            let why = "this node has no media address of that family";
            return self.tell_proxy(server.refuse(488, Some(why)));
        }
        let session = Self::session_id(&mut self.tokens, self.session_mark);
        let id = self.number();
        let tag = server.tag().to_owned();
        // Only then may it be cancelled (RFC 3261 section 9.1).
        self.tell_proxy(server.respond(invite, 100));
        let hosted = Box::new(Hosted {
            server: Some(server),
            promised,
            agreed,
            depth,
            session: Some(session),
            handling,
            ..Hosted::new(key, application, terms, family, self.tokens.bits())
        });
        self.voices.by_tag.insert(tag, id);
        let early = hosted.early();
        self.voices.early.insert(early, id);
        self.voices.by_session.insert(session, id);
        self.by_session.insert(session, key);
        let create = hosted.create(session);
        self.voices.put(id, hosted);
        self.ask(key, session, Purpose::Voice(VoicePurpose::Open), create);
    }

    /// The application that a call has been led to, and the call.
    fn application_of(&self, invite: &Message) -> Option<(CallKey, Arc<Application>)> {
        let (id, tag) = (invite.call_id().ok()?, invite.from_tag()?);
        let keys = self.by_dialog.get(id, tag).iter();
        let mut found = keys.filter_map(|key| {
            let call = self.calls.get(key)?;
            let course = call.course.as_ref()?;
            match &course.plan.stages.get(course.stage)?.destination {
                Destination::Application(application) if call.call_id == id => {
                    Some((*key, application.clone()))
                }
                _ => None,
            }
        });
        found.next_back()
    }

    /// A webhook has answered, or will not.
    pub(crate) fn handle_webhook(
        &mut self,
        now: Instant,
        token: WebhookToken,
        result: Result<call::Response, call::RequestError>,
    ) {
        if let Some((id, request)) = self.voices.asking.remove(&token) {
            self.with_voice(now, id, |hosted, _| {
                let id = request;
                hosted
                    .events
                    .push_back(call::Event::Response { id, result });
            });
        } else {
            self.on_text_webhook(now, token, result);
        }
        self.drain(now);
    }

    /// How a message went that a call has sent.
    pub(super) fn on_voice_sent(
        &mut self,
        now: Instant,
        id: u64,
        job: call::JobId,
        result: Result<(), String>,
    ) {
        self.with_voice(now, id, |hosted, _| {
            hosted.events.push_back(call::Event::Sent { job, result });
        });
    }

    /// Something happened in a session of ours.
    pub(super) fn on_voice_event(&mut self, now: Instant, session: SessionId, event: VoiceEvent) {
        if let Some(id) = self.voices.by_session.get(&session).copied() {
            self.with_voice(now, id, |hosted, core| {
                hosted.on_media_event(now, event, core);
            });
        }
    }

    /// mediad has answered what was asked for such a call.
    pub(super) fn on_voice_media(
        &mut self,
        now: Instant,
        asked: Asked,
        purpose: VoicePurpose,
        answer: Result<media::Response, RequestError>,
    ) {
        let Some(id) = self.voices.by_session.get(&asked.session).copied() else {
            return;
        };
        self.with_voice(now, id, |hosted, core| {
            hosted.on_media(now, id, purpose, answer, core);
        });
    }

    pub(super) fn on_voice_alarm(&mut self, now: Instant, id: u64) {
        self.with_voice(now, id, |hosted, core| hosted.on_time(now, id, core));
    }

    /// mediad is there again.
    pub(super) fn restore_voices(&mut self, now: Instant) {
        let up = self.voices.by_id.values();
        let up = up.filter(|hosted| hosted.info.is_some());
        let sessions = up.filter_map(|hosted| {
            let session = hosted.session?;
            Some((hosted.key, session, hosted.create(session)))
        });
        for (key, session, create) in sessions.collect::<Vec<_>>() {
            self.ask(key, session, Purpose::Voice(VoicePurpose::Reopen), create);
            if let Some(id) = self.voices.by_session.get(&session).copied() {
                self.with_voice(now, id, |hosted, core| {
                    hosted.fail_jobs(now, "it was restarted", core);
                });
            }
        }
    }

    /// Nobody is waited for any more. What is left of calls is told to be over.
    pub(super) fn give_up_voices(&mut self, now: Instant) {
        self.give_up_texts(now);
        for id in self.voices.by_id.keys().copied().collect::<Vec<_>>() {
            self.with_voice(now, id, |hosted, core| {
                hosted.order = None;
                hosted.queued = None;
                hosted.lose_recordings(now, "the node is stopped", core);
                hosted.party_ended(call::Cause::Failed, None);
            });
        }
        for (id, hosted) in std::mem::take(&mut self.voices).by_id {
            self.alarms.set(super::Alarm::Voice(id), None);
            self.close(hosted.key, hosted.session.into_iter().collect());
        }
    }

    /// Has a call take something in, and does what it wants then.
    fn with_voice(&mut self, now: Instant, id: u64, work: impl FnOnce(&mut Hosted, &mut Self)) {
        let Some(mut hosted) = self.voices.take(id) else {
            return;
        };
        work(&mut hosted, self);
        hosted.run(now, id, self);
        let rows = hosted.news(self.time(now)).into_iter();
        let rows = rows.map(|row| Output::VoiceRow(Box::new(row)));
        self.outputs.extend(rows);
        let server = hosted.server.as_ref();
        if server.is_some_and(|server| server.stage != Stage::Early) {
            self.voices.early.remove(&hosted.early());
        }
        let next = hosted.poll_timeout();
        let is_over = hosted.is_over();
        let next = next.filter(|_| !is_over);
        self.alarms.set(super::Alarm::Voice(id), next);
        if is_over {
            debug!(call = hosted.sid(), "an application is done with a call");
            if let Some(server) = &hosted.server {
                self.voices.by_tag.remove(server.tag());
            }
            self.voices.asking.retain(|_, (of, _)| *of != id);
            self.voices.forget(&hosted.sids);
        } else {
            self.voices.put(id, hosted);
        }
    }

    /// Sends what an agent of ours says to the proxy.
    pub(super) fn tell_proxy(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.bridges.say(messages);
    }

    /// Asks a webhook for a call.
    fn ask_webhook(&mut self, id: u64, request: call::Request, public: bool) {
        let token = WebhookToken(self.number());
        self.voices.asking.insert(token, (id, request.id));
        self.outputs.push_back(Output::Webhook {
            token,
            request: Box::new(request),
            public,
        });
    }

    /// Nobody waits for a webhook any more.
    fn cancel_webhook(&mut self, id: u64, request: RequestId) {
        let is_it = |(_, asking): &(&WebhookToken, &(u64, RequestId))| **asking == (id, request);
        let token = self.voices.asking.iter().find(is_it);
        if let Some(token) = token.map(|(token, _)| *token) {
            self.voices.asking.remove(&token);
            self.outputs.push_back(Output::CancelWebhook(token));
        }
    }
}

impl Hosted {
    fn new(
        key: CallKey,
        application: Arc<Application>,
        terms: Terms,
        family: Family,
        origin: u64,
    ) -> Self {
        Self {
            key,
            promised: None,
            application,
            terms,
            server: None,
            order: None,
            queued: None,
            queued_ms: 0,
            ring_timeout: Duration::ZERO,
            ring_until: None,
            digits: None,
            origin: Origin::new(origin),
            session: None,
            info: None,
            family,
            handling: Default::default(),
            agreed: None,
            legs: BTreeMap::new(),
            answered: None,
            other: None,
            joined: false,
            attending: false,
            call: None,
            sids: Vec::new(),
            playing: BTreeSet::new(),
            streaming: BTreeSet::new(),
            listening: BTreeSet::new(),
            recordings: Recordings::default(),
            referral: None,
            events: VecDeque::new(),
            orders: Vec::new(),
            sent: Sent::default(),
            told: row::Told::default(),
            depth: 0,
        }
    }
}

impl Terms {
    fn of(application: &Application) -> Result<Self, ::voice::sid::SidError> {
        let sid = &application.account.sid;
        Ok(Self {
            account: Sid::parse(::voice::sid::Kind::Account, sid)?,
            public: application.is_abroad(),
        })
    }
}

/// The status that a caller is owed where mediad does not open a session.
fn status_of(error: RequestError) -> u16 {
    match Failure::from(error).cause {
        Cause::MediaUnusable => 488,
        _ => 503,
    }
}

/// Whether mediad has lost a session.
fn is_lost(error: &RequestError) -> bool {
    matches!(error, RequestError::Fault(fault) if fault.code == FaultCode::NotFound)
}
