//! Third-party call control (RFC 3725): two agents, and what is carried from one to the other.
//!
//! The first party is called without an offer, so that it makes one of all that it can. It is answered at
//! once with streams that are inactive, and waits: its 200 is acknowledged, and the second one may ring as
//! long as it likes. That one is offered what the first one has said. When it answers, the first one is
//! told where it is by a re-INVITE. This is flow IV of the RFC with the offer of flow I: one that whoever is
//! called can answer, whether or not it takes calls without one.
//!
//! Where only the second party can answer the offer, since its keys are in the answer (SDES, DTLS), the
//! first one's 200 waits for that answer: flow I. Then the second one has the 32 s until the first one gives
//! up.
//!
//! After that the node carries over what each party asks for. Two that ask at once are both told 491, by
//! which they ask again one after the other. [`super::moving`] connects one of them with somebody else.

use std::time::{Duration, Instant};

use sip::{
    header::HeaderName,
    message::{Message, Method, reason_phrase},
};
use store::Uuid;

use super::{
    agent::{Agent, Final, Purpose, Stage, Told, respond},
    moving::Move,
    parts::{End, Half, Means, Outbox, Parcel, Who},
    sdp,
};

/// Times that a re-INVITE of ours is sent again after one that was refused for now.
const TRIES: u32 = 5;
/// How long a party may want us to wait with it: as long as an INVITE may go without an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(32);
/// How long a re-INVITE of ours waits for one of the party's own to be over.
const BUSY: Duration = Duration::from_secs(1);

/// Two calls of this node's that are one.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) halves: [Half; 2],
    /// Who is to take the place of a party.
    pub(super) moving: Option<Move>,
    pub(super) phase: Phase,
    /// Who is told where the other one is: who was there first, or stays where the other one is replaced.
    pub(super) stays: End,
    /// When a re-INVITE that met another one is sent again.
    pub(super) again: Option<Instant>,
    pub(super) tries: u32,
    /// What the first party was refused with.
    pub(super) refused: Option<u16>,
    pub(super) out: Outbox,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    CallingFirst,
    CallingSecond,
    /// Both have answered, and one is being told.
    Joining,
    Joined,
    /// One is being connected with somebody else.
    Moving,
    Over,
}

impl Bridge {
    /// Calls the first party. `None` where no INVITE can be made of what is asked for.
    pub(super) fn begin(mut halves: [Half; 2], means: &mut Means<'_>) -> Option<Self> {
        let [first, _] = &mut halves;
        let (agent, invite) = Agent::call(&first.whom, None, means.tokens).ok()?;
        first.agent = Some(agent);
        let mut out = Outbox::default();
        out.send([invite]);
        Some(Self {
            halves,
            moving: None,
            phase: Phase::CallingFirst,
            stays: End::First,
            again: None,
            tries: 0,
            refused: None,
            out,
        })
    }

    /// The next thing to do.
    pub(super) fn poll_parcel(&mut self) -> Option<Parcel> {
        self.out.next()
    }

    /// Whether the second call has begun.
    pub(super) const fn has_second(&self) -> bool {
        self.halves[1].agent.is_some()
    }

    /// Whether nothing more can come of it.
    pub(super) fn is_over(&self) -> bool {
        let mut agents = self.all().filter_map(|half| half.agent.as_ref());
        self.phase == Phase::Over && agents.all(|agent| agent.stage == Stage::Over)
    }

    /// The ids of the two calls.
    pub(super) const fn ids(&self) -> [Uuid; 2] {
        [self.halves[0].id, self.halves[1].id]
    }

    /// Its calls.
    pub(super) fn all(&self) -> impl Iterator<Item = &Half> {
        let moving = self.moving.iter().map(|moving| &moving.half);
        self.halves.iter().chain(moving)
    }

