//! Twilio's Media Streams: what a party says goes to a WebSocket server, which plays to the party.
//!
//! [`open`] starts the task of a stream and gives the shard its [`Port`]. Whatever the server does, the shard is never
//! waited for and never waits: see [`port`].

mod connect;
mod format;
mod message;
mod playout;
pub mod port;
mod rate;
mod task;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use control::media::{NewStream, VoiceEvent};
use rustls::{ClientConfig, RootCertStore};

pub use port::{Bell, FRAME, Port, Track, Wake};

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
        })
    }
}

/// Begins a stream: [`VoiceEvent::StreamStarted`] or [`VoiceEvent::StreamEnded`] follow. To drop the port ends it
/// without an event. Must be called inside a tokio runtime.
pub fn open(
    stream: NewStream,
    settings: Settings,
    bell: &Bell,
    wake: Wake,
    report: Report,
) -> Port {
    let (port, line) = bell.connect(wake);
    tokio::spawn(task::run(stream, settings, line, report));
    port
}

#[cfg(test)]
pub(crate) mod tests;
