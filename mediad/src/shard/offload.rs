//! The shard's side of the XDP datapath: which of its ports the program forwards, and with what.
//!
//! Each port of a session has a slot. It forwards when the source on this leg was learned, the other
//! party can be reached, and the next hop is known; otherwise it passes packets to the shard and only
//! says whose port it is, so that a process that comes after a crash finds the sessions again.
//!
//! A source that falls silent loses its slot, because only the shard can judge who sends instead; it
//! gets it back with its next packet.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use control::media::{MediaFilter, Path, SessionId, Side};
use ebpf_abi::{Hop, Identity, Route, Slot};
use tracing::{info, warn};

use super::Shard;
use crate::io::{PacketIo, monotonic_ns};
use crate::learn::Position;
use crate::numbers::Towards;
use crate::record::Tap;
use crate::session::{Leg, Reception, Session, side_index};
use crate::tap::{Ear, Overheard, Tapper};
use crate::xdp::{FlowTable, Mode, NumbersTable, SlotTable, SourceTable};

/// Adopted sessions that nobody has asked for since are dropped after this much silence, in
/// nanoseconds: whoever made them is gone for good.
const ORPHAN: u64 = 120_000_000_000;

/// Packets that come to the shard between two looks, and none to the program, before a leg is the shard's.
const STRAYS: u64 = 5;

/// Finds next hops. Never waits: what is not known yet is `None`, is looked for, and
/// [`Command::HopsChanged`](super::Command::HopsChanged) follows.
pub(crate) trait Hops: Send + Sync + fmt::Debug {
    /// How packets from the local address `source` reach `destination` on their first link. `None`
    /// also for what XDP cannot reach: addresses of this machine, devices without the program.
    fn hop(&self, source: IpAddr, destination: IpAddr) -> Option<Hop>;
}

/// The datapath of a shard that has one.
#[derive(Debug, Clone)]
pub(crate) struct Offload {
    pub(crate) slots: SlotTable,
    pub(crate) flows: FlowTable,
    pub(crate) numbers: NumbersTable,
    pub(crate) sources: SourceTable,
    pub(crate) mode: Mode,
    pub(crate) hops: Arc<dyn Hops>,
    /// Where the program can copy packets.
    pub(crate) tapper: Option<Tapper>,
}

/// A session as its slots tell it.
#[derive(Debug, Clone)]
pub(crate) struct Adopted {
    pub(crate) id: SessionId,
    /// The slots of its ports.
    pub(crate) slots: Vec<(u16, Slot)>,
}

impl Offload {
    pub(crate) const fn path(&self) -> Path {
        match self.mode {
            Mode::Native => Path::Xdp,
            Mode::Generic => Path::XdpGeneric,
        }
    }

    /// Brings the slots of a session to what they should be.
    fn sync(&self, session: &mut Session, now: u64) {
        let [a, b] = &mut session.legs;
        self.sync_leg(session.id, Side::A, a, b, now);
        self.sync_leg(session.id, Side::B, b, a, now);
    }

