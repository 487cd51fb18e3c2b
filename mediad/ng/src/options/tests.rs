use proptest::prelude::*;

use super::*;
use crate::Encoding;

fn read(options: &str) -> Result<Options, String> {
    let body = format!("{{\"command\":\"offer\",\"call-id\":\"x\",{options}}}");
    let request = Request::parse(Encoding::Json, body.as_bytes()).unwrap();
    super::read(&request).map_err(|refused| refused.to_string())
}

/// What Kamailio 5.6 and OpenSIPS 3 send for `rtpengine_manage("replace-origin replace-session-connection
/// ICE=remove RTP/AVP trust-address")` and the like.
#[test]
fn what_scripts_send_is_understood_in_every_spelling() {
    let wanted = Options {
        replace: Replace {
            origin: true,
            ..Replace::default()
        },
        received_from: Some([192, 0, 2, 7].into()),
        interfaces: [Some("internal".to_owned()), Some("external".to_owned())],
        profile: Some("RTP/AVP".to_owned()),
        mux: Mux {
            demux: true,
            ..Mux::default()
        },
        ..Options::default()
    };
    let lists = r#""flags":["trust-address","symmetric"],"replace":["origin","session-connection"],
        "direction":["internal","external"],"received-from":["IP4","192.0.2.7"],"ICE":"remove",
        "transport-protocol":"RTP/AVP","rtcp-mux":["demux"],"via-branch":"z9hG4bK1","from-tag":"a""#;
    assert_eq!(read(lists).as_ref(), Ok(&wanted));
    let flags = r#""flags":["trust address","replace-origin","replace_session_connection","direction=internal",
        "direction=external","ICE=remove","rtcp-mux-demux","transport-protocol=RTP/AVP"],
        "received from":"IP4 192.0.2.7""#;
    assert_eq!(read(flags).as_ref(), Ok(&wanted));
    let one_text = r#""rtpp-flags":"trust-address replace-origin  direction=internal direction=external ICE=remove rtcp-mux-demux transport-protocol=RTP/AVP","received-from":["IP4","192.0.2.7"]"#;
    assert_eq!(read(one_text).as_ref(), Ok(&wanted));
    // As scripts write it, and newer versions of Kamailio hand it on.
    let script = r#""rtpp-flags":"trust-address replace-origin replace-session-connection internal external ICE=remove rtcp-mux=[demux] RTP/AVP from-tag=b","from-tag":"a","received-from":["IP4","192.0.2.7"]"#;
    assert_eq!(read(script).as_ref(), Ok(&wanted));
    let body = format!("{{\"command\":\"offer\",\"call-id\":\"x\",{script}}}");
    let request = Request::parse(Encoding::Json, body.as_bytes()).unwrap();
    assert_eq!(request.text("from-tag"), Some(b"b".as_slice()));
    let codecs = read(r#""rtpp-flags":"codec-strip=G729 codec=[offer=[PCMA]]""#).unwrap();
    assert_eq!(
        (codecs.codecs.strip, codecs.codecs.offer),
        (vec!["g729".to_owned()], vec!["PCMA".to_owned()])
    );
    let error = read(r#""rtpp-flags":"transcode=PCMU""#).unwrap_err();
    assert!(error.contains("codec transcode pcmu"), "{error}");
    // In a list of flags it is no word.
    let listed = read(r#""flags":["internal"]"#).unwrap();
    assert_eq!(listed.warnings, ["unknown option ignored: internal"]);
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    for (options, named) in [
        (r#""ICE":"force""#, "ice=force"),
        (r#""DTLS":"passive""#, "dtls=passive"),
        (r#""OSRTP":["offer"]"#, "osrtp-offer"),
        (r#""codec":{"transcode":["PCMU"]}"#, "codec transcode PCMU"),
        (
            r#""flags":["codec-transcode-PCMU"]"#,
            "codec transcode pcmu",
        ),
        (r#""T.38":["decode"]"#, "t.38=[decode]"),
        (r#""flags":["T38-decode"]"#, "t38-decode"),
        (r#""flags":["RTCP mirror"]"#, "rtcp-mirror"),
        (r#""media-echo":"loud""#, "media-echo=loud"),
        (
            r#""flags":["WebRTC","recording announcement"]"#,
            "webrtc (SRTP is passed through, never made here); recording-announcement (",
        ),
        (r#""flags":["transcode-opus"]"#, "codec transcode opus"),
        (r#""drop-traffic":"maybe""#, "drop-traffic=maybe"),
        (r#""trigger":"*1""#, "trigger"),
        (r#""flags":["block short"]"#, "block-short"),
        (r#""address-family":"IP5""#, "address-family=IP5"),
        (r#""media-address":"here""#, "media-address=here"),
        (r#""TOS":256"#, "tos=256"),
        (r#""delete-delay":-1"#, "delete-delay=-1"),
        (
            r#""sdp-attr":{"text":{"add":["x"]}}"#,
            "none, audio or video",
        ),
        (r#""flags":["sdp-attr-add"]"#, "sdp-attr=sdp-attr-add"),
        (r#""template":"WebRTC""#, "template"),
    ] {
        let error = read(options).unwrap_err();
        assert!(
            error.starts_with("not supported by mediad: ") && error.contains(named),
            "{error}"
        );
    }
    // All of them at once.
    let error = read(r#""ICE":"force","flags":["extmap"]"#).unwrap_err();
    assert!(
        error.contains("ice=force") && error.contains("extmap"),
        "{error}"
    );
}

#[test]
fn what_is_off_is_no_matter_and_what_nobody_knows_is_warned_of() {
    let fine = r#""DTLS":"off","SDES":["off"],"ICE":"default","record-call":"no","flags":[],"audio-player":"off""#;
    assert_eq!(read(fine), Ok(Options::default()));
    let options =
        read(r#""flags":["no-such-flag"],"nonsense":7,"codec":{"mask":["G729"]}"#).unwrap();
    assert_eq!(options.warnings.len(), 3);
    assert!(
        options
            .warnings
            .iter()
            .any(|warning| warning.contains("no-such-flag"))
    );
    assert_eq!(options.codecs.strip, ["G729"]);
}

#[test]
fn a_hint_that_is_not_taken_ends_no_call() {
    for (options, named) in [
        (r#""flags":["always-transcode"]"#, "always-transcode"),
        (r#""inbound-peer":"192.0.2.1""#, "inbound-peer"),
        (r#""flags":["BUNDLE-offer"]"#, "bundle-offer"),
        (r#""audio-player":"transcoding""#, "audio-player"),
        (r#""recording-vsc":"yes""#, "recording-vsc"),
        (r#""vsc-start-rec":"*1""#, "vsc-start-rec"),
        (r#""flags":["mix"]"#, "mix"),
        (r#""DTMF-log-dest":"192.0.2.1:5""#, "dtmf-log-dest"),
    ] {
        let options = read(options).unwrap();
        let [warning] = options.warnings.as_slice() else {
            panic!("{named}: {:?}", options.warnings);
        };
        assert!(warning.starts_with(named), "{warning}");
    }
    let options = read(r#""flags":["exclude recording"]"#).unwrap();
    assert!(options.exclude_recording && options.warnings.is_empty());
}

#[test]
fn sources_are_said_by_flags() {
    let options =
        read(r#""flags":["asymmetric","strict-source","media-handover","SIP-source-address"]"#)
            .unwrap();
    let early = read(r#""flags":["NAT-wait","pierce NAT"]"#)
        .unwrap()
        .sources;
    assert!(early.waits && early.pierces);
    let sources = Sources {
        learning: Some(Learning::Off),
        strict: true,
        handover: true,
        ..Sources::default()
    };
    assert_eq!(
        (options.sources, options.use_received_from),
        (sources, true)
    );
    let options = read(r#""endpoint-learning":"immediate","TOS":184,"label":"x""#).unwrap();
    assert_eq!(options.sources.learning, Some(Learning::Immediate));
    assert_eq!(options.tos, Some(184));
}

#[test]
fn what_is_made_dropped_and_left_out_is_said_by_flags_and_keys() {
    let options = read(
        r#""flags":["generate RTCP","single-codec","endpoint-learning-off","reject-ICE","force-increment"],
           "replace":["force-increment-sdp-ver"],"drop-traffic":"start","TOS":-1,"transport-protocol":"accept""#,
    )
    .unwrap();
    assert_eq!(options.generate_rtcp, Some(true));
    assert_eq!(options.drop_traffic, Some(true));
    assert_eq!(options.sources.learning, Some(Learning::Off));
    assert!(options.codecs.single && options.replace.forced_version);
    assert_eq!((options.tos, options.profile), (None, None));
    assert_eq!(
        options.warnings,
        ["unknown option ignored: force-increment"]
    );
    let off = read(r#""generate RTCP":"off","drop-traffic":"stop""#).unwrap();
    assert_eq!(
        (off.generate_rtcp, off.drop_traffic),
        (Some(false), Some(false))
    );
    let flags = read(r#""flags":["drop-traffic=stop","drop-traffic=start"]"#).unwrap();
    assert_eq!(flags.drop_traffic, Some(false));
    assert_eq!(
        read(r#""media echo":"blackhole""#).unwrap().drop_traffic,
        Some(true)
    );
}

#[test]
fn an_echo_and_what_is_not_offered_on_are_said_by_words() {
    for (word, echo) in [
        ("forward", Echo::Forward),
        ("backwards", Echo::Backward),
        ("both", Echo::Both),
    ] {
        assert_eq!(
            read(&format!("\"media-echo\":\"{word}\"")).unwrap().echo,
            Some(echo)
        );
        assert_eq!(
            read(&format!("\"flags\":[\"media-echo={word}\"]"))
                .unwrap()
                .echo,
            Some(echo)
        );
    }
    let removed = |options: &str| {
        let body = format!("{{\"command\":\"offer\",\"call-id\":\"x\",{options}}}");
        let request = Request::parse(Encoding::Json, body.as_bytes()).unwrap();
        assert!(super::read(&request).unwrap().warnings.is_empty());
        removed_media(&request).map_err(|refused| refused.to_string())
    };
    assert_eq!(
        removed(r#""sdp-media-remove":["Video","image"]"#).unwrap(),
        ["video", "image"]
    );
    assert_eq!(
        removed(r#""flags":["sdp-media-remove=video"]"#).unwrap(),
        ["video"]
    );
    assert_eq!(
        removed(r#""rtpp-flags":"debug sdp-media-remove=[video image] symmetric""#).unwrap(),
        ["video", "image"]
    );
    assert!(removed(r#""sdp-media-remove":7"#).is_err());
    assert!(removed(r#""ptime":20"#).unwrap().is_empty());
}

#[test]
fn who_publishes_or_listens_is_told_what_is_not_for_them() {
    let read = |command: &str, options: &str| {
        let body = format!("{{\"command\":\"{command}\",\"call-id\":\"x\",{options}}}");
        let request = Request::parse(Encoding::Json, body.as_bytes()).unwrap();
        super::read(&request).map_err(|refused| refused.to_string())
    };
    let error = read("publish", r#""media-echo":"both""#).unwrap_err();
    assert!(error.contains("media-echo=both"), "{error}");
    let published = read("publish", r#""drop-traffic":"start","record call":"yes""#).unwrap();
    assert!(published.drop_traffic == Some(true) && published.record);
    let error = read(
        "subscribe request",
        r#""drop-traffic":"start","flags":["record call","mix"]"#,
    )
    .unwrap_err();
    for name in ["drop-traffic (write", "record-call (use", "mix ("] {
        assert!(error.contains(name), "{error}");
    }
    let heard = read(
        "subscribe request",
        r#""TOS":184,"flags":["strict source"]"#,
    )
    .unwrap();
    assert_eq!(heard.warnings.len(), 2, "{:?}", heard.warnings);
    assert_eq!((heard.tos, heard.sources.strict), (None, false));
}

proptest! {
    #[test]
    fn no_words_panic(key in "[ -~]{0,12}", word in "\\PC{0,20}", number: i64) {
        let mut fields = crate::Dictionary::new();
        fields.insert(b"command".to_vec(), Value::from_text("offer"));
        fields.insert(key.into_bytes(), Value::List(vec![Value::from_text(&word), Value::Integer(number)]));
        fields.insert(b"flags".to_vec(), Value::from_text(&word));
        fields.insert(b"codec".to_vec(), Value::from_text(&word));
        let mut body = Vec::new();
        Encoding::Bencode.encode(&Value::Dictionary(fields), &mut body);
        if let Ok(request) = Request::parse(Encoding::Bencode, &body) {
            drop(super::read(&request));
        }
    }
}
