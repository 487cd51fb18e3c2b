//! Calls that this node makes itself, for whoever asks it to connect two parties.
//!
//! Each of the two is a call of the proxy like any other, with a caller that is beside it in this process
//! ([`agent`]): so it is routed, limited, forked, relayed and recorded by what does that for all. The messages
//! between both never see a network, and take their turn in [`Core::drain`]. [`control`] says what is
//! carried from one call to the other.
//!
//! Media goes from one party to the other by one session of mediad's, that of the second call: the first
//! call's descriptions pass as they are, and name the second one's ports.
//!
//! [`moving`] connects one party with somebody else, for an operator or because the other one wants it
//! ([`refer`]).

pub(super) mod agent;
mod control;
mod moving;
mod name;
pub(super) mod parts;
mod refer;
mod rights;
mod sdp;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use ::control::{
    Fault, FaultCode,
    signal::{CallInfo, CallState, Originate},
};
use sip::message::{Message, Method};
use store::{Cause, Timestamp, Uuid};
use tracing::{debug, info};

pub(super) use self::sdp::of as description_of;
use self::{
    agent::{Invitation, respond},
    control::Bridge,
    parts::{By, End, Half, Means, Parcel, Who},
};
use super::{Alarm, Core, state::Call};
use crate::{directory::Plan, metrics::Direction, net::Flow};

/// Such calls of one worker at most.
const MOST: usize = 4_096;

/// What calls itself a call of this node's own, and what waits between it and the proxy.
#[derive(Debug, Default)]
pub(super) struct Bridges {
    by_id: HashMap<u64, Entry>,
    by_call_id: HashMap<String, u64>,
    /// From the proxy to the agents.
    inbox: VecDeque<Message>,
    /// From the agents to the proxy, and to whoever else: of which of them.
    outbox: VecDeque<(u64, Parcel)>,
    /// They are being delivered.
    is_busy: bool,
}

#[derive(Debug)]
struct Entry {
    bridge: Bridge,
    /// What both are shown as the caller, where it is not the other one.
    shown_as: Option<String>,
    /// How it is shown until the first call is there: its callee may have to be looked up.
    shown: CallInfo,
    /// The first call has become one of the proxy's.
    is_seen: bool,
    ring_timeout: Duration,
}

impl Bridges {
    /// Something that the proxy sends to an agent.
    pub(super) fn receive(&mut self, message: Message) {
        self.inbox.push_back(message);
    }

    /// Something that another agent sends to the proxy.
    pub(super) fn say(&mut self, messages: impl IntoIterator<Item = Message>) {
        let messages = messages.into_iter().map(Box::new);
        self.outbox
            .extend(messages.map(|message| (0, Parcel::Message(message))));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
            && self.by_call_id.is_empty()
            && self.inbox.is_empty()
            && self.outbox.is_empty()
    }

    fn entry(&mut self, call_id: &str) -> Option<(&mut Entry, Who)> {
        let entry = self.by_id.get_mut(self.by_call_id.get(call_id)?)?;
        let who = entry.bridge.who(call_id)?;
        Some((entry, who))
    }

    /// Which bridge a call is of, and as whose call.
    fn of(&self, call: &Call) -> Option<(u64, Who)> {
        let id = *self.by_call_id.get(&call.call_id)?;
        let who = self.by_id.get(&id)?.bridge.who(&call.call_id)?;
        call.source.is_node().then_some((id, who))
    }

    /// The id that a call of this node's was promised.
    pub(super) fn promised(&mut self, flow: &Flow, call_id: &str) -> Option<Uuid> {
        if !flow.is_node() {
            return None;
        }
        let (entry, who) = self.entry(call_id)?;
        entry.is_seen = true;
        Some(entry.bridge.half(who)?.id)
    }

    /// In whose name a call is made.
    fn by(&mut self, call_id: &str) -> Option<By> {
        let (entry, who) = self.entry(call_id)?;
        Some(entry.bridge.half(who)?.by.clone())
    }

