//! The UDP ports of a shard: pairs of an even RTP port and the odd RTCP port above it
//! (RFC 3550 section 11), and which free ones still have their sockets.
//!
//! To make four sockets and to close them is most of what a session without media costs. So a pair that is given back
//! keeps its sockets, bound and received from, for a later session on the same address. Its ports stay the node's
//! meanwhile, and what a party of the last session still sends there is taken and dropped.
//!
//! Two things stand against a call that meets packets of another one. Which pair is next cannot be foretold: it is
//! drawn from the half that has been free the longest. And a pair that has kept its sockets rests for [`REST`] first,
//! and then until it is one of 64 that have, so that a shard with few calls does not hand the same ones out over
//! and over; unless nothing else is free, or so many are kept that half of them is a rest.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// How long a pair that has kept its sockets is left alone, in nanoseconds: a phone that has not heard of the call's end
/// goes on sending until it has, and BYE is retransmitted for 32 s (RFC 3261 section 17.1.2.2, timer F).
pub const REST: u64 = 32_000_000_000;

/// Rested pairs on an address from which one is drawn; of fewer none is taken before the pairs without sockets are.
const CHOICE: usize = 64;

/// Pairs with sockets, of so many at least and over three quarters of what may be kept, that need no rest.
const MANY: usize = 1024;

/// Sockets that nobody has needed for so long are closed, in nanoseconds.
pub const KEPT_FOR: u64 = 60_000_000_000;

/// Pairs that a shard keeps sockets of at most: 22 MiB, as the kernel takes about 2.7 KiB for each of the two with its
/// receive.
const MOST_KEPT: usize = 4096;

/// Pairs by which a bound grows again that was lowered for want of descriptors.
const MORE: usize = 16;

/// Pairs that each of `shards` shards may keep sockets of, in a process that may have `files` files open: they take a
/// quarter of these at most.
#[must_use]
pub fn most_kept(files: u64, shards: usize) -> usize {
    let share = usize::try_from(files / 8).unwrap_or(usize::MAX) / shards.max(1);
    share.min(MOST_KEPT)
}

/// The sockets of a free pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// What they are bound to.
    pub address: IpAddr,
    /// The TOS byte of what they send.
    pub tos: u8,
}

/// A pair that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The RTP port, which is even.
    pub port: u16,
    /// Its sockets, where it has some: perhaps on another address than the one that was asked for.
    pub kept: Option<Kept>,
}

/// Hands out pairs.
#[derive(Debug)]
pub struct PortPool {
    /// The even port of pair 0.
    first: u16,
    pairs: Vec<Pair>,
    /// Free pairs without sockets.
    bare: VecDeque<Free>,
    /// Free pairs with sockets, by what these are bound to.
    kept: Vec<Shelf>,
    /// Pairs in `kept`, how many there may be now, and at best.
    count: usize,
    most: usize,
    limit: usize,
    used: u16,
    /// When the last pair was given back.
    last: u64,
}

/// The free pairs with sockets on an address.
#[derive(Debug)]
struct Shelf {
    address: IpAddr,
    /// The machine has it.
    is_local: bool,
    queue: VecDeque<Free>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    place: Place,
    /// When it was given back, in nanoseconds. No two are at the same time.
    since: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Taken,
    Bare,
    Kept {
        /// Index of its address in [`PortPool::kept`].
        address: u8,
        tos: u8,
    },
}

/// A place in a queue, about the longest free first. It counts for nothing once its pair was taken by its number.
#[derive(Debug, Clone, Copy)]
struct Free {
    index: u16,
    since: u64,
}

impl PortPool {
    /// A pool of the whole pairs within `ports`, which keeps the sockets of `most` free ones.
    #[must_use]
    pub fn new(ports: &RangeInclusive<u16>, most: usize) -> Self {
        let first = ports.start().next_multiple_of(2);
        let end = u32::from(*ports.end()) + 1;
        let count = end.saturating_sub(u32::from(first)) / 2;
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let pair = Pair {
            place: Place::Bare,
            since: 0,
        };
        Self {
            first,
            pairs: vec![pair; usize::from(count)],
            bare: (0..count).map(|index| Free { index, since: 0 }).collect(),
            kept: Vec::new(),
            count: 0,
            most,
            limit: most,
            used: 0,
            last: 0,
        }
    }

