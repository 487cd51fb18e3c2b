//! Two parties that the node connects.

use control::{
    Fault, FaultCode,
    signal::{CallChange, CallInfo, CallOrder, CallState, Originate, Party as Who},
};
use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::{Cause, EndedBy};

use super::bed::*;

pub(super) const FIRST: &str = CALLEE;
pub(super) const SECOND_PARTY: &str = CALLEE6;

fn originate(bed: &mut Bed, from: &str, to: &str) -> Result<CallInfo, Fault> {
    originate_within(bed, from, to, 20)
}

fn originate_within(bed: &mut Bed, from: &str, to: &str, s: u32) -> Result<CallInfo, Fault> {
    let order = Originate {
        from: from.into(),
        to: to.into(),
        caller_id: None,
        ring_timeout_s: s,
    };
    let call = bed.core.originate(bed.now, &order);
    bed.settle();
    call
}

pub(super) fn first_says() -> String {
    sdp("192.0.2.20", &[4000], "sendrecv")
}

pub(super) fn second_says() -> String {
    sdp("2001:db8::20", &[5000], "sendrecv")
}

/// The session whose description a message has, and where that leads.
pub(super) fn led_to(message: &Message) -> String {
    let text = body(message);
    let description = sip::sdp::Sdp::parse(text.as_bytes()).unwrap();
    description.media()[0].rtp().unwrap().to_string()
}

/// The first party has answered, and the second one is called.
struct Waiting {
    id: String,
    first: Party,
    /// The second party's INVITE.
    invite: Message,
}

fn wait_for_second(bed: &mut Bed) -> Waiting {
    wait_within(bed, 20)
}

fn wait_within(bed: &mut Bed, s: u32) -> Waiting {
    let call = originate_within(bed, "+1555", "+6555", s).unwrap();
    assert_eq!((call.state, &*call.source), (CallState::Trying, "node"));
    assert_eq!(call.from, "sip:+6555@node.test");
    let invite = bed.request(FIRST, &Method::Invite);
    assert!(invite.body().is_empty(), "it makes the offer");
    bed.receive_message(FIRST, &answer(&invite, 180, FIRST, ""));
    assert_eq!(bed.core.list(None)[0].state, CallState::Ringing);
    bed.receive_message(FIRST, &answer(&invite, 200, FIRST, &first_says()));
    // It is acknowledged at once, and waits.
    let ack = bed.request(FIRST, &Method::Ack);
    assert!(body(&ack).contains("m=audio 9 RTP/AVP 8\r\n"), "{ack:?}");
    assert!(body(&ack).contains("a=inactive"), "{ack:?}");
    let first = Party::callee(&invite, FIRST);
    let invite = bed.request(SECOND_PARTY, &Method::Invite);
    assert_eq!(led_to(&invite), "[2001:db8:ffff::1]:20002");
    bed.assert_quiet();
    Waiting {
        id: call.id,
        first,
        invite,
    }
}

/// Two who are connected.
pub(super) struct Joined {
    pub(super) first: Party,
    pub(super) second: Party,
}

fn join(bed: &mut Bed) -> Joined {
    join_within(bed, 20)
}

/// The same; each is rung so long.
pub(super) fn join_within(bed: &mut Bed, s: u32) -> Joined {
    let Waiting { id, first, invite } = wait_within(bed, s);
    let ok = answer(&invite, 200, SECOND_PARTY, &second_says());
    bed.receive_message(SECOND_PARTY, &ok);
    bed.request(SECOND_PARTY, &Method::Ack);
    let second = Party::callee(&invite, SECOND_PARTY);
    let again = bed.request(FIRST, &Method::Invite);
    assert_eq!(led_to(&again), "198.51.100.1:20000");
    bed.receive_message(FIRST, &answer(&again, 200, FIRST, &first_says()));
    bed.request(FIRST, &Method::Ack);
    bed.assert_quiet();
    let calls = bed.core.list(None);
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert_eq!(call.state, CallState::Answered);
        let peer = call.peer.as_ref().unwrap();
        assert!(calls.iter().any(|other| other.id == *peer));
        assert_eq!(call.media.len(), usize::from(call.id != id), "{call:?}");
    }
    Joined { first, second }
}

