//! What a leg plays to its party in programmable voice, and streams of it.
//!
//! Played audio is a stream of its own, with an SSRC that the leg keeps over all its jobs; who speaks to the party when
//! the two are joined has his own SSRC, as he sent it. Where the leg is to hear one stream, both are sources of that one
//! ([`numbers`](crate::numbers)): what is made here does not know of it.

mod keys;
mod pace;
mod recordings;
mod streams;

use std::sync::Arc;

use control::media::{NewStream, Play, Remote, VoiceRecord};
use rtp::dtmf::{self, Inserter, Position, TelephoneEvent};
use rtp::{Packetizer, g711};
use tokio::sync::oneshot;

use self::keys::Keys;
use self::recordings::Recordings;
use self::streams::{Spoken, Streams};
use crate::library::{Clip, RATE};
use crate::stream::{FRAME, Port};

pub(crate) use self::recordings::Loaded;

/// Packet times that are played in, in milliseconds.
const PTIMES: std::ops::RangeInclusive<u16> = 10..=60;
/// Packet time of a party that names none.
const PTIME: u16 = 20;
/// Samples of a millisecond.
const PER_MS: usize = 8;
const NS_PER_SAMPLE: u64 = 125_000;
/// Jobs that are known to have been begun.
const JOBS: usize = 64;

/// One leg of a session of programmable voice.
#[derive(Debug)]
pub(crate) struct LegVoice {
    /// The party does not hear the other one.
    pub(crate) apart: bool,
    /// The keys that the party presses are told of.
    attends: bool,
    /// While they are, or a stream is told of them.
    keys: Option<Box<Keys>>,
    player: Option<Player>,
    streams: Option<Box<Streams>>,
    /// What is recorded of the leg.
    pub(crate) recordings: Recordings,
    stream: Packetizer,
    /// When the timestamp of `stream` was right.
    at: u64,
    /// Jobs that were begun: the latest.
    begun: std::collections::VecDeque<u32>,
}

/// G.711's two laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    Mu,
    A,
}

/// How a party is played to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sound {
    law: Law,
    payload_type: u8,
    /// Samples of a packet.
    samples: usize,
}

/// What is played, or will be.
#[derive(Debug)]
struct Player {
    job: u32,
    /// Rounds that are left; `None` until it is stopped.
    loops: Option<u32>,
    /// Where its first round begins, in samples of the file.
    start: u32,
    /// Samples until it ends; `None` for as long as there are rounds.
    left: Option<u64>,
    source: Source,
    due: u64,
}

#[derive(Debug)]
enum Source {
    /// Its audio is being fetched, until this is gone.
    Waiting {
        _fetch: oneshot::Sender<()>,
    },
    Clip(Arc<Clip>, usize),
    /// Keys as events.
    Keys(Box<Inserter>),
}

/// What a look at a leg's clock led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Played {
    /// A packet was made; the next look is due then.
    Packet(u64),
    /// Nothing to send now; the next look is due then.
    Later(u64),
    /// The job is over.
    Over(u32),
    /// Nothing is due.
    Nothing,
}

