//! Tandem's SIP front: transports, proxy, trunks, calls.
//!
//! [`start`] binds the sockets and runs the workers in the present tokio runtime; [`Running::stop`]
//! ends the calls and takes all down. A worker's logic is pure, and knows nothing of sockets or time;
//! what surrounds it moves bytes, asks mediad and writes records.

mod accounts;
mod call;
mod clock;
mod defence;
mod directory;
mod ids;
mod keepalive;
mod lasting;
mod location;
mod media;
mod metrics;
mod net;
mod post;
mod provision;
mod recorded;
mod resolve;
mod retention;
mod rows;
mod service;
#[cfg(test)]
mod told;
#[cfg(feature = "otel")]
mod traces;
mod trunks;
mod vitals;
mod watch;
pub mod webhook;
mod weighted;
mod worker;

pub use accounts::provision::{NewPassword, row as user_row};
pub use directory::{PrefixMap, PrefixMapBuilder, explain};
pub use provision::{Read, Reread, TakeOver, check, document};

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use control::{
    Client, Config, Listener,
    channel::{Events, serve},
    config::Listen,
    media::Media,
};
use store::{CdrWriter, Store, StoreError, Timestamp};
use tokio::{sync::mpsc, time::timeout};
use tracing::{info, warn};

use crate::{
    accounts::{Access, Doorman, Orders},
    call::{Core, Policy},
    defence::{Guard, Kept},
    keepalive::Keepalive,
    media::Hub,
    metrics::Metrics,
    net::{Dispatcher, Shared, Tls},
    post::Post,
    provision::{Provision, State},
    resolve::{Resolver, Served},
    retention::Retention,
    service::{Parts, Service},
    vitals::Vitals,
    worker::{Command, Shell, Workers},
};

pub use accounts::SecretError;
pub use net::{Bound, TlsError};

/// How often a stopping node looks whether its calls are over.
const POLL: Duration = Duration::from_millis(20);
/// How long what is left of a stopping node may take: longer than the last rows of the store.
const CLOSING: Duration = Duration::from_secs(4);

