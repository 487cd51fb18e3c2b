//! Who asks for a party of a bridge to be connected with somebody else: an operator, or the other party, whose
//! phone sends REFER (RFC 3515).

use std::time::Instant;

use control::{Fault, FaultCode, signal::CallInfo};
use sip::{dialog::Side, header::HeaderName, message::Message, uri::Uri};
use tracing::info;

use super::{
    agent::{Invitation, contact},
    moving::Move,
    parts::{By, End, Half, Means, Parcel, Who},
};
use crate::{
    call::{
        Core,
        state::{Call, CallKey},
        transfer::Transfer,
    },
    directory::Caller,
};

/// RFC 4488: who asks may do without being told.
const REFER_SUB: &str = "Refer-Sub";

/// A party that is to be moved.
struct Wanted {
    stays: End,
    to: String,
    by: By,
    /// The REFER to tell of, by its CSeq number.
    refer: Option<u32>,
    /// The call that shows it, which of its parties is moved, and the number of the transfer.
    shown: (CallKey, Side, u64),
}

impl Core {
    /// Whether a call is one of this node's own.
    pub(in crate::call) fn is_bridged(&self, call: &Call) -> bool {
        self.bridges.of(call).is_some()
    }

    /// Connects a party of a call of this node's own with somebody else, for an operator. The caller of
    /// such a call is the other one of the two.
    pub(in crate::call) fn transfer_own(
        &mut self,
        now: Instant,
        key: CallKey,
        party: Side,
        to: String,
        number: u64,
    ) -> Result<CallInfo, Fault> {
        let call = self.calls.get(&key);
        let found = call.and_then(|call| self.bridges.of(call));
        let Some((id, Who::Party(end))) = found else {
            let message = "this call is of a transfer that is not over yet";
            return Err(Fault::new(FaultCode::Conflict, message));
        };
        let stays = match party {
            Side::Callee => end,
            Side::Caller => end.other(),
        };
        let entry = self.bridges.by_id.get(&id);
        let uri = entry.map(|entry| entry.bridge.halves[stays.index()].whom.to.clone());
        let wanted = Wanted {
            stays,
            to,
            by: By::UserAt(uri.unwrap_or_default()),
            refer: None,
            shown: (key, party, number),
        };
        self.move_own(now, id, wanted, None)?;
        self.drain(now);
        let call = self.calls.get(&key);
        call.map(|call| self.info(call))
            .ok_or_else(|| Fault::new(FaultCode::Conflict, "the call has ended"))
    }

    /// A party of a call of this node's own asks by REFER for the other one to be connected with somebody
    /// else.
    pub(super) fn on_refer(&mut self, now: Instant, id: u64, end: End, request: &Message) {
        let verdict = self.judge_refer(id, end, request);
        let is_told = !refuses_notices(request);
        let outcome = verdict.and_then(|mut wanted| {
            wanted.refer = wanted.refer.filter(|_| is_told);
            let contact = (HeaderName::Contact.as_str(), &*contact(self.sent_by()));
            let untold = (!is_told).then_some((REFER_SUB, "false"));
            let accepted = respond_with(request, 202, [contact].into_iter().chain(untold));
            self.move_own(now, id, wanted, accepted)
                .map_err(|fault| (491, fault.message))
        });
        if let Err((status, why)) = outcome {
            info!(
                status,
                why, "a party does not get the transfer that it asks for"
            );
            let warning = format!("399 {} \"{why}\"", self.sent_by());
            let warning = (HeaderName::Warning.as_str(), &*warning);
            let refused = respond_with(request, status, [warning]);
            self.post(id, refused);
        }
    }

