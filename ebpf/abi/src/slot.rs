//! A slot: what the program does with packets to one local port.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    checksum, tick,
    wire::{IPV4_DONT_FRAGMENT, IPV4_LEN, IPV4_VERSION, PROTOCOL_UDP},
};

/// The most VLAN tags that are parsed and rewritten (IEEE 802.1ad: a service and a customer tag).
pub const MAX_TAGS: usize = 2;
/// TPID of a customer tag (IEEE 802.1Q), the usual VLAN.
pub const TPID_CUSTOMER: u16 = 0x8100;
/// TPID of a service tag (IEEE 802.1ad), the outer one of two.
pub const TPID_SERVICE: u16 = 0x88a8;

/// The bits of [`Slot::flags`].
pub mod flags {
    /// Packets that pass every gate are rewritten and sent on. Without it all of them go to
    /// userspace, and the slot only says whose port this is.
    pub const FORWARD: u16 = 1 << 0;
    /// The addresses of the leg that receives are IPv6.
    pub const IPV6: u16 = 1 << 1;
    /// The port is for RTCP alone; without it the port is for RTP, and for RTCP multiplexed with it
    /// (RFC 5761).
    pub const RTCP: u16 = 1 << 2;
    /// RTCP to this port goes to userspace even so: the far side does not multiplex, or its SSRC is
    /// rewritten.
    pub const PASS_RTCP: u16 = 1 << 3;
    /// The party that sends here is muted: for the mediad that finds the slot after a crash. The
    /// program does not look at it, as such a slot never forwards.
    pub const MUTED: u16 = 1 << 4;
    /// The leg that receives is the answerer's side; without it, the offerer's.
    pub const LEG_B: u16 = 1 << 5;
    /// The addresses of the other leg are IPv6.
    pub const OUT_IPV6: u16 = 1 << 6;
    /// What is sent has the TOS byte of [`Slot::tos`](super::Slot::tos); without it, the one that it came with.
    pub const TOS: u16 = 1 << 7;
    /// Packets from another source than the peer go to userspace, which may find that the peer has
    /// moved. Without it they are dropped.
    pub const PASS_SOURCES: u16 = 1 << 8;
    /// RTP leaves with other numbers than it comes with: see [`Numbers`](crate::Numbers).
    pub const RENUMBER: u16 = 1 << 9;
    /// RTP that is sent on is copied to the ring as it came. RTCP that is sent on always is.
    pub const TAP: u16 = 1 << 15;
}

/// An address as the program compares it: 16 bytes in memory order, an IPv4 address in the first
/// four of them.
pub type Address = [u64; 2];

/// One entry of the slot array, two cache lines. All zeros is a port without a slot.
///
/// mediad writes a slot in three steps, so that a reader either sees it whole or sees that it did
/// not: the generation goes to zero, the body is written, the generation gets a new odd number. The
/// program compares the generation before it reads the body and before it acts on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Slot {
    /// Zero: not valid. It differs for each write of the same port.
    pub generation: u32,
    /// See [`flags`].
    pub flags: u16,
    /// How many VLAN tags packets are sent with, 0 to [`MAX_TAGS`]; whatever they came with.
    pub tags: u8,
    /// The TOS byte (IPv4) or the traffic class (IPv6) to send with, where [`flags::TOS`] says so.
    pub tos: u8,
    /// The source port that is accepted, in memory order.
    pub peer_port: u16,
    /// The change of the UDP checksum (see [`checksum`]).
    pub udp_delta: u16,
    /// The UDP header's first four bytes as sent, in memory order: source and destination port.
    pub ports: u32,
    /// From IPv4 to IPv4, the change of the header checksum, TTL included; from IPv6 to IPv4, the sum of all of the new
    /// header but TOS, length and TTL.
    pub ip_delta: u16,
    /// The least time between packets (see [`spacing`](crate::spacing())); 0 for any.
    pub spacing: u16,
    /// The Ethernet header's first 12 bytes as sent, in memory order: destination, then source.
    pub macs: [u32; 3],
    /// The tags as sent, outer first: TPID and VLAN id, in memory order. A packet keeps its own
    /// priority bits; a tag that it did not have gets those of the tag before it, or none.
    pub vlans: [[u16; 2]; MAX_TAGS],
    /// The interface to send from.
    pub ifindex: u32,
    /// The unit of RTP timestamps (see [`tick`]); 0 where it is not known.
    pub tick: u32,
    /// The session that owns the port.
    pub session: [u8; 16],
    /// The destination address that is accepted: this node's, on the leg that receives.
    pub local: Address,
    /// The source address that is accepted.
    pub peer: Address,
    /// The source address to send from: this node's, on the other leg.
    pub source: Address,
    /// The destination address to send to: the other leg's peer.
    pub destination: Address,
}

