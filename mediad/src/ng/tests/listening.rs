//! Who hears others: subscriptions, and parties that only send.

use super::bed::{Bed, Party, at, number, quoted, rtp_of, text};

fn ask(command: &str, more: &str) -> String {
    format!("{{\"command\":\"{command}\",\"call-id\":\"c\",{more}}}")
}

/// What a listener answers to an offer of so many streams.
fn heard_at(parties: &[&Party]) -> String {
    let mut sdp =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n".to_owned();
    for party in parties {
        sdp += &format!("m=audio {} RTP/AVP 8 0 101\r\na=recvonly\r\n", party.port());
    }
    quoted(&sdp)
}

#[tokio::test]
async fn a_recorder_hears_both_parties_and_a_supervisor_one() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let (_, for_b) = bed
        .sdp("offer", &format!("{tags},\"label\":\"caller\""), &a.sdp(""))
        .await;
    let (_, for_a) = bed
        .sdp("answer", &format!("{tags},\"to-tag\":\"b\""), &b.sdp(""))
        .await;
    let (left, right, boss) = (Party::new(), Party::new(), Party::new());
    let offer = bed
        .done(&ask(
            "subscribe request",
            "\"flags\":[\"all\",\"siprec\"],\"set-label\":\"recorder\"",
        ))
        .await;
    let sdp = text(&offer, "sdp");
    assert_eq!(sdp.matches("m=audio ").count(), 2, "{sdp}");
    assert_eq!(sdp.matches("a=sendonly\r\n").count(), 2, "{sdp}");
    assert!(
        sdp.contains("a=rtpmap:101 telephone-event/8000\r\n") && sdp.contains("a=label:2\r\n"),
        "{sdp}"
    );
    assert_eq!(at(&offer, "from-tags/0").text(), Some(b"a".as_slice()));
    assert_eq!(at(&offer, "from-tags/1").text(), Some(b"b".as_slice()));
    assert_eq!(
        at(&offer, "tag-medias/0/label").text(),
        Some(b"caller".as_slice())
    );
    assert_eq!(
        at(&offer, "tag-medias/1/medias/0/label").text(),
        Some(b"2".as_slice())
    );
    let tag = text(&offer, "to-tag");
    // Nothing goes anywhere before the answer.
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    let answer = format!(
        "\"to-tag\":\"{tag}\",\"sdp\":{}",
        heard_at(&[&left, &right])
    );
    bed.done(&ask("subscribe answer", &answer)).await;
    // Another one, of one party, by its label.
    let offer = bed
        .done(&ask(
            "subscribe request",
            "\"from-label\":\"caller\",\"to-tag\":\"boss\"",
        ))
        .await;
    assert_eq!(text(&offer, "from-tag"), "a");
    assert_eq!(text(&offer, "to-tag"), "boss");
    assert!(!text(&offer, "sdp").contains("a=label"));
    let answer = format!("\"to-tag\":\"boss\",\"sdp\":{}", heard_at(&[&boss]));
    bed.done(&ask("subscribe answer", &answer)).await;
    for _ in 0..5 {
        assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
        let (one, two) = (left.receives().unwrap(), right.receives().unwrap());
        assert_eq!(one[8..12], a.ssrc().to_be_bytes());
        assert_eq!(two[8..12], b.ssrc().to_be_bytes());
        assert_eq!(boss.receives().unwrap(), one);
    }
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"c\"}").await;
    assert_eq!(
        at(&query, "tags/boss/subscriptions/0/tag").text(),
        Some(b"a".as_slice())
    );
    assert_eq!(
        at(&query, "tags/a/subscribers/1/type").text(),
        Some(b"pub/sub".as_slice())
    );
    // The one who is on hold hears nothing, and the others go on.
    let held = heard_at(&[&boss]).replace("recvonly", "inactive");
    bed.done(&ask(
        "subscribe answer",
        &format!("\"to-tag\":\"boss\",\"sdp\":{held}"),
    ))
    .await;
    assert!(a.reaches(for_a, &b) && left.receives().is_some());
    assert!(boss.receives_soon().is_none());
    bed.done(&ask("unsubscribe", &format!("\"to-tag\":\"{tag}\"")))
        .await;
    assert!(a.reaches(for_a, &b) && left.receives_soon().is_none());
    let error = bed
        .refused(&ask("unsubscribe", &format!("\"to-tag\":\"{tag}\"")))
        .await;
    assert_eq!(error, "To-tag given, but no such tag exists");
    // A BYE of the listener's does as well.
    assert_eq!(bed.engine.status().ports_used, 6);
    bed.done(&ask("delete", "\"from-tag\":\"boss\"")).await;
    assert_eq!(bed.engine.status().ports_used, 4);
    // With the call all that is heard of it ends.
    bed.done(&ask("subscribe request", "\"from-tags\":[\"b\",\"a\"]"))
        .await;
    assert_eq!(bed.engine.status().ports_used, 8);
    bed.done(&ask("delete", "\"from-tag\":\"a\"")).await;
    assert_eq!(bed.engine.status().ports_used, 0);
}

