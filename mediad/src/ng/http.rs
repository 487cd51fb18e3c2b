//! HTTP: `POST /ng` with a message, `POST /ng-plain` with one that has no cookie, `GET /ping`, `GET /metrics`; and
//! WebSocket on any path.
//!
//! A browser asks whatever page it shows to, also from this machine, where requests need no permission. So a request
//! with an `Origin` is refused (a page can make its own name mean this machine), and so is a content type that a page may send without being asked.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{SinkExt, StreamExt};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ng::frame::{self, FrameError};
use tokio::{
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
use tower_service::Service as _;
use tracing::{debug, warn};

use super::{
    desk::Desk,
    tcp::{CONNECTIONS, PATIENCE, WRITE_TIMEOUT, keep_alive},
};

/// The sub-protocol, and the content type of messages.
const PROTOCOL: &str = "ng.rtpengine.com";
const CONTENT: &str = "application/x-rtpengine-ng";

/// How long a request may take, its body's way here included.
const REQUEST: Duration = Duration::from_secs(30);
/// A WebSocket that says nothing for so long is pinged, and ended where it is silent for as long again. What comes in
/// pieces says nothing until it is whole.
const SILENCE: Duration = Duration::from_secs(60);

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
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let http = Http {
        desk: Arc::clone(&desk),
        stop: stop.clone(),
    };
    let router = Router::new()
        .route("/ng", post(cookie).get(websocket))
        .route("/ng-plain", post(plain).get(websocket))
        .route("/ping", get(|| async { "pong\n" }))
        .route("/metrics", get(metrics))
        .fallback(websocket)
        .layer(middleware::from_fn(in_time))
        .layer(DefaultBodyLimit::max(frame::MAX_MESSAGE))
        .with_state(http);
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return Ok(());
        };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept an NG connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !desk.allows(address.ip()) {
            continue;
        }
        let client = Client {
            address,
            _place: Arc::new(place),
        };
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                result = connection(stream, client, router) => if let Err(error) = result {
                    debug!(%address, %error, "an NG connection broke off");
                },
            }
        });
    }
}

/// Serves a client that says what it wants soon enough; one that is silent between two requests goes, too.
async fn connection(
    stream: TcpStream,
    client: Client,
    router: Router,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    keep_alive(&stream)?;
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut router, client) = (router.clone(), client.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(client));
            let answer: Result<Response, Infallible> = router.call(request).await;
            answer
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    Ok(serving.await?)
}

/// Who has connected, and its place among the connections, which it keeps where it becomes a WebSocket.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    _place: Arc<OwnedSemaphorePermit>,
}

/// Waits for a request and its answer, but not for ever.
async fn in_time(request: Request, next: Next) -> Response {
    let answered = timeout(REQUEST, no_page(request, next)).await;
    answered.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
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
    ConnectInfo(client): ConnectInfo<Client>,
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
    match http.desk.answer(client.address.ip(), cookie, body).await {
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
    ConnectInfo(client): ConnectInfo<Client>,
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
                Ok(stream) => messages(TokioIo::new(stream), &client, &http.desk).await,
                Err(error) => {
                    debug!(client = %client.address, %error, "an NG WebSocket was not opened");
                }
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
async fn messages(stream: TokioIo<hyper::upgrade::Upgraded>, client: &Client, desk: &Arc<Desk>) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(frame::MAX_MESSAGE))
        .max_frame_size(Some(frame::MAX_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let mut is_asked = false;
    loop {
        let message = match timeout(SILENCE, socket.next()).await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(_) if is_asked => return,
            Err(_) => {
                is_asked = true;
                let ping = socket.send(Message::Ping(Bytes::new()));
                match timeout(WRITE_TIMEOUT, ping).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        };
        is_asked = false;
        let (bytes, is_text) = match message {
            Ok(Message::Binary(bytes)) => (bytes.to_vec(), false),
            Ok(Message::Text(text)) => (text.as_bytes().to_vec(), true),
            // A ping is answered by the library.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(_)) | Err(_) => return,
        };
        let answer = match frame::split(&bytes) {
            Some((cookie, body)) => {
                let (cookie, body) = (cookie.to_vec(), body.to_vec());
                desk.answer(client.address.ip(), cookie, body).await
            }
            None => Some(desk.unread(b"", &bytes, FrameError::Cookie)),
        };
        let Some(answer) = answer else { return };
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
