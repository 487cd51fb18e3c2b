//! A caller who is shown to a carrier by another number: each party sees of both what it has seen from
//! the beginning, in every request and response.

use sip::{
    header::HeaderName,
    message::{Message, Method},
};

use super::bed::*;

const OWN: &str = "\"A\" <sip:alice@pbx.test>;tag=ac1";
const SHOWN: &str = "<sip:+15550000@pbx.test>;tag=ac1";
const CALLED: &str = "<sip:+4555@node.test>;tag=callee";

#[track_caller]
fn is_between(message: &Message, from: &str, to: &str) {
    let value = |name| message.header(name).unwrap().text().into_owned();
    assert_eq!(value(HeaderName::From), from, "{message:?}");
    assert_eq!(value(HeaderName::To), to, "{message:?}");
}

fn up(bed: &mut Bed) -> (Party, Party) {
    let request = invite("+4555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    is_between(&forwarded, SHOWN, "<sip:+4555@node.test>");
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    is_between(&bed.response(CALLER, 180), OWN, CALLED);
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    let ok = bed.response(CALLER, 200);
    is_between(&ok, OWN, CALLED);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    is_between(&bed.request(CALLEE, &Method::Ack), SHOWN, CALLED);
    (caller, Party::callee(&forwarded, CALLEE))
}

#[test]
fn each_party_sees_the_addresses_that_it_knows() {
    let mut bed = Bed::new();
    let (mut caller, mut callee) = up(&mut bed);
    for method in [Method::Info, Method::Invite] {
        bed.receive_message(CALLER, &caller.send(&method, ""));
        let passed = bed.request(CALLEE, &method);
        is_between(&passed, SHOWN, CALLED);
        bed.receive_message(CALLEE, &answer(&passed, 200, CALLEE, ""));
        is_between(&bed.response(CALLER, 200), OWN, CALLED);
        if method == Method::Invite {
            bed.receive_message(CALLER, &caller.ack(""));
            is_between(&bed.request(CALLEE, &Method::Ack), SHOWN, CALLED);
        }

        bed.receive_message(CALLEE, &callee.send(&method, ""));
        let passed = bed.request(CALLER, &method);
        is_between(&passed, CALLED, OWN);
        bed.receive_message(CALLER, &answer(&passed, 200, CALLER, ""));
        is_between(&bed.response(CALLEE, 200), CALLED, SHOWN);
        if method == Method::Invite {
            bed.receive_message(CALLEE, &callee.ack(""));
            is_between(&bed.request(CALLER, &Method::Ack), CALLED, OWN);
        }
    }
    // And of what this node says in their names.
    bed.core.stop(bed.now);
    bed.settle();
    let bye = bed.request(CALLER, &Method::Bye);
    is_between(&bye, CALLED, OWN);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    let bye = bed.request(CALLEE, &Method::Bye);
    is_between(&bye, SHOWN, CALLED);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.assert_empty();
}

#[test]
fn a_failure_and_a_late_answer_are_mirrored_too() {
    let mut bed = Bed::new();
    let request = invite("+4555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 486, CALLEE, ""));
    is_between(&bed.request(CALLEE, &Method::Ack), SHOWN, CALLED);
    is_between(&bed.response(CALLER, 486), OWN, CALLED);

    let request = invite("+4555", "c2", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    let id = bed.core.list(None)[0].id.clone();
    bed.core.hang_up_by_id(bed.now, &id);
    bed.settle();
    bed.response(CALLER, 487);
    bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    let shown = SHOWN.replace("ac1", "ac2");
    is_between(&bed.request(CALLEE, &Method::Ack), &shown, CALLED);
    is_between(&bed.request(CALLEE, &Method::Bye), &shown, CALLED);
    bed.assert_empty();
}
