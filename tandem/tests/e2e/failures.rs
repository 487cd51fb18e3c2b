//! Calls that come to nothing, and trunks whose first host does not work.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use loadtest::sipp::{Agent, Scenario};

use crate::stage::{Recorded, Stage, all_well, cdrs, nothing_left};

#[test]
fn the_caller_cancels() {
    let Some(stage) = Stage::xdp() else { return };
    let node = stage.node();
    let caller = stage.caller(Scenario::CallerCancels, 0);
    let callee = stage.callee(Scenario::CalleeRings, 0);
    all_well(&stage.play(&caller, &callee), 1, &node);
    assert_eq!(cdrs(&node, 1)[0]["status"], 487);
    nothing_left(&node);
}

#[test]
fn the_callee_never_answers() {
    let Some(mut stage) = Stage::xdp() else {
        return;
    };
    stage.config.ring_timeout = 3;
    let node = stage.node();
    let caller = stage.caller(Scenario::CallerRefused(408), 0);
    // It takes the node's CANCEL, or its scenario fails.
    let callee = stage.callee(Scenario::CalleeRings, 0);
    let begun = Instant::now();
    all_well(&stage.play(&caller, &callee), 1, &node);
    assert!(begun.elapsed() >= Duration::from_secs(3));
    let cdr = &cdrs(&node, 1)[0];
    assert_eq!(cdr["status"], 408, "{cdr:#}");
    assert!(cdr["answered"].is_null(), "{cdr:#}");
    nothing_left(&node);
}

#[test]
fn the_callee_is_busy() {
    let Some(stage) = Stage::xdp() else { return };
    let node = stage.node();
    let caller = stage.caller(Scenario::CallerRefused(486), 0);
    let callee = stage.callee(Scenario::CalleeRefuses(486), 0);
    all_well(&stage.play(&caller, &callee), 1, &node);
    assert_eq!(cdrs(&node, 1)[0]["status"], 486);
    nothing_left(&node);
}

/// Plays a call over a trunk whose first host is `dead`; the second one is the callee.
fn fails_over(stage: &mut Stage, dead: String) {
    stage.config.hosts.insert(0, dead);
    // Timer B is 64 times T1: 3.2 s instead of 32.
    stage.config.t1 = 50;
    let node = stage.node();
    let (caller, callee) = (
        stage.caller(Scenario::Caller, 2),
        stage.callee(Scenario::Callee, 2),
    );
    let recording = stage.record();
    all_well(&stage.play(&caller, &callee), 1, &node);
    Recorded::of(recording).perfect(stage, 1, 100);
    nothing_left(&node);
}

#[test]
fn a_first_host_that_is_silent() {
    let Some(mut stage) = Stage::xdp() else {
        return;
    };
    let ip = stage.callee_sip().ip();
    let bind = || UdpSocket::bind((ip, 5999));
    // It takes everything and says nothing.
    let _silent = stage.bed.callee().enter(bind).unwrap().unwrap();
    let dead = format!("{ip}:5999");
    fails_over(&mut stage, dead);
}

#[test]
fn a_first_host_with_nobody_at_the_port() {
    let Some(mut stage) = Stage::xdp() else {
        return;
    };
    let dead = format!("{}:5999", stage.callee_sip().ip());
    fails_over(&mut stage, dead);
}

#[test]
fn a_first_host_that_does_not_exist() {
    let Some(mut stage) = Stage::xdp() else {
        return;
    };
    fails_over(&mut stage, "10.91.2.99:5060".to_owned());
}

#[test]
fn a_first_host_that_says_503() {
    let Some(mut stage) = Stage::xdp() else {
        return;
    };
    let mut refusing = stage.callee(Scenario::CalleeRefuses(503), 0);
    refusing.sip.set_port(5999);
    refusing.media_port += 1000;
    let dead = refusing.sip.to_string();
    let running = start_alone(&stage, &refusing);
    fails_over(&mut stage, dead);
    let outcome = running.stop(Duration::from_secs(5));
    assert!(outcome.all_well(1), "{outcome:#?}");
}

fn start_alone(stage: &Stage, agent: &Agent) -> loadtest::sipp::Running {
    agent
        .start(Some(stage.bed.callee()), stage.folder.path())
        .unwrap()
}
