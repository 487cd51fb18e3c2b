//! What signaling asks of mediad.
//!
//! A session relays one `m=` line between two legs. Every request names its session by an id that
//! the client chose, and may be repeated: creating a session that is there answers with its ports,
//! deleting one that is not there succeeds.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

mod filter;
mod flow;
mod one_stream;
mod sources;
mod voice;

use serde::{Deserialize, Serialize};

use crate::channel::Protocol;

pub use filter::{
    Filter, KeyFilter, MAX_MONITOR_TYPES, MAX_MONITORS, MediaFilter, Monitor, Unmonitor,
};
pub use flow::{FlowSample, OtherSources, SourceStats, Surveyed};
pub use one_stream::OneStream;
pub use sources::SourcePolicy;
pub use voice::{
    Audio, AudioTrouble, Heard, Listen, NewStream, Pause, Play, Recorded, StreamTrouble, Voice,
    VoiceEvent, VoiceOrder, VoiceRecord,
};

/// The protocol between signaling and mediad.
#[derive(Debug)]
pub struct Media;

impl Protocol for Media {
    const NAME: &'static str = "media";
    const VERSION: u16 = 11;
    type Request = Request;
    type Response = Response;
    type Event = Event;
}

/// A session's name: 16 bytes that its creator chose at random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One of a session's two legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The leg of the party that made the first offer or call.
    A,
    /// The other party's leg.
    B,
}

impl Side {
    /// The other leg.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Which kind of address a leg shows to its party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    pub const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

/// Client to mediad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Open a session; answered with [`Response::Session`]. Repeated for a session that is there, it
    /// changes nothing but what [`Request::Modify`] and [`Request::Mute`] would.
    Create(Create),
    /// Take a party's new description; answered with [`Response::Session`].
    Modify(Modify),
    /// Say whose media is handed on; answered with [`Response::Session`].
    Mute(Mute),
    /// Press telephone keys towards a party; answered with [`Response::Session`] when they are begun or wait for those
    /// before them, with [`FaultCode::Invalid`](crate::FaultCode) where they are no keys, and with
    /// [`FaultCode::Conflict`](crate::FaultCode) where the party cannot be told of any, or too many wait.
    Dtmf(Dtmf),
    /// Record what the parties say, or do so no longer; answered with [`Response::Recording`], or with
    /// [`FaultCode::Conflict`](crate::FaultCode) where it cannot be. It ends with the session.
    Record(Record),
    /// Play, record, stream, and hear keys; answered with [`Response::Session`], and with
    /// [`Event::Voice`] of what becomes of each.
    Voice(Voice),
    /// Let somebody else hear a party, or change where; answered with [`Response::Monitor`], and with
    /// [`FaultCode::Conflict`](crate::FaultCode) where there are [`MAX_MONITORS`] already. It ends with the session.
    Monitor(Monitor),
    /// Let that one hear no more; answered with [`Response::Gone`], whether there was such a one or not.
    Unmonitor(Unmonitor),
    /// Count so far; answered with [`Response::Stats`].
    Query(SessionId),
    /// How several sound now, [`MAX_SURVEY`] at most; answered with [`Response::Survey`] of those that are there. It is
    /// for one client alone, since each survey tells what is new since the one before. It may be 250 ms old.
    Survey(Vec<SessionId>),
    /// What is carried now, and the sessions that sound worst, so many at most and [`MAX_TOP`] at most; answered with
    /// [`Response::Top`].
    Top(u16),
    /// Close a session; answered with [`Response::Stats`] as they were last, or with
    /// [`Response::Gone`] where there was none.
    Delete(SessionId),
    /// The sessions that `owner` made; answered with [`Response::Sessions`].
    List {
        /// As in [`Create::owner`]; empty for all.
        owner: String,
    },
    /// How the engine is; answered with [`Response::Status`].
    Status,
    /// The metrics page; answered with [`Response::Metrics`].
    Metrics,
    /// Who is banned from the SIP ports of this machine; answered with [`Response::Banned`].
    ///
    /// A mediad that is new knows of none: to be told all again when the channel is up again.
    Bans(Bans),
    /// Take no new sessions, or take them again; answered with [`Response::Status`], and with
    /// [`FaultCode::Conflict`](crate::FaultCode) where the process cannot end with its last session.
    Drain(Drain),
    /// Read the configuration again; answered with [`Response::Reloaded`], and with
    /// [`FaultCode::Invalid`](crate::FaultCode) and the reasons, a line each, where all stays as it is.
    Reload,
    /// As [`Request::Create`], of a further stream of a call: while that has a session, an engine that drains makes it too.
    Beside(SessionId, Create),
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The keys, as `media.timeout`, whose change is in effect.
    pub changed: Vec<String>,
    /// Those whose change takes effect at the next start only, as `media.ports`.
    pub restart: Vec<String>,
}

