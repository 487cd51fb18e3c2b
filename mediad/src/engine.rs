//! The engine: the shards, and who asks which of them for what.
//!
//! An [`Engine`] is a handle that can be cloned. It answers the control channel's requests
//! ([`Handler`]), whoever brings them: the server on the Unix socket, a client in the same process,
//! or another front.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control::channel::{Events, Handler};
use control::media::{
    Bans, MAX_SURVEY, MAX_TOP, Media, MediaStatus, Request, Response, SessionId, Top,
};
use control::{Config, Fault, FaultCode, config};
use prometheus::Registry;
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::datapath::{self, Datapath, DatapathError};
use crate::drain::Draining;
use crate::library::{self, Library, LibraryError};
use crate::limits;
use crate::metrics::Metrics;
use crate::ports;
use crate::record::{Recorder, Rotation};
use crate::reload::{self, Reload};
use crate::shard::{Adopted, Command, Offload, Reply, ShardConfig, ShardError, ShardHandle};
use crate::stream::{self, Bell};
use crate::tap::Reader;

mod attempt;
mod record;
mod voice;

/// Bans in one request at most.
const BANS: usize = 1_024;

/// A handle on the media engine.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: Vec<ShardHandle>,
    directory: Mutex<Directory>,
    events: Events<Media>,
    metrics: Metrics,
    datapath: Datapath,
    /// Of what XDP copies.
    reader: Option<Reader>,
    recorder: Option<Recorder>,
    /// What is played.
    library: Library,
    /// What streams have in common.
    streams: stream::Settings,
    /// Ports configured, and sessions adopted at start.
    ports: u32,
    adopted: u64,
    draining: Draining,
    reloading: Reload,
    /// The process does nothing but this engine's work.
    alone: AtomicBool,
}

/// Which shard has which session.
#[derive(Debug, Default)]
struct Directory {
    entries: HashMap<SessionId, Entry>,
    /// Sessions by shard.
    load: Vec<usize>,
    attempts: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    shard: usize,
    /// The last attempt to create it: a failed attempt removes the entry only if it was the last.
    attempt: u64,
}