    /// Whose call of it has this Call-ID.
    pub(super) fn who(&self, call_id: &str) -> Option<Who> {
        let at = self.all().position(|half| half.whom.call_id == call_id)?;
        Some(match at {
            0 => Who::Party(End::First),
            1 => Who::Party(End::Second),
            _ => Who::Next,
        })
    }

    pub(super) fn half(&mut self, who: Who) -> Option<&mut Half> {
        match who {
            Who::Party(end) => self.halves.get_mut(end.index()),
            Who::Next => self.moving.as_mut().map(|moving| &mut moving.half),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let agents = self.all().filter_map(|half| half.agent.as_ref());
        let repeats = agents.filter_map(Agent::poll_timeout);
        let give_up = self.moving.as_ref().and_then(|moving| moving.give_up);
        repeats.chain(self.again).chain(give_up).min()
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, means: &mut Means<'_>) {
        for who in [Who::Party(End::First), Who::Party(End::Second), Who::Next] {
            let half = self.half(who);
            let Some(agent) = half.and_then(|half| half.agent.as_mut()) else {
                continue;
            };
            match agent.handle_timeout(means.now) {
                Ok(again) => self.out.send(again),
                Err(()) => self.on_unacknowledged(who, means),
            }
        }
        if self.again.take_if(|at| *at <= means.now).is_some() {
            self.ask_again(means);
        }
        self.give_up(means.now);
    }

    /// What was accepted was never acknowledged: that dialog is over (RFC 3261 section 13.3.1.4).
    fn on_unacknowledged(&mut self, who: Who, means: &mut Means<'_>) {
        let is_moving = self.phase == Phase::Moving;
        match who {
            Who::Party(end) if !is_moving || end == self.stays => {
                self.release(means, Some("SIP;cause=408;text=\"no ACK came\""));
            }
            Who::Party(_) => self.part_leaving(408, means),
            Who::Next => self.part_next(408, means),
        }
    }

    /// A message of one of its calls.
    pub(super) fn handle(&mut self, who: Who, message: &Message, means: &mut Means<'_>) {
        let end = match who {
            Who::Party(end) => end,
            Who::Next => return self.handle_next(message, means),
        };
        match message.status() {
            None => self.on_request(end, message, means),
            Some(200..) => self.on_final(end, message, means),
            Some(_) => {}
        }
    }

    pub(super) fn agent(&mut self, end: End) -> Option<&mut Agent> {
        self.halves[end.index()].agent.as_mut()
    }

    /// The agent of one party, and that of the other one.
    fn pair(&mut self, end: End) -> (Option<&mut Agent>, Option<&mut Agent>) {
        let [first, second] = &mut self.halves;
        let (first, second) = (first.agent.as_mut(), second.agent.as_mut());
        match end {
            End::First => (first, second),
            End::Second => (second, first),
        }
    }

    fn on_final(&mut self, end: End, response: &Message, means: &mut Means<'_>) {
        let Some(agent) = self.halves[end.index()].agent.as_mut() else {
            return;
        };
        match agent.on_final(response, &mut self.out, means.tokens) {
            Final::Refused(status) => self.on_refused(end, status, means),
            Final::Answered => self.on_answered(end, means),
            Final::Unusable => self.release(means, None),
            Final::Within(Told::Accepted(purpose)) => {
                self.on_accepted(end, purpose, response, means);
            }
            Final::Within(Told::Refused(purpose, status)) => {
                let wait = retry_after(response);
                self.on_declined(end, &purpose, (status, wait), means);
            }
            Final::Within(Told::Passed(asked)) => {
                let status = told(response.status().unwrap_or_default());
                self.out.send(respond(&asked, status));
            }
            Final::Within(Told::Nothing) | Final::Nothing => {}
        }
    }

    /// A party does not want to be called, or cannot be.
    fn on_refused(&mut self, end: End, status: u16, means: &mut Means<'_>) {
        if end == End::First {
            self.refused = Some(status);
        }
        self.release(means, Some(&because(status)));
    }

    fn on_answered(&mut self, end: End, means: &mut Means<'_>) {
        let Some(agent) = self.agent(end) else { return };
        let Some(heard) = agent.heard.clone() else {
            return self.release(means, Some("SIP;cause=488;text=\"no description\""));
        };
        if end == End::First {
            return self.call_second(&heard, means);
        }
        let ack = agent.acknowledge(None, means.tokens);
        self.out.send(ack);
        let Some(first) = self.agent(End::First) else {
            return;
        };
        if first.owes_ack {
            let ack = first.acknowledge(Some(&heard), means.tokens);
            self.out.send(ack);
            self.phase = Phase::Joined;
            return;
        }
        self.settle(false, means);
    }

    /// The first party has answered with this offer.
    fn call_second(&mut self, offer: &[u8], means: &mut Means<'_>) {
        if !sdp::is_secure(offer) {
            let Some(held) = sdp::held(offer) else {
                return self.release(means, Some("SIP;cause=488;text=\"no audio\""));
            };
            let first = self.halves[0].agent.as_mut();
            let ack = first.and_then(|first| first.acknowledge(Some(&held), means.tokens));
            self.out.send(ack);
        }
        let [_, second] = &mut self.halves;
        match Agent::call(&second.whom, Some(offer), means.tokens) {
            Ok((agent, invite)) => {
                self.phase = Phase::CallingSecond;
                second.agent = Some(agent);
                self.out.send([invite]);
            }
            Err(_) => self.release(means, None),
        }
    }

    /// Tells who stays where the other one is, unless it `is_told`, and then that one where the first one is.
    pub(super) fn settle(&mut self, is_told: bool, means: &mut Means<'_>) {
        let stays = self.stays;
        let (Some(one), Some(other)) = self.pair(stays) else {
            return;
        };
        let is_same = |said: &Agent, heard: &Agent| {
            let both = said.said.as_deref().zip(heard.heard.as_deref());
            both.is_some_and(|(said, heard)| sdp::is_same(said, heard))
        };
        if !is_told && !is_same(one, other) {
            let offer = other.heard.clone();
            self.phase = Phase::Joining;
            return self.ask(stays, offer.as_deref(), Purpose::Join, means);
        }
        let refit = (!is_same(other, one)).then(|| one.heard.clone());
        self.phase = Phase::Joined;
        if let Some(offer) = refit {
            // What it has made of the answer leads elsewhere than its first offer did.
            self.ask(stays.other(), offer.as_deref(), Purpose::Refit, means);
        }
    }

    /// Sends a party a re-INVITE, as soon as no other one is in the way.
    pub(super) fn ask(
        &mut self,
        end: End,
        offer: Option<&[u8]>,
        purpose: Purpose,
        means: &mut Means<'_>,
    ) {
        let Some(agent) = self.agent(end) else { return };
        if agent.is_busy() {
            self.again = Some(means.now + BUSY);
            return;
        }
        let invite = agent.invite(offer, purpose, means.tokens);
        self.out.send(invite);
    }

    /// A re-INVITE of ours was accepted.
    fn on_accepted(
        &mut self,
        end: End,
        purpose: Purpose,
        response: &Message,
        means: &mut Means<'_>,
    ) {
        self.tries = 0;
        let (now, timers) = (means.now, means.timers);
        let (Some(asked), Some(other)) = self.pair(end) else {
            return;
        };
        let heard = asked.heard.clone();
        let request = match purpose {
            Purpose::Carry(request) => *request,
            Purpose::Hold => return self.on_held(response, means),
            Purpose::Abandoned { answer_due } => {
                let answer = sdp::held(&heard.unwrap_or_default());
                let answer = answer.filter(|_| answer_due);
                let ack = asked.acknowledge(answer.as_deref(), means.tokens);
                return self.out.send(ack);
            }
            Purpose::Join | Purpose::Refit | Purpose::Return => {
                let ack = asked.acknowledge(None, means.tokens);
                self.out.send(ack);
                return match purpose {
                    Purpose::Join if self.phase == Phase::Moving => self.on_moved(means),
                    Purpose::Join => self.settle(true, means),
                    Purpose::Return => self.on_returned(heard.as_deref(), means),
                    _ => {}
                };
            }
        };
        // A request without a description asks for an offer; its ACK brings the answer for the other one.
        let waits_for_answer =
            request.method() == Some(&Method::Invite) && sdp::of(&request).is_none();
        let ack = match waits_for_answer && other.stage == Stage::Up {
            true => None,
            false => asked.acknowledge(None, means.tokens),
        };
        let heard = heard.unwrap_or_default();
        // Who has asked may have hung up.
        let accepted = match other.stage {
            Stage::Up => other.accept(now, timers, &request, Some(&heard)),
            _ => None,
        };
        self.out.send(ack.into_iter().chain(accepted));
    }

    /// A re-INVITE of ours was refused, maybe for so long only.
    fn on_declined(
        &mut self,
        end: End,
        purpose: &Purpose,
        (status, after): (u16, Option<Duration>),
        means: &mut Means<'_>,
    ) {
        let is_lost = matches!(status, 408 | 481);
        let is_moving = self.phase == Phase::Moving;
        if let Purpose::Carry(request) = purpose {
            self.out.send(respond(request, told(status)));
        }
        if matches!(purpose, Purpose::Carry(_) | Purpose::Abandoned { .. }) {
            return match is_moving && end != self.stays {
                _ if !is_lost => {}
                true => self.part_leaving(status, means),
                false => self.release(means, Some(&because(status))),
            };
        }
        // Its own crossed ours, and the Call-ID is ours: RFC 3261 section 14.1 has us wait the longer. Or it is
        // busy with an earlier one of ours, by section 14.2.
        let after = match status {
            491 => Some(Duration::ZERO),
            500 | 503 => after.filter(|after| *after <= LONGEST_WAIT),
            _ => None,
        };
        if let Some(after) = after.filter(|_| self.tries < TRIES) {
            let wait = Duration::from_millis(2_100 + means.tokens.bits() % 1_900);
            self.tries += 1;
            self.again = Some(means.now + wait.max(after));
            return;
        }
        // It goes on with what it was told before.
        if matches!(purpose, Purpose::Refit) && !is_lost {
            return;
        }
        match (is_moving && end == self.stays, is_lost) {
            (true, false) => self.part_next(status, means),
            // Who is being replaced is told again where that comes to nothing.
            (false, false) if is_moving => {}
            (false, true) if is_moving => self.part_leaving(status, means),
            _ => self.release(means, Some(&because(status))),
        }
    }

    /// Tells a party where the other one is, after another INVITE was in the way.
    fn ask_again(&mut self, means: &mut Means<'_>) {
        match self.phase {
            Phase::Joining => self.rejoin(means),
            Phase::Joined => self.settle(true, means),
            Phase::Moving => self.go_on(means),
            Phase::CallingFirst | Phase::CallingSecond | Phase::Over => {}
        }
    }

    fn on_request(&mut self, end: End, request: &Message, means: &mut Means<'_>) {
        let Some(method) = request.method() else {
            return;
        };
        let phase = self.phase;
        let (Some(agent), other) = self.pair(end) else {
            return;
        };
        if *method == Method::Ack {
            let answer = agent.on_ack(request);
            if let (Some(answer), Some(other)) = (answer, other) {
                let ack = other.acknowledge(answer.as_deref(), means.tokens);
                self.out.send(ack);
            }
            return;
        }
        if *method == Method::Cancel {
            // The INVITE that it is for has its answer soon, from the other party.
            return self.out.send(respond(request, 200));
        }
        if let Err(status) = agent.take(request) {
            return self.out.send(respond(request, status));
        }
        match method {
            Method::Bye => {
                agent.end();
                self.out.send(respond(request, 200));
                match phase == Phase::Moving && end != self.stays {
                    // Whoever is being replaced need not wait for it.
                    true => self.on_left(means),
                    false => self.release(means, None),
                }
            }
            Method::Options => self.out.send(respond(request, 200)),
            Method::Invite | Method::Update => self.on_offer(end, request, means),
            Method::Info | Method::Message if phase == Phase::Joined => {
                let passed = other.and_then(|other| other.pass(request, means.tokens));
                let busy = passed.is_none().then(|| respond(request, 500)).flatten();
                self.out.send(passed.or(busy));
            }
            Method::Info | Method::Message => self.out.send(respond(request, 480)),
            Method::Refer if phase == Phase::Joined => {
                self.out.put(Parcel::Refer(end, Box::new(request.clone())));
            }
            Method::Refer => self.out.send(respond(request, 491)),
            _ => self.out.send(respond(request, 405)),
        }
    }

    /// A party changes the session, asks for it anew, or refreshes it.
    fn on_offer(&mut self, end: End, request: &Message, means: &mut Means<'_>) {
        let is_update = request.method() == Some(&Method::Update);
        let description = sdp::of(request);
        let phase = self.phase;
        let (Some(agent), other) = self.pair(end) else {
            return;
        };
        let (now, timers) = (means.now, means.timers);
        let answer = match &description {
            None if is_update => agent.accept(now, timers, request, None),
            _ if agent.has_asked() => respond(request, 491),
            Some(description) if agent.is_refresh(description) => {
                agent.accept_again(now, timers, request)
            }
            Some(description) if matches!(phase, Phase::CallingSecond | Phase::Moving) => {
                match sdp::held(description) {
                    Some(held) => agent.accept(now, timers, request, Some(&held)),
                    None => respond(request, 488),
                }
            }
            _ => {
                let other = other.filter(|other| !other.is_busy());
                match other.filter(|_| phase == Phase::Joined && !agent.is_busy()) {
                    Some(other) => {
                        let carry = Purpose::Carry(Box::new(request.clone()));
                        let invite = other.invite(description.as_deref(), carry, means.tokens);
                        // The other one may take its time: this one is not to send it again.
                        self.out.send(respond(request, 100).filter(|_| !is_update));
                        invite
                    }
                    None => respond(request, 491),
                }
            }
        };
        self.out.send(answer);
    }

    /// Ends what there is of both calls.
    pub(super) fn release(&mut self, means: &mut Means<'_>, reason: Option<&str>) {
        self.report(487, means);
        self.phase = Phase::Over;
        self.again = None;
        let moving = self.moving.as_mut().map(|moving| &mut moving.half);
        for half in self.halves.iter_mut().chain(moving) {
            let Some(agent) = half.agent.as_mut() else {
                continue;
            };
            // What the other party asked this one for is not answered any more.
            let waiting = agent.waiting();
            self.out
                .send(waiting.filter_map(|request| respond(&request, 487)));
            match agent.stage {
                Stage::Calling => {
                    let reason = reason.unwrap_or("SIP;cause=487;text=\"the other party is gone\"");
                    self.out.send(agent.cancel(reason));
                }
                Stage::Up => self.out.send(agent.part(reason, means.tokens)),
                Stage::Cancelled | Stage::Over => {}
            }
        }
    }
}

/// A status as the value of a Reason header (RFC 3326).
pub(super) fn because(status: u16) -> String {
    format!("SIP;cause={status};text=\"{}\"", reason_phrase(status))
}

/// What a Retry-After asks for (RFC 3261 section 20.33).
fn retry_after(response: &Message) -> Option<Duration> {
    let text = response.header(HeaderName::RetryAfter)?.text();
    let digits = text.trim().split(|c: char| !c.is_ascii_digit()).next()?;
    Some(Duration::from_secs(digits.parse().ok()?))
}

/// What a party is told of the other one's refusal: a challenge is none of its business.
const fn told(status: u16) -> u16 {
    match status {
        401 | 407 => 500,
        status => status,
    }
}
