//! Requests of the other side: a call for us, and everything inside one.

use std::time::Instant;

use sip::{
    dialog::{Answer, Dialog, OutOfOrder, Repeat},
    header::HeaderName,
    message::{Message, Method},
    transaction::ServerId,
};

use super::{
    ALLOW, Agent, Call, Ending, Happened, Hop, LocalMedia, Stage, Unconfirmed, contact, dialog_hop,
    sdp, shown,
};

/// # Verbs of a callee
impl Agent {
    /// Tells the caller that we ring: 180.
    pub(in crate::call) fn ring(&mut self, now: Instant) {
        let Some(call) = &self.call else { return };
        let Stage::Called { id } = call.stage else {
            return;
        };
        let ringing = call
            .invite
            .respond(180)
            .to_tag(call.local_tag.as_str())
            .header(
                HeaderName::Contact,
                contact(&self.identity, call.hop.transport),
            )
            .build();
        if let Ok(ringing) = ringing {
            let _ = self.layer.send_response(now, id, &ringing);
        }
    }

    /// Answers the call: 200 with our answer, or with our offer where the INVITE had none.
    pub(in crate::call) fn answer(&mut self, now: Instant) {
        let Some(call) = &mut self.call else { return };
        let Stage::Called { id } = call.stage else {
            return;
        };
        let invite = call.invite.clone();
        match accept(call, &invite) {
            Ok(body) => {
                call.stage = Stage::Up;
                self.send_answer(now, id, &invite, body);
                self.events.push_back(Happened::Answered);
                self.tell_plan();
            }
            Err(reason) => {
                self.refuse(now, id, &invite, 488);
                self.finish(Ending::NoMedia(reason));
            }
        }
        self.digest(now);
    }
}

impl Agent {
    pub(super) fn on_request(&mut self, now: Instant, id: ServerId, hop: Hop, request: &Message) {
        let Some(method) = request.method() else {
            return;
        };
        if let Some(required) = request.header(HeaderName::Require) {
            let refusal = request
                .respond(420)
                .to_tag(self.tokens.tag())
                .header(HeaderName::Unsupported, required.value());
            if let Ok(refusal) = refusal.build() {
                let _ = self.layer.send_response(now, id, &refusal);
            }
            return;
        }
        let in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
        match method {
            Method::Options => self.on_options(now, id, request),
            Method::Invite if !in_dialog => self.on_call(now, id, hop, request),
            Method::Invite | Method::Update | Method::Bye if in_dialog => {
                self.on_dialog_request(now, id, request);
            }
            // A CANCEL comes here only where it matches nothing.
            Method::Bye | Method::Update | Method::Cancel => self.refuse(now, id, request, 481),
            _ => self.refuse(now, id, request, 405),
        }
    }

    fn on_call(&mut self, now: Instant, id: ServerId, hop: Hop, invite: &Message) {
        if !self.is_idle() {
            self.refuse(now, id, invite, 486);
            return;
        }
        // A body that is not a description cannot be answered; none at all is a delayed offer.
        if !invite.body().is_empty() && !sdp::has_sdp(invite) {
            self.refuse(now, id, invite, 415);
            return;
        }
        let local_tag = self.tokens.tag();
        let Ok(dialog) = Dialog::uas(invite, &local_tag) else {
            self.refuse(now, id, invite, 400);
            return;
        };
        self.events.push_back(Happened::Incoming {
            from: shown(invite.from()),
            to: shown(invite.to()),
        });
        self.call = Some(Call {
            stage: Stage::Called { id },
            invite: invite.clone(),
            local_tag,
            hop: dialog_hop(dialog.next_hop(), hop),
            dialog: Some(dialog),
            media: LocalMedia::new(&self.identity),
            unconfirmed: None,
            ack: None,
            because: None,
        });
    }

    /// The caller gave up before we answered.
    pub(super) fn on_cancelled(&mut self, now: Instant, invite_id: ServerId) {
        let Some(call) = &self.call else { return };
        let invite = match call.stage {
            Stage::Called { id } if id == invite_id => call.invite.clone(),
            _ => return,
        };
        self.refuse(now, invite_id, &invite, 487);
        self.finish(Ending::Cancelled);
    }

    fn on_dialog_request(&mut self, now: Instant, id: ServerId, request: &Message) {
        let call = self.call.as_mut().filter(|call| call.owns(request));
        let Some(call) = call else {
            self.refuse(now, id, request, 481);
            return;
        };
        if call.handle_request(request).is_err() {
            self.refuse(now, id, request, 500);
            return;
        }
        match (request.method(), &call.stage) {
            (Some(Method::Bye), Stage::Over) => self.refuse(now, id, request, 481),
            (Some(Method::Bye), _) => self.on_bye(now, id, request),
            // Our own BYE is on its way, so there is nothing to change any more.
            (_, Stage::Leaving { .. } | Stage::Over) => self.refuse(now, id, request, 481),
            _ if call.unconfirmed.is_some() => self.refuse(now, id, request, 491),
            _ => self.on_change(now, id, request),
        }
    }

    fn on_bye(&mut self, now: Instant, id: ServerId, request: &Message) {
        if let Ok(ok) = request.respond(200).build() {
            let _ = self.layer.send_response(now, id, &ok);
        }
        self.finish(Ending::RemoteHungUp);
    }

