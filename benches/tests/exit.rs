//! A bench that cannot run is no bench that did not meet its target.

use std::process::Command;

#[test]
fn a_bench_that_cannot_run_says_so() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut dashboard = Command::new(env!("CARGO_BIN_EXE_dashboard"));
    let done = dashboard.arg("--playwright").arg(nowhere.path()).output();
    let done = done.unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("scripts/setup.sh bench"), "{said}");
    assert!(!said.contains("target was not met"), "{said}");
}
