//! The packet path of a shard: whose packet is it, is it from the peer, and where does it go?

use std::net::SocketAddr;

use control::media::{MediaFilter, Side};
use ebpf_abi::Rtp;
use rtp::dtmf::{self, Action};
use rtp::round_trip::{Report, reports};

use crate::copies::Copies;
use crate::counters::{Outcome, Outcomes};
use crate::filter::Deed;
use crate::io::{Packet, PortIndex, Sink, Verdict};
use crate::learn::{Answer, Position};
use crate::numbers::Kind;
use crate::record::Datagram;
use crate::session::{Ended, Leg, Session};

/// What is heard of one RTCP datagram at most: blocks of a report are of one party each, and who sends a hundred of them
/// means no good.
pub(crate) const REPORTS_HEARD: usize = 8;

/// Sources whose end is noted in a turn at most.
const ENDED: usize = 64;

/// Whose port it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    /// Index among the sessions.
    pub(crate) session: u32,
    pub(crate) side: Side,
    /// The port for RTCP.
    pub(crate) control: bool,
}

/// A source was learned; the shard tells the client and sees to the datapath after the turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Learned {
    pub(crate) session: u32,
    pub(crate) side: Side,
    /// It is the source of RTCP.
    pub(crate) control: bool,
    pub(crate) source: SocketAddr,
}

/// All that a packet needs: the ports, the sessions and the counters of a shard.
pub(crate) struct Relay {
    ports: Vec<Option<Owner>>,
    /// Each by itself: there is no memory for those that might come, and none is moved while packets wait when more do.
    sessions: Vec<Option<Box<Session>>>,
    free: Vec<u32>,
    pub(crate) outcomes: Outcomes,
    /// For who hears a party beside the other one.
    pub(crate) copies: Copies,
    /// What was learned in this turn.
    pub(crate) learned: Vec<Learned>,
    /// Sources that have ended in this turn; what there is no room for is found out by the numbers.
    pub(crate) ended: Vec<Ended>,
    /// Keys that were pressed in this turn: in which session, and by whom.
    pub(crate) keys: Vec<(u32, Side, char)>,
    /// Streams have something that their tasks are to be woken for.
    pub(crate) streamed: bool,
}

/// Why a packet is not forwarded, or where it goes.
type Decision = Result<(PortIndex, SocketAddr), Outcome>;

/// The same, and how many of its octets go.
type MediaDecision = Result<(PortIndex, SocketAddr, usize), Outcome>;

impl Relay {
    pub(crate) fn new(ports: usize) -> Self {
        Self {
            ports: vec![None; ports],
            sessions: Vec::new(),
            free: Vec::new(),
            outcomes: Outcomes::default(),
            copies: Copies::default(),
            learned: Vec::with_capacity(64),
            ended: Vec::with_capacity(ENDED),
            keys: Vec::with_capacity(64),
            streamed: false,
        }
    }

