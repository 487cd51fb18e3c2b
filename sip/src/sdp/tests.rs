use proptest::prelude::*;

use super::*;

const OFFER: &str = "v=0\r\n\
    o=alice 1 2 IN IP4 host.example\r\n\
    s=-\r\n\
    c=IN IP4 192.0.2.1\r\n\
    t=0 0\r\n\
    a=ice-lite\r\n\
    z=unknown line\r\n\
    m=audio 4000 RTP/AVP 0 96\r\n\
    a=rtpmap:96 opus/48000/2\r\n\
    a=rtcp:4009 IN IP4 192.0.2.1\r\n\
    a=ptime:20\r\n\
    a=ice-ufrag:x\r\n\
    a=candidate:1 1 UDP 1 192.0.2.1 4000 typ host\r\n\
    a=sendonly\r\n\
    m=video 5000 RTP/SAVPF 97\r\n\
    c=IN IP4 192.0.2.2\r\n\
    a=rtcp-mux\r\n\
    a=rtcp:5000\r\n\
    m=image 0 udptl t38\r\n\
    a=candidate:left alone\r\n";

const V4: Relay = Relay {
    address: IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 5)),
    rtp: 20_000,
    rtcp: 20_001,
};

fn sdp(body: &str) -> Sdp<'_> {
    Sdp::parse(body.as_bytes()).unwrap()
}

fn refused(body: &str) -> SdpError {
    Sdp::parse(body.as_bytes()).map(|_| ()).unwrap_err()
}

fn rewrite(body: &str, relays: &[Option<Relay>]) -> Result<String, SdpError> {
    sdp(body)
        .rewrite(relays)
        .map(|body| String::from_utf8(body).unwrap())
}

/// One audio stream with these lines after the session's.
fn audio(session: &str, media: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n{session}t=0 0\r\n{media}")
}

#[test]
fn streams_are_read() {
    let offer = sdp(OFFER);
    let media = offer.media();
    assert_eq!(offer.origin().version, "2");
    assert!(offer.has_ice());
    assert_eq!((media[0].kind(), media[0].proto()), ("audio", "RTP/AVP"));
    assert_eq!(media[0].rtp().unwrap().to_string(), "192.0.2.1:4000");
    assert_eq!(media[0].rtcp().unwrap().to_string(), "192.0.2.1:4009");
    assert_eq!(media[0].direction(), Direction::SendOnly);
    assert!(media[0].is_held() && !media[1].is_held());
    assert_eq!(media[0].ptime(), Some(20));
    let codecs: Vec<_> = media[0]
        .codecs()
        .map(|c| (c.name, c.clock_rate, c.channels))
        .collect();
    assert_eq!(codecs, [("PCMU", 8000, 1), ("opus", 48_000, 2)]);
    assert_eq!(media[1].rtp().unwrap().to_string(), "192.0.2.2:5000");
    assert!(media[1].rtcp_mux() && media[1].is_rtp());
    assert!(media[2].is_refused() && media[2].is_udp() && !media[2].is_rtp());
}

#[test]
fn a_relay_replaces_addresses_and_nothing_else() {
    let second = Relay {
        rtp: 20_004,
        rtcp: 20_005,
        ..V4
    };
    let rewritten = rewrite(OFFER, &[Some(V4), Some(second), Some(V4)]).unwrap();
    let expected = OFFER
        .replace("host.example", "203.0.113.5")
        .replace("192.0.2.1\r\n", "203.0.113.5\r\n")
        .replace("192.0.2.2\r\n", "203.0.113.5\r\n")
        .replace("audio 4000", "audio 20000")
        .replace("rtcp:4009", "rtcp:20001")
        .replace("video 5000", "video 20004")
        .replace("rtcp:5000", "rtcp:20004")
        .replace("a=ice-lite\r\n", "")
        .replace("a=ice-ufrag:x\r\n", "")
        .replace("a=candidate:1 1 UDP 1 203.0.113.5 4000 typ host\r\n", "")
        .replace("a=candidate:1 1 UDP 1 192.0.2.1 4000 typ host\r\n", "");
    assert_eq!(rewritten, expected);
}