const _: () = {
    assert!(size_of::<Slot>() == 128 && align_of::<Slot>() == 64);
    assert!(core::mem::offset_of!(Slot, macs) == 20);
    assert!(core::mem::offset_of!(Slot, vlans) == 32);
    assert!(core::mem::offset_of!(Slot, session) == 48);
    assert!(core::mem::offset_of!(Slot, local) == 64);
    assert!(core::mem::offset_of!(Slot, destination) + size_of::<Address>() == 128);
};

/// Whose slot it is. It is kept in the map so that a restarted mediad finds its sessions again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The session.
    pub session: [u8; 16],
    /// The leg that receives: 0 or 1.
    pub leg: u8,
    /// Whether the port is for RTCP alone.
    pub rtcp: bool,
}

/// The addresses before and after: packets from `peer` to `local` leave from `source` to
/// `destination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// This node's address and port on the leg that receives.
    pub local: SocketAddr,
    /// The only source that is accepted.
    pub peer: SocketAddr,
    /// This node's address and port on the other leg.
    pub source: SocketAddr,
    /// The other leg's peer.
    pub destination: SocketAddr,
}

/// One VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// [`TPID_CUSTOMER`] or [`TPID_SERVICE`].
    pub tpid: u16,
    /// The VLAN id, 0 to 4094.
    pub id: u16,
}

/// How to reach the destination on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The interface to send from, without its VLAN devices.
    pub ifindex: u32,
    /// The interface's MAC address.
    pub source: [u8; 6],
    /// The next hop's MAC address.
    pub destination: [u8; 6],
    /// Tags to send with, outer first.
    pub tags: [Option<VlanTag>; MAX_TAGS],
}

/// Why a slot cannot forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// The two addresses of one side have different families.
    Family,
    /// A port or an address of zero, or a broadcast or multicast address.
    Unspecified,
    /// A VLAN tag after a missing one, or an id beyond 4094.
    Tags,
}

impl core::fmt::Display for SlotError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Family => "the two addresses of one side have different families",
            Self::Unspecified => "an address or a port is not that of one host",
            Self::Tags => "the VLAN tags of the next hop are not valid",
        })
    }
}

impl core::error::Error for SlotError {}

impl Slot {
    /// A slot that leaves everything to userspace. It tells whose port it is, and the addresses as
    /// far as they are known ([`unspecified`](Ipv4Addr::UNSPECIFIED) where not).
    #[must_use]
    pub fn passing(identity: Identity, route: &Route, clock_rate: u32) -> Self {
        let mut flags = 0;
        if identity.rtcp {
            flags |= flags::RTCP;
        }
        if route.local.is_ipv6() {
            flags |= flags::IPV6;
        }
        if route.source.is_ipv6() {
            flags |= flags::OUT_IPV6;
        }
        if identity.leg != 0 {
            flags |= flags::LEG_B;
        }
        Self {
            flags,
            session: identity.session,
            tick: tick(clock_rate),
            peer_port: route.peer.port().to_be(),
            ports: join(route.source.port(), route.destination.port()),
            local: address(route.local.ip()),
            peer: address(route.peer.ip()),
            source: address(route.source.ip()),
            destination: address(route.destination.ip()),
            ..Self::default()
        }
    }

