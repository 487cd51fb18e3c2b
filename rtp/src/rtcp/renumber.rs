//! RTCP about streams that a relay gives numbers of its own: each party is told in the numbers that it knows.
//!
//! A party's RTCP speaks of two streams. Its own leaves the relay with the relay's numbers, so what it says as a sender is
//! put into these. What it hears has the relay's numbers already, so what it says as a receiver is put into those of
//! whoever sent it. Times of NTP, losses, jitter and delays are the same on both sides, and stay. What a sender has counted of
//! its own becomes the stream's ([`Told`]).

use super::{
    BLOCK, EXTENDED_REPORT, GOODBYE, RECEIVER_REPORT, SENDER_REPORT, SOURCE_DESCRIPTION,
    extended::{LAST_REFERENCE, REFERENCE_TIME, SUB_BLOCK},
    split,
    told::Told,
};

/// Extended jitter (RFC 5450): behind its header come the values.
const JITTER: u8 = 195;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
/// Formats of feedback (RFC 4585 section 6.2.1, RFC 5104 section 4.2 and 4.3.1).
const NACK: u8 = 1;
const BIT_RATES: std::ops::RangeInclusive<u8> = 3..=4;
const FULL_INTRA_REQUEST: u8 = 4;
const APPLICATION_LAYER: u8 = 15;
/// Octets of what a sender's report has beyond a receiver's.
const SENDER_INFO: usize = 20;

/// A stream as a relay sends it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The SSRC that it is sent on with.
    pub ssrc: u32,
    /// Whose packets it is made of now; `None` before the first.
    pub source: Option<Source>,
    /// Whose it was made of before.
    pub before: Option<Source>,
    /// The first sequence number of `source`, as sent, extended to 32 bits.
    pub first: u32,
    /// The highest sequence number sent, likewise.
    pub highest: u32,
    /// How many numbers it has had so far, modulo 2^32: packets that were sent into it, with those that the relay has not
    /// got.
    pub packets: u32,
}

/// One who sends into a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The SSRC, as it comes.
    pub ssrc: u32,
    /// What is added to its sequence numbers, extended to 32 bits.
    pub sequence_offset: u32,
    /// What is added to its timestamps.
    pub timestamp_offset: u32,
}

impl Stream {
    fn sources(&self) -> impl Iterator<Item = Source> {
        [self.source, self.before].into_iter().flatten()
    }

    /// Whose a sequence number is, and which of its.
    fn origin(&self, number: u32) -> Option<(Source, u32)> {
        let is_of_now = number.wrapping_sub(self.first).cast_signed() >= 0;
        let before = self.before.filter(|_| !is_of_now);
        let source = before.or(self.source)?;
        Some((source, number.wrapping_sub(source.sequence_offset)))
    }

    /// As [`origin`](Self::origin), of a number of 16 bits near the highest one.
    fn origin_of_short(&self, number: u16) -> Option<(Source, u16)> {
        let [_, _, high, low] = self.highest.to_be_bytes();
        let ahead = number.wrapping_sub(u16::from_be_bytes([high, low]));
        let near = self.highest.wrapping_add_signed(ahead.cast_signed().into());
        let (source, number) = self.origin(near)?;
        let [_, _, high, low] = number.to_be_bytes();
        Some((source, u16::from_be_bytes([high, low])))
    }
}

/// Puts valid RTCP of a party (see [`validate`](super::validate())) into the numbers of the one that it goes to: `own` is
/// the stream that the party sends, with what was told of it so far, and `heard` the one that it hears, each where it is
/// renumbered. The length of what is left at the front of `datagram`, which is never more than before, and 0 where nothing
/// is.
///
/// A BYE is left out: the stream goes on, whoever sends into it next. A sender's report of a source that has sent nothing
/// yet becomes a receiver's, as its timestamp has no meaning for who hears the stream.
#[must_use]
pub fn renumber(
    datagram: &mut [u8],
    mut own: Option<(&Stream, &mut Told)>,
    heard: Option<&Stream>,
) -> usize {
    let (mut at, mut end) = (0, 0);
    while let Ok((_, _, _, len)) = split(datagram, at) {
        let Some(packet) = datagram.get_mut(at..at + len) else {
            break;
        };
        let own = own.as_mut().map(|(own, told)| (*own, &mut **told));
        let left = renumber_packet(packet, own, heard);
        datagram.copy_within(at..at + left, end);
        at += len;
        end += left;
    }
    end
}

