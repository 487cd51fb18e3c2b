//! The bed: caller and callee in network namespaces of their own, with a node between them.
//!
//! ```text
//!  caller                     node                       callee
//!  10.91.1.2  eth0 ──── caller0   callee0 ──── eth0   10.91.2.2
//!  fd91:1::2                 lo 10.91.0.1             fd91:2::2
//!                               fd91::1
//! ```
//!
//! The node forwards nothing itself, so whatever arrives on the other side went through Tandem.
//! Checksum offload is off, since a veth would otherwise carry half-made checksums that nobody
//! finishes, and VLAN offload is off, so that a tag is in the frame as on a wire. Making one needs
//! root (CAP_NET_ADMIN and CAP_SYS_ADMIN).

mod nat;
mod netns;
mod pins;
#[cfg(test)]
mod tests;
mod xdp_pass;

use std::{
    fmt::Write as _,
    fs, io,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZero,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

pub use netns::Namespace;

use crate::process::{self as programs, ProcessError, Tool};

/// What can go wrong while a bed is made.
#[derive(Debug, thiserror::Error)]
pub enum BedError {
    /// Namespaces need privileges that this process does not have.
    #[error(
        "network namespaces need root (CAP_NET_ADMIN and CAP_SYS_ADMIN): \
         run this with sudo, or on loopback"
    )]
    NotPermitted,
    /// This kernel was built without 802.1Q (CONFIG_VLAN_8021Q).
    #[error("this kernel has no VLAN links: load the module 8021q")]
    NoVlan,
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProcessError),
    /// A namespace could not be entered.
    #[error("cannot enter the network namespace: {0}")]
    Enter(io::Error),
    /// A file that is needed on the way could not be written or read.
    #[error("cannot prepare the bed: {0}")]
    File(#[from] io::Error),
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6, unique local addresses.
    V6,
}

/// What a bed is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// 802.1Q tag on the caller's wire.
    pub caller_vlan: Option<u16>,
    /// 802.1Q tag on the callee's wire.
    pub callee_vlan: Option<u16>,
    /// The node routes between both sides, so that they can be tried without Tandem.
    pub routed: bool,
    /// Each core has queues of its own on the wires, as a card gives it. A veth has one for all, of 256 frames, which one
    /// core empties: while that one is held up, what the others send is lost.
    pub core_queues: bool,
}

/// Three namespaces and the wires between them; all of it is removed on drop.
#[derive(Debug)]
pub struct Bed {
    caller: Namespace,
    node: Namespace,
    callee: Namespace,
    layout: Layout,
    number: u32,
}

