//! Recordings of calls, and of parties of programmable voice.
//!
//! Shards, and the reader of what XDP copies, put what parties say into a queue of fixed length, from which a thread
//! writes WAV files; or their packets, for pcap files. A disk that is too slow costs audio, which is counted; one that is
//! full ends the recording. Neither holds a call up.
//!
//! - [`Recorder`]: the handle; [`Tap`]: a party's way into a recording; [`Reel`]: both ways into one that orders begin.
//! - `writing`: the thread; `file`: one recording of it, and `rotation`: how that goes on in other files; `content`: what is
//!   in them, and `pcap`: that format; `closing`: how they are completed.

mod closing;
mod content;
mod file;
mod pcap;
mod rotation;
mod writing;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use control::media::{RecordFormat, Recorded, Remote, VoiceRecord};
use crossbeam_channel::Sender;
use ebpf_abi::{LARGE, TapHead};
use rtp::record::{Form, Pause};
use tracing::warn;

use self::closing::Ended;
use self::content::Content;
use self::file::{Told, Writing};
use self::rotation::{PARTS, Parts, Place};
use self::writing::Order;
use crate::io::monotonic_ns;
use crate::voice::Law;

/// Packets that wait to be written at most, of all calls: 800 calls' of 100 ms.
const QUEUE: usize = 8192;
/// The longest packet that is recorded, in octets: 100 ms of G.711.
const LONGEST: usize = 800;
/// Packets that wait to be written to pcap files at most, of all calls: 800 calls' of 25 ms.
const FRAMES: usize = 2048;
/// Files that are completed at once: each waits for the disk.
const CLOSERS: usize = 4;
/// What tells the folder from a place where it is not mounted.
const MARK: &str = ".recordings";

/// Is told once what became of a recording, or why there is none.
pub(crate) type Report = Box<dyn FnOnce(Result<Recorded, String>) + Send>;

/// Is told the number of a recording of a call that has ended before it was to, and why.
pub(crate) type Trouble = Box<dyn FnOnce(u64, String) + Send>;

pub(crate) use self::rotation::Rotation;

/// Is told of each file after the first that a recording of a call goes on in.
pub(crate) type Turned = Box<dyn Fn(PathBuf) + Send>;

/// The threads that write, and how they are reached.
#[derive(Debug)]
pub(crate) struct Recorder {
    folder: PathBuf,
    rotation: Rotation,
    audio: Sender<Audio>,
    frames: Sender<Captured>,
    orders: Sender<Order>,
    next: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One party's way into a recording. When the last of both is gone, the recording ends.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    audio: Sender<Audio>,
    frames: Sender<Captured>,
    format: RecordFormat,
    channel: usize,
    recording: Arc<Recording>,
}

/// A recording of what a party says and hears, which begins when it is told to. When it is gone, the recording ends.
#[derive(Debug)]
pub(crate) struct Reel {
    /// Where it is recorded.
    says: Option<Tap>,
    hears: Option<Tap>,
    recording: Arc<Recording>,
}

#[derive(Debug)]
struct Recording {
    number: u64,
    place: Place,
    /// Packets that there was no room for.
    lost: Arc<AtomicU64>,
    /// It is not wanted after all.
    unwanted: AtomicBool,
    orders: Sender<Order>,
}

/// A packet.
#[derive(Debug)]
struct Audio {
    recording: u64,
    channel: usize,
    arrival: u64,
    position: (u32, u32),
    law: Law,
    len: usize,
    payload: [u8; LONGEST],
}

/// A frame.
struct Captured {
    recording: u64,
    arrival: u64,
    /// How long it was, and how much of it is here.
    len: u16,
    kept: usize,
    frame: [u8; LARGE],
}

/// A datagram that came to a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: SocketAddr,
    /// The local port that it came to.
    pub(crate) local: SocketAddr,
    pub(crate) payload: &'a [u8],
    pub(crate) arrival: u64,
}