/// One party hangs up, and the other one agrees.
fn part(bed: &mut Bed, who: &mut Party, from: &str, other: &str) {
    bed.receive_message(from, &who.send(&Method::Bye, ""));
    bed.response(from, 200);
    let bye = bed.request(other, &Method::Bye);
    bed.receive_message(other, &bye.respond(200).build().unwrap());
    bed.assert_quiet();
    assert_eq!(bed.cdrs.len(), 2);
    for cdr in &bed.cdrs {
        assert_eq!((cdr.status, cdr.cause), (200, Cause::Bye));
        assert_eq!(cdr.origin.as_deref(), Some("node"));
    }
    bed.assert_empty();
}

#[test]
fn two_parties_are_called_connected_and_parted_by_either() {
    let mut bed = Bed::new();
    let mut up = join(&mut bed);
    let session = bed.mediad.only();
    let place = |remote: &Option<control::media::Remote>| remote.as_ref().unwrap().rtp;
    assert_eq!(place(&session.a.remote), at("192.0.2.20:4000"));
    assert_eq!(place(&session.b.remote), at("[2001:db8::20]:5000"));
    part(&mut bed, &mut up.second, SECOND_PARTY, FIRST);
    let mut bed = Bed::new();
    let mut up = join(&mut bed);
    part(&mut bed, &mut up.first, FIRST, SECOND_PARTY);
}

#[test]
fn an_operator_mutes_the_call_that_has_the_media_and_ends_both_by_either() {
    let mut bed = Bed::new();
    drop(join(&mut bed));
    let calls = bed.core.list(None);
    let (with, without): (Vec<_>, Vec<_>) = calls.iter().partition(|call| !call.media.is_empty());
    let mut mute = |id: &str| {
        let change = CallChange::Mute {
            party: Who::Caller,
            on: true,
        };
        let id = id.to_owned();
        bed.core.obey(bed.now, &CallOrder { id, change }).unwrap()
    };
    let refused = mute(&without[0].id).unwrap_err();
    assert_eq!(refused.code, FaultCode::Conflict);
    assert!(refused.message.contains(&with[0].id), "{refused}");
    assert_eq!(mute(&with[0].id).unwrap().muted, [Who::Caller]);
    assert!(bed.core.hang_up_by_id(bed.now, &without[0].id));
    bed.settle();
    for party in [FIRST, SECOND_PARTY] {
        let bye = bed.request(party, &Method::Bye);
        bed.receive_message(party, &bye.respond(200).build().unwrap());
    }
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_second_party_that_is_busy_parts_the_first_one_with_the_reason() {
    let mut bed = Bed::new();
    let Waiting { invite, .. } = wait_for_second(&mut bed);
    bed.receive_message(SECOND_PARTY, &answer(&invite, 486, SECOND_PARTY, ""));
    bed.request(SECOND_PARTY, &Method::Ack);
    let bye = bed.request(FIRST, &Method::Bye);
    let reason = bye.header(HeaderName::Reason).unwrap();
    assert_eq!(reason.text(), "SIP;cause=486;text=\"Busy Here\"");
    bed.receive_message(FIRST, &bye.respond(200).build().unwrap());
    bed.assert_empty();
    let statuses: Vec<_> = bed.cdrs.iter().map(|cdr| cdr.status).collect();
    assert_eq!(statuses, [486, 200]);
}

#[test]
fn a_second_party_that_never_answers_is_given_up_after_the_time_that_was_asked_for() {
    let mut bed = Bed::new();
    let Waiting { invite, .. } = wait_for_second(&mut bed);
    bed.receive_message(SECOND_PARTY, &answer(&invite, 180, SECOND_PARTY, ""));
    bed.pass_ms(19_900);
    bed.assert_quiet();
    bed.pass_ms(200);
    let cancel = bed.request(SECOND_PARTY, &Method::Cancel);
    bed.receive_message(SECOND_PARTY, &cancel.respond(200).build().unwrap());
    bed.receive_message(SECOND_PARTY, &answer(&invite, 487, SECOND_PARTY, ""));
    bed.request(SECOND_PARTY, &Method::Ack);
    // Its trunk has another host, which is given as long.
    let invite = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&invite, 180, FIRST, ""));
    bed.pass_ms(20_100);
    let cancel = bed.request(FIRST, &Method::Cancel);
    bed.receive_message(FIRST, &cancel.respond(200).build().unwrap());
    bed.receive_message(FIRST, &answer(&invite, 487, FIRST, ""));
    let bye = bed.request(FIRST, &Method::Bye);
    bed.receive_message(FIRST, &bye.respond(200).build().unwrap());
    bed.request(FIRST, &Method::Ack);
    bed.assert_empty();
    assert_eq!(bed.cdrs[0].cause, Cause::RingTimeout);
}

