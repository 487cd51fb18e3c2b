//! Any bytes as a document: it is refused or read, and what was read can be run to its end.
#![no_main]

use std::time::{Duration, Instant, SystemTime};

use libfuzzer_sys::fuzz_target;
use voice::{
    call::{Action, Call, Cause, Direction, Entry, Event, LegId, Setup},
    form::Params,
    sid::{Kind, Sid},
    twiml::{Document, MAX_DOCUMENT},
};

fuzz_target!(|data: &[u8]| {
    let Ok(document) = Document::parse_any(data) else {
        return;
    };
    assert!(data.len() <= MAX_DOCUMENT && document.warnings.len() <= 21);
    let Ok(text) = str::from_utf8(data) else {
        unreachable!("a document is text");
    };
    let mut now = Instant::now();
    let mut call = Call::new(setup(text), now);
    for _ in 0..100 {
        let mut events = Vec::new();
        while let Some(action) = call.poll_action() {
            events.extend(outcome(action));
        }
        for event in events {
            call.handle(event, now);
        }
        match call.poll_timeout() {
            Some(at) => now = now.max(at).min(now + Duration::from_secs(60)),
            None => break,
        }
        call.handle_timeout(now);
    }
    call.handle(
        Event::Ended {
            leg: LegId::PARTY,
            cause: Cause::HungUp,
            sip_status: None,
        },
        now,
    );
    // Its callbacks and recordings are late by then.
    for _ in 0..1000 {
        while call.poll_action().is_some() {}
        let Some(at) = call.poll_timeout() else { break };
        now = now.max(at);
        call.handle_timeout(now);
    }
    assert!(call.is_finished(), "{call:?}");
});

fn setup(document: &str) -> Setup {
    Setup {
        uuid: [7; 16],
        account: Sid::new(Kind::Account, [1; 16]),
        token: "12345".into(),
        direction: Direction::Inbound,
        from: "+15550100".into(),
        to: "+15550199".into(),
        caller_name: None,
        forwarded_from: None,
        extra: Params::new(),
        entry: Entry::Document(document.into()),
        fallback: None,
        status: None,
        record: None,
        api: "https://api.test".into(),
        started: SystemTime::UNIX_EPOCH,
        time_limit: Duration::from_secs(4 * 3600),
        plain_streams: true,
    }
}

/// What a host in the best of moods reports.
fn outcome(action: Action) -> Option<Event> {
    Some(match action {
        Action::Play { job, loops, .. } if loops > 0 => Event::Played {
            job,
            result: Ok(()),
        },
        Action::Record(recording) => Event::Recorded {
            job: recording.job,
            result: Ok(Duration::from_secs(1)),
        },
        Action::Call(leg) => Event::Answered { leg: leg.leg },
        Action::Bridge { leg } => Event::Ended {
            leg,
            cause: Cause::HungUp,
            sip_status: None,
        },
        Action::OpenStream(stream) => Event::StreamEnded {
            job: stream.job,
            result: Ok(()),
        },
        Action::Refer { job, .. } => Event::Referred {
            job,
            response: Some(202),
            notified: Some(200),
            untold: false,
        },
        Action::Send(message) => Event::Sent {
            job: message.job,
            result: Ok(()),
        },
        _ => return None,
    })
}
