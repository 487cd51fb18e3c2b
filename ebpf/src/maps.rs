//! The maps that the program shares with mediad.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, DevMapHash, PerCpuArray},
};
use ebpf_abi::{COUNTERS_LEN, Counter, DEVICES as DEVICES_LEN, Flow, PORTS, Slot};

/// What to do, by local port. mediad maps it into its memory and writes it there.
#[map]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(PORTS, BPF_F_MMAPABLE);

/// What was received, by local port. mediad reads it in its memory.
#[map]
pub(crate) static FLOWS: Array<Flow> = Array::with_max_entries(PORTS, BPF_F_MMAPABLE);

/// The interfaces that the program may send from, by index.
#[map]
pub(crate) static DEVICES: DevMapHash = DevMapHash::with_max_entries(DEVICES_LEN, 0);

#[map]
static COUNTERS: PerCpuArray<[u64; COUNTERS_LEN]> = PerCpuArray::with_max_entries(1, 0);

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
