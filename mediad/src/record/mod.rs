//! Recordings of calls, and of parties of programmable voice.
//!
//! Shards copy what parties say into a queue of fixed length, from which a thread writes WAV files. A disk that is too
//! slow or full costs audio, which is counted, and never holds a call up.
//!
//! - [`Recorder`]: the handle; [`Tap`]: a party's way into a recording; [`Reel`]: both ways into one that orders begin.
//! - `writing`: the thread, and how files are made and completed.

mod writing;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use control::media::{Recorded, Remote, VoiceRecord};
use crossbeam_channel::Sender;
use rtp::record::{Form, Pause};
use tracing::warn;

use self::writing::{Ended, Order, Writing};
use crate::io::monotonic_ns;
use crate::voice::Law;

/// Packets that wait to be written at most, of all calls: 800 calls' of 100 ms.
const QUEUE: usize = 8192;
/// The longest packet that is recorded, in octets: 100 ms of G.711.
const LONGEST: usize = 800;
/// Files that are completed at once: each waits for the disk.
const CLOSERS: usize = 4;
/// What tells the folder from a place where it is not mounted.
const MARK: &str = ".recordings";
/// Recordings of one call's name at most.
const SAME_NAME: u32 = 99;

/// Is told once what became of a recording, or why there is none.
pub(crate) type Report = Box<dyn FnOnce(Result<Recorded, String>) + Send>;

/// The threads that write, and how they are reached.
#[derive(Debug)]
pub(crate) struct Recorder {
    folder: PathBuf,
    audio: Sender<Audio>,
    orders: Sender<Order>,
    next: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One party's way into a recording. When the last of both is gone, the recording ends.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    audio: Sender<Audio>,
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
    path: PathBuf,
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

impl Recorder {
    /// Starts the threads; `folder` is made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made, or a thread.
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // Who removes files looks for it: in an empty place where a volume should be nothing is gone.
        std::fs::File::create(folder.join(MARK))?;
        let (audio, heard) = crossbeam_channel::bounded(QUEUE);
        let (orders, told) = crossbeam_channel::unbounded();
        let (closing, ended) = crossbeam_channel::unbounded::<Ended>();
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let writer = move || writing::write(&told, &heard, &closing);
        let mut threads = vec![named("recordings").spawn(writer)?];
        for number in 0..CLOSERS {
            let ended = ended.clone();
            let closer = move || ended.iter().for_each(Ended::close);
            threads.push(named(&format!("recordings-{number}")).spawn(closer)?);
        }
        Ok(Self {
            folder: folder.to_owned(),
            audio,
            orders,
            next: AtomicU64::new(0),
            threads: Mutex::new(threads),
        })
    }

    /// Begins a recording of a call under this name, or under the first that is free after it. Waits for the disk.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn begin(&self, name: &str) -> io::Result<[Tap; 2]> {
        let recording = self.open(name, SAME_NAME, Form::CALL, None)?;
        recording.order(Order::Start {
            number: recording.number,
            at: monotonic_ns(),
        });
        Ok([0, 1].map(|channel| self.tap(channel, &recording)))
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
        let recording = self.open(&record.name, 1, form, Some(report))?;
        let tap = |channel| self.tap(channel, &recording);
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
        form: Form,
        report: Option<Report>,
    ) -> io::Result<Arc<Recording>> {
        let (path, file) = writing::create(&self.folder, name, same_name, form.channels)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let lost = Arc::new(AtomicU64::new(0));
        let writing = Writing::new(file, path.clone(), form, lost.clone(), report);
        let begin = Order::Begin(number, Box::new(writing));
        if self.orders.send(begin).is_err() {
            return Err(io::Error::other(
                "the thread that writes recordings has ended",
            ));
        }
        Ok(Arc::new(Recording {
            number,
            path,
            lost,
            unwanted: AtomicBool::new(false),
            orders: self.orders.clone(),
        }))
    }

    fn tap(&self, channel: usize, recording: &Arc<Recording>) -> Tap {
        Tap {
            audio: self.audio.clone(),
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
    /// Takes a packet, if there is room.
    pub(crate) fn take(&self, packet: &rtp::Packet<'_>, arrival: u64) {
        // Events, comfort noise and what else is not G.711 are silence.
        match packet.payload_type() {
            0 => self.take_as(Law::Mu, packet, arrival),
            8 => self.take_as(Law::A, packet, arrival),
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

    /// Where it is written.
    pub(crate) fn path(&self) -> &Path {
        &self.recording.path
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
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_full_loses_packets_and_holds_nobody_up() {
        let (audio, _heard) = crossbeam_channel::bounded(1);
        let (orders, _told) = crossbeam_channel::unbounded();
        let recording = Arc::new(Recording {
            number: 0,
            path: PathBuf::new(),
            lost: Arc::new(AtomicU64::new(0)),
            unwanted: AtomicBool::new(false),
            orders,
        });
        let tap = Tap {
            audio,
            channel: 0,
            recording: recording.clone(),
        };
        let lost = || recording.lost.load(Ordering::Relaxed);
        for (payload_type, len, expected) in
            [(0, 160, 0), (0, 160, 1), (8, LONGEST + 1, 2), (101, 4, 2)]
        {
            let mut octets = Vec::new();
            let mut stream = rtp::Packetizer::new(payload_type, 1, 1, 1);
            stream.packet(&vec![0; len], 160, &mut octets);
            tap.take(&rtp::Packet::parse(&octets).unwrap(), 0);
            assert_eq!(lost(), expected);
        }
    }
}