    /// Takes a session in, and its ports.
    pub(crate) fn insert(&mut self, session: Session) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            u32::try_from(self.sessions.len() - 1).unwrap_or(u32::MAX)
        });
        for (leg, side) in session.legs.iter().zip([Side::A, Side::B]) {
            for (port, control) in [(leg.port, false), (leg.control_port(), true)] {
                if let Some(owner) = self.ports.get_mut(port.index()) {
                    *owner = Some(Owner {
                        session: index,
                        side,
                        control,
                    });
                }
            }
        }
        if let Some(place) = self.sessions.get_mut(index as usize) {
            *place = Some(Box::new(session));
        }
        index
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Box<Session>> {
        let session = self.sessions.get_mut(index as usize)?.take()?;
        self.free.push(index);
        for leg in &session.legs {
            for port in [leg.port, leg.control_port()] {
                if let Some(owner) = self.ports.get_mut(port.index()) {
                    *owner = None;
                }
            }
        }
        Some(session)
    }

    pub(crate) fn session(&self, index: u32) -> Option<&Session> {
        self.sessions.get(index as usize)?.as_deref()
    }

    pub(crate) fn session_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.sessions.get_mut(index as usize)?.as_deref_mut()
    }

    /// Every session with its index.
    pub(crate) fn sessions_mut(&mut self) -> impl Iterator<Item = (u32, &mut Session)> {
        (0..)
            .zip(&mut self.sessions)
            .filter_map(|(index, place)| Some((index, place.as_deref_mut()?)))
    }

    /// RTCP came to this port that went on without the shard.
    pub(crate) fn overhear(&mut self, port: PortIndex, report: Report, arrival: u64) {
        let Some(owner) = self.ports.get(port.index()).copied().flatten() else {
            return;
        };
        if let Some(session) = self.session_mut(owner.session) {
            let (leg, other) = session.split(owner.side);
            leg.trip.heard(report, arrival);
            other.trip.told(report, arrival);
        }
    }

    /// Whose leg's port it is.
    pub(crate) fn leg_mut(&mut self, port: PortIndex) -> Option<&mut Leg> {
        let owner = self.ports.get(port.index()).copied().flatten()?;
        let session = self.session_mut(owner.session)?;
        Some(session.split(owner.side).0)
    }

    fn decide(&mut self, packet: &mut Packet<'_>) -> MediaDecision {
        let owner = self.ports.get(packet.port.index()).copied().flatten();
        let owner = owner.ok_or(Outcome::NoSession)?;
        let session = self
            .sessions
            .get_mut(owner.session as usize)
            .and_then(Option::as_deref_mut);
        let session = session.ok_or(Outcome::NoSession)?;
        let (leg, other) = session.split(owner.side);
        let learned = &mut self.learned;
        let mut note = |source| {
            learned.push(Learned {
                session: owner.session,
                side: owner.side,
                control: owner.control,
                source,
            });
        };
        let copies = &mut self.copies;
        let decision = if owner.control {
            on_control_port(leg, other, packet, &mut note, copies)
        } else {
            let keys = &mut self.keys;
            let tell = |key| keys.push((owner.session, owner.side, key));
            let ended = &mut self.ended;
            let end = |ended_source| {
                if ended.len() < ENDED {
                    ended.push(ended_source);
                }
            };
            let told = (tell, end, &mut self.streamed);
            on_media_port(leg, other, packet, &mut note, told, copies)
        };
        match decision {
            Ok(_)
            | Err(
                Outcome::NoDestination
                | Outcome::Muted
                | Outcome::Replaced
                | Outcome::Apart
                | Outcome::Filtered
                | Outcome::Consumed,
            ) => {
                session.last_activity = packet.arrival;
                session.timed_out = false;
            }
            Err(_) => leg.refused += 1,
        }
        decision
    }
}

impl Sink for Relay {
    fn packet(&mut self, mut packet: Packet<'_>) -> Verdict {
        match self.decide(&mut packet) {
            Ok((via, to, len)) => {
                self.outcomes.count(Outcome::Forwarded);
                Verdict::Forward { via, to, len }
            }
            Err(outcome) => {
                self.outcomes.count(outcome);
                Verdict::Drop
            }
        }
    }
}

/// A way on for all of a packet.
fn whole(
    packet: &Packet<'_>,
) -> impl FnOnce((PortIndex, SocketAddr)) -> (PortIndex, SocketAddr, usize) {
    let len = packet.data.len();
    move |(via, to)| (via, to, len)
}