    fn sync_leg(&self, id: SessionId, side: Side, leg: &mut Leg, other: &Leg, now: u64) {
        let leg_number = u8::from(side == Side::B);
        let clock_rate = leg
            .remote
            .as_ref()
            .map_or(0, |remote| remote.format.clock_rate);
        let silent = leg.learner.is_silent(now);
        leg.contested = leg.learner.is_contested(now);
        let peer = leg.learner.source();

        let identity = Identity {
            session: id.0,
            leg: leg_number,
            rtcp: false,
        };
        let route = route(leg.local, peer, other.local, other.learner.destination());
        // RTCP that ends here, or is to be copied, comes to the shard.
        let rtcp_goes_on = !other.hears_ours(leg) && !leg.is_monitored();
        let muxed = leg.muxes() && other.muxes() && rtcp_goes_on;
        // RTCP about a stream whose numbers are this node's is the shard's to translate.
        let reports_here = leg.towards.is_one_stream() || other.towards.is_one_stream();
        let renumbers = other.towards.is_active();
        let renumber = |slot: Slot| if renumbers { slot.renumbered() } else { slot };
        let is_plain = self.is_plain(leg, other);
        self.tap(leg);
        leg.copied = leg.ear.is_some();
        let tapped = leg.copied;
        let may = !silent && !leg.received.strayed;
        let (tos, spacing) = (other.tos, leg.received.spacing);
        let forwarding = (may && is_plain)
            .then(|| self.forwarding(identity, &route, clock_rate))
            .flatten()
            .map(renumber)
            .map(|slot| {
                if muxed && !reports_here {
                    slot
                } else {
                    slot.pass_rtcp()
                }
            })
            .map(|slot| slot.mark(tos).cap(spacing))
            .map(|slot| if tapped { slot.tapped() } else { slot })
            .map(|slot| {
                if leg.contested {
                    slot.pass_sources()
                } else {
                    slot
                }
            });
        let passing = Slot::passing(identity, &route, clock_rate);
        // A process that comes after this one knows of no silence to put in: it hands nothing on.
        let is_muted = leg.muted || leg.handling.filter.media != MediaFilter::Pass;
        let passing = renumber(if is_muted { passing.muted() } else { passing });
        let port = leg.local.port();
        let received = &mut leg.received;
        received.handed_over = self.put(port, forwarding, passing, received, false);

        let identity = Identity {
            rtcp: true,
            ..identity
        };
        let (source, destination) = if other.muxes() {
            (other.local, other.learner.destination())
        } else {
            (
                other.control_local(),
                other.control.destination(other.learner.source()),
            )
        };
        let local = leg.control_local();
        let route = self::route(local, leg.control.source(), source, destination);
        let forwarding = (may && rtcp_goes_on && !other.is_closed() && !reports_here)
            .then(|| self.forwarding(identity, &route, 0))
            .flatten()
            .map(|slot| slot.mark(tos).cap(spacing))
            .map(|slot| {
                if leg.control.is_contested() {
                    slot.pass_sources()
                } else {
                    slot
                }
            });
        let passing = Slot::passing(identity, &route, 0);
        self.put(local.port(), forwarding, passing, &mut leg.received, true);
    }

    /// Whether the program can do all that is to be done with what the party sends.
    fn is_plain(&self, leg: &Leg, other: &Leg) -> bool {
        !leg.muted
            && leg.handling.filter.is_off()
            && !leg.is_monitored()
            && leg.is_rtp()
            && other.is_rtp()
            && !leg.listens()
            && other.towards.fits_program()
            && (leg.tap.is_none() || self.tapper.is_some())
            && !other.is_spoken_to()
    }

    /// Lets a recording have what the program copies of the party's packets; before a slot asks for copies.
    fn tap(&self, leg: &mut Leg) {
        let wanted = leg.tap.as_ref().map(Tap::number);
        if leg.ear.as_ref().map(Ear::number) == wanted {
            return;
        }
        let tapper = self.tapper.as_ref().zip(leg.tap.as_ref());
        leg.ear = tapper.map(|(tapper, tap)| tapper.hear(leg.local.port(), tap));
    }

    fn forwarding(&self, identity: Identity, route: &Route, clock_rate: u32) -> Option<Slot> {
        if route.peer.port() == 0 || route.destination.port() == 0 {
            return None;
        }
        let hop = self.hops.hop(route.source.ip(), route.destination.ip())?;
        // The kernel keeps the tag that it, or the card, has taken off a packet beside it, where the generic program neither
        // sees nor changes it: what is sent on would have that one too.
        if self.mode == Mode::Generic {
            let back = self.hops.hop(route.local.ip(), route.peer.ip());
            let is_tagged = |hop: &Hop| hop.tags.iter().any(Option::is_some);
            if is_tagged(&hop) || back.as_ref().is_some_and(is_tagged) {
                return None;
            }
        }
        Slot::forwarding(identity, route, &hop, clock_rate).ok()
    }

