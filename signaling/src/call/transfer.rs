//! A party of a call is transferred to somebody else, for an operator: REFER (RFC 3515) within the call's
//! dialog, in the name of the other party. A party of a call that this node has made itself is called by
//! the node, and so is whom it is sent to: [`super::bridge`] moves it.
//!
//! The REFER's CSeq number is one that the other party has not used, so that everything which that one sends
//! afterwards is moved ahead by one on its way, as after a challenge ([`super::challenge`]). What the party
//! tells of its new call by NOTIFY is for this node, and goes no further.

use std::time::{Duration, Instant};

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
    Alarm, Client, Core, Output,
    output::OrderToken,
    state::{Call, CallKey},
};

/// How long a party may say nothing of its new call: as long as a phone's own subscription to it lasts that
/// names no other time.
const NOTICE_PATIENCE: Duration = Duration::from_secs(60);

/// The latest transfer of a call.
#[derive(Debug)]
pub(super) struct Transfer {
    party: Side,
    /// The URI that the party was sent to.
    to: String,
    /// How far it is, in the party's words; below 200 it is under way.
    status: u16,
    /// Which of this worker's transfers it is: an answer to an earlier REFER may be late.
    number: u64,
    /// The CSeq number of the REFER, by which the party may name it in what it tells (RFC 3515 section 2.4.6).
    cseq: u32,
    /// Who waits for the party's answer to the REFER.
    order: Option<OrderToken>,
    /// An earlier REFER within the same dialog may be told of still, without saying that it is the one.
    follows: bool,
    /// The party has taken the REFER and told no outcome: what it still tells is heard. Never so where this node
    /// calls whom the party is sent to.
    listens: bool,
}

impl Transfer {
    /// One by this node that has just begun.
    pub(super) const fn new(party: Side, to: String, number: u64) -> Self {
        Self {
            party,
            to,
            status: 100,
            number,
            cseq: 0,
            order: None,
            follows: false,
            listens: false,
        }
    }

