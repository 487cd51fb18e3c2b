//! mediad as a whole: the engine with everything around it, until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use control::bind::hint;
use control::channel::Handler;
use control::config::NgListen;
use control::media::{Drain, Media, Request, Response};
use control::{Client, Config, Endpoint, Fault, Listener};
use prometheus::Registry;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::engine::{Engine, EngineError};
use crate::ng;
use crate::reload::Reread;

/// Why mediad did not start.
#[derive(Debug, Error)]
pub enum RunError {
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The control socket cannot be served.
    #[error("cannot serve the control socket {endpoint}: {source}")]
    Control {
        /// Which.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// The NG protocol cannot be served.
    #[error("[media] ng: cannot receive on {address}: {source}{}", hint(source))]
    Ng {
        /// Where.
        address: NgListen,
        /// Why.
        source: io::Error,
    },
    /// A part that serves for good has ended by itself; the log says why.
    #[error("the {server} server has ended by itself: see the log, and start again")]
    Ended {
        /// Which.
        server: &'static str,
    },
    /// The metrics page cannot be served.
    #[error("[media] metrics: cannot serve on {address}: {source}{}", hint(source))]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// What a media engine is told by its process, beside what clients ask of it.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// As [`control::media::Request::Drain`].
    Drain(Drain),
    /// As [`control::media::Request::Reload`].
    Reload,
}

/// What a media engine runs in.
pub struct Around {
    /// Where the control channel is served; `None` for a process of its own, which serves the configured Unix socket.
    pub listener: Option<Listener>,
    /// How to come to another configuration.
    pub reread: Reread,
    /// What the process has to say.
    pub orders: mpsc::UnboundedReceiver<Order>,
    /// Ends the engine when it is cancelled.
    pub shutdown: CancellationToken,
}

/// Runs a media engine until it is told to end: serves the control channel, and the metrics page where one is
/// configured. One that is a process of its own ends once it was drained, too, where that was ordered.
///
/// When it returns, the sessions have ended and nothing is left in the kernel; but a process of its own leaves calls
/// that go on by XDP to the next one.
///
/// # Errors
/// [`RunError`], for what has to be changed before it can start.
pub async fn run(config: &Config, mut around: Around) -> Result<(), RunError> {
    let registry = Registry::new();
    let is_alone = around.listener.is_none();
    let listener = match around.listener.take() {
        Some(listener) => listener,
        None => listen(config)?,
    };
    let metrics = match config.media.metrics {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let mut ng = Vec::new();
    for address in &config.media.ng {
        ng.push(bind_ng(*address).await?);
    }
    let engine = Engine::start(config, &registry).await?;
    if is_alone {
        engine.set_alone();
    }
    let media = engine.reload_by(&config.media, around.reread);
    let leaving = CancellationToken::new();
    let handler = Arc::new(Served {
        engine: engine.clone(),
        leaving: leaving.clone(),
    });
    // To the very end: that it is gone tells clients that the engine is.
    let mut control = pin!(control::channel::serve(
        listener,
        handler.clone(),
        engine.events()
    ));
    // The NG front is a client like others, over a pipe in memory.
    let (pipe, endpoint) = Endpoint::memory();
    let fronts = control::channel::serve(pipe, handler, engine.events());
    let ng = async {
        if ng.is_empty() {
            return std::future::pending().await;
        }
        ng::serve(ng, media, Client::connect(endpoint), &registry).await
    };
    let page = async {
        match metrics {
            Some(listener) => serve_metrics(listener, engine.clone()).await,
            None => std::future::pending().await,
        }
    };
    let obey = async {
        while let Some(order) = around.orders.recv().await {
            obey(&engine, order);
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        () = around.shutdown.cancelled() => None,
        () = engine.drained() => None,
        () = obey => None,
        () = &mut control => Some("control"),
        () = fronts => Some("NG front's control"),
        result = ng => {
            error!(error = ?result.err(), "the NG server has ended");
            Some("NG")
        }
        () = page => Some("metrics"),
        () = engine.watch_hops() => Some("next-hop"),
    };
    info!("the media engine stops");
    leaving.cancel();
    match is_alone {
        true => engine.leave().await,
        false => engine.stop().await,
    }
    ended.map_or(Ok(()), |server| Err(RunError::Ended { server }))
}

/// Answers clients until the engine leaves. What is asked then is left open: clients ask the next engine, where one comes,
/// and not one whose shards are gone.
struct Served {
    engine: Engine,
    leaving: CancellationToken,
}

impl Handler<Media> for Served {
    fn handle(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let leaving = self.leaving.clone();
        let answer = (!leaving.is_cancelled()).then(|| self.engine.handle(request));
        async move {
            let answer = match answer {
                Some(answer) => leaving.run_until_cancelled_owned(answer).await,
                None => None,
            };
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }
}

fn obey(engine: &Engine, order: Order) {
    match order {
        Order::Drain(drain) => {
            if let Err(fault) = engine.drain(drain) {
                error!(reason = %fault.message, "cannot drain");
            }
        }
        // A file is read; what came of it is in the log.
        Order::Reload => drop(tokio::task::spawn_blocking({
            let engine = engine.clone();
            move || engine.reload()
        })),
    }
}

fn listen(config: &Config) -> Result<Listener, RunError> {
    let endpoint = config.media_endpoint();
    let failed = |source| RunError::Control {
        endpoint: endpoint.to_string(),
        source,
    };
    match &endpoint {
        Endpoint::Unix(path) => Endpoint::listen(Path::new(path)).map_err(failed),
        Endpoint::Memory(_) => Err(failed(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an endpoint in memory needs the listener that it came with",
        ))),
    }
}

async fn bind_ng(address: NgListen) -> Result<ng::Bound, RunError> {
    let failed = |source| RunError::Ng { address, source };
    ng::bind(address).await.map_err(failed)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Metrics { address, source })
}

async fn serve_metrics(listener: TcpListener, engine: Engine) {
    let page = move || {
        let engine = engine.clone();
        async move { ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], engine.metrics()).into_response() }
    };
    let routes = Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(|| async { "ok\n" }));
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving metrics");
    }
    if let Err(error) = axum::serve(listener, routes).await {
        error!(%error, "the metrics page cannot be served any more");
    }
}
