//! Moves the agent's messages: one UDP socket, and TCP on the same address and port.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use control::config::Transport;
use sip::{
    message::Message,
    stream::{Frame, Framer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream, UdpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};

use super::agent::Hop;

/// The largest datagram.
const DATAGRAM: usize = 65_535;
/// How long a connection may take to come up, and to take a message.
const PATIENCE: Duration = Duration::from_secs(5);
/// The answer to a keep-alive (RFC 5626 section 3.5.1).
const PONG: &[u8] = b"\r\n";

/// The agent's sockets.
#[derive(Debug)]
pub(super) struct Net {
    udp: Arc<UdpSocket>,
    shared: Arc<Shared>,
    received: mpsc::Receiver<(Hop, Message)>,
    tasks: tokio::task::JoinSet<()>,
    local: SocketAddr,
}

/// The half of a connection that is written to.
type Connection = Arc<tokio::sync::Mutex<OwnedWriteHalf>>;

#[derive(Debug)]
struct Shared {
    /// Connections by their other end.
    connections: Mutex<HashMap<SocketAddr, Connection>>,
    arrived: mpsc::Sender<(Hop, Message)>,
}

impl Net {
    /// Binds UDP and TCP to `local`; port 0 takes one that both have free.
    pub(super) async fn bind(local: SocketAddr) -> io::Result<Self> {
        let (udp, tcp) = bind_both(local).await?;
        let (udp, local) = (Arc::new(udp), tcp.local_addr()?);
        let (arrived, received) = mpsc::channel(256);
        let shared = Arc::new(Shared {
            connections: Mutex::default(),
            arrived,
        });
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(receive_datagrams(udp.clone(), shared.clone()));
        tasks.spawn(accept(tcp, shared.clone()));
        Ok(Self {
            udp,
            shared,
            received,
            tasks,
            local,
        })
    }

    /// Where it is bound.
    pub(super) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next message that came.
    pub(super) async fn receive(&mut self) -> Option<(Hop, Message)> {
        self.received.recv().await
    }

    /// Sends, over a connection that is there or a new one.
    pub(super) async fn send(&mut self, hop: Hop, payload: Bytes) -> io::Result<()> {
        match hop.transport {
            Transport::Udp => self.udp.send_to(&payload, hop.remote).await.map(drop),
            Transport::Tcp => {
                let known = self.shared.table().get(&hop.remote).cloned();
                let connection = match known {
                    Some(connection) => connection,
                    None => self.connect(hop.remote).await?,
                };
                write(&connection, &payload).await
            }
            // `tandem call` refuses them before it starts, and a peer cannot bring them in.
            Transport::Tls | Transport::Ws | Transport::Wss => {
                Err(io::ErrorKind::Unsupported.into())
            }
        }
    }

    async fn connect(&mut self, remote: SocketAddr) -> io::Result<Connection> {
        let stream = timeout(PATIENCE, TcpStream::connect(remote)).await??;
        let (reader, connection) = self.shared.add(stream, remote);
        let shared = self.shared.clone();
        self.tasks
            .spawn(serve(reader, remote, connection.clone(), shared));
        Ok(connection)
    }
}

impl Shared {
    fn add(&self, stream: TcpStream, remote: SocketAddr) -> (OwnedReadHalf, Connection) {
        let (reader, writer) = stream.into_split();
        let connection = Arc::new(tokio::sync::Mutex::new(writer));
        self.table().insert(remote, connection.clone());
        (reader, connection)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Connection>> {
        // Nothing that holds it can panic half-way.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(connection: &Connection, payload: &[u8]) -> io::Result<()> {
    let write = async { connection.lock().await.write_all(payload).await };
    timeout(PATIENCE, write).await?
}

/// The address of this machine that packets to `remote` leave from.
pub(super) async fn local_ip_towards(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => [0, 0, 0, 0].into(),
        SocketAddr::V6(_) => [0_u16; 8].into(),
    };
    let probe = UdpSocket::bind((any, 0)).await?;
    // Connecting a UDP socket sends nothing.
    probe.connect(remote).await?;
    Ok(probe.local_addr()?.ip())
}

/// Two UDP sockets on neighbouring ports, RTP's even.
pub(super) async fn bind_media(ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..64 {
        let rtp = UdpSocket::bind((ip, 0)).await?;
        let port = rtp.local_addr()?.port();
        if port % 2 != 0 {
            continue;
        }
        match UdpSocket::bind((ip, port + 1)).await {
            Ok(rtcp) => return Ok((rtp, rtcp)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn bind_both(local: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let tries = if local.port() == 0 { 16 } else { 1 };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..tries {
        let tcp = TcpListener::bind(local).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn receive_datagrams(udp: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error is that of an earlier send (ICMP): its request times out.
        let Ok((length, remote)) = udp.recv_from(&mut buffer).await else {
            continue;
        };
        let hop = Hop {
            transport: Transport::Udp,
            remote,
        };
        // What is no message has no one to be told.
        let Ok(message) = Message::parse(Bytes::copy_from_slice(&buffer[..length])) else {
            continue;
        };
        if shared.arrived.send((hop, message)).await.is_err() {
            return;
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, remote)) = listener.accept().await {
        let (reader, connection) = shared.add(stream, remote);
        connections.spawn(serve(reader, remote, connection, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Reads one connection until the other end closes it.
async fn serve(
    mut reader: OwnedReadHalf,
    remote: SocketAddr,
    connection: Connection,
    shared: Arc<Shared>,
) {
    let (mut framer, mut buffer) = (Framer::default(), vec![0; 16 << 10]);
    // Reading fails, and so does framing, where the connection is of no use any more.
    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
        framer.push(&buffer[..length]);
        if deliver(&mut framer, remote, &connection, &shared)
            .await
            .is_none()
        {
            break;
        }
    }
    shared.table().remove(&remote);
}

/// Hands on what is whole. `None` where nothing more can be read.
async fn deliver(
    framer: &mut Framer,
    remote: SocketAddr,
    connection: &Connection,
    shared: &Shared,
) -> Option<()> {
    let hop = Hop {
        transport: Transport::Tcp,
        remote,
    };
    loop {
        match framer.poll().ok()? {
            Some(Frame::Message(message)) => shared.arrived.send((hop, message)).await.ok()?,
            Some(Frame::Ping) => write(connection, PONG).await.ok()?,
            // What is no message has no one to be told.
            Some(Frame::Malformed(_)) => {}
            None => return Some(()),
        }
    }
}
