//! Other programs: found, run to the end, or kept and stopped by process id.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(20);

/// What can go wrong with another program.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A program that is needed is not installed.
    #[error("{} not installed: apt-get install {}", names(.0), packages(.0))]
    Missing(Vec<Tool>),
    /// It could not be started at all.
    #[error("cannot start {command}: {error}")]
    Start {
        /// What was to be started.
        command: String,
        /// The system's reason.
        error: io::Error,
    },
    /// It ended with an error.
    #[error("{command} failed ({status}): {output}")]
    Failed {
        /// What was run.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// It did not end in time and was killed.
    #[error("{command} did not end within {} s and was killed", .after.as_secs())]
    Late {
        /// What was run.
        command: String,
        /// How long it was given.
        after: Duration,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A program of the distribution that this crate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The command.
    pub name: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

impl Tool {
    /// SIP and RTP traffic.
    pub const SIPP: Self = Self::new("sipp", "sip-tester");
    /// Links, addresses, routes, namespaces.
    pub const IP: Self = Self::new("ip", "iproute2");
    /// Offloads of a link.
    pub const ETHTOOL: Self = Self::new("ethtool", "ethtool");
    /// Running a command in a namespace.
    pub const NSENTER: Self = Self::new("nsenter", "util-linux");
    /// Recording frames.
    pub const TCPDUMP: Self = Self::new("tcpdump", "tcpdump");

    const fn new(name: &'static str, package: &'static str) -> Self {
        Self { name, package }
    }

    /// Where it is installed; also in the system folders that are not on a plain user's `PATH`.
    pub fn find(self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
            .map(|folder| folder.join(self.name))
            .find(|file| file.is_file())
    }

    /// All of `tools` or an error that says what to install.
    pub fn require(tools: &[Self]) -> Result<(), ProcessError> {
        let missing: Vec<Self> = tools
            .iter()
            .copied()
            .filter(|tool| tool.find().is_none())
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(ProcessError::Missing(missing))
        }
    }

    /// A command that runs it.
    pub fn command(self) -> Command {
        Command::new(self.find().unwrap_or_else(|| self.name.into()))
    }
}

fn names(tools: &[Tool]) -> String {
    join(tools, " and ", |tool| tool.name)
}

fn packages(tools: &[Tool]) -> String {
    join(tools, " ", |tool| tool.package)
}

fn join(tools: &[Tool], between: &str, field: fn(&Tool) -> &'static str) -> String {
    tools.iter().map(field).collect::<Vec<_>>().join(between)
}

/// A wish to stop early, shared by everything that waits.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Ends every wait.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error once [`Self::raise`] was called.
    pub fn check(&self) -> Result<(), ProcessError> {
        if self.0.load(Ordering::Relaxed) {
            Err(ProcessError::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Sleeps, or fails as soon as the user wants to stop.
    pub fn sleep(&self, time: Duration) -> Result<(), ProcessError> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(POLL));
        }
    }
}

/// Runs `command` to its end and returns what it wrote to its output.
pub fn run(command: &mut Command) -> Result<String, ProcessError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| start_error(command, error))?;
    if !output.status.success() {
        return Err(ProcessError::Failed {
            command: show(command),
            status: output.status,
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program in the background; killed where it is dropped while it still runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it writes goes to the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, ProcessError> {
        let open = || -> io::Result<(fs::File, fs::File)> {
            let file = fs::File::create(log)?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = open().map_err(|error| start_error(command, error))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| start_error(command, error))?;
        Ok(Self {
            child,
            name: show(command),
            log: log.to_owned(),
        })
    }

    /// Its process id. `nsenter` becomes the program it runs, so this is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal; one that comes too late does nothing.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // The child was not reaped, so the id is still its own; it may only have just ended.
            let _ended = kill_process(pid, signal);
        }
    }

    /// Waits until it ends; kills it when `limit` is over.
    pub fn wait(
        &mut self,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<ExitStatus, ProcessError> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= end {
                self.kill();
                return Err(ProcessError::Late {
                    command: self.name.clone(),
                    after: limit,
                });
            }
            interrupt.sleep(POLL)?;
        }
    }

    /// Asks it to end with `signal` and waits for that.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(signal);
        self.wait(limit, &Interrupt::default())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // Both fail only for a child that has ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start_error(command: &Command, error: io::Error) -> ProcessError {
    ProcessError::Start {
        command: show(command),
        error,
    }
}

/// The program and its arguments, without the `nsenter` around it.
fn show(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let inner = words.iter().position(|word| word == "--");
    words[inner.map_or(0, |at| at + 1)..].join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_names_its_package() {
        let tool = Tool::new("no-such-tool-here", "some-package");
        let error = Tool::require(&[Tool::IP, tool]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-tool-here not installed: apt-get install some-package"
        );
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let process = Process::start(Command::new("sleep").arg("30"), &log).unwrap();
        let proc_entry = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(proc_entry.exists());
        drop(process);
        assert!(!proc_entry.exists());
    }

    #[test]
    fn a_late_process_is_killed_and_an_interrupt_ends_a_wait() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process = Process::start(Command::new("sleep").arg("30"), &log).unwrap();
        let late = process.wait(Duration::from_millis(50), &Interrupt::default());
        assert!(matches!(late, Err(ProcessError::Late { .. })));
        assert!(process.ended().is_some());

        let mut process = Process::start(Command::new("sleep").arg("30"), &log).unwrap();
        let interrupt = Interrupt::default();
        interrupt.raise();
        let stopped = process.wait(Duration::from_secs(9), &interrupt);
        assert!(matches!(stopped, Err(ProcessError::Interrupted)));
    }

    #[test]
    fn a_failure_tells_what_the_program_said() {
        let error = run(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
    }
}
