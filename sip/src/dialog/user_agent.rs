//! The dialog of a user agent.

use super::leg::{Leg, RouteSet};
use super::{DialogError, contact, next_cseq, tag, value};
use crate::header::HeaderName;
use crate::message::{Message, Method, RequestBuilder};

/// One end of a dialog, ours.
#[derive(Debug, Clone)]
pub struct Dialog {
    call_id: Box<str>,
    /// Our address with our tag: From of what we send.
    local: Vec<u8>,
    local_tag: Box<str>,
    /// The peer's address with its tag: To of what we send.
    remote: Vec<u8>,
    remote_tag: Box<str>,
    leg: Leg,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    /// The CSeq number of our latest INVITE, which its ACK repeats.
    invite_cseq: u32,
}

/// A request came with a lower CSeq than one before it: answer 500 (RFC 3261 section 12.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's CSeq {got} is below {last}, which was received before: answer 500")]
pub struct OutOfOrder {
    /// The number that came.
    pub got: u32,
    /// The highest one before.
    pub last: u32,
}

impl Dialog {
    /// The caller's dialog: from its INVITE, and a response with a To tag (a 2xx, or a 1xx for an
    /// early dialog).
    ///
    /// # Errors
    /// A tag or the Contact is missing, or a header cannot be read.
    pub fn uac(invite: &Message, response: &Message) -> Result<Self, DialogError> {
        let cseq = invite.cseq()?.number;
        Ok(Self {
            call_id: invite.call_id()?.into(),
            local: value(invite, HeaderName::From)?,
            local_tag: tag(invite, HeaderName::From)?.into(),
            remote: value(response, HeaderName::To)?,
            remote_tag: tag(response, HeaderName::To)?.into(),
            leg: Leg::new(contact(response)?, RouteSet::of(response)?.reversed()),
            local_cseq: cseq,
            remote_cseq: None,
            invite_cseq: cseq,
        })
    }

    /// The callee's dialog: from an INVITE that was received, and the To tag of its responses.
    ///
    /// # Errors
    /// The From tag or the Contact is missing, or a header cannot be read.
    pub fn uas(invite: &Message, local_tag: &str) -> Result<Self, DialogError> {
        let mut local = value(invite, HeaderName::To)?;
        if invite.to()?.tag().is_none() {
            local.extend_from_slice(b";tag=");
            local.extend_from_slice(local_tag.as_bytes());
        }
        Ok(Self {
            call_id: invite.call_id()?.into(),
            local,
            local_tag: local_tag.into(),
            remote: value(invite, HeaderName::From)?,
            remote_tag: tag(invite, HeaderName::From)?.into(),
            leg: Leg::new(contact(invite)?, RouteSet::of(invite)?),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq()?.number),
            invite_cseq: 0,
        })
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Our tag.
    #[must_use]
    pub fn local_tag(&self) -> &str {
        &self.local_tag
    }

    /// The peer's tag.
    #[must_use]
    pub fn remote_tag(&self) -> &str {
        &self.remote_tag
    }

    /// The URI to resolve for sending a request of this dialog.
    #[must_use]
    pub fn next_hop(&self) -> &str {
        self.leg.next_hop()
    }

    /// Whether a received request belongs to this dialog. One that belongs to none is owed 481.
    #[must_use]
    pub fn matches(&self, request: &Message) -> bool {
        let same = |name, own: &str| tag(request, name).is_ok_and(|tag| *tag == *own);
        request.call_id() == Ok(&self.call_id)
            && same(HeaderName::To, &self.local_tag)
            && same(HeaderName::From, &self.remote_tag)
    }

    /// Begins the next request of this dialog: the line, Via, Max-Forwards, Route, From, To,
    /// Call-ID and CSeq. `via` is a whole Via value with a new branch. The caller adds Contact
    /// (INVITE, UPDATE) and a body.
    pub fn request(&mut self, method: &Method, via: &str) -> RequestBuilder {
        self.local_cseq = next_cseq(self.local_cseq);
        if *method == Method::Invite {
            self.invite_cseq = self.local_cseq;
        }
        self.write(method, self.local_cseq, via)
    }

    /// Begins the ACK of a 2xx to our latest INVITE. It carries the answer where the 2xx had the
    /// offer, and the credentials that the INVITE had.
    pub fn ack(&self, via: &str) -> RequestBuilder {
        self.write(&Method::Ack, self.invite_cseq, via)
    }

    /// Begins a BYE.
    pub fn bye(&mut self, via: &str) -> RequestBuilder {
        self.request(&Method::Bye, via)
    }

    /// Takes note of a request of this dialog: its CSeq, and the peer's new target where it is a
    /// re-INVITE or an UPDATE.
    ///
    /// # Errors
    /// It comes out of order.
    pub fn handle_request(&mut self, request: &Message) -> Result<(), OutOfOrder> {
        // Validated messages have a CSeq; an ACK repeats that of its INVITE.
        let Ok(cseq) = request.cseq() else {
            return Ok(());
        };
        if cseq.method == Method::Ack {
            return Ok(());
        }
        if let Some(last) = self.remote_cseq.filter(|last| cseq.number < *last) {
            return Err(OutOfOrder {
                got: cseq.number,
                last,
            });
        }
        self.remote_cseq = Some(cseq.number);
        if refreshes_target(&cseq.method) {
            self.refresh(request);
        }
        Ok(())
    }

    /// Takes note of a response to a request of this dialog: the peer's new target from a 2xx to
    /// INVITE or UPDATE.
    pub fn handle_response(&mut self, response: &Message) {
        let success = matches!(response.status(), Some(200..=299));
        if success
            && response
                .cseq()
                .is_ok_and(|cseq| refreshes_target(&cseq.method))
        {
            self.refresh(response);
        }
    }

    fn refresh(&mut self, message: &Message) {
        if let Ok(target) = contact(message) {
            self.leg.target = target;
        }
    }

    fn write(&self, method: &Method, cseq: u32, via: &str) -> RequestBuilder {
        self.leg
            .request(method, via)
            .header(HeaderName::From, &self.local)
            .header(HeaderName::To, &self.remote)
            .header(HeaderName::CallId, self.call_id.as_bytes())
            .header(HeaderName::CSeq, format!("{cseq} {method}"))
    }
}

/// Whether a method carries a new Contact for its dialog (RFC 3261 section 12.2, RFC 3311).
pub(super) fn refreshes_target(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update)
}
