//! Next hops by netlink, against namespaces whose answer is known.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say that it cannot fail"
)]

#[path = "xdp_common/netns.rs"]
mod netns;
#[path = "xdp_common/permitted.rs"]
mod permission;

use std::{net::IpAddr, process::Command, time::Duration};

use mediad::{
    nexthop::{Changes, NextHopError, Resolver},
    xdp::{Hop, VlanTag},
};
use netns::Namespace;
use permission::permitted;
use tokio::time::{sleep, timeout};

/// The node's and the far end's MAC address on a veth made with `net`.
fn macs(net: u8) -> [[u8; 6]; 2] {
    [[2, 0, 0, 0, net, 1], [2, 0, 0, 0, net, 2]]
}

/// Runs `work` in the namespace, on a tokio runtime of its own.
fn block_on<T: Send>(namespace: &Namespace, work: impl AsyncFnOnce() -> T + Send) -> T {
    namespace.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work())
    })
}

/// Whether the kernel can make VLAN devices: a minimal one cannot.
fn has_vlan_devices(namespace: &Namespace) -> bool {
    let make = [
        "link", "add", "link", "a0", "name", "probe", "type", "vlan", "id", "1",
    ];
    let status = namespace
        .enter(|| Command::new("ip").args(make).output())
        .unwrap()
        .status;
    status.success()
}

async fn ask(resolver: &Resolver, source: &str, destination: &str) -> Result<Hop, NextHopError> {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    resolver.resolve(ip(source), ip(destination)).await
}

/// Asks until the kernel knows the neighbour.
async fn settle(resolver: &Resolver, source: &str, destination: &str) -> Hop {
    for _ in 0..250 {
        match ask(resolver, source, destination).await {
            Ok(hop) => return hop,
            Err(NextHopError::NotYet) => sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{destination}: {error}"),
        }
    }
    panic!("{destination}: the neighbour does not answer");
}

#[test]
fn neighbours_gateways_and_refusals() {
    if !permitted() {
        return;
    }
    let (node, far) = (Namespace::new(), Namespace::new());
    node.veth("a0", &far, "far0", 0xa);
    node.ip("addr add 198.51.100.1/24 dev a0");
    node.ip("addr add 2001:db8::1/64 dev a0 nodad");
    far.ip("addr add 198.51.100.9/24 dev far0");
    far.ip("addr add 2001:db8::9/64 dev far0 nodad");
    node.ip("route add 192.0.2.0/24 via 198.51.100.9");
    node.ip("route add 192.0.3.0/24 via inet6 2001:db8::9");
    node.ip("route add blackhole 192.0.4.0/24");
    let [source, destination] = macs(0xa);
    block_on(&node, async || {
        let resolver = Resolver::new().unwrap();
        let v4 = "198.51.100.1";
        let first = ask(&resolver, v4, "198.51.100.9").await;
        assert!(matches!(first, Err(NextHopError::NotYet)), "{first:?}");
        for (from, to) in [
            (v4, "198.51.100.9"),
            ("2001:db8::1", "2001:db8::9"),
            (v4, "192.0.2.77"),
            (v4, "192.0.3.77"),
        ] {
            let hop = settle(&resolver, from, to).await;
            assert_eq!((hop.source, hop.destination), (source, destination), "{to}");
            assert_eq!(hop.tags, [None, None], "{to}");
        }
        for to in [v4, "127.0.0.5", "2001:db8::1"] {
            let from = if to.contains(':') { "2001:db8::1" } else { v4 };
            let answer = ask(&resolver, from, to).await;
            assert!(
                matches!(answer, Err(NextHopError::Local)),
                "{to}: {answer:?}"
            );
        }
        for to in ["198.51.100.255", "255.255.255.255", "224.0.0.251"] {
            let answer = ask(&resolver, v4, to).await;
            assert!(
                matches!(
                    answer,
                    Err(NextHopError::NotUnicast | NextHopError::Unreachable)
                ),
                "{to}: {answer:?}"
            );
        }
        for to in ["10.9.8.7", "192.0.4.1", "2001:db8::9"] {
            let answer = ask(&resolver, v4, to).await;
            assert!(
                matches!(answer, Err(NextHopError::Unreachable)),
                "{to}: {answer:?}"
            );
        }
        // Nobody there: never an answer with a wrong address.
        let nobody = ask(&resolver, v4, "198.51.100.77").await;
        assert!(matches!(nobody, Err(NextHopError::NotYet)), "{nobody:?}");
    });
}

