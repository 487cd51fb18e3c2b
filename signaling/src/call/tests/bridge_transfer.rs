//! A party of two that the node has connected is connected with somebody else.

use control::{
    Fault, FaultCode,
    signal::{CallInfo, CallState, Party as Who, TransferOrder},
};
use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::{Cause, EndedBy};

use super::{
    bed::*,
    bridge::{FIRST, Joined, SECOND_PARTY, first_says, join_within, led_to, second_says},
};

/// Where the next one is: a trunk that is known by name, whose media goes past the node.
pub(super) const THIRD: &str = SECOND;
const NUMBER: &str = "+3555";

pub(super) fn third_says() -> String {
    sdp("192.0.2.21", &[6000], "sendrecv")
}

pub(super) fn up() -> (Bed, Joined) {
    let mut bed = Bed::new();
    bed.names.insert("gw.carrier.test".into(), vec![at(THIRD)]);
    let up = join_within(&mut bed, 60);
    (bed, up)
}

/// The two calls as they are listed: that of the first party, which has no session, and that of the second.
pub(super) fn both(bed: &Bed) -> [CallInfo; 2] {
    let calls = bed.core.list(None);
    let find = |number: &str| calls.iter().find(|call| call.to.contains(number));
    [find("+1555"), find("+6555")].map(|call| call.unwrap().clone())
}

pub(super) fn transfer(bed: &mut Bed, id: &str, party: Who) -> Result<CallInfo, Fault> {
    let order = TransferOrder {
        id: id.to_owned(),
        party,
        to: NUMBER.into(),
    };
    let begun = bed.core.transfer(bed.now, &order).unwrap();
    bed.settle();
    begun.and_then(|_| bed.obeyed.remove(0))
}

/// Who stays makes an offer and is put on hold; the INVITE that the next one gets.
pub(super) fn hold(bed: &mut Bed, stays: &str, says: &str) -> Message {
    let asked = bed.request(stays, &Method::Invite);
    assert!(asked.body().is_empty(), "{asked:?}");
    bed.receive_message(stays, &answer(&asked, 200, stays, says));
    let ack = bed.request(stays, &Method::Ack);
    assert!(body(&ack).contains("a=inactive"), "{ack:?}");
    bed.request(THIRD, &Method::Invite)
}

/// The next one has answered, and who stays is told; from where it is heard then.
pub(super) fn connect(bed: &mut Bed, invite: &Message, stays: &str, says: &str) -> String {
    bed.receive_message(THIRD, &answer(invite, 200, THIRD, &third_says()));
    bed.request(THIRD, &Method::Ack);
    let again = bed.request(stays, &Method::Invite);
    let place = led_to(&again);
    bed.receive_message(stays, &answer(&again, 200, stays, says));
    bed.request(stays, &Method::Ack);
    place
}

pub(super) fn hung_up(bed: &mut Bed, party: &str) -> String {
    let bye = bed.request(party, &Method::Bye);
    bed.receive_message(party, &bye.respond(200).build().unwrap());
    bye.header(HeaderName::Reason)
        .map_or_else(String::new, |reason| reason.text().into_owned())
}

pub(super) fn status(bed: &Bed, id: &str) -> Option<u16> {
    let calls = bed.core.list(None);
    let call = calls.iter().find(|call| call.id == id)?;
    Some(call.transfer.as_ref()?.status)
}

fn told(event: &control::signal::Event, id: &str) -> Option<u16> {
    match event {
        control::signal::Event::Call(call) if call.id == id => Some(call.transfer.as_ref()?.status),
        _ => None,
    }
}

