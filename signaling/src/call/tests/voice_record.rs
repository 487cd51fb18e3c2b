//! Applications that record.

use control::media::{AudioTrouble, Recorded, Side, VoiceEvent, VoiceOrder, VoiceRecord};
use sip::message::Method;

use super::{
    bed::*,
    voice::{begin, pick_up},
};

/// The caller is being recorded.
fn record(bed: &mut Bed) -> (Party, VoiceRecord) {
    let request = begin(bed, "record");
    let verb = "<Record action=\"/done\" timeout=\"3\" recordingStatusCallback=\"/recorded\"/>";
    bed.reply("http://app.test/voice", verb);
    let (caller, _) = pick_up(bed, &request);
    let orders = bed.orders();
    let Some(VoiceOrder::Record(record)) = orders.last() else {
        panic!("{orders:?}");
    };
    (caller, record.clone())
}

pub(super) fn recorded(job: u32, ms: u64) -> VoiceEvent {
    let recorded = Recorded {
        ms,
        octets: 44 + ms * 16,
        by_itself: true,
    };
    VoiceEvent::Recorded {
        job,
        result: Ok(recorded),
    }
}

#[test]
fn a_caller_leaves_a_message() {
    let mut bed = Bed::new();
    let (_, record) = record(&mut bed);
    assert!(record.name.starts_with("RE") && record.beep && record.says && !record.hears);
    assert_eq!(
        (record.side, record.channels, record.silence_ms),
        (Side::A, 1, Some(3_000))
    );
    let job = record.job;
    bed.happens(VoiceEvent::RecordingStarted { job });
    bed.pass_ms(2_000);
    bed.happens(recorded(job, 2_000));
    let told = bed.reply_with("http://app.test/recorded", Ok(String::new()));
    assert!(told.contains("RecordingStatus=completed"), "{told}");
    let told = bed.reply("http://app.test/done", "<Hangup/>");
    for part in [
        "RecordingDuration=2",
        &*format!("RecordingSid={}", record.name),
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    // It is in the list of recordings, by the id that its SID has.
    let [row] = &*bed.recordings else {
        panic!("{:?}", bed.recordings);
    };
    assert_eq!(format!("RE{}", row.id.simple()), record.name);
    assert_eq!(
        (row.call, row.bytes, row.channels),
        (bed.cdr().id, 32_044, 1)
    );
    assert_eq!(row.file, format!("{}.wav", record.name));
    assert_eq!(row.ended.since(row.started).as_secs(), 2);
    bed.assert_told("completed");
}

#[test]
fn what_was_recorded_of_a_caller_who_hangs_up_is_kept() {
    let mut bed = Bed::new();
    let (mut caller, record) = record(&mut bed);
    let job = record.job;
    bed.happens(VoiceEvent::RecordingStarted { job });
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    // The session and the call's record wait for the file.
    assert_eq!(
        bed.orders(),
        [VoiceOrder::Stop { job }, VoiceOrder::Attend(false)]
    );
    assert!(bed.cdrs.is_empty() && bed.mediad.sessions.len() == 1);
    bed.happens(recorded(job, 900));
    assert_eq!((bed.cdrs.len(), bed.recordings.len()), (1, 1));
    assert!(bed.mediad.sessions.is_empty());
    let mut told = Vec::new();
    while let Some((_, request)) = bed.webhooks.front() {
        let url = request.url.clone();
        bed.reply_with(&url, Ok(String::new()));
        told.push(url);
    }
    told.sort();
    assert_eq!(
        told,
        ["done", "recorded", "status"].map(|it| format!("http://app.test/{it}"))
    );
    bed.assert_empty();
}

#[test]
fn a_mediad_that_says_nothing_of_a_recording_is_not_waited_for() {
    let mut bed = Bed::new();
    let (mut caller, _) = record(&mut bed);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.pass_ms(9_000);
    assert!(bed.cdrs.is_empty());
    bed.pass_ms(1_100);
    assert_eq!((bed.cdrs.len(), bed.recordings.len()), (1, 0));
    bed.assert_empty();
}

#[test]
fn a_file_that_comes_late_is_in_the_list_of_recordings() {
    let mut bed = Bed::new();
    let (mut caller, record) = record(&mut bed);
    let job = record.job;
    bed.happens(VoiceEvent::RecordingStarted { job });
    let (side, digit) = (Side::A, '#');
    bed.happens(VoiceEvent::Digit { side, digit });
    // The document is not held up for ever.
    bed.pass_ms(31_000);
    assert_eq!(bed.recorded.last().unwrap().status, "absent");
    bed.happens(recorded(job, 2_000));
    assert_eq!(bed.recordings[0].file, format!("{}.wav", record.name));
    while let Some((_, request)) = bed.webhooks.front() {
        let url = request.url.clone();
        bed.reply_with(&url, Ok(String::new()));
    }
    bed.sent.clear();
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.sent.clear();
    while let Some((_, request)) = bed.webhooks.front() {
        let url = request.url.clone();
        bed.reply_with(&url, Ok(String::new()));
    }
    bed.assert_empty();
}

#[test]
fn what_cannot_be_recorded_is_told_and_passed_over() {
    let mut bed = Bed::new();
    let (_, record) = record(&mut bed);
    let (job, why) = (record.job, "the disk is full".to_owned());
    let result = Err(AudioTrouble::Engine(why));
    bed.happens(VoiceEvent::Recorded { job, result });
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    assert_eq!((bed.cdrs.len(), bed.recordings.len()), (1, 0));
    bed.assert_told("completed");
}
