//! Which work is done under the eyes of an operator, whose debug lines are let through
//! ([`crate::watch`]).

use std::time::Instant;

use control::logging::{Watched, watched};
use sip::message::Message;

use super::{Core, exchange::ExchangeId, state::CallKey};
use crate::net::Flow;

/// Calls that are followed at most, beyond the message that was watched.
const MOST: usize = 256;

impl Core {
    /// To be held while a message is worked on. A call of which one message was watched is from then
    /// on, whoever sends the others.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        flow: &Flow,
        message: Option<&Message>,
    ) -> Option<Watched> {
        if !self.policy.watches.any() {
            self.heard.clear();
            return None;
        }
        let call_id = message.and_then(|message| message.call_id().ok());
        if call_id.is_some_and(|call_id| self.is_heard(call_id)) {
            return Some(watched());
        }
        if !self.policy.watches.wants(now, flow, message) {
            return None;
        }
        if let Some(call_id) = call_id {
            if self.heard.len() == MOST {
                self.heard.pop_front();
            }
            self.heard.push_back(call_id.to_owned());
        }
        Some(watched())
    }

    /// To be held while a call is worked on.
    pub(super) fn hear_call(&self, key: CallKey) -> Option<Watched> {
        let call = self.calls.get(&key).filter(|_| !self.heard.is_empty())?;
        self.is_heard(&call.call_id).then(watched)
    }

    /// To be held while an exchange is worked on.
    pub(super) fn hear_exchange(&self, id: ExchangeId) -> Option<Watched> {
        let exchange = self.exchanges.get(&id).filter(|_| !self.heard.is_empty())?;
        let call_id = exchange.received.call_id().ok()?;
        self.is_heard(call_id).then(watched)
    }

    fn is_heard(&self, call_id: &str) -> bool {
        self.heard.iter().any(|heard| heard == call_id)
    }
}
