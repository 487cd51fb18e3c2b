//! A party of a call is transferred to somebody else, for an operator: REFER (RFC 3515) within the call's
//! dialog, in the name of the other party.
//!
//! Its CSeq number is one that the other party has not used, so that everything which that one sends
//! afterwards is moved ahead by one on its way, as after a challenge ([`super::challenge`]). What the party
//! tells of its new call by NOTIFY is for this node, and goes no further.

use std::time::Instant;

use control::{
    Fault, FaultCode,
    signal::{CallInfo, Party, TransferInfo, TransferOrder},
};
use sip::{
    dialog::Side,
    header::HeaderName,
    message::{Message, Method, reason_phrase},
    transaction::ServerId,
};
use store::Cause;
use tracing::{info, warn};

use super::{
    Client, Core, Output,
    output::OrderToken,
    state::{Call, CallKey},
};

/// The latest transfer of a call.
#[derive(Debug)]
pub(super) struct Transfer {
    party: Side,
    /// The URI that the party was sent to.
    to: String,
    /// How far it is, in the party's words; below 200 it is under way.
    status: u16,
    /// Who waits for the party's answer to the REFER.
    order: Option<OrderToken>,
}

impl Transfer {
    const fn is_under_way(&self) -> bool {
        self.status < 200
    }

    pub(super) fn info(&self) -> TransferInfo {
        TransferInfo {
            party: match self.party {
                Side::Caller => Party::Caller,
                Side::Callee => Party::Callee,
            },
            to: self.to.clone(),
            status: self.status,
        }
    }
}

impl Core {
    /// Asks a party of a call to call somebody else. Its answer comes as [`Output::Obeyed`]. `None` where
    /// there is no such call.
    pub(crate) fn transfer(
        &mut self,
        now: Instant,
        order: &TransferOrder,
    ) -> Option<Result<OrderToken, Fault>> {
        let key = self.call_by_id(&order.id)?;
        let call = self.calls.get(&key).filter(|call| call.end.is_none())?;
        let party = match order.party {
            Party::Caller => Side::Caller,
            Party::Callee => Side::Callee,
        };
        let conflict = |why: &str| Some(Err(Fault::new(FaultCode::Conflict, why)));
        if call.transfer.as_ref().is_some_and(Transfer::is_under_way) {
            return conflict("a party of this call is being transferred already");
        }
        let Some(at) = call
            .dialogs
            .iter()
            .position(|leg| leg.confirmed && !leg.over)
        else {
            return conflict("nobody has answered this call yet");
        };
        let to = match self.uri_of_party("to", &order.to) {
            Ok(to) => to,
            Err(fault) => return Some(Err(fault)),
        };
        let token = OrderToken(self.number());
        let begun = self.refer(now, key, at, party, &to);
        if begun.is_none() {
            return conflict("the party cannot be reached");
        }
        if let Some(call) = self.calls.get_mut(&key) {
            info!(call = %call.id, ?party, to, "an operator transfers a party");
            call.transfer = Some(Transfer {
                party,
                to,
                status: 100,
                order: Some(token),
            });
        }
        self.tell_call(key);
        self.drain(now);
        Some(Ok(token))
    }

    /// Sends the REFER.
    fn refer(
        &mut self,
        now: Instant,
        key: CallKey,
        at: usize,
        party: Side,
        to: &str,
    ) -> Option<()> {
        self.send_within(now, key, at, party, Client::Refer(key), |dialog, via| {
            let by = dialog.target(party.other()).to_owned();
            let address = String::from_utf8_lossy(dialog.address(party.other())).into_owned();
            // The tag is the dialog's, and no part of who somebody is.
            let address = address.split(";tag=").next().unwrap_or_default().to_owned();
            dialog
                .request_towards(party, &Method::Refer, via)
                .header(HeaderName::Contact, format!("<{by}>"))
                .header(HeaderName::ReferTo, format!("<{to}>"))
                .header(HeaderName::ReferredBy, address)
                .build()
        })
    }

    /// The party answered the REFER, or nobody did.
    pub(super) fn on_referred(&mut self, now: Instant, key: CallKey, status: Option<u16>) {
        let status = status.unwrap_or(408);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(transfer) = &mut call.transfer else {
            return;
        };
        let token = transfer.order.take();
        if status >= 300 {
            warn!(call = %call.id, status, "a party does not take a transfer");
            transfer.status = status;
            self.note_transfer(now, key);
        }
        if let Some(token) = token {
            let outcome = self.referred(key, status);
            self.outputs.push_back(Output::Obeyed { token, outcome });
        }
        self.tell_call(key);
    }

