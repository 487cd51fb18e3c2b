//! The torture messages on a stream, where Content-Length alone says where a message ends. A sender that
//! counts its body right gets the answer that it gets by datagram, and the connection goes on; where
//! the border is lost, it is told so and cut off.

use std::net::Ipv4Addr;

use bytes::Bytes;
use sip::{
    message::Message,
    stream::{Frame, Framer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    bed::{Node, PATIENCE, try_receive},
    torture::{Owed, RFC4475, RFC5118, counted, fresh, rfc4475, rfc5118},
};

/// What a stream gets beyond the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next message on it is answered.
    GoesOn,
    /// The node closes it.
    Closed,
}

/// Messages whose end nobody can know: RFC 3261 section 18.3 has them answered 400, and there is no
/// going on.
const BORDERLESS: [&str; 3] = [
    // Content-Length: -999
    "ncl",   // Two that differ.
    "mcl01", // None, which a stream must have.
    "inv2543",
];
/// Its body is shorter than it says: what comes next is taken for the rest.
const WAITS: &str = "clerr";
/// Two requests in one datagram; on a stream they are two.
const TWO: &str = "dblreq";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_of_rfc_4475_has_its_answer_on_a_stream() {
    let mut wrong = Vec::new();
    let mut node = Node::start().await;
    for (index, (name, owed)) in RFC4475.iter().enumerate() {
        if *name == WAITS || *name == TWO {
            continue;
        }
        let raw = counted(&rfc4475(name));
        node = fresh(node, &raw).await;
        let ip = Ipv4Addr::new(127, 0, 45, u8::try_from(index + 1).unwrap());
        let (owed, then) = match BORDERLESS.contains(name) {
            true => (Owed::Status(400), Then::Closed),
            false => (*owed, Then::GoesOn),
        };
        wrong.extend(node.judge_stream(ip, name, &raw, owed, then).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_of_rfc_5118_has_its_answer_on_a_stream() {
    let mut wrong = Vec::new();
    let mut node = Node::start().await;
    for (index, (name, owed)) in RFC5118.iter().enumerate() {
        let raw = counted(&rfc5118(name));
        node = fresh(node, &raw).await;
        let ip = Ipv4Addr::new(127, 0, 52, u8::try_from(index + 1).unwrap());
        wrong.extend(node.judge_stream(ip, name, &raw, *owed, Then::GoesOn).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_all_there_is_waited_for() {
    let node = Node::start().await;
    let raw = rfc4475(WAITS);
    let mut stream = connect(&node, Ipv4Addr::new(127, 0, 45, 100)).await;
    stream.write_all(&raw).await.unwrap();
    // The probe is taken for its body, and so are others until there are 9,999 bytes of it.
    let head = raw.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4;
    let rest = 9_999 - (raw.len() - head);
    let probe = probe();
    stream.write_all(&probe).await.unwrap();
    stream
        .write_all(&vec![b' '; rest - probe.len()])
        .await
        .unwrap();
    let passed = node.forwarded_any().await.unwrap();
    assert_eq!(passed.body().len(), 9_999);
    let (statuses, then) = statuses(&mut stream, 1).await;
    assert_eq!((&statuses[..], then), (&[486][..], Then::GoesOn));
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_requests_that_follow_each_other_are_two() {
    let node = Node::start().await;
    let mut stream = connect(&node, Ipv4Addr::new(127, 0, 45, 101)).await;
    stream.write_all(&rfc4475(TWO)).await.unwrap();
    let passed = node.forwarded_any().await.unwrap();
    assert!(passed.request_uri_raw().starts_with(b"sip:joe@"));
    let (statuses, then) = statuses(&mut stream, 2).await;
    // The second body is five bytes longer than it says: these begin no message.
    assert_eq!((&statuses[..], then), (&[403, 486][..], Then::Closed));
    node.running.stop(PATIENCE).await;
}

impl Node {
    /// Sends a message on a connection of its own from `ip`, and tells what is wrong with what it got.
    async fn judge_stream(
        &self,
        ip: Ipv4Addr,
        name: &str,
        raw: &Bytes,
        owed: Owed,
        then: Then,
    ) -> Option<String> {
        let mut stream = connect(self, ip).await;
        stream.write_all(raw).await.unwrap();
        if owed == Owed::Forwarded
            && let Err(why) = self.forwarded(raw).await
        {
            return Some(format!("{name}: {why}"));
        }
        let expected = match owed {
            Owed::Status(status) => vec![status],
            Owed::Forwarded => vec![486],
            Owed::Silence => vec![],
        };
        let got = statuses(&mut stream, expected.len()).await;
        if got != (expected, then) {
            return Some(format!(
                "{name}: {owed:?} is owed, then {then:?}; got {got:?}"
            ));
        }
        let passed = (owed != Owed::Forwarded).then(|| try_receive(&self.host));
        passed
            .flatten()
            .map(|passed| format!("{name}: passed on as {passed:?}"))
    }
}

async fn connect(node: &Node, ip: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ip, 0).into()).unwrap();
    socket.connect(node.tcp).await.unwrap()
}

/// The final statuses of what was sent so far, which are to be so many, and whether the connection goes
/// on.
async fn statuses(stream: &mut TcpStream, count: usize) -> (Vec<u16>, Then) {
    let mut probed = false;
    let mut framer = Framer::default();
    let mut statuses = Vec::new();
    let mut chunk = vec![0; 65_536];
    loop {
        if !probed && statuses.len() >= count {
            probed = true;
            // It may be closed already.
            drop(stream.write_all(&probe()).await);
        }
        let read = timeout(PATIENCE, stream.read(&mut chunk)).await;
        let length = read.expect("an answer, or the end").unwrap_or(0);
        if length == 0 {
            return (statuses, Then::Closed);
        }
        framer.push(&chunk[..length]);
        while let Some(frame) = framer.poll().unwrap() {
            let Frame::Message(response) = frame else {
                panic!("{frame:?}");
            };
            let status = response.status().unwrap();
            if response.call_id() == Ok("probe") {
                assert_eq!(status, 483);
                return (statuses, Then::GoesOn);
            }
            if status != 100 {
                statuses.push(status);
            }
        }
    }
}

/// A request that is refused, for the hops that it has not left.
fn probe() -> Vec<u8> {
    let text = "MESSAGE sip:100@callee.test SIP/2.0\r\nVia: SIP/2.0/TCP a.test;branch=z9hG4bKprobe\r\n\
         Max-Forwards: 0\r\nFrom: <sip:a@a.test>;tag=1\r\nTo: <sip:100@callee.test>\r\n\
         Call-ID: probe\r\nCSeq: 7 MESSAGE\r\nContent-Length: 0\r\n\r\n";
    let probe = Message::parse(text.into()).unwrap();
    probe.into_bytes().to_vec()
}