#[test]
fn the_first_party_is_connected_with_somebody_else_and_the_second_one_left() {
    let (mut bed, mut up) = up();
    let [first, second] = both(&bed);
    bed.events.clear();
    let begun = transfer(&mut bed, &second.id, Who::Caller).unwrap();
    let shown = begun.transfer.unwrap();
    assert_eq!((shown.party, shown.status), (Who::Caller, 100));
    assert_eq!(shown.to, "sip:+3555@node.test");
    let again = transfer(&mut bed, &first.id, Who::Callee).unwrap_err();
    assert_eq!(again.code, FaultCode::Conflict);
    let invite = hold(&mut bed, FIRST, &first_says());
    assert_eq!(led_to(&invite), "192.0.2.20:4000");
    let from = invite.from().unwrap();
    assert_eq!(from.uri_str(), "sip:+1555@node.test", "who stays calls");
    bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
    assert_eq!(status(&bed, &second.id), Some(180));
    bed.assert_quiet();
    assert_eq!(
        connect(&mut bed, &invite, FIRST, &first_says()),
        "192.0.2.21:6000"
    );
    let reason = hung_up(&mut bed, SECOND_PARTY);
    assert!(reason.starts_with("SIP;cause=200;"), "{reason}");
    bed.assert_quiet();
    assert_eq!((bed.cdr().cause, bed.cdr().status), (Cause::Transfer, 200));
    assert_eq!(
        (bed.cdr().id.to_string(), bed.cdr().ended_by),
        (second.id.clone(), EndedBy::Node)
    );
    assert!(bed.mediad.sessions.is_empty());
    let seen: Vec<_> = bed
        .events
        .iter()
        .filter_map(|event| told(event, &second.id))
        .collect();
    assert_eq!(seen, [100, 180, 200, 200]);

    // From here on they are two as any other two.
    let calls = bed.core.list(None);
    assert_eq!(calls.len(), 2, "{calls:?}");
    let next = calls.iter().find(|call| call.id != first.id).unwrap();
    assert_eq!(next.peer.as_deref(), Some(&*first.id));
    assert_eq!(both_peers(&bed, &first.id), Some(next.id.clone()));
    let mut third = Party::callee(&invite, THIRD);
    bed.receive_message(THIRD, &third.send(&Method::Info, "signal=5"));
    let info = bed.request(FIRST, &Method::Info);
    bed.receive_message(FIRST, &info.respond(200).build().unwrap());
    bed.response(THIRD, 200);
    bed.receive_message(FIRST, &up.first.send(&Method::Bye, ""));
    bed.response(FIRST, 200);
    hung_up(&mut bed, THIRD);
    bed.assert_quiet();
    let numbers = bed.cdrs.iter().map(|cdr| (cdr.status, cdr.cause));
    let expected = [(200, Cause::Transfer), (200, Cause::Bye), (200, Cause::Bye)];
    assert_eq!(numbers.collect::<Vec<_>>(), expected);
    bed.assert_empty();
}

fn both_peers(bed: &Bed, id: &str) -> Option<String> {
    let calls = bed.core.list(None);
    calls.iter().find(|call| call.id == id)?.peer.clone()
}

#[test]
fn the_second_party_keeps_its_session_when_it_is_connected_with_somebody_else() {
    let (mut bed, mut up) = up();
    let [first, second] = both(&bed);
    let session = second.media[0];
    transfer(&mut bed, &second.id, Who::Callee).unwrap();
    let invite = hold(&mut bed, SECOND_PARTY, &second_says());
    // The next one is offered what the session has for it, so that its own call needs none.
    assert_eq!(led_to(&invite), "198.51.100.1:20000");
    let place = connect(&mut bed, &invite, SECOND_PARTY, &second_says());
    assert_eq!(place, "[2001:db8:ffff::1]:20002");
    hung_up(&mut bed, FIRST);
    bed.assert_quiet();
    assert_eq!(bed.cdr().id.to_string(), first.id);
    assert_eq!(bed.mediad.only().id, session);
    let caller = bed.mediad.only().a.remote.clone().unwrap();
    assert_eq!(caller.rtp, at("192.0.2.21:6000"));
    assert_eq!(status(&bed, &second.id), Some(200));
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
    bed.response(SECOND_PARTY, 200);
    hung_up(&mut bed, THIRD);
    bed.assert_empty();
}

#[test]
fn a_next_one_who_is_busy_leaves_both_connected_as_before() {
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let invite = hold(&mut bed, FIRST, &first_says());
    // The other one waits, and refreshes its session meanwhile.
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Update, ""));
    bed.response(SECOND_PARTY, 200);
    bed.receive_message(THIRD, &answer(&invite, 486, THIRD, ""));
    bed.request(THIRD, &Method::Ack);
    let back = bed.request(FIRST, &Method::Invite);
    assert_eq!(led_to(&back), "198.51.100.1:20000");
    // Its media is elsewhere by now, which the other one's session has to know.
    let moved = sdp("192.0.2.20", &[4800], "sendrecv");
    bed.receive_message(FIRST, &answer(&back, 200, FIRST, &moved));
    bed.request(FIRST, &Method::Ack);
    let refit = bed.request(SECOND_PARTY, &Method::Invite);
    bed.receive_message(
        SECOND_PARTY,
        &answer(&refit, 200, SECOND_PARTY, &second_says()),
    );
    bed.request(SECOND_PARTY, &Method::Ack);
    bed.assert_quiet();
    assert_eq!(status(&bed, &first.id), Some(486));
    assert_eq!(bed.cdr().status, 486);
    assert!(
        both(&bed)
            .iter()
            .all(|call| call.state == CallState::Answered)
    );
    let caller = bed.mediad.only().a.remote.clone().unwrap();
    assert_eq!(caller.rtp, at("192.0.2.20:4800"));

    // It may be tried again, and then the party refuses to be moved at all.
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let asked = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&asked, 488, FIRST, ""));
    bed.request(FIRST, &Method::Ack);
    bed.assert_quiet();
    assert_eq!(status(&bed, &first.id), Some(488));
    bed.receive_message(FIRST, &up.first.send(&Method::Bye, ""));
    bed.response(FIRST, 200);
    hung_up(&mut bed, SECOND_PARTY);
    bed.assert_empty();
}

