//! Whole calls in simulated time: user agents and a record-routing proxy made of this crate, over a
//! network that loses, duplicates and reorders. However a call ends, nothing of it may be left.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the hosts are test code: what they do not expect ends the test"
)]

mod agent;
mod net;
mod proxy;

use std::collections::BTreeMap;
use std::time::Duration;

use agent::Agent;
use net::{Host, Net, Rng, Weather};
use proxy::Proxy;

const CALLER: &str = "192.0.2.1:5060";
const PROXY: &str = "192.0.2.10:5060";
const CALLEE: &str = "192.0.2.4:5060";
const OTHER: &str = "192.0.2.5:5060";

const CLEAR: Weather = Weather {
    reliable: false,
    loss_per_mille: 0,
    duplicate_per_mille: 0,
    delay_ms: (5, 5),
};
const STREAM: Weather = Weather {
    reliable: true,
    loss_per_mille: 0,
    duplicate_per_mille: 0,
    delay_ms: (1, 40),
};
const STORM: Weather = Weather {
    reliable: false,
    loss_per_mille: 150,
    duplicate_per_mille: 100,
    delay_ms: (1, 900),
};

/// What may be called through the proxy.
const USERS: [&str; 15] = [
    "quick",
    "answer",
    "leave",
    "cut",
    "busy",
    "decline",
    "full",
    "slow",
    "next-answer",
    "next-busy",
    "both-answer",
    "both-quick",
    "dead-x",
    "both-slow",
    "late",
];

struct Bed {
    caller: Agent,
    proxy: Proxy,
    callee: Agent,
    other: Agent,
    net: Net,
}

impl Bed {
    fn new(seed: u64, weather: Weather) -> Self {
        let reliable = weather.reliable;
        Self {
            caller: Agent::new(CALLER, PROXY, reliable, seed + 1),
            proxy: Proxy::new(PROXY, &[CALLEE, OTHER], reliable, seed + 2),
            callee: Agent::new(CALLEE, PROXY, reliable, seed + 3),
            other: Agent::new(OTHER, PROXY, reliable, seed + 4),
            net: Net::new(seed, weather),
        }
    }

    fn run(&mut self) {
        let Self {
            caller,
            proxy,
            callee,
            other,
            net,
        } = self;
        net.run(&mut [caller, proxy, callee, other]);
    }

    /// The final status of each call, by the user that was called.
    fn outcomes(&self) -> BTreeMap<&str, u16> {
        let calls = self
            .caller
            .outcomes
            .iter()
            .filter(|(id, _)| !id.contains(" dialog "));
        calls
            .map(|(id, status)| (id.rsplit_once('-').unwrap().0, *status))
            .collect()
    }

    fn assert_idle(&self, what: &str) {
        for agent in [&self.caller, &self.callee, &self.other] {
            assert!(agent.is_idle(), "{what}: left at {}", agent.describe());
        }
        assert!(
            self.proxy.is_idle(),
            "{what}: left at {}",
            self.proxy.describe()
        );
    }
}

#[test]
fn in_clear_weather_every_call_ends_as_it_should() {
    for weather in [CLEAR, STREAM] {
        let mut bed = Bed::new(1, weather);
        for user in USERS {
            let now = bed.net.now;
            bed.caller.call(now, user, None);
        }
        bed.run();
        let expected = BTreeMap::from([
            ("quick", 200),
            ("answer", 200),
            ("leave", 200),
            ("cut", 200),
            ("busy", 486),
            ("decline", 603),
            ("full", 500),
            ("slow", 408),
            ("next-answer", 200),
            ("next-busy", 486),
            ("both-answer", 200),
            ("both-quick", 200),
            ("dead-x", 408),
            ("both-slow", 408),
            ("late", 408),
        ]);
        assert_eq!(bed.outcomes(), expected);
        assert_eq!(bed.proxy.cut, 1);
        // Each callee that picked up was told: by an ACK, or by the proxy's own ACK and BYE.
        assert_eq!(bed.callee.given_up + bed.other.given_up, 0);
        if !weather.reliable {
            assert_eq!(bed.proxy.late, 1);
        }
        bed.assert_idle("clear weather");
    }
}

#[test]
fn a_call_without_loss_takes_no_message_too_many() {
    let mut bed = Bed::new(1, CLEAR);
    let now = bed.net.now;
    bed.caller.call(now, "quick", None);
    bed.run();
    // INVITE, 200, ACK, BYE, 200: each over two hops, and the proxy adds nothing.
    assert_eq!(bed.net.sent, 2 * 5);
    bed.assert_idle("one call");
}

#[test]
fn a_cancel_at_any_moment_ends_the_call() {
    // From before the INVITE has arrived until after the answer, at 3 s and a little.
    for ms in [
        0, 1, 5, 9, 10, 11, 15, 21, 100, 2_999, 3_005, 3_010, 3_015, 3_020, 3_030,
    ] {
        for user in [
            "answer",
            "both-answer",
            "next-answer",
            "slow",
            "quick",
            "busy",
        ] {
            let mut bed = Bed::new(ms, CLEAR);
            let now = bed.net.now;
            bed.caller.call(now, user, Some(Duration::from_millis(ms)));
            bed.run();
            let status = bed.outcomes()[user];
            assert!(
                matches!(status, 200 | 486 | 487),
                "{user} cancelled at {ms} ms: {status}"
            );
            if user == "slow" {
                assert_eq!(status, 487);
            }
            bed.assert_idle(&format!("{user} cancelled at {ms} ms"));
        }
    }
}

#[test]
fn nothing_is_left_of_a_thousand_calls_in_a_storm() {
    let mut made = 0;
    for seed in 0..20 {
        let mut bed = Bed::new(seed * 1000, STORM);
        let mut rng = Rng(seed);
        for _ in 0..50 {
            let user = USERS[usize::try_from(rng.below(USERS.len() as u64)).unwrap()];
            let cancel = rng
                .chance(300)
                .then(|| Duration::from_millis(rng.below(8_000)));
            let now = bed.net.now;
            bed.caller.call(now, user, cancel);
        }
        bed.run();
        for (id, status) in &bed.caller.outcomes {
            assert_ne!(*status, 0, "seed {seed}: {id} never ended");
        }
        made += bed.caller.dialogs_made;
        bed.assert_idle(&format!("seed {seed}"));
    }
    assert!(made > 300, "most calls of a storm still come about: {made}");
}

#[test]
fn without_a_proxy_two_agents_get_through_a_storm_too() {
    for seed in 0..20 {
        let mut caller = Agent::new(CALLER, CALLEE, false, seed + 1);
        let mut callee = Agent::new(CALLEE, CALLER, false, seed + 2);
        let mut net = Net::new(seed, STORM);
        for _ in 0..20 {
            for user in ["quick", "answer", "leave", "busy"] {
                caller.call(net.now, user, None);
            }
        }
        let hosts: &mut [&mut dyn Host] = &mut [&mut caller, &mut callee];
        net.run(hosts);
        assert!(caller.is_idle(), "seed {seed}: {}", caller.describe());
        assert!(callee.is_idle(), "seed {seed}: {}", callee.describe());
    }
}
