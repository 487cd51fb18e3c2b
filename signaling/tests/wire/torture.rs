//! The messages of RFC 4475 and RFC 5118 on the wire of a running node. Each is sent as it stands, in a
//! datagram from a trunk's address, and what comes back, or goes on to the trunk's host, is what the
//! RFC's own section asks of a proxy.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use bytes::Bytes;
use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use tokio::{net::UdpSocket, time::timeout};

use crate::bed::{Node, PATIENCE, receive, try_receive};

/// What a node that is no party of the call owes to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// This status, and nothing goes on.
    Status(u16),
    /// It goes on to the trunk's host with every byte that is not a proxy's to change, and the
    /// host's answer comes back.
    Forwarded,
    /// Nothing at all.
    Silence,
}
use Owed::{Forwarded, Silence, Status};

/// In the order of the RFC's sections.
pub(crate) const RFC4475: [(&str, Owed); 49] = [
    // 3.1.1 valid messages
    // Within a dialog that this node does not know.
    ("wsinv", Status(481)),
    ("intmeth", Forwarded),
    ("esc01", Forwarded),
    // A REGISTER for a domain that is not ours, here and below.
    ("escnull", Status(403)),
    // A method that is not REGISTER, to a URI without a user.
    ("esc02", Status(404)),
    ("lwsdisp", Forwarded),
    ("longreq", Forwarded),
    ("dblreq", Status(403)),
    ("semiuri", Forwarded),
    ("transports", Forwarded),
    // A Route that leads elsewhere, from somebody who has no dialog: this is no open relay.
    ("mpart01", Status(403)),
    ("unreason", Silence),
    ("noreason", Silence),
    // 3.1.2 invalid messages
    ("badinv01", Status(400)),
    ("clerr", Status(400)),
    ("ncl", Status(400)),
    ("scalar02", Status(400)),
    ("scalarlg", Silence),
    ("quotbal", Status(400)),
    ("ltgtruri", Status(400)),
    ("lwsruri", Status(400)),
    ("lwsstart", Status(400)),
    ("trws", Status(400)),
    ("escruri", Status(400)),
    // The Date is no concern of a proxy's.
    ("baddate", Forwarded),
    ("regbadct", Status(400)),
    ("badaspec", Status(400)),
    ("baddn", Status(400)),
    ("badvers", Status(505)),
    ("mismatch01", Status(400)),
    ("mismatch02", Status(400)),
    ("bigcode", Silence),
    // 3.2 transaction layer semantics
    ("badbranch", Forwarded),
    // 3.3 application layer semantics
    ("insuf", Status(400)),
    ("unkscm", Status(416)),
    ("novelsc", Status(416)),
    ("unksm2", Status(403)),
    ("bext01", Status(420)),
    ("invut", Forwarded),
    ("regaut01", Status(403)),
    ("multi01", Status(400)),
    ("mcl01", Status(400)),
    ("bcast", Silence),
    // Nobody forwards it; an OPTIONS may be answered by who must not (RFC 3261 section 16.3).
    ("zeromf", Status(200)),
    ("cparam01", Status(403)),
    ("cparam02", Status(403)),
    ("regescrt", Status(403)),
    ("sdp01", Forwarded),
    // 3.4 backward compatibility
    ("inv2543", Forwarded),
];