    /// Writes a slot if it differs from the one in force, and hands the flow to whoever counts from
    /// now on. Says whether the program forwards; where it cannot, `passing` is the slot.
    fn put(
        &self,
        port: u16,
        forwarding: Option<Slot>,
        passing: Slot,
        received: &mut Reception,
        control: bool,
    ) -> bool {
        let forwards = forwarding.is_some();
        let slot = forwarding.unwrap_or(passing);
        let before = self.slots.read(port);
        let same = before.is_some_and(|before| {
            Slot {
                generation: 0,
                ..before
            } == slot
        });
        if same {
            return forwards;
        }
        let forwarded = before.is_some_and(|before| before.is_forwarding());
        if forwards && !forwarded {
            received.hand_over(&self.flows, port, control);
        }
        self.slots.write(port, &slot);
        if forwarded && !forwards {
            received.take_back(&self.flows, port, control);
        }
        forwards
    }

    /// Frees the ports of a session.
    fn clear(&self, session: &mut Session) {
        for leg in &mut session.legs {
            for (port, control) in [
                (leg.local.port(), false),
                (leg.control_local().port(), true),
            ] {
                let forwarded = self
                    .slots
                    .read(port)
                    .is_some_and(|slot| slot.is_forwarding());
                self.slots.clear(port);
                if forwarded {
                    leg.received.take_back(&self.flows, port, control);
                }
            }
            leg.received.handed_over = false;
        }
    }

    /// Forgets what was kept of a session's sources for the next process.
    pub(super) fn forget_sources(&self, session: &Session) {
        for leg in &session.legs {
            if leg.received.sources.is_some() {
                self.sources.remove(leg.local.port());
            }
        }
    }

    /// Reads what the program has counted.
    fn read(&self, session: &mut Session) {
        let mut last = session.last_activity;
        for leg in &mut session.legs {
            if leg.received.xdp_since.is_some() {
                let flow = self.flows.read(leg.local.port());
                leg.received.rtp = flow;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the low half is the number"
                )]
                let sequence = flow.highest as u16;
                leg.learner.seen(
                    flow.last_arrival,
                    Position {
                        ssrc: flow.ssrc,
                        sequence,
                    },
                );
                last = last.max(flow.last_arrival);
            }
            if leg.received.control_by_xdp {
                leg.received.rtcp = self.flows.read(leg.control_local().port());
                last = last.max(leg.received.rtcp.last_arrival);
            }
        }
        if last > session.last_activity {
            session.last_activity = last;
            session.timed_out = false;
        }
    }
}

impl Reception {
    /// Notes when the program passes all that it should forward, as where the driver does not let it change the length
    /// of a header: from then on the leg is the shard's, which says so.
    fn look_for_strays(&mut self) {
        let (packets, beside) = (self.rtp.packets, self.beside);
        let (packets_before, beside_before) =
            std::mem::replace(&mut self.looked_at, (packets, beside));
        let strays = beside.saturating_sub(beside_before);
        self.strayed |= self.handed_over && strays >= STRAYS && packets == packets_before;
    }

    /// The program counts from now on.
    fn hand_over(&mut self, flows: &FlowTable, port: u16, control: bool) {
        if control {
            flows.write(port, &self.rtcp);
            self.control_by_xdp = true;
        } else {
            flows.write(port, &self.rtp);
            self.xdp_since = Some(self.rtp.packets);
        }
    }

    /// The shard counts from now on.
    fn take_back(&mut self, flows: &FlowTable, port: u16, control: bool) {
        if control {
            self.rtcp = flows.read(port);
            self.control_by_xdp = false;
        } else if let Some(since) = self.xdp_since.take() {
            self.rtp = flows.read(port);
            self.xdp_before += self.rtp.packets.saturating_sub(since);
            // What came beside the program was no gap.
            self.rtp.last_arrival = self.rtp.last_arrival.max(self.beside_at);
        }
    }
}