#[tokio::test]
async fn a_listener_is_offered_what_the_parties_have_agreed_on() {
    let (bed, a, b, ear) = (Bed::new().await, Party::new(), Party::new(), Party::new());
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    bed.sdp("offer", tags, &a.sdp("")).await;
    let pcma = b.sdp("").replace("8 0 101", "8 101");
    let answered = format!("{tags},\"to-tag\":\"b\"");
    let (_, for_a) = bed.sdp("answer", &answered, &pcma).await;
    let subscribe = ask("subscribe request", "\"from-tag\":\"a\",\"to-tag\":\"s\"");
    let offer = bed.done(&subscribe).await;
    let sdp = text(&offer, "sdp");
    assert!(sdp.contains(" RTP/AVP 8 101\r\n"), "{sdp}");
    let heard = heard_at(&[&ear]).replace("8 0 101", "8");
    let answer = format!("\"to-tag\":\"s\",\"sdp\":{heard}");
    bed.done(&ask("subscribe answer", &answer)).await;
    assert!(a.reaches(for_a, &b) && ear.receives().is_some());
}

#[tokio::test]
async fn what_makes_no_subscription_is_refused_and_leaves_nothing() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    bed.call("c", &a, &b).await;
    for (command, more, why) in [
        (
            "subscribe request",
            "\"x\":1".to_owned(),
            "No participant party specified",
        ),
        (
            "subscribe request",
            "\"from-tag\":\"x\"".to_owned(),
            "From-tag given, but no such tag exists",
        ),
        (
            "subscribe request",
            "\"from-tags\":[\"a\",\"x\"]".to_owned(),
            "From-tag given, but no such tag exists",
        ),
        (
            "subscribe request",
            "\"from-tag\":\"a\",\"to-tag\":\"b\"".to_owned(),
            "to-tag: there is a party",
        ),
        (
            "subscribe request",
            "\"from-tag\":\"a\",\"interface\":\"nowhere\"".to_owned(),
            "no media interface",
        ),
        (
            "subscribe answer",
            format!("\"to-tag\":\"x\",\"sdp\":{}", heard_at(&[&a])),
            "To-tag given",
        ),
    ] {
        let error = bed.refused(&ask(command, &more)).await;
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(bed.engine.status().ports_used, 4);
    bed.done(&ask(
        "subscribe request",
        "\"from-tag\":\"a\",\"to-tag\":\"s\"",
    ))
    .await;
    let two = format!("\"to-tag\":\"s\",\"sdp\":{}", heard_at(&[&a, &b]));
    let error = bed.refused(&ask("subscribe answer", &two)).await;
    assert!(error.contains("more m= lines"), "{error}");
    // What the listener leaves out nobody makes for it.
    let fewer = heard_at(&[&b]).replace("8 0 101", "0");
    let error = bed
        .refused(&ask(
            "subscribe answer",
            &format!("\"to-tag\":\"s\",\"sdp\":{fewer}"),
        ))
        .await;
    assert!(error.contains("allow-transcoding"), "{error}");
    let lenient = format!("\"to-tag\":\"s\",\"flags\":[\"allow transcoding\"],\"sdp\":{fewer}");
    let answer = bed.done(&ask("subscribe answer", &lenient)).await;
    assert!(
        text(&answer, "warning").contains("does not transcode"),
        "{answer:?}"
    );
    // The same tag again takes the place of what it had.
    bed.done(&ask(
        "subscribe request",
        "\"from-tag\":\"b\",\"to-tag\":\"s\"",
    ))
    .await;
    assert_eq!(bed.engine.status().ports_used, 6);
}

