//! Telephone keys pressed in a call, as the RTP of its parties shows them.

use std::{
    net::{SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use rtp::{
    Packet, Packetizer,
    dtmf::{TelephoneEvent, key},
};
use serde_json::{Value, json};

use crate::{common::json as printed, node::Node};

/// A phone of few words: SIP on one socket, RTP on another.
struct Phone {
    sip: UdpSocket,
    rtp: UdpSocket,
}

impl Phone {
    fn new(port: u16) -> Self {
        let bind = |port| {
            let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
            let patience = Some(Duration::from_secs(60));
            socket.set_read_timeout(patience).unwrap();
            socket
        };
        Self {
            sip: bind(port),
            rtp: bind(0),
        }
    }

    /// PCMA, and telephone events by this payload type.
    fn sdp(&self, events: Option<u8>) -> String {
        let port = self.rtp.local_addr().unwrap().port();
        let mut text = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8"
        );
        if let Some(number) = events {
            text.push_str(&format!(
                " {number}\r\na=rtpmap:{number} telephone-event/8000\r\na=fmtp:{number} 0-15"
            ));
        }
        text.push_str("\r\na=ptime:20\r\n");
        text
    }

    /// The next message that begins so; others, such as OPTIONS of the node, are left alone.
    fn next(&self, start: &str) -> (String, SocketAddr) {
        let mut buffer = [0; 4096];
        loop {
            let (len, source) = self.sip.recv_from(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text.starts_with(start) {
                return (text, source);
            }
        }
    }

    /// What comes on the RTP socket until nothing does for half a second.
    fn hear(&self) -> Vec<Vec<u8>> {
        let patience = Some(Duration::from_millis(500));
        self.rtp.set_read_timeout(patience).unwrap();
        let mut buffer = [0; 2048];
        let mut heard = Vec::new();
        while let Ok((len, _)) = self.rtp.recv_from(&mut buffer) {
            heard.push(buffer[..len].to_vec());
        }
        heard
    }
}

/// The header lines of these names.
pub(crate) fn lines(message: &str, names: &[&str]) -> String {
    let named = |line: &&str| {
        names
            .iter()
            .any(|name| line.starts_with(&format!("{name}:")))
    };
    let lines = message.split("\r\n").take_while(|line| !line.is_empty());
    lines
        .filter(named)
        .map(|line| format!("{line}\r\n"))
        .collect()
}

/// Where a description wants RTP.
pub(crate) fn media_of(message: &str) -> SocketAddr {
    let line = message
        .split("\r\n")
        .find(|line| line.starts_with("m=audio "))
        .unwrap();
    let port = line.split(' ').nth(1).unwrap().parse().unwrap();
    SocketAddr::from(([127, 0, 0, 1], port))
}

struct Call {
    caller: Phone,
    callee: Phone,
    /// Where each is to send.
    caller_sends: SocketAddr,
    callee_sends: SocketAddr,
}

/// A call that is up.
fn call(node: &Node, id: &str, events: [Option<u8>; 2]) -> Call {
    let (caller, callee) = (Phone::new(0), Phone::new(node.callee));
    let to = ("127.0.0.1", node.sip);
    let here = caller.sip.local_addr().unwrap();
    let body = caller.sdp(events[0]);
    let length = body.len();
    let head = |method: &str, target: &str, tag: &str, number: &str| {
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{id}{method}\r\nMax-Forwards: 70\r\n\
             From: <sip:me@127.0.0.1>;tag=a\r\nTo: <sip:100@127.0.0.1>{tag}\r\nCall-ID: {id}\r\nCSeq: 1 {number}\r\n\
             Contact: <sip:me@{here}>\r\n"
        )
    };
    let target = format!("sip:100@127.0.0.1:{}", node.sip);
    let invite = head("INVITE", &target, "", "INVITE");
    let invite =
        format!("{invite}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}");
    caller.sip.send_to(invite.as_bytes(), to).unwrap();

    let (asked, source) = callee.next("INVITE ");
    let kept = lines(
        &asked,
        &["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"],
    );
    let kept = kept.replace("To: <sip:100@127.0.0.1>", "To: <sip:100@127.0.0.1>;tag=b");
    let (there, body) = (callee.sip.local_addr().unwrap(), callee.sdp(events[1]));
    let length = body.len();
    let answer = format!(
        "SIP/2.0 200 OK\r\n{kept}Contact: <sip:100@{there}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    callee.sip.send_to(answer.as_bytes(), source).unwrap();

    let (answered, _) = caller.next("SIP/2.0 200");
    let route = lines(&answered, &["Record-Route"]).replace("Record-Route", "Route");
    let ack = head("ACK", &format!("sip:100@{there}"), ";tag=b", "ACK");
    let ack = format!("{ack}{route}Content-Length: 0\r\n\r\n");
    caller.sip.send_to(ack.as_bytes(), to).unwrap();
    callee.next("ACK ");
    Call {
        caller_sends: media_of(&answered),
        callee_sends: media_of(&asked),
        caller,
        callee,
    }
}

/// The keys that somebody heard by events of this payload type, in one stream of packets.
fn keys(heard: &[Vec<u8>], payload_type: u8) -> String {
    let packets: Vec<_> = heard
        .iter()
        .map(|octets| Packet::parse(octets).unwrap())
        .collect();
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence(), pair[0].sequence().wrapping_add(1));
        assert_eq!(pair[1].ssrc(), pair[0].ssrc());
    }
    let told: Vec<_> = packets
        .iter()
        .filter(|packet| packet.payload_type() == payload_type)
        .map(|packet| (packet, TelephoneEvent::parse(packet.payload()).unwrap()))
        .collect();
    let mut keys = String::new();
    for event in told.chunk_by(|_, (next, _)| !next.marker()) {
        let (first, pressed) = event[0];
        assert!(first.marker());
        assert!(
            event
                .iter()
                .all(|(packet, _)| packet.timestamp() == first.timestamp())
        );
        assert!(event.is_sorted_by_key(|(_, event)| event.duration));
        let ends = event.iter().filter(|(_, event)| event.end);
        assert_eq!(
            ends.map(|(_, event)| event.duration).collect::<Vec<_>>(),
            [800; 3]
        );
        keys.extend(key(pressed.event));
    }
    keys
}

