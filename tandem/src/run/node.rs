//! The daemons of a node: their start in order, and their end in the opposite one.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path, time::Duration};

use api::{AdminKey, Api, Tls};
use control::{
    Client, Config, Endpoint, Listener,
    media::{self, Media, MediaStatus},
    signal::Signal,
};
use mediad::{Around, RunError};
use signaling::{Bound, NewPassword, Running};
use store::{CdrWriter, Store, WriterOptions, WriterTask};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    exit::Failure,
    node::{Source, read},
};

/// How long mediad may take to start: the verifier reads the XDP program, and ports are bound.
const MEDIA_START: Duration = Duration::from_secs(30);
/// How long the parties have to answer our BYEs when the node stops.
const GRACE: Duration = Duration::from_secs(5);
/// How long the last records may take to be written.
const RECORDS: Duration = Duration::from_secs(5);
/// How long mediad may take to take its program and its sockets down.
const MEDIA_STOP: Duration = Duration::from_secs(5);

/// A running node.
#[derive(Debug)]
pub(super) struct Node {
    signaling: Running,
    writer: WriterTask,
    store: Store,
    mediad: Task<Result<(), RunError>>,
    api: Task<()>,
    /// What a banner tells.
    pub(super) facts: Facts,
}

/// What of a node has to be ended by somebody who starts one, and does not go on.
#[derive(Debug, Default)]
pub(super) struct Begun {
    mediad: Option<Task<Result<(), RunError>>>,
}

impl Begun {
    /// Ends it: the XDP program must not outlive a node that never ran.
    pub(super) async fn end(self) {
        if let Some(mediad) = self.mediad {
            mediad.end("mediad", MEDIA_STOP).await;
        }
    }
}

/// What became of the configuration.
#[derive(Debug)]
pub(super) struct Facts {
    /// Where SIP is received.
    pub(super) listen: Vec<String>,
    /// The media engine.
    pub(super) media: MediaStatus,
    /// Where HTTP is served.
    pub(super) api: std::net::SocketAddr,
    /// The admin key, where it was made just now.
    pub(super) new_key: Option<String>,
    /// The passwords that were made just now.
    pub(super) new_passwords: Vec<NewPassword>,
}

/// A daemon's task, and what ends it.
#[derive(Debug)]
struct Task<T> {
    task: JoinHandle<T>,
    stop: CancellationToken,
}

impl Node {
    /// Starts everything: first what others stand on, and what fails most easily before what takes
    /// longest. SIP's sockets are `bound` already. What has `begun` is the caller's to end where this fails, or is not waited for.
    pub(super) async fn start(
        config: &Config,
        bound: Bound,
        source: &Source,
        begun: &mut Begun,
    ) -> Result<Self, Failure> {
        let data_dir = &config.node.data_dir;
        make_private(data_dir)?;
        let (key, is_new) = admin_key(config)?;
        let new_key = is_new.then(|| key.reveal().to_owned());
        let (media_listener, media) = joined(&config.media_endpoint())?;
        let (signal_listener, signal) = joined(&config.signal_endpoint())?;
        let store = Store::open_with(&config.store.url, data_dir, config.store.cache)
            .await
            .map_err(other)?;
        let media = Client::<Media>::connect(media);
        let signal = Client::<Signal>::connect(signal);
        let tls = config.api.tls.as_ref().map(Tls::load);
        let tls = tls.transpose().map_err(other)?;
        // Binding tells whether another node is here; serving waits until all is up.
        let server = Api {
            node: config.node.name.clone(),
            listen: config.api.listen,
            admin_key: key,
            requests: config.api.requests,
            jwt: config.api.jwt.clone(),
            tls: tls.clone(),
            cors: config.api.cors.clone(),
            trusted_proxies: config.api.trusted_proxies.clone(),
            recordings: config.media.recordings.clone(),
            forwarded_by: config.api.forwarded_by,
            public_url: config.voice.public_url.clone(),
            store: store.clone(),
            signal,
            media: media.clone(),
        };
        let server = server.bind().await.map_err(other)?;
        let address = server.address();

        let mediad = start_mediad(config.clone(), source, media_listener);
        let status = media_status(&media, begun.mediad.insert(mediad)).await?;
        let (cdrs, writer) = CdrWriter::start(store.clone(), WriterOptions::default());
        let (again, routing) = (reread(source, tls), store.clone());
        let started = signaling::start(config, bound, again, media, routing, cdrs, signal_listener);
        let signaling = started.await.map_err(other)?;
        let mediad = begun.mediad.take();
        let mediad = mediad.ok_or_else(|| other("mediad was ended while the node started"))?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone().cancelled_owned()));
        Ok(Self {
            facts: Facts {
                listen: signaling.listen().to_vec(),
                media: status,
                api: address,
                new_key,
                new_passwords: signaling.new_passwords().to_vec(),
            },
            signaling,
            writer,
            store,
            mediad,
            api: Task { task, stop },
        })
    }

    /// Reads the configuration and the store again; the log tells what came of it.
    pub(super) async fn reload(&self) {
        self.signaling.reload().await;
    }

    /// Waits until a daemon ends by itself, which none should, and tells why.
    pub(super) async fn failed(&mut self) -> Failure {
        tokio::select! {
            ended = &mut self.mediad.task => ended_early(ended),
            ended = &mut self.api.task => Failure::other(match ended {
                Ok(()) => "the API has ended; its last words are in the log".to_owned(),
                Err(error) => format!("the API failed: {error}"),
            }),
            () = self.signaling.failed() => {
                Failure::other("signaling has panicked; where is in the log".to_owned())
            }
        }
    }

    /// Stops everything: calls end with BYE while media still flows, then mediad, then the records are
    /// written, and the API answers until the end.
    pub(super) async fn stop(self) {
        self.signaling.stop(GRACE).await;
        self.mediad.end("mediad", MEDIA_STOP).await;
        let lost = self.writer.stop(RECORDS).await;
        if lost > 0 {
            warn!(records = lost, "CDRs were lost; each is in the log");
        }
        self.api.end("api", GRACE).await;
        self.store.close().await;
        info!("the node has stopped");
    }
}

