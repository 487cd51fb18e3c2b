//! Tells webhooks what happens.
//!
//! An event is in the store before it is sent, for each webhook that wants it, and leaves it when the
//! receiver has taken it: what was not told when the node stopped is told after its next start. So a receiver
//! may hear of an event twice (`webhook-id` is the same then), and not always in order.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rand::RngExt as _;
use reqwest::{StatusCode, header};
use store::{Delivery, StoreError, Timestamp, Uuid, Webhook};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{error, info, warn};

use super::{public, signature::Secret};
use crate::{
    State, client,
    events::{Event, Wanted},
    metrics::Metrics,
};

/// How long after each failed attempt the next one is made; after the last one none is.
const PAUSES: [Duration; 8] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(12 * 3600),
];
/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Requests to one webhook at a time.
const AT_ONCE: usize = 16;
/// What is read from the store to be sent at once at most.
const PASS: u32 = 256;
/// Events that are written at once at most, and how long the first of them waits for others.
const BATCH: usize = 256;
const GATHER: Duration = Duration::from_millis(100);
/// How often it is looked for what other processes changed, or what is due again.
const LOOK: Duration = Duration::from_secs(1);
/// What waits for receivers at most: beyond that events are dropped, and counted.
const MOST: u64 = 100_000;
/// How long what was given up is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Webhooks of a tenant, or of the node, at most.
pub(super) const WEBHOOKS: usize = 100;
/// Webhooks in all at most: for each there is a task.
pub(super) const MOST_WEBHOOKS: u32 = 1_000;

/// A webhook, and what it wants to hear.
type Hook = (Webhook, Wanted);

/// Wakes the teller.
#[derive(Debug)]
pub(crate) struct Bell {
    /// A webhook was changed.
    pub(super) changed: Notify,
    /// There is something to send.
    pub(super) due: watch::Sender<()>,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            changed: Notify::new(),
            due: watch::Sender::new(()),
        }
    }
}

/// Who tells them.
#[derive(Debug)]
pub(crate) struct Teller {
    state: Arc<State>,
    metrics: Arc<Metrics>,
    client: reqwest::Client,
    /// For tenants: it reaches public addresses alone.
    abroad: reqwest::Client,
}

impl Teller {
    pub(crate) fn new(state: Arc<State>, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        Ok(Self {
            state,
            metrics,
            client: client::new(PATIENCE)?,
            // A proxy of the environment would look names up by itself.
            abroad: client::with(PATIENCE, |client| {
                client.dns_resolver(Arc::new(public::Resolver)).no_proxy()
            })?,
        })
    }

    /// Runs until there are no events any more; what happened until then is written down.
    pub(crate) async fn run(self) {
        let this = Arc::new(self);
        tokio::select! {
            () = this.gather() => {}
            () = this.forget() => {}
        }
    }

    /// Writes down what is to be told, and has it sent.
    async fn gather(self: &Arc<Self>) {
        let mut senders = Senders::default();
        while !self.state.events.is_closed() {
            let hooks = self.hooks().await;
            senders.follow(self, &hooks);
            if hooks.is_empty() {
                // Nobody is told: signaling need not make events.
                drop(timeout(LOOK, self.state.bell.changed.notified()).await);
            } else {
                self.listen(hooks, &mut senders).await;
            }
        }
    }

