//! Hold and resume by re-INVITE, in the three ways that are about.

use loadtest::{
    audio::RATE,
    bed::{Family, Layout},
    sipp::{Hold, Scenario},
};

use crate::stage::{Recorded, Stage, all_well, nothing_left};

const SECONDS: u32 = 3;

fn holds(hold: Hold, datapath: &str) {
    let Some(stage) = Stage::new(Layout::default(), Family::V4, datapath) else {
        return;
    };
    let node = stage.node();
    let caller = stage.caller(Scenario::CallerHolds(hold), SECONDS);
    let callee = stage.callee(Scenario::CalleeHeld(hold), SECONDS);
    let recording = stage.record();
    all_well(&stage.play(&caller, &callee), 1, &node);
    let recorded = Recorded::of(recording);
    // What was said before the hold and after it.
    recorded.perfect(&stage, 1, 2 * u64::from(SECONDS * RATE));

    let at_callee = recorded.at_callee();
    let dialog = at_callee.dialogs.values().next().unwrap();
    let told: Vec<&str> = dialog
        .directions
        .iter()
        .filter(|(source, _)| source.ip() == stage.config.sip.ip())
        .map(|(_, direction)| direction.as_str())
        .collect();
    let held = match hold {
        Hold::SendOnly => "sendonly",
        Hold::Inactive => "inactive",
        Hold::ZeroAddress => "sendrecv",
    };
    assert_eq!(told, ["sendrecv", held, "sendrecv"], "offers to the callee");
    nothing_left(&node);
}

#[test]
fn sendonly() {
    holds(Hold::SendOnly, "xdp");
}

#[test]
fn inactive() {
    holds(Hold::Inactive, "xdp");
}

#[test]
fn zero_address() {
    holds(Hold::ZeroAddress, "xdp");
}

#[test]
fn sendonly_on_io_uring() {
    holds(Hold::SendOnly, "io-uring");
}
