//! A session: one `m=` line relayed between two legs.

mod sources;

use std::net::{IpAddr, SocketAddr};

use control::media::{
    FlowSample, FlowStats, Handling, Local, OtherSources, Path, Remote, SessionId, SessionInfo,
    Side, Surveyed, TypePair,
};
use ebpf_abi::{Bucket, Flow, Sources, spacing};
use rtp::dtmf::Inserter;
use rtp::quality::{self, Codec, Measured};
use rtp::report::Reporter;
use rtp::round_trip::RoundTrip;

use crate::io::PortIndex;
use crate::learn::{ControlLearner, Learner, Policy};
use crate::numbers::Towards;
use crate::record::Tap;
use crate::shard::is_secret;
use crate::tap::Ear;
use crate::voice::LegVoice;

pub(crate) use self::sources::Ended;

/// Packets that an opinion score needs: a second of speech.
const MOS_PACKETS: u64 = 50;
/// What is added to the measured jitter for the delay of the E-model: packet time and codec, in
/// milliseconds. The network's share is known where the parties' RTCP tells; below 100 ms it does not count.
const BASE_DELAY_MS: f64 = 40.0;

/// The RTP clock of video (RFC 3551 section 5), in Hz.
const VIDEO_CLOCK: u32 = 90_000;
/// Milliseconds of speech in a packet where nothing else was said (RFC 3551 section 4.2).
const USUAL_PACKET_TIME: u16 = 20;

/// A session and its two legs.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) owner: String,
    /// By [`side_index`].
    pub(crate) legs: [Leg; 2],
    /// When a packet came from either party; at first, when the session was made.
    pub(crate) last_activity: u64,
    /// Since when silence counts: the last time that the session began to expect media.
    pub(crate) expecting_since: Option<u64>,
    /// Silence was reported, and no packet came since.
    pub(crate) timed_out: bool,
    /// Adopted from an earlier process, and not described again since.
    pub(crate) unclaimed: bool,
}

/// One party's side of a session.
#[derive(Debug)]
pub(crate) struct Leg {
    /// The local RTP port; RTCP is one above.
    pub(crate) port: PortIndex,
    /// The local RTP address, as bound.
    pub(crate) local: SocketAddr,
    /// The local address that the party is told.
    pub(crate) advertised: IpAddr,
    /// The party, once it is described.
    pub(crate) remote: Option<Remote>,
    /// What the party sends is not handed on.
    pub(crate) muted: bool,
    /// How the leg is treated otherwise.
    pub(crate) handling: Handling,
    /// The TOS byte of what the party is sent, by the order or by the configuration.
    pub(crate) tos: Option<u8>,
    /// The recording of what the party says.
    pub(crate) tap: Option<Tap>,
    /// It goes by what XDP copies, too.
    pub(crate) ear: Option<Ear>,
    /// Telephone keys that the party hears.
    pub(crate) keys: Option<Box<Inserter>>,
    /// What the party is sent RTP with.
    pub(crate) towards: Towards,
    /// What is played to the party, where the session is one of programmable voice.
    pub(crate) voice: Option<Box<LegVoice>>,
    /// Names the latest order for some.
    pub(crate) keys_order: Option<u64>,
    /// The party has sent ZRTP. Where the other one has too, their RTP becomes SRTP.
    pub(crate) zrtp: bool,
    pub(crate) learner: Learner,
    pub(crate) control: ControlLearner,
    /// How long it is to the party and back.
    pub(crate) trip: RoundTrip,
    /// What came from the party.
    pub(crate) received: Reception,
    /// RTP packets from the party that were handed on, by the shard.
    pub(crate) forwarded: u64,
    /// The program passes on whom it does not know on the RTP port.
    pub(crate) contested: bool,
    /// It copies what the party says.
    pub(crate) copied: bool,
    /// Who hears the party beside the other one.
    pub(crate) monitors: Vec<Listener>,
    /// Makes RTCP for the party, where it is to have ours.
    pub(crate) reporter: Option<Box<Reporter>>,
    /// Packets on this leg's ports that were not taken.
    pub(crate) refused: u64,
    /// What had become of its packets at the last survey.
    surveyed: Losses,
}

