//! The workers: each has the calls and transactions of a share of the Call-IDs, behind a lock.
//!
//! Whoever has something for a worker works on it in place: the thread that read a datagram, the task
//! that has heard of mediad, the clock's thread. There are several workers for each thread, so that two
//! seldom want the same. To hand a message to a thread of the worker's own would wake that one, which
//! costs more than the message's work.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};

use control::{
    Client, Fault,
    channel::{Events, RequestError},
    media::{self, Media},
    signal::{
        CallInfo, CallOrder, DtmfOrder, Originate, QualitySample, RecordOrder, Signal, TracePage,
        TransferOrder, VoiceDone, VoiceOrder,
    },
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use sip::message::Message;
use store::{CdrWriter, Timestamp};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};
use voice::call::{RequestError as RequestFailed, Response};

use crate::{
    accounts::{Answer, Asker},
    call::{
        Authority, Core, Hop, KeepToken, Kept, MediaNews, MediaToken, OrderToken, Output,
        ResolveToken, Terms, TraceAsked, WebhookToken,
    },
    clock::{self, Clock},
    directory::{Aor, Directory},
    net::{Arrival, Datagram, Inbox, Network, Queued, Sender, Work},
    post::Post,
    recorded,
    resolve::Resolver,
    rows::Rows,
    vitals::Vitals,
    webhook,
};

/// How many workers there are for each thread that reads.
pub(crate) const PER_READER: usize = 8;

/// What a worker hears from the rest of the process.
#[derive(Debug)]
pub(crate) enum Command {
    /// Tell which calls are up: all, or those of a tenant.
    List(Option<Arc<str>>, oneshot::Sender<Vec<CallInfo>>),
    /// Tell how many calls are up.
    Count(oneshot::Sender<usize>),
    /// Tell how many calls to each trunk are up.
    CallsByTrunk(oneshot::Sender<HashMap<String, u64>>),
    /// End a call; tell whether it was there.
    HangUp(String, oneshot::Sender<bool>),
    /// Do something to a call; tell how it is then, if it was there.
    Obey(CallOrder, Answerer),
    /// Press telephone keys towards a party of a call; tell what mediad says to that, if the call was there.
    Dtmf(Box<DtmfOrder>, Answerer),
    /// Record a call, or no longer; tell what mediad says to that, if the call was there.
    Record(RecordOrder, Answerer),
    /// Tell how a call has sounded, if it is there.
    Quality(String, oneshot::Sender<Option<Vec<QualitySample>>>),
    /// Have a party of a call transferred; tell what it says to that, if the call was there.
    Transfer(Box<TransferOrder>, Answerer),
    /// Connect two parties; tell how the first call is then.
    Originate(Box<Originate>, oneshot::Sender<Result<CallInfo, Fault>>),
    /// Do something for an application; tell what comes of it, if its call is this worker's.
    Voice(
        Box<VoiceOrder>,
        oneshot::Sender<Option<Result<VoiceDone, Fault>>>,
    ),
    /// Tell whose a call of an application is, by its SID, if it is this worker's.
    VoiceAccount(String, oneshot::Sender<Option<String>>),
    /// Tell a call's messages.
    Trace(TraceAsked, oneshot::Sender<Option<TracePage>>),
    /// Take no new calls, or take them again.
    Drain(bool),
    /// Decide on new calls by these from now on.
    Rules(Arc<Directory>, Terms),
    /// End all calls.
    Stop,
    /// Wait for no party any more; tell how many calls were left.
    GiveUp(oneshot::Sender<usize>),
    /// mediad answered.
    Media(MediaToken, Result<media::Response, RequestError>),
    /// The resolver answered.
    Resolved(ResolveToken, Vec<Hop>),
    /// The store has kept a message, or has not.
    Kept(KeepToken, Kept),
    /// What is kept for a user who registered.
    Collected(Aor, Vec<store::Message>),
    /// The store said who a user is, or that it cannot tell.
    Account(Aor, Answer),
    /// mediad was heard of.
    News(MediaNews),
    /// A webhook has answered, or will not.
    Webhook(WebhookToken, Result<Response, RequestFailed>),
}

/// What a worker works with.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    pub(crate) index: usize,
    pub(crate) network: Network,
    pub(crate) media: Client<Media>,
    pub(crate) resolver: Resolver,
    pub(crate) asker: Asker,
    pub(crate) cdrs: CdrWriter,
    /// The folder of recordings.
    pub(crate) recordings: Option<PathBuf>,
    pub(crate) post: Post,
    pub(crate) rows: Rows,
    pub(crate) webhooks: webhook::Client,
    pub(crate) events: Events<Signal>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) vitals: Vitals,
    #[cfg(feature = "otel")]
    pub(crate) traces: Option<Arc<crate::traces::Traces>>,
}

