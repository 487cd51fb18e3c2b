//! Who is banned from the SIP ports, as the program knows it.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, lpm_trie::Key},
};
use control::media::{BanOf, Bans, Block};
use ebpf_abi::{Ban, PORT_WORDS, SourceKey, ban_key, map};

use super::XdpError;

/// A ban as the kernel has it.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Entry(Ban);

#[expect(unsafe_code, reason = "what aya writes to a map must be plain bytes")]
// SAFETY: words, of which any bytes are a value.
unsafe impl Pod for Entry {}

/// The program's tables of sources.
pub(super) struct BanTable {
    ports: Array<MapData, u64>,
    exact: HashMap<MapData, SourceKey, Entry>,
    ranges: LpmTrie<MapData, SourceKey, Entry>,
    allowed: LpmTrie<MapData, SourceKey, u32>,
}

impl BanTable {
    pub(super) fn new(object: &mut Ebpf) -> Result<Self, XdpError> {
        let mut take = |name: &'static str| object.take_map(name).ok_or(XdpError::NoMap { name });
        Ok(Self {
            ports: take(map::SIP_PORTS)?.try_into()?,
            exact: take(map::BANS)?.try_into()?,
            ranges: take(map::BAN_RANGES)?.try_into()?,
            allowed: take(map::ALLOWED)?.try_into()?,
        })
    }

    /// Does what `bans` says. `now` is CLOCK_MONOTONIC. How many could not be entered, since the tables
    /// are full.
    pub(super) fn apply(&mut self, now: Duration, bans: &Bans) -> Result<u32, XdpError> {
        let mut missed = 0;
        if let Some(guarded) = &bans.anew {
            self.clear()?;
            let mut words = vec![0_u64; PORT_WORDS as usize];
            for port in &guarded.ports {
                words[usize::from(*port) / 64] |= 1 << (port % 64);
            }
            for (index, word) in (0..).zip(words) {
                self.ports.set(index, word, 0)?;
            }
            for block in &guarded.allow {
                missed += full(self.allowed.insert(&key(*block), 1, 0))?;
            }
        }
        for block in &bans.lift {
            let removed = match single(*block) {
                Some(source) => self.exact.remove(&source),
                None => self.ranges.remove(&key(*block)),
            };
            absent(removed)?;
        }
        for ban in &bans.ban {
            let BanOf { block, for_ms, .. } = ban;
            let until = now.saturating_add(Duration::from_millis(*for_ms));
            let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
            let entry = Entry(Ban {
                until,
                every: u64::from(ban.trickle_us) * 1_000,
                next: 0,
            });
            missed += full(match single(*block) {
                Some(source) => self.exact.insert(source, entry, 0),
                None => self.ranges.insert(&key(*block), entry, 0),
            })?;
        }
        Ok(missed)
    }

    /// Takes out what is over, which the program does not look at any more. How many are left.
    pub(super) fn sweep(&mut self, now: Duration) -> Result<u32, XdpError> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut left = 0;
        let exact: Vec<_> = self.exact.iter().filter_map(Result::ok).collect();
        for (source, Entry(ban)) in exact {
            if ban.until > now {
                left += 1;
            } else {
                absent(self.exact.remove(&source))?;
            }
        }
        let ranges: Vec<_> = self.ranges.iter().filter_map(Result::ok).collect();
        for (key, Entry(ban)) in ranges {
            if ban.until > now {
                left += 1;
            } else {
                absent(self.ranges.remove(&key))?;
            }
        }
        Ok(left)
    }

    fn clear(&mut self) -> Result<(), XdpError> {
        let exact: Vec<_> = self.exact.keys().filter_map(Result::ok).collect();
        for source in exact {
            absent(self.exact.remove(&source))?;
        }
        let ranges: Vec<_> = self.ranges.keys().filter_map(Result::ok).collect();
        for range in ranges {
            absent(self.ranges.remove(&range))?;
        }
        let allowed: Vec<_> = self.allowed.keys().filter_map(Result::ok).collect();
        for block in allowed {
            absent(self.allowed.remove(&block))?;
        }
        Ok(())
    }
}

/// The key of a block that an exact ban is of.
fn single(block: Block) -> Option<SourceKey> {
    let is_single = match block.address.to_canonical() {
        IpAddr::V4(_) => length(block) == 128,
        IpAddr::V6(_) => length(block) == 64,
    };
    is_single.then(|| ban_key(words(block.address)))
}

fn key(block: Block) -> Key<SourceKey> {
    Key::new(u32::from(length(block)), words(block.address))
}

/// The leading bits that count, in the space of IPv6.
fn length(block: Block) -> u8 {
    match block.address {
        IpAddr::V4(_) => 96 + block.prefix.min(32),
        IpAddr::V6(_) => block.prefix.min(128),
    }
}

fn words(address: IpAddr) -> SourceKey {
    let octets = match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let octets = Ipv6Addr::octets(&octets);
    [0, 4, 8, 12]
        .map(|at| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]))
}

/// 1 where a table is full.
fn full(result: Result<(), MapError>) -> Result<u32, XdpError> {
    match result {
        Ok(()) => Ok(0),
        Err(MapError::SyscallError(error))
            if matches!(
                error.io_error.raw_os_error(),
                Some(libc::E2BIG | libc::ENOSPC)
            ) =>
        {
            Ok(1)
        }
        Err(error) => Err(error.into()),
    }
}

/// What is not there need not be taken out.
pub(super) fn absent(result: Result<(), MapError>) -> Result<(), XdpError> {
    match result {
        Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
