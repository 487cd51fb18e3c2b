//! The engine with its XDP datapath, between a caller's and a callee's namespace: from the first
//! packets through a shard to the slots, back again when something changes, and over a crash.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say that it cannot fail"
)]

#[path = "xdp_common/bpffs.rs"]
mod bpffs;
#[path = "xdp_engine/families.rs"]
mod families;
#[path = "xdp_engine/mutated.rs"]
mod mutated;
#[path = "xdp_common/netns.rs"]
mod netns;
#[path = "xdp_engine/numbers.rs"]
mod numbers;
#[path = "xdp_common/permitted.rs"]
mod permission;
#[path = "xdp_engine/process.rs"]
mod process;
#[path = "xdp_engine/recording.rs"]
mod recording;
#[path = "xdp_engine/rtcp.rs"]
mod rtcp;
#[path = "xdp_engine/sources.rs"]
mod sources;
#[path = "xdp_engine/treated.rs"]
mod treated;

use std::{
    net::{SocketAddr, UdpSocket},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use bpffs::private_bpffs;
use control::{
    Config,
    channel::{self, Handler},
    media::*,
};
use families::*;
use mediad::{
    Engine,
    xdp::{ProgramGuard, attach_pass},
};
use netns::Namespace;
use numbers::*;
use permission::permitted;
use prometheus::Registry;
use recording::*;
use rtcp::*;
use sources::*;
use treated::*;

/// Caller - node - callee.
struct Bed {
    node: Namespace,
    caller: Namespace,
    callee: Namespace,
    v6: bool,
    // The kernel drops what XDP sends into a veth pair whose other end has no program.
    _passes: Vec<ProgramGuard>,
}

impl Bed {
    fn new(v6: bool) -> Self {
        private_bpffs("/sys/fs/bpf".as_ref());
        let (node, caller, callee) = (Namespace::new(), Namespace::new(), Namespace::new());
        node.veth("a0", &caller, "far0", 0xa);
        node.veth("b0", &callee, "far0", 0xb);
        let mut passes = Vec::new();
        for (far, near, net) in [(&caller, "a0", 1), (&callee, "b0", 2)] {
            for (namespace, device, host) in [(&node, near, 1), (far, "far0", 9)] {
                namespace.ip(&format!("addr add 198.51.{net}.{host}/24 dev {device}"));
                let v6 = format!("addr add 2001:db8:{net}::{host}/64 dev {device} nodad");
                namespace.ip(&v6);
            }
            far.ip("route add 10.9.9.9 dev far0");
            far.ip(&format!("-6 route add 2001:db8:9::9 via 2001:db8:{net}::1"));
            passes.push(far.enter(|| attach_pass("far0").unwrap()));
        }
        node.ip("addr add 10.9.9.9/32 dev lo");
        node.ip("addr add 2001:db8:9::9/128 dev lo nodad");
        Self {
            node,
            caller,
            callee,
            v6,
            _passes: passes,
        }
    }

    fn party(&self, namespace: &Namespace, net: u8) -> Party {
        Self::party_of(namespace, net, self.v6)
    }

    fn party_of(namespace: &Namespace, net: u8, v6: bool) -> Party {
        let ip = if v6 {
            format!("2001:db8:{net}::9")
        } else {
            format!("198.51.{net}.9")
        };
        let socket = || {
            namespace.enter(|| {
                let socket = UdpSocket::bind((ip.as_str(), 0)).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_secs(6)))
                    .unwrap();
                socket
            })
        };
        Party {
            rtp: socket(),
            rtcp: socket(),
            ssrc: 0x0102_0304,
            sequence: 0,
        }
    }
}

/// A party on its own network, with sockets that stay there.
struct Party {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    ssrc: u32,
    sequence: u16,
}

