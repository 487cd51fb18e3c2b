//! What a party is sent RTP with: whose SSRC and numbers, and which payload types.
//!
//! Where the node has XDP they are in the program's memory from the first packet to the last, under the port that the other
//! party sends to. So nothing is handed over when packets change from one path to the other, and a process that comes after
//! a crash goes on where they stand.

use ebpf_abi::{MAX_TYPES, Numbers, Rtp};
use rtp::rtcp::{Source, Stream, Told};

use crate::counters::Outcome;
use crate::xdp::NumbersTable;

/// The numbers of one leg's party.
#[derive(Debug, Default)]
pub(crate) struct Towards {
    place: Place,
    /// Something is changed.
    is_active: bool,
    /// SSRC, sequence number and timestamp are.
    is_one_stream: bool,
    /// What the party was told of it by senders' reports.
    pub(crate) told: Told,
    /// Payload types that are changed beyond those that the program has room for.
    more: Vec<[u8; 2]>,
}

#[derive(Debug)]
enum Place {
    Own(Box<Numbers>),
    /// The other leg's port.
    Shared(NumbersTable, u16),
}

/// Where a packet comes from, which is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From the other party, in its payload types.
    Relayed,
    /// It tells of a key in the other party's stream, in the payload type of who hears it.
    Key,
    /// From this node, likewise.
    Own,
}

impl Default for Place {
    fn default() -> Self {
        Self::Own(Box::default())
    }
}

impl Towards {
    /// Keeps them where the program has them, under the port that the other party sends to.
    pub(crate) fn share(table: &NumbersTable, port: u16) -> Self {
        table.write(port, &Numbers::default());
        Self {
            place: Place::Shared(table.clone(), port),
            ..Self::default()
        }
    }

    /// Goes on with those that an earlier process has left there.
    pub(crate) fn adopt(table: &NumbersTable, port: u16) -> Self {
        let mut adopted = Self {
            place: Place::Shared(table.clone(), port),
            ..Self::default()
        };
        adopted.look();
        adopted
    }

    /// Whether packets leave with anything else than they come with.
    pub(crate) const fn is_active(&self) -> bool {
        self.is_active
    }

    /// Whether whatever the party hears is one stream.
    pub(crate) const fn is_one_stream(&self) -> bool {
        self.is_one_stream
    }

    /// Makes one stream of whatever the party hears, or does so no longer; its SSRC is not `taken`, the party's own.
    pub(crate) fn be_one_stream(&mut self, wanted: bool, taken: u32) {
        if wanted == self.is_one_stream {
            return;
        }
        let mut numbers = self.read();
        if wanted {
            let ssrc: u32 = rand::random();
            let ssrc = if ssrc == taken { !ssrc } else { ssrc };
            numbers.begin_stream(ssrc, first_number(ssrc), rand::random());
            self.told = Told::default();
        } else {
            numbers.end_stream();
        }
        self.write(&numbers);
        self.look();
    }

    /// Says which payload types are changed, and to what. Of one that is named twice the first is meant.
    pub(crate) fn change_types(&mut self, types: impl IntoIterator<Item = [u8; 2]>) {
        let mut all: Vec<[u8; 2]> = Vec::new();
        for [from, to] in types {
            if from != to && all.iter().all(|[known, _]| *known != from) {
                all.push([from, to]);
            }
        }
        self.more = all.split_off(all.len().min(MAX_TYPES));
        let before = self.read();
        let mut numbers = before;
        numbers.set_types(all);
        // The program may be writing the rest at this moment.
        if numbers != before {
            self.write(&numbers);
            self.look();
        }
    }

    /// Whether the program can do it: it has room for so many payload types.
    pub(crate) const fn fits_program(&self) -> bool {
        self.more.is_empty()
    }

    /// Nothing is changed any more.
    pub(crate) fn stop(&mut self) {
        self.more.clear();
        if self.is_active {
            self.write(&Numbers::default());
            self.look();
        }
    }

