//! What the REST API begins, changes and ends in a call.

use super::super::*;
use super::host::{Host, Page, SECOND, VOICE, link, setup, told_of_all};
use crate::twiml::{Method, RecordingCallback, StatusEvents, Stream, Tracks};

const WAIT: &str = "<Response><Play loop=\"0\">/wait.wav</Play></Response>";
const TOLD: &str = "https://app.test/told";

pub(super) fn stream(name: Option<&str>, tracks: Tracks) -> Stream {
    Stream {
        name: name.map(str::to_owned),
        url: "wss://bot.test/s".to_owned(),
        tracks,
        parameters: Vec::new(),
        callback: Some(link(TOLD)),
        audio_format: None,
        sample_rate: None,
    }
}

pub(super) fn recording() -> RecordingOrder {
    RecordingOrder {
        tracks: Tracks::Both,
        channels: 2,
        trim: true,
        callback: Some(RecordingCallback {
            link: link(TOLD),
            in_progress: true,
            completed: true,
            absent: true,
        }),
    }
}

/// How recordings and streams are, in words.
fn news(call: &mut Call) -> Vec<String> {
    let news = std::iter::from_fn(|| call.poll_news());
    let words = news.filter_map(|news| match news {
        News::Leg(_) => None,
        News::Stream(stream) => Some(format!("{} {}", stream.name, stream.is_up)),
        News::Recording(recording) => {
            let length = recording.length.map(|length| length.as_millis());
            let status = recording.status.as_str();
            Some(format!("{} {status} {length:?}", recording.source))
        }
    });
    words.collect()
}

/// How legs are, in words.
fn legs(call: &mut Call) -> Vec<String> {
    let news = std::iter::from_fn(|| call.poll_news());
    let words = news.filter_map(|news| match news {
        News::Leg(leg) => {
            let kind = if leg.parent.is_some() { "leg" } else { "party" };
            Some(format!("{kind} {}", leg.status.as_str()))
        }
        _ => None,
    });
    words.collect()
}

#[test]
fn a_stream_is_as_one_of_a_document() {
    let document = WAIT.replace(
        "<Play",
        "<Start><Stream name=\"own\" url=\"wss://b.test/\"/></Start><Play",
    );
    let mut host = Host::of(setup(), &[(VOICE, &document)]);
    host.page(TOLD, Page::Status(200));
    host.did();
    let call = &mut host.call;
    let taken = call.start_stream(stream(Some("own"), Tracks::Inbound));
    assert_eq!(taken, Err(Refused::Taken("own".to_owned())));
    let sid = call.start_stream(stream(None, Tracks::Both)).unwrap();
    assert_eq!(
        call.start_stream(stream(None, Tracks::Both)),
        Err(Refused::Streams(4))
    );
    let wrong = Stream {
        url: "http://b.test/".to_owned(),
        ..stream(None, Tracks::Inbound)
    };
    assert!(matches!(call.start_stream(wrong), Err(Refused::Url(_))));
    host.drain();
    host.assert_did(&["fork Both to wss://bot.test/s"]);
    let job = host.last.stream.unwrap();
    host.tell(Event::StreamStarted { job });
    assert_eq!(host.asked(TOLD).get("StreamEvent"), Some("stream-started"));
    assert_eq!(host.asked(TOLD).get("StreamSid"), Some(sid.as_str()));
    host.did();
    assert_eq!(
        host.call.end_stream(host.now, sid.as_str()),
        Ok(sid.clone())
    );
    assert!(host.call.end_stream(host.now, "own").is_ok());
    let missing = host.call.end_stream(host.now, sid.as_str());
    assert_eq!(missing, Err(Refused::Missing("stream")));
    host.drain();
    host.assert_did(&["close stream", "POST https://app.test/told", "close stream"]);
    assert_eq!(host.asked(TOLD).get("StreamEvent"), Some("stream-stopped"));
    let name = sid.as_str();
    let expected = [
        "own true".to_owned(),
        format!("{name} true"),
        format!("{name} false"),
        "own false".to_owned(),
    ];
    assert_eq!(news(&mut host.call), expected);
}

