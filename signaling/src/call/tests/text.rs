//! Messages of applications, out and in.

use std::sync::Arc;

use control::{
    FaultCode,
    config::Config,
    signal::{VoiceDone, VoiceMessage, VoiceOrder},
};
use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::{VoiceMessageDirection, VoiceMessageStatus};

use super::{
    bed::*,
    forking::register,
    voice::{WAIT, begin, pick_up},
};
use crate::directory::{Directory, Owners};

const ACCOUNT: &str = "AC00000000000000000000000000000000";
const TOLD: &str = "http://app.test/told";

fn order(to: &str) -> VoiceMessage {
    VoiceMessage {
        account: ACCOUNT.to_owned(),
        to: to.to_owned(),
        from: "+55".to_owned(),
        body: "Grüße".to_owned(),
        status_callback: Some(TOLD.to_owned()),
    }
}

/// Has a message sent: its SID.
fn send(bed: &mut Bed, message: VoiceMessage) -> Result<String, FaultCode> {
    let order = VoiceOrder::Message(Box::new(message));
    let done = bed.core.order_voice(bed.now, &order).unwrap();
    bed.settle();
    match done {
        Ok(VoiceDone::Message { sid, .. }) => Ok(sid),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault.code),
    }
}

/// The states of the only message that there is a row of.
fn states(bed: &Bed) -> Vec<VoiceMessageStatus> {
    bed.texts.iter().map(|row| row.status).collect()
}

fn respond(bed: &mut Bed, request: &Message, status: u16) {
    let response = request.respond(status).to_tag("callee").build().unwrap();
    bed.receive_message(CALLEE, &response);
}

