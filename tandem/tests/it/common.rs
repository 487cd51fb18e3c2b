//! Programs under test, and what they say.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Seek as _},
    net::{TcpListener, UdpSocket},
    ops::Range,
    os::unix::fs::FileExt as _,
    process::{self, Child, Command, ExitStatus, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a program may take for what a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program under test with these arguments, away from any configuration of this machine.
pub(crate) fn tandem<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TANDEM_")) {
        command.env_remove(name);
    }
    command
}

/// A port that UDP and TCP both have free on loopback, and three above it for UDP.
pub(crate) fn free_port() -> u16 {
    free_ports(4)
}

/// The first of `count` ports that UDP has free on loopback, an even one, which TCP has free too. Each is given out once, and the
/// system gives none of them to a socket that asks for any: tests that run beside each other do not take each other's.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let free = |port| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    for _ in PORTS {
        // Not where the program that ran before this one began.
        let begin = || PORTS.start + u16::try_from(process::id() % 5_000).unwrap() * 2;
        let mut first = next.unwrap_or_else(begin);
        if first + count > PORTS.end {
            first = PORTS.start;
        }
        *next = Some((first + count).next_multiple_of(2));
        if (first..first + count).all(free) && TcpListener::bind(("127.0.0.1", first)).is_ok() {
            return first;
        }
    }
    panic!("no free port");
}

/// Below those that the system gives to who asks for any.
const PORTS: Range<u16> = 10_000..32_000;

/// Everything that a program said, for an assertion's message.
pub(crate) fn output(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// What a program printed as JSON.
pub(crate) fn json(printed: &Output) -> serde_json::Value {
    serde_json::from_slice(&printed.stdout)
        .unwrap_or_else(|error| panic!("no JSON: {error}: {}", output(printed)))
}

/// A program that runs beside the test; killed where the test does not wait for its end.
pub(crate) struct Background {
    child: Option<Child>,
    /// What it says: a pipe that nobody reads is full after a while, and who writes to it waits.
    said: Said,
}

struct Said {
    stdout: File,
    stderr: File,
}

impl Background {
    /// Starts it, and waits until it has a UDP socket: until it can be called.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut background = Self::spawn(command);
        background.wait(|pid| !sockets(pid, "udp").is_empty());
        background
    }

    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let said = Said {
            stdout: tempfile::tempfile().unwrap(),
            stderr: tempfile::tempfile().unwrap(),
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(said.stdout.try_clone().unwrap())
            .stderr(said.stderr.try_clone().unwrap())
            .spawn();
        let child = child
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}: is it installed?"));
        Self {
            child: Some(child),
            said,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Waits until `ready` of its process id.
    pub(crate) fn wait(&mut self, ready: impl Fn(u32) -> bool) {
        let (pid, start) = (self.pid(), Instant::now());
        while !ready(pid) {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("it ended too early: {}", output(&self.collect(status)));
            }
            assert!(start.elapsed() < PATIENCE, "it does not get ready");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether its log has this text by now.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        let log = &self.said.stderr;
        let mut read = vec![0; usize::try_from(log.metadata().unwrap().len()).unwrap()];
        // At a place of its own: the one of the file is where the program writes.
        log.read_exact_at(&mut read, 0).unwrap();
        String::from_utf8_lossy(&read).contains(text)
    }

    /// Waits a moment that is long against a message on loopback.
    pub(crate) fn wait_for_udp_traffic(&self) {
        thread::sleep(Duration::from_millis(700));
    }

    /// Sends SIGINT.
    pub(crate) fn interrupt(&self) {
        self.signal("INT");
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Output {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                return self.collect(status);
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn collect(&mut self, status: ExitStatus) -> Output {
        let read = |file: &mut File| {
            let mut text = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut text).unwrap();
            text
        };
        Output {
            status,
            stdout: read(&mut self.said.stdout),
            stderr: read(&mut self.said.stderr),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The inodes of a process's sockets of this kind.
fn sockets(pid: u32, kind: &str) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap_or_default();
    let open = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let inodes: Vec<String> = links
        .filter_map(|link| {
            Some(
                link.to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let is_listed = |inode: &&String| {
        table
            .lines()
            .any(|line| line.split_ascii_whitespace().nth(9) == Some(inode.as_str()))
    };
    inodes.iter().filter(is_listed).cloned().collect()
}
