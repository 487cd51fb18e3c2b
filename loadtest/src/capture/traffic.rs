//! A whole capture, sorted: RTP by its two ends, SIP by call.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use super::{
    frame::{self, Checksums, Packet},
    pcap::{PcapError, Reader},
    sip,
};

/// Payload types 72 to 76 are RTCP's 200 to 204 (RFC 5761 4).
const RTCP: std::ops::RangeInclusive<u8> = 64..=95;

/// One RTP packet.
#[derive(Clone, Copy, Debug)]
pub struct Rtp<'a> {
    /// When it was seen, since 1970.
    pub time: Duration,
    /// From the first byte of its header.
    pub bytes: &'a [u8],
}

impl Rtp<'_> {
    /// Sequence number.
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// Synchronization source.
    pub fn ssrc(&self) -> u32 {
        let b = self.bytes;
        u32::from_be_bytes([b[8], b[9], b[10], b[11]])
    }
}

/// RTP from one address to another.
pub type Flow = (SocketAddr, SocketAddr);

/// What a capture shows of a call's signaling.
#[derive(Clone, Debug, Default)]
pub struct Dialog {
    /// When the first INVITE was seen.
    pub invited: Option<Duration>,
    /// When the 200 to it was seen.
    pub answered: Option<Duration>,
    /// Each final status of an INVITE, in order.
    pub finals: Vec<u16>,
    /// Where SDP from one address to another wanted RTP, the first one only.
    pub media: BTreeMap<Flow, SocketAddr>,
    /// Directions in SDP, with who wrote it, in order.
    pub directions: Vec<(SocketAddr, String)>,
    /// Who sent a BYE.
    pub byes: Vec<SocketAddr>,
}

/// A sorted capture.
#[derive(Debug, Default)]
pub struct Traffic<'a> {
    /// UDP and TCP frames.
    pub frames: u64,
    /// Frames with each verdict on their checksums that a receiver would not take.
    pub bad_checksums: Vec<(Checksums, Flow)>,
    /// The tags on RTP frames, and how many frames have them.
    pub rtp_vlans: HashMap<[u16; 2], u64>,
    /// RTP by its ends, in the order of arrival.
    pub flows: HashMap<Flow, Vec<Rtp<'a>>>,
    /// SIP by Call-ID.
    pub dialogs: BTreeMap<String, Dialog>,
}

impl<'a> Traffic<'a> {
    /// Reads a pcap file's bytes.
    pub fn read(file: &'a [u8]) -> Result<Self, PcapError> {
        let mut traffic = Self::default();
        for record in Reader::new(file)? {
            let record = record?;
            if let Some(packet) = frame::parse(record.frame) {
                traffic.take(record.time, &packet);
            }
        }
        Ok(traffic)
    }

    /// RTP packets from `source` to `destination`.
    pub fn flow(&self, source: SocketAddr, destination: SocketAddr) -> &[Rtp<'a>] {
        self.flows
            .get(&(source, destination))
            .map_or(&[], Vec::as_slice)
    }

    fn take(&mut self, time: Duration, packet: &Packet<'a>) {
        self.frames += 1;
        let flow = (packet.source, packet.destination);
        if !packet.checksums.acceptable() {
            self.bad_checksums.push((packet.checksums, flow));
        }
        if packet.udp && is_rtp(packet.payload) {
            *self.rtp_vlans.entry(packet.vlans).or_default() += 1;
            self.flows.entry(flow).or_default().push(Rtp {
                time,
                bytes: packet.payload,
            });
        } else if let Some(message) = sip::parse(packet.payload) {
            let dialog = self.dialogs.entry(message.call_id.to_owned()).or_default();
            dialog.take(time, flow, &message);
        }
    }
}

impl Dialog {
    /// Time from INVITE to answer.
    pub fn setup(&self) -> Option<Duration> {
        self.answered?.checked_sub(self.invited?)
    }

    fn take(&mut self, time: Duration, flow: Flow, message: &sip::Message<'_>) {
        match (message.method, message.status) {
            ("INVITE", None) => self.invited = self.invited.or(Some(time)),
            ("INVITE", Some(status)) if status >= 200 => {
                if status < 300 {
                    self.answered = self.answered.or(Some(time));
                }
                self.finals.push(status);
            }
            ("BYE", None) => self.byes.push(flow.0),
            _ => {}
        }
        if let Some(media) = message.media {
            self.media.entry(flow).or_insert(media);
            self.directions.push((flow.0, message.direction.to_owned()));
        }
    }
}

/// RTP rather than SIP, STUN, DTLS or RTCP (RFC 7983, RFC 5761).
fn is_rtp(payload: &[u8]) -> bool {
    payload.len() >= 12 && payload[0] >> 6 == 2 && !RTCP.contains(&(payload[1] & 0x7f))
}