/// Whether new sessions are taken. While they are not, [`Request::Create`] of what is not there yet is answered with
/// [`FaultCode::Unavailable`](crate::FaultCode); sessions that are there go on, and get others by [`Request::Beside`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// `false` to take them again.
    pub on: bool,
    /// The process ends once no session is left: of a mediad that is a process of its own.
    pub exit: bool,
    /// It ends after so many seconds even where some are; 0 for no limit.
    pub limit_s: u32,
}

/// Sessions of one [`Request::Survey`] at most.
pub const MAX_SURVEY: usize = 1_024;

/// Sessions of one [`Request::Top`] at most.
pub const MAX_TOP: u16 = 1_000;

/// Changes of who is banned. What is said twice is done once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bans {
    /// Forget all that was said before, and begin with this.
    pub anew: Option<Guarded>,
    /// Those whose ban ends. Done before `ban`.
    pub lift: Vec<Block>,
    /// Those who are banned, or whose ban has another end now. 1,024 at most.
    pub ban: Vec<BanOf>,
}

/// What bans are of, and who is exempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded {
    /// The ports of UDP and TCP to which packets are dropped.
    pub ports: Vec<u16>,
    /// Those who are never banned.
    pub allow: Vec<Block>,
}

/// A ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanOf {
    /// Whose.
    pub block: Block,
    /// How long it lasts from now on, in milliseconds.
    pub for_ms: u64,
    /// Microseconds between two datagrams that are let through all the same, and all of TCP with them;
    /// 0 where nothing is. Of a single source only.
    pub trickle_us: u32,
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    /// One of them.
    pub address: IpAddr,
    /// The leading bits that they share, 0 to 32 or 128.
    pub prefix: u8,
}

/// A new session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Its name.
    pub id: SessionId,
    /// Who made it, such as `signaling` or `ng`: what [`Request::List`] asks for.
    pub owner: String,
    /// The caller's leg.
    pub a: Leg,
    /// The callee's leg.
    pub b: Leg,
    /// It is one of programmable voice from the beginning: its parties are apart, as with [`VoiceOrder::Attach`].
    pub apart: bool,
}

/// What a leg should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The family of the address that this leg's party is given.
    pub family: Family,
    /// The RTP port that this leg had before mediad was restarted; another is taken where it is not
    /// free. `None` for any.
    pub port: Option<u16>,
    /// The party, where its description is already known.
    pub remote: Option<Remote>,
    /// As in [`Mute`].
    pub muted: bool,
    /// How the leg is treated beyond that.
    pub handling: Handling,
}

/// How a leg is treated, beyond where its packets go. The default is what most calls want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handling {
    /// The TOS byte (IPv4) or the traffic class (IPv6) of what this leg's party is sent, its two bits of ECN included
    /// (RFC 3168). `None`: as `[media] tos` of the node says; where that is not set, on XDP what the packet came with, from a
    /// shard's socket 0.
    pub tos: Option<u8>,
    /// Where this leg's party may send from. The default is [`SourcePolicy::Heuristic`].
    pub sources: SourcePolicy,
    /// A party that fell silent may go on from another host, where it continues its very stream: a phone that
    /// changed networks. The default is `true`.
    pub handover: bool,
    /// The host that the party's signaling comes from. Where the party's SDP has no public address, media from there
    /// is believed before media from elsewhere.
    pub seen_at: Option<IpAddr>,
    /// Which of the node's media interfaces the leg has its ports on, by name; `None` for the default one. It is
    /// looked at when the leg is made; a name that the node has not is refused with
    /// [`FaultCode::Invalid`](crate::FaultCode).
    pub interface: Option<String>,
    /// What of what this leg's party sends is handed on otherwise than it came. The default is nothing.
    pub filter: Filter,
    /// This leg's party hears RTCP that the node makes, of what it has received and sent itself; the other party's is
    /// taken and not handed on. Where the media is SRTP the node can make none, and hands on what there is.
    pub makes_rtcp: bool,
    /// Whatever this leg's party hears is one RTP stream: one SSRC, whose sequence numbers and timestamps go on when another
    /// one speaks to it, or this node does. RTCP is told in its numbers. Not of video, nor of what is encrypted, which keep
    /// theirs. The default is `false`.
    pub one_stream: bool,
    /// Nothing is sent to this leg's party before a packet has come from it, as firewalls are that block who is there
    /// too early.
    pub waits: bool,
    /// Empty datagrams are sent to where the party's SDP says until a packet has come from it: they open the way back
    /// through a NAT on this side.
    pub pierces: bool,
}

