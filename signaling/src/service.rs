//! signaling's own control channel: what api and the command line ask.

mod reload;

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use control::{
    Client, Fault, FaultCode,
    channel::Handler,
    media::{self, Media, MediaStatus},
    signal::{
        CallInfo, CallOrder, DtmfOrder, Originate, RecordOrder, ReloadReport, Request, Response,
        RouteQuestion, Signal, SignalStatus, TransferOrder, TrunkInfo, VoiceDone, VoiceOrder,
    },
};
use store::{CdrWriter, Timestamp};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{error, info, warn};

use crate::{
    accounts::Orders,
    call::{Policy, TraceAsked},
    defence::{Defence, Kept},
    directory::{Aor, Named, Trunk},
    location::Location,
    metrics::Metrics,
    net::Network,
    provision::Provision,
    trunks::Trunks,
    webhook::socket::{Order as SocketOrder, Place},
    worker::Command,
};

/// How long a worker may take to answer; it never waits for anything itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long mediad may take to tell how it is.
const MEDIA_PATIENCE: Duration = Duration::from_secs(1);
/// How long a client of the channel is kept waiting for a reload.
const RELOAD_PATIENCE: Duration = Duration::from_secs(4);
/// For how many seconds an operator may have a party rung.
const RING_TIMEOUT: RangeInclusive<u32> = 1..=600;
/// How long a client of the channel is kept waiting for a phone's answer to REFER.
const REFER_PATIENCE: Duration = Duration::from_secs(3);
/// Calls on a page at most.
const PAGE: u32 = 10_000;

/// Answers the control channel. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Service(pub(crate) Arc<Parts>);

/// What answers are made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) node: String,
    pub(crate) started: Instant,
    pub(crate) listen: Vec<String>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) network: Network,
    pub(crate) trunks: Trunks,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) media: Client<Media>,
    pub(crate) cdrs: CdrWriter,
    pub(crate) draining: AtomicBool,
    /// Whose turn it is to make calls.
    pub(crate) turn: AtomicUsize,
    pub(crate) policy: Arc<Policy>,
    pub(crate) location: Arc<Location>,
    pub(crate) defence: Arc<Defence>,
    pub(crate) kept_bans: Kept,
    pub(crate) provision: Arc<Provision>,
    pub(crate) users: Orders,
    pub(crate) reloading: Mutex<Reloading>,
}

/// What comes of the latest reload; nothing while it is under way.
pub(crate) type Reloading = watch::Receiver<Option<Result<ReloadReport, Fault>>>;

/// Before the first one.
pub(crate) fn no_reload() -> Mutex<Reloading> {
    let none = Fault::new(FaultCode::NotFound, "nothing was reloaded yet");
    Mutex::new(watch::channel(Some(Err(none))).1)
}