/// The same of one packet of a compound.
fn renumber_packet(
    packet: &mut [u8],
    own: Option<(&Stream, &mut Told)>,
    heard: Option<&Stream>,
) -> usize {
    let (own, told) = own.unzip();
    let Some([first, packet_type, _, _, ..]) = packet.first_chunk::<8>().copied() else {
        return packet.len();
    };
    let count = first & 0x1f;
    let mut len = packet.len();
    let mut reports = None;
    match packet_type {
        SENDER_REPORT => {
            reports = Some(8 + SENDER_INFO);
            if let Some((own, told)) = own.zip(told)
                && !restamp(packet, own, told)
            {
                len = become_receivers(packet);
                reports = Some(8);
            }
        }
        RECEIVER_REPORT => reports = Some(8),
        SOURCE_DESCRIPTION => {
            if let Some(own) = own {
                describe(packet, count, own);
            }
            return len;
        }
        GOODBYE if own.is_some() => return 0,
        TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => {
            if let Some(heard) = heard {
                feed_back(packet, packet_type, count, heard);
            }
        }
        EXTENDED_REPORT => {
            if let Some(heard) = heard {
                extended(packet, heard);
            }
        }
        _ => {}
    }
    if let Some(own) = own.filter(|_| ![GOODBYE, JITTER].contains(&packet_type)) {
        put(packet, 4, own.ssrc);
    }
    if let Some((from, heard)) = reports.zip(heard) {
        for nth in 0..usize::from(count) {
            report(packet, from + nth * BLOCK, heard);
        }
    }
    len
}

/// The timestamp and the counts of a sender's report; `false` where it is of no source of the stream.
fn restamp(packet: &mut [u8], own: &Stream, told: &mut Told) -> bool {
    let ssrc = word(packet, 4);
    let Some(source) = own.sources().find(|source| Some(source.ssrc) == ssrc) else {
        return false;
    };
    let timestamp = word(packet, 16).unwrap_or(0);
    put(packet, 16, timestamp.wrapping_add(source.timestamp_offset));
    if let Some(counted) = word(packet, 20).zip(word(packet, 24)) {
        let [packets, octets] = told.tell(own.packets, source.ssrc, counted.into());
        put(packet, 20, packets);
        put(packet, 24, octets);
    }
    true
}

/// Makes a receiver's report of a sender's; its length.
fn become_receivers(packet: &mut [u8]) -> usize {
    let len = packet.len().saturating_sub(SENDER_INFO);
    if len < 8 {
        return packet.len();
    }
    packet.copy_within(8 + SENDER_INFO.., 8);
    let words = u16::try_from(len / 4 - 1).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(head) = packet.first_chunk_mut::<4>() {
        head[1] = RECEIVER_REPORT;
        head[2..].copy_from_slice(&words);
    }
    len
}

/// A report block.
fn report(packet: &mut [u8], at: usize, heard: &Stream) {
    if word(packet, at) != Some(heard.ssrc) {
        return;
    }
    let number = word(packet, at + 8).unwrap_or(0);
    if let Some((source, number)) = heard.origin(number) {
        put(packet, at, source.ssrc);
        put(packet, at + 8, number);
    }
}

/// The SSRC of each chunk. Names stay: by them a receiver knows which streams are of one party.
fn describe(packet: &mut [u8], count: u8, own: &Stream) {
    let mut at = 4;
    for _ in 0..count {
        put(packet, at, own.ssrc);
        at += 4;
        let item = |at| pair(packet, at).filter(|[kind, _]| *kind != 0);
        while let Some([_, len]) = item(at) {
            at += 2 + usize::from(len);
        }
        // A zero ends the chunk, and more of them fill its last word.
        at = (at + 1).next_multiple_of(4);
    }
}