    /// The call that is the other half of this one.
    pub(super) fn peer(&self, call_id: &str) -> Option<Uuid> {
        let bridge = &self.by_id.get(self.by_call_id.get(call_id)?)?.bridge;
        let [first, second] = bridge.ids();
        match bridge.who(call_id)? {
            Who::Party(End::First) => bridge.has_second().then_some(second),
            Who::Party(End::Second) => Some(first),
            Who::Next => Some(bridge.ids()[bridge.stays.index()]),
        }
    }

    /// Whether a request begins another half of what was let in already.
    pub(super) fn is_second(&mut self, flow: &Flow, request: &Message) -> bool {
        let entry = request.call_id().ok().and_then(|id| self.entry(id));
        let who = entry.map(|(_, who)| who);
        flow.is_node() && matches!(who, Some(Who::Party(End::Second) | Who::Next))
    }

    /// Calls that are not among the proxy's yet.
    pub(super) fn pending(&self) -> impl Iterator<Item = CallInfo> {
        let entries = self.by_id.values();
        entries
            .filter(|entry| !entry.is_seen)
            .map(|entry| entry.shown.clone())
    }

    /// Has a call of this node's go by its plan: it rings no longer than was asked for, and its media takes
    /// one session, with the second call.
    pub(super) fn adjust(&mut self, flow: &Flow, call_id: &str, plan: &mut Plan) {
        if !flow.is_node() {
            return;
        }
        let Some((entry, who)) = self.entry(call_id) else {
            return;
        };
        let bridge = &mut entry.bridge;
        let wanted = plan.relays();
        if let Some(half) = bridge.half(who) {
            half.relay = wanted;
        }
        let [first, _] = &bridge.halves;
        let relay = match who {
            Who::Party(End::First) => false,
            Who::Party(End::Second) => wanted || first.relay,
            Who::Next => {
                let is_relayed = bridge.moving.as_ref().is_some_and(|next| next.is_relayed);
                !is_relayed && (wanted || bridge.halves[bridge.stays.index()].relay)
            }
        };
        for stage in &mut plan.stages {
            stage.relay = relay;
            stage.ring_at_most(entry.ring_timeout);
        }
    }
}

impl Core {
    /// Calls a party, and then another one for it; both talk once both have answered.
    pub(crate) fn originate(&mut self, now: Instant, order: &Originate) -> Result<CallInfo, Fault> {
        if self.draining {
            let message = "the node is draining: it takes no new calls";
            return Err(Fault::new(FaultCode::Conflict, message));
        }
        if self.bridges.by_id.len() >= MOST {
            let message = "too many calls of the node's own are up";
            return Err(Fault::new(FaultCode::Exhausted, message));
        }
        let (first, second) = (
            self.uri_of_party("from", &order.from)?,
            self.uri_of_party("to", &order.to)?,
        );
        let shown_as = match &order.caller_id {
            Some(id) => Some(self.uri_of_party("caller_id", id)?),
            None => None,
        };
        let time = self.time(now);
        let ids = [self.call_uuid(time), self.call_uuid(time)];
        let call_ids = [self.own_call_id(), self.own_call_id()];
        let half = |at: usize, to: &str, other: &str, by| Half {
            id: ids[at],
            whom: Invitation {
                call_id: call_ids[at].clone(),
                to: to.to_owned(),
                from: shown_as.as_deref().unwrap_or(other).to_owned(),
                sent_by: self.sent_by().to_owned(),
            },
            by,
            relay: false,
            agent: None,
        };
        let halves = [
            half(0, &first, &second, By::Node(first.clone())),
            half(1, &second, &first, By::UserAt(first.clone())),
        ];
        let shown = pending(ids[0], &halves[0].whom, time);
        let mut means = Means {
            now,
            timers: &self.policy.timers,
            tokens: &mut self.tokens,
        };
        let Some(bridge) = Bridge::begin(halves, &mut means) else {
            let message = "what is to be called makes no SIP URI";
            return Err(Fault::new(FaultCode::Invalid, message));
        };
        info!(call = %ids[0], from = first, to = second, "an operator has two parties connected");
        let id = self.number();
        for call_id in call_ids {
            self.bridges.by_call_id.insert(call_id, id);
        }
        let entry = Entry {
            bridge,
            shown_as,
            shown: shown.clone(),
            is_seen: false,
            ring_timeout: Duration::from_secs(order.ring_timeout_s.into()),
        };
        self.bridges.by_id.insert(id, entry);
        self.after_bridge(id);
        self.drain(now);
        self.stand_of(id, shown)
    }