/// Distinguishes the beds of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Bed {
    /// The programs that making one needs.
    pub const TOOLS: [Tool; 3] = [Tool::IP, Tool::ETHTOOL, Tool::NSENTER];

    /// Makes a bed, after removing what dead processes left of theirs.
    pub fn new(layout: Layout) -> Result<Self, BedError> {
        Tool::require(&Self::TOOLS)?;
        if !rustix::process::geteuid().is_root() {
            return Err(BedError::NotPermitted);
        }
        netns::remove_stale()?;
        pins::remove_stale();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // The first one also finds out whether root is allowed to (a container's often is not).
        let caller = Namespace::create(number, "caller").map_err(permission)?;
        let bed = Self {
            caller,
            node: Namespace::create(number, "node")?,
            callee: Namespace::create(number, "callee")?,
            layout,
            number,
        };
        bed.prepare_kernel()?;
        bed.wire(&bed.caller, Side::Caller)?;
        bed.wire(&bed.callee, Side::Callee)?;
        bed.address_node()?;
        Ok(bed)
    }

    /// The caller's namespace.
    pub const fn caller(&self) -> &Namespace {
        &self.caller
    }

    /// The node's namespace.
    pub const fn node(&self) -> &Namespace {
        &self.node
    }

    /// The callee's namespace.
    pub const fn callee(&self) -> &Namespace {
        &self.callee
    }

    /// A name that no other bed of this machine has now, such as for `[node] name`.
    pub fn name(&self) -> String {
        pins::node_name(std::process::id(), self.number)
    }

    /// The caller's address.
    pub const fn caller_ip(&self, family: Family) -> IpAddr {
        Side::Caller.party(family)
    }

    /// The callee's address.
    pub const fn callee_ip(&self, family: Family) -> IpAddr {
        Side::Callee.party(family)
    }

    /// The node's address, the same from both sides.
    pub const fn node_ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 91, 0, 1)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd91, 0, 0, 0, 0, 0, 0, 1)),
        }
    }

    /// The node's links, for `[media] interface`: the veths themselves, also where a VLAN is on them.
    pub const fn node_interfaces(&self) -> [&'static str; 2] {
        [Side::Caller.node_link(), Side::Callee.node_link()]
    }

    /// The link of the caller and of the callee, in their own namespaces.
    pub const fn party_interface(&self) -> &'static str {
        PARTY_LINK
    }

    /// Takes the program off the parties' ends that passes frames, for who puts another there: without any, the node's XDP
    /// sends nothing to them.
    pub fn free_parties(&self) -> Result<(), BedError> {
        for party in [&self.caller, &self.callee] {
            let mut command = party.command("ip");
            command.args(["link", "set", "dev", PARTY_LINK, "xdpdrv", "off"]);
            programs::run(&mut command)?;
        }
        Ok(())
    }

    /// Lets this core do what the kernel does to receive for the node (receive packet steering). Otherwise that is the core's
    /// work whose program sends to it.
    pub fn receive_on(&self, core: usize) -> Result<(), BedError> {
        for link in self.node_interfaces() {
            set_queue(&self.node, link, "rx-0/rps_cpus", core)?;
        }
        Ok(())
    }

    fn prepare_kernel(&self) -> Result<(), BedError> {
        for space in [&self.caller, &self.node, &self.callee] {
            // Duplicate address detection would make each address unusable for a second or two.
            set(space, "net/ipv6/conf/default/accept_dad", "0")?;
            set(space, "net/ipv6/conf/all/accept_dad", "0")?;
            ip(space, "link set dev lo up\n")?;
        }
        let forward = if self.layout.routed { "1" } else { "0" };
        set(&self.node, "net/ipv4/ip_forward", forward)?;
        set(&self.node, "net/ipv6/conf/all/forwarding", forward)
    }

    /// Joins one side with the node.
    fn wire(&self, party: &Namespace, side: Side) -> Result<(), BedError> {
        let node_link = side.node_link();
        programs::run(Tool::IP.command().args([
            "link",
            "add",
            PARTY_LINK,
            "netns",
            party.name(),
            "type",
            "veth",
            "peer",
            "name",
            node_link,
            "netns",
            self.node.name(),
        ]))?;
        for (space, link) in [(party, PARTY_LINK), (&self.node, node_link)] {
            programs::run(space.command("ethtool").args([
                "--offload",
                link,
                "tx",
                "off",
                "txvlan",
                "off",
                "rxvlan",
                "off",
            ]))?;
        }
        pass_frames(party)?;
        if self.layout.core_queues {
            queues_by_core([(party, PARTY_LINK), (&self.node, node_link)])?;
        }

        let tag = side.vlan(self.layout);
        for (space, link, end) in [(party, PARTY_LINK, 2_u8), (&self.node, node_link, 1)] {
            let mut script = format!("link set dev {link} up\n");
            let mut carrier = link.to_owned();
            if let Some(tag) = tag {
                carrier = format!("{link}.{tag}");
                ip(
                    space,
                    &format!("link add link {link} name {carrier} type vlan id {tag}\n"),
                )
                .map_err(no_vlan)?;
                let _infallible = writeln!(script, "link set dev {carrier} up");
            }
            let net = side.number();
            let _infallible = write!(
                script,
                "address add 10.91.{net}.{end}/24 dev {carrier}\n\
                 address add fd91:{net}::{end}/64 dev {carrier} nodad\n"
            );
            ip(space, &script)?;
        }
        let net = side.number();
        ip(
            party,
            &format!("route add default via 10.91.{net}.1\nroute add ::/0 via fd91:{net}::1\n"),
        )
    }

    fn address_node(&self) -> Result<(), BedError> {
        let [v4, v6] = [Family::V4, Family::V6].map(|family| self.node_ip(family));
        ip(
            &self.node,
            &format!("address add {v4}/32 dev lo\naddress add {v6}/128 dev lo nodad\n"),
        )
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        pins::remove(&self.name());
    }
}

