//! Calls: offers and answers in all their orders.

use super::bed::{Bed, Party, at, number, rtp_of, text};

#[tokio::test]
async fn a_call_is_set_up_carries_audio_and_is_told_of() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, for_b] = bed.call("c1", &a, &b).await;
    for _ in 0..5 {
        assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    }
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"c1\"}").await;
    assert_eq!(number(&query, "totals/RTP/packets"), 10);
    assert_eq!(number(&query, "totals/RTP/bytes"), 10 * 172);
    assert_eq!(number(&query, "tags/a/medias/0/streams/0/stats/packets"), 5);
    assert_eq!(
        number(&query, "tags/b/medias/0/streams/0/local port"),
        i64::from(for_b.port())
    );
    assert_eq!(
        number(&query, "tags/b/medias/0/streams/1/local port"),
        i64::from(for_b.port()) + 1
    );
    assert_eq!(
        at(&query, "tags/a/medias/0/codec").text(),
        Some(b"PCMA/8000".as_slice())
    );
    assert_eq!(
        at(&query, "tags/a/medias/0/streams/0/endpoint/family").text(),
        Some(b"IPv4".as_slice())
    );
    assert_eq!(
        at(&query, "tags/a/subscribers/0/tag").text(),
        Some(b"b".as_slice())
    );
    let ssrc = number(&query, "tags/a/medias/0/streams/0/SSRC");
    assert_eq!(number(&query, &format!("SSRC/{ssrc}/packets")), 5);
    let list = bed.done("{\"command\":\"list\",\"limit\":\"5\"}").await;
    assert_eq!(at(&list, "calls/0").text(), Some(b"c1".as_slice()));

    let deleted = bed
        .done("{\"command\":\"delete\",\"call-id\":\"c1\",\"from-tag\":\"a\"}")
        .await;
    assert_eq!(number(&deleted, "totals/RTP/packets"), 10);
    assert_eq!(
        number(&deleted, "tags/b/medias/0/streams/0/stats/packets"),
        5
    );
    let error = bed
        .refused("{\"command\":\"query\",\"call-id\":\"c1\"}")
        .await;
    assert_eq!(error, "Unknown call-id");
    let again = bed
        .done("{\"command\":\"delete\",\"call-id\":\"c1\",\"from-tag\":\"a\"}")
        .await;
    assert_eq!(
        text(&again, "warning"),
        "Call-ID not found or tags didn't match"
    );
    let fatal = "{\"command\":\"delete\",\"call-id\":\"c1\",\"flags\":[\"fatal\"]}";
    assert_eq!(
        bed.refused(fatal).await,
        "Call-ID not found or tags didn't match"
    );
}

#[tokio::test]
async fn each_source_of_a_party_is_told_of() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, _] = bed.call("c", &a, &b).await;
    let first = a.ssrc();
    assert!((0..3).all(|_| a.reaches(for_a, &b)));
    a.become_another();
    assert!((0..4).all(|_| a.reaches(for_a, &b)));
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"c\"}").await;
    assert_eq!(number(&query, &format!("SSRC/{first}/packets")), 3);
    assert_eq!(number(&query, &format!("SSRC/{}/packets", a.ssrc())), 4);
    let ingress = "tags/a/medias/0/streams/0/ingress SSRCs";
    assert_eq!(
        number(&query, &format!("{ingress}/0/SSRC")),
        i64::from(first)
    );
    assert_eq!(number(&query, &format!("{ingress}/1/packets")), 4);
    assert_eq!(
        number(&query, "tags/b/medias/0/streams/0/egress SSRCs/1/packets"),
        4
    );
}

#[tokio::test]
async fn either_party_holds_and_comes_back() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [_, for_b] = bed.call("c", &a, &b).await;
    // B puts A on hold: it is the offerer now.
    let hold = b.sdp("").replace("sendrecv", "sendonly");
    let tags = "\"call-id\":\"c\",\"from-tag\":\"b\",\"to-tag\":\"a\"";
    let (sdp, for_a) = bed.sdp("offer", tags, &hold).await;
    assert!(sdp.contains("a=sendonly"), "{sdp}");
    let held = a.sdp("").replace("sendrecv", "recvonly");
    let (_, again) = bed.sdp("answer", tags, &held).await;
    assert_eq!(again, for_b, "a party's ports stay");
    assert!(b.reaches(for_b, &a));
    // A phone that moves: its new address is taken.
    let moved = Party::new();
    let tags = "\"call-id\":\"c\",\"from-tag\":\"b\"";
    bed.sdp("offer", tags, &moved.sdp("")).await;
    let tags = "\"call-id\":\"c\",\"from-tag\":\"b\",\"to-tag\":\"a\"";
    bed.sdp("answer", tags, &a.sdp("")).await;
    assert!(moved.reaches(for_b, &a) && a.reaches(for_a, &moved));
}