    /// A slot that forwards.
    ///
    /// # Errors
    /// When the program could not do it: two families on one side, no real addresses, tags that make
    /// no sense.
    pub fn forwarding(
        identity: Identity,
        route: &Route,
        hop: &Hop,
        clock_rate: u32,
    ) -> Result<Self, SlotError> {
        let ends = [route.local, route.peer, route.source, route.destination];
        let [local, peer, source, destination] = ends.map(|end| end.is_ipv6());
        if local != peer || source != destination {
            return Err(SlotError::Family);
        }
        if !ends.iter().all(is_host) {
            return Err(SlotError::Unspecified);
        }
        let (tags, vlans) = encode_tags(&hop.tags)?;

        let mut slot = Self::passing(identity, route, clock_rate);
        slot.flags |= flags::FORWARD;
        slot.tags = tags;
        slot.vlans = vlans;
        slot.ifindex = hop.ifindex;
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&hop.destination);
        macs[6..].copy_from_slice(&hop.source);
        slot.macs = words(macs);

        let addresses = [
            checksum::delta(&bytes(slot.peer), &bytes(slot.source)),
            checksum::delta(&bytes(slot.local), &bytes(slot.destination)),
        ];
        let addresses = checksum::combine(addresses[0], addresses[1]);
        let ports = checksum::delta(
            &join(route.peer.port(), route.local.port()).to_ne_bytes(),
            &slot.ports.to_ne_bytes(),
        );
        slot.ip_delta = match (route.local, route.source, route.destination) {
            (SocketAddr::V6(_), SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                ipv4_base(*source.ip(), *destination.ip())
            }
            _ => checksum::combine(addresses, checksum::TTL_DECREMENT),
        };
        slot.udp_delta = checksum::combine(addresses, ports);
        Ok(slot)
    }

    /// The same slot with RTCP left to userspace.
    #[must_use]
    pub const fn pass_rtcp(mut self) -> Self {
        self.flags |= flags::PASS_RTCP;
        self
    }

    /// The same slot, sending with this TOS byte or traffic class; `None` for what packets came with.
    #[must_use]
    pub const fn mark(mut self, tos: Option<u8>) -> Self {
        if let Some(tos) = tos {
            self.flags |= flags::TOS;
            self.tos = tos;
        }
        self
    }

    /// The same slot with a cap (see [`spacing`](crate::spacing())).
    #[must_use]
    pub const fn cap(mut self, spacing: u16) -> Self {
        self.spacing = spacing;
        self
    }

    /// Whether packets leave with other headers than they come with: IPv4 in place of IPv6 or the other way round.
    /// Not every driver has room for that.
    #[must_use]
    pub const fn changes_family(&self) -> bool {
        (self.flags & flags::IPV6 != 0) != (self.flags & flags::OUT_IPV6 != 0)
    }

    /// The same slot, with packets from others than the peer left to userspace.
    #[must_use]
    pub const fn pass_sources(mut self) -> Self {
        self.flags |= flags::PASS_SOURCES;
        self
    }

    /// The same slot, whose RTP leaves with the [`Numbers`](crate::Numbers) of its port.
    #[must_use]
    pub const fn renumbered(mut self) -> Self {
        self.flags |= flags::RENUMBER;
        self
    }

    /// Whether its RTP does.
    #[must_use]
    pub const fn is_renumbered(&self) -> bool {
        self.flags & flags::RENUMBER != 0
    }

    /// The same slot with copies of its RTP for the ring.
    #[must_use]
    pub const fn tapped(mut self) -> Self {
        self.flags |= flags::TAP;
        self
    }

    /// The same slot of a party that is muted: everything is left to userspace, which hands on
    /// nothing of it.
    #[must_use]
    pub const fn muted(mut self) -> Self {
        self.flags = self.flags & !flags::FORWARD | flags::MUTED;
        self
    }

    /// Whether the party that sends here is muted.
    #[must_use]
    pub const fn is_muted(&self) -> bool {
        self.flags & flags::MUTED != 0
    }

    /// Whether the port has a slot.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.generation != 0
    }

    /// Whether the program forwards what comes here.
    #[must_use]
    pub const fn is_forwarding(&self) -> bool {
        self.is_live() && self.flags & flags::FORWARD != 0
    }

    /// Whose slot it is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        Identity {
            session: self.session,
            leg: (self.flags & flags::LEG_B != 0) as u8,
            rtcp: self.flags & flags::RTCP != 0,
        }
    }

    /// The addresses, for the slot of `local_port`.
    #[must_use]
    pub fn route(&self, local_port: u16) -> Route {
        let [a, b, c, d] = self.ports.to_ne_bytes();
        let end = |address, v6, port| SocketAddr::new(self.ip(address, v6), port);
        Route {
            local: end(self.local, flags::IPV6, local_port),
            peer: end(self.peer, flags::IPV6, u16::from_be(self.peer_port)),
            source: end(self.source, flags::OUT_IPV6, u16::from_be_bytes([a, b])),
            destination: end(
                self.destination,
                flags::OUT_IPV6,
                u16::from_be_bytes([c, d]),
            ),
        }
    }

    /// The clock rate in Hz, 0 where it is not known.
    #[must_use]
    pub const fn clock_rate(&self) -> u32 {
        // A rate and its unit are each the same constant divided by the other.
        tick(self.tick)
    }

    fn ip(&self, address: Address, v6: u16) -> IpAddr {
        let bytes = bytes(address);
        if self.flags & v6 != 0 {
            return Ipv6Addr::from(bytes).into();
        }
        Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
    }
}

