//! Keeps the way to registered clients open.
//!
//! A client behind a NAT is reached by the mapping that its REGISTER made, and home routers forget one
//! of UDP within a minute: every `[sip.keepalive] interval` each such client is sent an OPTIONS, or line
//! ends. Over TCP and TLS line ends keep the connection from counting as idle, here and in between;
//! WebSockets are pinged by their own means. The table is gone through part by part, so that half a
//! million clients are not written to at once. Nothing here has a transaction: what is lost is sent
//! again the next time, and an answer is known by its Call-ID.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use control::config::{self, KeepaliveMethod, Transport};
use sip::message::Message;
use store::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use crate::{
    call::Policy,
    directory::Aor,
    location::{Location, SHARDS},
    metrics::Metrics,
    net::{Flow, Network, Sender},
};

/// Sends keepalives.
#[derive(Debug)]
pub(crate) struct Keepalive {
    pub(crate) config: config::Keepalive,
    pub(crate) policy: Arc<Policy>,
    pub(crate) location: Arc<Location>,
    pub(crate) network: Network,
    pub(crate) metrics: Arc<Metrics>,
}

/// Who was asked and has not answered. Shared with the workers, who see the answers.
#[derive(Debug)]
pub(crate) struct Answers {
    /// What our Call-IDs begin with.
    mark: u64,
    next: AtomicU64,
    parts: Vec<Mutex<HashMap<u64, Asked>>>,
}

/// A client that is asked.
#[derive(Debug)]
struct Asked {
    aor: Aor,
    remote: SocketAddr,
    /// Questions since its last answer.
    unanswered: u32,
}

impl Keepalive {
    /// Goes through the table, for ever.
    pub(crate) async fn run(self) {
        if self.config.method == KeepaliveMethod::Off {
            return;
        }
        let parts = u32::try_from(SHARDS).unwrap_or(u32::MAX);
        let mut ticks = interval(Duration::from_secs(self.config.interval) / parts);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = 0u32;
        loop {
            for part in 0..SHARDS {
                ticks.tick().await;
                self.pass(part, turn);
            }
            turn = turn.wrapping_add(1);
        }
    }

    fn pass(&self, part: usize, turn: u32) {
        let sender = Sender {
            worker: part,
            transaction: None,
        };
        let mut asked = Vec::new();
        for (aor, contact) in self.location.reachable(Timestamp::now(), part) {
            let Some(flow) = contact.flow.filter(|_| contact.path.is_empty()) else {
                // What it registered through keeps the way to it.
                continue;
            };
            let payload = match (flow.transport, self.config.method) {
                (Transport::Tcp | Transport::Tls, _) => Bytes::from_static(b"\r\n"),
                (Transport::Udp, _) if !flow.nat => continue,
                (Transport::Udp, KeepaliveMethod::Options) => {
                    asked.push((aor, contact.uri, flow));
                    continue;
                }
                (Transport::Udp, _) => Bytes::from_static(b"\r\n\r\n"),
                (Transport::Ws | Transport::Wss, _) => continue,
            };
            self.metrics.keepalives.inc();
            self.network.send(&flow, payload, sender);
        }
        let clients = asked.iter().map(|(aor, _, flow)| (aor, flow.remote));
        let answers = &self.policy.answers;
        let numbers = answers.ask(part, clients, self.config.drop_after);
        for ((aor, uri, flow), number) in asked.into_iter().zip(numbers) {
            let Some(number) = number else {
                info!(%flow, "a phone answers no OPTIONS: its binding is dropped");
                self.metrics.keepalives_unanswered.inc();
                self.location.drop_remote(&aor, flow.remote);
                continue;
            };
            let Some(local) = self.policy.local(&flow) else {
                continue;
            };
            let request = answers.request(&local.sent_by, &uri, (part, number), turn);
            self.metrics.keepalives.inc();
            self.network.send(&flow, request.into(), sender);
        }
    }
}

