//! A party of the storm: a user agent that does at each turn what a draw says.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use sip::{
    dialog::{Answer, Dialog, Repeat},
    digest::{self, Challenge, Secret},
    header::HeaderName,
    message::{Message, Method, RequestBuilder},
    proxy::stamp_via,
    token::TokenGenerator,
    transaction::{ClientId, Event, Flow, Layer, ServerId, Timers, TransactionId},
};

use super::super::bed::{PASSWORD, at, sdp};

/// The way to the node, which is the only one there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire;

impl Flow for Wire {
    fn is_reliable(&self) -> bool {
        false
    }
}

/// Nobody waits longer for an answer to an INVITE.
const PATIENCE: Duration = Duration::from_secs(250);

pub(super) struct Party {
    pub(super) address: &'static str,
    layer: Layer<Wire>,
    tokens: TokenGenerator,
    rng: StdRng,
    placed: HashMap<ClientId, Placed>,
    ringing: HashMap<ServerId, (Message, String)>,
    talks: HashMap<Key, Talk>,
    tasks: BTreeMap<(Instant, u64), Task>,
    count: u64,
}

/// A dialog: Call-ID, our tag, the peer's.
type Key = (String, String, String);

/// What a request of ours was for.
enum Placed {
    /// A call.
    Call {
        invite: Message,
        gave_up: bool,
    },
    /// A re-INVITE.
    Again(Key),
    /// A REGISTER or MESSAGE, answered with credentials once.
    Proven {
        request: Message,
        tried: bool,
    },
    Other,
}

struct Talk {
    dialog: Dialog,
    /// The ACK of our latest INVITE's 2xx, which is sent for each that comes again.
    ack: Option<(u32, Message)>,
    /// Our own 2xx that waits for its ACK.
    answer: Option<(Answer, Message, ServerId)>,
    /// We wait for the answer to a re-INVITE.
    asks: bool,
}

enum Task {
    Cancel(ClientId),
    Finish(ServerId),
    Refuse(ServerId, Box<Message>),
    Repeat(Key),
    HangUp(Key),
    Again(Key),
    Send(Key, Method),
    /// It forgets the call without a word.
    Vanish(Key),
}