    /// What a REFER asks for, or the status that it is owed and why.
    fn judge_refer(
        &mut self,
        id: u64,
        end: End,
        request: &Message,
    ) -> Result<Wanted, (u16, String)> {
        let refuse = |status, why: &str| Err((status, why.to_owned()));
        let mut named = request.name_addrs(HeaderName::ReferTo);
        let (Some(Ok(to)), None) = (named.next(), named.next()) else {
            return refuse(400, "it needs one Refer-To");
        };
        let Ok(uri) = to.uri() else {
            return refuse(400, "Refer-To has no URI that can be read");
        };
        let has_replaces = |(name, _): (&str, _)| name.eq_ignore_ascii_case("Replaces");
        if uri.headers().any(has_replaces) {
            return refuse(501, "attended transfer (Replaces) is not supported");
        }
        let method = uri.params().get("method");
        if method.is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
            return refuse(501, "Refer-To may ask for an INVITE only");
        }
        let text = uri.as_str().split('?').next().unwrap_or_default();
        let to = self.uri_of_party("Refer-To", text);
        let to = to.map_err(|fault| (416, fault.message))?;
        let cseq = request.cseq().map_err(|error| (400, error.to_string()))?;
        let Some(entry) = self.bridges.by_id.get(&id) else {
            return refuse(481, "the call has ended");
        };
        if !entry.bridge.may_move() {
            return refuse(491, "the call is being changed already");
        }
        let [asks, stays] = [end, end.other()].map(|end| entry.bridge.halves[end.index()].id);
        let [asks, stays] = [asks, stays].map(|id| self.call_by_id(&id.to_string()));
        let (Some(caller), Some(stays)) = (asks.and_then(|key| self.callee_of(key)), stays) else {
            return refuse(
                403,
                "who asks is neither a user nor on a trunk of this node",
            );
        };
        Ok(Wanted {
            stays: end.other(),
            to,
            by: By::Caller(caller),
            refer: Some(cseq.number),
            shown: (stays, Side::Callee, self.number()),
        })
    }

    /// Who has answered a call.
    fn callee_of(&self, key: CallKey) -> Option<Caller> {
        let call = self.calls.get(&key)?;
        let mut legs = call.dialogs.iter();
        let leg = legs.find(|leg| leg.confirmed && !leg.over)?;
        call.party(leg, Side::Callee).cloned()
    }

    /// Begins to move a party, once who has asked for it has this response.
    fn move_own(
        &mut self,
        now: Instant,
        id: u64,
        wanted: Wanted,
        accepted: Option<Message>,
    ) -> Result<(), Fault> {
        let conflict = |why: &str| Err(Fault::new(FaultCode::Conflict, why));
        let time = self.time(now);
        let next = self.call_uuid(time);
        let call_id = self.own_call_id();
        let sent_by = self.sent_by().to_owned();
        let Some(entry) = self
            .bridges
            .by_id
            .get(&id)
            .filter(|entry| entry.bridge.may_move())
        else {
            return conflict("both parties have to be connected, and neither be moved yet");
        };
        let stays = &entry.bridge.halves[wanted.stays.index()];
        let from = entry.shown_as.as_ref().unwrap_or(&stays.whom.to).clone();
        let call = self.call_by_id(&stays.id.to_string());
        let call = call.and_then(|key| self.calls.get(&key));
        let is_relayed = call.is_some_and(|call| call.media.is_some());
        let whom = Invitation {
            call_id: call_id.clone(),
            to: wanted.to.clone(),
            from,
            sent_by,
        };
        if Uri::parse(&whom.to).is_err() {
            return conflict("what is to be called makes no SIP URI");
        }
        self.post(id, accepted);
        let (shown, party, number) = wanted.shown;
        let next = Move {
            half: Half {
                id: next,
                whom,
                by: wanted.by,
                relay: false,
                agent: None,
            },
            call: shown,
            number,
            refer: wanted.refer,
            status: 0,
            is_relayed,
            give_up: None,
        };
        if let Some(call) = self.calls.get_mut(&shown) {
            info!(call = %call.id, ?party, to = wanted.to, "a party is transferred by this node");
            call.transfer = Some(Transfer::new(party, wanted.to, number));
        }
        self.bridges.by_call_id.insert(call_id, id);
        if let Some(entry) = self.bridges.by_id.get_mut(&id) {
            let mut means = Means {
                now,
                timers: &self.policy.timers,
                tokens: &mut self.tokens,
            };
            entry.bridge.stays = wanted.stays;
            entry.bridge.begin_move(next, &mut means);
        }
        self.after_bridge(id);
        Ok(())
    }

    /// A transfer by this node has come so far.
    pub(super) fn on_moved(&mut self, now: Instant, key: CallKey, number: u64, status: u16) {
        let transfer = self.calls.get_mut(&key);
        let transfer = transfer.and_then(|call| call.transfer.as_mut());
        if let Some(transfer) = transfer.filter(|transfer| transfer.is(number)) {
            transfer.set_status(status);
            if status >= 200 {
                self.note_transfer(now, key);
            }
            self.tell_call(key);
        }
    }

    fn post(&mut self, id: u64, message: Option<Message>) {
        let message = message.map(|message| (id, Parcel::Message(Box::new(message))));
        self.bridges.outbox.extend(message);
    }
}

fn refuses_notices(refer: &Message) -> bool {
    let wish = refer.header(REFER_SUB);
    wish.is_some_and(|wish| wish.text().trim().eq_ignore_ascii_case("false"))
}

fn respond_with<'h>(
    request: &Message,
    status: u16,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) -> Option<Message> {
    let response = request.respond(status);
    let headers = headers.into_iter();
    let response = headers.fold(response, |response, (name, value)| {
        response.header(name, value)
    });
    response.build().ok()
}
