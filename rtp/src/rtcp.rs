//! RTCP (RFC 3550 section 6): reading compound packets, and writing the reports of a user agent.
//!
//! Of extended reports (RFC 3611) the reference times and the VoIP metrics are read.

pub(crate) mod extended;
mod renumber;
mod told;

use thiserror::Error;

pub use self::extended::{ExtendedBlock, LastReference, VoipMetrics};
pub use self::renumber::{Source, Stream, renumber};
pub use self::told::Told;

const VERSION: u8 = 2;
pub(crate) const SENDER_REPORT: u8 = 200;
pub(crate) const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
pub(crate) const EXTENDED_REPORT: u8 = 207;
const CNAME: u8 = 1;
/// Length of a report block.
pub(crate) const BLOCK: usize = 24;

/// Why a datagram is not RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RtcpError {
    /// No packet at all, or one that is longer than the datagram.
    #[error("RTCP packet at octet {at} is cut short")]
    Truncated {
        /// Where the packet starts.
        at: usize,
    },
    /// Another version than 2.
    #[error("RTCP version {0} is not 2")]
    Version(u8),
    /// A packet is too short for what its counts say.
    #[error("RTCP packet of type {0} is too short for what it counts")]
    Inconsistent(u8),
}

/// A report about one source (section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source that is reported about.
    pub ssrc: u32,
    /// Part of the packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start: 24 bits with sign, negative where duplicates outnumber losses.
    pub cumulative_lost: i32,
    /// Extended highest sequence number received.
    pub highest_sequence: u32,
    /// Interarrival jitter, in units of the media clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 for none.
    pub last_sr: u32,
    /// Time since it came, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// What a sender says about its own stream (section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// NTP time (64 bits: seconds since 1900, and their fraction).
    pub ntp: u64,
    /// The same moment on the media clock.
    pub rtp_timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Octets of payload sent.
    pub octets: u32,
}

/// One packet of a compound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// SR.
    SenderReport {
        /// Who reports.
        ssrc: u32,
        /// About its own stream.
        info: SenderInfo,
        /// About the streams that it receives.
        blocks: Vec<ReportBlock>,
    },
    /// RR.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// About the streams that it receives.
        blocks: Vec<ReportBlock>,
    },
    /// SDES: the canonical name of each source that has one (section 6.5.1).
    SourceDescription {
        /// Sources and names; a name is UTF-8 by the RFC, but that is not checked.
        cnames: Vec<(u32, &'a [u8])>,
    },
    /// BYE.
    Goodbye {
        /// Who leaves.
        sources: Vec<u32>,
        /// Why; empty for no reason given.
        reason: &'a [u8],
    },
    /// XR (RFC 3611).
    ExtendedReport {
        /// Who reports.
        ssrc: u32,
        /// What.
        blocks: Vec<ExtendedBlock<'a>>,
    },
    /// Anything else: APP, feedback.
    Other {
        /// Packet type, 192 to 223.
        packet_type: u8,
        /// The count or subtype field.
        count: u8,
        /// What follows the first four octets.
        body: &'a [u8],
    },
}

/// Checks that a datagram is a sequence of whole RTCP packets (appendix A.2), without allocating.
/// Reduced-size RTCP (RFC 5506) is valid too, so the first need not be a report.
///
/// # Errors
/// [`RtcpError`] says what is wrong.
pub fn validate(datagram: &[u8]) -> Result<(), RtcpError> {
    let mut at = 0;
    while at < datagram.len() || at == 0 {
        at += split(datagram, at)?.3;
    }
    Ok(())
}

/// Reads a compound packet.
///
/// # Errors
/// [`RtcpError`] says what is wrong with the first bad packet.
pub fn parse(datagram: &[u8]) -> Result<Vec<Packet<'_>>, RtcpError> {
    validate(datagram)?;
    let mut packets = Vec::new();
    let mut at = 0;
    while at < datagram.len() {
        let (packet_type, count, body, len) = split(datagram, at)?;
        packets.push(read(packet_type, count, body).ok_or(RtcpError::Inconsistent(packet_type))?);
        at += len;
    }
    Ok(packets)
}

/// Appends a report to `out`: SR where `info` is given, else RR. At most 31 blocks are written.
pub fn write_report(
    ssrc: u32,
    info: Option<SenderInfo>,
    blocks: &[ReportBlock],
    out: &mut Vec<u8>,
) {
    let blocks = blocks.get(..31).unwrap_or(blocks);
    let packet_type = if info.is_some() {
        SENDER_REPORT
    } else {
        RECEIVER_REPORT
    };
    packet(packet_type, blocks.len(), out, |out| {
        out.extend(ssrc.to_be_bytes());
        if let Some(info) = info {
            out.extend(info.ntp.to_be_bytes());
            for word in [info.rtp_timestamp, info.packets, info.octets] {
                out.extend(word.to_be_bytes());
            }
        }
        for block in blocks {
            out.extend(block.ssrc.to_be_bytes());
            let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) & 0xff_ffff;
            out.extend((lost.cast_unsigned() | u32::from(block.fraction_lost) << 24).to_be_bytes());
            let words = [
                block.highest_sequence,
                block.jitter,
                block.last_sr,
                block.delay_since_last_sr,
            ];
            for word in words {
                out.extend(word.to_be_bytes());
            }
        }
    });
}

