//! What of the parties' media is handed on, and what they hear else.

use super::bed::{Bed, Party, at, number, quoted, text};

fn ask(command: &str, more: &str) -> String {
    format!("{{\"command\":\"{command}\",\"call-id\":\"c\"{more}}}")
}

#[tokio::test]
async fn parties_are_silenced_by_tag_address_and_altogether() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, for_b] = bed.call("c", &a, &b).await;
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    // A's own packets are silence; one that is not would be made it.
    let noise = |from: &Party, to, by: &Party| {
        from.speak(0x55, to);
        by.receives().map(|packet| packet[12..].to_vec())
    };
    assert_eq!(noise(&a, for_a, &b), Some(vec![0x55; 160]));
    bed.done(&ask("silence media", ",\"from-tag\":\"a\"")).await;
    assert_eq!(noise(&a, for_a, &b), Some(vec![0xd5; 160]));
    assert_eq!(noise(&b, for_b, &a), Some(vec![0x55; 160]));
    let query = bed.done(&ask("query", "")).await;
    let flags = format!("{:?}", at(&query, "tags/a/medias/0/flags"));
    let word = format!("{:?}", ng::Value::from_text("silence media"));
    assert!(flags.contains(&word), "{query:?}");
    // What is wanted of a party outlives what is wanted of the call, unless all is to end.
    bed.done(&ask("silence media", "")).await;
    assert_eq!(noise(&b, for_b, &a), Some(vec![0xd5; 160]));
    bed.done(&ask("unsilence media", "")).await;
    assert_eq!(noise(&b, for_b, &a), Some(vec![0x55; 160]));
    assert_eq!(noise(&a, for_a, &b), Some(vec![0xd5; 160]));
    bed.done(&ask("unsilence media", ",\"all\":\"all\"")).await;
    assert_eq!(noise(&a, for_a, &b), Some(vec![0x55; 160]));
    // Media is blocked and keys pass, and the other way round.
    bed.done(&ask("block media", ",\"address\":\"127.0.0.1\""))
        .await;
    a.press(1, for_a);
    assert_eq!(b.hears(), Some(101));
    assert!(a.misses(for_a, &b));
    bed.done(&ask("unblock media", ",\"flags\":[\"all\"]"))
        .await;
    bed.done(&ask("block DTMF", ",\"from-tag\":\"a\",\"to-tag\":\"b\""))
        .await;
    a.press(1, for_a);
    a.send(for_a);
    assert_eq!(b.hears(), Some(8), "the key did not pass");
    let modes = ",\"from-tag\":\"a\",\"DTMF-security\":\"DTMF\",\"digit\":\"7\"";
    bed.done(&ask("unblock DTMF", ",\"from-tag\":\"a\",\"to-tag\":\"b\""))
        .await;
    bed.done(&ask("block DTMF", modes)).await;
    a.press(1, for_a);
    assert_eq!(b.receives().unwrap()[12], 7);
    let error = bed
        .refused(&ask("block DTMF", ",\"DTMF-security\":\"tone\""))
        .await;
    assert!(error.starts_with("DTMF-security=tone: "), "{error}");
    let error = bed
        .refused(&ask("block media", ",\"from-tag\":\"a\",\"to-tag\":\"x\""))
        .await;
    assert_eq!(error, "To-tag given, but no such tag exists");
}

#[tokio::test]
async fn what_is_wanted_holds_for_who_comes_later() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    bed.sdp(
        "offer",
        &format!("{tags},\"drop-traffic\":\"start\",\"via-branch\":\"1\""),
        &a.sdp(""),
    )
    .await;
    // A branch that comes after the order; in the answer it is called off.
    let two = format!("{tags},\"via-branch\":\"2\"");
    let (_, for_b) = bed.sdp("offer", &two, &a.sdp("")).await;
    bed.done(&ask("block DTMF", ",\"from-tag\":\"a\"")).await;
    let (_, for_a) = bed
        .sdp("answer", &format!("{two},\"to-tag\":\"b\""), &b.sdp(""))
        .await;
    assert!(a.misses(for_a, &b));
    let again = format!("{tags},\"to-tag\":\"b\",\"drop-traffic\":\"stop\"");
    bed.sdp("offer", &again, &a.sdp("")).await;
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    a.press(1, for_a);
    a.send(for_a);
    assert_eq!(b.hears(), Some(8), "keys are held back still");
}

