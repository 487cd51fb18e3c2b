//! A core with everything around it played: time, parties, mediad, the resolver.

mod mediad;
mod parties;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use control::{Config, Fault, channel::Events, config::Transport, media, signal};
use sip::{
    digest::{Ha1, Hash, NonceSecret},
    message::{Message, Method},
    transaction::TransactionId,
};
use store::{CallEvent, Cdr, Timestamp};

use crate::{
    accounts::Access,
    call::{Authority, Core, Hop, Kept, Output, Policy, ResolveToken, WebhookToken},
    defence::Standing,
    directory::{Aor, Directory},
    metrics::Metrics,
    net::{ConnectionId, Flow, Local, Names},
    rows::Row,
};

pub(super) use self::{mediad::Mediad, parties::*};

pub(super) const NODE: &str = "192.0.2.1:5060";
pub(super) const NODE6: &str = "[2001:db8::1]:5060";
/// Where the node listens for TLS and for browsers.
pub(super) const SECURE: &str = "192.0.2.1:5061";
pub(super) const BROWSERS: &str = "192.0.2.1:443";
pub(super) const CALLER: &str = "192.0.2.10:5060";
pub(super) const CALLEE: &str = "192.0.2.20:5060";
pub(super) const SECOND: &str = "192.0.2.21:5060";
pub(super) const CALLEE6: &str = "[2001:db8::20]:5060";
pub(super) const STRANGER: &str = "203.0.113.66:5060";

pub(super) const CONFIG: &str = r#"
[sip]
domains = ["node.test", "two.test"]
[sip.auth]
algorithms = ["MD5", "SHA-256"]
[media]
address = "198.51.100.1,2001:db8:ffff::1"
timeout = 60
[[media.interfaces]]
name = "outside"
address = "198.51.100.2"
[[trunks]]
name = "pbx"
hosts = ["192.0.2.10"]
allow = ["192.0.2.10/32"]
[[trunks]]
name = "carrier"
hosts = ["192.0.2.20", "192.0.2.21"]
allow = ["192.0.2.20/31"]
[[trunks]]
name = "named"
hosts = ["gw.carrier.test"]
[[trunks]]
name = "six"
hosts = ["[2001:db8::20]", "192.0.2.20"]
[[trunks]]
name = "outer"
hosts = ["192.0.2.21"]
sources = "strict"
interface = "outside"
[[trunks]]
name = "tcp"
hosts = ["tcp:192.0.2.20"]
[[trunks]]
name = "tls"
hosts = ["tls:gw.secure.test"]
certificates = ["pbx.secure.test"]
[[trunks]]
name = "challenging"
hosts = ["192.0.2.20"]
auth = { user = "u", password = "secret", realm = "carrier.test" }
[[trunks]]
name = "upstream"
hosts = ["192.0.2.30"]
allow = ["192.0.2.30"]
auth = { user = "u", password = "secret", realm = "carrier.test" }
[[trunks]]
name = "shown"
hosts = ["192.0.2.20"]
caller_id = "+15550000"
[[accounts]]
sid = "AC00000000000000000000000000000000"
token = "0123456789abcdef"
[[numbers]]
number = "+55"
account = "AC00000000000000000000000000000000"
voice_url = "http://app.test/voice"
status_callback = "http://app.test/status"
message_url = "http://app.test/sms"
message_fallback_url = "http://app.test/sorry"
[[numbers]]
number = "+56"
account = "AC00000000000000000000000000000000"
voice_url = "http://app.test/voice"
[[routes]]
prefix = "+4"
trunks = ["shown"]
[[routes]]
prefix = "+9"
trunks = ["challenging"]
ring_timeout = 30
[[routes]]
prefix = "+8"
trunks = ["tls"]
media = "bypass"
[[routes]]
prefix = "+1"
trunks = ["carrier"]
media = "bypass"
ring_timeout = 30
[[routes]]
prefix = "+2"
trunks = ["carrier"]
ring_timeout = 30
[[routes]]
prefix = "+299"
trunks = ["shown", "outer"]
[[routes]]
prefix = "+3"
trunks = ["named"]
media = "bypass"
[[routes]]
prefix = "+6"
trunks = ["six"]
[[routes]]
prefix = "+7"
trunks = ["tcp"]
media = "bypass"
"#;

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The password of every user.
pub(super) const PASSWORD: &str = "correct horse";

/// A user as the store has it.
pub(super) fn user(name: &str, domain: &str, password: &str) -> store::User {
    let ha1 = |hash| Some(Ha1::new(hash, name, domain, password).expose().to_owned());
    store::User {
        domain: domain.to_owned(),
        name: name.to_owned(),
        ha1_md5: ha1(Hash::Md5),
        ha1_sha256: ha1(Hash::Sha256),
        ha1_sha512: None,
        display: None,
        enabled: true,
        profile: "{}".to_owned(),
        created: Timestamp::from_millis(0),
        updated: Timestamp::from_millis(0),
    }
}

