//! Packets that are relayed, and those that must not be.

use super::*;

on_both_backends! {
    octets_arrive_unchanged_both_ways;
    thousands_of_packets_go_through_a_small_buffer_ring;
    a_stranger_neither_speaks_nor_hears;
    a_peer_behind_a_nat_is_learned;
    a_silent_peer_may_come_back_from_another_port;
    new_sdp_moves_the_peer;
    rtcp_goes_beside_rtp;
    muxed_rtcp_reaches_a_peer_that_does_not_mux;
    v6_and_v4_are_bridged;
    each_party_is_sent_with_the_tos_of_its_leg;
    a_party_that_sends_too_much_is_held_to_its_cap;
    a_peer_that_closes_its_port_does_no_harm;
    hold_by_an_unspecified_address_sends_nowhere;
    who_is_muted_is_received_and_not_heard;
    a_survey_tells_what_is_new_since_the_one_before;
    each_source_has_its_own_figures;
    a_fax_takes_the_place_of_speech;
}

async fn octets_arrive_unchanged_both_ways(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    assert_eq!(info.a.rtp.port() % 2, 0);
    assert_eq!(info.a.rtcp.port(), info.a.rtp.port() + 1);
    for _ in 0..60 {
        let sent = alice.send(info.a.rtp);
        assert_eq!(bob.receive(), (sent, info.b.rtp));
        let sent = bob.send(info.b.rtp);
        assert_eq!(alice.receive(), (sent, info.a.rtp));
    }
    let stats = bed.stats(1).await;
    for (flow, party) in [(&stats.from_a, &alice), (&stats.from_b, &bob)] {
        assert_eq!(
            (flow.packets, flow.forwarded, flow.lost, flow.refused),
            (60, 60, 0, 0)
        );
        assert_eq!(flow.bytes, 60 * 172);
        assert_eq!(flow.source, Some(party.address()));
        // How good depends on when this machine sends them.
        assert!(flow.mos.is_some(), "{flow:?}");
    }
    assert_eq!(stats.path.name(), datapath);
}

/// More packets than there are buffers, in bursts: each is forwarded once, in order.
async fn thousands_of_packets_go_through_a_small_buffer_ring(datapath: &str) {
    let bed = Bed::with(datapath, 40, "rate_cap = 0\n").await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    for _ in 0..200 {
        let burst: Vec<_> = (0..30).map(|_| alice.send(info.a.rtp)).collect();
        for sent in burst {
            assert_eq!(bob.receive().0, sent);
        }
    }
    let stats = bed.stats(1).await;
    assert_eq!((stats.from_a.packets, stats.from_a.lost), (6000, 0));
}

async fn a_stranger_neither_speaks_nor_hears(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    // Another host, before and after the peer is known; it even uses the peer's SSRC.
    let mut mallory = Party::on("127.0.0.66", 1);
    mallory.send(info.a.rtp);
    assert_silent(&bob.rtp);
    for _ in 0..5 {
        let sent = alice.send(info.a.rtp);
        assert_eq!(bob.receive().0, sent);
    }
    bob.send(info.b.rtp);
    alice.receive();
    for _ in 0..20 {
        mallory.send(info.a.rtp);
        mallory.send(info.b.rtp);
    }
    mallory
        .rtcp
        .send_to(&receiver_report(1), info.a.rtcp)
        .unwrap();
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent, "nothing of the stranger before it");
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent);
    assert_silent(&mallory.rtp);
    assert_silent(&bob.rtcp);
    let stats = bed.stats(1).await;
    assert_eq!(stats.from_a.source, Some(alice.address()));
    assert_eq!(
        stats.from_a.refused,
        1 + 20 + 1,
        "each refused packet is counted"
    );
    assert_eq!(stats.from_a.packets, 6);
}

