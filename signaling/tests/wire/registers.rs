//! The REGISTERs of RFC 4475 to the registrar of the domain that they are for: challenged, or told what
//! is wrong with them, and with the right password every byte of their contacts is kept.

use std::net::Ipv4Addr;

use sip::{
    digest::{self, Answer, Challenge, Secret},
    header::HeaderName,
    message::Message,
};
use tokio::net::UdpSocket;

use crate::{
    bed::{Node, PATIENCE, receive},
    torture::{answer_port, rfc4475},
};

const DOMAIN: &str = "example.com";
const USERS: [&str; 3] = ["j.user", "watson", "user"];

/// A message, the answer to it as it stands, and who registers which contact with it where that is 401.
struct Case {
    name: &'static str,
    owed: u16,
    registers: Option<(&'static str, &'static str)>,
}

const fn refused(name: &'static str, owed: u16) -> Case {
    Case {
        name,
        owed,
        registers: None,
    }
}

const fn proven(name: &'static str, user: &'static str, contact: &'static str) -> Case {
    Case {
        name,
        owed: 401,
        registers: Some((user, contact)),
    }
}

const CASES: [Case; 8] = [
    // Nobody has a name with a NUL; nobody is told so.
    refused("escnull", 401),
    // What comes after its Content-Length is not looked at.
    proven("dblreq", "j.user", "<sip:j.user@host.example.com>"),
    refused("regbadct", 400),
    // A To that is no SIP URI.
    refused("unksm2", 400),
    // A scheme that nobody knows is no credentials; the message has no contact.
    proven("regaut01", "j.user", ""),
    // A parameter of the field, and one of the URI.
    proven("cparam01", "watson", "<sip:+19725552222@gw1.example.net>"),
    proven(
        "cparam02",
        "watson",
        "<sip:+19725552222@gw1.example.net;unknownparam>",
    ),
    // The Route in the URI is the URI's, and not the request's.
    proven(
        "regescrt",
        "user",
        "<sip:user@example.com?Route=%3Csip:sip.example.com%3E>",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_register_of_rfc_4475_has_its_answer_from_the_registrar() {
    let mut wrong = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        let Case {
            name,
            owed,
            registers,
        } = case;
        // A node for each: what one registers is not in the next one's answer.
        let node = Node::of(DOMAIN, &USERS).await;
        let raw = rfc4475(name);
        let last = u8::try_from(index + 1).unwrap();
        let ip = Ipv4Addr::new(127, 0, 45, last);
        let socket = UdpSocket::bind((ip, answer_port(&raw))).await.unwrap();
        socket.send_to(&raw, node.address).await.unwrap();
        let challenge = receive(&socket).await;
        if challenge.status() != Some(*owed) {
            wrong.push(format!("{name}: {owed} is owed: {challenge:?}"));
        } else if let Some((user, contact)) = registers {
            let proven = prove(&Message::parse(raw).unwrap(), &challenge, user);
            socket
                .send_to(proven.as_bytes(), node.address)
                .await
                .unwrap();
            let answer = receive(&socket).await;
            if answer.status() != Some(200) || !has(&answer, contact) {
                wrong.push(format!("{name}: 200 with {contact:?} is owed: {answer:?}"));
            }
        }
        node.running.stop(PATIENCE).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The same again with credentials.
fn prove(request: &Message, challenge: &Message, user: &str) -> Message {
    let answer = Answer {
        username: user,
        secret: Secret::Password("secret"),
        realm: Some(DOMAIN),
        method: "REGISTER",
        uri: "sip:example.com",
        body: b"",
        cnonce: "0a4f113b",
        nc: 1,
    };
    let (value, _) = digest::answer(&Challenge::of_response(challenge), &answer).unwrap();
    let via = request.via().unwrap();
    let next = format!("{} REGISTER", request.cseq().unwrap().number + 1);
    request
        .edit()
        .replace_first(HeaderName::Via, format!("{}-again", via.as_str()))
        .replace_first(HeaderName::CSeq, next)
        .push(HeaderName::Authorization, value)
        .finish()
        .unwrap()
}

/// Whether the one binding is this, or there is none.
fn has(answer: &Message, contact: &str) -> bool {
    let mut values = answer.values(HeaderName::Contact);
    let first = values.next().unwrap_or_default();
    let is_only = values.next().is_none() && first.is_empty() == contact.is_empty();
    is_only && first.starts_with(contact.as_bytes())
}
