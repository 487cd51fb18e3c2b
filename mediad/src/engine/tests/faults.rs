//! What goes wrong, runs out or ends, and how it is told.

use std::collections::HashSet;

use super::*;

on_both_backends! {
    garbage_is_counted_and_goes_nowhere;
    silence_is_reported_once_until_packets_come;
}

async fn garbage_is_counted_and_goes_nowhere(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let oversized = vec![0x80; 3000];
    let garbage: [&[u8]; 6] = [
        b"",
        b"\x80",
        b"\x80\x00\x00\x01",
        &[0xff; 200],
        b"GET / HTTP/1.1",
        &oversized,
    ];
    for datagram in garbage {
        alice.rtp.send_to(datagram, info.a.rtp).unwrap();
    }
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent, "the call goes on");
    let stats = bed.stats(1).await;
    // The oversized one never reaches the session; the connected socket cuts it where io_uring cannot
    // tell, so it is counted as either.
    assert!(
        (5..=6).contains(&stats.from_a.refused),
        "{}",
        stats.from_a.refused
    );
    assert_eq!(stats.from_a.packets, 1);
}

async fn silence_is_reported_once_until_packets_come(datapath: &str) {
    let bed = Bed::with(datapath, 40, "timeout = 1\n").await;
    let mut ears = bed.listen().await;
    let mut alice = Party::new(1);
    let bob = Party::new(2);
    // Not yet answered, and on hold: neither counts as silence.
    bed.create(1, Some(alice.described()), None).await;
    let quiet = |party: &Party| Remote {
        sends: false,
        ..party.described()
    };
    bed.create(2, Some(quiet(&alice)), Some(quiet(&bob))).await;
    let info = bed
        .create(3, Some(alice.described()), Some(bob.described()))
        .await;
    let mut seen = Vec::new();
    let mut listen = async |seen: &mut Vec<Event>, wait: f32| {
        tokio::time::sleep(Duration::from_secs_f32(wait)).await;
        let timeouts = |event: &Event| matches!(event, Event::Timeout { .. });
        seen.extend(ears.heard().into_iter().filter(timeouts));
    };
    let timeout = Event::Timeout {
        id: session(3),
        silent: 1,
    };
    listen(&mut seen, 2.6).await;
    assert_eq!(seen.as_slice(), std::slice::from_ref(&timeout));
    alice.send(info.a.rtp);
    bob.receive();
    listen(&mut seen, 0.6).await;
    assert_eq!(seen.len(), 1, "no silence yet");
    listen(&mut seen, 1.6).await;
    assert_eq!(seen, [timeout.clone(), timeout]);
    assert!(bed.stats(3).await.silent_ms >= 1000);
}

#[tokio::test]
async fn ports_run_out_with_a_clear_word_and_come_back() {
    let bed = Bed::with("io-uring", 8, "").await;
    bed.create(1, None, None).await;
    bed.create(2, None, None).await;
    let fault = bed.try_create(3).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Exhausted);
    assert!(fault.message.contains("[media] ports"), "{fault}");
    assert_eq!(bed.engine.status().ports_used, 8);
    let gone = bed.ask(Request::Delete(session(1))).await.unwrap();
    assert!(matches!(gone, Response::Stats(_)));
    bed.try_create(3).await.unwrap();
}

#[tokio::test]
async fn a_thousand_sessions_leave_nothing_behind() {
    for datapath in ["io-uring", "sockets"] {
        let bed = Bed::with(datapath, 24, "").await;
        let (mut alice, bob) = (Party::new(1), Party::new(2));
        for _ in 0..200 {
            let mut ports = HashSet::new();
            for id in 0..5 {
                let info = bed
                    .create(id, Some(alice.described()), Some(bob.described()))
                    .await;
                for local in [info.a, info.b] {
                    assert!(ports.insert(local.rtp.port()) && ports.insert(local.rtcp.port()));
                }
                if id == 0 {
                    let sent = alice.send(info.a.rtp);
                    assert_eq!(bob.receive().0, sent);
                }
            }
            for id in 0..5 {
                bed.ask(Request::Delete(session(id))).await.unwrap();
            }
        }
        assert_eq!(bed.engine.status().sessions, 0);
        assert_eq!(bed.engine.status().ports_used, 0);
    }
}

