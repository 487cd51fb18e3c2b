//! The called end of one dialog, as RFC 3261 has it (sections 8.2, 12 to 15), for a call that an application answers.
//!
//! As the agents of bridges it talks to the proxy beside it, over a link that loses nothing, and needs no transactions.

use std::time::Instant;

use sip::{
    dialog::{Answer, Dialog, Repeat},
    header::HeaderName,
    message::{Message, Method},
    token::TokenGenerator,
    transaction::Timers,
};

use super::refer;

/// The user of our URIs: what tells our requests from those of bridges.
pub(super) const USER: &str = "voice";
/// What is taken within a call.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, NOTIFY";
const SDP: &str = "application/sdp";

/// The called end of a dialog.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) stage: Stage,
    sent_by: String,
    pub(super) invite: Message,
    tag: String,
    dialog: Dialog,
    /// What the party was told last.
    said: Option<Vec<u8>>,
    accepted: Option<Accepted>,
    /// BYE follows as soon as it may.
    parting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The INVITE has no final response.
    Early,
    Up,
    Over,
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

impl Server {
    /// `None` where the INVITE makes no dialog.
    pub(super) fn new(
        invite: &Message,
        sent_by: &str,
        tokens: &mut TokenGenerator,
    ) -> Option<Self> {
        let tag = tokens.tag();
        Some(Self {
            stage: Stage::Early,
            sent_by: sent_by.to_owned(),
            dialog: Dialog::uas(invite, &tag).ok()?,
            invite: invite.clone(),
            tag,
            said: None,
            accepted: None,
            parting: false,
        })
    }

    /// Our tag, which names the dialog in what comes for it.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// Tells that it rings.
    pub(super) fn ring(&self) -> Option<Message> {
        let response = self.invite.respond(180).to_tag(&*self.tag);
        let response = response.header(HeaderName::Contact, contact(&self.sent_by));
        response.build().ok().filter(|_| self.stage == Stage::Early)
    }

    /// Refuses the call, for a reason that a 488 has in words.
    pub(super) fn refuse(&mut self, status: u16, why: Option<&str>) -> Option<Message> {
        if self.stage != Stage::Early {
            return None;
        }
        self.stage = Stage::Over;
        let mut response = self.invite.respond(status).to_tag(&*self.tag);
        if let Some(why) = why {
            let why = why.replace(['"', '\\'], "'");
            let warning = format!("399 {} \"{why}\"", self.sent_by);
            response = response.header(HeaderName::Warning, warning);
        }
        response.build().ok()
    }

    /// Answers the call with our description: with `answer_due` it is an offer, and the ACK has the answer.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        timers: &Timers,
        said: Vec<u8>,
        answer_due: bool,
    ) -> Option<Message> {
        if self.stage != Stage::Early {
            return None;
        }
        self.stage = Stage::Up;
        let invite = self.invite.clone();
        self.accept(now, timers, &invite, Some(said), answer_due)
    }

    /// Accepts an INVITE or UPDATE; with what was said last where there is nothing new.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        timers: &Timers,
        request: &Message,
        said: Option<Vec<u8>>,
        answer_due: bool,
    ) -> Option<Message> {
        let mut response = request
            .respond(200)
            .to_tag(&*self.tag)
            .header(HeaderName::Contact, contact(&self.sent_by))
            .header(HeaderName::Allow, ALLOW);
        if let Some(said) = said {
            response = response.body(SDP, said.clone());
            self.said = Some(said);
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

    /// The answer to something that has none of its own.
    pub(super) fn respond(&self, request: &Message, status: u16) -> Option<Message> {
        let response = request.respond(status).header(HeaderName::Allow, ALLOW);
        response.to_tag(&*self.tag).build().ok()
    }

    /// Takes a request of the party into the dialog; else the status that it is owed.
    pub(super) fn take(&mut self, request: &Message) -> Result<(), u16> {
        if !self.dialog.matches(request) {
            return Err(481);
        }
        self.dialog.handle_request(request).map_err(|_| 500)
    }

    /// An ACK came. Whether its answer was due, and the BYE that has waited for it.
    pub(super) fn on_ack(
        &mut self,
        ack: &Message,
        tokens: &mut TokenGenerator,
    ) -> (bool, Option<Message>) {
        let number = ack.cseq().map(|cseq| cseq.number).ok();
        let acknowledged = self
            .accepted
            .take_if(|accepted| Some(accepted.cseq) == number);
        let bye = match acknowledged.is_some() && self.parting {
            true => self.bye(None, tokens),
            false => None,
        };
        (acknowledged.is_some_and(|it| it.answer_due), bye)
    }

    /// Whether an INVITE is not acknowledged yet, so that another one comes too soon.
    pub(super) const fn is_busy(&self) -> bool {
        self.accepted.is_some()
    }

    /// Ends the call; a callee may only do so once its answer is acknowledged (RFC 3261 section 15).
    pub(super) fn hang_up(&mut self, tokens: &mut TokenGenerator) -> Option<Message> {
        match self.stage {
            Stage::Up if self.accepted.is_none() => self.bye(None, tokens),
            Stage::Up => {
                self.parting = true;
                None
            }
            Stage::Early => self.refuse(480, None),
            Stage::Over => None,
        }
    }

    /// The dialog is over: nothing of it is waited for any longer.
    pub(super) fn end(&mut self) {
        self.stage = Stage::Over;
        self.accepted = None;
    }

    /// Asks the party to call somebody else: nothing of it where the call is not up.
    pub(super) fn refer(&mut self, to: &str, tokens: &mut TokenGenerator) -> Option<Message> {
        if self.stage != Stage::Up {
            return None;
        }
        let via = format!("SIP/2.0/TCP {};branch={}", self.sent_by, tokens.branch());
        let by = self.invite.to().ok()?.uri_str();
        refer::write(&mut self.dialog, &via, &contact(&self.sent_by), to, by)
    }

    fn bye(&mut self, reason: Option<&str>, tokens: &mut TokenGenerator) -> Option<Message> {
        self.end();
        let via = format!("SIP/2.0/TCP {};branch={}", self.sent_by, tokens.branch());
        let mut bye = self.dialog.bye(&via);
        if let Some(reason) = reason {
            bye = bye.header(HeaderName::Reason, reason);
        }
        bye.build().ok()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.accepted.as_ref()?.repeats.poll_timeout()
    }

    /// Time has passed: the 2xx again, or the BYE, with `true`, where it was never acknowledged.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        tokens: &mut TokenGenerator,
    ) -> (Option<Message>, bool) {
        let Some(accepted) = &mut self.accepted else {
            return (None, false);
        };
        match accepted.repeats.handle_timeout(now) {
            None => (None, false),
            Some(Repeat::Send) => (Some(accepted.response.clone()), false),
            Some(Repeat::GiveUp) => {
                let reason = "SIP;cause=408;text=\"the answer was not acknowledged\"";
                (self.bye(Some(reason), tokens), true)
            }
        }
    }
}

fn contact(sent_by: &str) -> String {
    format!("<{}>", uri(sent_by))
}

/// Where requests for applications go.
pub(in crate::call) fn uri(sent_by: &str) -> String {
    format!("sip:{USER}@{sent_by}")
}
