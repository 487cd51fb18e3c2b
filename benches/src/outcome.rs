//! What the benches' programs have in common: where the programs that they measure are, what becomes of a report, and how
//! they end.

use std::{
    env,
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::Value;

/// The folder with Tandem's programs: this program's own unless `told`.
///
/// # Errors
/// The system does not know where this program is.
pub fn programs(told: Option<&Path>) -> io::Result<PathBuf> {
    if let Some(told) = told {
        return Ok(told.to_owned());
    }
    let own = env::current_exe()?;
    let folder = own.parent().map(Path::to_owned);
    folder.ok_or_else(|| io::Error::other("this program is in no folder"))
}

/// Prints a report for people, and writes it for scripts.
///
/// # Errors
/// The file cannot be written.
pub fn publish(report: &impl fmt::Display, json: &Value, file: &Path) -> io::Result<()> {
    println!("\n{report}");
    write(json, file)
}

/// Writes a report for scripts, its folder too where there is none, and says where.
///
/// # Errors
/// It cannot be written.
pub fn write(json: &Value, file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, format!("{json:#}\n"))?;
    println!("report: {}", file.display());
    Ok(())
}

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