impl Default for Handling {
    fn default() -> Self {
        Self {
            tos: None,
            sources: SourcePolicy::default(),
            handover: true,
            seen_at: None,
            interface: None,
            filter: Filter::default(),
            makes_rtcp: false,
            one_stream: false,
            waits: false,
            pierces: false,
        }
    }
}

/// Whose media is not handed on, until this is said anew: its RTP (or what the stream has instead) is
/// received and counted, and counts as a sign of life, but the other party gets none of it. RTCP, STUN
/// and DTLS go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// The session.
    pub id: SessionId,
    /// The caller's.
    pub a: bool,
    /// The callee's.
    pub b: bool,
}

/// Telephone keys for a party to hear, as RTP events (RFC 4733) in place of the other party's packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dtmf {
    /// The session.
    pub id: SessionId,
    /// Who hears them.
    pub hears: Side,
    /// Names the order among those for this party: the same again is not done again.
    pub order: u64,
    /// 0-9, A-D, `*`, `#`, and `w` or `W` for half a second or a whole one.
    pub digits: String,
    /// How long each is pressed, in milliseconds.
    pub duration_ms: u16,
    /// The silence after each, in milliseconds.
    pub gap_ms: u16,
}

/// Whether a session is recorded, and how. Said again, it changes `pause` alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The session.
    pub id: SessionId,
    /// The name of the file without its ending: letters, digits, `-` and `_`. `None` to record no longer.
    pub name: Option<String>,
    /// What the file is to be.
    pub format: RecordFormat,
    /// Whether it goes on or pauses. Of packets nothing is kept in either kind of pause.
    pub pause: Pause,
}

/// What a session is recorded as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordFormat {
    /// What the parties say, as a WAV file: the caller left, the callee right. Of G.711 alone.
    #[default]
    Wav,
    /// Their packets, RTP and RTCP, as they came, with their headers: a pcap file of Ethernet frames with nanoseconds.
    Pcap,
}

/// A party's media as its SDP describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Where it wants RTP (`c=` and `m=`).
    pub rtp: SocketAddr,
    /// Where it wants RTCP: `a=rtcp`, or the port above RTP's. The same as `rtp` where it muxes.
    pub rtcp: SocketAddr,
    /// It sends RTCP on the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// It is expected to send: its direction is sendrecv or sendonly, and the other side takes it.
    /// A session in which neither side sends is on hold, and never times out.
    pub sends: bool,
    /// It wants to receive: neither its direction nor an address such as `0.0.0.0` puts the other side on hold
    /// (RFC 3264 section 8.4).
    pub receives: bool,
    /// The first format of its `m=` line.
    pub format: Format,
    /// How it is told of telephone keys, where that was agreed on.
    pub events: Option<EventFormat>,
    /// Payload types that it numbers telephone events by beside that one, a bit each (bit 101 for 101): those of another clock.
    pub more_events: u128,
    /// Payload types that the other party numbers otherwise than this one. Where there are more than six, packets to this
    /// one do not go by XDP.
    pub types: Vec<TypePair>,
    /// Its RTP is SRTP, or may be by what both parties offer (RFC 8643, ZRTP), of which this node has no keys.
    pub secure: bool,
}

impl Remote {
    /// Whether packets of this payload type are telephone events, by what the party has said.
    pub fn is_event(&self, payload_type: u8) -> bool {
        let more = self.more_events.checked_shr(payload_type.into());
        self.events
            .is_some_and(|events| events.payload_type == payload_type)
            || more.is_some_and(|more| more & 1 == 1)
    }
}

/// One format's two payload types, 0 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypePair {
    /// As the other party's packets have it.
    pub theirs: u8,
    /// As this party is to get them.
    pub own: u8,
}

