//! Putting the program on interfaces.
#![expect(
    unsafe_code,
    reason = "if_nametoindex, ethtool's ioctl and setrlimit have no safe face in std"
)]

use std::{
    error::Error,
    ffi::{CString, c_char},
    io,
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp as Program, XdpMode, links::FdLink, xdp::XdpLink},
};
use ebpf_abi::program;
use socket2::{Domain, Socket, Type};
use tracing::{debug, info};

use super::{FLOOR, Interface, Mode, OBJECT, XdpError, media_program, pins::Pins, program_of};

/// How often, and how long apart, an interface that is taken is tried again: for a second in all.
const GRACE_TRIES: u32 = 20;
const GRACE: Duration = Duration::from_millis(50);

/// The interfaces of these names in this network namespace.
pub(super) fn find(names: &[String]) -> Result<Vec<Interface>, XdpError> {
    names
        .iter()
        .map(|name| {
            let missing = || XdpError::NoInterface { name: name.clone() };
            let c_name = CString::new(name.as_str()).map_err(|_| missing())?;
            // SAFETY: a C string that is alive during the call.
            match unsafe { libc::if_nametoindex(c_name.as_ptr()) } {
                0 => Err(missing()),
                index => Ok(Interface {
                    name: name.clone(),
                    index,
                }),
            }
        })
        .collect()
}

/// Whether this network namespace has an interface of this name. `/sys/class/net` may be another one's: it is that of
/// whoever mounted it.
#[must_use]
pub fn is_interface(name: &str) -> bool {
    find(&[name.to_owned()]).is_ok()
}

/// What is to be known of native XDP on this interface, where it is an end of a veth pair, as containers have.
#[must_use]
pub fn veth_warning(name: &str) -> Option<String> {
    (driver(name)? == *b"veth").then(|| {
        format!(
            "{name} is an end of a veth pair: what XDP sends there is lost unseen, unless the far end has an XDP program \
             or GRO on, and checksum offload off (there: 'ethtool -K FAR gro on tx off'); if it has not, set [media] \
             datapath = \"io-uring\" or \"xdp-generic\""
        )
    })
}

/// `struct ethtool_drvinfo` of the kernel's ethtool.h.
#[repr(C)]
struct DriverInfo {
    request: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// ETHTOOL_GDRVINFO, which needs no capability.
const GET_DRIVER: u32 = 3;

/// The name of the driver of an interface in this network namespace.
fn driver(name: &str) -> Option<Vec<u8>> {
    // The name ends with a zero.
    if name.len() >= libc::IFNAMSIZ {
        return None;
    }
    let mut info = DriverInfo {
        request: GET_DRIVER,
        driver: [0; 32],
        rest: [0; 160],
    };
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut info).cast(),
        },
    };
    for (to, octet) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = c_char::from_ne_bytes([octet]);
    }
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).ok()?;
    // SAFETY: the request and the structure that it points to, as large as the kernel's, are alive during the call, and
    // the descriptor is open.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    let is_name = |octet: &u8| *octet != 0;
    (answer == 0).then(|| info.driver.into_iter().take_while(is_name).collect())
}

/// Attaches the media program to each interface, or replaces it in the attachment that an earlier
/// process left pinned. Without pins the links alone hold the attachment.
pub(super) fn attach(
    object: &mut Ebpf,
    interfaces: &[Interface],
    mode: Mode,
    pins: Option<&Pins>,
) -> Result<Vec<FdLink>, XdpError> {
    let program = media_program(object)?;
    let mut links = Vec::with_capacity(interfaces.len());
    for interface in interfaces {
        let adopted = pins
            .and_then(|pins| pins.adopt(interface, mode))
            .and_then(|link| replace(program, link.into(), interface));
        let link = match (adopted, pins) {
            (Some(link), _) => link,
            (None, None) => attach_new(program, interface, mode)?,
            (None, Some(pins)) => {
                pins.pin_link(attach_new(program, interface, mode)?, interface, mode)?
            }
        };
        links.push(link);
    }
    Ok(links)
}

/// Puts `program` into an adopted attachment, in one step: no packet misses a program. `None` if the
/// attachment is dead, as when its interface was made anew.
fn replace(program: &mut Program, link: FdLink, interface: &Interface) -> Option<FdLink> {
    let put = || -> Result<FdLink, Box<dyn Error>> {
        let id = program.attach_to_link(XdpLink::try_from(link)?)?;
        Ok(FdLink::try_from(program.take_link(id)?)?)
    };
    match put() {
        Ok(link) => {
            info!(interface = %interface.name, "attached XDP program taken over");
            Some(link)
        }
        Err(error) => {
            info!(interface = %interface.name, %error, "an old attachment is dead; attaching anew");
            None
        }
    }
}

/// Attaches where nothing is. An attachment in another mode that this node has just let go of is there
/// until the kernel's grace period is over.
fn attach_new(
    program: &mut Program,
    interface: &Interface,
    mode: Mode,
) -> Result<FdLink, XdpError> {
    for _ in 0..GRACE_TRIES {
        match try_attach(program, interface, mode) {
            Err(XdpError::Busy { .. }) => thread::sleep(GRACE),
            result => return result,
        }
    }
    try_attach(program, interface, mode)
}

fn try_attach(
    program: &mut Program,
    interface: &Interface,
    mode: Mode,
) -> Result<FdLink, XdpError> {
    let native = mode == Mode::Native;
    let flags = if native {
        XdpMode::Driver
    } else {
        XdpMode::Skb
    };
    let link = program
        .attach_to_if_index(interface.index, flags)
        .and_then(|id| program.take_link(id))
        .map_err(|error| XdpError::attach(&interface.name, native, error))?;
    // aya falls back to netlink where the kernel has no links. Dropped here, that is taken off.
    FdLink::try_from(link).map_err(|_| XdpError::OldKernel)
}

/// A program on an interface for as long as this lives.
#[derive(Debug)]
pub struct ProgramGuard {
    _link: FdLink,
    pub(super) object: Ebpf,
}

/// Puts a program that passes everything on `interface`, for the far end of a veth pair: the kernel
/// drops what XDP sends into a pair unless both ends have a program.
///
/// # Errors
/// As [`Xdp::attach`](super::Xdp::attach).
pub fn attach_pass(interface: &str) -> Result<ProgramGuard, XdpError> {
    attach_alone(OBJECT, program::PASS, interface)
}

/// Puts the bare program on `interface`, which sends every UDP packet back where it came from: the
/// floor that a relay is measured against.
///
/// # Errors
/// As [`Xdp::attach`](super::Xdp::attach).
pub fn attach_floor(interface: &str) -> Result<ProgramGuard, XdpError> {
    attach_alone(FLOOR, program::FLOOR, interface)
}

pub(super) fn attach_alone(
    bytes: &[u8],
    name: &'static str,
    interface: &str,
) -> Result<ProgramGuard, XdpError> {
    raise_memlock();
    let interfaces = find(&[interface.to_owned()])?;
    let mut object = EbpfLoader::new().load(bytes).map_err(XdpError::load)?;
    let program = program_of(&mut object, name)?;
    program.load()?;
    let link = attach_new(program, &interfaces[0], Mode::Native)?;
    Ok(ProgramGuard {
        _link: link,
        object,
    })
}

/// Lifts the limit on locked memory, which kernels before 5.11 count maps against.
pub(super) fn raise_memlock() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a struct that is alive during the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) } != 0 {
        debug!(error = %io::Error::last_os_error(), "the limit on locked memory stays");
    }
}
