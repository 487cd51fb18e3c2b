//! An API on a free port of loopback, and the daemons that it asks.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use api::{AdminKey, Api, ApiError};
use control::{
    Client, Endpoint, Fault, FaultCode,
    channel::{Events, Handler, serve},
    media::{self, Media, MediaStatus, SessionId},
    signal::{
        self, BindingInfo, CallChange, CallInfo, CallState, Party, QualitySample, RoutingEdit,
        RoutingOutcome, Signal, SignalStatus, TracePage, TransferInfo, VoiceDone, VoiceOrder,
        VoiceUpdate,
    },
};
use store::{Cause, Cdr, EndedBy, MediaFlow, Store, Timestamp, Uuid};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{RwLock, RwLockWriteGuard, oneshot},
    task::JoinHandle,
};

pub(crate) const KEY: &str = "secret-key-0123";
/// Of one key in a second: more than any test makes.
const REQUESTS: u32 = 100_000;
const T0: i64 = 1_763_700_000_000;

/// signaling and mediad, as far as the API sees them.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    draining: AtomicBool,
    down: AtomicBool,
    unwritten: AtomicBool,
    bans: AtomicUsize,
    events: Events<Signal>,
    /// Bans wait for it.
    held: RwLock<()>,
    /// What was asked of programmable voice.
    voice: Mutex<Vec<VoiceOrder>>,
}

impl Fake {
    /// Bans are not answered for as long as this is kept.
    pub(crate) async fn hold_bans(&self) -> RwLockWriteGuard<'_, ()> {
        self.held.write().await
    }

    pub(crate) fn drain(&self, on: bool) {
        self.draining.store(on, SeqCst);
    }

    /// What signaling has to write does not reach the database.
    pub(crate) fn unwritten(&self, on: bool) {
        self.unwritten.store(on, SeqCst);
    }

    /// What was asked of programmable voice since the last time.
    pub(crate) fn voice(&self) -> Vec<VoiceOrder> {
        std::mem::take(&mut self.voice.lock().unwrap())
    }

    /// Obeys, but that a call with a small number is over.
    fn obey(&self, order: VoiceOrder) -> Result<VoiceDone, Fault> {
        let sid = |kind: &str| format!("{kind}{}", Uuid::now_v7().simple());
        let done = match &order {
            VoiceOrder::Call(call) if call.to == "+15550429" => {
                let words = "10000 calls of the account wait already";
                return Err(Fault::new(FaultCode::Exhausted, words));
            }
            VoiceOrder::Call(_) => VoiceDone::Queued {
                sid: sid("CA"),
                queue_ms: 40,
            },
            VoiceOrder::Message(_) => VoiceDone::Message {
                sid: sid("SM"),
                segments: 2,
            },
            VoiceOrder::Update { call, update } => {
                let is_over = call.starts_with("CA00000000");
                if is_over && matches!(update, VoiceUpdate::Change { .. }) {
                    let words = "Call is not in-progress. Cannot redirect.";
                    return Err(Fault::new(FaultCode::Conflict, words));
                }
                VoiceDone::Done
            }
            VoiceOrder::Stream { .. } => VoiceDone::Sid(sid("MZ")),
            VoiceOrder::StopStream { stream, .. } => VoiceDone::Sid(stream.clone()),
            VoiceOrder::Record { .. } => VoiceDone::Sid(format!("RE{:032x}", 0x9000)),
            VoiceOrder::ChangeRecording { .. } => VoiceDone::Sid(format!("RE{:032x}", 0x9000)),
        };
        self.voice.lock().unwrap().push(order);
        Ok(done)
    }

    /// How many bans were asked for.
    pub(crate) fn bans(&self) -> usize {
        self.bans.load(SeqCst)
    }

    /// Answers nothing but faults while it is down.
    pub(crate) fn down(&self, on: bool) {
        self.down.store(on, SeqCst);
    }

    fn check(&self) -> Result<(), Fault> {
        let down = self.down.load(SeqCst);
        let fault = || Fault::new(FaultCode::Unavailable, "stopping");
        if down { Err(fault()) } else { Ok(()) }
    }
}

/// Whose calls are those of an even number, and those of an odd one.
pub(crate) const TENANTS: [&str; 2] = ["default", "acme"];