#[tokio::test]
async fn who_publishes_is_heard_by_all_who_subscribe() {
    let (bed, singer, fan) = (Bed::new().await, Party::new(), Party::new());
    let sendonly = singer.sdp("").replace("sendrecv", "sendonly");
    let publish = format!("\"from-tag\":\"p\",\"sdp\":{}", quoted(&sendonly));
    let answer = bed.done(&ask("publish", &publish)).await;
    let sdp = text(&answer, "sdp");
    assert!(
        sdp.contains("a=recvonly\r\n") && sdp.contains(" RTP/AVP 8\r\n"),
        "{sdp}"
    );
    assert!(!sdp.contains("telephone-event"), "{sdp}");
    let stage = rtp_of(&sdp);
    // Who says it again keeps its port, and may prefer another codec.
    let other = format!("{publish},\"codec\":{{\"accept\":[\"G729\",\"PCMU\"]}}");
    let again = text(&bed.done(&ask("publish", &other)).await, "sdp");
    assert_eq!(rtp_of(&again), stage);
    assert!(again.contains(" RTP/AVP 0\r\n"), "{again}");
    bed.done(&ask("publish", &publish)).await;
    let offer = bed
        .done(&ask("subscribe request", "\"from-tag\":\"p\""))
        .await;
    assert!(text(&offer, "sdp").contains(" RTP/AVP 8\r\n"));
    let answer = format!(
        "\"to-tag\":\"{}\",\"sdp\":{}",
        text(&offer, "to-tag"),
        heard_at(&[&fan])
    );
    bed.done(&ask("subscribe answer", &answer)).await;
    for _ in 0..5 {
        assert!(singer.reaches(stage, &fan));
    }
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"c\"}").await;
    assert_eq!(number(&query, "totals/RTP/packets"), 5);
    let offer = format!("{{\"command\":\"offer\",\"call-id\":\"c\",{publish}}}");
    let error = bed.refused(&offer).await;
    assert!(error.contains("only sends"), "{error}");
    // Who is in a call with somebody does not publish as well.
    bed.call("d", &singer, &fan).await;
    let both = publish.replace("\"p\"", "\"b\"");
    let both = format!("{{\"command\":\"publish\",\"call-id\":\"d\",{both}}}");
    let error = bed.refused(&both).await;
    assert!(error.contains("does not only send"), "{error}");
    assert_eq!(bed.engine.status().ports_used, 10);
    bed.done(&ask("delete", "\"from-tag\":\"p\"")).await;
    assert_eq!(bed.engine.status().ports_used, 4);
}

#[tokio::test]
async fn what_a_listener_could_not_take_is_refused() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    bed.call("c", &a, &b).await;
    let of_a = "\"from-tag\":\"a\"";
    let other = format!("{of_a},\"transport-protocol\":\"RTP/SAVP\"");
    let refusal = bed.refused(&ask("subscribe request", &other)).await;
    assert!(
        refusal.contains("RTP/SAVP for a stream of RTP/AVP"),
        "{refusal}"
    );
    let same = format!("{of_a},\"transport-protocol\":\"RTP/AVP\"");
    bed.done(&ask("subscribe request", &same)).await;

    let dtls = a.sdp("").replace("RTP/AVP", "UDP/TLS/RTP/SAVPF");
    let publish = format!("\"from-tag\":\"p\",\"sdp\":{}", quoted(&dtls));
    let refusal = bed.refused(&ask("publish", &publish)).await;
    assert!(refusal.contains("DTLS"), "{refusal}");
}