/// Who waits for a call as it is after an order; told `None` where there is no such call.
type Answerer = oneshot::Sender<Option<Result<CallInfo, Fault>>>;

/// Orders whose outcome is a party's to tell.
type Orders = Mutex<HashMap<OrderToken, Answerer>>;

/// Webhooks that are being asked.
type Webhooks = Mutex<HashMap<WebhookToken, AbortHandle>>;

/// All workers of the node.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Box<[Worker]>,
    clock: Clock,
}

#[derive(Debug)]
struct Worker {
    /// A lock that is handed on to who has waited long: with the standard one, a flood by connections,
    /// which takes it again at once, was seen to keep a reader out for 0.3 s, and half of the time for 27 ms.
    core: Mutex<Core>,
    /// The step of the clock at which it has something to do.
    due: AtomicU64,
    shell: Shell,
    questions: mpsc::UnboundedSender<Question>,
    orders: Orders,
    webhooks: Webhooks,
}

impl Workers {
    /// Each with what it works with. Their questions to mediad are asked by tasks of the present
    /// runtime.
    pub(crate) fn new(workers: impl IntoIterator<Item = (Core, Shell)>) -> Arc<Self> {
        let workers = workers.into_iter().map(|(core, shell)| {
            let (questions, asked) = mpsc::unbounded_channel();
            let asking = ask_media(shell.media.clone(), asked, shell.commands.clone());
            shell.vitals.spawn(asking);
            Worker {
                core: Mutex::new(core),
                due: AtomicU64::new(clock::NEVER),
                shell,
                questions,
                orders: Orders::default(),
                webhooks: Webhooks::default(),
            }
        });
        Arc::new(Self {
            workers: workers.collect(),
            clock: Clock::new(),
        })
    }

    /// Does `work` in one of them, and what it wants done.
    fn enter(&self, index: usize, work: impl FnOnce(&mut Core, Instant)) {
        let Some(worker) = self.workers.get(index) else {
            return;
        };
        let mut core = worker.core.lock();
        let now = Instant::now();
        core.set_clock(now, Timestamp::now());
        core.set_listened(worker.shell.events.has_listeners());
        work(&mut core, now);
        // Whoever is here anyway does what is due: where messages come often, the clock's thread finds
        // nothing left to do, which it would have to fetch from this thread's processor.
        if core.poll_timeout().is_some_and(|at| at <= now) {
            core.handle_timeout(now);
        }
        while let Some(output) = core.poll_output() {
            perform(worker, output);
        }
        let due = core.poll_timeout().map(|at| self.clock.step_after(at));
        let due = due.unwrap_or(clock::NEVER);
        worker.due.store(due, SeqCst);
        drop(core);
        self.clock.wake_before(due);
    }

    /// Works on what comes by connections and from the rest of the process, until the node stops.
    async fn run(
        self: Arc<Self>,
        index: usize,
        mut inbox: Inbox,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let mut batch = Vec::new();
        let Some(worker) = self.workers.get(index) else {
            return;
        };
        loop {
            tokio::select! {
                biased;
                Some(command) = commands.recv() => {
                    self.enter(index, |core, now| obey(core, now, command, worker));
                }
                more = inbox.recv(&mut batch) => {
                    if !more {
                        return;
                    }
                    self.enter(index, |core, now| {
                        for queued in batch.drain(..) {
                            take(core, now, queued);
                        }
                    });
                }
            }
        }
    }

    /// Starts the tasks of the workers and the clock's thread; all end with the node.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        self: &Arc<Self>,
        inboxes: impl IntoIterator<Item = (Inbox, mpsc::UnboundedReceiver<Command>)>,
        vitals: &Vitals,
    ) -> io::Result<()> {
        for (index, (inbox, commands)) in inboxes.into_iter().enumerate() {
            vitals.spawn(self.clone().run(index, inbox, commands));
        }
        clock::start(self.clone(), vitals)
    }
}

impl clock::Timed for Workers {
    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn next(&self) -> u64 {
        let due = self.workers.iter().map(|worker| worker.due.load(SeqCst));
        due.min().unwrap_or(clock::NEVER)
    }

