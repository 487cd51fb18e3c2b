//! A Tandem node under test: its configuration, its process, and its answers.

use std::{
    fmt::Write as _,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use crate::{
    bed::{Bed, Family, Namespace},
    http::{Client, HttpError},
    metrics::Page,
    process::{Interrupt, Process, ProcessError, Signal},
};

/// What can go wrong with the node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its files could not be written.
    #[error("cannot prepare the node: {0}")]
    Prepare(#[from] io::Error),
    /// Its program is not where it was said to be.
    #[error("{} is not there: build it first", .0.display())]
    NotBuilt(PathBuf),
    /// It did not start, or did not stop.
    #[error(transparent)]
    Program(#[from] ProcessError),
    /// It ended instead of getting ready.
    #[error("the node ended ({status}) before it was ready:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// It runs and does not get ready.
    #[error("the node was not ready after {} s ({answer}):\n{log}", .after.as_secs())]
    NotReady {
        /// How long it was given.
        after: Duration,
        /// What `/readyz` said last.
        answer: String,
        /// The end of its log.
        log: String,
    },
    /// It does not answer what it is asked.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// What the configuration file says; only what tests vary is here.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[node] name`, unique on this machine.
    pub name: String,
    /// `[sip] listen`: UDP and TCP.
    pub sip: SocketAddr,
    /// More places of `[sip] listen`.
    pub listen: Vec<String>,
    /// `[sip] t1`, in milliseconds.
    pub t1: u32,
    /// `[media] address`.
    pub media: IpAddr,
    /// `[media] ports`.
    pub media_ports: (u16, u16),
    /// `[media] interface`.
    pub interfaces: Vec<String>,
    /// `[media] datapath`.
    pub datapath: String,
    /// `[media] timeout`, in seconds.
    pub media_timeout: u32,
    /// `[api] listen`.
    pub api: SocketAddr,
    /// Where calls may come from.
    pub allow: Vec<IpAddr>,
    /// Hosts of the trunk that all calls go to, tried in order.
    pub hosts: Vec<String>,
    /// The route's `ring_timeout`, in seconds.
    pub ring_timeout: u32,
    /// What else the file has.
    pub more: String,
}

/// The key that tests give to the API of their own node.
pub const ADMIN_KEY: &str = "loadtest-admin-key-of-a-node-under-test";

impl Config {
    /// A node in the middle of `bed`, which takes the caller's calls to the callee.
    pub fn on_bed(bed: &Bed, family: Family) -> Self {
        let node = bed.node_ip(family);
        Self {
            name: bed.name(),
            sip: (node, 5060).into(),
            listen: Vec::new(),
            t1: 500,
            media: node,
            media_ports: (40_000, 49_999),
            interfaces: bed.node_interfaces().map(str::to_owned).to_vec(),
            datapath: "auto".to_owned(),
            media_timeout: 60,
            api: (Ipv4Addr::LOCALHOST, 8080).into(),
            allow: vec![bed.caller_ip(family)],
            hosts: vec![SocketAddr::from((bed.callee_ip(family), 5060)).to_string()],
            ring_timeout: 60,
            more: String::new(),
        }
    }

    /// The file.
    pub fn toml(&self, data_dir: &Path) -> String {
        let mut text = String::new();
        let (first, last) = self.media_ports;
        let mut listen = vec![format!("udp:{}", self.sip), format!("tcp:{}", self.sip)];
        listen.extend_from_slice(&self.listen);
        let _infallible = write!(
            text,
            "[node]\nname = {name:?}\ndata_dir = {data_dir:?}\n\n\
             [sip]\nlisten = {listen:?}\nt1 = {t1}\n\n\
             [media]\naddress = \"{media}\"\nports = \"{first}-{last}\"\ninterface = {interface:?}\n\
             datapath = {datapath:?}\ntimeout = {timeout}\n\n\
             [api]\nlisten = \"{api}\"\nadmin_key = \"{ADMIN_KEY}\"\n\n\
             [[trunks]]\nname = \"callers\"\nallow = {allow:?}\n\n\
             [[trunks]]\nname = \"carrier\"\nhosts = {hosts:?}\n\n\
             [[routes]]\nprefix = \"\"\ntrunks = [\"carrier\"]\nring_timeout = {ring}\n{more}",
            more = self.more,
            name = self.name,
            t1 = self.t1,
            media = self.media,
            interface = self.interfaces.join(","),
            datapath = self.datapath,
            timeout = self.media_timeout,
            api = self.api,
            allow = self.allow.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            hosts = self.hosts,
            ring = self.ring_timeout,
        );
        text
    }
}

/// A running node; its processes are killed on drop.
#[derive(Debug)]
pub struct Node<'a> {
    processes: Vec<(&'static str, Process)>,
    space: Option<&'a Namespace>,
    api: SocketAddr,
    programs: PathBuf,
    folder: PathBuf,
}

/// How a node is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `tandem run`: all in one process.
    Together,
    /// `mediad`, `signaling` and `api`, each a process.
    Separate,
}

impl Form {
    /// Its programs, in the order in which they are started.
    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Together => &["tandem"],
            Self::Separate => &["mediad", "signaling", "api"],
        }
    }
}

