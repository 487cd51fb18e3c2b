//! Whose debug lines are wanted: one call's, one source's, one user's, for a while.
//!
//! Workers ask [`Watches`] of each message, which costs one load while nothing is watched.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use control::{
    logging::{self, LogError},
    signal::{LogOrder, LogState, Subject},
};
use sip::{
    message::Message,
    uri::{Host, Uri},
};
use tokio::task::AbortHandle;
use tracing::warn;

use crate::net::Flow;

/// Subjects that are watched at most.
const MOST: usize = 64;
/// The longest time of a watch.
const LONGEST: u32 = 86_400;

/// What is watched, and until when the log is raised.
#[derive(Default)]
pub(crate) struct Watches {
    any: AtomicBool,
    list: ArcSwap<Vec<Watch>>,
    raised: Mutex<Option<Instant>>,
    expiry: Mutex<Option<AbortHandle>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Watch {
    subject: Subject,
    until: Instant,
}

/// Why an order is not followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// The log does not do it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Too long, or no time at all.
    #[error("the time is {0} s: it must be 1 to {LONGEST}")]
    Time(u32),
    /// Too many watches.
    #[error("{MOST} subjects are watched already; reset the log first")]
    Full,
}

impl Watches {
    /// Whether anything is watched.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// Whether a message, or what was received in place of one, is about a subject that is watched.
    pub(crate) fn wants(&self, now: Instant, flow: &Flow, message: Option<&Message>) -> bool {
        let list = self.list.load();
        let mut live = list.iter().filter(|watch| watch.until > now);
        live.any(|watch| match &watch.subject {
            Subject::CallId(id) => message.is_some_and(|message| message.call_id() == Ok(id)),
            Subject::Source(ip) => flow.remote.ip().to_canonical() == *ip,
            Subject::User(user) => message.is_some_and(|message| names(message, user)),
        })
    }

    /// Does what an operator wants of the log. To be called in a tokio runtime.
    pub(crate) fn obey(self: &Arc<Self>, order: LogOrder) -> Result<LogState, OrderError> {
        let now = Instant::now();
        match order {
            LogOrder::Show => {}
            LogOrder::Raise { filter, seconds } => {
                let until = now + time(seconds)?;
                logging::raise(Some(&filter))?;
                warn!(filter, seconds, "the log is raised");
                *lock(&self.raised) = Some(until);
            }
            LogOrder::Watch { subject, seconds } => {
                self.add(now, subject, time(seconds)?)?;
                logging::set_watching(true)?;
            }
            LogOrder::Reset => {
                self.list.store(Arc::default());
                self.any.store(false, Relaxed);
                *lock(&self.raised) = None;
                logging::set_watching(false)?;
                logging::raise(None)?;
            }
        }
        self.expire_later();
        Ok(self.state(now))
    }

    fn add(&self, now: Instant, subject: Subject, time: Duration) -> Result<(), OrderError> {
        let subject = match subject {
            Subject::Source(ip) => Subject::Source(ip.to_canonical()),
            other => other,
        };
        let mut list = Vec::clone(&self.list.load());
        list.retain(|watch| watch.until > now && watch.subject != subject);
        if list.len() >= MOST {
            return Err(OrderError::Full);
        }
        let until = now + time;
        list.push(Watch { subject, until });
        self.list.store(Arc::new(list));
        self.any.store(true, Relaxed);
        Ok(())
    }

    fn state(&self, now: Instant) -> LogState {
        let left = |until: Instant| until.saturating_duration_since(now).as_secs();
        let watches = self.list.load();
        let live = watches.iter().filter(|watch| watch.until > now);
        LogState {
            filter: logging::filter(),
            left_s: lock(&self.raised).map(left),
            watches: live
                .map(|watch| (watch.subject.clone(), left(watch.until)))
                .collect(),
        }
    }