impl<I: PacketIo> Shard<I> {
    /// Lets the program forward what it may of a session.
    pub(super) fn program(&mut self, index: u32) {
        let Some(offload) = &self.offload else { return };
        if let Some(session) = self.relay.session_mut(index) {
            offload.sync(session, monotonic_ns());
        }
    }

    pub(super) fn program_all(&mut self) {
        let Some(offload) = &self.offload else { return };
        let now = monotonic_ns();
        for (_, session) in self.relay.sessions_mut() {
            // What an adopted session's slots know is not known here before it is described again.
            if !session.unclaimed {
                offload.sync(session, now);
            }
        }
    }

    /// Keeps the numbers of a new session where the program has them, if there is one.
    pub(super) fn share_numbers(&self, session: &mut Session) {
        let Some(offload) = &self.offload else { return };
        let [a, b] = &mut session.legs;
        a.towards = Towards::share(&offload.numbers, b.local.port());
        b.towards = Towards::share(&offload.numbers, a.local.port());
    }

    /// Takes a session off the program: its packets come to the shard.
    pub(super) fn withdraw(&mut self, index: u32) {
        let Some(offload) = &self.offload else { return };
        if let Some(session) = self.relay.session_mut(index) {
            offload.clear(session);
        }
    }

    /// Leaves no slot of this shard behind.
    pub(super) fn clear_slots(&mut self) {
        let Some(offload) = &self.offload else { return };
        for (_, session) in self.relay.sessions_mut() {
            offload.clear(session);
        }
    }

    /// What RTCP that the program has forwarded says of the ways to the parties.
    pub(super) fn overhear(&mut self, reports: &[Overheard]) {
        for overheard in reports {
            let port = self.index_of(overheard.port);
            self.relay
                .overhear(port, overheard.report, overheard.arrival);
        }
    }

    pub(super) fn read_flows(&mut self, index: u32) {
        let Some(offload) = &self.offload else { return };
        if let Some(session) = self.relay.session_mut(index) {
            offload.read(session);
        }
    }

    /// Reads the flows, and moves legs that fell silent, or sound again, from one path to the other.
    pub(super) fn look_after_slots(&mut self, now: u64) {
        let Some(offload) = &self.offload else { return };
        let mut offloaded = 0;
        let mut orphans = Vec::new();
        for (_, session) in self.relay.sessions_mut() {
            offload.read(session);
            if session.unclaimed {
                if now.saturating_sub(session.last_activity) > ORPHAN {
                    orphans.push(session.id);
                }
                continue;
            }
            for leg in &mut session.legs {
                leg.received.look_for_strays();
            }
            let [a, b] = &session.legs;
            let changed = [(a, b), (b, a)].into_iter().any(|(leg, other)| {
                let may = offload.is_plain(leg, other)
                    && leg.learner.source().is_some()
                    && !leg.learner.is_silent(now)
                    && !leg.received.strayed;
                leg.received.handed_over != may
                    || leg.contested != leg.learner.is_contested(now)
                    || leg.copied != leg.ear.is_some()
            });
            if changed {
                offload.sync(session, now);
            }
            offloaded += session
                .legs
                .iter()
                .filter(|leg| leg.received.handed_over)
                .count() as u64;
        }
        self.gauges.offloaded.store(offloaded, Ordering::Relaxed);
        for id in orphans {
            warn!(session = %id, "an adopted session was claimed by nobody and is silent: dropped");
            self.command(super::Command::Delete(
                id,
                tokio::sync::oneshot::channel().0,
            ));
            self.gauges.dropped.push(id);
        }
    }