#[tokio::test]
async fn a_listener_hears_formats_by_its_own_numbers() {
    let (bed, a, b, ear) = (Bed::new().await, Party::new(), Party::new(), Party::new());
    let phone = |party: &Party, opus: u8, keys: u8| {
        let sdp = party.sdp("").replace("8 0 101", &format!("{opus} {keys}"));
        let sdp = sdp.replace("8 PCMA/8000", &format!("{opus} opus/48000/2"));
        sdp.replace("101 telephone", &format!("{keys} telephone"))
    };
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    bed.sdp("offer", tags, &phone(&a, 8, 101)).await;
    let answered = format!("{tags},\"to-tag\":\"b\"");
    let (_, for_a) = bed.sdp("answer", &answered, &phone(&b, 8, 96)).await;
    let subscribe = ask("subscribe request", "\"from-tag\":\"a\",\"to-tag\":\"s\"");
    let offer = text(&bed.done(&subscribe).await, "sdp");
    assert!(offer.contains(" RTP/AVP 8 96\r\n"), "{offer}");
    let answer = format!("\"to-tag\":\"s\",\"sdp\":{}", quoted(&phone(&ear, 8, 120)));
    bed.done(&ask("subscribe answer", &answer)).await;
    // By the numbers that its peer has, and by its own, which its peer is not shown either.
    for sent in [96, 101] {
        a.press_as(sent, 5, for_a);
        assert_eq!(b.hears(), Some(96));
        assert_eq!(ear.hears(), Some(120));
    }
    // The peer takes it by another number from now on.
    bed.sdp("offer", &answered, &phone(&a, 8, 101)).await;
    bed.sdp("answer", &answered, &phone(&b, 8, 97)).await;
    a.press_as(97, 5, for_a);
    assert_eq!((b.hears(), ear.hears()), (Some(97), Some(120)));
    // Whoever says nothing of a number takes it as it was offered.
    let plain = phone(&ear, 8, 97).replace("a=rtpmap:97 telephone-event/8000\r\n", "");
    let answer = format!("\"to-tag\":\"s\",\"sdp\":{}", quoted(&plain));
    bed.done(&ask("subscribe answer", &answer)).await;
    a.press_as(97, 5, for_a);
    assert_eq!((b.hears(), ear.hears()), (Some(97), Some(97)));
}

#[tokio::test]
async fn of_srtp_nothing_is_changed_for_a_listener() {
    let key =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
    for profile in ["RTP/SAVP", "RTP/AVP"] {
        let (bed, a, b, ear) = (Bed::new().await, Party::new(), Party::new(), Party::new());
        let phone = |party: &Party, keys: u8| {
            let sdp = party.sdp(key).replace("8 0 101", &format!("8 {keys}"));
            let sdp = sdp.replace("101 telephone", &format!("{keys} telephone"));
            sdp.replace("RTP/AVP", profile)
        };
        let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
        bed.sdp("offer", tags, &phone(&a, 101)).await;
        let answered = format!("{tags},\"to-tag\":\"b\"");
        let (_, for_a) = bed.sdp("answer", &answered, &phone(&b, 96)).await;
        let subscribe = ask("subscribe request", "\"from-tag\":\"a\",\"to-tag\":\"s\"");
        bed.done(&subscribe).await;
        let answer = |keys| format!("\"to-tag\":\"s\",\"sdp\":{}", quoted(&phone(&ear, keys)));
        let error = bed.refused(&ask("subscribe answer", &answer(120))).await;
        assert!(error.contains("no keys to change SRTP"), "{error}");
        bed.done(&ask("subscribe answer", &answer(96))).await;
        // As they come, whatever number that is.
        for sent in [96, 101] {
            a.press_as(sent, 5, for_a);
            assert_eq!(ear.hears(), Some(sent));
        }
        bed.sdp("offer", &answered, &phone(&a, 101)).await;
        let again = format!("{answered},\"sdp\":{}", quoted(&phone(&b, 97)));
        let warned = bed
            .done(&format!("{{\"command\":\"answer\",{again}}}"))
            .await;
        assert!(
            text(&warned, "warning").contains("other numbers"),
            "{warned:?}"
        );
        a.press_as(97, 5, for_a);
        assert_eq!(ear.hears(), Some(97));
    }
}