impl Party {
    fn described(&self) -> Remote {
        Remote {
            rtp: self.rtp.local_addr().unwrap(),
            rtcp: self.rtcp.local_addr().unwrap(),
            rtcp_mux: false,
            sends: true,
            receives: true,
            format: Format {
                payload_type: 0,
                encoding: "PCMU".into(),
                clock_rate: 8000,
                ptime_ms: 20,
            },
            events: Some(EventFormat {
                payload_type: 101,
                clock_rate: 8000,
                audio_rate: 8000,
            }),
            types: Vec::new(),
            more_events: 0,
            secure: false,
        }
    }

    fn leg(&self) -> Leg {
        let remote = self.described();
        Leg {
            family: Family::of(&remote.rtp),
            port: None,
            remote: Some(remote),
            muted: false,
            handling: Handling::default(),
        }
    }

    fn send(&mut self, to: SocketAddr) -> Vec<u8> {
        let packet = self.packet();
        self.rtp.send_to(&packet, to).unwrap();
        packet
    }

    /// The next one of its stream.
    fn packet(&mut self) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend((u32::from(self.sequence) * 160).to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        // No silence, and no two packets alike.
        let first = self.sequence.to_be_bytes()[1];
        packet.extend((0..160).map(|octet: u8| octet.wrapping_add(first) % 100));
        self.sequence += 1;
        packet
    }
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, source) = socket.recv_from(&mut buffer).expect("a packet in time");
    (buffer[..len].to_vec(), source)
}

/// Sends `count` packets each way and checks that each arrives as it was.
fn talk(alice: &mut Party, bob: &mut Party, info: &SessionInfo, count: u16) {
    for _ in 0..count {
        let sent = alice.send(info.a.rtp);
        assert_eq!(receive(&bob.rtp), (sent, info.b.rtp));
        let sent = bob.send(info.b.rtp);
        assert_eq!(receive(&alice.rtp), (sent, info.a.rtp));
    }
}

const ID: SessionId = SessionId([7; 16]);

async fn start() -> Engine {
    start_with("").await
}

async fn start_with(more: &str) -> Engine {
    start_on("xdp", more).await
}

async fn start_on(datapath: &str, more: &str) -> Engine {
    let text = format!(
        "[media]\naddress = \"10.9.9.9, 2001:db8:9::9\"\nports = \"30000-30099\"\n\
         interface = \"a0, b0\"\ndatapath = \"{datapath}\"\nshards = 1\n{more}"
    );
    let config = Config::parse(&text, []).unwrap().config;
    let engine = Engine::start(&config, &Registry::new()).await;
    let engine = engine.unwrap();
    let watched = engine.clone();
    tokio::spawn(async move { watched.watch_hops().await });
    engine
}

async fn create(engine: &impl Handler<Media>, alice: &Party, bob: &Party) -> SessionInfo {
    let create = Create {
        id: ID,
        owner: "test".into(),
        a: alice.leg(),
        b: bob.leg(),
        apart: false,
    };
    match engine.handle(Request::Create(create)).await.unwrap() {
        Response::Session(info) => info,
        other => panic!("{other:?}"),
    }
}

async fn stats(engine: &impl Handler<Media>) -> SessionStats {
    match engine.handle(Request::Query(ID)).await.unwrap() {
        Response::Stats(stats) => *stats,
        other => panic!("{other:?}"),
    }
}

/// Talks until both directions are on XDP.
async fn talk_until_offloaded(
    engine: &impl Handler<Media>,
    alice: &mut Party,
    bob: &mut Party,
    info: &SessionInfo,
) {
    let start = Instant::now();
    let mut before = stats(engine).await;
    loop {
        talk(alice, bob, info, 2);
        let now = stats(engine).await;
        let on_xdp = |now: &FlowStats, before: &FlowStats| now.packets_xdp > before.packets_xdp;
        if on_xdp(&now.from_a, &before.from_a) && on_xdp(&now.from_b, &before.from_b) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(3), "{now:?}");
        before = now;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn on_a_node(v6: bool, test: impl AsyncFnOnce(&Bed) + Send) {
    if !permitted() {
        return;
    }
    let bed = Bed::new(v6);
    bed.node.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(&bed));
    });
}

