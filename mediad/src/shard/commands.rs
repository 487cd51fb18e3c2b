//! What a shard does when it is told to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use control::media::{
    Carried, Create, Family, Leg as LegRequest, Modify, Mute, Path, Remote, SessionId, SessionInfo,
    SessionStats, Side, Surveyed, Top,
};
use control::{Fault, FaultCode};
use tracing::{debug, warn};

use super::{Command, IoMode, Shard};
use crate::io::{self as packet_io, PacketIo, PortIndex, monotonic_ns};
use crate::ports::{Kept, Taken};
use crate::session::{Leg, Reception, Session, side_index};

/// Pairs that are tried for a leg, when other processes have their ports.
const MAX_TRIES: usize = 128;

impl<I: PacketIo> Shard<I> {
    pub(super) fn command(&mut self, command: Command) {
        // A reply that cannot be delivered had a client that has left; the next one repeats it.
        match command {
            Command::Create(create, reply) => drop(reply.send(self.create(create))),
            Command::Modify(modify, reply) => drop(reply.send(self.modify(modify))),
            Command::Mute(mute, reply) => drop(reply.send(self.mute(mute))),
            Command::Dtmf(order, reply) => drop(reply.send(self.dtmf(&order))),
            Command::Monitor(monitor, reply) => drop(reply.send(self.monitor(monitor))),
            Command::Unmonitor(monitor, reply) => {
                self.unmonitor(monitor);
                drop(reply.send(Ok(())));
            }
            Command::Record(id, taps, how, reply) => {
                drop(reply.send(self.record(id, taps, how)));
            }
            Command::Pause(id, how, reply) => drop(reply.send(self.pause(id, how))),
            Command::Unrecord(id, number) => self.unrecord(id, number),
            Command::Overheard(reports) => self.overhear(&reports),
            Command::Ended(ended) => self.end_sources(&ended),
            Command::Voice(id, orders, reply) => drop(reply.send(self.voice(id, orders))),
            Command::Clip(id, job, clip) => self.clip(id, job, &clip),
            Command::Stream(id, job, port) => self.connect(id, job, port),
            Command::Speak(id, job) => self.begin_speech(id, job),
            Command::Reel(id, job, reel) => self.reel(id, job, reel),
            Command::Recorded(id, job) => self.recorded(id, job),
            Command::Survey(ids, reply) => drop(reply.send(Ok(self.survey(&ids)))),
            Command::Top(most, reply) => drop(reply.send(Ok(self.top(most.into())))),
            Command::Query(id, reply) => drop(reply.send(self.query(id))),
            Command::Delete(id, reply) => drop(reply.send(Ok(self.delete(id)))),
            Command::List(owner, reply) => drop(reply.send(Ok(self.list(&owner)))),
            Command::Adopt(sessions, reply) => drop(reply.send(Ok(self.adopt(sessions)))),
            Command::HopsChanged => self.program_all(),
            Command::Set(settings) => self.config.set = settings,
            Command::Stop(_) => {}
        }
    }

    /// Makes a session; for one that is there, does what [`modify`](Self::modify) and
    /// [`mute`](Self::mute) do.
    fn create(&mut self, create: Create) -> Result<SessionInfo, Fault> {
        let Create {
            id,
            owner,
            a,
            b,
            apart,
        } = create;
        if let Some(&index) = self.by_id.get(&id) {
            if let Some(session) = self.relay.session_mut(index) {
                session.owner = owner;
                session.mute(a.muted, b.muted);
                if apart {
                    session.attach(monotonic_ns());
                }
            }
            return self.modify(Modify {
                id,
                a: a.remote,
                b: b.remote,
                handling: [Some(a.handling), Some(b.handling)],
            });
        }
        let leg_a = self.open_leg(&a)?;
        let leg_b = match self.open_leg(&b) {
            Ok(leg) => leg,
            Err(fault) => {
                self.close_leg(&leg_a);
                return Err(fault);
            }
        };
        let now = monotonic_ns();
        let mut session = Session::new(id, owner, [leg_a, leg_b], now);
        session.mute(a.muted, b.muted);
        self.share_numbers(&mut session);
        if apart {
            session.attach(now);
        }
        if let Err(fault) = check_remotes(&session, [&a.remote, &b.remote]) {
            session.legs.iter().for_each(|leg| self.close_leg(leg));
            return Err(fault);
        }
        let index = self.relay.insert(session);
        self.by_id.insert(id, index);
        self.publish_load();
        debug!(session = %id, "session created");
        self.modify(Modify {
            id,
            a: a.remote,
            b: b.remote,
            handling: [Some(a.handling), Some(b.handling)],
        })
    }

