//! Two layers and a wire that a test can cut, in simulated time.

use std::time::{Duration, Instant};

use crate::message::{Message, Method, RequestBuilder};
use crate::transaction::{ClientId, Event, Flow, Layer, ServerId, Timers, TransactionId};

/// The only peer there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Udp,
    Tcp,
}

impl Flow for Wire {
    fn is_reliable(&self) -> bool {
        *self == Self::Tcp
    }
}

/// A client end and a server end. What one sends reaches the other in the same instant, unless
/// [`Pair::cut`].
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) wire: Wire,
    pub(super) client: Layer<Wire>,
    pub(super) server: Layer<Wire>,
    /// Nothing arrives, though both ends send.
    pub(super) cut: bool,
    /// First lines of what was sent, client's with `>` in front, server's with `<`.
    pub(super) log: Vec<String>,
    /// The last message that the client sent.
    pub(super) last: Option<Message>,
}

impl Pair {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            now: Instant::now(),
            wire,
            client: Layer::new(Timers::default(), 1),
            server: Layer::new(Timers::default(), 2),
            cut: false,
            log: Vec::new(),
            last: None,
        }
    }

    /// Sends a request from the client end and delivers it.
    pub(super) fn send(&mut self, request: Message) -> ClientId {
        let id = self
            .client
            .send_request(self.now, self.wire, request)
            .unwrap();
        self.deliver();
        id
    }

    /// Sends a response from the server end and delivers it.
    pub(super) fn respond(&mut self, id: ServerId, response: &Message) {
        self.server.send_response(self.now, id, response).unwrap();
        self.deliver();
    }

    /// Moves everything that is waiting, in both directions, until nothing is.
    pub(super) fn deliver(&mut self) {
        loop {
            let mut idle = true;
            while let Some(transmit) = self.client.poll_transmit() {
                idle = false;
                let message = Message::parse(transmit.payload).unwrap();
                self.log.push(format!("> {}", first_word(&message)));
                self.last = Some(message.clone());
                if !self.cut {
                    self.server
                        .handle_message(self.now, self.wire, message)
                        .unwrap();
                }
            }
            while let Some(transmit) = self.server.poll_transmit() {
                idle = false;
                let message = Message::parse(transmit.payload).unwrap();
                self.log.push(format!("< {}", first_word(&message)));
                if !self.cut {
                    self.client
                        .handle_message(self.now, self.wire, message)
                        .unwrap();
                }
            }
            if idle {
                return;
            }
        }
    }

    /// Lets time pass, each timer at its own instant.
    pub(super) fn sleep(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let next = self
                .client
                .poll_timeout()
                .into_iter()
                .chain(self.server.poll_timeout());
            let Some(at) = next.min().filter(|at| *at <= end) else {
                break;
            };
            assert!(at >= self.now, "a timer lies in the past");
            self.now = at;
            self.client.handle_timeout(at);
            self.server.handle_timeout(at);
            self.deliver();
        }
        self.now = end;
    }

    /// The request that has reached the server end, and its transaction.
    pub(super) fn request(&mut self) -> (ServerId, Message) {
        match self.server.poll_event() {
            Some(Event::Request { id, request, .. }) => (id, request),
            other => panic!("no request but {other:?}"),
        }
    }

    /// The status that the client end hears next.
    pub(super) fn status(&mut self) -> u16 {
        match self.client.poll_event() {
            Some(Event::Response { response, .. }) => response.status().unwrap(),
            other => panic!("no response but {other:?}"),
        }
    }

    /// Takes the log.
    pub(super) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// Lets all timers run out and asserts that the ends say that they are done, and that nothing
    /// is left.
    pub(super) fn finish(mut self, client: Option<ClientId>, server: Option<ServerId>) {
        self.sleep(Duration::from_secs(200));
        let ended = |event| match event {
            Some(Event::Terminated { id }) => Some(id),
            None => None,
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!(
            ended(self.client.poll_event()),
            client.map(TransactionId::Client)
        );
        assert_eq!(
            ended(self.server.poll_event()),
            server.map(TransactionId::Server)
        );
        assert!(self.client.is_empty(), "{:?}", self.client);
        assert!(self.server.is_empty(), "{:?}", self.server);
    }
}

pub(super) fn request(method: &Method, branch: &str) -> Message {
    RequestBuilder::new(method, "sip:bob@192.0.2.4")
        .header("Via", format!("SIP/2.0/UDP 192.0.2.1:5060;branch={branch}"))
        .header("Route", "<sip:192.0.2.9;lr>")
        .header("Max-Forwards", "70")
        .header("From", "<sip:alice@example.test>;tag=a")
        .header("To", "<sip:bob@example.test>")
        .header("Call-ID", "call-1")
        .header("CSeq", format!("17 {method}"))
        .build()
        .unwrap()
}

pub(super) fn invite() -> Message {
    request(&Method::Invite, "z9hG4bK1")
}

pub(super) fn answer(request: &Message, status: u16) -> Message {
    request.respond(status).to_tag("b").build().unwrap()
}

fn first_word(message: &Message) -> String {
    match message.status() {
        Some(status) => format!("{status} {}", message.cseq().unwrap().method),
        None => message.method().unwrap().to_string(),
    }
}
