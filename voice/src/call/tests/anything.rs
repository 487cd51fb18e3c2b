//! Any document, any order of events.

use std::time::Duration;

use proptest::{collection::vec, option::weighted, prelude::*};

use super::super::*;
use super::host::{Host, Page, VOICE, link, told_of_all};
use super::order::{recording, stream};
use crate::twiml::Tracks;

/// Verbs with attributes that are right, wrong or unknown.
fn verb() -> impl Strategy<Value = String> {
    let prompt = prop_oneof![
        Just("<Say>x</Say>".to_owned()),
        Just("<Say loop=\"0\">x<break/></Say>".to_owned()),
        Just("<Play>/a.wav</Play>".to_owned()),
        Just("<Play>ftp://x</Play>".to_owned()),
        Just("<Play digits=\"1w2\"/>".to_owned()),
        (0u32..9).prop_map(|n| format!("<Pause length=\"{n}\"/>")),
    ];
    let gather = (vec(prompt.clone(), 0..3), any::<[bool; 4]>(), 0u32..6).prop_map(|(prompts, flags, n)| {
        let input = if flags[0] { "dtmf speech" } else { "dtmf" };
        format!(
            "<Gather input=\"{input}\" timeout=\"{n}\" bargeIn=\"{}\" actionOnEmptyResult=\"{}\" {} partialResultCallback=\"/p\">{}</Gather>",
            flags[1],
            flags[2],
            if flags[3] { "numDigits=\"2\"" } else { "action=\"/b\"" },
            prompts.concat()
        )
    });
    let dial = (any::<[bool; 6]>(), 1usize..4).prop_map(|(flags, count)| {
        let noun = match flags[0] {
            true => "<Number url=\"/w\" sendDigits=\"1\" statusCallback=\"/s\" statusCallbackEvent=\"initiated ringing answered completed\">100</Number>",
            false => "<Client>bob</Client>",
        };
        format!(
            "<Dial answerOnBridge=\"{}\" sequential=\"{}\" hangupOnStar=\"{}\" timeout=\"3\" timeLimit=\"9\" {} {}>{}</Dial>",
            flags[1],
            flags[2],
            flags[3],
            if flags[4] { "action=\"/b\"" } else { "" },
            if flags[5] { "record=\"record-from-ringing-dual\" recordingStatusCallback=\"/r\"" } else { "" },
            noun.repeat(count)
        )
    });
    let fixed = prop_oneof![
        Just("<Record maxLength=\"4\" recordingStatusCallback=\"/r\"/>"),
        Just("<Record action=\"/b\" finishOnKey=\"1\"/>"),
        Just("<Redirect>/b</Redirect>"),
        Just("<Redirect method=\"GET\"/>"),
        Just("<Reject/>"),
        Just("<Hangup/>"),
        Just("<Refer action=\"/b\"><Sip>sip:a@b.test</Sip></Refer>"),
        Just("<Start><Stream name=\"s\" url=\"wss://b.test\" statusCallback=\"/s\"/></Start>"),
        Just("<Stop><Stream name=\"s\"/></Stop>"),
        Just("<Connect action=\"/b\"><Stream url=\"wss://b.test\"/></Connect>"),
        Just("<Connect><Stream url=\"nonsense\"/></Connect>"),
        Just("<Message action=\"/b\">x</Message>"),
        Just("<Enqueue>q</Enqueue>"),
        Just("<Nonsense a=\"b\"><Say/></Nonsense>"),
        Just("<Dial/>"),
        Just("<Say"),
    ];
    prop_oneof![3 => prompt, 2 => gather, 3 => dial, 4 => fixed.prop_map(str::to_owned)]
}

fn document() -> impl Strategy<Value = String> {
    vec(verb(), 0..5).prop_map(|verbs| format!("<Response>{}</Response>", verbs.concat()))
}

fn page() -> impl Strategy<Value = Page> {
    prop_oneof![
        8 => document().prop_map(Page::Document),
        1 => Just(Page::Silent),
        1 => (100u16..600).prop_map(Page::Status),
        1 => Just(Page::Moved(302, "/b")),
        1 => Just(Page::Fails(RequestError::Connect)),
    ]
}

