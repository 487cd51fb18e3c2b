//! Next hops for the shards: asked once, kept, and asked again when the kernel's tables change.
//!
//! A shard only looks into a table ([`Hops::hop`]); a task does the asking, and tells the shards when
//! an answer has come or changed.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::nexthop::{Changes, NextHopError, Resolver};
use crate::shard::Hops;
use crate::xdp::{Hop, Interface};

/// A neighbour that is being looked for is asked about again after this, twice as long each time.
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// The kernel tells of changes in bursts; they are gathered for this long.
const GATHER: Duration = Duration::from_millis(50);
/// Everything is asked again this often: it keeps the kernel checking its neighbours, which it does
/// not do for traffic that it never sees.
const REFRESH: Duration = Duration::from_secs(15);
/// Entries that no shard has asked for in this time are forgotten. The shards are made to look all
/// their slots through twice in it, so what is in use is asked for.
const FORGET: Duration = Duration::from_secs(600);

/// Packets from this local address to that destination.
type Way = (IpAddr, IpAddr);

#[derive(Debug)]
struct Known {
    table: Mutex<HashMap<Way, Entry>>,
    wanted: mpsc::UnboundedSender<Way>,
    /// Indexes of the interfaces that the program is on.
    devices: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    hop: Option<Hop>,
    asked: Instant,
}

/// Starts the task, which ends when the shards are gone. `changed` is notified when an answer is new.
///
/// # Errors
/// When there is no netlink.
pub(crate) fn start(interfaces: &[Interface], changed: Arc<Notify>) -> io::Result<Arc<dyn Hops>> {
    let (wanted, queue) = mpsc::unbounded_channel();
    let devices = interfaces.iter().map(|interface| interface.index).collect();
    let known = Arc::new(Known {
        table: Mutex::default(),
        wanted,
        devices,
    });
    let task = Task {
        // Weak: the table's last owner is a shard, and its end is the end of the task.
        known: Arc::downgrade(&known),
        queue,
        resolver: Resolver::new()?,
        changes: Changes::subscribe()?,
        changed,
        retry: HashMap::new(),
        is_silent: false,
        is_behind: false,
    };
    tokio::spawn(task.run());
    Ok(known)
}

impl Hops for Known {
    fn hop(&self, source: IpAddr, destination: IpAddr) -> Option<Hop> {
        let way = (source, destination);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = table.get_mut(&way) {
            entry.asked = Instant::now();
            return entry.hop;
        }
        table.insert(
            way,
            Entry {
                hop: None,
                asked: Instant::now(),
            },
        );
        // The task is gone only when mediad stops.
        let _ = self.wanted.send(way);
        None
    }
}

struct Task {
    known: std::sync::Weak<Known>,
    queue: mpsc::UnboundedReceiver<Way>,
    resolver: Resolver,
    changes: Changes,
    changed: Arc<Notify>,
    /// Ways whose neighbour is being looked for: when to ask again, and the wait before it.
    retry: HashMap<Way, (Instant, Duration)>,
    /// The kernel has not answered the last question.
    is_silent: bool,
    /// Since the kernel was silent, not every way has been asked for again.
    is_behind: bool,
}