/// A packet on a leg's RTP port: RTP, RTCP where the party muxes, and what else may share the port
/// (RFC 7983), which is relayed between peers that are known.
fn on_media_port(
    leg: &mut Leg,
    other: &mut Leg,
    packet: &mut Packet<'_>,
    note: &mut impl FnMut(SocketAddr),
    (tell, end, streamed): (impl FnOnce(char), impl FnOnce(Ended), &mut bool),
    copies: &mut Copies,
) -> MediaDecision {
    if !leg.is_rtp() {
        return on_opaque_port(leg, other, packet, note).map(whole(packet));
    }
    let octets = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
    match rtp::demux::classify(packet.data) {
        rtp::Kind::Rtp => {
            let header = rtp::Packet::parse(packet.data).map_err(|_| Outcome::Malformed)?;
            let position = Position {
                ssrc: header.ssrc(),
                sequence: header.sequence(),
            };
            accept(
                leg.learner.rtp(packet.source, position, packet.arrival),
                || {
                    note(packet.source);
                },
            )?;
            within_cap(leg, packet)?;
            let fields = Rtp {
                sequence: header.sequence(),
                timestamp: header.timestamp(),
                ssrc: header.ssrc(),
            };
            let received = &mut leg.received;
            if received.xdp_since.is_some() {
                received.beside += 1;
                received.beside_octets += u64::from(octets);
                received.beside_at = packet.arrival;
            } else if let Some(flow) = received.record(fields, octets, packet.arrival) {
                let port = leg.local.port();
                end(Ended { port, flow });
            }
            if let Some(key) = hear_key(leg, &header) {
                tell(key);
            }
            if let Some(voice) = leg.voice.as_mut().filter(|_| !leg.muted) {
                *streamed |= voice.says(leg.remote.as_ref(), &header, packet.arrival);
            }
            let deed = Deed::of(leg, other, &header, packet.data.len());
            if deed == Deed::Echo {
                return echo(leg, packet, copies).map(whole(packet));
            }
            if other.is_closed() {
                if !leg.muted && (leg.is_monitored() || leg.tap.is_some()) {
                    deed.apply(packet.data)?;
                    copies.rtp(leg, packet.data);
                    // Who is heard by nobody else, as who only sends, is recorded all the same.
                    if let Some(tap) = leg.tap.as_ref().filter(|_| other.remote.is_none()) {
                        tap.take(&datagram(packet, leg.local));
                    }
                }
                return Err(Outcome::Apart);
            }
            if let Some(voice) = other.voice.as_mut().filter(|_| !leg.muted) {
                *streamed |= voice.hears(leg.remote.as_ref(), &header, packet.arrival);
            }
            let is_key = insert_keys(other, fields, packet)?;
            if !is_key {
                if leg.muted {
                    return Err(Outcome::Muted);
                }
                deed.apply(packet.data)?;
            }
            let len = if is_key {
                dtmf::PACKET
            } else {
                packet.data.len()
            };
            copies.rtp(leg, packet.data.get(..len).unwrap_or_default());
            let to = other.learner.destination().ok_or(Outcome::NoDestination)?;
            let (arrival, tick) = (packet.arrival, leg.received.tick);
            if is_key {
                let key = packet.data.get_mut(..len).unwrap_or_default();
                other.towards.renumber(key, arrival, tick, Kind::Key)?;
                return Ok((other.port, to, len));
            }
            if let Some(tap) = &leg.tap {
                tap.take(&datagram(packet, leg.local));
            }
            other
                .towards
                .renumber(packet.data, arrival, tick, Kind::Relayed)?;
            leg.forwarded += 1;
            Ok((other.port, to, len))
        }
        rtp::Kind::Rtcp => {
            rtp::rtcp::validate(packet.data).map_err(|_| Outcome::Malformed)?;
            if !leg.learner.other(packet.source) {
                return Err(Outcome::Stranger);
            }
            within_cap(leg, packet)?;
            leg.received.rtcp.record_other(octets, packet.arrival);
            copies.rtcp(leg, packet.data);
            if other.is_closed() {
                return Err(Outcome::Apart);
            }
            let local = leg.local;
            let way = report_way(leg, other, packet, local)?;
            report_on(leg, other, packet, way)
        }
        kind => {
            if !rtp::demux::is_whole(kind, packet.data) {
                return Err(Outcome::Malformed);
            }
            if !leg.learner.other(packet.source) {
                return Err(Outcome::Stranger);
            }
            within_cap(leg, packet)?;
            if kind == rtp::Kind::Zrtp {
                note_zrtp(leg, other);
            }
            if other.is_closed() {
                return Err(Outcome::Apart);
            }
            let to = other.learner.destination().ok_or(Outcome::NoDestination)?;
            Ok((other.port, to, packet.data.len()))
        }
    }
}

