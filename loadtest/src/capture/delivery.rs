//! Whether the packets that one party sent are those that the other got.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    ops::AddAssign,
    time::Duration,
};

use serde::Serialize;

use super::traffic::{Dialog, Rtp, Traffic};

/// What became of the packets of one or more flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Packets that a party sent.
    pub sent: u64,
    /// Of those, packets that arrived byte by byte as they were sent.
    pub intact: u64,
    /// Packets that arrived with another content.
    pub altered: u64,
    /// Packets that arrived more often than they were sent.
    pub duplicated: u64,
    /// Packets that arrived and that nobody sent.
    pub foreign: u64,
}

impl Delivery {
    /// Sent, and not arrived as it was.
    pub const fn lost(&self) -> u64 {
        self.sent - self.intact
    }

    /// Every packet arrived once and unchanged, and nothing else did.
    pub const fn perfect(&self) -> bool {
        self.intact == self.sent && self.altered + self.duplicated + self.foreign == 0
    }

    /// Compares what was sent with what was received.
    pub fn of(sent: &[Rtp<'_>], received: &[Rtp<'_>]) -> Self {
        let mut left: HashMap<&[u8], u32> = HashMap::new();
        let mut headers = HashSet::new();
        for packet in sent {
            *left.entry(packet.bytes).or_default() += 1;
            headers.insert((packet.ssrc(), packet.sequence()));
        }
        let mut delivery = Self {
            sent: sent.len() as u64,
            ..Self::default()
        };
        for packet in received {
            let count = match left.get_mut(packet.bytes) {
                Some(0) => &mut delivery.duplicated,
                Some(left) => {
                    *left -= 1;
                    &mut delivery.intact
                }
                None if headers.contains(&(packet.ssrc(), packet.sequence())) => {
                    &mut delivery.altered
                }
                None => &mut delivery.foreign,
            };
            *count += 1;
        }
        delivery
    }
}

impl AddAssign for Delivery {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.intact += other.intact;
        self.altered += other.altered;
        self.duplicated += other.duplicated;
        self.foreign += other.foreign;
    }
}

/// One call's media, as signaling told each party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallMedia {
    /// Where the caller receives.
    pub caller: SocketAddr,
    /// Where the node receives from the caller.
    pub node_for_caller: SocketAddr,
    /// Where the node receives from the callee.
    pub node_for_callee: SocketAddr,
    /// Where the callee receives.
    pub callee: SocketAddr,
}

/// A call with what became of its audio.
#[derive(Clone, Debug)]
pub struct CallAudio {
    /// Call-ID.
    pub call_id: String,
    /// The four ends.
    pub media: CallMedia,
    /// From the caller's INVITE to its 200.
    pub setup: Option<Duration>,
    /// Caller to callee.
    pub forward: Delivery,
    /// Callee to caller.
    pub backward: Delivery,
}

/// The calls that both captures show as set up with media, by their Call-ID.
///
/// `caller` and `callee` are where the parties have SIP, with port 0 for any port. On loopback, one
/// capture has it all and is given twice.
pub fn calls(
    at_caller: &Traffic<'_>,
    caller: SocketAddr,
    at_callee: &Traffic<'_>,
    callee: SocketAddr,
) -> Vec<CallAudio> {
    let mut calls = Vec::new();
    for (call_id, caller_dialog) in &at_caller.dialogs {
        let Some(callee_dialog) = at_callee.dialogs.get(call_id) else {
            continue;
        };
        let Some(media) = call_media(caller_dialog, caller, callee_dialog, callee) else {
            continue;
        };
        calls.push(CallAudio {
            call_id: call_id.clone(),
            media,
            setup: caller_dialog.setup(),
            forward: Delivery::of(
                at_caller.flow(media.caller, media.node_for_caller),
                at_callee.flow(media.node_for_callee, media.callee),
            ),
            backward: Delivery::of(
                at_callee.flow(media.callee, media.node_for_callee),
                at_caller.flow(media.node_for_caller, media.caller),
            ),
        });
    }
    calls
}

fn call_media(
    at_caller: &Dialog,
    caller: SocketAddr,
    at_callee: &Dialog,
    callee: SocketAddr,
) -> Option<CallMedia> {
    let said = |dialog: &Dialog, party| {
        let mut all = dialog.media.iter();
        all.find_map(|((source, _), media)| is(*source, party).then_some(*media))
    };
    let heard = |dialog: &Dialog, party| {
        let mut all = dialog.media.iter();
        all.find_map(|((_, destination), media)| is(*destination, party).then_some(*media))
    };
    Some(CallMedia {
        caller: said(at_caller, caller)?,
        node_for_caller: heard(at_caller, caller)?,
        node_for_callee: heard(at_callee, callee)?,
        callee: said(at_callee, callee)?,
    })
}

fn is(address: SocketAddr, party: SocketAddr) -> bool {
    address == party || (party.port() == 0 && address.ip() == party.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn rtp(bytes: &[u8]) -> Rtp<'_> {
        Rtp {
            time: Duration::ZERO,
            bytes,
        }
    }

    const ONE: &[u8] = b"\x80\x08\x00\x01tttt\x00\x00\x00\x07a";
    const TWO: &[u8] = b"\x80\x08\x00\x02tttt\x00\x00\x00\x07b";
    const TWO_ALTERED: &[u8] = b"\x80\x08\x00\x02tttt\x00\x00\x00\x07c";
    const STRANGER: &[u8] = b"\x80\x08\x00\x02tttt\x00\x00\x00\x08b";

    #[test]
    fn what_arrived_as_sent_is_perfect() {
        let delivery = Delivery::of(&[rtp(ONE), rtp(TWO)], &[rtp(TWO), rtp(ONE)]);
        assert!(delivery.perfect());
        assert_eq!((delivery.sent, delivery.lost()), (2, 0));
    }

    #[test]
    fn each_fault_is_told_apart() {
        let sent = [rtp(ONE), rtp(TWO)];
        let received = [rtp(ONE), rtp(ONE), rtp(TWO_ALTERED), rtp(STRANGER)];
        let delivery = Delivery::of(&sent, &received);
        assert!(!delivery.perfect());
        assert_eq!(
            delivery,
            Delivery {
                sent: 2,
                intact: 1,
                altered: 1,
                duplicated: 1,
                foreign: 1
            }
        );
        assert_eq!(delivery.lost(), 1);
    }

    #[test]
    fn loss_is_counted() {
        let delivery = Delivery::of(&[rtp(ONE), rtp(TWO)], &[rtp(TWO)]);
        assert_eq!(delivery.lost(), 1);
        assert!(!delivery.perfect());
    }
}
