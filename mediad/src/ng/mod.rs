//! rtpengine's NG protocol, so that a proxy that drives rtpengine can drive mediad: over UDP, TCP, HTTP and WebSocket.
//!
//! The protocol itself is the crate [`ng`]. The front is a client of mediad's own control channel: what it can do,
//! every client can. What a request asks for and this version cannot do is refused with the reason, never ignored;
//! `docs/rtpengine.md` has it all.
//!
//! - `desk`: who may ask, and answers that are kept for those who ask twice.
//! - `udp`, `tcp`, `http`: how requests come.
//! - `front`: what is done about them; `calls` and `call`: what is known of calls.

mod call;
mod calls;
mod desk;
mod engine;
mod formats;
mod front;
mod handling;
mod http;
mod remote;
mod subscription;
mod tcp;
mod udp;
mod wanted;

use std::{io, net::SocketAddr, sync::Arc};

use control::{
    Client,
    config::{self, Cidr, NgListen, NgTransport},
    media::Media,
};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{desk::Desk, front::Front};

/// An address that NG can be served on.
#[derive(Debug)]
pub struct Bound {
    listen: NgListen,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpListener),
    Http(TcpListener),
}

/// Takes the address that `listen` names.
///
/// # Errors
/// It cannot be had.
pub async fn bind(listen: NgListen) -> io::Result<Bound> {
    let address = listen.address;
    let socket = match listen.transport {
        NgTransport::Udp => Socket::Udp(UdpSocket::bind(address).await?),
        NgTransport::Tcp => Socket::Tcp(TcpListener::bind(address).await?),
        NgTransport::Http => Socket::Http(TcpListener::bind(address).await?),
    };
    Ok(Bound { listen, socket })
}

impl Bound {
    /// The address, with its port where a free one was taken.
    ///
    /// # Errors
    /// The socket does not know it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Udp(socket) => socket.local_addr(),
            Socket::Tcp(listener) | Socket::Http(listener) => listener.local_addr(),
        }
    }
}

/// Answers the requests that come to `bound` from this machine and from those that `config` allows as it is then, until the
/// future is dropped.
///
/// # Errors
/// When the metrics cannot be registered, or a socket cannot be used any more.
pub async fn serve(
    bound: Vec<Bound>,
    config: watch::Receiver<config::Media>,
    media: Client<Media>,
    registry: &Registry,
) -> Result<(), ServeError> {
    let requests = IntCounterVec::new(
        Opts::new(
            "tandem_ng_requests_total",
            "NG requests, by command and result",
        ),
        &["command", "result"],
    )?;
    registry.register(Box::new(requests.clone()))?;
    for one in &bound {
        announce(one, &config.borrow().ng_allow)?;
    }
    let front = Front::new(media, config, requests);
    let desk = Arc::new(Desk::new(front));
    let watch = tokio::spawn(Arc::clone(desk.front()).watch());
    let _stop_watching = AbortOnDrop(watch);
    let stop = CancellationToken::new();
    let _stop_connections = stop.clone().drop_guard();
    // Tasks of their own, so that the thread that reads a request is one that works on it.
    let mut servers = JoinSet::new();
    for one in bound {
        let (desk, stop) = (desk.clone(), stop.clone());
        servers.spawn(async move {
            match one.socket {
                Socket::Udp(socket) => udp::serve(socket, desk).await,
                Socket::Tcp(listener) => tcp::serve(listener, desk, stop).await,
                Socket::Http(listener) => http::serve(listener, desk, stop).await,
            }
        });
    }
    match servers.join_next().await {
        None => std::future::pending().await,
        Some(ended) => Ok(ended.map_err(io::Error::other)??),
    }
}

/// Why the front stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket failed.
    #[error("an NG socket failed: {0}")]
    Io(#[from] io::Error),
    /// Its metrics are registered already.
    #[error("the NG front's metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn announce(bound: &Bound, allow: &[Cidr]) -> io::Result<()> {
    let (transport, address) = (bound.listen.transport.name(), bound.address()?);
    info!(transport, %address, "serving rtpengine's NG protocol");
    if !address.ip().is_loopback() && allow.is_empty() {
        warn!(
            transport,
            %address,
            "whoever reaches this address commands the calls: NG has no authentication. \
             Name the proxies in [media] ng_allow, or listen on 127.0.0.1"
        );
    }
    Ok(())
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
