//! How calls have sounded.

use control::media;

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
