//! The whole daemon behind its Unix socket.

use control::channel::Notice;
use control::{Client, Endpoint};
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn an_engine_that_is_part_of_a_node_drains_and_does_not_end_by_it() {
    let bed = Bed::new("sockets").await;
    bed.create(1, None, None).await;
    let order = |on, exit| {
        Request::Drain(Drain {
            on,
            exit,
            limit_s: 0,
        })
    };
    let refused = bed.ask(order(true, true)).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::Conflict);
    assert!(refused.message.contains("tandem drain"), "{refused:?}");
    let told = bed.ask(order(true, false)).await.unwrap();
    assert!(matches!(told, Response::Status(status) if status.draining && status.sessions == 1));
    assert_eq!(
        bed.engine.admits(session(2)).unwrap_err().code,
        FaultCode::Unavailable
    );
    // A call that is up gets further streams, which may be asked for again; one that is not gets none.
    let beside = |known, id| {
        let leg = || Leg {
            family: Family::V4,
            port: None,
            remote: None,
            muted: false,
            handling: Handling::default(),
        };
        let create = Create {
            id: session(id),
            owner: "test".to_owned(),
            a: leg(),
            b: leg(),
            apart: false,
        };
        bed.ask(Request::Beside(session(known), create))
    };
    let refused = beside(9, 3).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::Unavailable);
    assert!(matches!(beside(1, 3).await, Ok(Response::Session(_))));
    bed.ask(Request::Delete(session(1))).await.unwrap();
    assert!(matches!(beside(1, 3).await, Ok(Response::Session(_))));
    assert!(beside(1, 4).await.is_err());
    bed.ask(order(false, false)).await.unwrap();
    bed.create(2, None, None).await;
}

#[tokio::test]
async fn an_ordered_end_is_taken_back_until_it_was_told() {
    let bed = Bed::new("sockets").await;
    bed.engine.set_alone();
    bed.create(1, None, None).await;
    let order = |on, exit| {
        bed.ask(Request::Drain(Drain {
            on,
            exit,
            limit_s: 0,
        }))
    };
    let ends = || tokio::time::timeout(Duration::from_millis(400), bed.engine.drained());
    order(true, true).await.unwrap();
    order(false, false).await.unwrap();
    bed.ask(Request::Delete(session(1))).await.unwrap();
    assert!(ends().await.is_err(), "it was taken back");
    // Another one's drain without an end is no word against it.
    order(true, true).await.unwrap();
    order(true, false).await.unwrap();
    assert!(ends().await.is_ok());
    let refused = order(false, false).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::Unavailable);
    assert!(refused.message.contains("ends just now"), "{refused:?}");
    assert!(bed.engine.admits(session(2)).is_err());
}

