//! A node with sockets on loopback, the host of its only trunk, and probes.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use control::{Client, Config, Endpoint};
use signaling::Running;
use sip::message::Message;
use store::{CdrWriter, Store, WriterOptions};
use tempfile::TempDir;
use tokio::{net::UdpSocket, time::timeout};

/// How long what has to come may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A node of one worker, which works on what comes in the order of its coming.
pub(crate) struct Node {
    pub(crate) running: Running,
    /// Its UDP address.
    pub(crate) address: SocketAddr,
    /// Its TCP address.
    pub(crate) tcp: SocketAddr,
    /// Where calls go.
    pub(crate) host: UdpSocket,
    /// Topmost Vias of what was sent to it.
    pub(crate) seen: HashSet<String>,
    _folder: TempDir,
}

impl Node {
    /// A node whose only route goes to `host`, and which has no domain of its own.
    pub(crate) async fn start() -> Self {
        Self::with("127.0.0.0/8", "").await
    }

    /// The same with the domain node.test, where all but 127.0.0.1 are strangers and held to what
    /// these may do.
    pub(crate) async fn guarded() -> Self {
        let more = "domains = [\"node.test\"]\n[sip.defence]\nallow = []\n";
        Self::with("127.0.0.1", more).await
    }

    /// The same with users phone0, phone1 and so on, whose password is their name, and little room for
    /// strangers.
    pub(crate) async fn of_phones(count: usize) -> Self {
        let mut more =
            "domains = [\"node.test\"]\n[sip.defence]\nallow = []\nregisters = 5\n".to_owned();
        for index in 0..count {
            let user = format!("[[users]]\nname = \"phone{index}\"\npassword = \"phone{index}\"\n");
            more.push_str(&user);
        }
        Self::with("127.0.0.1", &more).await
    }

    /// A node with users of a domain, whose passwords are "secret".
    pub(crate) async fn of(domain: &str, users: &[&str]) -> Self {
        let mut more = format!("domains = [\"{domain}\"]\n");
        for user in users {
            more += &format!("[[users]]\nname = \"{user}\"\npassword = \"secret\"\n");
        }
        Self::with("127.0.0.1", &more).await
    }

    async fn with(allow: &str, more: &str) -> Self {
        let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[node]\ndata_dir = \"{}\"\n\
             [sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\nworkers = 1\n{more}\
             [[trunks]]\nname = \"all\"\nhosts = [\"{}\"]\nallow = [\"{allow}\"]\n\
             [[routes]]\ntrunks = [\"all\"]\nmedia = \"bypass\"\n",
            folder.path().display(),
            host.local_addr().unwrap()
        );
        let config = Config::parse(&text, []).unwrap().config;
        let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
        let (cdrs, _writer) = CdrWriter::start(store.clone(), WriterOptions::default());
        let media = Client::connect(Endpoint::Unix(folder.path().join("media.sock")));
        let (listener, _endpoint) = Endpoint::memory();
        let same = config.clone();
        let reread = Box::new(move || Ok(same.clone().into()));
        let running = signaling::start(
            &config,
            signaling::bind(&config).unwrap(),
            reread,
            media,
            store,
            cdrs,
            listener,
        )
        .await
        .unwrap();
        let [udp, tcp] = [(0, "udp:"), (1, "tcp:")].map(|(index, transport)| {
            let listen: &str = &running.listen()[index];
            listen.strip_prefix(transport).unwrap().parse().unwrap()
        });
        Self {
            address: udp,
            tcp,
            running,
            host,
            seen: HashSet::new(),
            _folder: folder,
        }
    }

    /// The status of the answer to what `socket` has sent, and whether the node is well.
    pub(crate) async fn answer(&self, socket: &UdpSocket) -> Result<Option<u16>, String> {
        let from = socket.local_addr().unwrap();
        let probe = format!(
            "MESSAGE sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKprobe;rport\r\n\
             Max-Forwards: 0\r\nFrom: <sip:a@a.test>;tag=1\r\nTo: <sip:node.test>\r\n\
             Call-ID: probe-{from}\r\nCSeq: 7 MESSAGE\r\nContent-Length: 0\r\n\r\n",
            self.address
        );
        let mut status = None;
        // The one worker works in order, and a MESSAGE overtakes nothing: when it is answered, for the
        // hops that it has not left, what came before has been worked on.
        // An answer of the host's is on its way until it is here.
        socket
            .send_to(probe.as_bytes(), self.address)
            .await
            .unwrap();
        loop {
            let response = receive(socket).await;
            if response.call_id().is_ok_and(|id| id.starts_with("probe-")) {
                return match response.status() {
                    Some(483) => Ok(status),
                    other => Err(format!("the probe was answered {other:?}")),
                };
            }
            if response.status() != Some(100) {
                status = response.status();
            }
        }
    }
}

/// The next message.
pub(crate) async fn receive(socket: &UdpSocket) -> Message {
    let mut buffer = vec![0; 65_536];
    let received = timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let length = received.unwrap_or_else(|_| panic!("nothing came")).unwrap();
    buffer.truncate(length);
    Message::parse(buffer.into()).unwrap()
}

/// The first line of what has come already.
pub(crate) fn try_receive(socket: &UdpSocket) -> Option<String> {
    let mut buffer = vec![0; 65_536];
    let length = socket.try_recv(&mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    text.lines().next().map(str::to_owned)
}