/// What feedback is about.
fn feed_back(packet: &mut [u8], packet_type: u8, format: u8, heard: &Stream) {
    let is_about_it = word(packet, 8) == Some(heard.ssrc);
    let mut source = heard.source;
    match (packet_type, format) {
        (TRANSPORT_FEEDBACK, NACK) if is_about_it => {
            let number = pair(packet, 12).map(u16::from_be_bytes);
            let origin = number.and_then(|number| heard.origin_of_short(number));
            source = origin.map(|(source, _)| source);
            if let Some(source) = source {
                let [_, _, high, low] = source.sequence_offset.to_be_bytes();
                let offset = u16::from_be_bytes([high, low]);
                (12..packet.len())
                    .step_by(4)
                    .for_each(|at| move_back(packet, at, offset));
            }
        }
        (TRANSPORT_FEEDBACK, format) if BIT_RATES.contains(&format) => {
            (12..packet.len())
                .step_by(8)
                .for_each(|at| name(packet, at, heard));
        }
        (PAYLOAD_FEEDBACK, FULL_INTRA_REQUEST) => {
            (12..packet.len())
                .step_by(8)
                .for_each(|at| name(packet, at, heard));
        }
        (PAYLOAD_FEEDBACK, APPLICATION_LAYER) if packet.get(12..16) == Some(b"REMB") => {
            (20..packet.len())
                .step_by(4)
                .for_each(|at| name(packet, at, heard));
        }
        _ => {}
    }
    if let Some(source) = source.filter(|_| is_about_it) {
        put(packet, 8, source.ssrc);
    }
}

/// The blocks of an extended report (RFC 3611 section 4).
fn extended(packet: &mut [u8], heard: &Stream) {
    let mut at = 8;
    while let (Some([kind, _]), Some(words)) = (pair(packet, at), pair(packet, at + 2)) {
        let end = at + 4 + usize::from(u16::from_be_bytes(words)) * 4;
        match kind {
            REFERENCE_TIME => {}
            LAST_REFERENCE => {
                (at + 4..end.min(packet.len()))
                    .step_by(SUB_BLOCK)
                    .for_each(|at| name(packet, at, heard));
            }
            // Losses, duplicates, times of receipt and their summary are of a range of numbers.
            1..=3 | 6 if word(packet, at + 4) == Some(heard.ssrc) => {
                let last = pair(packet, at + 10).map(u16::from_be_bytes);
                // The range ends before the number that it names.
                let last = last.map(|end| end.wrapping_sub(1));
                if let Some((source, _)) = last.and_then(|last| heard.origin_of_short(last)) {
                    let [_, _, high, low] = source.sequence_offset.to_be_bytes();
                    let offset = u16::from_be_bytes([high, low]);
                    put(packet, at + 4, source.ssrc);
                    move_back(packet, at + 8, offset);
                    move_back(packet, at + 10, offset);
                }
            }
            _ => name(packet, at + 4, heard),
        }
        at = end;
    }
}

/// An SSRC that is the stream's is its source's.
fn name(packet: &mut [u8], at: usize, heard: &Stream) {
    if let Some(source) = heard.source
        && word(packet, at) == Some(heard.ssrc)
    {
        put(packet, at, source.ssrc);
    }
}

fn move_back(packet: &mut [u8], at: usize, offset: u16) {
    if let Some(place) = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = u16::from_be_bytes(*place)
            .wrapping_sub(offset)
            .to_be_bytes();
    }
}

fn pair(packet: &[u8], at: usize) -> Option<[u8; 2]> {
    packet.get(at..)?.first_chunk().copied()
}