#[test]
fn who_is_gone_before_its_party_knows_of_it_leaves_both_connected_too() {
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let invite = hold(&mut bed, FIRST, &first_says());
    bed.receive_message(THIRD, &answer(&invite, 200, THIRD, &third_says()));
    bed.request(THIRD, &Method::Ack);
    let joined = bed.request(FIRST, &Method::Invite);
    let mut third = Party::callee(&invite, THIRD);
    bed.receive_message(THIRD, &third.send(&Method::Bye, ""));
    bed.response(THIRD, 200);
    bed.assert_quiet();
    assert_eq!(status(&bed, &first.id), Some(480));
    bed.receive_message(FIRST, &answer(&joined, 200, FIRST, &first_says()));
    bed.request(FIRST, &Method::Ack);
    let back = bed.request(FIRST, &Method::Invite);
    assert_eq!(led_to(&back), "198.51.100.1:20000");
    bed.receive_message(FIRST, &answer(&back, 200, FIRST, &first_says()));
    bed.request(FIRST, &Method::Ack);
    bed.assert_quiet();
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
    bed.response(SECOND_PARTY, 200);
    hung_up(&mut bed, FIRST);
    bed.assert_empty();
}

pub(super) fn refer(party: &mut Party, to: &str) -> Message {
    let refer = party.send(&Method::Refer, "");
    refer.edit().push(HeaderName::ReferTo, to).finish().unwrap()
}

/// The next NOTIFY to a party: what it tells, and whether that is the last.
fn noticed(bed: &mut Bed, party: &str, cseq: u32) -> (String, bool) {
    let notify = bed.request(party, &Method::Notify);
    let event = notify.header(HeaderName::Event).unwrap();
    assert_eq!(event.text(), format!("refer;id={cseq}"));
    let state = notify.header(HeaderName::SubscriptionState).unwrap();
    let is_last = state.text().starts_with("terminated");
    bed.receive_message(party, &notify.respond(200).build().unwrap());
    (body(&notify).trim_end().to_owned(), is_last)
}

#[test]
fn a_party_that_transfers_the_other_one_itself_is_told_how_it_goes() {
    let (mut bed, mut up) = up();
    let [first, second] = both(&bed);
    let asked = refer(&mut up.second, "<sip:+3555@node.test>");
    let cseq = asked.cseq().unwrap().number;
    bed.receive_message(SECOND_PARTY, &asked);
    bed.response(SECOND_PARTY, 202);
    let told = noticed(&mut bed, SECOND_PARTY, cseq);
    assert_eq!(told, ("SIP/2.0 100 Trying".into(), false));
    let invite = hold(&mut bed, FIRST, &first_says());
    bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
    let told = noticed(&mut bed, SECOND_PARTY, cseq);
    assert_eq!(told, ("SIP/2.0 180 Ringing".into(), false));
    assert_eq!(status(&bed, &first.id), Some(180));
    connect(&mut bed, &invite, FIRST, &first_says());
    let told = noticed(&mut bed, SECOND_PARTY, cseq);
    assert_eq!(told, ("SIP/2.0 200 OK".into(), true));
    hung_up(&mut bed, SECOND_PARTY);
    assert_eq!(status(&bed, &first.id), Some(200));
    assert_eq!(bed.cdr().id.to_string(), second.id);
    bed.receive_message(FIRST, &up.first.send(&Method::Bye, ""));
    bed.response(FIRST, 200);
    hung_up(&mut bed, THIRD);
    bed.assert_quiet();
    // What it costs is on who asked for it.
    let origin = bed
        .cdrs
        .iter()
        .find(|cdr| cdr.to_uri.contains("+3555"))
        .unwrap()
        .origin
        .clone();
    assert_eq!(origin.as_deref(), Some("six"));
    bed.assert_empty();
}

