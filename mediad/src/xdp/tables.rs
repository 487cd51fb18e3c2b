//! The slot and the flow array in this process's memory.
//!
//! The kernel gives the values of an array map as shared memory. All access is by atomic words, so
//! that neither side's writing at the same moment is undefined behaviour here; what a torn value
//! means is handled by the generation of a slot, and is harmless in a flow.
#![expect(unsafe_code, reason = "maps memory that the kernel shares")]

use std::{
    io,
    ops::RangeInclusive,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering, fence},
    },
};

use aya::maps::MapData;
use ebpf_abi::{
    Flow, Numbers, PORTS, Slot,
    map::{FLOWS, NUMBERS, SLOTS},
};

use super::XdpError;

const SLOT_WORDS: usize = size_of::<Slot>() / size_of::<u32>();
const FLOW_WORDS: usize = size_of::<Flow>() / size_of::<u64>();
const NUMBERS_WORDS: usize = size_of::<Numbers>() / size_of::<u64>();

/// How often a flow is read again because a packet came meanwhile.
const FLOW_READS: usize = 4;

/// The slots of all ports.
///
/// Writing needs no lock as long as each port has one writer: the shard that owns it.
#[derive(Clone, Debug)]
pub struct SlotTable {
    memory: Arc<Shared<AtomicU32>>,
    /// The last generation that was used on any port. Odd.
    generation: Arc<AtomicU32>,
}

impl SlotTable {
    pub(super) fn new(map: &MapData) -> Result<Self, XdpError> {
        let memory = Shared::new(map.fd().as_fd(), PORTS as usize * SLOT_WORDS)
            .map_err(|error| XdpError::Mmap { name: SLOTS, error })?;
        let table = Self {
            memory: Arc::new(memory),
            generation: Arc::new(AtomicU32::new(1)),
        };
        let latest = table.live().iter().map(|(_, slot)| slot.generation).max();
        table
            .generation
            .store(latest.unwrap_or(0) | 1, Ordering::Relaxed);
        Ok(table)
    }

    /// Puts `slot` in force for `port`; its generation is chosen here. The program sees the old
    /// slot, no valid slot for a moment, and then this one, never a mixture.
    pub fn write(&self, port: u16, slot: &Slot) {
        let generation = self
            .generation
            .fetch_add(2, Ordering::Relaxed)
            .wrapping_add(2);
        let words = self.words(port);
        words[0].store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in words.iter().zip(slot_to_words(slot)).skip(1) {
            word.store(value, Ordering::Relaxed);
        }
        words[0].store(generation, Ordering::Release);
    }

