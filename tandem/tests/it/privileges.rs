//! What a node that is started as root has of it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use crate::{common::output, node::Node};

/// A number of a process's status in hexadecimal digits, such as `CapEff`.
fn capabilities(process: &str, set: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(set));
    let line = line.and_then(|line| line.strip_prefix(':')).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// Whether this test can say anything: as root alone.
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let is_root = uids.unwrap().split_whitespace().nth(1) == Some("0");
    if !is_root {
        println!("skipped: only root has anything to drop");
    }
    is_root
}

/// The bytes that the UDP sockets at a port may receive into, as the kernel counts.
fn receive_buffers(port: u16) -> Vec<u64> {
    let filter = format!("sport = :{port}");
    let listed = Command::new("ss").args(["-Hulnm", &filter]).output();
    let listed = listed.unwrap_or_else(|error| panic!("cannot start ss (iproute2): {error}"));
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let numbers = text.split("skmem:(").skip(1).filter_map(|socket| {
        let field = socket
            .split(',')
            .find_map(|field| field.strip_prefix("rb"))?;
        field.parse().ok()
    });
    numbers.collect()
}

#[test]
fn sip_sockets_have_room_for_bursts_that_the_process_could_not_take_any_more() {
    const WANTED: u64 = 8 << 20;
    const NET_ADMIN: u64 = 1 << 12;
    if !is_root() {
        return;
    }
    let node = Node::start();
    assert_eq!(capabilities(&node.process.pid().to_string(), "CapEff"), 0);
    let most = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    let most: u64 = most.trim().parse().unwrap();
    // In a container root may have less than all.
    let given = match capabilities("self", "CapEff") & NET_ADMIN {
        0 => WANTED.min(most),
        _ => WANTED,
    };
    let buffers = receive_buffers(node.sip);
    assert!(!buffers.is_empty());
    // The kernel counts twice what it gives.
    assert!(
        buffers.iter().all(|bytes| *bytes == 2 * given),
        "{buffers:?}"
    );
}

#[test]
fn a_file_that_the_user_cannot_read_again_is_told_at_the_start() {
    if !is_root() {
        return;
    }
    let node = Node::start_by(|text| {
        let line = text.lines().find(|line| line.starts_with("data_dir = "));
        let data = line.and_then(|line| line.split('"').nth(1)).unwrap();
        let folder = Path::new(data).parent().unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(
            folder.join("tandem.toml"),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        text.replacen("[node]\n", "[node]\nuser = \"nobody\"\n", 1)
    });
    let path = node.path();
    let refused = node.ask(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{}", output(&refused));
    node.process.signal("TERM");
    let ended = node.process.finish();
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    let told = format!("user nobody cannot read {}", path.display());
    assert!(log.contains(&told) && log.contains("chmod g+r"), "{log}");
    let first = log.lines().position(|line| line.contains(&told));
    let up = log
        .lines()
        .position(|line| line.contains("signaling is up"));
    assert!(first < up, "{log}");
}
