//! What a leg of programmable voice streams to WebSocket servers, and what these play to its party.
//!
//! What comes in order from the network goes to the servers at once. Beside it, the leg has a clock of 20 ms while there
//! is a stream: at each turn what is missing is seen to, and one that is bidirectional says what the party hears next,
//! unless a job plays. It has silence sent where its server says nothing, as Twilio does, so that the way through NAT
//! stays open.
//!
//! A server that begins to speak is not kept waiting for the clock: the clock begins anew with it, after a
//! cushion for what follows. The cushion is twice as long each time that the server lets it run dry, and shrinks
//! again while it does not.

use std::collections::VecDeque;

use control::media::NewStream;
use rtp::jitter::Jitter;

use super::Law;
use crate::stream::{FRAME, Port, Track};

const FRAME_NS: u64 = 20_000_000;
/// What a server's beginning waits for what follows it, at least and at most.
const CUSHION_NS: u64 = 3_000_000;
const MOST_CUSHION_NS: u64 = 60_000_000;
/// Turns that are made up for at once after the shard was away, at most: 1 s.
const MOST_TURNS: u64 = 50;
/// A server that speaks again after less silence had run dry.
const DRY_NS: u64 = 200_000_000;
/// Frames without that, after which a shorter cushion is tried: 10 s.
const CALM: u32 = 500;
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
    /// Up to when both tracks have had their turns, which come as time passes, whatever is due.
    clock: u64,
    /// Up to when the servers were told what the party hears.
    told: u64,
    /// The last turn had nothing of the server that the party hears.
    is_dry: bool,
    /// How often that one has taken back what it said.
    cleared: u64,
    cushion: Cushion,
}

/// How long what a server says waits for what follows it.
#[derive(Debug)]
struct Cushion {
    ns: u64,
    /// When it was last heard.
    spoke: Option<u64>,
    /// Frames since it has run dry.
    calm: u32,
}