/// The call that came as number `n`.
pub(crate) fn call(n: u8) -> CallInfo {
    let started_ms = T0 + i64::from(n);
    CallInfo {
        id: id(n).to_string(),
        call_id: format!("call-{n}@192.0.2.1"),
        from: "sip:alice@example.test".into(),
        to: "sip:+15550100@example.test".into(),
        source: "udp:192.0.2.1:5060".into(),
        tenant: Some(TENANTS[usize::from(n % 2)].into()),
        trunk: Some("carrier-a".into()),
        state: CallState::Answered,
        started_ms,
        answered_ms: Some(started_ms + 2_500),
        media: vec![SessionId([n; 16])],
        muted: vec![Party::Callee],
        held: false,
        peer: None,
        transfer: None,
        recording: None,
    }
}

/// The call that came as number `n`, when it was over.
pub(crate) fn cdr(n: u8) -> Cdr {
    let at = |ms: i64| Timestamp::from_millis(T0 + i64::from(n) + ms);
    Cdr {
        id: id(n),
        call_id: format!("call-{n}@192.0.2.1"),
        from_uri: "sip:alice@example.test".into(),
        to_uri: "sip:+15550100@example.test".into(),
        request_uri: "sip:+15550100@198.51.100.1".into(),
        source: "[2001:db8::1]:5060".parse().unwrap(),
        transport: "tcp".into(),
        origin: Some("alice@example.test".into()),
        callee_user: None,
        tenant: Some(TENANTS[usize::from(n % 2)].into()),
        trunk: Some("carrier-a".into()),
        route: Some("+1".into()),
        started: at(0),
        ringing: Some(at(250)),
        answered: Some(at(2_500)),
        ended: at(60_001),
        status: 200,
        reason: "OK".into(),
        ended_by: EndedBy::Node,
        cause: Cause::MediaTimeout,
        datapath: Some("xdp".into()),
        from_caller: Some(MediaFlow {
            packets: 2_875,
            bytes: 494_500,
            lost: 1,
            jitter_ms: 0.25,
            mos: Some(4.25),
            rtt_ms: Some(18.5),
            burst_ratio: Some(1.5),
            late: Some(2),
            longest_gap_ms: Some(61),
            duplicates: Some(3),
            reordered: Some(4),
            sources: Some(2),
        }),
        from_callee: None,
    }
}

fn id(n: u8) -> Uuid {
    Uuid::from_u128(0x019a_a46d_0000_7000_8000_0000_0000_0000 + u128::from(n))
}

#[derive(Debug)]
struct Signaling(Arc<Fake>);