impl Answers {
    /// None yet. `mark` is random.
    pub(crate) fn new(mark: u64) -> Self {
        Self {
            mark,
            next: AtomicU64::new(0),
            parts: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes an answer to one of our questions; `false` where a response is none.
    pub(crate) fn take(&self, flow: &Flow, response: &Message) -> bool {
        let number = response.call_id().ok().and_then(|id| self.parse(id));
        let Some((part, number)) = number else {
            return false;
        };
        if let Some(asked) = self
            .part(part)
            .as_deref_mut()
            .and_then(|part| part.get_mut(&number))
            && asked.remote == flow.remote
        {
            asked.unanswered = 0;
        }
        true
    }

    /// Counts a question to each client of a part: its number, or `None` where it left too many
    /// unanswered (`most`; 0 for any number). Clients that are not there any more are forgotten.
    fn ask<'a>(
        &self,
        part: usize,
        clients: impl Iterator<Item = (&'a Aor, SocketAddr)>,
        most: u32,
    ) -> Vec<Option<u64>> {
        let Some(mut asked) = self.part(part) else {
            return Vec::new();
        };
        let before = std::mem::take(&mut *asked);
        let mut known: HashMap<_, _> = before
            .into_iter()
            .map(|(number, one)| ((one.aor, one.remote), (number, one.unanswered)))
            .collect();
        let mut count = |(aor, remote): (&Aor, SocketAddr)| {
            let (number, unanswered) = known
                .remove(&(aor.clone(), remote))
                .unwrap_or_else(|| (self.next.fetch_add(1, Relaxed), 0));
            if most > 0 && unanswered >= most {
                return None;
            }
            // Where nobody wants to know, nothing is kept.
            if most > 0 {
                asked.insert(
                    number,
                    Asked {
                        aor: aor.clone(),
                        remote,
                        unanswered: unanswered + 1,
                    },
                );
            }
            Some(number)
        };
        clients.map(&mut count).collect()
    }

    fn request(&self, sent_by: &str, uri: &str, id: (usize, u64), turn: u32) -> String {
        let (mark, (part, number)) = (self.mark, id);
        format!(
            "OPTIONS {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {sent_by};branch=z9hG4bK{mark:x}.{part:x}.{number:x}.{turn:x};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{sent_by}>;tag={mark:x}\r\nTo: <{uri}>\r\n\
             Call-ID: {mark:x}.{part:x}.{number:x}\r\nCSeq: {cseq} OPTIONS\r\n\
             Content-Length: 0\r\n\r\n",
            cseq = turn % (1 << 31),
        )
    }

    fn parse(&self, call_id: &str) -> Option<(usize, u64)> {
        let mut words = call_id.splitn(3, '.');
        let mut word = || u64::from_str_radix(words.next()?, 16).ok();
        let (mark, part, number) = (word()?, word()?, word()?);
        let part = usize::try_from(part).ok()?;
        (mark == self.mark).then_some((part, number))
    }

    fn part(&self, part: usize) -> Option<MutexGuard<'_, HashMap<u64, Asked>>> {
        // Nothing panics while it holds a lock; if something did, the table is still whole.
        let part = self.parts.get(part)?;
        Some(part.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(remote: &str) -> Flow {
        let local = "192.0.2.1:5060".parse().unwrap();
        Flow::to(Transport::Udp, local, remote.parse().unwrap())
    }

    #[test]
    fn who_answers_is_asked_again_and_who_does_not_is_told() {
        let answers = Answers::new(0xabc);
        let (alice, flow) = (Aor::new("alice", "test"), udp("198.51.100.7:40000"));
        let ask = || answers.ask(3, [(&alice, flow.remote)].into_iter(), 2);
        let number = ask()[0].unwrap();
        let text = answers.request("192.0.2.1:5060", "sip:alice@10.0.0.1", (3, number), 1);
        let request = Message::parse(text.into()).unwrap();
        assert!(request.validate().is_ok());
        let ok = request.respond(200).to_tag("x").build().unwrap();

        assert_eq!(ask(), [Some(number)]);
        assert!(answers.take(&flow, &ok));
        assert_eq!(ask(), [Some(number)]);
        // Nobody else can answer for it.
        assert!(answers.take(&udp("203.0.113.66:5060"), &ok));
        assert_eq!(ask(), [Some(number)]);
        assert_eq!(ask(), [None]);

        // Who is gone is forgotten.
        answers.ask(3, std::iter::empty(), 2);
        assert!(answers.part(3).unwrap().is_empty());
        let foreign = Answers::new(7);
        assert!(!foreign.take(&flow, &ok));
    }

    #[test]
    fn nothing_is_kept_where_nobody_is_dropped() {
        let answers = Answers::new(1);
        let (alice, flow) = (Aor::new("alice", "test"), udp("198.51.100.7:40000"));
        for _ in 0..5 {
            let numbers = answers.ask(0, [(&alice, flow.remote)].into_iter(), 0);
            assert!(numbers[0].is_some());
        }
        assert!(answers.part(0).unwrap().is_empty());
    }
}
