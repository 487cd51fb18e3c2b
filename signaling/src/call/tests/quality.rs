//! How calls have sounded.

use control::{
    media,
    signal::{self, Party},
};

use super::bed::*;

#[test]
fn a_call_that_nobody_watches_is_sampled_from_its_answer_to_its_end() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let id = bed.core.list(None)[0].id.clone();
    assert_eq!(bed.core.quality(&id), Some(Vec::new()));
    bed.asked();
    bed.pass_ms(35_000);
    assert_eq!(bed.asked(), ["survey"; 3]);
    let samples = bed.core.quality(&id).unwrap();
    let packets: Vec<_> = samples.iter().map(|sample| sample.caller.packets).collect();
    assert_eq!(packets, [500, 1000, 1500]);
    assert!(samples.iter().all(|sample| sample.callee.mos == Some(4.0)));
    let apart = samples[1].at_ms - samples[0].at_ms;
    assert!((10_000..=10_500).contains(&apart), "{apart} ms");

    // While mediad is away there is nothing to be known.
    bed.core
        .handle_media_news(bed.now, crate::call::MediaNews::Down);
    bed.pass_ms(30_000);
    assert_eq!(bed.asked(), [""; 0]);
    hang_up(&mut bed, &mut up);
    assert_eq!(bed.core.quality(&id), None);
    let [kept] = &bed.history[..] else {
        panic!("one entry is kept: {:?}", bed.history);
    };
    assert_eq!((kept.number, &*kept.kind), (0, "quality"));
    let kept = data(kept);
    let kept = kept["samples"].as_array().unwrap();
    let packets = kept.iter().map(|sample| &sample["caller"]["packets"]);
    assert_eq!(packets.take(3).collect::<Vec<_>>(), [500, 1000, 1500]);
    assert_eq!(kept[0]["callee"]["mos"], 4.0);
    assert!(kept[0]["time"].as_str().unwrap().ends_with('Z'));
    bed.assert_empty();
}

#[test]
fn calls_that_are_due_together_are_asked_for_together() {
    let mut bed = Bed::new();
    let mut ups = Vec::new();
    for number in 0..20 {
        ups.push(call(&mut bed, "+2555", &format!("c{number}")));
    }
    bed.asked();
    bed.pass_ms(10_500);
    let surveys = bed.mediad.asked.iter();
    let surveyed: Vec<_> = surveys
        .filter_map(|request| match request {
            media::Request::Survey(ids) => Some(ids.len()),
            _ => None,
        })
        .collect();
    assert_eq!(surveyed, [20]);
    for call in bed.core.list(None) {
        assert_eq!(bed.core.quality(&call.id).unwrap().len(), 1);
    }
    for up in &mut ups {
        hang_up(&mut bed, up);
    }
    bed.assert_empty();
}

#[test]
fn how_a_call_sounds_is_told_while_it_is_up() {
    let mut bed = Bed::with("\n[media.quality]\ninterval = 5\nlow = 4.2\nperiods = 2\n");
    let mut up = call(&mut bed, "+2555", "c1");
    let id = bed.core.list(None)[0].id.clone();
    bed.events.clear();
    bed.pass_ms(16_500);
    let mut told = Vec::new();
    for event in bed.events.drain(..) {
        match event {
            signal::Event::Quality(calls) => {
                let [call] = &calls[..] else {
                    panic!("one call is up: {calls:?}");
                };
                assert_eq!((&call.id, call.path), (&id, media::Path::Xdp));
                assert_eq!(call.callee.now.rtt_us, Some(20_000));
                let caller = call.caller;
                told.push((caller.now.packets, caller.new_packets, caller.new_lost));
            }
            // At the second time, of both, and not again.
            signal::Event::Heard { party, is_low, .. } => {
                assert_eq!((told.len(), is_low), (1, true), "{party:?}");
                assert!([Party::Caller, Party::Callee].contains(&party));
            }
            other => panic!("{other:?}"),
        }
    }
    // The mediad of these tests says each time that one packet is lost in all.
    assert_eq!(told, [(500, 500, 1), (1000, 500, 0), (1500, 500, 0)]);
    // Samples are kept as seldom as ever.
    assert_eq!(bed.core.quality(&id).unwrap().len(), 2);

    // Where nobody listens nothing is told, or asked for oftener than samples need.
    bed.core.set_listened(false);
    bed.asked();
    bed.pass_ms(21_000);
    assert!(bed.events.is_empty(), "{:?}", bed.events);
    assert!(bed.asked().len() <= 3);
    bed.core.set_listened(true);
    bed.pass_ms(5_500);
    assert!(!bed.events.is_empty());
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}