/// What became of the packets that a party should have sent.
#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    expected: u64,
    lost: u64,
    /// Runs of lost ones.
    gaps: u64,
    /// Came, and too late to be played.
    late: u64,
}

/// Somebody who hears a party, by ports of its own.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) number: u64,
    /// Its ports alone are used.
    pub(crate) leg: Leg,
    /// Where RTP and RTCP go.
    pub(crate) to: Option<[SocketAddr; 2]>,
    /// How it numbers formats otherwise than the party.
    pub(crate) types: Vec<TypePair>,
}

/// Reception statistics of a leg, over all paths.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    pub(crate) rtp: Flow,
    pub(crate) rtcp: Flow,
    /// Unit of the RTP clock, for [`Flow::record_rtp`].
    pub(crate) tick: u32,
    /// The least time between packets, for [`Bucket::admits`].
    pub(crate) spacing: u16,
    /// The cap on what comes to the shard; the program keeps one of its own.
    pub(crate) bucket: Bucket,
    /// RTP packets that came to the shard while the XDP program kept `rtp`, and their octets.
    pub(crate) beside: u64,
    pub(crate) beside_octets: u64,
    /// When the last of them came.
    pub(crate) beside_at: u64,
    /// RTP packets that the XDP program received in earlier turns at this flow.
    pub(crate) xdp_before: u64,
    /// `rtp.packets` when the XDP program took over, while it has the flow.
    pub(crate) xdp_since: Option<u64>,
    /// The XDP program keeps `rtcp`.
    pub(crate) control_by_xdp: bool,
    /// The XDP program forwards this leg's RTP.
    pub(crate) handed_over: bool,
    /// It was to, and passed all of it.
    pub(crate) strayed: bool,
    /// Packets of the flow and beside it at the last look for that.
    pub(crate) looked_at: (u64, u64),
    /// What earlier sources have sent, once there was more than one.
    pub(crate) sources: Option<Box<Sources>>,
    /// A change of the source was not told of at the last look.
    pub(crate) is_behind: bool,
}

impl Session {
    pub(crate) fn new(id: SessionId, owner: String, legs: [Leg; 2], now: u64) -> Self {
        Self {
            id,
            owner,
            legs,
            last_activity: now,
            expecting_since: None,
            timed_out: false,
            unclaimed: false,
        }
    }

    /// The leg of a side, and the other.
    pub(crate) const fn split(&mut self, side: Side) -> (&mut Leg, &mut Leg) {
        let [a, b] = &mut self.legs;
        match side {
            Side::A => (a, b),
            Side::B => (b, a),
        }
    }

    /// Takes a party's description; `true` when its packets will come from, or go to, elsewhere.
    pub(crate) fn describe(&mut self, side: Side, remote: Remote, now: u64) -> bool {
        self.unclaimed = false;
        let leg = self.split(side).0;
        let moved = leg.learner.signal(remote.rtp) | leg.control.signal(remote.rtcp);
        let mux_changed = leg
            .remote
            .as_ref()
            .is_some_and(|before| before.rtcp_mux != remote.rtcp_mux);
        if moved {
            leg.trip = RoundTrip::default();
        }
        leg.received.tick = ebpf_abi::tick(remote.format.clock_rate);
        // Described again as it was, it would stray again.
        leg.received.strayed &= !(moved || mux_changed);
        leg.remote = Some(remote);
        self.let_in();
        self.follow_keys(side);
        self.follow_numbers();
        // A new description is a sign of life, and starts the silence anew.
        self.expect_from(now);
        moved || mux_changed
    }

    /// Caps what each party may send, at so many `times` what it needs to.
    pub(crate) fn cap(&mut self, times: u32) {
        let [a, b] = &mut self.legs;
        a.received.spacing = spacing(a.packet_time(b), times);
        b.received.spacing = spacing(b.packet_time(a), times);
    }

    /// Says how a leg is treated; `true` when its packets will come from, or go to, elsewhere.
    pub(crate) fn handle(&mut self, side: Side, handling: Handling) -> bool {
        let leg = self.split(side).0;
        leg.make_reports(handling.makes_rtcp);
        leg.handling = handling;
        let policy = leg.policy();
        let known = leg.learner.source();
        let moved = leg.learner.follow(policy) | leg.control.follow(policy);
        if leg.learner.source() != known {
            leg.control.follow_rtp(None);
        }
        self.follow_numbers();
        moved
    }

