//! What a call that an application answers hears, and what it wants done.

use std::time::Instant;

use ::control::{
    channel::RequestError,
    media::{self, Create, Modify, Voice, VoiceEvent, VoiceOrder},
};
use sip::{header::HeaderName, message::Message};
use store::VoiceMessageDirection;
use tracing::{info, warn};
use voice::{
    call::{Action, Call, Cause, Event, Heard, LegId, MediaError, StreamError},
    notice::{Level, Notice},
};

use super::{
    Core, DIALLED, Hosted, OWNER, Purpose, VoicePurpose, is_lost,
    legs::Leg,
    orders,
    sdp::Agreed,
    server::{Server, Stage},
    setup, status_of,
};
use crate::call::text::{NewText, Waits};

impl Hosted {
    /// What names the call until it is answered.
    pub(super) fn early(&self) -> (String, String) {
        let Some(invite) = self.server.as_ref().map(|server| &server.invite) else {
            return Default::default();
        };
        let id = invite.call_id().unwrap_or_default().to_owned();
        (id, invite.from_tag().unwrap_or_default().to_owned())
    }

    pub(super) fn sid(&self) -> Option<&str> {
        self.call.as_ref().map(|call| call.sid().as_str())
    }

    /// What opens its session, with the ports that it had.
    pub(super) fn create(&self, id: media::SessionId) -> media::Request {
        let [party, other] = self.handling.clone();
        let leg = |port: Option<u16>, remote, handling| media::Leg {
            family: self.family,
            port,
            remote,
            muted: false,
            handling,
        };
        let [remote, other_remote] = self.remotes();
        let info = self.info.as_ref();
        media::Request::Create(Create {
            id,
            owner: OWNER.to_owned(),
            a: leg(info.map(|info| info.a.rtp.port()), remote, party),
            b: leg(info.map(|info| info.b.rtp.port()), other_remote, other),
            apart: true,
        })
    }

    /// The party and who is on side B, as mediad is told of them.
    pub(super) fn remotes(&self) -> [Option<media::Remote>; 2] {
        let (party, other) = (self.agreed.as_ref(), self.other.as_ref());
        let hearing = |one: Option<&Agreed>, other| one.map(|one| one.hearing(other));
        [hearing(party, other), hearing(other, party)]
    }

    /// Tells mediad what is new of them: of both, where the numbers of one are those that the other one is sent.
    pub(super) fn tell_remotes(&self, before: &[Option<media::Remote>; 2], core: &mut Core) {
        let Some(id) = self.session else { return };
        let [a, b] = self.remotes();
        let new = |now: Option<media::Remote>, before: &_| {
            now.filter(|now| Some(now) != Option::as_ref(before))
        };
        let [before_a, before_b] = before;
        let (a, b) = (new(a, before_a), new(b, before_b));
        if a.is_none() && b.is_none() {
            return;
        }
        let modify = media::Request::Modify(Modify {
            id,
            a,
            b,
            handling: [None, None],
        });
        core.ask(self.key, id, Purpose::Voice(VoicePurpose::Change), modify);
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_left()
            && self.session.is_none()
            && self.legs.is_empty()
            && self.call.as_ref().is_none_or(Call::is_finished)
    }

