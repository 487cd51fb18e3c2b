//! The SIP servers that are measured: their processes, on loopback.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use loadtest::process::{Process, Signal, Tool};

use crate::{cpu, error::BenchError};

/// How long a server may take to end.
const STOP: Duration = Duration::from_secs(5);

const KAMAILIO: Tool = Tool {
    name: "kamailio",
    package: "kamailio",
};

/// How Kamailio gets its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// By the allocator that its users choose for speed.
    Fast,
    /// By the one that checks itself, which Debian's build takes where it is not told otherwise.
    Checked,
}

/// A server that runs; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Process);

impl Running {
    /// Starts `command` and waits until it has taken `own`.
    pub(crate) fn start(
        command: &mut Command,
        own: SocketAddr,
        folder: &Path,
    ) -> Result<Self, BenchError> {
        let running = Self(Process::start(command, &folder.join("server.log"))?);
        if until_bound(&[own]).is_err() {
            let said = running.output();
            return Err(BenchError::Run(format!(
                "the server does not start:\n{said}"
            )));
        }
        // Kamailio forks its children after it has bound.
        thread::sleep(Duration::from_secs(1));
        Ok(running)
    }

    /// The time that its processes have run.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        cpu::of_tree(self.0.pid())
    }

    /// What it wrote.
    pub(crate) fn output(&self) -> String {
        self.0.output()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Kamailio ends its children when it is asked to end. Killed, it leaves them behind, and what they
        // do is in every later figure of this machine.
        if let Err(error) = self.0.stop(Signal::TERM, STOP) {
            eprintln!("a server did not end: {error}");
        }
    }
}

/// Kamailio with `config`, where LISTEN and CHILDREN are filled in.
pub(crate) fn kamailio(
    config: &str,
    memory: Memory,
    own: SocketAddr,
    folder: &Path,
) -> Result<Command, BenchError> {
    Tool::require(&[KAMAILIO])?;
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let config = config
        .replace("listen=LISTEN", &format!("listen=udp:{own}"))
        .replace("children=CHILDREN", &format!("children={}", cores + 1));
    let path = folder.join("kamailio.cfg");
    fs::write(&path, config)?;
    let mut command = KAMAILIO.command();
    if memory == Memory::Fast {
        command.args(["-x", "fm", "-X", "fm"]);
    }
    command
        .args(["-DD", "-E", "-m", "1024", "-M", "16", "-f"])
        .arg(path);
    command.arg("-w").arg(folder).arg("-Y").arg(folder);
    Ok(command)
}

/// Tandem's `signaling` from the folder `programs` at `own`, with what `config` says beyond that.
pub(crate) fn tandem(
    config: &str,
    own: SocketAddr,
    programs: &Path,
    folder: &Path,
) -> Result<Command, BenchError> {
    let text = format!(
        "[node]\nname = \"bench\"\ndata_dir = \"{}\"\n[sip]\nlisten = [\"udp:{own}\"]\n{config}",
        folder.display()
    );
    let path = folder.join("tandem.toml");
    fs::write(&path, text)?;
    let mut command = Command::new(programs.join("signaling"));
    command.arg("--config").arg(path).env("RUST_LOG", "warn");
    Ok(command)
}

/// Addresses on loopback that nobody uses now.
pub(crate) fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let sockets = (0..count).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    let sockets: Vec<_> = sockets.collect::<io::Result<_>>()?;
    sockets.iter().map(UdpSocket::local_addr).collect()
}

/// Waits until each address is taken: a request before that would be refused by the kernel.
pub(crate) fn until_bound(addresses: &[SocketAddr]) -> Result<(), BenchError> {
    let limit = Instant::now() + Duration::from_secs(10);
    for address in addresses {
        while UdpSocket::bind(address).is_ok() {
            if Instant::now() > limit {
                return Err(BenchError::Run(format!("nothing listens on {address}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}