    /// Gives each party the numbers that its leg is to have, as far as is known. What is encrypted cannot have others than
    /// it came with, and video may have several streams on a port.
    pub(crate) fn follow_numbers(&mut self) {
        let [a, b] = &self.legs;
        let is_secret = is_secret([a, b]);
        let may = !is_secret && a.is_speech() && b.is_speech();
        for leg in &mut self.legs {
            let wanted = may && leg.handling.one_stream;
            leg.towards.be_one_stream(wanted, leg.received.rtp.ssrc);
            if is_secret {
                leg.towards.stop();
            } else if let Some(remote) = &leg.remote {
                let types = remote.types.iter().map(|pair| [pair.theirs, pair.own]);
                leg.towards.change_types(types);
            }
        }
    }

    /// Lets sources be learned from when media can be due: both parties are described, or the session is one of
    /// programmable voice.
    pub(crate) fn let_in(&mut self) {
        let is_due = self.legs.iter().all(|leg| leg.remote.is_some());
        let is_due = is_due || self.legs.iter().any(|leg| leg.voice.is_some());
        for leg in &mut self.legs {
            leg.learner.open(is_due);
        }
    }

    /// Says whose media is not handed on.
    pub(crate) const fn mute(&mut self, a: bool, b: bool) {
        let [leg_a, leg_b] = &mut self.legs;
        leg_a.muted = a;
        leg_b.muted = b;
    }

    /// Counts silence from now on, if media is expected.
    pub(crate) fn expect_from(&mut self, now: u64) {
        self.expecting_since = self.expects_media().then_some(now);
    }

    /// Both parties are known, or one in programmable voice, and one of them is expected to send.
    fn expects_media(&self) -> bool {
        let remotes = self.legs.iter().map(|leg| leg.remote.as_ref());
        let sends = self
            .legs
            .iter()
            .any(|leg| leg.remote.as_ref().is_some_and(|r| r.sends));
        let is_voice = self.legs.iter().any(|leg| leg.voice.is_some());
        sends && (is_voice || remotes.into_iter().all(|remote| remote.is_some()))
    }

    /// Since when neither party has sent although one should have, at `now`.
    pub(crate) fn silence(&self, now: u64) -> Option<u64> {
        let since = self.expecting_since?.max(self.last_activity);
        Some(now.saturating_sub(since))
    }

    /// Whether `address` is one of the session's own.
    pub(crate) fn owns(&self, address: SocketAddr) -> bool {
        let monitors = self.legs.iter().flat_map(|leg| &leg.monitors);
        let monitors = monitors.map(|listener| &listener.leg);
        self.legs.iter().chain(monitors).any(|leg| {
            let ports = leg.local.port()..=leg.local.port() + 1;
            let own = address.ip() == leg.local.ip() || address.ip() == leg.advertised;
            own && ports.contains(&address.port())
        })
    }

    pub(crate) fn survey(&mut self, path: Path) -> Surveyed {
        let [a, b] = &mut self.legs;
        Surveyed {
            id: self.id,
            path,
            from_a: a.survey(b),
            from_b: b.survey(a),
        }
    }

    pub(crate) fn info(&self) -> SessionInfo {
        let [a, b] = &self.legs;
        SessionInfo {
            id: self.id,
            a: a.shown(),
            b: b.shown(),
        }
    }
}

impl Leg {
    pub(crate) fn new(port: PortIndex, local: SocketAddr, advertised: IpAddr) -> Self {
        Self {
            port,
            local,
            advertised,
            remote: None,
            muted: false,
            handling: Handling::default(),
            tos: None,
            tap: None,
            ear: None,
            keys: None,
            towards: Towards::default(),
            voice: None,
            keys_order: None,
            zrtp: false,
            learner: Learner::default(),
            control: ControlLearner::default(),
            trip: RoundTrip::default(),
            received: Reception::default(),
            forwarded: 0,
            contested: false,
            copied: false,
            monitors: Vec::new(),
            reporter: None,
            refused: 0,
            surveyed: Losses::default(),
        }
    }

