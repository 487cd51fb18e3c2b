//! Whether a packet to one of the node's SIP ports comes from a banned source.
//!
//! Media never comes here: a port that has a slot is no SIP port, and what has no slot is looked up
//! only where it goes to one.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    maps::{LpmTrie, lpm_trie::Key},
};
use ebpf_abi::{Ban, Counter, SourceKey};

use crate::maps::{ALLOWED, BAN_RANGES, BANS, SIP_PORTS};

/// What a packet to a SIP port is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Datagram,
    Stream,
}

/// What to count for a packet to `port` from `source` that nothing else wants: one from a banned
/// source is dropped, if it goes to a SIP port.
#[inline(always)]
pub(crate) fn judge(kind: Kind, port: u16, source: SourceKey, otherwise: Counter) -> Counter {
    let word = SIP_PORTS.get(u32::from(port) / 64).copied().unwrap_or(0);
    if word >> (port % 64) & 1 == 0 {
        return otherwise;
    }
    let [a, b, c, d] = source;
    let high = u64::from(a) << 32 | u64::from(b);
    let low = u64::from(c) << 32 | u64::from(d);
    if is_banned(high, low, u64::from(kind == Kind::Stream)) == 0 {
        return otherwise;
    }
    Counter::DropBanned
}

/// A function of its own, so that the six places that ask do not each hold a copy. The kernel takes
/// scalars only, so the address comes in halves.
#[inline(never)]
fn is_banned(high: u64, low: u64, is_stream: u64) -> u64 {
    let source: SourceKey = [
        (high >> 32) as u32,
        high as u32,
        (low >> 32) as u32,
        low as u32,
    ];
    let one = ebpf_abi::ban_key(source);
    let exact = BANS.get_ptr_mut(&one);
    let is_refused = exact.is_some_and(|ban| refuses(ban, is_stream != 0));
    if !is_refused && !in_force(find(&BAN_RANGES, source)) {
        return 0;
    }
    // The allow set comes first in meaning, and last in time: most sources are not banned.
    u64::from(find(&ALLOWED, source).is_none())
}

#[inline(always)]
fn find<V>(trie: &'static LpmTrie<SourceKey, V>, source: SourceKey) -> Option<&'static V> {
    trie.get(&Key::new(128, source))
}

/// Whether the ban of one source is of this packet, which takes the place of the trickle's next one
/// where there is such.
#[inline(always)]
fn refuses(ban: *mut Ban, is_stream: bool) -> bool {
    // SAFETY: the helper has no conditions, and `ban` points to a map's value, which is there while the
    // program runs. Another CPU may let a packet through at the same time: one too many does not matter.
    unsafe {
        let now = bpf_ktime_get_ns();
        if (*ban).until <= now {
            return false;
        }
        if (*ban).every == 0 {
            return true;
        }
        if is_stream {
            return false;
        }
        if (*ban).next > now {
            return true;
        }
        (*ban).next = now + (*ban).every;
        false
    }
}

#[inline(always)]
fn in_force(ban: Option<&Ban>) -> bool {
    // SAFETY: the helper has no conditions.
    ban.is_some_and(|ban| ban.until > unsafe { bpf_ktime_get_ns() })
}