#[tokio::test]
async fn forks_have_ports_of_their_own() {
    let (bed, a, b, c) = (Bed::new().await, Party::new(), Party::new(), Party::new());
    let branch =
        |via: &str| format!("\"call-id\":\"f\",\"from-tag\":\"a\",\"via-branch\":\"{via}\"");
    let (_, for_b) = bed.sdp("offer", &branch("1"), &a.sdp("")).await;
    let (_, for_c) = bed.sdp("offer", &branch("2"), &a.sdp("")).await;
    assert_ne!(for_b, for_c);
    let answer = |via: &str, tag: &str| format!("{},\"to-tag\":\"{tag}\"", branch(via));
    let (_, early) = bed.sdp("answer", &answer("1", "b"), &b.sdp("")).await;
    assert!(b.reaches(for_b, &a), "early media of the first");
    let (_, late) = bed.sdp("answer", &answer("2", "c"), &c.sdp("")).await;
    assert_ne!(early, late);
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"f\"}").await;
    assert_eq!(
        at(&query, "tags/c/via-branch").text(),
        Some(b"2".as_slice())
    );
    // The first is cancelled: the other one goes on.
    bed.done(&format!("{{\"command\":\"delete\",{}}}", branch("1")))
        .await;
    assert!(c.reaches(for_c, &a) && a.reaches(late, &c));
    let bye = "{\"command\":\"delete\",\"call-id\":\"f\",\"from-tag\":\"a\",\"to-tag\":\"c\"}";
    let last = bed.done(bye).await;
    assert_eq!(number(&last, "totals/RTP/packets"), 2);
    assert_eq!(
        bed.done("{\"command\":\"list\"}").await[b"calls".as_slice()],
        ng::Value::List(vec![])
    );
}

/// A proxy that names the branch of every transaction makes a new one of each re-INVITE.
#[tokio::test]
async fn a_branch_that_is_answered_anew_replaces_the_one_before() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    for via in ["1", "2", "3"] {
        let tags = format!("\"call-id\":\"r\",\"from-tag\":\"a\",\"via-branch\":\"{via}\"");
        let (_, for_b) = bed.sdp("offer", &tags, &a.sdp("")).await;
        let tags = format!("{tags},\"to-tag\":\"b\"");
        let (_, for_a) = bed.sdp("answer", &tags, &b.sdp("")).await;
        assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a), "{via}");
    }
    let status = bed.engine.status();
    assert_eq!(status.sessions, 1);
}

#[tokio::test]
async fn a_deletion_is_put_off_and_called_off() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, _] = bed.call("d", &a, &b).await;
    let delete = "{\"command\":\"delete\",\"call-id\":\"d\",\"from-tag\":\"a\",\"delete-delay\":1}";
    bed.done(delete).await;
    assert!(a.reaches(for_a, &b), "it is still up");
    let [for_a, _] = bed.call("d", &a, &b).await;
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    assert!(a.reaches(for_a, &b), "what was signalled called it off");
    bed.done(delete).await;
    tokio::time::sleep(std::time::Duration::from_millis(1600)).await;
    assert_eq!(
        bed.refused("{\"command\":\"query\",\"call-id\":\"d\"}")
            .await,
        "Unknown call-id"
    );
    assert_eq!(bed.engine.status().sessions, 0);
}

