//! The task around a worker's [`Core`]: hands it what arrives, and does what it wants.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use control::{
    Client,
    channel::{Events, RequestError},
    media::{self, Media},
    signal::{CallInfo, Signal, TracePage},
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use sip::message::Message;
use store::{CdrWriter, Timestamp};
use tokio::{
    runtime::{self, Handle, Runtime},
    sync::{mpsc, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    accounts::{Answer, Asker},
    call::{
        Authority, Core, Hop, KeepToken, Kept, MediaNews, MediaToken, Output, ResolveToken, Terms,
    },
    directory::{Aor, Directory},
    net::{Arrival, Inbox, Network, Queued, Sender},
    post::Post,
    resolve::Resolver,
};

/// How late a timer may be. A transaction has several, most of them to forget it: a wake for each would
/// cost as much as its messages.
const STEP: Duration = Duration::from_millis(5);

/// What a worker hears from the rest of the process.
#[derive(Debug)]
pub(crate) enum Command {
    /// Tell which calls are up.
    List(oneshot::Sender<Vec<CallInfo>>),
    /// Tell how many calls are up.
    Count(oneshot::Sender<usize>),
    /// Tell how many calls to each trunk are up.
    CallsByTrunk(oneshot::Sender<HashMap<String, u64>>),
    /// End a call; tell whether it was there.
    HangUp(String, oneshot::Sender<bool>),
    /// Tell a call's messages after one of them, in full or not.
    Trace(String, u64, bool, oneshot::Sender<Option<TracePage>>),
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
    pub(crate) post: Post,
    pub(crate) events: Events<Signal>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// The runtime of one worker's thread: the worker itself and its UDP sockets, so that a datagram of
/// one of its own calls wakes no other thread.
#[derive(Debug)]
pub(crate) struct Own(Option<Runtime>);

impl Own {
    /// Not running yet.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// To spawn onto, and to register sockets with.
    pub(crate) fn handle(&self) -> Option<&Handle> {
        self.0.as_ref().map(Runtime::handle)
    }

    /// Runs in the present thread until `future` is done.
    pub(crate) fn block_on(&self, future: impl Future<Output = ()>) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(future);
        }
    }

    /// Starts a worker in a thread of its own, which ends with the node.
    pub(crate) fn start(
        self,
        core: Core,
        shell: Shell,
        inbox: Inbox,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> io::Result<()> {
        let token = shell.tracker.token();
        let name = format!("sip-{}", shell.index);
        let work = move || {
            self.block_on(run(core, shell, inbox, commands));
            drop(token);
        };
        thread::Builder::new().name(name).spawn(work).map(drop)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Where the node does not start, this happens inside another runtime, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs until the node stops.
async fn run(
    mut core: Core,
    shell: Shell,
    mut inbox: Inbox,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let (questions, asked) = mpsc::unbounded_channel();
    let asking = ask_media(shell.media.clone(), asked, shell.commands.clone());
    shell
        .tracker
        .spawn(shell.stop.clone().run_until_cancelled_owned(asking));
    let mut batch = Vec::new();
    let stop = shell.stop.clone().cancelled_owned();
    let begin = Instant::now();
    let alarm = tokio::time::sleep_until(begin.into());
    tokio::pin!(stop, alarm);
    let mut set = None;
    loop {
        let wake = core.poll_timeout().map(|at| rounded(begin, at));
        // To set it again costs a place in the runtime's wheel, so it is left where it is right.
        if let Some(at) = wake
            && set != wake
        {
            alarm.as_mut().reset(at.into());
            set = wake;
        }
        let now = tokio::select! {
            biased;
            () = &mut stop => return,
            Some(command) = commands.recv() => {
                let now = clock(&mut core);
                obey(&mut core, now, command);
                now
            }
            more = inbox.recv(&mut batch) => {
                if !more {
                    return;
                }
                let now = clock(&mut core);
                for queued in batch.drain(..) {
                    take(&mut core, now, queued);
                }
                now
            }
            () = &mut alarm, if wake.is_some() => {
                set = None;
                clock(&mut core)
            }
        };
        // Also where there was always something else to do.
        if core
            .poll_timeout()
            .is_some_and(|at| rounded(begin, at) <= now)
        {
            core.handle_timeout(now);
        }
        while let Some(output) = core.poll_output() {
            perform(&shell, &questions, output);
        }
    }
}

/// The next step of the clock at or after `at`: what is due within one step is done together.
fn rounded(begin: Instant, at: Instant) -> Instant {
    let since = at.saturating_duration_since(begin).as_nanos();
    let step = STEP.as_nanos();
    let since = u64::try_from(since.div_ceil(step) * step);
    since.map_or(at, |since| begin + Duration::from_nanos(since))
}

fn clock(core: &mut Core) -> Instant {
    let now = tokio::time::Instant::now().into_std();
    core.set_clock(now, Timestamp::now());
    now
}

fn take(core: &mut Core, now: Instant, queued: Queued) {
    let waited = now.saturating_duration_since(queued.at);
    let is_late = queued.is_sheddable && (queued.is_crowded || core.is_too_late(waited));
    match queued.arrival {
        Arrival::Datagram { flow, bytes } if is_late => {
            core.handle_late(now, flow, Message::parse(bytes));
        }
        Arrival::Framed { flow, message } if is_late => core.handle_late(now, flow, message),
        Arrival::Datagram { flow, bytes } => core.handle_datagram(now, flow, bytes),
        Arrival::Framed { flow, message } => core.handle_framed(now, flow, message),
        Arrival::Failed { transaction } => core.handle_failed(now, transaction),
        Arrival::Unreachable { local, remote } => core.handle_unreachable(now, local, remote),
        Arrival::Closed { flow } => core.handle_closed(now, &flow),
    }
}

fn obey(core: &mut Core, now: Instant, command: Command) {
    // Who asked may have gone meanwhile.
    match command {
        Command::List(answer) => drop(answer.send(core.list())),
        Command::CallsByTrunk(answer) => drop(answer.send(core.calls_by_trunk())),
        Command::Count(answer) => drop(answer.send(core.calls())),
        Command::HangUp(id, answer) => drop(answer.send(core.hang_up_by_id(now, &id))),
        Command::Trace(id, after, full, answer) => {
            drop(answer.send(core.trace(&id, after, full)));
        }
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
    }
}

type Question = (MediaToken, media::Request);

fn perform(shell: &Shell, questions: &mpsc::UnboundedSender<Question>, output: Output) {
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
        Output::Event(event) => shell.events.push(event),
        Output::Cdr(cdr) => shell.cdrs.submit(*cdr),
        Output::Keep { token, message } => {
            let (post, commands) = (shell.post.clone(), shell.commands.clone());
            shell.tracker.spawn(async move {
                let kept = post.keep(&message).await;
                drop(commands.send(Command::Kept(token, kept)));
            });
        }
        Output::Collect { aor } if shell.post.has(&aor) => {
            let (post, commands) = (shell.post.clone(), shell.commands.clone());
            shell.tracker.spawn(async move {
                let messages = post.collect(&aor).await;
                drop(commands.send(Command::Collected(aor, messages)));
            });
        }
        Output::Collect { .. } => {}
        Output::Undelivered { ids } => shell.post.release(&ids),
        Output::Forget { id } => {
            let post = shell.post.clone();
            shell.tracker.spawn(async move { post.forget(id).await });
        }
    }
}

fn resolve(shell: &Shell, token: ResolveToken, authority: Authority) {
    if let Some(hops) = shell.resolver.known(&authority) {
        // It fails only while the node is being taken down.
        return drop(shell.commands.send(Command::Resolved(token, hops)));
    }
    let (resolver, commands) = (shell.resolver.clone(), shell.commands.clone());
    shell.tracker.spawn(async move {
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