#[tokio::test]
async fn an_echo_ends_what_was_dropped_before() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, _] = bed.call("c", &a, &b).await;
    let again = "\"call-id\":\"c\",\"from-tag\":\"a\",\"to-tag\":\"b\"";
    let blackhole = format!("{again},\"media-echo\":\"blackhole\"");
    bed.sdp("offer", &blackhole, &a.sdp("")).await;
    assert!(!a.reaches(for_a, &b));
    let echo = format!("{again},\"media-echo\":\"backwards\"");
    bed.sdp("offer", &echo, &a.sdp("")).await;
    assert!(a.reaches(for_a, &a), "nothing came back");
    // The other party was sent nothing.
    let query = bed.done(&ask("query", "")).await;
    assert_eq!(
        number(&query, "tags/b/medias/0/streams/0/egress SSRCs/0/packets"),
        0
    );
}

#[tokio::test]
async fn an_echo_has_the_numbers_of_who_hears_it() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let phone = |party: &Party, keys: u8| {
        let sdp = party.sdp("").replace("8 0 101", &format!("8 {keys}"));
        sdp.replace("101 telephone", &format!("{keys} telephone"))
    };
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let echo = format!("{tags},\"media-echo\":\"backwards\"");
    bed.sdp("offer", &echo, &phone(&a, 101)).await;
    let answered = format!("{tags},\"to-tag\":\"b\"");
    let (_, for_a) = bed.sdp("answer", &answered, &phone(&b, 96)).await;
    for sent in [96, 101] {
        a.press_as(sent, 5, for_a);
        assert_eq!(a.hears(), Some(101));
    }
}

#[tokio::test]
async fn media_is_removed_of_answers_too() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let video = |port: u16| format!("m=video {port} RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n");
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let (for_b, _) = bed.sdp("offer", tags, &a.sdp(&video(4_000))).await;
    assert!(!for_b.contains("m=video 0 "), "{for_b}");
    let removed =
        format!("{tags},\"to-tag\":\"b\",\"rtpp-flags\":\"sdp-media-remove=[video image]\"");
    let (for_a, at) = bed.sdp("answer", &removed, &b.sdp(&video(4_002))).await;
    assert!(for_a.contains("m=video 0 "), "{for_a}");
    assert!(a.reaches(at, &b));
    let publish = format!(
        "\"from-tag\":\"p\",\"sdp-media-remove\":[\"video\"],\"sdp\":{}",
        quoted(&a.sdp(&video(4_000)))
    );
    let body = format!("{{\"command\":\"publish\",\"call-id\":\"p\",{publish}}}");
    let sdp = text(&bed.done(&body).await, "sdp");
    assert!(sdp.contains("m=video 0 "), "{sdp}");
}

#[tokio::test]
async fn who_is_excluded_is_in_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    let more = format!("recordings = \"{}\"", folder.path().display());
    let (bed, a, b) = (Bed::with(&more).await, Party::new(), Party::new());
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let excluded = format!("{tags},\"record-call\":\"yes\",\"flags\":[\"exclude recording\"]");
    bed.sdp("offer", &excluded, &a.sdp("")).await;
    let answer = format!("{tags},\"to-tag\":\"b\",\"sdp\":{}", quoted(&b.sdp("")));
    let answer = bed
        .done(&format!("{{\"command\":\"answer\",{answer}}}"))
        .await;
    assert!(
        text(&answer, "warning").contains("exclude-recording"),
        "{answer:?}"
    );
    let error = bed.refused(&ask("start recording", "")).await;
    assert!(error.contains("exclude-recording"), "{error}");
    let is_recording = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with("ng-")
    };
    let mut files = std::fs::read_dir(folder.path()).unwrap();
    assert!(!files.any(is_recording));
}

