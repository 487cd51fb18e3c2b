//! Streams and recordings that the REST API begins, and the rows of all that a call has.

use control::{
    FaultCode,
    media::{NewStream, Pause, Side, VoiceEvent, VoiceOrder as Order, VoiceRecord},
    signal::{
        RecordingChange, VoiceCall, VoiceDone, VoiceEntry, VoiceOrder, VoiceRecording, VoiceStream,
        VoiceUpdate,
    },
};
use sip::message::Method;
use store::{VoiceCallRow, VoiceDirection, VoiceStatus};

use super::{
    bed::*,
    voice::{WAIT, begin, pick_up},
    voice_api::{answered, call, to_carrier, update, url},
    voice_record::recorded,
};
use crate::call::MediaNews;

/// A call that came in and waits, and its SID.
fn waiting(bed: &mut Bed) -> (Party, String) {
    let request = begin(bed, "rest");
    bed.reply("http://app.test/voice", WAIT);
    let (caller, _) = pick_up(bed, &request);
    bed.orders();
    let sid = format!("CA{}", bed.core.list(None)[0].id.replace('-', ""));
    (caller, sid)
}

fn order(bed: &mut Bed, order: &VoiceOrder) -> Result<String, FaultCode> {
    let done = bed.core.order_voice(bed.now, order).unwrap();
    bed.settle();
    match done.map_err(|fault| fault.code)? {
        VoiceDone::Sid(sid) => Ok(sid),
        other => panic!("{other:?}"),
    }
}

fn stream(call: &str, name: &str) -> VoiceOrder {
    let stream = VoiceStream {
        url: "wss://bot.test/s".to_owned(),
        name: name.to_owned(),
        inbound: true,
        outbound: true,
        status: Some(url("http://app.test/stream")),
        parameters: vec![("a".to_owned(), "b".to_owned())],
    };
    VoiceOrder::Stream {
        call: call.to_owned(),
        stream: Box::new(stream),
    }
}

fn recording() -> VoiceRecording {
    VoiceRecording {
        channels: 2,
        inbound: true,
        outbound: true,
        trim: true,
        status: Some(url("http://app.test/recorded")),
        status_events: Vec::new(),
    }
}

fn record(call: &str) -> VoiceOrder {
    VoiceOrder::Record {
        call: call.to_owned(),
        recording: Box::new(recording()),
    }
}

fn change(call: &str, recording: &str, change: RecordingChange) -> VoiceOrder {
    VoiceOrder::ChangeRecording {
        call: call.to_owned(),
        recording: recording.to_owned(),
        change,
    }
}

fn streams(bed: &mut Bed) -> Vec<NewStream> {
    let orders = bed.orders().into_iter();
    let streams = orders.filter_map(|order| match order {
        Order::Stream(stream) => Some(*stream),
        _ => None,
    });
    streams.collect()
}

fn records(bed: &mut Bed) -> Vec<VoiceRecord> {
    let orders = bed.orders().into_iter();
    let records = orders.filter_map(|order| match order {
        Order::Record(record) => Some(record),
        _ => None,
    });
    records.collect()
}

/// Answers what webhooks are asked, and tells what they were told.
fn told(bed: &mut Bed) -> Vec<(String, String)> {
    let mut told = Vec::new();
    while let Some((_, request)) = bed.webhooks.front() {
        let url = request.url.clone();
        let body = bed.reply_with(&url, Ok(String::new()));
        told.push((url, body));
    }
    told
}

/// How a row's states went.
fn states(rows: &[VoiceCallRow], sid: &str) -> Vec<VoiceStatus> {
    let of = rows.iter().filter(|row| row.sid == sid);
    let mut last = 0;
    let states = of.map(|row| {
        assert!(row.sequence > last, "{row:?}");
        last = row.sequence;
        row.status
    });
    states.collect()
}

fn hang_up(bed: &mut Bed, caller: &mut Party) {
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
}

#[test]
fn a_stream_is_begun_told_of_and_ended() {
    let mut bed = Bed::new();
    let (mut caller, call) = waiting(&mut bed);
    let sid = order(&mut bed, &stream(&call, "")).unwrap();
    let [begun] = &*streams(&mut bed) else {
        panic!("one stream is begun");
    };
    assert_eq!(
        (&begun.stream_sid, &begun.call_sid, begun.side),
        (&sid, &call, Side::A)
    );
    assert!(begun.inbound && begun.outbound && !begun.bidirectional);
    let job = begun.job;
    bed.happens(VoiceEvent::StreamStarted { job });
    let body = bed.reply_with("http://app.test/stream", Ok(String::new()));
    assert!(body.contains("StreamEvent=stream-started") && body.contains(&sid));
    // As in a document: four tracks, and a name once.
    assert!(order(&mut bed, &stream(&call, "two")).is_ok());
    let more = order(&mut bed, &stream(&call, ""));
    assert_eq!(more, Err(FaultCode::Conflict));
    let end = |which: &str| VoiceOrder::StopStream {
        call: call.clone(),
        stream: which.to_owned(),
    };
    bed.orders();
    assert_eq!(order(&mut bed, &end(&sid)), Ok(sid.clone()));
    assert_eq!(bed.orders(), [Order::Stop { job }]);
    assert_eq!(order(&mut bed, &end(&sid)), Err(FaultCode::NotFound));
    let taken = order(&mut bed, &stream(&call, "two"));
    assert_eq!(taken, Err(FaultCode::Invalid));
    let body = told(&mut bed).remove(0).1;
    assert!(body.contains("StreamEvent=stream-stopped"), "{body}");
    hang_up(&mut bed, &mut caller);
    let rows: Vec<_> = bed
        .streams
        .iter()
        .map(|row| (&*row.name, row.is_up, row.sequence))
        .collect();
    let expected = [
        (&*sid, true, 1),
        ("two", true, 1),
        (&*sid, false, 2),
        ("two", false, 2),
    ];
    assert_eq!(rows, expected);
    assert!(bed.streams.iter().all(|row| row.call == call));
    told(&mut bed);
    bed.assert_empty();
}

