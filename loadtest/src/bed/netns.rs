//! One network namespace by name.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    process::{self, Command},
    thread,
};

use rustix::{
    fd::AsFd,
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::BedError;
use crate::process::{self as programs, Tool};

/// Where `ip netns` keeps its names.
const FOLDER: &str = "/run/netns";
/// What the names of this crate's namespaces begin with; the maker's process id follows.
const PREFIX: &str = "tandem-bed-";

/// A network namespace that this process made; it is removed, with what still runs in it, on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one. `bed` is a number that is this process's own.
    pub(super) fn create(bed: u32, place: &str) -> Result<Self, BedError> {
        let name = format!("{PREFIX}{}-{bed}-{place}", process::id());
        programs::run(Tool::IP.command().args(["netns", "add", &name]))?;
        Ok(Self { name })
    }

    /// As `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in it. `ip netns exec` would not do: it hides `/sys/fs/bpf`.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Tool::NSENTER.command();
        command
            .arg(format!("--net={}", path(&self.name).display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs `work` on a thread that is in it. Sockets that it makes stay in it for good.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, BedError> {
        let file = File::open(path(&self.name)).map_err(BedError::Enter)?;
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|error| BedError::Enter(error.into()))?;
                Ok(work())
            });
            match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// The ids of the processes in it.
    pub(super) fn processes(&self) -> Vec<u32> {
        let listed = programs::run(Tool::IP.command().args(["netns", "pids", &self.name]));
        listed
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for pid in self.processes() {
            // A thread of ours that entered it is listed as our own process.
            if pid == process::id() {
                continue;
            }
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ended = kill_process(pid, Signal::KILL);
            }
        }
        if let Err(error) = programs::run(Tool::IP.command().args(["netns", "delete", &self.name]))
        {
            eprintln!("{}: could not be removed: {error}", self.name);
        }
    }
}

/// Removes the namespaces of processes that ended without doing so.
pub(super) fn remove_stale() -> io::Result<()> {
    let entries = match fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if maker(&name).is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            drop(Namespace { name });
        }
    }
    Ok(())
}

/// The process id in a namespace's name, where it is one of ours.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(FOLDER).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_crate_have_a_maker() {
        assert_eq!(maker("tandem-bed-4711-0-caller"), Some(4711));
        assert_eq!(maker("tandem-bed-x-0-caller"), None);
        assert_eq!(maker("blue"), None);
    }
}