impl Handler<Signal> for Signaling {
    fn handle(
        &self,
        request: signal::Request,
    ) -> impl Future<Output = Result<signal::Response, Fault>> + Send + 'static {
        let fake = self.0.clone();
        async move {
            fake.check()?;
            Ok(match request {
                signal::Request::Calls {
                    after,
                    limit,
                    tenant,
                } => {
                    let is_wanted = |call: &CallInfo| {
                        call.id > after && (tenant.is_none() || call.tenant == tenant)
                    };
                    let calls = (0..3).map(call).filter(is_wanted);
                    signal::Response::Calls(calls.take(limit as usize).collect())
                }
                signal::Request::Status => signal::Response::Status(SignalStatus {
                    node: "n1".into(),
                    version: "0.1.0".into(),
                    uptime_s: 1,
                    calls: 3,
                    draining: fake.draining.load(SeqCst),
                    listen: vec!["udp:127.0.0.1:5060".into()],
                    media: Some(media_status()),
                    registrations: 2,
                    cdrs_queued: 0,
                    unwritten_s: fake.unwritten.load(SeqCst).then_some(12),
                }),
                signal::Request::Metrics => signal::Response::Metrics(
                    "# TYPE tandem_calls_active gauge\ntandem_calls_active 3\n".into(),
                ),
                signal::Request::Transfer(order) if order.to == "nobody" => {
                    let message = "the party answered REFER with 405 Method Not Allowed";
                    return Err(Fault::new(FaultCode::Party, message));
                }
                signal::Request::Transfer(order) => signal::Response::Call(Box::new(CallInfo {
                    transfer: Some(TransferInfo {
                        party: order.party,
                        to: order.to,
                        status: 100,
                    }),
                    ..call(1)
                })),
                signal::Request::Originate(order) if order.to == "nobody" => {
                    return Err(Fault::new(FaultCode::Conflict, "nobody is there"));
                }
                signal::Request::Originate(order) => signal::Response::Call(Box::new(CallInfo {
                    from: order.caller_id.unwrap_or(order.to),
                    to: format!("{} for {} s", order.from, order.ring_timeout_s),
                    peer: Some(id(4).to_string()),
                    ..call(3)
                })),
                signal::Request::Call(order) => {
                    let known = (0..3).map(call).find(|call| call.id == order.id);
                    let missing = || Fault::new(FaultCode::NotFound, "there is no such call");
                    let mut call = known.ok_or_else(missing)?;
                    match order.change {
                        CallChange::Mute { on: true, .. } => {
                            return Err(Fault::new(FaultCode::Conflict, "it goes past the node"));
                        }
                        CallChange::Mute { .. } => call.muted.clear(),
                        CallChange::Hold { on } => call.held = on,
                    }
                    signal::Response::Call(Box::new(call))
                }
                signal::Request::Dtmf(order) => {
                    let known = (0..3).map(call).find(|call| call.id == order.id);
                    let missing = || Fault::new(FaultCode::NotFound, "there is no such call");
                    let call = known.ok_or_else(missing)?;
                    match (&*order.digits, order.duration_ms, order.gap_ms) {
                        ("12#", 100, 50) => signal::Response::Call(Box::new(call)),
                        ("1", ..) => {
                            return Err(Fault::new(FaultCode::Conflict, "no telephone-event"));
                        }
                        _ => return Err(Fault::new(FaultCode::Invalid, "these are no keys")),
                    }
                }
                signal::Request::Record(order) => {
                    let known = (0..3).map(call).find(|call| call.id == order.id);
                    let missing = || Fault::new(FaultCode::NotFound, "there is no such call");
                    let mut call = known.ok_or_else(missing)?;
                    call.recording = order.on.then(|| format!("/made/{}.wav", call.id));
                    signal::Response::Call(Box::new(call))
                }
                signal::Request::Quality { .. } => {
                    let flow = |packets| media::FlowSample {
                        packets,
                        lost: 2,
                        jitter_us: 1_500,
                        mos: Some(4.25),
                        rtt_us: None,
                    };
                    signal::Response::Quality(vec![QualitySample {
                        at_ms: T0,
                        caller: flow(500),
                        callee: flow(400),
                    }])
                }
                signal::Request::Registrations { .. } => {
                    let of = |tenant: &str| BindingInfo {
                        user: format!("bob@{tenant}.test"),
                        contact: "sip:bob@192.0.2.1".into(),
                        q: None,
                        source: "udp:192.0.2.1:5060".into(),
                        user_agent: String::new(),
                        expires_s: 60,
                    };
                    signal::Response::Registrations(TENANTS.map(of).into())
                }
                signal::Request::Trace { id, tenant, .. } => {
                    let mut calls = (0..3).map(call);
                    let known = calls
                        .find(|call| call.id == id && (tenant.is_none() || call.tenant == tenant));
                    let missing = || Fault::new(FaultCode::NotFound, "no message is kept");
                    let call = known.ok_or_else(missing)?;
                    signal::Response::Trace(TracePage {
                        call_id: call.call_id,
                        up: true,
                        messages: Vec::new(),
                        next: 0,
                    })
                }
                signal::Request::Ban { .. } => {
                    fake.bans.fetch_add(1, SeqCst);
                    drop(fake.held.read().await);
                    signal::Response::Done
                }
                signal::Request::Voice(order) => signal::Response::Voice(fake.obey(order)?),
                signal::Request::Routing(order) if order.kind == signal::RoutingKind::Number => {
                    signal::Response::Routing(match order.edit {
                        RoutingEdit::Create(_) if order.id == "+15550199" => RoutingOutcome::Exists,
                        RoutingEdit::Create(new) | RoutingEdit::Replace { new, .. } => {
                            RoutingOutcome::Stored {
                                document: new.document,
                                updated_ms: T0,
                            }
                        }
                        RoutingEdit::Remove { .. } => RoutingOutcome::Removed,
                    })
                }
                other => return Err(Fault::new(FaultCode::Unsupported, format!("{other:?}"))),
            })
        }
    }
}

#[derive(Debug)]
struct Mediad(Arc<Fake>);

impl Handler<Media> for Mediad {
    fn handle(
        &self,
        request: media::Request,
    ) -> impl Future<Output = Result<media::Response, Fault>> + Send + 'static {
        let fake = self.0.clone();
        async move {
            fake.check()?;
            Ok(match request {
                media::Request::Status => media::Response::Status(media_status()),
                media::Request::Metrics => media::Response::Metrics(
                    "# TYPE tandem_datapath_mode gauge\ntandem_datapath_mode{mode=\"xdp\"} 1\n"
                        .into(),
                ),
                other => return Err(Fault::new(FaultCode::Unsupported, format!("{other:?}"))),
            })
        }
    }
}

fn media_status() -> MediaStatus {
    MediaStatus {
        path: media::Path::Xdp,
        stepped_down: String::new(),
        interfaces: vec!["eth0".into()],
        shards: 1,
        sessions: 3,
        ports_used: 12,
        ports: 400,
        adopted: 0,
        draining: false,
    }
}

