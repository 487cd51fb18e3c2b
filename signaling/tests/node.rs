//! signaling with its real sockets on loopback: SIPp through it, and a mediad that goes and comes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say it the short way"
)]

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use control::{
    Client, Config, Endpoint, Fault,
    channel::{Events, Handler, serve},
    media::{Local, Media, Request, Response, SessionId, SessionInfo},
    signal,
};
use signaling::Running;
use store::{Cause, Cdr, CdrFilter, CdrWriter, Store, WriterOptions, WriterTask};
use tempfile::TempDir;
use tokio::{net::UdpSocket, time::timeout};

const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    running: Running,
    address: SocketAddr,
    control: Client<signal::Signal>,
    store: Store,
    writer: WriterTask,
    folder: TempDir,
}

/// A node whose only route goes to `callee`.
async fn node(callee: SocketAddr, media: &str) -> Node {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[node]\ndata_dir = \"{}\"\n\
         [sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\nworkers = 2\n\
         [[trunks]]\nname = \"all\"\nhosts = [\"{callee}\"]\nallow = [\"127.0.0.1\"]\n\
         [[routes]]\ntrunks = [\"all\"]\nmedia = \"{media}\"\n",
        folder.path().display()
    );
    let config = Config::parse(&text, []).unwrap().config;
    let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
    let (cdrs, writer) = CdrWriter::start(store.clone(), WriterOptions::default());
    let client = Client::connect(Endpoint::Unix(folder.path().join("media.sock")));
    let (listener, endpoint) = Endpoint::memory();
    let same = config.clone();
    let reread = Box::new(move || Ok(same.clone().into()));
    let running = signaling::start(
        &config,
        signaling::bind(&config).unwrap(),
        reread,
        client,
        store.clone(),
        cdrs,
        listener,
    )
    .await
    .unwrap();
    let address = running.listen()[0]
        .strip_prefix("udp:")
        .unwrap()
        .parse()
        .unwrap();
    Node {
        running,
        address,
        control: Client::connect(endpoint),
        store,
        writer,
        folder,
    }
}

impl Node {
    /// Stops, and gives the records.
    async fn stop(self) -> Vec<Cdr> {
        assert_eq!(self.running.stop(PATIENCE).await, 0);
        assert_eq!(self.writer.stop(PATIENCE).await, 0);
        self.store
            .cdrs(&CdrFilter::default(), 100, None)
            .await
            .unwrap()
            .items
    }

    async fn calls(&self) -> Vec<signal::CallInfo> {
        let request = signal::Request::Calls {
            after: String::new(),
            limit: 100,
            tenant: None,
        };
        match self.control.request(request).await.unwrap() {
            signal::Response::Calls(calls) => calls,
            other => panic!("{other:?}"),
        }
    }
}

/// Whether SIPp is there. In CI it has to be.
fn has_sipp() -> bool {
    let found = Command::new("sipp")
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_ok() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "sipp is not installed: apt install sip-tester"
    );
    eprintln!("skipped: sipp is not installed (apt install sip-tester)");
    false
}