/// What left the core.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) flow: Flow,
    pub(super) message: Message,
    pub(super) transaction: Option<TransactionId>,
}

pub(super) struct Bed {
    policy: Arc<Policy>,
    pub(super) access: Arc<Access>,
    /// What the store has, and whether it can be asked.
    pub(super) users: HashMap<Aor, store::User>,
    pub(super) store_up: bool,
    /// Questions about users wait while it does.
    pub(super) store_holds: bool,
    pub(super) questions: VecDeque<Aor>,
    pub(super) core: Core,
    pub(super) metrics: Arc<Metrics>,
    pub(super) now: Instant,
    pub(super) sent: VecDeque<Sent>,
    pub(super) mediad: Mediad,
    pub(super) cdrs: Vec<Cdr>,
    #[cfg(feature = "otel")]
    pub(super) traced: Vec<super::super::TracedCall>,
    /// What is kept with them.
    pub(super) history: Vec<CallEvent>,
    pub(super) recordings: Vec<store::Recording>,
    /// Messages that are kept: two at most.
    pub(super) kept: Vec<store::Message>,
    /// To whom the core is delivering them.
    busy: HashSet<Aor>,
    pub(super) events: Vec<signal::Event>,
    /// What operators were told of their orders.
    pub(super) obeyed: Vec<Result<signal::CallInfo, Fault>>,
    pub(super) names: HashMap<String, Vec<SocketAddr>>,
    /// Questions about names wait while it does.
    pub(super) resolver_holds: bool,
    unresolved: VecDeque<(ResolveToken, Authority)>,
    /// What webhooks were asked and have not answered, and those that nobody waits for any more.
    pub(super) webhooks: VecDeque<(WebhookToken, voice::call::Request)>,
    /// What the REST API was told of calls, and of their streams and recordings.
    pub(super) rows: Vec<store::VoiceCallRow>,
    pub(super) streams: Vec<store::VoiceStreamRow>,
    pub(super) recorded: Vec<store::VoiceRecordingRow>,
    /// The same of messages.
    pub(super) texts: Vec<store::VoiceMessageRow>,
    pub(super) cancelled: Vec<WebhookToken>,
}

impl Bed {
    /// How calls sound is told only where a test asks for it: the event comes every few seconds for ever.
    pub(super) fn new() -> Self {
        Self::with("\n[media.quality]\ninterval = 0\n")
    }

    /// With more lines of configuration after the usual ones.
    pub(super) fn with(more: &str) -> Self {
        let config = Config::parse(&format!("{CONFIG}{more}"), []);
        let config = config.unwrap().config;
        let local = |transport, address: &str| Local {
            transport,
            address: at(address),
            sent_by: address.to_owned(),
        };
        let locals = vec![
            local(Transport::Udp, NODE),
            local(Transport::Udp, NODE6),
            local(Transport::Tcp, NODE),
            local(Transport::Tls, SECURE),
            local(Transport::Wss, BROWSERS),
        ];
        let policy = Arc::new(Policy::new(&config, locals, 7));
        // Those that tests write of, until they close one.
        (1..100).for_each(|id| policy.open.add(ConnectionId(id)));
        let directory = Arc::new(Directory::new(&config, None));
        let metrics = Arc::new(Metrics::new().unwrap());
        let now = Instant::now();
        let clock = (now, Timestamp::from_millis(1_700_000_000_000));
        let secret = NonceSecret([5; 32]);
        let access = Arc::new(Access::new(&config, secret, 1_700_000_000, Events::new()));
        let core = Core::new(
            policy.clone(),
            directory,
            access.clone(),
            metrics.clone(),
            11,
            *b"mark\0\0\0\0",
            clock,
        );
        let users = [
            ("alice", "node.test"),
            ("bob", "node.test"),
            ("alice", "two.test"),
        ];
        let users = users.map(|(name, domain)| {
            let user = user(name, domain, PASSWORD);
            (Aor::new(name, domain), user)
        });
        Self {
            policy,
            access,
            users: users.into(),
            store_up: true,
            store_holds: false,
            questions: VecDeque::new(),
            core,
            metrics,
            now,
            sent: VecDeque::new(),
            mediad: Mediad::new(20_000),
            cdrs: Vec::new(),
            #[cfg(feature = "otel")]
            traced: Vec::new(),
            history: Vec::new(),
            recordings: Vec::new(),
            kept: Vec::new(),
            busy: HashSet::new(),
            events: Vec::new(),
            obeyed: Vec::new(),
            names: HashMap::new(),
            resolver_holds: false,
            unresolved: VecDeque::new(),
            webhooks: VecDeque::new(),
            rows: Vec::new(),
            streams: Vec::new(),
            recorded: Vec::new(),
            texts: Vec::new(),
            cancelled: Vec::new(),
        }
    }