#[tokio::test]
async fn what_has_no_silence_is_refused_in_words() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let opus = |party: &Party| {
        party
            .sdp("")
            .replace("8 0 101", "96 101")
            .replace("8 PCMA/8000", "96 opus/48000/2")
    };
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    bed.sdp("offer", tags, &opus(&a)).await;
    let (_, for_a) = bed
        .sdp("answer", &format!("{tags},\"to-tag\":\"b\""), &opus(&b))
        .await;
    let error = bed.refused(&ask("silence media", "")).await;
    assert!(
        error.contains("opus") && error.contains("block media"),
        "{error}"
    );
    // Events of another clock than the audio's are keys as well.
    bed.done(&ask("block DTMF", "")).await;
    a.press(1, for_a);
    assert!(b.receives_soon().is_none());
    let error = bed
        .refused(&ask(
            "play media",
            ",\"flags\":[\"all\"],\"file\":\"/dev/null\"",
        ))
        .await;
    assert!(error.contains("no file"), "{error}");
    // A call without events has no keys that could be held back.
    let keyless = a.sdp("").replace(" 101", "");
    let tags = tags.replace("\"c\"", "\"k\"");
    bed.sdp("offer", &tags, &keyless).await;
    let error = bed
        .refused("{\"command\":\"block DTMF\",\"call-id\":\"k\"}")
        .await;
    assert!(error.contains("telephone-event"), "{error}");
    bed.done("{\"command\":\"unblock DTMF\",\"call-id\":\"k\"}")
        .await;
}

#[tokio::test]
async fn a_file_is_played_to_a_party_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hold.wav");
    let samples: Vec<i16> = (0..8_000)
        .map(|at| if at % 8 < 4 { 9_000 } else { -9_000 })
        .collect();
    // PCM, mono, 8,000 Hz, 16 bits.
    let mut wav = b"RIFF\xa4\x3e\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x80\x3e\0\0".to_vec();
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    std::fs::write(&file, wav).unwrap();
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, for_b] = bed.call("c", &a, &b).await;
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    let file = file.display();
    let play = format!(",\"from-tag\":\"b\",\"file\":\"{file}\",\"repeat-times\":100");
    bed.done(&ask("play media", &play)).await;
    let mine = |packet: &[u8]| packet[8..12] == u32::from(for_a.port()).to_be_bytes();
    // The file is read by the very thread that waits here.
    while !b.is_sent_to() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let music = b.receives().unwrap();
    assert!(music.len() == 172 && !mine(&music), "{music:?}");
    assert!(music[12..].iter().any(|octet| *octet != 0xd5), "{music:?}");
    // The other party is heard as ever.
    assert!(b.reaches(for_b, &a));
    bed.done(&ask("stop media", ",\"from-tag\":\"b\"")).await;
    while b.receives_soon().is_some() {}
    assert!(a.reaches(for_a, &b));
    // To all, that is to both of them.
    let play = format!(",\"all\":\"all\",\"file\":\"{file}\",\"repeat-times\":100");
    bed.done(&ask("play media", &play)).await;
    while !(a.is_sent_to() && b.is_sent_to()) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    bed.done(&ask("stop media", ",\"flags\":[\"all\"]")).await;
    while a.receives_soon().is_some() || b.receives_soon().is_some() {}
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    // For so long and no longer, or only its end: it ends by itself.
    for part in ["\"repeat-duration\":60", "\"start-pos\":7600"] {
        let play = format!(",\"from-tag\":\"b\",\"file\":\"{file}\",{part}");
        bed.done(&ask("play media", &play)).await;
        while !b.is_sent_to() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let mut packets = 0;
        while b.receives_soon().is_some() {
            packets += 1;
        }
        assert_eq!(packets, 3, "{part}");
    }
    assert!(a.reaches(for_a, &b));
    let text = folder.path().join("words.wav");
    std::fs::write(&text, "no audio at all\n".repeat(100)).unwrap();
    let (text, folder) = (text.display(), folder.path().display());
    for (wrong, why) in [
        (
            ",\"from-tag\":\"b\",\"file\":\"/nowhere\"",
            "file /nowhere: ",
        ),
        (
            &format!(",\"from-tag\":\"b\",\"file\":\"{text}\""),
            &format!("file {text}: it is no file that mediad can read and play"),
        ),
        (
            &format!(",\"from-tag\":\"b\",\"file\":\"{folder}\""),
            &format!("file {folder}: it is no file that mediad can read and play"),
        ),
        (
            ",\"from-tag\":\"b\",\"blob\":\"RIFF\"",
            "not supported by mediad: blob (",
        ),
        (
            ",\"from-tag\":\"b\",\"file\":\"/dev/null\",\"start-pos\":\"x\"",
            "Invalid value of 'start-pos': x",
        ),
        (
            &format!(",\"file\":\"{file}\""),
            "No participant party specified",
        ),
        (
            &format!(",\"all\":\"none\",\"file\":\"{file}\""),
            "No participant party specified",
        ),
    ] {
        let error = bed.refused(&ask("play media", wrong)).await;
        assert!(error.starts_with(why), "{error}");
    }
}

