//! Connections: how many there may be, and how long a client may take to ask.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, response::Response, serve::Listener};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    task::JoinSet,
};
use tower_service::Service as _;

use crate::{proxy::Proxies, rate::source};

/// How long a client may take for the head of a request, and be silent between two.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at most, WebSockets among them.
const MOST: usize = 4_096;
/// Those of one address, or one network of IPv6: so nobody alone keeps the others out.
const MOST_OF_ONE: usize = 256;

/// Serves until `stopped`, and then until what is under way is answered.
pub(crate) async fn serve(
    mut listener: impl Listener<Addr = SocketAddr>,
    router: Router,
    proxies: Proxies,
    stopped: impl Future<Output = ()>,
) {
    let room = Arc::new(Room::default());
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stopped => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        // The new one gives way: those who are silent go by themselves.
        let Some(place) = room.take(source(peer.ip()), proxies.has(peer.ip())) else {
            tracing::debug!(%peer, "a connection was closed: there are too many");
            continue;
        };
        let stream = Placed {
            stream,
            _place: place,
        };
        connections.spawn(connection(stream, peer, router.clone(), stopping.clone()));
    }
    drop((listener, stopping));
    stop.send_replace(());
    while connections.join_next().await.is_some() {}
}

async fn connection<S>(
    stream: Placed<S>,
    peer: SocketAddr,
    router: Router,
    mut stopping: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer: Result<Response, Infallible> = router.call(request).await;
            answer
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        _ = stopping.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke off");
    }
}

/// How many connections there are, and whose.
#[derive(Debug, Default)]
struct Room(Mutex<HashMap<IpAddr, usize>>);

impl Room {
    /// `None` where there are as many as there may be. A proxy has those of many clients.
    fn take(self: &Arc<Self>, source: IpAddr, is_proxy: bool) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = all.values().sum();
        let own = all.get(&source).copied().unwrap_or_default();
        if total >= MOST || (own >= MOST_OF_ONE && !is_proxy) {
            return None;
        }
        all.insert(source, own + 1);
        Some(Place {
            room: self.clone(),
            source,
        })
    }
}

/// One connection's, until it is dropped.
#[derive(Debug)]
struct Place {
    room: Arc<Room>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                all.remove(&self.source);
            }
        }
    }
}

/// A connection with its place, which it keeps where it becomes a WebSocket.
#[derive(Debug)]
struct Placed<S> {
    stream: S,
    _place: Place,
}

impl<S: AsyncRead + Unpin> AsyncRead for Placed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Placed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_alone_has_all_the_room_and_a_place_comes_back() {
        let room = Arc::new(Room::default());
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n));
        let mut places: Vec<_> = (0..MOST_OF_ONE)
            .map(|_| room.take(address(0), false).unwrap())
            .collect();
        assert!(room.take(address(0), false).is_none());
        let others = (MOST_OF_ONE..MOST).map(|n| room.take(address(n.try_into().unwrap()), false));
        let others: Vec<_> = others.map(Option::unwrap).collect();
        assert!(room.take(address(u32::MAX), false).is_none());
        drop(others);
        assert!(room.take(address(u32::MAX), false).is_some());
        assert!(room.take(address(0), false).is_none());
        // One that speaks for many has all that there is.
        assert!(room.take(address(0), true).is_some());
        places.pop();
        assert!(room.take(address(0), false).is_some());
        drop(places);
        assert!(room.0.lock().unwrap().is_empty());
    }
}
