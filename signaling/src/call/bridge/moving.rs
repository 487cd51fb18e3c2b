//! One of two parties is connected with somebody else, and the other one left.
//!
//! Who stays is asked for an offer of all that it can by a re-INVITE without one, and waits with streams that
//! are inactive, as it did at the beginning. The next one is called with that offer. When it has answered, who
//! stays is told where it is; then the other one is hung up. Until then nothing is lost: where the next one
//! does not come, both are connected again.
//!
//! Where the keys of the media are in the answer, the ACK of who stays waits for that of the next one; where
//! that one does not come, the other party is offered the same, and answers.

use std::time::{Duration, Instant};

use sip::message::{Message, Method};
use store::Cause;

use super::{
    agent::{Agent, Final, Purpose, Stage, respond},
    control::{Bridge, Phase, because},
    parts::{Half, Means, Parcel},
    sdp,
};
use crate::call::state::CallKey;

/// How long the next one may ring while the ACK of who stays waits for it: less than the 32 s that a phone
/// waits for one.
const UNACKNOWLEDGED: Duration = Duration::from_secs(25);

/// Who is to take the place of a party, and how far that is.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) half: Half,
    /// The call that shows how far it is, and the number of its transfer.
    pub(super) call: CallKey,
    pub(super) number: u64,
    /// The CSeq number of the REFER by which the party that leaves has asked for it, where it wants to be told.
    pub(super) refer: Option<u32>,
    /// How far it is; below 200 it is under way.
    pub(super) status: u16,
    /// The call of who stays has its media relayed, so that this one need not.
    pub(super) is_relayed: bool,
    /// When the next one is not waited for any longer.
    pub(super) give_up: Option<Instant>,
}

impl Bridge {
    /// Begins to replace the party that [`Bridge::stays`] is not.
    pub(super) fn begin_move(&mut self, next: Move, means: &mut Means<'_>) {
        self.moving = Some(next);
        self.phase = Phase::Moving;
        // Who stays asks the one that leaves for something, which is not to be in the way.
        let left = self.agent(self.stays.other());
        let waits = left.and_then(Agent::abandon);
        self.out
            .send(waits.and_then(|request| respond(&request, 491)));
        self.tries = 0;
        self.again = None;
        self.report(100, means);
        self.go_on(means);
    }

    /// Whether a party may be replaced now.
    pub(super) fn may_move(&self) -> bool {
        self.phase == Phase::Joined && self.moving.is_none()
    }

    /// Takes the next step with who stays.
    pub(super) fn go_on(&mut self, means: &mut Means<'_>) {
        let Some(moving) = &self.moving else {
            return self.rejoin(means);
        };
        let stays = self.stays;
        match &moving.half.agent {
            None => self.ask(stays, None, Purpose::Hold, means),
            Some(next) if next.stage == Stage::Up => {
                let offer = next.heard.clone();
                self.ask(stays, offer.as_deref(), Purpose::Join, means);
            }
            Some(_) => {}
        }
    }

    /// Who stays has said what it can: the next one is called.
    pub(super) fn on_held(&mut self, response: &Message, means: &mut Means<'_>) {
        let stays = self.stays;
        let Some(agent) = self.agent(stays) else {
            return;
        };
        let offer = agent.heard.clone().unwrap_or_default();
        // One that makes none, which RFC 3261 section 14.2 has it do, is as it was: it counts what it said last.
        let made = sdp::of(response).is_some();
        let plain = Some(&offer).filter(|offer| made && !sdp::is_secure(offer));
        let held = plain.and_then(|offer| sdp::held(offer));
        let waits = made && held.is_none();
        let ack = match waits {
            true => None,
            false => agent.acknowledge(held.as_deref(), means.tokens),
        };
        self.out.send(ack);
        let Some(moving) = &mut self.moving else {
            return self.rejoin(means);
        };
        moving.give_up = waits.then(|| means.now + UNACKNOWLEDGED);
        match Agent::call(&moving.half.whom, Some(&offer), means.tokens) {
            Ok((agent, invite)) => {
                moving.half.agent = Some(agent);
                self.out.send([invite]);
            }
            Err(_) => self.fail(500, means),
        }
    }

