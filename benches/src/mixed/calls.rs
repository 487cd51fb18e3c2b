//! The trunks' calls, by SIPp.

use std::{fmt::Write as _, net::SocketAddr, path::Path, time::Duration};

use loadtest::{
    process::Interrupt,
    sipp::{Agent, Outcome, Running, Scenario},
};

use super::{BenchError, CALLEE, CALLER, DOMAIN, Plan, SIP, phones};

/// Trunks by what becomes of their calls.
pub(super) const ANSWERS: SocketAddr = at(6001);
const BUSY: SocketAddr = at(6002);
const RINGS: SocketAddr = at(6003);
const DOWN: SocketAddr = at(6004);
/// How long a callee rings, and how long parties talk.
const RING: Duration = Duration::from_millis(300);
const TALK: Duration = Duration::from_secs(2);
/// Longer than any call.
const LAST: Duration = Duration::from_secs(60);
/// Every so many seconds at most a call of each kind.
const KINDS: u32 = 7;

const fn at(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(CALLEE), port)
}

/// A kind of call: its name, the number that is called, how SIPp plays it.
const CALLS: [(&str, &str, Scenario); 8] = [
    ("answered", "1", Scenario::Caller),
    ("busy", "2", Scenario::CallerRefused(486)),
    ("cancelled", "3", Scenario::CallerCancels),
    ("no answer", "4", Scenario::CallerRefused(408)),
    ("failover", "5", Scenario::Caller),
    ("group", phones::GROUP, Scenario::Caller),
    ("two phones", phones::TWO, Scenario::Caller),
    (LIMITED, "602", Scenario::Caller),
];
/// One call a second, which are over by then; the limit is two at once.
const LIMITED: &str = "limited";

/// Trunks and where numbers lead.
pub(super) fn routes() -> String {
    let mut text = String::new();
    for (name, hosts) in [
        ("answers", vec![ANSWERS]),
        ("busy", vec![BUSY]),
        ("rings", vec![RINGS]),
        ("second", vec![DOWN, ANSWERS]),
    ] {
        let hosts: Vec<_> = hosts.iter().map(SocketAddr::to_string).collect();
        // A string cannot fail to be written to.
        let _written = write!(text, "[[trunks]]\nname = \"{name}\"\nhosts = {hosts:?}\n");
    }
    for (prefix, trunk, ring) in [
        ("1", "answers", 60),
        ("2", "busy", 60),
        ("3", "rings", 60),
        ("4", "rings", 2),
        ("5", "second", 60),
    ] {
        let _written = write!(
            text,
            "[[routes]]\nprefix = \"{prefix}\"\ntrunks = [\"{trunk}\"]\nring_timeout = {ring}\n"
        );
    }
    let _written = write!(
        text,
        "[[numbers]]\nnumber = \"602\"\ntrunk = \"answers\"\n\
         [[limits]]\nnumber = \"602\"\ncalls = 2\n\
         [[numbers]]\nnumber = \"{}\"\ngroup = \"pair\"\n\
         [[numbers]]\nnumber = \"{}\"\nuser = \"two@{DOMAIN}\"\n",
        phones::GROUP,
        phones::TWO
    );
    text
}

/// Each SIPp process takes one of its own, and each of its calls the next fourth one.
const fn media_port(sip: SocketAddr) -> u16 {
    20_000 + sip.port() % 100 * 400
}

/// SIPp processes.
pub(super) struct Cast {
    agents: Vec<(&'static str, Running)>,
    limit: Duration,
}

impl Cast {
    /// Those that are called.
    pub(super) fn answering(folder: &Path) -> Result<Self, BenchError> {
        let mut agents = Vec::new();
        for (name, place, scenario) in [
            ("answers", ANSWERS, Scenario::Callee),
            ("busy", BUSY, Scenario::CalleeRefuses(486)),
            ("rings", RINGS, Scenario::CalleeRings),
            ("down", DOWN, Scenario::CalleeRefuses(503)),
        ] {
            let mut agent = Agent::new(scenario, place);
            agent.media_port = media_port(place);
            agent.calls = u32::MAX / 2;
            agent.ring = RING;
            agent.limit = Duration::from_secs(24 * 3600);
            agents.push((name, agent.start(None, &folder.join(name))?));
        }
        let limit = Duration::from_secs(10);
        Ok(Self { agents, limit })
    }

    /// Those that call.
    pub(super) fn calling(plan: Plan, folder: &Path) -> Result<Self, BenchError> {
        let seconds = u32::try_from(plan.time.as_secs()).unwrap_or(u32::MAX);
        let mut agents = Vec::new();
        for ((name, number, scenario), port) in CALLS.into_iter().zip(5070..) {
            let mut agent = Agent::new(scenario, (CALLER, port).into());
            agent.media_port = media_port(agent.sip);
            number.clone_into(&mut agent.number);
            agent.target = Some(SIP);
            agent.rate = (plan.rate / KINDS).max(1);
            agent.talk = TALK;
            if name == LIMITED {
                agent.rate = 1;
                agent.talk = Duration::from_millis(100);
            }
            agent.calls = agent.rate.saturating_mul(seconds);
            agent.limit = plan.time + LAST;
            let folder = folder.join(name.replace(' ', "-"));
            agents.push((name, agent.start(None, &folder)?));
        }
        let limit = LAST + LAST;
        Ok(Self { agents, limit })
    }

    /// Waits until all calls are over.
    pub(super) fn finish(self) -> Result<Vec<(&'static str, Outcome)>, BenchError> {
        let mut outcomes = Vec::new();
        for (name, agent) in self.agents {
            outcomes.push((name, agent.finish(self.limit, &Interrupt::default())?));
        }
        Ok(outcomes)
    }

    /// Ends those that would wait for ever.
    pub(super) fn stop(self) -> Vec<(&'static str, Outcome)> {
        let limit = self.limit;
        let agents = self.agents.into_iter();
        agents
            .map(|(name, agent)| (name, agent.stop(limit)))
            .collect()
    }
}
