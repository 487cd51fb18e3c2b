//! Any sequence of messages, answers, failures and pauses into the transaction layer: what it sends is
//! valid, and nothing is left of it when its user has done his part and the timers have run out.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use sip::{
    message::Message,
    transaction::{ClientId, Event, Flow, Layer, ServerId, Timers, TransactionId},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wire(bool);

impl Flow for Wire {
    fn is_reliable(&self) -> bool {
        self.0
    }
}

const METHODS: [&str; 8] = [
    "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "PRACK", "UPDATE", "X-ODD",
];

/// The layer, and what its user has to know of it.
struct User {
    now: Instant,
    layer: Layer<Wire>,
    clients: Vec<ClientId>,
    servers: Vec<(ServerId, Message)>,
}

impl User {
    fn step(&mut self, step: u8, what: u8, more: u8) {
        let wire = Wire(what & 0x80 != 0);
        match step % 8 {
            0 | 1 => self.receive(wire, request(what, more)),
            2 => {
                let status = 100 + u16::from(more) * 7 % 600;
                if let Some(response) = answer(&request(what, more >> 4), status) {
                    self.receive(wire, response);
                }
            }
            3 => {
                if let Ok(id) = self.layer.send_request(self.now, wire, request(what, more)) {
                    self.clients.push(id);
                }
            }
            4 => {
                if let Some((id, request)) = self.servers.get(usize::from(what))
                    && let Some(response) = answer(request, 100 + u16::from(more) * 3)
                {
                    let _ = self.layer.send_response(self.now, *id, &response);
                }
            }
            5 => {
                if let Some(id) = self.clients.get(usize::from(what)) {
                    self.layer.cancel(self.now, *id, None);
                }
            }
            6 => {
                let client = self.clients.get(usize::from(what));
                let server = self.servers.get(usize::from(what));
                let id = match more % 2 {
                    0 => client.map(|id| TransactionId::Client(*id)),
                    _ => server.map(|(id, _)| TransactionId::Server(*id)),
                };
                if let Some(id) = id {
                    self.layer.handle_transport_error(id);
                }
            }
            _ => self.sleep(Duration::from_millis(u64::from(what) * u64::from(more))),
        }
        self.drain();
    }

    fn receive(&mut self, wire: Wire, message: Message) {
        if message.validate().is_ok() {
            let taken = self.layer.handle_message(self.now, wire, message);
            taken.expect("a valid message is matched");
        }
    }

    fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.layer.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.layer.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.layer.poll_transmit() {
            let sent = Message::parse(transmit.payload).expect("a message");
            sent.validate().expect("a valid message");
        }
        while let Some(event) = self.layer.poll_event() {
            if let Event::Request { id, request, .. } = event {
                self.servers.push((id, request));
            }
        }
    }

    /// Answers every request and cancels every one of ours, and lets time pass.
    fn settle(&mut self) {
        for (id, request) in std::mem::take(&mut self.servers) {
            if let Some(response) = answer(&request, 500) {
                let _ = self.layer.send_response(self.now, id, &response);
            }
        }
        for id in std::mem::take(&mut self.clients) {
            self.layer.cancel(self.now, id, None);
        }
        self.drain();
        self.sleep(Duration::from_secs(200));
    }
}

/// One of few requests, so that many of a sequence belong together.
fn request(what: u8, more: u8) -> Message {
    let method = METHODS[usize::from(what % 8)];
    let cookie = if more & 4 == 0 { "z9hG4bK" } else { "" };
    let (branch, tag) = (more % 4, what >> 5 & 1);
    let to_tag = if what & 0x40 == 0 { "" } else { ";tag=b" };
    let text = format!(
        "{method} sip:b@b.test SIP/2.0\r\n\
         Via: SIP/2.0/UDP a.test;branch={cookie}{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@a.test>;tag=a{tag}\r\nTo: <sip:b@b.test>{to_tag}\r\nCall-ID: c\r\n\
         CSeq: 1 {method}\r\nContact: <sip:a@a.test>\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse(text.into()).expect("a request")
}

fn answer(request: &Message, status: u16) -> Option<Message> {
    request
        .respond(status.clamp(100, 699))
        .to_tag("b")
        .build()
        .ok()
}

fuzz_target!(|data: &[u8]| {
    let mut user = User {
        now: Instant::now(),
        layer: Layer::new(Timers::default(), 7),
        clients: Vec::new(),
        servers: Vec::new(),
    };
    for step in data.chunks_exact(3).take(200) {
        user.step(step[0], step[1], step[2]);
    }
    user.settle();
    assert!(user.layer.is_empty(), "{:?}", user.layer);
});
