//! SIP over UDP.

use std::{fs, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use control::config::Transport;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::{Dispatcher, Flow, errors};
use crate::metrics::{Dropped, Metrics};

/// What is asked of the kernel for each direction: enough for a second's worth of a node's traffic.
/// It gives `net.core.rmem_max` at most.
const BUFFER: usize = 8 << 20;
/// Datagrams that are read before others have their turn.
const BURST: usize = 64;

/// The sockets of one address, one for each worker; not read yet.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) local: SocketAddr,
    pub(super) sockets: Vec<std::net::UdpSocket>,
}

/// One of an address's sockets, in the runtime of its worker.
#[derive(Debug)]
pub(super) struct Udp {
    pub(super) local: SocketAddr,
    socket: UdpSocket,
}

/// Binds `address` `count` times. The kernel gives all datagrams of a peer to the same socket.
pub(super) fn bind(address: SocketAddr, count: usize) -> io::Result<Bound> {
    let first = socket(address)?;
    // Alone, so that an address that somebody else uses is found out.
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let first = std::net::UdpSocket::from(first);
    let local = first.local_addr()?;
    errors::enable(&first, local)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let next = socket(address)?;
        next.set_reuse_port(true)?;
        next.bind(&local.into())?;
        errors::enable(&next, local)?;
        sockets.push(next.into());
    }
    Ok(Bound { local, sockets })
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Udp {
    /// Must be called inside the runtime of the worker that reads it.
    pub(super) fn new(local: SocketAddr, socket: std::net::UdpSocket) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self { local, socket })
    }

    /// Sends one datagram; never waits.
    pub(super) fn send(&self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        match self.socket.try_send_to(payload, to) {
            // The socket reports an earlier datagram's ICMP error here, and does not send this one.
            Err(error) if is_pending_error(&error) => self.socket.try_send_to(payload, to),
            result => result,
        }
        .map(drop)
    }

    fn drain_errors(&self, dispatcher: &Dispatcher) {
        while let Ok(peer) = errors::next(&self.socket) {
            if let Some(peer) = peer {
                dispatcher.unreachable(self.local, peer);
            }
        }
    }
}

/// Reads datagrams and hands them on, for ever.
pub(super) async fn receive(bound: Arc<Udp>, dispatcher: Dispatcher, metrics: Arc<Metrics>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match bound
            .socket
            .ready(Interest::READABLE | Interest::ERROR)
            .await
        {
            Ok(ready) if ready.is_error() => {
                bound.drain_errors(&dispatcher);
                // Readiness for errors is cleared only by a call that would have blocked on it.
                let none = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                drop(bound.socket.try_io(Interest::ERROR, none));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(local = %bound.local, %error, "the UDP socket failed");
                return;
            }
        }
        for _ in 0..BURST {
            match bound.socket.try_recv_from(&mut buffer) {
                Ok((length, remote)) => {
                    let flow = Flow::to(Transport::Udp, bound.local, remote);
                    accept(&buffer[..length], flow, &dispatcher, &metrics);
                }
                Err(error) if is_pending_error(&error) => bound.drain_errors(&dispatcher),
                Err(_) => break,
            }
        }
        tokio::task::yield_now().await;
    }
}

fn accept(datagram: &[u8], flow: Flow, dispatcher: &Dispatcher, metrics: &Metrics) {
    // Line ends alone keep a NAT's mapping open (RFC 5626 section 3.5.1 over UDP; widely done).
    if datagram
        .iter()
        .all(|byte| matches!(byte, b'\r' | b'\n' | 0))
    {
        return;
    }
    // A response from port 0 or to it can go nowhere.
    if flow.remote.port() == 0 {
        metrics.dropped(Dropped::Malformed);
        return;
    }
    dispatcher.datagram(flow, Bytes::copy_from_slice(datagram));
}