    fn modify(&mut self, modify: Modify) -> Result<SessionInfo, Fault> {
        let Modify { id, a, b, handling } = modify;
        let index = self.find(id)?;
        let now = monotonic_ns();
        let session = self.relay.session(index).ok_or_else(|| not_found(id))?;
        check_remotes(session, [&a, &b])?;
        let [handling_a, handling_b] = handling;
        for (side, handling) in [(Side::A, handling_a), (Side::B, handling_b)] {
            let Some(handling) = handling else { continue };
            let session = self.relay.session_mut(index).ok_or_else(|| not_found(id))?;
            // Of an adopted leg only the bound address is known.
            let name = handling.interface.as_deref();
            let family = Family::of(&session.split(side).0.local);
            let found = self.config.set.interfaces.find(name, family);
            let leg = session.split(side).0;
            if let Ok((bind, advertised)) = found
                && bind == leg.local.ip()
            {
                leg.advertised = advertised;
            }
            let ports = [leg.port, leg.control_port()];
            let tos = handling.tos.or(self.config.set.tos);
            let is_marked_anew = std::mem::replace(&mut leg.tos, tos) != tos;
            let has_moved = session.handle(side, handling);
            if is_marked_anew {
                self.mark(ports, tos);
            }
            if has_moved {
                self.unlearn(index, side);
            }
        }
        for (side, remote) in [(Side::A, a), (Side::B, b)] {
            let Some(remote) = remote else { continue };
            let session = self.relay.session_mut(index).ok_or_else(|| not_found(id))?;
            if session.describe(side, remote, now) {
                self.unlearn(index, side);
            }
        }
        let rate_cap = self.config.set.rate_cap;
        if let Some(session) = self.relay.session_mut(index) {
            session.cap(rate_cap);
        }
        // Directions and formats reach the datapath too.
        self.program(index);
        let session = self.relay.session(index).ok_or_else(|| not_found(id))?;
        Ok(session.info())
    }

    /// Sets the TOS byte of what leaves by these ports' sockets, the first of which is for RTP.
    fn mark(&mut self, ports: [PortIndex; 2], tos: Option<u8>) {
        for port in ports {
            if let Err(error) = self.io.mark(port, tos.unwrap_or(0)) {
                warn!(%error, ?tos, "cannot set the TOS byte of a media socket");
                self.unmarked.insert(ports[0]);
            }
        }
    }

    fn mute(&mut self, mute: Mute) -> Result<SessionInfo, Fault> {
        let Mute { id, a, b } = mute;
        let index = self.find(id)?;
        let session = self.relay.session_mut(index).ok_or_else(|| not_found(id))?;
        session.mute(a, b);
        let info = session.info();
        // A session that was adopted is programmed when it is described again.
        if !session.unclaimed {
            self.program(index);
        }
        Ok(info)
    }

    fn query(&mut self, id: SessionId) -> Result<SessionStats, Fault> {
        let index = self.find(id)?;
        self.read_flows(index);
        let stats = self
            .relay
            .session(index)
            .map(|session| self.full_stats(session));
        stats.ok_or_else(|| not_found(id))
    }