#[test]
fn who_transfers_the_other_one_may_hang_up_at_once() {
    for answers in [true, false] {
        let (mut bed, mut up) = up();
        let asked = refer(&mut up.second, "<tel:+3-555>");
        let asked = asked.edit().push("Refer-Sub", "false").finish().unwrap();
        bed.receive_message(SECOND_PARTY, &asked);
        let accepted = bed.response(SECOND_PARTY, 202);
        assert_eq!(accepted.header("Refer-Sub").unwrap().text(), "false");
        bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
        bed.response(SECOND_PARTY, 200);
        let invite = hold(&mut bed, FIRST, &first_says());
        if answers {
            connect(&mut bed, &invite, FIRST, &first_says());
            bed.assert_quiet();
            bed.receive_message(FIRST, &up.first.send(&Method::Bye, ""));
            bed.response(FIRST, 200);
            hung_up(&mut bed, THIRD);
        } else {
            bed.receive_message(THIRD, &answer(&invite, 603, THIRD, ""));
            bed.request(THIRD, &Method::Ack);
            let reason = hung_up(&mut bed, FIRST);
            assert!(reason.starts_with("SIP;cause=480;"), "{reason}");
        }
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn a_refer_that_asks_for_what_is_not_done_is_refused_and_the_call_goes_on() {
    let (mut bed, mut up) = up();
    for (to, status) in [
        ("<sip:+3555@node.test?Replaces=a%3Bto-tag%3Db>", 501),
        ("<sip:+3555@node.test;method=BYE>", 501),
        ("<sips:+3555@node.test>", 416),
        ("<tel:nobody>", 416),
        ("<sip:conf.example.test>", 416),
        ("<nonsense>", 400),
        ("<sip:+3555@node.test>, <sip:+4555@node.test>", 400),
    ] {
        bed.receive_message(SECOND_PARTY, &refer(&mut up.second, to));
        let refused = bed.response(SECOND_PARTY, status);
        let warning = refused.header(HeaderName::Warning).unwrap();
        assert!(warning.text().starts_with("399 "), "{refused:?}");
        bed.assert_quiet();
    }
    assert!(both(&bed).iter().all(|call| call.transfer.is_none()));
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
    bed.response(SECOND_PARTY, 200);
    hung_up(&mut bed, FIRST);
    bed.assert_empty();
}

#[test]
fn whose_keys_are_in_the_answer_is_answered_by_the_next_one_or_by_the_other_one_again() {
    let secure = |text: String| text.replace("RTP/AVP 8", "UDP/TLS/RTP/SAVPF 8");
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let asked = bed.request(FIRST, &Method::Invite);
    let ok = answer(&asked, 200, FIRST, &secure(first_says()));
    bed.receive_message(FIRST, &ok);
    let invite = bed.request(THIRD, &Method::Invite);
    assert!(body(&invite).contains("SAVPF"), "{invite:?}");
    bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
    bed.assert_quiet();
    // It rings for too long: the other one is asked in its place, before the first one gives up.
    bed.pass_ms(25_100);
    let cancel = bed.request(THIRD, &Method::Cancel);
    bed.receive_message(THIRD, &cancel.respond(200).build().unwrap());
    bed.receive_message(THIRD, &answer(&invite, 487, THIRD, ""));
    bed.request(THIRD, &Method::Ack);
    let back = bed.request(SECOND_PARTY, &Method::Invite);
    assert!(body(&back).contains("SAVPF"), "{back:?}");
    let answered = secure(second_says());
    bed.receive_message(SECOND_PARTY, &answer(&back, 200, SECOND_PARTY, &answered));
    bed.request(SECOND_PARTY, &Method::Ack);
    let ack = bed.request(FIRST, &Method::Ack);
    assert_eq!(led_to(&ack), "198.51.100.1:20000");
    bed.assert_quiet();
    assert_eq!(status(&bed, &first.id), Some(408));

    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let asked = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&asked, 200, FIRST, &secure(first_says())));
    let invite = bed.request(THIRD, &Method::Invite);
    let answered = secure(third_says());
    bed.receive_message(THIRD, &answer(&invite, 200, THIRD, &answered));
    bed.request(THIRD, &Method::Ack);
    let ack = bed.request(FIRST, &Method::Ack);
    assert_eq!(led_to(&ack), "192.0.2.21:6000");
    hung_up(&mut bed, SECOND_PARTY);
    bed.assert_quiet();
    bed.receive_message(FIRST, &up.first.send(&Method::Bye, ""));
    bed.response(FIRST, 200);
    hung_up(&mut bed, THIRD);
    bed.assert_empty();
}

#[test]
fn a_party_that_hangs_up_while_it_is_moved_ends_all_three_calls() {
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let invite = hold(&mut bed, FIRST, &first_says());
    bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
    bed.receive_message(FIRST, &up.first.send(&Method::Bye, ""));
    bed.response(FIRST, 200);
    hung_up(&mut bed, SECOND_PARTY);
    let cancel = bed.request(THIRD, &Method::Cancel);
    bed.receive_message(THIRD, &cancel.respond(200).build().unwrap());
    bed.receive_message(THIRD, &answer(&invite, 487, THIRD, ""));
    bed.request(THIRD, &Method::Ack);
    bed.assert_quiet();
    assert_eq!(bed.cdrs.len(), 3);
    bed.assert_empty();
}
