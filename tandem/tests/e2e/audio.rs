//! Calls with audio both ways: what arrives is what was sent, on every path.

use loadtest::{
    audio::RATE,
    bed::{Family, Layout},
    node::Node,
    sipp::{Scenario, Transport},
};

use crate::stage::{Recorded, Stage, all_well, cdrs, nothing_left};

const CALLS: u32 = 4;
const SECONDS: u32 = 6;
/// Packets of one direction of a call.
const PACKETS: u64 = (SECONDS * RATE) as u64;

/// Calls over `stage`; returns the node for what else is to be asked of it.
fn carries<'a>(stage: &'a Stage, scenarios: (Scenario, Scenario), over: Transport) -> Node<'a> {
    let node = stage.node();
    let mut caller = stage.caller(scenarios.0, SECONDS);
    let mut callee = stage.callee(scenarios.1, SECONDS);
    for agent in [&mut caller, &mut callee] {
        agent.calls = CALLS;
        agent.transport = over;
    }
    let recording = stage.record();
    all_well(&stage.play(&caller, &callee), CALLS.into(), &node);
    let recorded = Recorded::of(recording);
    recorded.perfect(stage, CALLS as usize, PACKETS);
    // SIPp hears the first call's audio itself.
    assert_eq!(stage.heard(), 2 * u64::from(CALLS - 1) * PACKETS);

    for cdr in cdrs(&node, CALLS as usize) {
        assert_eq!(cdr["status"], 200, "{cdr:#}");
        assert_eq!(cdr["ended_by"], "caller", "{cdr:#}");
        for side in ["caller", "callee"] {
            let media = &cdr["media"][side];
            assert_eq!(media["packets"], PACKETS, "{cdr:#}");
            assert_eq!(media["lost"], 0, "{cdr:#}");
            assert!(
                media["mos"].as_f64().is_some_and(|mos| mos > 4.0),
                "{cdr:#}"
            );
        }
    }
    nothing_left(&node);
    node
}

const ORDINARY: (Scenario, Scenario) = (Scenario::Caller, Scenario::Callee);

/// Expects that the node says it forwarded all, at least 95 % of it on `path`.
fn went_by(node: &Node<'_>, path: &str) {
    let page = node.metrics().unwrap();
    let name = "tandem_media_packets_total";
    let all = page.sum(name, &[("result", "forwarded")]);
    let on_path = page.sum(name, &[("result", "forwarded"), ("path", path)]);
    assert_eq!(page.labels("tandem_datapath_mode", "mode"), [path]);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand packets")]
    let sent = (2 * u64::from(CALLS) * PACKETS) as f64;
    assert_eq!(all, sent);
    assert!(on_path >= 0.95 * sent, "{on_path} of {sent} by {path}");
}

fn by_path(layout: Layout, family: Family, path: &str) {
    let Some(stage) = Stage::new(layout, family, path) else {
        return;
    };
    let node = carries(&stage, ORDINARY, Transport::Udp);
    went_by(&node, path);
    assert!(node.stop().unwrap());
}

const VLANS: Layout = Layout {
    caller_vlan: Some(100),
    callee_vlan: Some(200),
    routed: false,
    core_queues: false,
};

#[test]
fn xdp_ipv4() {
    by_path(Layout::default(), Family::V4, "xdp");
}

#[test]
fn xdp_ipv6() {
    by_path(Layout::default(), Family::V6, "xdp");
}

#[test]
fn xdp_vlan() {
    by_path(VLANS, Family::V4, "xdp");
}

#[test]
fn xdp_vlan_ipv6() {
    by_path(VLANS, Family::V6, "xdp");
}

#[test]
fn xdp_generic_ipv4() {
    by_path(Layout::default(), Family::V4, "xdp-generic");
}

#[test]
fn io_uring_ipv4() {
    by_path(Layout::default(), Family::V4, "io-uring");
}

#[test]
fn io_uring_ipv6() {
    by_path(Layout::default(), Family::V6, "io-uring");
}

#[test]
fn io_uring_vlan() {
    by_path(VLANS, Family::V4, "io-uring");
}

#[test]
fn sockets_ipv4() {
    by_path(Layout::default(), Family::V4, "sockets");
}

#[test]
fn a_tag_on_one_side_only_is_relayed_all_the_same() {
    let one_side = Layout {
        caller_vlan: Some(100),
        ..Layout::default()
    };
    let Some(stage) = Stage::new(one_side, Family::V4, "xdp") else {
        return;
    };
    let node = carries(&stage, ORDINARY, Transport::Udp);
    went_by(&node, "xdp");
}

#[test]
fn sip_over_tcp() {
    let Some(mut stage) = Stage::xdp() else {
        return;
    };
    stage.config.hosts = vec![format!("tcp:{}", stage.callee_sip())];
    carries(&stage, ORDINARY, Transport::Tcp);
}

#[test]
fn delayed_offer() {
    let Some(stage) = Stage::xdp() else { return };
    let scenarios = (Scenario::CallerDelayedOffer, Scenario::CalleeDelayedOffer);
    let node = carries(&stage, scenarios, Transport::Udp);
    went_by(&node, "xdp");
}
