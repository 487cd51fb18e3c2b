//! The scenarios, and what is filled into them.

use std::path::PathBuf;

/// What a SIPp process plays through, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Calls, talks, hangs up.
    Caller,
    /// Rings, answers, talks, waits for the BYE.
    Callee,
    /// Calls without an offer; its answer is in the ACK.
    CallerDelayedOffer,
    /// Offers in its 200.
    CalleeDelayedOffer,
    /// Talks, holds, resumes, talks on, hangs up.
    CallerHolds(Hold),
    /// The other side of it.
    CalleeHeld(Hold),
    /// Hears it ring, cancels.
    CallerCancels,
    /// Rings and never answers; takes a CANCEL.
    CalleeRings,
    /// Calls, and expects this final status.
    CallerRefused(u16),
    /// Refuses with this status.
    CalleeRefuses(u16),
    /// Calls, talks, waits for the BYE.
    CallerWaits,
    /// Calls, is sent to tel:+15550177 by REFER, tells that it got there, hangs up.
    CallerReferred,
    /// Answers, talks, hangs up.
    CalleeHangsUp,
    /// Is called by a node that connects it: offers in its 200, waits for a re-INVITE, talks.
    CalleeConnected,
    /// The same; then it is connected with somebody else, and talks again.
    CalleeMoved,
    /// Answers, talks, transfers the other party to 800 by REFER, waits for the BYE.
    CalleeRefers,
}

/// How a party puts the other on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// `a=sendonly` (RFC 3264 8.4).
    SendOnly,
    /// `a=inactive`.
    Inactive,
    /// `c=` with 0.0.0.0, the way of RFC 2543.
    ZeroAddress,
}

impl Hold {
    /// The direction in the offer; with the zero address there is none but the default.
    const fn direction(self) -> &'static str {
        match self {
            Self::SendOnly => "sendonly",
            Self::Inactive => "inactive",
            Self::ZeroAddress => "sendrecv",
        }
    }

    const fn address(self) -> &'static str {
        match self {
            Self::ZeroAddress => "0.0.0.0",
            _ => "[media_ip]",
        }
    }

    const fn answer(self) -> &'static str {
        match self {
            Self::SendOnly => "recvonly",
            Self::Inactive => "inactive",
            Self::ZeroAddress => "recvonly",
        }
    }
}

/// Where a party's audio comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// SDP names a port, and nothing is ever sent.
    #[default]
    Silent,
    /// A pcap file for each time the party talks, each call on a port of its own. It is sent from raw
    /// sockets, which needs root (CAP_NET_RAW).
    Pcap(Vec<PathBuf>),
    /// A raw G.711 file, played once. SIPp's one media socket serves all of its calls then.
    Stream(PathBuf),
}

impl Scenario {
    /// Whether it waits for calls rather than making them.
    pub const fn answers(self) -> bool {
        matches!(
            self,
            Self::Callee
                | Self::CalleeDelayedOffer
                | Self::CalleeHeld(_)
                | Self::CalleeRings
                | Self::CalleeRefuses(_)
                | Self::CalleeHangsUp
                | Self::CalleeConnected
                | Self::CalleeMoved
                | Self::CalleeRefers
        )
    }

