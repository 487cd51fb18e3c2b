//! Whether a test may load programs and make namespaces.

/// Whether this test can run: it needs root. Without root it is skipped with a word, but not in CI.
pub(crate) fn permitted() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let uids = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap();
    let root = uids.split_whitespace().nth(1) == Some("0");
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    if !root && !ci {
        println!("skipped: loading XDP programs needs root");
    }
    root || ci
}
