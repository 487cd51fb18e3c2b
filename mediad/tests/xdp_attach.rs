//! The program on real interfaces: a caller's, the node's and a callee's namespace, UDP from socket
//! to socket through the node's XDP, restarts in between.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say that it cannot fail"
)]

#[path = "xdp_common/bpffs.rs"]
mod bpffs;
#[path = "xdp_common/netns.rs"]
mod netns;
#[path = "xdp_common/permitted.rs"]
mod permission;

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bpffs::private_bpffs;
use mediad::{
    nexthop::{NextHopError, Resolver},
    xdp::{
        Counter, Counters, Hop, Identity, Mode, Options, ProgramGuard, Route, Slot, Xdp, XdpError,
        attach_pass, is_interface, veth_warning,
    },
};
use netns::Namespace;
use permission::permitted;

const SESSION: [u8; 16] = *b"0123456789abcdef";
const PACKETS: u16 = 20;

/// Caller - node - callee.
struct Bed {
    node: Namespace,
    caller: UdpSocket,
    callee: UdpSocket,
    /// The node's ports that face them.
    to_caller: SocketAddr,
    to_callee: SocketAddr,
    // The kernel drops what XDP sends into a veth pair whose other end has no program.
    _passes: Vec<ProgramGuard>,
    far: [Namespace; 2],
}

impl Bed {
    fn new(v6: bool) -> Self {
        let (node, caller, callee) = (Namespace::new(), Namespace::new(), Namespace::new());
        node.veth("a0", &caller, "far0", 0xa);
        node.veth("b0", &callee, "far0", 0xb);
        let nets = if v6 {
            ["2001:db8:a::", "2001:db8:b::"]
        } else {
            ["198.51.100.", "203.0.113."]
        };
        let prefix = if v6 { 64 } else { 24 };
        for (far, near, net) in [(&caller, "a0", nets[0]), (&callee, "b0", nets[1])] {
            for (namespace, device, host) in [(&node, near, 1), (far, "far0", 9)] {
                let nodad = if v6 { " nodad" } else { "" };
                namespace.ip(&format!(
                    "addr add {net}{host}/{prefix} dev {device}{nodad}"
                ));
            }
        }
        let end = |net: &str, host: u8, port: u16| {
            let ip: IpAddr = format!("{net}{host}").parse().unwrap();
            SocketAddr::new(ip, port)
        };
        let passes = [&caller, &callee].map(|far| far.enter(|| attach_pass("far0").unwrap()));
        Self {
            caller: socket(&caller, end(nets[0], 9, 4000)),
            callee: socket(&callee, end(nets[1], 9, 5000)),
            to_caller: end(nets[0], 1, 20_000),
            to_callee: end(nets[1], 1, 20_002),
            node,
            _passes: passes.into(),
            far: [caller, callee],
        }
    }

    fn attach(&self, mode: Mode, pin_root: Option<&Path>) -> Result<Xdp, XdpError> {
        self.node.enter(|| attach(&["a0", "b0"], mode, pin_root))
    }

    /// Puts both directions of a call in force, with the next hops that netlink tells.
    fn call(&self, xdp: &Xdp) {
        let (caller, callee) = (address(&self.caller), address(&self.callee));
        for (leg, local, peer, source, destination) in [
            (0, self.to_caller, caller, self.to_callee, callee),
            (1, self.to_callee, callee, self.to_caller, caller),
        ] {
            let hop = self
                .node
                .enter(|| resolve(source.ip(), destination.ip()).unwrap());
            let identity = Identity {
                session: SESSION,
                leg,
                rtcp: false,
            };
            let route = Route {
                local,
                peer,
                source,
                destination,
            };
            let slot = Slot::forwarding(identity, &route, &hop, 8_000).unwrap();
            xdp.slots().write(local.port(), &slot);
        }
    }

    /// Sends RTP both ways; whether all of it arrived, as it was and from the right address.
    fn talk(&self, first: u16) -> bool {
        let ways = [
            (&self.caller, self.to_caller, &self.callee, self.to_callee),
            (&self.callee, self.to_callee, &self.caller, self.to_caller),
        ];
        ways.into_iter().all(|(from, to, receiver, source)| {
            (first..first + PACKETS).all(|sequence| {
                let mut packet = vec![0x80, 0];
                packet.extend(sequence.to_be_bytes());
                packet.extend([0, 0, 0, 0, 0, 0, 0, 7]);
                packet.extend([0x55; 160]);
                from.send_to(&packet, to).unwrap();
                let mut received = [0; 2048];
                match receiver.recv_from(&mut received) {
                    Ok((len, from)) => received[..len] == packet && from == source,
                    Err(_) => false,
                }
            })
        })
    }
}

fn attach(interfaces: &[&str], mode: Mode, pin_root: Option<&Path>) -> Result<Xdp, XdpError> {
    Xdp::attach(&Options {
        interfaces: interfaces.iter().map(ToString::to_string).collect(),
        mode,
        node: "test.node".to_owned(),
        pin_root: pin_root.map(Path::to_owned),
    })
}

