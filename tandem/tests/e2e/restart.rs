//! mediad dies in the middle of a call.

use std::time::Duration;

use loadtest::{node::Form, process::Signal, sipp::Scenario};

use crate::stage::{Recorded, Stage, all_well, cdrs, eventually, finish, nothing_left};

const SECONDS: u32 = 10;

#[test]
fn audio_flows_while_mediad_is_gone_and_its_successor_adopts_the_call() {
    let Some(stage) = Stage::xdp() else { return };
    let mut node = stage.node_as(Form::Separate);
    let caller = stage.caller(Scenario::Caller, SECONDS);
    let callee = stage.callee(Scenario::Callee, SECONDS);
    let recording = stage.record();
    let parties = stage.start(&caller, &callee);
    eventually("both directions are on XDP", || {
        node.metrics()
            .unwrap()
            .sum("tandem_media_legs_offloaded", &[])
            == 2.0
    });

    let mediad = node.process("mediad").unwrap();
    mediad.signal(Signal::KILL);
    eventually("mediad is gone", || mediad.ended().is_some());
    std::thread::sleep(Duration::from_secs(2));
    node.restart("mediad").unwrap();
    eventually("the session is adopted", || {
        node.metrics()
            .unwrap()
            .sum("tandem_media_sessions_adopted", &[])
            == 1.0
    });

    all_well(&finish(parties), 1, &node);
    let packets = u64::from(SECONDS * loadtest::audio::RATE);
    Recorded::of(recording).perfect(&stage, 1, packets);
    let cdr = &cdrs(&node, 1)[0];
    assert_eq!(cdr["ended_by"], "caller", "{cdr:#}");
    // What XDP counted before, during and after the gap.
    assert_eq!(cdr["media"]["caller"]["packets"], packets, "{cdr:#}");
    nothing_left(&node);
    assert!(node.stop().unwrap());
}

#[test]
fn separate_daemons_make_a_node() {
    let Some(stage) = Stage::xdp() else { return };
    let node = stage.node_as(Form::Separate);
    let (caller, callee) = (
        stage.caller(Scenario::Caller, 2),
        stage.callee(Scenario::Callee, 2),
    );
    let recording = stage.record();
    all_well(&stage.play(&caller, &callee), 1, &node);
    Recorded::of(recording).perfect(&stage, 1, 100);
    cdrs(&node, 1);
    nothing_left(&node);
    assert!(node.stop().unwrap());
}