/// Why the engine did not start.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The datapath that was asked for is not to be had.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// A shard did not start.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The range has no room for a session.
    #[error("[media] ports: a session takes four ports, the range has fewer")]
    Ports,
    /// The folder of the recordings cannot be used.
    #[error("[media] recordings: {folder}: {source}")]
    Recordings {
        /// Which.
        folder: String,
        /// Why.
        source: std::io::Error,
    },
    /// Audio to be played cannot be fetched.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// Streams cannot be encrypted.
    #[error("streams to wss: URLs cannot be encrypted: {0}")]
    Streams(#[from] rustls::Error),
    /// The metrics could not be registered.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Engine {
    /// Starts the shards and the datapath, and adopts the sessions that a process before this one
    /// has left to XDP. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`EngineError`] tells what an operator has to change.
    pub async fn start(config: &Config, registry: &Registry) -> Result<Self, EngineError> {
        let media = &config.media;
        let shards = shard_count(media.shards);
        let parts = ports::split(&media.ports.ports(), shards);
        let total: u32 = parts
            .iter()
            .map(|part| u32::from(part.end() - part.start()) + 1)
            .sum();
        if total < 4 {
            return Err(EngineError::Ports);
        }
        let files = limits::raise_open_files(limits::files_for(total as usize));
        if files < u64::from(total) + 1024 {
            warn!(
                files,
                ports = total,
                "the limit of open files allows fewer sessions than ports do"
            );
        }
        let metrics = Metrics::new(registry)?;
        let recorder = media.recordings.as_deref().map(|folder| {
            let rotation = Rotation {
                after: Duration::from_secs(media.rotate_seconds.into()),
                octets: u64::from(media.rotate_mib) << 20,
            };
            Recorder::start(folder, rotation).map_err(|source| EngineError::Recordings {
                folder: folder.display().to_string(),
                source,
            })
        });
        let recorder = recorder.transpose()?;
        let (datapath, offload) = datapath::choose(media, &config.node.name)?;
        let library = Library::new(&config.voice)?;
        let allow = config.voice.allow.clone();
        let admit = Arc::new(move |ip| library::may(ip, &allow));
        let mut streams = stream::Settings::new(config.voice.plain_streams, admit)?;
        let hearing = config.voice.hearing.as_deref();
        let hearing = hearing.map(|url| stream::Hearing::new(url, config.voice.hearing_rate));
        streams.hearing = hearing.transpose()?;
        let events = Events::new();
        let engine = Self::start_shards(
            media,
            parts,
            events,
            metrics,
            (datapath, offload),
            (recorder, library, streams),
            files,
        )
        .await?;
        engine.announce();
        Ok(engine)
    }

    async fn start_shards(
        media: &config::Media,
        parts: Vec<std::ops::RangeInclusive<u16>>,
        events: Events<Media>,
        metrics: Metrics,
        (datapath, offload): (Datapath, Option<Offload>),
        (recorder, library, streams): (Option<Recorder>, Library, stream::Settings),
        files: u64,
    ) -> Result<Self, EngineError> {
        let settings = reload::settings(media);
        let mut shards = Vec::new();
        for (number, ports) in (0..).zip(&parts) {
            let config = ShardConfig {
                number,
                ports: ports.clone(),
                kept: ports::most_kept(files, parts.len()),
                set: settings.clone(),
                io: datapath.io,
            };
            shards.push(ShardHandle::start(
                config,
                events.clone(),
                Arc::new(Bell::start(number).map_err(ShardError::from)?),
                offload.clone(),
            )?);
        }
        let unread = datapath.take_unread();
        let reader = unread.map(|unread| {
            let ends = parts.iter().map(|part| *part.end());
            let shards = ends.zip(shards.iter().map(ShardHandle::commands));
            unread.start(shards.collect())
        });
        let reader = reader.transpose().map_err(ShardError::from)?;
        let mut directory = Directory {
            load: vec![0; shards.len()],
            ..Directory::default()
        };
        let mut adopted = 0;
        for (shard, sessions) in sort_adopted(datapath.adoptable(), &parts, offload.as_ref()) {
            let Some(handle) = shards.get(shard) else {
                continue;
            };
            let (reply, answer) = oneshot::channel();
            handle.send(Command::Adopt(sessions, reply));
            if let Ok(Ok(ids)) = answer.await {
                adopted += ids.len() as u64;
                ids.into_iter().for_each(|id| directory.enter(id, shard));
            }
        }
        let ports = parts
            .iter()
            .map(|part| u32::from(part.end() - part.start()) + 1)
            .sum();
        datapath.started();
        let inner = Inner {
            shards,
            directory: Mutex::new(directory),
            events,
            metrics,
            datapath,
            reader,
            recorder,
            library,
            streams,
            ports,
            adopted,
            draining: Draining::default(),
            reloading: Reload::default(),
            alone: AtomicBool::new(false),
        };
        Ok(Self(Arc::new(inner)))
    }

    fn announce(&self) {
        let status = self.status();
        info!(
            datapath = status.path.name(),
            shards = status.shards,
            ports = status.ports,
            adopted = status.adopted,
            "media engine started"
        );
        if !status.stepped_down.is_empty() {
            warn!(reason = %status.stepped_down, "the datapath stepped down");
        }
    }

    /// What is pushed to the control channel's clients.
    #[must_use]
    pub fn events(&self) -> Events<Media> {
        self.0.events.clone()
    }

    /// How the engine is.
    #[must_use]
    pub fn status(&self) -> MediaStatus {
        let inner = &self.0;
        let sum = |read: fn(&ShardHandle) -> u64| inner.shards.iter().map(read).sum::<u64>();
        MediaStatus {
            path: inner.datapath.path,
            stepped_down: inner.datapath.stepped_down.clone(),
            interfaces: inner.datapath.interfaces(),
            shards: u16::try_from(inner.shards.len()).unwrap_or(u16::MAX),
            sessions: sum(|shard| shard.gauges.sessions.load(Ordering::Relaxed)),
            ports_used: u32::try_from(sum(|shard| {
                u64::from(shard.gauges.ports_used.load(Ordering::Relaxed))
            }))
            .unwrap_or(u32::MAX),
            ports: inner.ports,
            adopted: inner.adopted,
            draining: inner.draining.is_on(),
        }
    }

    pub(crate) fn reloading(&self) -> &Reload {
        &self.0.reloading
    }

    pub(crate) fn draining(&self) -> &Draining {
        &self.0.draining
    }

    /// Whether the process does nothing but this engine's work, and may end with it.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.alone.load(Ordering::Relaxed)
    }

    pub(crate) fn set_alone(&self) {
        self.0.alone.store(true, Ordering::Relaxed);
    }

    /// Whether there is a session of this id, or is about to be.
    pub(crate) fn has(&self, id: SessionId) -> bool {
        self.directory().entries.contains_key(&id)
    }

    /// Sessions that are there, or are about to be.
    pub(crate) fn left(&self) -> usize {
        self.forget_dropped();
        self.directory().entries.len()
    }

    /// Brings the metrics up to date; the registry given to [`Engine::start`] has them then.
    pub fn refresh_metrics(&self) {
        let gauges: Vec<_> = self
            .0
            .shards
            .iter()
            .map(|shard| shard.gauges.as_ref())
            .collect();
        self.0
            .metrics
            .refresh(&self.status(), &self.0.datapath, &gauges);
    }

    /// The metrics page.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.refresh_metrics();
        self.0.metrics.page()
    }

    /// Tells the shards that next hops may have changed.
    pub(crate) fn hops_changed(&self) {
        self.tell_shards(|| Command::HopsChanged);
    }

    pub(crate) fn tell_shards(&self, command: impl Fn() -> Command) {
        for shard in &self.0.shards {
            shard.send(command());
        }
    }

    /// Lets the shards know when next hops have changed. Never completes; whoever starts an engine
    /// runs this beside it.
    pub async fn watch_hops(&self) {
        loop {
            self.0.datapath.hops_changed().await;
            self.hops_changed();
        }
    }

    /// Ends the shards and leaves their calls to the XDP program, for the next process to adopt.
    pub fn abandon(&self) {
        self.0.shards.iter().for_each(|shard| shard.stop(false));
    }

    /// Ends the shards and takes the datapath down; sessions that are left end with it.
    pub async fn stop(&self) {
        self.end(false).await;
    }

    /// Ends the shards. Where calls go on by XDP without this process, that stays for the next process to adopt; where
    /// none does, the datapath is taken down.
    pub async fn leave(&self) {
        self.end(true).await;
    }

    async fn end(&self, leave: bool) {
        let inner = self.0.clone();
        let stopped = tokio::task::spawn_blocking(move || {
            inner.shards.iter().for_each(|shard| shard.stop(!leave));
            match inner.datapath.outlived_by() {
                sessions if leave && sessions > 0 => info!(
                    sessions,
                    "calls go on by XDP without this process: the next mediad adopts them, and \
                     'mediad --detach' takes the program off instead"
                ),
                _ => inner.datapath.detach(),
            }
            if let Some(reader) = &inner.reader {
                reader.stop();
            }
            if let Some(recorder) = &inner.recorder {
                recorder.stop();
            }
        });
        if stopped.await.is_err() {
            warn!("the media engine did not stop cleanly");
        }
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        // The directory is whole after each statement under the lock, so a panic elsewhere while it
        // was held does no harm.
        self.0
            .directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a shard; the command is queued before this returns.
    fn ask<T: Send + 'static>(
        &self,
        shard: usize,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> impl Future<Output = Result<T, Fault>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let sent = self
            .0
            .shards
            .get(shard)
            .is_some_and(|shard| shard.send(command(reply)));
        async move {
            let gone = || Fault::new(FaultCode::Unavailable, "the media engine is stopping");
            if !sent {
                return Err(gone());
            }
            answer.await.map_err(|_| gone())?
        }
    }

    fn delete(
        &self,
        id: SessionId,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let answer = {
            let mut directory = self.directory();
            directory
                .remove(id)
                .map(|shard| self.ask(shard, move |reply| Command::Delete(id, reply)))
        };
        let engine = self.clone();
        async move {
            let Some(answer) = answer else {
                return Ok(Response::Gone);
            };
            Ok(match answer.await? {
                Some(stats) => {
                    engine.0.metrics.ended(&stats);
                    Response::Stats(Box::new(stats))
                }
                None => Response::Gone,
            })
        }
    }

    fn of_session<T: Send + 'static>(
        &self,
        id: SessionId,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> impl Future<Output = Result<T, Fault>> + Send + 'static {
        let shard = self.directory().entries.get(&id).map(|entry| entry.shard);
        let answer = shard.map(|shard| self.ask(shard, command));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => Err(Fault::new(
                    FaultCode::NotFound,
                    format!("there is no media session {id}"),
                )),
            }
        }
    }

    /// A thousand writes to a map take about a millisecond, so nobody waits long for this.
    fn ban(&self, bans: &Bans) -> Result<Response, Fault> {
        if bans.ban.len() > BANS {
            let message = format!("{} bans in one request: {BANS} at most", bans.ban.len());
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        match self.0.datapath.ban(bans) {
            None => Ok(Response::Banned {
                in_force: false,
                missed: 0,
            }),
            Some(Ok(missed)) => Ok(Response::Banned {
                in_force: true,
                missed,
            }),
            Some(Err(error)) => {
                warn!(%error, "cannot tell the XDP program who is banned");
                Err(Fault::new(FaultCode::Internal, error.to_string()))
            }
        }
    }

    /// Each shard is asked once, for all that it has.
    fn survey(
        &self,
        ids: &[SessionId],
    ) -> Result<impl Future<Output = Result<Response, Fault>> + Send + 'static, Fault> {
        if ids.len() > MAX_SURVEY {
            let message = format!("{} sessions in one survey: {MAX_SURVEY} at most", ids.len());
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        let mut by_shard = vec![Vec::new(); self.0.shards.len()];
        {
            let directory = self.directory();
            for id in ids {
                let entry = directory.entries.get(id);
                if let Some(ids) = entry.and_then(|entry| by_shard.get_mut(entry.shard)) {
                    ids.push(*id);
                }
            }
        }
        let asked = by_shard.into_iter().enumerate();
        let asked = asked.filter(|(_, ids)| !ids.is_empty());
        let answers: Vec<_> = asked
            .map(|(shard, ids)| self.ask(shard, move |reply| Command::Survey(ids, reply)))
            .collect();
        Ok(async move {
            let mut all = Vec::new();
            for answer in answers {
                all.extend(answer.await?);
            }
            Ok(Response::Survey(all))
        })
    }

    fn top(&self, most: u16) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let most = most.min(MAX_TOP);
        let answers: Vec<_> = (0..self.0.shards.len())
            .map(|shard| self.ask(shard, move |reply| Command::Top(most, reply)))
            .collect();
        async move {
            let mut all = Top::default();
            for answer in answers {
                all.add(answer.await?, most.into());
            }
            Ok(Response::Top(all))
        }
    }

    fn list(&self, owner: &str) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let answers: Vec<_> = (0..self.0.shards.len())
            .map(|shard| self.ask(shard, move |reply| Command::List(owner.to_owned(), reply)))
            .collect();
        async move {
            let mut ids = Vec::new();
            for answer in answers {
                ids.extend(answer.await?);
            }
            Ok(Response::Sessions(ids))
        }
    }
}

