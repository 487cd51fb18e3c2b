//! Recordings of calls.
//!
//! Shards copy what parties say into a queue of fixed length, from which a thread writes WAV files. A disk that is too
//! slow or full costs audio, which is counted, and never holds a call up.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use control::media::Remote;
use crossbeam_channel::{Receiver, Sender};
use rtp::g711;
use rtp::record::{self, Timeline};
use tracing::{info, warn};

use crate::io::monotonic_ns;

/// Packets that wait to be written at most, of all calls: 200 calls' of 100 ms.
const QUEUE: usize = 2048;
/// The longest packet that is recorded, in octets: 100 ms of G.711.
const LONGEST: usize = 800;
/// How often the queue is looked at.
const PACE: Duration = Duration::from_millis(20);
/// How often a recording is written to its file, in nanoseconds.
const EVERY: u64 = 250_000_000;
/// After so many octets the header says how long the file is: 5 s.
const PATCH: u64 = 160_000;
/// What tells the folder from a place where it is not mounted.
const MARK: &str = ".recordings";
/// Recordings of one name at most.
const SAME_NAME: u32 = 99;

/// The thread that writes, and how it is reached.
#[derive(Debug)]
pub(crate) struct Recorder {
    folder: PathBuf,
    audio: Sender<Audio>,
    orders: Sender<Order>,
    next: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// One party's way into a recording. When the last of both is gone, the recording ends.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    audio: Sender<Audio>,
    channel: usize,
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
    payload_type: u8,
    len: usize,
    payload: [u8; LONGEST],
}

#[derive(Debug)]
enum Order {
    Begin(u64, Box<Writing>),
    End {
        number: u64,
        at: u64,
        is_unwanted: bool,
    },
    Stop,
}

/// A recording that is being written.
#[derive(Debug)]
struct Writing {
    file: File,
    path: PathBuf,
    line: Timeline,
    /// When it is written next.
    due: u64,
    octets: u64,
    patched: u64,
    /// Octets that the disk did not take.
    unwritten: u64,
    late: u64,
    lost: Arc<AtomicU64>,
}

impl Recorder {
    /// Starts the thread; `folder` is made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made, or the thread.
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // Who removes files looks for it: in an empty place where a volume should be nothing is gone.
        File::create(folder.join(MARK))?;
        let (audio, heard) = crossbeam_channel::bounded(QUEUE);
        let (orders, told) = crossbeam_channel::unbounded();
        let thread = std::thread::Builder::new()
            .name("recordings".into())
            .spawn(move || write(&told, &heard))?;
        Ok(Self {
            folder: folder.to_owned(),
            audio,
            orders,
            next: AtomicU64::new(0),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Begins a recording of this name, or of the first that is free after it. Waits for the disk.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn begin(&self, name: &str) -> io::Result<[Tap; 2]> {
        let (path, file) = create(&self.folder, name)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let lost = Arc::new(AtomicU64::new(0));
        let writing = Writing {
            file,
            path: path.clone(),
            line: Timeline::new(monotonic_ns()),
            due: 0,
            octets: 0,
            patched: 0,
            unwritten: 0,
            late: 0,
            lost: lost.clone(),
        };
        if self
            .orders
            .send(Order::Begin(number, Box::new(writing)))
            .is_err()
        {
            return Err(io::Error::other(
                "the thread that writes recordings has ended",
            ));
        }
        let recording = Arc::new(Recording {
            number,
            path,
            lost,
            unwanted: AtomicBool::new(false),
            orders: self.orders.clone(),
        });
        Ok([0, 1].map(|channel| Tap {
            audio: self.audio.clone(),
            channel,
            recording: recording.clone(),
        }))
    }

    /// Finishes all recordings.
    pub(crate) fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread that writes recordings had panicked");
        }
    }
}