    fn fire(&self, step: u64) {
        for (index, worker) in self.workers.iter().enumerate() {
            if worker.due.load(SeqCst) <= step {
                self.enter(index, |_, _| ());
            }
        }
    }
}

impl Work for Workers {
    fn datagram(&self, queued: Queued<Datagram>) {
        self.enter(queued.arrival.worker, |core, now| {
            let is_late = is_late(core, now, &queued);
            let Datagram { flow, bytes, .. } = queued.arrival;
            match is_late {
                true => core.handle_late(now, flow, Message::parse(bytes)),
                false => core.handle_datagram(now, flow, bytes),
            }
        });
    }
}

/// Whether it is better refused.
fn is_late<T>(core: &mut Core, now: Instant, queued: &Queued<T>) -> bool {
    let waited = now.saturating_duration_since(queued.at);
    queued.is_sheddable && (queued.is_crowded || core.is_too_late(waited))
}

fn take(core: &mut Core, now: Instant, queued: Queued) {
    let is_late = is_late(core, now, &queued);
    match queued.arrival {
        Arrival::Framed { flow, message } if is_late => core.handle_late(now, flow, message),
        Arrival::Framed { flow, message } => core.handle_framed(now, flow, message),
        Arrival::Failed { transaction } => core.handle_failed(now, transaction),
        Arrival::Unreachable { local, remote } => core.handle_unreachable(now, local, remote),
        Arrival::Closed { flow } => core.handle_closed(now, &flow),
    }
}

fn obey(core: &mut Core, now: Instant, command: Command, worker: &Worker) {
    let orders = &worker.orders;
    // Who asked may have gone meanwhile.
    match command {
        Command::List(tenant, answer) => {
            drop(answer.send(core.list(tenant.as_deref())));
        }
        Command::CallsByTrunk(answer) => drop(answer.send(core.calls_by_trunk())),
        Command::Count(answer) => drop(answer.send(core.calls())),
        Command::HangUp(id, answer) => drop(answer.send(core.hang_up_by_id(now, &id))),
        Command::Obey(order, answer) => drop(answer.send(core.obey(now, &order))),
        Command::Transfer(order, answerer) => {
            await_outcome(core.transfer(now, &order), answerer, orders);
        }
        Command::Dtmf(order, answerer) => {
            await_outcome(core.dtmf(now, &order), answerer, orders);
        }
        Command::Record(order, answerer) => {
            await_outcome(core.record_call(now, &order), answerer, orders);
        }
        Command::Quality(id, answer) => drop(answer.send(core.quality(&id))),
        Command::Originate(order, answer) => drop(answer.send(core.originate(now, &order))),
        Command::Voice(order, answer) => drop(answer.send(core.order_voice(now, &order))),
        Command::VoiceAccount(call, answer) => drop(answer.send(core.voice_account(&call))),
        Command::Trace(asked, answer) => drop(answer.send(core.trace(&asked))),
        Command::Drain(on) => core.set_draining(on),
        Command::Rules(directory, terms) => core.set_rules(directory, terms),
        Command::Stop => core.stop(now),
        Command::GiveUp(answer) => {
            let left = core.calls();
            core.give_up(now);
            let _ = answer.send(left);
        }
        Command::Media(token, answer) => core.handle_media(now, token, answer),
        Command::Resolved(token, hops) => core.handle_resolved(now, token, &hops),
        Command::Kept(token, kept) => core.handle_kept(now, token, kept),
        Command::Collected(aor, messages) => core.handle_collected(now, &aor, messages),
        Command::Account(aor, answer) => core.handle_account(now, &aor, &answer),
        Command::News(news) => core.handle_media_news(now, news),
        Command::Webhook(token, result) => {
            worker.webhooks.lock().remove(&token);
            core.handle_webhook(now, token, result);
        }
    }
}

/// Who asked is told when somebody else has answered, or why nobody was asked.
fn await_outcome(begun: Option<Result<OrderToken, Fault>>, answerer: Answerer, orders: &Orders) {
    match begun {
        Some(Ok(token)) => drop(orders.lock().insert(token, answerer)),
        Some(Err(fault)) => drop(answerer.send(Some(Err(fault)))),
        None => drop(answerer.send(None)),
    }
}

type Question = (MediaToken, media::Request);