impl Task {
    async fn run(mut self) {
        let mut refresh = tokio::time::interval(REFRESH);
        let mut look_through = tokio::time::interval(FORGET / 2);
        loop {
            let next_retry = self.retry.values().map(|(at, _)| *at).min();
            let retry = async {
                match next_retry {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let ways = tokio::select! {
                way = self.queue.recv() => match way {
                    Some(way) => vec![way],
                    None => return,
                },
                () = self.changes.changed() => {
                    sleep(GATHER).await;
                    self.all()
                }
                _ = refresh.tick() => self.all(),
                _ = look_through.tick() => {
                    self.changed.notify_one();
                    continue;
                }
                () = retry => {
                    let now = Instant::now();
                    self.retry.iter().filter(|(_, (at, _))| *at <= now).map(|(way, _)| *way).collect()
                }
            };
            if self.ask_all(ways).await {
                self.changed.notify_one();
            }
        }
    }

    /// Asks about these, and once the kernel answers again about those that were put off; `true` if an answer is another
    /// than before.
    async fn ask_all(&mut self, mut ways: Vec<Way>) -> bool {
        let mut changed = false;
        while let Some(way) = ways.pop() {
            changed |= self.ask(way).await;
            // The others wait for the next answer rather than for one limit of time each.
            if self.is_silent {
                self.is_behind = true;
                break;
            }
            if std::mem::take(&mut self.is_behind) {
                ways = self.all();
            }
        }
        changed
    }

    /// Every way that is still of interest.
    fn all(&mut self) -> Vec<Way> {
        let Some(known) = self.known.upgrade() else {
            return Vec::new();
        };
        let mut table = known.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, entry| entry.asked.elapsed() < FORGET);
        self.retry.retain(|way, _| table.contains_key(way));
        table.keys().copied().collect()
    }

    /// Notes whether the kernel was silent, tells the log where that is new, and gives it another socket to answer on.
    fn was_silent(&mut self, silent: bool) -> bool {
        match (self.is_silent, silent) {
            (false, true) => warn!(
                "netlink gives no answer: calls keep the next hops that they have, and others stay off XDP until it does"
            ),
            (true, false) => info!("netlink answers again"),
            _ => {}
        }
        self.is_silent = silent;
        if silent && let Ok(resolver) = Resolver::new() {
            self.resolver = resolver;
        }
        silent
    }

    /// Asks the kernel about one way; `true` if the answer is another than before.
    async fn ask(&mut self, way: Way) -> bool {
        let (source, destination) = way;
        let answer = self.resolver.resolve(source, destination).await;
        let Some(known) = self.known.upgrade() else {
            return false;
        };
        if self.was_silent(matches!(answer, Err(NextHopError::Silent))) {
            self.retry
                .insert(way, (Instant::now() + LAST_RETRY, LAST_RETRY));
            // What was known is better than nothing.
            return false;
        }
        let hop = match answer {
            Ok(hop) => {
                self.retry.remove(&way);
                // The program sends from the interfaces that it is on, and no others.
                known.devices.contains(&hop.ifindex).then_some(hop)
            }
            Err(NextHopError::NotYet) => {
                let wait = self.retry.get(&way).map_or(FIRST_RETRY, |(_, wait)| *wait);
                self.retry
                    .insert(way, (Instant::now() + wait, (wait * 2).min(LAST_RETRY)));
                None
            }
            Err(error) => {
                self.retry.remove(&way);
                debug!(%source, %destination, %error, "no next hop for XDP");
                None
            }
        };
        let mut table = known.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = table.get_mut(&way) else {
            return false;
        };
        std::mem::replace(&mut entry.hop, hop) != hop
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nexthop::PATIENCE;

    #[tokio::test]
    async fn a_netlink_that_answers_nothing_holds_nobody_up() {
        let (wanted, queue) = mpsc::unbounded_channel();
        let known = Arc::new(Known {
            table: Mutex::default(),
            wanted,
            devices: vec![1],
        });
        let mut task = Task {
            known: Arc::downgrade(&known),
            queue,
            resolver: Resolver::silent(),
            changes: Changes::subscribe().unwrap(),
            changed: Arc::default(),
            retry: HashMap::new(),
            is_silent: false,
            is_behind: false,
        };
        let here = IpAddr::from([127, 0, 0, 1]);
        let hop = Hop {
            ifindex: 1,
            source: [2; 6],
            destination: [4; 6],
            tags: [None; 2],
        };
        // A call that has its next hop, and one that asks for it.
        let way = (here, here);
        assert_eq!(known.hop(here, here), None);
        let set = |hop| {
            let mut table = known.table.lock().unwrap();
            table.get_mut(&way).unwrap().hop = hop;
        };
        set(Some(hop));
        let start = Instant::now();
        assert!(!task.ask(way).await, "nothing has changed");
        assert!(start.elapsed() < 2 * PATIENCE);
        assert!(task.is_silent && task.retry.contains_key(&way));
        assert_eq!(known.hop(here, here), Some(hop), "what was known stays");

        // Nothing is asked for again that nobody is interested in any more.
        let other = (here, IpAddr::from([127, 0, 0, 2]));
        task.retry.insert(other, (start, LAST_RETRY));
        task.is_behind = true;
        assert_eq!(task.all(), [way]);
        assert!(!task.retry.contains_key(&other) && task.retry.contains_key(&way));

        // On its new socket the kernel answers: loopback is nothing for XDP. What was put off is asked for with it.
        assert_eq!(known.hop(other.0, other.1), None);
        assert!(task.ask_all(vec![other]).await);
        assert!(!task.is_silent && !task.is_behind && task.retry.is_empty());
        assert_eq!(known.hop(here, here), None);
    }
}
