//! Whatever happens in whatever order: no panic, and nothing is left once the users of the layer
//! have done their part and the timers have run out.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::pair::{Wire, answer, request};
use crate::message::{Message, Method};
use crate::transaction::{ClientId, Event, Layer, ServerId, Timers, TransactionId};

#[derive(Debug, Clone)]
enum Step {
    Receive {
        method: Method,
        branch: u8,
        wire: bool,
    },
    ReceiveResponse {
        method: Method,
        branch: u8,
        status: u16,
        wire: bool,
    },
    Send {
        method: Method,
        branch: u8,
        wire: bool,
    },
    Respond {
        server: usize,
        status: u16,
    },
    Abandon {
        server: usize,
    },
    Cancel {
        client: usize,
    },
    Fail {
        client: bool,
        index: usize,
    },
    Sleep {
        ms: u64,
    },
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        4 => Just(Method::Invite),
        2 => Just(Method::Ack),
        2 => Just(Method::Cancel),
        1 => Just(Method::Bye),
        1 => Just(Method::Options),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![Just(100u16), Just(180), Just(200), Just(408), 100u16..700];
    let branch = 0u8..4;
    let index = 0usize..6;
    prop_oneof![
        (method(), branch.clone(), any::<bool>()).prop_map(|(method, branch, wire)| {
            Step::Receive {
                method,
                branch,
                wire,
            }
        }),
        (method(), branch.clone(), status.clone(), any::<bool>()).prop_map(
            |(method, branch, status, wire)| Step::ReceiveResponse {
                method,
                branch,
                status,
                wire
            }
        ),
        (method(), branch, any::<bool>()).prop_map(|(method, branch, wire)| Step::Send {
            method,
            branch,
            wire
        }),
        (index.clone(), status).prop_map(|(server, status)| Step::Respond { server, status }),
        index.clone().prop_map(|server| Step::Abandon { server }),
        index.clone().prop_map(|client| Step::Cancel { client }),
        (any::<bool>(), index).prop_map(|(client, index)| Step::Fail { client, index }),
        (0u64..40_000).prop_map(|ms| Step::Sleep { ms }),
    ]
}

/// A layer and what its user has to know of it.
struct User {
    now: Instant,
    layer: Layer<Wire>,
    clients: Vec<ClientId>,
    servers: Vec<(ServerId, Message)>,
}

impl User {
    fn take(&mut self, step: Step) {
        match step {
            Step::Receive {
                method,
                branch,
                wire,
            } => {
                // Branch 0 is that of a client without RFC 3261's cookie.
                let branch = if branch == 0 {
                    "0".to_owned()
                } else {
                    token(branch)
                };
                self.receive(wire, request(&method, &branch));
            }
            Step::ReceiveResponse {
                method,
                branch,
                status,
                wire,
            } => {
                self.receive(wire, answer(&request(&method, &token(branch)), status));
            }
            Step::Send {
                method,
                branch,
                wire,
            } => {
                let request = request(&method, &token(branch));
                if let Ok(id) = self.layer.send_request(self.now, flow(wire), request) {
                    self.clients.push(id);
                }
            }
            Step::Respond { server, status } => {
                if let Some((id, request)) = self.servers.get(server) {
                    let _ = self
                        .layer
                        .send_response(self.now, *id, &answer(request, status));
                }
            }
            Step::Abandon { server } => {
                if let Some((id, _)) = self.servers.get(server) {
                    self.layer.abandon(self.now, *id);
                }
            }
            Step::Cancel { client } => {
                if let Some(id) = self.clients.get(client) {
                    self.layer.cancel(self.now, *id, None);
                }
            }
            Step::Fail {
                client: true,
                index,
            } => {
                if let Some(id) = self.clients.get(index) {
                    self.layer
                        .handle_transport_error(TransactionId::Client(*id));
                }
            }
            Step::Fail {
                client: false,
                index,
            } => {
                if let Some((id, _)) = self.servers.get(index) {
                    self.layer
                        .handle_transport_error(TransactionId::Server(*id));
                }
            }
            Step::Sleep { ms } => self.sleep(Duration::from_millis(ms)),
        }
        self.drain();
    }

    fn receive(&mut self, wire: bool, message: Message) {
        self.layer
            .handle_message(self.now, flow(wire), message)
            .unwrap();
    }

    fn sleep(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.layer.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.layer.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.layer.poll_transmit() {
            assert!(Message::parse(transmit.payload).unwrap().validate().is_ok());
        }
        while let Some(event) = self.layer.poll_event() {
            if let Event::Request { id, request, .. } = event {
                self.servers.push((id, request));
            }
        }
    }

    /// Answers every INVITE and cancels every one of ours, and lets time pass.
    fn settle(&mut self) {
        for (id, request) in std::mem::take(&mut self.servers) {
            let _ = self
                .layer
                .send_response(self.now, id, &answer(&request, 500));
        }
        for id in std::mem::take(&mut self.clients) {
            self.layer.cancel(self.now, id, None);
        }
        self.drain();
        self.sleep(Duration::from_secs(200));
    }
}

fn token(branch: u8) -> String {
    format!("z9hG4bK{branch}")
}

fn flow(reliable: bool) -> Wire {
    if reliable { Wire::Tcp } else { Wire::Udp }
}

proptest! {
    #[test]
    fn any_sequence_ends_with_empty_tables(steps in vec(step(), 0..80)) {
        let layer = Layer::new(Timers::default(), 3);
        let mut user =
            User { now: Instant::now(), layer, clients: Vec::new(), servers: Vec::new() };
        for step in steps {
            user.take(step);
        }
        user.settle();
        prop_assert!(user.layer.is_empty(), "{:?}", user.layer);
    }
}