    /// Makes `port` a port without a slot: its packets go to userspace.
    pub fn clear(&self, port: u16) {
        let words = self.words(port);
        words[0].store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        words[1..]
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// The slot of `port` if it has a valid one.
    #[must_use]
    pub fn read(&self, port: u16) -> Option<Slot> {
        let words = self.words(port);
        let generation = words[0].load(Ordering::Acquire);
        if generation == 0 {
            return None;
        }
        let mut values = [0; SLOT_WORDS];
        for (value, word) in values.iter_mut().zip(words) {
            *value = word.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        let unchanged = words[0].load(Ordering::Relaxed) == generation;
        unchanged.then(|| slot_from_words(values))
    }

    /// All valid slots with their ports.
    #[must_use]
    pub fn live(&self) -> Vec<(u16, Slot)> {
        (0..=u16::MAX)
            .filter_map(|port| Some((port, self.read(port)?)))
            .collect()
    }

    fn words(&self, port: u16) -> &[AtomicU32] {
        self.memory.entry(usize::from(port), SLOT_WORDS)
    }
}

/// The flows of all ports.
#[derive(Clone, Debug)]
pub struct FlowTable {
    memory: Arc<Shared<AtomicU64>>,
}

impl FlowTable {
    pub(super) fn new(map: &MapData) -> Result<Self, XdpError> {
        let memory = Shared::new(map.fd().as_fd(), PORTS as usize * FLOW_WORDS)
            .map_err(|error| XdpError::Mmap { name: FLOWS, error })?;
        Ok(Self {
            memory: Arc::new(memory),
        })
    }

    /// What was received on `port`. A packet that comes at this moment may be counted by half, if
    /// packets come faster than this reads.
    #[must_use]
    pub fn read(&self, port: u16) -> Flow {
        let words = self.words(port);
        let mut values = [0; FLOW_WORDS];
        for _ in 0..FLOW_READS {
            // The program counts a packet last, so an unchanged count is a quiet flow.
            let packets = words[0].load(Ordering::Acquire);
            for (value, word) in values.iter_mut().zip(words) {
                *value = word.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if words[0].load(Ordering::Relaxed) == packets {
                break;
            }
        }
        flow_from_words(values)
    }

    /// The flows of a range of ports.
    pub fn range(&self, ports: RangeInclusive<u16>) -> impl Iterator<Item = (u16, Flow)> + '_ {
        ports.map(|port| (port, self.read(port)))
    }

    /// When the last packet came to `port`: CLOCK_MONOTONIC, ns; 0 for never. Cheaper than
    /// [`read`](Self::read).
    #[must_use]
    pub fn last_arrival(&self, port: u16) -> u64 {
        const WORD: usize = std::mem::offset_of!(Flow, last_arrival) / size_of::<u64>();
        self.words(port)[WORD].load(Ordering::Relaxed)
    }

    /// Sets the flow of `port`: what userspace has counted before the program took over, or zeros
    /// for a new call. Only while the port's slot does not forward.
    pub fn write(&self, port: u16, flow: &Flow) {
        for (word, value) in self.words(port).iter().zip(flow_to_words(flow)) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn words(&self, port: u16) -> &[AtomicU64] {
        self.memory.entry(usize::from(port), FLOW_WORDS)
    }
}

/// What RTP leaves with that comes to each port.
///
/// The program writes it too, as long as the port's slot forwards: whoever takes a packet through it while the other one
/// does the same at another packet of the port may lose what that one has noted, which costs a packet or two their numbers.
#[derive(Clone, Debug)]
pub struct NumbersTable {
    memory: Arc<Shared<AtomicU64>>,
}

impl NumbersTable {
    pub(super) fn new(map: &MapData) -> Result<Self, XdpError> {
        let memory =
            Shared::new(map.fd().as_fd(), PORTS as usize * NUMBERS_WORDS).map_err(|error| {
                XdpError::Mmap {
                    name: NUMBERS,
                    error,
                }
            })?;
        Ok(Self {
            memory: Arc::new(memory),
        })
    }

    /// Those of `port`.
    #[must_use]
    pub fn read(&self, port: u16) -> Numbers {
        let mut values = [0; NUMBERS_WORDS];
        for (value, word) in values.iter_mut().zip(self.words(port)) {
            *value = word.load(Ordering::Relaxed);
        }
        numbers_from_words(values)
    }

    /// Sets those of `port`.
    pub fn write(&self, port: u16, numbers: &Numbers) {
        for (word, value) in self.words(port).iter().zip(numbers_to_words(numbers)) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn words(&self, port: u16) -> &[AtomicU64] {
        self.memory.entry(usize::from(port), NUMBERS_WORDS)
    }
}

/// A map's memory as an array of atomic words.
#[derive(Debug)]
struct Shared<T> {
    start: NonNull<T>,
    words: usize,
}

// SAFETY: the memory is valid in all threads until it is dropped, and all access is by atomics.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as for `Send`.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn new(map: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                words * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, words })
    }

    /// The words of entry `index`, each entry being `len` of them.
    fn entry(&self, index: usize, len: usize) -> &[T] {
        assert!(
            (index + 1) * len <= self.words,
            "the tables have an entry for each port"
        );
        // SAFETY: within the mapping by the assertion; page-aligned at its start; any bytes are a
        // valid atomic integer (`T` is one of two, both private to this module).
        unsafe { std::slice::from_raw_parts(self.start.add(index * len).as_ptr(), len) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length, and nothing borrows it any more.
        // Its failure would leave the memory mapped, which harms nothing.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * size_of::<T>()) };
    }
}

fn slot_to_words(slot: &Slot) -> [u32; SLOT_WORDS] {
    // SAFETY: same size, no padding (its size is the sum of its fields'), any bytes are integers.
    unsafe { std::mem::transmute(*slot) }
}

fn slot_from_words(words: [u32; SLOT_WORDS]) -> Slot {
    // SAFETY: same size, and a slot is made of integers, so any bytes are one.
    unsafe { std::mem::transmute(words) }
}

fn flow_to_words(flow: &Flow) -> [u64; FLOW_WORDS] {
    // SAFETY: same size, no padding (its size is the sum of its fields'), any bytes are integers.
    unsafe { std::mem::transmute(*flow) }
}

/// A flow as the program has written it; `None` where it is cut off.
pub(crate) fn flow_of(octets: &[u8]) -> Option<Flow> {
    let (words, []) = octets.as_chunks::<8>() else {
        return None;
    };
    let words: [[u8; 8]; FLOW_WORDS] = words.try_into().ok()?;
    Some(flow_from_words(words.map(u64::from_ne_bytes)))
}

fn flow_from_words(words: [u64; FLOW_WORDS]) -> Flow {
    // SAFETY: same size, and a flow is made of integers, so any bytes are one.
    unsafe { std::mem::transmute(words) }
}

fn numbers_to_words(numbers: &Numbers) -> [u64; NUMBERS_WORDS] {
    // SAFETY: same size, no padding (its size is the sum of its fields'), any bytes are integers.
    unsafe { std::mem::transmute(*numbers) }
}

fn numbers_from_words(words: [u64; NUMBERS_WORDS]) -> Numbers {
    // SAFETY: same size, and numbers are made of integers, so any bytes are such.
    unsafe { std::mem::transmute(words) }
}
