//! Twilio's library, unmodified but for its base URL, against a whole node.

use std::{path::Path, process::Command};

use crate::{common::output, node::Node};

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn twilios_library_makes_a_call_streams_and_records_it() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let library = target.with_file_name("twilio-python");
    if !library.join("wanted").exists() {
        assert!(
            std::env::var_os("CI").is_none(),
            "Twilio's library is missing: scripts/setup.sh test"
        );
        eprintln!("skipped: scripts/setup.sh test installs Twilio's library");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_by(|text| {
        let recordings = format!("[media]\nrecordings = \"{}\"", folder.path().display());
        let text = text.replace("[media]", &recordings);
        format!(
            "{text}\n[[accounts]]\nsid = \"{ACCOUNT}\"\ntoken = \"{TOKEN}\"\ncalls_per_second = 1\n"
        )
    });
    let answer = node.answer(&["--duration", "30"]);
    answer.wait_for_udp_traffic();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/twilio/rest.py");
    let told = Command::new(library.join("bin/python"))
        .arg(script)
        .arg(format!("http://127.0.0.1:{}", node.api))
        .args([ACCOUNT, TOKEN])
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", output(&told));
    answer.finish();
}
