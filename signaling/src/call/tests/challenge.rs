//! Trunks that challenge: the node answers, and the caller hears nothing of it.

use sip::{
    digest::{Algorithm, Challenge, Credentials, Ha1, Hash},
    header::HeaderName,
    message::{Message, Method},
};
use store::Cause;

use super::bed::*;

pub(super) fn challenge(
    request: &Message,
    status: u16,
    realm: &str,
    nonce: &str,
    stale: bool,
) -> Message {
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

/// The credentials of a request, which there are.
fn credentials(request: &Message) -> Vec<u8> {
    let value = request.header(HeaderName::ProxyAuthorization).unwrap();
    value.value().to_vec()
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
    let ack = bed.request(CALLEE, &Method::Ack);
    assert_eq!(number(&ack), 2);
    assert_eq!(credentials(&ack), credentials(&forwarded));

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
    let ack = bed.request(CALLEE, &Method::Ack);
    assert_eq!(number(&ack), 5);
    assert_eq!(credentials(&ack), credentials(&again));
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
    let id = bed.core.list(None)[0].id.clone();
    assert!(bed.core.hang_up_by_id(bed.now, &id));
    bed.settle();
    let bye = bed.request(CALLEE, &Method::Bye);
    assert_eq!(number(&bye), 3);
    let bye = challenged(&mut bed, &bye, "n2");
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    bed.assert_empty();
}

/// A call through the trunk that challenges, up: the caller's end.
fn up(bed: &mut Bed) -> Party {
    let request = invite("+9555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let first = bed.request(CALLEE, &Method::Invite);
    let forwarded = challenged(bed, &first, "n1");
    let answered = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &answered));
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    caller
}

#[test]
fn a_challenge_to_our_bye_is_answered_for_the_trunks_realm_alone() {
    let mut bed = Bed::new();
    up(&mut bed);
    bed.core.stop(bed.now);
    bed.settle();
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &challenge(&bye, 401, "bank.test", "n", false));
    let bye = bed.request(CALLER, &Method::Bye);
    // And no challenge of who has no credentials of ours.
    bed.receive_message(CALLER, &challenge(&bye, 401, "carrier.test", "n", false));
    bed.assert_quiet();
    assert_eq!(bed.cdr().cause, Cause::Shutdown);
    bed.assert_empty();
}

#[test]
fn a_request_that_was_overtaken_is_asked_again_beyond_what_overtook_it() {
    let mut bed = Bed::new();
    let mut caller = up(&mut bed);
    bed.receive_message(CALLER, &caller.send(&Method::Info, ""));
    let first = bed.request(CALLEE, &Method::Info);
    bed.receive_message(CALLER, &caller.send(&Method::Info, ""));
    let second = bed.request(CALLEE, &Method::Info);
    assert_eq!((number(&first), number(&second)), (3, 4));
    bed.receive_message(CALLEE, &challenge(&first, 407, "carrier.test", "n2", false));
    let again = bed.request(CALLEE, &Method::Info);
    assert_eq!(number(&again), 5, "no number is used twice");
    bed.receive_message(CALLEE, &second.respond(200).build().unwrap());
    assert_eq!(number(&bed.response(CALLER, 200)), 3);
    bed.receive_message(CALLEE, &again.respond(200).build().unwrap());
    assert_eq!(number(&bed.response(CALLER, 200)), 2);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    assert!(number(&bye) > 5);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    assert_eq!(number(&bed.response(CALLER, 200)), 4);
    bed.assert_empty();
}

#[test]
fn a_prack_that_is_challenged_still_names_the_invite_that_the_trunk_has() {
    let mut bed = Bed::new();
    let request = invite("+9555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let first = bed.request(CALLEE, &Method::Invite);
    let forwarded = challenged(&mut bed, &first, "n1");
    let answered = sdp("192.0.2.20", &[5000], "sendrecv");
    let early = answer(&forwarded, 183, CALLEE, &answered);
    bed.receive_message(CALLEE, &early);
    let early = bed.response(CALLER, 183);
    let mut caller = Party::caller(&request, &early);
    let prack = caller.send(&Method::Prack, "");
    let prack = prack
        .edit()
        .push(HeaderName::RAck, "1 1 INVITE")
        .finish()
        .unwrap();
    bed.receive_message(CALLER, &prack);
    let passed = bed.request(CALLEE, &Method::Prack);
    let rack = |message: &Message| {
        let rack = message.header(HeaderName::RAck).unwrap();
        rack.text().into_owned()
    };
    assert_eq!((number(&passed), rack(&passed)), (3, "1 2 INVITE".into()));
    let response = challenge(&passed, 407, "carrier.test", "n2", false);
    bed.receive_message(CALLEE, &response);
    let again = bed.request(CALLEE, &Method::Prack);
    assert_eq!((number(&again), rack(&again)), (4, "1 2 INVITE".into()));
    bed.receive_message(CALLEE, &again.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    // The ACK is of the INVITE, however far the dialog has moved on.
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    bed.response(CALLER, 200);
    bed.receive_message(CALLER, &caller.ack(""));
    assert_eq!(number(&bed.request(CALLEE, &Method::Ack)), 2);
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn a_trunk_that_calls_may_challenge_what_the_callee_sends() {
    const UPSTREAM: &str = "192.0.2.30:5060";
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", "");
    bed.receive_message(UPSTREAM, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    // Its Via names another port of another host, but answers go to where it sent from.
    let ok = bed.response(UPSTREAM, 200);
    bed.receive_message(UPSTREAM, &Party::caller(&request, &ok).ack(""));
    bed.request(CALLEE, &Method::Ack);
    let mut callee = Party::callee(&forwarded, CALLEE);
    for (expected, own) in [(2, 1), (4, 2)] {
        bed.receive_message(CALLEE, &callee.send(&Method::Info, ""));
        let info = bed.request(CALLER, &Method::Info);
        let nonce = format!("n{own}");
        let response = challenge(&info, 407, "carrier.test", &nonce, false);
        bed.receive_message(UPSTREAM, &response);
        let again = bed.request(CALLER, &Method::Info);
        assert!(proves(&again, &nonce));
        assert_eq!(number(&again), expected);
        bed.receive_message(UPSTREAM, &again.respond(200).build().unwrap());
        assert_eq!(number(&bed.response(CALLEE, 200)), own);
    }
    bed.core.stop(bed.now);
    bed.settle();
    let bye = bed.request(CALLER, &Method::Bye);
    assert_eq!(number(&bye), 5);
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
