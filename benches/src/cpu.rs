//! How long processes have run, by the scheduler's clock.
//!
//! The kernel moves packets within whichever thread sends them, or in its `ksoftirqd` threads. So
//! what a packet costs is the time of the generator, of the relay, and of those threads together; unlike the
//! machine's idle time it does not see what else runs.

use std::{fs, io, process::Command, time::Duration};

use rustix::thread::{CpuSet, gettid, sched_setaffinity};

/// Keeps this thread, and what it starts, on one core.
pub(crate) fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    // Without it the figures are only noisier.
    let _noisier = sched_setaffinity(None, &cores);
}

/// The same, and before whoever else wants that core, where this machine permits it: a generator that waits for others
/// is late to send and to read, and no relay's fault. The relays themselves have the ordinary scheduler.
pub(crate) fn pin_first(core: usize) {
    pin(core);
    let thread = gettid().as_raw_nonzero().to_string();
    // Without it a generator on a busy machine is late, which it tells.
    let _late = real_time().args(["--pid", "1", &thread]).output();
}

/// Whether [`pin_first`] can do as it says.
pub(crate) fn has_real_time() -> bool {
    let tried = real_time().args(["1", "true"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

fn real_time() -> Command {
    let mut command = Command::new("chrt");
    command.arg("--fifo");
    command
}

/// The time that a process's threads have run.
pub(crate) fn of_process(pid: u32) -> io::Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        total += of_schedstat(&thread?.path().join("schedstat"));
    }
    Ok(total)
}

/// The time that a process, and all that it has started, have run. One that has ended is not in it.
pub(crate) fn of_tree(pid: u32) -> io::Result<Duration> {
    let mut total = of_process(pid)?;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        for child in children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
        {
            // It may have ended meanwhile.
            total += of_tree(child).unwrap_or_default();
        }
    }
    Ok(total)
}

/// The time that the kernel's packet threads have run.
pub(crate) fn of_softirqs() -> io::Result<Duration> {
    let mut total = Duration::ZERO;
    for process in fs::read_dir("/proc")? {
        let folder = process?.path();
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        if name.starts_with("ksoftirqd/") {
            total += of_schedstat(&folder.join("schedstat"));
        }
    }
    Ok(total)
}

/// A thread that has ended meanwhile counts as nothing.
fn of_schedstat(file: &std::path::Path) -> Duration {
    let text = fs::read_to_string(file).unwrap_or_default();
    let ran = text.split_whitespace().next();
    Duration::from_nanos(ran.and_then(|ran| ran.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_goes_first_is_the_only_one() {
        // The policy of a thread is the 39th field after its name.
        let policy = || {
            let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields = stat.rsplit_once(')').unwrap().1;
            fields.split_whitespace().nth(38).unwrap().to_owned()
        };
        let before = policy();
        let raised = thread::spawn(move || {
            pin_first(0);
            policy()
        });
        let raised = raised.join().unwrap();
        assert_eq!(raised == "1", has_real_time(), "{raised}");
        assert_eq!(policy(), before);
    }
}
