//! The API as a daemon of its own. `tandem run` has the same in one process with the others.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use control::{
    Config,
    config::{ConfigError, Loaded},
    files,
    privileges::{Privileges, Shed},
};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tandem's REST API, health checks and metrics page
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "TANDEM_CONFIG")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before there is a second thread, the log's.
    let started = start(&arguments);
    let _log = control::logging::init("info");
    match started.and_then(|(loaded, shed)| serve(&arguments, &loaded, &shed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("api: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration, and drops privileges.
fn start(arguments: &Arguments) -> Result<(Loaded, Shed), Box<dyn std::error::Error>> {
    let loaded = Config::load(&arguments.config)?;
    let shed = Privileges::api(&loaded.config)?.shed(&loaded.config)?;
    Ok((loaded, shed))
}

#[tokio::main]
async fn serve(
    arguments: &Arguments,
    loaded: &Loaded,
    shed: &Shed,
) -> Result<(), Box<dyn std::error::Error>> {
    shed.tell();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    files::warn_of_unreadable(Some(&arguments.config), files::of_api(&loaded.config));
    let hangup = signal(SignalKind::hangup())?;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let path = arguments.config.clone();
    let reread = move || {
        let loaded = Config::load(&path).map_err(ConfigError::reasons)?;
        Ok(loaded.config)
    };
    Ok(api::run(&loaded.config, Box::new(reread), hangup, shutdown).await?)
}
