//! The classic pcap file, as tcpdump writes it (either byte order, micro- or nanoseconds).

use std::time::Duration;

/// Link type of Ethernet frames; the only one that is read here.
const ETHERNET: u32 = 1;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// A file that is not such a capture, or was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PcapError {
    /// The first bytes are not pcap's.
    #[error("not a pcap file")]
    Magic,
    /// The frames are not Ethernet.
    #[error("link type {0} instead of Ethernet")]
    LinkType(u32),
    /// The file ends inside a record: the capture was not closed.
    #[error("the capture is cut off")]
    Truncated,
}

/// A frame with the time when it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Since 1970.
    pub time: Duration,
    /// From the destination MAC on.
    pub frame: &'a [u8],
}

/// The records of a capture, one after another.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    swapped: bool,
    nanoseconds: bool,
}

impl<'a> Reader<'a> {
    /// Reads the header of a whole file.
    pub fn new(file: &'a [u8]) -> Result<Self, PcapError> {
        let (header, rest) = file.split_at_checked(FILE_HEADER).ok_or(PcapError::Magic)?;
        let (swapped, nanoseconds) = match number(header, 0, false) {
            0xa1b2_c3d4 => (false, false),
            0xa1b2_3c4d => (false, true),
            0xd4c3_b2a1 => (true, false),
            0x4d3c_b2a1 => (true, true),
            _ => return Err(PcapError::Magic),
        };
        match number(header, 20, swapped) {
            ETHERNET => Ok(Self {
                rest,
                swapped,
                nanoseconds,
            }),
            other => Err(PcapError::LinkType(other)),
        }
    }

    fn record(&mut self) -> Result<Record<'a>, PcapError> {
        let (header, rest) = self
            .rest
            .split_at_checked(RECORD_HEADER)
            .ok_or(PcapError::Truncated)?;
        let field = |at| number(header, at, self.swapped);
        let length = usize::try_from(field(8)).map_err(|_| PcapError::Truncated)?;
        let (frame, rest) = rest.split_at_checked(length).ok_or(PcapError::Truncated)?;
        let part = field(4);
        let part = if self.nanoseconds {
            Duration::from_nanos(part.into())
        } else {
            Duration::from_micros(part.into())
        };
        let time = Duration::from_secs(field(0).into()) + part;
        self.rest = rest;
        Ok(Record { time, frame })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Record<'a>, PcapError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

/// Four bytes at `at`, which is inside of `bytes`: both callers pass a header of fixed length.
fn number(bytes: &[u8], at: usize, swapped: bool) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    if swapped {
        u32::from_be_bytes(word)
    } else {
        u32::from_le_bytes(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(magic: [u8; 4], little: bool) -> Vec<u8> {
        let word = |value: u32| {
            if little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let mut file = magic.to_vec();
        file.extend_from_slice(&[0; 16]);
        file.extend_from_slice(&word(1));
        for value in [10, 500, 3, 3] {
            file.extend_from_slice(&word(value));
        }
        file.extend_from_slice(b"abc");
        file
    }

    #[test]
    fn both_byte_orders_and_units() {
        for (magic, little, nanos) in [
            ([0xd4, 0xc3, 0xb2, 0xa1], true, 500_000),
            ([0xa1, 0xb2, 0xc3, 0xd4], false, 500_000),
            ([0x4d, 0x3c, 0xb2, 0xa1], true, 500),
            ([0xa1, 0xb2, 0x3c, 0x4d], false, 500),
        ] {
            let file = file(magic, little);
            let records: Vec<_> = Reader::new(&file)
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].frame, b"abc");
            assert_eq!(records[0].time, Duration::new(10, nanos));
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let whole = file([0xd4, 0xc3, 0xb2, 0xa1], true);
        let cut = &whole[..whole.len() - 1];
        let records: Vec<_> = Reader::new(cut).unwrap().collect();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].unwrap_err(), PcapError::Truncated);
        assert_eq!(Reader::new(b"nonsense").unwrap_err(), PcapError::Magic);
        assert_eq!(Reader::new(&[0; 24]).unwrap_err(), PcapError::Magic);
    }
}
