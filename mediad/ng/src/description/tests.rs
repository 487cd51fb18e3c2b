use proptest::prelude::*;
use sip::sdp::Relay;

use super::*;
use crate::{Encoding, Request, options};

const OFFER: &str = "v=0\r\no=phone 7 3 IN IP4 192.0.2.9\r\ns=call\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=rtcp:4001\r\na=extmap:1 urn:x\r\n";

fn with(options: &str) -> Options {
    let body = format!("{{\"command\":\"offer\",{options}}}");
    options::read(&Request::parse(Encoding::Json, body.as_bytes()).unwrap()).unwrap()
}

fn shown(body: &str, options: &Options, mux: bool, face: &mut Face) -> String {
    let sdp = Sdp::parse(body.as_bytes()).unwrap();
    let address = [198, 51, 100, 1].into();
    let relay = Relay {
        address,
        rtp: 20_000,
        rtcp: 20_001,
    };
    let count = sdp.media().len();
    let rewritten = sdp.rewrite(&vec![Some(relay); count]).unwrap();
    let streams = vec![
        Some(Shown {
            address,
            rtp: 20_000,
            rtcp: 20_001,
            mux
        });
        count
    ];
    let out = finish(
        &sdp,
        &rewritten,
        options,
        &streams,
        face,
        options.loop_protect.then_some("tandem-1"),
    );
    String::from_utf8(out).unwrap()
}

fn once(options: &str) -> String {
    shown(OFFER, &with(options), false, &mut Face::default())
}

#[test]
fn the_origin_is_replaced_where_that_is_asked_for() {
    assert!(once("\"a\":0").contains("o=phone 7 3 IN IP4 192.0.2.9\r\n"));
    assert!(once("\"replace\":[\"origin\"]").contains("o=phone 7 3 IN IP4 198.51.100.1\r\n"));
    assert!(once("\"flags\":[\"replace-origin\"]").contains("IN IP4 198.51.100.1\r\ns=call"));
}

#[test]
fn versions_rise_with_changes_only() {
    let options = with("\"replace\":[\"SDP version\",\"session name\",\"username\"]");
    let mut face = Face::default();
    let first = shown(OFFER, &options, false, &mut face);
    assert!(first.contains("o=phone 7 3 "));
    let other = OFFER
        .replace("phone 7 3", "fax 7 99")
        .replace("s=call", "s=-");
    let same = shown(&other, &options, false, &mut face);
    assert_eq!(same, first, "only what the party does not see has changed");
    let held = OFFER.to_owned() + "a=sendonly\r\n";
    assert!(shown(&held, &options, false, &mut face).contains("o=phone 7 4 "));
}

#[test]
fn a_version_that_is_forced_rises_each_time() {
    let options = with("\"replace\":[\"force-increment-sdp-ver\"]");
    let mut face = Face::default();
    for version in [3, 4, 5] {
        let out = shown(OFFER, &options, false, &mut face);
        assert!(out.contains(&format!("o=phone 7 {version} ")), "{out}");
    }
}

#[test]
fn attributes_are_changed_at_last() {
    let out = once(
        "\"flags\":[\"generate mid\",\"sdp-attr-remove-audio-fmtp:\",\"sdp-attr-add-none-x-Y:1\"]",
    );
    let (session, media) = out.split_at(out.find("m=audio").unwrap());
    assert!(session.ends_with("t=0 0\r\na=x-Y:1\r\n"), "{out}");
    assert!(
        media.contains("a=mid:0\r\n") && !media.contains("fmtp"),
        "{out}"
    );
    assert!(
        out.starts_with("v=0\r\no=phone 7 3 IN IP4 192.0.2.9\r\n"),
        "{out}"
    );
}

#[test]
fn a_single_codec_keeps_its_keys() {
    let single = once("\"flags\":[\"single codec\"]");
    assert!(single.contains("RTP/AVP 8 101\r\n"), "{single}");
    assert!(!single.contains("rtpmap:0"), "{single}");
    let other = once("\"flags\":[\"single-codec\",\"codec-strip-PCMA\"]");
    assert!(other.contains("RTP/AVP 0 101\r\n"), "{other}");
}

