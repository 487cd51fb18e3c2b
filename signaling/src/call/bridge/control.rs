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
//! which they ask again one after the other.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sip::{
    message::{Message, Method, reason_phrase},
    token::TokenGenerator,
    transaction::Timers,
};
use store::Uuid;

use super::{
    agent::{Agent, Invitation, Purpose, Stage, Told, respond},
    sdp,
};

/// Times that a re-INVITE of ours is sent again after 491.
const TRIES: u32 = 5;

/// One of the two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Who is called first.
    First,
    Second,
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// What everything here is done with.
#[derive(Debug)]
pub(super) struct Means<'m> {
    pub(super) now: Instant,
    pub(super) timers: &'m Timers,
    pub(super) tokens: &'m mut TokenGenerator,
}

/// Two calls of this node's that are one.
#[derive(Debug)]
pub(super) struct Bridge {
    /// The ids of the two calls.
    pub(super) ids: [Uuid; 2],
    /// The second call, once it is to begin.
    second: Invitation,
    agents: [Option<Agent>; 2],
    phase: Phase,
    /// What the second party was offered.
    offered: Vec<u8>,
    /// When a re-INVITE that met another one is sent again.
    again: Option<(Instant, End)>,
    tries: u32,
    /// What the first party was refused with.
    pub(super) refused: Option<u16>,
    out: VecDeque<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    CallingFirst,
    CallingSecond,
    /// Both have answered, and the first one is being told.
    Joining,
    Joined,
    Over,
}

impl Bridge {
    /// Calls the first party. `None` where no INVITE can be made of what is asked for.
    pub(super) fn begin(
        ids: [Uuid; 2],
        first: &Invitation,
        second: Invitation,
        means: &mut Means<'_>,
    ) -> Option<Self> {
        let (agent, invite) = Agent::call(first, None, means.tokens).ok()?;
        Some(Self {
            ids,
            second,
            agents: [Some(agent), None],
            phase: Phase::CallingFirst,
            offered: Vec::new(),
            again: None,
            tries: 0,
            refused: None,
            out: VecDeque::from([invite]),
        })
    }

    /// The next message for the proxy.
    pub(super) fn poll_message(&mut self) -> Option<Message> {
        self.out.pop_front()
    }

    /// Whether the second call has begun.
    pub(super) const fn has_second(&self) -> bool {
        self.agents[1].is_some()
    }

    /// Whether nothing more can come of it.
    pub(super) fn is_over(&self) -> bool {
        let mut agents = self.agents.iter().flatten();
        self.phase == Phase::Over && agents.all(|agent| agent.stage == Stage::Over)
    }

    /// The Call-IDs of its dialogs.
    pub(super) fn call_ids(&self) -> [&str; 2] {
        let first = self.agents[0].as_ref().map(|agent| agent.call_id.as_str());
        [first.unwrap_or_default(), &self.second.call_id]
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let repeats = self.agents.iter().flatten().map(Agent::poll_timeout);
        let again = self.again.map(|(at, _)| at);
        repeats.flatten().chain(again).min()
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, means: &mut Means<'_>) {
        for end in [End::First, End::Second] {
            let Some(agent) = self.agent(end) else {
                continue;
            };
            match agent.handle_timeout(means.now) {
                Ok(again) => self.out.extend(again),
                Err(()) => return self.release(means, Some("SIP;cause=408;text=\"no ACK came\"")),
            }
        }
        if let Some((_, end)) = self.again.take_if(|(at, _)| *at <= means.now) {
            self.ask_again(end, means);
        }
    }

    /// A message of one of its calls.
    pub(super) fn handle(&mut self, end: End, message: &Message, means: &mut Means<'_>) {
        match message.status() {
            None => self.on_request(end, message, means),
            Some(200..) => self.on_final(end, message, means),
            Some(_) => {}
        }
    }

    fn agent(&mut self, end: End) -> Option<&mut Agent> {
        self.agents[end.index()].as_mut()
    }

    fn on_final(&mut self, end: End, response: &Message, means: &mut Means<'_>) {
        let status = response.status().unwrap_or_default();
        let is_invite = response
            .cseq()
            .is_ok_and(|cseq| cseq.method == Method::Invite);
        let Some(agent) = self.agents[end.index()].as_mut() else {
            return;
        };
        if is_invite && status >= 300 {
            self.out.extend(agent.acknowledge_refusal(response));
        }
        match agent.stage {
            Stage::Calling | Stage::Cancelled if !is_invite => {}
            Stage::Calling | Stage::Cancelled if status >= 300 => {
                agent.stage = Stage::Over;
                self.on_refused(end, status, means);
            }
            Stage::Calling => {
                if !agent.establish(response) {
                    agent.stage = Stage::Over;
                    return self.release(means, None);
                }
                self.on_answered(end, means);
            }
            // It was answered before the CANCEL came.
            Stage::Cancelled => {
                if agent.establish(response) {
                    self.out.extend(agent.acknowledge(None, means.tokens));
                    self.out.extend(agent.bye(None, means.tokens));
                }
                agent.stage = Stage::Over;
            }
            Stage::Up if is_invite && status < 300 && !agent.is_of_dialog(response) => {
                self.out.extend(agent.disown(response, means.tokens));
            }
            Stage::Up => match agent.on_response(response) {
                Told::Accepted(purpose) => self.on_accepted(end, purpose, means),
                Told::Refused(purpose, status) => self.on_declined(end, purpose, status, means),
                Told::Passed(asked) => self.out.extend(respond(&asked, told(status))),
                Told::Nothing if is_invite && status < 300 => self.out.extend(agent.ack_again()),
                Told::Nothing => {}
            },
            Stage::Over if is_invite && status < 300 => self.out.extend(agent.ack_again()),
            Stage::Over => {}
        }
    }