impl<'a> Node<'a> {
    /// Starts a node in `space` (or here) and waits until it is ready. `programs` is the folder that
    /// its programs are in; its files are made in `folder`.
    pub fn start(
        form: Form,
        programs: &Path,
        config: &Config,
        space: Option<&'a Namespace>,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, NodeError> {
        config.write(folder)?;
        let mut node = Self {
            processes: Vec::new(),
            space,
            api: config.api,
            programs: programs.to_owned(),
            folder: folder.to_owned(),
        };
        for name in form.programs() {
            node.launch(name)?;
        }
        node.await_ready(Duration::from_secs(20), interrupt)?;
        Ok(node)
    }

    /// Starts one of its programs again, after it ended.
    pub fn restart(&mut self, name: &'static str) -> Result<(), NodeError> {
        self.processes.retain(|(running, _)| *running != name);
        self.launch(name)?;
        self.await_ready(Duration::from_secs(20), &Interrupt::default())
    }

    /// One of its processes, by its program's name.
    pub fn process(&mut self, name: &str) -> Option<&mut Process> {
        let mut all = self.processes.iter_mut();
        all.find(|(running, _)| *running == name)
            .map(|(_, process)| process)
    }

    /// A page of its API.
    pub fn get(&self, path: &str) -> Result<String, NodeError> {
        let client = Client {
            space: self.space,
            address: self.api,
            key: ADMIN_KEY,
        };
        Ok(client.get(path)?)
    }

    /// Its metrics now.
    pub fn metrics(&self) -> Result<Page, NodeError> {
        Ok(Page::parse(&self.get("/metrics")?))
    }

    /// The memory of its processes that is in use now, in KiB.
    pub fn memory(&self) -> u64 {
        let each = self.processes.iter();
        each.filter_map(|(_, process)| resident(process.pid()))
            .sum()
    }

    /// Its processor time so far, of all its threads.
    pub fn cpu(&self) -> Duration {
        let each = self.processes.iter();
        each.filter_map(|(_, process)| cpu_time(process.pid()))
            .sum()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        let each = self.processes.iter();
        each.map(|(_, process)| process.output()).collect()
    }

    /// Asks its processes to stop as a service manager does, and waits for that; whether all of them
    /// ended without an error.
    pub fn stop(mut self) -> Result<bool, NodeError> {
        let mut well = true;
        // In the reverse order, so that signaling still has mediad while it ends its calls.
        for (_, process) in self.processes.iter_mut().rev() {
            let status = process.stop(Signal::TERM, Duration::from_secs(20))?;
            well &= status.success();
        }
        Ok(well)
    }

    fn launch(&mut self, name: &'static str) -> Result<(), NodeError> {
        let mut command = program(&self.programs.join(name), self.space)?;
        if name == "tandem" {
            command.arg("run");
        }
        command.arg("--config").arg(self.folder.join(CONFIG_FILE));
        let log = self.folder.join(name).with_extension("log");
        let process = Process::start(&mut command, &log)?;
        self.processes.push((name, process));
        Ok(())
    }

    fn await_ready(&mut self, limit: Duration, interrupt: &Interrupt) -> Result<(), NodeError> {
        let end = Instant::now() + limit;
        loop {
            for (_, process) in &mut self.processes {
                if let Some(status) = process.ended() {
                    let log = tail(&process.output());
                    return Err(NodeError::Ended { status, log });
                }
            }
            let answer = match self.get("/readyz") {
                Ok(_ready) => return Ok(()),
                Err(error) => error.to_string(),
            };
            if Instant::now() > end {
                return Err(NodeError::NotReady {
                    after: limit,
                    answer,
                    log: tail(&self.log()),
                });
            }
            interrupt.sleep(Duration::from_millis(100))?;
        }
    }
}

const CONFIG_FILE: &str = "tandem.toml";

impl Config {
    /// Writes the file into `folder`, with the data directory `data` beside it.
    fn write(&self, folder: &Path) -> io::Result<()> {
        let data_dir = folder.join("data");
        fs::create_dir_all(&data_dir)?;
        fs::write(folder.join(CONFIG_FILE), self.toml(&data_dir))
    }
}

/// One of Tandem's programs as a command in `space`.
fn program(path: &Path, space: Option<&Namespace>) -> Result<Command, NodeError> {
    if !path.is_file() {
        return Err(NodeError::NotBuilt(path.to_owned()));
    }
    let path = fs::canonicalize(path)?;
    Ok(match space {
        Some(space) => space.command(path),
        None => Command::new(path),
    })
}

/// User and system time of a process, from `/proc/PID/stat` (proc(5), fields 14 and 15).
fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name in brackets, may have spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let ticks = |field: Option<&str>| field?.parse::<u32>().ok();
    let total = ticks(fields.next())? + ticks(fields.next())?;
    let rate = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some(Duration::from_secs(total.into()) / rate)
}

/// The resident set of a process, from `/proc/PID/status` (proc(5)).
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines();
    let size = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
    size.trim().strip_suffix(" kB")?.parse().ok()
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_processor_time_grows() {
        let pid = std::process::id();
        let before = cpu_time(pid).unwrap();
        let end = Instant::now() + Duration::from_millis(60);
        let mut work = 0_u64;
        while Instant::now() < end {
            work = std::hint::black_box(work + 1);
        }
        assert!(cpu_time(pid).unwrap() > before);
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let log: String = (0..40).map(|n| format!("line {n}\n")).collect();
        assert!(tail(&log).starts_with("line 25\n"));
        assert_eq!(tail("one\n"), "one");
    }
}