#[test]
fn a_first_party_that_hangs_up_has_the_second_one_cancelled() {
    let mut bed = Bed::new();
    let Waiting {
        mut first, invite, ..
    } = wait_for_second(&mut bed);
    bed.receive_message(SECOND_PARTY, &answer(&invite, 180, SECOND_PARTY, ""));
    bed.receive_message(FIRST, &first.send(&Method::Bye, ""));
    bed.response(FIRST, 200);
    let cancel = bed.request(SECOND_PARTY, &Method::Cancel);
    bed.receive_message(SECOND_PARTY, &cancel.respond(200).build().unwrap());
    // Its answer crosses the CANCEL.
    let ok = answer(&invite, 200, SECOND_PARTY, &second_says());
    bed.receive_message(SECOND_PARTY, &ok);
    bed.request(SECOND_PARTY, &Method::Ack);
    let bye = bed.request(SECOND_PARTY, &Method::Bye);
    bed.receive_message(SECOND_PARTY, &bye.respond(200).build().unwrap());
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_first_party_that_refuses_ends_it() {
    let mut bed = Bed::new();
    let id = originate(&mut bed, "+1555", "+6555").unwrap().id;
    let invite = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&invite, 603, FIRST, ""));
    bed.request(FIRST, &Method::Ack);
    bed.assert_quiet();
    assert_eq!((bed.cdr().status, &bed.cdr().id.to_string()), (603, &id));
    bed.assert_empty();
}

#[test]
fn an_operator_gives_a_call_up_before_anybody_has_answered() {
    let mut bed = Bed::new();
    let id = originate(&mut bed, "+1555", "+6555").unwrap().id;
    let invite = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&invite, 180, FIRST, ""));
    assert!(bed.core.hang_up_by_id(bed.now, &id));
    bed.settle();
    bed.request(FIRST, &Method::Cancel);
    bed.receive_message(FIRST, &answer(&invite, 487, FIRST, ""));
    bed.request(FIRST, &Method::Ack);
    assert_eq!(
        (bed.cdr().cause, bed.cdr().ended_by),
        (Cause::Operator, EndedBy::Node)
    );
    bed.assert_empty();
}

#[test]
fn what_a_party_changes_reaches_the_other_one_and_its_answer_comes_back() {
    let mut bed = Bed::new();
    let mut up = join(&mut bed);
    // Hold, and a new place for its own media.
    let held = sdp("192.0.2.20", &[4100], "sendonly");
    let invite = up.first.send(&Method::Invite, &held);
    bed.receive_message(FIRST, &invite);
    let carried = bed.request(SECOND_PARTY, &Method::Invite);
    assert!(body(&carried).contains("a=sendonly"), "{carried:?}");
    let answered = sdp("2001:db8::20", &[5000], "recvonly");
    bed.receive_message(
        SECOND_PARTY,
        &answer(&carried, 200, SECOND_PARTY, &answered),
    );
    bed.request(SECOND_PARTY, &Method::Ack);
    let ok = bed.response(FIRST, 200);
    assert!(body(&ok).contains("a=recvonly"), "{ok:?}");
    // Its ACK is lost: the 200 comes again.
    bed.pass_ms(600);
    assert_eq!(bed.response(FIRST, 200).body(), ok.body());
    bed.receive_message(FIRST, &up.first.ack(""));
    bed.assert_quiet();
    let caller = bed.mediad.only().a.remote.clone().unwrap();
    assert_eq!(caller.rtp, at("192.0.2.20:4100"));

    // The same again is a refresh, and nobody else's business.
    let refresh = up.first.send(&Method::Update, &held);
    bed.receive_message(FIRST, &refresh);
    assert_eq!(bed.response(FIRST, 200).body(), ok.body());
    bed.assert_quiet();

    // The other one asks for an offer, and its ACK brings the answer.
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Invite, ""));
    let carried = bed.request(FIRST, &Method::Invite);
    assert!(carried.body().is_empty(), "{carried:?}");
    bed.receive_message(FIRST, &answer(&carried, 200, FIRST, &first_says()));
    let offer = bed.response(SECOND_PARTY, 200);
    assert_eq!(led_to(&offer), "[2001:db8:ffff::1]:20002");
    bed.assert_quiet();
    bed.receive_message(SECOND_PARTY, &up.second.ack(&second_says()));
    let ack = bed.request(FIRST, &Method::Ack);
    assert_eq!(led_to(&ack), "198.51.100.1:20000");
    bed.assert_quiet();

    // What is refused is refused.
    let offer = sdp("192.0.2.20", &[4200], "sendrecv");
    bed.receive_message(FIRST, &up.first.send(&Method::Invite, &offer));
    let carried = bed.request(SECOND_PARTY, &Method::Invite);
    bed.receive_message(SECOND_PARTY, &answer(&carried, 488, SECOND_PARTY, ""));
    bed.request(SECOND_PARTY, &Method::Ack);
    bed.response(FIRST, 488);
    bed.receive_message(FIRST, &up.first.ack(""));
    bed.sent.clear();
    part(&mut bed, &mut up.first, FIRST, SECOND_PARTY);
}

