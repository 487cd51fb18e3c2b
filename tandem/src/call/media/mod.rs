//! The audio of a call: packets out every 20 ms, packets in with their statistics.

mod recorder;
mod reports;
mod source;
mod stats;

use std::{
    io,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ebpf_abi::Rtp;
use rtp::{Packet, Packetizer, g711};
use tokio::{
    net::UdpSocket,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, interval_at},
};

pub(super) use recorder::Recorder;
pub(super) use source::Source;
pub(super) use stats::Stats;

use super::agent::{Codec, Plan};
use reports::{Reports, Sent};
use source::FRAME;

/// One packet's time.
const PACE: Duration = Duration::from_millis(20);
/// One packet's time in units of the RTP clock.
const UNITS: u32 = 160;
const _: () = assert!(UNITS as usize == FRAME);
/// A sender that is later than this (a suspended process) goes on with what is due now, and does not
/// send what it missed in a burst.
const MAX_LATE: Duration = Duration::from_millis(200);
/// How many packets pass between two publications of the statistics.
const PUBLISH: u64 = 10;
/// How often a report is sent (RFC 3550 section 6.2).
const REPORT: Duration = Duration::from_secs(5);

impl Codec {
    fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Pcmu => g711::encode_ulaw(sample),
            Self::Pcma => g711::encode_alaw(sample),
        }
    }

    fn decode(self, octet: u8) -> i16 {
        match self {
            Self::Pcmu => g711::decode_ulaw(octet),
            Self::Pcma => g711::decode_alaw(octet),
        }
    }
}

/// The two sockets of a stream.
#[derive(Debug)]
pub(super) struct Sockets {
    /// RTP.
    pub(super) rtp: UdpSocket,
    /// RTCP, one port above.
    pub(super) rtcp: UdpSocket,
}

/// A running stream.
#[derive(Debug)]
pub(super) struct Stream {
    plan: watch::Sender<Option<Plan>>,
    stats: watch::Receiver<Stats>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<Stats>>,
}

impl Stream {
    /// Starts to receive; sending begins with the first plan.
    pub(super) fn start(sockets: Sockets, source: Source, recorder: Option<Recorder>) -> Self {
        let (plan, plans) = watch::channel(None);
        let (published, stats) = watch::channel(Stats::default());
        let (stop, stopped) = oneshot::channel();
        let worker = Worker {
            sockets,
            source,
            recorder,
            plans,
            plan: None,
            packetizer: Packetizer::new(0, rand::random(), rand::random(), rand::random()),
            reports: Reports::default(),
            started: Instant::now(),
            stats: Stats::default(),
            published,
        };
        Self {
            plan,
            stats,
            stop,
            task: tokio::spawn(worker.run(stopped)),
        }
    }

    /// Where audio goes from now on.
    pub(super) fn set_plan(&self, plan: Plan) {
        self.plan.send_replace(Some(plan));
    }

    /// The statistics of a moment ago.
    pub(super) fn stats(&self) -> Stats {
        self.stats.borrow().clone()
    }

    /// Stops, finishes the recording, and tells how it was.
    ///
    /// # Errors
    /// The recording could not be written to its end.
    pub(super) async fn finish(self) -> io::Result<Stats> {
        // The task ends by itself only where it failed.
        let _ = self.stop.send(());
        self.task.await.map_err(io::Error::other)?
    }
}

struct Worker {
    sockets: Sockets,
    source: Source,
    recorder: Option<Recorder>,
    plans: watch::Receiver<Option<Plan>>,
    plan: Option<Plan>,
    packetizer: Packetizer,
    reports: Reports,
    started: Instant,
    stats: Stats,
    published: watch::Sender<Stats>,
}

