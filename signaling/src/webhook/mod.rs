//! Asks webhooks for documents, as [`voice::call::Action::Request`] wants it: what is followed, repeated or given up
//! is the call's to say.
//!
//! Each request has a connection of its own, that ends with it. A connection that is kept may be closed by the other
//! side as it is used again, and nobody could say whether that request was heard; what TLS costs is saved by resuming
//! sessions. No proxy of the environment is used: it would look names up by itself.

mod connect;
pub mod socket;
mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    error::Error,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use control::config::{Cidr, Voice};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use tracing::{debug, warn};
use voice::{
    call::{Request, RequestError, Response},
    twiml::MAX_DOCUMENT,
};

use self::{
    socket::{Orders, Place, Sockets},
    target::Target,
};
use crate::resolve::Hosts;

/// Requests under way at once at most.
const MOST: usize = 2_000;
/// The same to one host, so that one that is slow leaves room for the others.
const MOST_OF_HOST: usize = 500;
/// Octets of a response's head at most.
const MOST_HEAD: usize = 64 * 1024;
/// What is read of a body: enough to see that it is too long.
const MOST_BODY: usize = MAX_DOCUMENT + 1;

/// Who asks. Clones share the limits of what is under way.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let free = self.shared.free.available_permits();
        f.debug_struct("Client")
            .field("free", &free)
            .finish_non_exhaustive()
    }
}

struct Shared {
    tls: TlsConnector,
    names: Hosts,
    /// Addresses that tenants may have asked though they are not public.
    allow: Vec<Cidr>,
    free: Semaphore,
    /// Requests under way, by host and port.
    hosts: Mutex<HashMap<String, usize>>,
    sockets: Sockets,
}

impl Client {
    /// One that trusts the system's certificates.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(config: &Voice) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            warn!(
                "no https: webhook will be asked: install the system's certificates (ca-certificates)"
            );
        }
        Self::trusting(roots, config)
    }

    fn trusting(roots: RootCertStore, config: &Voice) -> Result<Self, rustls::Error> {
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let shared = Shared {
            tls: TlsConnector::from(Arc::new(tls)),
            names: Hosts::of_system(),
            allow: config.allow.clone(),
            free: Semaphore::new(MOST),
            hosts: Mutex::default(),
            sockets: Sockets::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Asks once. With `public`, which is for what a tenant wrote, at public addresses and those of `[voice] allow`
    /// alone. Whoever drops the future ends the connection. What is said on a socket is said in the order of the calls
    /// of this. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Why there is no response; [`RequestError::Refused`] where too much is under way.
    pub fn ask(
        &self,
        request: Request,
        public: bool,
    ) -> impl Future<Output = Result<Response, RequestError>> + Send + use<> {
        let asked = match request.exchange.clone() {
            Some(exchange) => Ok(Sockets::ask(&self.shared, request, exchange, public)),
            None => Err((self.clone(), request)),
        };
        async move {
            match asked {
                Ok(said) => said.await,
                Err((client, request)) => client.ask_by_http(request, public).await,
            }
        }
    }

    async fn ask_by_http(&self, request: Request, public: bool) -> Result<Response, RequestError> {
        let target = Target::of(&request.url).ok_or(RequestError::Host)?;
        if target.is_socket {
            return Err(RequestError::Protocol);
        }
        let shared = &*self.shared;
        let _one_of_all = shared
            .free
            .try_acquire()
            .map_err(|_| RequestError::Refused)?;
        let _one_of_host = OfHost::take(&shared.hosts, target.authority())?;
        let connected = connect::connect(&target, shared, public);
        let stream = match timeout(request.connect_timeout, connected).await {
            Ok(stream) => stream?,
            Err(_) => return Err(RequestError::Connect),
        };
        let patience = request.read_timeout;
        exchange(stream, &target, request, patience).await
    }
}

impl Client {
    /// Keeps these sockets of applications open. Must be called inside a tokio runtime.
    pub fn keep_open(&self, places: HashSet<Place>) {
        Sockets::configure(&self.shared, places);
    }

    /// Closes all sockets, for good.
    pub fn close_sockets(&self) {
        self.shared.sockets.close();
    }

    /// By whom applications change and make calls by their sockets.
    pub fn set_orders(&self, orders: Orders) {
        self.shared.sockets.set_orders(orders);
    }
}

/// A request that is under way, counted for its host.
struct OfHost<'a> {
    hosts: &'a Mutex<HashMap<String, usize>>,
    host: String,
}

impl<'a> OfHost<'a> {
    fn take(hosts: &'a Mutex<HashMap<String, usize>>, host: String) -> Result<Self, RequestError> {
        let mut counts = hosts.lock();
        let count = counts.entry(host.clone()).or_default();
        if *count >= MOST_OF_HOST {
            return Err(RequestError::Refused);
        }
        *count += 1;
        drop(counts);
        Ok(Self { hosts, host })
    }
}

impl Drop for OfHost<'_> {
    fn drop(&mut self) {
        let mut counts = self.hosts.lock();
        if let Some(count) = counts.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.host);
            }
        }
    }
}

/// Sends a request, and takes what is answered.
async fn exchange(
    stream: connect::Stream,
    target: &Target,
    request: Request,
    patience: Duration,
) -> Result<Response, RequestError> {
    let until = Instant::now() + patience;
    let request = write(target, request)?;
    let opened = http1::Builder::new()
        .max_buf_size(MOST_HEAD)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = opened.map_err(|error| protocol(&error))?;
    // Moves the octets for as long as the response is waited for.
    let drive = async {
        if let Err(error) = connection.await {
            debug!(%error, "a webhook's connection ended");
        }
        std::future::pending::<Infallible>().await
    };
    let answer = async {
        let response = sender.send_request(request).await;
        take(response.map_err(|error| protocol(&error))?).await
    };
    let both = async {
        tokio::select! {
            answer = answer => answer,
            never = drive => match never {},
        }
    };
    timeout_at(until, both)
        .await
        .unwrap_or(Err(RequestError::Timeout))
}

fn write(target: &Target, request: Request) -> Result<hyper::Request<Full<Bytes>>, RequestError> {
    let mut written = hyper::Request::builder()
        .method(request.method)
        .uri(target.path())
        .header(header::HOST, target.authority())
        .header(
            header::USER_AGENT,
            concat!("Tandem/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONNECTION, "close");
    if let Some(credentials) = target.credentials() {
        written = written.header(header::AUTHORIZATION, credentials);
    }
    for (name, value) in &request.headers {
        written = written.header(*name, value);
    }
    let body = request.body.unwrap_or_default();
    written
        .body(Full::from(body))
        .map_err(|error| protocol(&error))
}

async fn take(response: hyper::Response<Incoming>) -> Result<Response, RequestError> {
    let text = |name| {
        let value = response.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let (content_type, location) = (text(header::CONTENT_TYPE), text(header::LOCATION));
    let status = response.status().as_u16();
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while body.len() < MOST_BODY && !incoming.is_end_stream() {
        let Some(frame) = incoming.frame().await else {
            break;
        };
        let frame = frame.map_err(|error| protocol(&error))?;
        if let Some(data) = frame.data_ref() {
            let room = MOST_BODY - body.len();
            body.extend_from_slice(data.get(..room).unwrap_or(data));
        }
    }
    Ok(Response {
        status,
        content_type,
        location,
        body,
    })
}

fn protocol(error: &dyn Error) -> RequestError {
    debug!(%error, "a webhook's response is no HTTP");
    RequestError::Protocol
}
