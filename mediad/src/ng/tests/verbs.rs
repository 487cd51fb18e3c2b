//! What is done to calls that are up, and what is refused.

use ng::Dictionary;

use super::bed::{Bed, Party, at, number, text};

#[tokio::test]
async fn media_is_blocked_by_tag_by_label_and_altogether() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, for_b] = bed.call("c", &a, &b).await;
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    bed.done("{\"command\":\"block media\",\"call-id\":\"c\",\"from-tag\":\"a\"}")
        .await;
    assert!(a.misses(for_a, &b) && b.reaches(for_b, &a));
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"c\"}").await;
    assert!(
        format!("{:?}", at(&query, "tags/a/medias/0/flags"))
            .contains(&format!("{:?}", ng::Value::from_text("block media")))
    );
    bed.done("{\"command\":\"block media\",\"call-id\":\"c\"}")
        .await;
    assert!(b.misses(for_b, &a));
    bed.done(
        "{\"command\":\"unblock media\",\"call-id\":\"c\",\"from-tag\":\"x\",\"flags\":[\"all\"]}",
    )
    .await;
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    let error = bed
        .refused("{\"command\":\"block media\",\"call-id\":\"c\",\"from-tag\":\"x\"}")
        .await;
    assert_eq!(error, "From-tag given, but no such tag exists");
    assert_eq!(
        bed.refused("{\"command\":\"block media\"}").await,
        "No call-id in message"
    );
}

#[tokio::test]
async fn a_label_names_a_party() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let tags = "\"call-id\":\"c\",\"from-tag\":\"a\"";
    bed.sdp("offer", &format!("{tags},\"label\":\"caller\""), &a.sdp(""))
        .await;
    let (_, for_a) = bed
        .sdp(
            "answer",
            &format!("{tags},\"to-tag\":\"b\",\"label\":\"callee\""),
            &b.sdp(""),
        )
        .await;
    bed.done("{\"command\":\"block media\",\"call-id\":\"c\",\"label\":\"caller\"}")
        .await;
    assert!(a.misses(for_a, &b));
    for (named, why) in [
        ("\"label\":\"x\"", "No party of the call has the label 'x'"),
        (
            "\"address\":\"192.0.2.1\"",
            "No party of the call has the address '192.0.2.1'",
        ),
    ] {
        let ask = format!("{{\"command\":\"block media\",\"call-id\":\"c\",{named}}}");
        assert_eq!(bed.refused(&ask).await, why);
    }
    let query = bed.done("{\"command\":\"query\",\"call-id\":\"c\"}").await;
    assert_eq!(
        at(&query, "tags/b/label").text(),
        Some(b"callee".as_slice())
    );
}

#[tokio::test]
async fn who_strips_every_codec_is_told_that_all_are_kept() {
    let (bed, a) = (Bed::new().await, Party::new());
    for (strip, is_told) in [("[\"all\"]", true), ("[\"telephone-event\"]", false)] {
        let body = super::bed::quoted(&a.sdp(""));
        let offer = format!(
            "{{\"command\":\"offer\",\"call-id\":\"c\",\"from-tag\":\"a\",\"codec\":{{\"strip\":{strip}}},\"sdp\":{body}}}"
        );
        let answer = bed.done(&offer).await;
        let keeps = text(&answer, "sdp").contains("telephone-event");
        let warns = answer.contains_key(b"warning".as_slice());
        assert_eq!((keeps, warns), (is_told, is_told), "{answer:?}");
    }
}

#[tokio::test]
async fn a_key_is_pressed_in_a_partys_place() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, _] = bed.call("c", &a, &b).await;
    assert!(a.reaches(for_a, &b));
    bed.done("{\"command\":\"play DTMF\",\"call-id\":\"c\",\"from-tag\":\"a\",\"code\":\"5\",\"duration\":100}").await;
    // The key takes the place of what A sends.
    a.send(for_a);
    assert_eq!(b.hears(), Some(101));
    let out = "Out of range 'code' specified";
    for (wrong, why) in [
        ("\"code\":16", out),
        ("\"code\":-1", out),
        ("\"x\":1", "No code in message"),
        (
            "\"code\":1,\"duration\":99999",
            "Invalid value of 'duration': 99999: write a number from 0 to 5000",
        ),
    ] {
        let error = bed
            .refused(&format!(
                "{{\"command\":\"play DTMF\",\"call-id\":\"c\",\"from-tag\":\"a\",{wrong}}}"
            ))
            .await;
        assert_eq!(error, why);
    }
}

