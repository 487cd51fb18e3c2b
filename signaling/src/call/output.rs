//! What a worker wants done.

use std::time::Instant;

use bytes::Bytes;
use control::{Fault, media, signal};
use sip::{message::Message, transaction::TransactionId};
use store::CallRecord;
use tracing::{debug, warn};

use super::{Authority, Core, KeepToken, input::FirstLine};
use crate::{directory::Aor, metrics::Direction, net::Flow, rows::Row};

/// Names a question to mediad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MediaToken(pub(super) u64);

/// Names a question to the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ResolveToken(pub(super) u64);

/// Names an operator's order whose outcome is a party's to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OrderToken(pub(super) u64);

/// Names a question to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WebhookToken(pub(super) u64);

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send these bytes.
    Transmit {
        /// Where to.
        flow: Flow,
        /// The message.
        payload: Bytes,
        /// Who hears of a failure.
        transaction: Option<TransactionId>,
    },
    /// Ask mediad, and tell [`Core::handle_media`].
    Media {
        /// To be given back with the answer.
        token: MediaToken,
        /// What to ask.
        request: media::Request,
    },
    /// Find a host's addresses, and tell [`Core::handle_resolved`].
    Resolve {
        /// To be given back with the answer.
        token: ResolveToken,
        /// Whose.
        authority: Authority,
    },
    /// Keep a message for a user who is away, and tell [`Core::handle_kept`].
    Keep {
        /// To be given back with the outcome.
        token: KeepToken,
        /// The message.
        message: Box<store::Message>,
    },
    /// Find what is kept for a user, and tell [`Core::handle_collected`] if there is anything, and
    /// nobody delivers it.
    Collect {
        /// Who has registered.
        aor: Aor,
    },
    /// A message that was kept need not be any longer.
    Forget {
        /// Whom it was for.
        aor: Aor,
        /// Which one.
        id: store::Uuid,
    },
    /// What was collected for a user is delivered, or stays: it may be collected again.
    Settled {
        /// Whose it is.
        aor: Aor,
    },
    /// Ask the store about a user, and tell [`Core::handle_account`].
    Account {
        /// Whom about.
        aor: Aor,
    },
    /// Tell an operator what came of an order.
    Obeyed {
        /// Which one.
        token: OrderToken,
        /// The call as it is then, or why it was not done.
        outcome: Result<signal::CallInfo, Fault>,
    },
    /// Ask a webhook, and tell [`Core::handle_webhook`].
    Webhook {
        /// To be given back with the answer.
        token: WebhookToken,
        /// What to ask.
        request: Box<voice::call::Request>,
        /// At public addresses alone.
        public: bool,
    },
    /// Nobody waits for that any more.
    CancelWebhook(WebhookToken),
    /// How a call of an application is now, or what belongs to it, or a message, for the REST API.
    VoiceRow(Box<Row>),
    /// Tell those who watch.
    Event(signal::Event),
    /// Write a call's record.
    Cdr(Box<CallRecord>),
    /// Send a call's trace.
    #[cfg(feature = "otel")]
    Traced(Box<super::TracedCall>),
}

impl Core {
    /// The next thing to do. To be drained after each input.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.settle_gauges();
        }
        output
    }

    /// Moves what the transaction layer wants sent to the outputs. `again` where only timers have
    /// run, so that what goes out was sent before.
    pub(super) fn drain_transmits(&mut self, now: Instant, again: bool) {
        while let Some(transmit) = self.layer.poll_transmit() {
            count(&self.metrics, &transmit.payload, again);
            self.trace
                .push(now, Direction::Out, &transmit.flow, &transmit.payload);
            debug!(to = %transmit.flow, line = %FirstLine(&transmit.payload), again, "sending");
            if transmit.flow.is_node() {
                match Message::parse(transmit.payload) {
                    Ok(message) => self.bridges.receive(message),
                    Err(error) => warn!(%error, "a message to this node itself cannot be read"),
                }
                continue;
            }
            self.outputs.push_back(Output::Transmit {
                flow: transmit.flow,
                payload: transmit.payload,
                transaction: transmit.transaction,
            });
        }
    }
}

fn count(metrics: &crate::metrics::Metrics, payload: &[u8], again: bool) {
    let line = payload
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let first = words.next().unwrap_or_default();
    if !first.eq_ignore_ascii_case(b"SIP/2.0") {
        if let Some(method) = sip::message::Method::parse(first) {
            metrics.request(&method, Direction::Out);
        }
        if again {
            metrics.retransmissions.inc();
        }
        return;
    }
    let status = words
        .next()
        .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    metrics.response(status.unwrap_or(0), Direction::Out);
    // A 100 that a timer sends is the first.
    if again && status != Some(100) {
        metrics.retransmissions.inc();
    }
}
