//! The REST API against its own OpenAPI document: schemathesis makes requests of the document, good ones and bad
//! ones, and holds the answers of a whole node against it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::node::Node;

/// Requests of each operation that are made up, beside those that try its bounds.
const EXAMPLES: &str = "3";

/// `scripts/setup.sh test` puts it there.
fn schemathesis() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_tandem")).ancestors().nth(2);
    let program = target?.join("contract/bin/schemathesis");
    let is_there = program.exists();
    assert!(
        is_there || std::env::var_os("CI").is_none(),
        "{} is missing: scripts/setup.sh test",
        program.display()
    );
    is_there.then_some(program)
}

#[test]
fn answers_are_what_the_document_says_whatever_is_asked() {
    let Some(schemathesis) = schemathesis() else {
        eprintln!("skipped: scripts/setup.sh test installs schemathesis");
        return;
    };
    let node = Node::start_by(|text| text.replace("[api]", "[api]\nrequests = 1000000"));
    // A probe of the trunk waits for nobody.
    let _callee = node.answer(&[]);
    let run = Command::new(schemathesis)
        .arg("run")
        .arg(format!("http://127.0.0.1:{}/openapi.json", node.api))
        .args(["--header", &format!("Authorization: Bearer {}", node.key())])
        // A stream has no end.
        .args(["--exclude-path", "/v1/events"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
        .args(["--max-examples", EXAMPLES, "--seed", "1"])
        .args(["--continue-on-failure", "--warnings", "off", "--no-color"])
        .current_dir(node.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert_eq!(node.get("/healthz").0, 200);
    let Node { process, .. } = node;
    process.signal("TERM");
    let ended = process.finish();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert!(!log.contains("panicked"), "{log}");
}