async fn a_call_moves_to_xdp_and_back(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let before = stats(&engine).await;
    talk(&mut alice, &mut bob, &info, 100);
    let after = stats(&engine).await;
    assert_eq!(after.path, Path::Xdp);
    assert_eq!(after.from_a.packets, u64::from(alice.sequence));
    assert_eq!(after.from_a.packets_xdp - before.from_a.packets_xdp, 100);
    assert_eq!((after.from_a.lost, after.from_b.lost), (0, 0));
    assert_eq!(after.from_a.forwarded, u64::from(alice.sequence));

    // A stranger is dropped by the program, and counted there.
    let mut mallory = bed.party(&bed.caller, 1);
    for _ in 0..10 {
        mallory.send(info.a.rtp);
    }
    talk(&mut alice, &mut bob, &info, 1);
    let page = engine.metrics();
    let strangers = "tandem_media_packets_total{path=\"xdp\",result=\"stranger\"} 10\n";
    assert!(page.contains(strangers), "{page}");
    assert!(page.contains("tandem_datapath_mode{mode=\"xdp\"} 1\n"));

    // RTCP has slots of its own.
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    for _ in 0..3 {
        alice.rtcp.send_to(&report, info.a.rtcp).unwrap();
        assert_eq!(receive(&bob.rtcp), (report.to_vec(), info.b.rtcp));
        bob.rtcp.send_to(&report, info.b.rtcp).unwrap();
        assert_eq!(receive(&alice.rtcp), (report.to_vec(), info.a.rtcp));
    }

    // A re-INVITE moves bob.
    let mut carol = bed.party(&bed.callee, 2);
    let modify = Modify {
        id: ID,
        a: None,
        b: Some(carol.described()),
        handling: [None, None],
    };
    engine.handle(Request::Modify(modify)).await.unwrap();
    talk(&mut alice, &mut carol, &info, 1);
    talk_until_offloaded(&engine, &mut alice, &mut carol, &info).await;
    assert_eq!(
        stats(&engine).await.from_b.source,
        Some(carol.rtp.local_addr().unwrap())
    );

    // Alice falls silent and comes back from another port.
    tokio::time::sleep(Duration::from_millis(2600)).await;
    let mut moved = bed.party(&bed.caller, 1);
    for _ in 0..mediad::learn::EVIDENCE {
        moved.send(info.a.rtp);
    }
    receive(&carol.rtp);
    talk_until_offloaded(&engine, &mut moved, &mut carol, &info).await;

    let total = stats(&engine).await;
    let gone = engine.handle(Request::Delete(ID)).await.unwrap();
    let Response::Stats(last) = gone else {
        panic!("{gone:?}");
    };
    assert_eq!(last.from_a.packets, total.from_a.packets);
    assert_eq!(last.from_b.packets_xdp, total.from_b.packets_xdp);
    assert_eq!(last.path, Path::Xdp, "a record says what carried the call");
    engine.stop().await;
    assert!(
        !std::fs::exists("/sys/fs/bpf/tandem/tandem").unwrap(),
        "nothing stays pinned"
    );
}

