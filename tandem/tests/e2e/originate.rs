//! Two parties that the node calls and connects.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use loadtest::{
    audio::RATE,
    bed::{Family, Layout},
    capture::{Traffic, traffic::Rtp},
    node::Node,
    process::Interrupt,
    sipp::{Agent, Media, Scenario},
};
use serde_json::Value;

use crate::stage::{Recorded, Stage, all_well, cdrs, eventually, finish, nothing_left};

const SECONDS: u32 = 3;

/// A node that has the caller's side behind the prefix 7, and the callee's behind all others.
fn stage(datapath: &str) -> Option<Stage> {
    let mut stage = Stage::new(Layout::default(), Family::V4, datapath)?;
    let (desk, third) = (stage.caller_sip(), third(&stage));
    stage.config.more = format!(
        "[[trunks]]\nname = \"desk\"\nhosts = [\"{desk}\"]\n\n\
         [[routes]]\nprefix = \"7\"\ntrunks = [\"desk\"]\nring_timeout = 60\n\n\
         [[trunks]]\nname = \"third\"\nhosts = [\"{third}\"]\n\n\
         [[routes]]\nprefix = \"8\"\ntrunks = [\"third\"]\nring_timeout = 60\n"
    );
    Some(stage)
}

/// Somebody beside the callee.
fn third(stage: &Stage) -> SocketAddr {
    SocketAddr::new(stage.callee_sip().ip(), 5070)
}

fn originate(stage: &Stage) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(["calls", "originate", "700", "15550100", "--json"]);
    let config = stage.folder.path().join("tandem.toml");
    let done = command.arg("--config").arg(config).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Starts both parties, who wait for calls.
fn play(stage: &Stage, node: &Node<'_>, first: &Agent, second: &Agent) -> Value {
    let parties = stage.start(first, second);
    std::thread::sleep(Duration::from_millis(400));
    let call = originate(stage);
    all_well(&finish(parties), 1, node);
    call
}

/// RTP that a party sent, in order.
fn from<'t>(traffic: &Traffic<'t>, party: IpAddr) -> Vec<Rtp<'t>> {
    let flows = traffic.flows.iter();
    let own = flows.filter(|((source, _), _)| source.ip() == party);
    in_order(own.flat_map(|(_, packets)| packets.clone()).collect())
}

/// RTP that came to it, in order.
fn to<'t>(traffic: &Traffic<'t>, party: IpAddr) -> Vec<Rtp<'t>> {
    let flows = traffic.flows.iter();
    let own = flows.filter(|((_, destination), _)| destination.ip() == party);
    in_order(own.flat_map(|(_, packets)| packets.clone()).collect())
}