#[tokio::test]
async fn reports_are_made_where_that_is_asked_for() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let (of_a, of_b) = (a.rtcp_beside(), b.rtcp_beside());
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let more = |socket: &std::net::UdpSocket| {
        format!("a=rtcp:{}\r\n", socket.local_addr().unwrap().port())
    };
    let offer = format!("{tags},\"generate RTCP\":\"on\"");
    let (_, for_b) = bed.sdp("offer", &offer, &a.sdp(&more(&of_a))).await;
    let (_, for_a) = bed
        .sdp(
            "answer",
            &format!("{tags},\"to-tag\":\"b\""),
            &b.sdp(&more(&of_b)),
        )
        .await;
    for _ in 0..5 {
        assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    }
    let mut buffer = [0; 512];
    for (socket, other) in [(&of_a, &b), (&of_b, &a)] {
        let length = socket.recv(&mut buffer).unwrap();
        let packets = rtp::rtcp::parse(&buffer[..length]).unwrap();
        let rtp::rtcp::Packet::SenderReport { ssrc, info, blocks } = &packets[0] else {
            panic!("{packets:?}");
        };
        assert_eq!((*ssrc, info.packets), (other.ssrc(), 5));
        assert_eq!((blocks.len(), blocks[0].cumulative_lost), (1, 0));
    }
    let query = bed.done(&ask("query", "")).await;
    let flags = format!("{:?}", at(&query, "tags/b/medias/0/flags"));
    assert!(flags.contains(&format!("{:?}", ng::Value::from_text("generate RTCP"))));
    assert_eq!(
        number(&query, "tags/a/medias/0/streams/0/ingress SSRCs/0/packets"),
        5
    );
    assert_eq!(
        number(&query, "tags/a/medias/0/streams/0/egress SSRCs/0/packets"),
        5
    );
    let error = bed.refused("{\"command\":\"list\",\"limit\":0}").await;
    assert!(error.starts_with("limit: "), "{error}");
}

#[tokio::test]
async fn a_client_that_knows_the_word_is_told_of_load() {
    let (bed, a) = (Bed::new().await, Party::new());
    let sdp = quoted(&a.sdp(""));
    let offer = |id: usize| {
        format!(
            "{{\"command\":\"offer\",\"call-id\":\"{id}\",\"from-tag\":\"a\",\"supports\":[\"load limit\"],\"sdp\":{sdp}}}"
        )
    };
    // Twenty-four ports are six calls.
    for id in 0..6 {
        bed.done(&offer(id)).await;
    }
    let answer = bed.ask(&offer(6)).await;
    assert_eq!(text(&answer, "result"), "load limit");
    assert!(
        text(&answer, "message").contains("[media] ports"),
        "{answer:?}"
    );
    let error = bed
        .refused(&offer(7).replace("load limit", "nothing"))
        .await;
    assert!(error.contains("[media] ports"), "{error}");
}

#[tokio::test]
async fn keys_of_two_clocks_keep_their_numbers() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let phone = |party: &Party| {
        let sdp = party.sdp("a=rtpmap:96 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n");
        sdp.replace("8 0 101", "96 8 110 101")
    };
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let (_, for_b) = bed.sdp("offer", tags, &phone(&a)).await;
    let (_, for_a) = bed
        .sdp("answer", &format!("{tags},\"to-tag\":\"b\""), &b.sdp(""))
        .await;
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    b.press(1, for_b);
    assert_eq!(a.hears(), Some(101));
    a.press(1, for_a);
    assert_eq!(b.hears(), Some(101));
}

