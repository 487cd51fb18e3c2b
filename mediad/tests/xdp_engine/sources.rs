//! Whose packets are taken while XDP forwards, and on which address.

use super::*;

/// A stranger of the caller's host that is first, and is on XDP by then, loses the call to the caller's first packet;
/// one that comes later gets nothing; one that takes a silent caller's place loses it again.
pub(super) async fn a_stranger_that_is_on_xdp_gives_way_to_the_peer(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    let mut mallory = bed.party(&bed.caller, 1);
    for _ in 0..mediad::learn::EVIDENCE {
        mallory.send(info.a.rtp);
    }
    receive(&bob.rtp);
    talk_until_offloaded(&engine, &mut mallory, &mut bob, &info).await;
    talk(&mut alice, &mut bob, &info, 1);
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    mallory.send(info.a.rtp);
    talk(&mut alice, &mut bob, &info, 20);
    assert_eq!(
        stats(&engine).await.from_a.source,
        Some(alice.rtp.local_addr().unwrap())
    );

    // Her phone is muted.
    tokio::time::sleep(Duration::from_millis(2600)).await;
    for _ in 0..mediad::learn::EVIDENCE {
        mallory.send(info.a.rtp);
    }
    receive(&bob.rtp);
    talk_until_offloaded(&engine, &mut mallory, &mut bob, &info).await;
    talk(&mut alice, &mut bob, &info, 1);
    mallory.send(info.a.rtp);
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    assert_eq!(
        stats(&engine).await.from_a.source,
        Some(alice.rtp.local_addr().unwrap())
    );
    engine.stop().await;
}

/// By `strict` nobody else is taken, before and after, whatever path packets take.
pub(super) async fn strict_is_strict_on_xdp(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let strict = Handling {
        sources: SourcePolicy::Strict,
        ..Handling::default()
    };
    let create = Create {
        id: ID,
        owner: "test".into(),
        a: Leg {
            handling: strict.clone(),
            ..alice.leg()
        },
        b: Leg {
            handling: strict,
            ..bob.leg()
        },
        apart: false,
    };
    let answer = engine.handle(Request::Create(create)).await.unwrap();
    let Response::Session(info) = answer else {
        panic!("{answer:?}");
    };
    let mut mallory = bed.party(&bed.caller, 1);
    for _ in 0..8 {
        mallory.send(info.a.rtp);
    }
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    // Longer than any other policy waits for.
    tokio::time::sleep(Duration::from_millis(2600)).await;
    for _ in 0..8 {
        mallory.send(info.a.rtp);
    }
    let before = stats(&engine).await;
    talk(&mut alice, &mut bob, &info, 20);
    let after = stats(&engine).await;
    assert_eq!(after.from_a.source, Some(alice.rtp.local_addr().unwrap()));
    assert_eq!(after.from_a.packets_xdp - before.from_a.packets_xdp, 20);
    engine.stop().await;
}

