//! What is refused, and with what.

use super::{identity, invite, request, values};
use crate::message::{Message, Method, RequestBuilder};
use crate::proxy::{Admission, Forward, Refusal, Routed, admit, forward, preprocess};
use crate::token::TokenGenerator;

fn judge(request: &Message) -> Result<Admission, Refusal> {
    admit(request, &identity(), &["path"])
}

#[test]
fn a_request_in_order_is_routed() {
    let request = invite()
        .header("Max-Forwards", "70")
        .header("Proxy-Require", "path");
    assert_eq!(judge(&request.build().unwrap()), Ok(Admission::Route));
    assert_eq!(judge(&invite().build().unwrap()), Ok(Admission::Route));
}

#[test]
fn used_up_max_forwards_is_483_but_for_options() {
    let zero = invite().header("Max-Forwards", "0").build().unwrap();
    let refusal = judge(&zero).unwrap_err();
    assert_eq!(
        (refusal.clone(), refusal.status()),
        (Refusal::TooManyHops, 483)
    );
    let response = refusal.response(&zero, "t").unwrap();
    assert_eq!(
        (response.status(), response.to().unwrap().tag()),
        (Some(483), Some("t"))
    );

    let options = RequestBuilder::new(&Method::Options, "sip:bob@example.test")
        .copy(&zero, crate::header::HeaderName::Via)
        .copy(&zero, crate::header::HeaderName::From)
        .copy(&zero, crate::header::HeaderName::To)
        .copy(&zero, crate::header::HeaderName::CallId)
        .header("CSeq", "1 OPTIONS")
        .header("Max-Forwards", "0");
    assert_eq!(
        judge(&options.build().unwrap()),
        Ok(Admission::AnswerOptions)
    );
}

#[test]
fn unknown_proxy_require_is_420_and_named() {
    let request = invite()
        .header("Proxy-Require", "path, foo")
        .header("Proxy-Require", "bar");
    let request = request.build().unwrap();
    let refusal = judge(&request).unwrap_err();
    assert_eq!(refusal.status(), 420);
    let response = refusal.response(&request, "t").unwrap();
    assert_eq!(values(&response, "Unsupported"), ["foo, bar"]);
}

#[test]
fn an_unknown_scheme_is_416_and_a_broken_message_400() {
    let scheme = request("nobodyknows:x").build().unwrap();
    assert_eq!(judge(&scheme).unwrap_err().status(), 416);
    let twice = invite().header("Call-ID", "another").build().unwrap();
    assert_eq!(judge(&twice).unwrap_err().status(), 400);
}

#[test]
fn an_ack_is_never_answered() {
    let zero = invite().header("Max-Forwards", "0").build().unwrap();
    let ack = Message::parse(
        String::from_utf8(zero.as_bytes().to_vec())
            .unwrap()
            .replace("INVITE", "ACK")
            .into(),
    );
    let ack = ack.unwrap();
    assert!(judge(&ack).unwrap_err().response(&ack, "t").is_none());
}

/// What comes back to us after a turn by a proxy elsewhere, which put its Via on top.
fn turn(received: &Message, uri: &str) -> Message {
    let identity = identity();
    let mut tokens = TokenGenerator::new(1);
    let routed = preprocess(received, &identity).unwrap();
    let sent = send(&routed, &identity.branch(&mut tokens, received));
    let back = sent.edit().request_uri(uri);
    back.push_top("Via", "SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKelsewhere")
        .finish()
        .unwrap()
}

fn send(routed: &Routed, branch: &str) -> Message {
    let plan = Forward {
        target: Some("sip:bob@192.0.2.77"),
        route: &[],
        directions: None,
        record_route: None,
        transport: crate::header::Transport::Udp,
        sent_by: "192.0.2.10",
        branch,
    };
    forward(routed, &plan).unwrap()
}

#[test]
fn a_loop_is_482_and_a_spiral_is_not() {
    let received = invite().build().unwrap();
    let looped = turn(&received, "sip:bob@example.test");
    assert_eq!(judge(&looped), Err(Refusal::Loop));
    let spiral = turn(&received, "sip:carol@example.test");
    assert_eq!(judge(&spiral), Ok(Admission::Route));
    // The spiral comes back a second time, then with the same target: now it is a loop.
    let looped = turn(&spiral, "sip:carol@example.test");
    assert_eq!(judge(&looped), Err(Refusal::Loop));
}

#[test]
fn a_stranger_cannot_make_up_a_loop() {
    let via = "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKx.00000000deadbeef";
    let forged = invite().header("Via", via).build().unwrap();
    assert_eq!(judge(&forged), Ok(Admission::Route));
}

#[test]
fn a_stateless_branch_is_the_same_for_each_retransmission_only() {
    let identity = identity();
    let received = invite().build().unwrap();
    let branch = identity.stateless_branch(&received);
    assert_eq!(identity.stateless_branch(&received.clone()), branch);
    let via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnext;rport";
    let other = received.edit().replace("Via", via).finish().unwrap();
    assert_ne!(identity.stateless_branch(&other), branch);
}