    /// Gives an RTP packet that came at `now` (CLOCK_MONOTONIC, ns) the numbers that it leaves with, on a clock of this unit
    /// (see [`ebpf_abi::tick()`]).
    pub(crate) fn renumber(
        &mut self,
        packet: &mut [u8],
        now: u64,
        tick: u32,
        kind: Kind,
    ) -> Result<(), Outcome> {
        if !self.is_active {
            return Ok(());
        }
        let Some(header) = packet.first_chunk_mut::<12>() else {
            return Ok(());
        };
        let mut numbers = self.read();
        let before = numbers;
        let [_, octet, a, b, c, d, e, f, g, h, i, j] = *header;
        let rtp = Rtp {
            sequence: u16::from_be_bytes([a, b]),
            timestamp: u32::from_be_bytes([c, d, e, f]),
            ssrc: u32::from_be_bytes([g, h, i, j]),
        };
        let sent = match kind {
            Kind::Own => numbers.renumber_own(rtp, now, tick),
            Kind::Relayed | Kind::Key => numbers.renumber(rtp, now, tick),
        };
        let sent = sent.ok_or(Outcome::Stale)?;
        if numbers != before {
            self.write(&numbers);
        }
        if kind == Kind::Relayed {
            let more = self.more.iter().find(|[from, _]| *from == octet & 0x7f);
            header[1] = match more {
                Some([_, to]) => octet & 0x80 | to & 0x7f,
                None => numbers.payload_type(octet),
            };
        }
        header[2..4].copy_from_slice(&sent.sequence.to_be_bytes());
        header[4..8].copy_from_slice(&sent.timestamp.to_be_bytes());
        header[8..].copy_from_slice(&sent.ssrc.to_be_bytes());
        Ok(())
    }

    /// Keys have had the other party's next numbers: it begins anew with its next packet.
    pub(crate) fn pause(&mut self) {
        let mut numbers = self.read();
        numbers.pause();
        self.write(&numbers);
    }

    /// The stream as RTCP has to speak of it, where it is one.
    pub(crate) fn stream(&self) -> Option<Stream> {
        use ebpf_abi::numbers_flags::{BEGUN, SUCCEEDED};

        if !self.is_one_stream {
            return None;
        }
        let numbers = self.read();
        let source = |flag, ssrc, sequence_offset, timestamp_offset| {
            (numbers.flags & flag != 0).then_some(Source {
                ssrc,
                sequence_offset,
                timestamp_offset,
            })
        };
        Some(Stream {
            ssrc: numbers.ssrc,
            source: source(
                BEGUN,
                numbers.source,
                numbers.sequence_offset,
                numbers.timestamp_offset,
            ),
            before: source(
                SUCCEEDED,
                numbers.before,
                numbers.before_sequence_offset,
                numbers.before_timestamp_offset,
            ),
            first: numbers.first,
            highest: numbers.sequence,
            packets: match numbers.flags & BEGUN {
                0 => 0,
                _ => {
                    let first = u32::from(first_number(numbers.ssrc));
                    numbers.sequence.wrapping_sub(first).wrapping_add(1)
                }
            },
        })
    }

    fn look(&mut self) {
        let numbers = self.read();
        self.is_active = numbers.is_active();
        self.is_one_stream = numbers.is_one_stream();
    }

    fn read(&self) -> Numbers {
        match &self.place {
            Place::Own(numbers) => **numbers,
            Place::Shared(table, port) => table.read(*port),
        }
    }

    fn write(&mut self, numbers: &Numbers) {
        match &mut self.place {
            Place::Own(own) => **own = *numbers,
            Place::Shared(table, port) => table.write(*port, numbers),
        }
    }
}

/// The sequence number that a stream of this SSRC begins with, which is random as that is: so it is known how many numbers
/// the stream has had, to a process that comes after the one that began it too.
const fn first_number(ssrc: u32) -> u16 {
    (ssrc.wrapping_mul(0x9e37_79b1) >> 17) as u16
}

#[cfg(test)]
mod tests;
