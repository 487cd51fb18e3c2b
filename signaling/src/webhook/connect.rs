//! Connections to webhooks.

use std::{io, net::SocketAddr, pin::Pin, time::Duration};

use control::public::is_public;
use futures_util::future::select_ok;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::sleep,
};
use tracing::debug;
use voice::call::RequestError;

use super::{Shared, target::Target};

/// Addresses of a name that are tried at most.
const ADDRESSES: usize = 6;
/// How long an address has before the next one is tried beside it (RFC 8305 section 5).
const AHEAD: Duration = Duration::from_millis(250);

/// A connection, with TLS or without.
pub(super) type Stream = Pin<Box<dyn Transport>>;

/// What octets go both ways over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Transport for T {}

/// Looks the host up, and connects to the first of its addresses that answers.
pub(super) async fn connect(
    target: &Target,
    shared: &Shared,
    public: bool,
) -> Result<Stream, RequestError> {
    let addresses = addresses(target, shared, public).await?;
    let tried = (0_u32..).zip(addresses).map(|(place, address)| {
        let attempt = async move {
            sleep(AHEAD * place).await;
            TcpStream::connect(address).await
        };
        Box::pin(attempt)
    });
    let (stream, _) = select_ok(tried).await.map_err(|error| {
        debug!(host = target.host, %error, "cannot connect to a webhook");
        RequestError::Connect
    })?;
    // A request is one write.
    let _ = stream.set_nodelay(true);
    if !target.is_tls {
        return Ok(Box::pin(stream));
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|_| RequestError::Host)?;
    let stream = shared.tls.connect(name, stream).await;
    let stream = stream.map_err(|error: io::Error| {
        debug!(host = target.host, %error, "TLS with a webhook failed");
        RequestError::Tls
    })?;
    Ok(Box::pin(stream))
}

/// Those that may be asked. What is asked for them ends with who wants to know, as all else of the connection does.
async fn addresses(
    target: &Target,
    shared: &Shared,
    public: bool,
) -> Result<Vec<SocketAddr>, RequestError> {
    let found = shared.names.addresses(&target.host).await;
    let found = found.into_iter().map(|ip| SocketAddr::new(ip, target.port));
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return Err(RequestError::Host);
    }
    let is_allowed = |at: &SocketAddr| {
        let ip = at.ip();
        // What is said in the clear all day long stays in the house.
        let is_plain = target.is_socket && !target.is_tls;
        let is_good = (!public || is_public(ip)) && !(is_plain && is_public(ip));
        is_good || shared.allow.iter().any(|block| block.contains(ip))
    };
    let allowed: Vec<_> = found
        .into_iter()
        .filter(is_allowed)
        .take(ADDRESSES)
        .collect();
    if allowed.is_empty() {
        debug!(
            host = target.host,
            "a tenant's webhook is at no public address, or a socket of ws: at one: see [voice] allow"
        );
        return Err(RequestError::Refused);
    }
    Ok(allowed)
}
