//! A configuration that is read again while calls go on: what takes effect, and what waits for a start.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use control::media::Reloaded;
use control::{Config, Fault, FaultCode, config};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::Engine;
use crate::interfaces::Interfaces;
use crate::shard::{Command, Settings};

/// Reads the configuration again; the reasons where it cannot be used.
pub type Reread = Box<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>;

/// How an engine comes to another configuration; nothing before it is told how.
#[derive(Default)]
pub(crate) struct Reload(OnceLock<Source>);

struct Source {
    reread: Reread,
    /// What is in force; keys that only a start reads are as they were then.
    media: watch::Sender<config::Media>,
    /// One after the other.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

/// What shards do by this configuration.
pub(crate) fn settings(media: &config::Media) -> Settings {
    Settings {
        interfaces: Interfaces::new(media),
        timeout: Duration::from_secs(media.timeout.into()),
        rate_cap: media.rate_cap,
        tos: media.tos,
    }
}

impl Engine {
    /// Tells how to come to another configuration; what is returned is always the one in force.
    pub(crate) fn reload_by(
        &self,
        media: &config::Media,
        reread: Reread,
    ) -> watch::Receiver<config::Media> {
        let source = || Source {
            reread,
            media: watch::Sender::new(media.clone()),
            turn: Mutex::default(),
        };
        self.reloading().0.get_or_init(source).media.subscribe()
    }

    /// Reads the configuration again and takes over what can be; the log tells what came of it too.
    ///
    /// # Errors
    /// What is wrong with it, or that there is nothing to read; all stays as it is then.
    pub fn reload(&self) -> Result<Reloaded, Fault> {
        let done = self.reload_quietly();
        match &done {
            Ok(Reloaded { changed, restart }) => {
                if !restart.is_empty() {
                    let keys = restart.join(" ");
                    warn!(
                        keys,
                        "changed in the file, and needs a restart to take effect"
                    );
                }
                info!(changed = changed.join(" "), "reloaded");
            }
            Err(fault) => {
                for reason in fault.message.lines() {
                    error!("not reloaded, the media engine goes on with what it has: {reason}");
                }
            }
        }
        done
    }

    fn reload_quietly(&self) -> Result<Reloaded, Fault> {
        let Some(source) = self.reloading().0.get() else {
            let message = "this media engine was not told where its configuration is";
            return Err(Fault::new(FaultCode::Unsupported, message));
        };
        let _turn = source.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let read = (source.reread)();
        let read = read.map_err(|reasons| Fault::new(FaultCode::Invalid, reasons.join("\n")))?;
        let mut media = source.media.borrow().clone();
        let reloaded = take_over(&mut media, &read.media);
        if !reloaded.changed.is_empty() {
            self.set(&settings(&media));
            source.media.send_replace(media);
        }
        Ok(reloaded)
    }

    fn set(&self, settings: &Settings) {
        self.tell_shards(|| Command::Set(settings.clone()));
    }
}

/// Makes `running` say what `read` says, but for what waits for a start. A key that is in neither list does not
/// compile.
fn take_over(running: &mut config::Media, read: &config::Media) -> Reloaded {
    let mut reloaded = Reloaded::default();
    // The devices of interfaces are the XDP program's, which is attached at the start.
    let devices = running.devices() != read.devices();
    macro_rules! keys {
        (live: [$($live:ident),*], restart: [$($fixed:ident),*]) => {{
            let config::Media { $($live: _,)* $($fixed: _,)* } = read;
            $(if running.$live != read.$live {
                running.$live.clone_from(&read.$live);
                reloaded.changed.push(concat!("media.", stringify!($live)).to_owned());
            })*
            $(if running.$fixed != read.$fixed {
                reloaded.restart.push(concat!("media.", stringify!($fixed)).to_owned());
            })*
        }};
    }
    let was = running.interfaces.clone();
    keys!(
        live: [address, interfaces, timeout, rate_cap, tos, sources, handover, one_stream, ng_allow],
        restart: [ports, interface, datapath, shards, ng, control, recordings, rotate_seconds, rotate_mib, metrics, quality]
    );
    if devices && running.interface == read.interface {
        reloaded.restart.push("media.interfaces.device".to_owned());
        for interface in &mut running.interfaces {
            let before = was.iter().find(|before| before.name == interface.name);
            interface.device = before
                .map(|before| before.device.clone())
                .unwrap_or_default();
        }
    }
    reloaded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(text: &str) -> config::Media {
        let text = format!("[media]\n{text}");
        Config::parse(&text, []).unwrap().config.media
    }

    #[test]
    fn what_waits_for_a_start_is_named_until_then() {
        let mut running = media("timeout = 60\ndatapath = \"sockets\"");
        let read = media(
            "timeout = 30\nrate_cap = 9\nports = \"20000-20099\"\ndatapath = \"sockets\"\n\
             [[media.interfaces]]\nname = \"out\"\naddress = \"127.0.0.2\"\ndevice = \"eth7\"",
        );
        let reloaded = take_over(&mut running, &read);
        let changed = ["media.interfaces", "media.timeout", "media.rate_cap"];
        assert_eq!(reloaded.changed, changed);
        let restart = ["media.ports", "media.interfaces.device"];
        assert_eq!(reloaded.restart, restart);
        assert_eq!((running.timeout, running.rate_cap), (30, 9));
        assert_eq!(running.devices(), Vec::<String>::new());
        assert_eq!(take_over(&mut running, &read).restart, restart);
    }
}
