//! Calls that operators have recorded.

use control::{
    FaultCode,
    media::{Pause, RecordFormat},
    signal::{CallInfo, RecordOrder},
};

use sip::message::Method;

use super::bed::*;
use crate::call::MediaNews;

fn record(bed: &mut Bed, on: bool) -> Result<CallInfo, FaultCode> {
    let order = order(bed, on);
    obey(bed, &order)
}

fn order(bed: &Bed, on: bool) -> RecordOrder {
    RecordOrder {
        id: bed.core.list(None)[0].id.clone(),
        on,
        format: RecordFormat::Wav,
        paused: false,
    }
}

fn obey(bed: &mut Bed, order: &RecordOrder) -> Result<CallInfo, FaultCode> {
    let begun = bed.core.record_call(bed.now, order);
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
    let order = order(&bed, true);
    bed.mediad.holds = true;
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

#[test]
fn a_recording_that_the_disk_has_ended_is_told_and_leaves_the_call() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let recorded = record(&mut bed, true).unwrap();
    let id = *bed.mediad.recorded.keys().next().unwrap();
    let failed = MediaNews::RecordingFailed(control::media::SessionId(id), "No space left".into());
    bed.core.handle_media_news(bed.now, failed);
    bed.settle();
    assert_eq!(file(&bed), None);
    hang_up(&mut bed, &mut up);
    // What was written until then.
    let files: Vec<_> = bed.recordings.iter().map(|kept| &kept.file).collect();
    assert_eq!(files, [&format!("{}-1.wav", recorded.id)]);
    bed.assert_empty();
}

#[test]
fn a_recording_of_packets_pauses_and_stays_what_it_is() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let mut order = order(&bed, true);
    let mut asked = |bed: &mut Bed, format, paused| {
        (order.format, order.paused) = (format, paused);
        obey(bed, &order).unwrap();
        bed.mediad.records.pop().unwrap()
    };
    let first = asked(&mut bed, RecordFormat::Pcap, false);
    assert_eq!(
        (first.format, first.pause),
        (RecordFormat::Pcap, Pause::Resume)
    );
    let second = asked(&mut bed, RecordFormat::Wav, true);
    assert_eq!(
        (second.format, second.pause),
        (RecordFormat::Pcap, Pause::Silence)
    );
    // So it is in a mediad that is new.
    bed.mediad.sessions.clear();
    bed.mediad.recorded.clear();
    let restarted = MediaNews::Up { restarted: true };
    bed.core.handle_media_news(bed.now, restarted);
    bed.settle();
    assert_eq!(bed.mediad.records.pop().unwrap().pause, Pause::Silence);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn each_file_that_a_recording_goes_on_in_is_one_of_the_call() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let recorded = record(&mut bed, true).unwrap();
    let id = *bed.mediad.recorded.keys().next().unwrap();
    let session = control::media::SessionId(id);
    let turned = |id, file: &str| MediaNews::RecordingTurned(id, file.into());
    // Of a session that is not recorded it says nothing.
    let other = control::media::SessionId([9; 16]);
    bed.core
        .handle_media_news(bed.now, turned(other, "/recordings/x.wav"));
    bed.core
        .handle_media_news(bed.now, turned(session, "/recordings/part-2.wav"));
    bed.settle();
    assert_eq!(file(&bed).as_deref(), Some("/recordings/part-2.wav"));
    hang_up(&mut bed, &mut up);
    let files: Vec<_> = bed.recordings.iter().map(|kept| &*kept.file).collect();
    assert_eq!(files, [&*format!("{}-1.wav", recorded.id), "part-2.wav"]);
    assert!(bed.recordings[0].ended <= bed.recordings[1].started);
    bed.assert_empty();
}

#[test]
fn files_of_which_nothing_was_heard_are_the_calls_too() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let recorded = record(&mut bed, true).unwrap();
    let named = |number: u32| format!("{}-{number}.wav", recorded.id);
    // It has gone on twice while mediad's events were lost.
    for file in bed.mediad.recorded.values_mut() {
        *file = format!("/recordings/{}", named(3));
    }
    bed.asked();
    let up_again = MediaNews::Up { restarted: false };
    bed.core.handle_media_news(bed.now, up_again);
    bed.settle();
    assert_eq!(bed.asked(), ["record"]);
    assert_eq!(
        file(&bed).as_deref(),
        Some(&*format!("/recordings/{}", named(3)))
    );
    hang_up(&mut bed, &mut up);
    let files: Vec<_> = bed.recordings.iter().map(|kept| &*kept.file).collect();
    assert_eq!(files, [1, 2, 3].map(named));
    bed.assert_empty();
}