impl Worker {
    async fn run(mut self, mut stop: oneshot::Receiver<()>) -> io::Result<Stats> {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut reports = interval_at(Instant::now() + REPORT / 2, REPORT);
        let mut ticked = 0;
        let (mut datagram, mut control) = (vec![0; 2_048], vec![0; 2_048]);
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => break,
                changed = self.plans.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.plan = *self.plans.borrow_and_update();
                    self.stats.planned.get_or_insert_with(|| self.started.elapsed());
                    ticks.reset_immediately();
                }
                due = ticks.tick() => {
                    if due.elapsed() > MAX_LATE {
                        self.pass_over(due);
                        ticks.reset();
                    } else {
                        self.send_frame().await;
                    }
                    ticked += 1;
                    if ticked % PUBLISH == 0 {
                        self.published.send_replace(self.stats.clone());
                    }
                }
                received = self.sockets.rtp.recv_from(&mut datagram) => {
                    // An error is that of an earlier send: nothing listens there (yet).
                    if let Ok((length, from)) = received {
                        self.receive(&datagram[..length], from).await?;
                    }
                }
                received = self.sockets.rtcp.recv_from(&mut control) => {
                    if let Ok((length, _)) = received {
                        self.receive_report(&control[..length]);
                    }
                }
                _ = reports.tick() => self.send_report().await,
            }
        }
        if let Some(recorder) = self.recorder.take() {
            recorder.finish().map_err(to_io)?;
        }
        Ok(self.stats)
    }

    /// The time since `due` passes without packets.
    fn pass_over(&mut self, due: Instant) {
        let frames = due.elapsed().as_millis() / PACE.as_millis();
        let units = u32::try_from(frames)
            .unwrap_or(u32::MAX)
            .saturating_mul(UNITS);
        self.packetizer.silence(units);
    }

    async fn send_frame(&mut self) {
        let Some(plan) = self.plan else { return };
        // A file goes on while we are on hold, as a person would go on speaking.
        let Some(frame) = self.source.frame() else {
            return;
        };
        if !plan.send {
            self.packetizer.silence(UNITS);
            return;
        }
        let payload = frame.map(|sample| plan.codec.encode(sample));
        self.send(plan, &payload).await;
    }

    async fn send(&mut self, plan: Plan, payload: &[u8]) {
        let mut packet = Vec::with_capacity(12 + payload.len());
        let units = u32::try_from(payload.len()).unwrap_or(UNITS);
        self.packetizer.packet(payload, units, &mut packet);
        // The codec may change in the middle of a stream; its numbers go on.
        if let Some(octet) = packet.get_mut(1) {
            *octet = (*octet & 0x80) | plan.payload_type;
        }
        if self.sockets.rtp.send_to(&packet, plan.remote).await.is_ok() {
            self.stats.sent_packets += 1;
            self.stats.sent_octets += packet.len() as u64;
        }
    }

    async fn receive(&mut self, datagram: &[u8], from: SocketAddr) -> io::Result<()> {
        let Ok(packet) = Packet::parse(datagram) else {
            self.stats.received.refused += 1;
            return Ok(());
        };
        let Some(codec) = self.codec_of(packet.payload_type()) else {
            self.stats.received.refused += 1;
            return Ok(());
        };
        let arrival = self.started.elapsed();
        let header = Rtp {
            sequence: packet.sequence(),
            timestamp: packet.timestamp(),
            ssrc: packet.ssrc(),
        };
        let samples: Vec<i16> = packet
            .payload()
            .iter()
            .map(|octet| codec.decode(*octet))
            .collect();
        self.stats
            .received
            .count(header, datagram.len(), arrival, from, &samples);
        if let Some(recorder) = &mut self.recorder {
            recorder
                .insert(header.ssrc, header.timestamp, arrival, &samples)
                .map_err(to_io)?;
        }
        if let (Source::Echo, Some(plan)) = (&self.source, self.plan)
            && plan.send
        {
            let payload: Vec<u8> = samples
                .iter()
                .map(|sample| plan.codec.encode(*sample))
                .collect();
            self.send(plan, &payload).await;
        }
        Ok(())
    }

    async fn send_report(&mut self) {
        let Some(plan) = self.plan else { return };
        let sent = Sent {
            ssrc: self.packetizer.ssrc(),
            timestamp: self.packetizer.timestamp(),
            packets: self.stats.sent_packets,
            octets: self
                .stats
                .sent_octets
                .saturating_sub(12 * self.stats.sent_packets),
        };
        let now = self.started.elapsed();
        let report = self
            .reports
            .write(sent, &self.stats.received, ntp_now(), now);
        // The next one comes in a moment.
        drop(self.sockets.rtcp.send_to(&report, plan.rtcp).await);
    }

    fn receive_report(&mut self, datagram: &[u8]) {
        let (own, now) = (self.packetizer.ssrc(), self.started.elapsed());
        if self.reports.handle(datagram, own, ntp_now(), now) {
            self.stats.remote = self.reports.remote();
        } else {
            self.stats.received.refused += 1;
        }
    }

    /// What a payload type means in packets to us: what both sides agreed on, or G.711's own numbers
    /// (early media may come before any agreement).
    fn codec_of(&self, payload_type: u8) -> Option<Codec> {
        let agreed = self.plan.filter(|plan| plan.payload_type == payload_type);
        let own = Codec::ALL
            .into_iter()
            .find(|codec| codec.payload_type() == payload_type);
        agreed.map(|plan| plan.codec).or(own)
    }
}

fn to_io(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other),
    }
}

fn ntp_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    reports::ntp(since.unwrap_or_default())
}