async fn a_peer_behind_a_nat_is_learned(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::on("127.0.0.77", 1), Party::new(2));
    // What alice's SDP says is no place that packets come from.
    let private = Party::new(3);
    let info = bed
        .create(1, Some(private.described()), Some(bob.described()))
        .await;
    let mut ears = bed.listen().await;
    for _ in 0..crate::learn::EVIDENCE - 1 {
        alice.send(info.a.rtp);
    }
    assert_silent(&bob.rtp);
    let sent = bob.send(info.b.rtp);
    assert_eq!(
        private.receive().0,
        sent,
        "until then the SDP's address is served"
    );
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent);
    let learned = Event::Learned {
        id: session(1),
        side: Side::A,
        source: alice.address(),
    };
    until("the event", async || ears.heard().contains(&learned)).await;
}

async fn a_silent_peer_may_come_back_from_another_port(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    alice.send(info.a.rtp);
    bob.receive();
    tokio::time::sleep(Duration::from_nanos(crate::learn::SILENCE)).await;
    let mut moved = Party::new(9);
    let burst: Vec<_> = (0..crate::learn::EVIDENCE)
        .map(|_| moved.send(info.a.rtp))
        .collect();
    assert_eq!(bob.receive().0, *burst.last().unwrap());
    let next = moved.send(info.a.rtp);
    assert_eq!(bob.receive().0, next);
    assert_eq!(bed.stats(1).await.from_a.source, Some(moved.address()));
}

async fn new_sdp_moves_the_peer(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    alice.send(info.a.rtp);
    bob.receive();
    bob.send(info.b.rtp);
    alice.receive();
    let mut carol = Party::new(3);
    bed.modify(1, None, Some(carol.described())).await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(
        carol.receive(),
        (sent, info.b.rtp),
        "at once, and from the same port"
    );
    bob.send(info.b.rtp);
    assert_silent(&alice.rtp);
    let sent = carol.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent);
    assert_silent(&bob.rtp);
    // The same description again changes nothing.
    bed.modify(1, Some(alice.described()), Some(carol.described()))
        .await;
    assert_eq!(bed.stats(1).await.from_b.source, Some(carol.address()));
}

async fn rtcp_goes_beside_rtp(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let report = receiver_report(1);
    alice.rtcp.send_to(&report, info.a.rtcp).unwrap();
    assert_eq!(receive(&bob.rtcp), (report, info.b.rtcp));
    let report = receiver_report(2);
    bob.rtcp.send_to(&report, info.b.rtcp).unwrap();
    assert_eq!(receive(&alice.rtcp), (report, info.a.rtcp));
    alice.rtcp.send_to(b"not rtcp at all", info.a.rtcp).unwrap();
    assert_silent(&bob.rtcp);
}

async fn muxed_rtcp_reaches_a_peer_that_does_not_mux(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.muxing()), Some(bob.described()))
        .await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    let report = receiver_report(1);
    alice.rtp.send_to(&report, info.a.rtp).unwrap();
    assert_eq!(receive(&bob.rtcp), (report, info.b.rtcp));
    let report = receiver_report(2);
    bob.rtcp.send_to(&report, info.b.rtcp).unwrap();
    assert_eq!(receive(&alice.rtp), (report, info.a.rtp));
    assert_eq!(
        bed.stats(1).await.from_a.packets,
        1,
        "RTCP is not counted as RTP"
    );
}

async fn v6_and_v4_are_bridged(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::on("::1", 1), Party::new(2));
    let leg = |party: &Party| Leg {
        family: Family::of(&party.address()),
        port: None,
        remote: Some(party.described()),
        muted: false,
        handling: Handling::default(),
    };
    let create = Create {
        id: session(1),
        owner: String::new(),
        a: leg(&alice),
        b: leg(&bob),
        apart: false,
    };
    let info = bed.create_with(create).await.unwrap();
    assert!(info.a.rtp.is_ipv6() && info.b.rtp.is_ipv4());
    for _ in 0..10 {
        let sent = alice.send(info.a.rtp);
        assert_eq!(bob.receive(), (sent, info.b.rtp));
        let sent = bob.send(info.b.rtp);
        assert_eq!(alice.receive(), (sent, info.a.rtp));
    }
}