async fn a_crash_leaves_the_call_flowing_and_the_next_engine_adopts_it(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let before = stats(&engine).await;
    // Not stopped: the shard ends, and nobody takes anything down.
    tokio::task::spawn_blocking(move || engine.abandon())
        .await
        .unwrap();
    talk(&mut alice, &mut bob, &info, 50);

    let engine = start().await;
    assert_eq!(engine.status().adopted, 1);
    talk(&mut alice, &mut bob, &info, 20);
    let adopted = stats(&engine).await;
    assert_eq!(adopted.path, Path::Xdp);
    assert_eq!(adopted.from_a.packets, before.from_a.packets + 70);
    assert_eq!(adopted.from_a.source, Some(alice.rtp.local_addr().unwrap()));
    // Whoever made it tells again what it knows; no packet notices.
    assert_eq!(create(&engine, &alice, &bob).await, info);
    talk(&mut alice, &mut bob, &info, 20);
    let claimed = stats(&engine).await;
    assert_eq!(claimed.from_a.packets, before.from_a.packets + 90);
    assert_eq!(claimed.from_a.lost, 0);
    // It still learns and moves.
    let mut carol = bed.party(&bed.callee, 2);
    let modify = Modify {
        id: ID,
        a: None,
        b: Some(carol.described()),
        handling: [None, None],
    };
    engine.handle(Request::Modify(modify)).await.unwrap();
    talk(&mut alice, &mut carol, &info, 1);
    talk_until_offloaded(&engine, &mut alice, &mut carol, &info).await;
    engine.stop().await;
}

/// Says who is muted, as a client that repeats the session's description.
async fn mute(engine: &Engine, a: bool, b: bool) {
    let answer = engine.handle(Request::Mute(Mute { id: ID, a, b })).await;
    assert!(matches!(answer, Ok(Response::Session(_))), "{answer:?}");
}

