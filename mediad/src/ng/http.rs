//! HTTP: `POST /ng` with a message, `POST /ng-plain` with one that has no cookie, `GET /ping`, `GET /metrics`; and
//! WebSocket on any path.
//!
//! A browser asks whatever page it shows to, also from this machine, where requests need no permission. So a request
//! with an `Origin` is refused (a page can make its own name mean this machine), and so is a content type that a page may send without being asked.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State, connect_info::Connected},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::{IncomingStream, Listener},
};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use ng::frame;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    desk::Desk,
    tcp::{CONNECTIONS, WRITE_TIMEOUT, keep_alive},
};

/// The sub-protocol, and the content type of messages.
const PROTOCOL: &str = "ng.rtpengine.com";
const CONTENT: &str = "application/x-rtpengine-ng";

#[derive(Clone)]
struct Http {
    desk: Arc<Desk>,
    stop: CancellationToken,
}

/// Serves HTTP until `stop` is cancelled.
pub(super) async fn serve(
    listener: TcpListener,
    desk: Arc<Desk>,
    stop: CancellationToken,
) -> io::Result<()> {
    let door = Door {
        listener,
        desk: Arc::clone(&desk),
        room: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    let http = Http { desk, stop };
    let routes = Router::new()
        .route("/ng", post(cookie).get(websocket))
        .route("/ng-plain", post(plain).get(websocket))
        .route("/ping", get(|| async { "pong\n" }))
        .route("/metrics", get(metrics))
        .fallback(websocket)
        .layer(middleware::from_fn(no_page))
        .layer(DefaultBodyLimit::max(frame::MAX_MESSAGE))
        .with_state(http);
    let service = routes.into_make_service_with_connect_info::<Client>();
    axum::serve(door, service).await
}

/// Lets those in who may ask, as many as there is room for.
struct Door {
    listener: TcpListener,
    desk: Arc<Desk>,
    room: Arc<Semaphore>,
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
                std::future::pending().await
            };
            match self.listener.accept().await {
                Ok((stream, client)) if self.desk.allows(client.ip()) => {
                    if let Err(error) = keep_alive(&stream) {
                        debug!(%client, %error, "an NG connection was dropped");
                        continue;
                    }
                    return (
                        Connection {
                            stream,
                            _room: room,
                        },
                        client,
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    warn!(%error, "cannot accept an NG connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection, and its place among them.
struct Connection {
    stream: TcpStream,
    _room: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Who has connected.
#[derive(Clone, Copy)]
struct Client(SocketAddr);

impl Connected<IncomingStream<'_, Door>> for Client {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Refuses what a page in a browser asks; clients of NG have no origin.
async fn no_page(request: Request, next: Next) -> Response {
    match request.headers().contains_key(header::ORIGIN) {
        true => (StatusCode::FORBIDDEN, "asked by a page in a browser\n").into_response(),
        false => next.run(request).await,
    }
}

async fn cookie(
    State(http): State<Http>,
    ConnectInfo(Client(client)): ConnectInfo<Client>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    let Some((cookie, body)) = frame::split(&body) else {
        http.desk.malformed();
        return (
            StatusCode::BAD_REQUEST,
            "a message is a cookie, a space, and a dictionary\n",
        )
            .into_response();
    };
    let (cookie, body) = (cookie.to_vec(), body.to_vec());
    match http.desk.answer(client.ip(), cookie, body).await {
        Some(answer) => ([(header::CONTENT_TYPE, CONTENT)], answer).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn plain(State(http): State<Http>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    let kind = match ng::Encoding::of(&body) {
        ng::Encoding::Json => "application/json",
        ng::Encoding::Bencode => CONTENT,
    };
    match http.desk.plain(body.into()).await {
        Some(answer) => ([(header::CONTENT_TYPE, kind)], answer).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn refused(headers: &HeaderMap) -> Option<Response> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    let fine = [CONTENT, "application/json", "application/x-bencode"];
    let is_fine = kind.is_some_and(|kind| fine.iter().any(|fine| kind.eq_ignore_ascii_case(fine)));
    (!is_fine).then(|| {
        let why = format!("Content-Type has to be {CONTENT} or application/json\n");
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response()
    })
}

async fn metrics(State(http): State<Http>) -> Response {
    match http.desk.front().metrics().await {
        Ok(page) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], page).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn websocket(
    State(http): State<Http>,
    ConnectInfo(Client(client)): ConnectInfo<Client>,
    mut request: Request,
) -> Response {
    let headers = request.headers();
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let is_upgrade = text(header::UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    let key = text(header::SEC_WEBSOCKET_KEY).filter(|_| is_upgrade);
    let Some(accept) = key.map(|key| derive_accept_key(key.as_bytes())) else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    let offered = text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    if !offered.split(',').any(|word| word.trim() == PROTOCOL) {
        let why = format!("the sub-protocol has to be {PROTOCOL}\n");
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let talk = async {
            match upgrade.await {
                Ok(stream) => messages(TokioIo::new(stream), client, &http.desk).await,
                Err(error) => debug!(%client, %error, "an NG WebSocket was not opened"),
            }
        };
        tokio::select! {
            () = http.stop.cancelled() => {}
            () = talk => {}
        }
    });
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
        (header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Answers messages in their order.
async fn messages(stream: TokioIo<hyper::upgrade::Upgraded>, client: SocketAddr, desk: &Arc<Desk>) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(frame::MAX_MESSAGE))
        .max_frame_size(Some(frame::MAX_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    while let Some(message) = socket.next().await {
        let (bytes, is_text) = match message {
            Ok(Message::Binary(bytes)) => (bytes.to_vec(), false),
            Ok(Message::Text(text)) => (text.as_bytes().to_vec(), true),
            // A ping is answered by the library.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(_)) | Err(_) => return,
        };
        let Some((cookie, body)) = frame::split(&bytes) else {
            desk.malformed();
            return;
        };
        let (cookie, body) = (cookie.to_vec(), body.to_vec());
        let Some(answer) = desk.answer(client.ip(), cookie, body).await else {
            return;
        };
        // As it was asked, where that can be: SDP need not be UTF-8.
        let answer = match is_text.then(|| String::from_utf8(answer.clone())) {
            Some(Ok(text)) => Message::text(text),
            _ => Message::binary(answer),
        };
        match timeout(WRITE_TIMEOUT, socket.send(answer)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
