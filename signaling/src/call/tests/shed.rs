//! Overload: what waited too long is refused without a trace, and what must not be refused is not.

use std::{collections::BTreeSet, time::Duration};

use control::config::Transport;
use sip::{header::HeaderName, message::Message};

use super::bed::*;
use crate::net::Flow;

fn late(bed: &mut Bed, message: &Message) {
    let flow = Flow::to(Transport::Udp, at(NODE), at(CALLER));
    bed.core.handle_late(bed.now, flow, Ok(message.clone()));
    bed.settle();
}

#[test]
fn what_waited_too_long_is_refused_without_a_transaction_and_at_spread_times() {
    let mut bed = Bed::new();
    assert!(!bed.core.is_too_late(Duration::from_secs(8)));
    assert!(bed.core.is_too_late(Duration::from_millis(8_001)));
    let mut times = BTreeSet::new();
    for nth in 0..200 {
        let invite = invite("+1555", &format!("c{nth}"), "");
        let refused = |bed: &mut Bed| {
            late(bed, &invite);
            let response = bed.response(CALLER, 503);
            let retry = response.header(HeaderName::RetryAfter).unwrap();
            retry.text().parse::<u64>().unwrap()
        };
        let first = refused(&mut bed);
        assert!((5..35).contains(&first), "{first}");
        assert_eq!(refused(&mut bed), first);
        times.insert(first);
    }
    assert!(times.len() > 20, "{times:?}");
    assert_eq!(bed.metrics.shed.get(), 400);
    assert!(bed.core.is_empty());
}

#[test]
fn a_repetition_of_what_is_being_worked_on_is_absorbed_however_late() {
    let mut bed = Bed::new();
    let invite = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &invite);
    bed.sent.clear();
    late(&mut bed, &invite);
    assert!(
        bed.sent
            .iter()
            .all(|sent| sent.message.status() != Some(503)),
        "{:?}",
        bed.sent
    );
    assert_eq!(bed.metrics.shed.get(), 0);
    assert_eq!(bed.core.calls(), 1);
}

#[test]
fn what_a_stranger_says_of_a_call_that_there_is_not_leaves_no_trace() {
    let mut bed = Bed::new();
    let local = at(NODE);
    let stranger = at("203.0.113.77:5060");
    for nth in 0..100 {
        let bye = format!(
            "BYE sip:b@{NODE} SIP/2.0\r\n\
             Via: SIP/2.0/UDP 203.0.113.77;branch=z9hG4bKs{nth};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:a@a.test>;tag=1\r\nTo: <sip:b@b.test>;tag=2\r\nCall-ID: s{nth}\r\n\
             CSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
        );
        let flow = Flow::to(Transport::Udp, local, stranger);
        bed.core.handle_datagram(bed.now, flow, bye.into());
        bed.settle();
        bed.response("203.0.113.77:5060", 481);
    }
    assert!(bed.core.is_empty());
}