impl<T> Task<T> {
    /// Ends the task; does not wait for longer than `patience`.
    async fn end(self, name: &str, patience: Duration) {
        self.stop.cancel();
        // One that ended before has said why.
        if self.task.is_finished() {
            return;
        }
        if tokio::time::timeout(patience, self.task).await.is_err() {
            warn!(daemon = name, "did not stop in time");
        }
    }
}

fn start_mediad(config: Config, source: &Source, listener: Listener) -> Task<Result<(), RunError>> {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let source = source.clone();
    let reread = move || match read(&source) {
        Ok(loaded) => Ok(loaded.config),
        Err(Failure::Config { error, .. }) => Err(error.reasons()),
        Err(other) => Err(vec![other.to_string()]),
    };
    // What there is to say comes by the control channel.
    let (_, orders) = mpsc::unbounded_channel();
    let around = Around {
        listener: Some(listener),
        reread: Box::new(reread),
        orders,
        shutdown: stopped,
    };
    let run = async move { mediad::run(&config, around).await };
    Task {
        task: tokio::spawn(run),
        stop,
    }
}

/// Waits until mediad answers. Its own reason where it ends instead.
async fn media_status(
    client: &Client<Media>,
    mediad: &mut Task<Result<(), RunError>>,
) -> Result<MediaStatus, Failure> {
    let ask = async {
        loop {
            // A request that waited too long for the start is asked again.
            if let Ok(media::Response::Status(status)) =
                client.request(media::Request::Status).await
            {
                return status;
            }
        }
    };
    tokio::select! {
        status = tokio::time::timeout(MEDIA_START, ask) => status.map_err(|_| {
            Failure::other(format!("mediad did not start within {} s", MEDIA_START.as_secs()))
        }),
        ended = &mut mediad.task => Err(ended_early(ended)),
    }
}

fn ended_early(ended: Result<Result<(), RunError>, tokio::task::JoinError>) -> Failure {
    Failure::other(match ended {
        Ok(Ok(())) => "mediad has ended; its last words are in the log".to_owned(),
        Ok(Err(error)) => format!("mediad: {error}"),
        Err(error) => format!("mediad failed: {error}"),
    })
}

/// How signaling reads the configuration again, and the API's certificate with it.
fn reread(source: &Source, tls: Option<Tls>) -> signaling::Reread {
    let source = source.clone();
    Box::new(move || {
        let loaded = read(&source).map_err(|failure| match failure {
            Failure::Config { error, .. } => error.reasons(),
            other => vec![other.to_string()],
        })?;
        let beside = api::read(tls.as_ref(), &loaded.config).map_err(|error| vec![error])?;
        Ok(signaling::Read {
            config: loaded.config,
            beside: Some(beside),
        })
    })
}

/// A listener for clients in this process and at the configured socket, and the endpoint of the
/// former.
fn joined(endpoint: &Endpoint) -> Result<(Listener, Endpoint), Failure> {
    let (memory, within) = Endpoint::memory();
    let listener = match endpoint {
        Endpoint::Unix(path) => {
            let socket = Endpoint::listen(path).map_err(|error| {
                Failure::other(format!(
                    "cannot serve control at {}: {error}",
                    path.display()
                ))
            })?;
            memory.and(socket)
        }
        Endpoint::Memory(_) => memory,
    };
    Ok((listener, within))
}

/// The configured key, or the one in the data directory; tells whether it was made just now.
fn admin_key(config: &Config) -> Result<(AdminKey, bool), Failure> {
    match &config.api.admin_key {
        Some(key) => Ok((AdminKey::new(key).map_err(other)?, false)),
        None => AdminKey::load_or_create(&config.node.data_dir).map_err(other),
    }
}

/// Makes the data directory, for its owner only.
fn make_private(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| {
        Failure::other(format!(
            "cannot make [node] data_dir {}: {error}",
            path.display()
        ))
    })
}

pub(super) fn other(error: impl std::fmt::Display) -> Failure {
    Failure::other(error.to_string())
}
