//! Twilio's Media Streams: what a party says goes to a WebSocket server, which plays to the party.
//!
//! [`open`] starts the task of a stream and gives the shard its [`Port`]. Whatever the server does, the shard is never
//! waited for and never waits: see [`port`].

mod connect;
mod format;
mod message;
mod playout;
pub mod port;
mod speech;
mod task;
mod utterance;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use control::media::{Listen, NewStream, VoiceEvent};
use rustls::{ClientConfig, RootCertStore};

use crate::library::{self, LibraryError};
pub use port::{Bell, FRAME, Port, Track, Wake};
#[cfg(test)]
pub(crate) use port::{Line, connect as connect_port};

/// Whether an address may be asked by a stream that is only for public ones.
pub type Admit = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Is told of what becomes of a stream.
pub type Report = Box<dyn Fn(VoiceEvent) + Send + Sync>;

/// What all streams of a node have in common.
#[derive(Clone)]
pub struct Settings {
    /// For `wss:`.
    pub tls: Arc<ClientConfig>,
    /// `ws:` will do.
    pub plain: bool,
    /// For streams that are `public`.
    pub admit: Admit,
    /// What understands speech.
    pub hearing: Option<Hearing>,
}

/// An endpoint that understands speech.
#[derive(Clone, Debug)]
pub struct Hearing {
    url: String,
    rate: u32,
    /// For `http:` and `https:`.
    client: Option<reqwest::Client>,
}

impl Hearing {
    /// At a `ws:` or `wss:` URL, which hears so many samples a second (8,000 or 16,000); or at an `http:` or `https:`
    /// one, which gets whole utterances.
    ///
    /// # Errors
    /// There is no client for HTTP.
    pub fn new(url: &str, rate: u32) -> Result<Self, LibraryError> {
        let client = url.starts_with("http").then(|| {
            let nowhere = reqwest::redirect::Policy::none;
            library::client(|client| client.redirect(nowhere()))
        });
        Ok(Self {
            url: url.to_owned(),
            rate,
            client: client.transpose()?,
        })
    }
}

/// What is to be understood.
#[derive(Clone, Debug)]
pub struct Listening {
    /// By which its endpoint hears.
    pub stream: NewStream,
    partials: bool,
    /// Where it is asked over HTTP.
    asking: Option<utterance::Asking>,
}

impl Listening {
    /// By an endpoint.
    pub fn new(listen: Listen, hearing: &Hearing) -> Self {
        let asking = hearing.client.clone().map(|client| utterance::Asking {
            client,
            silence_ms: listen.speech_timeout_ms,
            longest_ms: listen.max_speech_ms,
        });
        let seconds = |ms: u32| (f64::from(ms) / 1_000.0).to_string();
        let speech_timeout = listen
            .speech_timeout_ms
            .map_or_else(|| "auto".to_owned(), seconds);
        let mut parameters = vec![
            ("language", listen.language),
            ("hints", listen.hints.join(",")),
            ("profanityFilter", listen.profanity_filter.to_string()),
            ("speechTimeout", speech_timeout),
            ("maxSpeechTime", seconds(listen.max_speech_ms)),
            ("partials", listen.partials.to_string()),
        ];
        parameters.extend(listen.model.map(|model| ("model", model)));
        let parameters = parameters.into_iter();
        let stream = NewStream {
            job: listen.job,
            side: listen.side,
            account_sid: listen.account_sid,
            stream_sid: format!("{}-{}", listen.call_sid, listen.job),
            call_sid: listen.call_sid,
            url: hearing.url.clone(),
            public: false,
            inbound: true,
            outbound: false,
            bidirectional: false,
            parameters: parameters
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            audio_format: Some("audio/l16".to_owned()),
            sample_rate: Some(hearing.rate),
            signature: String::new(),
        };
        Self {
            stream,
            partials: listen.partials,
            asking,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("plain", &self.plain)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// With the system's certificates.
    ///
    /// # Errors
    /// The cryptography has no protocol version that is needed.
    pub fn new(plain: bool, admit: Admit) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "cannot read some of the system's certificates");
        }
        roots.add_parsable_certificates(found.certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls),
            plain,
            admit,
            hearing: None,
        })
    }
}

/// Begins a stream: [`VoiceEvent::StreamStarted`] or [`VoiceEvent::StreamEnded`] follow. To drop the port ends it
/// without an event.
pub fn open(
    stream: NewStream,
    settings: Settings,
    bell: &Bell,
    wake: Wake,
    report: Report,
) -> Port {
    let (port, line) = bell.connect(wake);
    bell.spawn(task::run(stream, settings, line, report));
    port
}

/// Has an endpoint hear a party until it has understood an utterance: [`VoiceEvent::Heard`] follows, the last of which
/// is final or failed. To drop the port ends it without an event.
pub fn hear(mut listening: Listening, settings: Settings, bell: &Bell, report: Report) -> Port {
    // It says nothing to the party.
    let (port, line) = bell.connect(Wake::new(|| {}));
    if let Some(asking) = listening.asking.take() {
        bell.spawn(utterance::run(listening, asking, line, report));
        return port;
    }
    // Where its endpoint is, is the operator's choice.
    let settings = Settings {
        plain: true,
        ..settings
    };
    bell.spawn(speech::run(listening, settings, line, report));
    port
}

#[cfg(test)]
pub(crate) mod tests;
