//! Challenges of trunks: answered here, with the trunk's credentials, and never passed on.
//!
//! RFC 3261 section 22.2 has a request with credentials counted as a new one: the same Call-ID, the
//! next CSeq number. So what a trunk sees of a caller's requests is ahead of what the caller sent, from
//! the first challenge to the end of the dialog: requests and ACKs are moved ahead on their way to the
//! trunk, responses moved back on theirs. What the trunk sends by itself has numbers of its own.

use std::{sync::Arc, time::Instant};

use sip::{
    dialog::Side,
    header::HeaderName,
    message::{EditError, Message},
};
use tracing::{debug, warn};

use super::{
    Client, Core,
    branch::via_transport,
    exchange::{ExchangeId, Role},
};
use crate::directory::Trunk;

impl Core {
    /// Whether a branch leads to a trunk, so that its challenges are this node's.
    pub(super) fn is_for_trunk(&self, id: ExchangeId, index: usize) -> bool {
        self.challenger(id, index).is_some()
    }

    /// A trunk challenges a branch's request: answers, or gives the branch up.
    pub(super) fn on_challenge(
        &mut self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        response: &Message,
    ) {
        let Some(trunk) = self.challenger(id, index) else {
            return;
        };
        match self.answer_challenge(now, id, index, &trunk, response) {
            Ok(()) => debug!(trunk = trunk.name, "answered a trunk's challenge"),
            Err(error) => {
                warn!(
                    trunk = trunk.name,
                    error, "a trunk's challenge is not answered"
                );
                self.fail_branch(now, id, index, true);
            }
        }
    }

    fn answer_challenge(
        &mut self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        trunk: &Arc<Trunk>,
        response: &Message,
    ) -> Result<(), String> {
        let credentials = trunk.standing.credentials();
        let credentials = credentials.ok_or("it has no auth in the configuration")?;
        let cnonce = self.tokens.token();
        let policy = self.policy.clone();
        let exchange = self.exchanges.get_mut(&id).ok_or("it is over")?;
        if exchange.replied || exchange.is_cancelled() || exchange.context.is_answered() {
            return Err("nobody waits for it any more".to_owned());
        }
        let branch = exchange.branches.get_mut(index).ok_or("it is over")?;
        let (way, sent) = branch.way.zip(branch.sent.as_ref()).ok_or("it is over")?;
        let answered = credentials
            .answer(response, sent, &cnonce, 1)
            .map_err(|error| error.to_string())?;
        let may_try = branch.challenged == 0 || branch.challenged == 1 && answered.stale;
        if !may_try {
            return Err("our credentials are refused: are user and password right?".to_owned());
        }
        let local = policy
            .local(&way)
            .ok_or("there is no address to send from")?;
        let via = format!(
            "SIP/2.0/{} {};branch={};rport",
            via_transport(&way),
            local.sent_by,
            policy.identity.branch(&mut self.tokens, &exchange.received)
        );
        let again = sent
            .edit()
            .remove(answered.header)
            .remove_first(HeaderName::Via)
            .push_top(HeaderName::Via, via)
            .push(answered.header, answered.value)
            .finish();
        let again = again
            .and_then(|again| ahead(again, 1))
            .map_err(|error| error.to_string())?;
        let client = self.layer.send_request(now, way, again.clone());
        let client = client.map_err(|error| error.to_string())?;
        branch.challenged += 1;
        branch.shift += 1;
        branch.sent = Some(again);
        branch.clients.push(client);
        branch.heard = false;
        let shift = branch.shift;
        self.clients.insert(client, Client::Branch(id, index));
        if let (Role::Within { .. }, Some(key)) = (exchange.role, exchange.call)
            && let Some(call) = self.calls.get_mut(&key)
            && let Some((leg, Side::Caller)) = call.leg_of(&exchange.received)
        {
            leg.dialog.set_shift(shift);
        }
        Ok(())
    }

    /// The trunk that a branch leads to: one of its hosts, or the callee of a call that it carries.
    fn challenger(&self, id: ExchangeId, index: usize) -> Option<Arc<Trunk>> {
        let exchange = self.exchanges.get(&id)?;
        let branch = exchange.branches.get(index)?;
        if let Some(host) = branch.target.host() {
            return Some(host.trunk.clone());
        }
        let Role::Within {
            from: Side::Caller, ..
        } = exchange.role
        else {
            return None;
        };
        let trunk = self.calls.get(&exchange.call?)?.trunk.as_ref()?;
        // Else the parties have settled it between themselves from the beginning.
        trunk
            .standing
            .credentials()
            .is_some()
            .then(|| trunk.clone())
    }
}

/// A request of the caller as the trunk is to see it: its CSeq number, and that in a PRACK's RAck, so
/// much ahead.
pub(super) fn ahead(request: Message, shift: u32) -> Result<Message, EditError> {
    if shift == 0 {
        return Ok(request);
    }
    let Ok(cseq) = request.cseq() else {
        return Ok(request);
    };
    let number = cseq.number.saturating_add(shift);
    let mut edit = request
        .edit()
        .replace(HeaderName::CSeq, format!("{number} {}", cseq.method));
    let acknowledged = request.header(HeaderName::RAck);
    if let Some(value) = acknowledged.and_then(|rack| rack_ahead(&rack.text(), shift)) {
        edit = edit.replace(HeaderName::RAck, value);
    }
    edit.finish()
}

/// A response of the trunk as the caller is to see it.
pub(super) fn behind(response: &Message, shift: u32) -> Result<Message, EditError> {
    let Ok(cseq) = response.cseq() else {
        return Ok(response.clone());
    };
    let number = cseq.number.saturating_sub(shift);
    let edit = response.edit();
    edit.replace(HeaderName::CSeq, format!("{number} {}", cseq.method))
        .finish()
}

/// `RSeq CSeq-number method` (RFC 3262 section 7.2).
fn rack_ahead(rack: &str, shift: u32) -> Option<String> {
    let mut words = rack.split_ascii_whitespace();
    let (rseq, number, method) = (words.next()?, words.next()?, words.next()?);
    let number = number.parse::<u32>().ok()?.saturating_add(shift);
    Some(format!("{rseq} {number} {method}"))
}