    /// A message of the next one's call.
    pub(super) fn handle_next(&mut self, message: &Message, means: &mut Means<'_>) {
        let Some(status) = message.status() else {
            return self.on_next_request(message, means);
        };
        if status < 200 {
            if status > 100 && self.phase == Phase::Moving {
                self.report(status, means);
            }
            return;
        }
        let moving = self.moving.as_mut();
        let Some(next) = moving.and_then(|moving| moving.half.agent.as_mut()) else {
            return;
        };
        match next.on_final(message, &mut self.out, means.tokens) {
            // The bridge may be over, and the call have been cancelled.
            _ if self.phase != Phase::Moving => {}
            Final::Refused(status) => self.fail(status, means),
            Final::Answered => self.on_next_answered(means),
            Final::Unusable => self.fail(500, means),
            Final::Within(_) | Final::Nothing => {}
        }
    }

    fn on_next_answered(&mut self, means: &mut Means<'_>) {
        let Some(moving) = &mut self.moving else {
            return;
        };
        moving.give_up = None;
        let Some(next) = &mut moving.half.agent else {
            return;
        };
        let Some(heard) = next.heard.clone() else {
            let parting = next.part(Some(&because(488)), means.tokens);
            self.out.send(parting);
            return self.fail(488, means);
        };
        self.out.send(next.acknowledge(None, means.tokens));
        let Some(agent) = self.halves[self.stays.index()].agent.as_mut() else {
            return;
        };
        if agent.owes_ack {
            self.out.send(agent.acknowledge(Some(&heard), means.tokens));
            self.phase = Phase::Joined;
            return self.replace(means);
        }
        self.go_on(means);
    }

    fn on_next_request(&mut self, request: &Message, means: &mut Means<'_>) {
        let moving = self.moving.as_mut();
        let next = moving.and_then(|moving| moving.half.agent.as_mut());
        let (Some(next), Some(method)) = (next, request.method()) else {
            return;
        };
        if *method == Method::Ack {
            next.on_ack(request);
            return;
        }
        if let Err(status) = next.take(request) {
            return self.out.send(respond(request, status));
        }
        let description = sdp::of(request);
        let answer = match method {
            Method::Bye => {
                next.end();
                self.out.send(respond(request, 200));
                if self.phase == Phase::Moving {
                    self.fail(480, means);
                }
                return;
            }
            Method::Options | Method::Cancel => respond(request, 200),
            Method::Update if description.is_none() => {
                next.accept(means.now, means.timers, request, None)
            }
            Method::Invite | Method::Update => match description {
                Some(description) if next.is_refresh(&description) => {
                    next.accept_again(means.now, means.timers, request)
                }
                _ => respond(request, 491),
            },
            Method::Info | Method::Message => respond(request, 480),
            Method::Refer => respond(request, 491),
            _ => respond(request, 405),
        };
        self.out.send(answer);
    }

    /// Who stays knows where the next one is, if that one is there still.
    pub(super) fn on_moved(&mut self, means: &mut Means<'_>) {
        if self.moving.is_none() {
            return self.rejoin(means);
        }
        self.replace(means);
        self.settle(true, means);
    }

    /// The party that leaves is lost already: the move goes on without it.
    pub(super) fn part_leaving(&mut self, status: u16, means: &mut Means<'_>) {
        let left = self.agent(self.stays.other());
        if let Some(left) = left.filter(|left| left.stage == Stage::Up) {
            let parting = left.part(Some(&because(status)), means.tokens);
            self.out.send(parting);
        }
        self.on_left(means);
    }

    /// The party that leaves has left: what is asked of it has its answer, and who stays is not to wait for it.
    pub(super) fn on_left(&mut self, means: &mut Means<'_>) {
        let is_held = self
            .moving
            .as_ref()
            .is_some_and(|it| it.half.agent.is_some());
        let left = self.agent(self.stays.other());
        let waiting = left.into_iter().flat_map(Agent::waiting);
        let answers: Vec<_> = waiting
            .filter_map(|request| respond(&request, 487))
            .collect();
        self.out.send(answers);
        let stays = self.agent(self.stays);
        // Its offer, which the one that has left asked for, is answered by nobody else.
        if let Some(stays) = stays.filter(|stays| stays.owes_ack && !is_held) {
            let held = sdp::held(stays.heard.as_deref().unwrap_or_default());
            let ack = stays.acknowledge(held.as_deref(), means.tokens);
            self.out.send(ack);
        }
    }

