//! Calls of every outcome at once, over a network that loses, doubles and reorders, in simulated time.
//! However each ends, nothing of it is left.

mod party;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use control::{
    Config,
    media::SessionId,
    signal::{Originate, Party as Who, TransferOrder},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sip::message::Method;
use store::{Cdr, Timestamp};

use self::party::Party;
use super::{
    bed::*,
    forking::{DESK, MOBILE, SOFT, register},
};
use crate::{
    call::MediaNews,
    directory::{Aor, Directory},
};

const CONFIG: &str = r#"
[sip]
domains = ["node.test", "two.test"]
[[trunks]]
name = "pbx"
hosts = ["192.0.2.10"]
allow = ["192.0.2.10/32"]
[[trunks]]
name = "carrier"
hosts = ["192.0.2.20", "192.0.2.21"]
allow = ["192.0.2.20/31"]
redirect = "follow"
calls = 150
[[trunks]]
name = "named"
hosts = ["gw.carrier.test"]
[[trunks]]
name = "challenging"
hosts = ["192.0.2.20"]
auth = { user = "u", password = "secret", realm = "carrier.test" }
[[routes]]
prefix = "+1"
trunks = ["carrier", "named"]
media = "bypass"
ring_timeout = 30
[[routes]]
prefix = "+2"
trunks = ["carrier"]
ring_timeout = 30
[[routes]]
prefix = "+3"
trunks = ["named"]
media = "bypass"
[[routes]]
prefix = "+9"
trunks = ["challenging"]
[[groups]]
name = "all"
members = ["bob@node.test", "alice@node.test", "+1888"]
[[numbers]]
number = "+500"
group = "all"
[[numbers]]
number = "+501"
user = "bob@node.test"
ring_timeout = 10
[numbers.forward]
busy = "+1777"
no_answer = "+2777"
unreachable = "+3777"
[[limits]]
number = "+501"
calls = 5
longest = 40
"#;

/// Who is called, and how often each.
const CALLED: [&str; 12] = [
    "sip:+1555@192.0.2.1:5060",
    "sip:+1555@192.0.2.1:5060",
    "sip:+2555@192.0.2.1:5060",
    "sip:+2555@192.0.2.1:5060",
    "sip:+2555@192.0.2.1:5060",
    "sip:+3555@192.0.2.1:5060",
    "sip:+9555@192.0.2.1:5060",
    "sip:bob@node.test",
    "sip:bob@node.test",
    "sip:+500@192.0.2.1:5060",
    "sip:+501@192.0.2.1:5060",
    "sip:nobody@node.test",
];

/// How calls end, each of which has to be seen.
const CAUSES: [&str; 12] = [
    "Bye",
    "Cancel",
    "Limit",
    "LongestCall",
    "MediaTimeout",
    "MediaUnavailable",
    "PartyLost",
    "Rejected",
    "RingTimeout",
    "SessionExpired",
    "Transfer",
    "Unreachable",
];

/// A phone of alice's, which registers by itself.
const PHONE: &str = "198.51.100.7:40007";

/// The core, its parties, and what is on its way between them.
struct World {
    bed: Bed,
    parties: Vec<Party>,
    rng: StdRng,
    packets: BTreeMap<(Instant, u64), Packet>,
    /// When calls begin.
    calls: BTreeSet<(Instant, u64)>,
    count: u64,
    /// When mediad gives the answers that it holds.
    answers_at: Option<Instant>,
}

enum Packet {
    ToNode(&'static str, Bytes),
    ToParty(usize, Bytes),
}

impl World {
    fn new(seed: u64) -> Self {
        let mut bed = Bed::new();
        let config = Config::parse(CONFIG, []).unwrap().config;
        bed.core.directory = Arc::new(Directory::new(&config, None));
        let hosts = vec![at(CALLEE), at(SECOND)];
        bed.names.insert("gw.carrier.test".to_owned(), hosts);
        bed.mediad.holds = true;
        let addresses = [CALLER, CALLEE, SECOND, DESK, MOBILE, SOFT, PHONE];
        let parties = addresses.iter().zip(seed * 100..);
        Self {
            bed,
            parties: parties
                .map(|(address, seed)| Party::new(address, seed))
                .collect(),
            rng: StdRng::seed_from_u64(seed),
            packets: BTreeMap::new(),
            calls: BTreeSet::new(),
            count: 0,
            answers_at: None,
        }
    }

