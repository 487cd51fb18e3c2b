//! From a stream of an SDP to what the engine wants to know of its party.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use control::media::{Family, Format, Local, Remote};
use ng::Options;
use sip::sdp::{Direction, Media, Sdp, SdpError};

use super::formats::Formats;

/// Milliseconds of audio in a packet where the SDP does not say.
const PTIME: u16 = 20;

/// What each stream's party is, in the order of the `m=` lines; `None` for a stream that is refused, or that
/// is none of UDP. Its media goes
/// to `instead`, where that is given, at the ports of the SDP.
pub(super) fn remotes(
    sdp: &Sdp<'_>,
    instead: Option<IpAddr>,
) -> Result<Vec<Option<Remote>>, SdpError> {
    let media = sdp.media();
    if media.is_empty() {
        return Err(SdpError::NoMedia);
    }
    media
        .iter()
        .map(|media| match media.is_refused() {
            true => Ok(None),
            // It goes past this server, as with rtpengine.
            false if !media.is_udp() => Ok(None),
            false => remote(media, instead).map(Some),
        })
        .collect()
}

/// `remote` with RTCP where it has to go: on RTP's port where that was agreed on.
pub(super) fn muxing(mut remote: Remote, mux: bool) -> Remote {
    remote.rtcp_mux = mux;
    if mux {
        remote.rtcp = remote.rtp;
    }
    remote
}

/// RTCP of a party that was offered to mux only as far as it was, and wants to.
pub(super) fn muxing_where(remote: Remote, offered: bool) -> Remote {
    match remote.rtcp_mux && !offered {
        true => unmuxed(remote),
        false => {
            let mux = remote.rtcp_mux;
            muxing(remote, mux)
        }
    }
}

/// A party that would have muxed, and may not: its RTCP goes to the port above, or to the one that it named.
pub(super) fn unmuxed(mut remote: Remote) -> Remote {
    remote.rtcp_mux = false;
    if remote.rtcp == remote.rtp {
        remote.rtcp.set_port(remote.rtp.port().wrapping_add(1));
    }
    remote
}

/// What an answer has a warning of that is not of the family that was offered.
pub(super) const OTHER_FAMILY: &str = "the answer has an address of another family than was offered: the party's media goes to where its own comes from";

/// The party of an answer as its leg can reach it, and whether its address was of another family than the leg: then it
/// is behind a translator (RFC 6146, RFC 6877), its packets come from an address of the leg's family, and nobody knows
/// which but they, or its signaling.
pub(super) fn of_its_leg(mut remote: Remote, leg: &Local, options: &Options) -> (Remote, bool) {
    let family = Family::of(&leg.rtp);
    if Family::of(&remote.rtp) == family || remote.rtp.ip().is_unspecified() {
        let is_held = Family::of(&remote.rtp) != family;
        if is_held {
            let nowhere: IpAddr = match family {
                Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
                Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
            };
            remote.rtp.set_ip(nowhere);
            remote.rtcp.set_ip(nowhere);
        }
        return (remote, false);
    }
    let seen = options
        .received_from
        .filter(|ip| ip.is_ipv4() == leg.rtp.is_ipv4());
    let nobody: IpAddr = match family {
        // Addresses that nobody has (RFC 7600, RFC 6666), and that are no public ones: anybody may turn out to be the party.
        Family::V4 => Ipv4Addr::new(192, 0, 0, 8).into(),
        Family::V6 => Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1).into(),
    };
    let ip = seen.unwrap_or(nobody);
    remote.rtp.set_ip(ip);
    remote.rtcp.set_ip(ip);
    (remote, true)
}

fn remote(media: &Media<'_, '_>, instead: Option<IpAddr>) -> Result<Remote, SdpError> {
    let (mut rtp, mut rtcp) = (media.rtp()?, media.rtcp()?);
    // An address of zeros stays one: it is a way to say hold.
    if let Some(ip) = instead.filter(|_| !rtp.ip().is_unspecified()) {
        rtp.set_ip(ip);
        rtcp.set_ip(ip);
    }
    let formats = Formats::of(media);
    let mut codecs = media.codecs();
    let codec = codecs.next();
    let payload_type = media
        .formats()
        .next()
        .and_then(|format| format.parse().ok());
    // UDPTL has no clock, which is how it is known.
    let usual_rate = if media.is_rtp() { 8000 } else { 0 };
    let clock_rate = codec.map_or(usual_rate, |codec| codec.clock_rate);
    Ok(Remote {
        rtp,
        rtcp,
        rtcp_mux: media.rtcp_mux(),
        sends: matches!(media.direction(), Direction::SendRecv | Direction::SendOnly),
        receives: !media.is_held(),
        format: Format {
            payload_type: codec
                .map(|codec| codec.payload_type)
                .or(payload_type)
                .unwrap_or(0),
            encoding: codec.map_or_else(String::new, |codec| codec.name.to_owned()),
            clock_rate,
            ptime_ms: media.ptime().unwrap_or(PTIME),
        },
        events: formats.events(clock_rate),
        more_events: formats.event_types(),
        // Known when the other party has agreed.
        types: Vec::new(),
        secure: media.is_srtp(),
    })
}