fn perform(worker: &Worker, output: Output) {
    let Worker {
        shell, questions, ..
    } = worker;
    match output {
        Output::Transmit {
            flow,
            payload,
            transaction,
        } => {
            let sender = Sender {
                worker: shell.index,
                transaction,
            };
            shell.network.send(&flow, payload, sender);
        }
        // It fails only while the node is being taken down.
        Output::Media { token, request } => drop(questions.send((token, request))),
        Output::Resolve { token, authority } => resolve(shell, token, authority),
        Output::Account { aor } => shell.asker.ask(aor, shell.index),
        Output::Obeyed { token, outcome } => {
            let answerer = worker.orders.lock().remove(&token);
            // Who asked may have gone meanwhile.
            if let Some(answerer) = answerer {
                drop(answerer.send(Some(outcome)));
            }
        }
        Output::Webhook {
            token,
            request,
            public,
        } => {
            let commands = shell.commands.clone();
            // A socket is told in this order.
            let asked = shell.webhooks.ask(*request, public);
            let asking = shell.vitals.tracker.spawn(async move {
                let result = asked.await;
                drop(commands.send(Command::Webhook(token, result)));
            });
            // Its answer is taken under the core's lock, as this is: it cannot come before.
            worker.webhooks.lock().insert(token, asking.abort_handle());
        }
        Output::CancelWebhook(token) => {
            if let Some(asking) = worker.webhooks.lock().remove(&token) {
                asking.abort();
            }
        }
        Output::VoiceRow(row) => shell.rows.tell(*row),
        Output::Event(event) => shell.events.push(event),
        Output::Cdr(record) if record.recordings.is_empty() => shell.cdrs.submit(*record),
        Output::Cdr(record) => {
            let (cdrs, folder) = (shell.cdrs.clone(), shell.recordings.clone());
            shell.vitals.tracker.spawn(async move {
                cdrs.submit(recorded::complete(*record, folder).await);
            });
        }
        #[cfg(feature = "otel")]
        Output::Traced(call) => {
            if let Some(traces) = &shell.traces {
                traces.submit(&call);
            }
        }
        Output::Keep { token, message } => {
            let (post, commands) = (shell.post.clone(), shell.commands.clone());
            shell.vitals.tracker.spawn(async move {
                let kept = post.keep(&message).await;
                drop(commands.send(Command::Kept(token, kept)));
            });
        }
        Output::Collect { aor } => {
            if shell.post.has(&aor) {
                let (post, commands) = (shell.post.clone(), shell.commands.clone());
                shell.vitals.tracker.spawn(collect(post, commands, aor));
            }
        }
        Output::Settled { aor } => {
            if shell.post.settle(&aor) {
                let (post, commands) = (shell.post.clone(), shell.commands.clone());
                shell.vitals.tracker.spawn(collect(post, commands, aor));
            }
        }
        Output::Forget { aor, id } => {
            let (post, commands) = (shell.post.clone(), shell.commands.clone());
            let forgetting = post.clone().forget(aor.clone(), id);
            shell.vitals.tracker.spawn(async move {
                if forgetting.await {
                    collect(post, commands, aor).await;
                }
            });
        }
    }
}

async fn collect(post: Post, commands: mpsc::UnboundedSender<Command>, aor: Aor) {
    let messages = post.collect(&aor).await;
    if !messages.is_empty() {
        drop(commands.send(Command::Collected(aor, messages)));
    }
}

fn resolve(shell: &Shell, token: ResolveToken, authority: Authority) {
    if let Some(hops) = shell.resolver.known(&authority) {
        // It fails only while the node is being taken down.
        return drop(shell.commands.send(Command::Resolved(token, hops)));
    }
    let (resolver, commands) = (shell.resolver.clone(), shell.commands.clone());
    shell.vitals.tracker.spawn(async move {
        let hops = resolver.resolve(authority).await;
        drop(commands.send(Command::Resolved(token, hops)));
    });
}

/// Asks mediad in the order of the questions; the answers come as they come.
async fn ask_media(
    client: Client<Media>,
    mut questions: mpsc::UnboundedReceiver<Question>,
    commands: mpsc::UnboundedSender<Command>,
) {
    let mut pending = FuturesUnordered::new();
    loop {
        tokio::select! {
            // Futures are polled for the first time in the order in which they were added, which is
            // when they enter the channel's own queue.
            question = questions.recv() => {
                let Some((token, request)) = question else { return };
                let client = client.clone();
                pending.push(async move { (token, client.request(request).await) });
            }
            Some((token, answer)) = pending.next(), if !pending.is_empty() => {
                drop(commands.send(Command::Media(token, answer)));
            }
        }
    }
}