impl Handler<Signal> for Service {
    fn handle(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let this = self.clone();
        async move {
            match request {
                Request::Calls {
                    after,
                    limit,
                    tenant,
                } => this.calls(&after, limit, tenant).await,
                Request::Status => Ok(Response::Status(this.status().await)),
                Request::Hangup { id } => this.hang_up(&id).await,
                Request::Call(order) => this.obey(order).await,
                Request::Originate(order) => this.originate(order).await,
                Request::Transfer(order) => this.transfer(order).await,
                Request::Dtmf(order) => this.dtmf(order).await,
                Request::Record(order) => this.record(order).await,
                Request::Quality { id } => this.quality(id).await,
                Request::Drain { on } => {
                    this.drain(on);
                    Ok(Response::Status(this.status().await))
                }
                Request::Trace {
                    id,
                    after,
                    full,
                    tenant,
                } => {
                    let asked = TraceAsked {
                        id,
                        after,
                        full,
                        tenant,
                    };
                    this.trace(asked).await
                }
                Request::Log(order) => match this.0.policy.watches.obey(order) {
                    Ok(state) => Ok(Response::Log(state)),
                    Err(error) => Err(Fault::new(FaultCode::Invalid, error.to_string())),
                },
                Request::Trunks => Ok(this.trunks().await),
                Request::DrainTrunk { name, on } => this.drain_trunk(&name, on).await,
                Request::ProbeTrunk { name } => this.probe_trunk(&name).await,
                Request::Unregister { user, contact } => this.unregister(&user, contact.as_deref()),
                Request::Registrations { after, limit } => this.registrations(&after, limit),
                Request::RegistrationsOf { user } => this.registrations_of(&user),
                Request::Metrics => Ok(Response::Metrics(this.0.page())),
                Request::Reload => this.reload().await,
                Request::ReloadOutcome => this.reload_outcome().await,
                Request::Users { after, limit } => this.0.users.list(&after, limit).await,
                Request::UserNamed { user } => this.0.users.one(&user).await,
                Request::User(order) => this.0.users.obey(order).await,
                Request::Route(question) => this.route(&question).await,
                Request::Routing(order) => {
                    let outcome = this.0.provision.edit(order).await?;
                    Ok(Response::Routing(outcome))
                }
                Request::FileRouting(kind) => {
                    let documents = this.0.provision.of_file(kind).await;
                    Ok(Response::FileRouting(documents))
                }
                Request::Bans => Ok(this.0.defence.bans(Instant::now())),
                Request::Ban {
                    source,
                    seconds,
                    reason,
                } => {
                    let defence = &this.0.defence;
                    let done = defence.order(Instant::now(), &source, seconds, &reason)?;
                    this.0.kept_bans.save(defence).await?;
                    Ok(done)
                }
                Request::Voice(order) => this.voice(order).await,
                Request::Lift { source } => {
                    let done = this.0.defence.pardon(&source)?;
                    this.0.kept_bans.save(&this.0.defence).await?;
                    Ok(done)
                }
            }
        }
    }
}

impl Service {
    /// Takes no new calls, or takes them again.
    pub(crate) fn drain(&self, on: bool) {
        if self.0.draining.swap(on, Relaxed) != on {
            info!(on, "draining: new calls are refused while it is on");
        }
        for worker in &self.0.workers {
            drop(worker.send(Command::Drain(on)));
        }
    }

    /// Reads the configuration and the store again; the log tells what comes of it too.
    pub(crate) async fn reload(&self) -> Result<Response, Fault> {
        let (provision, media) = (self.0.provision.clone(), self.0.media.clone());
        let policy = self.0.policy.clone();
        let (sender, outcome) = watch::channel(None);
        *self.reloading() = outcome;
        // Who asked may not wait as long as millions of routes take.
        tokio::spawn(async move {
            let outcome = match provision.reload().await {
                Ok((mut report, is_new)) => {
                    if reload::media(&media, &mut report, is_new).await {
                        policy.media.store(Arc::new(provision.media().await));
                    }
                    Ok(report)
                }
                Err(reasons) => Err(reasons),
            };
            tell(&outcome);
            let outcome =
                outcome.map_err(|reasons| Fault::new(FaultCode::Invalid, reasons.join("\n")));
            // Who asked may have gone.
            drop(sender.send(Some(outcome)));
        });
        self.reload_outcome().await
    }

    async fn reload_outcome(&self) -> Result<Response, Fault> {
        let mut outcome = self.reloading().clone();
        let known = timeout(RELOAD_PATIENCE, outcome.wait_for(Option::is_some)).await;
        match known.map(|known| known.map(|known| known.clone())) {
            Ok(Ok(Some(outcome))) => outcome.map(Response::Reloaded),
            Ok(Err(_)) => Err(Fault::new(
                FaultCode::Unavailable,
                "the node is being stopped",
            )),
            Ok(Ok(None)) | Err(_) => Ok(Response::Reloading),
        }
    }

    fn reloading(&self) -> MutexGuard<'_, Reloading> {
        // Nothing panics while it holds the lock.
        let lock = self.0.reloading.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    async fn route(&self, question: &RouteQuestion) -> Result<Response, Fault> {
        let directory = self.0.provision.current.load_full();
        let user = match directory.user_asked(question) {
            Some(aor) => Some(self.standing(aor).await),
            None => None,
        };
        let report = directory.explain(question, Instant::now(), Timestamp::now(), user);
        report
            .map(|report| Response::Route(Box::new(report)))
            .map_err(|wrong| Fault::new(FaultCode::Invalid, wrong))
    }

