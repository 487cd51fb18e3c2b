//! Speech that an endpoint of mediad's understands, for calls that applications answer.

use control::media::{Heard, Listen, Side, StreamTrouble, VoiceEvent, VoiceOrder};

use super::{bed::*, voice::*};
use crate::call::MediaNews;

const GATHER: &str = "<Gather input=\"speech\" action=\"/said\" language=\"de-DE\" hints=\"ja, nein\" \
                      speechTimeout=\"2\" speechModel=\"phone_call\"><Say>Und?</Say></Gather><Say>Bye</Say>";

/// A call that gathers speech: what mediad is to listen to, and what it plays.
fn listens(bed: &mut Bed, id: &str) -> Listen {
    let request = begin(bed, id);
    bed.reply("http://app.test/voice", GATHER);
    pick_up(bed, &request);
    let orders = bed.orders();
    let listen = orders.iter().find_map(|order| match order {
        VoiceOrder::Listen(listen) => Some(Listen::clone(listen)),
        _ => None,
    });
    let Some(listen) = listen else {
        unreachable!("nobody listens: {orders:?}")
    };
    listen
}

fn heard(bed: &mut Bed, job: u32, heard: Heard) {
    bed.happens(VoiceEvent::Heard { job, heard });
}

#[test]
fn what_is_said_goes_to_the_action() {
    let mut bed = Bed::new();
    let listen = listens(&mut bed, "said");
    assert_eq!((listen.side, &*listen.language), (Side::A, "de-DE"));
    assert_eq!(listen.hints, ["ja", "nein"]);
    assert_eq!(listen.model.as_deref(), Some("phone_call"));
    assert_eq!(listen.speech_timeout_ms, Some(2_000));
    assert_eq!(listen.max_speech_ms, 60_000);
    assert!(!listen.partials && listen.call_sid.starts_with("CA"));
    bed.orders();
    heard(&mut bed, listen.job, Heard::Speaking);
    // It ends the prompt.
    assert!(matches!(&*bed.orders(), [VoiceOrder::Stop { job }] if *job != listen.job));
    let (text, confidence) = ("nein danke".to_owned(), 912);
    heard(&mut bed, listen.job, Heard::Final { text, confidence });
    let told = bed.reply("http://app.test/said", WAIT);
    assert!(told.contains("SpeechResult=nein+danke"), "{told}");
    assert!(told.contains("Confidence=0.912"), "{told}");
}

#[test]
fn who_cannot_be_understood_has_said_nothing() {
    let failed = Heard::Failed("its endpoint broke".to_owned());
    let (id, result) = ("dies", Err(StreamTrouble::Media));
    for (id, event) in [
        (
            id,
            VoiceEvent::Heard {
                job: 0,
                heard: failed,
            },
        ),
        ("deaf", VoiceEvent::StreamEnded { job: 0, result }),
    ] {
        let mut bed = Bed::new();
        let listen = listens(&mut bed, id);
        heard(&mut bed, listen.job, Heard::Speaking);
        bed.orders();
        bed.happens(match event {
            VoiceEvent::Heard { heard, .. } => VoiceEvent::Heard {
                job: listen.job,
                heard,
            },
            _ => VoiceEvent::StreamEnded {
                job: listen.job,
                result,
            },
        });
        // The document goes on.
        let play = bed.plays();
        assert!(matches!(play.audio, control::media::Audio::Speech { text, .. } if text == "Bye"));
        assert!(bed.webhooks.is_empty());
    }
}

#[test]
fn a_mediad_that_is_restarted_has_heard_nothing() {
    let mut bed = Bed::new();
    listens(&mut bed, "restart");
    bed.mediad.sessions.clear();
    let news = MediaNews::Up { restarted: true };
    bed.core.handle_media_news(bed.now, news);
    bed.settle();
    let play = bed.plays();
    assert!(matches!(play.audio, control::media::Audio::Speech { text, .. } if text == "Bye"));
}
