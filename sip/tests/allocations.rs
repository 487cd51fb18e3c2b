//! What the message layer does without the heap. The received buffer itself is the transport's.

use std::hint::black_box;

use allocation_counter::measure;
use bytes::Bytes;
use sip::message::Message;

const INVITE: &[u8] = include_bytes!("invite.sip");

fn parse() -> Message {
    Message::parse(Bytes::from_static(INVITE)).expect("the INVITE is valid")
}

#[test]
fn an_invite_is_parsed_and_its_headers_are_typed_without_an_allocation() {
    let parsed = measure(|| drop(black_box(parse())));
    assert_eq!(parsed.count_total, 0, "{parsed:?}");

    let message = parse();
    let read = measure(|| {
        let read = (
            message.request_uri(),
            message.via(),
            message.from(),
            message.to(),
            message.call_id(),
            message.cseq(),
            message.contacts().next(),
        );
        black_box(read.1.expect("Via").branch());
        black_box(read.2.expect("From").tag());
        black_box(read.3.expect("To").uri()).expect("a URI");
        black_box(message.max_forwards()).expect("Max-Forwards");
        black_box(message.content_type()).expect("Content-Type");
    });
    assert_eq!(read.count_total, 0, "{read:?}");

    let validated = measure(|| message.validate().expect("the INVITE is valid"));
    assert_eq!(validated.count_total, 0, "{validated:?}");
}

#[test]
fn a_message_may_pass_from_owner_to_owner_without_an_allocation() {
    let message = parse();
    let copied = measure(|| drop(black_box(message.clone())));
    assert_eq!(copied.count_total, 0, "{copied:?}");
}

/// Or the counter would count nothing.
#[test]
fn more_headers_than_most_messages_have_are_allocated() {
    let more = "X-More: 1\r\n".repeat(40);
    let text = format!("OPTIONS sip:b.test SIP/2.0\r\n{more}\r\n");
    let raw = Bytes::from(text);
    let parsed = measure(|| drop(black_box(Message::parse(raw.clone()))));
    assert!(parsed.count_total > 0, "{parsed:?}");
}
