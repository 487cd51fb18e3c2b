//! What a shard plays to the parties of programmable voice, and who of them hears whom.

use std::cmp::Reverse;
use std::sync::Arc;

use control::Fault;
use control::media::{
    Audio, AudioTrouble, Event, NewStream, Play, Remote, SessionId, SessionInfo, Side,
    StreamTrouble, VoiceEvent, VoiceOrder, VoiceRecord,
};
use rtp::dtmf;
use rtp::round_trip::RoundTrip;

use tokio::sync::oneshot;

use super::Shard;
use super::commands::not_found;
use super::keys::{event_format, is_secret};
use super::recordings;
use crate::io::{PacketIo, monotonic_ns};
use crate::library::Clip;
use crate::numbers::Kind;
use crate::session::{Leg, Session};
use crate::stream::Port;
use crate::voice::{LegVoice, Played, Sound};

/// How long a key is pressed, and the silence after it, in milliseconds.
pub(crate) const KEY_MS: u16 = 100;
pub(crate) const GAP_MS: u16 = 100;

/// The clock of what is played: that of G.711.
const OWN_TICK: u32 = ebpf_abi::tick(8_000);

/// When a leg is to be looked at: nanoseconds, the session's index, and its side.
pub(super) type Due = Reverse<(u64, u32, bool)>;

/// What came of orders.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) session: SessionInfo,
    /// Streams that are to be opened, each for a [`Command::Stream`](super::Command::Stream).
    pub(crate) streams: Vec<NewStream>,
    /// What is to be played once its audio is there, each for a [`Command::Clip`](super::Command::Clip), and what ends when
    /// it is stopped before.
    pub(crate) plays: Vec<(Play, oneshot::Receiver<()>)>,
    /// Recordings whose files are to be made, each for a [`Command::Reel`](super::Command::Reel).
    pub(crate) recordings: Vec<VoiceRecord>,
}

impl<I: PacketIo> Shard<I> {
    pub(super) fn voice(&mut self, id: SessionId, orders: Vec<VoiceOrder>) -> Result<Begun, Fault> {
        let index = self.find(id)?;
        let (mut streams, mut recordings, mut plays) = (Vec::new(), Vec::new(), Vec::new());
        // The program hands over its packets, and gets them back below where it may.
        self.withdraw(index);
        for order in orders {
            match order {
                VoiceOrder::Stream(stream) => {
                    streams.extend(self.begin_stream(id, index, *stream));
                }
                VoiceOrder::Record(record) => {
                    recordings.extend(self.begin_record(id, index, record));
                }
                VoiceOrder::Play(play) => {
                    let waits = self.begin_play(id, index, &play);
                    plays.extend(waits.map(|waits| (play, waits)));
                }
                order => self.do_order(index, &order),
            }
        }
        self.program(index);
        let session = self.relay.session(index).ok_or_else(|| not_found(id))?;
        let session = session.info();
        Ok(Begun {
            session,
            streams,
            plays,
            recordings,
        })
    }

    fn do_order(&mut self, index: u32, order: &VoiceOrder) {
        let Some(session) = self.relay.session_mut(index) else {
            return;
        };
        let now = monotonic_ns();
        match *order {
            VoiceOrder::Attach => session.attach(now),
            VoiceOrder::Join(joined) => {
                session.attach(now);
                for voice in session.legs.iter_mut().filter_map(|leg| leg.voice.as_mut()) {
                    voice.apart = !joined;
                }
            }
            VoiceOrder::Vacate(side) => {
                session.vacate(side);
                self.unlearn(index, side);
            }
            VoiceOrder::Stop { job } => {
                for voice in session.legs.iter_mut().filter_map(|leg| leg.voice.as_mut()) {
                    voice.stop(job);
                }
            }
            VoiceOrder::Pause { job, how } => {
                let how = recordings::pause(how);
                for voice in session.legs.iter_mut().filter_map(|leg| leg.voice.as_mut()) {
                    voice.recordings.pause(job, how, now);
                }
            }
            VoiceOrder::Attend(attends) => {
                session.attach(now);
                for voice in session.legs.iter_mut().filter_map(|leg| leg.voice.as_mut()) {
                    voice.attend(attends);
                }
            }
            // They have been seen to; what listens is a stream here.
            VoiceOrder::Play(_)
            | VoiceOrder::Record(_)
            | VoiceOrder::Stream(_)
            | VoiceOrder::Listen(_) => {}
        }
    }