    /// What the store says of a user, or that it is there where nobody can tell.
    async fn standing(&self, aor: Aor) -> Named {
        let asked = [(aor.domain(), aor.user())];
        let found = self.0.provision.store.users(&asked).await;
        match found.as_deref() {
            Ok([]) => Named::Unknown(aor),
            Ok([user, ..]) if !user.enabled => Named::Disabled(aor),
            _ => Named::User(aor),
        }
    }

    /// How many calls are up.
    pub(crate) async fn count(&self) -> usize {
        self.all(Command::Count).await.into_iter().sum()
    }

    /// Writes the records of the calls that are left; tells how many.
    pub(crate) async fn give_up(&self) -> usize {
        self.all(Command::GiveUp).await.into_iter().sum()
    }

    async fn calls(
        &self,
        after: &str,
        limit: u32,
        tenant: Option<String>,
    ) -> Result<Response, Fault> {
        if !(1..=PAGE).contains(&limit) {
            let message = format!("limit is {limit}: ask for 1 to {PAGE} calls");
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        let tenant: Option<Arc<str>> = tenant.map(Arc::from);
        let lists = self
            .all(|answer| Command::List(tenant.clone(), answer))
            .await;
        let mut calls: Vec<CallInfo> = lists
            .into_iter()
            .flatten()
            .filter(|call| call.id.as_str() > after)
            .collect();
        calls.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        calls.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Response::Calls(calls))
    }

    fn unregister(&self, user: &str, contact: Option<&str>) -> Result<Response, Fault> {
        let aor = self.0.provision.user_named(user)?;
        if self.0.location.remove(&aor, contact) == 0 {
            let message = format!("'{aor}' has registered no such thing; list the registrations");
            return Err(Fault::new(FaultCode::NotFound, message));
        }
        info!(user = %aor, contact, "took a registration away");
        Ok(Response::Done)
    }

