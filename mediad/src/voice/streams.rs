//! What a leg of programmable voice streams to WebSocket servers, and what these play to its party.
//!
//! What comes in order from the network goes to the servers at once. Beside it, the leg has a clock of 20 ms while there
//! is a stream: at each turn what is missing is seen to, and one that is bidirectional says what the party hears next,
//! unless a job plays. It has silence sent where its server says nothing, as Twilio does, so that the way through NAT
//! stays open.
//!
//! A server that begins to speak is not kept waiting for the clock: the clock begins anew with it, at its [`Pace`].

use std::collections::VecDeque;

use control::media::NewStream;
use rtp::jitter::Jitter;

use super::Law;
use super::pace::{MOST_SPARE, Missed, PATIENCE_NS, Pace, leave_out};
use crate::stream::{FRAME, Port, Track};

pub(super) const FRAME_NS: u64 = 20_000_000;
/// Turns that are made up for at once after the shard was away, at most: 1 s.
const MOST_TURNS: u64 = 50;
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
    /// Samples of a beginning, less than a frame, that the last turn left there.
    tail: usize,
    /// How often that one has taken back what it said.
    cleared: u64,
    pace: Pace,
}

/// What the party hears of a server in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// No server is to be heard.
    Nobody,
    /// It says nothing.
    Silence,
    /// What it says is late, and waited for.
    Late,
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
            tail: 0,
            cleared: 0,
            pace: Pace::default(),
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
        self.due = self.pace.begin(now);
        Some(self.due)
    }

    /// The silence that there is lasts until then: the next turn need not be later.
    pub(super) fn rest(&mut self, until: u64) {
        self.due = self.due.min(until);
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

    /// A turn of the clock: `spoken` becomes what the party is to hear of a server, where the timestamps are ahead of the
    /// time by `early` nanoseconds. While a job plays, what a server says waits.
    pub(super) fn turn(
        &mut self,
        now: u64,
        early: u64,
        plays: bool,
        spoken: &mut [i16; FRAME],
    ) -> Spoken {
        let due = self.due;
        // The shard may have been away: what was missed is not made up for by a burst.
        self.due = (due + FRAME_NS).max(now.saturating_sub(FRAME_NS));
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
            self.pace.interrupt();
            Spoken::Nobody
        } else {
            self.speak(due, early, spoken)
        };
        if said != Spoken::Nobody {
            self.played.clear();
            // Words that did not wait for the clock were ahead of it.
            let is_behind = said == Spoken::Silence && self.told <= now + FRAME_NS;
            if said == Spoken::Audio || is_behind {
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

    /// What a server says in a turn that was due then; the next one may be moved.
    fn speak(&mut self, due: u64, early: u64, spoken: &mut [i16; FRAME]) -> Spoken {
        let Some(speaker) = self.open.iter_mut().find(|open| open.bidirectional) else {
            return Spoken::Nobody;
        };
        spoken.fill(0);
        let Some(port) = &mut speaker.port else {
            return Spoken::Silence;
        };
        let cleared = port.cleared();
        if std::mem::replace(&mut self.cleared, cleared) != cleared {
            self.pace.interrupt();
        }
        self.is_dry = port.lacks();
        let tail = std::mem::take(&mut self.tail);
        if self.is_dry {
            match self.pace.misses(due) {
                Missed::Waits => {
                    self.due = due + PATIENCE_NS;
                    return Spoken::Late;
                }
                // The clock goes on as if nobody had waited.
                Missed::Waited => self.due -= PATIENCE_NS,
                Missed::Nothing => {
                    // A beginning that is still coming is not torn: what stays as it is has nothing to wait for.
                    let ahead = port.ahead();
                    if ahead > tail {
                        self.tail = ahead;
                        return Spoken::Silence;
                    }
                }
            }
        }
        let spare = self.pace.spare();
        let taken = if spare > 0 && port.ahead() >= FRAME + spare {
            let mut more = [0; FRAME + MOST_SPARE];
            let more = &mut more[..FRAME + spare];
            let taken = port.play(more);
            leave_out(more, spoken);
            taken
        } else {
            port.play(spoken)
        };
        match taken {
            None => Spoken::Silence,
            // The rest of what was said, before silence.
            Some(_) if self.is_dry => Spoken::Audio,
            Some(taken) => {
                self.due -= self.pace.plays(due, taken.since, taken.rest, early);
                Spoken::Audio
            }
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