    /// Whether the party is gone.
    fn is_left(&self) -> bool {
        match &self.server {
            Some(server) => server.stage == Stage::Over,
            None => self.order.is_none() && !self.legs.contains_key(&LegId::PARTY),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let call = self.call.as_ref().and_then(Call::poll_timeout);
        let legs = self.legs.values().filter_map(Leg::poll_timeout);
        let server = self.server.as_ref().and_then(Server::poll_timeout);
        let rest = legs
            .chain(call)
            .chain(server)
            .chain(self.queued.as_ref().map(|turn| turn.at));
        let rest = rest.chain(self.recordings.poll_timeout());
        let rest = rest.chain(self.referral_timeout());
        rest.chain(self.ring_until).min()
    }

    /// Time has passed.
    pub(super) fn on_time(&mut self, now: Instant, id: u64, core: &mut Core) {
        if self.queued.take_if(|turn| turn.at <= now).is_some() {
            self.leave_queue(now, id, core);
        }
        if let Some(server) = &mut self.server {
            let (message, is_lost) = server.handle_timeout(now, &mut core.tokens);
            core.tell_proxy(message);
            if is_lost {
                self.party_ended(Cause::Failed, None);
            }
        }
        self.on_legs_time(now, core);
        self.on_recordings_time(now, core);
        self.on_referral_time(now);
        if self.ring_until.take_if(|until| *until <= now).is_some() {
            self.drop_leg(LegId::PARTY, core);
        }
        if let Some(call) = &mut self.call
            && call.poll_timeout().is_some_and(|at| at <= now)
        {
            call.handle_timeout(now);
        }
    }

    /// The party is where it has said.
    pub(super) fn agree(&mut self, agreed: Agreed, core: &mut Core) {
        let before = self.remotes();
        self.agreed = Some(agreed);
        self.tell_remotes(&before, core);
    }

    /// mediad has answered.
    pub(super) fn on_media(
        &mut self,
        now: Instant,
        id: u64,
        purpose: VoicePurpose,
        answer: Result<media::Response, RequestError>,
        core: &mut Core,
    ) {
        match (purpose, answer) {
            (VoicePurpose::Open, Ok(media::Response::Session(info))) => {
                self.info = Some(info);
                match self.order.take() {
                    Some(order) => {
                        self.attach();
                        self.ring_until = Some(now + self.ring_timeout);
                        self.call_leg(id, &order, core);
                    }
                    None => self.begin(now, core),
                }
            }
            (VoicePurpose::Open, Ok(_)) => self.fail(503, core),
            (VoicePurpose::Open, Err(error)) => {
                warn!(%error, "an application's call fails: mediad opens no session for it");
                self.fail(status_of(error), core);
            }
            (VoicePurpose::Reopen, Ok(media::Response::Session(info))) => {
                if self.info.as_ref().is_some_and(|before| *before != info) {
                    warn!(
                        call = self.sid(),
                        "mediad has other ports for a session than before: the call is silent until the \
                         caller sends a new offer"
                    );
                }
                self.info = Some(info);
                self.attach_again();
            }
            (VoicePurpose::Change | VoicePurpose::Order(_), Err(error)) if is_lost(&error) => {
                if let Some(session) = self.session {
                    let create = self.create(session);
                    let purpose = Purpose::Voice(VoicePurpose::Reopen);
                    core.ask(self.key, session, purpose, create);
                }
                self.fail_jobs(now, "it has lost the session", core);
            }
            (VoicePurpose::Order(number), Err(error @ RequestError::Timeout)) => {
                self.order_again(now, number, &error, core);
            }
            (VoicePurpose::Order(number), Ok(_)) => self.sent.answered(number),
            (VoicePurpose::Order(number), Err(error)) => {
                self.sent.answered(number);
                self.fail_jobs(now, &error.to_string(), core);
            }
            (_, Err(error)) => warn!(call = self.sid(), %error, "a session is not as it should be"),
            (_, Ok(_)) => {}
        }
    }

    /// Orders may not have been done.
    fn order_again(&mut self, now: Instant, number: u32, error: &RequestError, core: &mut Core) {
        let Some(mut again) = self.sent.unanswered(number, &self.orders) else {
            return self.fail_jobs(now, &error.to_string(), core);
        };
        if again.is_empty() {
            return;
        }
        info!(
            call = self.sid(),
            "mediad has not answered, and is told again"
        );
        // Whoever is there by now is not to be forgotten.
        let is_taken = self.other.is_some();
        again.retain(|order| !is_taken || *order != VoiceOrder::Vacate(media::Side::B));
        again.append(&mut self.orders);
        self.orders = again;
    }

    /// There is no session for the call.
    fn fail(&mut self, status: u16, core: &mut Core) {
        if let Some(server) = &mut self.server {
            core.tell_proxy(server.refuse(status, None));
        } else if self.order.take().is_some() {
            self.party_ended(Cause::Failed, None);
        }
    }

    /// The session is there: the application is asked what to do.
    fn begin(&mut self, now: Instant, core: &mut Core) {
        let Some(server) = self.server.as_mut() else {
            return;
        };
        if server.stage != Stage::Early {
            return;
        }
        let call = core.calls.get(&self.key);
        let terms = &core.policy.voice;
        let setup = call.and_then(|call| setup::of(call, &server.invite, &self.application, terms));
        let Some(mut setup) = setup else {
            return core.tell_proxy(server.refuse(500, None));
        };
        if self.promised.is_some() {
            let time = core.time(now);
            setup.uuid = core.call_uuid(time).into_bytes();
        }
        self.attach();
        self.call = Some(Call::new(setup, now));
    }

    /// Who calls, as the documents know him.
    pub(super) fn caller(&self) -> Option<&str> {
        self.call.as_ref().map(|call| call.setup().from.as_str())
    }

    fn attach(&mut self) {
        self.orders.push(VoiceOrder::Attach);
        self.attending = false;
    }

    /// As `attach`, of a session that may have been left as it was before.
    fn attach_again(&mut self) {
        self.sent.forget();
        self.attach();
        if self.other.is_none() {
            self.orders.push(VoiceOrder::Vacate(media::Side::B));
        }
        self.orders.push(VoiceOrder::Join(self.joined));
    }

    /// What is played will not be played to its end, nor recorded, nor streamed.
    pub(super) fn fail_jobs(&mut self, now: Instant, why: &str, core: &mut Core) {
        self.lose_recordings(now, why, core);
        for job in std::mem::take(&mut self.streaming) {
            self.events.push_back(Event::StreamEnded {
                job: job.into(),
                result: Err(StreamError::Protocol),
            });
        }
        for job in std::mem::take(&mut self.playing) {
            if job == DIALLED {
                self.digits_sent();
                continue;
            }
            self.events.push_back(Event::Played {
                job: job.into(),
                result: Err(MediaError::Engine(why.to_owned())),
            });
        }
        for job in std::mem::take(&mut self.listening) {
            self.not_heard(job, why);
        }
    }

    /// Nobody will say what was said.
    fn not_heard(&mut self, job: u32, why: &str) {
        self.events.push_back(Event::Heard {
            job: job.into(),
            heard: Heard::Failed(why.to_owned()),
        });
    }

    /// The party has been sent its keys, or cannot be: its document runs, however they went.
    fn digits_sent(&mut self) {
        let leg = LegId::PARTY;
        self.events.push_back(Event::Answered { leg });
    }

    /// Something happened in the session.
    pub(super) fn on_media_event(&mut self, now: Instant, event: VoiceEvent, core: &mut Core) {
        match &event {
            VoiceEvent::Played { job, .. } => {
                self.playing.remove(job);
                if *job == DIALLED {
                    return self.digits_sent();
                }
            }
            VoiceEvent::RecordingStarted { job } => self.on_recording_started(now, *job, core),
            VoiceEvent::Recorded { job, result } => {
                self.on_recorded(now, *job, result.clone(), core);
            }
            VoiceEvent::Heard {
                job,
                heard: media::Heard::Final { .. } | media::Heard::Failed(_),
            } => {
                self.listening.remove(job);
            }
            // What listens is a stream to mediad.
            VoiceEvent::StreamEnded { job, .. } if self.listening.remove(job) => {
                return self.not_heard(*job, "the audio of the party cannot be heard here");
            }
            VoiceEvent::StreamEnded { job, .. } => drop(self.streaming.remove(job)),
            VoiceEvent::StreamWarning { code, text, .. } => {
                warn!(call = self.sid(), code, text, "a stream of a call");
            }
            _ => {}
        }
        let event = orders::event_of(event, |side| self.leg_at(side));
        self.events.extend(event);
    }

    pub(super) fn party_ended(&mut self, cause: Cause, sip_status: Option<u16>) {
        self.end_referral();
        self.events.push_back(Event::Ended {
            leg: LegId::PARTY,
            cause,
            sip_status,
        });
    }

    /// Does what the call wants, until it wants nothing.
    pub(super) fn run(&mut self, now: Instant, id: u64, core: &mut Core) {
        while let Some(mut call) = self.call.take() {
            while let Some(action) = call.poll_action() {
                self.act(now, id, action, &call, core);
            }
            let event = self.events.pop_front();
            let is_told = event.is_some();
            if let Some(event) = event {
                call.handle(event, now);
            }
            self.call = Some(call);
            if !is_told {
                break;
            }
        }
        self.forget_legs(core);
        if self.is_left() {
            match self.recordings.is_empty() {
                true => self.close(core),
                false => self.end_recordings(now),
            }
        }
        // Where nobody needs their keys, what joined parties send takes the fast path.
        let wants = self.call.as_ref().is_some_and(Call::wants_digits);
        if wants != std::mem::replace(&mut self.attending, wants) {
            self.orders.push(VoiceOrder::Attend(wants));
        }
        let orders = std::mem::take(&mut self.orders);
        if let Some(id) = self.session.filter(|_| !orders.is_empty()) {
            let purpose = VoicePurpose::Order(self.sent.send(&orders));
            let request = media::Request::Voice(Voice { id, orders });
            core.ask(self.key, id, Purpose::Voice(purpose), request);
        }
    }

    /// The party is gone, and its session with it.
    fn close(&mut self, core: &mut Core) {
        if let Some(session) = self.session.take() {
            core.voices.by_session.remove(&session);
            core.close(self.key, vec![session]);
        }
    }

    fn act(&mut self, now: Instant, id: u64, action: Action, call: &Call, core: &mut Core) {
        match action {
            Action::Request(request) => core.ask_webhook(id, *request, self.terms.public),
            Action::CancelRequest(request) => core.cancel_webhook(id, request),
            Action::Ring => self.ring(core),
            Action::Answer => self.answer(now, core),
            Action::Refuse { sip_status } => self.refuse(sip_status, core),
            Action::HangUp { leg } if leg == LegId::PARTY && self.server.is_some() => {
                self.hang_up(core);
            }
            Action::HangUp { leg } => self.drop_leg(leg, core),
            Action::Bridge { leg } => self.bridge_leg(leg),
            Action::Play {
                job,
                leg,
                source,
                loops,
            } => {
                let number = job.number();
                let Some(side) = self.side_of(leg) else {
                    let result = Err(MediaError::Engine("who was to hear it is gone".to_owned()));
                    return self.events.push_back(Event::Played { job, result });
                };
                self.playing.insert(number);
                self.orders
                    .push(self.terms.play(number, side, source, loops));
            }
            Action::Ringback { job, leg, country } => {
                let side = self.side_of(leg);
                self.orders
                    .extend(side.map(|side| orders::ringback(job.number(), side, country)));
            }
            Action::Stop { job } | Action::CloseStream { job } => {
                let job = job.number();
                self.playing.remove(&job);
                self.streaming.remove(&job);
                self.listening.remove(&job);
                self.orders.push(VoiceOrder::Stop { job });
            }
            Action::OpenStream(stream) => {
                self.streaming.insert(stream.job.number());
                self.orders.push(self.terms.stream(call.sid(), *stream));
            }
            Action::Listen {
                job,
                leg,
                recognition,
                partials,
            } => {
                let Some(side) = self.side_of(leg) else {
                    let heard = Heard::Failed("who was to be heard is gone".to_owned());
                    return self.events.push_back(Event::Heard { job, heard });
                };
                let of = (job.number(), side);
                self.listening.insert(job.number());
                self.orders
                    .push(self.terms.listen(call.sid(), of, *recognition, partials));
            }
            Action::Record(recording) => self.record(now, *recording, core),
            Action::StopRecording { job } => {
                let job = job.number();
                self.orders.push(VoiceOrder::Stop { job });
            }
            Action::PauseRecording { job, how } => {
                let (job, how) = (job.number(), orders::pause(how));
                self.orders.push(VoiceOrder::Pause { job, how });
            }
            Action::Call(leg) => self.call_leg(id, &leg, core),
            Action::Refer { job, to } => self.refer(now, job, to, core),
            Action::Send(message) => {
                let text = NewText {
                    account: self.application.account.clone(),
                    sid: message.sid,
                    from: message.from,
                    to: message.to,
                    body: message.body,
                    has_media: !message.media.is_empty(),
                    callback: message.status_callback,
                    direction: VoiceMessageDirection::Call,
                    waits: Some(Waits::Call(id, message.job)),
                    depth: 0,
                };
                if let Err(why) = core.send_text(now, text) {
                    let (job, result) = (message.job, Err(why));
                    self.events.push_back(Event::Sent { job, result });
                }
            }
            Action::Notice(notice) => tell(call, &notice),
        }
    }
}

/// A key as SIP INFO tells it, for phones that know no telephone events.
pub(super) fn key_of(info: &Message) -> Option<char> {
    let kind = info.header(HeaderName::ContentType)?.text();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let body = String::from_utf8_lossy(info.body()).into_owned();
    let key = match kind.to_ascii_lowercase().as_str() {
        "application/dtmf" => body.trim(),
        "application/dtmf-relay" => {
            let signal = body
                .lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("signal"));
            signal?.1.trim()
        }
        _ => return None,
    };
    match key {
        "10" => Some('*'),
        "11" => Some('#'),
        _ => {
            let mut keys = key.chars();
            let first = keys.next().filter(|key| "0123456789*#".contains(*key));
            first.filter(|_| keys.next().is_none())
        }
    }
}

/// Tells whoever runs the node what is wrong with a document.
fn tell(call: &Call, notice: &Notice) {
    let (call, code) = (call.sid().as_str(), notice.code.number());
    let (url, why) = (notice.url.as_deref(), &notice.message);
    match notice.level {
        Level::Error => warn!(call, code, url, "an application's call: {why}"),
        Level::Warning => info!(call, code, url, "an application's call: {why}"),
    }
}