#[tokio::test]
async fn a_port_of_somebody_else_is_skipped() {
    let bed = Bed::with("io-uring", 8, "").await;
    let info = bed.create(1, None, None).await;
    // One of the two pairs that are left, taken by another socket on its RTCP port.
    let used = [info.a.rtcp.port(), info.b.rtcp.port()];
    let mut left = (bed.first + 1..bed.first + 8).step_by(2);
    let taken = left.find(|port| !used.contains(port)).unwrap();
    let holder = UdpSocket::bind(("127.0.0.1", taken)).unwrap();
    let fault = bed.try_create(2).await.unwrap_err();
    assert!(fault.message.contains("other processes"), "{fault}");
    drop(holder);
    bed.try_create(2).await.unwrap();
}

#[tokio::test]
async fn a_port_can_be_asked_for() {
    let bed = Bed::with("io-uring", 16, "").await;
    let first = bed.create(1, None, None).await;
    let used = [first.a.rtp.port(), first.b.rtp.port()];
    let mut left = (bed.first..bed.first + 16).step_by(2);
    let wish = left.find(|port| !used.contains(port)).unwrap();
    let leg = |port| Leg {
        family: Family::V4,
        port,
        remote: None,
        muted: false,
        handling: Handling::default(),
    };
    let create = |id, port| Create {
        id: session(id),
        owner: String::new(),
        a: leg(Some(port)),
        b: leg(None),
        apart: false,
    };
    let info = bed.create_with(create(2, wish)).await.unwrap();
    assert_eq!(info.a.rtp.port(), wish);
    let other = bed.create_with(create(3, wish)).await.unwrap();
    assert_ne!(other.a.rtp.port(), wish, "it is taken, so another will do");
}

#[tokio::test]
async fn requests_are_idempotent_by_id() {
    let bed = Bed::new("io-uring").await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed.create(1, Some(alice.described()), None).await;
    let again = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    assert_eq!(info, again);
    assert_eq!(bed.engine.status().ports_used, 4);
    let sent = alice.send(info.a.rtp);
    assert_eq!(
        bob.receive().0,
        sent,
        "what was new in the repetition counts"
    );
    let list = Request::List {
        owner: "test".into(),
    };
    assert_eq!(
        bed.ask(list).await.unwrap(),
        Response::Sessions(vec![session(1)])
    );
    let list = Request::List { owner: "ng".into() };
    assert_eq!(bed.ask(list).await.unwrap(), Response::Sessions(vec![]));
    let delete = || bed.ask(Request::Delete(session(1)));
    assert!(matches!(delete().await.unwrap(), Response::Stats(_)));
    assert_eq!(delete().await.unwrap(), Response::Gone);
    for request in [
        Request::Query(session(1)),
        Request::Modify(Modify {
            id: session(1),
            a: None,
            b: None,
            handling: [None, None],
        }),
    ] {
        assert_eq!(
            bed.ask(request).await.unwrap_err().code,
            FaultCode::NotFound
        );
    }
}

#[tokio::test]
async fn impossible_requests_are_refused() {
    let bed = Bed::new("io-uring").await;
    let info = bed.create(1, None, None).await;
    let party = Party::new(1);
    let with = |rtp| Modify {
        id: session(1),
        a: Some(Remote {
            rtp,
            ..party.described()
        }),
        b: None,
        handling: [None, None],
    };
    // Its own port: packets would go in a circle.
    let circle = bed
        .ask(Request::Modify(with(info.b.rtp)))
        .await
        .unwrap_err();
    assert_eq!(circle.code, FaultCode::Invalid);
    let family = bed
        .ask(Request::Modify(with("[::1]:4000".parse().unwrap())))
        .await
        .unwrap_err();
    assert_eq!(family.code, FaultCode::Invalid);
}