    /// A re-INVITE or an UPDATE.
    fn on_change(&mut self, now: Instant, id: ServerId, request: &Message) {
        let Some(call) = &mut self.call else { return };
        let is_invite = request.method() == Some(&Method::Invite);
        if !is_invite && !sdp::has_sdp(request) {
            // An UPDATE without an offer only refreshes the target (RFC 3311 section 5.2).
            self.send_ok(now, id, request);
            return;
        }
        match accept(call, request) {
            Ok(body) => {
                self.send_answer(now, id, request, body);
                self.tell_plan();
            }
            // The call goes on as it was (RFC 3261 section 14.2).
            Err(_) => self.refuse(now, id, request, 488),
        }
    }

    fn on_options(&mut self, now: Instant, id: ServerId, request: &Message) {
        let busy = !self.is_idle();
        let in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
        if busy && !in_dialog {
            // RFC 3261 section 11.2: what an INVITE would be answered with.
            self.refuse(now, id, request, 486);
        } else {
            self.send_ok(now, id, request);
        }
    }

    /// The ACK of our 2xx.
    pub(super) fn on_ack(&mut self, now: Instant, ack: &Message) {
        let Some(call) = &mut self.call else { return };
        if !call.owns(ack) {
            return;
        }
        let cseq = ack.cseq().map(|cseq| cseq.number);
        let Some(waiting) = call.unconfirmed.take_if(|waiting| Ok(waiting.cseq) == cseq) else {
            return;
        };
        if !waiting.answer_due {
            return;
        }
        match call.media.answered(ack) {
            Ok(_) => self.tell_plan(),
            Err(error) => {
                call.because = Some(Ending::NoMedia(error.to_string()));
                self.send_bye(now);
            }
        }
    }

    /// Sends the 2xx again, or gives up on its ACK.
    pub(super) fn repeat_answer(&mut self, now: Instant) {
        let Some(call) = &mut self.call else { return };
        let Some(waiting) = &mut call.unconfirmed else {
            return;
        };
        match waiting.repeats.handle_timeout(now) {
            None => {}
            Some(Repeat::Send) => {
                // The transaction may be over already; the end comes all the same.
                let _ = self.layer.send_response(now, waiting.id, &waiting.response);
            }
            Some(Repeat::GiveUp) => {
                call.because = Some(Ending::NoAck);
                self.send_bye(now);
            }
        }
    }

    /// Sends 200 with a description, and where it is to an INVITE, waits for the ACK.
    fn send_answer(&mut self, now: Instant, id: ServerId, request: &Message, body: String) {
        let Some(call) = &mut self.call else { return };
        let response = request
            .respond(200)
            .to_tag(call.local_tag.as_str())
            .header(
                HeaderName::Contact,
                contact(&self.identity, call.hop.transport),
            )
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Server, crate::USER_AGENT)
            .body("application/sdp", body)
            .build();
        let Ok(response) = response else { return };
        let _ = self.layer.send_response(now, id, &response);
        let cseq = request.cseq().map(|cseq| cseq.number);
        if let (Some(Method::Invite), Ok(cseq)) = (request.method(), cseq) {
            call.unconfirmed = Some(Unconfirmed {
                id,
                cseq,
                response,
                answer_due: !sdp::has_sdp(request),
                repeats: Answer::new(now, &self.timers),
            });
        }
    }

    fn send_ok(&mut self, now: Instant, id: ServerId, request: &Message) {
        let transport = self.call.as_ref().map(|call| call.hop.transport);
        let mut ok = request
            .respond(200)
            .to_tag(self.tokens.tag())
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Accept, "application/sdp")
            .header(HeaderName::Server, crate::USER_AGENT);
        if let Some(transport) = transport {
            ok = ok.header(HeaderName::Contact, contact(&self.identity, transport));
        }
        if let Ok(ok) = ok.build() {
            let _ = self.layer.send_response(now, id, &ok);
        }
    }

    fn refuse(&mut self, now: Instant, id: ServerId, request: &Message, status: u16) {
        let tag = match &self.call {
            Some(call) if matches!(call.stage, Stage::Called { id: ours } if ours == id) => {
                call.local_tag.clone()
            }
            _ => self.tokens.tag(),
        };
        let mut refusal = request.respond(status).to_tag(tag);
        match status {
            405 => refusal = refusal.header(HeaderName::Allow, ALLOW),
            415 => refusal = refusal.header(HeaderName::Accept, "application/sdp"),
            _ => {}
        }
        if let Ok(refusal) = refusal.build() {
            let _ = self.layer.send_response(now, id, &refusal);
        }
    }

    fn tell_plan(&mut self) {
        if let Some(plan) = self.call.as_ref().and_then(|call| call.media.plan()) {
            self.events.push_back(Happened::Media(plan));
        }
    }
}

impl Call {
    /// Whether a request of the other side belongs to this call's dialog.
    fn owns(&self, request: &Message) -> bool {
        self.dialog
            .as_ref()
            .is_some_and(|dialog| dialog.matches(request))
    }

    /// Takes note of a request's CSeq, and of where the other side moved.
    fn handle_request(&mut self, request: &Message) -> Result<(), OutOfOrder> {
        let Some(dialog) = &mut self.dialog else {
            return Ok(());
        };
        dialog.handle_request(request)?;
        self.hop = dialog_hop(dialog.next_hop(), self.hop);
        Ok(())
    }
}

/// Our description for an INVITE or UPDATE: an answer to its offer, or an offer where it has none.
fn accept(call: &mut Call, request: &Message) -> Result<String, String> {
    if !sdp::has_sdp(request) {
        return Ok(call.media.offer());
    }
    call.media
        .answer(request)
        .map_err(|error| error.to_string())
}
