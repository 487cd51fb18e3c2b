//! The messages of a call, as an operator sees them.

use std::time::Duration;

use sip::message::Method;

use super::{super::TraceAsked, bed::*};

pub(super) fn asked(id: &str, after: u64, full: bool) -> TraceAsked {
    TraceAsked {
        id: id.to_owned(),
        after,
        full,
        tenant: None,
    }
}

#[test]
fn a_calls_messages_are_shown_while_it_is_up_and_after_with_nothing_secret() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let id = bed.core.list(None)[0].id.clone();
    call(&mut bed, "+2555", "c2");
    bed.pass_ms(1_000);
    let info = up.caller.send(&Method::parse(b"INFO").unwrap(), "");
    let info = info
        .edit()
        .push("Proxy-Authorization", "Digest response=\"hunter2\"");
    bed.receive_message(CALLER, &info.finish().unwrap());
    let passed = bed.next(CALLEE).message;
    bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
    bed.response(CALLER, 200);

    let lines = |bed: &Bed, id: &str, after: u64| -> Vec<String> {
        let page = bed.core.trace(&asked(id, after, true)).unwrap();
        assert_eq!(page.call_id, "c1@pbx.test");
        let shown = page.messages.iter().map(|message| {
            let text = message.text.as_deref().unwrap();
            assert!(
                text.contains("c1@pbx.test") && !text.contains("hunter2"),
                "{text}"
            );
            let arrow = if message.received { "<" } else { ">" };
            let word = message
                .line
                .split(' ')
                .find(|word| !word.starts_with("SIP/"));
            let peer = if message.peer == at(CALLER) { 1 } else { 2 };
            format!("{peer} {arrow} {}", word.unwrap())
        });
        shown.collect()
    };
    let wanted = [
        "1 < INVITE",
        "2 > INVITE",
        "2 < 180",
        "1 > 180",
        "2 < 200",
        "1 > 200",
        "1 < ACK",
        "2 > ACK",
        "1 < INFO",
        "2 > INFO",
        "2 < 200",
        "1 > 200",
    ];
    assert_eq!(lines(&bed, "c1@pbx.test", 0), wanted);
    assert_eq!(lines(&bed, &id, 0), wanted);
    let page = bed.core.trace(&asked(&id, 0, false)).unwrap();
    assert!(page.up && page.messages.iter().all(|message| message.text.is_none()));
    let (first, last) = (&page.messages[0], &page.messages[11]);
    assert_eq!(last.at_us - first.at_us, 1_000_000);
    assert_eq!(first.at_us, 1_700_000_000_000_000);

    hang_up(&mut bed, &mut up);
    assert_eq!(lines(&bed, &id, page.next).len(), 4);
    // A callee that missed it all says its 200 again.
    bed.receive(CALLEE, passed.respond(200).build().unwrap().into_bytes());
    assert_eq!(lines(&bed, &id, page.next).len(), 5);
    bed.pass(Duration::from_secs(61));
    call(&mut bed, "+2555", "c3");
    assert!(!bed.core.trace(&asked("c1@pbx.test", 0, false)).unwrap().up);
    assert!(bed.core.trace(&asked("nobody", 0, false)).is_none());
}

#[cfg(feature = "otel")]
#[test]
fn a_traced_call_has_its_own_messages_from_its_first_to_its_last() {
    use crate::traces::Sample;

    let mut bed = Bed::new();
    for (sample, traced) in [(None, 0), (Some(Sample::ALL), 1)] {
        bed.core.set_traced(sample);
        let other = call(&mut bed, "+2555", &format!("other{traced}"));
        bed.pass_ms(2_000);
        let mut up = call(&mut bed, "+2555", &format!("c{traced}"));
        bed.pass_ms(5_000);
        let bye = up.caller.send(&Method::Bye, "");
        bed.receive_message(CALLER, &bye);
        let passed = bed.next(CALLEE).message;
        bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
        bed.response(CALLER, 200);
        assert_eq!(bed.traced.len(), traced);
        drop(other);
    }
    let call = &bed.traced[0];
    assert_eq!(call.cdr, bed.cdrs[1]);
    let lines: Vec<_> = call
        .messages
        .iter()
        .map(|message| message.line.as_str())
        .collect();
    assert!(
        lines[0].starts_with("INVITE ") && lines.len() >= 8,
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("BYE ")),
        "{lines:?}"
    );
    let cseq = call.messages[0].cseq.as_deref();
    assert_eq!(cseq, Some("1 INVITE"));
}