fn in_order(mut packets: Vec<Rtp<'_>>) -> Vec<Rtp<'_>> {
    packets.sort_by_key(|packet| packet.time);
    packets
}

/// Each of `packets` came once and as it was, in `streams` at most: the node calls both parties, so each hears one stream
/// of the node's, whoever speaks.
fn all_came(sent: &[Rtp<'_>], arrived: &[Rtp<'_>], packets: u32, streams: usize) {
    assert_eq!(
        (sent.len(), arrived.len()),
        (packets as usize, packets as usize)
    );
    let content = |packet: &Rtp<'_>| (packet.bytes[1] & 0x7f, packet.bytes[12..].to_vec());
    let mut last = HashMap::new();
    for (sent, arrived) in sent.iter().zip(arrived) {
        assert_eq!(content(sent), content(arrived));
        let next = arrived.sequence().wrapping_add(1);
        let due = last.insert(arrived.ssrc(), next);
        assert!(due.is_none_or(|due| due == arrived.sequence()));
    }
    assert!(last.len() <= streams, "{} streams", last.len());
    let own = sent
        .iter()
        .filter(|packet| last.contains_key(&packet.ssrc()));
    assert_eq!(own.count(), 0, "an SSRC of the other party's");
}

fn connects(datapath: &str) {
    let Some(stage) = stage(datapath) else { return };
    let node = stage.node();
    let first = stage.caller(Scenario::CalleeConnected, SECONDS);
    let mut second = stage.callee(Scenario::CalleeHangsUp, SECONDS);
    second.talk = first.talk;
    let recording = stage.record();
    let call = play(&stage, &node, &first, &second);
    let recorded = Recorded::of(recording);
    let packets = SECONDS * RATE;
    let (at_first, at_second) = (recorded.at_caller(), recorded.at_callee());
    assert_eq!(
        (&*at_first.bad_checksums, &*at_second.bad_checksums),
        (&[][..], &[][..])
    );
    let ips = [stage.caller_sip().ip(), stage.callee_sip().ip()];
    let sent = [from(&at_first, ips[0]), from(&at_second, ips[1])];
    let arrived = [to(&at_second, ips[1]), to(&at_first, ips[0])];
    for (sent, arrived) in sent.iter().zip(&arrived) {
        all_came(sent, arrived, packets, 1);
    }

    let cdrs = cdrs(&node, 2);
    let of = |id: &Value| cdrs.iter().find(|cdr| cdr["id"] == *id);
    let one = of(&call["id"]).unwrap();
    assert_eq!(
        (&one["status"], &one["origin"]),
        (&200.into(), &"node".into())
    );
    assert!(
        one["datapath"].is_null(),
        "its media is the other call's: {one:#}"
    );
    let other = cdrs.iter().find(|cdr| cdr["id"] != call["id"]).unwrap();
    assert_eq!(other["datapath"], datapath, "{other:#}");
    assert_eq!(other["ended_by"], "callee", "{other:#}");
    for side in ["caller", "callee"] {
        assert_eq!(other["media"][side]["packets"], packets, "{other:#}");
    }
    nothing_left(&node);
    assert!(node.stop().unwrap());
}

#[test]
fn audio_goes_once_through_the_node_on_xdp() {
    connects("xdp");
}

#[test]
fn audio_goes_once_through_the_node_on_io_uring() {
    connects("io-uring");
}

#[test]
fn a_second_party_that_is_busy_ends_the_first_ones_call() {
    let Some(stage) = stage("io-uring") else {
        return;
    };
    let node = stage.node();
    let first = stage.caller(Scenario::CalleeDelayedOffer, 0);
    let second = stage.callee(Scenario::CalleeRefuses(486), 0);
    play(&stage, &node, &first, &second);
    let mut statuses: Vec<_> = cdrs(&node, 2)
        .iter()
        .map(|cdr| cdr["status"].as_u64().unwrap())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 486]);
    eventually("nobody is called any more", || {
        node.metrics().unwrap().sum("tandem_calls_active", &[]) == 0.0
    });
}

fn transfers(datapath: &str) {
    let Some(stage) = stage(datapath) else { return };
    let node = stage.node();
    let mut first = stage.caller(Scenario::CalleeMoved, SECONDS);
    let second = Agent {
        talk: first.talk,
        ..stage.callee(Scenario::CalleeRefers, SECONDS)
    };
    let mut third = Agent {
        sip: third(&stage),
        media_port: second.media_port + 100,
        talk: first.talk,
        ..stage.callee(Scenario::CalleeHangsUp, SECONDS)
    };
    if let Media::Pcap(parts) = &mut third.media {
        // What nobody else sends.
        parts.remove(0);
    }
    first.talk = Duration::ZERO;
    let folder = stage.folder.path();
    let next = third.start(Some(stage.bed.callee()), folder).unwrap();
    let recording = stage.record();
    play(&stage, &node, &first, &second);
    let next = next.finish(Duration::from_secs(20), &Interrupt::default());
    assert!(next.unwrap().all_well(1), "{}", node.log());
    let recorded = Recorded::of(recording);
    let (at_first, at_others) = (recorded.at_caller(), recorded.at_callee());
    let ips = [stage.caller_sip().ip(), stage.callee_sip().ip()];
    let sent = [from(&at_first, ips[0]), from(&at_others, ips[1])];
    let arrived = [to(&at_others, ips[1]), to(&at_first, ips[0])];
    // Twice as much each way: with the one, and then with the other.
    for (sent, arrived) in sent.iter().zip(&arrived) {
        all_came(sent, arrived, 2 * SECONDS * RATE, 2);
    }
    let cdrs = cdrs(&node, 3);
    let mut causes: Vec<_> = cdrs.iter().map(|cdr| cdr["cause"].to_string()).collect();
    causes.sort_unstable();
    assert_eq!(causes, ["\"bye\"", "\"bye\"", "\"transfer\""], "{cdrs:#?}");
    nothing_left(&node);
    assert!(node.stop().unwrap());
}

#[test]
fn a_party_that_the_other_one_transfers_talks_to_somebody_else_on_xdp() {
    transfers("xdp");
}

#[test]
fn a_party_that_the_other_one_transfers_talks_to_somebody_else_on_io_uring() {
    transfers("io-uring");
}