    /// How a call of this node's stands, that was begun just now.
    fn stand_of(&self, id: u64, shown: CallInfo) -> Result<CallInfo, Fault> {
        if !self.bridges.by_id.contains_key(&id) {
            let message = format!(
                "from: nobody is there who could be called; the record {} has the reason",
                shown.id
            );
            return Err(Fault::new(FaultCode::Conflict, message));
        }
        let key = self.call_by_id(&shown.id);
        let call = key.and_then(|key| self.calls.get(&key));
        Ok(call.map_or(shown, |call| self.info(call)))
    }

    /// Delivers what agents and the proxy have for each other, until neither has anything.
    pub(super) fn run_bridges(&mut self, now: Instant) {
        let bridges = &mut self.bridges;
        if bridges.is_busy || bridges.inbox.is_empty() && bridges.outbox.is_empty() {
            return;
        }
        bridges.is_busy = true;
        loop {
            if let Some(message) = self.bridges.inbox.pop_front() {
                self.hand_to_bridge(now, &message);
            } else if let Some((id, parcel)) = self.bridges.outbox.pop_front() {
                self.take_parcel(now, id, parcel);
            } else {
                break;
            }
        }
        self.bridges.is_busy = false;
    }

    /// Does what a bridge wants done.
    fn take_parcel(&mut self, now: Instant, id: u64, parcel: Parcel) {
        match parcel {
            Parcel::Message(message) => self.hear_bridge(now, *message),
            Parcel::Refer(end, request) => self.on_refer(now, id, end, &request),
            Parcel::Moved {
                call,
                number,
                status,
            } => self.on_moved(now, call, number, status),
            Parcel::HangUp(call, cause) => self.hang_up_own(now, call, cause),
            Parcel::Peers(calls) => {
                for call in calls {
                    if let Some(key) = self.call_by_id(&call.to_string()) {
                        self.tell_call(key);
                    }
                }
            }
            Parcel::Forget(call_id) => drop(self.bridges.by_call_id.remove(&call_id)),
        }
    }

    /// A bridge has no use any more for a call of its own.
    fn hang_up_own(&mut self, now: Instant, call: Uuid, cause: Cause) {
        if let Some(key) = self.call_by_id(&call.to_string()) {
            self.hang_up(now, key, cause);
            self.drain(now);
        }
    }

    /// A message of an agent's has reached the proxy.
    fn hear_bridge(&mut self, now: Instant, message: Message) {
        let Some(flow) = self.node_flow() else {
            return;
        };
        self.trace
            .push(now, Direction::In, &flow, message.as_bytes());
        if message.is_request() {
            self.handle_request(now, flow, message);
        } else {
            self.handle_response(now, flow, message);
        }
        self.drain(now);
    }

