//! What a bench ran on: figures mean little without it.

use std::{fmt, fs};

use loadtest::process::Tool;
use serde_json::{Value, json};

use crate::{cpu, media::RTPENGINE};

/// A machine, and how busy it was when a bench began.
#[derive(Clone, Debug)]
pub struct Machine {
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    /// Processes that wanted a core in the minute before: more than a few tenths is no quiet machine.
    load: f64,
    /// The share of its cores' time that the host gave to others since it was started, in percent.
    stolen_pct: f64,
    rtpengine: String,
    /// Whether generators of media go before whoever else wants their core.
    real_time: bool,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or("unknown", |value| value.1.trim()).to_owned()
        };
        let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let is_virtual = field(&processors, "flags").contains("hypervisor");
        let of = if is_virtual { " (virtual)" } else { "" };
        let kib = field(&memory, "MemTotal");
        let kib: f64 = kib
            .split(' ')
            .next()
            .and_then(|kib| kib.parse().ok())
            .unwrap_or(0.0);
        let load = read("/proc/loadavg");
        Self {
            processor: field(&processors, "model name") + of,
            cores: processors
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            memory_gib: kib / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
            stolen_pct: stolen(&read("/proc/stat")),
            rtpengine: version(RTPENGINE),
            real_time: cpu::has_real_time(),
        }
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "cores": self.cores,
            "memory_gib": self.memory_gib,
            "kernel": self.kernel,
            "load": self.load,
            "stolen_pct": self.stolen_pct,
            "rtpengine": self.rtpengine,
            "real_time": self.real_time,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "machine: {} cores of {}, {:.0} GiB, Linux {}, load {:.1} at the start, {:.1} % of its time stolen; \
             rtpengine {}; real-time threads {}",
            self.cores,
            self.processor,
            self.memory_gib,
            self.kernel,
            self.load,
            self.stolen_pct,
            self.rtpengine,
            if self.real_time {
                "permitted"
            } else {
                "refused"
            }
        )
    }
}

/// The share of the eighth column of all cores' line in its sum, in percent.
fn stolen(stat: &str) -> f64 {
    let line = stat.lines().next().unwrap_or_default();
    let times = line.split_whitespace().skip(1).take(8);
    let times: Vec<f64> = times.filter_map(|time| time.parse().ok()).collect();
    let all: f64 = times.iter().sum();
    100.0 * times.get(7).copied().unwrap_or(0.0) / all.max(1.0)
}

fn version(tool: Tool) -> String {
    let output = tool.command().arg("--version").output();
    let text = output.map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let words = text.lines().next().unwrap_or_default().rsplit(' ').next();
    words
        .filter(|word| !word.is_empty())
        .unwrap_or("not installed")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_a_share_of_all() {
        let stat = "cpu  10 0 10 70 0 0 0 10 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert!((stolen(stat) - 10.0).abs() < 1e-9);
        assert!(stolen("").abs() < 1e-9);
    }
}