    /// How its sources are found.
    pub(crate) const fn policy(&self) -> Policy {
        Policy {
            sources: self.handling.sources,
            handover: self.handling.handover,
            seen_at: self.handling.seen_at,
            waits: self.handling.waits,
        }
    }

    /// Forgets where the party is.
    pub(crate) fn forget_sources(&mut self) {
        let policy = self.policy();
        self.learner = Learner::default();
        self.learner.follow(policy);
        self.control = ControlLearner::default();
        self.control.follow(policy);
    }

    /// The local RTCP port.
    pub(crate) const fn control_port(&self) -> PortIndex {
        PortIndex(self.port.0 + 1)
    }

    /// The local RTCP address, as bound.
    pub(crate) const fn control_local(&self) -> SocketAddr {
        let mut address = self.local;
        address.set_port(self.local.port() + 1);
        address
    }

    /// The party takes RTCP on its RTP port.
    pub(crate) fn muxes(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.rtcp_mux)
    }

    /// The party hears something else than what the other one says, or is about to.
    pub(crate) fn is_closed(&self) -> bool {
        self.voice.as_ref().is_some_and(|voice| voice.is_closed())
    }

    /// What the party says, or which keys it presses, is listened to.
    pub(crate) fn listens(&self) -> bool {
        self.voice.as_ref().is_some_and(|voice| voice.listens())
    }

    /// Whether the other party's packets have to come to the shard for what this one hears.
    pub(crate) fn is_spoken_to(&self) -> bool {
        let overhears = self.voice.as_ref().is_some_and(|voice| voice.overhears());
        self.is_closed() || self.has_keys() || overhears
    }

    /// The party's media is RTP. T.38 over UDPTL, which has no clock, is relayed as it comes.
    pub(crate) fn is_rtp(&self) -> bool {
        self.remote
            .as_ref()
            .is_none_or(|remote| remote.format.clock_rate != 0)
    }

    /// As far as is known, the party's media is audio.
    fn is_speech(&self) -> bool {
        let rate = self.remote.as_ref().map(|remote| remote.format.clock_rate);
        rate.is_none_or(|rate| rate != 0 && rate != VIDEO_CLOCK)
    }

    /// The time of speech in a packet of the party, in milliseconds, by what both have said; not more than the usual,
    /// as not all keep to it. 0 where the time tells nothing of the number of packets: video, T.38.
    fn packet_time(&self, other: &Self) -> u16 {
        let remotes = [self.remote.as_ref(), other.remote.as_ref()];
        let formats = remotes.into_iter().flatten().map(|remote| &remote.format);
        let is_speech = |rate| rate != 0 && rate != VIDEO_CLOCK;
        if !formats.clone().all(|format| is_speech(format.clock_rate)) {
            return 0;
        }
        let times = formats.map(|format| format.ptime_ms);
        times
            .filter(|time| *time != 0)
            .fold(USUAL_PACKET_TIME, u16::min)
    }

    /// The party is heard by others, too.
    pub(crate) fn is_monitored(&self) -> bool {
        self.monitors.iter().any(|listener| listener.to.is_some())
    }

    pub(crate) fn shown(&self) -> Local {
        let port = self.local.port();
        Local {
            rtp: SocketAddr::new(self.advertised, port),
            rtcp: SocketAddr::new(self.advertised, port + 1),
        }
    }

    /// What the party says can be understood no longer; its packets may still be recorded.
    pub(crate) fn end_speech(&mut self) {
        if self.tap.as_ref().is_some_and(Tap::wants_speech) {
            self.end_recording();
        }
    }

    /// `other` is who hears the party. Without its sources.
    pub(crate) fn stats(&self, other: &Self, now: u64) -> FlowStats {
        let received = &self.received;
        let flow = &received.rtp;
        let packets_xdp = received.packets_xdp();
        let losses = received.losses();
        let has_come = flow.packets != 0;
        #[expect(clippy::cast_possible_truncation, reason = "a ratio of small counters")]
        let burst_ratio = losses.burst_ratio() as f32;
        FlowStats {
            source: self.learner.source(),
            packets: received.packets(),
            packets_xdp,
            bytes: flow.octets + received.beside_octets,
            forwarded: self.forwarded + packets_xdp,
            lost: losses.lost,
            duplicates: u64::from(flow.duplicates),
            reordered: u64::from(flow.reordered),
            late: losses.late,
            burst_ratio,
            longest_gap_ms: flow.longest_gap_ms(),
            jitter_us: flow.jitter / 1000,
            ssrc: (has_come && self.is_rtp()).then_some(flow.ssrc),
            highest_sequence: flow.highest,
            silent_ms: has_come.then(|| now.saturating_sub(flow.last_arrival) / 1_000_000),
            mos: self.mos(other, losses),
            refused: self.refused + flow.limited + received.rtcp.limited,
            rtt_us: self.trip.us(),
            sources: Vec::new(),
            other_sources: OtherSources::default(),
        }
    }

    /// Nothing of what the party says is recorded any more.
    pub(crate) fn end_recording(&mut self) {
        (self.tap, self.ear) = (None, None);
    }

    /// How it sounds, and has since the last survey.
    fn survey(&mut self, other: &Self) -> FlowSample {
        let losses = self.received.losses();
        let before = std::mem::replace(&mut self.surveyed, losses);
        FlowSample {
            packets: self.received.packets(),
            lost: losses.lost,
            jitter_us: self.received.rtp.jitter / 1000,
            mos: self.mos(other, losses.since(before)),
            rtt_us: self.trip.us(),
        }
    }

    fn mos(&self, other: &Self, losses: Losses) -> Option<f32> {
        self.mos_with(other, losses, self.received.rtp.jitter)
    }

    /// `jitter` is in ns.
    fn mos_with(&self, other: &Self, losses: Losses, jitter: u32) -> Option<f32> {
        if !self.is_rtp() || losses.expected < MOS_PACKETS {
            return None;
        }
        let encoding = self
            .remote
            .as_ref()
            .map_or("", |remote| remote.format.encoding.as_str());
        let codec = Codec::by_name(encoding).unwrap_or(Codec::G711);
        // What comes too late is no speech either.
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counters")]
        let loss = (losses.lost + losses.late) as f64 / losses.expected as f64;
        let jitter_ms = f64::from(jitter) / 1e6;
        let measured = Measured {
            loss,
            burst_ratio: losses.burst_ratio(),
            delay_ms: BASE_DELAY_MS + 2.0 * jitter_ms + one_way_ms(&[&self.trip, &other.trip]),
        };
        #[expect(clippy::cast_possible_truncation, reason = "1 to 4.5")]
        let mos = quality::mos(quality::r_factor(codec, measured)) as f32;
        Some(mos)
    }
}