fn sipp(folder: &Path, arguments: &[&str]) -> std::process::Child {
    Command::new("sipp")
        .args(["-i", "127.0.0.1", "-nostdin", "-timeout", "30"])
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A UDP port that is free now.
fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits until a program has a UDP socket on `port`: an INVITE before that would be refused.
async fn until_bound(port: u16) {
    let end = format!(":{port:04X}");
    for _ in 0..3_000 {
        let table = std::fs::read_to_string("/proc/self/net/udp").unwrap();
        let mut locals = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1));
        if locals.any(|local| local.ends_with(&end)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing listens on UDP port {port}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_calls_sipp_over_udp_and_over_tcp() {
    if !has_sipp() {
        return;
    }
    let port = free_port();
    let node = node(([127, 0, 0, 1], port).into(), "bypass").await;
    let folder = node.folder.path().to_owned();
    let mut callee = sipp(&folder, &["-sn", "uas", "-p", &port.to_string()]);
    until_bound(port).await;
    let tcp = node.running.listen()[1]
        .strip_prefix("tcp:")
        .unwrap()
        .to_owned();
    for (target, transport) in [(node.address.to_string(), "u1"), (tcp, "t1")] {
        let port = free_port().to_string();
        let target = target.as_str();
        let mut caller = sipp(
            &folder,
            &[
                "-sn", "uac", target, "-t", transport, "-p", &port, "-m", "20", "-r", "40", "-d",
                "200",
            ],
        );
        let status = tokio::task::spawn_blocking(move || caller.wait())
            .await
            .unwrap()
            .unwrap();
        assert!(status.success(), "{transport}: {status}");
    }
    callee.kill().unwrap();
    callee.wait().unwrap();
    let page = node.running.metrics();
    assert!(
        page.contains("tandem_calls_total{result=\"answered\"} 40"),
        "{page}"
    );
    assert!(page.contains("tandem_calls_active 0"), "{page}");
    let cdrs = node.stop().await;
    assert_eq!(cdrs.len(), 40);
    assert!(
        cdrs.iter()
            .all(|cdr| cdr.cause == Cause::Bye && cdr.status == 200)
    );
    assert_eq!(cdrs.iter().filter(|cdr| cdr.transport == "tcp").count(), 20);
}

/// What a mediad that is played was asked.
#[derive(Default)]
struct Asked(Mutex<Vec<Request>>);

struct Mediad(Arc<Asked>, Mutex<HashMap<SessionId, SessionInfo>>);

impl Handler<Media> for Mediad {
    fn handle(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        self.0.0.lock().unwrap().push(request.clone());
        let local = |port| Local {
            rtp: ([127, 0, 0, 1], port).into(),
            rtcp: ([127, 0, 0, 1], port + 1).into(),
        };
        let mut sessions = self.1.lock().unwrap();
        let response = match request {
            Request::Create(create) => {
                let port = |leg: &control::media::Leg, other| leg.port.unwrap_or(other);
                let (a, b) = (
                    local(port(&create.a, 30_000)),
                    local(port(&create.b, 30_002)),
                );
                let info = SessionInfo {
                    id: create.id,
                    a,
                    b,
                };
                sessions.insert(create.id, info.clone());
                Response::Session(info)
            }
            Request::Modify(modify) => Response::Session(sessions[&modify.id].clone()),
            Request::List { .. } => Response::Sessions(sessions.keys().copied().collect()),
            _ => Response::Gone,
        };
        async move { Ok(response) }
    }
}

/// A mediad in a runtime of its own, which takes every connection with it when it is dropped.
struct Process(Option<tokio::runtime::Runtime>);

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn mediad(folder: &Path, asked: &Arc<Asked>) -> Process {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let guard = runtime.enter();
    let listener = Endpoint::listen(&folder.join("media.sock")).unwrap();
    let mediad = Arc::new(Mediad(asked.clone(), Mutex::default()));
    drop(guard);
    runtime.spawn(serve(listener, mediad, Events::new()));
    Process(Some(runtime))
}

/// The next datagram.
async fn receive(socket: &UdpSocket) -> sip::message::Message {
    let mut buffer = vec![0; 65_536];
    let (length, _) = timeout(PATIENCE, socket.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    buffer.truncate(length);
    sip::message::Message::parse(buffer.into()).unwrap()
}

async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come about"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_mediad_is_told_of_the_calls_and_a_stop_ends_them() {
    let caller = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let callee = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let node = node(callee.local_addr().unwrap(), "relay").await;
    let asked = Arc::new(Asked::default());
    let first = mediad(node.folder.path(), &asked);
    eventually("the channel", async || {
        node.running.metrics().contains("tandem_media_up 1")
    })
    .await;

    let from = caller.local_addr().unwrap();
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
               m=audio 4000 RTP/AVP 0\r\n";
    let invite = format!(
        "INVITE sip:100@{} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKone;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@a.test>;tag=1\r\nTo: <sip:100@node.test>\r\n\
         Call-ID: restart\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{from}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        node.address,
        sdp.len()
    );
    caller
        .send_to(invite.as_bytes(), node.address)
        .await
        .unwrap();
    let forwarded = receive(&callee).await;
    assert!(String::from_utf8_lossy(forwarded.body()).contains("m=audio 30002 "));
    let ok = forwarded
        .respond(200)
        .to_tag("2")
        .header(
            "Contact",
            format!("<sip:b@{}>", callee.local_addr().unwrap()),
        )
        .body("application/sdp", sdp)
        .build()
        .unwrap();
    callee.send_to(ok.as_bytes(), node.address).await.unwrap();
    let answer = loop {
        let response = receive(&caller).await;
        if response.status() != Some(100) {
            break response;
        }
    };
    assert_eq!(answer.status(), Some(200));
    assert!(String::from_utf8_lossy(answer.body()).contains("m=audio 30000 "));
    assert_eq!(node.calls().await.len(), 1);

    drop(first);
    eventually("the loss", async || {
        node.running.metrics().contains("tandem_media_up 0")
    })
    .await;
    asked.0.lock().unwrap().clear();
    let second = mediad(node.folder.path(), &asked);
    eventually("the session's return", async || {
        asked.0.lock().unwrap().iter().any(|request| match request {
            Request::Create(create) => {
                create.a.port == Some(30_000)
                    && create.b.port == Some(30_002)
                    && create.a.remote.is_some()
                    && create.b.remote.is_some()
            }
            _ => false,
        })
    })
    .await;

    // Both parties hear a BYE when the node stops.
    let agree = async |socket: &UdpSocket, to: SocketAddr| loop {
        let message = receive(socket).await;
        if message
            .method()
            .is_some_and(|method| method.as_str() == "BYE")
        {
            let ok = message.respond(200).build().unwrap();
            socket.send_to(ok.as_bytes(), to).await.unwrap();
            return;
        }
    };
    let to = node.address;
    let (cdrs, (), ()) = tokio::join!(node.stop(), agree(&caller, to), agree(&callee, to));
    assert_eq!(cdrs.len(), 1);
    assert_eq!(cdrs[0].cause, Cause::Shutdown);
    drop(second);
}

#[tokio::test]
async fn the_control_channel_drains_counts_and_knows_no_strange_call() {
    let node = node(([127, 0, 0, 1], free_port()).into(), "bypass").await;
    let status = node
        .control
        .request(signal::Request::Drain { on: true })
        .await
        .unwrap();
    let signal::Response::Status(status) = status else {
        panic!("{status:?}")
    };
    assert!(status.draining && status.media.is_none() && status.calls == 0);
    assert_eq!(status.listen.len(), 2);

    let caller = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let options = format!(
        "OPTIONS sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKo;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:a@a.test>;tag=1\r\nTo: <sip:node.test>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        node.address,
        caller.local_addr().unwrap()
    );
    caller
        .send_to(options.as_bytes(), node.address)
        .await
        .unwrap();
    assert_eq!(receive(&caller).await.status(), Some(503));

    let unknown = signal::Request::Hangup {
        id: "none".to_owned(),
    };
    assert!(node.control.request(unknown).await.is_err());
    let too_many = signal::Request::Calls {
        after: String::new(),
        limit: 0,
        tenant: None,
    };
    assert!(node.control.request(too_many).await.is_err());
    let page = node
        .control
        .request(signal::Request::Metrics)
        .await
        .unwrap();
    let signal::Response::Metrics(page) = page else {
        panic!("{page:?}")
    };
    assert!(page.contains("tandem_sip_messages_total{direction=\"in\",method=\"OPTIONS\"} 1"));
    assert!(node.stop().await.is_empty());
}
