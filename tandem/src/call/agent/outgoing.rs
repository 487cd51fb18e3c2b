//! A call that we make: INVITE, its responses, the ACK of a 2xx.

use std::time::Instant;

use sip::{
    dialog::Dialog,
    header::HeaderName,
    message::{Message, Method, RequestBuilder},
};

use super::{
    ALLOW, Agent, Call, Ending, Happened, Hop, LocalMedia, Outgoing, Stage, contact, dialog_hop,
    text, via,
};

impl Agent {
    /// Sends an INVITE with our offer. `false` where a call is there already, or the URIs cannot be
    /// written into a message.
    pub(in crate::call) fn call(&mut self, now: Instant, outgoing: &Outgoing) -> bool {
        if !self.is_idle() {
            return false;
        }
        let (identity, hop) = (&self.identity, outgoing.hop);
        let call_id = format!("{}@{}", self.tokens.token(), identity.signaling.ip());
        let local_tag = self.tokens.tag();
        let mut media = LocalMedia::new(identity);
        let invite = RequestBuilder::new(&Method::Invite, &outgoing.uri)
            .header(
                HeaderName::Via,
                via(identity, hop.transport, &mut self.tokens),
            )
            .header(HeaderName::MaxForwards, "70")
            .header(
                HeaderName::From,
                format!("<{}>;tag={local_tag}", outgoing.from),
            )
            .header(HeaderName::To, format!("<{}>", outgoing.uri))
            .header(HeaderName::CallId, call_id)
            .header(HeaderName::CSeq, "1 INVITE")
            .header(HeaderName::Contact, contact(identity, hop.transport))
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::UserAgent, crate::USER_AGENT)
            .body("application/sdp", media.offer())
            .build();
        let Ok(invite) = invite else { return false };
        let Ok(id) = self.layer.send_request(now, hop, invite.clone()) else {
            return false;
        };
        self.call = Some(Call {
            stage: Stage::Calling {
                invite: id,
                cancelled: false,
            },
            invite,
            local_tag,
            hop,
            dialog: None,
            media,
            unconfirmed: None,
            ack: None,
            because: None,
        });
        true
    }

    pub(super) fn on_invite_response(
        &mut self,
        now: Instant,
        hop: Hop,
        status: u16,
        response: &Message,
    ) {
        match status {
            100 => {}
            101..=199 => self.on_provisional(status, response),
            200..=299 => self.on_answer(now, hop, response),
            _ => self.on_refusal(status, response),
        }
    }

    fn on_provisional(&mut self, status: u16, response: &Message) {
        let Some(call) = &mut self.call else { return };
        // An answer that does not fit is judged when the call is answered.
        let media = call.media.answered(response).ok();
        self.events.push_back(Happened::Progress {
            status,
            reason: response.reason().into_owned(),
            media,
        });
    }

    fn on_answer(&mut self, now: Instant, hop: Hop, response: &Message) {
        let Some(call) = &mut self.call else { return };
        let cancelled = matches!(
            call.stage,
            Stage::Calling {
                cancelled: true,
                ..
            }
        );
        let dialog = match Dialog::uac(&call.invite, response) {
            Ok(dialog) => dialog,
            Err(error) => {
                // Nothing can be sent to who left no Contact or tag, not even an ACK.
                call.because = Some(Ending::NoMedia(format!(
                    "its answer makes no dialog: {error}"
                )));
                self.finish(Ending::HungUp);
                return;
            }
        };
        call.hop = dialog_hop(dialog.next_hop(), hop);
        let via = via(&self.identity, call.hop.transport, &mut self.tokens);
        call.ack = dialog.ack(&via).build().ok();
        if let Some(ack) = &call.ack {
            self.layer.send_stateless(call.hop, ack.clone());
        }
        call.dialog = Some(dialog);
        call.stage = Stage::Up;
        match call.media.answered(response) {
            // The 2xx crossed our CANCEL: the call is up, and must be hung up.
            _ if cancelled => {
                call.because = Some(Ending::Cancelled);
                self.send_bye(now);
            }
            Ok(plan) => {
                self.events.push_back(Happened::Answered);
                self.events.push_back(Happened::Media(plan));
            }
            Err(error) => {
                call.because = Some(Ending::NoMedia(error.to_string()));
                self.send_bye(now);
            }
        }
    }

    /// A 2xx after the first: a copy is acknowledged again, another callee of a fork is acknowledged
    /// and hung up on (RFC 3261 section 13.2.2.4).
    pub(super) fn on_late_answer(&mut self, now: Instant, hop: Hop, response: &Message) {
        let Some(call) = &self.call else { return };
        if response.call_id() != call.invite.call_id() {
            return;
        }
        let tag = response.to().ok().and_then(|to| to.tag());
        let ours = call.dialog.as_ref().map(Dialog::remote_tag);
        if tag == ours {
            if let Some(ack) = &call.ack {
                self.layer.send_stateless(call.hop, ack.clone());
            }
            return;
        }
        let Ok(mut other) = Dialog::uac(&call.invite, response) else {
            return;
        };
        let hop = dialog_hop(other.next_hop(), hop);
        let ack = other
            .ack(&via(&self.identity, hop.transport, &mut self.tokens))
            .build();
        let bye = other
            .bye(&via(&self.identity, hop.transport, &mut self.tokens))
            .build();
        if let (Ok(ack), Ok(bye)) = (ack, bye) {
            self.layer.send_stateless(hop, ack);
            // Nobody waits for how it ends.
            let _ = self.layer.send_request(now, hop, bye);
        }
    }

    fn on_refusal(&mut self, status: u16, response: &Message) {
        let Some(call) = &self.call else { return };
        if let Stage::Calling {
            cancelled: true, ..
        } = call.stage
        {
            self.finish(Ending::Cancelled);
            return;
        }
        let advice = match status {
            300..=399 => format!(
                "the callee is at {}: call that",
                text(response, HeaderName::Contact)
            ),
            401 | 407 => {
                "the peer wants credentials, which this version of 'tandem call' does not \
                          send: let it accept this address without (a trunk's allow)"
                    .to_owned()
            }
            403 => "is this address in a trunk's allow?".to_owned(),
            404 => "does a route lead to that number?".to_owned(),
            _ => {
                let warning = text(response, HeaderName::Warning);
                if warning.is_empty() {
                    text(response, HeaderName::Reason)
                } else {
                    warning
                }
            }
        };
        self.finish(Ending::Refused {
            status,
            reason: response.reason().into_owned(),
            advice,
        });
    }
}
