//! An engine with its front, a client, and parties on loopback.

use std::{
    net::{SocketAddr, UdpSocket as Socket},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use control::{Client, Config, Endpoint, config::NgListen, media::Media};
use ng::{Dictionary, Encoding, Value};
use prometheus::Registry;
use sip::sdp::Sdp;
use tokio::{net::UdpSocket, sync::watch};

use crate::{Engine, ng as front};

/// How long what comes may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Bed {
    pub(super) engine: Engine,
    /// UDP, TCP, HTTP.
    pub(super) addresses: [SocketAddr; 3],
    socket: UdpSocket,
    cookies: AtomicU64,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Bed {
    pub(super) async fn new() -> Self {
        Self::with("").await
    }

    /// With more keys of `[media]`.
    pub(super) async fn with(more: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Below those of the engine's own tests.
        let place = std::process::id() * 240 + NEXT.fetch_add(24, Relaxed);
        let first = 5_200 + place % 6_480;
        let text = format!(
            "[media]\naddress = \"127.0.0.1, ::1\"\nports = \"{first}-{}\"\ndatapath = \"sockets\"\nshards = 1\n{more}",
            first + 23
        );
        let config = Config::parse(&text, []).unwrap().config;
        let registry = Registry::new();
        let engine = Engine::start(&config, &registry).await.unwrap();
        let (pipe, endpoint) = Endpoint::memory();
        let handler = Arc::new(engine.clone());
        let control = control::channel::serve(pipe, handler, engine.events());
        let mut bound = Vec::new();
        let mut addresses = Vec::new();
        for text in ["udp:127.0.0.1:0", "tcp:127.0.0.1:0", "http:127.0.0.1:0"] {
            let listen: NgListen = text.parse().unwrap();
            let one = front::bind(listen).await.unwrap();
            addresses.push(one.address().unwrap());
            bound.push(one);
        }
        let media = Client::<Media>::connect(endpoint);
        let config = watch::channel(config.media).1;
        let server = tokio::spawn(async move {
            tokio::select! {
                () = control => {}
                result = front::serve(bound, config, media, &registry) => result.unwrap(),
            }
        });
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(addresses[0]).await.unwrap();
        Self {
            engine,
            addresses: addresses.try_into().unwrap(),
            socket,
            cookies: AtomicU64::new(0),
            server,
        }
    }

    /// What is answered to bytes, over UDP.
    pub(super) async fn raw(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.socket.send(message).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let answer = self.socket.recv(&mut buffer);
        let length = tokio::time::timeout(PATIENCE, answer).await.ok()?;
        buffer.truncate(length.unwrap());
        Some(buffer)
    }

    /// Asks, in JSON.
    pub(super) async fn ask(&self, body: &str) -> Dictionary {
        let cookie = self.cookies.fetch_add(1, Relaxed);
        let answer = self
            .raw(format!("{cookie} {body}").as_bytes())
            .await
            .expect("an answer");
        let start = format!("{cookie} ");
        let body = answer.strip_prefix(start.as_bytes()).expect("the cookie");
        match Encoding::Json.decode(body).unwrap() {
            Value::Dictionary(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Asks, and has it done.
    pub(super) async fn done(&self, body: &str) -> Dictionary {
        let answer = self.ask(body).await;
        assert_ne!(text(&answer, "result"), "error", "{answer:?}");
        answer
    }

    /// Asks in vain: why.
    pub(super) async fn refused(&self, body: &str) -> String {
        let answer = self.ask(body).await;
        assert_eq!(text(&answer, "result"), "error", "{answer:?}");
        text(&answer, "error-reason")
    }

    /// Offers or answers; the SDP, and where it wants RTP.
    pub(super) async fn sdp(&self, command: &str, fields: &str, sdp: &str) -> (String, SocketAddr) {
        let escaped = quoted(sdp);
        let answer = self
            .done(&format!(
                "{{\"command\":\"{command}\",{fields},\"sdp\":{escaped}}}"
            ))
            .await;
        let sdp = text(&answer, "sdp");
        let rtp = rtp_of(&sdp);
        (sdp, rtp)
    }

    /// Sets a call of this id up between the parties; where each is to send.
    pub(super) async fn call(&self, id: &str, a: &Party, b: &Party) -> [SocketAddr; 2] {
        let tags = format!("\"call-id\":\"{id}\",\"from-tag\":\"a\"");
        let (_, for_b) = self.sdp("offer", &tags, &a.sdp("")).await;
        let tags = format!("{tags},\"to-tag\":\"b\"");
        let (_, for_a) = self.sdp("answer", &tags, &b.sdp("")).await;
        [for_a, for_b]
    }
}

/// As a JSON text.
pub(super) fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    Encoding::Json.encode(&Value::from_text(text), &mut out);
    String::from_utf8(out).unwrap()
}

pub(super) fn rtp_of(sdp: &str) -> SocketAddr {
    let sdp = Sdp::parse(sdp.as_bytes()).unwrap();
    sdp.media()[0].rtp().unwrap()
}

pub(super) fn text(answer: &Dictionary, key: &str) -> String {
    let value = answer.get(key.as_bytes()).and_then(Value::text);
    String::from_utf8(value.unwrap_or_default().to_vec()).unwrap()
}

/// A value below others: `tags/a/medias/0/type`.
pub(super) fn at<'a>(answer: &'a Dictionary, path: &str) -> &'a Value {
    let mut steps = path.split('/');
    let first = steps.next().unwrap_or_default();
    let mut value = answer
        .get(first.as_bytes())
        .unwrap_or_else(|| panic!("{path} in {answer:?}"));
    for step in steps {
        value = match value {
            Value::Dictionary(entries) => entries.get(step.as_bytes()),
            Value::List(items) => items.get(step.parse::<usize>().unwrap()),
            _ => None,
        }
        .unwrap_or_else(|| panic!("{path} in {answer:?}"));
    }
    value
}

pub(super) fn number(answer: &Dictionary, path: &str) -> i64 {
    at(answer, path)
        .integer()
        .unwrap_or_else(|| panic!("{path}"))
}

/// A phone.
pub(super) struct Party {
    rtp: Socket,
    sequence: std::cell::Cell<u16>,
    ssrc: std::cell::Cell<u32>,
}

impl Party {
    pub(super) fn new() -> Self {
        let rtp = Socket::bind("127.0.0.1:0").unwrap();
        rtp.set_read_timeout(Some(PATIENCE)).unwrap();
        let ssrc = u32::from(rtp.local_addr().unwrap().port());
        Self {
            rtp,
            sequence: 1.into(),
            ssrc: ssrc.into(),
        }
    }

    /// One with an IPv6 address alone.
    pub(super) fn new_v6() -> Self {
        let rtp = Socket::bind("[::1]:0").unwrap();
        Self { rtp, ..Self::new() }
    }

    pub(super) fn sdp_v6(&self) -> String {
        self.sdp("").replace("IP4 127.0.0.1", "IP6 ::1")
    }

    pub(super) fn sdp(&self, more: &str) -> String {
        let port = self.rtp.local_addr().unwrap().port();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n{more}"
        )
    }

    /// Sends a packet, and it arrives at `other`.
    pub(super) fn reaches(&self, to: SocketAddr, other: &Self) -> bool {
        self.send(to);
        other.receives().is_some()
    }

    /// Sends a packet, and nothing arrives at `other`.
    pub(super) fn misses(&self, to: SocketAddr, other: &Self) -> bool {
        self.send(to);
        other.receives_soon().is_none()
    }

    pub(super) fn send(&self, to: SocketAddr) {
        self.speak(0xd5, to);
    }

    /// Sends a packet of this octet.
    pub(super) fn speak(&self, octet: u8, to: SocketAddr) {
        let sequence = self.sequence.get();
        self.sequence.set(sequence + 1);
        let mut packet = vec![0x80, 8];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 160).to_be_bytes());
        packet.extend(self.ssrc().to_be_bytes());
        packet.extend([octet; 160]);
        self.rtp.send_to(&packet, to).unwrap();
    }

    /// What arrives next.
    pub(super) fn receives(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        let length = self.rtp.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    /// The same, where it comes at once.
    pub(super) fn receives_soon(&self) -> Option<Vec<u8>> {
        let wait = |time| self.rtp.set_read_timeout(Some(time)).unwrap();
        wait(Duration::from_millis(150));
        let packet = self.receives();
        wait(PATIENCE);
        packet
    }

    /// Whether something has arrived.
    pub(super) fn is_sent_to(&self) -> bool {
        self.rtp.set_nonblocking(true).unwrap();
        let is_there = self.rtp.peek(&mut [0; 1]).is_ok();
        self.rtp.set_nonblocking(false).unwrap();
        is_there
    }

    pub(super) fn port(&self) -> u16 {
        self.rtp.local_addr().unwrap().port()
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc.get()
    }

    /// Goes on as another source.
    pub(super) fn become_another(&self) {
        self.ssrc.set(self.ssrc() + 0x1_0000);
    }

    /// A socket for RTCP.
    pub(super) fn rtcp_beside(&self) -> Socket {
        let socket = Socket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Sends a telephone event.
    pub(super) fn press(&self, event: u8, to: SocketAddr) {
        self.press_as(101, event, to);
    }

    /// The same, by this payload type.
    pub(super) fn press_as(&self, payload_type: u8, event: u8, to: SocketAddr) {
        let sequence = self.sequence.get();
        self.sequence.set(sequence + 1);
        let mut packet = vec![0x80, payload_type];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 9]);
        packet.extend(self.ssrc().to_be_bytes());
        packet.extend([event, 10, 0, 160]);
        self.rtp.send_to(&packet, to).unwrap();
    }

    /// The payload type of what arrives next.
    pub(super) fn hears(&self) -> Option<u8> {
        let mut buffer = [0; 2048];
        self.rtp.recv(&mut buffer).ok().map(|_| buffer[1] & 0x7f)
    }
}
