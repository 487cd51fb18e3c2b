//! What calls hear from this node: files, URLs and texts as audio at telephony's rate, kept to be played again.
//!
//! - [`Library`]: the handle; asks once for whatever many wait for.
//! - `decode`: WAV and MP3 as [`Clip`]s.
//! - `fetch`: HTTP, within limits, and only to where a tenant may reach.
//! - `speech`: texts, by a program or an endpoint.
//! - `cache`: what is kept: the most recently used.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

use control::{
    config,
    media::{Audio, AudioTrouble},
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, WeakShared},
};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use fetch::{client, is_audio, told};
pub(crate) use public::may;

use cache::{Cache, Origin};
use fetch::{Answer, Fetcher};
use speech::Speaker;

mod cache;
mod decode;
mod fetch;
mod public;
mod speech;

#[cfg(test)]
mod tests;

/// Samples of a [`Clip`] in a second.
pub const RATE: u32 = 8000;
/// The largest file or answer that is read, in octets.
const LARGEST: usize = 10 << 20;
/// Files and URLs that are read at once, and of these, from one server.
const MOST_FETCHES: usize = 32;
const MOST_OF_SERVER: usize = 8;
/// Audio that is held at once besides what is kept, by all who play it, in octets.
const MOST_HELD: usize = 512 << 20;
/// What it is counted in, in octets.
const UNIT: usize = 64 << 10;

/// Audio that can be played: mono, at [`RATE`].
#[derive(Debug)]
pub struct Clip {
    /// Linear.
    pub samples: Box<[i16]>,
    /// Samples a second that it had before.
    pub(crate) rate: u32,
    /// Its part of what may be held at once, where it is the library's.
    _held: Option<OwnedSemaphorePermit>,
}

impl Clip {
    /// Audio that was made here, such as a tone.
    pub(crate) fn made(samples: Vec<i16>) -> Arc<Self> {
        Arc::new(Self {
            samples: samples.into(),
            rate: RATE,
            _held: None,
        })
    }
}

/// Why there is no library.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// No client for HTTP could be made.
    #[error("cannot set up an HTTP client for audio and speech: {0}")]
    Client(#[from] reqwest::Error),
}

/// Where audio comes from. Clones are the same library.
#[derive(Clone, Debug)]
pub struct Library {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fetcher: Fetcher,
    speaker: Speaker,
    cache: Mutex<Cache>,
    /// What is on its way, for as long as somebody waits for it.
    flights: Mutex<HashMap<Key, WeakShared<BoxFuture<'static, Outcome>>>>,
    fetches: Arc<Semaphore>,
    /// Turns of those who fetch from a server: one that is slow holds up nobody else.
    servers: Mutex<HashMap<String, Weak<Semaphore>>>,
    /// Units of audio that may still be held.
    room: Arc<Semaphore>,
    /// Decoding takes a thread each: no more of them at once than there are cores.
    decoders: Arc<Semaphore>,
}

type Outcome = Result<Arc<Clip>, AudioTrouble>;

/// What tells one piece of audio from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    File(String),
    Url { url: String, public: bool },
    Speech(Arc<speech::Text>),
}

impl Key {
    /// What it takes, in octets, where it is kept.
    fn size(&self) -> usize {
        match self {
            Self::File(path) => path.len(),
            Self::Url { url, .. } => url.len(),
            Self::Speech(text) => text.size(),
        }
    }
}

