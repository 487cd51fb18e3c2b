//! SIPp as a caller or a callee.

mod scenario;
mod stats;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use scenario::{Hold, Media, Scenario};
pub use stats::Stats;

use crate::{
    bed::Namespace,
    process::{Interrupt, Process, ProcessError, Signal, Tool},
};

/// What SIP travels over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    #[default]
    Udp,
    /// TCP, one connection for all calls of the process.
    Tcp,
}

/// What a SIPp process is to do.
#[derive(Clone, Debug)]
pub struct Agent {
    /// What it plays through.
    pub scenario: Scenario,
    /// Where it has SIP.
    pub sip: SocketAddr,
    /// Whom a caller calls.
    pub target: Option<SocketAddr>,
    /// Over what.
    pub transport: Transport,
    /// The user part of the number that is called.
    pub number: String,
    /// What it plays.
    pub media: Media,
    /// The first media port; each call takes the next fourth one.
    pub media_port: u16,
    /// How many calls, after which the process ends.
    pub calls: u32,
    /// New calls a second.
    pub rate: u32,
    /// How long [`Scenario::Callee`] rings before it answers.
    pub ring: Duration,
    /// How long a caller talks before it goes on.
    pub talk: Duration,
    /// The longest that the process may run.
    pub limit: Duration,
}

impl Agent {
    /// A silent party with one call to make or to take.
    pub fn new(scenario: Scenario, sip: SocketAddr) -> Self {
        Self {
            scenario,
            sip,
            target: None,
            transport: Transport::default(),
            number: "15550100".to_owned(),
            media: Media::default(),
            media_port: 20_000,
            calls: 1,
            rate: 10,
            ring: Duration::ZERO,
            talk: Duration::from_secs(1),
            limit: Duration::from_secs(60),
        }
    }

    /// Starts the process in `space` (or here); its files are made in `folder`.
    pub fn start(&self, space: Option<&Namespace>, folder: &Path) -> Result<Running, ProcessError> {
        Tool::require(&[Tool::SIPP])?;
        let folder = self.prepare(folder).map_err(|error| ProcessError::Start {
            command: format!("sipp ({})", self.scenario.name()),
            error,
        })?;
        let mut command = match space {
            Some(space) => space.command("sipp"),
            None => Tool::SIPP.command(),
        };
        let ip = self.sip.ip().to_string();
        command.current_dir(&folder).args(["-sf", SCENARIO_FILE]);
        command.args(["-i", &ip, "-p", &self.sip.port().to_string()]);
        command.args(["-mi", &ip, "-mp", &self.media_port.to_string()]);
        command.args(["-t", self.transport.argument(), "-s", &self.number]);
        command.args(["-m", &self.calls.to_string(), "-r", &self.rate.to_string()]);
        command.args(["-l", &self.calls.to_string()]);
        // SIPp's own choice holds some 80 messages: less than a busy machine keeps a process waiting for.
        command.args(["-buff_size", "4194304"]);
        command.args(["-nostdin", "-trace_stat", "-stf", STATS_FILE, "-fd", "1"]);
        command.args(["-trace_rtt", "-rtt_freq", "1"]);
        command.args(["-trace_err", "-error_file", ERROR_FILE]);
        command.args(["-timeout", &format!("{}s", self.limit.as_secs())]);
        command.arg("-timeout_error");
        if let Some(target) = self.target {
            command.arg(target.to_string());
        }
        let process = Process::start(&mut command, &folder.join("output"))?;
        Ok(Running { process, folder })
    }

    fn prepare(&self, folder: &Path) -> io::Result<PathBuf> {
        let name = format!("{}-{}", self.scenario.name(), self.media_port);
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let xml = self
            .scenario
            .xml(&self.media, self.ring.as_millis(), self.talk.as_millis());
        fs::write(folder.join(SCENARIO_FILE), xml)?;
        Ok(folder)
    }
}

impl Transport {
    const fn argument(self) -> &'static str {
        match self {
            Self::Udp => "u1",
            Self::Tcp => "t1",
        }
    }
}

const SCENARIO_FILE: &str = "scenario.xml";
const STATS_FILE: &str = "stats.csv";
const ERROR_FILE: &str = "errors.log";

/// A SIPp process; killed on drop.
#[derive(Debug)]
pub struct Running {
    process: Process,
    folder: PathBuf,
}

/// How a SIPp process ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its exit code: 0 where every call went as the scenario says, 1 where one did not.
    pub code: Option<i32>,
    /// Its counters.
    pub stats: Stats,
    /// From INVITE to 200 in each answered call of [`Scenario::Caller`], in SIPp's own steps of up to 4 ms.
    pub setups: Vec<Duration>,
    /// What it had to say of calls that failed.
    pub errors: String,
}

impl Outcome {
    /// Whether all of `calls` went as the scenario says.
    pub fn all_well(&self, calls: u64) -> bool {
        self.code == Some(0) && self.stats.successful == calls && self.stats.failed == 0
    }
}

impl Running {
    /// Counters so far; all 0 in the first second.
    pub fn stats(&self) -> Stats {
        let csv = fs::read_to_string(self.folder.join(STATS_FILE)).unwrap_or_default();
        Stats::parse(&csv).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Waits until all its calls are over.
    pub fn finish(
        mut self,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<Outcome, ProcessError> {
        let status = self.process.wait(limit, interrupt)?;
        Ok(self.outcome(status.code()))
    }

    /// Lets it end its calls, for `limit` at most, and kills it then.
    pub fn stop(mut self, limit: Duration) -> Outcome {
        // SIPp takes it as "no new calls, and out when the last one is over".
        let code = match self.process.stop(Signal::USR1, limit) {
            Ok(status) => status.code(),
            Err(_killed) => None,
        };
        self.outcome(code)
    }

    fn outcome(&self, code: Option<i32>) -> Outcome {
        let errors = fs::read_to_string(self.folder.join(ERROR_FILE)).unwrap_or_default();
        let mut errors: String = errors.chars().take(2000).collect();
        if errors.is_empty() && !matches!(code, Some(0 | 1)) {
            errors = self.process.output();
        }
        Outcome {
            code,
            stats: self.stats(),
            setups: self.setups(),
            errors,
        }
    }

    /// The file of response times has the process id in its name.
    fn setups(&self) -> Vec<Duration> {
        let name = format!("scenario_{}_rtt.csv", self.process.pid());
        let csv = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        stats::response_times(&csv)
    }
}
