//! Whom a document dials: calls of this node's own, beside the one that it has.
//!
//! Each is a call of the proxy like any other, whose caller is an agent here ([`Agent`]), as those of bridges are. All
//! are offered side B of the session; whoever answers first has it.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use ::control::media::{self, Side, VoiceOrder};
use sip::{
    message::{Message, Method},
    uri::Uri,
};
use store::Uuid;
use tracing::info;
use voice::{
    call::{Cause, Event, LegId, NewLeg, Source},
    twiml::Target,
};

use super::{Core, DIALLED, Hosted, key_of, sdp::Agreed};
use crate::{
    call::bridge::{
        agent::{Agent, Final, Invitation, Stage, respond},
        description_of,
        parts::{Outbox, Parcel},
    },
    directory::Caller,
    trunks::Credentials,
};

/// Headers that a document adds at most.
const MOST_HEADERS: usize = 30;

/// Somebody who is called, or has been.
#[derive(Debug)]
pub(super) struct Leg {
    /// Of its call.
    pub(super) uuid: Uuid,
    pub(super) call_id: String,
    pub(super) by: Caller,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) agent: Agent,
    has_rung: bool,
}

impl Leg {
    pub(super) fn is_over(&self) -> bool {
        self.agent.stage == Stage::Over
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.agent.poll_timeout()
    }
}

impl Hosted {
    /// The side that a leg has: whoever has not answered has none.
    pub(super) fn side_of(&self, leg: LegId) -> Option<Side> {
        match leg {
            LegId::PARTY => Some(Side::A),
            leg => (self.answered == Some(leg)).then_some(Side::B),
        }
    }

    /// Where a leg's media is to go.
    fn local_of(&self, leg: LegId) -> Option<SocketAddr> {
        let info = self.info.as_ref()?;
        let of_party = leg == LegId::PARTY;
        Some(if of_party { info.a.rtp } else { info.b.rtp })
    }

    pub(super) fn leg_at(&self, side: Side) -> Option<LegId> {
        match side {
            Side::A => Some(LegId::PARTY),
            Side::B => self.answered,
        }
    }

    /// Calls somebody; where that cannot be, the call hears that it has failed.
    pub(super) fn call_leg(&mut self, id: u64, leg: &NewLeg, core: &mut Core) {
        if let Err(why) = self.try_call(id, leg, core) {
            info!(call = self.sid(), why, "a document dials in vain");
            self.leg_ended(leg.leg, Cause::Failed, None);
        }
    }

    fn try_call(&mut self, id: u64, leg: &NewLeg, core: &mut Core) -> Result<(), String> {
        let local = self.local_of(leg.leg);
        let local = local.ok_or_else(|| "its session is not there".to_owned())?;
        let tenant = self.application.account.tenant.as_deref();
        let account = &self.application.account.sid;
        let by = core.directory.caller_for(account, tenant);
        let by = by.ok_or_else(|| "the account's tenant has no domain to call from".to_owned())?;
        let domain = match &by {
            Caller::User(aor) => Some(aor.domain().to_owned()),
            Caller::Trunk(_) | Caller::Node => None,
        };
        let call_id = core.own_call_id();
        let whom = |name: &str| core.uri_of(name, domain.as_deref());
        let from = whom(&leg.from)?;
        let is_callers = self.server.is_some() && self.caller() == Some(leg.from.as_str());
        if !is_callers && !core.directory.may_show(tenant, &from) {
            return Err(format!(
                "{} is no number of the account's to call from",
                leg.from
            ));
        }
        let (to, mut headers) = match &leg.target {
            Target::Number(number) => (whom(number)?, Vec::new()),
            Target::Client(name) => (whom(name)?, Vec::new()),
            Target::Sip { uri, .. } => {
                let (uri, headers) = uri.split_once('?').unwrap_or((uri, ""));
                (whom(uri)?, own_headers(headers))
            }
        };
        let parameters = leg.parameters.iter();
        headers.extend(parameters.map(|(name, value)| (format!("X-{name}"), value.clone())));
        let invitation = Invitation {
            call_id: call_id.clone(),
            to,
            from,
            sent_by: core.sent_by().to_owned(),
        };
        let offer = match &self.agreed {
            // What both have in common passes between them as it is.
            Some(agreed) => agreed.offer(local, &mut self.origin),
            None => self.origin.offer(local),
        };
        let called = Agent::call(&invitation, Some(&offer), &mut core.tokens);
        let (agent, invite) = called.map_err(|error| error.to_string())?;
        let mut edit = invite.edit();
        for (name, value) in headers
            .iter()
            .filter(|(name, value)| is_header(name, value))
        {
            edit = edit.push(name.as_str(), value);
        }
        let invite = edit.finish().map_err(|error| error.to_string())?;
        let digits = leg.sid.as_str().get(2..).unwrap_or_default();
        let uuid = Uuid::try_parse(digits).map_err(|error| error.to_string())?;
        core.voices.legs.insert(call_id.clone(), (id, leg.leg));
        self.legs.insert(
            leg.leg,
            Leg {
                uuid,
                call_id,
                by,
                credentials: credentials_of(&leg.target),
                agent,
                has_rung: false,
            },
        );
        core.tell_proxy([invite]);
        Ok(())
    }

