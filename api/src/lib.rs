//! Tandem's REST API, health checks and metrics page.
//!
//! It holds nothing itself: live calls come from signaling and the metrics from signaling and mediad,
//! over [`control`]; what is past comes from [`store`]. So it may run in the node's one process or in
//! one of its own, and be restarted at any time.
//!
//! | path | what | who |
//! |---|---|---|
//! | `/healthz` | the process serves | anyone |
//! | `/readyz` | the node takes new calls | anyone |
//! | `/metrics` | Prometheus text of all daemons | anyone |
//! | `/openapi.json`, `/docs` | what there is, as OpenAPI 3.1; the same as a page to read and try | anyone |
//! | `/v1/…` | what that says | who has a key with the role that it names |
//! | `/2010-04-01/…` | what Twilio's clients know | who has an account's token or key |
//!
//! Lists are `{"items": […], "next": CURSOR or null}`; errors are RFC 9457 problem documents.

#![expect(
    unused_qualifications,
    reason = "utoipa's macros name the parameters of a generic type by a path"
)]

mod access;
mod accounts;
mod admin_key;
mod applications;
mod asked;
mod bans;
mod body;
mod calls;
mod cdrs;
mod changes;
mod client;
mod cors;
mod domains;
mod edited;
mod erasures;
mod events;
mod health;
mod hex;
mod idempotency;
mod keys;
mod local;
mod login;
mod lookup;
mod messages;
mod metrics;
mod middleware;
mod node;
mod openapi;
mod operators;
mod password;
mod problem;
mod proxy;
mod query;
mod rate;
mod recordings;
mod registrations;
mod reload;
mod routing;
pub mod rules;
mod serve;
mod tenants;
mod thing;
mod tls;
mod twilio;
mod users;
mod web;
mod webhooks;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::get,
};
use bytes::Bytes;
use control::{
    Client, Config,
    config::{Cidr, ForwardedBy},
    media::Media,
    signal::Signal,
    tls::TlsError,
};
use store::{Store, StoreError};
use tokio::{net::TcpListener, signal::unix};

pub use admin_key::{AdminKey, AdminKeyError};
pub use local::{Answer, Local, LocalError};
pub use reload::{Reread, TakeOver, read};
pub use tls::Tls;

/// How long answers that are under way may take after the shutdown began.
const GRACE: Duration = Duration::from_secs(5);

/// Octets of a request's body at most.
const MOST_BODY: usize = 256 << 10;

/// What the API is made of.
#[derive(Debug)]
pub struct Api {
    /// The node's name.
    pub node: String,
    /// Where HTTP is served; port 0 for any.
    pub listen: SocketAddr,
    /// Opens all of `/v1`.
    pub admin_key: AdminKey,
    /// Requests of one key in a second at most.
    pub requests: u32,
    /// Whose tokens open it too.
    pub jwt: Option<control::config::Jwt>,
    /// What HTTPS is served with; HTTP where there is nothing.
    pub tls: Option<Tls>,
    /// The origins whose pages may use it from a browser.
    pub cors: Vec<String>,
    /// Reverse proxies, which say whom they speak for.
    pub trusted_proxies: Vec<Cidr>,
    /// The folder of recordings of calls, where there is one.
    pub recordings: Option<PathBuf>,
    /// Where they say it.
    pub forwarded_by: ForwardedBy,
    /// Where it is reached by those who are told URLs; `None`: where it was asked.
    pub public_url: Option<String>,
    /// Where calls that are over are.
    pub store: Store,
    /// Where calls that are up are.
    pub signal: Client<Signal>,
    /// The media engine, for readiness and metrics.
    pub media: Client<Media>,
}

