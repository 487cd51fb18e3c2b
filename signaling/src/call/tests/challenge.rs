//! Trunks that challenge: the node answers, and the caller hears nothing of it.

use sip::{
    digest::{Algorithm, Challenge, Credentials, Ha1, Hash},
    header::HeaderName,
    message::{Message, Method},
};
use store::Cause;

use super::bed::*;

fn challenge(request: &Message, status: u16, realm: &str, nonce: &str, stale: bool) -> Message {
    let mut challenge = Challenge::new(realm, nonce, Algorithm::from(Hash::Sha256));
    challenge.stale = stale;
    let name = match status {
        401 => HeaderName::WwwAuthenticate,
        _ => HeaderName::ProxyAuthenticate,
    };
    let response = request.respond(status).to_tag("proxy");
    let response = response.header(name, challenge.to_value().unwrap());
    response.build().unwrap()
}

/// Whether a request has the right credentials, for the nonce.
fn proves(request: &Message, nonce: &str) -> bool {
    let value = request
        .header(HeaderName::Authorization)
        .or_else(|| request.header(HeaderName::ProxyAuthorization));
    let Some(value) = value else {
        return false;
    };
    let given = Credentials::parse(value.value()).unwrap();
    let ha1 = Ha1::new(Hash::Sha256, "u", "carrier.test", "secret");
    let method = request.method().unwrap().as_str();
    assert_eq!(given.uri, request.request_uri().unwrap().as_str());
    given.nonce == nonce && given.verify(&ha1, method, request.body())
}

fn number(message: &Message) -> u32 {
    message.cseq().unwrap().number
}

/// The trunk challenges a request, and gets it again with credentials.
fn challenged(bed: &mut Bed, request: &Message, nonce: &str) -> Message {
    let method = request.method().unwrap().clone();
    bed.receive_message(
        CALLEE,
        &challenge(request, 407, "carrier.test", nonce, false),
    );
    if method == Method::Invite {
        let ack = bed.request(CALLEE, &Method::Ack);
        assert_eq!(number(&ack), number(request));
    }
    let again = bed.request(CALLEE, &method);
    assert!(proves(&again, nonce));
    assert_eq!(number(&again), number(request) + 1);
    assert_eq!(again.call_id(), request.call_id());
    assert_ne!(
        again.via().unwrap().branch(),
        request.via().unwrap().branch()
    );
    assert_eq!(again.vias().count(), request.vias().count());
    again
}

#[test]
fn a_call_through_a_trunk_that_challenges_everything() {
    let mut bed = Bed::new();
    let request = invite("+9555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let first = bed.request(CALLEE, &Method::Invite);
    assert!(!proves(&first, "n1"));
    let forwarded = challenged(&mut bed, &first, "n1");
    assert_eq!(number(&forwarded), 2);
    assert_eq!(body(&forwarded), body(&first));

    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    assert_eq!(number(&bed.response(CALLER, 180)), 1);
    let answered = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &answered));
    let ok = bed.response(CALLER, 200);
    assert_eq!(number(&ok), 1, "the caller's own number comes back");
    let mut caller = Party::caller(&request, &ok);
    let mut callee = Party::callee(&forwarded, CALLEE);
    bed.receive_message(CALLER, &caller.ack(""));
    assert_eq!(number(&bed.request(CALLEE, &Method::Ack)), 2);

    // Within the call: the caller's requests stay ahead, and go further ahead by a challenge.
    bed.receive_message(CALLER, &caller.send(&Method::Info, ""));
    let info = bed.request(CALLEE, &Method::Info);
    assert_eq!(number(&info), 3);
    bed.receive_message(CALLEE, &info.respond(200).build().unwrap());
    assert_eq!(number(&bed.response(CALLER, 200)), 2);
    let offer = sdp("192.0.2.10", &[4000], "sendonly");
    bed.receive_message(CALLER, &caller.send(&Method::Invite, &offer));
    let first = bed.request(CALLEE, &Method::Invite);
    assert_eq!(number(&first), 4);
    let again = challenged(&mut bed, &first, "n2");
    let held = sdp("192.0.2.20", &[5000], "recvonly");
    bed.receive_message(CALLEE, &answer(&again, 200, CALLEE, &held));
    let ok = bed.response(CALLER, 200);
    assert_eq!(number(&ok), 3);
    bed.receive_message(CALLER, &caller.ack(""));
    assert_eq!(number(&bed.request(CALLEE, &Method::Ack)), 5);
    // What the trunk sends has numbers of its own.
    let info = callee.send(&Method::Info, "");
    bed.receive_message(CALLEE, &info);
    let passed = bed.request(CALLER, &Method::Info);
    assert_eq!(number(&passed), number(&info));
    bed.receive_message(CALLER, &passed.respond(200).build().unwrap());
    bed.response(CALLEE, 200);

    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    assert_eq!(number(&bye), 6);
    let bye = challenged(&mut bed, &bye, "n3");
    assert_eq!(number(&bye), 7);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.assert_quiet();
    assert_eq!(bed.cdr().status, 200);
    bed.assert_empty();
}

