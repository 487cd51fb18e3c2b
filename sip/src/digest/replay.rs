//! Which answers were used already.

use std::collections::HashMap;

use super::Nonce;

/// Nonce counts below the highest seen that may still arrive: requests overtake one another.
const WINDOW: u32 = 64;

/// Lets each answer in once.
///
/// It learns of a nonce when right credentials use it, so strangers cannot fill it. Two generations
/// of used nonces are kept; the older one is dropped after a nonce's lifetime, or when the younger
/// one is full. Nonces that were issued before what is remembered begins are [`Use::Stale`], so that
/// nothing forgotten is let in again: a client then costs one more challenge.
#[derive(Debug)]
pub struct ReplayGuard {
    lifetime: u64,
    most: usize,
    /// Nonces that were issued at this second or before may have been used and forgotten.
    forgotten: u64,
    began: u64,
    recent: Generation,
    older: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    used: HashMap<Nonce, Window>,
    /// When the latest of them was issued.
    latest: u64,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It was not used before; now it is.
    First,
    /// By the very request that used it: it was sent again.
    Again,
    /// It was used before, by another request.
    Replayed,
    /// It is too old for what is remembered: challenge again with `stale=true`.
    Stale,
}

/// The highest count seen, and which of those below it.
#[derive(Debug, Clone, Copy)]
struct Window {
    highest: u32,
    /// The mark of the request that used it last. The lowest bit: it was withdrawn.
    request: u32,
    /// Bit n: `highest - n` was seen.
    seen: u64,
}

/// Of [`Window::request`].
const WITHDRAWN: u32 = 1;

impl ReplayGuard {
    /// `lifetime` is that of the nonces, in seconds; `most` how many of them are remembered; `now` in
    /// seconds since 1970. What was issued before `now` is stale: an earlier run may have let it in.
    pub fn new(lifetime: u64, most: usize, now: u64) -> Self {
        Self {
            lifetime,
            most: most.max(2),
            forgotten: now.saturating_sub(1),
            began: now,
            recent: Generation::default(),
            older: Generation::default(),
        }
    }

    /// Right credentials use a fresh nonce. `nc` is their count; without one (no qop) a nonce is good
    /// for one answer. `request` is a hash of what tells the request from any other: the latest one
    /// that used the nonce is known when it is sent again.
    pub fn admit(&mut self, now: u64, nonce: Nonce, nc: Option<u32>, request: u32) -> Use {
        if now.saturating_sub(self.began) > self.lifetime {
            self.turn(now);
        }
        if nonce.issued <= self.forgotten {
            return Use::Stale;
        }
        if let Some(window) = self.window(&nonce) {
            return window.admit(nc, request);
        }
        if self.recent.used.len() >= self.most / 2 {
            self.turn(now);
            if nonce.issued <= self.forgotten {
                return Use::Stale;
            }
        }
        self.recent.used.insert(nonce, Window::new(nc, request));
        self.recent.latest = self.recent.latest.max(nonce.issued);
        Use::First
    }

    /// The latest request that used a nonce was refused and has changed nothing: if it is sent again, it
    /// is let in and judged again.
    pub fn withdraw(&mut self, nonce: &Nonce) {
        if let Some(window) = self.window(nonce) {
            window.request |= WITHDRAWN;
        }
    }

    /// How many nonces are remembered.
    pub fn len(&self) -> usize {
        self.recent.used.len() + self.older.used.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn window(&mut self, nonce: &Nonce) -> Option<&mut Window> {
        let recent = self.recent.used.get_mut(nonce);
        recent.or_else(|| self.older.used.get_mut(nonce))
    }

    /// The older generation is forgotten, and the younger becomes the older one.
    fn turn(&mut self, now: u64) {
        self.forgotten = self.forgotten.max(self.older.latest);
        self.older = std::mem::take(&mut self.recent);
        self.began = now;
    }
}

impl Window {
    fn new(nc: Option<u32>, request: u32) -> Self {
        Self {
            // Without a count, as if all had been used.
            highest: nc.unwrap_or(u32::MAX),
            request: request & !WITHDRAWN,
            seen: if nc.is_some() { 1 } else { u64::MAX },
        }
    }

    fn admit(&mut self, nc: Option<u32>, request: u32) -> Use {
        let request = request & !WITHDRAWN;
        if self.first(nc) {
            self.request = request;
            return Use::First;
        }
        if self.request & !WITHDRAWN != request {
            return Use::Replayed;
        }
        if self.request & WITHDRAWN == 0 {
            return Use::Again;
        }
        self.request = request;
        Use::First
    }

    /// Whether a count was not seen before; now it is.
    fn first(&mut self, nc: Option<u32>) -> bool {
        let Some(nc) = nc else {
            return false;
        };
        if nc > self.highest {
            let ahead = nc - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = nc;
            return true;
        }
        let behind = self.highest - nc;
        if behind >= WINDOW || self.seen & 1 << behind != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}