/// By the order, or by the configuration; connected sockets too, and again when it is changed.
async fn each_party_is_sent_with_the_tos_of_its_leg(datapath: &str) {
    let bed = Bed::with(datapath, 40, "tos = 104\n").await;
    let (mut alice, mut bob) = (Party::on("::1", 1), Party::new(2));
    let leg = |party: &Party, tos| Leg {
        family: Family::of(&party.address()),
        port: None,
        remote: Some(party.described()),
        muted: false,
        handling: Handling {
            tos,
            ..Handling::default()
        },
    };
    let create = Create {
        id: session(1),
        owner: String::new(),
        a: leg(&alice, None),
        b: leg(&bob, Some(0xb8)),
        apart: false,
    };
    let info = bed.create_with(create).await.unwrap();
    for socket in [&alice.rtp, &bob.rtp] {
        hear_tos(socket);
    }
    let mut exchange = |to_alice: u8, to_bob: u8| {
        for _ in 0..3 {
            alice.send(info.a.rtp);
            assert_eq!(receive_tos(&bob.rtp), to_bob);
            bob.send(info.b.rtp);
            assert_eq!(receive_tos(&alice.rtp), to_alice);
        }
    };
    exchange(104, 0xb8);
    for (tos, heard) in [(Some(0x2c), 0x2c), (Some(0), 0), (None, 104)] {
        let modify = Modify {
            id: session(1),
            a: None,
            b: None,
            handling: [
                None,
                Some(Handling {
                    tos,
                    ..Handling::default()
                }),
            ],
        };
        bed.ask(Request::Modify(modify)).await.unwrap();
        exchange(104, heard);
    }
}

