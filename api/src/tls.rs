//! HTTPS: the certificate that clients are shown, and connections that are set up with it.
//!
//! A reload reads the files again and swaps what was read in whole: connections that are up keep what they
//! were set up with, those that follow get the new. Files that cannot be used leave all as it was.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::serve;
use control::{
    config::CertificateFiles,
    tls::{BySni, Expiry, TlsError, warn_of_ends},
};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{self, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{metrics::Metrics, proxy::Proxies, rate::source};

/// Which part of the configuration this is.
const SECTION: &str = "api.tls";
/// How long a client may take for its handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes under way at most: others wait to be accepted.
const MOST: usize = 256;
/// Those of one address, or one network of IPv6: more are closed, so that one who never ends any keeps nobody else
/// waiting. A proxy has those of many clients.
const MOST_OF_ONE: usize = 32;
/// How long nothing is accepted where the system has no room for it.
const PAUSE: Duration = Duration::from_secs(1);

/// What connections are set up with. Clones share it, and a reload changes it for all.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ArcSwap<Read>>);

#[derive(Debug)]
struct Read {
    server: Arc<ServerConfig>,
    expiries: Vec<Expiry>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// The one that cannot be used, and why.
    pub fn load(files: &CertificateFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut expiries = Vec::new();
        let files = std::slice::from_ref(files);
        let certificate = BySni::load(SECTION, files, &provider, &mut expiries)?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(SECTION, error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificate));
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        warn_of_ends(&expiries);
        let read = Read {
            server: Arc::new(server),
            expiries,
        };
        Ok(Self(Arc::new(ArcSwap::from_pointee(read))))
    }

    /// Uses what `other` has read, for the connections that follow.
    pub fn take_over(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// Each certificate's name, and the seconds that it is still good for; negative after its end.
    pub(crate) fn expiries(&self) -> Vec<(String, i64)> {
        let read = self.0.load();
        let left = |expiry: &Expiry| (expiry.name.clone(), expiry.left());
        read.expiries.iter().map(left).collect()
    }

    fn acceptor(&self) -> TlsAcceptor {
        self.0.load().server.clone().into()
    }
}

/// Accepts connections, and gives away those whose handshake is done: one that hangs holds up no other.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    tls: Tls,
    metrics: Arc<Metrics>,
    proxies: Proxies,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
    /// Whose they are.
    sources: HashMap<task::Id, IpAddr>,
}

impl Listener {
    pub(crate) fn new(
        listener: TcpListener,
        tls: Tls,
        metrics: Arc<Metrics>,
        proxies: Proxies,
    ) -> Self {
        Self {
            listener,
            tls,
            metrics,
            proxies,
            handshakes: JoinSet::new(),
            sources: HashMap::new(),
        }
    }

    fn shake_hands(&mut self, stream: TcpStream, peer: SocketAddr) {
        let source = source(peer.ip());
        let own = self.sources.values().filter(|&&other| other == source);
        if own.count() >= MOST_OF_ONE && !self.proxies.has(peer.ip()) {
            self.metrics.handshake_failed();
            tracing::debug!(%peer, "too many TLS handshakes of this address are under way");
            return;
        }
        let acceptor = self.tls.acceptor();
        let metrics = self.metrics.clone();
        let shaking = self.handshakes.spawn(async move {
            // An answer is short: it waits for no other.
            drop(stream.set_nodelay(true));
            let reason = match timeout(PATIENCE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => return Some((stream, peer)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it took too long".to_owned(),
            };
            metrics.handshake_failed();
            tracing::debug!(%peer, reason, "a TLS handshake failed");
            None
        });
        self.sources.insert(shaking.id(), source);
    }
}

impl serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next_with_id() => {
                    let (id, done) = match done {
                        Ok((id, done)) => (id, done),
                        Err(error) => (error.id(), None),
                    };
                    self.sources.remove(&id);
                    if let Some(connection) = done {
                        return connection;
                    }
                }
                accepted = self.listener.accept(), if self.handshakes.len() < MOST => match accepted {
                    Ok((stream, peer)) => self.shake_hands(stream, peer),
                    // The client has gone again.
                    Err(error) if is_of_client(&error) => {}
                    Err(error) => {
                        tracing::error!(%error, "cannot accept connections");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
