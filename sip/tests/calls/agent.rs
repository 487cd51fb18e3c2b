//! A user agent: places calls by plan, and answers them as the called user's name says.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::dialog::{Answer, Dialog, Repeat};
use sip::message::{Message, Method, RequestBuilder};
use sip::proxy::stamp_via;
use sip::token::TokenGenerator;
use sip::transaction::{ClientId, Event, Layer, ServerId, Timers, TransactionId};
use sip::uri::Uri;

use crate::net::{Host, Path};

/// How a call of ours ended, or 0 while it has not.
pub(crate) type Status = u16;

pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) layer: Layer<Path>,
    /// The final status of each call that was placed, by Call-ID.
    pub(crate) outcomes: BTreeMap<String, Status>,
    /// How many dialogs there have been.
    pub(crate) dialogs_made: usize,
    /// How many of our 2xx were never acknowledged.
    pub(crate) given_up: usize,
    first_hop: SocketAddr,
    reliable: bool,
    tokens: TokenGenerator,
    placed: HashMap<ClientId, Placed>,
    ringing: HashMap<ServerId, Ringing>,
    dialogs: Vec<Talk>,
    byes: HashMap<ClientId, String>,
    tasks: BTreeMap<(Instant, u64), Task>,
    count: u64,
}

struct Placed {
    call_id: String,
    invite: Message,
    cancelled: bool,
}

struct Ringing {
    invite: Message,
    tag: String,
}

struct Talk {
    dialog: Dialog,
    peer: Path,
    /// What we sent as a caller, to be sent again for a repeated 2xx.
    ack: Option<Message>,
    /// What we repeat as a callee.
    answer: Option<(Answer, Message, ServerId)>,
}

enum Task {
    Cancel(ClientId),
    Pick(ServerId),
    HangUp {
        call_id: String,
        local: String,
        remote: String,
    },
}

impl Agent {
    pub(crate) fn new(address: &str, first_hop: &str, reliable: bool, seed: u64) -> Self {
        Self {
            address: address.parse().unwrap(),
            layer: Layer::new(Timers::default(), u128::from(seed)),
            outcomes: BTreeMap::new(),
            dialogs_made: 0,
            given_up: 0,
            first_hop: first_hop.parse().unwrap(),
            reliable,
            tokens: TokenGenerator::new(u128::from(seed) << 64),
            placed: HashMap::new(),
            ringing: HashMap::new(),
            dialogs: Vec::new(),
            byes: HashMap::new(),
            tasks: BTreeMap::new(),
            count: 0,
        }
    }