/// A boxed answer: the kinds of requests have futures of different types.
type Answer = futures_util::future::BoxFuture<'static, Result<Response, Fault>>;

impl Handler<Media> for Engine {
    fn handle(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let answer: Answer = match request {
            Request::Create(create) => match self.admits(create.id) {
                Ok(()) => Box::pin(self.create(create)),
                Err(fault) => Box::pin(async move { Err(fault) }),
            },
            // It may be asked for again, after the other one has ended.
            Request::Beside(known, create) => {
                match self.admits(known).or_else(|_| self.admits(create.id)) {
                    Ok(()) => Box::pin(self.create(create)),
                    Err(fault) => Box::pin(async move { Err(fault) }),
                }
            }
            Request::Modify(modify) => {
                let answer =
                    self.of_session(modify.id, move |reply| Command::Modify(modify, reply));
                Box::pin(async move { answer.await.map(Response::Session) })
            }
            Request::Mute(mute) => {
                let answer = self.of_session(mute.id, move |reply| Command::Mute(mute, reply));
                Box::pin(async move { answer.await.map(Response::Session) })
            }
            Request::Dtmf(order) => {
                let answer = self.of_session(order.id, move |reply| Command::Dtmf(order, reply));
                Box::pin(async move { answer.await.map(Response::Session) })
            }
            Request::Monitor(monitor) => {
                let answer =
                    self.of_session(monitor.id, move |reply| Command::Monitor(monitor, reply));
                Box::pin(async move { answer.await.map(Response::Monitor) })
            }
            Request::Unmonitor(monitor) => {
                let answer =
                    self.of_session(monitor.id, move |reply| Command::Unmonitor(monitor, reply));
                Box::pin(async move {
                    match answer.await {
                        Err(fault) if fault.code != FaultCode::NotFound => Err(fault),
                        Ok(()) | Err(_) => Ok(Response::Gone),
                    }
                })
            }
            Request::Voice(voice) => Box::pin(self.voice(voice)),
            Request::Record(record) => Box::pin(self.clone().record(record)),
            Request::Survey(ids) => match self.survey(&ids) {
                Ok(answer) => Box::pin(answer),
                Err(fault) => Box::pin(async move { Err(fault) }),
            },
            Request::Top(most) => Box::pin(self.top(most)),
            Request::Query(id) => {
                let answer = self.of_session(id, move |reply| Command::Query(id, reply));
                Box::pin(async move { answer.await.map(Box::new).map(Response::Stats) })
            }
            Request::Delete(id) => Box::pin(self.delete(id)),
            Request::List { owner } => Box::pin(self.list(&owner)),
            Request::Status => {
                let status = self.status();
                Box::pin(async move { Ok(Response::Status(status)) })
            }
            Request::Bans(bans) => {
                let answer = self.ban(&bans);
                Box::pin(async move { answer })
            }
            Request::Drain(order) => {
                let answer = self.drain(order).map(Response::Status);
                Box::pin(async move { answer })
            }
            Request::Reload => {
                let engine = self.clone();
                // A file is read.
                let answer = tokio::task::spawn_blocking(move || engine.reload());
                Box::pin(async move {
                    let gone =
                        |_| Fault::new(FaultCode::Unavailable, "the media engine is stopping");
                    answer.await.map_err(gone)?.map(Response::Reloaded)
                })
            }
            Request::Metrics => {
                let page = self.metrics();
                Box::pin(async move { Ok(Response::Metrics(page)) })
            }
        };
        answer
    }
}