/// Why signaling did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address of `[sip] listen` cannot be bound.
    #[error(
        "[sip] listen: cannot receive on {listen}: {error}{}",
        control::bind::hint(error)
    )]
    Bind {
        /// As configured.
        listen: Listen,
        /// The system's reason.
        error: io::Error,
    },
    /// A certificate cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// A thread cannot be started.
    #[error("cannot start a thread of [sip] workers: {0}")]
    Thread(io::Error),
    /// What lasts cannot be read or written.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Nonces cannot be made so that others recognise them.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// OpenTelemetry's variables in the environment cannot be used.
    #[cfg(feature = "otel")]
    #[error("cannot send traces: {0}")]
    Traces(#[from] traces::TracesError),
    /// TLS towards webhooks cannot be set up.
    #[error("cannot set up TLS for webhooks: {0}")]
    Webhooks(rustls::Error),
    /// The metrics could not be set up.
    #[error("cannot set up the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Reads the files of `[sip.tls]`, and uses them for nothing.
///
/// # Errors
/// The first file that cannot be used, and why.
pub fn check_certificates(config: &Config) -> Result<(), TlsError> {
    Tls::load(&config.sip.tls).map(drop)
}

/// signaling, running.
#[derive(Debug)]
pub struct Running {
    service: Service,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    vitals: Vitals,
    new_passwords: Vec<NewPassword>,
    #[cfg(feature = "otel")]
    traces: Option<Arc<traces::Traces>>,
}

/// Binds the addresses of `[sip] listen`. Before privileges are dropped it may take ports below 1024, more to receive
/// into than `net.core.rmem_max`, and more descriptors than the hard limit. Only a start reads that key, so that nothing
/// is bound later. Nobody is heard before [`start`].
///
/// # Errors
/// [`StartError::Bind`]: the first address that cannot be bound.
pub fn bind(config: &Config) -> Result<Bound, StartError> {
    let bound = net::bind(&config.sip, readers(config));
    bound.map_err(unbound)
}

fn unbound((listen, error): (Listen, io::Error)) -> StartError {
    StartError::Bind { listen, error }
}

/// Starts signaling on what was `bound` by the same `config`, and serves `listener`'s control clients. Routes by
/// `config` and `store`, which also has the users, what they had registered, and what is kept for those
/// who are away; users of the configuration that it lacks are created first. `reread` reads the
/// configuration again when that is asked for. Calls whose media is relayed need the mediad that `media`
/// reaches, others do not. Must be called inside a tokio runtime.
///
/// # Errors
/// A certificate or the store cannot be used, or the system gives no more threads.
pub async fn start(
    config: &Config,
    bound: Bound,
    reread: Reread,
    media: Client<Media>,
    store: Store,
    cdrs: CdrWriter,
    listener: Listener,
) -> Result<Running, StartError> {
    let users = accounts::provision::plan(config, &store).await?;
    for difference in &users.differences {
        warn!("{difference}");
    }
    let mut config = config.clone();
    config.sip.domains.clone_from(&users.domains);
    let config = &config;
    let metrics = Arc::new(Metrics::new()?);
    let tls = Tls::load(&config.sip.tls)?;
    let readers = readers(config);
    let count = workers(config);
    let (queues, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| net::lanes()).unzip();
    let (commands, orders): (Vec<_>, Vec<_>) =
        (0..count).map(|_| mpsc::unbounded_channel()).unzip();
    let vitals = Vitals::default();

    let policy = Arc::new(Policy::new(config, bound.locals().to_vec(), rand::random()));
    let kept_bans = Kept::at(&config.node.data_dir);
    kept_bans.load(&policy.defence, Instant::now(), Timestamp::now());
    // What fails at a start has failed: a password that is made now is shown.
    let new_passwords = users.create(&store).await?;
    let (directory, revision) = provision::first(config, &store).await;
    let directory = Arc::new(directory);
    let current = Arc::new(ArcSwap::new(directory.clone()));
    let served = bound.locals().iter();
    let served = Served::new(served.map(|local| (local.transport, local.address.ip())));
    let now = u64::try_from(Timestamp::now().millis() / 1_000).unwrap_or_default();
    let events = Events::new();
    let secret = accounts::secret(config)?;
    let access = Arc::new(Access::new(config, secret, now, events.clone()));
    let node = config.node.name.clone();
    let location = access.location.clone();
    let bindings = location::writer::load(&location, &store, &node, bound.locals()).await?;
    for address in location.sources() {
        policy.defence.remember(Instant::now(), address);
    }
    let listen = listened(&bound);
    let (agent, agent_inbox) = net::lanes();
    let agent_mark = trunks::mark();
    let dispatcher = Dispatcher::new(queues, policy.defence.clone(), metrics.clone())
        .with_agent(agent, agent_mark.clone())
        .with_doorman(Doorman {
            access: access.clone(),
            identity: policy.identity.clone(),
            directory: current.clone(),
        });
    let ports = bound.locals().iter().map(|local| local.address.port());
    let ports = ports.collect();
    let shared = Shared {
        tls,
        names: policy.names.clone(),
        certified: policy.certified.clone(),
        open: policy.open.clone(),
    };
    let network = bound.start(shared, &dispatcher, &metrics, &vitals);
    let network = network.map_err(unbound)?;
    let post = Post::new(store.clone());
    vitals.spawn(post.clone().run());
    let id = lasting::node_id(&config.node.data_dir);
    let (rows, rows_writer) = rows::Rows::new(store.clone(), id, config.node.name.clone());
    vitals.spawn_to_end(rows_writer.run(vitals.stop.clone()));
    let resolver = Resolver::new(&config.sip.resolver, served, metrics.clone());
    let (asker, asking) = accounts::ask(store.clone(), access.accounts.clone(), {
        let commands = commands.clone();
        Arc::new(move |worker: usize, aor, answer| {
            if let Some(worker) = commands.get(worker) {
                // It fails only while the node is being taken down.
                drop(worker.send(Command::Account(aor, answer)));
            }
        })
    });
    vitals.spawn(asking);
    let keepalive = Keepalive {
        config: config.sip.keepalive.clone(),
        policy: policy.clone(),
        location: location.clone(),
        network: network.clone(),
        metrics: metrics.clone(),
    };
    vitals.spawn(keepalive.run());
    let expiring = location::writer::expire(location.clone());
    vitals.spawn(expiring);
    vitals.spawn_to_end(location::writer::run(
        location.clone(),
        store.clone(),
        node,
        vitals.stop.clone(),
    ));
    #[cfg(feature = "otel")]
    let traces = traces::Traces::from_env(&config.node.name)?.map(Arc::new);
    let mark: [u8; 6] = rand::random();
    let webhooks = webhook::Client::new(&config.voice).map_err(StartError::Webhooks)?;
    let cores = (0..count).map(|index| {
        let shell = Shell {
            index,
            network: network.clone(),
            media: media.clone(),
            resolver: resolver.clone(),
            asker: asker.clone(),
            cdrs: cdrs.clone(),
            recordings: config.media.recordings.clone(),
            post: post.clone(),
            rows: rows.clone(),
            webhooks: webhooks.clone(),
            events: events.clone(),
            commands: commands[index].clone(),
            vitals: vitals.clone(),
            #[cfg(feature = "otel")]
            traces: traces.clone(),
        };
        let clock = (Instant::now(), Timestamp::now());
        let session_mark = session_mark(mark, index);
        let mut core = Core::new(
            policy.clone(),
            directory.clone(),
            access.clone(),
            metrics.clone(),
            rand::random(),
            session_mark,
            clock,
        );
        core.set_home(dispatcher.placement(), index);
        #[cfg(feature = "otel")]
        core.set_traced(traces.as_ref().map(|traces| traces.sample()));
        (core, shell)
    });
    let workers = Workers::new(cores);
    let inboxes = inboxes.into_iter().zip(orders);
    workers
        .start(inboxes, &vitals)
        .map_err(StartError::Thread)?;
    network.read(workers, &vitals).map_err(StartError::Thread)?;

    let guard = Guard {
        defence: policy.defence.clone(),
        network: network.clone(),
        metrics: metrics.clone(),
        media: media.clone(),
        ports,
        events: events.clone(),
    };
    vitals.spawn(guard.run());
    let trunks = trunks::start(
        trunks::Parts {
            index: count,
            mark: agent_mark,
            policy: policy.clone(),
            metrics: metrics.clone(),
            network: network.clone(),
            resolver,
            vitals: vitals.clone(),
        },
        agent_inbox,
    );
    trunks.set(directory.trunks().to_vec());
    vitals.spawn(trunks::tell(trunks.clone(), events.clone()));

    let hub = Hub {
        client: media.clone(),
        workers: commands.clone(),
        metrics: metrics.clone(),
        mark,
        policy: policy.clone(),
    };
    let hub = hub.run(media.notices());
    vitals.spawn(hub);
    let (roster, tls) = (trunks.clone(), network.tls().clone());
    webhooks.keep_open(directory.sockets());
    let sockets = webhooks.clone();
    let accounts = access.accounts.clone();
    let provision = Arc::new(Provision {
        store: store.clone(),
        reread,
        current,
        workers: commands.clone(),
        defence: policy.defence.clone(),
        certificates: Box::new(move |config| {
            let read = Tls::load(&config.sip.tls).map_err(|error| error.to_string())?;
            let tls = tls.clone();
            Ok(Box::new(move || tls.take_over(&read)))
        }),
        access: Box::new(move |config| {
            access.reload(config);
            // Whoever was changed in the database itself is looked up anew too.
            access.accounts.distrust(Instant::now());
        }),
        roster: Box::new(move |directory| {
            roster.set(directory.trunks().to_vec());
            sockets.keep_open(directory.sockets());
        }),
        state: tokio::sync::Mutex::new(State {
            config: config.clone(),
            revision,
        }),
    });
    let retention = Retention {
        store: store.clone(),
        provision: provision.clone(),
        metrics: metrics.clone(),
        node: config.node.name.clone(),
        began: Timestamp::now(),
    };
    vitals.spawn(retention.run());
    let users = Orders {
        store,
        accounts,
        location: location.clone(),
        provision: provision.clone(),
        workers: commands.clone(),
        editing: tokio::sync::Mutex::default(),
    };
    provision.protect(&directory, config);
    let watching = provision.clone().watch();
    vitals.spawn(watching);
    let service = Service(Arc::new(Parts {
        node: config.node.name.clone(),
        started: Instant::now(),
        listen: listen.clone(),
        workers: commands.clone(),
        network,
        trunks,
        metrics,
        media,
        cdrs,
        draining: AtomicBool::new(false),
        turn: AtomicUsize::new(0),
        location,
        defence: policy.defence.clone(),
        policy,
        kept_bans,
        provision,
        users,
        reloading: service::no_reload(),
    }));
    // What has the sockets is part of the service.
    let orders = Arc::downgrade(&service.0);
    webhooks.set_orders(Arc::new(move |place, order| {
        let parts = orders.upgrade();
        Box::pin(async move {
            let parts = parts.ok_or("the node is being stopped")?;
            Service(parts).order_by_socket(&place, order).await
        })
    }));
    let stop = vitals.stop.clone();
    vitals.spawn_to_end(async move {
        stop.cancelled().await;
        webhooks.close_sockets();
    });
    let serving = serve(listener, Arc::new(service.clone()), events);
    vitals.spawn(serving);
    info!(directory = directory.describe(), "routing");
    info!(
        listen = listen.join(" "),
        readers, bindings, "signaling is up"
    );
    Ok(Running {
        service,
        workers: commands,
        vitals,
        new_passwords,
        #[cfg(feature = "otel")]
        traces,
    })
}

impl Running {
    /// Where it receives, as `udp:127.0.0.1:5060`: with the port that was taken where 0 was configured.
    pub fn listen(&self) -> &[String] {
        &self.service.0.listen
    }

    /// The passwords that were made at the start, for users of the configuration who have none there.
    pub fn new_passwords(&self) -> &[NewPassword] {
        &self.new_passwords
    }

    /// Refuses new calls with 503 from now on, or takes them again.
    pub fn drain(&self, on: bool) {
        self.service.drain(on);
    }

    /// Reads the configuration and the store again, and takes over what can be where they are good. What
    /// came of it is in the log.
    pub async fn reload(&self) {
        drop(self.service.reload().await);
    }

    /// How many calls are up.
    pub async fn calls(&self) -> usize {
        self.service.count().await
    }

    /// The metrics page, in Prometheus text.
    pub fn metrics(&self) -> String {
        self.service.0.page()
    }

    /// Waits until a part of signaling has panicked, which none should: the node is to be stopped then.
    pub async fn failed(&self) {
        self.vitals.lost().await;
    }

    /// Refuses new calls, ends those that are up (BYE to both parties; CANCEL and 503 where nobody has
    /// answered), waits up to `grace` for the parties' answers, and takes all down. Tells how many
    /// calls were left without one.
    pub async fn stop(self, grace: Duration) -> usize {
        let calls = self.calls().await;
        info!(calls, "signaling stops");
        self.service.drain(true);
        let leaving = self.service.0.trunks.leave(grace);
        let leaving = self.vitals.tracker.spawn(leaving);
        for worker in &self.workers {
            drop(worker.send(Command::Stop));
        }
        let quiet = async {
            while self.calls().await > 0 {
                tokio::time::sleep(POLL).await;
            }
        };
        // Once no call is left there may be messages that nobody has answered.
        drop(timeout(grace, quiet).await);
        let left = self.service.give_up().await;
        // Who answers this has handed on what came of that.
        self.calls().await;
        if left > 0 {
            warn!(calls = left, "some parties did not answer our BYE in time");
        }
        if leaving.await.is_ok_and(|left| !left) {
            warn!("a trunk did not answer in time that we are no longer registered");
        }
        self.vitals.stop.cancel();
        self.vitals.tracker.close();
        if timeout(CLOSING, self.vitals.tracker.wait()).await.is_err() {
            warn!("some connections did not close in time");
        }
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.stop().await;
        }
        left
    }
}

/// How many threads read each address: one at least.
fn readers(config: &Config) -> usize {
    match config.sip.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers.into(),
    }
}

/// How many workers there are.
pub(crate) fn workers(config: &Config) -> usize {
    readers(config) * worker::PER_READER
}

fn listened(bound: &Bound) -> Vec<String> {
    let shown = bound
        .locals()
        .iter()
        .map(|local| format!("{}:{}", local.transport, local.address));
    shown.collect()
}

/// The front of the names of a worker's sessions: this process's mark, and the worker's index.
fn session_mark(process: [u8; 6], worker: usize) -> [u8; 8] {
    let mut mark = [0; 8];
    mark[..6].copy_from_slice(&process);
    let worker = u16::try_from(worker).unwrap_or(u16::MAX);
    mark[6..].copy_from_slice(&worker.to_be_bytes());
    mark
}