    /// Begins a stream; it is to be opened, unless it was begun before or cannot be.
    fn begin_stream(&mut self, id: SessionId, index: u32, stream: NewStream) -> Option<NewStream> {
        let now = monotonic_ns();
        let session = self.relay.session_mut(index)?;
        session.attach(now);
        let (leg, other) = session.split(stream.side);
        let is_deaf = fault_of(leg, other).is_some();
        let voice = leg.voice.as_mut()?;
        if voice.has_begun(stream.job) {
            return None;
        }
        let due = (!is_deaf).then(|| voice.begin_stream(&stream, now));
        if let Some(Some(_)) = due {
            self.schedule(due.flatten(), index, stream.side);
            return Some(stream);
        }
        let job = stream.job;
        let result = Err(StreamTrouble::Media);
        self.tell(id, VoiceEvent::StreamEnded { job, result });
        None
    }

    /// The port of a stream, which may have been stopped meanwhile.
    pub(super) fn connect(&mut self, id: SessionId, job: u32, port: Port) {
        let index = self.by_id.get(&id);
        let Some(session) = index.and_then(|index| self.relay.session_mut(*index)) else {
            return;
        };
        let mut voices = session.legs.iter_mut().filter_map(|leg| leg.voice.as_mut());
        if let Some(voice) = voices.find(|voice| voice.is_opening(job)) {
            voice.connect(job, port);
        }
    }

    /// The server of a stream begins to speak, whose port had nothing to play.
    pub(super) fn begin_speech(&mut self, id: SessionId, job: u32) {
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        let now = monotonic_ns();
        for side in [Side::A, Side::B] {
            let session = self.relay.session_mut(index);
            let due =
                session.and_then(|session| session.split(side).0.voice.as_mut()?.wake(job, now));
            if due.is_some() {
                self.schedule(due, index, side);
            }
        }
    }

    /// Begins a job. What is no keys as events waits for [`clip`](Self::clip): what ends when it waits no more.
    fn begin_play(
        &mut self,
        id: SessionId,
        index: u32,
        play: &Play,
    ) -> Option<oneshot::Receiver<()>> {
        let now = monotonic_ns();
        let session = self.relay.session_mut(index)?;
        session.attach(now);
        let voice = session.split(play.hears).0.voice.as_ref()?;
        // It may be brought twice.
        if voice.has_begun(play.job) {
            return None;
        }
        self.cut_beep(id, index, play.hears);
        let session = self.relay.session_mut(index)?;
        let (leg, other) = session.split(play.hears);
        let fault = fault_of(leg, other);
        let voice = leg.voice.as_mut()?;
        let waits = voice.begin(play);
        if let Some(why) = fault {
            voice.stop(play.job);
            let result = Err(AudioTrouble::Engine(why.to_owned()));
            self.tell(
                id,
                VoiceEvent::Played {
                    job: play.job,
                    result,
                },
            );
            return None;
        }
        let Audio::Keys(keys) = &play.audio else {
            return Some(waits);
        };
        let Some(format) = leg.remote.as_ref().and_then(takes_events) else {
            return Some(waits);
        };
        match dtmf::dial(keys, KEY_MS, GAP_MS) {
            Ok(steps) => {
                let due = voice.press(play.job, format, steps, now);
                self.schedule(due, index, play.hears);
            }
            Err(error) => {
                voice.stop(play.job);
                let result = Err(AudioTrouble::Format(error.to_string()));
                self.tell(
                    id,
                    VoiceEvent::Played {
                        job: play.job,
                        result,
                    },
                );
            }
        }
        None
    }

    /// The audio of a job, which may have been stopped meanwhile, or be played as events.
    pub(super) fn clip(&mut self, id: SessionId, job: u32, clip: &Result<Arc<Clip>, AudioTrouble>) {
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        self.withdraw(index);
        for side in [Side::A, Side::B] {
            let Some(session) = self.relay.session_mut(index) else {
                return;
            };
            let Some(voice) = session.split(side).0.voice.as_mut() else {
                continue;
            };
            match clip {
                Ok(clip) => {
                    let due = voice.start(job, clip.clone(), monotonic_ns());
                    self.schedule(due, index, side);
                }
                Err(trouble) => {
                    if voice.gives_up(job) {
                        let result = Err(trouble.clone());
                        self.tell(id, VoiceEvent::Played { job, result });
                    }
                }
            }
        }
        self.program(index);
    }

    /// Sends what is due to be heard.
    pub(super) fn speak(&mut self, now: u64) {
        while let Some(&Reverse((at, index, is_b))) = self.speaking.peek() {
            if at > now {
                break;
            }
            self.speaking.pop();
            let side = if is_b { Side::B } else { Side::A };
            self.speak_to(index, side, at, now);
        }
        if std::mem::take(&mut self.relay.streamed) {
            self.bell.ring();
        }
    }

