//! One request to a webhook at a time.

use std::time::Instant;

use crate::{
    call::{
        Request, RequestError, RequestId, Response,
        fetch::{Attempt, Failure, Fetch},
    },
    form::Params,
    sid::Sid,
    twiml::Link,
};

/// Asks for one message.
#[derive(Debug)]
pub(super) struct Line<P> {
    /// What names its requests.
    pub(super) sid: Sid,
    /// The account's, which signs them.
    token: String,
    under_way: Option<(RequestId, Fetch<P>)>,
    next: u32,
}

/// What came of a request.
pub(super) enum Outcome<P> {
    /// It goes on like this.
    Again(Box<Request>),
    Answered(Fetch<P>, Response),
    Failed(Fetch<P>, Failure),
}

impl<P> Line<P> {
    pub(super) const fn new(sid: Sid, token: String) -> Self {
        Self {
            sid,
            token,
            under_way: None,
            next: 1,
        }
    }

    /// A number that nothing else of it has.
    pub(super) const fn number(&mut self) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }

    pub(super) const fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Asks; the link is absolute.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        link: Link,
        params: Params,
        purpose: P,
    ) -> Box<Request> {
        let token = self.sid.token("request", self.next);
        self.attempt(Fetch::new(now, link, params, purpose, token))
    }

    fn attempt(&mut self, fetch: Fetch<P>) -> Box<Request> {
        let id = RequestId(self.number());
        let request = Box::new(fetch.write(id, &self.token));
        self.under_way = Some((id, fetch));
        request
    }

    /// `None` where nobody waits for it.
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        id: RequestId,
        result: Result<Response, RequestError>,
    ) -> Option<Outcome<P>> {
        let (_, mut fetch) = self.under_way.take_if(|(own, _)| *own == id)?;
        Some(match fetch.take(now, result) {
            Attempt::Answered(response) => Outcome::Answered(fetch, response),
            Attempt::Again => Outcome::Again(self.attempt(fetch)),
            Attempt::Failed(failure) => Outcome::Failed(fetch, failure),
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|(_, fetch)| fetch.deadline)
    }

    /// The request whose time is over, which is to be cancelled.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
    ) -> Option<(RequestId, Fetch<P>, Failure)> {
        let late = self.under_way.take_if(|(_, fetch)| fetch.deadline <= now);
        late.map(|(id, fetch)| {
            let failure = fetch.late();
            (id, fetch, failure)
        })
    }
}
