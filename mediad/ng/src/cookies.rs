//! Answers kept by their request's cookie: a client that heard nothing sends the same request again,
//! and must get the same answer instead of a second offer.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// How long an answer is kept. Clients give up long before.
const KEEP: Duration = Duration::from_secs(30);
/// How many answers are kept at most.
const MOST: usize = 100_000;

/// How many bytes they may have altogether.
const BYTES: usize = 64 << 20;

/// What is known of a cookie.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A new request: it is being worked on from now.
    New,
    /// The first copy is still being worked on; its answer will do.
    Working,
    /// The answer that was given.
    Answered(&'a [u8]),
}

/// The cookies of the last half minute.
#[derive(Debug, Default)]
pub struct Cookies {
    answers: HashMap<Vec<u8>, Option<Vec<u8>>>,
    order: VecDeque<(Instant, Vec<u8>)>,
    /// What `answers` had room for when it was last made larger.
    room: usize,
    /// Of all answers.
    bytes: usize,
}

impl Cookies {
    /// Looks `cookie` up, and notes it where it is new.
    pub fn see(&mut self, now: Instant, cookie: &[u8]) -> Seen<'_> {
        self.expire(now);
        if !self.answers.contains_key(cookie) {
            self.make_room();
            self.answers.insert(cookie.to_vec(), None);
            self.order.push_back((now, cookie.to_vec()));
            return Seen::New;
        }
        self.find(cookie).unwrap_or(Seen::Working)
    }

    /// What is known of `cookie`; `None` where that is nothing (any more).
    pub fn find(&self, cookie: &[u8]) -> Option<Seen<'_>> {
        let answer = self.answers.get(cookie)?;
        let answered = answer.as_deref().map(Seen::Answered);
        Some(answered.unwrap_or(Seen::Working))
    }

    /// Keeps the answer to `cookie`.
    pub fn answer(&mut self, cookie: &[u8], answer: Vec<u8>) {
        if let Some(entry) = self.answers.get_mut(cookie) {
            self.bytes += answer.len();
            let before = entry.replace(answer);
            self.bytes -= before.map_or(0, |before| before.len());
        }
    }

    /// Keeps the table half empty. What is removed leaves marks in it. When they have filled it, a table that is fuller
    /// doubles, without more entries than before; this one is only cleared of them.
    fn make_room(&mut self) {
        let entries = self.answers.len();
        if entries >= self.room / 2 {
            self.answers.reserve(entries.max(32));
            self.room = self.answers.capacity();
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front() {
            let old = now.saturating_duration_since(*since) > KEEP;
            if !old && self.order.len() < MOST && self.bytes < BYTES {
                return;
            }
            if let Some((_, cookie)) = self.order.pop_front() {
                let answer = self.answers.remove(&cookie).flatten();
                self.bytes -= answer.map_or(0, |answer| answer.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_request_gets_the_answer_it_had() {
        let (mut cookies, now) = (Cookies::default(), Instant::now());
        assert_eq!(cookies.find(b"a"), None);
        assert_eq!(cookies.see(now, b"a"), Seen::New);
        assert_eq!(cookies.see(now, b"a"), Seen::Working);
        assert_eq!(cookies.find(b"a"), Some(Seen::Working));
        cookies.answer(b"a", b"pong".to_vec());
        assert_eq!(cookies.see(now, b"a"), Seen::Answered(b"pong"));
        let later = now + KEEP + Duration::from_secs(1);
        assert_eq!(cookies.see(later, b"a"), Seen::New);
        assert_eq!(cookies.answers.len(), cookies.order.len());
    }

    #[test]
    fn long_answers_are_bounded() {
        let (mut cookies, now) = (Cookies::default(), Instant::now());
        for number in 0..100_u32 {
            let cookie = number.to_string();
            assert_eq!(cookies.see(now, cookie.as_bytes()), Seen::New);
            cookies.answer(cookie.as_bytes(), vec![0; 1 << 20]);
            cookies.answer(cookie.as_bytes(), vec![0; 1 << 20]);
        }
        assert!(cookies.bytes <= BYTES && cookies.order.len() == 64);
        cookies.see(now + KEEP + KEEP, b"x");
        assert_eq!(cookies.bytes, 0);
    }

    #[test]
    fn a_flood_of_cookies_is_bounded() {
        let (mut cookies, now) = (Cookies::default(), Instant::now());
        for number in 0..MOST + 10 {
            cookies.see(now, number.to_string().as_bytes());
        }
        assert!(cookies.answers.len() <= MOST);
        assert_eq!(cookies.answers.len(), cookies.order.len());
    }

    #[test]
    fn at_a_steady_rate_the_table_does_not_grow_once_it_is_full() {
        let mut cookies = Cookies::default();
        let begun = Instant::now();
        // 6,000 are kept at a time.
        let mut see = |number: u32| {
            let now = begun + Duration::from_millis(5) * number;
            cookies.see(now, &number.to_be_bytes());
            cookies.answers.capacity()
        };
        let full = (0..6_000).map(&mut see).last();
        let later = (6_000..60_000).map(&mut see).max();
        assert!(later <= full, "{later:?} after {full:?}");
    }
}
