//! Telephone keys that a shard presses towards a party.
//!
//! They take the place of the other party's packets, which therefore come to the shard meanwhile; and where there are
//! none, the shard's own clock makes some.

use std::net::SocketAddr;

use control::media::{Dtmf, Remote, SessionInfo, Side};
use control::{Fault, FaultCode};
use rtp::dtmf::{self, Format, Inserter, Position};
use tracing::debug;

use super::Shard;
use super::commands::not_found;
use crate::io::{PacketIo, PortIndex, monotonic_ns};
use crate::numbers::Kind;
use crate::session::{Leg, Session};

/// Keys and pauses that wait for one party at most.
const MAX_WAITING: usize = 200;
/// Between two looks at the sessions in which keys are pressed, in nanoseconds: with many of them, each is not worth a
/// look of its own; where the other party speaks, nothing but a look finds that all is pressed.
const LOOKS_APART: std::ops::RangeInclusive<u64> = 1_000_000..=50_000_000;
/// Clocks that media have, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=96_000;

impl<I: PacketIo> Shard<I> {
    pub(super) fn dtmf(&mut self, order: &Dtmf) -> Result<SessionInfo, Fault> {
        let id = order.id;
        let index = self.find(id)?;
        let steps = dtmf::dial(&order.digits, order.duration_ms, order.gap_ms)
            .map_err(|error| Fault::new(FaultCode::Invalid, error.to_string()))?;
        let session = self.relay.session_mut(index).ok_or_else(|| not_found(id))?;
        let (hearer, speaker) = session.split(order.hears);
        if hearer.keys_order == Some(order.order) {
            return Ok(session.info());
        }
        let format = hearer
            .takes_keys(speaker, order.hears)
            .map_err(|why| Fault::new(FaultCode::Conflict, why))?;
        let waiting = hearer.keys.as_ref().map_or(0, |keys| keys.waiting());
        if waiting + steps.len() > MAX_WAITING {
            let message = format!("{waiting} keys are still to be pressed: wait for some of them");
            return Err(Fault::new(FaultCode::Conflict, message));
        }

        // The program hands its packets over, and where it has come to in the stream.
        let is_new = !hearer.has_keys();
        if is_new {
            self.withdraw(index);
        }
        let session = self.relay.session_mut(index).ok_or_else(|| not_found(id))?;
        session.press(order.hears, order.order, format, steps);
        let info = session.info();
        if is_new {
            self.program(index);
        }
        if !self.pressing.contains(&index) {
            self.pressing.push(index);
        }
        self.next_press = Some(monotonic_ns());
        debug!(session = %id, hears = ?order.hears, "telephone keys are pressed");
        Ok(info)
    }

    /// Makes packets of keys where nobody speaks, and looks where all are pressed. Says in `next_press` when to do so
    /// again.
    pub(super) fn press_keys(&mut self, now: u64) {
        let (soonest, latest) = (now + LOOKS_APART.start(), now + LOOKS_APART.end());
        let mut next = latest;
        let mut at = 0;
        while let Some(&index) = self.pressing.get(at) {
            let mut is_done = true;
            if let Some(session) = self.relay.session_mut(index) {
                for leg in &mut session.legs {
                    while let Some((via, to, packet)) = leg.make_key(now) {
                        self.io.send(via, to, &packet);
                    }
                    if let Some(keys) = &leg.keys {
                        is_done &= keys.is_idle();
                        next = keys.poll_timeout().map_or(next, |due| due.min(next));
                    }
                }
            }
            if !is_done {
                at += 1;
                continue;
            }
            self.pressing.swap_remove(at);
            if let Some(session) = self.relay.session_mut(index) {
                session.legs.iter_mut().for_each(Leg::rest_keys);
            }
            self.program(index);
        }
        self.next_press = (!self.pressing.is_empty()).then(|| next.max(soonest));
    }
}

impl Session {
    /// A party is described anew, while it may be told of keys.
    pub(crate) fn follow_keys(&mut self, side: Side) {
        let [a, b] = &mut self.legs;
        if is_secret([a, b]) {
            // The numbers of SRTP are authenticated: they have to go on as they came.
            (a.keys, b.keys) = (None, None);
            // What is encrypted is noise in a recording.
            a.end_speech();
            b.end_speech();
            for voice in [a, b].into_iter().filter_map(|leg| leg.voice.as_mut()) {
                voice.recordings.clear();
            }
            return;
        }
        let leg = self.split(side).0;
        let (Some(keys), Some(remote)) = (&mut leg.keys, &leg.remote) else {
            return;
        };
        match event_format(remote).filter(|_| remote.receives) {
            Some(format) => keys.set_format(format),
            None => keys.stop(),
        }
    }