#[test]
fn a_party_hears_the_keys_that_are_pressed() {
    let node = Node::start();
    let admin = node.key();
    let call = call(&node, "keys", [Some(101), Some(96)]);
    node.wait_for_state("answered");
    let id = node.calls()[0]["id"].as_str().unwrap().to_owned();
    let press = |body: Value| node.rest(&admin, "POST", &format!("/v1/calls/{id}/dtmf"), &body);

    // The caller talks meanwhile.
    let talk = || {
        let mut stream = Packetizer::new(8, 77, 65_500, 4_000);
        for _ in 0..75 {
            let mut packet = Vec::new();
            stream.packet(&[0xd5; 160], 160, &mut packet);
            call.caller.rtp.send_to(&packet, call.caller_sends).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    };
    let heard = thread::scope(|scope| {
        scope.spawn(talk);
        let hearing = scope.spawn(|| call.callee.hear());
        let (status, up) = press(json!({ "party": "callee", "digits": "12#", "gap_ms": 50 }));
        assert_eq!((status, &up["id"]), (202, &json!(id)), "{up}");
        hearing.join().unwrap()
    });
    assert_eq!(keys(&heard, 96), "12#");
    assert!(
        heard
            .iter()
            .all(|octets| Packet::parse(octets).unwrap().ssrc() == 77)
    );

    // The callee has not said anything yet.
    let shown = printed(&node.ask(&["calls", "dtmf", &id, "caller", "9wD", "--json"]));
    assert_eq!(shown["id"], json!(id));
    let mut heard = call.caller.hear();
    heard.extend(call.caller.hear());
    assert_eq!(keys(&heard, 101), "9D");
    let mut stream = Packetizer::new(8, 88, 1, 1);
    let mut packet = Vec::new();
    stream.packet(&[0xd5; 160], 160, &mut packet);
    call.callee.rtp.send_to(&packet, call.callee_sends).unwrap();
    assert_eq!(call.caller.hear(), [packet]);

    for (wrong, part) in [
        (
            json!({ "party": "callee", "digits": "1x" }),
            "'x' is no key",
        ),
        (json!({ "party": "callee", "digits": "" }), "no digits"),
        (
            json!({ "party": "callee", "digits": "1", "duration_ms": 10 }),
            "40 to 6000",
        ),
    ] {
        let (status, problem) = press(wrong);
        assert_eq!(status, 422, "{problem}");
        assert!(problem.to_string().contains(part), "{problem}");
    }
    let changes = node.changes("calls");
    assert_eq!(changes[0]["action"], "dtmf");
    assert!(!changes[0].to_string().contains("12#"), "{}", changes[0]);
}

#[test]
fn who_knows_no_telephone_events_is_told_none() {
    let node = Node::start();
    let _call = call(&node, "nokeys", [Some(101), None]);
    node.wait_for_state("answered");
    let id = node.calls()[0]["id"].as_str().unwrap().to_owned();
    let refused = node.ask(&["calls", "dtmf", &id, "caller", "1"]);
    assert!(!refused.status.success());
    let told = crate::common::output(&refused);
    assert!(told.contains("telephone-event"), "{told}");
}