/// Asks until the kernel knows the neighbour.
fn resolve(source: IpAddr, destination: IpAddr) -> Result<Hop, NextHopError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let resolver = Resolver::new().unwrap();
        let give_up = Instant::now() + Duration::from_secs(5);
        loop {
            match resolver.resolve(source, destination).await {
                Err(NextHopError::NotYet) if Instant::now() < give_up => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                answer => return answer,
            }
        }
    })
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

fn redirected(counters: &Counters) -> u64 {
    counters.of(Counter::RtpRedirect)
}

#[test]
fn audio_flows_from_socket_to_socket() {
    if !permitted() {
        return;
    }
    for v6 in [false, true] {
        for mode in [Mode::Native, Mode::Generic] {
            let name = format!("IPv6 {v6}, {mode}");
            let bed = Bed::new(v6);
            let xdp = bed.attach(mode, None).unwrap();
            assert_eq!(xdp.mode(), mode);
            assert_eq!(xdp.interfaces().len(), 2);
            bed.call(&xdp);
            assert!(bed.talk(1), "{name}: {:?}", counted(&xdp));
            let counters = xdp.counters().unwrap();
            assert_eq!(redirected(&counters), 2 * u64::from(PACKETS), "{name}");
            for port in [bed.to_caller.port(), bed.to_callee.port()] {
                let flow = xdp.flows().read(port);
                assert_eq!(
                    (flow.packets, flow.lost()),
                    (u64::from(PACKETS), 0),
                    "{name}"
                );
            }

            // A stranger's packet gets nowhere, and the call goes on.
            let anywhere = SocketAddr::new(address(&bed.caller).ip(), 0);
            let stranger = socket(&bed.far[0], anywhere);
            stranger.send_to(&[0x80; 172], bed.to_caller).unwrap();
            assert!(bed.talk(100), "{name}: {:?}", counted(&xdp));
            assert_eq!(xdp.counters().unwrap().of(Counter::DropSource), 1, "{name}");
        }
    }
}

#[test]
fn devices_are_those_of_the_network_namespace_and_veths_are_told() {
    if !permitted() {
        return;
    }
    // Neither namespace has a /sys of its own.
    let (node, far) = (Namespace::new(), Namespace::new());
    node.veth("tandem-a0", &far, "far0", 0xa);
    node.enter(|| {
        assert!(is_interface("tandem-a0"));
        assert!(!is_interface("far0"), "it is the other namespace's");
        let warning = veth_warning("tandem-a0").unwrap();
        assert!(warning.contains("gro on tx off"), "{warning}");
        for other in ["lo", "far0", "a-name-that-is-too-long"] {
            assert_eq!(veth_warning(other), None);
        }
    });
}

#[test]
fn both_ends_on_one_link_are_sent_back() {
    if !permitted() {
        return;
    }
    let (node, far) = (Namespace::new(), Namespace::new());
    node.veth("a0", &far, "far0", 0xa);
    node.ip("addr add 198.51.100.1/24 dev a0");
    far.ip("addr add 198.51.100.9/24 dev far0");
    let _pass = far.enter(|| attach_pass("far0").unwrap());
    let mut bed = Bed::new(false);
    bed.caller = socket(&far, "198.51.100.9:4000".parse().unwrap());
    bed.callee = socket(&far, "198.51.100.9:5000".parse().unwrap());
    bed.to_callee = "198.51.100.1:20002".parse().unwrap();
    bed.node = node;
    let xdp = bed
        .node
        .enter(|| attach(&["a0"], Mode::Native, None))
        .unwrap();
    bed.call(&xdp);
    assert!(bed.talk(1), "{:?}", counted(&xdp));
    assert_eq!(
        xdp.counters().unwrap().of(Counter::RtpTx),
        2 * u64::from(PACKETS)
    );
}

