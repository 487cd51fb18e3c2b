//! Every connection of this node, of any transport: found by its id or by its peer, bounded, and set
//! up in either direction.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use control::config::Transport;
use sip::message::Message;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    ConnectionId, Dispatcher, Flow, NameId, Sender, Shared,
    connection::{self, End, Link, Outgoing},
    dispatch::Concerned,
    limits::{Counted, Counts, Limits, Refused},
    tls, websocket,
};
use crate::{
    defence::{Evidence, Standing},
    metrics::{Dropped, Metrics},
};

/// Connections that may wait to be taken.
const BACKLOG: i32 = 1024;
/// Messages that may wait to be written to one connection.
const QUEUE: usize = 4096;
/// Their bytes.
const QUEUED: usize = 1 << 20;
/// How long a peer may take to accept. Below the time that a host has to answer at all, so that a
/// dead host counts as unreachable and not as slow.
const CONNECT: Duration = Duration::from_secs(3);
/// Silence after which the kernel asks a peer whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How often it is looked, at most, who of the clients is known meanwhile.
const RANKED: Duration = Duration::from_secs(1);

/// A bound address, which refuses connections as yet.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) local: SocketAddr,
    pub(super) transport: Transport,
    socket: Socket,
}

/// One that connections are taken from.
#[derive(Debug)]
pub(super) struct Listening {
    local: SocketAddr,
    transport: Transport,
    listener: TcpListener,
}

impl Bound {
    /// Lets clients connect, and gives it to the present runtime. That clients are refused until then has them try
    /// another node, where in the queue of one that still starts they would wait.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::AddrInUse`] where another node was bound and is listening since.
    pub(super) fn listen(self) -> io::Result<Listening> {
        self.socket.listen(BACKLOG)?;
        Ok(Listening {
            local: self.local,
            transport: self.transport,
            listener: TcpListener::from_std(self.socket.into())?,
        })
    }
}

/// Binds `address`, which nobody can connect to before [`Bound::listen`].
pub(super) fn bind(transport: Transport, address: SocketAddr) -> io::Result<Bound> {
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
    let local = socket.local_addr()?.as_socket();
    Ok(Bound {
        local: local.ok_or(io::ErrorKind::AddrNotAvailable)?,
        transport,
        socket,
    })
}

/// Every connection. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Inner>);

/// What connections work with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) limits: Limits,
    pub(super) origins: Vec<String>,
    pub(super) shared: Shared,
    pub(super) dispatcher: Dispatcher,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    table: Mutex<Table>,
    next_id: AtomicU64,
    parts: Parts,
}

#[derive(Debug, Default)]
struct Table {
    connections: HashMap<ConnectionId, Connection>,
    /// The newest connection to a peer.
    peers: HashMap<Peer, ConnectionId>,
    counts: Counts,
    /// When it was last looked who of the clients is known meanwhile.
    ranked: Option<Instant>,
    /// Those that this node opened.
    opened: usize,
}

/// A peer as a flow names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Peer {
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    /// The name that its certificate was checked for.
    name: Option<NameId>,
}

#[derive(Debug)]
struct Connection {
    queue: mpsc::Sender<Outgoing>,
    queued: Arc<AtomicUsize>,
    concerned: Concerned,
    close: CancellationToken,
    peer: Peer,
    /// Its own word for where it listens (RFC 5923).
    alias: Option<Peer>,
    /// How a client's is counted; `None` for one that this node opened.
    counted: Option<Counted>,
    overrun: bool,
}

/// The names in the certificates of peers that showed one which is good. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certified(Arc<RwLock<HashMap<ConnectionId, Arc<[String]>>>>);

impl Certified {
    /// The names of a flow's peer; `None` where it showed no certificate.
    pub(crate) fn names(&self, flow: &Flow) -> Option<Arc<[String]>> {
        let id = flow.connection.filter(|_| flow.transport.is_secure())?;
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).cloned()
    }

    /// A peer has shown a good certificate.
    pub(crate) fn set(&self, id: ConnectionId, names: Vec<String>) {
        if !names.is_empty() {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.insert(id, names.into());
        }
    }

    fn forget(&self, id: ConnectionId) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&id);
    }
}