/// In the order of the RFC's sections.
pub(crate) const RFC5118: [(&str, Owed); 12] = [
    ("ipv6-good", Status(403)),
    ("ipv6-bad", Status(400)),
    ("port-ambiguous", Status(403)),
    ("port-unambiguous", Status(403)),
    // A BYE of no dialog.
    ("via-received-param-with-delim", Status(481)),
    // To no user.
    ("via-received-param-no-delim", Status(404)),
    ("ipv6-in-sdp", Forwarded),
    ("mult-ip-in-header", Status(481)),
    ("mult-ip-in-sdp", Forwarded),
    ("ipv4-mapped-ipv6", Forwarded),
    ("ipv6-bug-abnf-3-colons", Forwarded),
    ("ipv6-correct-abnf-2-colons", Forwarded),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_of_rfc_4475_has_its_answer_on_the_wire() {
    judge(44, &RFC4475, rfc4475).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_of_rfc_5118_has_its_answer_on_the_wire() {
    judge(51, &RFC5118, rfc5118).await;
}

/// Sends each message, and looks at what it got.
async fn judge(network: u8, messages: &[(&str, Owed)], read: impl Fn(&str) -> Bytes) {
    let mut node = Node::start().await;
    let mut wrong = Vec::new();
    for (index, (name, owed)) in messages.iter().enumerate() {
        let raw = read(name);
        node = fresh(node, &raw).await;
        // An address for each: what is sent again to another is not its own.
        let last = u8::try_from(index + 1).unwrap();
        let ip = Ipv4Addr::new(127, 0, network, last);
        wrong.extend(node.judge(ip, name, &raw, *owed).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    node.running.stop(PATIENCE).await;
}

/// A node that has not seen this message's topmost Via. The RFCs use some branches several times: to
/// one node that is one message, sent again.
pub(crate) async fn fresh(mut node: Node, raw: &Bytes) -> Node {
    if node.seen.insert(topmost_via(raw)) {
        return node;
    }
    node.running.stop(PATIENCE).await;
    node = Node::start().await;
    node.seen.insert(topmost_via(raw));
    node
}

impl Node {
    /// Sends a message from `ip`, and tells what is wrong with what it got.
    async fn judge(&self, ip: Ipv4Addr, name: &str, raw: &Bytes, owed: Owed) -> Option<String> {
        let socket = UdpSocket::bind((ip, answer_port(raw))).await.unwrap();
        socket.send_to(raw, self.address).await.unwrap();
        let went = match owed {
            Forwarded => {
                let went = self.forwarded(raw).await;
                went.map_err(|why| format!("{why}; the answer was {:?}", try_receive(&socket)))
            }
            Status(_) | Silence => Ok(()),
        };
        let got = match went {
            Ok(()) => self.answer(&socket).await,
            Err(why) => Err(why),
        };
        let expected = match owed {
            Status(status) => Some(status),
            Forwarded => Some(486),
            Silence => None,
        };
        if got != Ok(expected) {
            return Some(format!("{name}: {owed:?} is owed, got {got:?}"));
        }
        let passed = (owed != Forwarded).then(|| try_receive(&self.host));
        passed
            .flatten()
            .map(|passed| format!("{name}: passed on as {passed:?}"))
    }

    /// Takes what goes on, refuses it, and tells what was changed of it that is not a proxy's to change.
    pub(crate) async fn forwarded(&self, raw: &[u8]) -> Result<(), String> {
        let passed = self.forwarded_any().await?;
        unchanged(raw, passed.as_bytes())
    }

    /// Takes whatever goes on next, and refuses it.
    pub(crate) async fn forwarded_any(&self) -> Result<Message, String> {
        let mut buffer = vec![0; 65_536];
        let received = timeout(PATIENCE, self.host.recv(&mut buffer)).await;
        let length = received
            .map_err(|_| "nothing passed on".to_owned())?
            .unwrap();
        buffer.truncate(length);
        let passed = Message::parse(buffer.into()).unwrap();
        let busy = passed.respond(486).to_tag("busy").build().unwrap();
        let node = self.address;
        self.host.send_to(busy.as_bytes(), node).await.unwrap();
        if passed.method() == Some(&Method::Invite) {
            let ack = receive(&self.host).await;
            assert_eq!(ack.method(), Some(&Method::Ack));
        }
        Ok(passed)
    }
}

/// Whether all of `raw` is in `passed`, in order, but for what a proxy writes: the Request-URI, the
/// topmost Via and Max-Forwards.
fn unchanged(raw: &[u8], passed: &[u8]) -> Result<(), String> {
    let (raw_head, raw_body) = parts(raw);
    let (head, body) = parts(passed);
    if raw_body != body {
        return Err("the body was changed".to_owned());
    }
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut via_seen = false;
    for line in raw_head.split(|byte| *byte == b'\n').skip(1) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or(line);
        let name = name.trim_ascii();
        let is_via = name.eq_ignore_ascii_case(b"via") || name.eq_ignore_ascii_case(b"v");
        let is_own = name.eq_ignore_ascii_case(b"max-forwards") || is_via && !via_seen;
        via_seen |= is_via;
        if !is_own && !lines.any(|passed| passed == line) {
            let line = String::from_utf8_lossy(line);
            let head = String::from_utf8_lossy(head);
            return Err(format!("{line:?} is not in\n{head}"));
        }
    }
    Ok(())
}

fn parts(message: &[u8]) -> (&[u8], &[u8]) {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n");
    message.split_at(end.unwrap() + 4)
}

/// The port at which a message's topmost Via wants its answer.
pub(crate) fn answer_port(message: &Bytes) -> u16 {
    let message = framed(message);
    let via = message.as_ref().and_then(|message| message.via().ok());
    via.map_or(5060, |via| via.response_target().1)
}

fn topmost_via(message: &Bytes) -> String {
    let message = framed(message);
    let via = message.as_ref().and_then(|message| message.via().ok());
    via.map(|via| via.as_str().to_owned()).unwrap_or_default()
}

fn framed(message: &Bytes) -> Option<Message> {
    match Message::parse(message.clone()) {
        Ok(message) => Some(message),
        Err(error) => error.partial.map(|partial| *partial),
    }
}

/// The message with an empty line behind its headers, and with as much of a body as it says: what is
/// missing comes as blanks.
pub(crate) fn counted(raw: &Bytes) -> Bytes {
    let end = raw.windows(4).position(|at| at == b"\r\n\r\n");
    let mut counted = raw.to_vec();
    if end.is_none() {
        counted.extend_from_slice(b"\r\n");
    }
    let head = end.map_or(counted.len(), |end| end + 4);
    let message = Message::parse(Bytes::copy_from_slice(&counted[..head]));
    let said = match &message {
        Ok(message) => message.header(HeaderName::ContentLength),
        Err(error) => {
            let partial = error.partial.as_deref();
            partial.and_then(|message| message.header(HeaderName::ContentLength))
        }
    };
    let said = said.and_then(|header| header.text().parse::<usize>().ok());
    if let Some(length) = said.filter(|length| *length < 1000) {
        counted.resize(head + length, b' ');
    }
    counted.into()
}

pub(crate) fn rfc4475(name: &str) -> Bytes {
    read("rfc4475", name)
}

fn read(folder: &str, name: &str) -> Bytes {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sip/tests/torture");
    fs::read(root.join(folder).join(name).with_extension("dat"))
        .unwrap()
        .into()
}

/// RFC 5118's archive has bare line feeds, and lengths that count CR LF.
pub(crate) fn rfc5118(name: &str) -> Bytes {
    let text = String::from_utf8(read("rfc5118", name).to_vec()).unwrap();
    let text = text.replace('\n', "\r\n");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| (text.trim_end(), ""));
    let lines = head.split("\r\n").map(|line| {
        let is_length = line.starts_with("Content-Length");
        if is_length {
            format!("Content-Length: {}", body.len())
        } else {
            line.to_owned()
        }
    });
    let head = lines.collect::<Vec<_>>().join("\r\n");
    format!("{head}\r\n\r\n{body}").into()
}
