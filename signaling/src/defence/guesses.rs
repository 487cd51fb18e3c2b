//! Wrong passwords by source and user. Pure: the time comes with each call.
//!
//! Behind one address may be a whole office, one phone of which has an old password and tries it for ever;
//! and an account holder who guesses at the passwords of others. What tells the two apart is how many users
//! are guessed at, and how fast.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use super::{
    ban::Rules,
    evidence::{Score, WEAK},
};

/// Of the wrong passwords of one user, from a source that is known, one in so many counts, and little. A
/// phone that tries every half minute then has less than is forgotten meanwhile; whoever guesses faster
/// than every five seconds has not.
const REPEATS: u32 = 10;

/// What is held against a source for one user's sake.
#[derive(Debug)]
struct Guess {
    /// Of the points that the source has.
    share: Score,
    /// Wrong passwords without a pause of the window's length.
    count: u32,
    latest: Instant,
}

/// A part of all of them, by a hash of source and user.
#[derive(Debug)]
pub(super) struct Guesses {
    most: usize,
    guesses: HashMap<u64, Guess>,
    /// In the order in which they came, for forgetting the oldest.
    order: VecDeque<u64>,
}

impl Guesses {
    /// For `most` of them.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            guesses: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// A wrong password, worth so many points by itself: tells how many the source has for it. `is_known`
    /// where somebody has proved himself from there.
    pub(super) fn wrong(
        &mut self,
        now: Instant,
        rules: &Rules,
        user: u64,
        points: u32,
        is_known: bool,
    ) -> u32 {
        let guess = self.guess(now, user);
        if now.saturating_duration_since(guess.latest) >= rules.window {
            guess.count = 0;
        }
        guess.latest = now;
        guess.count = guess.count.saturating_add(1);
        let counts = match guess.count {
            2.. if is_known => WEAK * u32::from(guess.count.is_multiple_of(REPEATS)),
            _ => points,
        };
        guess.share.add(now, rules, counts);
        counts
    }

    /// The right password: tells how many points the source has had for this user, and has no more.
    pub(super) fn clear(&mut self, now: Instant, rules: &Rules, user: u64) -> u32 {
        let Some(guess) = self.guesses.get_mut(&user) else {
            return 0;
        };
        guess.share.add(now, rules, 0);
        std::mem::take(&mut guess.share.points)
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.guesses.len().max(self.order.len())
    }

    fn guess(&mut self, now: Instant, user: u64) -> &mut Guess {
        if !self.guesses.contains_key(&user) {
            if self.order.len() >= self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.guesses.remove(&oldest);
            }
            self.order.push_back(user);
        }
        self.guesses.entry(user).or_insert_with(|| Guess {
            share: Score::new(now),
            count: 0,
            latest: now,
        })
    }
}