impl LegVoice {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            apart: true,
            attends: false,
            keys: None,
            player: None,
            streams: None,
            recordings: Recordings::default(),
            stream: Packetizer::new(0, rand::random(), rand::random(), rand::random()),
            at: now,
            begun: std::collections::VecDeque::with_capacity(JOBS),
        }
    }

    /// Takes a packet of the party, described as `remote`; the key that it has pressed.
    pub(crate) fn hear_key(&mut self, remote: &Remote, packet: &rtp::Packet<'_>) -> Option<char> {
        let keys = self.keys.as_mut()?;
        let Some(events) = remote.events else {
            return keys.audio(Law::of(Some(remote), packet)?, packet);
        };
        if events.payload_type != packet.payload_type() {
            return None;
        }
        let event = TelephoneEvent::parse(packet.payload())?;
        keys.event(packet.timestamp(), event)
    }

    /// Tells of keys, or does so no longer.
    pub(crate) fn attend(&mut self, attends: bool) {
        self.attends = attends;
        self.follow_keys();
    }

    /// The keys that the party presses are told of.
    pub(crate) const fn attends(&self) -> bool {
        self.attends
    }

    fn follow_keys(&mut self) {
        if !self.attends && self.streams.is_none() {
            self.keys = None;
        } else if self.keys.is_none() {
            self.keys = Some(Box::default());
        }
    }

    /// Whether the party hears what is played, or nothing, and not the other party.
    pub(crate) fn is_closed(&self) -> bool {
        self.apart
            || self.plays()
            || self
                .streams
                .as_ref()
                .is_some_and(|streams| streams.speaks())
    }

    /// What the party says has to come to the shard.
    pub(crate) fn listens(&self) -> bool {
        self.attends || self.streams.is_some() || self.recordings.listen()
    }

    /// What the party hears has to come to the shard.
    pub(crate) fn overhears(&self) -> bool {
        self.streams.is_some() || self.recordings.overhear()
    }

    fn plays(&self) -> bool {
        let player = self.player.as_ref();
        player.is_some_and(|player| !matches!(player.source, Source::Waiting { .. }))
    }

    /// Begins a job whose audio is to come; what ends when it is not waited for any more.
    pub(crate) fn begin(&mut self, play: &Play) -> oneshot::Receiver<()> {
        self.remember(play.job);
        let (fetch, waits) = oneshot::channel();
        self.player = Some(Player {
            job: play.job,
            loops: (play.loops != 0).then_some(play.loops),
            start: play.start,
            left: (play.limit_ms != 0).then(|| u64::from(play.limit_ms) * PER_MS as u64),
            source: Source::Waiting { _fetch: fetch },
            due: u64::MAX,
        });
        waits
    }

    fn remember(&mut self, job: u32) {
        if self.begun.len() == JOBS {
            self.begun.pop_front();
        }
        self.begun.push_back(job);
    }

    /// Begins a stream whose port is to come: when its leg's first turn is due, or `None` where there are too many.
    pub(crate) fn begin_stream(&mut self, stream: &NewStream, now: u64) -> Option<u64> {
        self.remember(stream.job);
        let streams = self
            .streams
            .get_or_insert_with(|| Box::new(Streams::new(now)));
        let due = streams.begin(stream).then(|| streams.due());
        self.follow_keys();
        due
    }

    /// Begins a recording whose file is to come; false where there are too many.
    pub(crate) fn begin_recording(&mut self, record: &VoiceRecord) -> bool {
        self.remember(record.job);
        self.recordings.begin(record)
    }

    /// Plays the tone of a recording, in the place of what is played. Says when its first packet is due.
    pub(crate) fn beep(&mut self, job: u32, tone: Arc<Clip>, now: u64) -> u64 {
        self.player = Some(Player {
            job,
            loops: Some(1),
            start: 0,
            left: None,
            source: Source::Clip(tone, 0),
            due: now,
        });
        self.catch_up(now);
        now
    }

    /// The recording whose tone is played.
    pub(crate) fn beeping(&self) -> Option<u32> {
        let job = self.player.as_ref()?.job;
        self.recordings.waits(job).then_some(job)
    }

    /// Whether a stream waits for its port.
    pub(crate) fn is_opening(&self, job: u32) -> bool {
        let streams = self.streams.as_ref();
        streams.is_some_and(|streams| streams.is_opening(job))
    }

    /// The port of a stream has come.
    pub(crate) fn connect(&mut self, job: u32, port: Port) {
        if let Some(streams) = &mut self.streams {
            streams.connect(job, port);
        }
    }

    /// When the streams have their next turn.
    pub(crate) fn turn_due(&self) -> Option<u64> {
        self.streams.as_ref().map(|streams| streams.due())
    }

    /// Gives the streams their turn, and makes the next packet in `out` where they have one.
    pub(crate) fn turn(&mut self, now: u64, sound: Option<Sound>, out: &mut Vec<u8>) {
        out.clear();
        let plays = self.plays();
        let Some(streams) = &mut self.streams else {
            return;
        };
        let mut frame = [0; FRAME];
        let early = self.at.saturating_sub(now);
        let spoken = streams.turn(now, early, plays, &mut frame);
        // Words that did not wait for the clock have put the packets ahead of it.
        let is_ahead = spoken == Spoken::Silence && early > 0;
        if is_ahead {
            streams.rest(self.at);
        }
        if self.streams.take_if(|streams| streams.is_empty()).is_some() {
            self.follow_keys();
        }
        let frame_ns = FRAME as u64 * NS_PER_SAMPLE;
        if now.saturating_sub(self.at) > 2 * frame_ns {
            self.catch_up(now);
        }
        if is_ahead || matches!(spoken, Spoken::Nobody | Spoken::Late) {
            return;
        }
        self.at += frame_ns;
        if let Some(sound) = sound {
            self.stream.set_payload_type(sound.payload_type);
            // In the packet time of the stream, which a party has to take (RFC 4566 section 6 of ptime).
            let sound = Sound {
                samples: FRAME,
                ..sound
            };
            sound.encode(&frame, &mut self.stream, out);
            self.recordings.hears_own(sound.law, out, now);
        } else {
            self.stream.silence(u32::try_from(FRAME).unwrap_or(0));
        }
    }

    /// Takes a packet of what the party says; `true` where streams have something of it.
    pub(crate) fn says(
        &mut self,
        remote: Option<&Remote>,
        packet: &rtp::Packet<'_>,
        arrival: u64,
    ) -> bool {
        let Some(law) = Law::of(remote, packet).filter(|_| self.listens()) else {
            return false;
        };
        self.recordings.says(law, packet, arrival);
        let streams = self.streams.as_mut();
        streams.is_some_and(|streams| streams.says(law, packet))
    }

    /// Takes a packet that the party hears of the other one, whose description is `other`; `true` where streams have
    /// something of it.
    pub(crate) fn hears(
        &mut self,
        other: Option<&Remote>,
        packet: &rtp::Packet<'_>,
        arrival: u64,
    ) -> bool {
        let Some(law) = Law::of(other, packet).filter(|_| self.overhears()) else {
            return false;
        };
        self.recordings.hears(law, packet, arrival);
        let streams = self.streams.as_mut();
        streams.is_some_and(|streams| streams.hears(law, packet))
    }

    /// Ends all streams: their jobs.
    pub(crate) fn end_streams(&mut self) -> Vec<u32> {
        let streams = self.streams.take();
        self.follow_keys();
        streams.map_or_else(Vec::new, |streams| streams.jobs())
    }

    /// The server of a stream begins to speak: when the turn for it is due, unless the stream is over.
    pub(crate) fn wake(&mut self, job: u32, now: u64) -> Option<u64> {
        let streams = self.streams.as_mut().filter(|streams| streams.has(job))?;
        streams.wake(now)
    }

    /// Tells streams of a key that the party has pressed.
    pub(crate) fn digit(&mut self, digit: char) {
        if let Some(streams) = &mut self.streams {
            streams.digit(digit);
        }
    }

    /// The audio of a job has come, which may be stopped by now. Says when the first packet is due.
    pub(crate) fn start(&mut self, job: u32, clip: Arc<Clip>, now: u64) -> Option<u64> {
        let start = self.player.as_ref().map_or(0, |player| player.start);
        let from = u64::from(start) * u64::from(RATE) / u64::from(clip.rate.max(1));
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let from = from.min(clip.samples.len());
        self.start_source(job, Source::Clip(clip, from), now)
    }

    /// Plays a job as keys.
    pub(crate) fn press(
        &mut self,
        job: u32,
        format: dtmf::Format,
        steps: Vec<dtmf::Step>,
        now: u64,
    ) -> Option<u64> {
        self.catch_up(now);
        let own = Position {
            ssrc: self.stream.ssrc(),
            sequence: self.stream.sequence().wrapping_sub(1),
            timestamp: self.stream.timestamp(),
            at: now,
        };
        let mut keys = Box::new(Inserter::new(format, None, own));
        keys.press(steps);
        self.start_source(job, Source::Keys(keys), now)
    }

    fn start_source(&mut self, job: u32, source: Source, now: u64) -> Option<u64> {
        let player = self.player.as_mut().filter(|player| player.job == job)?;
        if !matches!(player.source, Source::Waiting { .. }) {
            return None;
        }
        player.source = source;
        player.due = now;
        self.catch_up(now);
        Some(now)
    }

    /// The clock of the stream goes on while nothing is played.
    fn catch_up(&mut self, now: u64) {
        let passed = now.saturating_sub(self.at) / NS_PER_SAMPLE;
        #[expect(clippy::cast_possible_truncation, reason = "timestamps wrap")]
        self.stream.silence(passed as u32);
        self.at += passed * NS_PER_SAMPLE;
    }

    /// Whether a job was begun, and may be over.
    pub(crate) fn has_begun(&self, job: u32) -> bool {
        self.begun.contains(&job)
    }

    /// When the next packet is due.
    pub(crate) fn due(&self) -> Option<u64> {
        self.player.as_ref().map(|player| player.due)
    }

    /// Ends a job whose audio is not to be had; `true` where it was this leg's, and waited for it.
    pub(crate) fn gives_up(&mut self, job: u32) -> bool {
        let waits =
            |player: &Player| player.job == job && matches!(player.source, Source::Waiting { .. });
        self.player.take_if(|player| waits(player)).is_some()
    }

    /// Ends a job, if it is this leg's and not over.
    pub(crate) fn stop(&mut self, job: u32) {
        self.player.take_if(|player| player.job == job);
        if let Some(streams) = &mut self.streams {
            streams.stop(job);
        }
        self.streams.take_if(|streams| streams.is_empty());
        self.follow_keys();
        self.recordings.stop(job);
    }

    /// Ends whatever is played, streamed and recorded.
    pub(crate) fn stop_all(&mut self) {
        self.player = None;
        self.streams = None;
        self.follow_keys();
        self.recordings.clear();
    }

    /// Makes the next packet in `out`, where one is due.
    pub(crate) fn look(&mut self, now: u64, sound: Option<Sound>, out: &mut Vec<u8>) -> Played {
        out.clear();
        let Some(player) = self.player.as_mut().filter(|player| player.due <= now) else {
            return Played::Nothing;
        };
        let job = player.job;
        match &mut player.source {
            Source::Waiting { .. } => Played::Nothing,
            Source::Keys(keys) => {
                if let Some(packet) = keys.handle_timeout(now) {
                    out.extend_from_slice(&packet);
                    self.stream.skip();
                }
                let Some(due) = keys.poll_timeout() else {
                    self.player = None;
                    return Played::Over(job);
                };
                player.due = due;
                if out.is_empty() {
                    Played::Later(due)
                } else {
                    Played::Packet(due)
                }
            }
            Source::Clip(clip, from) => {
                if *from >= clip.samples.len() {
                    player.loops = player.loops.map(|loops| loops - 1);
                    if player.loops == Some(0) || clip.samples.is_empty() {
                        self.player = None;
                        return Played::Over(job);
                    }
                    *from = 0;
                }
                // A party that cannot be played to at the moment, such as one that holds, misses what is played.
                let samples = sound.map_or(PTIME as usize * PER_MS, |sound| sound.samples);
                if player.left == Some(0) {
                    self.player = None;
                    return Played::Over(job);
                }
                player.left = player.left.map(|left| left.saturating_sub(samples as u64));
                let rest = clip.samples.get(*from..).unwrap_or_default();
                let piece = rest.get(..samples).unwrap_or(rest);
                *from += samples;
                if let Some(streams) = &mut self.streams {
                    streams.plays(piece, samples);
                }
                if let Some(sound) = sound {
                    self.stream.set_payload_type(sound.payload_type);
                    sound.encode(piece, &mut self.stream, out);
                    self.recordings.hears_own(sound.law, out, now);
                } else {
                    self.stream.silence(u32::try_from(samples).unwrap_or(0));
                }
                let lasts = samples as u64 * NS_PER_SAMPLE;
                self.at += lasts;
                // The shard may have been away: what was missed is not made up for by a burst.
                player.due = (player.due + lasts).max(now.saturating_sub(lasts));
                match sound {
                    Some(_) => Played::Packet(player.due),
                    None => Played::Later(player.due),
                }
            }
        }
    }
}