    /// The call has no use for a leg any more.
    pub(super) fn drop_leg(&mut self, id: LegId, core: &mut Core) {
        if let Some(leg) = self.legs.get_mut(&id) {
            match leg.agent.stage {
                Stage::Calling => {
                    let cancel = leg
                        .agent
                        .cancel("SIP;cause=487;text=\"not needed any more\"");
                    core.tell_proxy(cancel);
                }
                Stage::Up => {
                    let parting = leg.agent.part(None, &mut core.tokens);
                    core.tell_proxy(parting);
                }
                Stage::Cancelled | Stage::Over => {}
            }
        }
        self.vacate(id);
    }

    /// The party and a leg hear each other.
    pub(super) fn bridge_leg(&mut self, id: LegId) {
        if self.answered == Some(id) {
            self.joined = true;
            self.orders.push(VoiceOrder::Join(true));
        }
    }

    /// Side B waits for somebody else where it was this leg's.
    fn vacate(&mut self, id: LegId) {
        if self.answered.take_if(|answered| *answered == id).is_none() {
            return;
        }
        self.other = None;
        if std::mem::replace(&mut self.joined, false) {
            self.orders.push(VoiceOrder::Join(false));
        }
        self.orders.push(VoiceOrder::Vacate(Side::B));
    }

    fn leg_ended(&mut self, leg: LegId, cause: Cause, sip_status: Option<u16>) {
        self.vacate(leg);
        if leg == LegId::PARTY {
            self.ring_until = None;
            self.end_referral();
        }
        self.events.push_back(Event::Ended {
            leg,
            cause,
            sip_status,
        });
    }

    /// A message of the proxy's for the agent of a leg.
    pub(super) fn on_leg_message(
        &mut self,
        now: Instant,
        id: LegId,
        message: &Message,
        core: &mut Core,
    ) {
        match message.is_request() {
            true => self.on_leg_request(now, id, message, core),
            false if is_of_refer(message) => self.on_refer_response(now, message),
            false => self.on_leg_response(id, message, core),
        }
    }

