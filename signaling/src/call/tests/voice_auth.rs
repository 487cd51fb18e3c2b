//! Calls of applications whose callee wants to know who calls.

use control::signal::{Secret, VoiceCall};
use sip::{
    digest::{Algorithm, Challenge, Credentials, Ha1, Hash},
    header::HeaderName,
    message::{Message, Method},
};

use super::{
    bed::*,
    voice::{WAIT, begin, pick_up},
    voice_api::{answered, call as call_out, to_carrier},
};

/// A challenge with both algorithms.
pub(super) fn challenge(request: &Message, status: u16, realm: &str) -> Message {
    let name = match status {
        401 => HeaderName::WwwAuthenticate,
        _ => HeaderName::ProxyAuthenticate,
    };
    let mut response = request.respond(status).to_tag("callee");
    for hash in [Hash::Sha256, Hash::Md5] {
        let value = Challenge::new(realm, "n1", Algorithm::from(hash));
        response = response.header(name, value.to_value().unwrap());
    }
    response.build().unwrap()
}

/// Whether a request proves that bob sends it.
pub(super) fn proves(request: &Message, name: HeaderName, realm: &str) -> bool {
    let Some(value) = request.header(name) else {
        return false;
    };
    let given = Credentials::parse(value.value()).unwrap();
    let ha1 = Ha1::new(Hash::Sha256, "bob", realm, "secret");
    given.verify(&ha1, request.method().unwrap().as_str(), request.body())
}

fn with_auth() -> VoiceCall {
    VoiceCall {
        to: "sip:+1555@node.test".to_owned(),
        auth: Some(("bob".to_owned(), Secret::new("secret"))),
        ..to_carrier()
    }
}

#[test]
fn a_call_of_the_rest_api_is_answered_for_to_its_end() {
    let mut bed = Bed::new();
    let (_, invite) = call_out(&mut bed, with_auth());
    bed.receive_message(CALLEE, &challenge(&invite, 401, "callee.test"));
    bed.request(CALLEE, &Method::Ack);
    let again = bed.request(CALLEE, &Method::Invite);
    assert!(proves(&again, HeaderName::Authorization, "callee.test"));
    assert_eq!(again.cseq().unwrap().number, 2);
    bed.receive_message(CALLEE, &answer(&again, 200, CALLEE, &answered()));
    let ack = bed.request(CALLEE, &Method::Ack);
    assert_eq!(ack.cseq().unwrap().number, 2);
    bed.reply("http://app.test/out", "<Hangup/>");
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &challenge(&bye, 407, "callee.test"));
    let again = bed.request(CALLEE, &Method::Bye);
    let proxys = HeaderName::ProxyAuthorization;
    assert!(proves(&again, proxys, "callee.test"));
    bed.receive_message(CALLEE, &again.respond(200).build().unwrap());
    assert_eq!(bed.cdr().status, 200);
    bed.assert_told("completed");
}

#[test]
fn credentials_that_are_refused_fail_the_call() {
    let mut bed = Bed::new();
    let (_, invite) = call_out(&mut bed, with_auth());
    bed.receive_message(CALLEE, &challenge(&invite, 401, "callee.test"));
    bed.request(CALLEE, &Method::Ack);
    let again = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &challenge(&again, 401, "callee.test"));
    bed.request(CALLEE, &Method::Ack);
    bed.assert_quiet();
    assert_eq!(bed.cdr().status, 401);
    bed.assert_told("failed");
}

#[test]
fn a_challenge_in_a_realm_of_ours_is_not_answered() {
    let mut bed = Bed::new();
    let (_, invite) = call_out(&mut bed, with_auth());
    bed.receive_message(CALLEE, &challenge(&invite, 401, "node.test"));
    bed.request(CALLEE, &Method::Ack);
    // Another host of the carrier's is asked, and not told either.
    let other = bed.request(SECOND, &Method::Invite);
    for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
        assert!(other.header(name).is_none());
    }
    bed.receive_message(SECOND, &answer(&other, 404, SECOND, ""));
    bed.request(SECOND, &Method::Ack);
    bed.assert_told("failed");
}

#[test]
fn a_document_has_credentials_for_whom_it_dials() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "auth");
    let sip = "<Sip username=\"bob\" password=\"secret\">sip:+1555@node.test</Sip>";
    bed.reply(
        "http://app.test/voice",
        &format!("<Dial>{sip}</Dial>{WAIT}"),
    );
    let invite = bed.request(CALLEE, &Method::Invite);
    let (mut caller, _) = pick_up(&mut bed, &request);
    bed.receive_message(CALLEE, &challenge(&invite, 407, "callee.test"));
    bed.request(CALLEE, &Method::Ack);
    let again = bed.request(CALLEE, &Method::Invite);
    let proxys = HeaderName::ProxyAuthorization;
    assert!(proves(&again, proxys, "callee.test"));
    bed.receive_message(CALLEE, &answer(&again, 486, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}
