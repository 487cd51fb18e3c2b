//! A user agent of this node: the caller's end of one dialog, as RFC 3261 has it (sections 8, 12 to 15).
//!
//! It talks to the proxy beside it, over a link that loses nothing: so it needs no transactions. What it
//! sends is a message once; only its 2xx are sent again, since those have to reach the phone behind the
//! proxy (section 13.3.1.4).

use std::{collections::VecDeque, time::Instant};

use sip::{
    dialog::{Answer, Dialog, Repeat},
    header::HeaderName,
    message::{BuildError, Message, Method, RequestBuilder, reason_phrase},
    token::TokenGenerator,
    transaction::Timers,
};

use super::{
    parts::Outbox,
    sdp::{self, Origin},
};
use crate::call::voice::refer;

/// What an agent takes within a call.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, MESSAGE, REFER";
/// The type of a description.
const SDP: &str = "application/sdp";
/// ACKs that are kept: re-INVITEs may follow each other faster than a 2xx stops being sent again.
const MOST_ACKS: usize = 4;
/// Requests of the other leg that wait for this one's answer, beside an INVITE.
const MOST: usize = 8;

/// Whom an agent calls, and as whom.
#[derive(Clone, Debug)]
pub(in crate::call) struct Invitation {
    pub(in crate::call) call_id: String,
    /// The Request-URI and To.
    pub(in crate::call) to: String,
    /// The URI in From.
    pub(in crate::call) from: String,
    /// What Via and Contact show of this node.
    pub(in crate::call) sent_by: String,
}

/// The caller's end of a dialog.
#[derive(Debug)]
pub(in crate::call) struct Agent {
    pub(in crate::call) stage: Stage,
    sent_by: String,
    invite: Message,
    dialog: Option<Dialog>,
    origin: Origin,
    /// What the party described last.
    pub(in crate::call) heard: Option<Vec<u8>>,
    /// What it was told last.
    pub(in crate::call) said: Option<Vec<u8>>,
    /// What it was told before an offer of ours that it has not answered yet.
    before: Option<Vec<u8>>,
    /// The re-INVITE that it has not answered, and what it is for.
    asked: Option<(Message, Purpose)>,
    /// What was passed on to it and is not an INVITE, by CSeq number.
    passed: Vec<(u32, Message)>,
    accepted: Option<Accepted>,
    /// Its 2xx waits for our ACK.
    pub(in crate::call) owes_ack: bool,
    /// The latest ACKs, each for its 2xx that comes again.
    acks: VecDeque<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::call) enum Stage {
    Calling,
    /// It is to be given up; whatever comes ends it.
    Cancelled,
    Up,
    Over,
}

/// What a re-INVITE of ours is for.
#[derive(Clone, Debug)]
pub(in crate::call) enum Purpose {
    /// A party is told where the other one is.
    Join,
    /// That one is told where the first one is now.
    Refit,
    /// A party that is to be connected with somebody else is asked for an offer of all that it can.
    Hold,
    /// Who was to be left is offered what its party has offered for somebody else.
    Return,
    /// The other party asked for it by this.
    Carry(Box<Message>),
    /// The other party has asked for it, and does not wait for it any more.
    Abandoned {
        /// It asks for an offer, which the ACK has to answer.
        answer_due: bool,
    },
}

/// A 2xx of ours whose ACK has not come.
#[derive(Debug)]
struct Accepted {
    cseq: u32,
    response: Message,
    repeats: Answer,
    /// The offer was ours: the ACK has the answer.
    answer_due: bool,
}

/// What became of an INVITE within the call.
#[derive(Debug)]
pub(in crate::call) enum Told {
    /// It was accepted; the ACK is owed.
    Accepted(Purpose),
    /// It was refused.
    Refused(Purpose, u16),
    /// The answer to something else that was passed on.
    Passed(Box<Message>),
    /// Nothing new.
    Nothing,
}

/// What a final response means.
#[derive(Debug)]
pub(in crate::call) enum Final {
    /// The party does not want to be called, or cannot be.
    Refused(u16),
    /// It was called, and has answered; the ACK is owed.
    Answered,
    /// It has answered what makes no dialog.
    Unusable,
    /// It is about something within the call.
    Within(Told),
    /// Nothing new.
    Nothing,
}

