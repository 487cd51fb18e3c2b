//! Sources that are banned: the driver drops what they send, and nobody else notices.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    process::{Command, Output},
    time::Duration,
};

use loadtest::{
    bed::{Family, Layout},
    node::{Form, Node},
    process::Signal,
    sipp::Scenario,
};

use crate::stage::{Stage, all_well, cdrs, eventually, finish, nothing_left};

/// A host beside the caller, in the network of a trunk, that is no trunk itself.
struct Stranger<'a> {
    stage: &'a Stage,
    ip: IpAddr,
    socket: UdpSocket,
}

impl<'a> Stranger<'a> {
    /// `number` is the end of its address.
    fn new(stage: &'a Stage, number: u8) -> Self {
        let (ip, prefix) = match stage.family {
            Family::V4 => (format!("10.91.1.{number}"), 24),
            Family::V6 => (format!("fd91:1::{number}"), 64),
        };
        let mut add = stage.bed.caller().command("ip");
        add.args(["address", "add", &format!("{ip}/{prefix}"), "dev"]);
        add.arg(stage.bed.party_interface());
        if stage.family == Family::V6 {
            add.arg("nodad");
        }
        assert!(add.status().unwrap().success());
        let ip = ip.parse().unwrap();
        let bind = || UdpSocket::bind(SocketAddr::new(ip, 0));
        let socket = stage.bed.caller().enter(bind).unwrap().unwrap();
        Self { stage, ip, socket }
    }

    fn send(&self, call_id: &str) {
        let (node, from) = (self.stage.config.sip, self.socket.local_addr().unwrap());
        let options = format!(
            "OPTIONS sip:{node} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call_id};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@{from}>;tag=1\r\nTo: <sip:{node}>\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        self.socket.send_to(options.as_bytes(), node).unwrap();
    }

    /// Whether a request is answered within a second.
    fn is_answered(&self, call_id: &str) -> bool {
        let wait = Some(Duration::from_secs(1));
        self.socket.set_read_timeout(wait).unwrap();
        self.send(call_id);
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            // An answer to an earlier one may still be on its way.
            if String::from_utf8_lossy(&buffer[..length]).contains(call_id) {
                return true;
            }
        }
        false
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let (ip, to) = (self.ip, self.stage.config.sip);
        let connect = || {
            let socket = socket2::Socket::new(
                socket2::Domain::for_address(to),
                socket2::Type::STREAM,
                None,
            )?;
            socket.bind(&SocketAddr::new(ip, 0).into())?;
            socket.connect_timeout(&to.into(), Duration::from_secs(1))?;
            Ok(TcpStream::from(socket))
        };
        self.stage.bed.caller().enter(connect).unwrap()
    }

    /// What no SIP client says, on connections enough for a ban.
    fn offend(&self) {
        for _ in 0..4 {
            let mut stream = self.connect().unwrap();
            let wait = Some(Duration::from_secs(3));
            stream.set_read_timeout(wait).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            // The node closes.
            let _closed = stream.read_to_end(&mut Vec::new());
        }
    }

    /// Expects that everything from here is dropped by the driver, and that signaling has none of it.
    fn is_dropped_by_the_driver(&self, node: &Node<'_>) {
        let before = dropped(node);
        eventually("the XDP program knows of the ban", || {
            self.send("known");
            dropped(node) > before
        });
        let (before, so_far) = (dropped(node), refused(node));
        for number in 0..50 {
            self.send(&format!("dropped-{number}"));
        }
        eventually("the XDP program has dropped them", || {
            dropped(node) >= before + 50.0
        });
        assert!(!self.is_answered("unanswered"));
        assert!(self.connect().is_err(), "a banned source has a connection");
        assert_eq!(refused(node), so_far, "signaling had to refuse something");
    }
}

/// What the XDP program dropped.
fn dropped(node: &Node<'_>) -> f64 {
    let labels = [("action", "dropped"), ("reason", "drop_banned")];
    let page = node.metrics().unwrap();
    page.sum("tandem_xdp_packets_total", &labels)
}