#[test]
fn vlan_devices_are_followed_to_the_wire() {
    if !permitted() {
        return;
    }
    let (node, far) = (Namespace::new(), Namespace::new());
    node.veth("a0", &far, "far0", 0xa);
    if !has_vlan_devices(&node) {
        println!("skipped: this kernel has no VLAN devices (8021q)");
        return;
    }
    for (namespace, device, host) in [(&node, "a0", 1), (&far, "far0", 9)] {
        for (net, commands) in [
            (
                1,
                vec![format!("link add link {device} name one type vlan id 100")],
            ),
            (
                2,
                vec![
                    format!("link add link {device} name outer type vlan proto 802.1ad id 200"),
                    "link add link outer name two type vlan id 300".to_owned(),
                ],
            ),
            (
                3,
                vec!["link add link two name three type vlan id 400".to_owned()],
            ),
        ] {
            commands.iter().for_each(|command| namespace.ip(command));
            let name = ["one", "two", "three"][net - 1];
            namespace.ip(&format!("addr add 10.77.{net}.{host}/24 dev {name}"));
        }
        for name in ["one", "outer", "two", "three"] {
            namespace.ip(&format!("link set {name} up"));
        }
    }
    let [source, destination] = macs(0xa);
    block_on(&node, async || {
        let resolver = Resolver::new().unwrap();
        let one = settle(&resolver, "10.77.1.1", "10.77.1.9").await;
        let two = settle(&resolver, "10.77.2.1", "10.77.2.9").await;
        assert_eq!((one.source, one.destination), (source, destination));
        assert_eq!((two.source, two.destination), (source, destination));
        assert_eq!(one.ifindex, two.ifindex);
        assert_eq!(
            one.tags,
            [
                Some(VlanTag {
                    tpid: 0x8100,
                    id: 100
                }),
                None
            ]
        );
        let outer = VlanTag {
            tpid: 0x88a8,
            id: 200,
        };
        let inner = VlanTag {
            tpid: 0x8100,
            id: 300,
        };
        assert_eq!(two.tags, [Some(outer), Some(inner)]);
        let three = ask(&resolver, "10.77.3.1", "10.77.3.9").await;
        assert!(
            matches!(three, Err(NextHopError::TooManyTags { .. })),
            "{three:?}"
        );
    });
}

#[test]
fn changes_are_told() {
    if !permitted() {
        return;
    }
    let (node, far) = (Namespace::new(), Namespace::new());
    node.veth("a0", &far, "far0", 0xa);
    node.ip("addr add 198.51.100.1/24 dev a0");
    node.ip("neigh add 198.51.100.9 lladdr 02:00:00:00:00:77 dev a0 nud permanent");
    block_on(&node, async || {
        let resolver = Resolver::new().unwrap();
        let changes = Changes::subscribe().unwrap();
        let (from, to) = ("198.51.100.1", "198.51.100.9");
        assert_eq!(
            settle(&resolver, from, to).await.destination,
            [2, 0, 0, 0, 0, 0x77]
        );
        // What the links did on coming up may still arrive.
        while timeout(Duration::from_millis(300), changes.changed())
            .await
            .is_ok()
        {}
        node.ip("neigh replace 198.51.100.9 lladdr 02:00:00:00:00:88 dev a0 nud permanent");
        timeout(Duration::from_secs(20), changes.changed())
            .await
            .expect("a change is told");
        assert_eq!(
            settle(&resolver, from, to).await.destination,
            [2, 0, 0, 0, 0, 0x88]
        );
    });
}
