//! What operators do to calls.

use control::{
    Fault, FaultCode, media,
    signal::{self, CallChange, CallInfo, CallOrder, Party as Who},
};
use serde_json::json;
use sip::message::Method;

use super::bed::*;
use crate::call::MediaNews;

fn order(bed: &mut Bed, change: CallChange) -> Result<CallInfo, Fault> {
    let id = bed.core.list(None)[0].id.clone();
    let done = bed.core.obey(bed.now, &CallOrder { id, change });
    bed.settle();
    done.unwrap()
}

fn mute(bed: &mut Bed, party: Who, on: bool) -> CallInfo {
    order(bed, CallChange::Mute { party, on }).unwrap()
}

/// Whom mediad keeps from being heard, of each session.
fn unheard(bed: &Bed) -> Vec<(bool, bool)> {
    let sessions = bed.mediad.sessions.values();
    sessions
        .map(|(create, _)| (create.a.muted, create.b.muted))
        .collect()
}

#[test]
fn who_is_muted_or_held_stays_so_through_offers_and_a_restart_of_mediad() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.events.clear();
    let muted = mute(&mut bed, Who::Callee, true);
    assert_eq!((&*muted.muted, muted.held), (&[Who::Callee][..], false));
    assert_eq!(bed.events, [signal::Event::Call(muted.clone())]);
    assert_eq!(unheard(&bed), [(false, true)]);
    bed.assert_quiet();
    // Said again, it is nothing new.
    assert_eq!(mute(&mut bed, Who::Callee, true), muted);
    assert_eq!(bed.events.len(), 1);

    // A second stream comes.
    let offer = sdp("192.0.2.10", &[4000, 4100], "sendrecv");
    bed.receive_message(CALLER, &up.caller.send(&Method::Invite, &offer));
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let answered = sdp("192.0.2.20", &[5000, 5100], "sendrecv");
    let answer = forwarded.respond(200).body("application/sdp", answered);
    bed.receive_message(CALLEE, &answer.build().unwrap());
    bed.response(CALLER, 200);
    bed.receive_message(CALLER, &up.caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    assert_eq!(unheard(&bed), [(false, true), (false, true)]);

    assert!(order(&mut bed, CallChange::Hold { on: true }).unwrap().held);
    assert_eq!(unheard(&bed), [(true, true), (true, true)]);
    // While mediad is away, who is heard changes; then it is back, and knows nothing.
    bed.mediad.holds = true;
    bed.core.handle_media_news(bed.now, MediaNews::Down);
    let resumed = order(&mut bed, CallChange::Hold { on: false }).unwrap();
    assert_eq!((&*resumed.muted, resumed.held), (&[Who::Callee][..], false));
    bed.mediad.sessions.clear();
    bed.mediad.holds = false;
    bed.core
        .handle_media_news(bed.now, MediaNews::Up { restarted: true });
    bed.settle();
    assert_eq!(unheard(&bed), [(false, true), (false, true)]);
    bed.release();

    assert_eq!(mute(&mut bed, Who::Callee, false).muted, []);
    assert_eq!(unheard(&bed), [(false, false), (false, false)]);
    assert_eq!(bed.history, [], "it is written when the call is over");
    hang_up(&mut bed, &mut up);
    let told: Vec<_> = bed
        .history
        .iter()
        .map(|one| (one.number, &*one.kind, data(one)))
        .collect();
    let expected = [
        (0, "muted", json!({ "party": "callee", "on": true })),
        (1, "held", json!({ "on": true })),
        (2, "held", json!({ "on": false })),
        (3, "muted", json!({ "party": "callee", "on": false })),
    ];
    assert_eq!(told, expected);
    assert!(bed.history.iter().all(|one| one.call == bed.cdr().id));
    bed.assert_empty();
}

#[test]
fn a_session_that_mediad_does_not_know_is_opened_with_who_is_muted() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.mediad.sessions.clear();
    bed.asked();
    mute(&mut bed, Who::Caller, true);
    assert_eq!(bed.asked(), ["mute", "create"]);
    assert_eq!(unheard(&bed), [(true, false)]);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn what_an_unreachable_mediad_was_not_told_it_is_told_when_it_is_back() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.mediad.fails = true;
    mute(&mut bed, Who::Caller, true);
    assert_eq!(unheard(&bed), [(false, false)]);
    bed.mediad.fails = false;
    bed.core
        .handle_media_news(bed.now, MediaNews::Up { restarted: false });
    bed.settle();
    assert_eq!(unheard(&bed), [(true, false)]);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_call_that_rings_is_muted_before_its_session_is_open() {
    let mut bed = Bed::new();
    bed.mediad.holds = true;
    let offer = sdp("192.0.2.10", &[4000], "sendrecv");
    bed.receive_message(CALLER, &invite("+2555", "c1", &offer));
    mute(&mut bed, Who::Caller, true);
    bed.release();
    assert_eq!(unheard(&bed), [(true, false)]);
    let requests = bed.mediad.asked.iter();
    let mutes = requests.filter(|request| matches!(request, media::Request::Mute(_)));
    assert_eq!(mutes.count(), 1);
}

#[test]
fn what_goes_past_the_node_cannot_be_muted() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+1555", "c1");
    let refused = order(&mut bed, CallChange::Hold { on: true }).unwrap_err();
    assert_eq!(refused.code, FaultCode::Conflict);
    assert!(refused.message.contains("bypass"), "{refused}");
    assert!(!bed.core.list(None)[0].held);
    hang_up(&mut bed, &mut up);
    let unknown = CallOrder {
        id: "none".into(),
        change: CallChange::Hold { on: true },
    };
    assert!(bed.core.obey(bed.now, &unknown).is_none());
    bed.assert_empty();
}