#[test]
fn a_call_that_was_given_to_a_stream_goes_on_when_that_is_ended() {
    let document =
        "<Response><Connect><Stream url=\"wss://b.test/\"/></Connect><Say>Bye</Say></Response>";
    let mut host = Host::with(document);
    host.did();
    let name = match host
        .call
        .poll_news()
        .into_iter()
        .chain(std::iter::from_fn(|| host.call.poll_news()))
        .last()
    {
        Some(News::Stream(stream)) => stream.name,
        other => panic!("{other:?}"),
    };
    assert!(host.call.end_stream(host.now, &name).is_ok());
    host.drain();
    host.assert_did(&["close stream", "say \"Bye\" to the party"]);
}

#[test]
fn a_recording_is_begun_paused_resumed_and_ended() {
    let mut host = Host::with(WAIT);
    host.page(TOLD, Page::Status(200));
    host.did();
    let sid = host.call.start_recording(host.now, recording()).unwrap();
    host.drain();
    let job = host.last.record.unwrap();
    host.tell(Event::RecordingStarted { job });
    assert_eq!(host.asked(TOLD).get("RecordingStatus"), Some("in-progress"));
    for (which, how) in [
        ("Twilio.CURRENT", Pause::Resume),
        ("Twilio.CURRENT", Pause::Skip),
        (sid.as_str(), Pause::Resume),
        (sid.as_str(), Pause::Silence),
    ] {
        let change = RecordingChange::Pause(how);
        let changed = host.call.change_recording(host.now, which, change);
        assert_eq!(changed, Ok(sid.clone()));
    }
    let stop = RecordingChange::Stop;
    assert!(
        host.call
            .change_recording(host.now, "Twilio.CURRENT", stop)
            .is_ok()
    );
    let again = host.call.change_recording(host.now, sid.as_str(), stop);
    assert_eq!(again, Err(Refused::Missing("recording")));
    host.drain();
    host.assert_did(&[
        "record Both x2",
        "POST https://app.test/told",
        "pause recording: Skip",
        "pause recording: Resume",
        "pause recording: Silence",
        "stop recording",
    ]);
    let result = Ok(1_500 * SECOND / 1_000);
    host.tell(Event::Recorded { job, result });
    let told = host.asked(TOLD);
    for (name, value) in [
        ("RecordingStatus", "completed"),
        ("RecordingSource", "StartCallRecordingAPI"),
        ("RecordingTrack", "both"),
        ("RecordingChannels", "2"),
        ("RecordingDuration", "2"),
        ("RecordingSid", sid.as_str()),
    ] {
        assert_eq!(told.get(name), Some(value), "{name}");
    }
    let states = [
        "in-progress None",
        "in-progress None",
        "paused None",
        "in-progress None",
        "paused None",
        "processing None",
        "completed Some(1500)",
    ];
    let expected = states.map(|state| format!("StartCallRecordingAPI {state}"));
    assert_eq!(news(&mut host.call), expected);
    // Nothing of it is left to the document.
    assert!(!host.call.is_over());
}

#[test]
fn only_a_call_in_progress_is_streamed_and_recorded() {
    let outbound = Setup {
        direction: Direction::OutboundApi,
        ..setup()
    };
    let mut host = Host::of(outbound, &[(VOICE, WAIT)]);
    let refused = |host: &mut Host| {
        let call = &mut host.call;
        let streamed = call.start_stream(stream(None, Tracks::Inbound));
        assert_eq!(streamed, Err(Refused::NotInProgress));
        let recorded = call.start_recording(host.now, recording());
        assert_eq!(recorded, Err(Refused::NotInProgress));
    };
    refused(&mut host);
    host.tell(Event::Answered { leg: LegId::PARTY });
    for _ in 0..4 {
        assert!(host.call.start_recording(host.now, recording()).is_ok());
    }
    let more = host.call.start_recording(host.now, recording());
    assert_eq!(more, Err(Refused::Recordings(4)));
    host.drain();
    host.party_hangs_up();
    refused(&mut host);
}

