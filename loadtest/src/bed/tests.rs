//! These need root; without it they say so and prove only the error.

use std::{net::UdpSocket, path::Path, time::Duration};

use super::*;

/// A bed, or `None` where the machine does not allow one.
fn bed(layout: Layout) -> Option<Bed> {
    match Bed::new(layout) {
        Ok(bed) => Some(bed),
        Err(error @ (BedError::NotPermitted | BedError::NoVlan)) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Sends a datagram from the caller to `to` and back; the source that the other side saw.
fn crosses(bed: &Bed, far: &Namespace, family: Family, to: IpAddr) -> Option<IpAddr> {
    let open = |space: &Namespace, ip: IpAddr| {
        let socket = space.enter(|| UdpSocket::bind((ip, 0))).unwrap().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        socket
    };
    let receiver = open(far, to);
    let sender = open(bed.caller(), bed.caller_ip(family));
    sender
        .send_to(b"hello", receiver.local_addr().unwrap())
        .unwrap();
    let mut buffer = [0; 16];
    let (_, source) = receiver.recv_from(&mut buffer).ok()?;
    receiver.send_to(b"hello", source).unwrap();
    sender.recv_from(&mut buffer).ok()?;
    Some(source.ip())
}

#[test]
fn both_sides_reach_the_node_and_not_each_other() {
    let Some(bed) = bed(Layout::default()) else {
        return;
    };
    for family in [Family::V4, Family::V6] {
        let caller = bed.caller_ip(family);
        let node = crosses(&bed, bed.node(), family, bed.node_ip(family));
        assert_eq!(node, Some(caller), "{family:?}");
        let callee = crosses(&bed, bed.callee(), family, bed.callee_ip(family));
        assert_eq!(callee, None, "the node must not forward {family:?}");
    }
}

#[test]
fn a_routed_bed_with_vlans_joins_both_sides() {
    let layout = Layout {
        caller_vlan: Some(100),
        callee_vlan: Some(200),
        routed: true,
        ..Layout::default()
    };
    let Some(bed) = bed(layout) else { return };
    for family in [Family::V4, Family::V6] {
        let seen = crosses(&bed, bed.callee(), family, bed.callee_ip(family));
        assert_eq!(seen, Some(bed.caller_ip(family)), "{family:?}");
    }
}

#[test]
fn each_core_has_queues_of_its_own_where_that_is_asked_for() {
    let layout = Layout {
        core_queues: true,
        ..Layout::default()
    };
    let Some(bed) = bed(layout) else { return };
    let seen = crosses(&bed, bed.node(), Family::V4, bed.node_ip(Family::V4));
    assert_eq!(seen, Some(bed.caller_ip(Family::V4)));
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut command = Tool::IP.command();
    command.args(["netns", "exec", bed.node().name(), "cat"]);
    command
        .args((0..cores).map(|core| format!("/sys/class/net/caller0/queues/tx-{core}/xps_cpus")));
    let masks = programs::run(&mut command).unwrap();
    let set: Vec<_> = masks
        .lines()
        .map(|mask| mask.matches(['1', '2', '4', '8']).count())
        .collect();
    assert_eq!(set, vec![1; cores], "{masks}");
}

#[test]
fn a_core_can_be_told_to_receive_for_the_node() {
    let Some(bed) = bed(Layout::default()) else {
        return;
    };
    bed.receive_on(0).unwrap();
    let seen = crosses(&bed, bed.node(), Family::V4, bed.node_ip(Family::V4));
    assert_eq!(seen, Some(bed.caller_ip(Family::V4)));
    for link in bed.node_interfaces() {
        let mut command = Tool::IP.command();
        command.args(["netns", "exec", bed.node().name(), "cat"]);
        command.arg(format!("/sys/class/net/{link}/queues/rx-0/rps_cpus"));
        let mask = programs::run(&mut command).unwrap();
        assert!(mask.trim_end().ends_with('1'), "{mask}");
    }
}

#[test]
fn a_core_is_a_bit_in_words_of_32() {
    assert_eq!(core_mask(0), "1");
    assert_eq!(core_mask(5), "20");
    assert_eq!(core_mask(33), "2,00000000");
}

#[test]
fn the_outer_ends_pass_frames_by_xdp() {
    let Some(bed) = bed(Layout::default()) else {
        return;
    };
    let shown = programs::run(
        bed.caller()
            .command("ip")
            .args(["link", "show", "dev", "eth0"]),
    )
    .unwrap();
    assert!(shown.contains("prog/xdp"), "{shown}");
}

#[test]
fn a_dropped_bed_leaves_no_namespace_and_no_process() {
    let Some(bed) = bed(Layout::default()) else {
        return;
    };
    let name = Path::new("/run/netns").join(bed.node().name());
    assert!(name.exists());
    let mut child = bed.node().command("sleep").arg("60").spawn().unwrap();
    while !bed.node().processes().contains(&child.id()) {
        thread::sleep(Duration::from_millis(10));
    }
    drop(bed);
    assert!(!name.exists());
    assert!(!child.wait().unwrap().success());
}