/// What the party hears of a server in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// No server is to be heard.
    Nobody,
    /// It says nothing.
    Silence,
    /// What it says.
    Audio,
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
            clock: now,
            told: now,
            is_dry: false,
            cleared: 0,
            cushion: Cushion::default(),
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

    pub(super) fn has(&self, job: u32) -> bool {
        self.open.iter().any(|open| open.job == job)
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

    /// Takes a packet of what the party says; `true` where servers have something of it to be woken for.
    pub(super) fn says(&mut self, law: Law, packet: &rtp::Packet<'_>) -> bool {
        self.says.put(packet, law.decoder());
        let (mut frame, mut is_heard) = ([0; FRAME], false);
        while self.says.ready(&mut frame) {
            is_heard |= hear(&mut self.open, Track::Inbound, &frame);
        }
        is_heard
    }

    /// Takes a packet of the other party that it hears; `true` as in [`says`](Self::says).
    pub(super) fn hears(&mut self, law: Law, packet: &rtp::Packet<'_>) -> bool {
        self.hears.put(packet, law.decoder());
        let (mut frame, mut is_heard) = ([0; FRAME], false);
        while self.hears.ready(&mut frame) {
            is_heard |= hear(&mut self.open, Track::Outbound, &frame);
            self.told += FRAME_NS;
        }
        is_heard
    }

    /// The server of a stream begins to speak: when its turn is due, where the last one had nothing of it.
    pub(super) fn wake(&mut self, now: u64) -> Option<u64> {
        if !self.is_dry {
            return None;
        }
        self.is_dry = false;
        self.due = now + self.cushion.begin(now);
        Some(self.due)
    }

    /// The jobs of all of them.
    pub(super) fn jobs(&self) -> Vec<u32> {
        self.open.iter().map(|open| open.job).collect()
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

    /// A turn of the clock: `spoken` becomes what the party is to hear of a server. While a job plays, what a server says
    /// waits.
    pub(super) fn turn(&mut self, now: u64, plays: bool, spoken: &mut [i16; FRAME]) -> Spoken {
        // The shard may have been away: what was missed is not made up for by a burst.
        self.due = (self.due + FRAME_NS).max(now.saturating_sub(FRAME_NS));
        self.open
            .retain(|open| !open.port.as_ref().is_some_and(Port::is_over));
        let mut frame = [0; FRAME];
        let turns = (now.saturating_sub(self.clock) / FRAME_NS).min(MOST_TURNS);
        self.clock += turns * FRAME_NS;
        for _ in 0..turns {
            if self.says.turn(&mut frame) {
                hear(&mut self.open, Track::Inbound, &frame);
            }
        }
        let said = if plays {
            Spoken::Nobody
        } else {
            self.speak(now, spoken)
        };
        if said != Spoken::Nobody {
            self.played.clear();
            // Words that did not wait for the clock were ahead of it.
            if said == Spoken::Audio || self.told <= now + FRAME_NS {
                self.tell(now, spoken);
            }
        } else if plays || !self.played.is_empty() {
            let rest = self.played.len().min(FRAME);
            frame.fill(0);
            frame
                .iter_mut()
                .zip(self.played.drain(..rest))
                .for_each(|(to, from)| *to = from);
            self.tell(now, &frame);
        } else {
            for _ in 0..turns {
                if self.hears.turn(&mut frame) {
                    hear(&mut self.open, Track::Outbound, &frame);
                    self.told += FRAME_NS;
                }
            }
        }
        said
    }

    /// Tells of a frame that the party hears, after the silence that there was before.
    fn tell(&mut self, now: u64, frame: &[i16; FRAME]) {
        let behind = now.saturating_sub(self.told) / FRAME_NS;
        if behind > 2 {
            for _ in 0..behind.min(MOST_TURNS) {
                hear(&mut self.open, Track::Outbound, &[0; FRAME]);
            }
            self.told += behind * FRAME_NS;
        }
        hear(&mut self.open, Track::Outbound, frame);
        self.told += FRAME_NS;
    }

    fn speak(&mut self, now: u64, spoken: &mut [i16; FRAME]) -> Spoken {
        let Some(speaker) = self.open.iter_mut().find(|open| open.bidirectional) else {
            return Spoken::Nobody;
        };
        spoken.fill(0);
        let Some(port) = &mut speaker.port else {
            return Spoken::Silence;
        };
        let cleared = port.cleared();
        if std::mem::replace(&mut self.cleared, cleared) != cleared {
            // Who is interrupted has not run dry.
            self.cushion.spoke = None;
        }
        self.is_dry = !port.play(spoken);
        if self.is_dry {
            return Spoken::Silence;
        }
        self.cushion.heard(now);
        Spoken::Audio
    }
}

impl Default for Cushion {
    fn default() -> Self {
        Self {
            ns: CUSHION_NS,
            spoke: None,
            calm: 0,
        }
    }
}

impl Cushion {
    /// The server begins: what it waits for.
    fn begin(&mut self, now: u64) -> u64 {
        if self
            .spoke
            .is_some_and(|spoke| now.saturating_sub(spoke) < DRY_NS)
        {
            self.ns = (self.ns * 2).min(MOST_CUSHION_NS);
            self.calm = 0;
        }
        self.ns
    }

    /// A frame of it is heard.
    fn heard(&mut self, now: u64) {
        self.spoke = Some(now);
        self.calm += 1;
        if self.calm == CALM {
            self.calm = 0;
            self.ns = (self.ns / 2).max(CUSHION_NS);
        }
    }
}

/// Has servers hear a frame of a track; `true` where there are any.
fn hear(open: &mut [Open], track: Track, frame: &[i16; FRAME]) -> bool {
    let mut is_heard = false;
    for open in open {
        let wants = match track {
            Track::Inbound => open.inbound,
            Track::Outbound => open.outbound,
        };
        if let Some(port) = open.port.as_mut().filter(|_| wants) {
            port.hear(track, frame);
            is_heard = true;
        }
    }
    is_heard
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that come every 20 ms, each late by what it says in milliseconds, are heard every 20 ms from the first one
    /// on: how many gaps there are between them.
    fn gaps(cushion: &mut Cushion, from: u64, late: &[u64]) -> usize {
        let comes = (0..).zip(late);
        let comes = comes.map(|(at, late)| from + at * FRAME_NS + late * 1_000_000);
        let (mut gaps, mut turn) = (0, None);
        for at in comes {
            // Who has run dry begins anew.
            let due = match turn {
                Some(turn) if at <= turn => turn,
                before => {
                    gaps += usize::from(before.is_some());
                    at + cushion.begin(at)
                }
            };
            cushion.heard(due);
            turn = Some(due + FRAME_NS);
        }
        gaps
    }

    #[test]
    fn who_is_late_by_less_than_the_cushion_has_no_gap() {
        let mut cushion = Cushion::default();
        let late: Vec<u64> = (0..500).map(|frame| frame % 3).collect();
        assert_eq!(gaps(&mut cushion, 0, &late), 0);
        assert_eq!(cushion.ns, CUSHION_NS);
    }

    #[test]
    fn who_runs_dry_has_a_longer_cushion_until_nothing_is_late() {
        let mut cushion = Cushion::default();
        let late: Vec<u64> = (0..400).map(|frame| frame * 7 % 40).collect();
        let first = gaps(&mut cushion, 0, &late);
        assert!((1..=5).contains(&first), "{first}");
        assert!(cushion.ns <= MOST_CUSHION_NS);
        // Of what it says later, less is missing, and then nothing.
        let second = gaps(&mut cushion, 9_000_000_000, &late[..80]);
        assert!(second <= 1, "{second}");
        let third = gaps(&mut cushion, 12_000_000_000, &late[..80]);
        assert_eq!(third, 0);
    }

    #[test]
    fn a_cushion_that_is_not_needed_shrinks() {
        let mut cushion = Cushion::default();
        let late: Vec<u64> = (0..50).map(|frame| frame % 2 * 40).collect();
        gaps(&mut cushion, 0, &late);
        assert!(cushion.ns > CUSHION_NS);
        let prompt = vec![0; 5_000];
        assert_eq!(gaps(&mut cushion, 2_000_000_000, &prompt), 0);
        assert_eq!(cushion.ns, CUSHION_NS);
    }
}