#[test]
fn two_who_ask_at_once_are_both_told_so() {
    let mut bed = Bed::new();
    let mut up = join(&mut bed);
    let held = sdp("192.0.2.20", &[4000], "sendonly");
    bed.receive_message(FIRST, &up.first.send(&Method::Invite, &held));
    let carried = bed.request(SECOND_PARTY, &Method::Invite);
    let crossing = sdp("2001:db8::20", &[5000], "sendonly");
    let crossing = up.second.send(&Method::Invite, &crossing);
    bed.receive_message(SECOND_PARTY, &crossing);
    bed.response(SECOND_PARTY, 491);
    bed.receive_message(SECOND_PARTY, &answer(&carried, 491, SECOND_PARTY, ""));
    bed.response(FIRST, 491);
    bed.sent.clear();
    bed.pass_ms(64_000);
    bed.sent.clear();
    part(&mut bed, &mut up.second, SECOND_PARTY, FIRST);
}

#[test]
fn a_first_party_that_asks_itself_is_told_again_where_the_second_one_is() {
    let mut bed = Bed::new();
    let Waiting {
        mut first, invite, ..
    } = wait_for_second(&mut bed);
    // It holds while it waits.
    let held = sdp("192.0.2.20", &[4000], "sendonly");
    bed.receive_message(FIRST, &first.send(&Method::Invite, &held));
    let ok = bed.response(FIRST, 200);
    assert!(body(&ok).contains("a=inactive"), "{ok:?}");
    bed.receive_message(FIRST, &first.ack(""));
    let ok = answer(&invite, 200, SECOND_PARTY, &second_says());
    bed.receive_message(SECOND_PARTY, &ok);
    bed.request(SECOND_PARTY, &Method::Ack);
    let again = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&again, 491, FIRST, ""));
    bed.request(FIRST, &Method::Ack);
    bed.assert_quiet();
    bed.pass_ms(4_100);
    let again = bed.request(FIRST, &Method::Invite);
    bed.sent.clear();
    // It is elsewhere by now, which the second one's session has to know.
    let moved = sdp("192.0.2.20", &[4400], "sendrecv");
    bed.receive_message(FIRST, &answer(&again, 200, FIRST, &moved));
    bed.request(FIRST, &Method::Ack);
    let refit = bed.request(SECOND_PARTY, &Method::Invite);
    bed.receive_message(
        SECOND_PARTY,
        &answer(&refit, 200, SECOND_PARTY, &second_says()),
    );
    bed.request(SECOND_PARTY, &Method::Ack);
    bed.assert_quiet();
    let caller = bed.mediad.only().a.remote.clone().unwrap();
    assert_eq!(caller.rtp, at("192.0.2.20:4400"));
    part(&mut bed, &mut first, FIRST, SECOND_PARTY);
}

