//! The servers that have their turns.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use loadtest::process::{Process, Tool};

use super::{BenchError, Plan};
use crate::media::{RTPENGINE, RTPENGINE_ON_ONE_CORE};

const NG: &str = "127.0.0.1:2233";
/// The core that serves.
const CORE: &str = "1";

/// One of the servers, and how it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// mediad over its control channel.
    Channel,
    /// mediad over NG.
    Ng,
    /// rtpengine over NG.
    Rtpengine,
}

/// A server that runs; it ends when this is dropped.
pub(super) struct Running {
    _process: Process,
    control: PathBuf,
    ng: SocketAddr,
}

impl Subject {
    /// In the order of their turns.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Ng, Self::Rtpengine];

    /// For tables and the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Channel => "mediad, control",
            Self::Ng => "mediad, NG",
            Self::Rtpengine => "rtpengine, NG",
        }
    }

    pub(super) fn start(
        self,
        plan: &Plan,
        programs: &Path,
        folder: &Path,
    ) -> Result<Running, BenchError> {
        let control = folder.join("media.sock");
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", CORE]);
        match self {
            Self::Rtpengine => {
                Tool::require(&[RTPENGINE])?;
                command.arg(RTPENGINE.find().unwrap_or_default());
                command.args(RTPENGINE_ON_ONE_CORE);
                command.args(["--interface=127.0.0.1", "--delete-delay=0"]);
                command.arg(format!("--listen-ng={NG}"));
                command.args(["--port-min=20000", "--port-max=31999"]);
                command.arg(format!("--pidfile={}", folder.join("pid").display()));
            }
            Self::Channel | Self::Ng => {
                command
                    .env("TANDEM_NODE_NAME", "bench-setup")
                    .env("RUST_LOG", "warn");
                command.arg(programs.join("mediad"));
                // Room for the sessions that are up all the while.
                let ports = match plan.live {
                    0 => "20000-31999",
                    _ => "5000-64999",
                };
                command.args(["--address", "127.0.0.1", "--ports", ports]);
                command.args(["--shards", "1", "--datapath", &plan.datapath]);
                command.args(["--ng", &format!("udp:{NG}")]);
                command
                    .arg("--control")
                    .arg(format!("unix:{}", control.display()));
            }
        }
        Ok(Running {
            _process: Process::start(&mut command, &folder.join("server.log"))?,
            control,
            ng: NG
                .parse()
                .map_err(|_| BenchError::Run(format!("{NG} is no address")))?,
        })
    }
}

impl Running {
    pub(super) fn control(&self) -> &Path {
        &self.control
    }

    pub(super) const fn ng(&self) -> SocketAddr {
        self.ng
    }
}
