//! The flags of offers, and their keys without a value that matters, by name.

use crate::options::{Learning, Options, RtcpAttribute};

/// Names, and what becomes of them.
pub(crate) type Table = &'static [(&'static [&'static str], Effect)];

/// What a table says of a name.
pub(crate) fn find(table: Table, name: &str) -> Option<&'static Effect> {
    let row = table.iter().find(|(names, _)| names.contains(&name));
    row.map(|(_, effect)| effect)
}

/// What becomes of a flag.
pub(crate) enum Effect {
    /// It is done.
    Set(fn(&mut Options)),
    /// It is so anyway, or it is read elsewhere.
    Nothing,
    /// The call goes on without it: why.
    Otherwise(&'static str),
    /// The request is refused: why.
    Refuse(&'static str),
}

use Effect::{Nothing, Otherwise, Refuse, Set};

const TRANSCODE: &str = "mediad does not transcode";
const SRTP: &str = "SRTP is passed through, never made here";
const NO_ICE: &str = "mediad is no ICE agent; ICE is removed";
const PLAIN: &str = "mediad passes packets on as they come";
const VERB: &str = "use the command of that name";
const KEYS: &str = "mediad does nothing about keys by itself over NG";
pub(crate) const BUNDLE: &str = "each stream has ports of its own";
pub(crate) const MIXES: &str = "mediad does not mix";
pub(crate) const FILES: &str = "recordings are named after their session, below [media] recordings";
/// What says where a recording goes, which is said by [`FILES`] instead.
pub(crate) const NAMES_OF_FILES: &[&str] = &[
    "metadata",
    "recording-file",
    "recording-destination",
    "recording-dest",
    "output-file",
    "output-destination",
    "output-dest",
    "recording-dir",
    "recording-path",
    "recording-directory",
    "recording-folder",
    "output-dir",
    "output-path",
    "output-directory",
    "output-folder",
    "recording-pattern",
    "output-pattern",
    "recording-media-slots",
    "recording-media-slot-offer",
    "recording-media-slot-answer",
];
pub(crate) const WHOLE: &str = "a call is recorded whole";
pub(crate) const LOGS: &str = "mediad logs no keys";
pub(crate) const CODES: &str = "mediad looks for no keys that command recordings";

/// What commands read themselves.
pub(crate) const READ: &[&str] = &[
    "sdp",
    "call-id",
    "from-tag",
    "to-tag",
    "via-branch",
    "label",
    "set-label",
    "from-label",
    "to-label",
    "from-tags",
    "all",
    "address",
    "cookie",
    "supports",
    "instance",
    "fatal",
    "siprec",
    "inactive",
    "recording-method",
];

/// What is said in offers and answers, and what of it is read by other commands.
pub(crate) const FLAGS: Table = &[
    (READ, Nothing),
    (&["debug", "no-debug", "debugging"], Nothing),
    // Addresses and sources.
    (
        &["sip-source-address"],
        Set(|options| options.use_received_from = true),
    ),
    (&["trust-address"], Nothing),
    (
        &["symmetric"],
        Set(|options| options.sources.learning = None),
    ),
    (
        &["asymmetric"],
        Set(|options| options.sources.learning = Some(Learning::Off)),
    ),
    (
        &["strict-source"],
        Set(|options| options.sources.strict = true),
    ),
    (
        &["media-handover"],
        Set(|options| options.sources.handover = true),
    ),
    (&["port-latching", "unidirectional"], Nothing),
    (&["no-port-latching"], Otherwise("a call keeps its ports")),
    (
        &["reset"],
        Otherwise("a source is learned anew where its description changes"),
    ),
    (
        &["pierce-nat"],
        Set(|options| options.sources.pierces = true),
    ),
    (&["nat-wait"], Set(|options| options.sources.waits = true)),
    (
        &["inbound-peer", "outbound-peer", "peer"],
        Otherwise(
            "mediad looks up no routes for it; name the interface by 'direction' or 'interface'",
        ),
    ),
    (
        &["alias-key"],
        Otherwise("calls are known by their Call-ID alone"),
    ),
    (&["new-branch"], Otherwise("write another via-branch")),
    // RTCP.
    (
        &["no-rtcp-attribute"],
        Set(|options| options.rtcp_attribute = RtcpAttribute::None),
    ),
    (
        &["full-rtcp-attribute"],
        Set(|options| options.rtcp_attribute = RtcpAttribute::Full),
    ),
    (
        &["mirror-rtcp", "rtcp-mirror"],
        Refuse("mediad hands on RTCP of those who listen to nobody"),
    ),
    (
        &["generate-rtcp"],
        Set(|options| options.generate_rtcp = Some(true)),
    ),
    // SDP.
    (
        &["loop-protect"],
        Set(|options| options.loop_protect = true),
    ),
    (
        &["strip-extmap"],
        Set(|options| options.strip_extmap = true),
    ),
    (&["original-sendrecv"], Nothing),
    (
        &["generate-mid"],
        Set(|options| options.attributes.generate_mid = true),
    ),
    (
        &["template", "templates"],
        Refuse("mediad has no templates; write the options themselves"),
    ),
    (&["extmap"], Refuse("not there yet")),
    (&["bundle"], Otherwise(BUNDLE)),
    (
        &[
            "allow-no-codec-media",
            "allow-no-codec-medias",
            "allow-empty-codec-media",
            "allow-empty-codec-medias",
            "sip-message-type",
            "sip-code",
            "sip-response-code",
            "no-redis-update",
        ],
        Nothing,
    ),
    // Codecs.
    (
        &[
            "asymmetric-codecs",
            "symmetric-codecs",
            "reorder-codecs",
            "allow-asymmetric-codecs",
            "allow-asymmetric-codec",
            "no-jitter-buffer",
            "passthrough",
            "passthru",
            "no-player",
            "no-audio-player",
        ],
        Nothing,
    ),
    (&["allow-transcoding"], Otherwise(TRANSCODE)),
    (
        &["single-codec"],
        Set(|options| options.codecs.single = true),
    ),
    // How what is transcoded is, where something is: who hears whom is the same without.
    (
        &[
            "always-transcode",
            "force-transcoding",
            "no-passthrough",
            "static-codec",
            "static-codecs",
            "reuse-codecs",
            "no-codec-renegotiation",
            "ptime-reverse",
            "reverse-ptime",
            "audio-player",
            "player",
            "codec-chain",
        ],
        Otherwise(PLAIN),
    ),
    (&["delay-buffer", "volume"], Refuse(TRANSCODE)),
    (
        &["t.38-version", "t38-version"],
        Refuse("T.38 is passed through, never made here"),
    ),
    // DTMF, media and recordings.
    (&["record-call"], Set(|options| options.record = true)),
    (
        &["inject-dtmf", "early-media", "provisional", "directional"],
        Nothing,
    ),
    (
        &[
            "block-dtmf",
            "block-media",
            "silence-media",
            "dtmf-security",
            "digit",
            "code",
        ],
        Refuse(VERB),
    ),
    (
        &[
            "detect-dtmf",
            "dtmf-delay",
            "trigger",
            "trigger-end",
            "end-trigger",
            "trigger-end-time",
            "end-trigger-time",
            "trigger-end-digits",
            "end-trigger-digits",
            "dtmf-security-trigger",
            "dtmf-security-trigger-end",
            "frequency",
            "frequencies",
        ],
        Refuse(KEYS),
    ),
    (&["dtmf-log-dest", "dtmf-log-destination"], Otherwise(LOGS)),
    (
        &["block-short", "block-shorts", "block-short-packets"],
        Refuse("mediad looks at no packet's length"),
    ),
    (
        &["blackhole", "sinkhole"],
        Set(|options| options.drop_traffic = Some(true)),
    ),
    (&["moh", "music-on-hold"], Refuse("use 'play media'")),
    (&["mix", "mixed"], Otherwise(MIXES)),
    (NAMES_OF_FILES, Otherwise(FILES)),
    (&["skip-recording-db", "skip-recording-database"], Nothing),
    (
        &["exclude-recording"],
        Set(|options| options.exclude_recording = true),
    ),
    (&["discard-recording"], Otherwise("remove the file")),
    (
        &[
            "recording-vsc",
            "vsc-start-rec",
            "vsc-start-recording",
            "vsc-stop-rec",
            "vsc-stop-recording",
            "vsc-start-stop-rec",
            "vsc-start-stop-recording",
            "vsc-pause-rec",
            "vsc-pause-recording",
            "vsc-pause-resume-rec",
            "vsc-pause-resume-recording",
            "vsc-start-pause-resume-rec",
            "vsc-start-pause-resume-recording",
        ],
        Otherwise(CODES),
    ),
    (&["recording-announcement"], Refuse("use 'play media'")),
    (&["xmlrpc-callback"], Refuse("mediad calls nobody back")),
    // ICE, SRTP.
    (&["reject-ice", "ice-reject", "no-ice"], Nothing),
    (&["trickle-ice", "ice-lite"], Otherwise(NO_ICE)),
    (&["fragment"], Refuse(NO_ICE)),
    (
        &[
            "osrtp-offer",
            "osrtp-offer-legacy",
            "osrtp-offer-rfc",
            "osrtp-accept",
            "osrtp-accept-rfc",
            "osrtp-accept-legacy",
            "recrypt",
            "webrtc",
        ],
        Refuse(SRTP),
    ),
    (
        &[
            "sdes-off",
            "sdes-no",
            "sdes-disable",
            "dtls-fingerprint",
            "dtls-reverse",
            "passive-dtls",
            "no-tls-id",
        ],
        Nothing,
    ),
    (&["pad-crypto"], Otherwise(SRTP)),
];

/// What becomes of the flag or key `name`; `None` where nobody knows it.
pub(crate) fn effect(name: &str) -> Option<&'static Effect> {
    const SDES: Effect = Otherwise(SRTP);
    let named = find(FLAGS, name);
    named.or_else(|| name.starts_with("sdes-").then_some(&SDES))
}