    /// Hands a datagram to the core, and does what it wants.
    pub(super) fn receive(&mut self, from: &str, bytes: impl Into<Bytes>) {
        let from = at(from);
        let local = at(if from.is_ipv4() { NODE } else { NODE6 });
        let flow = Flow::to(Transport::Udp, local, from);
        self.core.handle_datagram(self.now, flow, bytes.into());
        self.settle();
    }

    pub(super) fn receive_message(&mut self, from: &str, message: &Message) {
        self.receive(from, message.as_bytes().clone());
    }

    /// Does what the core wants until it wants nothing.
    pub(super) fn settle(&mut self) {
        loop {
            let Some(output) = self.core.poll_output() else {
                return;
            };
            match output {
                Output::Transmit {
                    flow,
                    payload,
                    transaction,
                } => {
                    let message = Message::parse(payload).unwrap();
                    self.sent.push_back(Sent {
                        flow,
                        message,
                        transaction,
                    });
                }
                Output::Media { token, request } => {
                    self.mediad.asked.push(request.clone());
                    let answer = self.mediad.answer(request);
                    if self.mediad.holds {
                        self.mediad.held.push_back((token, answer));
                    } else {
                        self.core.handle_media(self.now, token, answer);
                    }
                }
                Output::Resolve { token, authority } if self.resolver_holds => {
                    self.unresolved.push_back((token, authority));
                }
                Output::Resolve { token, authority } => self.resolve(token, &authority),
                Output::Account { aor } => {
                    self.questions.push_back(aor);
                    if !self.store_holds {
                        self.answer_questions();
                    }
                }
                Output::Webhook { token, request, .. } => {
                    self.webhooks.push_back((token, *request));
                }
                Output::CancelWebhook(token) => {
                    self.webhooks.retain(|(known, _)| *known != token);
                    self.cancelled.push(token);
                }
                Output::VoiceRow(row) => match *row {
                    Row::Call(row) => self.rows.push(row),
                    Row::Stream(row) => self.streams.push(row),
                    Row::Recording { row, file } => {
                        self.recordings.extend(file.map(|file| *file));
                        self.recorded.push(row);
                    }
                    Row::File(file) => self.recordings.push(*file),
                    Row::Message(row) => self.texts.push(row),
                },
                Output::Event(event) => self.events.push(event),
                Output::Obeyed { outcome, .. } => self.obeyed.push(outcome),
                #[cfg(feature = "otel")]
                Output::Traced(call) => self.traced.push(*call),
                Output::Cdr(record) => {
                    self.cdrs.push(record.cdr);
                    self.history.extend(record.events);
                    self.recordings.extend(record.recordings);
                }
                Output::Keep { token, message } => {
                    let full = self.kept.len() >= 2;
                    if !full {
                        self.kept.push(*message);
                    }
                    let kept = if full { Kept::Full } else { Kept::Yes };
                    self.core.handle_kept(self.now, token, kept);
                }
                Output::Collect { aor } => {
                    let is_for = |message: &&store::Message| message.recipient == aor.as_str();
                    let found: Vec<_> = self.kept.iter().filter(is_for).cloned().collect();
                    if !found.is_empty() && self.busy.insert(aor.clone()) {
                        self.core.handle_collected(self.now, &aor, found);
                    }
                }
                Output::Forget { aor, id } => {
                    assert!(self.busy.contains(&aor));
                    self.kept.retain(|message| message.id != id);
                }
                Output::Settled { aor } => assert!(self.busy.remove(&aor)),
            }
        }
    }

    fn resolve(&mut self, token: ResolveToken, authority: &Authority) {
        let found = self.names.get(&authority.host).cloned().unwrap_or_else(|| {
            let ip = authority.host.parse();
            ip.map_or(Vec::new(), |ip| {
                vec![SocketAddr::new(ip, authority.port.unwrap_or(5060))]
            })
        });
        let hops: Vec<_> = found
            .into_iter()
            .map(|remote| Hop {
                transport: authority.transport.unwrap_or(Transport::Udp),
                remote,
                source: None,
            })
            .collect();
        self.core.handle_resolved(self.now, token, &hops);
    }

    /// Answers what was asked about names.
    pub(super) fn resolve_all(&mut self) {
        self.resolver_holds = false;
        while let Some((token, authority)) = self.unresolved.pop_front() {
            self.resolve(token, &authority);
            self.settle();
        }
    }