#[test]
fn a_recording_is_begun_paused_and_ended_and_can_be_fetched_at_once() {
    let mut bed = Bed::new();
    let (mut caller, call) = waiting(&mut bed);
    let sid = order(&mut bed, &record(&call)).unwrap();
    let begun = records(&mut bed).remove(0);
    assert_eq!(
        (&begun.name, begun.channels, begun.silence_ms),
        (&sid, 2, None)
    );
    assert!(begun.says && begun.hears && begun.trim && !begun.beep);
    let job = begun.job;
    bed.happens(VoiceEvent::RecordingStarted { job });
    for (how, done) in [
        (RecordingChange::Pause { skip: true }, Some(Pause::Skip)),
        (RecordingChange::Resume, Some(Pause::Resume)),
        (RecordingChange::Resume, None),
        (RecordingChange::Pause { skip: false }, Some(Pause::Silence)),
    ] {
        let changed = order(&mut bed, &change(&call, "Twilio.CURRENT", how));
        assert_eq!(changed, Ok(sid.clone()));
        let wanted = done.map(|how| Order::Pause { job, how });
        assert_eq!(bed.orders(), wanted.into_iter().collect::<Vec<_>>());
    }
    let stop = change(&call, &sid, RecordingChange::Stop);
    assert_eq!(order(&mut bed, &stop), Ok(sid.clone()));
    assert_eq!(bed.orders(), [Order::Stop { job }]);
    assert_eq!(order(&mut bed, &stop), Err(FaultCode::NotFound));
    bed.happens(recorded(job, 2_500));
    let (_, body) = told(&mut bed).remove(0);
    for part in [
        "RecordingStatus=completed",
        "RecordingDuration=3",
        "RecordingSource=StartCallRecordingAPI",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    // The call goes on.
    assert!(bed.cdrs.is_empty());
    assert_eq!(bed.recordings[0].file, format!("{sid}.wav"));
    let states: Vec<_> = bed.recorded.iter().map(|row| &*row.status).collect();
    let expected = [
        "in-progress",
        "in-progress",
        "paused",
        "in-progress",
        "paused",
        "processing",
        "completed",
    ];
    assert_eq!(states, expected);
    let last = bed.recorded.last().unwrap();
    assert_eq!(
        (last.duration_ms, &*last.track, &last.call),
        (Some(2_500), "both", &call)
    );
    hang_up(&mut bed, &mut caller);
    told(&mut bed);
    bed.assert_empty();
}

#[test]
fn a_call_that_is_made_is_recorded_from_its_answer_on() {
    let mut bed = Bed::new();
    let made = VoiceCall {
        entry: VoiceEntry::Document(format!(
            "<Response>{}</Response>",
            WAIT.replace("/music", "http://app.test/music")
        )),
        record: Some(Box::new(recording())),
        ..to_carrier()
    };
    let (sid, invite) = call(&mut bed, made);
    let refused = order(&mut bed, &record(&sid));
    assert_eq!(refused, Err(FaultCode::Conflict));
    bed.receive_message(CALLEE, &answer(&invite, 180, CALLEE, ""));
    assert!(records(&mut bed).is_empty());
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
    bed.request(CALLEE, &Method::Ack);
    let job = records(&mut bed).remove(0).job;
    bed.happens(VoiceEvent::RecordingStarted { job });
    bed.pass_ms(5_000);
    let mut callee = Party::callee(&invite, CALLEE);
    bed.receive_message(CALLEE, &callee.send(&Method::Bye, ""));
    bed.response(CALLEE, 200);
    bed.happens(recorded(job, 5_000));
    let all = told(&mut bed);
    let of = |path: &str| all.iter().find(|(url, _)| url.ends_with(path));
    assert!(
        of("/recorded")
            .unwrap()
            .1
            .contains("RecordingSource=OutboundAPI")
    );
    let (_, end) = of("/status").unwrap();
    assert!(
        end.contains("CallStatus=completed") && end.contains("RecordingDuration=5"),
        "{end}"
    );
    assert_eq!(bed.recorded.last().unwrap().status, "completed");
    let states = states(&bed.rows, &sid);
    let expected = [
        VoiceStatus::Queued,
        VoiceStatus::Ringing,
        VoiceStatus::InProgress,
        VoiceStatus::Completed,
    ];
    assert_eq!(
        states.iter().filter(|it| expected.contains(it)).count(),
        states.len()
    );
    assert_eq!(
        (states[0], states.last()),
        (VoiceStatus::Queued, Some(&VoiceStatus::Completed))
    );
    let last = bed.rows.last().unwrap();
    assert_eq!((last.duration_s, last.queue_ms), (Some(5), 0));
    bed.assert_empty();
}

#[test]
fn what_a_document_streams_and_records_has_rows_too() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "rows");
    let document = format!(
        "<Start><Stream name=\"mine\" url=\"wss://bot.test/\"/></Start>\
         <Dial record=\"record-from-answer-dual\">+1555</Dial>{WAIT}"
    );
    bed.reply("http://app.test/voice", &document);
    let invite = bed.request(CALLEE, &Method::Invite);
    let (mut caller, _) = pick_up(&mut bed, &request);
    bed.receive_message(CALLEE, &answer(&invite, 180, CALLEE, ""));
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
    bed.request(CALLEE, &Method::Ack);
    let job = records(&mut bed).remove(0).job;
    bed.happens(VoiceEvent::RecordingStarted { job });
    bed.pass_ms(4_000);

    let parent = bed
        .rows
        .iter()
        .find(|row| row.parent.is_none())
        .unwrap()
        .sid
        .clone();
    let child = bed
        .rows
        .iter()
        .rfind(|row| row.parent.is_some())
        .unwrap()
        .clone();
    assert_eq!(child.parent.as_ref(), Some(&parent));
    assert_eq!(
        (child.direction, &*child.to),
        (VoiceDirection::Dial, "+1555")
    );
    // Who was dialled is hung up alone, and is neither streamed nor recorded alone.
    assert_eq!(
        order(&mut bed, &record(&child.sid)),
        Err(FaultCode::Conflict)
    );
    let redirect = VoiceUpdate::Change {
        entry: None,
        fallback: None,
        status: None,
        time_limit_s: Some(1),
    };
    assert_eq!(
        update(&mut bed, &child.sid, redirect),
        Err(FaultCode::Conflict)
    );
    let done = update(&mut bed, &child.sid, VoiceUpdate::Complete);
    assert_eq!(done, Ok(VoiceDone::Done));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.happens(recorded(job, 4_000));
    assert_eq!(
        states(&bed.rows, &child.sid),
        [
            VoiceStatus::Ringing,
            VoiceStatus::Ringing,
            VoiceStatus::InProgress,
            VoiceStatus::Completed
        ]
    );
    let over = bed.rows.iter().rfind(|row| row.sid == child.sid).unwrap();
    assert_eq!((over.duration_s, over.cdr), (Some(4), child.cdr));
    let last = bed.recorded.last().unwrap();
    assert_eq!(
        (&*last.source, &*last.status, last.channels),
        ("DialVerb", "completed", 2)
    );
    // The document goes on.
    assert!(matches!(bed.plays().loops, 0));
    hang_up(&mut bed, &mut caller);
    let streams: Vec<_> = bed
        .streams
        .iter()
        .map(|row| (&*row.name, row.is_up))
        .collect();
    assert_eq!(streams, [("mine", true), ("mine", false)]);
    assert!(bed.cdrs.iter().any(|cdr| Some(cdr.id) == child.cdr));
    told(&mut bed);
    bed.assert_empty();
}