#[tokio::test]
async fn a_branch_that_is_to_go_goes_whatever_the_others_do() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let branch =
        |via: &str| format!("\"call-id\":\"f\",\"from-tag\":\"a\",\"via-branch\":\"{via}\"");
    bed.sdp("offer", &branch("1"), &a.sdp("")).await;
    bed.sdp("offer", &branch("2"), &a.sdp("")).await;
    bed.done(&format!(
        "{{\"command\":\"delete\",{},\"delete-delay\":1}}",
        branch("1")
    ))
    .await;
    let tags = format!("{},\"to-tag\":\"b\"", branch("2"));
    bed.sdp("answer", &tags, &b.sdp("")).await;
    tokio::time::sleep(std::time::Duration::from_millis(1600)).await;
    assert_eq!(bed.engine.status().sessions, 1);
    // And the callee's BYE takes who has not answered too.
    bed.sdp("offer", &branch("3"), &a.sdp("")).await;
    assert_eq!(bed.engine.status().sessions, 2);
    let bye = "{\"command\":\"delete\",\"call-id\":\"f\",\"from-tag\":\"b\",\"to-tag\":\"a\"}";
    bed.done(bye).await;
    assert_eq!(bed.engine.status().sessions, 0);
}

#[tokio::test]
async fn rtcp_is_muxed_with_one_party_and_not_with_the_other() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let tags = "\"call-id\":\"m\",\"from-tag\":\"a\",\"rtcp-mux\":[\"demux\"]";
    let (offer, _) = bed.sdp("offer", tags, &a.sdp("a=rtcp-mux\r\n")).await;
    assert!(!offer.contains("rtcp-mux"), "{offer}");
    let (answer, _) = bed
        .sdp(
            "answer",
            "\"call-id\":\"m\",\"from-tag\":\"a\",\"to-tag\":\"b\"",
            &b.sdp(""),
        )
        .await;
    assert!(answer.contains("a=rtcp-mux\r\n"), "{answer}");
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"m\"}").await;
    let flags = |tag: &str| format!("{:?}", at(&query, &format!("tags/{tag}/medias/0/flags")));
    let mux = format!("{:?}", ng::Value::from_text("rtcp-mux"));
    assert!(flags("a").contains(&mux) && !flags("b").contains(&mux));
    // And refused, where neither wants more than it got.
    let (_, _) = bed
        .sdp(
            "offer",
            "\"call-id\":\"n\",\"from-tag\":\"a\"",
            &a.sdp("a=rtcp-mux\r\n"),
        )
        .await;
    let (answer, _) = bed
        .sdp(
            "answer",
            "\"call-id\":\"n\",\"from-tag\":\"a\",\"to-tag\":\"b\"",
            &b.sdp(""),
        )
        .await;
    assert!(!answer.contains("rtcp-mux"), "{answer}");
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"n\"}").await;
    let port = |stream: u8| {
        number(
            &query,
            &format!("tags/a/medias/0/streams/{stream}/endpoint/port"),
        )
    };
    assert_eq!(port(1), port(0) + 1);
}

#[tokio::test]
async fn addresses_are_shown_and_taken_as_asked() {
    let (bed, a) = (Bed::new().await, Party::new());
    let tags = "\"call-id\":\"x\",\"from-tag\":\"a\",\"address-family\":\"IP6\",\"flags\":[\"SIP-source-address\"],\"received-from\":[\"IP4\",\"127.0.0.9\"]";
    let (sdp, rtp) = bed.sdp("offer", tags, &a.sdp("")).await;
    assert!(rtp.is_ipv6(), "{sdp}");
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"x\"}").await;
    let endpoint = at(&query, "tags/a/medias/0/streams/0/endpoint/address").text();
    assert_eq!(endpoint, Some(b"127.0.0.9".as_slice()));
    let tags = "\"call-id\":\"y\",\"from-tag\":\"a\",\"media-address\":\"203.0.113.5\",\"replace\":[\"origin\"]";
    let (sdp, rtp) = bed.sdp("offer", tags, &a.sdp("")).await;
    assert_eq!(rtp.ip().to_string(), "203.0.113.5");
    assert!(sdp.contains("o=- 1 1 IN IP4 203.0.113.5"), "{sdp}");
}