#[tokio::test]
async fn a_refused_request_changes_nothing() {
    let bed = Bed::new("io-uring").await;
    let mut party = Party::new(1);
    let stranger = Remote {
        rtp: "[::1]:4000".parse().unwrap(),
        rtcp: "[::1]:4001".parse().unwrap(),
        ..party.described()
    };
    let leg = |remote| Leg {
        family: Family::V4,
        port: None,
        remote,
        muted: false,
        handling: Handling::default(),
    };
    for (a, b) in [
        (Some(stranger.clone()), None),
        (Some(party.described()), Some(stranger.clone())),
    ] {
        let create = Create {
            id: session(1),
            owner: "test".into(),
            a: leg(a),
            b: leg(b),
            apart: false,
        };
        let fault = bed.create_with(create).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Invalid);
        let status = bed.engine.status();
        assert_eq!((status.sessions, status.ports_used), (0, 0));
    }
    let peer = Party::new(2);
    let info = bed
        .create(1, Some(party.described()), Some(peer.described()))
        .await;
    let elsewhere = Party::new(3);
    let modify = Request::Modify(Modify {
        id: session(1),
        a: Some(stranger),
        b: None,
        handling: [None, None],
    });
    assert_eq!(bed.ask(modify).await.unwrap_err().code, FaultCode::Invalid);
    let half = Request::Modify(Modify {
        id: session(1),
        a: Some(elsewhere.described()),
        b: Some(Remote {
            rtp: "[::1]:4000".parse().unwrap(),
            ..peer.described()
        }),
        handling: [None, None],
    });
    assert_eq!(bed.ask(half).await.unwrap_err().code, FaultCode::Invalid);
    let sent = party.send(info.a.rtp);
    assert_eq!(peer.receive().0, sent, "the session is as it was");
    let stats = bed.stats(1).await;
    assert_eq!(stats.from_a.packets, 1);
}

#[tokio::test]
async fn an_unreachable_datapath_fails_hard() {
    let start = async |text: &str| {
        let config = Config::parse(text, []).unwrap().config;
        Engine::start(&config, &Registry::new()).await
    };
    let error = start("[media]\ndatapath = \"xdp\"\ninterface = \"nosuchdev\"\n")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nosuchdev"), "{error}");
    let engine = start("[media]\ninterface = \"nosuchdev\"\nports = \"11900-11907\"\n")
        .await
        .unwrap();
    let status = engine.status();
    assert!(
        status.stepped_down.contains("nosuchdev"),
        "{}",
        status.stepped_down
    );
    assert!(matches!(status.path, Path::IoUring | Path::Sockets));
}

#[tokio::test]
async fn no_session_is_counted_that_there_is_not() {
    let bed = Bed::with("sockets", 8, "").await;
    let (first, second) = (session(7), session(8));
    let shards = &bed.engine.0.shards;
    let drop_unasked = |id| {
        shards
            .iter()
            .for_each(|shard| shard.gauges.dropped.push(id));
    };
    // Adopted, and dropped by the shard because nobody has claimed it.
    bed.engine.directory().enter(first, 0);
    assert_eq!(bed.engine.left(), 1);
    drop_unasked(first);
    assert_eq!(bed.engine.left(), 0);
    assert_eq!(bed.engine.directory().load.iter().sum::<usize>(), 0);
    // The same, and claimed before the engine has heard of it.
    bed.engine.directory().enter(first, 0);
    bed.create(7, None, None).await;
    drop_unasked(first);
    assert_eq!(bed.engine.left(), 1);
    bed.create(9, None, None).await;
    // Who asks for more than there is, and is gone before the answer.
    let leg = || Leg {
        family: Family::V4,
        port: None,
        remote: None,
        muted: false,
        handling: Handling::default(),
    };
    let create = Create {
        id: second,
        owner: "test".into(),
        a: leg(),
        b: leg(),
        apart: false,
    };
    drop(bed.engine.handle(Request::Create(create)));
    let start = Instant::now();
    while bed.engine.left() != 2 {
        assert!(start.elapsed() < PATIENCE, "it is still counted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