/// A running API.
pub(crate) struct Bed {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) fake: Arc<Fake>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    _dir: TempDir,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    headers: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let field = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    /// The body of an answer that came in chunks (RFC 9112 section 7.1).
    pub(crate) fn unchunked(&self) -> String {
        assert_eq!(self.header("transfer-encoding"), Some("chunked"));
        let (mut rest, mut whole) = (self.body.as_str(), String::new());
        while let Some((size, more)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            whole.push_str(&more[..size]);
            rest = &more[size + 2..];
            if size == 0 {
                return whole;
            }
        }
        unreachable!("it broke off");
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::start_as(|_| {}).await
    }

    /// With so many requests of a key in a second.
    pub(crate) async fn start_with(requests: u32) -> Self {
        Self::start_as(|api| api.requests = requests).await
    }

    /// With whatever else is otherwise.
    pub(crate) async fn start_as(change: impl FnOnce(&mut Api)) -> Self {
        let (signaling, signal_endpoint) = Endpoint::memory();
        let (mediad, media_endpoint) = Endpoint::memory();
        let fake = Arc::new(Fake::default());
        tokio::spawn(serve(
            signaling,
            Arc::new(Signaling(fake.clone())),
            fake.events.clone(),
        ));
        tokio::spawn(serve(mediad, Arc::new(Mediad(fake.clone())), Events::new()));
        Self::with(change, signal_endpoint, media_endpoint, fake).await
    }

    /// The control sockets are not there.
    pub(crate) async fn without_daemons() -> Self {
        let endpoint = |name: &str| format!("unix:/nonexistent/{name}.sock").parse().unwrap();
        Self::with(
            |_| {},
            endpoint("signal"),
            endpoint("media"),
            Arc::default(),
        )
        .await
    }

    async fn with(
        change: impl FnOnce(&mut Api),
        signal: Endpoint,
        media: Endpoint,
        fake: Arc<Fake>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite:test.db", dir.path()).await.unwrap();
        let mut api = api("127.0.0.1:0".parse().unwrap(), store.clone(), signal, media);
        change(&mut api);
        let server = api.bind().await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(server.run(async {
            stopped.await.unwrap_or_default();
        }));
        Self {
            address,
            store,
            fake,
            stop,
            server,
            _dir: dir,
        }
    }

    /// Waits until signaling is asked for events.
    pub(crate) async fn until_events_are_wanted(&self) {
        while !self.fake.events.has_listeners() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// signaling tells of something.
    pub(crate) fn tell(&self, event: signal::Event) {
        self.fake.events.push(event);
    }

    /// Tries to serve at the same address.
    pub(crate) async fn second(&self) -> Result<(), ApiError> {
        let memory = || Endpoint::memory().1;
        let api = api(self.address, self.store.clone(), memory(), memory());
        api.bind().await.map(drop)
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }

    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let key = format!("Bearer {KEY}");
        self.send("GET", path, &[("Authorization", &key)]).await
    }

    /// With a key, and a body where there is one.
    pub(crate) async fn ask(
        &self,
        key: &str,
        method: &str,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Answer {
        let key = format!("Bearer {key}");
        let mut fields = vec![("Authorization", key.as_str())];
        if body.is_some() {
            fields.push(("Content-Type", "application/json"));
        }
        let body = body.map_or(String::new(), |body| body.to_string());
        self.exchange(method, path, &fields, &body).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.exchange(method, path, fields, "").await
    }

    pub(crate) async fn exchange(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A stream of events goes on for ever.
        let is_endless = |answer: &[u8]| {
            let answer = String::from_utf8_lossy(answer);
            let head = answer.split_once("\r\n\r\n");
            head.is_some_and(|(head, _)| head.contains("text/event-stream"))
        };
        while !is_endless(&answer) && stream.read_buf(&mut answer).await.unwrap() > 0 {}
        let answer = String::from_utf8(answer).unwrap();

        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        Answer {
            status,
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }
}

fn api(listen: SocketAddr, store: Store, signal: Endpoint, media: Endpoint) -> Api {
    Api {
        node: "n1".into(),
        listen,
        admin_key: AdminKey::new(KEY).unwrap(),
        requests: REQUESTS,
        jwt: None,
        tls: None,
        cors: Vec::new(),
        trusted_proxies: Vec::new(),
        recordings: None,
        forwarded_by: control::config::ForwardedBy::default(),
        public_url: None,
        store,
        signal: Client::connect(signal),
        media: Client::connect(media),
    }
}