/// Sends a packet back to who sent it, as a stream of another source: a party that heard its own SSRC would take that for a
/// loop (RFC 3550 section 8.2), and in the payload types that it takes. While something is played to it, it hears that alone.
fn echo(leg: &mut Leg, packet: &mut Packet<'_>, copies: &mut Copies) -> Decision {
    if leg.muted {
        return Err(Outcome::Muted);
    }
    copies.rtp(leg, packet.data);
    if let Some(tap) = &leg.tap {
        tap.take(&datagram(packet, leg.local));
    }
    if leg.is_closed() {
        return Err(Outcome::Apart);
    }
    let to = leg.learner.destination().ok_or(Outcome::NoDestination)?;
    if let Some(ssrc) = packet.data.get_mut(8..12) {
        ssrc.iter_mut().for_each(|octet| *octet = !*octet);
    }
    let types = leg.remote.as_ref().map_or(&[][..], |own| &own.types);
    if let Some(octet) = packet.data.get_mut(1)
        && let Some(pair) = types.iter().find(|pair| pair.theirs == *octet & 0x7f)
    {
        *octet = *octet & 0x80 | pair.own & 0x7f;
    }
    // The other party was sent nothing, which is what `forwarded` counts.
    Ok((leg.port, to))
}

/// The key that the party has pressed, where it is listened to.
fn hear_key(leg: &mut Leg, packet: &rtp::Packet<'_>) -> Option<char> {
    leg.voice.as_mut()?.hear_key(leg.remote.as_ref()?, packet)
}

/// Who has sent ZRTP may encrypt from the next packet on, if the other one knows it too.
fn note_zrtp(leg: &mut Leg, other: &mut Leg) {
    leg.zrtp = true;
    if other.zrtp {
        (leg.keys, other.keys) = (None, None);
        leg.end_speech();
        other.end_speech();
        leg.towards.stop();
        other.towards.stop();
        for voice in [leg, other]
            .into_iter()
            .filter_map(|leg| leg.voice.as_mut())
        {
            voice.recordings.clear();
        }
    }
}

/// Lets the keys that are pressed towards `hearer` take the place of a packet; `true` where one has.
fn insert_keys(hearer: &mut Leg, rtp: Rtp, packet: &mut Packet<'_>) -> Result<bool, Outcome> {
    let Some(keys) = &mut hearer.keys else {
        return Ok(false);
    };
    if packet.data.len() < dtmf::PACKET && !keys.is_idle() {
        // Too short to take the place of, such as comfort noise.
        return Err(Outcome::Replaced);
    }
    let action = keys.handle_rtp(packet.arrival, rtp.ssrc, rtp.sequence, rtp.timestamp);
    match action {
        Action::Relay(sequence) => {
            if let Some(place) = packet.data.get_mut(2..4) {
                place.copy_from_slice(&sequence.to_be_bytes());
            }
            Ok(false)
        }
        Action::Replace(event) => {
            if let Some(place) = packet.data.first_chunk_mut() {
                *place = event;
            }
            Ok(true)
        }
        Action::Drop => Err(Outcome::Replaced),
    }
}

/// A packet on a leg's RTCP port.
fn on_control_port(
    leg: &mut Leg,
    other: &mut Leg,
    packet: &mut Packet<'_>,
    note: &mut impl FnMut(SocketAddr),
    copies: &mut Copies,
) -> MediaDecision {
    let kind = rtp::demux::classify(packet.data);
    match kind {
        rtp::Kind::Rtcp => {
            rtp::rtcp::validate(packet.data).map_err(|_| Outcome::Malformed)?;
            accept(
                leg.control.rtcp(packet.source, leg.learner.source()),
                || note(packet.source),
            )?;
            let octets = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
            leg.received.rtcp.record_other(octets, packet.arrival);
        }
        // ICE and DTLS of the second component.
        kind => {
            if !rtp::demux::is_whole(kind, packet.data) {
                return Err(Outcome::Malformed);
            }
            if leg.control.source() != Some(packet.source) {
                return Err(Outcome::Stranger);
            }
        }
    }
    within_cap(leg, packet)?;
    if kind == rtp::Kind::Rtcp {
        copies.rtcp(leg, packet.data);
    }
    if other.is_closed() {
        return Err(Outcome::Apart);
    }
    if kind == rtp::Kind::Rtcp {
        let local = leg.control_local();
        let way = report_way(leg, other, packet, local)?;
        return report_on(leg, other, packet, way);
    }
    let way = control_way(other).ok_or(Outcome::NoDestination)?;
    Ok(whole(packet)(way))
}