/// One packet each 20 ms, and a second's worth at once.
async fn a_party_that_sends_too_much_is_held_to_its_cap(datapath: &str) {
    let bed = Bed::with(datapath, 40, "rate_cap = 1\n").await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    for _ in 0..150 {
        alice.send(info.a.rtp);
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let stats = loop {
        let stats = bed.stats(1).await;
        if stats.from_a.packets + stats.from_a.refused == 150 {
            break stats;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    // Those of the time that it took are among them.
    assert!((50..120).contains(&stats.from_a.packets), "{stats:?}");
    assert_eq!(stats.from_a.forwarded, stats.from_a.packets);
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent, "the other party is not concerned");
}

pub(super) fn hear_tos(socket: &UdpSocket) {
    let socket2 = socket2::SockRef::from(socket);
    if socket.local_addr().unwrap().is_ipv6() {
        socket2.set_recv_tclass_v6(true).unwrap();
    } else {
        socket2.set_recv_tos_v4(true).unwrap();
    }
}

/// The TOS byte or traffic class of the next packet.
#[expect(unsafe_code, reason = "std shows no control messages")]
pub(super) fn receive_tos(socket: &UdpSocket) -> u8 {
    use std::os::fd::AsRawFd as _;
    let (mut data, mut control) = ([0_u8; 2048], [0_u64; 16]);
    let mut vector = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: a header of zeros has no name, no vector and no control messages.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: the header points to memory that lives through the call, aligned for control messages.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    assert!(got > 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has filled the header in.
    let message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    assert!(!message.is_null(), "a control message");
    // SAFETY: it is within `control`, and its first octet of data is the byte in both families (little-endian).
    unsafe { *libc::CMSG_DATA(message) }
}

/// The ICMP errors that the kernel reports on a connected socket end no receive for good.
async fn a_peer_that_closes_its_port_does_no_harm(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    alice.send(info.a.rtp);
    bob.receive();
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent);
    let address = bob.address();
    drop(bob);
    for _ in 0..20 {
        alice.send(info.a.rtp);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let back = UdpSocket::bind(address).unwrap();
    back.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = alice.send(info.a.rtp);
    // A pending error may cost this one packet.
    let after = alice.send(info.a.rtp);
    let got = receive(&back).0;
    assert!(got == sent || got == after);
    back.send_to(&sent, info.b.rtp).unwrap();
    assert_eq!(alice.receive().0, sent);
}

async fn hold_by_an_unspecified_address_sends_nowhere(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let held = Remote {
        rtp: "0.0.0.0:4000".parse().unwrap(),
        rtcp: "0.0.0.0:4001".parse().unwrap(),
        ..bob.described()
    };
    bed.modify(1, None, Some(held)).await;
    alice.send(info.a.rtp);
    assert_silent(&bob.rtp);
    bed.modify(1, None, Some(bob.described())).await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
}

fn receiver_report(ssrc: u32) -> Vec<u8> {
    let mut report = Vec::new();
    rtp::rtcp::write_report(ssrc, None, &[], &mut report);
    rtp::rtcp::write_cname(ssrc, "someone@example.test", &mut report);
    report
}

async fn each_source_has_its_own_figures(datapath: &str) {
    let bed = Bed::with(datapath, 40, "rate_cap = 0\n").await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let mut say = |ssrc, packets| {
        alice.restart(ssrc);
        for _ in 0..packets {
            let sent = alice.send(info.a.rtp);
            assert_eq!(bob.receive().0, sent);
        }
    };
    say(1, 60);
    say(7, 30);
    say(1, 10);
    let flow = bed.stats(1).await.from_a;
    let told: Vec<_> = flow
        .sources
        .iter()
        .map(|source| (source.ssrc, source.packets, source.lost))
        .collect();
    // Who comes back is one source.
    assert_eq!(told, [(7, 30, 0), (1, 70, 0)]);
    assert!(flow.sources[1].mos.is_some(), "{flow:?}");
    assert_eq!(flow.sources[0].mos, None, "that is less than a second");
    assert_eq!(flow.other_sources, OtherSources::default());

    // A flood of them is a sum, and nothing is lost of it.
    for ssrc in 100..400 {
        say(ssrc, 1);
    }
    // What was not told is found out on a tick.
    until("the flood is known", async || {
        let flow = bed.stats(1).await.from_a;
        assert!(flow.sources.len() <= 9, "{flow:?}");
        flow.source_count() >= 302
    })
    .await;
    let flow = bed.stats(1).await.from_a;
    let sum: u64 = flow.sources.iter().map(|source| source.packets).sum();
    assert_eq!(sum + flow.other_sources.packets, 400);
    assert_eq!((flow.packets, flow.lost), (400, 0));
}

async fn a_survey_tells_what_is_new_since_the_one_before(datapath: &str) {
    // It talks faster than time goes.
    let bed = Bed::with(datapath, 40, "rate_cap = 0\n").await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let survey = async |ids: &[u8]| {
        let ids = ids.iter().map(|id| session(*id)).collect();
        match bed.ask(Request::Survey(ids)).await.unwrap() {
            Response::Survey(all) => all,
            other => panic!("{other:?}"),
        }
    };
    let mut say = |packets: usize, every: usize| {
        for number in 1..=packets {
            let sent = alice.send(info.a.rtp);
            assert_eq!(bob.receive().0, sent);
            // What is made and not sent is lost.
            if number % every == 0 {
                alice.lose();
            }
        }
    };
    say(100, 5);
    // Those that are not there are left out.
    let [bad] = *survey(&[9, 1]).await else {
        panic!("one session is there");
    };
    assert_eq!((bad.id, bad.from_a.packets), (session(1), 100));
    assert!((18..=20).contains(&bad.from_a.lost), "{bad:?}");
    assert!(bad.from_a.mos.unwrap() < 3.0, "{bad:?}");
    assert_eq!(bad.from_b.mos, None);

    say(100, usize::MAX);
    let mut good = survey(&[1]).await[0];
    assert_eq!(good.from_a.packets, 200);
    // A busy machine sends them at such times that they sound worse: then the next ones are looked at.
    for _ in 0..50 {
        if good.from_a.mos.unwrap() > 4.0 {
            break;
        }
        say(100, usize::MAX);
        good = survey(&[1]).await[0];
    }
    assert!(good.from_a.mos.unwrap() > 4.0, "{good:?}");
    say(10, usize::MAX);
    assert_eq!(
        survey(&[1]).await[0].from_a.mos,
        None,
        "too little has come"
    );
    let many = vec![session(1); MAX_SURVEY + 1];
    let fault = bed.ask(Request::Survey(many)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Invalid);
}

async fn who_is_muted_is_received_and_not_heard(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    bed.mute(1, true, false).await;
    // A new offer changes nothing of it.
    bed.modify(1, Some(alice.described()), Some(bob.described()))
        .await;
    for _ in 0..10 {
        alice.send(info.a.rtp);
        let sent = bob.send(info.b.rtp);
        assert_eq!(alice.receive().0, sent, "who is muted hears the other");
    }
    let report = receiver_report(1);
    alice.rtcp.send_to(&report, info.a.rtcp).unwrap();
    assert_eq!(receive(&bob.rtcp), (report, info.b.rtcp), "RTCP goes on");
    assert_silent(&bob.rtp);
    let stats = bed.stats(1).await;
    let flow = &stats.from_a;
    assert_eq!((flow.packets, flow.forwarded, flow.refused), (11, 1, 0));

    bed.mute(1, true, true).await;
    alice.send(info.a.rtp);
    bob.send(info.b.rtp);
    assert_silent(&alice.rtp);
    assert_silent(&bob.rtp);
    // Told again after signaling has lost it, as the session is there.
    let unmuted = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    assert_eq!(unmuted, info);
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent);
    let fault = bed.ask(Request::Mute(Mute {
        id: session(2),
        a: true,
        b: true,
    }));
    assert_eq!(fault.await.unwrap_err().code, FaultCode::NotFound);
}

/// T.38 over UDPTL, which starts like STUN and has no clock.
async fn a_fax_takes_the_place_of_speech(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    let fax = |party: &Party| Remote {
        format: Format {
            payload_type: 0,
            encoding: String::new(),
            clock_rate: 0,
            ptime_ms: 20,
        },
        events: None,
        ..party.described()
    };
    bed.modify(1, Some(fax(&alice)), Some(fax(&bob))).await;
    let mallory = Party::new(3);
    for sequence in 0..6_u8 {
        // A sequence number, an indicator, and no error recovery.
        let packet = [0, sequence, 1, 2, 0, 0];
        alice.rtp.send_to(&packet, info.a.rtp).unwrap();
        assert_eq!(bob.receive(), (packet.to_vec(), info.b.rtp));
        bob.rtp.send_to(&packet, info.b.rtp).unwrap();
        assert_eq!(alice.receive(), (packet.to_vec(), info.a.rtp));
        mallory.rtp.send_to(&packet, info.a.rtp).unwrap();
    }
    assert_silent(&bob.rtp);
    until("the stranger is refused", async || {
        bed.stats(1).await.from_a.refused == 6
    })
    .await;
    let stats = bed.stats(1).await;
    assert_eq!((stats.from_a.packets, stats.from_b.packets), (7, 6));
    assert_eq!((stats.from_a.lost, stats.from_a.mos), (0, None));
    // A fax is media too, which may be blocked.
    let mut blocked = Handling::default();
    blocked.filter.media = MediaFilter::Drop;
    let (id, handling) = (session(1), [Some(blocked), None]);
    let (a, b) = (None, None);
    let modify = Modify { id, a, b, handling };
    bed.ask(Request::Modify(modify)).await.unwrap();
    let packet = [0, 7, 1, 2, 0, 0];
    alice.rtp.send_to(&packet, info.a.rtp).unwrap();
    bob.rtp.send_to(&packet, info.b.rtp).unwrap();
    assert_eq!(alice.receive(), (packet.to_vec(), info.a.rtp));
    assert_silent(&bob.rtp);
}