    /// A short name for files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::CallerDelayedOffer => "caller_delayed_offer",
            Self::CalleeDelayedOffer => "callee_delayed_offer",
            Self::CallerHolds(_) => "caller_hold",
            Self::CalleeHeld(_) => "callee_hold",
            Self::CallerCancels => "caller_cancel",
            Self::CalleeRings => "callee_rings",
            Self::CallerRefused(_) => "caller_refused",
            Self::CalleeRefuses(_) => "callee_refuses",
            Self::CallerWaits => "caller_waits",
            Self::CallerReferred => "caller_referred",
            Self::CalleeHangsUp => "callee_hangs_up",
            Self::CalleeConnected => "callee_connected",
            Self::CalleeMoved => "callee_moved",
            Self::CalleeRefers => "callee_refers",
        }
    }

    /// The scenario file for SIPp.
    pub(super) fn xml(self, media: &Media, ring_ms: u128, talk_ms: u128) -> String {
        // A pause of nothing would still cost SIPp a tick.
        let ring = match ring_ms {
            0 => String::new(),
            ring => format!("<pause milliseconds=\"{ring}\"/>"),
        };
        let mut xml = self
            .template()
            .replace("@RING@", &ring)
            .replace("@PORT@", media.port())
            .replace("@PLAY@", &media.play(0))
            .replace("@PLAY_AGAIN@", &media.play(1))
            .replace("@TALK_MS@", &talk_ms.to_string());
        if let Self::CallerHolds(hold) | Self::CalleeHeld(hold) = self {
            xml = xml
                .replace("@HOLD_DIRECTION@", hold.direction())
                .replace("@HOLD_ADDRESS@", hold.address())
                .replace("@ANSWER_DIRECTION@", hold.answer());
        }
        if let Self::CallerRefused(status) | Self::CalleeRefuses(status) = self {
            xml = xml.replace("@STATUS@", &status.to_string());
        }
        xml
    }

    const fn template(self) -> &'static str {
        match self {
            Self::Caller => include_str!("../../scenarios/caller.xml"),
            Self::Callee => include_str!("../../scenarios/callee.xml"),
            Self::CallerDelayedOffer => {
                include_str!("../../scenarios/caller_delayed_offer.xml")
            }
            Self::CalleeDelayedOffer => {
                include_str!("../../scenarios/callee_delayed_offer.xml")
            }
            Self::CallerHolds(_) => include_str!("../../scenarios/caller_hold.xml"),
            Self::CalleeHeld(_) => include_str!("../../scenarios/callee_hold.xml"),
            Self::CallerCancels => include_str!("../../scenarios/caller_cancel.xml"),
            Self::CalleeRings => include_str!("../../scenarios/callee_rings.xml"),
            Self::CallerRefused(_) => include_str!("../../scenarios/caller_refused.xml"),
            Self::CalleeRefuses(_) => include_str!("../../scenarios/callee_refuses.xml"),
            Self::CallerWaits => include_str!("../../scenarios/caller_waits.xml"),
            Self::CallerReferred => include_str!("../../scenarios/caller_referred.xml"),
            Self::CalleeHangsUp => include_str!("../../scenarios/callee_hangs_up.xml"),
            Self::CalleeConnected => include_str!("../../scenarios/callee_connected.xml"),
            Self::CalleeMoved => include_str!("../../scenarios/callee_moved.xml"),
            Self::CalleeRefers => include_str!("../../scenarios/callee_refers.xml"),
        }
    }
}

impl Media {
    /// SIPp's word for the port in SDP.
    const fn port(&self) -> &'static str {
        match self {
            Self::Silent | Self::Pcap(_) => "[auto_media_port]",
            Self::Stream(_) => "[media_port]",
        }
    }

    /// The action that plays part `index`.
    fn play(&self, index: usize) -> String {
        let action = match self {
            Self::Silent => None,
            Self::Pcap(files) => files
                .get(index)
                .map(|file| format!("play_pcap_audio=\"{}\"", file.display())),
            Self::Stream(file) => (index == 0).then(|| {
                let payload_type = crate::audio::PAYLOAD_TYPE;
                format!("rtp_stream=\"{},1,{payload_type}\"", file.display())
            }),
        };
        action.map_or_else(String::new, |action| {
            format!("<nop><action><exec {action}/></action></nop>")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left() {
        let hold = Hold::Inactive;
        for scenario in [
            Scenario::Caller,
            Scenario::Callee,
            Scenario::CallerDelayedOffer,
            Scenario::CalleeDelayedOffer,
            Scenario::CallerHolds(hold),
            Scenario::CalleeHeld(hold),
            Scenario::CallerCancels,
            Scenario::CalleeRings,
            Scenario::CallerRefused(503),
            Scenario::CalleeRefuses(503),
            Scenario::CallerWaits,
            Scenario::CalleeHangsUp,
        ] {
            let media = Media::Pcap(vec!["a.pcap".into(), "b.pcap".into()]);
            let xml = scenario.xml(&media, 200, 2000);
            let place = xml
                .split(['[', ']', ':', ';', '"', ' ', '\n'])
                .find(|word| word.len() > 2 && word.starts_with('@') && word.ends_with('@'));
            assert_eq!(place, None, "{scenario:?}");
            assert!(xml.contains("<scenario name="), "{scenario:?}");
        }
    }

    #[test]
    fn a_hold_by_address_keeps_the_old_way() {
        let xml = Scenario::CallerHolds(Hold::ZeroAddress).xml(&Media::Silent, 0, 0);
        assert!(xml.contains("c=IN IP[media_ip_type] 0.0.0.0"));
        assert!(!xml.contains("sendonly"));
    }
}
