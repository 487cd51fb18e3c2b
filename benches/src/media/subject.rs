//! The relays that have their turns.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use loadtest::{
    bed::{Bed, Family, Namespace},
    http,
    metrics::Page,
    process::{Process, Tool},
};
use mediad::xdp;

use super::RELAY_CORE;
use crate::error::BenchError;

const NG: &str = "127.0.0.1:2223";
const METRICS: u16 = 9901;
/// No call of a bench is silent for so long, in seconds.
const QUIET: &str = "3600";
/// The peer.
pub(crate) const RTPENGINE: Tool = Tool {
    name: "rtpengine",
    package: "rtpengine-daemon",
};
/// How the peer is run on one core: by one thread, as mediad by one shard, since more would only take turns there.
pub(crate) const RTPENGINE_ON_ONE_CORE: [&str; 6] = [
    "--config-file=none",
    "--foreground",
    "--table=-1",
    "--log-level=3",
    "--log-stderr",
    "--num-threads=1",
];

/// The first and the last port for media.
pub(crate) type Range = (u16, u16);

/// One of the relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The bare XDP program: the floor.
    Floor,
    /// rtpengine's userspace relay.
    Rtpengine,
    /// A bare loop over sockets, which whoever measures it starts: the floor of relays without XDP.
    Bare,
    /// mediad on plain sockets.
    Sockets,
    /// mediad on io_uring.
    IoUring,
    /// mediad on native XDP.
    Xdp,
}

/// A relay that runs; it ends when this is dropped.
pub(crate) struct Running {
    process: Option<Process>,
    is_mediad: bool,
    _floor: Vec<xdp::ProgramGuard>,
}

impl Subject {
    /// In the order of their turns.
    pub const ALL: [Self; 6] = [
        Self::Floor,
        Self::Rtpengine,
        Self::Bare,
        Self::Sockets,
        Self::IoUring,
        Self::Xdp,
    ];

    /// For tables and the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Rtpengine => "rtpengine",
            Self::Bare => "bare loop",
            Self::Sockets => "sockets",
            Self::IoUring => "io-uring",
            Self::Xdp => "xdp",
        }
    }

    /// Starts it on the bed, on one core, with media ports in this range. `programs` is the folder with mediad.
    pub(crate) fn start(
        self,
        bed: &Bed,
        programs: &Path,
        folder: &Path,
        (first, last): Range,
    ) -> Result<Running, BenchError> {
        let log = folder.join("relay.log");
        let node = bed.node();
        let process = match self {
            Self::Bare => {
                return Ok(Running {
                    process: None,
                    is_mediad: false,
                    _floor: Vec::new(),
                });
            }
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
                let mut command = pinned(node);
                command.arg(RTPENGINE.find().unwrap_or_default());
                command.args(RTPENGINE_ON_ONE_CORE);
                command.arg(format!("--interface={}", bed.node_ip(Family::V4)));
                command.arg(format!("--listen-ng={NG}"));
                command.args(["--timeout", QUIET, "--silent-timeout", QUIET]);
                command.arg(format!("--port-min={first}"));
                command.arg(format!("--port-max={last}"));
                command.arg(format!("--pidfile={}", folder.join("pid").display()));
                Process::start(&mut command, &log)?
            }
            Self::Sockets | Self::IoUring | Self::Xdp => {
                let mut command = pinned(node);
                // The bed removes what is pinned under its name, so that no run adopts another's calls.
                command.env("TANDEM_NODE_NAME", bed.name());
                command.env("TANDEM_MEDIA_TIMEOUT", QUIET);
                command.env("RUST_LOG", "warn");
                command.arg(programs.join("mediad"));
                command.args(["--address", &bed.node_ip(Family::V4).to_string()]);
                command.arg("--ports").arg(format!("{first}-{last}"));
                command.args(["--shards", "1"]);
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
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What it has written to its log.
    pub(crate) fn output(&self) -> String {
        self.process
            .as_ref()
            .map(Process::output)
            .unwrap_or_default()
    }

    pub(crate) fn ng(&self) -> Option<SocketAddr> {
        self.process.as_ref().and_then(|_| NG.parse().ok())
    }

    /// The sum of one of mediad's metrics.
    pub(crate) fn metric(&self, bed: &Bed, name: &str) -> Result<f64, BenchError> {
        Ok(page(bed)?.sum(name, &[]))
    }

    /// mediad's metrics, if it is mediad.
    pub(crate) fn page(&self, bed: &Bed) -> Result<Option<Page>, BenchError> {
        self.is_mediad.then(|| page(bed)).transpose()
    }

    /// The share of mediad's packets that XDP forwarded, 0 to 1.
    pub(crate) fn share_by_xdp(&self, bed: &Bed) -> Result<Option<f64>, BenchError> {
        let Some(page) = self.page(bed)? else {
            return Ok(None);
        };
        let sum = |labels: &[(&str, &str)]| page.sum("tandem_media_packets_total", labels);
        let all = sum(&[("result", "forwarded")]);
        let by_xdp = sum(&[("path", "xdp"), ("result", "forwarded")]);
        Ok(Some(if all > 0.0 { by_xdp / all } else { 0.0 }))
    }
}

/// mediad's metrics page.
fn page(bed: &Bed) -> Result<Page, BenchError> {
    let client = http::Client {
        space: Some(bed.node()),
        address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), METRICS),
        key: "",
    };
    let text = client.get("/metrics");
    let text = text.map_err(|error| BenchError::Run(error.to_string()))?;
    Ok(Page::parse(&text))
}

/// A command on the relay's core, by the ordinary scheduler whatever this program has.
fn pinned(node: &Namespace) -> Command {
    let mut command = node.command("chrt");
    command.args(["--other", "0", "taskset"]);
    command.args(["--cpu-list", &RELAY_CORE.to_string()]);
    command
}