fn word(packet: &[u8], at: usize) -> Option<u32> {
    let word = packet.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

fn put(packet: &mut [u8], at: usize, word: u32) {
    if let Some(place) = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = word.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtcp::{
        Packet, ReportBlock, SenderInfo, parse, validate, write_bye, write_cname, write_report,
    };

    const OWN: Stream = Stream {
        ssrc: 0xaaaa,
        source: Some(Source {
            ssrc: 1,
            sequence_offset: 500,
            timestamp_offset: 9_000,
        }),
        before: None,
        first: 600,
        highest: 700,
        packets: 8,
    };
    /// As the party hears it: numbers up to 69,999 were of 20, and are of 21 from there on.
    const HEARD: Stream = Stream {
        ssrc: 0xbbbb,
        source: Some(Source {
            ssrc: 21,
            sequence_offset: 70_000_u32.wrapping_sub(65_000),
            timestamp_offset: 77,
        }),
        before: Some(Source {
            ssrc: 20,
            sequence_offset: 1_000,
            timestamp_offset: 7,
        }),
        first: 70_000,
        highest: 70_020,
        packets: 0,
    };

    fn block(ssrc: u32, highest_sequence: u32) -> ReportBlock {
        ReportBlock {
            ssrc,
            fraction_lost: 3,
            cumulative_lost: -4,
            highest_sequence,
            jitter: 5,
            last_sr: 6,
            delay_since_last_sr: 7,
        }
    }

    fn renumbered(octets: &[u8], own: Option<&Stream>, heard: Option<&Stream>) -> Vec<u8> {
        let mut octets = octets.to_vec();
        let mut told = Told::default();
        let len = renumber(&mut octets, own.map(|own| (own, &mut told)), heard);
        octets.truncate(len);
        assert!(octets.is_empty() || validate(&octets) == Ok(()));
        octets
    }

    #[test]
    fn a_compound_is_put_into_the_numbers_of_who_gets_it() {
        let info = SenderInfo {
            ntp: 0x1111_2222_3333_4444,
            rtp_timestamp: 160,
            packets: 8,
            octets: 9,
        };
        let write = |own, stamp, blocks: &[ReportBlock], bye| {
            let mut octets = Vec::new();
            let info = SenderInfo {
                rtp_timestamp: stamp,
                ..info
            };
            write_report(own, Some(info), blocks, &mut octets);
            write_cname(own, "alice@example", &mut octets);
            if bye {
                write_bye(own, &mut octets);
            }
            octets
        };
        let came = [block(0xbbbb, 70_005), block(0xbbbb, 69_999), block(5, 5)];
        let leaves = [block(21, 65_005), block(20, 68_999), block(5, 5)];
        let octets = write(1, 160, &came, true);
        let expected = write(0xaaaa, 9_160, &leaves, false);
        assert_eq!(renumbered(&octets, Some(&OWN), Some(&HEARD)), expected);
        // Each side by itself.
        let expected = write(0xaaaa, 9_160, &came, false);
        assert_eq!(renumbered(&octets, Some(&OWN), None), expected);
        let expected = write(1, 160, &leaves, true);
        assert_eq!(renumbered(&octets, None, Some(&HEARD)), expected);
        assert_eq!(renumbered(&octets, None, None), octets);
    }

    #[test]
    fn who_has_sent_nothing_yet_is_no_sender() {
        let mut octets = Vec::new();
        write_report(
            9,
            Some(SenderInfo::default()),
            &[block(0xbbbb, 70_001)],
            &mut octets,
        );
        write_cname(9, "a", &mut octets);
        let mut expected = Vec::new();
        write_report(0xaaaa, None, &[block(21, 65_001)], &mut expected);
        write_cname(0xaaaa, "a", &mut expected);
        assert_eq!(renumbered(&octets, Some(&OWN), Some(&HEARD)), expected);
        let mut bye = Vec::new();
        write_bye(1, &mut bye);
        assert_eq!(renumbered(&bye, Some(&OWN), None), []);
    }

    fn words(packet: &[u32]) -> Vec<u8> {
        packet.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn feedback_is_about_the_source() {
        let of = |head: u32, rest: &[u32]| words(&[&[head], rest].concat());
        // NACK: 70,003 is 4,467 in 16 bits, and 65,003 of the source's.
        let nack = of(0x81cd_0003, &[1, 0xbbbb, 4_467 << 16 | 5]);
        let expected = of(0x81cd_0003, &[0xaaaa, 21, 65_003 << 16 | 5]);
        assert_eq!(renumbered(&nack, Some(&OWN), Some(&HEARD)), expected);
        // 69,990 was of the one before.
        let nack = of(0x81cd_0003, &[1, 0xbbbb, 4_454 << 16 | 5]);
        let expected = of(0x81cd_0003, &[0xaaaa, 20, 3_454 << 16 | 5]);
        assert_eq!(renumbered(&nack, Some(&OWN), Some(&HEARD)), expected);
        // PLI, FIR, TMMBR, REMB, and the numbers of transport-wide feedback, which are of no stream.
        for (came, leaves) in [
            (
                of(0x81ce_0002, &[1, 0xbbbb]),
                of(0x81ce_0002, &[0xaaaa, 21]),
            ),
            (
                of(0x84ce_0004, &[1, 0, 0xbbbb, 1 << 24]),
                of(0x84ce_0004, &[0xaaaa, 0, 21, 1 << 24]),
            ),
            (
                of(0x83cd_0004, &[1, 0, 0xbbbb, 7]),
                of(0x83cd_0004, &[0xaaaa, 0, 21, 7]),
            ),
            (
                of(0x8fce_0005, &[1, 0, 0x5245_4d42, 0x0100_0000, 0xbbbb]),
                of(0x8fce_0005, &[0xaaaa, 0, 0x5245_4d42, 0x0100_0000, 21]),
            ),
            (
                of(0x8fcd_0004, &[1, 0xbbbb, 0x1173_0001, 0x4000_0000]),
                of(0x8fcd_0004, &[0xaaaa, 21, 0x1173_0001, 0x4000_0000]),
            ),
            (
                of(0x81cc_0002, &[1, 0x4142_4344]),
                of(0x81cc_0002, &[0xaaaa, 0x4142_4344]),
            ),
        ] {
            assert_eq!(renumbered(&came, Some(&OWN), Some(&HEARD)), leaves);
        }
    }

    #[test]
    fn numbers_far_from_where_a_source_began_are_its_own() {
        // 120,003 is 54,467 in 16 bits, and 115,003 of the source's, which is 49,467.
        let heard = Stream {
            highest: 120_010,
            ..HEARD
        };
        let nack = words(&[0x81cd_0003, 1, 0xbbbb, 54_467 << 16]);
        let expected = words(&[0x81cd_0003, 1, 21, 49_467 << 16]);
        assert_eq!(renumbered(&nack, None, Some(&heard)), expected);
    }

    #[test]
    fn what_has_no_ssrc_is_left_as_it_is() {
        // Jitter of RFC 5450, behind a report.
        let mut octets = Vec::new();
        write_report(1, None, &[], &mut octets);
        octets.extend(words(&[0x81c3_0001, 77]));
        let mut expected = Vec::new();
        write_report(0xaaaa, None, &[], &mut expected);
        expected.extend(words(&[0x81c3_0001, 77]));
        assert_eq!(renumbered(&octets, Some(&OWN), Some(&HEARD)), expected);
    }

    #[test]
    fn extended_reports_name_the_source_and_its_numbers() {
        let report = |own: u32, ssrc: u32, begin: u32, end: u32| {
            let mut packet = vec![0x80cf_0013, own];
            packet.extend([0x0400_0002, 5, 6]);
            packet.extend([0x0500_0003, ssrc, 8, 9]);
            packet.extend([0x0100_0002, ssrc, begin << 16 | end]);
            packet.extend([0x0700_0008, ssrc, 1, 2, 3, 4, 5, 6, 7]);
            packet[0] = 0x80cf_0000 | u32::try_from(packet.len() - 1).unwrap();
            words(&packet)
        };
        // 70,000 to 70,010, which is 4,474 in 16 bits.
        let came = report(1, 0xbbbb, 4_464, 4_474);
        let leaves = report(0xaaaa, 21, 65_000, 65_010);
        assert_eq!(renumbered(&came, Some(&OWN), Some(&HEARD)), leaves);
    }

    proptest! {
        #[test]
        fn no_octets_panic_or_grow(mut octets in prop::collection::vec(any::<u8>(), 0..200), kinds in any::<[u8; 3]>()) {
            // As near to RTCP as chance brings it.
            for (nth, kind) in kinds.into_iter().enumerate() {
                if let Some(head) = octets.get_mut(nth * 32..).and_then(<[u8]>::first_chunk_mut::<4>) {
                    *head = [0x80 | head[0] & 0x1f, 200 + kind % 8, 0, 7];
                }
            }
            let before = octets.len();
            let valid = validate(&octets).is_ok();
            let len = renumber(&mut octets, Some((&OWN, &mut Told::default())), Some(&HEARD));
            prop_assert!(len <= before);
            prop_assert!(!valid || len == 0 || validate(&octets[..len]).is_ok());
        }

        /// What one party says of a stream, and the other one hears, is said of what that one has sent.
        #[test]
        fn reports_lead_back(highest in 70_000_u32..90_000) {
            let mut octets = Vec::new();
            write_report(1, None, &[block(0xbbbb, highest)], &mut octets);
            let octets = renumbered(&octets, None, Some(&HEARD));
            let packets = parse(&octets).unwrap();
            let Packet::ReceiverReport { blocks, .. } = &packets[0] else { panic!("{packets:?}") };
            prop_assert_eq!(blocks[0], block(21, highest - 5_000));
        }
    }
}