    fn registrations(&self, after: &str, limit: u32) -> Result<Response, Fault> {
        if !(1..=PAGE).contains(&limit) {
            let message = format!("limit is {limit}: ask for 1 to {PAGE} users");
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let list = self.0.location.list(Timestamp::now(), after, limit);
        Ok(Response::Registrations(list))
    }

    fn registrations_of(&self, user: &str) -> Result<Response, Fault> {
        let aor = self.0.provision.user_named(user)?;
        let list = self.0.location.of(Timestamp::now(), &aor);
        Ok(Response::Registrations(list))
    }

    async fn hang_up(&self, id: &str) -> Result<Response, Fault> {
        let found = self
            .all(|answer| Command::HangUp(id.to_owned(), answer))
            .await;
        if found.contains(&true) {
            return Ok(Response::Done);
        }
        Err(no_call(id))
    }

    /// One of the workers makes the calls, each in its turn.
    async fn originate(&self, order: Originate) -> Result<Response, Fault> {
        if !RING_TIMEOUT.contains(&order.ring_timeout_s) {
            let (least, most) = RING_TIMEOUT.into_inner();
            let message = format!("ring_timeout_s: it is {least} to {most}");
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        let workers = &self.0.workers;
        let turn = self.0.turn.fetch_add(1, Relaxed) % workers.len().max(1);
        let (sender, answer) = oneshot::channel();
        let sent = workers.get(turn).is_some_and(|worker| {
            worker
                .send(Command::Originate(Box::new(order), sender))
                .is_ok()
        });
        match timeout(PATIENCE, answer).await {
            Ok(Ok(call)) if sent => call.map(|call| Response::Call(Box::new(call))),
            _ => Err(Fault::new(
                FaultCode::Unavailable,
                "the node is being stopped",
            )),
        }
    }

    async fn voice(&self, order: VoiceOrder) -> Result<Response, Fault> {
        if let VoiceOrder::Call(call) = &order
            && !RING_TIMEOUT.contains(&call.ring_timeout_s)
        {
            let (least, most) = RING_TIMEOUT.into_inner();
            let message = format!("ring_timeout_s: it is {least} to {most}");
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        // Any worker may do it.
        if matches!(order, VoiceOrder::Call(_) | VoiceOrder::Message(_)) {
            let workers = &self.0.workers;
            let turn = self.0.turn.fetch_add(1, Relaxed) % workers.len().max(1);
            let (sender, answer) = oneshot::channel();
            let sent = workers.get(turn).is_some_and(|worker| {
                let order = Box::new(order.clone());
                worker.send(Command::Voice(order, sender)).is_ok()
            });
            return match timeout(PATIENCE, answer).await {
                Ok(Ok(Some(done))) if sent => done.map(Response::Voice),
                _ => Err(Fault::new(
                    FaultCode::Unavailable,
                    "the node is being stopped",
                )),
            };
        }
        let command = |answer| Command::Voice(Box::new(order.clone()), answer);
        let found = self.all(command).await;
        match found.into_iter().flatten().next() {
            Some(done) => done.map(Response::Voice),
            None => Err(Fault::new(
                FaultCode::NotFound,
                "there is no such call of an application",
            )),
        }
    }

    /// Does what an application asks for by its socket; tells the SID of the call.
    pub(crate) async fn order_by_socket(
        &self,
        place: &Place,
        order: SocketOrder,
    ) -> Result<String, String> {
        if let Some(call) = order.call() {
            let command = |answer| Command::VoiceAccount(call.to_owned(), answer);
            let owners = self.all(command).await;
            // Those of others are nobody's to know of.
            if owners.into_iter().flatten().next().as_ref() != Some(&place.account) {
                return Err(format!("there is no call {call:?} of this account"));
            }
        }
        let call = order.call().map(str::to_owned);
        match self.voice(order.write(place)).await {
            Ok(Response::Voice(VoiceDone::Queued { sid, .. })) => Ok(sid),
            Ok(_) => Ok(call.unwrap_or_default()),
            Err(fault) => Err(fault.message),
        }
    }

    /// A phone may take its time to answer: who asked is told then how it stands.
    async fn transfer(&self, order: TransferOrder) -> Result<Response, Fault> {
        let command = |answer| Command::Transfer(Box::new(order.clone()), answer);
        let found = self.all_within(REFER_PATIENCE, command).await;
        if let Some(done) = found.into_iter().flatten().next() {
            return done.map(|call| Response::Call(Box::new(call)));
        }
        let calls = self.all(|answer| Command::List(None, answer)).await;
        let call = calls.into_iter().flatten().find(|call| call.id == order.id);
        let call = call.ok_or_else(|| no_call(&order.id))?;
        Ok(Response::Call(Box::new(call)))
    }

    async fn dtmf(&self, order: DtmfOrder) -> Result<Response, Fault> {
        let command = |answer| Command::Dtmf(Box::new(order.clone()), answer);
        let found = self.all(command).await;
        match found.into_iter().flatten().next() {
            Some(done) => done.map(|call| Response::Call(Box::new(call))),
            None => Err(no_call(&order.id)),
        }
    }

    async fn record(&self, order: RecordOrder) -> Result<Response, Fault> {
        let command = |answer| Command::Record(order.clone(), answer);
        let found = self.all(command).await;
        match found.into_iter().flatten().next() {
            Some(done) => done.map(|call| Response::Call(Box::new(call))),
            None => Err(no_call(&order.id)),
        }
    }

    async fn quality(&self, id: String) -> Result<Response, Fault> {
        let found = self
            .all(|answer| Command::Quality(id.clone(), answer))
            .await;
        let samples = found.into_iter().flatten().next();
        samples.map(Response::Quality).ok_or_else(|| no_call(&id))
    }

    async fn obey(&self, order: CallOrder) -> Result<Response, Fault> {
        let found = self
            .all(|answer| Command::Obey(order.clone(), answer))
            .await;
        match found.into_iter().flatten().next() {
            Some(done) => done.map(|call| Response::Call(Box::new(call))),
            None => Err(no_call(&order.id)),
        }
    }

    async fn trace(&self, asked: TraceAsked) -> Result<Response, Fault> {
        let found = self
            .all(|answer| Command::Trace(asked.clone(), answer))
            .await;
        // All messages of a Call-ID are one worker's.
        if let Some(page) = found.into_iter().flatten().next() {
            return Ok(Response::Trace(page));
        }
        let message = format!(
            "no message of '{}' is kept: messages are kept for as long as [sip] trace has room",
            asked.id
        );
        Err(Fault::new(FaultCode::NotFound, message))
    }

    async fn trunks(&self) -> Response {
        Response::Trunks(self.trunk_list().await)
    }

    async fn trunk_list(&self) -> Vec<TrunkInfo> {
        let mut calls = HashMap::new();
        for (trunk, count) in self.all(Command::CallsByTrunk).await.into_iter().flatten() {
            *calls.entry(trunk).or_insert(0) += count;
        }
        self.0.trunks.list(&calls)
    }

    async fn drain_trunk(&self, name: &str, on: bool) -> Result<Response, Fault> {
        let trunk = self.trunk(name)?;
        self.0.trunks.drain(&trunk, on);
        let mut trunks = self.trunk_list().await;
        trunks.retain(|trunk| trunk.name == name);
        Ok(Response::Trunks(trunks))
    }

    async fn probe_trunk(&self, name: &str) -> Result<Response, Fault> {
        let trunk = self.trunk(name)?;
        let probed = self.0.trunks.probe(trunk).await;
        let probed = probed
            .ok_or_else(|| Fault::new(FaultCode::Unavailable, "the node is being stopped"))?;
        Ok(Response::Probed(probed))
    }

    fn trunk(&self, name: &str) -> Result<Arc<Trunk>, Fault> {
        self.0.trunks.named(name).ok_or_else(|| {
            let message = format!("there is no trunk '{name}'; list the trunks");
            Fault::new(FaultCode::NotFound, message)
        })
    }

    async fn status(&self) -> SignalStatus {
        let outages = [self.0.cdrs.outage(), self.0.location.outage.lasts()];
        let outage = outages.into_iter().flatten().max();
        SignalStatus {
            node: self.0.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            registrations: u64::try_from(self.0.location.len()).unwrap_or(u64::MAX),
            uptime_s: self.0.started.elapsed().as_secs(),
            calls: u64::try_from(self.count().await).unwrap_or(u64::MAX),
            draining: self.0.draining.load(Relaxed),
            listen: self.0.listen.clone(),
            media: self.media().await,
            cdrs_queued: self.0.cdrs.counts().queued,
            unwritten_s: outage.map(|outage| outage.as_secs()),
        }
    }

    async fn media(&self) -> Option<MediaStatus> {
        let asked = self.0.media.request(media::Request::Status);
        match timeout(MEDIA_PATIENCE, asked).await {
            Ok(Ok(media::Response::Status(status))) => Some(status),
            _ => None,
        }
    }

    /// Asks every worker, and waits for those that answer.
    async fn all<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<T> {
        self.all_within(PATIENCE, command).await
    }

    async fn all_within<T>(
        &self,
        patience: Duration,
        command: impl Fn(oneshot::Sender<T>) -> Command,
    ) -> Vec<T> {
        let mut answers = Vec::with_capacity(self.0.workers.len());
        for worker in &self.0.workers {
            let (sender, answer) = oneshot::channel();
            if worker.send(command(sender)).is_ok() {
                answers.push(answer);
            }
        }
        let mut told = Vec::with_capacity(answers.len());
        for answer in answers {
            if let Ok(Ok(one)) = timeout(patience, answer).await {
                told.push(one);
            }
        }
        told
    }
}

fn no_call(id: &str) -> Fault {
    let message = format!("there is no call '{id}'; list the calls first");
    Fault::new(FaultCode::NotFound, message)
}

/// Logs what came of a reload.
fn tell(outcome: &Result<ReloadReport, Vec<String>>) {
    match outcome {
        Ok(report) => {
            for warning in &report.warnings {
                warn!("{warning}");
            }
            for keys in report.restarts() {
                warn!("changed in the file, and takes effect with a restart of {keys}");
            }
            let changed = report.changed.join(" ");
            info!(changed, routing = report.routing, "reloaded");
        }
        Err(reasons) => {
            for reason in reasons {
                error!("not reloaded, the node goes on with what it has: {reason}");
            }
        }
    }
}

impl Parts {
    /// The metrics page.
    pub(crate) fn page(&self) -> String {
        self.network.show_kernel_drops();
        let bindings = i64::try_from(self.location.len()).unwrap_or(i64::MAX);
        self.metrics.bindings.set(bindings);
        self.metrics.certificates(&self.network.tls().expiries());
        self.trunks.measure(&self.metrics);
        self.metrics.disk(self.provision.store.disk().ok());
        let directory = self.provision.current.load();
        self.metrics.limits(directory.limits_in_use());
        self.metrics.text()
    }
}