    fn hand_to_bridge(&mut self, now: Instant, message: &Message) {
        if self.hand_to_voice(now, message) || self.hand_to_text(now, message) {
            return;
        }
        let call_id = message.call_id().unwrap_or_default();
        let known = self.bridges.by_call_id.get(call_id).copied();
        let who = self.bridges.entry(call_id).map(|(_, who)| who);
        let Some((id, who)) = known.zip(who) else {
            // Of a party that was replaced.
            let status = match message.method() {
                None | Some(Method::Ack) => return,
                Some(Method::Bye) => 200,
                Some(_) => 481,
            };
            let response = respond(message, status).map(|it| (0, Parcel::Message(Box::new(it))));
            return self.bridges.outbox.extend(response);
        };
        let ends_both = message.method() == Some(&Method::Bye) && self.ends_both(id, who);
        if let Some(entry) = self.bridges.by_id.get_mut(&id) {
            let mut means = Means {
                now,
                timers: &self.policy.timers,
                tokens: &mut self.tokens,
            };
            let had_second = entry.bridge.has_second();
            entry.bridge.handle(who, message, &mut means);
            if ends_both {
                entry.bridge.release(&mut means, None);
            }
            let has_second = entry.bridge.has_second();
            let first = entry.bridge.ids()[0].to_string();
            self.after_bridge(id);
            if has_second != had_second
                && let Some(key) = self.call_by_id(&first)
            {
                self.tell_call(key);
            }
        }
    }

    /// Whether the call of a party was ended for what ends the other one's too, even where it was to be left.
    fn ends_both(&self, id: u64, who: Who) -> bool {
        let (Some(entry), Who::Party(end)) = (self.bridges.by_id.get(&id), who) else {
            return false;
        };
        let key = self.call_by_id(&entry.bridge.ids()[end.index()].to_string());
        let call = key.and_then(|key| self.calls.get(&key));
        let cause = call.and_then(|call| call.end.as_ref()).map(|end| end.cause);
        matches!(
            cause,
            Some(Cause::Operator | Cause::Shutdown | Cause::LongestCall)
        )
    }

    pub(super) fn on_bridge_alarm(&mut self, now: Instant, id: u64) {
        if let Some(entry) = self.bridges.by_id.get_mut(&id) {
            let mut means = Means {
                now,
                timers: &self.policy.timers,
                tokens: &mut self.tokens,
            };
            entry.bridge.handle_timeout(&mut means);
            self.after_bridge(id);
        }
    }

    /// Takes what a bridge wants sent, and forgets one that is over.
    fn after_bridge(&mut self, id: u64) {
        let Some(entry) = self.bridges.by_id.get_mut(&id) else {
            return;
        };
        while let Some(parcel) = entry.bridge.poll_parcel() {
            self.bridges.outbox.push_back((id, parcel));
        }
        let next = entry.bridge.poll_timeout();
        let is_over = entry.bridge.is_over();
        self.alarms
            .set(Alarm::Bridge(id), next.filter(|_| !is_over));
        if is_over && let Some(entry) = self.bridges.by_id.remove(&id) {
            let refused = entry.bridge.refused;
            debug!(call = %entry.bridge.ids()[0], refused, "two parties are no longer connected");
            for half in entry.bridge.all() {
                self.bridges.by_call_id.remove(&half.whom.call_id);
            }
        }
    }

    /// The way between the proxy and the agents.
    pub(super) fn node_flow(&self) -> Option<Flow> {
        let local = self.policy.locals.first()?;
        Some(Flow::of_node(local.address))
    }

    pub(super) fn sent_by(&self) -> &str {
        let local = self.policy.locals.first();
        local.map_or("localhost", |local| local.sent_by.as_str())
    }
}

/// A call before its INVITE is let in.
fn pending(id: Uuid, whom: &Invitation, started: Timestamp) -> CallInfo {
    CallInfo {
        id: id.to_string(),
        call_id: whom.call_id.clone(),
        from: whom.from.clone(),
        to: whom.to.clone(),
        source: "node".to_owned(),
        trunk: None,
        state: CallState::Trying,
        started_ms: started.millis(),
        answered_ms: None,
        media: Vec::new(),
        muted: Vec::new(),
        held: false,
        peer: None,
        tenant: None,
        transfer: None,
        recording: None,
    }
}
