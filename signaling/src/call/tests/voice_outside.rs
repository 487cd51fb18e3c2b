//! Documents that call beyond the node, where `[voice] sip_domains` lets them.

use std::sync::Arc;

use control::{
    config::Config,
    signal::{Secret, VoiceCall, VoiceMessage, VoiceOrder},
};
use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::VoiceMessageStatus;

use super::{
    bed::*,
    voice::{WAIT, begin, offer, pick_up},
    voice_api::{answered, to_carrier},
    voice_auth::{challenge, proves},
};
use crate::directory::Directory;

/// Where that is.
const PARTNER: &str = "192.0.2.77:5060";
const FAR: &str = "sip:bob@sip.far.test";

/// A bed whose documents may call these.
fn bed(domains: &str) -> Bed {
    let mut bed = Bed::new();
    let config = format!("{CONFIG}[voice]\nsip_domains = [{domains}]\n");
    let config = Config::parse(&config, []).unwrap().config;
    bed.core.directory = Arc::new(Directory::new(&config, None));
    for name in ["sip.far.test", "10.1.2.3", "evil.test"] {
        bed.names.insert(name.to_owned(), vec![at(PARTNER)]);
    }
    bed
}

fn dial(bed: &mut Bed, sip: &str) -> Message {
    let request = begin(bed, "far");
    let document = format!("<Dial>{sip}</Dial>{WAIT}");
    bed.reply("http://app.test/voice", &document);
    request
}

fn hang_up(bed: &mut Bed, request: &Message) {
    let (mut caller, _) = pick_up(bed, request);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}

#[test]
fn a_document_dials_a_domain_that_is_allowed_with_its_credentials() {
    for domains in ["\"sip.far.test\"", "\"x.test\", \"*.far.test\""] {
        let mut bed = bed(domains);
        let sip = format!("<Sip username=\"bob\" password=\"secret\">{FAR}?X-A=7</Sip>");
        let request = dial(&mut bed, &sip);
        let invite = bed.request(PARTNER, &Method::Invite);
        assert_eq!(invite.request_uri().unwrap().as_str(), FAR);
        assert_eq!(invite.header("X-A").unwrap().text(), "7");
        assert!(
            body(&invite).contains("m=audio 20002 "),
            "{}",
            body(&invite)
        );
        bed.receive_message(PARTNER, &challenge(&invite, 401, "far.test"));
        bed.request(PARTNER, &Method::Ack);
        let again = bed.request(PARTNER, &Method::Invite);
        assert!(proves(&again, HeaderName::Authorization, "far.test"));
        bed.receive_message(PARTNER, &answer(&again, 486, PARTNER, ""));
        bed.request(PARTNER, &Method::Ack);
        hang_up(&mut bed, &request);
    }
}

#[test]
fn what_is_not_allowed_is_refused_and_says_what_to_set() {
    for (domains, sip, why) in [
        ("", FAR, "[voice] sip_domains"),
        ("\"far.test\"", FAR, "[voice] sip_domains"),
        ("\"*.far.test\"", "sip:bob@evil.test", "[voice] sip_domains"),
        (
            "\"sip.far.test\"",
            "sip:bob@sip.far.test;maddr=10.1.2.3",
            "maddr",
        ),
        // Its routes and limits are not gone round.
        (
            "\"*.carrier.test\"",
            "sip:+1900@GW.carrier.test.",
            "a trunk's",
        ),
        ("\"192.0.2.20\"", "sip:+1900@192.0.2.20:5070", "a trunk's"),
    ] {
        let mut bed = bed(domains);
        let request = dial(&mut bed, &format!("<Sip>{sip}</Sip>"));
        let is_invite = |sent: &Sent| sent.message.method() == Some(&Method::Invite);
        assert!(!bed.sent.iter().any(is_invite), "{sip}");
        assert_eq!(bed.cdrs[0].status, 403);
        assert!(bed.cdrs[0].reason.contains(why), "{}", bed.cdrs[0].reason);
        hang_up(&mut bed, &request);
    }
}

#[test]
fn a_name_that_leads_to_a_trunk_or_back_is_not_called() {
    for address in [CALLEE, NODE] {
        let mut bed = bed("\"*.far.test\"");
        bed.names
            .insert("sip.far.test".to_owned(), vec![at(address)]);
        let request = dial(&mut bed, &format!("<Sip>{FAR}</Sip>"));
        let is_invite = |sent: &Sent| sent.message.method() == Some(&Method::Invite);
        assert!(!bed.sent.iter().any(is_invite), "{address}");
        assert!(bed.cdrs[0].status >= 400);
        hang_up(&mut bed, &request);
    }
}

#[test]
fn nobody_but_documents_is_let_out() {
    let mut bed = bed("\"*.far.test\"");
    // A trunk's call to the same place.
    let invite = String::from_utf8(invite("far", "trunk", &offer()).as_bytes().to_vec()).unwrap();
    let (line, rest) = invite.split_once("\r\n").unwrap();
    assert!(line.starts_with("INVITE sip:"), "{line}");
    let invite = format!("INVITE {FAR} SIP/2.0\r\n{rest}");
    bed.receive(CALLER, invite);
    bed.response(CALLER, 403);
    assert_eq!(bed.cdr().status, 403);
}

#[test]
fn the_rest_api_calls_and_writes_to_a_domain_that_is_allowed() {
    let mut bed = bed("\"*.far.test\"");
    let order = VoiceCall {
        to: FAR.to_owned(),
        auth: Some(("bob".to_owned(), Secret::new("secret"))),
        ..to_carrier()
    };
    let order = VoiceOrder::Call(Box::new(order));
    bed.core.order_voice(bed.now, &order).unwrap().unwrap();
    bed.settle();
    let invite = bed.request(PARTNER, &Method::Invite);
    assert_eq!(invite.request_uri().unwrap().as_str(), FAR);
    bed.receive_message(PARTNER, &answer(&invite, 200, PARTNER, &answered()));
    bed.request(PARTNER, &Method::Ack);
    bed.reply("http://app.test/out", "<Hangup/>");
    let bye = bed.request(PARTNER, &Method::Bye);
    bed.receive_message(PARTNER, &bye.respond(200).build().unwrap());
    bed.assert_told("completed");

    for (to, status) in [
        (FAR, VoiceMessageStatus::Delivered),
        ("sip:bob@evil.test", VoiceMessageStatus::Undelivered),
    ] {
        let order = VoiceOrder::Message(Box::new(VoiceMessage {
            account: to_carrier().account,
            to: to.to_owned(),
            from: "+55".to_owned(),
            body: "Hello".to_owned(),
            status_callback: None,
        }));
        bed.core.order_voice(bed.now, &order).unwrap().unwrap();
        bed.settle();
        if status == VoiceMessageStatus::Delivered {
            let sent = bed.request(PARTNER, &Method::Message);
            assert_eq!(sent.request_uri().unwrap().as_str(), FAR);
            let taken = sent.respond(200).to_tag("b").build().unwrap();
            bed.receive_message(PARTNER, &taken);
        }
        assert_eq!(bed.texts.last().unwrap().status, status);
    }
    bed.assert_empty();
}