    /// A party does not want to be called, or cannot be.
    fn on_refused(&mut self, end: End, status: u16, means: &mut Means<'_>) {
        if end == End::First {
            self.refused = Some(status);
        }
        let reason = format!("SIP;cause={status};text=\"{}\"", reason_phrase(status));
        self.release(means, Some(&reason));
    }

    fn on_answered(&mut self, end: End, means: &mut Means<'_>) {
        let Some(agent) = self.agents[end.index()].as_mut() else {
            return;
        };
        let Some(heard) = agent.heard.clone() else {
            return self.release(means, Some("SIP;cause=488;text=\"no description\""));
        };
        if end == End::First {
            return self.call_second(heard, means);
        }
        let ack = agent.acknowledge(None, means.tokens);
        self.out.extend(ack);
        let Some(first) = self.agents[0].as_mut() else {
            return;
        };
        if first.owes_ack {
            self.out
                .extend(first.acknowledge(Some(&heard), means.tokens));
            self.phase = Phase::Joined;
            return;
        }
        let invite = first.invite(Some(&heard), Purpose::Join, means.tokens);
        self.out.extend(invite);
        self.phase = Phase::Joining;
    }

    /// The first party has answered with this offer.
    fn call_second(&mut self, offer: Vec<u8>, means: &mut Means<'_>) {
        if !sdp::is_secure(&offer) {
            let Some(held) = sdp::held(&offer) else {
                return self.release(means, Some("SIP;cause=488;text=\"no audio\""));
            };
            if let Some(first) = self.agents[0].as_mut() {
                self.out
                    .extend(first.acknowledge(Some(&held), means.tokens));
            }
        }
        match Agent::call(&self.second, Some(&offer), means.tokens) {
            Ok((agent, invite)) => {
                self.phase = Phase::CallingSecond;
                self.offered = offer;
                self.agents[1] = Some(agent);
                self.out.push_back(invite);
            }
            Err(_) => self.release(means, None),
        }
    }

    /// A re-INVITE of ours was accepted.
    fn on_accepted(&mut self, end: End, purpose: Purpose, means: &mut Means<'_>) {
        self.tries = 0;
        let [first, second] = &mut self.agents;
        let (asked, other) = match end {
            End::First => (first, second),
            End::Second => (second, first),
        };
        let (Some(asked), Some(other)) = (asked, other) else {
            return;
        };
        let heard = asked.heard.clone().unwrap_or_default();
        let request = match purpose {
            Purpose::Carry(request) => *request,
            Purpose::Join | Purpose::Refit => {
                self.out.extend(asked.acknowledge(None, means.tokens));
                if matches!(purpose, Purpose::Refit) {
                    return;
                }
                self.phase = Phase::Joined;
                // What it has made of the answer leads elsewhere than its first offer did.
                if !sdp::is_same(&self.offered, &heard) {
                    let refit = other.invite(Some(&heard), Purpose::Refit, means.tokens);
                    self.out.extend(refit);
                }
                return;
            }
        };
        // A request without a description asks for an offer; its ACK brings the answer for the other one.
        let waits_for_answer =
            request.method() == Some(&Method::Invite) && sdp::of(&request).is_none();
        if !waits_for_answer {
            self.out.extend(asked.acknowledge(None, means.tokens));
        }
        let accepted = other.accept(means.now, means.timers, &request, Some(&heard));
        self.out.extend(accepted);
    }

    /// A re-INVITE of ours was refused.
    fn on_declined(&mut self, end: End, purpose: Purpose, status: u16, means: &mut Means<'_>) {
        let is_lost = matches!(status, 408 | 481);
        match purpose {
            Purpose::Carry(request) => {
                self.out.extend(respond(&request, told(status)));
                if is_lost {
                    self.release(means, None);
                }
            }
            // Its own crossed ours. The Call-ID is ours: RFC 3261 section 14.1 has us wait the longer.
            Purpose::Join | Purpose::Refit if status == 491 && self.tries < TRIES => {
                let wait = Duration::from_millis(2_100 + means.tokens.bits() % 1_900);
                self.tries += 1;
                self.again = Some((means.now + wait, end));
            }
            Purpose::Join | Purpose::Refit => {
                let reason = format!("SIP;cause={status};text=\"{}\"", reason_phrase(status));
                self.release(means, Some(&reason));
            }
        }
    }

