//! Where a run happens: on a bed of namespaces, or on loopback where root is not there to make one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

use crate::{
    bed::{Bed, BedError, Family, Namespace},
    capture::{Capture, CaptureError},
    node::Config,
    process::Tool,
    sink::Sink,
};

use super::{LoadError, Options, file_error};

/// Where caller, node and callee are.
pub(super) enum Place {
    Bed { bed: Bed, family: Family },
    Loopback { ports: LoopbackPorts },
}

/// Ports that were free when the run began.
pub(super) struct LoopbackPorts {
    caller_sip: u16,
    node_sip: u16,
    node_api: u16,
    callee_sip: u16,
}

/// SIP's port on the bed, where nobody else can have it.
const SIP_PORT: u16 = 5060;

impl Place {
    /// The caller's first media port.
    pub(super) const CALLER_MEDIA: u16 = 20_000;
    /// The callee's.
    pub(super) const CALLEE_MEDIA: u16 = 30_000;

    pub(super) fn new(options: &Options) -> Result<Self, LoadError> {
        if !options.loopback {
            match Bed::new(options.layout) {
                Ok(bed) => {
                    let family = options.family;
                    return Ok(Self::Bed { bed, family });
                }
                Err(BedError::NotPermitted) => {
                    eprintln!("not root: on loopback, without namespaces and without XDP");
                }
                Err(error) => return Err(error.into()),
            }
        }
        let free = |ip, taken: &[u16]| free_port(ip, taken).ok_or(LoadError::NoPort(ip));
        let node_sip = free(LOOPBACK_NODE, &[])?;
        Ok(Self::Loopback {
            ports: LoopbackPorts {
                caller_sip: free(LOOPBACK_CALLER, &[])?,
                node_sip,
                node_api: free(LOOPBACK_NODE, &[node_sip])?,
                callee_sip: free(LOOPBACK_CALLEE, &[])?,
            },
        })
    }

    pub(super) fn node_config(&self, options: &Options) -> Config {
        let config = match self {
            Self::Bed { bed, family } => Config::on_bed(bed, *family),
            Self::Loopback { ports } => Config {
                name: format!("loopback-{}", std::process::id()),
                sip: (LOOPBACK_NODE, ports.node_sip).into(),
                listen: Vec::new(),
                t1: 500,
                media: LOOPBACK_NODE,
                media_ports: (40_000, 49_999),
                interfaces: Vec::new(),
                datapath: "auto".to_owned(),
                media_timeout: 60,
                api: (LOOPBACK_NODE, ports.node_api).into(),
                allow: vec![LOOPBACK_CALLER],
                hosts: vec![self.callee_sip().to_string()],
                ring_timeout: 60,
                more: String::new(),
            },
        };
        Config {
            datapath: options.datapath.clone(),
            ..config
        }
    }

    pub(super) const fn caller_sip(&self) -> SocketAddr {
        match self {
            Self::Bed { bed, family } => SocketAddr::new(bed.caller_ip(*family), SIP_PORT),
            Self::Loopback { ports } => SocketAddr::new(LOOPBACK_CALLER, ports.caller_sip),
        }
    }

    pub(super) const fn callee_sip(&self) -> SocketAddr {
        match self {
            Self::Bed { bed, family } => SocketAddr::new(bed.callee_ip(*family), SIP_PORT),
            Self::Loopback { ports } => SocketAddr::new(LOOPBACK_CALLEE, ports.callee_sip),
        }
    }

    /// Both parties as [`crate::capture::delivery::calls`] wants them: over TCP ports pass.
    pub(super) fn sip_parties(&self) -> (SocketAddr, SocketAddr) {
        let any_port = |address: SocketAddr| SocketAddr::new(address.ip(), 0);
        (any_port(self.caller_sip()), any_port(self.callee_sip()))
    }

    pub(super) const fn caller_space(&self) -> Option<&Namespace> {
        match self {
            Self::Bed { bed, .. } => Some(bed.caller()),
            Self::Loopback { .. } => None,
        }
    }