    /// Lets so many calls begin within a minute or two, and goes on until the last is over.
    fn run(&mut self, calls: usize) -> Vec<Cdr> {
        // Bob's phones are registered anew, at the time of day at which the helper does it.
        let start = Timestamp::from_millis(1_700_000_000_000);
        self.bed.core.set_clock(self.bed.now, start);
        let bob = Aor::new("bob", "node.test");
        self.bed.access.location.remove(&bob, None);
        register(&mut self.bed, &[(DESK, 1000), (MOBILE, 1000), (SOFT, 500)]);
        for _ in 0..calls {
            self.count += 1;
            let at = self.bed.now + Duration::from_millis(self.rng.random_range(0..100_000));
            self.calls.insert((at, self.count));
        }
        while let Some(at) = self.next() {
            self.bed.pass(at.saturating_duration_since(self.bed.now));
            self.answer();
            self.begin();
            self.deliver();
            for party in &mut self.parties {
                if party.poll_timeout().is_some_and(|due| due <= at) {
                    party.handle_timeout(at);
                }
            }
            self.collect();
        }
        self.assert_empty();
        let Bed {
            sent,
            cdrs,
            kept,
            events,
            mediad,
            ..
        } = &mut self.bed;
        sent.clear();
        kept.clear();
        events.clear();
        mediad.asked.clear();
        std::mem::take(cdrs)
    }

    /// When something happens next.
    fn next(&mut self) -> Option<Instant> {
        let packet = self.packets.keys().next().map(|(at, _)| *at);
        let call = self.calls.first().map(|(at, _)| *at);
        let parties = self.parties.iter().filter_map(Party::poll_timeout);
        let lively = parties
            .chain(packet)
            .chain(call)
            .chain(self.answers_at)
            .min();
        let core = self.bed.core.poll_timeout();
        let quiet = core.is_some_and(|at| at > self.bed.now + Duration::from_secs(300));
        if lively.is_none() && quiet && self.silence() {
            // What the parties have left without a word is told by its silence.
            return Some(self.bed.now);
        }
        lively.into_iter().chain(core).min()
    }

    /// mediad says which sessions nobody is heard in; whether there were any.
    fn silence(&mut self) -> bool {
        let sessions: Vec<_> = self
            .bed
            .mediad
            .sessions
            .keys()
            .copied()
            .map(SessionId)
            .collect();
        self.bed.mediad.silent_ms = 1_000_000;
        for id in &sessions {
            let now = self.bed.now;
            self.bed.core.handle_media_news(now, MediaNews::Silent(*id));
            self.bed.settle();
        }
        self.collect();
        !sessions.is_empty()
    }

    /// mediad answers what it was asked a while ago.
    fn answer(&mut self) {
        if self.answers_at.is_some_and(|at| at <= self.bed.now) {
            self.answers_at = None;
            self.bed.release();
            self.bed.mediad.holds = true;
        }
    }

    /// Those who are due begin a call, or something smaller.
    fn begin(&mut self) {
        let now = self.bed.now;
        while self.calls.first().is_some_and(|(at, _)| *at <= now) {
            self.calls.pop_first();
            let to = CALLED[self.rng.random_range(0..CALLED.len())];
            if self.rng.random_range(0..5) == 0 {
                self.connect(to);
            } else {
                self.parties[0].call(now, to);
            }
            if self.rng.random_range(0..3) == 0 {
                self.transfer(to);
            }
            match self.rng.random_range(0..20) {
                0..3 => self.parties[6].exchange(now, &Method::Register),
                3..5 => self.parties[6].exchange(now, &Method::Message),
                5 => self.parties[0].exchange(now, &Method::Message),
                _ => {}
            }
        }
    }

    /// An operator has two parties connected.
    fn connect(&mut self, to: &str) {
        let order = Originate {
            from: CALLED[self.rng.random_range(0..CALLED.len())].to_owned(),
            to: to.to_owned(),
            caller_id: None,
            ring_timeout_s: self.rng.random_range(1..90),
        };
        // Who cannot be called at all is refused at once.
        drop(self.bed.core.originate(self.bed.now, &order));
        self.bed.settle();
    }

    /// An operator transfers a party of some call.
    fn transfer(&mut self, to: &str) {
        let mut calls = self.bed.core.list(None);
        calls.retain(|call| call.answered_ms.is_some());
        // They are listed in no order, and a storm is the same each time.
        calls.sort_by(|one, other| one.id.cmp(&other.id));
        if calls.is_empty() {
            return;
        }
        let order = TransferOrder {
            id: calls.swap_remove(self.rng.random_range(0..calls.len())).id,
            party: [Who::Caller, Who::Callee][self.rng.random_range(0..2)],
            to: to.to_owned(),
        };
        drop(self.bed.core.transfer(self.bed.now, &order));
        self.bed.settle();
        self.bed.obeyed.clear();
    }

    fn deliver(&mut self) {
        let now = self.bed.now;
        while let Some(entry) = self
            .packets
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            match entry.remove() {
                Packet::ToNode(from, bytes) => {
                    self.bed.mediad.fails = self.rng.random_range(0..40) == 0;
                    self.bed.receive(from, bytes);
                }
                Packet::ToParty(index, bytes) => self.parties[index].receive(now, at(NODE), bytes),
            }
        }
    }