    /// Whether nothing is left of any call.
    pub(crate) fn is_idle(&self) -> bool {
        self.layer.is_empty()
            && self.placed.is_empty()
            && self.ringing.is_empty()
            && self.dialogs.is_empty()
            && self.byes.is_empty()
            && self.tasks.is_empty()
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "{}: {} client and {} server transactions, {} placed, {} ringing, {} dialogs",
            self.address,
            self.layer.clients(),
            self.layer.servers(),
            self.placed.len(),
            self.ringing.len(),
            self.dialogs.len()
        )
    }

    /// Places a call to a user, which it cancels after a while if it is told to.
    pub(crate) fn call(&mut self, now: Instant, user: &str, cancel_after: Option<Duration>) {
        let call_id = format!("{user}-{}", self.tokens.token());
        let invite = RequestBuilder::new(&Method::Invite, format!("sip:{user}@example.test"))
            .header("Via", self.via())
            .header("Max-Forwards", "70")
            .header(
                "From",
                format!("<sip:caller@example.test>;tag={}", self.tokens.tag()),
            )
            .header("To", format!("<sip:{user}@example.test>"))
            .header("Call-ID", &call_id)
            .header("CSeq", "1 INVITE")
            .header("Contact", self.contact())
            .build()
            .unwrap();
        self.outcomes.insert(call_id.clone(), 0);
        let path = self.path(self.first_hop);
        let id = self.layer.send_request(now, path, invite.clone()).unwrap();
        self.placed.insert(
            id,
            Placed {
                call_id,
                invite,
                cancelled: false,
            },
        );
        if let Some(after) = cancel_after {
            self.later(now + after, Task::Cancel(id));
        }
    }

    fn on_event(&mut self, now: Instant, event: Event<Path>) {
        match event {
            Event::Request { id, request, .. } => self.on_request(now, id, &request),
            Event::Cancelled { invite, .. } => {
                if let Some(ringing) = self.ringing.remove(&invite) {
                    let terminated = ringing.invite.respond(487).to_tag(ringing.tag);
                    let response = terminated.build().unwrap();
                    self.layer.send_response(now, invite, &response).unwrap();
                }
            }
            Event::Ack { request, .. } => {
                let talk = self
                    .dialogs
                    .iter_mut()
                    .find(|talk| talk.dialog.matches(&request));
                if let Some((answer, ..)) = talk.and_then(|talk| talk.answer.as_mut()) {
                    answer.acknowledge();
                }
            }
            Event::Response { id, flow, response } => self.on_response(now, id, flow, &response),
            Event::ClientTimeout { id } | Event::ClientTransportError { id } => {
                if let Some(placed) = self.placed.get(&id) {
                    self.outcomes.insert(placed.call_id.clone(), 408);
                }
            }
            Event::Terminated {
                id: TransactionId::Client(id),
            } => {
                self.placed.remove(&id);
                self.byes.remove(&id);
            }
            Event::Terminated {
                id: TransactionId::Server(id),
            } => {
                assert!(!self.ringing.contains_key(&id), "a ringing call vanished");
            }
            // 2xx after timer M; an ACK that never came, whose dialog the answer ends.
            Event::StrayResponse { .. }
            | Event::Unacknowledged { .. }
            | Event::ServerTimeout { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn on_request(&mut self, now: Instant, id: ServerId, request: &Message) {
        let status = match request.method().unwrap() {
            Method::Invite => return self.on_invite(now, id, request),
            Method::Bye => {
                let known = self
                    .dialogs
                    .iter()
                    .position(|talk| talk.dialog.matches(request));
                known
                    .map(|at| self.dialogs.swap_remove(at))
                    .map_or(481, |_| 200)
            }
            Method::Cancel => 481,
            other => panic!("nobody sends {other}"),
        };
        let response = request.respond(status).to_tag("none").build().unwrap();
        self.layer.send_response(now, id, &response).unwrap();
    }

    fn on_invite(&mut self, now: Instant, id: ServerId, invite: &Message) {
        let user = invite.request_uri().unwrap().user().unwrap().to_owned();
        let tag = self.tokens.tag();
        let (status, then) = match user.rsplit('-').next().unwrap() {
            "busy" => (486, None),
            "decline" => (603, None),
            "full" => (503, None),
            // Picks up at once, after a moment, or only when nobody waits any more.
            "quick" => (200, None),
            "answer" | "leave" | "cut" => (180, Some(Duration::from_secs(3))),
            // Picks up while the proxy's CANCEL is on its way.
            "late" => (180, Some(Duration::from_millis(59_997))),
            "slow" => (180, Some(Duration::from_secs(300))),
            other => panic!("nobody is called {other}"),
        };
        if status == 200 {
            self.ringing.insert(
                id,
                Ringing {
                    invite: invite.clone(),
                    tag,
                },
            );
            return self.pick_up(now, id);
        }
        let response = invite.respond(status).to_tag(&tag).build().unwrap();
        self.layer.send_response(now, id, &response).unwrap();
        if let Some(after) = then {
            self.ringing.insert(
                id,
                Ringing {
                    invite: invite.clone(),
                    tag,
                },
            );
            self.later(now + after, Task::Pick(id));
        }
    }

    fn pick_up(&mut self, now: Instant, id: ServerId) {
        let Some(Ringing { invite, tag }) = self.ringing.remove(&id) else {
            return;
        };
        let ok = invite
            .respond(200)
            .to_tag(&tag)
            .header("Contact", self.contact());
        let ok = ok.build().unwrap();
        self.layer.send_response(now, id, &ok).unwrap();
        let dialog = Dialog::uas(&invite, &tag).unwrap();
        let peer = self.hop(dialog.next_hop());
        if invite
            .request_uri()
            .unwrap()
            .user()
            .unwrap()
            .ends_with("leave")
        {
            self.hang_up_later(now + Duration::from_secs(5), &dialog);
        }
        let answer = Answer::new(now, &Timers::default());
        self.dialogs_made += 1;
        self.dialogs.push(Talk {
            dialog,
            peer,
            ack: None,
            answer: Some((answer, ok, id)),
        });
    }

    fn on_response(&mut self, now: Instant, id: ClientId, flow: Path, response: &Message) {
        assert_eq!(
            response.vias().count(),
            1,
            "a response with somebody else's Via: {flow:?}"
        );
        let status = response.status().unwrap();
        let Some(placed) = self.placed.get(&id) else {
            return;
        };
        if status < 200 {
            return;
        }
        let outcome = self.outcomes.get_mut(&placed.call_id).unwrap();
        assert!(
            *outcome == 0 || *outcome == 200 && status == 200,
            "{outcome}, then {status}"
        );
        *outcome = status;
        if status != 200 {
            return;
        }
        let dialog = Dialog::uac(&placed.invite, response).unwrap();
        let known = |talk: &&Talk| {
            talk.dialog.call_id() == dialog.call_id()
                && talk.dialog.remote_tag() == dialog.remote_tag()
        };
        if let Some(talk) = self.dialogs.iter().find(known) {
            self.layer
                .send_stateless(talk.peer, talk.ack.clone().unwrap());
            return;
        }
        // A call that we gave up, one that the peer ends, or one that we end.
        let user = placed
            .invite
            .request_uri()
            .unwrap()
            .user()
            .unwrap()
            .to_owned();
        let talk = match (placed.cancelled, user.rsplit('-').next()) {
            (true, _) => Some(Duration::ZERO),
            (false, Some("leave" | "cut")) => None,
            (false, _) => Some(Duration::from_secs(10)),
        };
        let peer = self.hop(dialog.next_hop());
        let ack = dialog.ack(&self.via()).build().unwrap();
        self.layer.send_stateless(peer, ack.clone());
        // A repeated 2xx of a dialog that is over already is acknowledged, and made no new one.
        if self.dialogs_made_of(&dialog) {
            return;
        }
        if let Some(talk) = talk {
            self.hang_up_later(now + talk, &dialog);
        }
        self.dialogs_made += 1;
        self.outcomes.insert(dialog_key(&dialog), 1);
        self.dialogs.push(Talk {
            dialog,
            peer,
            ack: Some(ack),
            answer: None,
        });
    }

    fn dialogs_made_of(&self, dialog: &Dialog) -> bool {
        self.outcomes.contains_key(&dialog_key(dialog))
    }

    fn hang_up(&mut self, now: Instant, call_id: &str, local: &str, remote: &str) {
        let same = |talk: &Talk| {
            talk.dialog.call_id() == call_id
                && talk.dialog.local_tag() == local
                && talk.dialog.remote_tag() == remote
        };
        let Some(at) = self.dialogs.iter().position(same) else {
            return;
        };
        let mut talk = self.dialogs.swap_remove(at);
        let bye = talk.dialog.bye(&self.via()).build().unwrap();
        let id = self.layer.send_request(now, talk.peer, bye).unwrap();
        self.byes.insert(id, call_id.to_owned());
    }

    fn hang_up_later(&mut self, at: Instant, dialog: &Dialog) {
        let task = Task::HangUp {
            call_id: dialog.call_id().to_owned(),
            local: dialog.local_tag().to_owned(),
            remote: dialog.remote_tag().to_owned(),
        };
        self.later(at, task);
    }

    fn later(&mut self, at: Instant, task: Task) {
        self.count += 1;
        self.tasks.insert((at, self.count), task);
    }

    fn via(&mut self) -> String {
        let transport = if self.reliable { "TCP" } else { "UDP" };
        format!(
            "SIP/2.0/{transport} {};branch={};rport",
            self.address,
            self.tokens.branch()
        )
    }

    fn contact(&self) -> String {
        format!("<sip:agent@{}>", self.address)
    }

    fn path(&self, remote: SocketAddr) -> Path {
        Path {
            remote,
            reliable: self.reliable,
        }
    }

    fn hop(&self, uri: &str) -> Path {
        self.path(resolve(uri))
    }
}

/// The address that a URI with an IP address means.
pub(crate) fn resolve(uri: &str) -> SocketAddr {
    let uri = Uri::parse(uri).unwrap();
    SocketAddr::new(
        uri.host().unwrap().ip().unwrap(),
        uri.port().unwrap_or(5060),
    )
}

fn dialog_key(dialog: &Dialog) -> String {
    format!("{} dialog {}", dialog.call_id(), dialog.remote_tag())
}

impl Host for Agent {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, payload: Bytes) {
        let message = stamp_via(Message::parse(payload).unwrap(), from);
        message.validate().unwrap();
        self.layer
            .handle_message(now, self.path(from), message)
            .unwrap();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let tasks = self.tasks.keys().next().map(|(at, _)| *at);
        let answers = self
            .dialogs
            .iter()
            .filter_map(|talk| talk.answer.as_ref()?.0.poll_timeout());
        answers.chain(tasks).chain(self.layer.poll_timeout()).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        let mut given_up = Vec::new();
        for talk in &mut self.dialogs {
            let Some((answer, ok, id)) = &mut talk.answer else {
                continue;
            };
            match answer.handle_timeout(now) {
                Some(Repeat::Send) => {
                    // The transaction ends with the answer's own patience.
                    let _ = self.layer.send_response(now, *id, ok);
                }
                Some(Repeat::GiveUp) => given_up.push(talk.dialog.clone()),
                None => {}
            }
        }
        self.given_up += given_up.len();
        for dialog in given_up {
            self.hang_up(
                now,
                dialog.call_id(),
                dialog.local_tag(),
                dialog.remote_tag(),
            );
        }
        while let Some(entry) = self
            .tasks
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            match entry.remove() {
                Task::Cancel(id) => {
                    if let Some(placed) = self.placed.get_mut(&id) {
                        placed.cancelled = true;
                        self.layer.cancel(now, id, None);
                    }
                }
                Task::Pick(id) => self.pick_up(now, id),
                Task::HangUp {
                    call_id,
                    local,
                    remote,
                } => {
                    self.hang_up(now, &call_id, &local, &remote);
                }
            }
        }
    }

    fn drain(&mut self, now: Instant) -> Vec<(SocketAddr, Bytes)> {
        while let Some(event) = self.layer.poll_event() {
            self.on_event(now, event);
        }
        let transmits = std::iter::from_fn(|| self.layer.poll_transmit());
        transmits
            .map(|transmit| (transmit.flow.remote, transmit.payload))
            .collect()
    }
}
