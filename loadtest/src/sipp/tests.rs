//! SIPp against SIPp over a routed bed, without a node: that the scenarios fit each other, and that
//! bed, audio and capture together neither lose nor bend a packet.

use std::{collections::HashSet, path::PathBuf};

use crate::{
    audio::{Voice, write_pcap, write_raw},
    bed::{Bed, BedError, Family, Layout},
    capture::{Capture, Traffic, delivery, traffic::Rtp},
    sink::Sink,
};

use super::*;

const SIP: u16 = 5060;
const CALLER_MEDIA: u16 = 20_000;
const CALLEE_MEDIA: u16 = 30_000;

struct Direct {
    bed: Bed,
    folder: tempfile::TempDir,
    family: Family,
}

impl Direct {
    fn new(layout: Layout, family: Family) -> Option<Self> {
        if Tool::SIPP.find().is_none() || Tool::TCPDUMP.find().is_none() {
            eprintln!("skipped: needs sip-tester and tcpdump");
            return None;
        }
        let layout = Layout {
            routed: true,
            ..layout
        };
        match Bed::new(layout) {
            Ok(bed) => Some(Self {
                bed,
                folder: tempfile::tempdir().unwrap(),
                family,
            }),
            Err(error @ (BedError::NotPermitted | BedError::NoVlan)) => {
                eprintln!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn caller_sip(&self) -> SocketAddr {
        (self.bed.caller_ip(self.family), SIP).into()
    }

    fn callee_sip(&self) -> SocketAddr {
        (self.bed.callee_ip(self.family), SIP).into()
    }

    fn pcap(&self, name: &str, voice: Voice, first: u32, count: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        write_pcap(&path, voice, first, count).unwrap();
        path
    }

    /// Runs both to their ends.
    fn run(&self, caller: &Agent, callee: &Agent) -> (Outcome, Outcome) {
        let callee = callee
            .start(Some(self.bed.callee()), self.folder.path())
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let caller = caller
            .start(Some(self.bed.caller()), self.folder.path())
            .unwrap();
        let limit = Duration::from_secs(90);
        let caller = caller.finish(limit, &Interrupt::default()).unwrap();
        (caller, callee.stop(Duration::from_secs(5)))
    }

    fn agents(&self, caller: Scenario, callee: Scenario, seconds: u32) -> (Agent, Agent) {
        let count = seconds * crate::audio::RATE;
        let parts = |name: &str, voice| {
            let part = |n: u32| self.pcap(&format!("{name}{n}.pcap"), voice, n * count, count);
            Media::Pcap(vec![part(0), part(1)])
        };
        let caller = Agent {
            target: Some(self.callee_sip()),
            media: parts("caller", Voice::CALLER),
            media_port: CALLER_MEDIA,
            talk: Duration::from_millis(u64::from(seconds) * 1000 + 500),
            ..Agent::new(caller, self.caller_sip())
        };
        let callee = Agent {
            media: parts("callee", Voice::CALLEE),
            media_port: CALLEE_MEDIA,
            ..Agent::new(callee, self.callee_sip())
        };
        (caller, callee)
    }
}

fn check(outcome: &(Outcome, Outcome), calls: u64) {
    assert!(outcome.0.all_well(calls), "caller: {:?}", outcome.0);
    assert!(outcome.1.all_well(calls), "callee: {:?}", outcome.1);
}

/// Calls with audio; every packet arrives as it was sent, with right checksums.
fn carries_audio(layout: Layout, family: Family, calls: u16, seconds: u32) {
    let Some(direct) = Direct::new(layout, family) else {
        return;
    };
    let (mut caller, mut callee) = direct.agents(Scenario::Caller, Scenario::Callee, seconds);
    for agent in [&mut caller, &mut callee] {
        agent.calls = calls.into();
        agent.rate = 50;
    }
    let (bed, folder) = (&direct.bed, direct.folder.path());
    let ear = |space: &Namespace, ip, first| {
        space
            .enter(|| Sink::listen(ip, first + 4, calls - 1))
            .unwrap()
            .unwrap()
    };
    let caller_ear = ear(bed.caller(), bed.caller_ip(family), CALLER_MEDIA);
    let callee_ear = ear(bed.callee(), bed.callee_ip(family), CALLEE_MEDIA);
    let at_caller = Capture::start(Some(bed.caller()), "eth0", None, folder, "at-caller").unwrap();
    let at_callee = Capture::start(Some(bed.callee()), "eth0", None, folder, "at-callee").unwrap();
    check(&direct.run(&caller, &callee), calls.into());

    let at_caller = fs::read(at_caller.finish().unwrap()).unwrap();
    let at_callee = fs::read(at_callee.finish().unwrap()).unwrap();
    let at_caller = Traffic::read(&at_caller).unwrap();
    let at_callee = Traffic::read(&at_callee).unwrap();
    assert_eq!(at_caller.bad_checksums, []);
    assert_eq!(at_callee.bad_checksums, []);
    let tag = [layout.caller_vlan.unwrap_or(0), 0];
    assert_eq!(at_caller.rtp_vlans.keys().collect::<Vec<_>>(), [&tag]);

    let found = delivery::calls(
        &at_caller,
        direct.caller_sip(),
        &at_callee,
        direct.callee_sip(),
    );
    assert_eq!(found.len(), usize::from(calls));
    let each = u64::from(seconds * crate::audio::RATE);
    for call in &found {
        for delivery in [call.forward, call.backward] {
            assert!(delivery.perfect(), "{call:?}");
            assert_eq!(delivery.sent, each, "{call:?}");
        }
        assert!(call.setup.unwrap() < Duration::from_secs(1));
    }
    let all_but_first = each * u64::from(calls - 1);
    assert_eq!(
        (caller_ear.heard(), callee_ear.heard()),
        (all_but_first, all_but_first)
    );
}

#[test]
fn audio_both_ways_ipv4() {
    carries_audio(Layout::default(), Family::V4, 3, 2);
}

#[test]
fn audio_both_ways_ipv6() {
    carries_audio(Layout::default(), Family::V6, 3, 2);
}

#[test]
fn audio_both_ways_vlan() {
    let layout = Layout {
        caller_vlan: Some(100),
        callee_vlan: Some(200),
        ..Layout::default()
    };
    carries_audio(layout, Family::V4, 3, 2);
}

/// Loopback needs no root, but for the capture that shows the packets.
#[test]
fn streams_on_loopback() {
    if Tool::SIPP.find().is_none() || Tool::TCPDUMP.find().is_none() {
        eprintln!("skipped: needs sip-tester and tcpdump");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Ok(capture) = Capture::start(None, "lo", Some("127.91.0.0/16"), folder, "loopback") else {
        eprintln!("skipped: may not capture");
        return;
    };
    let agent = |scenario, ip: &str, name: &str, voice| {
        let file = folder.join(name);
        write_raw(&file, voice, 0, 100).unwrap();
        Agent {
            media: Media::Stream(file),
            calls: 3,
            talk: Duration::from_secs(3),
            ..Agent::new(scenario, format!("{ip}:15078").parse().unwrap())
        }
    };
    let callee = agent(Scenario::Callee, "127.91.12.2", "callee", Voice::CALLEE);
    let mut caller = agent(Scenario::Caller, "127.91.11.2", "caller", Voice::CALLER);
    caller.target = Some(callee.sip);
    let running = callee.start(None, folder).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let caller_outcome = caller.start(None, folder).unwrap();
    let caller_outcome = caller_outcome
        .finish(Duration::from_secs(30), &Interrupt::default())
        .unwrap();
    check(&(caller_outcome, running.stop(Duration::from_secs(5))), 3);

    let file = fs::read(capture.finish().unwrap()).unwrap();
    let traffic = Traffic::read(&file).unwrap();
    let ends = |agent: &Agent| SocketAddr::new(agent.sip.ip(), agent.media_port);
    for (from, to) in [(&caller, &callee), (&callee, &caller)] {
        let sent = traffic.flow(ends(from), ends(to));
        assert_eq!(sent.len(), 300);
        let sources: HashSet<u32> = sent.iter().map(Rtp::ssrc).collect();
        assert_eq!(sources.len(), 3, "each call is a stream of its own");
    }
}

/// The bed's own limit, which the demo relies on: a hundred calls of 20 s.
#[test]
#[ignore = "takes 25 s and most of a core"]
fn a_hundred_calls_without_loss() {
    carries_audio(Layout::default(), Family::V4, 100, 20);
}

/// Plays one pair of scenarios and expects both to end well.
fn fits(caller: Scenario, callee: Scenario) {
    let Some(direct) = Direct::new(Layout::default(), Family::V4) else {
        return;
    };
    let (caller, callee) = direct.agents(caller, callee, 1);
    check(&direct.run(&caller, &callee), 1);
}

#[test]
fn delayed_offer() {
    fits(Scenario::CallerDelayedOffer, Scenario::CalleeDelayedOffer);
}

#[test]
fn hold_and_resume() {
    for hold in [Hold::SendOnly, Hold::Inactive, Hold::ZeroAddress] {
        fits(Scenario::CallerHolds(hold), Scenario::CalleeHeld(hold));
    }
}

#[test]
fn cancel() {
    fits(Scenario::CallerCancels, Scenario::CalleeRings);
}

#[test]
fn refusal() {
    fits(Scenario::CallerRefused(503), Scenario::CalleeRefuses(503));
}

#[test]
fn the_callee_hangs_up() {
    fits(Scenario::CallerWaits, Scenario::CalleeHangsUp);
}

#[test]
fn tcp() {
    let Some(direct) = Direct::new(Layout::default(), Family::V4) else {
        return;
    };
    let (mut caller, mut callee) = direct.agents(Scenario::Caller, Scenario::Callee, 1);
    caller.transport = Transport::Tcp;
    callee.transport = Transport::Tcp;
    check(&direct.run(&caller, &callee), 1);
}

#[test]
fn an_unexpected_answer_is_a_failure_with_its_reason() {
    let Some(direct) = Direct::new(Layout::default(), Family::V4) else {
        return;
    };
    let (caller, callee) = direct.agents(
        Scenario::CallerRefused(486),
        Scenario::CalleeRefuses(503),
        1,
    );
    let (caller, _) = direct.run(&caller, &callee);
    assert!(!caller.all_well(1));
    assert_eq!(caller.stats.failed, 1);
    assert_eq!(caller.stats.reasons[0].0, "UnexpectedMessage");
    assert!(caller.errors.contains("503"), "{}", caller.errors);
}
