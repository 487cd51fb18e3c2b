//! Descriptions as a party is to see them.

use std::net::{IpAddr, Ipv4Addr};

use control::media::{Local, SessionInfo, Side};
use ng::{Dictionary, Options, Value, description, dictionary};
use sip::sdp::{Relay, Sdp};
use tracing::info;

use super::{Answer, Front};
use crate::ng::call::Call;

impl Front {
    /// The answer with the SDP as `side` is to see it.
    pub(super) fn shown(
        &self,
        call: &mut Call,
        at: usize,
        side: Side,
        sdp: &Sdp<'_>,
        mut options: Options,
    ) -> Answer {
        let branch = &call.branches[at];
        let by = branch.offer.by;
        let media = sdp.media();
        let address = |local: &Local| options.media_address.unwrap_or_else(|| local.rtp.ip());
        let (mut relays, mut shown) = (Vec::new(), Vec::new());
        for (line, media) in media.iter().enumerate() {
            let stream = branch.streams.get(line).and_then(Option::as_ref);
            let stream = stream.filter(|stream| stream.offered.is_some());
            // What is not UDP goes past this server.
            match (stream, media.is_refused() || !media.is_udp()) {
                (_, true) => {
                    relays.push(None);
                    shown.push(None);
                }
                (Some(stream), false) => {
                    let local = local(&stream.session, side);
                    relays.push(Some(Relay {
                        address: address(&local),
                        rtp: local.rtp.port(),
                        rtcp: local.rtcp.port(),
                    }));
                    shown.push(Some(description::Shown {
                        address: address(&local),
                        rtp: local.rtp.port(),
                        rtcp: local.rtcp.port(),
                        mux: stream.mux[usize::from(side != by)],
                    }));
                }
                // An answer cannot revive what was not offered. As it came it would lead media past this server.
                (None, false) => {
                    relays.push(Some(REFUSED));
                    shown.push(None);
                }
            }
        }
        let mut media = media.iter().filter(|media| !media.is_refused());
        if let Some(media) = media.find(|media| options.codecs.leave_none(media)) {
            let why = format!(
                "codec strip: no codec of the {} stream would be left, so that it keeps all",
                media.kind()
            );
            options.warn(why);
        }
        let mut known = relays.iter().flatten().filter(|relay| relay.rtp > 0);
        if let Some(address) = known.next().map(|relay| relay.address) {
            let refused = relays.iter_mut().flatten().filter(|relay| relay.rtp == 0);
            refused.for_each(|relay| relay.address = address);
        }
        let rewritten = sdp.rewrite(&relays)?;
        let mark = options.loop_protect.then_some(self.mark.as_str());
        let face = &mut call.party_at(at, side).face;
        let body = description::finish(sdp, &rewritten, &options, &shown, face, mark);
        let mut answer = dictionary([("sdp", Value::Text(body))]);
        warn_of(&mut options, &mut answer);
        Ok(answer)
    }
}

/// A stream without a relay: with port 0, and no word of where its party is.
const REFUSED: Relay = Relay {
    address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    rtp: 0,
    rtcp: 1,
};

/// Tells the client and the log what was not understood, or is done otherwise.
pub(super) fn warn_of(options: &mut Options, answer: &mut Dictionary) {
    warn(&options.warnings, answer);
}

/// The same, beside what the answer warns of already.
pub(super) fn warn(warnings: &[String], answer: &mut Dictionary) {
    if warnings.is_empty() {
        return;
    }
    let warnings = warnings.join("; ");
    info!(warnings, "an NG request wanted what is not there");
    let before = answer.get(b"warning".as_slice()).and_then(Value::text);
    let all = match before {
        Some(before) => format!("{}; {warnings}", String::from_utf8_lossy(before)),
        None => warnings,
    };
    answer.insert(b"warning".to_vec(), Value::from_text(all));
}

/// What the party of `side` is told.
pub(super) fn local(session: &SessionInfo, side: Side) -> Local {
    match side {
        Side::A => session.a,
        Side::B => session.b,
    }
}
