//! The party of a call that has come in, as it is heard and answered.

use std::time::Instant;

use ::control::media;
use sip::message::{Message, Method};
use tracing::info;
use voice::call::{Cause, Event, LegId};

use super::{
    Core, Hosted, key_of,
    legs::is_of_refer,
    sdp::Agreed,
    server::{Server, Stage},
};
use crate::call::bridge::description_of;

impl Hosted {
    /// A request of the party's.
    pub(super) fn on_request(&mut self, now: Instant, request: &Message, core: &mut Core) {
        let (Some(server), Some(method)) = (&mut self.server, request.method()) else {
            return;
        };
        match method {
            Method::Ack => return self.on_ack(request, core),
            Method::Cancel => {
                core.tell_proxy(server.respond(request, 200));
                if let Some(refusal) = server.refuse(487, None) {
                    core.tell_proxy([refusal]);
                    self.party_ended(Cause::Canceled, Some(487));
                }
                return;
            }
            _ => {}
        }
        if request.to_tag().is_none() {
            // The INVITE again, which its transaction has held back already.
            return;
        }
        if let Err(status) = server.take(request) {
            return core.tell_proxy(server.respond(request, status));
        }
        match method {
            Method::Bye => {
                core.tell_proxy(server.respond(request, 200));
                core.tell_proxy(server.refuse(487, None));
                server.end();
                self.party_ended(Cause::HungUp, None);
            }
            Method::Invite | Method::Update => self.on_offer(now, request, core),
            Method::Options => core.tell_proxy(server.respond(request, 200)),
            Method::Info => {
                core.tell_proxy(server.respond(request, 200));
                if let Some(digit) = key_of(request) {
                    let leg = LegId::PARTY;
                    self.events.push_back(Event::Digit { leg, digit });
                }
            }
            Method::Notify => {
                let status = self.on_notify(now, request);
                let response = self.server.as_ref();
                core.tell_proxy(response.and_then(|server| server.respond(request, status)));
            }
            _ => core.tell_proxy(server.respond(request, 405)),
        }
    }

    /// An answer of the party's.
    pub(super) fn on_response(&mut self, now: Instant, response: &Message) {
        if is_of_refer(response) {
            self.on_refer_response(now, response);
        }
    }

    fn on_ack(&mut self, ack: &Message, core: &mut Core) {
        let Some(server) = &mut self.server else {
            return;
        };
        let (answer_due, bye) = server.on_ack(ack, &mut core.tokens);
        core.tell_proxy(bye);
        self.send_refer(core);
        if !answer_due {
            return;
        }
        let answer = description_of(ack).map(|answer| Agreed::of(&answer));
        match answer {
            Some(Ok(agreed)) => self.agree(agreed, core),
            Some(Err(why)) => {
                info!(call = self.sid(), why, "a caller's answer cannot be taken");
                self.lose(core);
            }
            None => self.lose(core),
        }
    }

    /// The party cannot be talked to.
    fn lose(&mut self, core: &mut Core) {
        self.hang_up(core);
        self.party_ended(Cause::Failed, None);
    }

    /// The party changes the session, asks for it anew, or refreshes it.
    fn on_offer(&mut self, now: Instant, request: &Message, core: &mut Core) {
        let Some(server) = &mut self.server else {
            return;
        };
        let is_update = request.method() == Some(&Method::Update);
        let offer = description_of(request);
        if server.stage != Stage::Up && !(is_update && offer.is_none())
            || server.is_busy() && (!is_update || offer.is_some())
        {
            return core.tell_proxy(server.respond(request, 491));
        }
        let timers = core.policy.timers;
        let Some(local) = self.info.as_ref().map(|info| info.a.rtp) else {
            return core.tell_proxy(server.respond(request, 500));
        };
        let mut taken = None;
        let (said, answer_due) = match offer.map(|offer| Agreed::of(&offer)) {
            Some(Ok(agreed)) if media::Family::of(&agreed.party().rtp) == self.family => {
                let answer = agreed.answer(local, &mut self.origin);
                taken = Some(agreed);
                (Some(answer), false)
            }
            Some(_) => return core.tell_proxy(server.respond(request, 488)),
            None if is_update => (None, false),
            None => (Some(self.origin.offer(local)), true),
        };
        let accepted = server.accept(now, &timers, request, said, answer_due);
        core.tell_proxy(accepted);
        if let Some(agreed) = taken {
            self.agree(agreed, core);
        }
    }

    /// Tells the party that it rings.
    pub(super) fn ring(&self, core: &mut Core) {
        core.tell_proxy(self.server.as_ref().and_then(Server::ring));
    }

    pub(super) fn refuse(&mut self, status: u16, core: &mut Core) {
        let refusal = self.server.as_mut();
        core.tell_proxy(refusal.and_then(|server| server.refuse(status, None)));
    }

    pub(super) fn hang_up(&mut self, core: &mut Core) {
        let bye = self.server.as_mut();
        let bye = bye.and_then(|server| server.hang_up(&mut core.tokens));
        core.tell_proxy(bye);
    }

    /// Answers the call.
    pub(super) fn answer(&mut self, now: Instant, core: &mut Core) {
        let Some(local) = self.info.as_ref().map(|info| info.a.rtp) else {
            return;
        };
        let origin = &mut self.origin;
        let (said, answer_due) = match &self.agreed {
            Some(agreed) => (agreed.answer(local, origin), false),
            None => (origin.offer(local), true),
        };
        let timers = core.policy.timers;
        let answer = self.server.as_mut();
        let answer = answer.and_then(|server| server.answer(now, &timers, said, answer_due));
        core.tell_proxy(answer);
    }
}