    /// Takes over sessions that an earlier process has left to the program. Their slots stay as they
    /// are, so that no packet notices. Says which could be taken over.
    pub(super) fn adopt(&mut self, sessions: Vec<Adopted>) -> Vec<SessionId> {
        let mut taken = Vec::new();
        for adopted in sessions {
            let id = adopted.id;
            match self.adopt_one(&adopted) {
                Ok(()) => taken.push(id),
                Err(reason) => {
                    warn!(session = %id, reason, "cannot adopt a session of the process before");
                    if let Some(offload) = &self.offload {
                        for (port, _) in &adopted.slots {
                            offload.slots.clear(*port);
                            offload.sources.remove(*port);
                        }
                    }
                }
            }
        }
        self.publish_load();
        if !taken.is_empty() {
            info!(
                sessions = taken.len(),
                shard = self.config.number,
                "adopted sessions"
            );
        }
        taken
    }

    fn adopt_one(&mut self, adopted: &Adopted) -> Result<(), String> {
        let Some(offload) = self.offload.clone() else {
            return Err("XDP is off".to_owned());
        };
        let by_place: HashMap<(u8, bool), (u16, Slot)> = adopted
            .slots
            .iter()
            .map(|(port, slot)| {
                let identity = slot.identity();
                ((identity.leg, identity.rtcp), (*port, *slot))
            })
            .collect();
        let route_of = |leg: u8, rtcp: bool| {
            by_place
                .get(&(leg, rtcp))
                .map(|(port, slot)| slot.route(*port))
        };
        let (Some(route_a), Some(route_b)) = (route_of(0, false), route_of(1, false)) else {
            return Err("a leg has no slot".to_owned());
        };
        let leg_a = self
            .reopen_leg(route_a.local)
            .map_err(|fault| fault.message)?;
        let leg_b = match self.reopen_leg(route_b.local) {
            Ok(leg) => leg,
            Err(fault) => {
                self.close_leg(&leg_a);
                return Err(fault.message);
            }
        };
        let now = monotonic_ns();
        let mut session = Session::new(adopted.id, String::new(), [leg_a, leg_b], now);
        session.unclaimed = true;
        for (side, number) in [(Side::A, 0_u8), (Side::B, 1)] {
            let Some(leg) = session.legs.get_mut(side_index(side)) else {
                continue;
            };
            if let Some(route) = route_of(1 - number, false).filter(|r| r.destination.port() != 0) {
                leg.learner.assume(route.destination);
            }
            if let Some(route) = route_of(number, false).filter(|r| r.peer.port() != 0) {
                leg.learner.restore(route.peer, now);
            }
            if let Some(route) = route_of(number, true).filter(|r| r.peer.port() != 0) {
                leg.control.restore(route.peer);
            }
            if let Some((port, slot)) = by_place.get(&(number, false)) {
                leg.received.tick = slot.tick;
                leg.received.spacing = slot.spacing;
                leg.muted = slot.is_muted();
                if slot.is_forwarding() {
                    leg.received.rtp = offload.flows.read(*port);
                    leg.received.sources = offload.sources.read(*port);
                    leg.received.xdp_since = Some(0);
                    leg.received.handed_over = true;
                }
            }
            if let Some((_, slot)) = by_place.get(&(number, true)) {
                leg.received.control_by_xdp = slot.is_forwarding();
            }
            if let Some((port, slot)) = by_place.get(&(1 - number, false)) {
                leg.towards = match slot.is_renumbered() {
                    true => Towards::adopt(&offload.numbers, *port),
                    false => Towards::share(&offload.numbers, *port),
                };
                leg.handling.one_stream = leg.towards.is_one_stream();
            }
        }
        let index = self.relay.insert(session);
        self.by_id.insert(adopted.id, index);
        Ok(())
    }
}

fn route(
    local: SocketAddr,
    peer: Option<SocketAddr>,
    source: SocketAddr,
    destination: Option<SocketAddr>,
) -> Route {
    let nowhere = |like: SocketAddr| {
        let ip: IpAddr = match like {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(ip, 0)
    };
    Route {
        local,
        peer: peer.unwrap_or_else(|| nowhere(local)),
        source,
        destination: destination.unwrap_or_else(|| nowhere(source)),
    }
}
