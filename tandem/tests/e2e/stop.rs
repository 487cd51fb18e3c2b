//! Calls that the node ends itself.

use std::time::Duration;

use loadtest::{
    process::{Interrupt, Signal},
    sipp::Scenario,
};

use crate::stage::{Recorded, Stage, all_well, cdrs, eventually, finish, nothing_left};

#[test]
fn a_graceful_stop_sends_bye_to_both() {
    let Some(stage) = Stage::xdp() else { return };
    let mut node = stage.node();
    let mut caller = stage.caller(Scenario::CallerWaits, 30);
    let mut callee = stage.callee(Scenario::Callee, 30);
    for agent in [&mut caller, &mut callee] {
        agent.calls = 3;
    }
    let recording = stage.record();
    let parties = stage.start(&caller, &callee);
    eventually("three calls are up", || {
        node.metrics().unwrap().sum("tandem_calls_active", &[]) == 3.0
    });
    std::thread::sleep(Duration::from_secs(1));
    node.process("tandem").unwrap().signal(Signal::TERM);
    all_well(&finish(parties), 3, &node);
    let process = node.process("tandem").unwrap();
    let ended = process.wait(Duration::from_secs(20), &Interrupt::default());
    assert!(ended.unwrap().success(), "{}", node.log());

    let recorded = Recorded::of(recording);
    let node_ip = stage.config.sip.ip();
    for traffic in [recorded.at_caller(), recorded.at_callee()] {
        assert_eq!(traffic.dialogs.len(), 3);
        for (call_id, dialog) in &traffic.dialogs {
            let by_node = dialog.byes.iter().all(|source| source.ip() == node_ip);
            assert!(by_node && !dialog.byes.is_empty(), "{call_id}: {dialog:?}");
        }
    }
}

#[test]
fn silence_ends_a_call() {
    let Some(mut stage) = Stage::xdp() else {
        return;
    };
    stage.config.media_timeout = 3;
    let node = stage.node();
    let caller = stage.caller(Scenario::CallerWaits, 0);
    let callee = stage.callee(Scenario::Callee, 0);
    all_well(&stage.play(&caller, &callee), 1, &node);
    let cdr = &cdrs(&node, 1)[0];
    assert_eq!(cdr["ended_by"], "node", "{cdr:#}");
    assert_eq!(cdr["cause"], "media-timeout", "{cdr:#}");
    nothing_left(&node);
}

#[test]
fn silence_after_audio_on_xdp_ends_a_call() {
    let Some(mut stage) = Stage::xdp() else {
        return;
    };
    stage.config.media_timeout = 3;
    let node = stage.node();
    let caller = stage.caller(Scenario::CallerWaits, 5);
    let callee = stage.callee(Scenario::Callee, 5);
    let recording = stage.record();
    all_well(&stage.play(&caller, &callee), 1, &node);
    // It lived as long as there was audio, which mediad sees only in XDP's counters.
    Recorded::of(recording).perfect(&stage, 1, 250);
    assert_eq!(cdrs(&node, 1)[0]["ended_by"], "node");
    nothing_left(&node);
}

#[test]
fn the_callee_hangs_up() {
    let Some(stage) = Stage::xdp() else { return };
    let node = stage.node();
    let caller = stage.caller(Scenario::CallerWaits, 2);
    let mut callee = stage.callee(Scenario::CalleeHangsUp, 2);
    callee.talk = caller.talk;
    let recording = stage.record();
    all_well(&stage.play(&caller, &callee), 1, &node);
    Recorded::of(recording).perfect(&stage, 1, 100);
    assert_eq!(cdrs(&node, 1)[0]["ended_by"], "callee");
    nothing_left(&node);
}
