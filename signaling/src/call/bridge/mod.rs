//! Calls that this node makes itself, for whoever asks it to connect two parties.
//!
//! Each of the two is a call of the proxy like any other, with a caller that is beside it in this process
//! ([`agent`]): so it is routed, limited, forked, relayed and recorded by what does that for all. The messages
//! between both never see a network, and take their turn in [`Core::drain`]. [`control`] says what is
//! carried from one call to the other.
//!
//! Media goes from one party to the other by one session of mediad's, that of the second call: the first
//! call's descriptions pass as they are, and name the second one's ports.

mod agent;
mod control;
mod sdp;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use ::control::{
    Fault, FaultCode,
    signal::{CallInfo, CallState, Originate},
};
use sip::{
    message::{Message, Method},
    uri::{Uri, escape_user},
};
use store::{Timestamp, Uuid};
use tracing::{debug, info};

use self::{
    agent::{Invitation, respond},
    control::{Bridge, End, Means},
};
use super::{Alarm, Core};
use crate::{
    accounts::Answer,
    directory::{Caller, Plan},
    metrics::Direction,
    net::Flow,
};

/// Such calls of one worker at most.
const MOST: usize = 4_096;
/// Characters of a name or number at most.
const LONGEST: usize = 256;

/// What calls itself a call of this node's own, and what waits between it and the proxy.
#[derive(Debug, Default)]
pub(super) struct Bridges {
    by_id: HashMap<u64, Entry>,
    by_call_id: HashMap<String, (u64, End)>,
    /// From the proxy to the agents.
    inbox: VecDeque<Message>,
    /// From the agents to the proxy.
    outbox: VecDeque<Message>,
    /// They are being delivered.
    is_busy: bool,
}

#[derive(Debug)]
struct Entry {
    bridge: Bridge,
    /// Whom the first call is to, and so who makes the second one.
    first: String,
    /// How it is shown until the first call is there: its callee may have to be looked up.
    shown: CallInfo,
    /// The first call has become one of the proxy's.
    is_seen: bool,
    ring_timeout: Duration,
    /// The first call's plan would have had its media relayed.
    relay: bool,
}

impl Bridges {
    /// Something that the proxy sends to an agent.
    pub(super) fn receive(&mut self, message: Message) {
        self.inbox.push_back(message);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
            && self.by_call_id.is_empty()
            && self.inbox.is_empty()
            && self.outbox.is_empty()
    }

    fn entry(&mut self, call_id: &str) -> Option<(&mut Entry, End)> {
        let (id, end) = *self.by_call_id.get(call_id)?;
        Some((self.by_id.get_mut(&id)?, end))
    }

    /// The id that a call of this node's was promised.
    pub(super) fn promised(&mut self, flow: &Flow, call_id: &str) -> Option<Uuid> {
        if !flow.is_node() {
            return None;
        }
        let (entry, end) = self.entry(call_id)?;
        entry.is_seen = true;
        Some(entry.bridge.ids[end as usize])
    }

    /// The call that is the other half of this one.
    pub(super) fn peer(&self, call_id: &str) -> Option<Uuid> {
        let (id, end) = self.by_call_id.get(call_id)?;
        let bridge = &self.by_id.get(id)?.bridge;
        match end {
            End::First => bridge.has_second().then_some(bridge.ids[1]),
            End::Second => Some(bridge.ids[0]),
        }
    }

