//! The task around the [`Agent`].

use std::{collections::HashMap, sync::Arc, time::Instant};

use control::signal::ProbeInfo;
use tokio::sync::{mpsc, oneshot};

use super::{Agent, AskToken, Output, once::OrderId};
use crate::{
    call::{Hop, Policy},
    directory::Trunk,
    metrics::{Dropped, Metrics},
    net::{Arrival, Inbox, Network, Sender},
    resolve::Resolver,
    vitals::Vitals,
};

/// What the agent hears from the rest of the process.
#[derive(Debug)]
pub(in crate::trunks) enum Command {
    /// The trunks that there are from now on.
    Trunks(Vec<Arc<Trunk>>),
    /// Take every registration back; tell when that is done.
    Stop(oneshot::Sender<()>),
    /// The resolver answered.
    Resolved(AskToken, Vec<Hop>),
    /// Ask every host of a trunk, now.
    Probe(Arc<Trunk>, oneshot::Sender<Vec<ProbeInfo>>),
}

/// What the agent works with.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Its place among the workers.
    pub(crate) index: usize,
    /// What the Call-IDs of its requests begin with.
    pub(crate) mark: Arc<str>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) network: Network,
    pub(crate) resolver: Resolver,
    pub(crate) vitals: Vitals,
}

/// Runs until the node stops.
pub(in crate::trunks) async fn run(
    parts: Parts,
    mut inbox: Inbox,
    (orders, mut commands): (
        mpsc::UnboundedSender<Command>,
        mpsc::UnboundedReceiver<Command>,
    ),
) {
    let (policy, metrics) = (parts.policy.clone(), parts.metrics.clone());
    let mut agent = Agent::new(policy, metrics, parts.mark.clone(), rand::random());
    let mut batch = Vec::new();
    let mut leaving: Vec<oneshot::Sender<()>> = Vec::new();
    let mut asking = HashMap::new();
    loop {
        let wake = agent.poll_timeout();
        let sleep = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(command) = commands.recv() => match command {
                Command::Trunks(trunks) => agent.set_trunks(now(), &trunks),
                Command::Resolved(token, hops) => agent.handle_resolved(now(), token, &hops),
                Command::Probe(trunk, answer) => {
                    let order = agent.probe_once(now(), &trunk);
                    asking.insert(order, answer);
                }
                Command::Stop(done) => {
                    leaving.push(done);
                    agent.stop(now());
                }
            },
            more = inbox.recv(&mut batch) => {
                if !more {
                    return;
                }
                for queued in batch.drain(..) {
                    take(&mut agent, &parts, queued.arrival);
                }
            }
            () = sleep => agent.handle_timeout(now()),
        }
        while let Some(output) = agent.poll_output() {
            perform(&parts, &orders, &mut asking, output);
        }
        if agent.is_idle() {
            // Who asked may have gone meanwhile.
            for done in leaving.drain(..) {
                let _ = done.send(());
            }
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn take(agent: &mut Agent, parts: &Parts, arrival: Arrival) {
    match arrival {
        Arrival::Framed { flow, message } => match message {
            Ok(message) => agent.handle_message(now(), flow, message),
            Err(_) => parts.metrics.dropped(Dropped::Malformed),
        },
        Arrival::Failed { transaction } => agent.handle_failed(now(), transaction),
        Arrival::Unreachable { local, remote } => agent.handle_unreachable(now(), local, remote),
        // What waits for an answer by it is asked elsewhere when its patience ends.
        Arrival::Closed { .. } => {}
    }
}

fn perform(
    parts: &Parts,
    orders: &mpsc::UnboundedSender<Command>,
    asking: &mut HashMap<OrderId, oneshot::Sender<Vec<ProbeInfo>>>,
    output: Output,
) {
    match output {
        Output::Transmit {
            flow,
            payload,
            transaction,
        } => {
            let sender = Sender {
                worker: parts.index,
                transaction,
            };
            parts.network.send(&flow, payload, sender);
        }
        Output::Probed { order, hosts } => {
            if let Some(answer) = asking.remove(&order) {
                // Who asked may have gone.
                drop(answer.send(hosts));
            }
        }
        Output::Resolve { token, authority } => {
            let (resolver, commands) = (parts.resolver.clone(), orders.clone());
            parts.vitals.tracker.spawn(async move {
                let hops = resolver.resolve(authority).await;
                // It fails only while the node is being taken down.
                drop(commands.send(Command::Resolved(token, hops)));
            });
        }
    }
}