    pub(super) const fn node_space(&self) -> Option<&Namespace> {
        match self {
            Self::Bed { bed, .. } => Some(bed.node()),
            Self::Loopback { .. } => None,
        }
    }

    pub(super) const fn callee_space(&self) -> Option<&Namespace> {
        match self {
            Self::Bed { bed, .. } => Some(bed.callee()),
            Self::Loopback { .. } => None,
        }
    }

    /// Frames cross links between namespaces, with finished checksums.
    pub(super) const fn has_wires(&self) -> bool {
        matches!(self, Self::Bed { .. })
    }

    /// SIPp may send from raw sockets here.
    pub(super) const fn raw_sockets(&self) -> bool {
        self.has_wires()
    }

    /// The ending of the files with audio.
    pub(super) const fn audio_kind(&self) -> &'static str {
        if self.raw_sockets() {
            "rtp.pcap"
        } else {
            "alaw"
        }
    }

    /// Ears for the parties' media ports that SIPp does not open itself.
    pub(super) fn listen(&self, calls: u32) -> Result<Vec<Sink>, LoadError> {
        let Self::Bed { bed, family } = self else {
            return Ok(Vec::new());
        };
        // SIPp has the first call's port itself.
        let count = u16::try_from(calls.saturating_sub(1)).unwrap_or(u16::MAX);
        let ear = |space: &Namespace, ip, first: u16| -> Result<Sink, LoadError> {
            let sink = space.enter(|| Sink::listen(ip, first + 4, count))?;
            sink.map_err(|error| file_error(Path::new("media ports"), error))
        };
        Ok(vec![
            ear(bed.caller(), bed.caller_ip(*family), Self::CALLER_MEDIA)?,
            ear(bed.callee(), bed.callee_ip(*family), Self::CALLEE_MEDIA)?,
        ])
    }

    /// Captures at both parties. `None` where this user may not capture.
    pub(super) fn capture(&self, folder: &Path) -> Result<Option<(Capture, Capture)>, LoadError> {
        match self {
            Self::Bed { bed, .. } => {
                let link = bed.party_interface();
                let at_caller =
                    Capture::start(Some(bed.caller()), link, None, folder, "at-caller")?;
                let at_callee =
                    Capture::start(Some(bed.callee()), link, None, folder, "at-callee")?;
                Ok(Some((at_caller, at_callee)))
            }
            Self::Loopback { .. } => {
                if Tool::TCPDUMP.find().is_none() {
                    return Ok(None);
                }
                // Both see everything; the second one is there so that both are read the same way.
                let start = |name| Capture::start(None, "lo", Some(LOOPBACK_NET), folder, name);
                match (start("at-caller"), start("at-callee")) {
                    (Ok(at_caller), Ok(at_callee)) => Ok(Some((at_caller, at_callee))),
                    (Err(CaptureError::NotListening { .. }), _)
                    | (_, Err(CaptureError::NotListening { .. })) => Ok(None),
                    (Err(error), _) | (_, Err(error)) => Err(error.into()),
                }
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bed { bed, family } => write!(
                f,
                "caller {} - node {} - callee {}, each in a network namespace",
                bed.caller_ip(*family),
                bed.node_ip(*family),
                bed.callee_ip(*family)
            ),
            Self::Loopback { .. } => write!(
                f,
                "caller {LOOPBACK_CALLER} - node {LOOPBACK_NODE} - callee {LOOPBACK_CALLEE} on loopback"
            ),
        }
    }
}

const LOOPBACK_NET: &str = "127.91.0.0/16";
const LOOPBACK_CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 91, 1, 2));
const LOOPBACK_NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 91, 0, 1));
const LOOPBACK_CALLEE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 91, 2, 2));

/// A port of `ip` below the media ports that is free for UDP and TCP and not in `taken`.
fn free_port(ip: IpAddr, taken: &[u16]) -> Option<u16> {
    (5060..Place::CALLER_MEDIA)
        .filter(|port| !taken.contains(port))
        .find(|port| UdpSocket::bind((ip, *port)).is_ok() && TcpListener::bind((ip, *port)).is_ok())
}
