//! An engine, and parties that send and receive.

use rtp::Packetizer;

use super::*;

/// How long what comes may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Each test takes its own part of the ports below the ephemeral range, which begins at 32,768.
pub(super) fn free_ports(count: u16) -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    assert!(count <= 700, "{count} ports may end beyond them");
    // Tests are processes of their own under nextest: spread them by process id.
    let place = std::process::id() * 200 + NEXT.fetch_add(u32::from(count), Ordering::Relaxed);
    u16::try_from(12_000 + place % 20_000).unwrap()
}

pub(super) struct Bed {
    pub(super) engine: Engine,
    /// Of its ports. Even.
    pub(super) first: u16,
}

impl Bed {
    pub(super) async fn new(datapath: &str) -> Self {
        Self::with(datapath, 40, "").await
    }

    pub(super) async fn with(datapath: &str, ports: u16, more: &str) -> Self {
        let first = free_ports(ports);
        let last = first + ports - 1;
        let text = format!(
            "[media]\naddress = \"127.0.0.1, ::1\"\nports = \"{first}-{last}\"\n\
             datapath = \"{datapath}\"\nshards = 1\n{more}"
        );
        let config = Config::parse(&text, []).unwrap().config;
        let engine = Engine::start(&config, &Registry::new()).await.unwrap();
        Self { engine, first }
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Response, Fault> {
        self.engine.handle(request).await
    }

    /// What a client of the control channel hears from now on.
    pub(super) async fn listen(&self) -> Ears {
        let (listener, endpoint) = control::Endpoint::memory();
        let handler = Arc::new(self.engine.clone());
        tokio::spawn(control::channel::serve(
            listener,
            handler,
            self.engine.events(),
        ));
        let client = control::Client::<Media>::connect(endpoint);
        let mut notices = client.notices();
        while !matches!(
            notices.recv().await.unwrap(),
            control::Notice::Connected { .. }
        ) {}
        Ears {
            notices,
            _client: client,
        }
    }

    pub(super) async fn create_with(&self, create: Create) -> Result<SessionInfo, Fault> {
        match self.ask(Request::Create(create)).await? {
            Response::Session(info) => Ok(info),
            other => panic!("{other:?}"),
        }
    }

    /// A session of which nothing is known yet.
    pub(super) async fn try_create(&self, id: u8) -> Result<SessionInfo, Fault> {
        let leg = || Leg {
            family: Family::V4,
            port: None,
            remote: None,
            muted: false,
            handling: Handling::default(),
        };
        let (id, owner) = (session(id), "test".into());
        self.create_with(Create {
            id,
            owner,
            a: leg(),
            b: leg(),
            apart: false,
        })
        .await
    }

    pub(super) async fn create(&self, id: u8, a: Option<Remote>, b: Option<Remote>) -> SessionInfo {
        let family = a
            .as_ref()
            .or(b.as_ref())
            .map_or(Family::V4, |remote| Family::of(&remote.rtp));
        let leg = |remote| Leg {
            family,
            port: None,
            remote,
            muted: false,
            handling: Handling::default(),
        };
        let create = Create {
            id: session(id),
            owner: "test".into(),
            a: leg(a),
            b: leg(b),
            apart: false,
        };
        self.create_with(create).await.unwrap()
    }

    pub(super) async fn mute(&self, id: u8, a: bool, b: bool) {
        let id = session(id);
        let answer = self.ask(Request::Mute(Mute { id, a, b })).await;
        assert!(matches!(answer, Ok(Response::Session(_))), "{answer:?}");
    }

    pub(super) async fn modify(&self, id: u8, a: Option<Remote>, b: Option<Remote>) {
        let modify = Modify {
            id: session(id),
            a,
            b,
            handling: [None, None],
        };
        self.ask(Request::Modify(modify)).await.unwrap();
    }

    pub(super) async fn stats(&self, id: u8) -> SessionStats {
        match self.ask(Request::Query(session(id))).await.unwrap() {
            Response::Stats(stats) => *stats,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) struct Ears {
    notices: tokio::sync::broadcast::Receiver<control::Notice<Event>>,
    _client: control::Client<Media>,
}

impl Ears {
    /// The events heard since the last time.
    pub(super) fn heard(&mut self) -> Vec<Event> {
        let mut heard = Vec::new();
        while let Ok(notice) = self.notices.try_recv() {
            if let control::Notice::Event(event) = notice {
                heard.push(event);
            }
        }
        heard
    }
}

pub(super) fn session(id: u8) -> SessionId {
    SessionId([id; 16])
}

/// A party with an RTP and an RTCP socket.
pub(super) struct Party {
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
    stream: Packetizer,
}

impl Party {
    pub(super) fn new(ssrc: u32) -> Self {
        Self::on("127.0.0.1", ssrc)
    }

    pub(super) fn on(ip: &str, ssrc: u32) -> Self {
        let bind = || {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        Self {
            rtp: bind(),
            rtcp: bind(),
            stream: Packetizer::new(0, ssrc, 65_530, 0),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.rtp.local_addr().unwrap()
    }

    /// As its SDP says.
    pub(super) fn described(&self) -> Remote {
        Remote {
            rtp: self.rtp.local_addr().unwrap(),
            rtcp: self.rtcp.local_addr().unwrap(),
            rtcp_mux: false,
            sends: true,
            receives: true,
            format: Format {
                payload_type: 0,
                encoding: "PCMU".into(),
                clock_rate: 8000,
                ptime_ms: 20,
            },
            events: Some(EventFormat {
                payload_type: 101,
                clock_rate: 8000,
                audio_rate: 8000,
            }),
            types: Vec::new(),
            more_events: 0,
            secure: false,
        }
    }

    pub(super) fn muxing(&self) -> Remote {
        let remote = self.described();
        Remote {
            rtcp: remote.rtp,
            rtcp_mux: true,
            ..remote
        }
    }

    /// Sends the next packet of its stream; what it sent.
    pub(super) fn send(&mut self, to: SocketAddr) -> Vec<u8> {
        let mut packet = Vec::new();
        let payload: Vec<u8> = (0..160).map(|_| rand::random()).collect();
        self.stream.packet(&payload, 160, &mut packet);
        self.rtp.send_to(&packet, to).unwrap();
        packet
    }

    /// Goes on as another synchronisation source.
    pub(super) fn restart(&mut self, ssrc: u32) {
        self.stream = Packetizer::new(0, ssrc, 65_530, 0);
    }

    /// The next packet of its stream is lost.
    pub(super) fn lose(&mut self) {
        self.stream.packet(&[0; 160], 160, &mut Vec::new());
    }

    pub(super) fn receive(&self) -> (Vec<u8>, SocketAddr) {
        receive(&self.rtp)
    }
}

pub(super) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, source) = socket.recv_from(&mut buffer).expect("a packet in time");
    (buffer[..len].to_vec(), source)
}

/// Nothing arrives for a while.
pub(super) fn assert_silent(socket: &UdpSocket) {
    socket
        .set_read_timeout(Some(Duration::from_millis(150)))
        .unwrap();
    let mut buffer = [0; 2048];
    if let Ok((len, source)) = socket.recv_from(&mut buffer) {
        panic!("{len} octets from {source}");
    }
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
}

/// Waits until `check` holds.
pub(super) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Makes a test of each backend.
macro_rules! on_both_backends {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => {$(
        mod $name {
            #[tokio::test]
            async fn io_uring() {
                super::$name("io-uring").await;
            }

            #[tokio::test]
            async fn sockets() {
                super::$name("sockets").await;
            }
        }
    )*};
}
pub(super) use on_both_backends;
