//! The seam, with each backend behind it.

#![expect(
    unsafe_code,
    reason = "a seccomp filter stands in for a container's profile"
)]

use std::net::Ipv4Addr;

use super::sockets::Sockets;
use super::uring::{Uring, UringError};
use super::*;

const PORT: PortIndex = PortIndex(0);
const OTHER: PortIndex = PortIndex(1);

/// Sends everything on from the other port to one address, and notes where it came from.
struct Onward {
    to: SocketAddr,
    seen: Vec<(PortIndex, SocketAddr)>,
}

impl Sink for Onward {
    fn packet(&mut self, packet: Packet<'_>) -> Verdict {
        self.seen.push((packet.port, packet.source));
        assert!(packet.arrival <= monotonic_ns());
        // Edited in place, to see that the buffer itself is sent.
        if let Some(first) = packet.data.first_mut() {
            *first ^= 0xff;
        }
        Verdict::Forward {
            via: OTHER,
            to: self.to,
            len: packet.data.len(),
        }
    }
}

/// Each backend on a thread of its own, because the end of a ring interrupts its maker's waits.
fn both(test: impl Fn(&mut dyn PacketIo, &Waker) + Sync) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let waker = Waker::new().unwrap();
            test(&mut Uring::new(4, waker.clone()).unwrap(), &waker);
        });
        scope.spawn(|| {
            let waker = Waker::new().unwrap();
            test(&mut Sockets::new(4, waker.clone()).unwrap(), &waker);
        });
    });
}