    /// The next one is left again, and both are to be as they were.
    pub(super) fn part_next(&mut self, status: u16, means: &mut Means<'_>) {
        let moving = self.moving.as_mut();
        let next = moving.and_then(|moving| moving.half.agent.as_mut());
        if let Some(next) = next.filter(|next| next.stage == Stage::Up) {
            let parting = next.part(Some(&because(status)), means.tokens);
            self.out.send(parting);
        }
        self.fail(status, means);
    }

    /// The next one takes the place of the party that leaves.
    fn replace(&mut self, means: &mut Means<'_>) {
        self.report(200, means);
        let Some(moving) = self.moving.take() else {
            return;
        };
        let place = &mut self.halves[self.stays.other().index()];
        let left = std::mem::replace(place, moving.half);
        if let Some(mut agent) = left.agent {
            let waiting = agent.waiting();
            self.out
                .send(waiting.filter_map(|request| respond(&request, 487)));
            if agent.stage == Stage::Up {
                if agent.owes_ack {
                    self.out.send(agent.acknowledge(None, means.tokens));
                }
                self.out.put(Parcel::HangUp(left.id, Cause::Transfer));
            }
        }
        self.out.put(Parcel::Forget(left.whom.call_id));
        self.out.put(Parcel::Peers(self.ids()));
    }

    /// The next one does not come, or went at once: both are to be as they were.
    fn fail(&mut self, status: u16, means: &mut Means<'_>) {
        self.report(status, means);
        if let Some(moving) = self.moving.take() {
            self.out.put(Parcel::Forget(moving.half.whom.call_id));
        }
        let stays = self.stays;
        // What it has not answered yet has to be undone when it has.
        let is_asking = self.agent(stays).is_some_and(|agent| agent.is_asking());
        if !is_asking {
            self.again = None;
            self.rejoin(means);
        }
    }

    /// Connects who stays with the other party, again or for the first time.
    pub(super) fn rejoin(&mut self, means: &mut Means<'_>) {
        let stays = self.stays;
        let other = self.agent(stays.other());
        if !other.is_some_and(|other| other.stage == Stage::Up) {
            return self.release(
                means,
                Some("SIP;cause=480;text=\"nobody is left to talk to\""),
            );
        }
        let Some(agent) = self.agent(stays) else {
            return;
        };
        if !agent.owes_ack {
            return self.settle(false, means);
        }
        let offer = agent.heard.clone();
        self.phase = Phase::Joining;
        self.ask(stays.other(), offer.as_deref(), Purpose::Return, means);
    }

    /// Who was to be left has answered what its party has offered.
    pub(super) fn on_returned(&mut self, answer: Option<&[u8]>, means: &mut Means<'_>) {
        let stays = self.stays;
        if let Some(agent) = self.agent(stays) {
            let ack = agent.acknowledge(answer, means.tokens);
            self.out.send(ack);
        }
        self.phase = Phase::Joined;
    }

    /// The next one has had its time.
    pub(super) fn give_up(&mut self, now: Instant) {
        let Some(moving) = &mut self.moving else {
            return;
        };
        if moving.give_up.take_if(|at| *at <= now).is_some() {
            self.out
                .put(Parcel::HangUp(moving.half.id, Cause::RingTimeout));
        }
    }

    /// Tells how far it is, where that is new.
    pub(super) fn report(&mut self, status: u16, means: &mut Means<'_>) {
        let Some(moving) = self.moving.as_mut().filter(|moving| moving.status < 200) else {
            return;
        };
        if moving.status == status {
            return;
        }
        moving.status = status;
        let leaves = self.halves[self.stays.other().index()].agent.as_mut();
        let notify = leaves.zip(moving.refer);
        let notify = notify.and_then(|(agent, refer)| agent.notify(refer, status, means.tokens));
        self.out.send(notify);
        self.out.put(Parcel::Moved {
            call: moving.call,
            number: moving.number,
            status,
        });
    }
}
