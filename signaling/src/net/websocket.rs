//! One connection of a browser: SIP over WebSocket (RFC 7118), plain or over TLS.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use sip::message::{Limits as MessageLimits, Message as SipMessage};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        self, Message, Utf8Bytes,
        handshake::server::{Callback, ErrorResponse, Request, Response},
        http::{HeaderValue, StatusCode, header},
        protocol::WebSocketConfig,
    },
};

use super::connection::{Batch, End, Link, Outgoing};
use crate::defence::Evidence;

/// The subprotocol (RFC 7118 section 4).
const SUBPROTOCOL: &str = "sip";
/// What is read at once; a connection that says nothing holds as much.
const READ: usize = 4 << 10;
/// What may be written and not gone out, beside one message.
const WRITE: usize = 64 << 10;
/// A pong may take this long after the second ping.
const PONG: Duration = Duration::from_secs(10);
/// How long the last words may take.
const LAST: Duration = Duration::from_secs(1);

/// Upgrades a connection, where its client asks for SIP and comes from a page of `origins`.
pub(super) async fn accept<S>(stream: S, origins: &[String]) -> Result<WebSocketStream<S>, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let most = MessageLimits::default().message;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE + most)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    accept_hdr_async_with_config(stream, Upgrade { origins }, Some(config))
        .await
        .map_err(|error| End::Handshake(error.to_string()))
}

struct Upgrade<'a> {
    origins: &'a [String],
}

impl Callback for Upgrade<'_> {
    fn on_request(
        self,
        request: &Request,
        mut response: Response,
    ) -> Result<Response, ErrorResponse> {
        let headers = request.headers();
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
        let speaks_sip = offered
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|protocol| protocol.trim().eq_ignore_ascii_case(SUBPROTOCOL));
        if !speaks_sip {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "the subprotocol sip is needed",
            ));
        }
        let origin = headers
            .get(header::ORIGIN)
            .and_then(|value| value.to_str().ok());
        let welcome = |origin: &str| {
            self.origins
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(origin))
        };
        // What is no browser sends none, and could send any: this protects a browser's user, not us.
        if !self.origins.is_empty() && origin.is_some_and(|origin| !welcome(origin)) {
            return Err(refusal(StatusCode::FORBIDDEN, "this origin is not welcome"));
        }
        response.headers_mut().insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
        Ok(response)
    }
}

fn refusal(status: StatusCode, why: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(why.to_owned()));
    *response.status_mut() = status;
    response
}

/// Moves messages in both directions until one of them ends.
pub(super) async fn run<S>(
    socket: WebSocketStream<S>,
    link: &Link,
    outgoing: &mut mpsc::Receiver<Outgoing>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    let end = tokio::select! {
        end = read(&mut stream, link) => end,
        end = write(&mut sink, link, outgoing) => end,
        () = link.close.cancelled() => link.connections.why_closed(link),
    };
    if matches!(end, End::Stopped) {
        outgoing.close();
    }
    if matches!(end, End::Stopped | End::Framing(_)) {
        drop(timeout(LAST, write(&mut sink, link, outgoing)).await);
    }
    drop(timeout(LAST, sink.close()).await);
    end
}

async fn read<S>(stream: &mut SplitStream<WebSocketStream<S>>, link: &Link) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let opened = Instant::now();
    let mut heard = opened;
    // A client answers pings while it is there: it may be silent only where it is gone, or where it
    // dribbles a frame.
    let alive = link.limits.ping * 2 + PONG;
    loop {
        let spoke = link.spoke.load(std::sync::atomic::Ordering::Relaxed);
        let first = opened + link.limits.first;
        let (at, end) = if !spoke && first < heard + alive {
            (first, End::Mute)
        } else {
            (heard + alive, End::Idle)
        };
        let payload = match timeout_at(at, stream.next()).await {
            Err(_) => return end,
            Ok(None | Some(Ok(Message::Close(_)))) => return End::Closed,
            Ok(Some(Err(error))) => {
                let is_too_large = matches!(error, tungstenite::Error::Capacity(_));
                let end = failure(error);
                if matches!(end, End::Framing(_)) && !is_too_large {
                    link.dispatcher.report(&link.flow, Evidence::NotSip);
                }
                return end;
            }
            Ok(Some(Ok(Message::Text(text)))) => Bytes::from(text),
            Ok(Some(Ok(Message::Binary(bytes)))) => bytes,
            // The library answers pings, when something is read or written next.
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {
                heard = Instant::now();
                continue;
            }
        };
        heard = Instant::now();
        if payload.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            if payload.starts_with(b"\r\n\r\n") {
                link.pong();
            }
            continue;
        }
        let message = SipMessage::parse(payload);
        if let Err(error) = &message
            && error.partial.is_none()
        {
            let end = End::Framing(error.to_string());
            // As on a stream: what is no SIP counts against its source.
            link.dispatcher.framed(link.flow, message, &link.concerned);
            return end;
        }
        if !link.deliver(message) {
            return End::Flooding;
        }
    }
}

async fn write<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    link: &Link,
    outgoing: &mut mpsc::Receiver<Outgoing>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut batch = Batch::new(link);
    let mut ping = tokio::time::interval_at(Instant::now() + link.limits.ping, link.limits.ping);
    loop {
        let next = tokio::select! {
            next = outgoing.recv() => next,
            _ = ping.tick() => {
                match timeout(link.limits.write, sink.send(Message::Ping(Bytes::new()))).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => return failure(error),
                    Err(_) => return End::Stalled,
                }
            }
        };
        // The link holds a sender, so this is only seen when the task is being taken down.
        let Some(next) = next else {
            return End::Stopped;
        };
        let payload = next.payload.clone();
        let message = match Utf8Bytes::try_from(payload) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(next.payload.clone()),
        };
        batch.messages.push(next);
        match timeout(link.limits.write, sink.send(message)).await {
            Ok(Ok(())) => batch.wrote(),
            Ok(Err(error)) => return failure(error),
            Err(_) => return End::Stalled,
        }
    }
}

/// A browser that is closed, or whose network is gone, takes no leave: that is no fault of its frames.
fn failure(error: tungstenite::Error) -> End {
    use tungstenite::{
        Error,
        error::ProtocolError::{
            ReceivedAfterClosing, ResetWithoutClosingHandshake, SendAfterClosing,
        },
    };

    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ReceivedAfterClosing | ResetWithoutClosingHandshake | SendAfterClosing) => {
            End::Closed
        }
        Error::Io(error) => End::Failed(error),
        other => End::Framing(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
