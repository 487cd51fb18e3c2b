//! The whole daemon behind its Unix socket.

use control::channel::Notice;
use control::{Client, Endpoint};
use tokio_util::sync::CancellationToken;

use super::*;

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
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let daemon = tokio::spawn(async move { crate::run(&config, None, stop).await });

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

    shutdown.cancel();
    daemon.await.unwrap().unwrap();
    assert!(
        UdpSocket::bind(infos[0].a.rtp).is_ok(),
        "the ports are free again"
    );
}
