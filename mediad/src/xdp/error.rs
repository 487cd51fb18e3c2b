//! Why the XDP datapath is not to be had, and what an operator can do about it.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    maps::{MapError, xdp::XdpMapError},
    programs::ProgramError,
};
use thiserror::Error;

/// Why the program could not be loaded, attached or used.
#[derive(Debug, Error)]
pub enum XdpError {
    /// The process lacks the capabilities.
    #[error(
        "the kernel does not permit it: give mediad CAP_BPF and CAP_NET_ADMIN (and CAP_PERFMON, \
         which the verifier asks for), or set media.datapath = \"io-uring\""
    )]
    Permission(#[source] io::Error),
    /// No interface of this name in this network namespace.
    #[error("there is no interface {name} here: check media.interface (`ip link` lists them)")]
    NoInterface {
        /// The name.
        name: String,
    },
    /// The driver has no XDP of its own.
    #[error(
        "the driver of {interface} has no native XDP: set media.datapath = \"xdp-generic\", or \
         \"auto\" to take the best there is"
    )]
    NoNative {
        /// The interface.
        interface: String,
        #[source]
        /// The kernel's answer.
        error: io::Error,
    },
    /// Someone else's program is on the interface.
    #[error(
        "another XDP program is on {interface} (`ip link show {interface}` and `bpftool net` tell \
         which): remove it, or use another interface for media"
    )]
    Busy {
        /// The interface.
        interface: String,
        #[source]
        /// The kernel's answer.
        error: io::Error,
    },
    /// The driver cannot run XDP as the interface is set up.
    #[error(
        "{interface} cannot run XDP as it is set up: lower its MTU (3498 suits most drivers), turn \
         LRO off, or give it fewer queues (`dmesg` has the driver's reason), or set media.datapath \
         = \"xdp-generic\""
    )]
    Setup {
        /// The interface.
        interface: String,
        #[source]
        /// The kernel's answer.
        error: io::Error,
    },
    /// The kernel has no attachments that can be pinned.
    #[error(
        "this kernel is too old for XDP links (5.9 and later have them): set media.datapath = \"io-uring\""
    )]
    OldKernel,
    /// Attaching failed for another reason.
    #[error("the program cannot be attached to {interface}")]
    Attach {
        /// The interface.
        interface: String,
        /// The reason.
        #[source]
        error: Box<ProgramError>,
    },
    /// The object could not be loaded.
    #[error("the XDP program's object cannot be loaded")]
    Load(#[source] Box<EbpfError>),
    /// The program was refused, or an operation on it.
    #[error("the kernel refuses the XDP program; please report it with this text: {0}")]
    Program(#[source] Box<ProgramError>),
    /// An operation on a map failed.
    #[error("a map of the XDP program cannot be used")]
    Map(#[source] Box<MapError>),
    /// A map could not be mapped into memory.
    #[error("map {name} cannot be mapped into memory (kernel 5.5 and later can)")]
    Mmap {
        /// The map.
        name: &'static str,
        #[source]
        /// The kernel's answer.
        error: io::Error,
    },
    /// The device map does not take the interface.
    #[error("interface {index} cannot be sent from by XDP")]
    Device {
        /// The interface.
        index: u32,
        #[source]
        /// The reason.
        error: XdpMapError,
    },
    /// The object lacks a map: it was not built with this mediad.
    #[error("the XDP object has no map {name}")]
    NoMap {
        /// The map.
        name: &'static str,
    },
    /// The object lacks a program: it was not built with this mediad.
    #[error("the XDP object has no program {name}")]
    NoProgram {
        /// The program.
        name: &'static str,
    },
    /// Calls flow that would be cut off.
    #[error(
        "{sessions} calls flow by XDP: end them first, start mediad to adopt them, or say --force to cut them off"
    )]
    InUse {
        /// How many.
        sessions: usize,
    },
    /// Another version of Tandem has left attachments, of whose maps this one knows nothing.
    #[error(
        "another version of Tandem has left its XDP program: whether calls flow by it cannot be told; say --force to \
         take it off all the same"
    )]
    OtherVersion,
    /// A process of the node lives that has pinned there.
    #[error("another mediad of this node runs and has the XDP program: stop it first")]
    Runs,
    /// It cannot be seen whether anything is pinned.
    #[error("cannot look for pins at {path}: try it as root, or as the user that mediad ran as")]
    Look {
        /// The folder.
        path: PathBuf,
        #[source]
        /// The reason.
        error: io::Error,
    },
    /// Pins could not be removed.
    #[error(
        "{path} cannot be removed, and the XDP program may still be on its interfaces: try it as root, or as the \
         user that mediad ran as"
    )]
    Stays {
        /// The folder.
        path: PathBuf,
    },
    /// Something with the pins.
    #[error(
        "{path} cannot be used for pins: it must be on a bpffs (`mount -t bpf bpf /sys/fs/bpf`) \
         that mediad may write to"
    )]
    Pin {
        /// The file or folder.
        path: PathBuf,
        #[source]
        /// The reason.
        error: io::Error,
    },
}

impl XdpError {
    /// Whether XDP in generic mode may do where this failed.
    #[must_use]
    pub const fn generic_may_do(&self) -> bool {
        matches!(self, Self::NoNative { .. } | Self::Setup { .. })
    }

    pub(super) fn load(error: EbpfError) -> Self {
        match permission(&error) {
            Some(denied) => Self::Permission(denied),
            None => Self::Load(Box::new(error)),
        }
    }

    /// Why attaching to `interface` failed.
    pub(super) fn attach(interface: &str, native: bool, error: ProgramError) -> Self {
        let interface = interface.to_owned();
        let Some(code) = os_error(&error) else {
            return Self::Attach {
                interface,
                error: Box::new(error),
            };
        };
        let answer = io::Error::from_raw_os_error(code);
        match code {
            libc::EPERM | libc::EACCES => Self::Permission(answer),
            libc::EBUSY | libc::EEXIST => Self::Busy {
                interface,
                error: answer,
            },
            libc::EOPNOTSUPP if native => Self::NoNative {
                interface,
                error: answer,
            },
            libc::EINVAL | libc::ERANGE | libc::E2BIG | libc::ENOSPC | libc::ENOMEM if native => {
                Self::Setup {
                    interface,
                    error: answer,
                }
            }
            _ => Self::Attach {
                interface,
                error: Box::new(error),
            },
        }
    }
}

impl From<ProgramError> for XdpError {
    fn from(error: ProgramError) -> Self {
        // The verifier's refusal may be EACCES too; its log says that it is one.
        if let ProgramError::LoadError { io_error, .. } = &error
            && io_error.raw_os_error() != Some(libc::EPERM)
        {
            return Self::Program(Box::new(error));
        }
        match permission(&error) {
            Some(denied) => Self::Permission(denied),
            None => Self::Program(Box::new(error)),
        }
    }
}

impl From<MapError> for XdpError {
    fn from(error: MapError) -> Self {
        match permission(&error) {
            Some(denied) => Self::Permission(denied),
            None => Self::Map(Box::new(error)),
        }
    }
}

/// The kernel's refusal, if that is what is at the bottom of `error`.
fn permission(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    os_error(error)
        .filter(|code| [libc::EPERM, libc::EACCES].contains(code))
        .map(io::Error::from_raw_os_error)
}

/// The system's error number at the bottom of `error`.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(code);
        }
        next = error.source();
    }
    None
}