fn any() -> UdpSocket {
    bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

fn open(io: &mut dyn PacketIo, port: PortIndex) -> SocketAddr {
    let socket = any();
    let address = socket.local_addr().unwrap();
    io.open(port, socket).unwrap();
    address
}

fn peer() -> (UdpSocket, SocketAddr) {
    let socket = any();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Turns until `count` packets were seen.
fn turn_until(io: &mut dyn PacketIo, sink: &mut Onward, count: usize) {
    for _ in 0..100 {
        io.turn(Duration::from_millis(20), sink).unwrap();
        if sink.seen.len() >= count {
            // What was forwarded leaves with the next turn at the latest.
            io.turn(Duration::ZERO, sink).unwrap();
            return;
        }
    }
    panic!("{} of {count} packets", sink.seen.len());
}

#[test]
fn a_packet_leaves_from_its_buffer_and_the_chosen_port() {
    both(|io, _| {
        let (address, out) = (open(io, PORT), open(io, OTHER));
        let ((alice, from), (bob, to)) = (peer(), peer());
        let mut sink = Onward {
            to,
            seen: Vec::new(),
        };
        alice.send_to(&[1, 2, 3], address).unwrap();
        turn_until(io, &mut sink, 1);
        assert_eq!(sink.seen, [(PORT, from)]);
        let mut buffer = [0; 16];
        assert_eq!(bob.recv_from(&mut buffer).unwrap(), (3, out));
        assert_eq!(buffer[..3], [0xfe, 2, 3]);
        assert_eq!((io.counters().received, io.counters().sent), (1, 1));
    });
}

#[test]
fn a_connected_port_still_hears_strangers_and_keeps_what_waited() {
    both(|io, _| {
        let address = open(io, PORT);
        open(io, OTHER);
        let ((alice, from), (mallory, stranger), (bob, to)) = (peer(), peer(), peer());
        let mut sink = Onward {
            to,
            seen: Vec::new(),
        };
        // Waiting while the port is being connected.
        alice.send_to(&[1], address).unwrap();
        mallory.send_to(&[2], address).unwrap();
        io.connect(PORT, from, &mut sink).unwrap();
        alice.send_to(&[3], address).unwrap();
        mallory.send_to(&[4], address).unwrap();
        turn_until(io, &mut sink, 4);
        let of = |source| {
            sink.seen
                .iter()
                .filter(|seen| **seen == (PORT, source))
                .count()
        };
        assert_eq!((of(from), of(stranger)), (2, 2));
        let mut got = Vec::new();
        let mut buffer = [0; 16];
        for _ in 0..4 {
            let (len, _) = bob.recv_from(&mut buffer).unwrap();
            assert_eq!(len, 1);
            got.push(!buffer[0]);
        }
        assert_eq!(got[..2], [1, 2], "in order");
        got.sort_unstable();
        assert_eq!(got, [1, 2, 3, 4]);

        io.disconnect(PORT);
        alice.send_to(&[5], address).unwrap();
        turn_until(io, &mut sink, 5);
        // Nobody else can have the port meanwhile.
        assert_eq!(bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    });
}

#[test]
fn a_connected_port_cannot_be_shared_by_another_process() {
    both(|io, _| {
        let address = open(io, PORT);
        let ((_alice, from), (_, to)) = (peer(), peer());
        let mut sink = Onward {
            to,
            seen: Vec::new(),
        };
        io.connect(PORT, from, &mut sink).unwrap();
        let thief =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        thief.set_reuse_address(true).unwrap();
        thief.set_reuse_port(true).unwrap();
        let error = thief.bind(&address.into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    });
}

#[test]
fn a_closed_port_is_silent_and_free() {
    both(|io, _| {
        let address = open(io, PORT);
        let ((alice, from), (_, to)) = (peer(), peer());
        let mut sink = Onward {
            to,
            seen: Vec::new(),
        };
        io.connect(PORT, from, &mut sink).unwrap();
        io.turn(Duration::ZERO, &mut sink).unwrap();
        io.close(PORT);
        io.close(PORT);
        io.turn(Duration::ZERO, &mut sink).unwrap();
        let again = bind(address).expect("the port is free");
        alice.send_to(&[1], address).unwrap();
        io.turn(Duration::from_millis(20), &mut sink).unwrap();
        assert_eq!(sink.seen, []);
        io.open(PORT, again).unwrap();
        turn_until(io, &mut sink, 1);
    });
}

#[test]
fn a_port_that_is_handed_on_tells_nothing_of_before() {
    both(|io, _| {
        let address = open(io, PORT);
        open(io, OTHER);
        let ((alice, from), (bob, to)) = (peer(), peer());
        let mut sink = Onward {
            to,
            seen: Vec::new(),
        };
        io.mark(PORT, 0xb8).unwrap();
        io.connect(PORT, from, &mut sink).unwrap();
        io.turn(Duration::ZERO, &mut sink).unwrap();
        io.disconnect(PORT);
        // Taken by the kernel for a receive, as it does when another port is closed, and not read.
        alice.send_to(&[1], address).unwrap();
        io.close(PortIndex(2));
        io.open(PortIndex(2), any()).unwrap();
        io.close(PortIndex(2));
        // In the socket.
        alice.send_to(&[2], address).unwrap();
        io.hand_on(PORT).unwrap();
        // Of the next owner.
        bob.send_to(&[3], address).unwrap();
        turn_until(io, &mut sink, 1);
        io.turn(Duration::from_millis(20), &mut sink).unwrap();
        assert_eq!(sink.seen, [(PORT, to)]);
        assert_eq!(io.counters().left_over, 2);
        // It can be connected like a new one.
        io.connect(PORT, to, &mut sink).unwrap();
        bob.send_to(&[4], address).unwrap();
        turn_until(io, &mut sink, 2);
        io.close(PORT);
        assert!(io.hand_on(PORT).is_err());
        assert!(io.hand_on(PortIndex(3)).is_err());
        bind(address).expect("the port is free");
    });
}

#[test]
fn an_address_is_of_this_machine_or_not() {
    for (address, expected) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("192.0.2.1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(is_local(address.parse().unwrap()), expected, "{address}");
    }
}

#[test]
fn a_flooded_port_is_not_handed_on() {
    both(|io, _| {
        let socket = any();
        socket2::SockRef::from(&socket)
            .set_recv_buffer_size(1 << 20)
            .unwrap();
        let address = socket.local_addr().unwrap();
        io.open(PORT, socket).unwrap();
        let (alice, _) = peer();
        for _ in 0..300 {
            // Without a turn nothing is read.
            alice.send_to(&[0; 8], address).unwrap();
        }
        assert!(io.hand_on(PORT).is_err());
    });
}

#[test]
fn the_waker_ends_a_wait_and_a_wait_ends_by_itself() {
    both(|io, waker| {
        let mut sink = Onward {
            to: any().local_addr().unwrap(),
            seen: Vec::new(),
        };
        let start = std::time::Instant::now();
        assert!(!io.turn(Duration::from_millis(30), &mut sink).unwrap().woken);
        assert!(start.elapsed() >= Duration::from_millis(25));
        for _ in 0..3 {
            waker.wake();
            assert!(io.turn(Duration::from_secs(60), &mut sink).unwrap().woken);
        }
        assert!(start.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn more_packets_than_buffers_wait_in_their_sockets() {
    let waker = Waker::new().unwrap();
    let mut io = Uring::new(64, waker).unwrap();
    let (bob, to) = peer();
    open(&mut io, OTHER);
    let mut sink = Onward {
        to,
        seen: Vec::new(),
    };
    // 40 ports with 100 packets each are twice what the ring holds.
    let (alice, _) = peer();
    let ports: Vec<_> = (2..42).map(|port| open(&mut io, PortIndex(port))).collect();
    io.turn(Duration::ZERO, &mut sink).unwrap();
    for address in &ports {
        for n in 0..100 {
            alice.send_to(&[n], address).unwrap();
        }
    }
    turn_until(&mut io, &mut sink, 4000);
    assert!(
        io.counters().out_of_buffers > 0,
        "the test has met the limit"
    );
    assert_eq!(io.counters().received, 4000);
    drop(bob);
}

/// As docker's default profile does it.
#[test]
fn io_uring_that_is_forbidden_is_told_from_other_trouble() {
    std::thread::spawn(|| {
        forbid_io_uring();
        let error = Uring::probe().unwrap_err();
        assert!(matches!(error, UringError::Forbidden(_)), "{error}");
        assert!(error.to_string().contains("seccomp"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let start = async |datapath: &str| {
                let text = format!("[media]\nports = \"11800-11807\"\ndatapath = \"{datapath}\"\n");
                let config = control::Config::parse(&text, []).unwrap().config;
                let registry = prometheus::Registry::new();
                crate::Engine::start(&config, &registry).await
            };
            let status = start("auto").await.unwrap().status();
            assert_eq!(status.path, control::media::Path::Sockets);
            assert!(status.stepped_down.contains("io_uring is forbidden"));
            assert!(start("io-uring").await.is_err());
        });
    })
    .join()
    .unwrap();
}

/// Makes `io_uring_setup` fail with EPERM for this thread and those that it starts.
fn forbid_io_uring() {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let setup = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let refuse = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap();
    let mut filter = [
        // The number of the system call is the first word.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, setup),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: changes this thread only; the filter lives through the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
    }
}