/// A proxy that forks one after the other without naming branches, and a phone that changes networks.
#[tokio::test]
async fn a_call_changes_its_address_family() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let tags = "\"call-id\":\"x\",\"from-tag\":\"a\"";
    let (_, first) = bed.sdp("offer", tags, &a.sdp("")).await;
    assert!(first.is_ipv4());
    let six = format!("{tags},\"address-family\":\"IP6\"");
    let (sdp, second) = bed.sdp("offer", &six, &a.sdp("")).await;
    assert!(second.is_ipv6(), "{sdp}");
    let answer = b.sdp("").replace("IN IP4 127.0.0.1", "IN IP6 ::1");
    let to = format!("{tags},\"to-tag\":\"b\"");
    let (sdp, for_a) = bed.sdp("answer", &to, &answer).await;
    assert!(for_a.is_ipv4(), "{sdp}");
    assert_eq!(bed.engine.status().sessions, 1);
    // A comes back by IPv6; B is still sent to where it was.
    let moved = a.sdp("").replace("IN IP4 127.0.0.1", "IN IP6 ::1");
    bed.sdp("offer", &to, &moved).await;
    let (sdp, for_a) = bed.sdp("answer", &to, &answer).await;
    assert!(for_a.is_ipv6(), "{sdp}");
    assert_eq!(bed.engine.status().sessions, 1);
}

#[tokio::test]
async fn a_description_that_was_here_is_let_pass() {
    let (bed, a) = (Bed::new().await, Party::new());
    let tags = "\"call-id\":\"l\",\"from-tag\":\"a\",\"flags\":[\"loop-protect\"]";
    let (once, _) = bed.sdp("offer", tags, &a.sdp("")).await;
    let tags = tags.replace("\"l\"", "\"l2\"");
    let (twice, _) = bed.sdp("offer", &tags, &once).await;
    assert_eq!(once, twice);
    assert_eq!(bed.engine.status().sessions, 1);
}

#[tokio::test]
async fn a_stream_that_is_refused_waits_for_another_phones_answer_and_is_freed() {
    let (bed, a, b, camera) = (Bed::new().await, Party::new(), Party::new(), Party::new());
    let port = |party: &Party| rtp_of(&party.sdp("")).port().to_string();
    let video = format!(
        "m=video {} RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n",
        port(&camera)
    );
    let tags = "\"call-id\":\"v\",\"from-tag\":\"a\"";
    let answer = |tag: &str| format!("{tags},\"to-tag\":\"{tag}\"");
    bed.sdp("offer", tags, &a.sdp(&video)).await;
    assert_eq!(bed.engine.status().sessions, 2);
    let no_video = b.sdp("m=video 0 RTP/AVP 96\r\n");
    let (sdp, _) = bed.sdp("answer", &answer("x"), &no_video).await;
    assert!(sdp.contains("m=video 0 "), "{sdp}");
    assert!(rtp_of(&sdp).port() > 0);
    // A proxy behind us forks: another phone takes it, and its media comes here all the same.
    let (phone, screen) = (Party::new(), Party::new());
    let both = |party: &Party, screen: &Party| {
        party.sdp(&format!("m=video {} RTP/AVP 96\r\n", port(screen)))
    };
    let (sdp, _) = bed
        .sdp("answer", &answer("y"), &both(&phone, &screen))
        .await;
    assert!(!sdp.contains(&port(&screen)), "{sdp}");
    let parsed = sip::sdp::Sdp::parse(sdp.as_bytes()).unwrap();
    assert!(camera.reaches(parsed.media()[1].rtp().unwrap(), &screen));
    // Refused again, and not offered again: it is gone.
    bed.sdp("answer", &answer("y"), &no_video).await;
    bed.sdp("offer", &answer("y"), &a.sdp("m=video 0 RTP/AVP 96\r\n"))
        .await;
    assert_eq!(bed.engine.status().sessions, 1);
    // What was not offered cannot be had.
    let (sdp, _) = bed
        .sdp("answer", &answer("y"), &both(&phone, &screen))
        .await;
    assert!(
        sdp.contains("m=video 0 ") && !sdp.contains(&port(&screen)),
        "{sdp}"
    );
}

#[tokio::test]
async fn a_stream_of_tcp_is_let_pass() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let tags = "\"call-id\":\"t\",\"from-tag\":\"a\"";
    let chat = "m=message 7394 TCP/MSRP *\r\na=path:msrp://192.0.2.1:7394/x;tcp\r\n";
    let (sdp, for_b) = bed.sdp("offer", tags, &a.sdp(chat)).await;
    assert!(sdp.ends_with(chat), "{sdp}");
    let to = format!("{tags},\"to-tag\":\"b\"");
    let (sdp, _) = bed.sdp("answer", &to, &b.sdp(chat)).await;
    assert!(sdp.ends_with(chat), "{sdp}");
    assert!(b.reaches(for_b, &a));
}

