//! `tandem run`: the whole node in one process.
//!
//! Each daemon runs as it would alone; the ends of the control channels are joined in memory, and
//! served at their Unix sockets too, where the other commands find them. [`node`] starts and stops
//! the daemons in order, this module listens to signals.

mod banner;
mod node;

use std::path::PathBuf;

use clap::Args;
use control::{config::Loaded, files, privileges::Privileges};
use mediad::privileges::drop_privileges;
use signaling::Bound;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::{
    exit::{Exit, Failure},
    node::{Source, load},
    output,
};
use node::{Begun, Node, other};

/// Runs a node: SIP, media, REST and the database in one process.
#[derive(Args, Debug)]
#[command(
    after_help = "Without a configuration file, a built-in one runs everything on loopback, with its data in
./tandem-data.

Signals: SIGTERM or Ctrl-C refuses new calls, ends those that are up with BYE, writes their records and
stops; a second one stops at once. SIGHUP reads the file and the store again and takes the
certificates over, as 'tandem reload' does.

Examples:
  tandem run
  tandem run --config /etc/tandem/tandem.toml
  TANDEM_SIP_LISTEN=udp:192.0.2.1:5060 TANDEM_MEDIA_ADDRESS=192.0.2.1 tandem run"
)]
pub(crate) struct RunArgs {
    /// The configuration [default: ./tandem.toml, then /etc/tandem/tandem.toml, then a built-in one]
    #[arg(long, short, value_name = "FILE", env = "TANDEM_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let (source, loaded) = load(args.config.as_deref())?;
    // Before there is a second thread, the log's.
    let privileges = Privileges::node(&loaded.config).map_err(other)?;
    let bound = signaling::bind(&loaded.config).map_err(other)?;
    let dropped = drop_privileges(&loaded.config, privileges).map_err(other)?;
    let _log = control::logging::init("info");
    dropped.tell();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start", &error))?;
    let exit = runtime.block_on(serve(&source, loaded, bound));
    // What is left after a stop at once is not waited for.
    runtime.shutdown_background();
    exit
}

async fn serve(source: &Source, loaded: Loaded, bound: Bound) -> Result<Exit, Failure> {
    // First of all, so that no signal is lost while the daemons start.
    let mut signals = Signals::new()?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let config = loaded.config;
    let file = match source {
        Source::File(path) => Some(path.as_path()),
        Source::Starter => None,
    };
    let named = files::of_sip(&config)
        .into_iter()
        .chain(files::of_api(&config));
    files::warn_of_unreadable(file, named);
    let mut begun = Begun::default();
    let started = tokio::select! {
        started = Node::start(&config, bound, source, &mut begun) => started.map(Some),
        () = signals.stop() => Ok(None),
    };
    let mut node = match started {
        Ok(Some(node)) => node,
        ended => {
            tokio::select! {
                () = begun.end() => {}
                () = signals.stop() => {}
            }
            return ended.map(|_| Exit::Interrupted);
        }
    };
    // A log collector that is not listening is no reason to stop.
    let banner = banner::text(&config, source, &node);
    if let Err(error) = output::line(banner) {
        warn!("{error}");
    }
    let failed = loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop => break None,
                Told::Reload => node.reload().await,
            },
            reason = node.failed() => break Some(reason),
        }
    };
    info!("stopping: ending the calls; a second signal stops at once");
    tokio::select! {
        () = node.stop() => {}
        () = signals.stop() => {
            warn!("stopping at once: calls that are up are left without BYE");
            return Ok(Exit::Interrupted);
        }
    }
    match failed {
        Some(reason) => Err(reason),
        None => Ok(Exit::Done),
    }
}

/// What a signal wants.
enum Told {
    Stop,
    Reload,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::io("cannot listen to signals", &error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            reload: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.reload.recv() => Told::Reload,
        }
    }

    /// Waits until the node should stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
