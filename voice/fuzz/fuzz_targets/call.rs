//! Any order of events into a call whose documents do a bit of everything: it ends when its party does, whatever it
//! was at, and every leg that it called is hung up by somebody.
#![no_main]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

use libfuzzer_sys::fuzz_target;
use voice::{
    call::{
        Action, Call, Cause, Direction, Entry, Event, Heard, JobId, LegId, MediaError, Pause,
        RecordingChange, RecordingOrder, RequestError, RequestId, Response, Setup, StreamError,
        Update,
    },
    form::Params,
    sid::{Kind, Sid},
    twiml::{Link, Method, StatusEvents, Stream, Tracks},
};

/// What webhooks answer, as an event chooses.
const DOCUMENTS: [&str; 12] = [
    "<Response><Say>x</Say><Redirect>/x</Redirect></Response>",
    "<Response><Gather input=\"dtmf speech\" partialResultCallback=\"/p\" timeout=\"2\"><Say>x</Say><Pause/></Gather></Response>",
    "<Response><Dial record=\"true\" action=\"/x\"><Number url=\"/w\" sendDigits=\"1\" statusCallback=\"/s\">1</Number><Client>a</Client></Dial></Response>",
    "<Response><Dial sequential=\"true\" answerOnBridge=\"true\" hangupOnStar=\"true\"><Number>1</Number><Number>2</Number></Dial><Say>x</Say></Response>",
    "<Response><Record recordingStatusCallback=\"/r\" maxLength=\"5\"/></Response>",
    "<Response><Start><Stream name=\"s\" url=\"wss://b.test\" statusCallback=\"/s\"/></Start><Pause/><Stop><Stream name=\"s\"/></Stop></Response>",
    "<Response><Connect><Stream url=\"wss://b.test\"/></Connect><Play loop=\"0\">/a</Play></Response>",
    "<Response><Refer action=\"/x\"><Sip>sip:a@b.test</Sip></Refer></Response>",
    "<Response><Message action=\"/x\">x</Message></Response>",
    "<Response><Reject/></Response>",
    "<Response/>",
    "<html/>",
];

/// A call, and what is open of it.
struct Host {
    now: Instant,
    call: Call,
    requests: Vec<RequestId>,
    jobs: Vec<JobId>,
    legs: Vec<LegId>,
    up: BTreeSet<LegId>,
    is_over: bool,
}

impl Host {
    fn step(&mut self, kind: u8, which: u8, how: u8) {
        let ok = how & 1 == 0;
        let pick = usize::from(which);
        let job = self.jobs.get(pick % self.jobs.len().max(1)).copied();
        let leg = self.legs.get(pick % self.legs.len().max(1)).copied();
        let event = match kind % 14 {
            0..=2 if !self.requests.is_empty() => {
                let id = self.requests.remove(pick % self.requests.len());
                let result = if how == 255 {
                    Err(RequestError::Timeout)
                } else {
                    Ok(response(how))
                };
                Some(Event::Response { id, result })
            }
            3 => leg.map(|leg| Event::Ringing { leg }),
            4 => leg.map(|leg| Event::Answered { leg }),
            5 => leg.map(|leg| {
                self.up.remove(&leg);
                let cause = if ok { Cause::HungUp } else { Cause::Busy };
                Event::Ended {
                    leg,
                    cause,
                    sip_status: None,
                }
            }),
            6 => {
                let digit = char::from(b"0123456789*#A"[pick % 13]);
                let leg = leg.filter(|_| ok).unwrap_or(LegId::PARTY);
                Some(Event::Digit { leg, digit })
            }
            7 => job.map(|job| Event::Played {
                job,
                result: result(ok),
            }),
            8 => job.map(|job| Event::Heard {
                job,
                heard: heard(how),
            }),
            9 => job.map(|job| match ok {
                true => Event::RecordingStarted { job },
                false => Event::Recorded {
                    job,
                    result: Ok(Duration::from_millis(how.into())),
                },
            }),
            10 => job.map(|job| match how % 3 {
                0 => Event::StreamStarted { job },
                1 => Event::StreamEnded {
                    job,
                    result: Ok(()),
                },
                _ => Event::StreamEnded {
                    job,
                    result: Err(StreamError::Timeout),
                },
            }),
            11 => job.map(|job| match ok {
                true => Event::Referred {
                    job,
                    response: Some(202),
                    notified: None,
                    untold: false,
                },
                false => Event::Sent {
                    job,
                    result: Ok(()),
                },
            }),
            12 if how < 32 => Some(Event::Update(match how % 3 {
                0 => Update::Redirect(link("https://app.test/x")),
                1 => Update::Document(DOCUMENTS[pick % DOCUMENTS.len()].to_owned()),
                _ => Update::Document("nonsense".to_owned()),
            })),
            12 if how < 64 => {
                self.order(how);
                None
            }
            _ => {
                self.sleep(Duration::from_millis(u64::from(which) * u64::from(how)));
                None
            }
        };
        if let Some(event) = event {
            self.call.handle(event, self.now);
            self.drain();
        }
    }