impl Agent {
    /// An agent, and the INVITE that it begins with.
    pub(in crate::call) fn call(
        whom: &Invitation,
        offer: Option<&[u8]>,
        tokens: &mut TokenGenerator,
    ) -> Result<(Self, Message), BuildError> {
        let mut origin = Origin::new(tokens.bits());
        let (to, from, tag) = (&whom.to, &whom.from, tokens.tag());
        let via = via(&whom.sent_by, tokens);
        let mut invite = RequestBuilder::new(&Method::Invite, to)
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, format!("<{from}>;tag={tag}"))
            .header(HeaderName::To, format!("<{to}>"))
            .header(HeaderName::CallId, &whom.call_id)
            .header(HeaderName::CSeq, "1 INVITE")
            .header(HeaderName::Contact, contact(&whom.sent_by))
            .header(HeaderName::Allow, ALLOW);
        let said = offer.map(|offer| origin.sign(offer));
        if let Some(said) = &said {
            invite = invite.body(SDP, said.clone());
        }
        let invite = invite.build()?;
        let agent = Self {
            stage: Stage::Calling,
            sent_by: whom.sent_by.clone(),
            invite: invite.clone(),
            dialog: None,
            origin,
            heard: None,
            said,
            before: None,
            asked: None,
            passed: Vec::new(),
            accepted: None,
            owes_ack: false,
            acks: VecDeque::new(),
        };
        Ok((agent, invite))
    }

    /// Gives an INVITE up that is not answered.
    pub(in crate::call) fn cancel(&mut self, reason: &str) -> Option<Message> {
        self.stage = Stage::Cancelled;
        let cancel = RequestBuilder::new(&Method::Cancel, self.invite.request_uri_raw())
            .copy(&self.invite, HeaderName::Via)
            .header(HeaderName::MaxForwards, "70")
            .copy(&self.invite, HeaderName::From)
            .copy(&self.invite, HeaderName::To)
            .copy(&self.invite, HeaderName::CallId)
            .header(HeaderName::CSeq, "1 CANCEL")
            .header(HeaderName::Reason, reason);
        cancel.build().ok()
    }

    /// A final response of the party. What only the protocol wants goes to `out`.
    pub(in crate::call) fn on_final(
        &mut self,
        response: &Message,
        out: &mut Outbox,
        tokens: &mut TokenGenerator,
    ) -> Final {
        let status = response.status().unwrap_or_default();
        let is_invite = response
            .cseq()
            .is_ok_and(|cseq| cseq.method == Method::Invite);
        let is_success = is_invite && status < 300;
        if is_invite && status >= 300 {
            out.send(self.acknowledge_refusal(response));
        }
        let stage = self.stage;
        match stage {
            Stage::Calling | Stage::Cancelled if !is_invite => Final::Nothing,
            Stage::Calling | Stage::Cancelled if status >= 300 => {
                self.stage = Stage::Over;
                Final::Refused(status)
            }
            Stage::Calling if self.establish(response) => Final::Answered,
            Stage::Calling => {
                self.stage = Stage::Over;
                Final::Unusable
            }
            // It was answered before the CANCEL came.
            Stage::Cancelled => {
                if self.establish(response) {
                    out.send(self.part(None, tokens));
                }
                self.stage = Stage::Over;
                Final::Nothing
            }
            Stage::Up | Stage::Over if is_success && !self.is_of_dialog(response) => {
                out.send(self.disown(response, tokens));
                Final::Nothing
            }
            Stage::Up => match self.on_response(response) {
                Told::Nothing if is_success => {
                    out.send(self.ack_again(response));
                    Final::Nothing
                }
                told => Final::Within(told),
            },
            Stage::Over => {
                out.send(self.ack_again(response).filter(|_| is_success));
                Final::Nothing
            }
        }
    }

    /// The first 2xx to the INVITE sets the dialog up. `false` where it makes none.
    fn establish(&mut self, response: &Message) -> bool {
        let Ok(dialog) = Dialog::uac(&self.invite, response) else {
            return false;
        };
        self.dialog = Some(dialog);
        self.heard = sdp::of(response);
        self.owes_ack = true;
        self.stage = Stage::Up;
        true
    }

    /// The ACK and the BYE for another phone that has answered the same INVITE.
    fn disown(
        &self,
        response: &Message,
        tokens: &mut TokenGenerator,
    ) -> impl Iterator<Item = Message> + use<> {
        let dialog = Dialog::uac(&self.invite, response).ok();
        let vias = [(); 2].map(|()| via(&self.sent_by, tokens));
        let both = dialog.map(|mut dialog| {
            let [ack, bye] = vias;
            [dialog.ack(&ack).build(), dialog.bye(&bye).build()]
        });
        both.into_iter().flatten().flatten()
    }

    /// Whether a response is of the dialog that the first 2xx has set up.
    fn is_of_dialog(&self, response: &Message) -> bool {
        let tag = self.dialog.as_ref().map(Dialog::remote_tag);
        tag == response.to_tag()
    }

    /// The ACK of the 2xx that waits for it, with the answer where the 2xx had an offer.
    pub(in crate::call) fn acknowledge(
        &mut self,
        answer: Option<&[u8]>,
        tokens: &mut TokenGenerator,
    ) -> Option<Message> {
        let via = via(&self.sent_by, tokens);
        let mut ack = self.dialog.as_ref()?.ack(&via);
        if let Some(answer) = answer {
            ack = ack.body(SDP, self.answer(answer));
        }
        self.owes_ack = false;
        let ack = ack.build().ok()?;
        if self.acks.len() >= MOST_ACKS {
            self.acks.pop_front();
        }
        self.acks.push_back(ack.clone());
        Some(ack)
    }

    /// The ACK of an INVITE that was refused, which ends its transaction.
    fn acknowledge_refusal(&self, response: &Message) -> Option<Message> {
        let cseq = response.cseq().ok()?.number;
        let mut sent = self.asked.iter().map(|(request, _)| request);
        let sent = sent.find(|request| request.cseq().is_ok_and(|own| own.number == cseq));
        let sent = sent.unwrap_or(&self.invite);
        let ack = RequestBuilder::new(&Method::Ack, sent.request_uri_raw())
            .copy_first(sent, HeaderName::Via)
            .header(HeaderName::MaxForwards, "70")
            .copy(sent, HeaderName::Route)
            .copy(sent, HeaderName::From)
            .copy(response, HeaderName::To)
            .copy(sent, HeaderName::CallId)
            .header(HeaderName::CSeq, format!("{cseq} ACK"));
        ack.build().ok()
    }

    /// A re-INVITE, without a description where the party is to make the offer.
    pub(in crate::call) fn invite(
        &mut self,
        offer: Option<&[u8]>,
        purpose: Purpose,
        tokens: &mut TokenGenerator,
    ) -> Option<Message> {
        let via = via(&self.sent_by, tokens);
        self.before.clone_from(&self.said);
        let said = offer.map(|offer| self.offer(offer));
        let mut invite = self.dialog.as_mut()?.request(&Method::Invite, &via);
        invite = invite
            .header(HeaderName::Contact, contact(&self.sent_by))
            .header(HeaderName::Allow, ALLOW);
        if let Some(said) = said {
            invite = invite.body(SDP, said);
        }
        let invite = invite.build().ok()?;
        self.asked = Some((invite.clone(), purpose));
        Some(invite)
    }

    /// Passes a request of the other party on that is neither INVITE nor UPDATE.
    pub(in crate::call) fn pass(
        &mut self,
        asked: &Message,
        tokens: &mut TokenGenerator,
    ) -> Option<Message> {
        if self.passed.len() >= MOST {
            return None;
        }
        let via = via(&self.sent_by, tokens);
        let mut request = self.dialog.as_mut()?.request(asked.method()?, &via);
        request = request.copy(asked, HeaderName::ContentDisposition);
        if let Some(kind) = asked.header(HeaderName::ContentType) {
            request = request.body(&kind.text(), asked.body_bytes());
        }
        let request = request.build().ok()?;
        let cseq = request.cseq().ok()?.number;
        self.passed.push((cseq, asked.clone()));
        Some(request)
    }

    /// Ends the dialog: the ACK that is owed still, and BYE.
    pub(in crate::call) fn part(
        &mut self,
        reason: Option<&str>,
        tokens: &mut TokenGenerator,
    ) -> impl Iterator<Item = Message> + use<> {
        let owed = self.owes_ack.then(|| self.acknowledge(None, tokens));
        let bye = self.bye(reason, tokens);
        owed.flatten().into_iter().chain(bye)
    }

    /// The dialog is over: nothing of it is waited for any longer.
    pub(in crate::call) fn end(&mut self) {
        self.stage = Stage::Over;
        self.accepted = None;
    }

    fn bye(&mut self, reason: Option<&str>, tokens: &mut TokenGenerator) -> Option<Message> {
        self.end();
        let via = via(&self.sent_by, tokens);
        let mut bye = self.dialog.as_mut()?.bye(&via);
        if let Some(reason) = reason {
            bye = bye.header(HeaderName::Reason, reason);
        }
        bye.build().ok()
    }

    /// Takes the request of the party into its dialog; the status that it is owed where it comes too late.
    pub(in crate::call) fn take(&mut self, request: &Message) -> Result<(), u16> {
        let dialog = self.dialog.as_mut().ok_or(481_u16)?;
        if !dialog.matches(request) {
            return Err(481);
        }
        dialog.handle_request(request).map_err(|_| 500)
    }

    /// Whether a request asks for what is so already: a refresh of the session (RFC 4028 section 7.4).
    pub(in crate::call) fn is_refresh(&self, description: &[u8]) -> bool {
        self.said.is_some() && self.heard.as_deref() == Some(description)
    }

    /// Accepts a request of the party with what it was told last.
    pub(in crate::call) fn accept_again(
        &mut self,
        now: Instant,
        timers: &Timers,
        request: &Message,
    ) -> Option<Message> {
        let said = self.said.clone();
        self.accept_with(now, timers, request, said, false)
    }

    /// Accepts an INVITE or UPDATE with a description: the answer to its own, or else an offer.
    pub(in crate::call) fn accept(
        &mut self,
        now: Instant,
        timers: &Timers,
        request: &Message,
        description: Option<&[u8]>,
    ) -> Option<Message> {
        let offer = sdp::of(request);
        let answer_due = offer.is_none() && description.is_some();
        let is_offer = offer.is_some();
        self.heard = offer.or_else(|| self.heard.take());
        let said = description.map(|description| match is_offer {
            true => self.answer(description),
            false => self.offer(description),
        });
        self.accept_with(now, timers, request, said, answer_due)
    }

    fn accept_with(
        &mut self,
        now: Instant,
        timers: &Timers,
        request: &Message,
        said: Option<Vec<u8>>,
        answer_due: bool,
    ) -> Option<Message> {
        let mut response = request
            .respond(200)
            .header(HeaderName::Contact, contact(&self.sent_by))
            .header(HeaderName::Allow, ALLOW);
        if let Some(said) = said {
            response = response.body(SDP, said);
        }
        let response = response.build().ok()?;
        if request.method() == Some(&Method::Invite) {
            self.accepted = Some(Accepted {
                cseq: request.cseq().ok()?.number,
                response: response.clone(),
                repeats: Answer::new(now, timers),
                answer_due,
            });
        }
        Some(response)
    }

    /// An ACK came. The answer that it has, where one was due.
    pub(in crate::call) fn on_ack(&mut self, ack: &Message) -> Option<Option<Vec<u8>>> {
        let cseq = ack.cseq().ok()?.number;
        let accepted = self.accepted.take_if(|accepted| accepted.cseq == cseq)?;
        accepted.answer_due.then(|| {
            let answer = sdp::of(ack);
            self.heard = answer.clone().or_else(|| self.heard.take());
            answer
        })
    }

    /// A final response to a request within the dialog.
    fn on_response(&mut self, response: &Message) -> Told {
        let (Ok(cseq), Some(status)) = (response.cseq(), response.status()) else {
            return Told::Nothing;
        };
        if cseq.method != Method::Invite {
            let at = self.passed.iter().position(|(own, _)| *own == cseq.number);
            return at.map_or(Told::Nothing, |at| {
                Told::Passed(Box::new(self.passed.remove(at).1))
            });
        }
        let is_it = |(request, _): &mut (Message, Purpose)| {
            request.cseq().is_ok_and(|own| own.number == cseq.number)
        };
        let Some((_, purpose)) = self.asked.take_if(is_it) else {
            return Told::Nothing;
        };
        if status >= 300 {
            // The session is as it was (RFC 3261 section 14.1).
            self.said = self.before.take();
            return Told::Refused(purpose, status);
        }
        if let Some(dialog) = &mut self.dialog {
            dialog.handle_response(response);
        }
        self.owes_ack = true;
        self.heard = sdp::of(response).or_else(|| self.heard.take());
        Told::Accepted(purpose)
    }

    /// The ACK of a 2xx that comes again (RFC 3261 section 13.2.2.4); none where that one was not acknowledged
    /// yet.
    fn ack_again(&self, response: &Message) -> Option<Message> {
        let number = |message: &Message| message.cseq().map(|cseq| cseq.number).ok();
        let mut acks = self.acks.iter();
        let ack = acks.find(|ack| number(ack) == number(response));
        ack.filter(|_| self.is_of_dialog(response)).cloned()
    }

    /// Tells the party how far it is with what it asked for by REFER, of this CSeq number (RFC 3515 section
    /// 2.4.5).
    pub(in crate::call) fn notify(
        &mut self,
        refer: u32,
        status: u16,
        tokens: &mut TokenGenerator,
    ) -> Option<Message> {
        if self.stage != Stage::Up {
            return None;
        }
        let via = via(&self.sent_by, tokens);
        let state = match status {
            ..200 => "active;expires=600",
            _ => "terminated;reason=noresource",
        };
        let notify = self.dialog.as_mut()?.request(&Method::Notify, &via);
        let notify = notify
            .header(HeaderName::Contact, contact(&self.sent_by))
            .header(HeaderName::Event, format!("refer;id={refer}"))
            .header(HeaderName::SubscriptionState, state);
        let line = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        notify
            .body("message/sipfrag;version=2.0", line)
            .build()
            .ok()
    }

    /// Asks the party to call somebody else: nothing of it where the call is not up.
    pub(in crate::call) fn refer(
        &mut self,
        to: &str,
        tokens: &mut TokenGenerator,
    ) -> Option<Message> {
        if self.stage != Stage::Up {
            return None;
        }
        let via = via(&self.sent_by, tokens);
        let contact = contact(&self.sent_by);
        let by = self.invite.from().ok()?.uri_str();
        refer::write(self.dialog.as_mut()?, &via, &contact, to, by)
    }

    /// Whether an INVITE goes one way or the other within the dialog.
    pub(in crate::call) const fn is_busy(&self) -> bool {
        self.asked.is_some() || self.accepted.is_some() || self.owes_ack
    }

    /// Whether a re-INVITE of ours has no answer yet.
    pub(in crate::call) const fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether an INVITE of ours is out, so that one of the party's crosses it (RFC 3261 section 14.2).
    pub(in crate::call) const fn has_asked(&self) -> bool {
        self.asked.is_some() || self.owes_ack
    }

    /// The request that waits for an answer which the other party owes.
    pub(in crate::call) fn waiting(&mut self) -> impl Iterator<Item = Message> + use<> {
        let carried = match self.asked.take() {
            Some((_, Purpose::Carry(request))) => Some(*request),
            _ => None,
        };
        let passed = std::mem::take(&mut self.passed);
        carried
            .into_iter()
            .chain(passed.into_iter().map(|(_, request)| request))
    }

    /// The INVITE of the other party that waits for this one's answer, and is not to wait any longer. What
    /// comes of it is taken all the same.
    pub(in crate::call) fn abandon(&mut self) -> Option<Message> {
        let (invite, purpose) = self.asked.as_mut()?;
        let answer_due = invite.body().is_empty();
        match std::mem::replace(purpose, Purpose::Abandoned { answer_due }) {
            Purpose::Carry(request) => Some(*request),
            other => {
                *purpose = other;
                None
            }
        }
    }

    pub(in crate::call) fn poll_timeout(&self) -> Option<Instant> {
        self.accepted.as_ref()?.repeats.poll_timeout()
    }

    /// Time has passed: the 2xx again, or `Err` where it was never acknowledged.
    pub(in crate::call) fn handle_timeout(&mut self, now: Instant) -> Result<Option<Message>, ()> {
        let Some(accepted) = &mut self.accepted else {
            return Ok(None);
        };
        match accepted.repeats.handle_timeout(now) {
            None => Ok(None),
            Some(Repeat::Send) => Ok(Some(accepted.response.clone())),
            Some(Repeat::GiveUp) => Err(()),
        }
    }

    /// An offer, which has every line that was agreed on with this party (RFC 3264 section 8).
    fn offer(&mut self, offer: &[u8]) -> Vec<u8> {
        let mut offer = offer.to_vec();
        for agreed in [&self.heard, &self.said].into_iter().flatten() {
            offer = sdp::with_lines_of(&offer, agreed);
        }
        self.say(&offer)
    }

    /// An answer to what was heard last, which has as many lines as that (RFC 3264 section 6).
    fn answer(&mut self, answer: &[u8]) -> Vec<u8> {
        let offer = self.heard.as_deref().unwrap_or_default();
        let answer = sdp::with_lines_of(sdp::first_lines(answer, sdp::lines(offer)), offer);
        self.say(&answer)
    }

    fn say(&mut self, description: &[u8]) -> Vec<u8> {
        let said = self.origin.sign(description);
        self.said = Some(said.clone());
        said
    }
}

/// A response of an agent's without a description.
pub(in crate::call) fn respond(request: &Message, status: u16) -> Option<Message> {
    let response = request.respond(status).header(HeaderName::Allow, ALLOW);
    // A request without a tag is of no dialog; whatever has one keeps it.
    response.to_tag("none").build().ok()
}

fn via(sent_by: &str, tokens: &mut TokenGenerator) -> String {
    format!("SIP/2.0/TCP {sent_by};branch={}", tokens.branch())
}

pub(in crate::call) fn contact(sent_by: &str) -> String {
    format!("<sip:node@{sent_by}>")
}