impl Losses {
    const fn since(self, before: Self) -> Self {
        Self {
            expected: self.expected.saturating_sub(before.expected),
            lost: self.lost.saturating_sub(before.lost),
            gaps: self.gaps.saturating_sub(before.gaps),
            late: self.late.saturating_sub(before.late),
        }
    }

    fn burst_ratio(self) -> f64 {
        ebpf_abi::burst_ratio(self.expected, self.lost, self.gaps)
    }
}

impl Reception {
    /// RTP packets on all paths.
    pub(crate) const fn packets(&self) -> u64 {
        self.rtp.packets + self.beside
    }

    /// Of these, by XDP.
    pub(crate) const fn packets_xdp(&self) -> u64 {
        let now = match self.xdp_since {
            Some(since) => self.rtp.packets.saturating_sub(since),
            None => 0,
        };
        self.xdp_before + now
    }

    /// What became of what should have come.
    const fn losses(&self) -> Losses {
        Losses {
            expected: self.rtp.expected(),
            lost: self.rtp.lost().saturating_sub(self.beside),
            gaps: self.rtp.gaps as u64,
            late: self.rtp.late as u64,
        }
    }
}

/// Half of the way between the parties and back, as far as it is known, in milliseconds.
fn one_way_ms(trips: &[&RoundTrip]) -> f64 {
    let known = trips.iter().filter_map(|trip| trip.us());
    known.map(f64::from).sum::<f64>() / 2_000.0
}

/// Where a side's leg stands in [`Session::legs`].
pub(crate) const fn side_index(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}
