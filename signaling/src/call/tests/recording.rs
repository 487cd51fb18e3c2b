//! Calls that operators have recorded.

use control::{
    FaultCode,
    signal::{CallInfo, RecordOrder},
};

use sip::message::Method;

use super::bed::*;
use crate::call::MediaNews;

fn record(bed: &mut Bed, on: bool) -> Result<CallInfo, FaultCode> {
    let id = bed.core.list(None)[0].id.clone();
    let begun = bed.core.record_call(bed.now, &RecordOrder { id, on });
    begun.unwrap().map_err(|fault| fault.code)?;
    bed.settle();
    let outcome = bed.obeyed.pop().expect("mediad has answered");
    outcome.map_err(|fault| fault.code)
}

fn file(bed: &Bed) -> Option<String> {
    bed.core.list(None)[0].recording.clone()
}

#[test]
fn a_recording_goes_on_when_mediad_has_lost_it() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.asked();
    let recorded = record(&mut bed, true).unwrap();
    let named = |number: u32| format!("/recordings/{}-{number}.wav", recorded.id);
    assert_eq!(recorded.recording, Some(named(1)));
    assert_eq!(file(&bed), Some(named(1)));
    record(&mut bed, true).unwrap();
    assert_eq!(file(&bed), Some(named(1)), "it goes on");

    // A session that is opened anew, and was not lost, is recorded to the same file.
    let restarted = MediaNews::Up { restarted: true };
    bed.asked();
    bed.core.handle_media_news(bed.now, restarted);
    bed.settle();
    assert_eq!(bed.asked(), ["create", "record"]);
    assert_eq!(file(&bed), Some(named(1)));

    bed.mediad.sessions.clear();
    bed.mediad.recorded.clear();
    let restarted = MediaNews::Up { restarted: true };
    bed.core.handle_media_news(bed.now, restarted);
    bed.settle();
    assert_eq!(file(&bed), Some(named(2)));

    assert_eq!(record(&mut bed, false).unwrap().recording, None);
    bed.asked();
    let restarted = MediaNews::Up { restarted: true };
    bed.core.handle_media_news(bed.now, restarted);
    bed.settle();
    assert_eq!(bed.asked(), ["create"]);
    assert_eq!(bed.recordings, [], "they come with the call's record");
    record(&mut bed, true).unwrap();
    hang_up(&mut bed, &mut up);
    // What mediad lost, what was stopped, and what the end of the call has ended.
    let files: Vec<_> = bed
        .recordings
        .iter()
        .map(|kept| kept.file.clone())
        .collect();
    let expected = [1, 2, 3].map(|number| format!("{}-{number}.wav", recorded.id));
    assert_eq!(files, expected);
    for kept in &bed.recordings {
        assert_eq!((kept.call, &kept.tenant), (bed.cdr().id, &bed.cdr().tenant));
    }
    bed.assert_empty();
}

#[test]
fn a_call_that_ends_while_mediad_begins_to_record_it_has_the_file_in_its_record() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let id = bed.core.list(None)[0].id.clone();
    bed.mediad.holds = true;
    let order = RecordOrder { id, on: true };
    bed.core.record_call(bed.now, &order).unwrap().unwrap();
    bed.settle();
    let bye = up.caller.send(&Method::Bye, "");
    bed.receive_message(CALLER, &bye);
    let passed = bed.next(CALLEE).message;
    bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    assert_eq!(bed.cdrs, []);
    bed.release();
    assert_eq!(bed.recordings.len(), 1);
    assert_eq!(bed.recordings[0].call, bed.cdr().id);
    bed.obeyed.clear();
    bed.assert_empty();
}

#[test]
fn a_call_that_cannot_be_recorded_says_so() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.mediad.sessions.clear();
    assert_eq!(record(&mut bed, true), Err(FaultCode::Conflict));
    assert_eq!(bed.core.list(None)[0].recording, None);
    hang_up(&mut bed, &mut up);
    let mut up = call(&mut bed, "+1555", "c2");
    assert_eq!(record(&mut bed, true), Err(FaultCode::Conflict));
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}