    /// As the last tick has read them.
    fn survey(&mut self, ids: &[SessionId]) -> Vec<Surveyed> {
        let found = ids.iter().filter_map(|id| self.by_id.get(id).copied());
        let mut surveyed = Vec::with_capacity(ids.len());
        for index in found {
            let path = self
                .relay
                .session(index)
                .map(|session| self.path_of(session));
            let session = self.relay.session_mut(index);
            surveyed.extend(
                session
                    .zip(path)
                    .map(|(session, path)| session.survey(path)),
            );
        }
        surveyed
    }

    /// As the last tick has read them.
    fn top(&mut self, most: usize) -> Top {
        let mut top = Top::default();
        let mut ranked = Vec::with_capacity(self.by_id.len());
        for &index in self.by_id.values() {
            let Some(session) = self.relay.session(index) else {
                continue;
            };
            let stats = self.stats(session);
            top.sessions += 1;
            for flow in [&stats.from_a, &stats.from_b] {
                top.packets += flow.packets;
                top.packets_xdp += flow.packets_xdp;
                top.lost += flow.lost;
                top.refused += flow.refused;
            }
            ranked.push((stats.rank(), index));
        }
        ranked.sort_unstable();
        for (_, index) in ranked.into_iter().take(most) {
            top.worst
                .extend(self.relay.session(index).map(|session| Carried {
                    owner: session.owner.clone(),
                    stats: self.stats(session),
                }));
        }
        top
    }

    fn delete(&mut self, id: SessionId) -> Option<SessionStats> {
        let index = self.by_id.remove(&id)?;
        self.withdraw(index);
        let mut session = self.relay.remove(index)?;
        for leg in &mut session.legs {
            leg.received.sum_up();
        }
        if let Some(offload) = &self.offload {
            offload.forget_sources(&session);
        }
        session.legs.iter().for_each(|leg| self.close_leg(leg));
        self.close_monitors(&session);
        self.publish_load();
        debug!(session = %id, "session deleted");
        // Nothing takes a path any more: what counts is the one that was taken.
        Some(SessionStats {
            path: self.path_taken(&session),
            ..self.full_stats(&session)
        })
    }

    fn list(&mut self, owner: &str) -> Vec<SessionId> {
        self.relay
            .sessions_mut()
            .filter(|(_, session)| owner.is_empty() || session.owner == owner)
            .map(|(_, session)| session.id)
            .collect()
    }

    pub(super) fn find(&self, id: SessionId) -> Result<u32, Fault> {
        self.by_id.get(&id).copied().ok_or_else(|| not_found(id))
    }

    /// With the sources.
    fn full_stats(&self, session: &Session) -> SessionStats {
        let [a, b] = &session.legs;
        let now = monotonic_ns();
        SessionStats {
            from_a: a.full_stats(b, now),
            from_b: b.full_stats(a, now),
            ..self.stats(session)
        }
    }

    fn stats(&self, session: &Session) -> SessionStats {
        let [a, b] = &session.legs;
        let now = monotonic_ns();
        SessionStats {
            id: session.id,
            from_a: a.stats(b, now),
            from_b: b.stats(a, now),
            path: self.path_of(session),
            silent_ms: now.saturating_sub(session.last_activity) / 1_000_000,
        }
    }

    fn path_of(&self, session: &Session) -> Path {
        let offloaded = session
            .legs
            .iter()
            .any(|leg| leg.received.xdp_since.is_some());
        self.path(offloaded)
    }

    /// The path of most of the packets that have come.
    fn path_taken(&self, session: &Session) -> Path {
        let sum = |count: fn(&Reception) -> u64| -> u64 {
            session.legs.iter().map(|leg| count(&leg.received)).sum()
        };
        let by_xdp = sum(Reception::packets_xdp);
        self.path(by_xdp > sum(Reception::packets).saturating_sub(by_xdp))
    }

    fn path(&self, offloaded: bool) -> Path {
        match (&self.offload, self.config.io) {
            (Some(offload), _) if offloaded => offload.path(),
            (_, IoMode::Uring) => Path::IoUring,
            (_, IoMode::Sockets) => Path::Sockets,
        }
    }