#[tokio::test]
async fn a_listener_follows_its_party_to_the_branch_that_answers() {
    let (bed, a, b, ear) = (Bed::new().await, Party::new(), Party::new(), Party::new());
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let via = |branch: u8| format!("{tags},\"via-branch\":\"{branch}\"");
    bed.sdp("offer", &via(1), &a.sdp("")).await;
    bed.sdp("offer", &via(2), &a.sdp("")).await;
    let subscribe = ask("subscribe request", "\"from-tag\":\"a\",\"to-tag\":\"s\"");
    bed.done(&subscribe).await;
    let answer = format!("\"to-tag\":\"s\",\"sdp\":{}", heard_at(&[&ear]));
    bed.done(&ask("subscribe answer", &answer)).await;
    assert_eq!(bed.engine.status().ports_used, 10);
    let answered = format!("{},\"to-tag\":\"b\"", via(1));
    let (_, for_a) = bed.sdp("answer", &answered, &b.sdp("")).await;
    assert!(a.reaches(for_a, &b) && ear.receives().is_some());
    assert_eq!(bed.engine.status().ports_used, 10);
    bed.done(&ask("delete", "\"from-tag\":\"a\",\"via-branch\":\"2\""))
        .await;
    assert_eq!(bed.engine.status().ports_used, 6);
    // Who comes back with another family has another session, and is heard as before.
    let again = format!("{tags},\"to-tag\":\"b\"");
    let other = Party::new_v6();
    let (_, for_b) = bed.sdp("offer", &again, &other.sdp_v6()).await;
    let (_, for_a) = bed.sdp("answer", &again, &b.sdp("")).await;
    assert!(for_a.is_ipv6() && for_b.is_ipv4());
    assert!(other.reaches(for_a, &b) && ear.receives().is_some());
    assert_eq!(bed.engine.status().ports_used, 6);
    bed.done(&ask("delete", "\"from-tag\":\"a\"")).await;
    assert_eq!(bed.engine.status().ports_used, 0);
}

#[tokio::test]
async fn who_publishes_is_recorded_and_dropped_as_others_are() {
    let folder = tempfile::tempdir().unwrap();
    let more = format!("recordings = \"{}\"", folder.path().display());
    let (bed, singer, fan) = (Bed::with(&more).await, Party::new(), Party::new());
    let publish = format!("\"from-tag\":\"p\",\"sdp\":{}", quoted(&singer.sdp("")));
    let recorded = ask("publish", &format!("{publish},\"record call\":\"yes\""));
    let answer = bed.done(&recorded).await;
    let stage = rtp_of(&text(&answer, "sdp"));
    let file = at(&answer, "recordings/0").text().unwrap().to_vec();
    let file = String::from_utf8(file).unwrap();
    bed.done(&ask(
        "subscribe request",
        "\"from-tag\":\"p\",\"to-tag\":\"s\"",
    ))
    .await;
    let heard = heard_at(&[&fan]);
    bed.done(&ask(
        "subscribe answer",
        &format!("\"to-tag\":\"s\",\"sdp\":{heard}"),
    ))
    .await;
    for _ in 0..3 {
        singer.speak(0x55, stage);
        assert_eq!(fan.hears(), Some(8));
    }
    bed.done(&ask(
        "publish",
        &format!("{publish},\"drop-traffic\":\"start\""),
    ))
    .await;
    assert!(singer.misses(stage, &fan));
    bed.done(&ask(
        "publish",
        &format!("{publish},\"drop-traffic\":\"stop\""),
    ))
    .await;
    assert!(singer.reaches(stage, &fan));
    let error = bed
        .refused(&ask(
            "publish",
            &format!("{publish},\"media-echo\":\"both\""),
        ))
        .await;
    assert!(error.contains("media-echo=both"), "{error}");
    // Who comes back with another family is recorded on, without a word of it.
    let other = quoted(&Party::new_v6().sdp_v6());
    let moved = format!("\"from-tag\":\"p\",\"sdp\":{other}");
    let moved = bed.done(&ask("publish", &moved)).await;
    let next = at(&moved, "recordings/0").text().unwrap();
    assert_ne!(next, file.as_bytes());
    bed.done(&ask("delete", "\"from-tag\":\"p\"")).await;
    // The file is whole once its session is gone; another thread closes it.
    let path = folder.path().join(&file);
    let audio = || {
        std::fs::read(&path).is_ok_and(|wav| {
            wav.windows(160).any(|part| part == [0x55; 160]) || wav.len() > 44 + 3 * 320
        })
    };
    for _ in 0..500 {
        if audio() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(audio(), "{}", path.display());
}
