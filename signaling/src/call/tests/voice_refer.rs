//! `<Refer>`: a party of an application's call is sent to somebody else.

use control::signal::{VoiceCall, VoiceEntry, VoiceLink};
use sip::{
    header::HeaderName,
    message::{Message, Method},
};

use super::{
    bed::*,
    voice::begin,
    voice_api::{answered, call as call_out, to_carrier},
};

const DONE: &str = "http://app.test/done";

/// A document that sends the party to `to`.
fn to(to: &str) -> String {
    format!("<Refer action=\"/done\"><Sip>{to}</Sip></Refer>")
}

/// What the party tells of it.
fn notify(party: &mut Party, id: &str, status: u16, state: &str) -> Message {
    let notify = party.send(&Method::Notify, &format!("SIP/2.0 {status} Whatever\r\n"));
    let notify = notify
        .edit()
        .replace("Content-Type", "message/sipfrag;version=2.0")
        .push("Event", format!("refer{id}"))
        .push("Subscription-State", state);
    notify.finish().unwrap()
}

fn text(message: &Message, name: HeaderName) -> String {
    message.header(name).unwrap().text().into_owned()
}

/// A caller who hears the document, and the REFER that he got.
fn referred(bed: &mut Bed, target: &str) -> (Party, Message) {
    let request = begin(bed, "refer");
    bed.reply("http://app.test/voice", &to(target));
    // Not before the answer is acknowledged.
    let ok = bed.response(CALLER, 200);
    bed.assert_quiet();
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    let refer = bed.request(CALLER, &Method::Refer);
    bed.assert_quiet();
    (caller, refer)
}

fn respond(bed: &mut Bed, from: &str, request: &Message, status: u16) {
    let response = request.respond(status);
    let response = response.header(HeaderName::Contact, "<sip:me@192.0.2.10>");
    bed.receive_message(from, &response.build().unwrap());
}

