//! One way to log for every process: to standard error, filtered by `RUST_LOG`, as text for people or
//! as JSON lines with `TANDEM_LOG_FORMAT=json`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process. `default` is the filter where `RUST_LOG` says nothing, such
/// as `info`. A second call does nothing.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let json = std::env::var("TANDEM_LOG_FORMAT").is_ok_and(|format| format == "json");
    // Already initialised means that a test or an embedding program chose its own way.
    drop(if json {
        builder.json().try_init()
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
    });
}