#[test]
fn families_may_change() {
    let v6 = Relay {
        address: "2001:db8::5".parse().unwrap(),
        ..V4
    };
    let body = audio("c=IN IP4 192.0.2.1\r\n", "m=audio 4000 RTP/AVP 0\r\n");
    let rewritten = rewrite(&body, &[Some(v6)]).unwrap();
    assert!(rewritten.contains("o=- 1 1 IN IP6 2001:db8::5\r\n"));
    assert!(rewritten.contains("c=IN IP6 2001:db8::5\r\n"));
    let held = body.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0");
    assert!(sdp(&held).media()[0].is_held());
    assert!(
        rewrite(&held, &[Some(v6)])
            .unwrap()
            .contains("c=IN IP6 ::\r\n")
    );
}

#[test]
fn streams_of_different_relays_get_their_own_lines() {
    let body = audio(
        "c=IN IP4 192.0.2.1\r\n",
        "m=audio 4000 RTP/AVP 0\r\nm=video 5000 RTP/AVP 31\r\ni=title\r\na=x\r\nm=text 6000 RTP/AVP 98",
    );
    let other = Relay {
        address: [203, 0, 113, 9].into(),
        rtp: 30_000,
        rtcp: 30_007,
    };
    let rewritten = rewrite(&body, &[Some(V4), Some(other), None]).unwrap();
    let streams = rewritten.split_once("t=0 0\r\n").unwrap().1;
    assert_eq!(
        streams,
        "m=audio 20000 RTP/AVP 0\r\n\
         m=video 30000 RTP/AVP 31\r\ni=title\r\nc=IN IP4 203.0.113.9\r\na=x\r\na=rtcp:30007\r\n\
         m=text 6000 RTP/AVP 98\r\nc=IN IP4 192.0.2.1\r\n"
            .trim_end()
    );
}

#[test]
fn streams_that_shared_a_port_have_their_own() {
    let body = audio(
        "c=IN IP4 192.0.2.1\r\na=group:BUNDLE 0 1\r\na=group:LS 0 1\r\n",
        "m=audio 4000 RTP/AVP 0\r\na=mid:0\r\nm=video 4000 RTP/AVP 97\r\na=mid:1\r\na=bundle-only\r\n",
    );
    let rewritten = rewrite(
        &body,
        &[
            Some(V4),
            Some(Relay {
                rtp: 20_004,
                rtcp: 20_005,
                ..V4
            }),
        ],
    );
    let rewritten = rewritten.unwrap();
    assert!(
        !rewritten.to_ascii_lowercase().contains("bundle"),
        "{rewritten}"
    );
    assert!(rewritten.contains("a=group:LS 0 1\r\n") && rewritten.contains("a=mid:1\r\n"));
}

#[test]
fn line_feeds_alone_stay_so() {
    let body = audio("c=IN IP4 192.0.2.1\r\n", "m=audio 4000 RTP/AVP 0\r\n").replace("\r\n", "\n");
    let rewritten = rewrite(&body, &[Some(V4)]).unwrap();
    assert!(!rewritten.contains('\r'));
    assert_eq!(sdp(&rewritten).media()[0].port(), 20_000);
}

/// A Content-Length that is one short leaves a CR behind.
#[test]
fn a_body_cut_within_its_last_line_end_can_be_added_to() {
    let body = audio("c=IN IP4 192.0.2.1\r\n", "m=audio 4000 RTP/AVP 0\r");
    let far = Relay { rtcp: 30_000, ..V4 };
    let rewritten = rewrite(&body, &[Some(far)]).unwrap();
    assert!(rewritten.contains("\nm=audio 20000 RTP/AVP 0\r\na=rtcp:30000\r"));
    let two = audio(
        "c=IN IP4 192.0.2.1\r\n",
        "m=audio 4000 RTP/AVP 0\r\nm=video 5000 RTP/AVP 31\r\ni=x\r",
    );
    let rewritten = rewrite(&two, &[Some(V4), None]).unwrap();
    assert!(rewritten.ends_with("\r\ni=x\r\nc=IN IP4 192.0.2.1\r\n"));
}