    /// Presses keys that `hears` shall hear.
    fn press(&mut self, hears: Side, order: u64, format: Format, steps: Vec<dtmf::Step>) {
        let (hearer, speaker) = self.split(hears);
        hearer.keys_order = Some(order);
        let going_on = hearer.keys.take().filter(|keys| keys.moves());
        let mut keys = going_on.unwrap_or_else(|| {
            let own = Position {
                ssrc: rand::random(),
                sequence: rand::random(),
                timestamp: rand::random(),
                at: monotonic_ns(),
            };
            Box::new(Inserter::new(format, speaker.position(), own))
        });
        keys.press(steps);
        hearer.keys = Some(keys);
    }
}

impl Leg {
    /// Whether the other party's packets have to come to the shard for the keys that this one hears.
    pub(crate) fn has_keys(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.moves())
    }

    /// How the party is told of keys, or why it cannot be.
    fn takes_keys(&self, speaker: &Self, side: Side) -> Result<Format, String> {
        let party = match side {
            Side::A => "caller",
            Side::B => "callee",
        };
        let Some(remote) = &self.remote else {
            return Err(format!("the {party} has not said yet where its media goes"));
        };
        if is_secret([self, speaker]) {
            return Err(
                "the media of this call is SRTP (or may become it), encrypted between its parties: this node has no keys \
                 to put anything into it"
                    .to_owned(),
            );
        }
        let Some(format) = event_format(remote) else {
            return Err(format!(
                "the {party} has not agreed to telephone events (RFC 4733): both parties' SDP has to \
                 have telephone-event"
            ));
        };
        if !remote.receives || self.learner.destination().is_none() {
            return Err(format!(
                "the {party} has put the call on hold and hears nothing: press keys when it has resumed"
            ));
        }
        Ok(format)
    }

    /// The next packet that is due because nobody speaks to this party.
    fn make_key(&mut self, now: u64) -> Option<(PortIndex, SocketAddr, [u8; dtmf::PACKET])> {
        let keys = self.keys.as_mut()?;
        loop {
            if keys.poll_timeout()? > now {
                return None;
            }
            let made = keys.handle_timeout(now);
            if let Some((mut packet, to)) = made.zip(self.learner.destination()) {
                let events = self.remote.as_ref().and_then(|remote| remote.events);
                let tick = events.map_or(0, |events| ebpf_abi::tick(events.audio_rate));
                if self
                    .towards
                    .renumber(&mut packet, now, tick, Kind::Key)
                    .is_ok()
                {
                    return Some((self.port, to, packet));
                }
            }
        }
    }

    /// All keys are pressed. They may have taken numbers that the other party has not used yet. Where the party hears one
    /// stream, that goes on by itself, and the packets need not come here for it.
    fn rest_keys(&mut self) {
        let rests = |keys: &Inserter| keys.is_idle() && keys.moves();
        if !self.towards.is_one_stream() {
            return;
        }
        if self.keys.take_if(|keys| rests(keys)).is_some() {
            self.towards.pause();
        }
    }

    /// Where the stream stands that the party sends.
    fn position(&self) -> Option<Position> {
        let flow = &self.received.rtp;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half is the number"
        )]
        let sequence = flow.highest as u16;
        (flow.window != 0).then_some(Position {
            ssrc: flow.ssrc,
            sequence,
            timestamp: flow.timestamp,
            at: flow.last_arrival,
        })
    }
}

/// Whether the parties encrypt what they send, as far as is known.
pub(crate) fn is_secret(legs: [&Leg; 2]) -> bool {
    let says_so = |leg: &Leg| leg.remote.as_ref().is_some_and(|remote| remote.secure);
    legs.into_iter().any(says_so) || legs.into_iter().all(|leg| leg.zrtp)
}

pub(super) fn event_format(remote: &Remote) -> Option<Format> {
    let events = remote.events?;
    let is_possible = RATES.contains(&events.clock_rate) && RATES.contains(&events.audio_rate);
    is_possible.then_some(Format {
        payload_type: events.payload_type,
        clock_rate: events.clock_rate,
        audio_rate: events.audio_rate,
    })
}