#[tokio::test]
async fn a_call_is_recorded_while_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::with(&format!(
        "recordings = {:?}\n",
        folder.path().display().to_string()
    ))
    .await;
    let (a, b) = (Party::new(), Party::new());
    let [for_a, _] = bed.call("c/1", &a, &b).await;
    let started = bed
        .done("{\"command\":\"start recording\",\"call-id\":\"c/1\"}")
        .await;
    let file = String::from_utf8(at(&started, "recordings/0").text().unwrap().to_vec()).unwrap();
    assert!(file.contains("ng-c_1-") && file.ends_with(".wav"), "{file}");
    for _ in 0..5 {
        assert!(a.reaches(for_a, &b));
    }
    bed.done("{\"command\":\"stop recording\",\"call-id\":\"c/1\"}")
        .await;
    let size = || std::fs::metadata(&file).map_or(0, |file| file.len());
    for _ in 0..100 {
        if size() > 800 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(size() > 800, "{} octets", size());
    let error = bed
        .refused(
            "{\"command\":\"start recording\",\"call-id\":\"c/1\",\"recording-method\":\"proc\"}",
        )
        .await;
    assert!(error.contains("pcap"), "{error}");
    // From the first on, where the offer says so.
    let tags = "\"call-id\":\"r\",\"from-tag\":\"a\"";
    bed.sdp(
        "offer",
        &format!("{tags},\"record-call\":\"yes\""),
        &a.sdp(""),
    )
    .await;
    bed.sdp("answer", &format!("{tags},\"to-tag\":\"b\""), &b.sdp(""))
        .await;
    let files = std::fs::read_dir(folder.path()).unwrap().flatten();
    let count = files
        .filter(|file| file.file_name().to_string_lossy().starts_with("ng-r-"))
        .count();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn packets_are_recorded_and_a_pause_keeps_none() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = format!("recordings = {:?}\n", folder.path().display().to_string());
    let bed = Bed::with(&recordings).await;
    let (a, b) = (Party::new(), Party::new());
    let [for_a, _] = bed.call("c", &a, &b).await;
    let say = |command: &str| {
        format!("{{\"command\":\"{command}\",\"call-id\":\"c\",\"recording-method\":\"pcap\"}}")
    };
    let file = |answer: &Dictionary| {
        let text = at(answer, "recordings/0").text().unwrap().to_vec();
        String::from_utf8(text).unwrap()
    };
    let started = file(&bed.done(&say("start recording")).await);
    assert!(started.ends_with(".pcap"), "{started}");
    // Another kind of file would have to be another recording.
    let other = say("start recording").replace("pcap", "wav");
    let error = bed.refused(&other).await;
    assert_eq!(error, "a pcap recording is on: stop it first");
    let unsaid = bed.done(r#"{"command":"start recording","call-id":"c"}"#);
    assert_eq!(file(&unsaid.await), started);
    assert!(a.reaches(for_a, &b));
    bed.done(&say("pause recording")).await;
    assert!((0..5).all(|_| a.reaches(for_a, &b)));
    // It goes on in the same file.
    assert_eq!(file(&bed.done(&say("start recording")).await), started);
    assert!(a.reaches(for_a, &b));
    bed.done(&say("stop recording")).await;
    // Two packets of 172 octets, with their heads and that of the file.
    let two = 24 + 2 * (16 + 14 + 20 + 8 + 172);
    let len = || std::fs::metadata(&started).map_or(0, |file| file.len());
    for _ in 0..100 {
        if len() >= two {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(len(), two);
}

#[tokio::test]
async fn without_a_folder_nothing_is_recorded() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    // A call that was to be recorded goes on without.
    let tags = "\"call-id\":\"r\",\"from-tag\":\"a\"";
    bed.sdp(
        "offer",
        &format!("{tags},\"record-call\":\"yes\""),
        &a.sdp(""),
    )
    .await;
    let body = b.sdp("").replace("\r\n", "\\r\\n");
    let answer = bed
        .done(&format!(
            "{{\"command\":\"answer\",{tags},\"to-tag\":\"b\",\"sdp\":\"{body}\"}}"
        ))
        .await;
    let warning = text(&answer, "warning");
    assert!(warning.contains("[media] recordings"), "{warning}");
    assert!(a.reaches(super::bed::rtp_of(&text(&answer, "sdp")), &b));
    bed.call("c", &a, &b).await;
    let error = bed
        .refused("{\"command\":\"start recording\",\"call-id\":\"c\"}")
        .await;
    assert!(error.contains("[media] recordings"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_the_reason() {
    let bed = Bed::new().await;
    for command in [
        "start forwarding",
        "stop forwarding",
        "connect",
        "create",
        "create answer",
        "mesh",
        "inject start",
        "inject stop",
        "transform",
    ] {
        let error = bed
            .refused(&format!("{{\"command\":\"{command}\",\"call-id\":\"c\"}}"))
            .await;
        assert!(
            error.starts_with(&format!("'{command}' is not supported by mediad: ")),
            "{error}"
        );
    }
    assert!(
        bed.refused("{\"command\":\"dance\"}")
            .await
            .starts_with("Unrecognized command")
    );
    let sdp = "\"sdp\":\"v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nc=IN IP4 127.0.0.1\\r\\nt=0 0\\r\\nm=audio 4000 RTP/AVP 0\\r\\n\"";
    for (option, named) in [
        ("\"transport-protocol\":\"RTP/SAVP\"", "passes SRTP through"),
        ("\"ptime\":40", "ptime=40"),
        ("\"ICE\":\"force\"", "ice=force"),
        ("\"codec\":{\"transcode\":[\"PCMA\"]}", "does not transcode"),
    ] {
        let offer = format!(
            "{{\"command\":\"offer\",\"call-id\":\"c\",\"from-tag\":\"a\",{option},{sdp}}}"
        );
        let error = bed.refused(&offer).await;
        assert!(error.contains(named), "{error}");
    }
    assert_eq!(bed.engine.status().sessions, 0);
    // What nobody knows is warned of.
    let offer = format!(
        "{{\"command\":\"offer\",\"call-id\":\"c\",\"from-tag\":\"a\",\"flags\":[\"dance\"],{sdp}}}"
    );
    assert!(text(&bed.done(&offer).await, "warning").contains("dance"));
}

#[tokio::test]
async fn statistics_count_what_was_done() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, _] = bed.call("one", &a, &b).await;
    bed.call("two", &a, &b).await;
    assert!(a.reaches(for_a, &b));
    bed.done("{\"command\":\"delete\",\"call-id\":\"one\",\"from-tag\":\"a\"}")
        .await;
    bed.refused("{\"command\":\"query\",\"call-id\":\"one\"}")
        .await;
    // What the shards count is gathered from time to time.
    let mut told = bed.done("{\"command\":\"statistics\"}").await;
    for _ in 0..100 {
        if number(&told, "statistics/totalstatistics/relayedpackets") > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        told = bed.done("{\"command\":\"statistics\"}").await;
    }
    let count = |path: &str| number(&told, &format!("statistics/{path}"));
    assert_eq!(count("currentstatistics/sessionsown"), 1);
    assert_eq!(count("totalstatistics/managedsessions"), 1);
    assert_eq!(count("totalstatistics/regularterminatedsessions"), 1);
    assert_eq!(count("totalstatistics/relayedpackets"), 1);
    assert_eq!(count("totalstatistics/relayedpackets_user"), 1);
    assert_eq!(count("totalstatistics/onewaystreams"), 1);
    assert_eq!(count("totalstatistics/zerowaystreams"), 0);
    assert_eq!(count("currentstatistics/media_userspace"), 2);
    assert_eq!(count("controlstatistics/totalerrorcount"), 1);
    assert_eq!(count("controlstatistics/totaloffercount"), 2);
    assert_eq!(count("controlstatistics/proxies/0/errorcount"), 1);
    assert_eq!(count("interfaces/0/ports/used"), 4);
}

#[tokio::test]
async fn the_page_says_which_commands_there_are() {
    let page = include_str!("../../../../docs/rtpengine.md");
    let (_, rest) = page.split_once("## Commands\n").unwrap();
    let bed = Bed::new().await;
    let mut tried = 0;
    for row in rest.lines().take_while(|line| !line.starts_with("## ")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, commands, verdict, ..] = cells.as_slice() else {
            continue;
        };
        for command in commands.split('`').skip(1).step_by(2) {
            let answer = bed.ask(&format!("{{\"command\":\"{command}\"}}")).await;
            let why = text(&answer, "error-reason");
            let is_there = !why.contains("is not supported by mediad");
            assert_eq!(
                is_there,
                ["same", "different"].contains(verdict),
                "{command}: {answer:?}"
            );
            assert!(!why.contains("Unrecognized"), "{command}: {answer:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, ng::Command::ALL.len());
}