/// Thousands of formats and of `a=rtpmap` fit into one datagram.
#[test]
fn codecs_are_found_in_one_pass() {
    let formats = " 99".repeat(9_000);
    let maps = "a=rtpmap:98 x/1\r\n".repeat(1_500);
    let body = audio(
        "c=IN IP4 192.0.2.1\r\n",
        &format!("m=audio 4000 RTP/AVP{formats}\r\n{maps}a=rtpmap:99 y/1\r\na=rtpmap:99 z/1\r\n"),
    );
    let start = std::time::Instant::now();
    let sdp = sdp(&body);
    let media = sdp.media();
    assert_eq!(media[0].codecs().count(), 9_000);
    assert!(media[0].codecs().all(|codec| codec.name == "y"));
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn what_cannot_be_relayed_is_refused() {
    let relay = |session: &str, media: &str| {
        let body = audio(session, media);
        let result = rewrite(&body, &[Some(V4)]);
        result.map_err(|error| (error, error.status()))
    };
    let m = "m=audio 4000 RTP/AVP 0\r\n";
    let c = "c=IN IP4 192.0.2.1\r\n";
    assert_eq!(relay("", m), Err((SdpError::NoConnection, 488)));
    assert_eq!(
        relay("c=IN IP4 pc.example\r\n", m),
        Err((SdpError::HostName, 488))
    );
    assert_eq!(
        relay("c=IN IP4 224.2.1.1/127\r\n", m),
        Err((SdpError::Multicast, 488))
    );
    assert_eq!(
        relay("c=IN IP6 ff15::1\r\n", m),
        Err((SdpError::Multicast, 488))
    );
    assert_eq!(
        relay(c, "m=audio 4000/2 RTP/AVP 0\r\n"),
        Err((SdpError::Multicast, 488))
    );
    assert_eq!(
        relay(c, "m=message 4000 TCP/MSRP *\r\n"),
        Err((SdpError::Transport, 488))
    );
    assert_eq!(rewrite(&audio(c, ""), &[]), Err(SdpError::NoMedia));
    assert_eq!(rewrite(&audio(c, m), &[]), Err(SdpError::RelayCount));
    // Refused streams ask for nothing.
    let rejected = audio("", "m=audio 0 RTP/AVP 0\r\n");
    assert_eq!(rewrite(&rejected, &[Some(V4)]).as_ref(), Ok(&rejected));
}

#[test]
fn nonsense_is_refused() {
    assert_eq!(refused(""), SdpError::Version);
    assert_eq!(refused("hello"), SdpError::Line(1));
    assert_eq!(refused("v=1\r\n"), SdpError::Version);
    assert_eq!(refused("v=0\r\ns=-\r\n"), SdpError::Origin);
    assert_eq!(refused("v=0\r\no=x\r\n"), SdpError::Line(2));
    let session = "v=0\r\no=- 1 1 IN IP4 a\r\n";
    for line in [
        "c=IN IP4 1.2.3",
        "c=IN IP4 1.2.3.256",
        "c=IN IP4 ::1",
        "c=IN IP6 1.2.3.4",
        "c=ATM x y",
        "c=",
        "m=audio",
        "m=audio x RTP/AVP 0",
        "m=audio 70000 RTP/AVP 0",
        "m=audio -1 RTP/AVP 0",
        "m=audio 4000 RTP/AVP",
        "m=audio 4000  0",
        "audio",
        "A=x",
        "a=\0",
        "a=x\ry",
        "\r\na=x",
    ] {
        assert_eq!(
            refused(&format!("{session}{line}\r\n")),
            SdpError::Line(3),
            "{line}"
        );
        assert_eq!(refused(&format!("{session}{line}\r\n")).status(), 400);
    }
    let many = format!(
        "{session}{}",
        "m=audio 1 RTP/AVP 0\r\n".repeat(MAX_MEDIA + 1)
    );
    assert_eq!(refused(&many), SdpError::TooManyMedia);
}

#[test]
fn the_part_of_a_multipart_body_is_found_and_spliced() {
    let content_type = b"multipart/mixed; boundary=\"b 1\"";
    let body = "preamble --b 1\r\n--b 1 \r\nContent-Type: text/plain\r\n\r\n--b 1x\r\n--b 1\r\n\
        content-type:\r\n application/sdp\r\nContent-Transfer-Encoding: 8bit\r\n\r\nv=0\r\n\r\n--b 1--\r\nend";
    let at = locate_in(content_type, body.as_bytes()).unwrap().unwrap();
    assert_eq!(&body[at.clone()], "v=0\r\n");
    let spliced = splice(body.as_bytes(), &at, b"new");
    assert_eq!(spliced, body.replace("v=0\r\n\r\n", "new\r\n"));

    let locate = |body: &str| locate_in(content_type, body.as_bytes());
    assert_eq!(locate("--b 1\r\n\r\nv=0\r\n--b 1--"), Ok(None));
    assert_eq!(locate("--b 1\r\n\r\nv=0\r\n"), Err(SdpError::Multipart));
    let part = "--b 1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n";
    assert_eq!(
        locate(&format!("{part}{part}--b 1--")),
        Err(SdpError::Encoded)
    );
    let base64 = part.replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    assert_eq!(locate(&format!("{base64}--b 1--")), Err(SdpError::Encoded));
    assert_eq!(
        locate_in(b"multipart/mixed", b"x"),
        Err(SdpError::Multipart)
    );
    assert_eq!(locate_in(b"text/plain", b"v=0"), Ok(None));
}

#[test]
fn a_message_tells_where_its_sdp_is() {
    let found = |headers: &str, body: &str| {
        let raw = format!("INVITE sip:a SIP/2.0\r\n{headers}\r\n{body}");
        locate(&crate::message::Message::parse(raw.into()).unwrap())
    };
    assert_eq!(found("c: application/SDP\r\n", "v=0"), Ok(Some(0..3)));
    assert_eq!(found("c: application/sdp\r\n", ""), Ok(None));
    assert_eq!(found("", "v=0"), Ok(Some(0..3)));
    assert_eq!(found("", "text"), Ok(None));
    assert_eq!(
        found("c: application/sdp\r\ne: gzip\r\n", "v=0"),
        Err(SdpError::Encoded)
    );
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(body: Vec<u8>, content_type: Vec<u8>) {
        let _ = locate_in(&content_type, &body);
        let _ = locate_in(b"multipart/mixed;boundary=a", &body);
        read_all(&body);
    }

    #[test]
    fn mutated_bodies_never_panic_and_stay_sdp(
        at: prop::sample::Index,
        bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), any::<u8>()], 0..4),
    ) {
        let mut body = OFFER.as_bytes().to_vec();
        let at = at.index(body.len());
        let end = (at + bytes.len()).min(body.len());
        body.splice(at..end, bytes);
        read_all(&body);
    }

    #[test]
    fn lines_that_a_relay_does_not_know_are_kept(
        lines in prop::collection::vec("[abikrtuz]=[ -~]{0,30}", 0..12),
        at: prop::sample::Index,
    ) {
        let known = |line: &String| ["a=rtcp", "a=ice", "a=candidate", "a=remote", "a=end"]
            .iter().any(|start| line.starts_with(start));
        prop_assume!(!lines.iter().any(known));
        let mut all: Vec<&str> = OFFER.lines().collect();
        let at = 4 + at.index(all.len() - 4);
        all.splice(at..at, lines.iter().map(String::as_str));
        let body = all.join("\r\n") + "\r\n";
        let rewritten = rewrite(&body, &[Some(V4), Some(V4), None]).unwrap();
        let kept: Vec<&str> = rewritten.lines().filter(|line| lines.contains(&(*line).to_owned())).collect();
        let sent: Vec<&str> = body.lines().filter(|line| lines.contains(&(*line).to_owned())).collect();
        prop_assert_eq!(kept, sent);
    }
}

/// Touches everything; what a relay writes has to be readable and lead to it.
fn read_all(body: &[u8]) {
    let Ok(sdp) = Sdp::parse(body) else { return };
    let _ = (sdp.origin(), sdp.has_ice(), sdp.attributes().count());
    for media in sdp.media() {
        let _ = (
            media.rtp(),
            media.rtcp(),
            media.codecs().count(),
            media.is_held(),
        );
    }
    let relays = vec![Some(V4); sdp.media().len()];
    let Ok(rewritten) = sdp.rewrite(&relays) else {
        return;
    };
    let again = Sdp::parse(&rewritten).unwrap();
    assert_eq!(again.media().len(), sdp.media().len());
    for media in again.media().iter().filter(|media| !media.is_refused()) {
        assert_eq!(media.port(), V4.rtp);
        let address = media.address().unwrap();
        assert!(address == V4.address || address.is_unspecified());
    }
}