impl Directory {
    /// Where a session is, or shall be: on the shard with the fewest.
    fn attempt(&mut self, id: SessionId) -> Entry {
        self.attempts += 1;
        let attempt = self.attempts;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.attempt = attempt;
            return *entry;
        }
        let least = self.load.iter().enumerate().min_by_key(|(_, load)| **load);
        let shard = least.map_or(0, |(shard, _)| shard);
        self.enter(id, shard);
        let entry = Entry { shard, attempt };
        self.entries.insert(id, entry);
        entry
    }

    fn enter(&mut self, id: SessionId, shard: usize) {
        if self
            .entries
            .insert(id, Entry { shard, attempt: 0 })
            .is_none()
            && let Some(load) = self.load.get_mut(shard)
        {
            *load += 1;
        }
    }

    fn give_up(&mut self, id: SessionId, attempt: u64) {
        if self
            .entries
            .get(&id)
            .is_some_and(|entry| entry.attempt == attempt)
        {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: SessionId) -> Option<usize> {
        let entry = self.entries.remove(&id)?;
        if let Some(load) = self.load.get_mut(entry.shard) {
            *load -= 1;
        }
        Some(entry.shard)
    }
}

/// One shard for each core, unless the configuration says how many.
fn shard_count(configured: u16) -> u16 {
    if configured != 0 {
        return configured;
    }
    let cores = limits::allowed_cores().map_or(1, |cores| cores.len());
    u16::try_from(cores.max(1)).unwrap_or(u16::MAX)
}

