//! Calls to applications where something is in the way.

use control::media::VoiceOrder;
use sip::message::Method;
use store::{Cause, VoiceStatus};
use voice::call::RequestError;

use super::{
    bed::*,
    voice::{WAIT, ack_of, begin, offer, pick_up},
};
use crate::call::MediaNews;

#[test]
fn a_call_whose_webhook_cannot_be_asked_is_refused() {
    let mut bed = Bed::new();
    begin(&mut bed, "down");
    while bed.sent.is_empty() {
        bed.reply_with("http://app.test/voice", Err(RequestError::Host));
        bed.pass_ms(5_000);
        bed.sent.retain(|sent| sent.message.status() != Some(100));
    }
    let refusal = bed.response(CALLER, 500);
    bed.receive_message(CALLER, &ack_of(&refusal));
    assert_eq!(bed.cdr().status, 500);
    bed.assert_told("failed");
}

#[test]
fn a_call_is_refused_while_mediad_is_away() {
    let mut bed = Bed::new();
    bed.core.handle_media_news(bed.now, MediaNews::Down);
    begin(&mut bed, "away");
    let refusal = bed.response(CALLER, 503);
    bed.receive_message(CALLER, &ack_of(&refusal));
    assert!(bed.webhooks.is_empty());
    bed.assert_empty();
}

#[test]
fn a_call_is_refused_where_mediad_has_no_port() {
    let mut bed = Bed::new();
    bed.mediad.fails = true;
    begin(&mut bed, "full");
    // What a callee says of itself by 503 a proxy does not say (RFC 3261 section 16.7).
    let refusal = bed.response(CALLER, 500);
    bed.receive_message(CALLER, &ack_of(&refusal));
    assert!(bed.webhooks.is_empty());
    bed.assert_empty();
}

#[test]
fn a_call_of_which_nothing_can_be_spoken_is_refused_with_the_reason() {
    let mut bed = Bed::new();
    let g729 = offer().replace("9 0 8 101", "18");
    bed.receive_message(CALLER, &invite("+55", "g729", &g729));
    let refusal = bed.response(CALLER, 488);
    let warning = refusal.header("Warning").unwrap().text().into_owned();
    assert!(warning.contains("neither PCMU nor PCMA"), "{warning}");
    bed.receive_message(CALLER, &ack_of(&refusal));
    bed.assert_empty();
}

#[test]
fn an_operator_hangs_up() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "operator");
    bed.reply("http://app.test/voice", WAIT);
    pick_up(&mut bed, &request);
    let id = bed.core.list(None)[0].id.clone();
    assert!(bed.core.hang_up_by_id(bed.now, &id));
    bed.settle();
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    assert_eq!(bed.cdr().cause, Cause::Operator);
    bed.assert_told("completed");
}

#[test]
fn an_answer_that_is_never_acknowledged_ends_the_call() {
    let mut bed = Bed::new();
    begin(&mut bed, "unacked");
    bed.reply("http://app.test/voice", WAIT);
    bed.pass_ms(33_000);
    bed.assert_told("completed");
    assert_eq!(bed.cdrs.len(), 1);
}

#[test]
fn a_mediad_that_was_restarted_has_the_session_again_and_the_document_goes_on() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "restart");
    bed.reply("http://app.test/voice", "<Say>One</Say><Say>Two</Say>");
    let (mut caller, _) = pick_up(&mut bed, &request);
    bed.orders();
    let before = bed.mediad.only().clone();
    bed.mediad.sessions.clear();
    let news = MediaNews::Up { restarted: true };
    bed.core.handle_media_news(bed.now, news);
    bed.settle();
    let again = bed.mediad.only();
    assert_eq!((again.id, again.a.port), (before.id, Some(20_000)));
    assert_eq!(again.a.remote, before.a.remote);
    let orders = bed.orders();
    let count = |is: fn(&VoiceOrder) -> bool| orders.iter().filter(|order| is(order)).count();
    assert_eq!(count(|order| matches!(order, VoiceOrder::Attach)), 1);
    assert_eq!(
        count(|order| matches!(order, VoiceOrder::Play(_))),
        1,
        "{orders:?}"
    );
    // The session is known to be of a call.
    bed.core
        .handle_media_news(bed.now, MediaNews::Listed(vec![before.id]));
    bed.settle();
    assert_eq!(bed.mediad.sessions.len(), 1);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}

#[test]
fn orders_that_mediad_does_not_answer_are_repeated_and_then_given_up() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "slow");
    bed.mediad.unheard = 3;
    bed.reply(
        "http://app.test/voice",
        "<Say>One</Say><Pause length=\"60\"/>",
    );
    let (mut caller, _) = pick_up(&mut bed, &request);
    assert_eq!(bed.mediad.unheard, 0);
    let orders = bed.orders();
    let plays = |orders: &[VoiceOrder]| {
        let plays = orders.iter();
        plays
            .filter(|order| matches!(order, VoiceOrder::Play(_)))
            .count()
    };
    assert_eq!(plays(&orders), 1, "{orders:?}");
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");

    // Nothing is ever played: the document goes on to its end.
    let mut bed = Bed::new();
    let request = begin(&mut bed, "dead");
    bed.mediad.unheard = 1_000;
    bed.reply(
        "http://app.test/voice",
        "<Say>One</Say><Pause length=\"5\"/>",
    );
    pick_up(&mut bed, &request);
    bed.pass_ms(6_000);
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    assert!(bed.mediad.unheard > 900, "it is not asked for ever");
    assert_eq!(plays(&bed.orders()), 0);
    bed.assert_told("completed");
}

#[test]
fn a_node_that_stops_ends_the_call() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "stop");
    bed.reply("http://app.test/voice", WAIT);
    pick_up(&mut bed, &request);
    bed.core.give_up(bed.now);
    bed.settle();
    bed.sent.clear();
    assert_eq!(bed.cdr().cause, Cause::Shutdown);
    assert_eq!(bed.rows.last().unwrap().status, VoiceStatus::Completed);
    bed.assert_empty();
}

#[test]
fn a_node_that_stops_leaves_no_row_of_what_goes_on() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "rows");
    let document = "<Start><Stream url=\"wss://bot.test/\"/></Start><Record/>";
    bed.reply("http://app.test/voice", document);
    pick_up(&mut bed, &request);
    assert!(bed.streams.last().unwrap().is_up);
    bed.core.give_up(bed.now);
    bed.settle();
    bed.sent.clear();
    bed.webhooks.clear();
    assert_eq!(bed.rows.last().unwrap().status, VoiceStatus::Completed);
    assert_eq!(bed.recorded.last().unwrap().status, "absent");
    assert!(!bed.streams.last().unwrap().is_up);
    bed.assert_empty();
}
