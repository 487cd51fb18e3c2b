//! What a leg of programmable voice has recorded, of what its party says and hears.

use control::media::VoiceRecord;
use rtp::record::Pause;

use super::Law;
use crate::record::Reel;

/// Recordings of a leg at most.
const MOST: usize = 8;

/// The recordings of a leg.
#[derive(Debug, Default)]
pub(crate) struct Recordings(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    job: u32,
    says: bool,
    hears: bool,
    /// A tone comes first.
    beep: bool,
    /// How it was paused before it has begun.
    pause: Option<Pause>,
    /// Until it is there, the file is being made.
    reel: Option<Reel>,
    runs: bool,
}

/// What follows when the file of a recording is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// It can begin.
    Ready,
    /// The tone is to be played.
    Beep,
    /// It was stopped meanwhile.
    Gone,
}

impl Recordings {
    /// Makes room for a recording whose file is to come; false where there are too many.
    pub(super) fn begin(&mut self, record: &VoiceRecord) -> bool {
        if self.0.len() == MOST {
            return false;
        }
        self.0.push(Entry {
            job: record.job,
            says: record.says,
            hears: record.hears,
            beep: record.beep,
            pause: None,
            reel: None,
            runs: false,
        });
        true
    }

    pub(crate) fn has(&self, job: u32) -> bool {
        self.0.iter().any(|entry| entry.job == job)
    }

    /// The file of a recording is there.
    pub(crate) fn load(&mut self, job: u32, reel: Reel) -> Loaded {
        let Some(entry) = self.entry(job).filter(|entry| entry.reel.is_none()) else {
            return Loaded::Gone;
        };
        entry.reel = Some(reel);
        if entry.beep {
            Loaded::Beep
        } else {
            Loaded::Ready
        }
    }

    /// Begins to record.
    pub(crate) fn start(&mut self, job: u32, now: u64) {
        let Some(entry) = self.entry(job).filter(|entry| !entry.runs) else {
            return;
        };
        let Some(reel) = &entry.reel else { return };
        reel.start(now);
        if let Some(how) = entry.pause {
            reel.pause(now, how);
        }
        entry.runs = true;
    }

    /// Whether a recording has its file, and waits for its tone to be over.
    pub(crate) fn waits(&self, job: u32) -> bool {
        let mut all = self.0.iter();
        all.any(|entry| entry.job == job && entry.reel.is_some() && !entry.runs)
    }

    pub(crate) fn pause(&mut self, job: u32, how: Pause, now: u64) {
        let Some(entry) = self.entry(job) else { return };
        match &entry.reel {
            Some(reel) if entry.runs => reel.pause(now, how),
            _ => entry.pause = Some(how),
        }
    }

    /// Ends one.
    pub(crate) fn stop(&mut self, job: u32) {
        self.0.retain(|entry| entry.job != job);
    }

    /// Ends all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What the party says has to come to the shard.
    pub(super) fn listen(&self) -> bool {
        self.0.iter().any(|entry| entry.says)
    }

    /// What it hears has to.
    pub(super) fn overhear(&self) -> bool {
        self.0.iter().any(|entry| entry.hears)
    }

    /// Takes a packet of what the party says.
    pub(super) fn says(&self, law: Law, packet: &rtp::Packet<'_>, arrival: u64) {
        for reel in self.running() {
            reel.says(law, packet, arrival);
        }
    }

    /// Takes a packet of what it hears.
    pub(super) fn hears(&self, law: Law, packet: &rtp::Packet<'_>, arrival: u64) {
        for reel in self.running() {
            reel.hears(law, packet, arrival);
        }
    }

    /// As [`hears`](Self::hears), of a packet that was made here.
    pub(super) fn hears_own(&self, law: Law, packet: &[u8], now: u64) {
        if !self.0.is_empty()
            && let Ok(packet) = rtp::Packet::parse(packet)
        {
            self.hears(law, &packet, now);
        }
    }

    fn running(&self) -> impl Iterator<Item = &Reel> {
        let running = self.0.iter().filter(|entry| entry.runs);
        running.filter_map(|entry| entry.reel.as_ref())
    }

    fn entry(&mut self, job: u32) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.job == job)
    }
}