impl Party {
    pub(super) fn new(address: &'static str, seed: u64) -> Self {
        Self {
            address,
            layer: Layer::new(Timers::default(), u128::from(seed) + 1),
            tokens: TokenGenerator::new(u128::from(seed) << 64),
            rng: StdRng::seed_from_u64(seed),
            placed: HashMap::new(),
            ringing: HashMap::new(),
            talks: HashMap::new(),
            tasks: BTreeMap::new(),
            count: 0,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.layer.is_empty() && self.talks.is_empty() && self.tasks.is_empty()
    }

    /// What is left, and the Call-IDs of it.
    pub(super) fn describe(&self) -> (String, Vec<String>) {
        let left = format!(
            "{}: {} client and {} server transactions, {} dialogs, {} tasks",
            self.address,
            self.layer.clients(),
            self.layer.servers(),
            self.talks.len(),
            self.tasks.len()
        );
        let placed = self.placed.values().filter_map(|placed| match placed {
            Placed::Call { invite, .. } => Some(invite.call_id().unwrap().to_owned()),
            _ => None,
        });
        let talks = self.talks.keys().map(|key| key.0.clone());
        (left, placed.chain(talks).collect())
    }

    /// Calls somebody, and may think better of it.
    pub(super) fn call(&mut self, now: Instant, to: &str) {
        let call_id = format!("{}@{}", self.tokens.token(), self.address);
        let mut invite = RequestBuilder::new(&Method::Invite, to)
            .header(HeaderName::Via, self.via())
            .header(HeaderName::MaxForwards, "70")
            .header(
                HeaderName::From,
                format!("<sip:alice@pbx.test>;tag={}", self.tokens.tag()),
            )
            .header(HeaderName::To, format!("<{to}>"))
            .header(HeaderName::CallId, &call_id)
            .header(HeaderName::CSeq, "1 INVITE")
            .header(HeaderName::Contact, self.contact());
        if self.chance(100) {
            // Nobody will refresh it.
            invite = invite
                .header(HeaderName::Supported, "timer")
                .header(HeaderName::SessionExpires, "120;refresher=uac");
        }
        if self.chance(700) {
            invite = invite.body("application/sdp", self.description());
        }
        let invite = invite.build().unwrap();
        let id = self.send(
            now,
            invite.clone(),
            Placed::Call {
                invite,
                gave_up: false,
            },
        );
        let after = match self.chance(250) {
            true => self.millis(12_000),
            false => PATIENCE,
        };
        self.later(now + after, Task::Cancel(id));
    }

    /// Registers a user, or sends a message to one.
    pub(super) fn exchange(&mut self, now: Instant, method: &Method) {
        let expires = if self.chance(300) { 0 } else { 60 };
        let (uri, to) = match method {
            Method::Register => ("sip:node.test", "sip:alice@node.test"),
            _ => ("sip:bob@node.test", "sip:bob@node.test"),
        };
        let request = RequestBuilder::new(method, uri)
            .header(HeaderName::Via, self.via())
            .header(HeaderName::MaxForwards, "70")
            .header(
                HeaderName::From,
                format!("<sip:alice@node.test>;tag={}", self.tokens.tag()),
            )
            .header(HeaderName::To, format!("<{to}>"))
            .header(HeaderName::CallId, self.tokens.token())
            .header(HeaderName::CSeq, format!("1 {method}"))
            .header(HeaderName::Contact, self.contact())
            .header(HeaderName::Expires, expires.to_string());
        let request = request.build().unwrap();
        let placed = Placed::Proven {
            request: request.clone(),
            tried: false,
        };
        self.send(now, request, placed);
    }

    pub(super) fn receive(&mut self, now: Instant, node: SocketAddr, bytes: Bytes) {
        let message = stamp_via(Message::parse(bytes).unwrap(), node);
        message.validate().unwrap();
        if self.is_deaf(&message) {
            return;
        }
        // What matches nothing any more is no fault of anybody's.
        let _ = self.layer.handle_message(now, Wire, message);
        self.work(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let task = self.tasks.keys().next().map(|(at, _)| *at);
        task.into_iter().chain(self.layer.poll_timeout()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        self.work(now);
        while let Some(entry) = self
            .tasks
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let task = entry.remove();
            self.act(now, task);
        }
        self.work(now);
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.layer.poll_transmit().map(|transmit| transmit.payload)
    }

    /// Some calls never reach some phones: these say nothing at all.
    fn is_deaf(&self, message: &Message) -> bool {
        let mut hasher = DefaultHasher::new();
        (message.call_id().unwrap(), self.address).hash(&mut hasher);
        let initial = message.to().is_ok_and(|to| to.tag().is_none());
        message.is_request() && initial && hasher.finish().is_multiple_of(14)
    }

    fn work(&mut self, now: Instant) {
        while let Some(event) = self.layer.poll_event() {
            match event {
                Event::Request { id, request, .. } => self.on_request(now, id, &request),
                Event::Cancelled { invite, .. } => {
                    if let Some((request, tag)) = self.ringing.remove(&invite) {
                        self.respond(now, invite, &request, 487, &tag);
                    }
                }
                Event::Ack { request, .. } => {
                    if let Some(talk) = self.talks.get_mut(&key_of_request(&request)) {
                        talk.answer = None;
                    }
                }
                Event::Response { id, response, .. } => self.on_response(now, id, &response),
                Event::ClientTimeout { id } | Event::ClientTransportError { id } => {
                    if let Some(Placed::Again(key)) = self.placed.get(&id) {
                        let key = key.clone();
                        self.hang_up(now, &key);
                    }
                }
                Event::Terminated {
                    id: TransactionId::Client(id),
                } => {
                    self.placed.remove(&id);
                }
                _ => {}
            }
        }
    }

    fn on_request(&mut self, now: Instant, id: ServerId, request: &Message) {
        let key = key_of_request(request);
        let within = !key.1.is_empty();
        let status = match request.method().unwrap() {
            Method::Invite if !within => return self.on_invite(now, id, request),
            Method::Message => [200, 200, 486, 404][self.rng.random_range(0..4)],
            Method::Cancel => 481,
            _ if !self.talks.contains_key(&key) => 481,
            Method::Invite => return self.on_again(now, id, request, &key),
            Method::Bye => {
                self.talks.remove(&key);
                200
            }
            _ => 200,
        };
        let tag = self.tokens.tag();
        self.respond(now, id, request, status, &tag);
    }

    fn on_invite(&mut self, now: Instant, id: ServerId, invite: &Message) {
        let tag = self.tokens.tag();
        let challenged = invite
            .request_uri()
            .unwrap()
            .user()
            .is_some_and(|user| user.starts_with("+9"));
        if challenged && invite.header(HeaderName::ProxyAuthorization).is_none() {
            let challenge =
                "Digest realm=\"carrier.test\", nonce=\"n\", algorithm=MD5, qop=\"auth\"";
            let response = invite.respond(407).to_tag(tag);
            let response = response
                .header(HeaderName::ProxyAuthenticate, challenge)
                .build();
            self.layer
                .send_response(now, id, &response.unwrap())
                .unwrap();
            return;
        }
        match self.rng.random_range(0..100) {
            0..12 => {
                self.ringing.insert(id, (invite.clone(), tag));
                self.pick_up(now, id);
            }
            // It rings, until somebody picks up or for as long as it may.
            draw @ 12..62 => {
                let status = if draw < 52 { 180 } else { 183 };
                self.respond(now, id, invite, status, &tag);
                self.ringing.insert(id, (invite.clone(), tag));
                let after = self.millis(if draw < 55 { 9_000 } else { 200_000 });
                self.later(now + after, Task::Finish(id));
            }
            62..66 => {
                let response = invite.respond(302).to_tag(tag);
                let elsewhere = "<sip:+2666@192.0.2.21:5060>";
                let response = response
                    .header(HeaderName::Contact, elsewhere)
                    .build()
                    .unwrap();
                self.layer.send_response(now, id, &response).unwrap();
            }
            draw => {
                let refusals = [486, 486, 486, 480, 404, 500, 503, 503, 603, 408, 484, 487];
                self.respond(now, id, invite, refusals[draw % refusals.len()], &tag);
            }
        }
    }

    fn pick_up(&mut self, now: Instant, id: ServerId) {
        let Some((invite, tag)) = self.ringing.remove(&id) else {
            return;
        };
        let mut ok = invite
            .respond(200)
            .to_tag(&tag)
            .header(HeaderName::Contact, self.contact());
        // Some forget what an answer has to hold.
        if !self.chance(30) {
            ok = ok.body("application/sdp", self.description());
        }
        let ok = ok.build().unwrap();
        if self.layer.send_response(now, id, &ok).is_err() {
            return;
        }
        let dialog = Dialog::uas(&invite, &tag).unwrap();
        let key = key_of(&dialog);
        let answer = Some((Answer::new(now, &Timers::default()), ok, id));
        self.talks.insert(
            key.clone(),
            Talk {
                dialog,
                ack: None,
                answer,
                asks: false,
            },
        );
        self.later(now + Timers::default().t1, Task::Repeat(key.clone()));
        self.live(now, &key);
    }

    /// Draws what this side does with a call that is up.
    fn live(&mut self, now: Instant, key: &Key) {
        let end = now + self.millis(60_000);
        if self.chance(250) {
            let after = self.millis(30_000);
            self.later(now + after, Task::Again(key.clone()));
        }
        for method in [Method::Update, Method::Info, Method::Refer] {
            if self.chance(80) {
                let after = self.millis(30_000);
                self.later(now + after, Task::Send(key.clone(), method));
            }
        }
        let task = match self.rng.random_range(0..100) {
            0..6 => Task::Vanish(key.clone()),
            6..70 => Task::HangUp(key.clone()),
            // It leaves the end to the other side, and has had enough some day.
            _ => {
                self.later(end + Duration::from_secs(600), Task::Vanish(key.clone()));
                return;
            }
        };
        self.later(end, task);
    }

    /// A re-INVITE: refused, answered, or met by one of our own.
    fn on_again(&mut self, now: Instant, id: ServerId, request: &Message, key: &Key) {
        let draw = self.rng.random_range(0..100);
        let description = self.description();
        let contact = self.contact();
        let tag = key.1.clone();
        let Some(talk) = self.talks.get_mut(key) else {
            return self.respond(now, id, request, 481, &tag);
        };
        let status = match draw {
            _ if talk.asks => 491,
            _ if talk.dialog.handle_request(request).is_err() => 500,
            0..8 => 488,
            8..11 => {
                // When nobody waits for it any more.
                let task = Task::Refuse(id, Box::new(request.clone()));
                return self.later(now + Duration::from_secs(100), task);
            }
            _ => 200,
        };
        if status != 200 {
            return self.respond(now, id, request, status, &tag);
        }
        let ok = request.respond(200).header(HeaderName::Contact, contact);
        let ok = ok.body("application/sdp", description).build().unwrap();
        talk.answer = Some((Answer::new(now, &Timers::default()), ok.clone(), id));
        self.layer.send_response(now, id, &ok).unwrap();
        self.later(now + Timers::default().t1, Task::Repeat(key.clone()));
    }

    fn on_response(&mut self, now: Instant, id: ClientId, response: &Message) {
        let status = response.status().unwrap();
        if status < 200 {
            return;
        }
        match self.placed.get(&id) {
            Some(Placed::Call { invite, gave_up }) if status < 300 => {
                let (invite, gave_up) = (invite.clone(), *gave_up);
                self.on_accepted(now, &invite, response, gave_up);
            }
            Some(Placed::Again(key)) => {
                let key = key.clone();
                self.on_answered_again(now, &key, response);
            }
            Some(Placed::Proven {
                request,
                tried: false,
            }) if matches!(status, 401 | 407) => {
                let request = request.clone();
                self.prove(now, &request, response);
            }
            _ => {}
        }
    }

    fn on_accepted(&mut self, now: Instant, invite: &Message, ok: &Message, gave_up: bool) {
        let dialog = Dialog::uac(invite, ok).unwrap();
        let key = key_of(&dialog);
        if let Some(Talk {
            ack: Some((_, ack)),
            ..
        }) = self.talks.get(&key)
        {
            let ack = ack.clone();
            return self.layer.send_stateless(Wire, ack);
        }
        // Some never acknowledge.
        if self.chance(30) && !gave_up {
            return;
        }
        let ack = self.acknowledge(&dialog, invite.body().is_empty());
        self.talks.insert(
            key.clone(),
            Talk {
                dialog,
                ack: Some((1, ack)),
                answer: None,
                asks: false,
            },
        );
        if gave_up {
            self.hang_up(now, &key);
        } else {
            self.live(now, &key);
        }
    }

    fn on_answered_again(&mut self, now: Instant, key: &Key, response: &Message) {
        let cseq = response.cseq().unwrap().number;
        let Some(talk) = self.talks.get_mut(key) else {
            return;
        };
        talk.asks = false;
        match response.status().unwrap() {
            200..300 => {
                if let Some((known, ack)) = &talk.ack
                    && *known == cseq
                {
                    let ack = ack.clone();
                    return self.layer.send_stateless(Wire, ack);
                }
                talk.dialog.handle_response(response);
                let dialog = talk.dialog.clone();
                let ack = self.acknowledge(&dialog, false);
                if let Some(talk) = self.talks.get_mut(key) {
                    talk.ack = Some((cseq, ack));
                }
            }
            491 => {
                let after = self.millis(4_000);
                self.later(now + after, Task::Again(key.clone()));
            }
            408 | 481 => self.hang_up(now, key),
            _ => {}
        }
    }

    fn acknowledge(&mut self, dialog: &Dialog, answers: bool) -> Message {
        let via = self.via();
        let mut ack = dialog.ack(&via);
        if answers {
            ack = ack.body("application/sdp", self.description());
        }
        let ack = ack.build().unwrap();
        self.layer.send_stateless(Wire, ack.clone());
        ack
    }

    /// Sends a request again with what the challenge asks for.
    fn prove(&mut self, now: Instant, request: &Message, challenge: &Message) {
        let method = request.method().unwrap().clone();
        let uri = String::from_utf8(request.request_uri_raw().to_vec()).unwrap();
        let proof = digest::Answer {
            username: "alice",
            secret: Secret::Password(if self.chance(100) { "wrong" } else { PASSWORD }),
            realm: None,
            method: method.as_str(),
            uri: &uri,
            body: request.body(),
            cnonce: "c",
            nc: 1,
        };
        let Ok((value, _)) = digest::answer(&Challenge::of_response(challenge), &proof) else {
            return;
        };
        let name = match challenge.status() {
            Some(401) => HeaderName::Authorization,
            _ => HeaderName::ProxyAuthorization,
        };
        let via = self.via();
        let request = request
            .edit()
            .replace(HeaderName::Via, via)
            .replace(HeaderName::CSeq, format!("2 {method}"))
            .push(name, value)
            .finish()
            .unwrap();
        let placed = Placed::Proven {
            request: request.clone(),
            tried: true,
        };
        self.send(now, request, placed);
    }

    fn act(&mut self, now: Instant, task: Task) {
        match task {
            Task::Cancel(id) => {
                if let Some(Placed::Call { gave_up, .. }) = self.placed.get_mut(&id) {
                    *gave_up = true;
                }
                self.layer.cancel(now, id, None);
            }
            Task::Finish(id) => {
                if self.chance(850) {
                    self.pick_up(now, id);
                } else if let Some((invite, tag)) = self.ringing.remove(&id) {
                    self.respond(now, id, &invite, 486, &tag);
                }
            }
            Task::Refuse(id, request) => self.respond(now, id, &request, 500, ""),
            Task::Repeat(key) => self.repeat(now, &key),
            // Not before the ACK of its answer (RFC 3261 section 15).
            Task::HangUp(key) if self.is_unacknowledged(&key) => {
                self.later(now + Duration::from_secs(1), Task::HangUp(key));
            }
            Task::HangUp(key) => self.hang_up(now, &key),
            Task::Vanish(key) => drop(self.talks.remove(&key)),
            Task::Again(key) => {
                let asks = self.talks.get(&key).is_none_or(|talk| talk.asks);
                if !asks {
                    let body = self.description();
                    let request = self.within(&key, &Method::Invite, Some(body));
                    if let Some(request) = request {
                        let id = self.send(now, request, Placed::Again(key.clone()));
                        // The peer may be gone without an answer.
                        self.later(now + PATIENCE, Task::Cancel(id));
                    }
                    if let Some(talk) = self.talks.get_mut(&key) {
                        talk.asks = true;
                    }
                }
            }
            Task::Send(key, method) => {
                let Some(mut request) = self.within(&key, &method, None) else {
                    return;
                };
                if method == Method::Refer {
                    let to = "<sip:+2555@192.0.2.1:5060>";
                    request = request
                        .edit()
                        .push(HeaderName::ReferTo, to)
                        .finish()
                        .unwrap();
                }
                self.send(now, request, Placed::Other);
            }
        }
    }

    /// Repeats a 2xx whose ACK has not come.
    fn repeat(&mut self, now: Instant, key: &Key) {
        let Some(Talk {
            answer: Some((answer, ok, id)),
            ..
        }) = self.talks.get_mut(key)
        else {
            return;
        };
        let next = answer.handle_timeout(now);
        let at = answer.poll_timeout();
        match next {
            Some(Repeat::Send) => drop(self.layer.send_response(now, *id, ok)),
            Some(Repeat::GiveUp) => return self.hang_up(now, key),
            None => {}
        }
        if let Some(at) = at {
            self.later(at, Task::Repeat(key.clone()));
        }
    }

    fn is_unacknowledged(&self, key: &Key) -> bool {
        self.talks
            .get(key)
            .is_some_and(|talk| talk.answer.is_some())
    }

    fn hang_up(&mut self, now: Instant, key: &Key) {
        let bye = self.within(key, &Method::Bye, None);
        self.talks.remove(key);
        if let Some(bye) = bye {
            self.send(now, bye, Placed::Other);
        }
    }

    fn within(&mut self, key: &Key, method: &Method, body: Option<String>) -> Option<Message> {
        let (via, contact) = (self.via(), self.contact());
        let talk = self.talks.get_mut(key)?;
        let mut request = talk
            .dialog
            .request(method, &via)
            .header(HeaderName::Contact, contact);
        if let Some(body) = body {
            request = request.body("application/sdp", body);
        }
        request.build().ok()
    }

    fn send(&mut self, now: Instant, request: Message, placed: Placed) -> ClientId {
        let id = self.layer.send_request(now, Wire, request).unwrap();
        self.placed.insert(id, placed);
        id
    }

    fn respond(&mut self, now: Instant, id: ServerId, request: &Message, status: u16, tag: &str) {
        let mut response = request.respond(status).to_tag(tag);
        if status == 183 {
            response = response.body("application/sdp", self.description());
        }
        if request.method().is_some_and(Method::forms_dialog) {
            response = response.header(HeaderName::Contact, self.contact());
        }
        // It may have come too late.
        let _ = self
            .layer
            .send_response(now, id, &response.build().unwrap());
    }

    /// SDP of one stream: it talks, holds, or refuses.
    fn description(&mut self) -> String {
        let host = at(self.address).ip().to_string();
        match self.rng.random_range(0..20) {
            0 => sdp(&host, &[0], "inactive"),
            1 => sdp("0.0.0.0", &[4000], "sendrecv"),
            2 => sdp(&host, &[4000], "sendonly"),
            3 => sdp(&host, &[4000, 4002], "sendrecv"),
            _ => sdp(&host, &[4000], "sendrecv"),
        }
    }

    fn via(&mut self) -> String {
        format!(
            "SIP/2.0/UDP {};branch={};rport",
            self.address,
            self.tokens.branch()
        )
    }

    fn contact(&self) -> String {
        format!("<sip:me@{}>", self.address)
    }

    fn later(&mut self, at: Instant, task: Task) {
        self.count += 1;
        self.tasks.insert((at, self.count), task);
    }

    /// True in so many cases of a thousand.
    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.random_range(0..1000) < per_mille
    }

    /// Up to so many milliseconds.
    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.rng.next_u64() % most)
    }
}

fn key_of(dialog: &Dialog) -> Key {
    let (own, peer) = (dialog.local_tag(), dialog.remote_tag());
    (dialog.call_id().to_owned(), own.to_owned(), peer.to_owned())
}

/// The dialog that a request to us belongs to; without a tag of ours where to none.
fn key_of_request(request: &Message) -> Key {
    let tag = |address: Result<sip::header::NameAddr<'_>, _>| {
        address
            .ok()
            .and_then(|address| address.tag().map(str::to_owned))
            .unwrap_or_default()
    };
    (
        request.call_id().unwrap().to_owned(),
        tag(request.to()),
        tag(request.from()),
    )
}