/// An event about whatever has this number, whether there is such a thing or not.
fn event() -> impl Strategy<Value = Event> {
    let number = 0u32..24;
    let ok = any::<bool>();
    (0u8..16, number, ok).prop_map(|(kind, number, ok)| {
        let (job, leg) = (JobId(number), LegId(number));
        let media = || MediaError::Engine("no".to_owned());
        match kind {
            0 => Event::Ringing { leg },
            1 | 2 => Event::Answered { leg },
            3 => Event::Ended {
                leg: LegId(number.max(1)),
                cause: if ok { Cause::HungUp } else { Cause::Busy },
                sip_status: ok.then_some(486),
            },
            4 => Event::Digit {
                leg: if ok { LegId::PARTY } else { leg },
                digit: '1',
            },
            5 => Event::Digit {
                leg: LegId::PARTY,
                digit: if ok { '#' } else { '*' },
            },
            6 => Event::Played {
                job,
                result: if ok { Ok(()) } else { Err(media()) },
            },
            7 => Event::Heard {
                job,
                heard: if ok {
                    Heard::Speaking
                } else {
                    Heard::Failed("no".to_owned())
                },
            },
            8 => Event::Heard {
                job,
                heard: Heard::Final {
                    text: if ok { "x".to_owned() } else { String::new() },
                    confidence: 65_535,
                },
            },
            9 => Event::Heard {
                job,
                heard: Heard::Partial {
                    stable: String::new(),
                    unstable: "x".to_owned(),
                },
            },
            10 => Event::RecordingStarted { job },
            11 => Event::Recorded {
                job,
                result: if ok {
                    Ok(Duration::from_secs(3))
                } else {
                    Err(media())
                },
            },
            12 => Event::StreamEnded {
                job,
                result: if ok { Ok(()) } else { Err(StreamError::Tls) },
            },
            13 => Event::Referred {
                job,
                response: Some(202),
                notified: ok.then_some(200),
                untold: ok,
            },
            14 => Event::Sent {
                job,
                result: if ok { Ok(()) } else { Err("no".to_owned()) },
            },
            _ if ok => Event::Update(Update::Redirect(link("https://app.test/b"))),
            _ => Event::StreamStarted { job },
        }
    })
}

/// What the REST API does; whether it can is of no matter.
fn order(host: &mut Host, which: u8) {
    let (call, now) = (&mut host.call, host.now);
    let current = "Twilio.CURRENT";
    let done = match which {
        0 => call.start_stream(stream(None, Tracks::Inbound)),
        1 => call.start_stream(stream(Some("s"), Tracks::Both)),
        2 => call.end_stream(now, "s"),
        3 => call.start_recording(now, recording()),
        4 => call.change_recording(now, current, RecordingChange::Pause(Pause::Skip)),
        _ => call.change_recording(now, current, RecordingChange::Stop),
    };
    drop(done);
    host.drain();
}

/// Legs that were called and not hung up by either side, by what was done.
fn is_balanced(host: &Host, ended: &[LegId]) -> bool {
    let hung_up = |leg: &LegId| host.log.contains(&format!("hang up leg {}", leg.0));
    host.last
        .legs
        .iter()
        .all(|leg| hung_up(leg) || ended.contains(leg))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// It never panics, ends when the party does, leaves no leg up, and does nothing afterwards.
    #[test]
    fn any_call_ends(
        first in page(), second in page(), whisper in page(), inbound in any::<bool>(), fallback in any::<bool>(),
        recorded in any::<bool>(), steps in vec((event(), 0u64..4000, weighted(0.2, 0u8..6)), 0..60),
    ) {
        let setup = Setup {
            direction: if inbound { Direction::Inbound } else { Direction::OutboundApi },
            fallback: fallback.then(|| link("https://app.test/b")),
            record: recorded.then(recording),
            ..told_of_all()
        };
        let pages = vec![(VOICE, first), ("https://app.test/b", second), ("https://app.test/w", whisper)];
        let mut host = Host::serving(setup, pages);
        let mut ended = Vec::new();
        for (event, millis, asked) in steps {
            if let Event::Ended { leg, .. } = &event {
                ended.push(*leg);
            }
            host.tell(event);
            if let Some(which) = asked {
                order(&mut host, which);
            }
            host.sleep(Duration::from_millis(millis));
        }
        host.party_hangs_up();
        prop_assert!(host.call.is_over());
        prop_assert!(is_balanced(&host, &ended));
        let done = host.log.len();
        host.sleep(Duration::from_secs(600));
        let allowed = ["POST ", "GET ", "Warning ", "cancel the request"];
        for did in &host.log[done..] {
            prop_assert!(allowed.iter().any(|start| did.starts_with(start)), "{did}");
        }
        prop_assert!(host.call.is_finished(), "{:?}", host.call);
        prop_assert_eq!(host.call.poll_timeout(), None);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    /// A call that nobody touches ends by itself, by its limit at the latest.
    #[test]
    fn any_call_that_is_left_alone_ends(first in page(), second in page(), whisper in page()) {
        let pages = vec![(VOICE, first), ("https://app.test/b", second), ("https://app.test/w", whisper)];
        let mut host = Host::serving(told_of_all(), pages);
        host.sleep(Duration::from_secs(4 * 3600 + 600));
        prop_assert!(host.call.is_finished(), "{:?}", host.call);
    }
}