impl Tap {
    /// Takes a packet, if there is room.
    pub(crate) fn take(&self, packet: &rtp::Packet<'_>, arrival: u64) {
        let heard = packet.payload();
        // Events, comfort noise and what else is not G.711 are silence.
        if !matches!(packet.payload_type(), 0 | 8) {
            return;
        }
        let mut audio = Audio {
            recording: self.recording.number,
            channel: self.channel,
            arrival,
            position: (packet.ssrc(), packet.timestamp()),
            payload_type: packet.payload_type(),
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

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::End {
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

fn create(folder: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    if name.is_empty() || name.len() > 100 || !name.bytes().all(is_plain) {
        let why = "its name has other characters than letters, digits, - and _";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    for number in 1..=SAME_NAME {
        let path = match number {
            1 => folder.join(format!("{name}.wav")),
            number => folder.join(format!("{name}-{number}.wav")),
        };
        match options.open(&path) {
            Ok(mut file) => {
                if let Err(error) = file.write_all(&record::header(0)) {
                    drop(std::fs::remove_file(&path));
                    return Err(error);
                }
                return Ok((path, file));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The thread.
fn write(orders: &Receiver<Order>, audio: &Receiver<Audio>) {
    let mut all: HashMap<u64, Writing> = HashMap::new();
    let mut out = Vec::new();
    loop {
        // Without recordings there is nothing to look at.
        let mut next = if all.is_empty() {
            orders.recv().ok()
        } else {
            orders.try_recv().ok()
        };
        let (mut ended, mut is_over) = (Vec::new(), all.is_empty() && next.is_none());
        while let Some(order) = next {
            match order {
                Order::Begin(number, writing) => drop(all.insert(number, *writing)),
                Order::End {
                    number,
                    at,
                    is_unwanted,
                } => ended.push((number, at, is_unwanted)),
                Order::Stop => is_over = true,
            }
            next = orders.try_recv().ok();
        }
        while let Ok(heard) = audio.try_recv() {
            if let Some(writing) = all.get_mut(&heard.recording) {
                writing.put(&heard);
            }
        }
        for (number, at, is_unwanted) in ended {
            if let Some(writing) = all.remove(&number) {
                writing.finish(at, is_unwanted, &mut out);
            }
        }
        let now = monotonic_ns();
        all.values_mut()
            .for_each(|writing| writing.go_on(now, &mut out));
        if is_over {
            for (_, writing) in all {
                writing.finish(now, false, &mut out);
            }
            return;
        }
        std::thread::sleep(PACE);
    }
}

impl Writing {
    fn put(&mut self, heard: &Audio) {
        let decode = match heard.payload_type {
            0 => g711::decode_ulaw,
            _ => g711::decode_alaw,
        };
        let samples = heard.payload.iter().take(heard.len);
        let samples = samples.map(|octet| decode(*octet));
        let is_in_time = self
            .line
            .put(heard.channel, heard.arrival, heard.position, samples);
        self.late += u64::from(!is_in_time);
    }

    /// Writes what is complete, when it is time to.
    fn go_on(&mut self, now: u64, out: &mut Vec<u8>) {
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        out.clear();
        self.line.take(now, out);
        if let Err(error) = self.append(out) {
            self.give_up(out, &error);
        }
    }

    /// The disk takes nothing now. It may do so again.
    fn give_up(&mut self, out: &[u8], error: &io::Error) {
        if self.unwritten == 0 {
            warn!(path = %self.path.display(), %error, "a recording cannot be written, and loses what comes until it can");
        }
        self.unwritten += out.len() as u64;
        // A part may have been written.
        if let Err(error) = self.file.seek(SeekFrom::Start(self.end())) {
            warn!(path = %self.path.display(), %error, "a recording may be damaged");
        }
    }

    const fn end(&self) -> u64 {
        record::HEADER as u64 + self.octets
    }

    fn finish(mut self, at: u64, is_unwanted: bool, out: &mut Vec<u8>) {
        if is_unwanted {
            if let Err(error) = std::fs::remove_file(&self.path) {
                warn!(path = %self.path.display(), %error, "cannot remove a recording");
            }
            return;
        }
        out.clear();
        self.line.finish(at, out);
        if let Err(error) = self.append(out) {
            self.give_up(out, &error);
        }
        let patched = self.patch();
        let path = self.path.display();
        match patched {
            Ok(()) => info!(
                %path,
                unwritten = self.unwritten,
                seconds = self.octets / u64::from(record::RATE) / record::FRAME as u64,
                lost = self.lost.load(Ordering::Relaxed),
                late = self.late,
                "a recording is complete"
            ),
            Err(error) => warn!(%path, %error, "a recording cannot be written to its end"),
        }
    }

    fn append(&mut self, out: &[u8]) -> io::Result<()> {
        self.file.write_all(out)?;
        self.octets += out.len() as u64;
        // What was written is heard even where this process does not live to finish it.
        if self.octets - self.patched >= PATCH {
            self.patch()?;
        }
        Ok(())
    }

    fn patch(&mut self) -> io::Result<()> {
        self.patched = self.octets;
        self.file.rewind()?;
        self.file.write_all(&record::header(self.octets))?;
        self.file.seek(SeekFrom::Start(self.end())).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_loses_what_it_does_not_take() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let lost = Arc::new(AtomicU64::new(0));
        let mut writing = Writing {
            file,
            path: "/dev/full".into(),
            line: Timeline::new(0),
            due: 0,
            octets: 0,
            patched: 0,
            unwritten: 0,
            late: 0,
            lost,
        };
        let mut out = Vec::new();
        writing.go_on(2 * EVERY, &mut out);
        assert_eq!(writing.unwritten, 0, "there is nothing to be written yet");
        writing.go_on(6 * EVERY, &mut out);
        // A second, of which half is held back, in stereo.
        assert_eq!((writing.unwritten, writing.octets), (4 * 8_000, 0));
        writing.file = tempfile::tempfile().unwrap();
        writing.file.seek(SeekFrom::Start(writing.end())).unwrap();
        writing.go_on(10 * EVERY, &mut out);
        assert_eq!((writing.unwritten, writing.octets), (4 * 8_000, 4 * 8_000));
    }

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
