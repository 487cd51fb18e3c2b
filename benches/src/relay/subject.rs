//! The relays that have their turns.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use loadtest::{
    bed::{Bed, Family},
    http,
    metrics::Page,
    process::{Process, Tool},
};
use mediad::xdp;

use super::BenchError;

const NG: &str = "127.0.0.1:2223";
const METRICS: u16 = 9901;
const RTPENGINE: Tool = Tool {
    name: "rtpengine",
    package: "rtpengine-daemon",
};

/// One of the relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The bare XDP program: the floor.
    Floor,
    /// rtpengine's userspace relay.
    Rtpengine,
    /// mediad on plain sockets.
    Sockets,
    /// mediad on io_uring.
    IoUring,
    /// mediad on native XDP.
    Xdp,
}

/// A relay that runs; it ends when this is dropped.
pub(super) struct Running {
    process: Option<Process>,
    is_mediad: bool,
    _floor: Vec<xdp::ProgramGuard>,
}

impl Subject {
    /// In the order of their turns.
    pub const ALL: [Self; 5] = [
        Self::Floor,
        Self::Rtpengine,
        Self::Sockets,
        Self::IoUring,
        Self::Xdp,
    ];

    /// For tables and the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Rtpengine => "rtpengine",
            Self::Sockets => "sockets",
            Self::IoUring => "io-uring",
            Self::Xdp => "xdp",
        }
    }

    pub(super) fn start(
        self,
        bed: &Bed,
        programs: &Path,
        folder: &Path,
        core: usize,
    ) -> Result<Running, BenchError> {
        let log = folder.join("relay.log");
        let node = bed.node();
        let process = match self {
            Self::Floor => {
                let guards: Result<Vec<_>, _> = node.enter(|| {
                    bed.node_interfaces()
                        .into_iter()
                        .map(xdp::attach_floor)
                        .collect()
                })?;
                return Ok(Running {
                    process: None,
                    is_mediad: false,
                    _floor: guards?,
                });
            }
            Self::Rtpengine => {
                Tool::require(&[RTPENGINE])?;
                let mut command = pinned(node.command("taskset"), core);
                command.arg(RTPENGINE.find().unwrap_or_default());
                command.args(["--config-file=none", "--foreground", "--table=-1"]);
                command.args(["--log-level=3", "--log-stderr", "--num-threads=2"]);
                command.arg(format!("--interface={}", bed.node_ip(Family::V4)));
                command.arg(format!("--listen-ng={NG}"));
                command.args(["--port-min=20000", "--port-max=59999"]);
                command.arg(format!("--pidfile={}", folder.join("pid").display()));
                Process::start(&mut command, &log)?
            }
            Self::Sockets | Self::IoUring | Self::Xdp => {
                let mut command = pinned(node.command("taskset"), core);
                // The bed removes what is pinned under its name, so that no run adopts another's calls.
                command.env("TANDEM_NODE_NAME", bed.name());
                command.arg(programs.join("mediad"));
                command.args(["--address", &bed.node_ip(Family::V4).to_string()]);
                command.args(["--ports", "20000-59999", "--shards", "1"]);
                command.args(["--interface", &bed.node_interfaces().join(",")]);
                command.args(["--datapath", self.name(), "--metrics"]);
                command.arg(format!("127.0.0.1:{METRICS}"));
                command.args(["--ng", &format!("udp:{NG}")]);
                let socket = folder.join("media.sock");
                command.arg("--control");
                command.arg(format!("unix:{}", socket.display()));
                Process::start(&mut command, &log)?
            }
        };
        Ok(Running {
            process: Some(process),
            is_mediad: self != Self::Rtpengine,
            _floor: Vec::new(),
        })
    }
}

impl Running {
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    pub(super) fn ng(&self) -> Option<SocketAddr> {
        self.process.as_ref().and_then(|_| NG.parse().ok())
    }

    /// The share of mediad's packets that XDP forwarded, 0 to 1.
    pub(super) fn share_by_xdp(&self, bed: &Bed) -> Result<Option<f64>, BenchError> {
        if !self.is_mediad {
            return Ok(None);
        }
        let client = http::Client {
            space: Some(bed.node()),
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), METRICS),
            key: "",
        };
        let text = client
            .get("/metrics")
            .map_err(|error| BenchError::Relay(error.to_string()))?;
        let page = Page::parse(&text);
        let sum = |labels: &[(&str, &str)]| page.sum("tandem_media_packets_total", labels);
        let all = sum(&[("result", "forwarded")]);
        let by_xdp = sum(&[("path", "xdp"), ("result", "forwarded")]);
        Ok(Some(if all > 0.0 { by_xdp / all } else { 0.0 }))
    }
}

fn pinned(mut command: Command, core: usize) -> Command {
    command.args(["--cpu-list", &core.to_string()]);
    command
}
