//! Input that nobody should send, while a call is up: it is counted and refused, and the call does
//! not notice.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    time::Duration,
};

use loadtest::{
    audio::{RATE, Voice},
    bed::{Family, Layout, Namespace},
    node::Node,
    sipp::Scenario,
};

use crate::stage::{NODE_MEDIA, Recorded, Stage, all_well, cdrs, eventually, finish, nothing_left};

const SECONDS: u32 = 6;

/// Plays a call and lets `attack` loose in it; the call must go on as if nothing was.
fn unharmed(datapath: &str, attack: impl Fn(&Stage, &Node<'_>)) {
    let Some(stage) = Stage::new(Layout::default(), Family::V4, datapath) else {
        return;
    };
    let node = stage.node();
    let caller = stage.caller(Scenario::Caller, SECONDS);
    let callee = stage.callee(Scenario::Callee, SECONDS);
    let recording = stage.record();
    let parties = stage.start(&caller, &callee);
    eventually("packets are forwarded", || {
        let page = node.metrics().unwrap();
        page.sum("tandem_media_packets_total", &[("result", "forwarded")]) > 100.0
    });
    attack(&stage, &node);
    all_well(&finish(parties), 1, &node);
    Recorded::of(recording).perfect(&stage, 1, u64::from(SECONDS * RATE));
    assert_eq!(cdrs(&node, 1)[0]["ended_by"], "caller");
    nothing_left(&node);
    assert!(node.stop().unwrap());
}

fn socket(space: &Namespace, from: SocketAddr) -> UdpSocket {
    let socket = space.enter(|| UdpSocket::bind(from)).unwrap().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    socket
}

/// A free port beside the caller's own.
fn stranger(stage: &Stage) -> UdpSocket {
    let from = SocketAddr::new(stage.caller_sip().ip(), 0);
    socket(stage.bed.caller(), from)
}

/// Sends to every media port of the node.
fn to_media(stage: &Stage, from: &UdpSocket, packet: &[u8]) {
    for port in NODE_MEDIA.0..=NODE_MEDIA.1 {
        from.send_to(packet, (stage.config.media, port)).unwrap();
    }
}

fn garbage(stage: &Stage, _node: &Node<'_>) {
    let stranger = stranger(stage);
    let zeros = [0; 1400];
    let text = b"GET / HTTP/1.1\r\n\r\n";
    let rtcp_cut = [0x80, 200, 0xff, 0xff, 1];
    let rtp_cut = [0x9f, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    for packet in [&[][..], &[0x80], text, &rtcp_cut, &rtp_cut, &zeros] {
        to_media(stage, &stranger, packet);
    }
}

/// The caller's own stream as a stranger would forge it, with another content.
fn forged(stage: &Stage, node: &Node<'_>) {
    let stranger = stranger(stage);
    let far = socket(
        stage.bed.callee(),
        SocketAddr::new(stage.callee_sip().ip(), 0),
    );
    for voice in [Voice::CALLER, Voice::CALLEE] {
        for mut packet in voice.packets(0, 40) {
            packet[12..].fill(0x55);
            to_media(stage, &stranger, &packet);
            to_media(stage, &far, &packet);
        }
    }
    eventually("strangers are counted", || {
        let page = node.metrics().unwrap();
        page.sum("tandem_media_packets_total", &[("result", "stranger")]) > 0.0
    });
}

#[test]
fn garbage_on_media_ports() {
    unharmed("xdp", garbage);
}

#[test]
fn garbage_on_media_ports_of_io_uring() {
    unharmed("io-uring", garbage);
}

#[test]
fn a_forged_stream() {
    unharmed("xdp", forged);
}

#[test]
fn a_forged_stream_on_io_uring() {
    unharmed("io-uring", forged);
}

#[test]
fn sip_that_is_cut_off_or_endless() {
    unharmed("xdp", |stage, _node| {
        let invite = invite(stage, "cut-off", "c=IN IP4 10.91.1.2\r\n");
        let stranger = stranger(stage);
        for length in (0..invite.len()).step_by(7) {
            let packet = &invite.as_bytes()[..length];
            stranger.send_to(packet, stage.config.sip).unwrap();
        }
        let endless = format!("INVITE sip:{} SIP/2.0\r\nVia: ", "9".repeat(50_000));
        stranger
            .send_to(endless.as_bytes(), stage.config.sip)
            .unwrap();
        stranger.send_to(&[0; 3000], stage.config.sip).unwrap();

        let announced = invite.replace("Content-Length: ", "Content-Length: 99999999");
        for start in [announced.as_bytes(), endless.as_bytes(), &[0xff; 20_000]] {
            floods_a_connection(stage, start);
        }
    });
}

/// Sends `start` and then more and more of it; the node must close before 8 MiB are in.
fn floods_a_connection(stage: &Stage, start: &[u8]) {
    let connect = || TcpStream::connect_timeout(&stage.config.sip, Duration::from_secs(3));
    let mut stream = stage.bed.caller().enter(connect).unwrap().unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let _first = stream.write_all(start);
    let more = [b'a'; 16_384];
    let refused = (0..512).any(|_| stream.write_all(&more).is_err());
    assert!(refused, "the node took 8 MiB of a message without an end");
}

#[test]
fn a_control_message_of_another_version() {
    unharmed("xdp", |stage, _node| {
        for (name, protocol) in [("media.sock", "media"), ("signal.sock", "signal")] {
            let path = stage.folder.path().join("data").join(name);
            let mut stream = UnixStream::connect(&path).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(3)))
                .unwrap();
            let mut hello = b"TNDM".to_vec();
            hello.extend_from_slice(&999_u16.to_le_bytes());
            let length = u16::try_from(protocol.len()).unwrap();
            hello.extend_from_slice(&length.to_le_bytes());
            hello.extend_from_slice(protocol.as_bytes());
            stream.write_all(&hello).unwrap();
            let mut answer = Vec::new();
            // The server says why and closes.
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer[..5], *b"TNDM\0", "{name}");
            let reason = String::from_utf8_lossy(&answer[7..]);
            assert!(reason.contains("version"), "{name}: {reason}");

            let mut stream = UnixStream::connect(&path).unwrap();
            // It may close before all of it is written.
            let _written = stream.write_all(&[0xff; 4096]);
        }
    });
}