/// Nothing of alice's is heard, and all of bob's is.
fn only_bob_is_heard(alice: &mut Party, bob: &mut Party, info: &SessionInfo) {
    for _ in 0..20 {
        alice.send(info.a.rtp);
        let sent = bob.send(info.b.rtp);
        assert_eq!(receive(&alice.rtp), (sent, info.a.rtp));
    }
    bob.rtp.set_nonblocking(true).unwrap();
    let heard = bob.rtp.recv_from(&mut [0; 2048]);
    bob.rtp.set_nonblocking(false).unwrap();
    assert_eq!(heard.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

async fn who_is_muted_on_xdp_stays_so_over_a_crash(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    mute(&engine, true, false).await;
    only_bob_is_heard(&mut alice, &mut bob, &info);
    // The tick does not hand her back to the program.
    tokio::time::sleep(Duration::from_millis(600)).await;
    only_bob_is_heard(&mut alice, &mut bob, &info);
    let muted = stats(&engine).await;
    assert_eq!(muted.from_a.packets, u64::from(alice.sequence));
    assert_eq!(muted.from_a.lost, 0);
    tokio::task::spawn_blocking(move || engine.abandon())
        .await
        .unwrap();

    let engine = start().await;
    assert_eq!(engine.status().adopted, 1);
    only_bob_is_heard(&mut alice, &mut bob, &info);
    let again = Create {
        id: ID,
        owner: "test".into(),
        a: Leg {
            muted: true,
            ..alice.leg()
        },
        b: bob.leg(),
        apart: false,
    };
    engine.handle(Request::Create(again)).await.unwrap();
    only_bob_is_heard(&mut alice, &mut bob, &info);
    mute(&engine, false, false).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    engine.stop().await;
}

/// Telephone keys take a leg off the program while they are pressed, and no longer.
async fn keys_are_pressed_in_a_call_on_xdp(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let before = stats(&engine).await;
    let order = Dtmf {
        id: ID,
        hears: Side::B,
        order: 1,
        digits: "7".into(),
        duration_ms: 60,
        gap_ms: 40,
    };
    engine.handle(Request::Dtmf(order)).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..20 {
        let sent = alice.send(info.a.rtp);
        let heard = receive(&bob.rtp).0;
        assert_eq!(heard[2..4], sent[2..4], "each packet has its number");
        if heard == sent {
            continue;
        }
        let packet = rtp::Packet::parse(&heard).unwrap();
        assert_eq!((packet.payload_type(), packet.ssrc()), (101, 0x0102_0304));
        told.push(rtp::dtmf::TelephoneEvent::parse(packet.payload()).unwrap());
    }
    let durations: Vec<_> = told.iter().map(|event| event.duration).collect();
    assert_eq!(durations, [160, 320, 480, 480, 480]);
    assert!(told.iter().all(|event| event.event == 7));

    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let after = stats(&engine).await;
    assert!(after.from_a.packets_xdp > before.from_a.packets_xdp);
    assert_eq!(after.from_a.lost, 0);
    engine.stop().await;
}

/// Two calls, each the far side of the other: alice - call 1 - call 2 - bob. What one of them sends to the other must
/// not leave the node.
async fn calls_that_are_each_others_party_stay_in_the_node(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let second = SessionId([8; 16]);
    let empty = |party: &Party| Leg {
        remote: None,
        ..party.leg()
    };
    let open = async |id, a, b| {
        let create = Create {
            id,
            owner: "test".into(),
            a,
            b,
            apart: false,
        };
        match engine.handle(Request::Create(create)).await.unwrap() {
            Response::Session(info) => info,
            other => panic!("{other:?}"),
        }
    };
    let first_info = open(ID, alice.leg(), empty(&bob)).await;
    let second_info = open(second, empty(&alice), bob.leg()).await;
    let at = |local: Local| Remote {
        rtp: local.rtp,
        rtcp: local.rtcp,
        ..alice.described()
    };
    for (id, a, b) in [
        (ID, None, Some(at(second_info.a))),
        (second, Some(at(first_info.b)), None),
    ] {
        let modify = Modify {
            id,
            a,
            b,
            handling: [None, None],
        };
        engine.handle(Request::Modify(modify)).await.unwrap();
    }
    let mut exchange = || {
        let sent = alice.send(first_info.a.rtp);
        assert_eq!(receive(&bob.rtp), (sent, second_info.b.rtp));
        let sent = bob.send(second_info.b.rtp);
        assert_eq!(receive(&alice.rtp), (sent, first_info.a.rtp));
    };
    // What comes to a call from the node itself never comes to the program: the shard finds that out.
    let start = Instant::now();
    loop {
        exchange();
        let path = stats(&engine).await.path;
        if start.elapsed() > Duration::from_millis(700) && path == Path::IoUring {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(3), "{path:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let page = engine.metrics();
    let forwarded = "tandem_xdp_packets_total{action=\"forwarded\"";
    let sent = page
        .lines()
        .find(|line| line.starts_with(forwarded) && !line.ends_with(" 0"));
    assert_eq!(sent, None, "the program has sent nothing");
    engine.stop().await;
}

macro_rules! on_both_families {
    ($($test:ident)*) => {$(
        mod $test {
            #[test]
            fn v4() {
                super::on_a_node(false, super::$test);
            }

            #[test]
            fn v6() {
                super::on_a_node(true, super::$test);
            }
        }
    )*};
}

on_both_families! {
    a_call_moves_to_xdp_and_back
    a_crash_leaves_the_call_flowing_and_the_next_engine_adopts_it
    who_is_muted_on_xdp_stays_so_over_a_crash
    a_call_between_the_families_is_on_xdp
    calls_that_are_each_others_party_stay_in_the_node
    keys_are_pressed_in_a_call_on_xdp
    a_call_on_xdp_is_recorded
    a_stranger_that_is_on_xdp_gives_way_to_the_peer
    strict_is_strict_on_xdp
    what_each_source_has_sent_outlives_the_engine
    a_call_crosses_from_inside_to_outside
    a_full_disk_ends_a_recording_and_no_call
    the_round_trip_is_known_on_xdp
    a_neighbour_does_not_keep_the_rtcp_of_a_party
    rtcp_of_parties_that_are_apart_stays
    each_party_hears_one_stream
    what_is_silenced_or_overheard_leaves_xdp_and_comes_back
    reports_are_made_of_calls_that_stay_on_xdp
}

#[test]
fn generic_mode_between_the_families() {
    on_a_node(false, the_families_meet_in_generic_mode_too);
}

#[test]
fn a_call_without_checksums_between_the_families() {
    on_a_node(false, what_the_program_passes_is_the_shards_call);
}
