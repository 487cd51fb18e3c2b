//! What a leg of programmable voice streams to WebSocket servers, and what these play to its party.
//!
//! While there is a stream, its leg has a clock of 20 ms: at each turn every stream hears a frame of what it wants, and
//! one that is bidirectional says what the party hears next, unless a job plays. It has silence sent where its server
//! says nothing, as Twilio does, so that the way through NAT stays open.

use std::collections::VecDeque;

use control::media::NewStream;
use rtp::jitter::Jitter;

use super::Law;
use crate::stream::{FRAME, Port, Track};

const FRAME_NS: u64 = 20_000_000;
/// Samples of what is played that wait to be heard at most: two packets of 60 ms.
const PLAYED: usize = 960;
/// Streams of a leg at most; Twilio has four tracks of a call streamed at once.
const STREAMS: usize = 8;

/// The streams of a leg.
#[derive(Debug)]
pub(crate) struct Streams {
    open: Vec<Open>,
    /// What the party says.
    says: Jitter,
    /// What it hears of the other party.
    hears: Jitter,
    /// What was played to it and no turn has had yet.
    played: VecDeque<i16>,
    due: u64,
}

#[derive(Debug)]
struct Open {
    job: u32,
    inbound: bool,
    outbound: bool,
    bidirectional: bool,
    /// Until it is there, the stream is being opened.
    port: Option<Port>,
}

impl Streams {
    pub(super) fn new(now: u64) -> Self {
        Self {
            open: Vec::new(),
            says: Jitter::default(),
            hears: Jitter::default(),
            played: VecDeque::with_capacity(PLAYED),
            due: now,
        }
    }

    /// Makes room for a stream; false where there are too many.
    pub(super) fn begin(&mut self, stream: &NewStream) -> bool {
        if self.open.len() == STREAMS {
            return false;
        }
        self.open.push(Open {
            job: stream.job,
            inbound: stream.inbound,
            outbound: stream.outbound,
            bidirectional: stream.bidirectional,
            port: None,
        });
        true
    }

    pub(super) fn is_opening(&self, job: u32) -> bool {
        self.open
            .iter()
            .any(|open| open.job == job && open.port.is_none())
    }

    pub(super) fn connect(&mut self, job: u32, port: Port) {
        if let Some(open) = self.open.iter_mut().find(|open| open.job == job) {
            open.port = Some(port);
        }
    }

    pub(super) fn stop(&mut self, job: u32) {
        self.open.retain(|open| open.job != job);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The party hears a server.
    pub(super) fn speaks(&self) -> bool {
        self.open.iter().any(|open| open.bidirectional)
    }

    pub(super) const fn due(&self) -> u64 {
        self.due
    }

    /// Takes a packet of what the party says.
    pub(super) fn says(&mut self, law: Law, packet: &rtp::Packet<'_>) {
        take(&mut self.says, law, packet);
    }

    /// Takes a packet of the other party that it hears.
    pub(super) fn hears(&mut self, law: Law, packet: &rtp::Packet<'_>) {
        take(&mut self.hears, law, packet);
    }

    /// Takes what is played to the party: `samples`, of which those after `piece` are silence.
    pub(super) fn plays(&mut self, piece: &[i16], samples: usize) {
        for at in 0..samples {
            if self.played.len() == PLAYED {
                self.played.pop_front();
            }
            self.played.push_back(piece.get(at).copied().unwrap_or(0));
        }
    }

    /// Tells of a key of the party.
    pub(super) fn digit(&mut self, digit: char) {
        for port in self.open.iter_mut().filter_map(|open| open.port.as_mut()) {
            port.digit(digit);
        }
    }

    /// A turn of the clock: `spoken` becomes what the party is to hear, where this is true. While a job plays, what a
    /// server says waits.
    pub(super) fn turn(&mut self, now: u64, plays: bool, spoken: &mut [i16; FRAME]) -> bool {
        // The shard may have been away: what was missed is not made up for by a burst.
        self.due = (self.due + FRAME_NS).max(now.saturating_sub(FRAME_NS));
        self.open
            .retain(|open| !open.port.as_ref().is_some_and(Port::is_over));
        let (mut said, mut heard) = ([0; FRAME], [0; FRAME]);
        self.says.take(&mut said);
        self.hears.take(&mut heard);
        spoken.fill(0);
        let speaker = self.open.iter_mut().find(|open| open.bidirectional);
        let speaks = speaker.is_some() && !plays;
        if let Some(port) = speaker
            .filter(|_| speaks)
            .and_then(|open| open.port.as_mut())
        {
            port.play(spoken);
        }
        if speaks {
            self.played.clear();
            heard = *spoken;
        } else if plays || !self.played.is_empty() {
            let rest = self.played.len().min(FRAME);
            heard.fill(0);
            heard
                .iter_mut()
                .zip(self.played.drain(..rest))
                .for_each(|(to, from)| *to = from);
        }
        for open in &mut self.open {
            let Some(port) = &mut open.port else { continue };
            if open.inbound {
                port.hear(Track::Inbound, &said);
            }
            if open.outbound {
                port.hear(Track::Outbound, &heard);
            }
        }
        speaks
    }
}

fn take(jitter: &mut Jitter, law: Law, packet: &rtp::Packet<'_>) {
    jitter.put(
        packet.ssrc(),
        packet.timestamp(),
        packet.payload(),
        law.decoder(),
    );
}