    /// Ends what is over, and tells when the next thing will be.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut raised = lock(&self.raised);
        if raised.is_some_and(|until| until <= now) {
            *raised = None;
            if let Err(error) = logging::raise(None) {
                warn!(%error, "the log stays raised");
            }
        }
        let mut list = Vec::clone(&self.list.load());
        list.retain(|watch| watch.until > now);
        let next = list.iter().map(|watch| watch.until).chain(*raised).min();
        if list.is_empty() && self.any.swap(false, Relaxed) {
            // It cannot fail: the watch could be set.
            drop(logging::set_watching(false));
        }
        self.list.store(Arc::new(list));
        next
    }

    fn expire_later(self: &Arc<Self>) {
        let this = self.clone();
        let task = tokio::spawn(async move {
            while let Some(next) = this.expire(Instant::now()) {
                tokio::time::sleep_until(next.into()).await;
            }
        });
        let before = lock(&self.expiry).replace(task.abort_handle());
        if let Some(before) = before {
            before.abort();
        }
    }
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.load().iter()).finish()
    }
}

fn time(seconds: u32) -> Result<Duration, OrderError> {
    if !(1..=LONGEST).contains(&seconds) {
        return Err(OrderError::Time(seconds));
    }
    Ok(Duration::from_secs(seconds.into()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether From, To or the Request-URI names a user, `alice` or `alice@example.test`.
fn names(message: &Message, user: &str) -> bool {
    let (user, host) = match user.split_once('@') {
        Some((user, host)) => (user, Host::parse(host)),
        None => (user, None),
    };
    let is = |uri: Uri<'_>| uri.user() == Some(user) && (host.is_none() || uri.host() == host);
    let sides = [message.from(), message.to()];
    sides
        .into_iter()
        .flatten()
        .filter_map(|side| side.uri().ok())
        .any(is)
        || message.request_uri().is_ok_and(is)
}

#[cfg(test)]
mod tests {
    use control::config::Transport;

    use super::*;

    #[test]
    fn a_subject_is_found_by_call_source_or_user_until_its_time_is_over() {
        let text = "INVITE sip:100@node.test SIP/2.0\r\nFrom: <sip:alice@example.test>;tag=1\r\n\
            To: <tel:+15550100>\r\nCall-ID: abc\r\nCSeq: 1 INVITE\r\n\r\n";
        let message = Message::parse(text.into()).unwrap();
        let [local, remote] = ["192.0.2.1:5060", "[::ffff:192.0.2.10]:5060"];
        let flow = Flow::to(
            Transport::Udp,
            local.parse().unwrap(),
            remote.parse().unwrap(),
        );
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        let user = |user: &str| Subject::User(user.to_owned());
        for (subject, wanted) in [
            (Subject::CallId("abc".to_owned()), true),
            (Subject::CallId("ABC".to_owned()), false),
            (Subject::Source([192, 0, 2, 10].into()), true),
            (Subject::Source([192, 0, 2, 11].into()), false),
            (user("alice"), true),
            (user("alice@EXAMPLE.test"), true),
            (user("alice@other.test"), false),
            (user("100"), true),
            (user("+15550100"), true),
            (user("bob"), false),
        ] {
            let watches = Watches::default();
            assert!(!watches.any());
            watches.add(now, subject.clone(), minute).unwrap();
            assert!(watches.any());
            let wants = |at| watches.wants(at, &flow, Some(&message));
            assert_eq!(wants(now), wanted, "{subject:?}");
            assert!(!wants(now + minute));
            assert_eq!(watches.expire(now), Some(now + minute));
            assert_eq!(watches.expire(now + minute), None);
            assert!(!watches.any());
        }
    }

    #[test]
    fn the_list_is_bounded_and_a_subject_stands_once() {
        let watches = Watches::default();
        let now = Instant::now();
        let watch = |number: usize, seconds| {
            let subject = Subject::CallId(number.to_string());
            watches.add(now, subject, Duration::from_secs(seconds))
        };
        for number in 0..MOST {
            watch(number, 60).unwrap();
        }
        watch(3, 600).unwrap();
        assert!(matches!(watch(MOST, 60), Err(OrderError::Full)));
        let state = watches.state(now);
        assert_eq!(state.watches.len(), MOST);
        assert_eq!(state.watches.last().unwrap().1, 600);
        assert!(time(0).is_err() && time(LONGEST + 1).is_err() && time(1).is_ok());
    }
}