fn is_pending_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// What the kernel dropped on these sockets, by its own table.
pub(super) fn kernel_drops(locals: impl Iterator<Item = SocketAddr>) -> u64 {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|path| {
        // Without /proc nothing is known, and nothing is told.
        fs::read_to_string(path).unwrap_or_default()
    });
    locals
        .map(|local| {
            let table = &tables[usize::from(local.is_ipv6())];
            let wanted = proc_address(local);
            let rows = table.lines().map(|line| line.split_ascii_whitespace());
            rows.filter_map(|mut row| {
                (row.nth(1)? == wanted).then(|| row.last()?.parse::<u64>().ok())?
            })
            .sum::<u64>()
        })
        .sum()
}

/// An address as `/proc/net/udp` writes it: words in the machine's byte order, in hexadecimal.
fn proc_address(address: SocketAddr) -> String {
    let words = match address.ip() {
        std::net::IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
        std::net::IpAddr::V6(ip) => ip
            .octets()
            .chunks_exact(4)
            .map(|word| {
                let word = word.try_into().map_or(0, u32::from_ne_bytes);
                format!("{word:08X}")
            })
            .collect(),
    };
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::time::timeout;

    use super::*;
    use crate::{
        defence::Defence,
        net::{Arrival, lanes},
    };

    #[test]
    fn the_kernels_spelling_of_addresses() {
        assert_eq!(
            proc_address("127.0.0.1:5060".parse().unwrap()),
            "0100007F:13C4"
        );
        assert_eq!(
            proc_address("[::1]:5060".parse().unwrap()),
            "00000000000000000000000001000000:13C4"
        );
    }

    #[test]
    fn an_address_has_a_socket_for_each_worker_and_one_owner() {
        let bound = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        for socket in &bound.sockets {
            assert_eq!(socket.local_addr().unwrap(), bound.local);
        }
        let taken = bind(bound.local, 3).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);

        // What one peer sends comes to one of them.
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..20u8 {
            peer.send_to(&[number], bound.local).unwrap();
        }
        let counts = bound.sockets.iter().map(|socket| {
            let mut byte = [0];
            (0..).take_while(|_| socket.recv(&mut byte).is_ok()).count()
        });
        let mut counts: Vec<_> = counts.collect();
        counts.sort_unstable();
        assert_eq!(counts, [0, 0, 20]);
    }

    #[tokio::test]
    async fn datagrams_arrive_keepalives_do_not_and_a_dead_port_is_told() {
        let Bound { local, mut sockets } = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let bound = Arc::new(Udp::new(local, sockets.remove(0)).unwrap());
        let metrics = Arc::new(Metrics::new().unwrap());
        let (worker, mut arrived) = lanes();
        let (config, t1) = (
            control::config::Defence::default(),
            Duration::from_millis(500),
        );
        let defence = Arc::new(Defence::new(&config, t1, Instant::now()));
        let dispatcher = Dispatcher::new(vec![worker], defence, metrics.clone());
        let task = tokio::spawn(receive(bound.clone(), dispatcher, metrics));

        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        peer.send_to(b"\r\n\r\n", bound.local).await.unwrap();
        peer.send_to(b"hello", bound.local).await.unwrap();
        let mut batch = Vec::new();
        let patience = Duration::from_secs(5);
        assert!(timeout(patience, arrived.recv(&mut batch)).await.unwrap());
        match batch.remove(0).arrival {
            Arrival::Datagram { flow, bytes } => {
                assert_eq!(bytes, "hello");
                assert_eq!(flow.remote, peer.local_addr().unwrap());
            }
            other => panic!("{other:?}"),
        }

        let dead = peer.local_addr().unwrap();
        drop(peer);
        bound.send(b"anyone?", dead).unwrap();
        assert!(timeout(patience, arrived.recv(&mut batch)).await.unwrap());
        match batch.remove(0).arrival {
            Arrival::Unreachable { remote, .. } => assert_eq!(remote, dead),
            other => panic!("{other:?}"),
        }
        assert_eq!(kernel_drops([bound.local].into_iter()), 0);
        task.abort();
    }
}