    pub(super) const fn is_under_way(&self) -> bool {
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

    /// Whether it is the one of this number.
    pub(super) const fn is(&self, number: u64) -> bool {
        self.number == number
    }

    /// It has come so far.
    pub(super) const fn set_status(&mut self, status: u16) {
        self.status = status;
        self.listens &= status < 200;
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
        let is_own = self.is_bridged(call);
        let to = match self.uri_of_party("to", &order.to) {
            Ok(to) => to,
            Err(fault) => return Some(Err(fault)),
        };
        let number = self.number();
        let token = OrderToken(number);
        if is_own {
            let begun = self.transfer_own(now, key, party, to, number);
            return Some(begun.map(|info| {
                let outcome = Ok(info);
                self.outputs.push_back(Output::Obeyed { token, outcome });
                token
            }));
        }
        let Some(cseq) = self.refer(now, key, at, party, &to, number) else {
            return conflict("the party cannot be reached");
        };
        if let Some(call) = self.calls.get_mut(&key) {
            info!(call = %call.id, ?party, to, "an operator transfers a party");
            let earlier = call.transfer.as_ref();
            let earlier = earlier.filter(|earlier| earlier.party == party);
            let follows = earlier.is_some_and(|earlier| earlier.listens || earlier.follows);
            call.transfer = Some(Transfer {
                cseq,
                order: Some(token),
                follows,
                listens: true,
                ..Transfer::new(party, to, number)
            });
        }
        self.tell_call(key);
        self.drain(now);
        Some(Ok(token))
    }

    /// Sends the REFER: its CSeq number.
    fn refer(
        &mut self,
        now: Instant,
        key: CallKey,
        at: usize,
        party: Side,
        to: &str,
        number: u64,
    ) -> Option<u32> {
        let mut cseq = 0;
        let what = Client::Refer(key, number);
        self.send_within(now, key, at, party, what, |dialog, via| {
            let by = dialog.target(party.other()).to_owned();
            let address = String::from_utf8_lossy(dialog.address(party.other())).into_owned();
            // The tag is the dialog's, and no part of who somebody is.
            let address = address.split(";tag=").next().unwrap_or_default().to_owned();
            let refer = dialog
                .request_towards(party, &Method::Refer, via)
                .header(HeaderName::Contact, format!("<{by}>"))
                .header(HeaderName::ReferTo, format!("<{to}>"))
                .header(HeaderName::ReferredBy, address)
                .build()?;
            cseq = refer.cseq().map_or(0, |cseq| cseq.number);
            Ok(refer)
        })?;
        Some(cseq)
    }

    /// The party answered the REFER of a transfer, or nobody did.
    pub(super) fn on_referred(
        &mut self,
        now: Instant,
        key: CallKey,
        number: u64,
        status: Option<u16>,
    ) {
        let status = status.unwrap_or(408);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let transfer = call.transfer.as_mut();
        let Some(transfer) = transfer.filter(|transfer| transfer.is(number)) else {
            return;
        };
        let token = transfer.order.take();
        if status >= 300 && transfer.is_under_way() {
            warn!(call = %call.id, status, "a party does not take a transfer");
            transfer.set_status(status);
            self.note_transfer(now, key);
        }
        if let Some(token) = token {
            let outcome = self.referred(key, status);
            self.outputs.push_back(Output::Obeyed { token, outcome });
        }
        self.await_notice(now, key);
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

    /// A REFER of ours was challenged: the number that it goes out by again.
    pub(super) fn number_again(&mut self, key: CallKey, response: &Message) -> Option<u32> {
        let call = self.calls.get_mut(&key)?;
        let (leg, from) = call.leg_of(response)?;
        let again = leg.dialog.next_towards(from.other());
        let before = response.cseq().ok()?.number;
        let transfer = call.transfer.as_mut();
        if let Some(transfer) = transfer.filter(|transfer| transfer.cseq == before) {
            transfer.cseq = again;
        }
        Some(again)
    }

    /// Gives a party that has taken a REFER time to tell of its new call.
    fn await_notice(&mut self, now: Instant, key: CallKey) {
        let call = self.calls.get(&key).filter(|call| call.end.is_none());
        let transfer = call.and_then(|call| call.transfer.as_ref());
        let waits = transfer.is_some_and(Transfer::is_under_way);
        let at = waits.then_some(now + NOTICE_PATIENCE);
        self.alarms.set(Alarm::Transfer(key), at);
    }

    /// A party that has taken a REFER is silent: the call goes on, and another transfer may be tried.
    pub(super) fn on_transfer_alarm(&mut self, now: Instant, key: CallKey) {
        let call = self.calls.get_mut(&key).filter(|call| call.end.is_none());
        let Some((id, transfer)) = call.and_then(|call| Some((call.id, call.transfer.as_mut()?)))
        else {
            return;
        };
        if !transfer.is_under_way() {
            return;
        }
        warn!(call = %id, to = transfer.to, "a party does not tell what became of its transfer");
        transfer.status = 408;
        self.note_transfer(now, key);
        self.tell_call(key);
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
        let Some(about) = referral(received) else {
            return false;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        // Of one that is over, or was refused, there is no more to tell: the phones may transfer each other.
        let transfer = call.transfer.as_ref();
        let transfer = transfer.filter(|transfer| transfer.listens);
        let party = transfer.map(|transfer| transfer.party);
        // Without a number it is about the first REFER (RFC 3515 section 2.4.6), as long as there is more to tell
        // of that one.
        let is_latest = transfer.is_some_and(|known| match about {
            Some(cseq) => known.cseq == cseq,
            None => !known.follows,
        });
        let Some((leg, _)) = call
            .leg_of(received)
            .filter(|(_, from)| Some(*from) == party)
        else {
            return false;
        };
        leg.dialog.handle_request(received);
        self.answer(now, server, received, 200, &[]);
        if let Some(status) = told(received).filter(|_| is_latest) {
            self.on_notice(now, key, status);
        }
        true
    }

    fn on_notice(&mut self, now: Instant, key: CallKey, status: u16) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let transfer = call.transfer.as_mut();
        let Some(transfer) = transfer.filter(|transfer| transfer.listens) else {
            return;
        };
        transfer.set_status(status);
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
        self.await_notice(now, key);
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

/// Whether a NOTIFY is about a REFER, and about that of which CSeq number where it says so.
pub(super) fn referral(notify: &Message) -> Option<Option<u32>> {
    let event = notify.header(HeaderName::Event)?.text();
    let mut words = event.split(';').map(str::trim);
    let is_refer = words.next()?.eq_ignore_ascii_case("refer");
    let id = words.find_map(|word| word.strip_prefix("id="));
    is_refer.then(|| id.and_then(|id| id.trim().parse().ok()))
}

/// The status in a NOTIFY's `message/sipfrag` (RFC 3420); 487 where the subscription ends without one that is
/// final, so that nobody waits for more.
pub(super) fn told(notify: &Message) -> Option<u16> {
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
