//! How many requests a caller may make, and how many may try keys.

use std::{
    borrow::Borrow,
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    http::{HeaderName, HeaderValue, StatusCode},
    response::Response,
};

use crate::problem::Problem;

/// Callers that are kept in mind at most.
const MOST: usize = 10_000;
/// Wrong keys of one address in a minute, before it is not heard for the rest of it.
const GUESSES: u32 = 30;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What of an address tells one client from another: of IPv6 the network of 64 bits, in which one client may
/// have any address it likes (RFC 6177).
pub(crate) fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

/// A count that begins anew after each window, of many.
#[derive(Debug)]
pub(crate) struct Windows<K> {
    window: Duration,
    most: u32,
    counts: Mutex<Counts<K>>,
}

/// When each began, and how many there were since.
#[derive(Debug)]
struct Counts<K> {
    all: HashMap<K, (Instant, u32)>,
    /// When those that are over were removed last.
    pruned: Option<Instant>,
}

impl<K: std::hash::Hash + Eq + Clone> Counts<K> {
    /// Makes room for another one.
    fn prune(&mut self, now: Instant, window: Duration) {
        let is_on = |since: Instant| now.duration_since(since) < window;
        if !self.pruned.is_some_and(is_on) {
            self.pruned = Some(now);
            self.all.retain(|_, (began, _)| is_on(*began));
        }
        if self.all.len() >= MOST {
            // Not all of them: whoever sends from many places would have its own counts forgotten.
            let oldest = self.all.iter().min_by_key(|(_, (began, _))| *began);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.all.remove(&oldest);
            }
        }
    }
}

/// What is left of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    count: u32,
    time: Duration,
}

impl Left {
    /// Until the window is over, rounded up.
    pub(crate) fn seconds(self) -> u64 {
        self.time.as_millis().div_ceil(1000).try_into().unwrap_or(1)
    }
}

impl<K: std::hash::Hash + Eq + Clone> Windows<K> {
    pub(crate) fn new(most: u32, window: Duration) -> Self {
        Self {
            window,
            most,
            counts: Mutex::new(Counts {
                all: HashMap::new(),
                pruned: None,
            }),
        }
    }

    /// Counts one; `Err` where that is one too many.
    pub(crate) fn take<Q>(&self, now: Instant, key: &Q, weight: u32) -> Result<Left, Left>
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.all.contains_key(key) {
            counts.prune(now, self.window);
            counts.all.insert(key.to_owned(), (now, 0));
        }
        let Some((began, count)) = counts.all.get_mut(key) else {
            unreachable!("it is there, or was put there just now");
        };
        if now.duration_since(*began) >= self.window {
            (*began, *count) = (now, 0);
        }
        let time = self.window.saturating_sub(now.duration_since(*began));
        let taken = count.saturating_add(weight);
        if taken > self.most || *count >= self.most {
            return Err(Left { count: 0, time });
        }
        *count = taken;
        let count = self.most - taken;
        Ok(Left { count, time })
    }
}

/// Marks an answer to what was a good key once: whoever shows it did not guess it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotAGuess;

/// The limits of the API.
#[derive(Debug)]
pub(crate) struct Rates {
    callers: Windows<String>,
    guesses: Windows<IpAddr>,
}

impl Rates {
    /// So many requests of a caller in a second.
    pub(crate) fn new(requests: u32) -> Self {
        Self {
            callers: Windows::new(requests, Duration::from_secs(1)),
            guesses: Windows::new(GUESSES, Duration::from_secs(60)),
        }
    }

    /// Hears an address that has tried too many wrong keys no more for a while.
    pub(crate) fn hear(&self, source: IpAddr) -> Result<(), Problem> {
        let heard = self.may_guess(source).map(drop);
        heard.map_err(|left| too_many("too many wrong keys came from this address", left))
    }

    /// Whether an address is heard, for all the wrong keys that came from it.
    pub(crate) fn may_guess(&self, source: IpAddr) -> Result<Left, Left> {
        self.guesses.take(Instant::now(), &source, 0)
    }

    /// Counts what was a wrong key, of a request that showed one.
    pub(crate) fn count_guess(&self, source: IpAddr, response: &Response) {
        let is_guess = response.status() == StatusCode::UNAUTHORIZED
            && response.extensions().get::<NotAGuess>().is_none();
        if is_guess {
            self.guessed(source);
        }
    }

    /// Counts a wrong key.
    pub(crate) fn guessed(&self, source: IpAddr) {
        // That it is one too many is the next one's trouble.
        let _: Result<Left, Left> = self.guesses.take(Instant::now(), &source, 1);
    }

    /// Lets each caller make so many requests a second.
    pub(crate) fn limit(&self, actor: &str) -> Result<Left, Left> {
        self.callers.take(Instant::now(), actor, 1)
    }

    /// Tells a caller what is left.
    pub(crate) fn tell(&self, response: &mut Response, left: Left) {
        let headers = response.headers_mut();
        headers.insert(LIMIT, HeaderValue::from(self.callers.most));
        headers.insert(REMAINING, HeaderValue::from(left.count));
        headers.insert(RESET, HeaderValue::from(left.seconds()));
    }
}

/// The answer to who makes more.
pub(crate) fn over_the_limit(left: Left) -> Problem {
    too_many("this key makes too many requests a second", left)
}

fn too_many(what: &str, left: Left) -> Problem {
    Problem::too_many(what, left.seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_and_begins_anew() {
        let second = Duration::from_secs(1);
        let windows = Windows::new(2, second);
        let now = Instant::now();
        let left = |count| Left {
            count,
            time: second,
        };
        assert_eq!(windows.take(now, &"a", 1), Ok(left(1)));
        assert_eq!(windows.take(now, &"a", 1), Ok(left(0)));
        assert_eq!(windows.take(now, &"a", 1), Err(left(0)));
        assert_eq!(windows.take(now, &"b", 1), Ok(left(1)));
        assert!(windows.take(now + second / 2, &"a", 1).is_err());
        assert_eq!(windows.take(now + second, &"a", 1), Ok(left(1)));
    }

    #[test]
    fn what_is_looked_at_only_counts_nothing() {
        let windows = Windows::new(1, Duration::from_secs(1));
        let now = Instant::now();
        for _ in 0..3 {
            assert!(windows.take(now, &"a", 0).is_ok());
        }
        assert!(windows.take(now, &"a", 1).is_ok());
        assert!(windows.take(now, &"a", 0).is_err());
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let windows = Windows::new(1, Duration::from_secs(1));
        let now = Instant::now();
        let at = |n: usize| now + Duration::from_nanos(n.try_into().unwrap());
        let kept = || windows.counts.lock().unwrap().all.len();
        for key in 0..=MOST {
            assert!(windows.take(at(key), &key, 1).is_ok());
        }
        assert_eq!(kept(), MOST);
        // The oldest gave way, and no other.
        assert!(windows.take(at(MOST), &1, 1).is_err());
        assert!(windows.take(at(MOST), &0, 1).is_ok());
        assert!(windows.take(at(MOST), &2, 1).is_err());
        // What is over is not kept until there is no room.
        assert!(
            windows
                .take(now + 2 * windows.window, &(MOST + 1), 1)
                .is_ok()
        );
        assert_eq!(kept(), 1);
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_ipv6() {
        for (address, wanted) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            let source = source(address.parse().unwrap());
            assert_eq!(source.to_string(), wanted, "{address}");
        }
    }
}