/// How a party takes telephone events (RFC 4733).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFormat {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// RTP clock of the events, in Hz.
    pub clock_rate: u32,
    /// RTP clock of the audio beside them, in Hz.
    pub audio_rate: u32,
}

/// An RTP format, as far as measuring its quality needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Encoding name as in `a=rtpmap`, such as `PCMU`; empty where it is not known.
    pub encoding: String,
    /// RTP clock, in Hz.
    pub clock_rate: u32,
    /// Packet time, in milliseconds.
    pub ptime_ms: u16,
}

/// New descriptions of one party or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modify {
    /// The session.
    pub id: SessionId,
    /// The caller's, where it is new.
    pub a: Option<Remote>,
    /// The callee's, where it is new.
    pub b: Option<Remote>,
    /// How the legs are treated from now on, the caller's and the callee's, where that is new.
    pub handling: [Option<Handling>; 2],
}

/// mediad to client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// The session is there.
    Session(SessionInfo),
    /// What it has carried.
    Stats(Box<SessionStats>),
    /// How each of them sounds.
    Survey(Vec<Surveyed>),
    /// What is carried, and what sounds worst.
    Top(Top),
    /// The file that the session is recorded to, if it is.
    Recording(Option<String>),
    /// Where copies of a party's packets come from.
    Monitor(Local),
    /// There is no such session or monitor (any more), as the client wanted.
    Gone,
    /// Ids, in no order.
    Sessions(Vec<SessionId>),
    /// The engine.
    Status(MediaStatus),
    /// Prometheus text.
    Metrics(String),
    /// The bans were taken note of.
    Banned {
        /// Whether they are in force here: the node has XDP.
        in_force: bool,
        /// Those that there was no room for.
        missed: u32,
    },
    /// The configuration was read again.
    Reloaded(Reloaded),
}

/// Where the parties of a session should send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The session.
    pub id: SessionId,
    /// What the caller is told.
    pub a: Local,
    /// What the callee is told.
    pub b: Local,
}

/// A leg's own addresses, as its party sees them (the public ones where they differ).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// RTP.
    pub rtp: SocketAddr,
    /// RTCP, one port above.
    pub rtcp: SocketAddr,
}

/// What a session has carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStats {
    /// The session.
    pub id: SessionId,
    /// What the caller sent.
    pub from_a: FlowStats,
    /// What the callee sent.
    pub from_b: FlowStats,
    /// The path that its packets take now; of a session that is deleted, the one that most took.
    pub path: Path,
    /// Milliseconds since a packet came from either party, or since the start if none came.
    pub silent_ms: u64,
}

/// What an engine carries: sums over the sessions that it has now, and those that sound worst.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// Sessions.
    pub sessions: u64,
    /// RTP packets received by them so far.
    pub packets: u64,
    /// Of these, forwarded by XDP.
    pub packets_xdp: u64,
    /// Packets lost before this node.
    pub lost: u64,
    /// Packets from strangers, and what else was refused.
    pub refused: u64,
    /// By the lower score of their two directions, the worst first; those without one last, the busiest first.
    pub worst: Vec<Carried>,
}

/// A session of [`Top`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// As in [`Create::owner`].
    pub owner: String,
    /// What it has carried.
    pub stats: SessionStats,
}

impl Top {
    /// Takes in what another shard, or engine, carries; `most` of the worst stay.
    pub fn add(&mut self, other: Self, most: usize) {
        self.sessions += other.sessions;
        self.packets += other.packets;
        self.packets_xdp += other.packets_xdp;
        self.lost += other.lost;
        self.refused += other.refused;
        self.worst.extend(other.worst);
        self.worst.sort_by_key(|carried| carried.stats.rank());
        self.worst.truncate(most);
    }
}

impl SessionStats {
    /// The lower score of its two directions; `None` where neither has one.
    pub fn mos(&self) -> Option<f32> {
        let scores = [self.from_a.mos, self.from_b.mos].into_iter().flatten();
        scores.min_by(f32::total_cmp)
    }

    /// What [`Top`] sorts by: the least first.
    #[must_use]
    pub fn rank(&self) -> impl Ord + use<> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1000 to 4500"
        )]
        let score = self.mos().map_or(u32::MAX, |mos| (mos * 1_000.0) as u32);
        let packets = self.from_a.packets + self.from_b.packets;
        (score, std::cmp::Reverse(packets), self.id)
    }
}