    /// The webhooks that are told; waits for a store that is away.
    async fn hooks(&self) -> Vec<Hook> {
        loop {
            match self.state.store.webhooks(None, None, MOST_WEBHOOKS).await {
                Ok(hooks) => {
                    let enabled = hooks.into_iter().filter(|hook| hook.enabled);
                    return enabled.filter_map(with_types).collect();
                }
                Err(error) => {
                    warn!(%error, "cannot read the webhooks: nobody is told of events");
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// For as long as there are webhooks, and events.
    async fn listen(self: &Arc<Self>, mut hooks: Vec<Hook>, senders: &mut Senders) {
        let mut listener = self.state.events.listen(Wanted::all(), None);
        let mut looked = Instant::now();
        loop {
            let first = tokio::select! {
                event = listener.next() => match event {
                    Some(event) => Some(event),
                    // The node is being stopped.
                    None => return,
                },
                () = self.state.bell.changed.notified() => None,
                () = tokio::time::sleep_until(looked + LOOK) => None,
            };
            let Some(first) = first else {
                hooks = self.hooks().await;
                senders.follow(self, &hooks);
                looked = Instant::now();
                if hooks.is_empty() {
                    return;
                }
                continue;
            };
            let mut events = vec![first];
            let until = Instant::now() + GATHER;
            while events.len() < BATCH
                && let Ok(Some(event)) = timeout_at(until, listener.next()).await
            {
                events.push(event);
            }
            self.keep(&hooks, &events).await;
        }
    }

    /// Writes events down for whom they are; waits for a store that is away.
    async fn keep(&self, hooks: &[Hook], events: &[Arc<Event>]) {
        let mut deliveries = Vec::new();
        for event in events {
            for (hook, wanted) in hooks {
                let Some(event) = wanted.pick(event) else {
                    continue;
                };
                let body = serde_json::to_string(&*event).unwrap_or_default();
                deliveries.push(delivery(&self.state, hook.id, body));
            }
        }
        if deliveries.is_empty() {
            return;
        }
        loop {
            match self.add(&deliveries).await {
                Ok(()) => return,
                Err(error) => {
                    warn!(%error, "cannot write down what webhooks are to be told; trying again");
                    sleep(LOOK).await;
                }
            }
        }
    }

    async fn add(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        if self.state.store.count_deliveries(&self.state.node).await? >= MOST {
            let dropped = deliveries.len();
            self.metrics.told("dropped", dropped);
            error!(
                dropped,
                "webhooks' receivers take too little: {MOST} events wait, more are dropped"
            );
            return Ok(());
        }
        self.state.store.add_deliveries(deliveries).await?;
        self.state.bell.due.send_replace(());
        Ok(())
    }

    /// Sends a webhook what is due. Each has a task of its own, so that a slow one keeps nobody waiting.
    async fn send(self: Arc<Self>, id: Uuid) {
        let mut due = self.state.bell.due.subscribe();
        loop {
            due.mark_unchanged();
            match self.pass(id).await {
                // There may be more.
                Ok(true) => {}
                Ok(false) => drop(timeout(LOOK, due.changed()).await),
                Err(error) => {
                    warn!(%error, webhook = %id, "cannot go on with what a webhook is to be told");
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Sends what is due now. Tells whether anything was.
    async fn pass(&self, id: Uuid) -> Result<bool, StoreError> {
        let Some(hook) = self.state.store.webhook(id).await? else {
            return Ok(false);
        };
        let due = self
            .state
            .store
            .due_deliveries(&self.state.node, id, Timestamp::now(), PASS);
        let due = due.await?;
        let is_any = !due.is_empty();
        let attempts = due
            .into_iter()
            .map(|delivery| self.attempt(&hook, delivery));
        let attempts = stream::iter(attempts).buffer_unordered(AT_ONCE);
        attempts.try_for_each(async |()| Ok(())).await?;
        Ok(is_any)
    }

    async fn attempt(&self, hook: &Webhook, delivery: Delivery) -> Result<(), StoreError> {
        match self.post(hook, &delivery).await {
            Ok(status) if status.is_success() => {
                self.metrics.told("delivered", 1);
                self.state.store.end_delivery(delivery.id).await
            }
            Ok(StatusCode::GONE) => self.leave(hook, &delivery).await,
            Ok(status) => {
                let why = format!("it answered {status}");
                self.put_off(&delivery, &why).await
            }
            Err(why) => self.put_off(&delivery, &why).await,
        }
    }

    async fn post(&self, hook: &Webhook, delivery: &Delivery) -> Result<StatusCode, String> {
        let secret = Secret::parse(&hook.secret).ok_or("its secret is damaged")?;
        let (id, body) = (delivery.id.to_string(), &delivery.body);
        let seconds = Timestamp::now().millis().div_euclid(1000);
        // The URL may have been stored, or lead elsewhere, since it was checked.
        let client = match &hook.tenant {
            None => &self.client,
            Some(_) if public::leads_home(&hook.url) => {
                return Err("a tenant's webhook is told at public addresses only".to_owned());
            }
            Some(_) => &self.abroad,
        };
        let answer = client
            .post(&hook.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-signature", secret.sign(&id, seconds, body))
            .header("webhook-timestamp", seconds)
            .header("webhook-id", id)
            .body(body.clone())
            .send();
        // The URL may have a password in it.
        let answer = answer
            .await
            .map_err(|error| client::told(&error.without_url()));
        answer.map(|answer| answer.status())
    }

    async fn put_off(&self, delivery: &Delivery, why: &str) -> Result<(), StoreError> {
        let attempts = delivery.attempts + 1;
        let pause = PAUSES.get(delivery.attempts as usize);
        let next = pause.map(|pause| Timestamp::now().later(spread(*pause)));
        let (webhook, id) = (delivery.webhook, delivery.id);
        match next {
            Some(next) => {
                self.metrics.told("failed", 1);
                info!(%webhook, delivery = %id, attempts, why, %next, "a webhook was not told; it will be again");
            }
            None => {
                self.metrics.told("dead", 1);
                warn!(%webhook, delivery = %id, attempts, why, "a webhook was not told, and it is given up");
            }
        }
        let put_off = self.state.store.put_off_delivery(id, attempts, next, why);
        put_off.await
    }

    /// 410 says that nobody is there any more.
    async fn leave(&self, hook: &Webhook, delivery: &Delivery) -> Result<(), StoreError> {
        self.metrics.told("dead", 1);
        warn!(webhook = %hook.id, "a webhook answered 410: it is told nothing any more");
        let attempts = delivery.attempts + 1;
        let put_off =
            self.state
                .store
                .put_off_delivery(delivery.id, attempts, None, "it answered 410");
        put_off.await?;
        let off = Webhook {
            enabled: false,
            updated: hook.updated.next(),
            ..hook.clone()
        };
        // Where somebody changed it meanwhile, it is another one: it may say so again. This is the last that
        // this task does: it is cut off where the webhook is not told any more.
        self.state.store.change_webhook(&off, hook.updated).await?;
        self.state.bell.changed.notify_one();
        Ok(())
    }

    /// Forgets what was given up long ago.
    async fn forget(&self) {
        loop {
            let before = Timestamp::now().earlier(KEPT);
            if let Err(error) = self.state.store.forget_deliveries_before(before).await {
                warn!(%error, "cannot forget what webhooks were not told");
            }
            sleep(Duration::from_secs(3600)).await;
        }
    }
}

/// What a webhook is to be told at once.
pub(super) fn delivery(state: &State, webhook: Uuid, body: String) -> Delivery {
    let now = Timestamp::now();
    Delivery {
        id: Uuid::now_v7(),
        webhook,
        node: state.node.clone(),
        body,
        created: now,
        attempts: 0,
        next: Some(now),
        error: String::new(),
    }
}

/// The types were checked when they were stored; a former version may have known others.
fn with_types(hook: Webhook) -> Option<Hook> {
    match Wanted::new(hook.types.clone(), hook.tenant.clone()) {
        Ok(wanted) => Some((hook, wanted)),
        Err(reason) => {
            warn!(webhook = %hook.id, reason, "a webhook is not told of anything");
            None
        }
    }
}

/// The tasks that send, by webhook.
#[derive(Debug, Default)]
struct Senders(HashMap<Uuid, JoinSet<()>>);

impl Senders {
    /// One for each that is told, and no other: what is gone is cut off.
    fn follow(&mut self, teller: &Arc<Teller>, hooks: &[Hook]) {
        let is_there = |id: &Uuid| hooks.iter().any(|(hook, _)| hook.id == *id);
        self.0.retain(|id, _| is_there(id));
        for (hook, _) in hooks {
            self.0.entry(hook.id).or_insert_with(|| {
                let mut task = JoinSet::new();
                task.spawn(teller.clone().send(hook.id));
                task
            });
        }
    }
}

/// Up to a fifth longer, so that what failed together is not tried together.
fn spread(pause: Duration) -> Duration {
    pause + pause.mul_f64(rand::rng().random_range(0.0..0.2))
}
