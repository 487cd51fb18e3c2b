//! How a bench's program ends.

use std::{error::Error, process::ExitCode};

/// What there was to measure has met its target (0), has not (1), or could not be measured (2), which a script tells
/// apart; `name` is the program's.
pub fn exit(name: &str, done: Result<bool, Box<dyn Error>>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("{name}: the target was not met");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}