    /// An operator drains a trunk, or lets it have calls again.
    pub(super) fn drain_trunk(&mut self, name: &str, on: bool) {
        let trunks = self.core.directory.trunks();
        let trunk = trunks.iter().find(|trunk| trunk.name == name).unwrap();
        assert!(trunk.standing.set_drained(on));
    }

    /// Answers what was asked about users.
    pub(super) fn answer_questions(&mut self) {
        while let Some(aor) = self.questions.pop_front() {
            let cache = &self.access.accounts;
            let answer = match self.users.get(&aor) {
                _ if !self.store_up => cache.recall(&aor),
                Some(user) => cache.learn(self.now, user.clone().into()),
                None => cache.learn_absent(self.now, &aor),
            };
            self.core.handle_account(self.now, &aor, &answer);
            self.settle();
        }
    }

    /// Lets mediad give the answers that it held back.
    pub(super) fn release(&mut self) {
        self.mediad.holds = false;
        while let Some((token, answer)) = self.mediad.held.pop_front() {
            self.core.handle_media(self.now, token, answer);
            self.settle();
        }
    }

    /// Lets time pass, with every timer in its place.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    /// The names that flows to TLS hosts carry.
    pub(super) fn names_of_hosts(&self) -> &Names {
        &self.policy.names
    }

    /// The peer of a connection has shown a certificate for `name`.
    pub(super) fn certify(&self, connection: ConnectionId, name: &str) {
        let names = vec![name.to_ascii_lowercase()];
        self.policy.certified.set(connection, names);
    }

    /// A connection is closed, and the core told so.
    pub(super) fn close(&mut self, flow: &Flow) {
        self.policy.open.remove(flow.connection.unwrap());
        self.core.handle_closed(self.now, flow);
        self.settle();
    }

    /// Whether an address is banned.
    pub(super) fn is_banned(&self, address: &str) -> bool {
        let defence = &self.policy.defence;
        defence.is_banned(self.now, at(address).ip(), Transport::Udp)
    }

    /// Who an address is to the defence.
    pub(super) fn standing(&self, address: &str) -> Standing {
        self.policy.defence.standing(self.now, at(address).ip())
    }

    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// The next message to `to`; what was sent elsewhere stays.
    pub(super) fn next(&mut self, to: &str) -> Sent {
        let to = at(to);
        let index = self.sent.iter().position(|sent| sent.flow.reply_to == to);
        let Some(index) = index else {
            panic!("nothing was sent to {to}: {:?}", self.sent);
        };
        self.sent.remove(index).unwrap()
    }

    /// The next request of this method to `to`.
    pub(super) fn request(&mut self, to: &str, method: &Method) -> Message {
        let sent = self.next(to);
        assert_eq!(sent.message.method(), Some(method), "{:?}", sent.message);
        sent.message
    }

    /// The next response to `to`, with this status.
    pub(super) fn response(&mut self, to: &str, status: u16) -> Message {
        let sent = self.next(to);
        assert_eq!(sent.message.status(), Some(status), "{:?}", sent.message);
        sent.message
    }

    pub(super) fn assert_quiet(&self) {
        assert!(self.sent.is_empty(), "{:?}", self.sent);
    }

    /// Forgets what was sent, and lets every transaction end.
    pub(super) fn drain(&mut self) {
        self.pass(Duration::from_secs(200));
        self.sent.clear();
    }

    /// Nothing is left of any call, here or in mediad.
    pub(super) fn assert_empty(&mut self) {
        self.drain();
        assert!(self.core.is_empty(), "{:#?}", self.core);
        assert!(self.busy.is_empty(), "{:?}", self.busy);
        assert!(
            self.mediad.sessions.is_empty(),
            "{:?}",
            self.mediad.sessions
        );
        assert_eq!(self.metrics.calls_active.get(), 0);
        assert_eq!(self.metrics.transactions.get(), 0);
        assert_eq!(self.metrics.voice_queued.get(), 0);
        assert_eq!(self.metrics.media_sessions.get(), 0);
    }

    pub(super) fn cdr(&self) -> &Cdr {
        assert_eq!(self.cdrs.len(), 1, "{:?}", self.cdrs);
        &self.cdrs[0]
    }

    /// The requests that mediad got, as words.
    pub(super) fn asked(&mut self) -> Vec<&'static str> {
        let word = |request: media::Request| match request {
            media::Request::Create(_) | media::Request::Beside(..) => "create",
            media::Request::Modify(_) => "modify",
            media::Request::Delete(_) => "delete",
            media::Request::Query(_) => "query",
            media::Request::Mute(_) => "mute",
            media::Request::Dtmf(_) => "dtmf",
            media::Request::Record(_) => "record",
            media::Request::Survey(_) => "survey",
            media::Request::Voice(_) => "voice",
            _ => "other",
        };
        self.mediad.asked.drain(..).map(word).collect()
    }
}