    /// Tells a party where the other one is, after another INVITE was in the way.
    fn ask_again(&mut self, end: End, means: &mut Means<'_>) {
        let heard = self
            .agent(end.other())
            .and_then(|other| other.heard.clone());
        let purpose = match self.phase {
            Phase::Joining => Purpose::Join,
            Phase::Joined => Purpose::Refit,
            _ => return,
        };
        let Some(agent) = self.agent(end) else {
            return;
        };
        if agent.is_busy() {
            self.again = Some((means.now + Duration::from_secs(1), end));
            return;
        }
        let invite = agent.invite(heard.as_deref(), purpose, means.tokens);
        self.out.extend(invite);
    }

    fn on_request(&mut self, end: End, request: &Message, means: &mut Means<'_>) {
        let Some(method) = request.method() else {
            return;
        };
        let [first, second] = &mut self.agents;
        let (agent, other) = match end {
            End::First => (first, second),
            End::Second => (second, first),
        };
        let Some(agent) = agent else { return };
        if *method == Method::Ack {
            if let Some(answer) = agent.on_ack(request)
                && let Some(other) = other
            {
                self.out
                    .extend(other.acknowledge(answer.as_deref(), means.tokens));
            }
            return;
        }
        if *method == Method::Cancel {
            // The INVITE that it is for has its answer soon, from the other party.
            return self.out.extend(respond(request, 200));
        }
        if let Err(status) = agent.take(request) {
            return self.out.extend(respond(request, status));
        }
        match method {
            Method::Bye => {
                self.out.extend(respond(request, 200));
                agent.stage = Stage::Over;
                self.release(means, None);
            }
            Method::Options => self.out.extend(respond(request, 200)),
            Method::Invite | Method::Update => self.on_offer(end, request, means),
            Method::Info | Method::Message if self.phase == Phase::Joined => {
                let passed = other
                    .as_mut()
                    .and_then(|other| other.pass(request, means.tokens));
                let busy = passed.is_none().then(|| respond(request, 500)).flatten();
                self.out.extend(passed.or(busy));
            }
            Method::Info | Method::Message => self.out.extend(respond(request, 480)),
            _ => self.out.extend(respond(request, 405)),
        }
    }

    /// A party changes the session, asks for it anew, or refreshes it.
    fn on_offer(&mut self, end: End, request: &Message, means: &mut Means<'_>) {
        let is_update = request.method() == Some(&Method::Update);
        let description = sdp::of(request);
        let phase = self.phase;
        let [first, second] = &mut self.agents;
        let (agent, other) = match end {
            End::First => (first, second),
            End::Second => (second, first),
        };
        let Some(agent) = agent else { return };
        let (now, timers) = (means.now, means.timers);
        let answer = match &description {
            None if is_update => agent.accept(now, timers, request, None),
            _ if agent.has_asked() => respond(request, 491),
            Some(description) if agent.is_refresh(description) => {
                agent.accept_again(now, timers, request)
            }
            Some(description) if phase == Phase::CallingSecond => match sdp::held(description) {
                Some(held) => agent.accept(now, timers, request, Some(&held)),
                None => respond(request, 488),
            },
            _ => {
                let other = other.as_mut().filter(|other| !other.is_busy());
                match other.filter(|_| phase == Phase::Joined && !agent.is_busy()) {
                    Some(other) => {
                        let carry = Purpose::Carry(Box::new(request.clone()));
                        // The other one may take its time: this one is not to send it again.
                        self.out
                            .extend(respond(request, 100).filter(|_| !is_update));
                        other.invite(description.as_deref(), carry, means.tokens)
                    }
                    None => respond(request, 491),
                }
            }
        };
        self.out.extend(answer);
    }

    /// Ends what there is of both calls.
    fn release(&mut self, means: &mut Means<'_>, reason: Option<&str>) {
        self.phase = Phase::Over;
        self.again = None;
        for end in [End::First, End::Second] {
            let Some(agent) = self.agents[end.index()].as_mut() else {
                continue;
            };
            // What the other party asked this one for is not answered any more.
            let waiting = agent.waiting();
            self.out
                .extend(waiting.filter_map(|request| respond(&request, 487)));
            match agent.stage {
                Stage::Calling => {
                    let reason = reason.unwrap_or("SIP;cause=487;text=\"the other party is gone\"");
                    self.out.extend(agent.cancel(reason));
                }
                Stage::Up => {
                    if agent.owes_ack {
                        self.out.extend(agent.acknowledge(None, means.tokens));
                    }
                    self.out.extend(agent.bye(reason, means.tokens));
                }
                Stage::Cancelled | Stage::Over => {}
            }
        }
    }
}

/// What a party is told of the other one's refusal: a challenge is none of its business.
const fn told(status: u16) -> u16 {
    match status {
        401 | 407 => 500,
        status => status,
    }
}