#[test]
fn what_a_mediad_streamed_that_is_restarted_is_over() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "restart");
    let document = format!("<Connect><Stream url=\"wss://bot.test/\"/></Connect>{WAIT}");
    bed.reply("http://app.test/voice", &document);
    let (mut caller, _) = pick_up(&mut bed, &request);
    bed.orders();
    bed.core
        .handle_media_news(bed.now, MediaNews::Up { restarted: true });
    bed.settle();
    assert!(matches!(bed.plays().loops, 0));
    assert!(!bed.streams.last().unwrap().is_up);
    hang_up(&mut bed, &mut caller);
    bed.assert_told("completed");
}

#[test]
fn how_long_a_call_may_last_and_who_is_told_of_it_is_changed() {
    let mut bed = Bed::new();
    let (mut caller, call) = waiting(&mut bed);
    bed.pass_ms(4_000);
    let terms = VoiceUpdate::Change {
        entry: None,
        fallback: None,
        status: Some(url("http://app.test/other")),
        time_limit_s: Some(6),
    };
    assert_eq!(update(&mut bed, &call, terms), Ok(VoiceDone::Done));
    bed.pass_ms(1_500);
    bed.assert_quiet();
    bed.pass_ms(1_000);
    let bye = bed.request(CALLER, &Method::Bye);
    assert!(caller.dialog.handle_request(&bye).is_ok());
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    let all = told(&mut bed);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(
        all[0].0.ends_with("/other") && all[0].1.contains("CallDuration=6"),
        "{all:?}"
    );
    bed.assert_empty();
}
