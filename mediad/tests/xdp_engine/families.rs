//! Calls between IPv4 and IPv6.

use super::*;

/// The caller has the bed's family, the callee the other one.
pub(super) async fn a_call_between_the_families_is_on_xdp(bed: &Bed) {
    let engine = start().await;
    let mut alice = bed.party(&bed.caller, 1);
    let mut bob = Bed::party_of(&bed.callee, 2, !bed.v6);
    let info = create(&engine, &alice, &bob).await;
    assert_ne!(info.a.rtp.is_ipv6(), info.b.rtp.is_ipv6());
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let before = stats(&engine).await;
    talk(&mut alice, &mut bob, &info, 50);
    let after = stats(&engine).await;
    assert_eq!(after.path, Path::Xdp);
    assert_eq!(after.from_a.packets_xdp - before.from_a.packets_xdp, 50);
    assert_eq!(after.from_b.packets_xdp - before.from_b.packets_xdp, 50);
    assert_eq!((after.from_a.lost, after.from_b.lost), (0, 0));
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    for _ in 0..3 {
        alice.rtcp.send_to(&report, info.a.rtcp).unwrap();
        assert_eq!(receive(&bob.rtcp), (report.to_vec(), info.b.rtcp));
        bob.rtcp.send_to(&report, info.b.rtcp).unwrap();
        assert_eq!(receive(&alice.rtcp), (report.to_vec(), info.a.rtcp));
    }

    // Over a crash too: a slot says the family of each side.
    tokio::task::spawn_blocking(move || engine.abandon())
        .await
        .unwrap();
    talk(&mut alice, &mut bob, &info, 5);
    let engine = start().await;
    talk(&mut alice, &mut bob, &info, 5);
    let adopted = stats(&engine).await;
    assert_eq!(adopted.path, Path::Xdp);
    assert_eq!(adopted.from_a.packets, after.from_a.packets + 10);
    assert_eq!(adopted.from_b.source, Some(bob.rtp.local_addr().unwrap()));
    assert_eq!(create(&engine, &alice, &bob).await, info);
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    engine.stop().await;
}

/// There the kernel makes the room itself.
pub(super) async fn the_families_meet_in_generic_mode_too(bed: &Bed) {
    let engine = start_on("xdp-generic", "").await;
    let mut alice = bed.party(&bed.caller, 1);
    let mut bob = Bed::party_of(&bed.callee, 2, !bed.v6);
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let before = stats(&engine).await;
    talk(&mut alice, &mut bob, &info, 20);
    let after = stats(&engine).await;
    assert_eq!(after.path, Path::XdpGeneric);
    assert_eq!(after.from_a.packets_xdp - before.from_a.packets_xdp, 20);
    assert_eq!(after.from_b.packets_xdp - before.from_b.packets_xdp, 20);
    engine.stop().await;
}

/// Without UDP checksums, which IPv6 must have, the program cannot carry what comes over IPv4: the shard does, and the
/// call's path says so.
pub(super) async fn what_the_program_passes_is_the_shards_call(bed: &Bed) {
    let engine = start().await;
    let mut alice = Bed::party_of(&bed.caller, 1, false);
    let bob = Bed::party_of(&bed.callee, 2, true);
    send_no_checksums(&alice.rtp);
    let info = create(&engine, &alice, &bob).await;
    let start = Instant::now();
    let (mut last, mut pause) = (start, Duration::ZERO);
    loop {
        let sent = alice.send(info.a.rtp);
        pause = pause.max(last.elapsed());
        last = Instant::now();
        assert_eq!(receive(&bob.rtp), (sent, info.b.rtp));
        let now = stats(&engine).await;
        assert_eq!(now.from_a.packets_xdp, 0);
        if alice.sequence > 30 && now.path == Path::IoUring {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(3), "{now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The first that the shard counts by itself again.
    alice.send(info.a.rtp);
    receive(&bob.rtp);
    let now = stats(&engine).await;
    assert_eq!(now.from_a.packets, u64::from(alice.sequence));
    assert_eq!(now.from_a.lost, 0);
    let gap = Duration::from_millis(now.from_a.longest_gap_ms.into());
    assert!(gap < pause + Duration::from_millis(40), "{gap:?} {pause:?}");
    engine.stop().await;
}

#[expect(unsafe_code, reason = "std has no SO_NO_CHECK")]
fn send_no_checksums(socket: &UdpSocket) {
    use std::os::fd::AsRawFd as _;
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, alive through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            libc::socklen_t::try_from(size_of_val(&on)).unwrap(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