#[tokio::test]
async fn keys_of_either_clock_are_held_back() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let phone = |party: &Party| {
        let sdp = party.sdp("a=rtpmap:110 telephone-event/48000\r\n");
        sdp.replace("8 0 101", "8 101 110")
    };
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    bed.sdp("offer", tags, &phone(&a)).await;
    let (_, for_a) = bed
        .sdp("answer", &format!("{tags},\"to-tag\":\"b\""), &phone(&b))
        .await;
    a.press_as(110, 1, for_a);
    assert_eq!(b.hears(), Some(110));
    bed.done(&ask("block DTMF", ",\"from-tag\":\"a\"")).await;
    a.press_as(110, 1, for_a);
    a.press(1, for_a);
    a.send(for_a);
    assert_eq!(b.hears(), Some(8), "a key has passed");
    // What would have to be done about keys, and is not, is refused by name.
    for (more, named) in [
        (",\"trigger\":\"*1\"", "trigger (mediad looks for no digits"),
        (",\"flags\":[\"delay-buffer=20\"]", "delay-buffer ("),
    ] {
        let error = bed.refused(&ask("block DTMF", more)).await;
        assert!(error.contains(named), "{error}");
    }
    let answer = bed.done(&ask("unblock DTMF", ",\"nonsense\":1")).await;
    assert_eq!(text(&answer, "warning"), "unknown option ignored: nonsense");
}

#[tokio::test]
async fn a_party_hears_itself_until_traffic_is_to_flow() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let offer = format!("{tags},\"media-echo\":\"backwards\"");
    let (_, for_b) = bed.sdp("offer", &offer, &a.sdp("")).await;
    let answer = format!("{tags},\"to-tag\":\"b\"");
    let (_, for_a) = bed.sdp("answer", &answer, &b.sdp("")).await;
    a.send(for_a);
    let echo = a.receives().unwrap();
    assert_eq!(echo[8..12], (!a.ssrc()).to_be_bytes());
    assert_eq!(echo[12..], [0xd5; 160]);
    a.press(3, for_a);
    assert_eq!(a.receives().unwrap()[12], 3);
    b.send(for_b);
    assert!(a.receives_soon().is_none() && b.receives_soon().is_none());
    let query = bed.done(&ask("query", "")).await;
    let flags = format!("{:?}", at(&query, "tags/a/medias/0/flags"));
    assert!(flags.contains(&format!("{:?}", ng::Value::from_text("media echo"))));
    // To each, and then to the other one.
    let both = format!("{answer},\"media-echo\":\"both\"");
    bed.sdp("offer", &both, &a.sdp("")).await;
    assert!(a.reaches(for_a, &a) && b.reaches(for_b, &b));
    bed.sdp("offer", &both.replace("both", "forward"), &a.sdp(""))
        .await;
    assert!(b.reaches(for_b, &b));
    a.send(for_a);
    assert!(a.receives_soon().is_none() && b.receives_soon().is_none());
    let flows = format!("{answer},\"drop-traffic\":\"stop\"");
    bed.sdp("offer", &flows, &a.sdp("")).await;
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    let secret = a.sdp("").replace("RTP/AVP", "RTP/SAVP");
    let error = bed
        .refused(&format!(
            "{{\"command\":\"offer\",{both},\"sdp\":{}}}",
            quoted(&secret)
        ))
        .await;
    assert!(error.starts_with("media-echo: "), "{error}");
}

#[tokio::test]
async fn a_stream_that_is_not_to_be_offered_keeps_its_place() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let video = format!(
        "m=video {} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
        a.port()
    );
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    let offer = format!("{tags},\"sdp-media-remove\":[\"video\"]");
    let (shown, for_b) = bed.sdp("offer", &offer, &a.sdp(&video)).await;
    assert!(shown.contains("m=video 0 RTP/AVP 96\r\n"), "{shown}");
    let answer = format!("{tags},\"to-tag\":\"b\"");
    let refused = b.sdp("m=video 0 RTP/AVP 96\r\n");
    let (shown, for_a) = bed.sdp("answer", &answer, &refused).await;
    assert!(shown.contains("m=video 0 RTP/AVP 96\r\n"), "{shown}");
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    assert_eq!(bed.engine.status().ports_used, 4);
}
