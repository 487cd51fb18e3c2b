//! The servers that have their turns.

use std::{
    fmt::Write as _, fs, io, net::SocketAddr, path::Path, process::Command, thread, time::Duration,
};

use loadtest::process::{Process, Tool};

use super::{BenchError, until_bound};
use crate::cpu;

/// As its users tune it; the file says how.
const KAMAILIO_CFG: &str = include_str!("../../peers/kamailio/proxy.cfg");
const KAMAILIO: Tool = Tool {
    name: "kamailio",
    package: "kamailio",
};

/// One of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Kamailio with `tm`, `rr` and `dialog`.
    Kamailio,
    /// Tandem's `signaling`: with its call detail records, which go to SQLite.
    Tandem,
}

/// A server that runs; it ends when this is dropped.
pub(super) struct Running(Process);

impl Server {
    /// In the order of their turns.
    pub const ALL: [Self; 2] = [Self::Kamailio, Self::Tandem];

    /// For tables and the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kamailio => "kamailio",
            Self::Tandem => "tandem",
        }
    }

    /// Starts it at `own`, to lead calls to `callees`.
    pub(super) fn start(
        self,
        own: SocketAddr,
        callees: &[SocketAddr],
        programs: &Path,
        folder: &Path,
    ) -> Result<Running, BenchError> {
        let mut command = match self {
            Self::Kamailio => kamailio(own, folder)?,
            Self::Tandem => tandem(own, callees, programs, folder)?,
        };
        let process = Process::start(&mut command, &folder.join("server.log"))?;
        let running = Running(process);
        if until_bound(&[own]).is_err() {
            let name = self.name();
            let said = running.output();
            return Err(BenchError::Run(format!("{name} does not start:\n{said}")));
        }
        // Kamailio forks its children after it has bound.
        thread::sleep(Duration::from_secs(1));
        Ok(running)
    }
}

impl Running {
    pub(super) fn cpu(&self) -> io::Result<Duration> {
        cpu::of_tree(self.0.pid())
    }

    pub(super) fn output(&self) -> String {
        self.0.output()
    }
}

fn kamailio(own: SocketAddr, folder: &Path) -> Result<Command, BenchError> {
    Tool::require(&[KAMAILIO])?;
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let config = KAMAILIO_CFG
        .replace("listen=LISTEN", &format!("listen=udp:{own}"))
        .replace("children=CHILDREN", &format!("children={}", cores + 1));
    let path = folder.join("kamailio.cfg");
    fs::write(&path, config)?;
    let mut command = KAMAILIO.command();
    command
        .args(["-DD", "-E", "-m", "1024", "-M", "16", "-f"])
        .arg(path);
    command.arg("-w").arg(folder).arg("-Y").arg(folder);
    Ok(command)
}

fn tandem(
    own: SocketAddr,
    callees: &[SocketAddr],
    programs: &Path,
    folder: &Path,
) -> Result<Command, BenchError> {
    let mut config = format!(
        "[node]\nname = \"bench\"\ndata_dir = \"{}\"\n[sip]\nlisten = [\"udp:{own}\"]\n",
        folder.display()
    );
    for callee in callees {
        let port = callee.port();
        // A string cannot fail to be written to.
        let _written = write!(
            config,
            "[[trunks]]\nname = \"t{port}\"\nhosts = [\"{callee}\"]\nallow = [\"127.0.0.1\"]\n\
             [[routes]]\nprefix = \"1{port}\"\ntrunks = [\"t{port}\"]\nmedia = \"bypass\"\n"
        );
    }
    let path = folder.join("tandem.toml");
    fs::write(&path, config)?;
    let mut command = Command::new(programs.join("signaling"));
    command.arg("--config").arg(path).env("RUST_LOG", "warn");
    Ok(command)
}