#[test]
fn codecs_are_stripped_with_what_belongs_to_them() {
    let stripped = once("\"codec\":{\"strip\":[\"pcmu\",\"telephone-event/8000\"]}");
    assert!(stripped.contains("RTP/AVP 8\r\n"), "{stripped}");
    assert!(
        !stripped.contains(":101") && !stripped.contains("PCMU"),
        "{stripped}"
    );
    // As rtpengine's: all but, and in the order that is asked for.
    assert!(
        once("\"codec\":{\"strip\":[\"all\"],\"except\":[\"PCMA\"]}").contains("RTP/AVP 8\r\n")
    );
    let offer = once("\"codec\":{\"strip\":[\"full\"],\"offer\":[\"PCMU\",\"PCMA\"]}");
    assert!(offer.contains("RTP/AVP 0 8\r\n"), "{offer}");
    assert!(once("\"flags\":[\"codec-strip-PCMU\"]").contains("RTP/AVP 8 101\r\n"));
    // A stream without codecs would be none.
    assert!(once("\"codec\":{\"strip\":[\"all\"]}").contains("RTP/AVP 8 0 101\r\n"));
    assert!(once("\"codec\":{\"strip\":[\"PCMU/16000\"]}").contains("RTP/AVP 8 0 101\r\n"));
}

#[test]
fn rtcp_is_told_of_as_asked() {
    assert!(once("\"a\":0").contains("a=rtcp:20001\r\n"));
    assert!(
        once("\"flags\":[\"full rtcp attribute\"]")
            .contains("a=rtcp:20001 IN IP4 198.51.100.1\r\n")
    );
    assert!(!once("\"flags\":[\"no-rtcp-attribute\"]").contains("a=rtcp"));
    assert!(!once("\"flags\":[\"strip-extmap\"]").contains("extmap"));
    let muxed = shown(OFFER, &Options::default(), true, &mut Face::default());
    assert_eq!(muxed.matches("a=rtcp-mux\r\n").count(), 1);
    assert!(muxed.contains("a=rtcp:20000\r\n"), "{muxed}");
}

/// What rtpengine 10.5.3 answers: words, offered, answered; to the answerer, to the offerer.
#[test]
fn mux_is_agreed_on_as_rtpengine_does() {
    for (word, offered, answered, to_answerer, to_offerer) in [
        ("", false, false, false, false),
        ("", true, false, true, false),
        ("", true, true, true, true),
        ("offer", false, true, true, false),
        ("offer", true, true, true, true),
        ("require", false, false, true, false),
        ("require", true, false, true, false),
        ("demux", true, false, false, true),
        ("demux", false, true, false, false),
        ("accept", true, false, true, true),
        ("accept", false, true, false, false),
        ("reject", true, true, true, false),
    ] {
        let mux = with(&format!("\"rtcp-mux\":[\"{word}\"]")).mux;
        assert_eq!(mux.to_answerer(offered), to_answerer, "{word} {offered}");
        assert_eq!(
            mux.to_offerer(offered, answered),
            to_offerer,
            "{word} {offered} {answered}"
        );
    }
}

#[test]
fn a_hold_by_zeros_is_kept_or_said_otherwise() {
    let held = OFFER.replace("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0");
    let kept = shown(&held, &Options::default(), false, &mut Face::default());
    assert!(kept.contains("c=IN IP4 0.0.0.0"), "{kept}");
    let options = with("\"replace\":[\"zero-address\"]");
    let said = shown(&held, &options, false, &mut Face::default());
    assert!(
        !said.contains("0.0.0.0") && said.contains("a=sendonly"),
        "{said}"
    );
    assert!(said.contains("101\r\nc=IN IP4 198.51.100.1\r\n"), "{said}");
    // What the phone says beside the zeros does not undo the hold.
    for (own, becomes) in [
        ("sendrecv", "sendonly"),
        ("sendonly", "sendonly"),
        ("recvonly", "inactive"),
        ("inactive", "inactive"),
    ] {
        let held = format!("{held}a={own}\r\n");
        let said = shown(&held, &options, false, &mut Face::default());
        let directions = said
            .lines()
            .filter_map(|line| Direction::parse(line.strip_prefix("a=")?));
        let directions: Vec<_> = directions.map(Direction::as_str).collect();
        assert_eq!(directions, [becomes], "{own}: {said}");
    }
    assert!(Sdp::parse(said.as_bytes()).is_ok());
}

