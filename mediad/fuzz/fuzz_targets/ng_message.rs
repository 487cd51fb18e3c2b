//! A datagram in either encoding, up to the SDP that its receiver is shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ng::{
    Encoding, Request, Value,
    description::{self, Face, Shown},
    frame,
    made::{self, Section, Sketch},
    options, verbs,
};
use sip::sdp::{Relay, Sdp};

fuzz_target!(|data: &[u8]| {
    let Some((_, body)) = frame::split(data) else {
        return;
    };
    let encoding = Encoding::of(body);
    if let Ok(value) = encoding.decode(body) {
        // Bencode says all that a value holds.
        let mut out = Vec::new();
        Encoding::Bencode.encode(&value, &mut out);
        assert_eq!(Encoding::Bencode.decode(&out), Ok(value.clone()));
        out.clear();
        Encoding::Json.encode(&value, &mut out);
        if let Value::Dictionary(_) = value {
            assert!(Encoding::Json.decode(&out).is_ok());
        }
    }
    let Ok(request) = Request::parse(encoding, body) else {
        return;
    };
    let _ = verbs::check(&request);
    let removed = options::removed_media(&request).unwrap_or_default();
    let (Ok(options), Some(text)) = (options::read(&request), request.text("sdp")) else {
        return;
    };
    let text = description::without(text, &removed);
    let Ok(sdp) = Sdp::parse(&text) else {
        return;
    };
    let address = [198, 51, 100, 1].into();
    let relay = Relay {
        address,
        rtp: 20_000,
        rtcp: 20_001,
    };
    let relays: Vec<_> = sdp.media().iter().map(|_| Some(relay)).collect();
    let Ok(rewritten) = sdp.rewrite(&relays) else {
        return;
    };
    let streams: Vec<_> = sdp
        .media()
        .iter()
        .map(|media| {
            (!media.is_refused()).then_some(Shown {
                address,
                rtp: 20_000,
                rtcp: 20_001,
                mux: true,
            })
        })
        .collect();
    let mut face = Face::default();
    let mark = options.loop_protect.then_some("mark");
    for _ in 0..2 {
        let out = description::finish(&sdp, &rewritten, &options, &streams, &mut face, mark);
        assert!(Sdp::parse(&out).is_ok());
    }
    // Who listens is offered the same formats, and accepts them.
    let media = sdp.media();
    let sketches: Vec<_> = media.iter().map(Sketch::of).collect();
    let sections: Vec<_> = sketches
        .iter()
        .map(|sketch| Section {
            sketch,
            address,
            rtp: 20_000,
            direction: "sendonly",
            label: Some(1),
        })
        .collect();
    let body = made::make(7, 1, &sections);
    if let Ok(made) = Sdp::parse(&body) {
        let again = made.media();
        assert_eq!(again.len(), media.len());
        for (sketch, media) in sketches.iter().zip(&again) {
            let answer = Sketch::of(media);
            assert!(sketch.is_accepted_by(&answer));
            assert!(sketch.numbered_by(&answer).is_empty());
        }
    }
    for media in &media {
        Sketch::of_one(media, &options.codecs.accept);
    }
});
