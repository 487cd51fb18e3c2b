//! How long the machine and a process were busy.

use std::{
    fs, io,
    time::{Duration, Instant},
};

/// The machine's clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    at: Instant,
    idle: Duration,
    cores: u32,
}

impl Busy {
    /// Reads them. The kernel counts idle time by its clock, not by ticks, unlike busy time.
    pub(super) fn now() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let cores = text
            .lines()
            .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "))
            .count();
        let fields: Vec<u64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        // Idle, waiting for a disk, and stolen by the hypervisor: none is this machine's work.
        let idle = [3, 4, 7]
            .iter()
            .filter_map(|index| fields.get(*index))
            .sum::<u64>();
        Ok(Self {
            at: Instant::now(),
            idle: Duration::from_millis(idle * 10),
            cores: u32::try_from(cores).unwrap_or(1).max(1),
        })
    }

    /// The time that cores were busy since `earlier`, summed over the cores.
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        let all = self.at.duration_since(earlier.at) * self.cores;
        all.saturating_sub(self.idle.saturating_sub(earlier.idle))
    }
}

/// The time that a process's threads have run, by the scheduler's clock.
pub(super) fn of_process(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let ran = text.split_whitespace().next();
        total += ran.and_then(|ran| ran.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}