#[tokio::test]
async fn a_client_on_the_unix_socket_pipelines_and_hears_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("media.sock");
    let first = free_ports(80);
    let text = format!(
        "[media]\nports = \"{first}-{}\"\ncontrol = \"unix:{}\"\ndatapath = \"io-uring\"\n\
         metrics = \"127.0.0.1:0\"\n",
        first + 79,
        path.display()
    );
    let config = Config::parse(&text, []).unwrap().config;
    let (order, orders) = tokio::sync::mpsc::unbounded_channel();
    let changed = Config::parse(
        &format!("{text}timeout = 7\nmetrics = \"127.0.0.1:1\"\n").replacen(
            "metrics = \"127.0.0.1:0\"\n",
            "",
            1,
        ),
        [],
    );
    let read = Mutex::new(vec![
        Ok(changed.unwrap().config),
        Err(vec!["a".to_owned(), "b".to_owned()]),
    ]);
    let around = crate::Around {
        listener: None,
        reread: Box::new(move || read.lock().unwrap().pop().unwrap()),
        orders,
        shutdown: CancellationToken::new(),
    };
    let daemon = tokio::spawn(async move { crate::run(&config, around).await });

    let client = Client::<Media>::connect(Endpoint::Unix(path));
    let mut notices = client.notices();
    let (alice, bob) = (Party::new(1), Party::new(2));
    let create = |id| {
        Request::Create(Create {
            id: session(id),
            owner: "test".into(),
            a: Leg {
                family: Family::V4,
                port: None,
                remote: Some(alice.described()),
                muted: false,
                handling: Handling::default(),
            },
            b: Leg {
                family: Family::V4,
                port: None,
                remote: Some(bob.described()),
                muted: false,
                handling: Handling::default(),
            },
            apart: false,
        })
    };
    // Ten sessions, each asked for twice, all at once.
    let requests = (0..20).map(|n| client.request(create(n / 2)));
    let answers = futures_util::future::join_all(requests).await;
    let infos: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Response::Session(info) => info,
            other => panic!("{other:?}"),
        })
        .collect();
    for pair in infos.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    let Response::Status(status) = client.request(Request::Status).await.unwrap() else {
        panic!("a status");
    };
    assert_eq!((status.sessions, status.ports_used), (10, 40));

    alice
        .rtp
        .send_to(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], infos[0].a.rtp)
        .unwrap();
    bob.receive();
    let source = alice.address();
    let learned = Event::Learned {
        id: infos[0].id,
        side: Side::A,
        source,
    };
    let mut heard = false;
    while !heard {
        heard = notices.recv().await.unwrap() == Notice::Event(learned.clone());
    }
    until("the counters are published", async || {
        let Response::Metrics(page) = client.request(Request::Metrics).await.unwrap() else {
            panic!("metrics");
        };
        let forwarded = "tandem_media_packets_total{path=\"io-uring\",result=\"forwarded\"} 1\n";
        page.contains(forwarded) && page.contains("tandem_datapath_mode{mode=\"io-uring\"} 1\n")
    })
    .await;

    // What cannot be used changes nothing, and is told whole.
    let wrong = client.request(Request::Reload).await.unwrap_err();
    assert!(wrong.to_string().contains("a\nb"), "{wrong}");
    let answer = client.request(Request::Reload).await.unwrap();
    let Response::Reloaded(reloaded) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(reloaded.changed, ["media.timeout"]);
    assert_eq!(reloaded.restart, ["media.metrics"]);
    let still = client.request(Request::Query(infos[0].id)).await.unwrap();
    assert!(matches!(still, Response::Stats(stats) if stats.from_a.packets == 1));

    // As by SIGUSR1: what is there goes on, what is new is refused, and the last one's end is the daemon's.
    let drain = Drain {
        on: true,
        exit: true,
        limit_s: 0,
    };
    order.send(crate::Order::Drain(drain)).unwrap();
    until("it drains", async || {
        let status = client.request(Request::Status).await.unwrap();
        matches!(status, Response::Status(status) if status.draining)
    })
    .await;
    let refused = client.request(create(10)).await.unwrap_err();
    assert!(refused.to_string().contains("draining"), "{refused}");
    // Somebody else's drain, which has no end.
    let plain = Drain {
        exit: false,
        ..drain
    };
    client.request(Request::Drain(plain)).await.unwrap();
    let known = client.request(create(9)).await.unwrap();
    assert!(matches!(known, Response::Session(info) if info.id == infos[18].id));
    for info in infos.chunks(2).map(|pair| &pair[0]) {
        assert!(!daemon.is_finished());
        client.request(Request::Delete(info.id)).await.unwrap();
    }
    let gone = async {
        let mut sessions = None;
        loop {
            match notices.recv().await.unwrap() {
                Notice::Event(Event::Ending { sessions: left }) => sessions = Some(left),
                Notice::Disconnected => return sessions,
                _ => {}
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), gone).await;
    assert_eq!(told.expect("it ends by itself"), Some(0));
    // The channel is gone with the engine, and not before.
    assert!(
        UdpSocket::bind(infos[0].a.rtp).is_ok(),
        "the ports are free again"
    );
    daemon.await.unwrap().unwrap();
}
