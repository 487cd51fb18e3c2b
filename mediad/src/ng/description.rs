//! From an SDP to what the engine wants to know of a party, and back with the engine's ports in it.

use control::media::{Format, Local, Remote};
use sip::sdp::{Direction, Media, Relay, Sdp, SdpError};

/// Milliseconds of audio in a packet where the SDP does not say.
const PTIME: u16 = 20;

/// What each stream's party is, in the order of the `m=` lines; `None` for a stream that is refused.
pub(super) fn remotes(sdp: &Sdp<'_>) -> Result<Vec<Option<Remote>>, SdpError> {
    let media = sdp.media();
    if media.is_empty() {
        return Err(SdpError::NoMedia);
    }
    media
        .iter()
        .map(|media| match media.is_refused() {
            true => Ok(None),
            false if !media.is_udp() => Err(SdpError::Transport),
            false => remote(media).map(Some),
        })
        .collect()
}

/// The SDP with each stream led to `locals`.
pub(super) fn rewritten(sdp: &Sdp<'_>, locals: &[Option<Local>]) -> Result<Vec<u8>, SdpError> {
    let relays: Vec<_> = locals
        .iter()
        .map(|local| {
            local.map(|local| Relay {
                address: local.rtp.ip(),
                rtp: local.rtp.port(),
                rtcp: local.rtcp.port(),
            })
        })
        .collect();
    sdp.rewrite(&relays)
}

fn remote(media: &Media<'_, '_>) -> Result<Remote, SdpError> {
    let rtp = media.rtp()?;
    let mux = media.rtcp_mux();
    let codec = media.codecs().next();
    let payload_type = media
        .formats()
        .next()
        .and_then(|format| format.parse().ok());
    Ok(Remote {
        rtp,
        rtcp: if mux { rtp } else { media.rtcp()? },
        rtcp_mux: mux,
        sends: matches!(media.direction(), Direction::SendRecv | Direction::SendOnly),
        receives: !media.is_held(),
        format: Format {
            payload_type: codec
                .map(|codec| codec.payload_type)
                .or(payload_type)
                .unwrap_or(0),
            encoding: codec.map_or_else(String::new, |codec| codec.name.to_owned()),
            clock_rate: codec.map_or(8000, |codec| codec.clock_rate),
            ptime_ms: media.ptime().unwrap_or(PTIME),
        },
        events: None,
        secure: media.is_srtp(),
    })
}
