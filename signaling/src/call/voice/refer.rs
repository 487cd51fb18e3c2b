//! `<Refer>`: the party of a call is asked to call somebody else, by REFER (RFC 3515) in its dialog, whichever of
//! the two has called the other.
//!
//! The proxy between passes REFER and NOTIFY on as all of a dialog, and answers challenges of trunks. What the
//! party tells of its new call goes to the document; it hangs up by itself, or the document does.

use std::time::{Duration, Instant};

use sip::{
    dialog::Dialog,
    header::HeaderName,
    message::{Message, Method},
};
use voice::call::{Event, JobId, LegId};

use super::{Core, Hosted, server::Stage};
use crate::call::transfer::{referral, told};

/// How long the party may say nothing: as long as a phone's own subscription to a REFER lasts that names no other time.
/// An answer to the REFER itself is there earlier, since the proxy makes one.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may tell of ringing: less than a document waits.
const LONGEST: Duration = Duration::from_secs(170);
/// RFC 4488: a party may take a REFER and tell nothing of it.
const REFER_SUB: &str = "Refer-Sub";

/// A REFER that is under way.
#[derive(Debug)]
pub(super) struct Referral {
    job: JobId,
    to: String,
    /// Its CSeq number, once it is sent: not before the answer to the call is acknowledged.
    cseq: Option<u32>,
    response: Option<u16>,
    notified: Option<u16>,
    /// When the party has been silent for too long.
    until: Instant,
    /// When it has told for too long that somebody rings.
    latest: Instant,
}

impl Hosted {
    /// Asks the party to call somebody else, as soon as that may be.
    pub(super) fn refer(&mut self, now: Instant, job: JobId, to: String, core: &mut Core) {
        self.referral = Some(Referral {
            job,
            to,
            cseq: None,
            response: None,
            notified: None,
            until: now + PATIENCE,
            latest: now + LONGEST,
        });
        self.send_refer(core);
    }

    /// Sends the REFER that waits for it.
    pub(super) fn send_refer(&mut self, core: &mut Core) {
        let waiting = self.referral.as_ref();
        let Some(waiting) = waiting.filter(|referral| referral.cseq.is_none()) else {
            return;
        };
        let refer = match &mut self.server {
            // Its ACK has to come first, which sends it then.
            Some(server) if server.stage == Stage::Up && server.is_busy() => return,
            Some(server) => server.refer(&waiting.to, &mut core.tokens),
            None => {
                let party = self.legs.get_mut(&LegId::PARTY);
                party.and_then(|leg| leg.agent.refer(&waiting.to, &mut core.tokens))
            }
        };
        let cseq = refer.as_ref().and_then(|refer| refer.cseq().ok());
        let Some(cseq) = cseq.map(|cseq| cseq.number) else {
            return self.settle_referral(false);
        };
        if let Some(referral) = &mut self.referral {
            referral.cseq = Some(cseq);
        }
        core.tell_proxy(refer);
    }

    /// The party has answered a REFER, or the proxy for it.
    pub(super) fn on_refer_response(&mut self, now: Instant, response: &Message) {
        let (Some(status), Ok(cseq)) = (response.status(), response.cseq()) else {
            return;
        };
        let referral = self.referral.as_mut();
        let Some(referral) = referral.filter(|it| it.cseq == Some(cseq.number) && status >= 200)
        else {
            return;
        };
        referral.response = Some(status);
        referral.until = referral.latest.min(now + PATIENCE);
        let is_over = referral.notified.is_some_and(|status| status >= 200);
        let wish = response.header(REFER_SUB);
        let untold = wish.is_some_and(|wish| wish.text().trim().eq_ignore_ascii_case("false"));
        if status >= 300 || is_over || untold {
            self.settle_referral(untold);
        }
    }

    /// What is owed to a NOTIFY of the party's, which may tell of the REFER.
    pub(super) fn on_notify(&mut self, now: Instant, notify: &Message) -> u16 {
        let Some(about) = referral(notify) else {
            // RFC 6665 section 4.1.3: nothing else was subscribed to.
            return 489;
        };
        let referral = self.referral.as_mut();
        // Without a number it is about the first REFER, which is the only one as a rule (RFC 3515 section 2.4.6). With
        // one that is lower it is about an earlier one; it is higher where the proxy has answered a challenge.
        let referral = referral.filter(|referral| {
            let cseq = referral.cseq;
            cseq.is_some_and(|cseq| about.is_none_or(|about| about >= cseq))
        });
        let Some((referral, status)) = referral.zip(told(notify)) else {
            return 200;
        };
        referral.notified = Some(status);
        referral.until = referral.latest.min(now + PATIENCE);
        // It may overtake the answer to the REFER, which is waited for then.
        if status >= 200 && referral.response.is_some() {
            self.settle_referral(false);
        }
        200
    }

    /// The party is gone: where it has taken the REFER, it calls whom it was sent to.
    pub(super) fn end_referral(&mut self) {
        let referral = self.referral.as_ref();
        let taken = referral.and_then(|referral| referral.response);
        match taken {
            Some(200..=299) => self.settle_referral(true),
            _ => self.referral = None,
        }
    }

    pub(super) fn referral_timeout(&self) -> Option<Instant> {
        self.referral.as_ref().map(|referral| referral.until)
    }

    /// Time has passed.
    pub(super) fn on_referral_time(&mut self, now: Instant) {
        if self.referral_timeout().is_some_and(|until| until <= now) {
            self.settle_referral(false);
        }
    }

    /// Tells the document how it went.
    fn settle_referral(&mut self, untold: bool) {
        let referral = self.referral.take();
        self.events.extend(referral.map(|referral| Event::Referred {
            job: referral.job,
            response: referral.response,
            notified: referral.notified,
            untold,
        }));
    }
}

/// A REFER to the other end of a dialog in which we are `by`, at `contact`.
pub(in crate::call) fn write(
    dialog: &mut Dialog,
    via: &str,
    contact: &str,
    to: &str,
    by: &str,
) -> Option<Message> {
    // None that a document may have leaves its brackets.
    let breaks = |c: char| c.is_control() || c.is_whitespace() || "<>\"".contains(c);
    if to.contains(breaks) {
        return None;
    }
    dialog
        .request(&Method::Refer, via)
        .header(HeaderName::Contact, contact)
        .header(HeaderName::ReferTo, format!("<{to}>"))
        .header(HeaderName::ReferredBy, format!("<{by}>"))
        .build()
        .ok()
}
