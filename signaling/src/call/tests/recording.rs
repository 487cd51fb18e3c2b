//! Calls that operators have recorded.

use control::{
    FaultCode,
    signal::{CallInfo, RecordOrder},
};

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

#[test]
fn a_recording_goes_on_when_mediad_has_lost_it() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.asked();
    let recorded = record(&mut bed, true).unwrap();
    assert_eq!(
        recorded.recording,
        Some(recorded.id.clone()),
        "the file is named after the call"
    );
    assert_eq!(bed.core.list(None)[0].recording, recorded.recording);

    bed.mediad.sessions.clear();
    bed.core
        .handle_media_news(bed.now, MediaNews::Up { restarted: true });
    bed.settle();
    assert_eq!(bed.asked(), ["record", "create", "record"]);
    assert_eq!(bed.core.list(None)[0].recording, recorded.recording);

    assert_eq!(record(&mut bed, false).unwrap().recording, None);
    bed.asked();
    bed.core
        .handle_media_news(bed.now, MediaNews::Up { restarted: true });
    bed.settle();
    assert_eq!(bed.asked(), ["create"]);
    assert_eq!(bed.recordings, [], "they come with the call's record");
    record(&mut bed, true).unwrap();
    hang_up(&mut bed, &mut up);
    // What mediad lost, what was stopped, and what the end of the call has ended.
    assert_eq!(bed.recordings.len(), 3);
    for kept in &bed.recordings {
        assert_eq!((kept.call, &*kept.file), (bed.cdr().id, &*recorded.id));
        assert_eq!(kept.tenant, bed.cdr().tenant);
    }
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