impl Recorder {
    /// Starts the threads; `folder` is made where it is missing. Recordings of calls go on in other files by `rotation`.
    ///
    /// # Errors
    /// The folder cannot be made, or a thread.
    pub(crate) fn start(folder: &Path, rotation: Rotation) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // Who removes files looks for it: in an empty place where a volume should be nothing is gone.
        std::fs::File::create(folder.join(MARK))?;
        let (audio, heard) = crossbeam_channel::bounded(QUEUE);
        let (frames, captured) = crossbeam_channel::bounded(FRAMES);
        let (orders, told) = crossbeam_channel::unbounded();
        let (closing, ended) = crossbeam_channel::unbounded::<Ended>();
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let writer = move || writing::write(&told, &heard, &captured, &closing);
        let mut threads = vec![named("recordings").spawn(writer)?];
        for number in 0..CLOSERS {
            let ended = ended.clone();
            let closer = move || ended.iter().for_each(Ended::close);
            threads.push(named(&format!("recordings-{number}")).spawn(closer)?);
        }
        Ok(Self {
            folder: folder.to_owned(),
            rotation,
            audio,
            frames,
            orders,
            next: AtomicU64::new(0),
            threads: Mutex::new(threads),
        })
    }

    /// Begins a recording of a call under this name, or under the first that is free after it. Waits for the disk.
    /// `trouble` is told where the disk ends it later on, `turned` of each file that it goes on in.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn begin(
        &self,
        name: &str,
        format: RecordFormat,
        trouble: Trouble,
        turned: Turned,
    ) -> io::Result<[Tap; 2]> {
        let content = match format {
            RecordFormat::Wav => Content::wav(Form::CALL),
            RecordFormat::Pcap => Content::pcap(),
        };
        let told = |number| Told::Call(Box::new(move |why| trouble(number, why)));
        let recording = self.open(name, PARTS, content, told, Some(turned))?;
        recording.order(Order::Start {
            number: recording.number,
            at: monotonic_ns(),
        });
        Ok([0, 1].map(|channel| self.tap(channel, format, &recording)))
    }

    /// Makes a recording of one party, which begins with [`Reel::start`]. Waits for the disk. `report` is told what
    /// became of it, even where it never begins; not where this fails.
    ///
    /// # Errors
    /// The file cannot be made, or is there.
    pub(crate) fn reel(&self, record: &VoiceRecord, report: Report) -> io::Result<Reel> {
        let form = Form {
            channels: record.channels.clamp(1, 2),
            silence_ms: record.silence_ms,
            tracks: [record.says, record.hears],
            trim: record.trim,
        };
        let told = |_| Told::Order(report);
        let recording = self.open(&record.name, 1, Content::wav(form), told, None)?;
        let tap = |channel| self.tap(channel, RecordFormat::Wav, &recording);
        Ok(Reel {
            says: record.says.then(|| tap(0)),
            hears: record.hears.then(|| tap(1)),
            recording,
        })
    }

    fn open(
        &self,
        name: &str,
        same_name: u32,
        content: Content,
        told: impl FnOnce(u64) -> Told,
        turned: Option<Turned>,
    ) -> io::Result<Arc<Recording>> {
        let (part, path, file) = content::create(&self.folder, name, 1..=same_name, &content)?;
        let place = Place::new(path.clone());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let told = told(number);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writing = Writing::new(file, path, content, lost.clone(), told);
        if let Some(turned) = turned {
            let named = (&*self.folder, name, part);
            writing = writing.with_parts(Parts::new(self.rotation, named, place.clone(), turned));
        }
        let begin = Order::Begin(number, Box::new(writing));
        if self.orders.send(begin).is_err() {
            return Err(io::Error::other(
                "the thread that writes recordings has ended",
            ));
        }
        Ok(Arc::new(Recording {
            number,
            place,
            lost,
            unwanted: AtomicBool::new(false),
            orders: self.orders.clone(),
        }))
    }

    fn tap(&self, channel: usize, format: RecordFormat, recording: &Arc<Recording>) -> Tap {
        Tap {
            audio: self.audio.clone(),
            frames: self.frames.clone(),
            format,
            channel,
            recording: recording.clone(),
        }
    }

    /// Finishes all recordings.
    pub(crate) fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                warn!("a thread that writes recordings had panicked");
            }
        }
    }
}

impl Tap {
    /// Takes RTP that came to a shard, if there is room.
    pub(crate) fn take(&self, datagram: &Datagram<'_>) {
        match self.format {
            RecordFormat::Wav => self.take_rtp(datagram.payload, datagram.arrival),
            RecordFormat::Pcap => self.take_other(datagram),
        }
    }

    /// Takes what is no audio, where that is recorded.
    pub(crate) fn take_other(&self, datagram: &Datagram<'_>) {
        if self.format != RecordFormat::Pcap {
            return;
        }
        self.capture(datagram.arrival, |place| {
            let Datagram {
                source,
                local,
                payload,
                ..
            } = *datagram;
            let kept = pcap::frame(source, local, payload, place)?;
            Some((u16::try_from(kept).ok()?, kept))
        });
    }