#[test]
fn a_description_is_known_again() {
    let marked = once("\"flags\":[\"loop-protect\"]");
    assert!(
        marked.contains("t=0 0\r\na=rtpengine:tandem-1\r\nm="),
        "{marked}"
    );
    assert!(is_marked(
        &Sdp::parse(marked.as_bytes()).unwrap(),
        "tandem-1"
    ));
    assert!(!is_marked(
        &Sdp::parse(marked.as_bytes()).unwrap(),
        "tandem-2"
    ));
}

proptest! {
    #[test]
    fn what_is_finished_can_be_read(more in "[a-z]=[ -~]{0,20}", cut in 0usize..400) {
        let mut body = format!("{OFFER}{more}");
        body.truncate(body.len().saturating_sub(cut));
        let options = with("\"replace\":[\"origin\",\"zero-address\"],\"codec\":{\"strip\":[\"PCMU\"]},\"flags\":[\"strip-extmap\",\"loop-protect\"]");
        if let Ok(sdp) = Sdp::parse(body.as_bytes()) {
            let address = [198, 51, 100, 1].into();
            let count = sdp.media().len();
            let relay = Relay { address, rtp: 20_000, rtcp: 20_001 };
            if let Ok(rewritten) = sdp.rewrite(&vec![Some(relay); count]) {
                let streams = vec![Some(Shown { address, rtp: 2, rtcp: 1, mux: true }); count];
                let out = finish(&sdp, &rewritten, &options, &streams, &mut Face::default(), Some("x"));
                prop_assert!(Sdp::parse(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
            }
        }
    }
}

#[test]
fn what_is_kept_of_a_party_is_bounded_and_stays_the_same() {
    let options = with("\"replace\":[\"origin-full\",\"session name\",\"username\"]");
    let long = "é".repeat(4_000);
    let body = OFFER
        .replace("o=phone", &format!("o={long}"))
        .replace("s=call", &format!("s={long}"));
    let mut face = Face::default();
    let first = shown(&body, &options, false, &mut face);
    assert!(first.len() < OFFER.len() + 4 * MAX_KEPT, "{first}");
    let kept = "é".repeat(127);
    assert!(first.starts_with(&format!("v=0\r\no={kept} 7 ")), "{first}");
    assert!(
        first.contains(&format!("\r\ns={}\r\n", "é".repeat(126))),
        "{first}"
    );
    assert_eq!(shown(OFFER, &options, false, &mut face), first);
    // What the party says itself passes as it is.
    let plain = shown(&body, &with("\"a\":0"), false, &mut Face::default());
    assert!(plain.contains(&format!("o={long} ")) && plain.contains(&format!("s={long}\r\n")));
    assert_eq!(bounded_line(&[b's', b'=', 0xff]), [b's', b'=', 0xff]);
    let bytes = bounded_line(&[0xbf; 1_000]);
    assert_eq!(bytes.len(), MAX_KEPT + 2);
}

#[test]
fn streams_that_are_not_to_be_offered_are_refused_in_their_places() {
    let body = "v=0\r\nm=video 4 RTP/AVP 96\r\na=x\r\nm=audio 6 RTP/AVP 0\r\nm=Image 8/2 udptl t38\nm=x\r\n";
    let kinds = ["video".to_owned(), "image".to_owned()];
    let without = |kinds| String::from_utf8(without(body.as_bytes(), kinds).into_owned()).unwrap();
    assert_eq!(
        without(&kinds),
        "v=0\r\nm=video 0 RTP/AVP 96\r\na=x\r\nm=audio 6 RTP/AVP 0\r\nm=Image 0 udptl t38\nm=x\r\n"
    );
    assert_eq!(without(&[]), body);
}
