//! SIP over TCP: the connections, found by their id or by their peer.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use control::config::Transport;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    ConnectionId, Dispatcher, Flow, Sender,
    connection::{self, Outgoing},
};
use crate::metrics::{Dropped, Metrics};

/// Connections at once.
const CONNECTIONS: usize = 4096;
/// Connections at once that one address may open.
const CONNECTIONS_OF_ONE: usize = 256;
/// Messages that may wait to be written to one connection.
const QUEUE: usize = 512;
/// How long a peer may take to accept. Below the time that a host has to answer at all, so that a
/// dead host counts as unreachable and not as slow.
const CONNECT: Duration = Duration::from_secs(3);
/// Silence after which the kernel asks a peer whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A bound listener.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) local: SocketAddr,
    listener: TcpListener,
}

/// Binds `address`.
pub(super) fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restarted node does not wait for its old connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    let listener = TcpListener::from_std(socket.into())?;
    Ok(Bound {
        local: listener.local_addr()?,
        listener,
    })
}

/// Every connection. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Tcp(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Mutex<Table>,
    next_id: AtomicU64,
    dispatcher: Dispatcher,
    metrics: Arc<Metrics>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Table {
    connections: HashMap<ConnectionId, Connection>,
    /// The newest connection between two addresses.
    peers: HashMap<(SocketAddr, SocketAddr), ConnectionId>,
    accepted: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    queue: mpsc::Sender<Outgoing>,
    ends: (SocketAddr, SocketAddr),
    accepted: bool,
}

impl Tcp {
    pub(super) fn new(
        dispatcher: Dispatcher,
        metrics: Arc<Metrics>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::default(),
            next_id: AtomicU64::new(1),
            dispatcher,
            metrics,
            tracker,
            stop,
        }))
    }

    /// Takes connections until the node stops.
    pub(super) async fn accept(self, bound: Bound) {
        loop {
            let accepted = tokio::select! {
                accepted = bound.listener.accept() => accepted,
                () = self.0.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => self.accepted(stream, bound.local, remote),
                Err(error) => {
                    // Out of descriptors, most likely: others have to close first.
                    warn!(local = %bound.local, %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Queues a message on the flow's connection, else on one to its peer, else on a new one.
    pub(super) fn send(&self, flow: &Flow, payload: Bytes, sender: Sender) {
        let mut outgoing = Outgoing {
            payload,
            sender: Some(sender),
        };
        let mut table = self.table();
        let candidates = [
            flow.connection,
            table.peers.get(&(flow.local, flow.remote)).copied(),
            table.peers.get(&(flow.local, flow.reply_to)).copied(),
        ];
        for id in candidates.into_iter().flatten() {
            let Some(connection) = table.connections.get(&id) else {
                continue;
            };
            match connection.queue.try_send(outgoing) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Closed(back)) => outgoing = back,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    drop(table);
                    // The peer does not read: what comes now would not arrive in time.
                    self.0.metrics.dropped(Dropped::SendQueue);
                    self.0.dispatcher.failed(sender);
                    return;
                }
            }
        }
        if table.connections.len() >= CONNECTIONS {
            drop(table);
            self.0.metrics.dropped(Dropped::ConnectionLimit);
            self.0.dispatcher.failed(sender);
            return;
        }
        let (flow, queue, outgoings) = self.enter(&mut table, flow.local, flow.reply_to, false);
        drop(table);
        // The queue is empty: there is room for the first.
        drop(queue.try_send(outgoing));
        let this = self.clone();
        self.0
            .tracker
            .spawn(async move { this.connect(flow, queue, outgoings).await });
    }

    fn accepted(&self, stream: TcpStream, local: SocketAddr, remote: SocketAddr) {
        let mut table = self.table();
        let of_one = table.accepted.get(&remote.ip()).copied().unwrap_or(0);
        if table.connections.len() >= CONNECTIONS || of_one >= CONNECTIONS_OF_ONE {
            drop(table);
            self.0.metrics.dropped(Dropped::ConnectionLimit);
            debug!(%remote, "refused a connection: there are too many");
            return;
        }
        let (flow, queue, outgoing) = self.enter(&mut table, local, remote, true);
        drop(table);
        let this = self.clone();
        self.0
            .tracker
            .spawn(async move { this.run(stream, flow, queue, outgoing).await });
    }

    async fn connect(
        self,
        flow: Flow,
        queue: mpsc::Sender<Outgoing>,
        outgoing: mpsc::Receiver<Outgoing>,
    ) {
        match timeout(CONNECT, connect(flow.local, flow.remote)).await {
            Ok(Ok(stream)) => return self.run(stream, flow, queue, outgoing).await,
            Ok(Err(error)) => debug!(peer = %flow, %error, "cannot connect"),
            Err(_) => debug!(peer = %flow, "cannot connect: no answer"),
        }
        self.leave(&flow);
        connection::fail(outgoing, &self.0.dispatcher);
    }

    async fn run(
        self,
        stream: TcpStream,
        flow: Flow,
        queue: mpsc::Sender<Outgoing>,
        outgoing: mpsc::Receiver<Outgoing>,
    ) {
        if let Err(error) = prepare(&stream) {
            debug!(peer = %flow, %error, "cannot set a connection's options");
        }
        let inner = &self.0;
        let end = connection::run(
            stream,
            flow,
            queue,
            outgoing,
            &inner.dispatcher,
            &inner.metrics,
            &inner.stop,
        );
        let (end, unsent) = end.await;
        debug!(peer = %flow, %end, "a connection is closed");
        // First out of the table, so that no message finds a queue that nobody reads.
        self.leave(&flow);
        connection::fail(unsent, &self.0.dispatcher);
    }

    fn enter(
        &self,
        table: &mut Table,
        local: SocketAddr,
        remote: SocketAddr,
        accepted: bool,
    ) -> (Flow, mpsc::Sender<Outgoing>, mpsc::Receiver<Outgoing>) {
        let id = ConnectionId(self.0.next_id.fetch_add(1, Relaxed));
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let ends = (local, remote);
        table.connections.insert(
            id,
            Connection {
                queue: queue.clone(),
                ends,
                accepted,
            },
        );
        table.peers.insert(ends, id);
        if accepted {
            *table.accepted.entry(remote.ip()).or_default() += 1;
        }
        self.0.metrics.tcp_connections.inc();
        let mut flow = Flow::to(Transport::Tcp, local, remote);
        flow.connection = Some(id);
        (flow, queue, outgoing)
    }

    fn leave(&self, flow: &Flow) {
        let Some(id) = flow.connection else {
            return;
        };
        let mut table = self.table();
        let Some(connection) = table.connections.remove(&id) else {
            return;
        };
        if table.peers.get(&connection.ends) == Some(&id) {
            table.peers.remove(&connection.ends);
        }
        let source = connection.ends.1.ip();
        if connection.accepted
            && let Some(count) = table.accepted.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                table.accepted.remove(&source);
            }
        }
        self.0.metrics.tcp_connections.dec();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock; if something did, the table is still whole.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(local: SocketAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if !local.ip().is_unspecified() {
        socket.bind(SocketAddr::new(local.ip(), 0))?;
    }
    socket.connect(remote).await
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 4);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests;