/// Puts RTCP into the numbers of the party that it goes to, where they are not those of who sent it.
fn report_on(
    leg: &Leg,
    other: &mut Leg,
    packet: &mut Packet<'_>,
    (via, to): (PortIndex, SocketAddr),
) -> MediaDecision {
    let (own, heard) = (other.towards.stream(), leg.towards.stream());
    if own.is_none() && heard.is_none() {
        return Ok((via, to, packet.data.len()));
    }
    let own = own.as_ref().map(|own| (own, &mut other.towards.told));
    match rtp::rtcp::renumber(packet.data, own, heard.as_ref()) {
        0 => Err(Outcome::Stale),
        len => Ok((via, to, len)),
    }
}

/// Takes note of RTCP, and says where it goes on.
fn report_way(leg: &mut Leg, other: &mut Leg, packet: &Packet<'_>, local: SocketAddr) -> Decision {
    let ends_here = other.hears_ours(leg);
    let way = match ends_here {
        true => Err(Outcome::Consumed),
        false => control_way(other).ok_or(Outcome::NoDestination),
    };
    if way.is_err() && !ends_here {
        return way;
    }
    for report in reports(packet.data).take(REPORTS_HEARD) {
        leg.trip.heard(report, packet.arrival);
        if !ends_here {
            other.trip.told(report, packet.arrival);
        }
        if let Some(reporter) = &mut leg.reporter {
            reporter.heard(report, packet.arrival);
        }
    }
    if let Some(tap) = &leg.tap {
        tap.take_other(&datagram(packet, local));
    }
    way
}

fn datagram<'a>(packet: &'a Packet<'_>, local: SocketAddr) -> Datagram<'a> {
    Datagram {
        source: packet.source,
        local,
        payload: packet.data,
        arrival: packet.arrival,
    }
}

/// A packet of a stream that is not RTP: nothing in it proves anything, so only the SDP's address
/// and, after [`EVIDENCE`](crate::learn::EVIDENCE) packets, another source may become the peer.
fn on_opaque_port(
    leg: &mut Leg,
    other: &Leg,
    packet: &Packet<'_>,
    note: &mut impl FnMut(SocketAddr),
) -> Decision {
    // UDPTL starts with a sequence number of 16 bits (T.38 section 9.1).
    let (head, _) = packet
        .data
        .split_first_chunk::<2>()
        .ok_or(Outcome::Malformed)?;
    let position = Position {
        ssrc: 0,
        sequence: u16::from_be_bytes(*head),
    };
    accept(
        leg.learner.rtp(packet.source, position, packet.arrival),
        || note(packet.source),
    )?;
    let octets = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
    leg.received.rtp.record_other(octets, packet.arrival);
    if leg.muted {
        return Err(Outcome::Muted);
    }
    // Nothing of it is speech that silence could take the place of.
    if leg.handling.filter.media != MediaFilter::Pass {
        return Err(Outcome::Filtered);
    }
    if other.is_closed() {
        return Err(Outcome::Apart);
    }
    let to = other.learner.destination().ok_or(Outcome::NoDestination)?;
    leg.forwarded += 1;
    Ok((other.port, to))
}

/// How RTCP reaches a party: on its RTP port where it muxes.
pub(crate) fn control_way(leg: &Leg) -> Option<(PortIndex, SocketAddr)> {
    let rtp = leg.learner.source();
    if leg.muxes() {
        return Some((leg.port, leg.learner.destination()?));
    }
    Some((leg.control_port(), leg.control.destination(rtp)?))
}

fn within_cap(leg: &mut Leg, packet: &Packet<'_>) -> Result<(), Outcome> {
    let received = &mut leg.received;
    if received.bucket.admits(packet.arrival, received.spacing) {
        return Ok(());
    }
    Err(Outcome::Limited)
}

fn accept(answer: Answer, learned: impl FnOnce()) -> Result<(), Outcome> {
    match answer {
        Answer::Accept => Ok(()),
        Answer::Learned => {
            learned();
            Ok(())
        }
        Answer::Candidate => Err(Outcome::Unproven),
        Answer::Stranger => Err(Outcome::Stranger),
    }
}