#[test]
fn a_call_that_is_recorded_whole_tells_of_it_at_its_end() {
    let setup = Setup {
        direction: Direction::OutboundApi,
        record: Some(recording()),
        ..told_of_all()
    };
    let mut host = Host::of(setup, &[(VOICE, WAIT)]);
    let status = "https://app.test/status";
    host.page(status, Page::Status(200));
    host.page(TOLD, Page::Status(200));
    // The first was sent before there was a page.
    let id = host.requests[0].id;
    let result = Ok(Response {
        status: 200,
        ..Response::default()
    });
    host.tell(Event::Response { id, result });
    host.tell(Event::Answered { leg: LegId::PARTY });
    let job = host.last.record.unwrap();
    host.tell(Event::RecordingStarted { job });
    host.sleep(5 * SECOND);
    host.party_hangs_up();
    assert_eq!(host.asked(status).get("CallStatus"), Some("in-progress"));
    assert_eq!(
        legs(&mut host.call).last().map(String::as_str),
        Some("party completed")
    );
    host.sleep(SECOND);
    let result = Ok(5 * SECOND);
    host.tell(Event::Recorded { job, result });
    let told = host.asked(status);
    for (name, value) in [
        ("CallStatus", "completed"),
        ("CallDuration", "5"),
        ("RecordingDuration", "5"),
    ] {
        assert_eq!(told.get(name), Some(value), "{name}");
    }
    assert_eq!(host.asked(TOLD).get("RecordingSource"), Some("OutboundAPI"));
    assert!(host.call.is_finished());
}

#[test]
fn a_call_waits_in_a_queue_and_is_called_off_there() {
    let outbound = || Setup {
        direction: Direction::OutboundApi,
        ..told_of_all()
    };
    let now = Instant::now();
    let mut call = Call::queued(outbound(), now);
    assert!(call.poll_action().is_none() && call.poll_timeout().is_none());
    assert_eq!(call.status().as_str(), "queued");
    call.leave_queue(now + SECOND);
    call.leave_queue(now + SECOND);
    assert_eq!(legs(&mut call), ["party queued", "party initiated"]);
    assert!(matches!(call.poll_action(), Some(Action::Request(_))));

    let mut call = Call::queued(outbound(), now);
    call.handle(Event::Update(Update::Complete), now);
    call.leave_queue(now + SECOND);
    assert_eq!(legs(&mut call), ["party queued", "party canceled"]);
}

#[test]
fn a_calls_terms_are_changed_while_it_goes_on() {
    let mut host = Host::of(setup(), &[(VOICE, WAIT)]);
    host.page(TOLD, Page::Status(200));
    host.sleep(2 * SECOND);
    host.did();
    host.tell(Event::Update(Update::Terms(Terms {
        fallback: None,
        status: Some(link(TOLD)),
        time_limit: Some(10 * SECOND),
    })));
    host.assert_did(&[]);
    host.sleep(7 * SECOND);
    assert!(!host.call.is_over());
    host.sleep(2 * SECOND);
    let told = host.asked(TOLD);
    assert_eq!(told.get("CallStatus"), Some("completed"));
    assert_eq!(told.get("CallDuration"), Some("10"));
    // What it is told of stays, and so does how it is asked.
    let fallback = Setup {
        status: Some((
            link("https://app.test/status"),
            StatusEvents::of(["answered"]),
        )),
        ..setup()
    };
    let mut host = Host::of(fallback, &[(VOICE, WAIT)]);
    let to = Link {
        url: TOLD.to_owned(),
        method: Method::Get,
    };
    host.tell(Event::Update(Update::Terms(Terms {
        status: Some(to),
        ..Terms::default()
    })));
    host.party_hangs_up();
    assert!(
        host.requests
            .iter()
            .all(|request| !request.url.starts_with(TOLD))
    );
}

#[test]
fn who_was_dialled_is_hung_up_and_the_document_goes_on() {
    let document = "<Response><Dial action=\"/done\">100</Dial></Response>";
    for (is_answered, status) in [(false, "canceled"), (true, "completed")] {
        let mut host = Host::of(setup(), &[(VOICE, document)]);
        let leg = host.leg(0);
        if is_answered {
            host.tell(Event::Answered { leg });
        }
        let all = std::iter::from_fn(|| host.call.poll_news());
        let sid = all.filter_map(|news| match news {
            News::Leg(leg) if leg.parent.is_some() => Some(leg.sid),
            _ => None,
        });
        let sid = sid.last().unwrap();
        host.did();
        assert_eq!(
            host.call.sids().collect::<Vec<_>>(),
            [host.call.sid(), &sid]
        );
        assert_eq!(host.call.end_dialled(host.now, sid.as_str()), Ok(()));
        assert!(host.call.end_dialled(host.now, sid.as_str()).is_err());
        host.drain();
        assert!(host.did()[0].starts_with("hang up leg"));
        let told = host.asked("https://app.test/done");
        assert_eq!(told.get("DialCallStatus"), Some(status));
        assert_eq!(legs(&mut host.call), [format!("leg {status}")]);
    }
}
