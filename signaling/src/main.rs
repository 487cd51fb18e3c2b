//! signaling on its own, for a node whose daemons are separate processes.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use control::{
    Client, Config, Endpoint,
    config::{ConfigError, Loaded},
    files, logging,
    privileges::{Privileges, Shed},
};
use signaling::{Bound, NewPassword};
use store::{CdrWriter, Store, WriterOptions};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, warn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the parties have to answer our BYEs when the node stops.
const GRACE: Duration = Duration::from_secs(5);
/// How long records that wait may take to be written then.
const RECORDS: Duration = Duration::from_secs(5);

/// The SIP front of a Tandem node.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    // Before there is a second thread, the log's.
    let started = start(&flags);
    let _log = logging::init("info");
    match started.and_then(|started| serve(&flags, started)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A configuration may be wrong in several places.
            for line in error.to_string().lines() {
                error!("{line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What a start did as whom it was started as.
struct Started {
    loaded: Loaded,
    bound: Bound,
    shed: Shed,
}

/// Reads the configuration, binds what has to be, and drops privileges.
fn start(flags: &Flags) -> Result<Started, Box<dyn std::error::Error>> {
    let loaded = Config::load(&flags.config)?;
    let privileges = Privileges::signaling(&loaded.config)?;
    let bound = signaling::bind(&loaded.config)?;
    let shed = privileges.shed(&loaded.config)?;
    Ok(Started {
        loaded,
        bound,
        shed,
    })
}

#[tokio::main]
async fn serve(flags: &Flags, started: Started) -> Result<(), Box<dyn std::error::Error>> {
    let Started {
        loaded,
        bound,
        shed,
    } = started;
    shed.tell();
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let config = loaded.config;
    files::warn_of_unreadable(Some(&flags.config), files::of_sip(&config));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let Endpoint::Unix(path) = config.signal_endpoint() else {
        return Err("[sip] control must be a unix: path".into());
    };
    let listener = Endpoint::listen(&path)
        .map_err(|error| format!("cannot serve control at {}: {error}", path.display()))?;
    let store =
        Store::open_with(&config.store.url, &config.node.data_dir, config.store.cache).await?;
    let (cdrs, writer) = CdrWriter::start(store.clone(), WriterOptions::default());
    let media = Client::connect(config.media_endpoint());
    let path = flags.config.clone();
    let reread = Box::new(move || {
        let loaded = Config::load(&path).map_err(ConfigError::reasons)?;
        Ok(loaded.config.into())
    });
    let running =
        signaling::start(&config, bound, reread, media, store.clone(), cdrs, listener).await?;
    running.new_passwords().iter().for_each(NewPassword::show);
    let has_failed = loop {
        tokio::select! {
            _ = interrupt.recv() => break false,
            _ = terminate.recv() => break false,
            _ = hangup.recv() => running.reload().await,
            () = running.failed() => break true,
        }
    };
    running.stop(GRACE).await;
    writer.stop(RECORDS).await;
    store.close().await;
    match has_failed {
        true => Err("signaling has panicked; where is in the log".into()),
        false => Ok(()),
    }
}