#[test]
fn whose_keys_are_in_the_answer_waits_for_it_with_the_ack() {
    let mut bed = Bed::new();
    let secure = |text: String| text.replace("RTP/AVP 8", "UDP/TLS/RTP/SAVPF 8");
    originate(&mut bed, "+1555", "+6555").unwrap();
    let invite = bed.request(FIRST, &Method::Invite);
    let ok = answer(&invite, 200, FIRST, &secure(first_says()));
    bed.receive_message(FIRST, &ok);
    let mut first = Party::callee(&invite, FIRST);
    let invite = bed.request(SECOND_PARTY, &Method::Invite);
    assert!(body(&invite).contains("SAVPF"), "{invite:?}");
    // The first one repeats its 200 meanwhile.
    bed.receive_message(FIRST, &ok);
    bed.assert_quiet();
    let answered = answer(&invite, 200, SECOND_PARTY, &secure(second_says()));
    bed.receive_message(SECOND_PARTY, &answered);
    bed.request(SECOND_PARTY, &Method::Ack);
    let ack = bed.request(FIRST, &Method::Ack);
    assert_eq!(led_to(&ack), "198.51.100.1:20000");
    // The ACK was lost.
    bed.receive_message(FIRST, &ok);
    assert_eq!(bed.request(FIRST, &Method::Ack).body(), ack.body());
    bed.assert_quiet();
    part(&mut bed, &mut first, FIRST, SECOND_PARTY);
}

#[test]
fn keys_and_messages_of_one_party_reach_the_other() {
    let mut bed = Bed::new();
    let mut up = join(&mut bed);
    bed.receive_message(FIRST, &up.first.send(&Method::Info, "signal=5"));
    let info = bed.request(SECOND_PARTY, &Method::Info);
    assert_eq!(body(&info), "signal=5");
    bed.receive_message(SECOND_PARTY, &info.respond(415).build().unwrap());
    bed.response(FIRST, 415);
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Publish, ""));
    bed.response(SECOND_PARTY, 405);
    part(&mut bed, &mut up.second, SECOND_PARTY, FIRST);
}

#[test]
fn what_cannot_be_called_is_said_at_once_and_drains_count() {
    let mut bed = Bed::new();
    let code = |bed: &mut Bed, from: &str, to: &str| originate(bed, from, to).unwrap_err().code;
    assert_eq!(code(&mut bed, "", "+6555"), FaultCode::Invalid);
    assert_eq!(code(&mut bed, "a b@node.test", "+6555"), FaultCode::Invalid);
    assert_eq!(code(&mut bed, "@node.test", "+6555"), FaultCode::Invalid);
    // The store is asked who that is first: only the record can tell.
    let call = originate(&mut bed, "+0555", "+6555").unwrap();
    assert_eq!(bed.cdr().id.to_string(), call.id);
    assert_eq!(bed.cdrs.pop().unwrap().cause, Cause::NoRoute);
    let nowhere = originate(&mut bed, "+0555", "+6555").unwrap_err();
    assert_eq!(nowhere.code, FaultCode::Conflict);
    assert!(
        nowhere.message.contains(&bed.cdr().id.to_string()),
        "{nowhere}"
    );
    assert_eq!(bed.cdr().cause, Cause::NoRoute);
    bed.cdrs.clear();
    bed.core.set_draining(true);
    assert_eq!(code(&mut bed, "+1555", "+6555"), FaultCode::Conflict);
    assert!(bed.cdrs.is_empty());
    bed.core.set_draining(false);

    // What is let in goes on, though the node takes no new calls any more.
    originate(&mut bed, "+1555", "+6555").unwrap();
    bed.core.set_draining(true);
    let invite = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&invite, 200, FIRST, &first_says()));
    bed.request(FIRST, &Method::Ack);
    bed.request(SECOND_PARTY, &Method::Invite);
    bed.core.stop(bed.now);
    bed.settle();
    let bye = bed.request(FIRST, &Method::Bye);
    bed.receive_message(FIRST, &bye.respond(200).build().unwrap());
    bed.assert_empty();
}

