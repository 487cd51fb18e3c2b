//! Copies of packets for those who hear a party beside the other one. They are kept until the turn is over, because a
//! packet is sent on from the buffer that it came in, and to one place only.

use std::net::SocketAddr;

use control::media::TypePair;

use crate::io::PortIndex;
use crate::session::Leg;

/// Octets that are kept at most, and packets: more than a turn brings.
const OCTETS: usize = 1 << 20;
const PACKETS: usize = 4_096;

/// Copies that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    waiting: Vec<(PortIndex, SocketAddr, usize)>,
    octets: Vec<u8>,
    /// Those that were sent so far, and those that there was no room for.
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Copies {
    /// Makes room, so that nothing is allocated for a packet. Shards without listeners need none.
    pub(crate) fn prepare(&mut self) {
        self.waiting.reserve_exact(PACKETS);
        self.octets.reserve_exact(OCTETS);
    }

    /// Takes RTP of the party of `leg`.
    pub(crate) fn rtp(&mut self, leg: &Leg, packet: &[u8]) {
        for listener in &leg.monitors {
            if let Some([to, _]) = listener.to {
                self.take(listener.leg.port, to, packet, &listener.types);
            }
        }
    }

    /// Takes RTCP of the party of `leg`.
    pub(crate) fn rtcp(&mut self, leg: &Leg, packet: &[u8]) {
        for listener in &leg.monitors {
            match listener.to {
                Some([rtp, rtcp]) if rtp == rtcp => self.take(listener.leg.port, rtp, packet, &[]),
                Some([_, rtcp]) => self.take(listener.leg.control_port(), rtcp, packet, &[]),
                None => {}
            }
        }
    }

    fn take(&mut self, via: PortIndex, to: SocketAddr, packet: &[u8], types: &[TypePair]) {
        let has_room = self.octets.len() + packet.len() <= self.octets.capacity();
        if !has_room || self.waiting.len() == self.waiting.capacity() {
            self.lost += 1;
            return;
        }
        let start = self.octets.len();
        self.octets.extend_from_slice(packet);
        // The marker shares the octet (RFC 3550 section 5.1).
        if let Some(octet) = self.octets.get_mut(start + 1)
            && let Some(pair) = types.iter().find(|pair| pair.theirs == *octet & 0x7f)
        {
            *octet = *octet & 0x80 | pair.own & 0x7f;
        }
        self.waiting.push((via, to, packet.len()));
    }

    /// Sends all that wait.
    pub(crate) fn flush(&mut self, mut send: impl FnMut(PortIndex, SocketAddr, &[u8])) {
        let mut rest = self.octets.as_slice();
        for (via, to, len) in self.waiting.drain(..) {
            let (packet, after) = rest.split_at(len);
            send(via, to, packet);
            rest = after;
            self.sent += 1;
        }
        self.octets.clear();
    }
}
