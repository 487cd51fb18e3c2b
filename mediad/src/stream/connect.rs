//! The connection to a stream's server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use control::media::{NewStream, StreamTrouble};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri};
use tokio_tungstenite::tungstenite::{Error, protocol::WebSocketConfig};
use tracing::debug;

use super::Settings;

/// From the look-up of the name to the server's 101.
const CONNECT: Duration = Duration::from_secs(5);
/// A server that acknowledges nothing for so long is gone.
const SILENT: Duration = Duration::from_secs(20);
/// Octets that wait in the kernel, where they get old: a second or two of audio.
const SEND_BUFFER: u32 = 16 * 1_024;
/// Octets that are read at once: a few messages. The library fills them with zeros before each read.
const READ_BUFFER: usize = 4 * 1_024;
/// Octets of a message from the server at most: 300 s of G.711 in base64 are 3.2 MB.
const MESSAGE: usize = 4 << 20;

/// TCP, or TLS over it.
pub(super) trait Octets: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Octets for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Octets>>;

/// Connects.
pub(super) async fn connect(
    stream: &NewStream,
    settings: &Settings,
) -> Result<Socket, StreamTrouble> {
    timeout(CONNECT, dial(stream, settings))
        .await
        .unwrap_or(Err(StreamTrouble::Timeout))
}

async fn dial(stream: &NewStream, settings: &Settings) -> Result<Socket, StreamTrouble> {
    let url: Uri = stream.url.parse().map_err(|_| StreamTrouble::Refused)?;
    let secure = match url.scheme_str() {
        Some("wss") => true,
        Some("ws") if settings.plain => false,
        _ => return Err(StreamTrouble::Refused),
    };
    let name = url.host().ok_or(StreamTrouble::Refused)?;
    let host = name.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tcp = reach(&addresses(host, port, stream.public, settings).await?).await?;
    let octets: Box<dyn Octets> = if secure {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| StreamTrouble::Tls)?;
        let connector = TlsConnector::from(Arc::clone(&settings.tls));
        let tls = connector.connect(name, tcp).await.map_err(|error| {
            debug!(url = %stream.url, %error, "a stream's server fails at TLS");
            StreamTrouble::Tls
        })?;
        Box::new(tls)
    } else {
        Box::new(tcp)
    };
    shake_hands(stream, octets).await
}

/// Those of a host that may be asked.
async fn addresses(
    host: &str,
    port: u16,
    public: bool,
    settings: &Settings,
) -> Result<Vec<SocketAddr>, StreamTrouble> {
    let found = lookup_host((host, port)).await.map_err(|error| {
        debug!(host, %error, "the name of a stream's server cannot be looked up");
        StreamTrouble::Timeout
    })?;
    let admitted: Vec<SocketAddr> = found
        .filter(|at| !public || (settings.admit)(at.ip()))
        .collect();
    if admitted.is_empty() {
        return Err(StreamTrouble::Refused);
    }
    Ok(admitted)
}

/// The first that can be connected to.
async fn reach(addresses: &[SocketAddr]) -> Result<TcpStream, StreamTrouble> {
    for address in addresses {
        match reach_one(*address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => debug!(%address, %error, "a stream's server cannot be reached"),
        }
    }
    Err(StreamTrouble::Timeout)
}

async fn reach_one(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_send_buffer_size(SEND_BUFFER)?;
    let tcp = socket.connect(address).await?;
    tcp.set_nodelay(true)?;
    SockRef::from(&tcp).set_tcp_user_timeout(Some(SILENT))?;
    Ok(tcp)
}

async fn shake_hands(stream: &NewStream, octets: Box<dyn Octets>) -> Result<Socket, StreamTrouble> {
    let mut request = stream
        .url
        .as_str()
        .into_client_request()
        .map_err(|_| StreamTrouble::Refused)?;
    if !stream.signature.is_empty() {
        let signature = HeaderValue::from_str(&stream.signature);
        let signature = signature.map_err(|_| StreamTrouble::Refused)?;
        request
            .headers_mut()
            .insert("x-twilio-signature", signature);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE));
    let shaken = tokio_tungstenite::client_async_with_config(request, octets, Some(config)).await;
    match shaken {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(StreamTrouble::Handshake(response.status().as_u16())),
        Err(error) => {
            debug!(url = %stream.url, %error, "a stream's server does not speak WebSocket");
            Err(StreamTrouble::Protocol)
        }
    }
}