#[test]
fn whose_rights_cannot_be_looked_up_calls_nobody() {
    let mut bed = Bed::new();
    bed.store_up = false;
    // The store is asked first, and the record tells why nobody was called.
    let call = originate(&mut bed, "+1555", "+6555").unwrap();
    bed.assert_quiet();
    assert_eq!(bed.cdr().id.to_string(), call.id);
    assert_eq!((bed.cdr().status, bed.cdr().cause), (503, Cause::Refused));
    assert!(
        bed.cdr().reason.contains("+1555@node.test"),
        "{:?}",
        bed.cdr()
    );
    assert!(bed.core.list(None).is_empty());
    bed.cdrs.clear();

    // It goes away while the first one rings, and what it said before is not believed any more.
    bed.store_up = true;
    originate(&mut bed, "+1555", "+6555").unwrap();
    let invite = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&invite, 180, FIRST, ""));
    bed.store_up = false;
    bed.pass_ms(15_000);
    bed.receive_message(FIRST, &answer(&invite, 200, FIRST, &first_says()));
    bed.request(FIRST, &Method::Ack);
    let bye = bed.request(FIRST, &Method::Bye);
    let reason = bye.header(HeaderName::Reason).unwrap();
    assert!(reason.text().starts_with("SIP;cause=503;"), "{reason:?}");
    bed.receive_message(FIRST, &bye.respond(200).build().unwrap());
    bed.assert_quiet();
    let refused = bed.cdrs.iter().find(|cdr| cdr.status == 503).unwrap();
    assert!(refused.to_uri.contains("+6555"), "{refused:?}");
    bed.assert_empty();
}

#[test]
fn numbers_are_taken_as_tel_uris_and_sips_ones_refused_with_the_reason() {
    let mut bed = Bed::new();
    let call = originate(&mut bed, "tel:+1-555;phone-context=x", "TEL:+6(555)").unwrap();
    assert_eq!(
        (&*call.to, &*call.from),
        ("sip:+1555@node.test", "sip:+6555@node.test")
    );
    let invite = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&invite, 603, FIRST, ""));
    bed.request(FIRST, &Method::Ack);
    // The escapes of a URI are read once.
    let call = originate(
        &mut bed,
        "sip:%2B1555@node.test",
        "sip:+6%35%35%35@node.test",
    )
    .unwrap();
    assert_eq!(
        (&*call.to, &*call.from),
        ("sip:+1555@node.test", "sip:+6555@node.test")
    );
    let invite = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&invite, 603, FIRST, ""));
    bed.request(FIRST, &Method::Ack);
    for (name, part) in [
        ("sip:node.test", "no user"),
        ("sips:alice@node.test", "write sip:"),
        ("SIPS:alice@node.test", "write sip:"),
        ("tel:alice", "no telephone number"),
        ("tel:", "no telephone number"),
    ] {
        for (from, to) in [(name, "+6555"), ("+1555", name)] {
            let refused = originate(&mut bed, from, to).unwrap_err();
            assert_eq!(refused.code, FaultCode::Invalid);
            assert!(refused.message.contains(part), "{refused}");
        }
    }
    bed.assert_empty();
}

#[test]
fn a_2xx_that_comes_again_gets_the_ack_that_was_its_own() {
    let mut bed = Bed::new();
    let mut up = join(&mut bed);
    let held = sdp("192.0.2.20", &[4000], "sendonly");
    bed.receive_message(FIRST, &up.first.send(&Method::Invite, &held));
    let carried = bed.request(SECOND_PARTY, &Method::Invite);
    let before = answer(&carried, 200, SECOND_PARTY, &second_says());
    bed.receive_message(SECOND_PARTY, &before);
    let ack = bed.request(SECOND_PARTY, &Method::Ack);
    bed.response(FIRST, 200);
    bed.receive_message(FIRST, &up.first.ack(""));
    // Its ACK was lost: another one, with the same number.
    bed.receive_message(SECOND_PARTY, &before);
    let again = bed.request(SECOND_PARTY, &Method::Ack);
    assert_eq!(again.cseq(), ack.cseq());
    bed.receive_message(FIRST, &up.first.send(&Method::Invite, &first_says()));
    let carried = bed.request(SECOND_PARTY, &Method::Invite);
    let ok = answer(&carried, 200, SECOND_PARTY, &second_says());
    bed.receive_message(SECOND_PARTY, &ok);
    let last = bed.request(SECOND_PARTY, &Method::Ack);
    assert_eq!(last.cseq().unwrap().number, carried.cseq().unwrap().number);
    bed.response(FIRST, 200);
    bed.receive_message(FIRST, &up.first.ack(""));
    // The one before has its own still.
    bed.receive_message(SECOND_PARTY, &before);
    assert_eq!(bed.request(SECOND_PARTY, &Method::Ack).cseq(), ack.cseq());
    bed.receive_message(SECOND_PARTY, &ok);
    assert_eq!(bed.request(SECOND_PARTY, &Method::Ack).cseq(), last.cseq());
    part(&mut bed, &mut up.first, FIRST, SECOND_PARTY);
}