    fn on_leg_response(&mut self, id: LegId, response: &Message, core: &mut Core) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        let status = response.status().unwrap_or_default();
        if status < 200 {
            let rings = status > 100 && leg.agent.stage == Stage::Calling;
            if rings && !std::mem::replace(&mut leg.has_rung, true) {
                self.events.push_back(Event::Ringing { leg: id });
            }
            return;
        }
        let was_cancelled = leg.agent.stage == Stage::Cancelled;
        let mut out = Outbox::default();
        let meant = leg.agent.on_final(response, &mut out, &mut core.tokens);
        while let Some(parcel) = out.next() {
            if let Parcel::Message(message) = parcel {
                core.tell_proxy([*message]);
            }
        }
        let is_over = leg.is_over();
        match meant {
            Final::Refused(status) => self.leg_ended(id, cause_of(status), Some(status)),
            Final::Answered => self.on_leg_answered(id, core),
            Final::Unusable => self.leg_ended(id, Cause::Failed, None),
            // It has answered as the CANCEL was on its way, and was hung up.
            Final::Nothing if was_cancelled && is_over => self.leg_ended(id, Cause::NoAnswer, None),
            Final::Within(_) | Final::Nothing => {}
        }
    }

    fn on_leg_answered(&mut self, id: LegId, core: &mut Core) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        let heard = leg.agent.heard.as_deref().unwrap_or_default();
        let agreed = Agreed::of(heard).ok();
        let agreed = agreed.filter(|agreed| media::Family::of(&agreed.party().rtp) == self.family);
        let is_party = id == LegId::PARTY;
        let Some(agreed) = agreed.filter(|_| is_party || self.answered.is_none()) else {
            let reason = Some("SIP;cause=488;text=\"nothing to speak with\"");
            let parting = leg.agent.part(reason, &mut core.tokens);
            core.tell_proxy(parting);
            return self.leg_ended(id, Cause::Failed, None);
        };
        let ack = leg.agent.acknowledge(None, &mut core.tokens);
        core.tell_proxy(ack);
        match is_party {
            true => self.ring_until = None,
            false => self.answered = Some(id),
        }
        self.agree_with_leg(id, agreed, core);
        match self.digits.take().filter(|_| is_party) {
            // Before anything else.
            Some(digits) => {
                let play = self.terms.play(DIALLED, Side::A, Source::Digits(digits), 1);
                self.playing.insert(DIALLED);
                self.orders.push(play);
            }
            None => self.events.push_back(Event::Answered { leg: id }),
        }
    }

    /// Who has answered is where it has said.
    fn agree_with_leg(&mut self, leg: LegId, agreed: Agreed, core: &mut Core) {
        if leg == LegId::PARTY {
            return self.agree(agreed, core);
        }
        let before = self.remotes();
        self.other = Some(agreed);
        self.tell_remotes(&before, core);
    }

    fn on_leg_request(&mut self, now: Instant, id: LegId, request: &Message, core: &mut Core) {
        let (Some(leg), Some(method)) = (self.legs.get_mut(&id), request.method()) else {
            return;
        };
        let agent = &mut leg.agent;
        if *method == Method::Ack {
            let answer = agent.on_ack(request).flatten();
            if let Some(agreed) = answer.and_then(|answer| Agreed::of(&answer).ok()) {
                self.agree_with_leg(id, agreed, core);
            }
            return;
        }
        if *method == Method::Cancel {
            return core.tell_proxy(respond(request, 200));
        }
        if let Err(status) = agent.take(request) {
            return core.tell_proxy(respond(request, status));
        }
        match method {
            Method::Bye => {
                agent.end();
                core.tell_proxy(respond(request, 200));
                self.leg_ended(id, Cause::HungUp, None);
            }
            Method::Invite | Method::Update => self.on_leg_offer(now, id, request, core),
            Method::Options => core.tell_proxy(respond(request, 200)),
            Method::Info => {
                core.tell_proxy(respond(request, 200));
                let digit = key_of(request);
                let event = digit.map(|digit| Event::Digit { leg: id, digit });
                self.events.extend(event);
            }
            Method::Notify if id == LegId::PARTY => {
                let status = self.on_notify(now, request);
                core.tell_proxy(respond(request, status));
            }
            _ => core.tell_proxy(respond(request, 405)),
        }
    }

    /// Who has answered changes the session, asks for it anew, or refreshes it.
    fn on_leg_offer(&mut self, now: Instant, id: LegId, request: &Message, core: &mut Core) {
        let timers = core.policy.timers;
        let local = self.local_of(id);
        let Some((leg, local)) = self.legs.get_mut(&id).zip(local) else {
            return core.tell_proxy(respond(request, 500));
        };
        let is_update = request.method() == Some(&Method::Update);
        let offer = description_of(request);
        if leg.agent.is_busy() && (!is_update || offer.is_some()) {
            return core.tell_proxy(respond(request, 491));
        }
        let agreed = offer.map(|offer| Agreed::of(&offer));
        let said = match &agreed {
            Some(Ok(agreed)) if media::Family::of(&agreed.party().rtp) == self.family => {
                Some(agreed.answer(local, &mut self.origin))
            }
            Some(_) => return core.tell_proxy(respond(request, 488)),
            None if is_update => None,
            None => Some(self.origin.offer(local)),
        };
        let accepted = leg.agent.accept(now, &timers, request, said.as_deref());
        core.tell_proxy(accepted);
        if let Some(Ok(agreed)) = agreed {
            self.agree_with_leg(id, agreed, core);
        }
    }

    /// Time has passed.
    pub(super) fn on_legs_time(&mut self, now: Instant, core: &mut Core) {
        let mut lost = Vec::new();
        for (id, leg) in &mut self.legs {
            match leg.agent.handle_timeout(now) {
                Ok(again) => core.tell_proxy(again),
                Err(()) => {
                    let reason = Some("SIP;cause=408;text=\"the answer was not acknowledged\"");
                    let parting = leg.agent.part(reason, &mut core.tokens);
                    core.tell_proxy(parting);
                    lost.push(*id);
                }
            }
        }
        for id in lost {
            self.leg_ended(id, Cause::Failed, None);
        }
    }

    /// Forgets those that are over.
    pub(super) fn forget_legs(&mut self, core: &mut Core) {
        self.legs.retain(|_, leg| {
            let is_over = leg.is_over();
            if is_over {
                core.voices.legs.remove(&leg.call_id);
            }
            !is_over
        });
    }
}