#[test]
fn this_nodes_own_bye_is_ahead_as_well() {
    let mut bed = Bed::new();
    let request = invite("+9555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let first = bed.request(CALLEE, &Method::Invite);
    let forwarded = challenged(&mut bed, &first, "n1");
    let answered = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &answered));
    let ok = bed.response(CALLER, 200);
    bed.receive_message(CALLER, &Party::caller(&request, &ok).ack(""));
    bed.request(CALLEE, &Method::Ack);
    let id = bed.core.list()[0].id.clone();
    assert!(bed.core.hang_up_by_id(bed.now, &id));
    bed.settle();
    let bye = bed.request(CALLEE, &Method::Bye);
    assert_eq!(number(&bye), 3);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    bed.assert_empty();
}

#[test]
fn a_challenge_that_is_not_the_trunks_is_neither_answered_nor_passed_on() {
    for (realm, status) in [("bank.test", 407), ("bank.test", 401), ("", 407)] {
        let mut bed = Bed::new();
        bed.receive_message(
            CALLER,
            &invite("+9555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv")),
        );
        let first = bed.request(CALLEE, &Method::Invite);
        bed.receive_message(CALLEE, &challenge(&first, status, realm, "n", false));
        bed.request(CALLEE, &Method::Ack);
        let refused = bed.next(CALLER).message;
        assert!(
            matches!(refused.status(), Some(500..=599)),
            "{:?}",
            refused.status()
        );
        assert!(refused.header(HeaderName::ProxyAuthenticate).is_none());
        assert!(refused.header(HeaderName::WwwAuthenticate).is_none());
        bed.assert_quiet();
    }
}

#[test]
fn a_trunk_that_does_not_know_us_is_asked_once_again_and_no_more() {
    let mut bed = Bed::new();
    bed.receive_message(
        CALLER,
        &invite("+9555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv")),
    );
    let first = bed.request(CALLEE, &Method::Invite);
    let second = challenged(&mut bed, &first, "n1");
    // The nonce is too old: once more. Then it is the password.
    bed.receive_message(CALLEE, &challenge(&second, 407, "carrier.test", "n2", true));
    bed.request(CALLEE, &Method::Ack);
    let third = bed.request(CALLEE, &Method::Invite);
    assert!(proves(&third, "n2"));
    assert_eq!(number(&third), 3);
    bed.receive_message(CALLEE, &challenge(&third, 407, "carrier.test", "n3", true));
    bed.request(CALLEE, &Method::Ack);
    assert!(matches!(bed.next(CALLER).message.status(), Some(500..=599)));
    bed.assert_quiet();
    assert_eq!(bed.cdr().cause, Cause::Unreachable);
}

#[test]
fn a_caller_who_gives_up_cancels_the_request_with_credentials() {
    let mut bed = Bed::new();
    let request = invite("+9555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let first = bed.request(CALLEE, &Method::Invite);
    let forwarded = challenged(&mut bed, &first, "n1");
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    bed.receive(CALLER, cancel_of(&request));
    bed.response(CALLER, 200);
    let cancel = bed.request(CALLEE, &Method::Cancel);
    assert_eq!(number(&cancel), 2);
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    bed.receive_message(CALLEE, &forwarded.respond(487).to_tag("x").build().unwrap());
    bed.request(CALLEE, &Method::Ack);
    assert_eq!(number(&bed.response(CALLER, 487)), 1);
    bed.assert_quiet();
}