#[test]
fn calls_flow_on_while_no_process_is_there_and_the_next_adopts_them() {
    if !permitted() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let work = || {
        private_bpffs(root.path());
        let bed = Bed::new(false);
        let xdp = bed.attach(Mode::Native, Some(root.path())).unwrap();
        assert!(xdp.adopted().is_empty());
        bed.call(&xdp);
        assert!(bed.talk(1), "{:?}", counted(&xdp));
        let slots = xdp.adopted();
        assert_eq!(slots.len(), 2);
        drop(xdp);
        assert!(bed.talk(21), "nobody holds the program, the pins do");

        let xdp = bed.attach(Mode::Native, Some(root.path())).unwrap();
        assert_eq!(xdp.adopted(), slots);
        assert_eq!(
            slots[0].1.identity(),
            Identity {
                session: SESSION,
                leg: 0,
                rtcp: false
            }
        );
        assert_eq!(slots[0].1.route(20_000).destination, address(&bed.callee));
        assert!(bed.talk(41), "{:?}", counted(&xdp));
        let flow = xdp.flows().read(20_000);
        assert_eq!(
            (flow.packets, flow.lost()),
            (3 * u64::from(PACKETS), 0),
            "one flow throughout"
        );
        // A slot written now has another generation than any before.
        xdp.slots().write(20_000, &slots[0].1);
        let generation = xdp.slots().read(20_000).unwrap().generation;
        assert!(slots.iter().all(|(_, slot)| slot.generation != generation));

        xdp.detach().unwrap();
        // The kernel lets go of a link whose pin was removed after a grace period.
        let stopped = (0..100_u16).any(|n| {
            thread::sleep(Duration::from_millis(30));
            !bed.talk(61 + 20 * n)
        });
        assert!(stopped, "nothing forwards any more");
        assert!(
            !root.path().join("test%2enode").exists(),
            "nothing stays behind"
        );
    };
    // The mount is this thread's own.
    thread::scope(|scope| scope.spawn(work).join()).unwrap();
}

#[test]
fn maps_of_another_version_are_left_behind() {
    if !permitted() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let work = || {
        private_bpffs(root.path());
        let bed = Bed::new(false);
        let xdp = bed.attach(Mode::Native, Some(root.path())).unwrap();
        bed.call(&xdp);
        drop(xdp);
        let node = root.path().join("test%2enode");
        let folder = node.read_dir().unwrap().next().unwrap().unwrap().path();
        std::fs::rename(&folder, node.join("v0")).unwrap();
        // Somebody else's pins are nothing that this version knows of.
        let foreign = node.join("others/map");
        std::fs::create_dir(node.join("others")).unwrap();
        std::fs::rename(node.join("v0/COUNTERS"), &foreign).unwrap();

        let xdp = bed.attach(Mode::Native, Some(root.path())).unwrap();
        assert!(
            xdp.adopted().is_empty(),
            "another version's slots are not read"
        );
        assert!(!node.join("v0").exists());
        bed.call(&xdp);
        assert!(
            bed.talk(1),
            "the program was replaced in the old attachment: {:?}",
            counted(&xdp)
        );

        // The other mode, and one interface less.
        drop(xdp);
        let xdp = bed
            .node
            .enter(|| attach(&["a0"], Mode::Generic, Some(root.path())))
            .unwrap();
        assert_eq!(xdp.adopted().len(), 2);
        let links = folder.read_dir().unwrap().filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.starts_with("link-").then_some(name)
        });
        let links: Vec<String> = links.collect();
        assert_eq!(links.len(), 1, "{links:?}");
        assert!(links[0].ends_with("-xdp-generic"), "{links:?}");
        xdp.detach().unwrap();
        assert!(!folder.exists() && foreign.exists());
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap();
}

#[test]
fn refusals_say_what_to_do() {
    if !permitted() {
        return;
    }
    let bed = Bed::new(false);
    let refusal = |interfaces: &[&str], mode| {
        let answer = bed
            .node
            .enter(|| attach(interfaces, mode, None).map(|_| ()));
        answer.unwrap_err()
    };
    let missing = refusal(&["nowhere"], Mode::Native);
    assert!(
        matches!(missing, XdpError::NoInterface { .. }),
        "{missing:?}"
    );
    let loopback = refusal(&["lo"], Mode::Native);
    assert!(
        matches!(loopback, XdpError::NoNative { .. }),
        "{loopback:?}"
    );
    assert!(loopback.generic_may_do());
    assert!(loopback.to_string().contains("xdp-generic"));

    let xdp = bed.attach(Mode::Native, None).unwrap();
    for mode in [Mode::Native, Mode::Generic] {
        let busy = refusal(&["a0"], mode);
        assert!(matches!(busy, XdpError::Busy { .. }), "{busy:?}");
    }
    drop(xdp);
    bed.node.veth("c0", &bed.far[0], "far1", 0xc);
    bed.node.ip("link set c0 mtu 9000");
    bed.far[0].ip("link set far1 mtu 9000");
    let setup = refusal(&["c0"], Mode::Native);
    assert!(matches!(setup, XdpError::Setup { .. }), "{setup:?}");

    let folder = tempfile::tempdir().unwrap();
    let no_bpffs = bed
        .attach(Mode::Native, Some(folder.path()))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(no_bpffs, XdpError::Pin { .. }), "{no_bpffs:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

fn counted(xdp: &Xdp) -> Vec<(&'static str, u64)> {
    let counters = xdp.counters().unwrap();
    counters
        .iter()
        .filter(|(_, value)| *value > 0)
        .map(|(it, value)| (it.name(), value))
        .collect()
}

fn socket(namespace: &Namespace, address: SocketAddr) -> UdpSocket {
    let socket = namespace.enter(|| UdpSocket::bind(address)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    socket
}