    /// What the REST API does; whether it can is of no matter.
    fn order(&mut self, how: u8) {
        let (call, now) = (&mut self.call, self.now);
        let current = "Twilio.CURRENT";
        let done = match how % 5 {
            0 => call.start_stream(Stream {
                name: None,
                url: "wss://b.test".into(),
                tracks: Tracks::Both,
                parameters: Vec::new(),
                callback: Some(link("https://app.test/s")),
                audio_format: None,
                sample_rate: None,
            }),
            1 => call.end_stream(now, "s"),
            2 => call.start_recording(now, recording()),
            3 => call.change_recording(now, current, RecordingChange::Pause(Pause::Skip)),
            _ => call.change_recording(now, current, RecordingChange::Stop),
        };
        drop(done);
        self.drain();
    }

    fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.call.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(action) = self.call.poll_action() {
            let is_told = matches!(
                action,
                Action::Request(_)
                    | Action::CancelRequest(_)
                    | Action::Notice(_)
                    | Action::HangUp { .. }
            );
            assert!(is_told || !self.is_over, "{action:?} after the end");
            match action {
                Action::Request(request) => self.requests.push(request.id),
                Action::CancelRequest(id) => self.requests.retain(|request| *request != id),
                Action::Call(leg) => {
                    self.legs.push(leg.leg);
                    self.up.insert(leg.leg);
                }
                Action::HangUp { leg: LegId::PARTY } | Action::Refuse { .. } => self.is_over = true,
                Action::HangUp { leg } => {
                    self.up.remove(&leg);
                }
                Action::Play { job, .. }
                | Action::Listen { job, .. }
                | Action::Refer { job, .. } => {
                    self.jobs.push(job);
                }
                Action::Record(recording) => self.jobs.push(recording.job),
                Action::OpenStream(stream) => self.jobs.push(stream.job),
                Action::Send(message) => self.jobs.push(message.job),
                _ => {}
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let is_inbound = data.first().is_none_or(|byte| byte & 1 == 0);
    let call = Call::new(setup(is_inbound), now);
    let mut host = Host {
        now,
        call,
        requests: Vec::new(),
        jobs: Vec::new(),
        legs: vec![LegId::PARTY],
        up: BTreeSet::new(),
        is_over: false,
    };
    host.drain();
    for step in data.chunks_exact(3).take(200) {
        host.step(step[0], step[1], step[2]);
    }
    let hung_up = Event::Ended {
        leg: LegId::PARTY,
        cause: Cause::HungUp,
        sip_status: None,
    };
    host.call.handle(hung_up, host.now);
    host.is_over = true;
    host.drain();
    assert!(host.up.is_empty(), "{:?}", host.up);
    host.sleep(Duration::from_secs(3600));
    assert!(
        host.call.is_finished() && host.call.poll_timeout().is_none(),
        "{:?}",
        host.call
    );
});

fn link(url: &str) -> Link {
    Link {
        url: url.into(),
        method: Method::Post,
    }
}

fn recording() -> RecordingOrder {
    RecordingOrder {
        tracks: Tracks::Both,
        channels: 2,
        trim: false,
        callback: None,
    }
}

fn setup(is_inbound: bool) -> Setup {
    Setup {
        uuid: [7; 16],
        account: Sid::new(Kind::Account, [1; 16]),
        token: "12345".into(),
        direction: if is_inbound {
            Direction::Inbound
        } else {
            Direction::OutboundApi
        },
        from: "+15550100".into(),
        to: "+15550199".into(),
        caller_name: None,
        forwarded_from: None,
        extra: Params::new(),
        entry: Entry::Url(link("https://app.test/voice")),
        fallback: Some(link("https://app.test/fallback#rc=2&rp=all")),
        status: Some((
            link("https://app.test/status"),
            StatusEvents::of(StatusEvents::NAMES),
        )),
        record: (!is_inbound).then(recording),
        api: "https://api.test".into(),
        started: SystemTime::UNIX_EPOCH,
        time_limit: Duration::from_secs(1800),
        plain_streams: false,
    }
}

fn response(how: u8) -> Response {
    let how = usize::from(how);
    let status = [200, 200, 200, 200, 200, 200, 404, 503, 302][how / 28 % 9];
    Response {
        status,
        content_type: (how % 7 > 0).then(|| "text/xml".into()),
        location: (status == 302).then(|| "/y".into()),
        body: DOCUMENTS[how % DOCUMENTS.len()].into(),
    }
}

fn result(ok: bool) -> Result<(), MediaError> {
    if ok {
        Ok(())
    } else {
        Err(MediaError::Fetch("404".into()))
    }
}

fn heard(how: u8) -> Heard {
    match how % 5 {
        0 => Heard::Speaking,
        1 => Heard::Partial {
            stable: "a".into(),
            unstable: "b".into(),
        },
        2 => Heard::Failed("no".into()),
        3 => Heard::Final {
            text: String::new(),
            confidence: 0,
        },
        _ => Heard::Final {
            text: "yes".into(),
            confidence: 900,
        },
    }
}