    fn referred(&self, key: CallKey, status: u16) -> Result<CallInfo, Fault> {
        let call = self.calls.get(&key);
        match call.filter(|_| status < 300) {
            Some(call) => Ok(self.info(call)),
            None => {
                let words = reason_phrase(status);
                let message = format!("the party answered REFER with {status} {words}");
                Err(Fault::new(FaultCode::Party, message))
            }
        }
    }

    /// A REFER of ours was challenged, and goes out again by the next number.
    pub(super) fn move_on(&mut self, key: CallKey, response: &Message) {
        let call = self.calls.get_mut(&key);
        if let Some((leg, from)) = call.and_then(|call| call.leg_of(response)) {
            let shift = leg.dialog.shift(from);
            leg.dialog.set_shift(from, shift + 1);
        }
    }

    /// What a party tells of its new call, where this node has asked for it. `false` for anything else.
    pub(super) fn takes_notice(
        &mut self,
        now: Instant,
        key: CallKey,
        server: ServerId,
        received: &Message,
    ) -> bool {
        // Every request within a dialog comes by here.
        if received.method() != Some(&Method::Notify) {
            return false;
        }
        let is_refer = received.header(HeaderName::Event).is_some_and(|event| {
            let event = event.text();
            let package = event.split(';').next().unwrap_or_default();
            package.trim().eq_ignore_ascii_case("refer")
        });
        if !is_refer {
            return false;
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        // Of one that is over, or was refused, there is no more to tell: the phones may transfer each other.
        let transfer = call.transfer.as_ref();
        let party = transfer
            .filter(|transfer| transfer.is_under_way())
            .map(|transfer| transfer.party);
        let Some((leg, _)) = call
            .leg_of(received)
            .filter(|(_, from)| Some(*from) == party)
        else {
            return false;
        };
        leg.dialog.handle_request(received);
        self.answer(now, server, received, 200, &[]);
        if let Some(status) = told(received) {
            self.on_notice(now, key, status);
        }
        true
    }

    fn on_notice(&mut self, now: Instant, key: CallKey, status: u16) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let transfer = call
            .transfer
            .as_mut()
            .filter(|transfer| transfer.is_under_way());
        let Some(transfer) = transfer else { return };
        transfer.status = status;
        // Its answer to the REFER was lost, or is slow.
        let token = transfer.order.take();
        info!(call = %call.id, status, "a party tells of its transfer");
        if status >= 200 {
            self.note_transfer(now, key);
        }
        if let Some(token) = token {
            let outcome = self.referred(key, 200);
            self.outputs.push_back(Output::Obeyed { token, outcome });
        }
        if (200..300).contains(&status) {
            return self.hang_up(now, key, Cause::Transfer);
        }
        self.tell_call(key);
    }
}

impl Call {
    /// Who waits for the outcome of a transfer, where the call ends before.
    pub(super) fn broken_off(&mut self) -> Option<OrderToken> {
        self.transfer.as_mut()?.order.take()
    }

    /// The latest transfer.
    pub(super) fn transferred(&self) -> Option<TransferInfo> {
        self.transfer.as_ref().map(Transfer::info)
    }

    /// Whether nobody knows yet how it comes out.
    pub(super) fn is_being_transferred(&self) -> bool {
        self.transfer.as_ref().is_some_and(Transfer::is_under_way)
    }
}

/// The status in a NOTIFY's `message/sipfrag` (RFC 3420); 487 where the subscription ends without one that is
/// final, so that nobody waits for more.
fn told(notify: &Message) -> Option<u16> {
    let line = notify.body().split(|byte| *byte == b'\r' || *byte == b'\n');
    let line = line.map(String::from_utf8_lossy).next()?;
    let words = line.strip_prefix("SIP/2.0 ");
    let status = words.and_then(|words| words.get(..3)?.parse::<u16>().ok());
    let is_over = notify
        .header(HeaderName::SubscriptionState)
        .is_some_and(|state| {
            let state = state.text().trim().to_ascii_lowercase();
            state.starts_with("terminated")
        });
    match status.filter(|status| (100..700).contains(status)) {
        Some(status) if status < 200 && is_over => Some(487),
        Some(status) => Some(status),
        None => is_over.then_some(487),
    }
}
