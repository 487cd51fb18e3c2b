//! The flags, and the keys without a value that matters, by name.

use crate::options::{Learning, Options, RtcpAttribute};

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
const VERB: &str = "use the command of that name";

/// What becomes of the flag or key `name`; `None` where nobody knows it.
pub(crate) fn effect(name: &str) -> Option<Effect> {
    Some(match name {
        // Read by the command itself.
        "sdp" | "call-id" | "from-tag" | "to-tag" | "via-branch" | "label" | "set-label"
        | "from-label" | "to-label" | "from-tags" | "all" | "address" | "cookie" | "supports"
        | "instance" | "fatal" | "siprec" | "inactive" | "debug" | "no-debug" | "debugging" => {
            Nothing
        }

        // Addresses and sources.
        "sip-source-address" => Set(|options| options.use_received_from = true),
        "trust-address" => Nothing,
        "symmetric" => Set(|options| options.sources.learning = None),
        "asymmetric" => Set(|options| options.sources.learning = Some(Learning::Off)),
        "strict-source" => Set(|options| options.sources.strict = true),
        "media-handover" => Set(|options| options.sources.handover = true),
        "port-latching" | "unidirectional" => Nothing,
        "no-port-latching" => Otherwise("a call keeps its ports"),
        "reset" => Otherwise("a source is learned anew where its description changes"),
        "pierce-nat" => Set(|options| options.sources.pierces = true),
        "nat-wait" => Set(|options| options.sources.waits = true),

        // RTCP.
        "no-rtcp-attribute" => Set(|options| options.rtcp_attribute = RtcpAttribute::None),
        "full-rtcp-attribute" => Set(|options| options.rtcp_attribute = RtcpAttribute::Full),
        "generate-rtcp" => Set(|options| options.generate_rtcp = Some(true)),
        "mirror-rtcp" | "rtcp-mirror" => {
            Refuse("mediad hands on RTCP of those who listen to nobody")
        }

        // SDP.
        "loop-protect" => Set(|options| options.loop_protect = true),
        "strip-extmap" => Set(|options| options.strip_extmap = true),
        "original-sendrecv" => Nothing,
        "generate-mid" => Set(|options| options.attributes.generate_mid = true),
        "template" | "templates" => Refuse("mediad has no templates; write the options themselves"),
        "sdp-media-remove" | "extmap" | "bundle" => Refuse("not there yet"),

        // Codecs.
        "asymmetric-codecs"
        | "symmetric-codecs"
        | "no-jitter-buffer"
        | "allow-asymmetric-codecs" => Nothing,
        "allow-transcoding" => Otherwise(TRANSCODE),
        "single-codec" => Set(|options| options.codecs.single = true),
        "always-transcode"
        | "static-codecs"
        | "reuse-codecs"
        | "no-codec-renegotiation"
        | "ptime-reverse"
        | "audio-player"
        | "codec-chain"
        | "delay-buffer"
        | "volume" => Refuse(TRANSCODE),

        // DTMF, media and recordings.
        "inject-dtmf" => Nothing,
        "record-call" => Set(|options| options.record = true),
        "block-dtmf" | "block-media" | "silence-media" | "dtmf-security" | "digit" | "code" => {
            Refuse(VERB)
        }
        "detect-dtmf"
        | "dtmf-log-dest"
        | "dtmf-delay"
        | "trigger"
        | "trigger-end"
        | "end-trigger"
        | "trigger-end-time"
        | "trigger-end-digits"
        | "dtmf-security-trigger"
        | "dtmf-security-trigger-end"
        | "frequency"
        | "frequencies" => Refuse("mediad does nothing about keys by itself over NG"),
        "block-short" | "block-short-packets" => Refuse("mediad looks at no packet's length"),
        "blackhole" | "sinkhole" => Set(|options| options.drop_traffic = Some(true)),
        "moh" | "music-on-hold" => Refuse("use 'play media'"),
        "early-media" | "provisional" | "directional" => Nothing,
        "metadata" | "recording-file" | "recording-dir" | "recording-pattern"
        | "output-destination" | "discard-recording" | "exclude-recording" => {
            Otherwise("recordings are named after their session, below [media] recordings")
        }
        "xmlrpc-callback" => Refuse("mediad calls nobody back"),

        // ICE, SRTP.
        "reject-ice" | "ice-reject" | "no-ice" => Nothing,
        "trickle-ice" | "ice-lite" => Otherwise(NO_ICE),
        "osrtp-offer"
        | "osrtp-offer-legacy"
        | "osrtp-offer-rfc"
        | "osrtp-accept"
        | "osrtp-accept-rfc"
        | "osrtp-accept-legacy"
        | "recrypt" => Refuse(SRTP),
        "sdes-off" | "sdes-no" | "sdes-disable" | "dtls-fingerprint" | "dtls-reverse"
        | "passive-dtls" => Nothing,
        "pad-crypto" => Otherwise(SRTP),
        name if name.starts_with("sdes-") => Otherwise(SRTP),
        _ => return None,
    })
}