/// Legs on two interfaces, each on the device of its network, and told another address than is bound.
pub(super) async fn a_call_crosses_from_inside_to_outside(bed: &Bed) {
    let (inside, outside) = match bed.v6 {
        false => ("198.51.1.1", "198.51.2.1/203.0.113.7"),
        true => ("2001:db8:1::1", "2001:db8:2::1/2001:db8:77::7"),
    };
    let text = format!(
        "[media]\naddress = \"10.9.9.9, 2001:db8:9::9\"\nports = \"30000-30099\"\ndatapath = \"xdp\"\nshards = 1\n\
         [[media.interfaces]]\nname = \"inside\"\naddress = \"{inside}\"\ndevice = \"a0\"\n\
         [[media.interfaces]]\nname = \"outside\"\naddress = \"{outside}\"\ndevice = \"b0\"\n"
    );
    let config = Config::parse(&text, []).unwrap().config;
    let start = async || {
        let engine = Engine::start(&config, &Registry::new()).await.unwrap();
        let watched = engine.clone();
        tokio::spawn(async move { watched.watch_hops().await });
        engine
    };
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let on = |leg: Leg, name: &str| Leg {
        handling: Handling {
            interface: Some(name.to_owned()),
            ..Handling::default()
        },
        ..leg
    };
    let create = Create {
        id: ID,
        owner: "test".into(),
        a: on(alice.leg(), "inside"),
        b: on(bob.leg(), "outside"),
        apart: false,
    };
    let open = async |engine: &Engine| match engine.handle(Request::Create(create.clone())).await {
        Ok(Response::Session(info)) => info,
        other => panic!("{other:?}"),
    };
    let told = open(&engine).await;
    let (bound, public) = outside.split_once('/').unwrap();
    assert_eq!(told.b.rtp.ip().to_string(), public);
    let mut info = told.clone();
    info.b.rtp.set_ip(bound.parse().unwrap());
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let before = stats(&engine).await;
    talk(&mut alice, &mut bob, &info, 50);
    let after = stats(&engine).await;
    assert_eq!(after.from_a.packets_xdp - before.from_a.packets_xdp, 50);
    assert_eq!(after.from_b.packets_xdp - before.from_b.packets_xdp, 50);

    // The next process finds both legs where they were.
    tokio::task::spawn_blocking(move || engine.abandon())
        .await
        .unwrap();
    talk(&mut alice, &mut bob, &info, 5);
    let engine = start().await;
    assert_eq!(engine.status().adopted, 1);
    assert_eq!(open(&engine).await, told);
    talk(&mut alice, &mut bob, &info, 5);
    engine.stop().await;
}

/// The program tells of a source that has ended, and mediad keeps it where the next one finds it.
pub(crate) async fn what_each_source_has_sent_outlives_the_engine(bed: &Bed) {
    let engine = start_with("rate_cap = 0\n").await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let first = u64::from(alice.sequence);
    alice.ssrc = 2;
    talk(&mut alice, &mut bob, &info, 30);
    let told = until_told(&engine, 2).await;
    assert_eq!(told, [(0x0102_0304, first), (2, 30)]);
    alice.ssrc = 3;
    talk(&mut alice, &mut bob, &info, 20);
    until_told(&engine, 3).await;
    tokio::task::spawn_blocking(move || engine.abandon())
        .await
        .unwrap();

    // What changes while nobody is there is known as a sum.
    alice.ssrc = 4;
    talk(&mut alice, &mut bob, &info, 10);
    let engine = start_with("rate_cap = 0\n").await;
    assert_eq!(engine.status().adopted, 1);
    assert_eq!(create(&engine, &alice, &bob).await, info);
    let start = Instant::now();
    let others = loop {
        let others = stats(&engine).await.from_a.other_sources;
        if others.count != 0 {
            break others;
        }
        assert!(start.elapsed() < Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((others.count, others.packets, others.lost), (1, 30, 0));
    talk(&mut alice, &mut bob, &info, 10);
    alice.ssrc = 5;
    talk(&mut alice, &mut bob, &info, 40);
    let told = until_told(&engine, 4).await;
    assert_eq!(told, [(0x0102_0304, first), (2, 30), (4, 10), (5, 40)]);
    let Response::Stats(last) = engine.handle(Request::Delete(ID)).await.unwrap() else {
        panic!("it was there");
    };
    assert_eq!(last.from_a.packets, first + 110);
    assert_eq!(last.from_a.source_count(), 5);
    assert_eq!(last.from_b.source_count(), 1);
    let page = engine.metrics();
    let apart = "tandem_media_sources_ended_total{told=\"apart\"} 1\n";
    assert!(page.contains(apart), "{page}");
    engine.stop().await;
}

/// Alice's sources with their packets, once so many are known.
async fn until_told(engine: &Engine, count: usize) -> Vec<(u32, u64)> {
    let start = Instant::now();
    loop {
        let sources = stats(engine).await.from_a.sources;
        let packets = sources.iter().map(|source| (source.ssrc, source.packets));
        if sources.len() == count {
            return packets.collect();
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{sources:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