impl Library {
    /// A library that is empty yet.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(config: &config::Voice) -> Result<Self, LibraryError> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let cache = (config.cache as usize) << 20;
        let shared = Shared {
            fetcher: Fetcher::new(&config.allow)?,
            speaker: Speaker::new(&config.speech, cores.max(2))?,
            cache: Mutex::new(Cache::new(cache)),
            flights: Mutex::default(),
            fetches: Arc::new(Semaphore::new(MOST_FETCHES)),
            servers: Mutex::default(),
            room: Arc::new(Semaphore::new((cache + MOST_HELD) / UNIT)),
            decoders: Arc::new(Semaphore::new(cores)),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What is to be played, which may take seconds: files are read, URLs fetched, texts said. What was asked for lately
    /// is there at once, and who asks for what is on its way already waits for the same.
    ///
    /// # Errors
    /// If it cannot be had, with what to do about it. Keys and ringing tones are not the library's.
    pub async fn clip(&self, audio: &Audio) -> Result<Arc<Clip>, AudioTrouble> {
        let key = match audio {
            Audio::File(path) => Key::File(path.clone()),
            Audio::Url { url, public } => Key::Url {
                url: url.clone(),
                public: *public,
            },
            Audio::Speech {
                text,
                ssml,
                language,
                voice,
            } => Key::Speech(Arc::new(speech::Text::new(text, *ssml, language, voice)?)),
            Audio::Keys(_) | Audio::Ringback(_) => {
                let why = "keys and tones are made where they are played";
                return Err(AudioTrouble::Engine(why.to_owned()));
            }
        };
        if let Some(clip) = self.shared.cache().fresh(&key, Instant::now()) {
            return Ok(clip);
        }
        let flight = {
            let mut flights = locked(&self.shared.flights);
            match flights.get(&key).and_then(WeakShared::upgrade) {
                Some(flight) => flight,
                None => {
                    flights.retain(|_, flight| flight.upgrade().is_some());
                    let shared = Arc::clone(&self.shared);
                    let flight = shared.have(key.clone()).boxed().shared();
                    if let Some(weak) = flight.downgrade() {
                        flights.insert(key, weak);
                    }
                    flight
                }
            }
        };
        flight.await
    }
}

impl Shared {
    async fn have(self: Arc<Self>, key: Key) -> Outcome {
        let (origin, clip) = match &key {
            Key::File(path) => {
                let permit = self.fetches.clone().acquire_owned().await.ok();
                let known = self.cache().known(&key);
                let origin = known.as_ref().map(|(origin, _)| origin.clone());
                match fetch::file(path, origin, permit).await? {
                    (origin, Some(bytes)) => (origin, self.decode(None, bytes, path).await?),
                    (origin, None) => (origin, unchanged(known, path)?),
                }
            }
            Key::Url { url, public } => {
                let server = self.server(url);
                let _turn = server.acquire().await;
                let _permit = self.fetches.acquire().await;
                let known = self.cache().known(&key);
                let validators = known.as_ref().map(|(origin, _)| origin);
                match self.fetcher.url(url, *public, validators).await? {
                    (origin, Some(Answer { kind, body })) => {
                        (origin, self.decode(kind, body, &fetch::shown(url)).await?)
                    }
                    (origin, None) => (origin, unchanged(known, &fetch::shown(url))?),
                }
            }
            Key::Speech(text) => {
                let Answer { kind, body } = self.speaker.say(text).await?;
                let clip = self.decode(kind, body, "[voice] speech").await;
                let speech = |trouble| match trouble {
                    AudioTrouble::Format(why) => AudioTrouble::Speech(why),
                    other => other,
                };
                (Origin::lasting(), clip.map_err(speech)?)
            }
        };
        self.cache().put(key, origin, Arc::clone(&clip));
        Ok(clip)
    }

    /// The turns of a URL's server.
    fn server(&self, url: &str) -> Arc<Semaphore> {
        let name = fetch::server(url);
        let mut servers = locked(&self.servers);
        if let Some(server) = servers.get(&name).and_then(Weak::upgrade) {
            return server;
        }
        servers.retain(|_, server| server.strong_count() > 0);
        let server = Arc::new(Semaphore::new(MOST_OF_SERVER));
        servers.insert(name, Arc::downgrade(&server));
        server
    }

    /// On a thread of its own; a decoder's panic is a file that cannot be played.
    async fn decode(&self, kind: Option<String>, bytes: Vec<u8>, name: &str) -> Outcome {
        let permit = self.decoders.clone().acquire_owned().await.ok();
        let decoded = tokio::task::spawn_blocking(move || {
            // A thread is not ended with who waits for it.
            let _permit = permit;
            decode::clip(kind.as_deref(), &bytes)
        });
        let (samples, rate) = match decoded.await {
            Ok(clip) => clip.map_err(|why| AudioTrouble::Format(format!("{name}: {why}")))?,
            Err(_) => return Err(AudioTrouble::Format(format!("{name}: the file is damaged"))),
        };
        let units = u32::try_from((2 * samples.len()).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let held = self.room.clone().try_acquire_many_owned(units);
        let held = held.map_err(|_| {
            AudioTrouble::Engine(format!(
                "{name}: calls play {} MiB of different audio already: play shorter files",
                MOST_HELD >> 20
            ))
        })?;
        Ok(Arc::new(Clip {
            samples: samples.into(),
            rate,
            _held: Some(held),
        }))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        locked(&self.cache)
    }
}

/// Who answers that nothing has changed was asked with what we have.
fn unchanged(known: Option<(Origin, Arc<Clip>)>, name: &str) -> Outcome {
    let clip = known.map(|(_, clip)| clip);
    clip.ok_or_else(|| AudioTrouble::Fetch(format!("{name}: 304 was answered and not asked for")))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