    /// Takes ports for a leg and opens them.
    pub(super) fn open_leg(&mut self, request: &LegRequest) -> Result<Leg, Fault> {
        let name = request.handling.interface.as_deref();
        let (bind, advertised) = self.config.set.interfaces.find(name, request.family)?;
        let place = Place {
            bind,
            advertised,
            tos: request.handling.tos.or(self.config.set.tos),
        };
        if let Some(taken) = request.port.and_then(|port| self.pool.take_this(port)) {
            match self.open_pair(place, taken) {
                Ok(leg) => return Ok(leg),
                // Another process has it by now: any other will do.
                Err(error) => {
                    debug!(port = taken.port, %error, "a media port that was asked for is not free");
                }
            }
            self.give_bare(taken.port);
        }
        let mut busy = Vec::new();
        let leg = self.open_any(place, &mut busy);
        for port in busy {
            self.give_bare(port);
        }
        leg
    }

    fn open_any(&mut self, place: Place, busy: &mut Vec<u16>) -> Result<Leg, Fault> {
        while busy.len() < MAX_TRIES {
            let taken = self.pool.take(place.bind, monotonic_ns());
            let Some(taken) = taken else { break };
            match self.open_pair(place, taken) {
                Ok(leg) => return Ok(leg),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    self.gauges.ports_busy.fetch_add(1, Ordering::Relaxed);
                    busy.push(taken.port);
                }
                Err(error) => {
                    self.give_bare(taken.port);
                    if !(is_exhaustion(&error) && self.close_any()) {
                        return Err(open_fault(&error, place.bind));
                    }
                }
            }
        }
        let others = if busy.is_empty() {
            String::new()
        } else {
            format!(" ({} pairs are held by other processes)", busy.len())
        };
        Err(Fault::new(
            FaultCode::Exhausted,
            format!("every media port of this node is in use{others}: widen [media] ports"),
        ))
    }

    /// Lets a leg have a pair with the sockets that it has kept, or with new ones.
    fn open_pair(&mut self, place: Place, taken: Taken) -> io::Result<Leg> {
        let local = SocketAddr::new(place.bind, taken.port);
        let mut leg = Leg::new(self.index_of(taken.port), local, place.advertised);
        let is_handed_on = self.hand_on(&leg, taken.kept);
        if !is_handed_on {
            let rtp = packet_io::bind(local)?;
            let rtcp = packet_io::bind(leg.control_local())?;
            self.io.open(leg.port, rtp)?;
            if let Err(error) = self.io.open(leg.control_port(), rtcp) {
                self.io.close(leg.port);
                return Err(error);
            }
        }
        leg.tos = place.tos;
        let marked = taken
            .kept
            .filter(|_| is_handed_on)
            .map_or(0, |kept| kept.tos);
        if leg.tos.unwrap_or(0) != marked {
            self.mark([leg.port, leg.control_port()], leg.tos);
        }
        Ok(leg)
    }

    /// Lets a leg have the sockets that its pair has kept. `false` where it has none on the leg's address, or one that
    /// packets for somebody else may be left in: it has none then.
    fn hand_on(&mut self, leg: &Leg, kept: Option<Kept>) -> bool {
        let Some(kept) = kept else {
            return false;
        };
        let ports = [leg.port, leg.control_port()];
        let mut empty = ports.iter().map(|port| self.io.hand_on(*port));
        let is_ready = kept.address == leg.local.ip() && empty.all(|empty| empty.is_ok());
        if !is_ready {
            self.close_pair(leg.local.port());
        }
        is_ready
    }

    /// Gives a leg's pair back. Its sockets, of which nothing is left but the TOS byte, are kept for another leg or closed;
    /// one that is connected to its peer is closed in any case.
    pub(super) fn close_leg(&mut self, leg: &Leg) {
        let port = leg.local.port();
        self.io.disconnect(leg.port);
        self.io.disconnect(leg.control_port());
        let is_marked = self.unmarked.is_empty() || !self.unmarked.remove(&leg.port);
        let kept = is_marked.then(|| Kept {
            address: leg.local.ip(),
            tos: leg.tos.unwrap_or(0),
        });
        if !self.pool.give(port, kept, monotonic_ns()) {
            self.close_pair(port);
        }
    }

    /// Closes the sockets of a pair.
    pub(super) fn close_pair(&mut self, port: u16) {
        self.io.close(self.index_of(port));
        self.io.close(self.index_of(port + 1));
    }

    /// Closes sockets of a free pair, for somebody who needs their descriptors; `false` where there are none.
    pub(super) fn close_any(&mut self) -> bool {
        let port = self.pool.forget_any();
        if let Some(port) = port {
            self.close_pair(port);
        }
        port.is_some()
    }

    /// Gives a pair back that has no sockets.
    fn give_bare(&mut self, port: u16) {
        let is_kept = self.pool.give(port, None, monotonic_ns());
        debug_assert!(!is_kept, "there is nothing to keep");
    }

    /// Takes back the ports of a leg that an earlier process had.
    pub(super) fn reopen_leg(&mut self, local: SocketAddr) -> Result<Leg, Fault> {
        let pair = self.config.set.interfaces.bound_to(local.ip());
        let gone = || {
            Fault::new(
                FaultCode::Invalid,
                format!("{local} is not of this shard any more"),
            )
        };
        let (bind, advertised) = pair.ok_or_else(gone)?;
        let taken = self.pool.take_this(local.port()).ok_or_else(gone)?;
        let place = Place {
            bind,
            advertised,
            tos: self.config.set.tos,
        };
        self.open_pair(place, taken).map_err(|error| {
            self.give_bare(local.port());
            open_fault(&error, bind)
        })
    }
}

