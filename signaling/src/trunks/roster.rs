//! The trunks of the directory that is in use, for those parts of the node that are no worker.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use control::signal::{ProbeInfo, RegistrationInfo, TrunkHostInfo, TrunkInfo};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::info;

use super::agent::{self, Command, Parts};
use crate::{
    directory::{HostRef, Trunk},
    metrics::Metrics,
    net::Inbox,
};

/// Hosts that are shown as metrics at most.
const SHOWN: usize = 2_000;

/// The trunks, and the way to the agent that looks after them. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct Trunks {
    list: Arc<ArcSwap<Vec<Arc<Trunk>>>>,
    agent: mpsc::UnboundedSender<Command>,
}

/// What the Call-IDs of the agent's requests begin with: of this process alone.
pub(crate) fn mark() -> Arc<str> {
    format!("{:016x}-", rand::random::<u64>()).into()
}

/// Starts the agent, with no trunk to look after yet.
pub(crate) fn start(parts: Parts, inbox: Inbox) -> Trunks {
    let (agent, commands) = mpsc::unbounded_channel();
    let vitals = parts.vitals.clone();
    vitals.spawn(agent::run(parts, inbox, (agent.clone(), commands)));
    Trunks {
        list: Arc::default(),
        agent,
    }
}

impl Trunks {
    /// The directory was replaced.
    pub(crate) fn set(&self, trunks: Vec<Arc<Trunk>>) {
        self.list.store(Arc::new(trunks.clone()));
        // It fails only while the node is being taken down.
        drop(self.agent.send(Command::Trunks(trunks)));
    }

    /// All of them.
    pub(crate) fn all(&self) -> Arc<Vec<Arc<Trunk>>> {
        self.list.load_full()
    }

    /// Takes every registration back. Tells whether all was answered within `grace`.
    pub(crate) fn leave(&self, grace: Duration) -> impl Future<Output = bool> + Send + 'static {
        let (done, answer) = oneshot::channel();
        let sent = self.agent.send(Command::Stop(done)).is_ok();
        async move { !sent || timeout(grace, answer).await.is_ok() }
    }

    /// The one of this name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Trunk>> {
        let all = self.all();
        all.iter().find(|trunk| trunk.name == name).cloned()
    }

    /// Gives a trunk no new calls from now on, or gives it calls again.
    pub(crate) fn drain(&self, trunk: &Trunk, on: bool) {
        if trunk.standing.set_drained(on) {
            info!(
                trunk = trunk.name,
                on, "draining a trunk: it gets no new calls while it is on"
            );
        }
    }

    /// Asks every host of a trunk whether it is there; `None` where the node is being stopped.
    pub(crate) async fn probe(&self, trunk: Arc<Trunk>) -> Option<Vec<ProbeInfo>> {
        let (sender, answer) = oneshot::channel();
        self.agent.send(Command::Probe(trunk, sender)).ok()?;
        answer.await.ok()
    }

    /// How they are. `calls` are those that are up, by trunk.
    pub(crate) fn list(&self, calls: &HashMap<String, u64>) -> Vec<TrunkInfo> {
        let now = Instant::now();
        let info = |trunk: &Arc<Trunk>| {
            let (offered, answered) = trunk.standing.counts();
            TrunkInfo {
                name: trunk.name.clone(),
                hosts: hosts(trunk, now),
                calls: calls.get(&trunk.name).copied().unwrap_or(0),
                offered,
                answered,
                drained: trunk.standing.is_drained(),
                registration: trunk
                    .config
                    .register
                    .as_ref()
                    .map(|_| registration(trunk, now)),
            }
        };
        self.all().iter().map(info).collect()
    }

    /// Moves the gauges to what is so now.
    pub(crate) fn measure(&self, metrics: &Metrics) {
        let (trunks, now) = (self.all(), Instant::now());
        let hosts = trunks.iter().flat_map(|trunk| {
            trunk.host_refs().filter_map(move |place| {
                let up = !place.is_down(now);
                Some((trunk.name.as_str(), place.host()?.to_string(), up))
            })
        });
        let wanted = trunks
            .iter()
            .filter(|trunk| trunk.config.register.is_some());
        let registered = wanted.map(|trunk| {
            let is_registered = registration(trunk, now).expires_s.is_some();
            (trunk.name.as_str(), is_registered)
        });
        metrics.trunks(hosts.take(SHOWN), registered.take(SHOWN));
    }
}

fn hosts(trunk: &Arc<Trunk>, now: Instant) -> Vec<TrunkHostInfo> {
    let info = |place: HostRef| {
        Some(TrunkHostInfo {
            host: place.host()?.to_string(),
            up: !place.is_down(now),
            probed: trunk.standing.is_probed(),
            error: place.last_error(),
        })
    };
    trunk.host_refs().filter_map(info).collect()
}

fn registration(trunk: &Trunk, now: Instant) -> RegistrationInfo {
    let registered = trunk.standing.registration().unwrap_or_default();
    let left = registered
        .until
        .and_then(|until| until.checked_duration_since(now));
    RegistrationInfo {
        expires_s: left.map(|left| left.as_secs()).filter(|left| *left > 0),
        error: registered.error,
    }
}