#[test]
fn a_caller_is_sent_to_somebody_else() {
    let mut bed = Bed::new();
    let target = "sip:desk@elsewhere.test;transport=tcp?X-Account=7%208";
    let (mut caller, refer) = referred(&mut bed, target);
    assert_eq!(text(&refer, HeaderName::ReferTo), format!("<{target}>"));
    assert_eq!(text(&refer, HeaderName::ReferredBy), "<sip:+55@node.test>");
    assert!(refer.header(HeaderName::Contact).is_some());
    assert!(caller.dialog.handle_request(&refer).is_ok());
    respond(&mut bed, CALLER, &refer, 202);
    for (status, state) in [(100, "active;expires=60"), (180, "active;expires=60")] {
        bed.receive_message(CALLER, &notify(&mut caller, "", status, state));
        bed.response(CALLER, 200);
        assert!(bed.webhooks.is_empty());
    }
    let id = format!(";id={}", refer.cseq().unwrap().number);
    let over = "terminated;reason=noresource";
    bed.receive_message(CALLER, &notify(&mut caller, &id, 200, over));
    bed.response(CALLER, 200);
    // It hangs up, while the action is being asked.
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    assert!(bed.cancelled.is_empty());
    let told = bed.reply(DONE, "<Say>Nobody hears this</Say>");
    for part in [
        "ReferCallStatus=in-progress",
        "ReferSipResponseCode=202",
        "NotifySipResponseCode=200",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    bed.assert_told("completed");
}

#[test]
fn a_party_that_was_called_is_sent_to_a_telephone_number() {
    let mut bed = Bed::new();
    let link = VoiceLink {
        url: "http://app.test/out".to_owned(),
        post: true,
    };
    let order = VoiceCall {
        entry: VoiceEntry::Url(link),
        ..to_carrier()
    };
    let (_, invite) = call_out(&mut bed, order);
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
    bed.request(CALLEE, &Method::Ack);
    bed.reply("http://app.test/out", &to("tel:+1-555-0100;ext=7"));
    let refer = bed.request(CALLEE, &Method::Refer);
    assert_eq!(text(&refer, HeaderName::ReferTo), "<tel:+1-555-0100;ext=7>");
    assert!(text(&refer, HeaderName::ReferredBy).starts_with("<sip:+1500@"));
    let mut callee = Party::callee(&invite, CALLEE);
    // What it tells overtakes its answer.
    let over = "terminated;reason=noresource";
    bed.receive_message(CALLEE, &notify(&mut callee, "", 486, over));
    bed.response(CALLEE, 200);
    assert!(bed.webhooks.is_empty());
    respond(&mut bed, CALLEE, &refer, 202);
    let told = bed.reply(DONE, "<Hangup/>");
    for part in ["ReferCallStatus=busy", "NotifySipResponseCode=486"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.assert_told("completed");
}

#[test]
fn a_party_that_does_not_take_it_goes_on_with_the_document() {
    for status in [603, 405, 401] {
        let mut bed = Bed::new();
        let (mut caller, refer) = referred(&mut bed, "sip:a@b.test");
        respond(&mut bed, CALLER, &refer, status);
        let told = bed.reply(DONE, super::voice::WAIT);
        assert!(told.contains("ReferCallStatus=failed"), "{told}");
        assert!(
            told.contains(&format!("ReferSipResponseCode={status}")),
            "{told}"
        );
        assert!(!told.contains("NotifySip"), "{told}");
        bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
        bed.response(CALLER, 200);
        bed.assert_told("completed");
    }
}

#[test]
fn a_party_may_take_it_and_say_no_more() {
    // It says so (RFC 4488).
    let mut bed = Bed::new();
    let (mut caller, refer) = referred(&mut bed, "sip:a@b.test");
    let response = refer.respond(200).header("Refer-Sub", "false");
    bed.receive_message(CALLER, &response.build().unwrap());
    let told = bed.reply(DONE, super::voice::WAIT);
    assert!(told.contains("ReferCallStatus=in-progress"), "{told}");
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
    // It hangs up, as many carriers do.
    let mut bed = Bed::new();
    let (mut caller, refer) = referred(&mut bed, "sip:a@b.test");
    respond(&mut bed, CALLER, &refer, 202);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    let told = bed.reply(DONE, "");
    assert!(told.contains("ReferCallStatus=in-progress"), "{told}");
    bed.assert_told("completed");
    // It is silent.
    let mut bed = Bed::new();
    let (mut caller, refer) = referred(&mut bed, "sip:a@b.test");
    respond(&mut bed, CALLER, &refer, 202);
    bed.pass_ms(59_000);
    assert!(bed.webhooks.is_empty());
    bed.pass_ms(2_000);
    let told = bed.reply(DONE, super::voice::WAIT);
    assert!(told.contains("ReferCallStatus=failed"), "{told}");
    assert!(told.contains("ReferSipResponseCode=202"), "{told}");
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}

#[test]
fn what_tells_of_something_else_is_refused_or_passed_over() {
    let mut bed = Bed::new();
    let (mut caller, refer) = referred(&mut bed, "sip:a@b.test");
    respond(&mut bed, CALLER, &refer, 202);
    // Of an earlier REFER.
    bed.receive_message(CALLER, &notify(&mut caller, ";id=0", 200, "terminated"));
    bed.response(CALLER, 200);
    let mut other = notify(&mut caller, "", 200, "terminated");
    other = other.edit().replace("Event", "presence").finish().unwrap();
    bed.receive_message(CALLER, &other);
    bed.response(CALLER, 489);
    assert!(bed.webhooks.is_empty());
    // The subscription ends without an outcome.
    bed.receive_message(CALLER, &notify(&mut caller, "", 180, "terminated"));
    bed.response(CALLER, 200);
    let told = bed.reply(DONE, super::voice::WAIT);
    assert!(told.contains("ReferCallStatus=canceled"), "{told}");
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}

#[test]
fn a_challenge_of_a_trunk_is_answered() {
    let mut bed = Bed::new();
    let order = VoiceCall {
        to: "+9555".to_owned(),
        ..to_carrier()
    };
    let (_, invite) = call_out(&mut bed, order);
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
    bed.request(CALLEE, &Method::Ack);
    bed.reply("http://app.test/out", &to("sip:a@b.test"));
    let refer = bed.request(CALLEE, &Method::Refer);
    let challenge = "Digest realm=\"carrier.test\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"";
    let response = refer.respond(407).header("Proxy-Authenticate", challenge);
    bed.receive_message(CALLEE, &response.build().unwrap());
    let again = bed.request(CALLEE, &Method::Refer);
    assert!(again.header(HeaderName::ProxyAuthorization).is_some());
    assert!(again.cseq().unwrap().number > refer.cseq().unwrap().number);
    respond(&mut bed, CALLEE, &again, 202);
    let mut callee = Party::callee(&invite, CALLEE);
    // It knows the REFER by the number that it has seen.
    let id = format!(";id={}", again.cseq().unwrap().number);
    bed.receive_message(CALLEE, &notify(&mut callee, &id, 200, "terminated"));
    bed.response(CALLEE, 200);
    let told = bed.reply(DONE, "");
    assert!(told.contains("ReferCallStatus=in-progress"), "{told}");
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.assert_told("completed");
}