    /// Puts on its way what anybody has to send.
    fn collect(&mut self) {
        for index in 0..self.parties.len() {
            let from = self.parties[index].address;
            while let Some(bytes) = self.parties[index].poll_transmit() {
                self.send(|| Packet::ToNode(from, bytes.clone()));
            }
        }
        while let Some(sent) = self.bed.sent.pop_front() {
            // Now and then the kernel says that nobody is there.
            if let Some(transaction) = sent.transaction
                && self.rng.random_range(0..300) == 0
            {
                self.bed.core.handle_failed(self.bed.now, transaction);
                self.bed.settle();
                continue;
            }
            let to = sent.flow.reply_to;
            let party = self
                .parties
                .iter()
                .position(|party| at(party.address) == to);
            if let Some(party) = party {
                let bytes = sent.message.into_bytes();
                self.send(|| Packet::ToParty(party, bytes.clone()));
            }
        }
        if !self.bed.mediad.held.is_empty() && self.answers_at.is_none() {
            let after = Duration::from_millis(self.rng.random_range(0..400));
            self.answers_at = Some(self.bed.now + after);
        }
    }

    fn send(&mut self, packet: impl Fn() -> Packet) {
        let copies = match self.rng.random_range(0..100) {
            0..12 => 0,
            12..20 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            self.count += 1;
            let delay = Duration::from_millis(self.rng.random_range(1..700));
            self.packets
                .insert((self.bed.now + delay, self.count), packet());
        }
    }

    fn assert_empty(&mut self) {
        for party in &self.parties {
            if !party.is_idle() {
                let (left, ids) = party.describe();
                let ladders: Vec<_> = ids.iter().map(|id| self.ladder(id)).collect();
                panic!("left at {left}\n{}", ladders.join("\n"));
            }
        }
        let Bed {
            core,
            mediad,
            metrics,
            access,
            ..
        } = &self.bed;
        assert!(core.is_empty(), "{core:#?}");
        assert!(mediad.sessions.is_empty(), "{:?}", mediad.sessions);
        assert_eq!(metrics.calls_active.get(), 0);
        assert_eq!(metrics.transactions.get(), 0);
        assert_eq!(metrics.media_sessions.get(), 0);
        // Three phones of bob's, and what alice's one phone has bound.
        assert!(access.location.len() <= 3 + 1, "{}", access.location.len());
    }
}

impl World {
    /// The messages of a call, as far as they are remembered.
    fn ladder(&self, call_id: &str) -> String {
        let page = self.bed.core.trace(&super::trace::asked(call_id, 0, false));
        let messages = page.into_iter().flat_map(|page| page.messages);
        let lines = messages.map(|message| {
            let arrow = if message.received { "<-" } else { "->" };
            format!(
                "{} {arrow} {} {}",
                message.at_us, message.peer, message.line
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Whether a call is the node's own, and was answered.
fn is_first_of_two(cdr: &Cdr) -> bool {
    cdr.origin.as_deref() == Some("node") && cdr.answered.is_some()
}

/// So many calls at once, and again until there were so many in all.
fn storm(seed: u64, at_once: usize, calls: usize) {
    let mut causes = HashSet::new();
    let mut statuses = HashSet::new();
    let mut answered = 0;
    let mut recorded = 0;
    let mut connected = 0;
    let mut world = World::new(seed);
    for _ in 0..calls.div_ceil(at_once) {
        let cdrs = world.run(at_once);
        recorded += cdrs.len();
        answered += cdrs.iter().filter(|cdr| cdr.answered.is_some()).count();
        connected += cdrs.iter().filter(|cdr| is_first_of_two(cdr)).count();
        causes.extend(cdrs.iter().map(|cdr| format!("{:?}", cdr.cause)));
        statuses.extend(cdrs.iter().map(|cdr| cdr.status));
    }
    println!("{recorded} records, {answered} answered, causes {causes:?}, statuses {statuses:?}");
    assert!(
        answered * 4 > recorded,
        "{answered} of {recorded} calls were answered"
    );
    assert!(
        connected * 40 > recorded,
        "{connected} first parties of two answered"
    );
    for cause in CAUSES {
        assert!(
            causes.contains(cause),
            "no call ended by {cause}: {causes:?}"
        );
    }
}

#[test]
fn nothing_is_left_of_thousands_of_calls_of_every_outcome() {
    storm(1, 250, 2_000);
}

/// `cargo test --release -p signaling --lib -- --ignored a_million_calls`
#[test]
#[ignore = "takes minutes, in release; make bench runs it"]
fn nothing_is_left_of_a_million_calls_of_every_outcome() {
    storm(7, 500, 1_000_000);
}