/// An INVITE as the caller could send it; `connection` is the SDP's `c=` line.
fn invite(stage: &Stage, call_id: &str, connection: &str) -> String {
    let (node, caller) = (stage.config.sip, stage.caller_sip().ip());
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {caller}\r\ns=-\r\n{connection}t=0 0\r\n\
         m=audio 20000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    );
    format!(
        "INVITE sip:15550100@{node} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {caller}:5070;branch=z9hG4bK{call_id};rport\r\n\
         From: <sip:caller@{caller}>;tag=1\r\nTo: <sip:15550100@{node}>\r\n\
         Call-ID: {call_id}@{caller}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:caller@{caller}:5070>\r\nMax-Forwards: 70\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

/// The final status that a message gets.
fn final_status(from: &UdpSocket, to: SocketAddr, message: &str) -> u16 {
    from.send_to(message.as_bytes(), to).unwrap();
    let mut buffer = [0; 4096];
    loop {
        let length = from.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        let status: u16 = text.split(' ').nth(1).unwrap().parse().unwrap();
        if status >= 200 {
            return status;
        }
    }
}

#[test]
fn an_offer_that_cannot_be_relayed_is_refused() {
    let Some(stage) = Stage::xdp() else { return };
    let node = stage.node();
    let from = socket(
        stage.bed.caller(),
        SocketAddr::new(stage.caller_sip().ip(), 5070),
    );
    for (call_id, connection) in [
        ("no-connection", ""),
        ("nonsense", "c=IN IP4 not-an-address\r\n"),
    ] {
        let message = invite(&stage, call_id, connection);
        let status = final_status(&from, stage.config.sip, &message);
        assert!(matches!(status, 400 | 488), "{call_id}: {status}");
    }
    nothing_left(&node);
}

#[test]
fn a_caller_that_no_trunk_allows_is_refused() {
    let Some(mut stage) = Stage::xdp() else {
        return;
    };
    stage.config.allow = vec!["10.91.1.77".parse().unwrap()];
    let node = stage.node();
    let from = stranger(&stage);
    let message = invite(&stage, "unknown", "c=IN IP4 10.91.1.2\r\n");
    assert_eq!(final_status(&from, stage.config.sip, &message), 403);
    nothing_left(&node);
}