/// Appends an SDES packet to `out` with one canonical name, of which 255 octets count.
pub fn write_cname(ssrc: u32, cname: &str, out: &mut Vec<u8>) {
    let name = cname.as_bytes();
    let name = name.get(..255).unwrap_or(name);
    packet(SOURCE_DESCRIPTION, 1, out, |out| {
        out.extend(ssrc.to_be_bytes());
        out.push(CNAME);
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        // The list ends with an empty item, the chunk with a whole word.
        out.push(0);
    });
}

/// Appends a BYE packet to `out`.
pub fn write_bye(ssrc: u32, out: &mut Vec<u8>) {
    packet(GOODBYE, 1, out, |out| out.extend(ssrc.to_be_bytes()));
}

/// Writes the first word, the body, padding to a whole word, and then the length.
fn packet(packet_type: u8, count: usize, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(VERSION << 6 | u8::try_from(count & 0x1f).unwrap_or(0));
    out.push(packet_type);
    out.extend([0, 0]);
    body(out);
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    let words = u16::try_from((out.len() - start) / 4 - 1).unwrap_or(u16::MAX);
    if let Some(length) = out.get_mut(start + 2..start + 4) {
        length.copy_from_slice(&words.to_be_bytes());
    }
}

/// The packet at `at`: its type, count, body without padding, and whole length.
pub(crate) fn split(datagram: &[u8], at: usize) -> Result<(u8, u8, &[u8], usize), RtcpError> {
    let truncated = RtcpError::Truncated { at };
    let rest = datagram.get(at..).ok_or(truncated)?;
    let (head, after) = rest.split_first_chunk::<4>().ok_or(truncated)?;
    let version = head[0] >> 6;
    if version != VERSION {
        return Err(RtcpError::Version(version));
    }
    let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
    let mut body = after.get(..len).ok_or(truncated)?;
    if head[0] & 0x20 != 0 {
        let padding = usize::from(body.last().copied().unwrap_or(0));
        let kept = len.checked_sub(padding).filter(|_| padding != 0);
        body = kept
            .and_then(|kept| body.get(..kept))
            .ok_or(RtcpError::Inconsistent(head[1]))?;
    }
    Ok((head[1], head[0] & 0x1f, body, len + 4))
}

fn read(packet_type: u8, count: u8, body: &[u8]) -> Option<Packet<'_>> {
    let mut reader = Reader(body);
    Some(match packet_type {
        SENDER_REPORT => Packet::SenderReport {
            ssrc: reader.word()?,
            info: SenderInfo {
                ntp: u64::from(reader.word()?) << 32 | u64::from(reader.word()?),
                rtp_timestamp: reader.word()?,
                packets: reader.word()?,
                octets: reader.word()?,
            },
            blocks: reader.blocks(count)?,
        },
        RECEIVER_REPORT => Packet::ReceiverReport {
            ssrc: reader.word()?,
            blocks: reader.blocks(count)?,
        },
        SOURCE_DESCRIPTION => Packet::SourceDescription {
            cnames: reader.cnames(count)?,
        },
        GOODBYE => {
            let sources = (0..count)
                .map(|_| reader.word())
                .collect::<Option<Vec<_>>>()?;
            let reason = match reader.octet() {
                Some(len) => reader.take(usize::from(len))?,
                None => &[],
            };
            Packet::Goodbye { sources, reason }
        }
        EXTENDED_REPORT => Packet::ExtendedReport {
            ssrc: reader.word()?,
            blocks: extended::blocks(reader)?,
        },
        _ => Packet::Other {
            packet_type,
            count,
            body,
        },
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*word))
    }

    fn blocks(&mut self, count: u8) -> Option<Vec<ReportBlock>> {
        if self.0.len() < usize::from(count) * BLOCK {
            return None;
        }
        (0..count)
            .map(|_| {
                let ssrc = self.word()?;
                let lost = self.word()?;
                Some(ReportBlock {
                    ssrc,
                    fraction_lost: lost.to_be_bytes()[0],
                    // Shifted up and down again, so that the sign of 24 bits spreads.
                    cumulative_lost: (lost << 8).cast_signed() >> 8,
                    highest_sequence: self.word()?,
                    jitter: self.word()?,
                    last_sr: self.word()?,
                    delay_since_last_sr: self.word()?,
                })
            })
            .collect()
    }

    fn cnames(&mut self, count: u8) -> Option<Vec<(u32, &'a [u8])>> {
        let mut names = Vec::new();
        for _ in 0..count {
            let start = self.0.len();
            let ssrc = self.word()?;
            loop {
                let kind = self.octet()?;
                if kind == 0 {
                    break;
                }
                let len = self.octet()?;
                let text = self.take(usize::from(len))?;
                if kind == CNAME {
                    names.push((ssrc, text));
                }
            }
            let used = start - self.0.len();
            self.take(used.next_multiple_of(4) - used)?;
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests;