impl Law {
    /// The law of a packet of a party that describes itself so.
    fn of(remote: Option<&Remote>, packet: &rtp::Packet<'_>) -> Option<Self> {
        match packet.payload_type() {
            0 => Some(Self::Mu),
            8 => Some(Self::A),
            other => {
                let sound = remote.and_then(Sound::of);
                sound
                    .filter(|sound| sound.payload_type == other)
                    .map(|sound| sound.law)
            }
        }
    }

    pub(crate) const fn decoder(self) -> fn(u8) -> i16 {
        match self {
            Self::Mu => g711::decode_ulaw,
            Self::A => g711::decode_alaw,
        }
    }
}

impl Sound {
    /// How a party is played to that describes itself so; `None` where no law of G.711 is its format.
    pub(crate) fn of(remote: &Remote) -> Option<Self> {
        let format = &remote.format;
        let law = match (format.encoding.as_str(), format.payload_type) {
            (name, _) if name.eq_ignore_ascii_case("PCMU") => Law::Mu,
            (name, _) if name.eq_ignore_ascii_case("PCMA") => Law::A,
            ("", 0) => Law::Mu,
            ("", 8) => Law::A,
            _ => return None,
        };
        let ptime = match format.ptime_ms {
            0 => PTIME,
            ms => ms.clamp(*PTIMES.start(), *PTIMES.end()),
        };
        Some(Self {
            law,
            payload_type: format.payload_type,
            samples: usize::from(ptime) * PER_MS,
        })
    }

    /// A packet of `piece`, filled up with silence.
    fn encode(self, piece: &[i16], stream: &mut Packetizer, out: &mut Vec<u8>) {
        let mut payload = [0; 60 * PER_MS];
        let (encode, silence): (fn(i16) -> u8, u8) = match self.law {
            Law::Mu => (g711::encode_ulaw, g711::ULAW_SILENCE),
            Law::A => (g711::encode_alaw, g711::ALAW_SILENCE),
        };
        let payload = payload.get_mut(..self.samples).unwrap_or_default();
        payload.fill(silence);
        for (octet, sample) in payload.iter_mut().zip(piece) {
            *octet = encode(*sample);
        }
        let units = u32::try_from(self.samples).unwrap_or(0);
        stream.packet(payload, units, out);
    }
}