impl Connections {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::default(),
            next_id: AtomicU64::new(1),
            parts,
        }))
    }

    /// Takes connections until the node stops.
    pub(super) async fn accept(self, bound: Listening) {
        loop {
            let accepted = tokio::select! {
                accepted = bound.listener.accept() => accepted,
                () = self.0.parts.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => self.accepted(stream, &bound, remote),
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
        for id in table.candidates(flow, &self.0.parts).into_iter().flatten() {
            let Some(connection) = table.connections.get_mut(&id) else {
                continue;
            };
            match connection.push(outgoing) {
                Ok(()) => return,
                Err(Push::Closed(back)) => outgoing = back,
                Err(Push::Full) => {
                    drop(table);
                    self.0.parts.metrics.dropped(Dropped::SendQueue);
                    self.0.parts.dispatcher.failed(sender);
                    return;
                }
            }
        }
        // A browser can be reached by its own connection only.
        let reachable = !flow.transport.is_websocket();
        if !reachable || table.opened >= self.0.parts.limits.total {
            drop(table);
            if reachable {
                self.0.parts.metrics.dropped(Dropped::ConnectionLimit);
            }
            self.0.parts.dispatcher.failed(sender);
            return;
        }
        let peer = Peer::of(flow, flow.reply_to);
        let (link, outgoings) = self.enter(&mut table, peer, None);
        table.opened += 1;
        if let Some(connection) = link
            .flow
            .connection
            .and_then(|id| table.connections.get_mut(&id))
        {
            // The queue is empty: there is room for the first.
            drop(connection.push(outgoing));
        }
        drop(table);
        let this = self.clone();
        self.0
            .parts
            .tracker
            .spawn(async move { this.connect(link, outgoings).await });
    }

    /// Notes where the peer of a connection says that it listens, so that what goes there takes this
    /// connection (RFC 5923). It may name no address but its own: else it could draw others' calls.
    pub(super) fn alias(&self, link: &Link, message: &Message) {
        let flow = &link.flow;
        let Some(via) = message.via().ok().filter(|_| message.is_request()) else {
            return;
        };
        let host = via.host().ip().map(|ip| ip.to_canonical());
        if !via.params().has("alias") || host != Some(flow.remote.ip().to_canonical()) {
            return;
        }
        let port = via.port().unwrap_or_else(|| flow.transport.default_port());
        let peer = Peer::of(flow, SocketAddr::new(flow.remote.ip(), port));
        let mut table = self.table();
        let table = &mut *table;
        let Some(id) = flow.connection else { return };
        if let Some(connection) = table.connections.get_mut(&id) {
            connection.alias = Some(peer);
            table.peers.insert(peer, id);
        }
    }

    /// Closes the connections of every address that `covers` names, without a word.
    pub(super) fn close(&self, covers: impl Fn(IpAddr) -> bool) {
        let table = self.table();
        for connection in table.connections.values() {
            if covers(connection.peer.remote.ip()) {
                connection.close.cancel();
            }
        }
    }

    /// Why a connection that is told to close was.
    pub(super) fn why_closed(&self, link: &Link) -> End {
        if self.0.parts.stop.is_cancelled() {
            return End::Stopped;
        }
        let table = self.table();
        let connection = link
            .flow
            .connection
            .and_then(|id| table.connections.get(&id));
        match connection {
            Some(connection) if connection.overrun => End::Overrun,
            _ => End::Ordered,
        }
    }

    fn accepted(&self, stream: TcpStream, bound: &Listening, remote: SocketAddr) {
        let parts = &self.0.parts;
        if !parts.dispatcher.admits_connection(remote) {
            return;
        }
        let counted = Counted {
            address: remote.ip(),
            standing: parts.dispatcher.standing(remote),
            handshake: bound.transport != Transport::Tcp,
        };
        let mut table = self.table();
        let mut entered = table.counts.enter(&parts.limits, counted);
        if matches!(entered, Err(Refused::Network | Refused::NetworkHandshakes))
            && table.rank(Instant::now(), |remote| parts.dispatcher.standing(remote))
        {
            entered = table.counts.enter(&parts.limits, counted);
        }
        if let Err(refused) = entered {
            drop(table);
            parts.metrics.dropped(Dropped::ConnectionLimit);
            parts.metrics.connection_refused(refused.name());
            debug!(%remote, reason = refused.name(), "refused a connection: there are too many");
            return;
        }
        let peer = Peer {
            transport: bound.transport,
            local: bound.local,
            remote,
            name: None,
        };
        let (link, outgoing) = self.enter(&mut table, peer, Some(counted));
        drop(table);
        let this = self.clone();
        parts
            .tracker
            .spawn(async move { this.serve(stream, link, outgoing).await });
    }

    async fn connect(self, link: Link, mut outgoing: mpsc::Receiver<Outgoing>) {
        let parts = &self.0.parts;
        let flow = link.flow;
        let end = match timeout(CONNECT, connect(flow.local, flow.remote)).await {
            Ok(Ok(stream)) => {
                prepare(&stream, &flow);
                if flow.transport == Transport::Tls {
                    match self.secure(stream, &flow).await {
                        Ok(stream) => connection::run(stream, &link, &mut outgoing).await,
                        Err(end) => {
                            warn!(peer = %flow, %end, "cannot connect");
                            parts.metrics.tls_failures.inc();
                            end
                        }
                    }
                } else {
                    connection::run(stream, &link, &mut outgoing).await
                }
            }
            Ok(Err(error)) => End::Failed(error),
            Err(_) => End::SlowHandshake,
        };
        self.leave(&link, &end, outgoing);
    }

    async fn secure(
        &self,
        stream: TcpStream,
        flow: &Flow,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, End> {
        let parts = &self.0.parts;
        let name = flow.name.and_then(|id| parts.shared.names.name(id));
        let name = tls::server_name(name.as_deref(), flow.remote.ip());
        let handshake = parts.shared.tls.connector().connect(name, stream);
        match timeout(parts.limits.handshake, handshake).await {
            Ok(Ok(stream)) => {
                if let Some(id) = flow.connection {
                    let peer = stream.get_ref().1.peer_certificates();
                    parts.shared.certified.set(id, tls::peer_names(peer));
                }
                Ok(stream)
            }
            Ok(Err(error)) => Err(End::Handshake(tls::explain_io(&error))),
            Err(_) => Err(End::SlowHandshake),
        }
    }

    async fn serve(self, stream: TcpStream, link: Link, mut outgoing: mpsc::Receiver<Outgoing>) {
        prepare(&stream, &link.flow);
        let end = match link.flow.transport {
            Transport::Udp | Transport::Tcp => connection::run(stream, &link, &mut outgoing).await,
            Transport::Tls => match self.greet(&link, self.welcome(stream, &link.flow)).await {
                Ok(stream) => connection::run(stream, &link, &mut outgoing).await,
                Err(end) => end,
            },
            Transport::Ws => {
                let upgrade = websocket::accept(stream, &self.0.parts.origins);
                match self.greet(&link, upgrade).await {
                    Ok(socket) => websocket::run(socket, &link, &mut outgoing).await,
                    Err(end) => end,
                }
            }
            Transport::Wss => {
                let upgrade = async {
                    let stream = self.welcome(stream, &link.flow).await?;
                    websocket::accept(stream, &self.0.parts.origins).await
                };
                match self.greet(&link, upgrade).await {
                    Ok(socket) => websocket::run(socket, &link, &mut outgoing).await,
                    Err(end) => end,
                }
            }
        };
        self.leave(&link, &end, outgoing);
    }

    /// The server's side of a TLS handshake.
    async fn welcome(
        &self,
        stream: TcpStream,
        flow: &Flow,
    ) -> Result<tokio_rustls::server::TlsStream<TcpStream>, End> {
        let parts = &self.0.parts;
        let Some(acceptor) = parts.shared.tls.acceptor() else {
            return Err(End::Handshake("this node has no certificate".to_owned()));
        };
        match acceptor.accept(stream).await {
            Ok(stream) => {
                if let Some(id) = flow.connection {
                    let peer = stream.get_ref().1.peer_certificates();
                    parts.shared.certified.set(id, tls::peer_names(peer));
                }
                Ok(stream)
            }
            Err(error) => {
                parts.metrics.tls_failures.inc();
                Err(End::Handshake(tls::explain_io(&error)))
            }
        }
    }

    /// Waits for the handshakes of a client, not for ever, and counts them as over.
    async fn greet<T>(
        &self,
        link: &Link,
        handshake: impl Future<Output = Result<T, End>>,
    ) -> Result<T, End> {
        let result = tokio::select! {
            result = timeout(self.0.parts.limits.handshake, Box::pin(handshake)) => {
                result.unwrap_or(Err(End::SlowHandshake))
            }
            () = link.close.cancelled() => Err(self.why_closed(link)),
        };
        let mut table = self.table();
        let table = &mut *table;
        let connection = link
            .flow
            .connection
            .and_then(|id| table.connections.get_mut(&id));
        if let Some(counted) = connection.and_then(|connection| connection.counted.as_mut())
            && counted.handshake
        {
            table.counts.shook_hands(*counted);
            counted.handshake = false;
        }
        self.0
            .parts
            .metrics
            .handshakes
            .set(gauge(table.counts.handshakes()));
        result
    }

    fn enter(
        &self,
        table: &mut Table,
        peer: Peer,
        counted: Option<Counted>,
    ) -> (Link, mpsc::Receiver<Outgoing>) {
        let parts = &self.0.parts;
        let id = ConnectionId(self.0.next_id.fetch_add(1, Relaxed));
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let queued = Arc::new(AtomicUsize::new(0));
        let concerned = parts.dispatcher.concerned();
        let close = parts.stop.child_token();
        table.connections.insert(
            id,
            Connection {
                queue: queue.clone(),
                queued: queued.clone(),
                concerned: concerned.clone(),
                close: close.clone(),
                peer,
                alias: None,
                counted,
                overrun: false,
            },
        );
        table.peers.insert(peer, id);
        parts.shared.open.add(id);
        parts.metrics.connections(peer.transport.name()).inc();
        parts
            .metrics
            .handshakes
            .set(gauge(table.counts.handshakes()));
        let mut flow = Flow::to(peer.transport, peer.local, peer.remote);
        flow.connection = Some(id);
        flow.name = peer.name;
        let link = Link {
            flow,
            accepted: counted.is_some(),
            queue,
            queued,
            concerned,
            close,
            limits: parts.limits,
            dispatcher: parts.dispatcher.clone(),
            connections: self.clone(),
            wrote: AtomicBool::new(false),
            spoke: AtomicBool::new(false),
            owed: AtomicUsize::new(0),
            told: Notify::new(),
            strikes: Mutex::default(),
        };
        (link, outgoing)
    }

    /// Forgets a connection, and tells whose messages were not written and who waits for it.
    fn leave(&self, link: &Link, end: &End, mut unsent: mpsc::Receiver<Outgoing>) {
        let parts = &self.0.parts;
        debug!(peer = %link.flow, %end, "a connection is closed");
        parts.metrics.connection_closed(end.name());
        let evidence = match (end, link.flow.transport) {
            (End::Handshake(_), Transport::Ws) => Some(Evidence::BadUpgrade),
            (End::Handshake(_), _) => Some(Evidence::HandshakeFailed),
            (End::Flooding, _) => Some(Evidence::Flooding),
            _ => None,
        };
        if let Some(evidence) = evidence.filter(|_| link.accepted) {
            parts.dispatcher.report(&link.flow, evidence);
        }
        // First out of the table, so that no message finds a queue that nobody reads.
        self.forget(link);
        unsent.close();
        while let Ok(outgoing) = unsent.try_recv() {
            if let Some(sender) = outgoing.sender {
                parts.dispatcher.failed(sender);
            }
        }
        if link.spoke.load(Relaxed) {
            parts.dispatcher.closed(&link.flow, &link.concerned);
        }
    }

    fn forget(&self, link: &Link) {
        let Some(id) = link.flow.connection else {
            return;
        };
        let mut table = self.table();
        let Some(connection) = table.connections.remove(&id) else {
            return;
        };
        for peer in [Some(connection.peer), connection.alias]
            .into_iter()
            .flatten()
        {
            if table.peers.get(&peer) == Some(&id) {
                table.peers.remove(&peer);
            }
        }
        match connection.counted {
            Some(counted) => table.counts.leave(counted),
            None => table.opened = table.opened.saturating_sub(1),
        }
        drop(table);
        let parts = &self.0.parts;
        parts.shared.certified.forget(id);
        parts.shared.open.remove(id);
        parts
            .metrics
            .connections(connection.peer.transport.name())
            .dec();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock; if something did, the table is still whole.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn of(flow: &Flow, remote: SocketAddr) -> Self {
        Self {
            transport: flow.transport,
            local: flow.local,
            remote,
            name: flow.name,
        }
    }
}

impl Table {
    /// Counts those as known who were strangers when they connected and are none any more. `false` where
    /// that was done less than [`RANKED`] ago: it goes through all connections.
    fn rank(&mut self, now: Instant, standing: impl Fn(SocketAddr) -> Standing) -> bool {
        if self
            .ranked
            .is_some_and(|at| now.saturating_duration_since(at) < RANKED)
        {
            return false;
        }
        self.ranked = Some(now);
        for connection in self.connections.values_mut() {
            let Some(counted) = &mut connection.counted else {
                continue;
            };
            if counted.standing == Standing::Stranger {
                let standing = standing(connection.peer.remote);
                self.counts.rank(*counted, standing);
                counted.standing = standing;
            }
        }
        true
    }

    /// The connections that a flow may take, the best first.
    fn candidates(&self, flow: &Flow, parts: &Parts) -> [Option<ConnectionId>; 4] {
        let [remote, reply_to] = [flow.remote, flow.reply_to].map(|remote| Peer::of(flow, remote));
        let find = |peer: &Peer| self.peers.get(peer).copied();
        // One that came by itself is as good where it has proved the name.
        let proved = |mut peer: Peer| {
            let name = parts.shared.names.name(peer.name.take()?)?;
            let id = find(&peer)?;
            let known = parts
                .shared
                .certified
                .0
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let names = known.get(&id)?;
            names.iter().any(|one| **one == *name).then_some(id)
        };
        [
            flow.connection,
            find(&remote),
            find(&reply_to),
            proved(reply_to),
        ]
    }
}

/// Why a message was not queued.
enum Push {
    /// Nobody takes from the queue any more.
    Closed(Outgoing),
    /// More waits than may.
    Full,
}

impl Connection {
    fn push(&mut self, outgoing: Outgoing) -> Result<(), Push> {
        let length = outgoing.payload.len();
        let waits = self.queued.load(Acquire);
        // The peer does not read: what comes now would not arrive in time, and memory is for those
        // who do.
        if waits > 0 && waits + length > QUEUED {
            self.overrun = true;
            self.close.cancel();
            return Err(Push::Full);
        }
        if let Some(sender) = outgoing.sender {
            self.concerned.add(sender.worker);
        }
        self.queued.fetch_add(length, AcqRel);
        self.queue.try_send(outgoing).map_err(|error| {
            self.queued.fetch_sub(length, AcqRel);
            match error {
                mpsc::error::TrySendError::Closed(back) => Push::Closed(back),
                mpsc::error::TrySendError::Full(_) => {
                    self.overrun = true;
                    self.close.cancel();
                    Push::Full
                }
            }
        })
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

fn prepare(stream: &TcpStream, flow: &Flow) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 4);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        debug!(peer = %flow, %error, "cannot set a connection's options");
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