impl FlowStats {
    /// Synchronisation sources that it was of.
    pub fn source_count(&self) -> u64 {
        self.sources.len() as u64 + u64::from(self.other_sources.count)
    }
}

/// One direction of a session, as it was received.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowStats {
    /// The source that was learned.
    pub source: Option<SocketAddr>,
    /// RTP packets received from it.
    pub packets: u64,
    /// Of these, forwarded by XDP.
    pub packets_xdp: u64,
    /// Bytes of RTP, its header included.
    pub bytes: u64,
    /// RTP packets sent on to the other party.
    pub forwarded: u64,
    /// Packets lost before this node, as RFC 3550 A.3 counts.
    pub lost: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came too late for a jitter buffer of 60 ms to play them.
    pub late: u64,
    /// How much longer the runs of lost packets are than loss by chance would make them (G.107's BurstR): 1.0 and more.
    pub burst_ratio: f32,
    /// The longest time between two packets, in milliseconds; pauses in which the party had nothing to say are among them.
    pub longest_gap_ms: u32,
    /// Interarrival jitter (RFC 3550 6.4.1), in microseconds.
    pub jitter_us: u32,
    /// The synchronisation source of the last packet; `None` before one came.
    pub ssrc: Option<u32>,
    /// Its highest sequence number, extended to 32 bits (RFC 3550 6.4.1).
    pub highest_sequence: u32,
    /// Milliseconds since a packet came; `None` before one did.
    pub silent_ms: Option<u64>,
    /// Estimated mean opinion score (G.107), 1.0 to 4.5; `None` before enough packets came.
    pub mos: Option<f32>,
    /// Packets from strangers or beyond the cap, and what else was refused on this leg's ports.
    pub refused: u64,
    /// The time from this node to the party and back, in microseconds, by the RTCP that it has relayed; `None` before a
    /// report was answered.
    pub rtt_us: Option<u32>,
    /// Its synchronisation sources that are known apart, 9 at most, the present one last. Not in [`Top`].
    pub sources: Vec<SourceStats>,
    /// Those before them, together.
    pub other_sources: OtherSources,
}

/// The path that packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Path {
    /// Native XDP, in the driver.
    Xdp,
    /// Generic XDP, after the driver.
    XdpGeneric,
    /// A shard, over io_uring.
    IoUring,
    /// A shard, over plain sockets.
    Sockets,
}

impl Path {
    /// The name that configuration and metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::IoUring => "io-uring",
            Self::Sockets => "sockets",
        }
    }
}

/// How the engine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaStatus {
    /// The best path that this node has.
    pub path: Path,
    /// Why it is not a better one; empty where it is the best, or the one asked for.
    pub stepped_down: String,
    /// The interfaces whose packets XDP sees.
    pub interfaces: Vec<String>,
    /// Threads that move packets.
    pub shards: u16,
    /// Sessions now.
    pub sessions: u64,
    /// UDP ports in use.
    pub ports_used: u32,
    /// UDP ports configured.
    pub ports: u32,
    /// Sessions that this process took over from the one before it.
    pub adopted: u64,
    /// No new sessions are taken.
    pub draining: bool,
}

/// What mediad tells unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A party's source is known: its packets are being relayed.
    Learned {
        /// The session.
        id: SessionId,
        /// Whose.
        side: Side,
        /// Where its packets come from.
        source: SocketAddr,
    },
    /// No packet came from either party for as long as configured; told once, and again only after
    /// packets came in between.
    Timeout {
        /// The session.
        id: SessionId,
        /// How long, in seconds.
        silent: u32,
    },
    /// A recording of a session has ended because it could not be written. What was written is there.
    RecordingFailed {
        /// The session, which goes on.
        id: SessionId,
        /// Why.
        reason: String,
    },
    /// A recording of a session goes on in another file, and the one before is complete soon.
    RecordingTurned {
        /// The session.
        id: SessionId,
        /// Where it goes on, as in [`Response::Recording`].
        file: String,
    },
    /// Something happened in a session of programmable voice.
    Voice {
        /// The session.
        id: SessionId,
        /// What.
        event: VoiceEvent,
    },
    /// The engine ends, because it was to when it is drained ([`Drain::exit`]): what tells that from a crash.
    Ending {
        /// Sessions that are left, after [`Drain::limit_s`].
        sessions: u64,
    },
}
