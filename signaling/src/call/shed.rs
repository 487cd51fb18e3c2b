//! What is refused without a transaction: what waited too long, and what strangers say of calls that there are not.

use std::{
    hash::{DefaultHasher, Hasher as _},
    time::{Duration, Instant},
};

use sip::{
    header::{HeaderName, Name},
    message::{Message, Method, ParseError},
    proxy,
};

use super::{Core, input::reply_flow};
use crate::{
    metrics::{Direction, Dropped},
    net::Flow,
};

/// The shortest time after which to try again, in seconds, and the time over which the retries of many
/// are spread.
const RETRY: (u64, u64) = (5, 30);

impl Core {
    /// Whether a request that waited for so long is rather refused.
    pub(crate) fn is_too_late(&self, waited: Duration) -> bool {
        waited > self.policy.defence.shed_after()
    }

    /// As [`Core::handle_framed`], of a request that waited too long or with too many others: it is
    /// refused with 503 (RFC 3261 section 21.5.4), unless it repeats one that is being worked on.
    ///
    /// Never for what belongs to a dialog of somebody who is known, for a BYE, an ACK, a CANCEL or a call for
    /// help.
    pub(crate) fn handle_late(
        &mut self,
        now: Instant,
        flow: Flow,
        message: Result<Message, ParseError>,
    ) {
        let request = match message {
            Ok(request) if request.is_request() && !self.layer.knows(&request) => request,
            other => return self.handle_framed(now, flow, other),
        };
        self.metrics.shed.inc();
        if let Some(method) = request.method() {
            self.metrics.request(method, Direction::In);
        }
        let request = proxy::stamp_via(request, flow.remote);
        let flow = reply_flow(flow, &request);
        let response = request
            .respond(503)
            .to_tag(self.policy.identity.stateless_tag(&request))
            .header(
                Name::from(HeaderName::RetryAfter),
                retry_after(&request).to_string(),
            )
            .build();
        match response {
            Ok(response) => self.layer.send_stateless(flow, response),
            Err(_) => self.metrics.dropped(Dropped::Malformed),
        }
        self.drain(now);
    }

    /// Whether a request of a stranger is of a dialog that nobody here knows: it is owed 481, and a
    /// transaction for each would be as many as anybody cares to send.
    pub(super) fn is_astray(&mut self, flow: &Flow, request: &Message) -> bool {
        let is_within = request.to_tag().is_some()
            && !matches!(request.method(), Some(Method::Ack | Method::Cancel));
        if !is_within || self.trunk_of(flow).is_some() || self.layer.knows(request) {
            return false;
        }
        let routed = proxy::follow(request, &self.policy.identity);
        routed.is_ok_and(|routed| self.call_of(request, &routed).is_none())
    }
}

/// The same for each repetition of a request, and different from its neighbours': so that those who
/// were refused together do not come back together.
fn retry_after(request: &Message) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write(request.call_id().unwrap_or_default().as_bytes());
    RETRY.0 + hash.finish() % RETRY.1
}