/// Why the API cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address is not this machine's, or is taken.
    #[error(
        "[api] listen: cannot serve HTTP at {address}: {source}{}",
        control::bind::hint(source)
    )]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The admin key cannot be used, made or kept.
    #[error(transparent)]
    AdminKey(#[from] AdminKeyError),
    /// There is no way to make requests.
    #[error("cannot make requests over HTTP: {0}")]
    Client(#[from] reqwest::Error),
    /// The secret of tokens is empty.
    #[error("[api.jwt] secret cannot be used: {0}")]
    Secret(#[from] jsonwebtoken::errors::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the handlers of `/v1` share.
#[derive(Debug)]
struct State {
    keys: access::Keys,
    events: Arc<events::Hub>,
    /// Wakes who tells the webhooks.
    bell: webhooks::Bell,
    passwords: password::Passwords,
    /// The node's name.
    node: String,
    store: Store,
    signal: Client<Signal>,
    media: Client<Media>,
    /// The folder of recordings of calls, where there is one.
    recordings: Option<PathBuf>,
    /// Where it is reached by those who are told URLs.
    public_url: Option<String>,
    /// Where the API is a process of its own.
    reload: Option<Arc<reload::Reload>>,
}

/// What stands before them where they are served by HTTP, and beside them.
#[derive(Debug)]
struct Front {
    state: Arc<State>,
    admin_key: AdminKey,
    /// Where an identity provider's tokens are taken.
    tokens: Option<Arc<access::Tokens>>,
    rules: access::Rules,
    rates: rate::Rates,
    /// As `/openapi.json` has it.
    document: Bytes,
    metrics: Arc<metrics::Metrics>,
    tls: Option<Tls>,
    /// Whose pages may ask.
    origins: Vec<String>,
    proxies: proxy::Proxies,
    last_readiness: health::Last,
    last_store: health::Last,
}

/// Runs the API as a daemon of its own, until `shutdown`: connects to the other daemons' control
/// sockets, and opens the store. At each hangup it takes over what `reread` says.
///
/// # Errors
/// Says what of the configuration cannot work here.
pub async fn run(
    config: &Config,
    reread: Reread,
    mut hangup: unix::Signal,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ApiError> {
    let data_dir = &config.node.data_dir;
    let admin_key = admin_key(config, data_dir)?;
    let api = Api {
        node: config.node.name.clone(),
        listen: config.api.listen,
        admin_key,
        requests: config.api.requests,
        jwt: config.api.jwt.clone(),
        tls: config.api.tls.as_ref().map(Tls::load).transpose()?,
        cors: config.api.cors.clone(),
        trusted_proxies: config.api.trusted_proxies.clone(),
        recordings: config.media.recordings.clone(),
        forwarded_by: config.api.forwarded_by,
        public_url: config.voice.public_url.clone(),
        store: Store::open(&config.store.url, data_dir).await?,
        signal: Client::connect(config.signal_endpoint()),
        media: Client::connect(config.media_endpoint()),
    };
    let store = api.store.clone();
    let reload = Arc::new(reload::Reload::new(reread, api.tls.clone()));
    let server = api.bind_with(Some(reload.clone())).await?;
    let reloads = async {
        while hangup.recv().await.is_some() {
            reload.run();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = server.run(shutdown) => {}
        () = reloads => {}
    }
    store.close().await;
    Ok(())
}

/// The configured key, or else the one that is kept in the data directory. A new one is printed to
/// standard error, this once.
///
/// # Errors
/// If the key is too weak, or cannot be kept.
pub fn admin_key(config: &Config, data_dir: &Path) -> Result<AdminKey, AdminKeyError> {
    if let Some(key) = &config.api.admin_key {
        return AdminKey::new(key);
    }
    let (key, new) = AdminKey::load_or_create(data_dir)?;
    if new {
        // Not through the log: a log is kept, and read by others.
        eprintln!(
            "admin key (shown this once, kept in {}/admin_key): {}",
            data_dir.display(),
            key.reveal()
        );
    }
    Ok(key)
}

impl Api {
    /// Takes the address, so that an error shows before anything else starts.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(self) -> Result<Server, ApiError> {
        self.bind_with(None).await
    }

    async fn bind_with(self, reload: Option<Arc<reload::Reload>>) -> Result<Server, ApiError> {
        let bind = |source| ApiError::Bind {
            address: self.listen,
            source,
        };
        let listener = TcpListener::bind(self.listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (open, open_document) = openapi::open().split_for_parts();
        let (v1, mut document) = openapi::v1().split_for_parts();
        document.merge(open_document);
        let state = Arc::new(State {
            reload,
            recordings: self.recordings,
            public_url: self.public_url,
            ..State::new(self.node, self.store, self.signal, self.media)
        });
        let metrics = Arc::new(metrics::Metrics::new());
        let teller = webhooks::Teller::new(state.clone(), metrics.clone())?;
        let events = state.events.clone();
        let tokens = self.jwt.as_ref().map(|jwt| {
            access::Tokens::new(jwt, state.store.clone(), metrics.clone()).map(Arc::new)
        });
        let tokens = tokens.transpose()?;
        let proxies = proxy::Proxies::new(&self.trusted_proxies, self.forwarded_by);
        let front = Arc::new(Front {
            state,
            admin_key: self.admin_key,
            tokens: tokens.clone(),
            rules: access::Rules::of(&document),
            rates: rate::Rates::new(self.requests),
            document: openapi::written(&document),
            metrics: metrics.clone(),
            tls: self.tls.clone(),
            origins: self.cors,
            proxies: proxies.clone(),
            last_readiness: health::Last::default(),
            last_store: health::Last::default(),
        });
        Ok(Server {
            listener,
            address,
            router: router(v1, open, front),
            events,
            teller,
            tokens,
            tls: self.tls,
            metrics,
            proxies,
        })
    }
}

impl State {
    fn new(node: String, store: Store, signal: Client<Signal>, media: Client<Media>) -> Self {
        Self {
            keys: access::Keys::new(store.clone()),
            events: Arc::new(events::Hub::new(signal.clone(), store.clone())),
            bell: webhooks::Bell::default(),
            passwords: password::Passwords::default(),
            node,
            store,
            signal,
            media,
            recordings: None,
            public_url: None,
            reload: None,
        }
    }
}

/// An API that has its address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    events: Arc<events::Hub>,
    teller: webhooks::Teller,
    tokens: Option<Arc<access::Tokens>>,
    tls: Option<Tls>,
    metrics: Arc<metrics::Metrics>,
    proxies: proxy::Proxies,
}

impl Server {
    /// Where it serves.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, and then lets answers that are under way end within a few seconds.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        tracing::info!(address = %self.address, tls = self.tls.is_some(), "API serving");
        let (began, begun) = tokio::sync::oneshot::channel();
        let mut telling = tokio::task::JoinSet::new();
        // What is not told when it ends is told after the next start.
        telling.spawn(self.teller.run());
        let mut keeping = tokio::task::JoinSet::new();
        if let Some(tokens) = self.tokens {
            keeping.spawn(async move { tokens.keep().await });
        }
        let stopped = async move {
            shutdown.await;
            self.events.close();
            // The receiver is gone only if serving already ended.
            let _: Result<(), ()> = began.send(());
        };
        let serve = async {
            match self.tls {
                Some(tls) => {
                    let listener =
                        tls::Listener::new(self.listener, tls, self.metrics, self.proxies.clone());
                    serve::serve(listener, self.router, self.proxies, stopped).await;
                }
                None => serve::serve(self.listener, self.router, self.proxies, stopped).await,
            }
        };
        let patience = async {
            if begun.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            () = serve => {}
            () = patience => tracing::warn!("API cut off clients that did not finish in time"),
        }
        if tokio::time::timeout(GRACE, telling.join_next())
            .await
            .is_err()
        {
            tracing::warn!("the store did not take the last events for webhooks in time");
        }
    }
}

fn router(v1: Router<Arc<State>>, open: Router<Arc<State>>, front: Arc<Front>) -> Router {
    let open = open
        .with_state(front.state.clone())
        .route_layer(from_fn(middleware::open));
    v1.with_state(front.state.clone())
        .route_layer(from_fn_with_state(front.clone(), middleware::v1))
        .merge(open)
        .merge(twilio::router().with_state(front.clone()))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::page))
        .route("/openapi.json", get(openapi::document))
        .merge(web::router())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(front.clone(), middleware::observe))
        .with_state(front)
}