/// Which side of the node.
#[derive(Clone, Copy)]
enum Side {
    Caller,
    Callee,
}

const PARTY_LINK: &str = "eth0";

impl Side {
    /// The third byte of its IPv4 network, the second group of its IPv6 one.
    const fn number(self) -> u8 {
        match self {
            Self::Caller => 1,
            Self::Callee => 2,
        }
    }

    const fn node_link(self) -> &'static str {
        match self {
            Self::Caller => "caller0",
            Self::Callee => "callee0",
        }
    }

    const fn vlan(self, layout: Layout) -> Option<u16> {
        match self {
            Self::Caller => layout.caller_vlan,
            Self::Callee => layout.callee_vlan,
        }
    }

    const fn party(self, family: Family) -> IpAddr {
        let net = self.number();
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 91, net, 2)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd91, net as u16, 0, 0, 0, 0, 0, 2)),
        }
    }
}

/// Attaches the program without which the node's XDP cannot send to this end.
fn pass_frames(party: &Namespace) -> Result<(), BedError> {
    let mut object = tempfile::Builder::new().suffix(".o").tempfile()?;
    object.write_all(&xdp_pass::object())?;
    programs::run(
        party
            .command("ip")
            .args(["link", "set", "dev", PARTY_LINK, "xdpdrv", "object"])
            .arg(object.path())
            .args(["section", xdp_pass::SECTION]),
    )?;
    Ok(())
}

/// Gives both ends of a wire as many queues as there are cores, and each core one of its own. A core takes what came in by
/// the queue that it has sent to.
fn queues_by_core(ends: [(&Namespace, &str); 2]) -> Result<(), BedError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    // XDP wants no fewer queues to receive from than the other end sends to.
    for way in ["rx", "tx"] {
        for (space, link) in ends {
            let mut command = space.command("ethtool");
            command.args(["--set-channels", link, way, &cores.to_string()]);
            programs::run(&mut command)?;
        }
    }
    for (space, link) in ends {
        for core in 0..cores {
            set_queue(space, link, &format!("tx-{core}/xps_cpus"), core)?;
        }
    }
    Ok(())
}

/// Names the one core that uses a queue of a link.
fn set_queue(space: &Namespace, link: &str, file: &str, core: usize) -> Result<(), BedError> {
    // `/sys` shows the links of the namespace that it was mounted in, which `ip` sees to.
    let mut command = Tool::IP.command();
    command.args(["netns", "exec", space.name(), "tee"]);
    command.arg(format!("/sys/class/net/{link}/queues/{file}"));
    feed(&mut command, &core_mask(core))
}

/// A set of one core as the kernel reads it: hexadecimal words of 32 bits, the highest first.
fn core_mask(core: usize) -> String {
    let highest = format!("{:x}", 1_u32 << (core % 32));
    let lower = vec!["00000000"; core / 32];
    [vec![highest.as_str()], lower].concat().join(",")
}

/// Runs lines of `ip` in a namespace.
fn ip(space: &Namespace, script: &str) -> Result<(), BedError> {
    let mut command = Tool::IP.command();
    command.args(["-netns", space.name(), "-batch", "-"]);
    feed(&mut command, script)
}

/// Writes a value below `/proc/sys`, which shows the namespace of who looks.
fn set(space: &Namespace, key: &str, value: &str) -> Result<(), BedError> {
    let path = format!("/proc/sys/{key}");
    space.enter(|| fs::write(path, value))??;
    Ok(())
}

/// Runs a command with `input` on its standard input.
fn feed(command: &mut Command, input: &str) -> Result<(), BedError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(BedError::Program(ProcessError::Failed {
        command: format!("ip, given «{}»", input.trim()),
        status: output.status,
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }))
}

/// A first command that the kernel refused means that there are no privileges.
fn permission(error: BedError) -> BedError {
    match &error {
        BedError::Program(ProcessError::Failed { output, .. })
            if output.contains("Operation not permitted")
                || output.contains("Permission denied") =>
        {
            BedError::NotPermitted
        }
        _ => error,
    }
}

fn no_vlan(error: BedError) -> BedError {
    match &error {
        BedError::Program(ProcessError::Failed { output, .. })
            if output.contains("Unknown device type") =>
        {
            BedError::NoVlan
        }
        _ => error,
    }
}
