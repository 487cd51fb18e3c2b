//! rtpengine's NG protocol over UDP: `ping`, `offer`, `answer` and `delete`, so that a proxy that
//! drives rtpengine can drive mediad.
//!
//! A datagram is a cookie, a space, and a bencoded dictionary; the answer repeats the cookie. The front is
//! a client of mediad's own control channel: what it can do, every client can. What a request asks for
//! and this version cannot do is refused with the reason, never ignored.

mod bencode;
mod call;
mod cookies;
mod description;
mod front;

use std::{io, sync::Arc, time::Instant};

use control::{Client, media::Media};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::{net::UdpSocket, sync::Semaphore};
use tracing::{info, warn};

use self::{
    cookies::{Cookies, Seen},
    front::Front,
};

/// The longest datagram that is read, in bytes: UDP's most.
const MAX_DATAGRAM: usize = 65_535;
/// Requests that are worked on at once; further ones wait in the socket.
const PIPELINE: usize = 256;

/// Answers the requests that come to `socket` until the future is dropped.
///
/// # Errors
/// When the metrics cannot be registered, or the socket cannot be used any more.
pub async fn serve(
    socket: UdpSocket,
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
    info!(address = %socket.local_addr()?, "serving rtpengine's NG protocol");

    let socket = Arc::new(socket);
    let cookies = Arc::new(std::sync::Mutex::new(Cookies::default()));
    let front = Arc::new(Front::new(media, requests));
    let watch = tokio::spawn(Arc::clone(&front).watch());
    let _stop_watching = AbortOnDrop(watch);
    let pipeline = Arc::new(Semaphore::new(PIPELINE));
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let Ok(permit) = Arc::clone(&pipeline).acquire_owned().await else {
            return Ok(());
        };
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP error of an answer that went nowhere.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error.into()),
        };
        let datagram = &buffer[..length];
        let Some(space) = datagram.iter().position(|byte| *byte == b' ') else {
            front.count("none", "malformed");
            continue;
        };
        let (cookie, body) = (datagram[..space].to_vec(), datagram[space + 1..].to_vec());
        let stored = match lock(&cookies).see(Instant::now(), &cookie) {
            Seen::New => None,
            Seen::Working => continue,
            Seen::Answered(answer) => Some(answer.to_vec()),
        };
        let (socket, cookies, front) = (socket.clone(), cookies.clone(), front.clone());
        tokio::spawn(async move {
            let answer = match stored {
                Some(answer) => answer,
                None => {
                    let mut answer = cookie.clone();
                    answer.push(b' ');
                    front.answer(&body).await.encode(&mut answer);
                    lock(&cookies).answer(&cookie, answer.clone());
                    answer
                }
            };
            if let Err(error) = socket.send_to(&answer, client).await {
                warn!(%client, %error, "cannot answer an NG request");
            }
            drop(permit);
        });
    }
}

/// Why the front stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket failed.
    #[error("the NG socket failed: {0}")]
    Io(#[from] io::Error),
    /// Its metrics are registered already.
    #[error("the NG front's metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The lock's data, also after a panic elsewhere: the cookies are a cache and stay usable.
fn lock(cookies: &std::sync::Mutex<Cookies>) -> std::sync::MutexGuard<'_, Cookies> {
    cookies
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