impl Core {
    /// The URI of a party as documents name it, at this domain where it has none.
    pub(in crate::call) fn uri_of(
        &self,
        name: &str,
        domain: Option<&str>,
    ) -> Result<String, String> {
        let name = name.strip_prefix("client:").unwrap_or(name);
        let is_bare = !name.contains(['@', ':']);
        let named = match domain.filter(|_| is_bare) {
            Some(domain) => format!("{name}@{domain}"),
            None => name.to_owned(),
        };
        let uri = self.uri_of_party("<Dial>", &named);
        uri.map_err(|fault| fault.message)
    }
}

/// The headers of a SIP URI that are sent on: those that begin with `X-`.
fn own_headers(headers: &str) -> Vec<(String, String)> {
    let pairs = headers.split('&').filter_map(|pair| pair.split_once('='));
    let own = pairs.filter(|(name, _)| {
        let mark = name.get(..2).unwrap_or_default();
        mark.eq_ignore_ascii_case("x-")
    });
    let unescaped = own.filter_map(|(name, value)| {
        // A user is escaped as a header's value is (RFC 3261 section 25.1).
        let text = format!("sip:{value}@host");
        let user = Uri::parse(&text).ok()?.user_unescaped()?.into_owned();
        Some((name.to_owned(), String::from_utf8(user).ok()?))
    });
    unescaped.take(MOST_HEADERS).collect()
}

/// What answers challenges of a party.
fn credentials_of(target: &Target) -> Option<Arc<Credentials>> {
    let Target::Sip {
        username: Some(user),
        password,
        ..
    } = target
    else {
        return None;
    };
    let password = password.clone().unwrap_or_default();
    Some(Arc::new(Credentials::of_call(user.clone(), password)))
}

/// Whether a name and a value make a header that breaks no message.
fn is_header(name: &str, value: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._!%*+`'~".contains(&byte);
    let is_name = !name.is_empty() && name.len() < 128 && name.bytes().all(is_token);
    is_name && value.len() < 1024 && !value.contains(char::is_control)
}

/// Whether a response is to a REFER of ours.
pub(super) fn is_of_refer(response: &Message) -> bool {
    let cseq = response.cseq();
    cseq.is_ok_and(|cseq| cseq.method == Method::Refer)
}

/// What a refusal means to a document.
const fn cause_of(status: u16) -> Cause {
    match status {
        486 | 600 => Cause::Busy,
        408 | 480 | 487 | 603 => Cause::NoAnswer,
        _ => Cause::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_x_headers_of_a_uri_are_sent_on() {
        let headers = own_headers("X-Account=7%208&Route=sip:evil&x-b=2&Replaces=1");
        let texts = [("X-Account", "7 8"), ("x-b", "2")];
        assert_eq!(
            headers,
            texts.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(
            is_header("X-A", "b") && !is_header("X-A", "b\r\nVia: c") && !is_header("X A", "b")
        );
    }
}