    /// Takes a frame that XDP has copied, with its UDP payload.
    pub(crate) fn take_frame(&self, head: &TapHead, frame: &[u8], payload: &[u8]) {
        match self.format {
            RecordFormat::Pcap => self.capture(head.arrival, |place| {
                place.get_mut(..frame.len())?.copy_from_slice(frame);
                Some((head.len, frame.len()))
            }),
            RecordFormat::Wav if head.is_rtcp() => {}
            RecordFormat::Wav => self.take_rtp(payload, head.arrival),
        }
    }

    /// Which recording it is the way to.
    pub(crate) fn number(&self) -> u64 {
        self.recording.number
    }

    /// It is recorded what the parties say, and not what they send.
    pub(crate) fn wants_speech(&self) -> bool {
        self.format == RecordFormat::Wav
    }

    /// It goes on in another way.
    pub(crate) fn pause(&self, at: u64, how: Pause) {
        let number = self.recording.number;
        self.recording.order(Order::Pause { number, at, how });
    }

    fn capture(&self, arrival: u64, fill: impl FnOnce(&mut [u8]) -> Option<(u16, usize)>) {
        let mut captured = Captured {
            recording: self.recording.number,
            arrival,
            len: 0,
            kept: 0,
            frame: [0; LARGE],
        };
        let filled = fill(&mut captured.frame);
        let is_taken = filled.is_some_and(|(len, kept)| {
            (captured.len, captured.kept) = (len, kept);
            self.frames.try_send(captured).is_ok()
        });
        if !is_taken {
            self.recording.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take_rtp(&self, payload: &[u8], arrival: u64) {
        let Ok(packet) = rtp::Packet::parse(payload) else {
            return;
        };
        // Events, comfort noise and what else is not G.711 are silence.
        match packet.payload_type() {
            0 => self.take_as(Law::Mu, &packet, arrival),
            8 => self.take_as(Law::A, &packet, arrival),
            _ => {}
        }
    }

    fn take_as(&self, law: Law, packet: &rtp::Packet<'_>, arrival: u64) {
        let heard = packet.payload();
        let mut audio = Audio {
            recording: self.recording.number,
            channel: self.channel,
            arrival,
            position: (packet.ssrc(), packet.timestamp()),
            law,
            len: heard.len(),
            payload: [0; LONGEST],
        };
        let place = audio.payload.get_mut(..heard.len());
        let fits = place.map(|place| place.copy_from_slice(heard)).is_some();
        let is_taken = fits && self.audio.try_send(audio).is_ok();
        if !is_taken {
            self.recording.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where it is written now.
    pub(crate) fn path(&self) -> PathBuf {
        self.recording.place.path()
    }

    /// There is a recording of the call already: nothing is to be left of this one.
    pub(crate) fn discard(&self) {
        self.recording.unwanted.store(true, Ordering::Relaxed);
    }
}

impl Reel {
    /// The recording begins; what came before is not in it.
    pub(crate) fn start(&self, at: u64) {
        let number = self.recording.number;
        self.recording.order(Order::Start { number, at });
    }

    /// It goes on in another way.
    pub(crate) fn pause(&self, at: u64, how: Pause) {
        let number = self.recording.number;
        self.recording.order(Order::Pause { number, at, how });
    }

    /// Takes a packet of what the party says.
    pub(crate) fn says(&self, law: Law, packet: &rtp::Packet<'_>, arrival: u64) {
        if let Some(tap) = &self.says {
            tap.take_as(law, packet, arrival);
        }
    }

    /// Takes a packet of what it hears.
    pub(crate) fn hears(&self, law: Law, packet: &rtp::Packet<'_>, arrival: u64) {
        if let Some(tap) = &self.hears {
            tap.take_as(law, packet, arrival);
        }
    }
}

impl Recording {
    /// The thread may have ended, and everything with it.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.order(Order::End {
            number: self.number,
            at: monotonic_ns(),
            is_unwanted: self.unwanted.load(Ordering::Relaxed),
        });
    }
}

/// Why a call between two parties cannot be recorded.
pub(crate) fn check(remotes: [Option<&Remote>; 2], is_secret: bool) -> Result<(), &'static str> {
    let known = || remotes.iter().flatten();
    if is_secret {
        return Err("the media of this call is SRTP, to which this node has no keys");
    }
    let is_g711 = |remote: &&Remote| {
        let encoding = &remote.format.encoding;
        ["PCMU", "PCMA"]
            .iter()
            .any(|name| encoding.eq_ignore_ascii_case(name))
    };
    if known().count() > 0 && !known().any(is_g711) {
        return Err("only G.711 (PCMU, PCMA) can be recorded, and this call has another codec");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
