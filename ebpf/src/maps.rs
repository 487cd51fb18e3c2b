//! The maps that the program shares with mediad.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    helpers::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::map,
    maps::{Array, DevMapHash, HashMap, LpmTrie, PerCpuArray},
};
use ebpf_abi::{
    BANS as BANS_LEN, BLOCKS, Ban, COUNTERS_LEN, Counter, DEVICES as DEVICES_LEN, Flow, Numbers,
    PORT_WORDS, PORTS, Slot, SourceKey, Sources,
};

/// What to do, by local port. mediad maps it into its memory and writes it there.
#[map]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(PORTS, BPF_F_MMAPABLE);

/// What was received, by local port. mediad reads it in its memory.
#[map]
pub(crate) static FLOWS: Array<Flow> = Array::with_max_entries(PORTS, BPF_F_MMAPABLE);

/// What RTP leaves with, by local port. mediad maps it into its memory and reads and writes it there.
#[map]
pub(crate) static NUMBERS: Array<Numbers> = Array::with_max_entries(PORTS, BPF_F_MMAPABLE);

/// What earlier sources have sent, by local port. mediad keeps it here, so that it outlives mediad; few ports have any, so
/// memory is taken as it is needed.
#[map]
#[expect(dead_code, reason = "the program leaves it alone")]
static SOURCES: HashMap<u32, Sources> = HashMap::with_max_entries(PORTS, BPF_F_NO_PREALLOC);

/// The interfaces that the program may send from, by index.
#[map]
pub(crate) static DEVICES: DevMapHash = DevMapHash::with_max_entries(DEVICES_LEN, 0);

/// The ports that bans are of, a bit each.
#[map]
pub(crate) static SIP_PORTS: Array<u64> = Array::with_max_entries(PORT_WORDS, 0);

/// Banned sources. Userspace writes it seldom, so memory is taken as it is needed.
#[map]
pub(crate) static BANS: HashMap<SourceKey, Ban> =
    HashMap::with_max_entries(BANS_LEN, BPF_F_NO_PREALLOC);

/// Banned blocks.
#[map]
pub(crate) static BAN_RANGES: LpmTrie<SourceKey, Ban> =
    LpmTrie::with_max_entries(BLOCKS, BPF_F_NO_PREALLOC);

/// Blocks that no ban is of.
#[map]
pub(crate) static ALLOWED: LpmTrie<SourceKey, u32> =
    LpmTrie::with_max_entries(BLOCKS, BPF_F_NO_PREALLOC);

#[map]
static COUNTERS: PerCpuArray<[u64; COUNTERS_LEN]> = PerCpuArray::with_max_entries(1, 0);

/// Whether the flows have RFC 3550's statistics. mediad leaves it as it is; the bench turns it off
/// when it loads the program, to see what they cost.
#[unsafe(no_mangle)]
static MEASURE: u8 = 1;

#[inline(always)]
pub(crate) fn measures() -> bool {
    // SAFETY: it is there; volatile, because another value may be loaded in its place. The verifier
    // knows that one, and removes what it makes unreachable.
    unsafe { core::ptr::read_volatile(&raw const MEASURE) != 0 }
}

/// CLOCK_MONOTONIC in ns. Most of what statistics cost is this clock: without them it is the kernel's
/// tick (4 ms, about), which is enough for the cap.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: helpers without arguments.
    unsafe {
        if measures() {
            bpf_ktime_get_ns()
        } else {
            bpf_jiffies64() << 22
        }
    }
}

/// Counts one packet.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else {
        return;
    };
    // The mask changes nothing; it shows the verifier that the index is within the array.
    let index = counter as usize & (COUNTERS_LEN - 1);
    // SAFETY: the map's value is an array of `COUNTERS_LEN` words of this CPU alone, and XDP
    // programs on one CPU do not interrupt each other.
    unsafe {
        let counter = counters.cast::<u64>().add(index);
        *counter = (*counter).wrapping_add(1);
    }
}