    /// Whether a request begins the second half of what was let in already.
    pub(super) fn is_second(&self, flow: &Flow, request: &Message) -> bool {
        let end = request
            .call_id()
            .ok()
            .and_then(|call_id| self.by_call_id.get(call_id));
        flow.is_node() && matches!(end, Some((_, End::Second)))
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
        let Some((entry, end)) = self.entry(call_id) else {
            return;
        };
        let wanted = plan.relays();
        let relay = match end {
            End::First => {
                entry.relay = wanted;
                false
            }
            End::Second => wanted || entry.relay,
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
        let whom = |to: &str, other: &str, call_id| Invitation {
            call_id,
            to: to.to_owned(),
            from: shown_as.as_deref().unwrap_or(other).to_owned(),
            sent_by: self.sent_by().to_owned(),
        };
        let whom = [
            whom(&first, &second, String::new()),
            whom(&second, &first, String::new()),
        ];
        let [mut first_call, mut second_call] = whom;
        first_call.call_id = self.own_call_id();
        second_call.call_id = self.own_call_id();
        let shown = pending(ids[0], &first_call, time);
        let mut means = Means {
            now,
            timers: &self.policy.timers,
            tokens: &mut self.tokens,
        };
        let Some(bridge) = Bridge::begin(ids, &first_call, second_call, &mut means) else {
            let message = "what is to be called makes no SIP URI";
            return Err(Fault::new(FaultCode::Invalid, message));
        };
        info!(call = %ids[0], from = first, to = second, "an operator has two parties connected");
        let id = self.number();
        let call_ids = bridge.call_ids().map(str::to_owned);
        for (call_id, end) in call_ids.into_iter().zip([End::First, End::Second]) {
            self.bridges.by_call_id.insert(call_id, (id, end));
        }
        let entry = Entry {
            bridge,
            first,
            shown: shown.clone(),
            is_seen: false,
            ring_timeout: Duration::from_secs(order.ring_timeout_s.into()),
            relay: false,
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
            } else if let Some(message) = self.bridges.outbox.pop_front() {
                self.hear_bridge(now, message);
            } else {
                break;
            }
        }
        self.bridges.is_busy = false;
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
        let known = message
            .call_id()
            .ok()
            .and_then(|call_id| self.bridges.by_call_id.get(call_id).copied());
        let Some((id, end)) = known else {
            if message
                .method()
                .is_some_and(|method| *method != Method::Ack)
            {
                self.bridges.outbox.extend(respond(message, 481));
            }
            return;
        };
        if let Some(entry) = self.bridges.by_id.get_mut(&id) {
            let mut means = Means {
                now,
                timers: &self.policy.timers,
                tokens: &mut self.tokens,
            };
            let had_second = entry.bridge.has_second();
            entry.bridge.handle(end, message, &mut means);
            let has_second = entry.bridge.has_second();
            let first = entry.bridge.ids[0].to_string();
            self.after_bridge(id);
            if has_second != had_second
                && let Some(key) = self.call_by_id(&first)
            {
                self.tell_call(key);
            }
        }
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
        while let Some(message) = entry.bridge.poll_message() {
            self.bridges.outbox.push_back(message);
        }
        let next = entry.bridge.poll_timeout();
        let is_over = entry.bridge.is_over();
        self.alarms
            .set(Alarm::Bridge(id), next.filter(|_| !is_over));
        if is_over && let Some(entry) = self.bridges.by_id.remove(&id) {
            let refused = entry.bridge.refused;
            debug!(call = %entry.bridge.ids[0], refused, "two parties are no longer connected");
            for call_id in entry.bridge.call_ids() {
                self.bridges.by_call_id.remove(call_id);
            }
        }
    }

    /// In whose name an agent calls. The second call is the first party's, where that is a user.
    pub(super) fn node_caller(&self, request: &Message) -> Option<Caller> {
        let call_id = request.call_id().ok()?;
        let (id, end) = *self.bridges.by_call_id.get(call_id)?;
        let entry = self.bridges.by_id.get(&id)?;
        if end == End::First {
            return Some(Caller::Node);
        }
        let user = self.own_user(&Uri::parse(&entry.first).ok()?);
        let is_one = |aor: &_| matches!(self.access.accounts.recall(aor), Answer::Known(_));
        Some(user.filter(is_one).map_or(Caller::Node, Caller::User))
    }

    /// The way between the proxy and the agents.
    fn node_flow(&self) -> Option<Flow> {
        let local = self.policy.locals.first()?;
        Some(Flow::of_node(local.address))
    }

    /// What an operator names: `alice@example.test`, `alice` of the first domain, a number, or a SIP URI.
    pub(super) fn uri_of_party(&self, member: &str, name: &str) -> Result<String, Fault> {
        let invalid = |why: &str| Fault::new(FaultCode::Invalid, format!("{member}: {why}"));
        let bare = name.trim();
        let bare = bare.strip_prefix("sip:").unwrap_or(bare);
        if bare.len() > LONGEST {
            return Err(invalid("it is too long"));
        }
        if bare.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(invalid("it has white space"));
        }
        let domain = self.directory.domains().first();
        let (user, host) = bare.rsplit_once('@').unwrap_or_else(|| {
            let host = domain.map_or_else(|| self.sent_by(), String::as_str);
            (bare, host)
        });
        if user.is_empty() {
            return Err(invalid("name a user or a number"));
        }
        let uri = format!("sip:{}@{host}", escape_user(user));
        match Uri::parse(&uri) {
            Ok(parsed) if parsed.host().is_some() && parsed.user().is_some() => Ok(uri),
            _ => Err(invalid("write it as alice@example.test, or as a number")),
        }
    }

    fn sent_by(&self) -> &str {
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
    }
}