    fn speak_to(&mut self, index: u32, side: Side, at: u64, now: u64) {
        let Some(session) = self.relay.session_mut(index) else {
            return;
        };
        let id = session.id;
        let is_secret = is_secret([&session.legs[0], &session.legs[1]]);
        let leg = session.split(side).0;
        let hears = leg
            .remote
            .as_ref()
            .filter(|remote| remote.receives && !is_secret);
        let sound = hears.and_then(Sound::of);
        let Some(voice) = leg.voice.as_mut() else {
            return;
        };
        // A look that another one has come before is of nothing.
        if voice.turn_due() == Some(at) && is_secret {
            // What is encrypted meanwhile is noise to a server.
            for job in voice.end_streams() {
                let result = Err(StreamTrouble::Media);
                self.tell(id, VoiceEvent::StreamEnded { job, result });
            }
            self.program(index);
            return;
        }
        if voice.turn_due() == Some(at) {
            voice.turn(now, sound, &mut self.spoken);
            let due = voice.turn_due();
            let plays_now = voice.due() == Some(at);
            if !self.spoken.is_empty() {
                leg.say(&mut self.io, &mut self.spoken, now);
            }
            self.relay.streamed = true;
            if due.is_none() {
                self.program(index);
            }
            self.schedule(due, index, side);
            if plays_now {
                self.schedule(Some(at), index, side);
            }
            return;
        }
        if voice.due() != Some(at) {
            return;
        }
        let played = voice.look(now, sound, &mut self.spoken);
        match played {
            Played::Packet(due) => {
                leg.say(&mut self.io, &mut self.spoken, now);
                self.schedule(Some(due), index, side);
            }
            Played::Later(due) => self.schedule(Some(due), index, side),
            Played::Over(job) if voice.recordings.waits(job) => {
                self.start_recording(id, index, side, job);
                self.program(index);
            }
            Played::Over(job) => {
                self.tell(
                    id,
                    VoiceEvent::Played {
                        job,
                        result: Ok(()),
                    },
                );
                self.program(index);
            }
            Played::Nothing => {}
        }
    }

    /// Tells of the keys that parties pressed in this turn.
    pub(super) fn tell_keys(&mut self) {
        // The list is taken for the while, since the sessions lie beside it.
        let mut keys = std::mem::take(&mut self.relay.keys);
        for (index, side, digit) in keys.drain(..) {
            let Some(session) = self.relay.session_mut(index) else {
                continue;
            };
            let id = session.id;
            let Some(voice) = &mut session.split(side).0.voice else {
                continue;
            };
            voice.digit(digit);
            if voice.attends() {
                self.tell(id, VoiceEvent::Digit { side, digit });
            }
        }
        self.relay.keys = keys;
    }

    pub(super) fn schedule(&mut self, due: Option<u64>, index: u32, side: Side) {
        self.speaking
            .extend(due.map(|at| Reverse((at, index, side == Side::B))));
    }

    pub(super) fn tell(&self, id: SessionId, event: VoiceEvent) {
        self.events.push(Event::Voice { id, event });
    }
}

impl Session {
    /// The session becomes one of programmable voice, if it is none.
    pub(super) fn attach(&mut self, now: u64) {
        for leg in &mut self.legs {
            leg.voice
                .get_or_insert_with(|| Box::new(LegVoice::new(now)));
        }
        self.let_in();
        self.expect_from(now);
    }

    fn vacate(&mut self, side: Side) {
        let (leg, other) = self.split(side);
        leg.remote = None;
        leg.keys = None;
        leg.zrtp = false;
        leg.trip = RoundTrip::default();
        leg.forget_sources();
        if let Some(voice) = &mut leg.voice {
            voice.stop_all();
        }
        // Who comes next hears a stream of its own, and has numbers of its own.
        leg.towards.stop();
        if let Some(remote) = &mut other.remote {
            remote.types.clear();
        }
        self.follow_numbers();
    }
}

impl Leg {
    /// Sends the party a packet of what is played to it; none while it hears keys, which would break up as two sources of
    /// one stream do.
    fn say(&mut self, io: &mut impl PacketIo, packet: &mut [u8], now: u64) {
        let Some(to) = self.learner.destination() else {
            return;
        };
        if self.keys.as_ref().is_some_and(|keys| !keys.is_idle()) {
            return;
        }
        if self
            .towards
            .renumber(packet, now, OWN_TICK, Kind::Own)
            .is_ok()
        {
            io.send(self.port, to, packet);
        }
    }
}

/// Why a party can be neither played to nor listened to, as far as is known.
pub(super) fn fault_of(leg: &Leg, other: &Leg) -> Option<&'static str> {
    match &leg.remote {
        Some(_) if is_secret([leg, other]) => {
            Some("the party's media is encrypted, and this node has no keys of it")
        }
        Some(remote) if Sound::of(remote).is_none() => {
            Some("the party takes neither PCMU nor PCMA")
        }
        _ => None,
    }
}

fn takes_events(remote: &Remote) -> Option<dtmf::Format> {
    event_format(remote).filter(|_| remote.receives)
}