/// Where a leg has its ports.
#[derive(Debug, Clone, Copy)]
struct Place {
    bind: IpAddr,
    /// What its party is told.
    advertised: IpAddr,
    tos: Option<u8>,
}

pub(super) fn not_found(id: SessionId) -> Fault {
    Fault::new(
        FaultCode::NotFound,
        format!("there is no media session {id}"),
    )
}

/// Whether a session can use what its parties' descriptions say; by [`side_index`].
///
/// Asked before anything changes, so that a request that is refused leaves all as it was.
fn check_remotes(session: &Session, remotes: [&Option<Remote>; 2]) -> Result<(), Fault> {
    for side in [Side::A, Side::B] {
        let index = side_index(side);
        if let Some(remote) = remotes[index] {
            check_remote(session, side, &session.legs[index], remote)?;
        }
    }
    Ok(())
}

fn check_remote(session: &Session, side: Side, leg: &Leg, remote: &Remote) -> Result<(), Fault> {
    let id = session.id;
    let invalid = |message| Err(Fault::new(FaultCode::Invalid, message));
    for address in [remote.rtp, remote.rtcp] {
        if session.owns(address) {
            return invalid(format!(
                "session {id}: {address} is the session's own port; packets would go in a circle"
            ));
        }
        let family = Family::of(&leg.local);
        if Family::of(&address) != family {
            return invalid(format!(
                "session {id}: leg {side:?} was made for {family:?}, and {address} is not of that \
                 family; make a session with the right one"
            ));
        }
    }
    Ok(())
}

/// Whether a socket could not be made because there are too many.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    matches!(
        code,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

fn open_fault(error: &io::Error, bind: IpAddr) -> Fault {
    match error.raw_os_error() {
        Some(_) if is_exhaustion(error) => Fault::new(
            FaultCode::Exhausted,
            format!("no more sockets can be opened ({error}): raise the limit of open files"),
        ),
        Some(libc::EADDRNOTAVAIL) => Fault::new(
            FaultCode::Unavailable,
            format!("{bind} is no address of this machine: check [media] address and interfaces"),
        ),
        _ => Fault::new(
            FaultCode::Internal,
            format!("cannot open a media port on {bind}: {error}"),
        ),
    }
}