#[tokio::test]
async fn each_answer_is_judged_by_the_offer_and_not_by_the_answer_before() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let tags = "\"call-id\":\"e\",\"from-tag\":\"a\"";
    bed.sdp("offer", tags, &a.sdp("a=rtcp-mux\r\n")).await;
    // An early answer without telephone events and mux, and another phone's with both.
    let plain = b.sdp("").replace(" 101\r\n", "\r\n");
    let plain = plain.replace("a=rtpmap:101 telephone-event/8000\r\n", "");
    let (early, _) = bed
        .sdp("answer", &format!("{tags},\"to-tag\":\"x\""), &plain)
        .await;
    assert!(!early.contains("rtcp-mux"), "{early}");
    let (late, _) = bed
        .sdp(
            "answer",
            &format!("{tags},\"to-tag\":\"y\""),
            &b.sdp("a=rtcp-mux\r\n"),
        )
        .await;
    assert!(late.contains("a=rtcp-mux\r\n"), "{late}");
    bed.done("{\"command\":\"play DTMF\",\"call-id\":\"e\",\"from-tag\":\"y\",\"code\":\"5\"}")
        .await;
}

#[tokio::test]
async fn silence_is_that_of_all_streams() {
    let bed = Bed::with("timeout = 1\n").await;
    let (a, b) = (Party::new(), Party::new());
    let (camera, screen) = (Party::new(), Party::new());
    let port = |party: &Party| rtp_of(&party.sdp("")).port().to_string();
    let line = |party: &Party| format!("m=video {} RTP/AVP 96\r\n", port(party));
    let tags = "\"call-id\":\"s\",\"from-tag\":\"a\"";
    bed.sdp("offer", tags, &a.sdp(&line(&camera))).await;
    let to = format!("{tags},\"to-tag\":\"b\"");
    let (sdp, for_a) = bed.sdp("answer", &to, &b.sdp(&line(&screen))).await;
    let parsed = sip::sdp::Sdp::parse(sdp.as_bytes()).unwrap();
    let for_camera = parsed.media()[1].rtp().unwrap();
    // Video pauses until it is said to be silent, and comes back; then audio is silent.
    for packet in 0..40 {
        match packet < 18 {
            true => a.send(for_a),
            false => camera.send(for_camera),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(bed.engine.status().sessions, 2);
    // A stream on hold keeps no dead call.
    let held = format!("{}a=inactive\r\n", line(&camera));
    bed.sdp("offer", &to, &a.sdp(&held)).await;
    let held = format!("{}a=inactive\r\n", line(&screen));
    bed.sdp("answer", &to, &b.sdp(&held)).await;
    a.send(for_a);
    for _ in 0..100 {
        if bed.engine.status().sessions == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(bed.engine.status().sessions, 0);
}

/// As with rtpengine: each pair of tags is a dialogue of its own within the call.
#[tokio::test]
async fn a_third_tag_has_a_dialogue_of_its_own() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let (c, d) = (Party::new(), Party::new());
    let [for_a, _] = bed.call("c", &a, &b).await;
    let tags = "\"call-id\":\"c\",\"from-tag\":\"c\"";
    let (_, for_d) = bed.sdp("offer", tags, &c.sdp("")).await;
    let both = format!("{tags},\"to-tag\":\"d\"");
    let (_, for_c) = bed.sdp("answer", &both, &d.sdp("")).await;
    assert!(c.reaches(for_c, &d) && d.reaches(for_d, &c) && a.reaches(for_a, &b));
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"c\"}").await;
    assert_eq!(
        at(&query, "tags/c/in dialogue with").text(),
        Some(b"d".as_slice())
    );
    assert_eq!(
        at(&query, "tags/a/in dialogue with").text(),
        Some(b"b".as_slice())
    );
    // One ends, and the other goes on.
    bed.done(&format!("{{\"command\":\"delete\",{both}}}"))
        .await;
    assert!(a.reaches(for_a, &b));
    assert_eq!(bed.engine.status().sessions, 1);
    bed.done("{\"command\":\"delete\",\"call-id\":\"c\",\"from-tag\":\"a\",\"to-tag\":\"b\"}")
        .await;
    assert_eq!(bed.engine.status().sessions, 0);
}

/// As a phone behind NAT64 does, which is offered IPv4, and says where it is in IPv6.
#[tokio::test]
async fn an_answer_of_another_family_is_learned_from_its_packets() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let (_, for_b) = bed.sdp("offer", tags, &a.sdp("")).await;
    let v6 = b.sdp("").replace("IN IP4 127.0.0.1", "IN IP6 2001:db8::7");
    let body = super::bed::quoted(&v6);
    let answer = format!("{{\"command\":\"answer\",{tags},\"to-tag\":\"b\",\"sdp\":{body}}}");
    let answer = bed.done(&answer).await;
    let warning = text(&answer, "warning");
    assert!(warning.contains("another family"), "{warning}");
    let for_a = rtp_of(&text(&answer, "sdp"));
    assert!(for_a.is_ipv4());
    // It is believed after some packets, as anybody behind a NAT is.
    for _ in 0..8 {
        b.send(for_b);
    }
    assert!(a.receives().is_some());
    assert!(a.reaches(for_a, &b));
    // Its signaling says more: then it is its very host.
    let tags = "\"call-id\":\"d\",\"from-tag\":\"a\"";
    let (_, for_b) = bed.sdp("offer", tags, &a.sdp("")).await;
    let tags = format!("{tags},\"to-tag\":\"b\",\"received-from\":[\"IP4\",\"127.0.0.1\"]");
    let (_, for_a) = bed.sdp("answer", &tags, &v6).await;
    assert!(b.reaches(for_b, &a) && a.reaches(for_a, &b));
}