/// A MESSAGE from the caller to a number.
fn message(number: &str, id: &str, kind: &str, text: &str) -> Message {
    let text = format!(
        "MESSAGE sip:{number}@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+1777@pbx.test>;tag=a{id}\r\n\
         To: <sip:{number}@node.test>\r\nCall-ID: {id}@pbx.test\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    Message::parse(text.into()).unwrap()
}

#[test]
fn a_message_goes_to_a_carrier_and_who_asked_is_told_in_order() {
    let mut bed = Bed::new();
    let sid = send(&mut bed, order("+1555")).unwrap();
    let sent = bed.request(CALLEE, &Method::Message);
    assert_eq!(body(&sent), "Grüße");
    assert!(sent.from().unwrap().uri_str().starts_with("sip:+55@"));
    assert_eq!(sent.request_uri().unwrap().user(), Some("+1555"));
    let kind = sent.header(HeaderName::ContentType).unwrap();
    assert_eq!(kind.text(), "text/plain;charset=UTF-8");
    assert!(bed.webhooks.is_empty());
    respond(&mut bed, &sent, 200);
    use VoiceMessageStatus as Is;
    assert_eq!(states(&bed), [Is::Sending, Is::Sent, Is::Delivered]);
    let last = bed.texts.last().unwrap().clone();
    assert_eq!((last.sid, last.segments), (sid.clone(), 1));
    assert_eq!(last.direction, VoiceMessageDirection::Api);
    assert!(last.sent.is_some() && last.error.is_none());
    let page = bed.metrics.text();
    for status in ["sent", "delivered"] {
        let line =
            format!("tandem_messages_total{{direction=\"outbound-api\",status=\"{status}\"}} 1");
        assert!(page.contains(&line), "{line} is missing in {page}");
    }
    // One after the other.
    assert_eq!(bed.webhooks.len(), 1);
    for status in ["sent", "delivered"] {
        let told = bed.reply_with(TOLD, Ok(String::new()));
        for part in [&format!("MessageStatus={status}"), &*sid, "To=%2B1555"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
    bed.assert_empty();
}

#[test]
fn a_message_that_is_not_taken_says_why() {
    for (status, error) in [(404, 30_005), (480, 30_003), (603, 30_004), (500, 30_008)] {
        let mut bed = Bed::new();
        send(&mut bed, order("+1555")).unwrap();
        let sent = bed.request(CALLEE, &Method::Message);
        respond(&mut bed, &sent, status);
        // Another host of the carrier's may be asked.
        if let Some(again) = bed.sent.pop_front() {
            let response = again.message.respond(status).to_tag("b").build().unwrap();
            bed.receive_message(SECOND, &response);
        }
        let last = bed.texts.last().unwrap();
        assert_eq!(last.status, VoiceMessageStatus::Undelivered);
        assert_eq!(last.error, Some(error), "{status}");
        let told = bed.reply_with(TOLD, Ok(String::new()));
        assert!(told.contains(&format!("ErrorCode={error}")), "{told}");
        bed.assert_empty();
    }
    // Nobody answers.
    let mut bed = Bed::new();
    send(&mut bed, order("+1555")).unwrap();
    bed.pass_ms(70_000);
    bed.sent.clear();
    let last = bed.texts.last().unwrap();
    assert_eq!(last.status, VoiceMessageStatus::Undelivered);
    bed.reply_with(TOLD, Ok(String::new()));
    bed.assert_empty();
}

#[test]
fn a_message_that_is_not_answered_when_the_node_stops_is_told_to_be_lost() {
    let mut bed = Bed::new();
    send(&mut bed, order("+1555")).unwrap();
    bed.request(CALLEE, &Method::Message);
    bed.core.give_up(bed.now);
    bed.settle();
    use VoiceMessageStatus as Is;
    assert_eq!(states(&bed), [Is::Sending, Is::Undelivered]);
    assert_eq!(bed.texts[1].error, Some(30_008));
}

#[test]
fn what_is_kept_for_a_user_who_is_away_is_sent() {
    let mut bed = Bed::new();
    register(&mut bed, &[]);
    send(&mut bed, order("client:bob")).unwrap();
    assert_eq!(bed.kept.len(), 1);
    use VoiceMessageStatus as Is;
    assert_eq!(states(&bed), [Is::Sending, Is::Sent]);
    bed.reply_with(TOLD, Ok(String::new()));
    bed.assert_empty();
}

#[test]
fn orders_that_cannot_be_done_say_why() {
    let mut bed = Bed::new();
    let nobodys = VoiceMessage {
        account: "AC99999999999999999999999999999999".to_owned(),
        ..order("+1555")
    };
    assert_eq!(send(&mut bed, nobodys), Err(FaultCode::NotFound));
    let empty = VoiceMessage {
        body: String::new(),
        ..order("+1555")
    };
    assert_eq!(send(&mut bed, empty), Err(FaultCode::Invalid));
    // What it is to is found out later.
    assert!(send(&mut bed, order("a b")).is_ok());
    let last = bed.texts.last().unwrap();
    assert_eq!(
        (last.status, last.error),
        (VoiceMessageStatus::Failed, Some(21_211))
    );
    let told = bed.reply_with(TOLD, Ok(String::new()));
    assert!(told.contains("MessageStatus=failed"), "{told}");
    bed.core.set_draining(true);
    assert_eq!(send(&mut bed, order("+1555")), Err(FaultCode::Conflict));
    bed.assert_empty();
}

#[test]
fn a_message_to_a_number_is_given_to_its_application() {
    let mut bed = Bed::new();
    let kind = "text/plain; charset=UTF-8";
    bed.receive_message(CALLER, &message("+55", "in", kind, "Hello"));
    bed.response(CALLER, 202);
    let told = bed.reply(
        "http://app.test/sms",
        "<Message action=\"/sent\">Thank you</Message>",
    );
    for part in [
        "MessageSid=SM",
        "From=%2B1777",
        "To=%2B55",
        "Body=Hello",
        "NumMedia=0",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let reply = bed.request(CALLEE, &Method::Message);
    assert_eq!(body(&reply), "Thank you");
    assert_eq!(reply.request_uri().unwrap().user(), Some("+1777"));
    assert!(bed.webhooks.is_empty());
    respond(&mut bed, &reply, 202);
    let told = bed.reply("http://app.test/sent", "");
    assert!(told.contains("MessageStatus=sent"), "{told}");
    let directions: Vec<_> = bed.texts.iter().map(|row| row.direction).collect();
    use VoiceMessageDirection as Way;
    assert_eq!(directions, [Way::Inbound, Way::Reply, Way::Reply]);
    assert_eq!(bed.texts[0].status, VoiceMessageStatus::Received);
    bed.assert_empty();
}

#[test]
fn what_a_stranger_writes_can_be_stored() {
    let mut bed = Bed::new();
    let kind = "text/plain;charset=\"ISO-8859-1\"";
    let mut odd = message("+55", "nul", kind, "a\0b").as_bytes().to_vec();
    *odd.last_mut().unwrap() = 0xFC;
    let from = b"<sip:+1777";
    let at = odd.windows(from.len()).position(|part| part == from);
    let last = at.unwrap() + from.len() - 1;
    odd.splice(last..=last, *b"%00");
    bed.receive(CALLER, odd);
    bed.response(CALLER, 202);
    let row = &bed.texts[0];
    assert_eq!(row.body, "a\u{fffd}ü");
    assert!(
        !row.from.contains('\0') && row.from.contains('\u{fffd}'),
        "{}",
        row.from
    );
    bed.reply("http://app.test/sms", "");
    bed.assert_empty();
}

#[test]
fn a_webhook_that_fails_has_another_in_its_place() {
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &message("+55", "in", "text/plain", "Hello"));
    bed.response(CALLER, 202);
    bed.reply_with("http://app.test/sms", Ok("<html/>".to_owned()));
    let told = bed.reply("http://app.test/sorry", "");
    assert!(told.contains("ErrorCode=12100"), "{told}");
    bed.assert_empty();
}

#[test]
fn what_no_application_takes_is_refused() {
    let mut bed = Bed::new();
    for (number, kind, status) in [
        ("+56", "text/plain", 405),
        ("+55", "application/im-iscomposing+xml", 415),
    ] {
        bed.receive_message(CALLER, &message(number, &format!("m{status}"), kind, "x"));
        bed.response(CALLER, status);
    }
    let long = "x".repeat(9_000);
    bed.receive_message(CALLER, &message("+55", "long", "text/plain", &long));
    bed.response(CALLER, 513);
    assert!(bed.webhooks.is_empty() && bed.texts.is_empty());
    bed.assert_empty();
}

#[test]
fn documents_that_answer_each_other_in_a_circle_are_stopped() {
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &message("+55", "in", "text/plain", "0"));
    bed.response(CALLER, 202);
    let mut count = 0;
    while !bed.webhooks.is_empty() {
        count += 1;
        let again = "<Message to=\"+55\">again</Message>";
        bed.reply("http://app.test/sms", again);
    }
    assert_eq!(count, 6);
    let last = bed.texts.last().unwrap();
    assert_eq!(last.status, VoiceMessageStatus::Undelivered);
    bed.assert_empty();
}

#[test]
fn documents_that_answer_each_other_do_not_multiply() {
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &message("+55", "in", "text/plain", "0"));
    bed.response(CALLER, 202);
    let mut count = 0;
    while !bed.webhooks.is_empty() {
        count += 1;
        let twice = "<Message to=\"+55\">again</Message>".repeat(2);
        bed.reply("http://app.test/sms", &twice);
    }
    // Both of the first document, and one for each from there on.
    assert_eq!(count, 1 + 2 * 5);
    bed.assert_empty();
}

#[test]
fn a_call_sends_a_message_and_hears_what_became_of_it() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "text");
    let verbs = format!(
        "<Message to=\"+1555\" statusCallback=\"/told\" action=\"/sent\">Hi</Message>{WAIT}"
    );
    bed.reply("http://app.test/voice", &verbs);
    let sent = bed.request(CALLEE, &Method::Message);
    respond(&mut bed, &sent, 200);
    // Either may be asked first.
    let urls: Vec<_> = bed
        .webhooks
        .iter()
        .map(|(_, request)| request.url.clone())
        .collect();
    assert_eq!(urls, [TOLD, "http://app.test/sent"]);
    bed.reply_with(TOLD, Ok(String::new()));
    let told = bed.reply("http://app.test/sent", WAIT);
    assert!(
        told.contains("MessageStatus=sent") && told.contains("CallSid="),
        "{told}"
    );
    bed.reply_with(TOLD, Ok(String::new()));
    let (mut caller, _) = pick_up(&mut bed, &request);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
    assert_eq!(bed.texts[0].direction, VoiceMessageDirection::Call);
}

#[test]
fn a_tenants_message_shows_nobody_of_anothers_however_that_is_written() {
    let config = format!(
        "[sip]\ndomains = [\"node.test\"]\n[[accounts]]\nsid = \"{ACCOUNT}\"\n\
         token = \"0123456789abcdef\"\ntenant = \"acme\"\n"
    );
    let config = Config::parse(&config, []).unwrap().config;
    for (from, is_refused) in [
        ("anna", false),
        ("client:anna", false),
        ("sip:+55@node.test", false),
        ("+56", true),
        ("sip:%2B56@acme.test", true),
        ("client:sip:+56@acme.test", true),
        ("sip:ceo@node.test", true),
    ] {
        let mut bed = Bed::new();
        let mut owners = Owners::new("default");
        owners.give_domain("acme.test", "acme");
        owners.give_number("+55", "acme");
        bed.core.directory = Arc::new(Directory::new(&config, None).owned(owners));
        let from = from.to_owned();
        send(
            &mut bed,
            VoiceMessage {
                from,
                ..order("bob")
            },
        )
        .unwrap();
        let last = bed.texts.last().unwrap();
        assert_eq!(last.error == Some(21_606), is_refused, "{last:?}");
    }
}