/// Slots that were in force at start, as sessions by the shard that has their ports. Slots that fit
/// no shard of this configuration are cleared.
fn sort_adopted(
    slots: Vec<(u16, ebpf_abi::Slot)>,
    parts: &[std::ops::RangeInclusive<u16>],
    offload: Option<&Offload>,
) -> Vec<(usize, Vec<Adopted>)> {
    let mut sessions: HashMap<SessionId, Vec<(u16, ebpf_abi::Slot)>> = HashMap::new();
    for (port, slot) in slots {
        sessions
            .entry(SessionId(slot.identity().session))
            .or_default()
            .push((port, slot));
    }
    let mut shards: HashMap<usize, Vec<Adopted>> = HashMap::new();
    for (id, slots) in sessions {
        let home = parts
            .iter()
            .position(|part| slots.iter().all(|(port, _)| part.contains(port)));
        match home {
            Some(shard) => shards.entry(shard).or_default().push(Adopted { id, slots }),
            None => {
                warn!(session = %id, "a session of the process before has other ports than this \
                    configuration; dropped");
                if let Some(offload) = offload {
                    slots
                        .iter()
                        .for_each(|(port, _)| offload.slots.clear(*port));
                }
            }
        }
    }
    shards.into_iter().collect()
}

#[cfg(test)]
mod tests;