    /// Ports in use, two for each pair.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used as u32 * 2
    }

    /// Free ports that have kept their sockets, two for each pair.
    #[must_use]
    pub fn kept(&self) -> u32 {
        u32::try_from(self.count * 2).unwrap_or(u32::MAX)
    }

    /// Ports in all.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.pairs.len() * 2
    }

    /// Takes a free pair, at `now`, for sockets on `address`.
    pub fn take(&mut self, address: IpAddr, now: u64) -> Option<Taken> {
        let is_plenty = self.count >= MANY && self.count > self.most / 4 * 3;
        let has_rested = |since| is_plenty || now.saturating_sub(since) >= REST;
        let has_choice = |queue: &VecDeque<Free>| {
            is_plenty || (queue.get(CHOICE - 1)).is_some_and(|free| has_rested(free.since))
        };
        let pairs = &self.pairs;
        let mut shelves = self.kept.iter_mut();
        let mut own = shelves.find(|shelf| shelf.address == address && shelf.is_local);
        let rested = own
            .as_mut()
            .filter(|shelf| has_choice(&shelf.queue))
            .and_then(|shelf| draw(&mut shelf.queue, pairs, &has_rested));
        let free = rested
            .or_else(|| draw(&mut self.bare, pairs, &|_| true))
            .or_else(|| draw(&mut own?.queue, pairs, &|_| true));
        let index = match free {
            Some(free) => free.index,
            None => self.pop_kept(u64::MAX)?,
        };
        self.occupy(index)
    }

    /// Takes the pair of a certain even port; `None` if it is not of this pool or not free.
    pub fn take_this(&mut self, port: u16) -> Option<Taken> {
        let index = self.index(port)?;
        self.occupy(index)
    }

    /// Takes a pair back, at `now`. With `true` its `sockets` are to be kept open; otherwise they are to be closed.
    #[must_use]
    pub fn give(&mut self, port: u16, sockets: Option<Kept>, now: u64) -> bool {
        let Some(index) = self.index(port) else {
            return false;
        };
        let kept = sockets.and_then(|sockets| self.room_for(sockets));
        let Some(pair) = self.pairs.get_mut(usize::from(index)) else {
            return false;
        };
        if pair.place != Place::Taken {
            return false;
        }
        let since = now.max(self.last + 1);
        *pair = Pair {
            place: kept.unwrap_or(Place::Bare),
            since,
        };
        self.last = since;
        self.used -= 1;
        self.count += usize::from(kept.is_some());
        self.enqueue(Free { index, since });
        kept.is_some()
    }

    /// Asks of each address that sockets are kept on whether the machine has it. To make new sockets would tell; those
    /// of an address that is gone are not handed out.
    pub fn look_for(&mut self, is_local: impl Fn(IpAddr) -> bool) {
        for shelf in self.kept.iter_mut().filter(|shelf| !shelf.queue.is_empty()) {
            shelf.is_local = is_local(shelf.address);
        }
    }

    /// Has the sockets of a pair closed that nobody has needed for [`KEPT_FOR`], or whose address is gone; its RTP port.
    pub fn forget_idle(&mut self, now: u64) -> Option<u16> {
        self.forget(now.saturating_sub(KEPT_FOR))
    }

    /// Has the sockets of a free pair closed, of one that has been free for long, because there are too many; its RTP
    /// port. Until [`allow_more`](Self::allow_more) no more are kept than are left.
    pub fn forget_any(&mut self) -> Option<u16> {
        let port = self.forget(u64::MAX);
        self.most = self.count;
        port
    }

    /// Lets a few more pairs keep their sockets, where there were too many.
    pub fn allow_more(&mut self) {
        self.most = (self.most + MORE).min(self.limit);
    }

    fn forget(&mut self, until: u64) -> Option<u16> {
        let index = self.pop_kept(until)?;
        let pair = self.pairs.get_mut(usize::from(index))?;
        let since = pair.since;
        pair.place = Place::Bare;
        self.count -= 1;
        self.enqueue(Free { index, since });
        Some(self.port(index))
    }

    /// Takes a pair that was given back at `until` or before out of its queue, whatever its address is. Those of an
    /// address that is gone come first.
    fn pop_kept(&mut self, until: u64) -> Option<u16> {
        let pairs = &self.pairs;
        for shelf in &mut self.kept {
            drop_stale(&mut shelf.queue, pairs);
        }
        let fronts = self.kept.iter_mut().filter_map(|shelf| {
            let since = shelf.queue.front()?.since;
            Some((if shelf.is_local { since } else { 0 }, shelf))
        });
        let (since, shelf) = fronts.min_by_key(|(since, _)| *since)?;
        let free = (since <= until)
            .then(|| shelf.queue.pop_front())
            .flatten()?;
        Some(free.index)
    }

    fn occupy(&mut self, index: u16) -> Option<Taken> {
        let pair = self.pairs.get_mut(usize::from(index))?;
        let kept = match pair.place {
            Place::Taken => return None,
            Place::Bare => None,
            Place::Kept { address, tos } => {
                self.count -= 1;
                let shelf = self.kept.get(usize::from(address));
                shelf.map(|shelf| Kept {
                    address: shelf.address,
                    tos,
                })
            }
        };
        pair.place = Place::Taken;
        self.used += 1;
        let port = self.port(index);
        Some(Taken { port, kept })
    }

    /// Where a pair with such sockets is kept, if one more may be.
    fn room_for(&mut self, sockets: Kept) -> Option<Place> {
        if self.count >= self.most {
            return None;
        }
        let Kept { address, tos } = sockets;
        let mut shelves = self.kept.iter();
        let known = shelves.position(|shelf| shelf.address == address);
        let at = known.unwrap_or_else(|| {
            self.kept.push(Shelf {
                address,
                is_local: true,
                queue: VecDeque::new(),
            });
            self.kept.len() - 1
        });
        let address = u8::try_from(at).ok()?;
        Some(Place::Kept { address, tos })
    }

    fn enqueue(&mut self, free: Free) {
        let pairs = &self.pairs;
        let place = pairs.get(usize::from(free.index)).map(|pair| pair.place);
        let queue = match place {
            Some(Place::Kept { address, .. }) => self.kept.get_mut(usize::from(address)),
            _ => None,
        };
        let queue = queue.map_or(&mut self.bare, |shelf| &mut shelf.queue);
        // Of those that were taken by their number.
        if queue.len() >= pairs.len() * 2 {
            queue.retain(|free| is_current(pairs, *free));
        }
        queue.push_back(free);
    }

    const fn index(&self, port: u16) -> Option<u16> {
        if !port.is_multiple_of(2) {
            return None;
        }
        match port.checked_sub(self.first) {
            Some(offset) => Some(offset / 2),
            None => None,
        }
    }

    const fn port(&self, index: u16) -> u16 {
        self.first + index * 2
    }
}