/// What signaling refused.
fn refused(node: &Node<'_>) -> f64 {
    let page = node.metrics().unwrap();
    page.sum("tandem_sip_drops_total", &[("reason", "banned")])
}

fn tandem_bans(stage: &Stage, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tandem"))
        .arg("bans")
        .args(arguments)
        .arg("--config")
        .arg(stage.folder.path().join("tandem.toml"))
        .output()
        .unwrap()
}

fn told(stage: &Stage, arguments: &[&str]) -> String {
    let output = tandem_bans(stage, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_banned_source_is_dropped_by_the_driver_until_the_ban_is_lifted() {
    let Some(stage) = Stage::xdp() else { return };
    let node = stage.node();
    let (caller, callee) = (
        stage.caller(Scenario::Caller, 6),
        stage.callee(Scenario::Callee, 6),
    );
    let parties = stage.start(&caller, &callee);
    let stranger = Stranger::new(&stage, 66);
    eventually("it is answered", || stranger.is_answered("before"));
    let ip = stranger.ip.to_string();
    told(&stage, &["add", &ip, "--reason", "a test"]);
    stranger.is_dropped_by_the_driver(&node);
    assert!(told(&stage, &[]).contains("operator: a test"));
    told(&stage, &["lift", &ip]);
    eventually("it is answered again", || stranger.is_answered("after"));

    // A block is told as well as an address.
    told(&stage, &["add", "10.91.1.64/28"]);
    stranger.is_dropped_by_the_driver(&node);
    told(&stage, &["lift", "10.91.1.64/28"]);
    eventually("it is answered again", || stranger.is_answered("again"));

    all_well(&finish(parties), 1, &node);
    assert_eq!(cdrs(&node, 1)[0]["ended_by"], "caller");
    nothing_left(&node);
    assert!(node.stop().unwrap());
}

#[test]
fn a_trunk_is_never_banned() {
    let Some(stage) = Stage::xdp() else { return };
    let node = stage.node();
    for block in ["10.91.1.2", "10.91.1.0/24", "10.91.2.2", "0.0.0.0/0"] {
        let output = tandem_bans(&stage, &["add", block]);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && why.contains("trunk"),
            "{block}: {why}"
        );
    }
    assert!(node.stop().unwrap());
}

/// The ban is of a /64, in which the caller is too.
#[test]
fn evidence_bans_a_neighbour_of_a_trunk_and_not_the_trunk() {
    let Some(stage) = Stage::new(Layout::default(), Family::V6, "xdp") else {
        return;
    };
    let node = stage.node();
    let stranger = Stranger::new(&stage, 66);
    eventually("it is answered", || stranger.is_answered("before"));
    stranger.offend();
    stranger.is_dropped_by_the_driver(&node);
    assert!(told(&stage, &[]).contains("fd91:1::/64"));

    let (caller, callee) = (
        stage.caller(Scenario::Caller, 1),
        stage.callee(Scenario::Callee, 1),
    );
    all_well(&stage.play(&caller, &callee), 1, &node);
    nothing_left(&node);
    assert!(node.stop().unwrap());
}

#[test]
fn bans_outlive_mediad_and_its_successor_is_told_of_the_changes() {
    let Some(stage) = Stage::xdp() else { return };
    let mut node = stage.node_as(Form::Separate);
    let (first, second) = (Stranger::new(&stage, 66), Stranger::new(&stage, 67));
    told(&stage, &["add", &first.ip.to_string()]);
    first.is_dropped_by_the_driver(&node);
    eventually("it is answered", || second.is_answered("before"));

    let mediad = node.process("mediad").unwrap();
    mediad.signal(Signal::KILL);
    eventually("mediad is gone", || mediad.ended().is_some());
    told(&stage, &["lift", &first.ip.to_string()]);
    assert!(
        !first.is_answered("mediad-gone"),
        "the program goes on without mediad"
    );
    told(&stage, &["add", &second.ip.to_string()]);
    assert!(
        !second.is_answered("mediad-gone"),
        "signaling refuses it by itself"
    );

    node.restart("mediad").unwrap();
    second.is_dropped_by_the_driver(&node);
    assert!(first.is_answered("lifted"));
    assert!(node.stop().unwrap());
}
