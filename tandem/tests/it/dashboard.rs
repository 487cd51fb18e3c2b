//! The dashboard in Debian's Chromium, driven by Playwright as a person would.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{common::output, node::Node};

/// The folder that `scripts/setup.sh test` has put Playwright into; `None` where this machine has none.
fn playwright() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("playwright");
    let node = Command::new("node").arg("--version").output();
    let there = node.is_ok_and(|node| node.status.success())
        && folder.join("node_modules/playwright-core").is_dir()
        && Path::new("/usr/bin/chromium").exists();
    if !there {
        let why = "Node.js, Chromium or Playwright is not there: run scripts/setup.sh test";
        assert!(env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    there.then_some(folder)
}

#[test]
fn a_person_sees_calls_ends_one_and_edits_users() {
    let Some(playwright) = playwright() else {
        return;
    };
    let node = Node::start();
    let answer = node.answer(&[]);
    answer.wait_for_udp_traffic();
    let call = node.call(&["--duration", "120"]);
    node.wait_for_state("answered");

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/playwright/dashboard.mjs");
    let pictures = playwright.join("pictures");
    fs::create_dir_all(&pictures).unwrap();
    let mut command = Command::new("node");
    command
        .arg(script)
        .current_dir(&playwright)
        .arg(format!("http://127.0.0.1:{}/", node.api));
    let said = command.arg(node.key()).arg(pictures).output().unwrap();
    assert!(said.status.success(), "{}", output(&said));
    for ended in [call, answer] {
        ended.finish();
    }
    let log = node.rest(
        &node.key(),
        "GET",
        "/v1/audit?kind=calls",
        &serde_json::Value::Null,
    );
    assert_eq!(log.1["items"][0]["action"], "hang-up");
}