/// Takes a pair out of the half of a queue that has been free the longest; `accept` is asked about when it was given
/// back, and where that one will not do, the first may.
fn draw(queue: &mut VecDeque<Free>, pairs: &[Pair], accept: &dyn Fn(u64) -> bool) -> Option<Free> {
    loop {
        drop_stale(queue, pairs);
        let first = *queue.front()?;
        let at = rand::random_range(0..queue.len().div_ceil(2));
        let drawn = *queue.get(at)?;
        if !is_current(pairs, drawn) {
            queue.swap_remove_front(at);
        } else if accept(drawn.since) {
            return queue.swap_remove_front(at);
        } else if accept(first.since) {
            return queue.pop_front();
        } else {
            return None;
        }
    }
}

fn drop_stale(queue: &mut VecDeque<Free>, pairs: &[Pair]) {
    while queue.front().is_some_and(|free| !is_current(pairs, *free)) {
        queue.pop_front();
    }
}

/// Whether a place in a queue is still its pair's. A pair is in one queue at a time, and at another time after each use.
fn is_current(pairs: &[Pair], free: Free) -> bool {
    let pair = pairs.get(usize::from(free.index));
    pair.is_some_and(|pair| pair.place != Place::Taken && pair.since == free.since)
}

/// Splits a range into `shards` contiguous parts of whole pairs, of sizes as equal as can be. Parts
/// are fewer where there are not enough pairs.
#[must_use]
pub fn split(ports: &RangeInclusive<u16>, shards: u16) -> Vec<RangeInclusive<u16>> {
    let first = u32::from(ports.start().next_multiple_of(2));
    let pairs = (u32::from(*ports.end()) + 1).saturating_sub(first) / 2;
    // A session takes two pairs; a shard without room for one is of no use.
    let shards = u32::from(shards).clamp(1, (pairs / 2).max(1));
    let bound = |n: u32| first + pairs * n / shards * 2;
    (0..shards)
        .filter_map(|n| {
            let (from, to) = (bound(n), bound(n + 1));
            let to = to.checked_sub(1).filter(|to| *to >= from)?;
            Some(u16::try_from(from).ok()?..=u16::try_from(to).ok()?)
        })
        .collect()
}

#[cfg(test)]
mod tests;