#[tokio::test]
async fn an_engine_that_drains_goes_on_with_its_calls_and_sends_proxies_elsewhere_with_new_ones() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, for_b] = bed.call("c1", &a, &b).await;
    let tags = "\"call-id\":\"c2\",\"from-tag\":\"a\"";
    let (_, early) = bed.sdp("offer", tags, &a.sdp("")).await;
    let drain = |on| control::media::Drain {
        on,
        ..Default::default()
    };
    bed.engine.drain(drain(true)).unwrap();
    let sdp = ng::Value::from_text(a.sdp(""));
    let mut escaped = Vec::new();
    ng::Encoding::Json.encode(&sdp, &mut escaped);
    let escaped = String::from_utf8(escaped).unwrap();
    let third = "\"call-id\":\"c3\",\"from-tag\":\"a\"";
    let offer = format!("{{\"command\":\"offer\",{third},\"sdp\":{escaped}}}");
    assert!(bed.refused(&offer).await.contains("draining"));
    let able = offer.replace("\"sdp\"", "\"supports\":[\"load limit\"],\"sdp\"");
    let answer = bed.ask(&able).await;
    // The words by which Kamailio's and OpenSIPS's modules know that another engine is to be asked.
    assert_eq!(text(&answer, "result"), "load limit");
    assert!(text(&answer, "message").contains("draining"), "{answer:?}");
    let unknown = "{\"command\":\"query\",\"call-id\":\"c3\"}";
    assert_eq!(bed.refused(unknown).await, "Unknown call-id");

    // Calls that are up, or ring, go on, with new descriptions too.
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    let answered = format!("{tags},\"to-tag\":\"b\"");
    bed.sdp("answer", &answered, &b.sdp("")).await;
    assert_eq!(bed.sdp("offer", &answered, &a.sdp("")).await.1, early);
    // They get further streams, and their forks ring.
    let video = a.sdp("m=video 40000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n");
    let (sdp, still) = bed.sdp("offer", &answered, &video).await;
    assert_eq!(still, early);
    assert!(
        !sdp.contains("m=video 0 ") && sdp.contains("m=video "),
        "{sdp}"
    );
    let sessions = bed.engine.status().sessions;
    let fork = format!("{tags},\"via-branch\":\"z9hG4bK2\"");
    bed.sdp("offer", &fork, &a.sdp("")).await;
    assert_eq!(bed.engine.status().sessions, sessions + 1);
    bed.engine.drain(drain(false)).unwrap();
    bed.sdp("offer", third, &a.sdp("")).await;
}