/// The sum of the words of an IPv4 header that are the same for each packet that was one of IPv6: no options, no
/// identification (RFC 6864 section 4.1), not to be fragmented, UDP, the addresses.
fn ipv4_base(source: Ipv4Addr, destination: Ipv4Addr) -> u16 {
    let mut header = [0; IPV4_LEN];
    header[0] = IPV4_VERSION;
    header[6..8].copy_from_slice(&IPV4_DONT_FRAGMENT.to_ne_bytes());
    header[9] = PROTOCOL_UDP;
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&destination.octets());
    checksum::fold(checksum::sum(&header))
}

/// The address as it stands in a slot.
fn address(ip: IpAddr) -> Address {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    let (words, _) = bytes.as_chunks::<8>();
    [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
}

fn bytes(address: Address) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&address[1].to_ne_bytes());
    bytes
}

/// Two ports as they follow each other in a UDP header.
fn join(source: u16, destination: u16) -> u32 {
    let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

fn words(macs: [u8; 12]) -> [u32; 3] {
    let (words, _) = macs.as_chunks::<4>();
    [
        u32::from_ne_bytes(words[0]),
        u32::from_ne_bytes(words[1]),
        u32::from_ne_bytes(words[2]),
    ]
}

fn is_host(end: &SocketAddr) -> bool {
    let ip = end.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    end.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

fn encode_tags(
    tags: &[Option<VlanTag>; MAX_TAGS],
) -> Result<(u8, [[u16; 2]; MAX_TAGS]), SlotError> {
    let mut encoded = [[0; 2]; MAX_TAGS];
    let mut count = 0;
    for (index, tag) in tags.iter().enumerate() {
        let Some(tag) = tag else {
            continue;
        };
        if index != usize::from(count) || tag.id > 4094 {
            return Err(SlotError::Tags);
        }
        encoded[index] = [tag.tpid.to_be(), tag.id.to_be()];
        count += 1;
    }
    Ok((count, encoded))
}

#[cfg(test)]
mod tests;
