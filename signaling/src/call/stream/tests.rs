use super::*;

fn message(body: &str) -> Message {
    let text = format!(
        "INVITE sip:b@x SIP/2.0\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Message::parse(text.into()).unwrap()
}

fn sdp(lines: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{lines}")
}

/// Takes a description, and lets mediad open what is new.
fn take(media: &mut Media, turn: Turn, lines: &str) -> Needs {
    let mut count = u8::try_from(media.streams.len()).unwrap();
    let id = || {
        count += 1;
        SessionId([count; 16])
    };
    let needs = media.take(&message(&sdp(lines)), turn, id).unwrap();
    for request in &needs.requests {
        let (media::Request::Create(create) | media::Request::Beside(_, create)) = request else {
            continue;
        };
        let local = |port| media::Local {
            rtp: ([198, 51, 100, 1], port).into(),
            rtcp: ([198, 51, 100, 1], port + 1).into(),
        };
        let port = 20_000 + 4 * u16::from(create.id.0[0]);
        let info = SessionInfo {
            id: create.id,
            a: local(port),
            b: local(port + 2),
        };
        media.session_mut(create.id).unwrap().info = Some(info);
    }
    needs
}

fn media() -> Media {
    let families = Families {
        v4: true,
        v6: false,
    };
    Media::new([families; 2], Default::default(), Family::V4, Family::V4)
}

#[test]
fn a_stream_that_comes_later_is_told_to_be_of_a_call_that_is_up() {
    let (mut media, audio) = (media(), "m=audio 4000 RTP/AVP 0\r\n");
    let video = "m=video 4002 RTP/AVP 34\r\n";
    let both = format!("{audio}{video}");
    let first = take(&mut media, Turn::Offer(Side::Caller), audio);
    assert!(matches!(first.requests[..], [media::Request::Create(_)]));
    // Nothing is up yet, whatever mediad has opened.
    let mut ringing = self::media();
    let opened = take(&mut ringing, Turn::Offer(Side::Caller), &both).requests;
    let is_new = |request| matches!(request, &media::Request::Create(_));
    assert!(opened.len() == 2 && opened.iter().all(is_new), "{opened:?}");

    take(&mut media, Turn::Answer(Side::Callee), audio);
    let later = take(&mut media, Turn::Offer(Side::Callee), &both).requests;
    let [media::Request::Beside(known, create)] = &later[..] else {
        panic!("{later:?}");
    };
    assert_eq!((known.0, create.id.0), ([1; 16], [2; 16]));
}

#[test]
fn rtcp_shares_a_port_only_where_both_agree() {
    for (answer, port) in [("a=rtcp-mux\r\n", 4000), ("", 4001)] {
        let mut media = media();
        take(
            &mut media,
            Turn::Offer(Side::Caller),
            "m=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\n",
        );
        let answer = format!("m=audio 5000 RTP/AVP 0\r\n{answer}");
        take(&mut media, Turn::Answer(Side::Callee), &answer);
        let session = media.sessions().next().unwrap();
        assert_eq!(session.caller.as_ref().unwrap().rtcp.port(), port);
        assert_eq!(session.callee.as_ref().unwrap().rtcp_mux, port == 4000);
    }
}

#[test]
fn what_is_refused_is_closed_and_what_is_not_udp_goes_around() {
    let mut media = media();
    let offer = "m=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 34\r\n\
                 m=message 2855 TCP/MSRP *\r\nm=image 4006 udptl t38\r\n";
    let needs = take(&mut media, Turn::Offer(Side::Caller), offer);
    assert_eq!(needs.requests.len(), 3);
    let led = media.rewrite(&message(&sdp(offer)), Side::Caller).unwrap();
    let text = String::from_utf8(led.body().to_vec()).unwrap();
    assert!(
        text.contains("m=message 2855 TCP/MSRP *\r\nc=IN IP4 192.0.2.1"),
        "{text}"
    );
    assert!(
        text.contains("m=image 200") && !text.contains(" 4000 "),
        "{text}"
    );

    let answer = "m=audio 5000 RTP/AVP 0\r\nm=video 0 RTP/AVP 34\r\n\
                  m=message 0 TCP/MSRP *\r\nm=image 5006 udptl t38\r\n";
    let needs = take(&mut media, Turn::Answer(Side::Callee), answer);
    assert_eq!(needs.closed.len(), 1);
    assert_eq!(needs.requests.len(), 2);
    assert_eq!(media.sessions().count(), 2);
    assert_eq!(
        media
            .sessions()
            .next()
            .unwrap()
            .callee
            .as_ref()
            .unwrap()
            .format
            .encoding,
        "PCMU"
    );
}

#[test]
fn only_the_party_that_moved_is_told_anew() {
    let mut media = media();
    take(
        &mut media,
        Turn::Offer(Side::Caller),
        "m=audio 4000 RTP/AVP 0\r\n",
    );
    take(
        &mut media,
        Turn::Answer(Side::Callee),
        "m=audio 5000 RTP/AVP 0\r\n",
    );
    take(
        &mut media,
        Turn::Offer(Side::Callee),
        "m=audio 5002 RTP/AVP 0\r\n",
    );
    let needs = take(
        &mut media,
        Turn::Answer(Side::Caller),
        "m=audio 4000 RTP/AVP 0\r\n",
    );
    match &needs.requests[..] {
        [
            media::Request::Modify(Modify {
                a: None,
                b: Some(callee),
                ..
            }),
        ] => {
            assert_eq!(callee.rtp.port(), 5002);
        }
        other => panic!("{other:?}"),
    }
    // The same answer again needs nothing.
    let needs = take(
        &mut media,
        Turn::Answer(Side::Caller),
        "m=audio 4000 RTP/AVP 0\r\n",
    );
    assert!(needs.requests.is_empty());
}

#[test]
fn a_party_without_an_address_yet_waits_for_one() {
    let mut media = media();
    let held = "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n";
    take(&mut media, Turn::Offer(Side::Caller), held);
    take(
        &mut media,
        Turn::Answer(Side::Callee),
        "m=audio 5000 RTP/AVP 0\r\n",
    );
    let session = media.sessions().next().unwrap();
    assert!(session.caller.is_none());
    assert!(!session.callee.as_ref().unwrap().sends, "nobody takes it");
    assert!(!session.is_active());
    let led = media.rewrite(&message(&sdp(held)), Side::Caller).unwrap();
    assert!(String::from_utf8_lossy(led.body()).contains("c=IN IP4 0.0.0.0"));
}

#[test]
fn a_party_gets_the_family_of_its_media_where_there_is_an_address_of_it() {
    let six = sdp("m=audio 4000 RTP/AVP 0\r\n").replace("IP4 192.0.2.1", "IP6 2001:db8::9");
    let offer = |families, sip: Family| {
        let mut media = Media::new([families; 2], Default::default(), sip, sip);
        let id = || SessionId([1; 16]);
        let needs = media.take(&message(&six), Turn::Offer(Side::Caller), id);
        assert_eq!(needs.unwrap().requests.len(), 1);
        (media.caller, media.callee)
    };
    let (v4, v6) = (Family::V4, Family::V6);
    let both = Families { v4: true, v6: true };
    assert_eq!(offer(both, v4), (v6, v4));
    assert_eq!(offer(both, v6), (v6, v6));
    // mediad says itself that it cannot take this one.
    assert_eq!(
        offer(
            Families {
                v4: true,
                v6: false
            },
            v6
        ),
        (v4, v4)
    );
}
