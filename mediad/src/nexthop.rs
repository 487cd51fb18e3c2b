//! Where a packet goes on its link: what the kernel's own output would find, asked by netlink.
//!
//! The XDP program sends frames past the kernel's routing and neighbour tables, so a slot carries
//! the answer: the physical interface, its VLAN tags, and both MAC addresses. The answer ages, as
//! routes change and neighbours move; [`Changes`] says when to ask again, and asking keeps the
//! kernel checking that the neighbour is still there, which it does not do for traffic it never
//! sees.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use ebpf_abi::{Hop, MAX_TAGS, VlanTag};
use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Error, Handle, MulticastGroup, RouteMessageBuilder, new_connection, new_multicast_connection,
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{InfoData, InfoVlan, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage},
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
        },
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
    },
};
use thiserror::Error as ThisError;
use tokio::{sync::Notify, task::JoinHandle};
use tracing::warn;

/// How long the kernel may take to answer. It does at once; a netlink that says nothing must hold nobody up.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no next hop that XDP could send to.
#[derive(Debug, ThisError)]
pub enum NextHopError {
    /// The destination is an address of this node. XDP would put the packet on the wire, where
    /// nobody takes it; it must go through the stack.
    #[error("the destination is this node itself")]
    Local,
    /// The neighbour's MAC address is not known yet. The kernel has been told to find it; ask again.
    #[error("the next hop's MAC address is not known yet")]
    NotYet,
    /// No route, or one that forbids it.
    #[error("there is no route to the destination")]
    Unreachable,
    /// A broadcast or multicast destination.
    #[error("the destination is not a single host")]
    NotUnicast,
    /// The route leads over something that carries no Ethernet frames, such as a tunnel.
    #[error("interface {ifindex} is not Ethernet")]
    NotEthernet {
        /// The interface.
        ifindex: u32,
    },
    /// More VLAN devices on top of each other than the program rewrites.
    #[error("more than {MAX_TAGS} VLAN tags on interface {ifindex}")]
    TooManyTags {
        /// The interface that the route leads to.
        ifindex: u32,
    },
    /// The kernel's answer was an error or made no sense.
    #[error("netlink: {0}")]
    Netlink(#[from] Error),
    /// The kernel has not answered in time.
    #[error("netlink gave no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// No netlink socket.
    #[error("netlink cannot be used")]
    Socket(#[from] io::Error),
}

/// Asks the kernel of the network namespace in which it was made.
#[derive(Debug)]
pub struct Resolver {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Resolver {
    /// Opens a netlink socket and drives it as a task of the current tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn new() -> io::Result<Self> {
        let (connection, handle, _) = new_connection()?;
        Ok(Self {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// The next hop of packets from `source`, an address of this node, to `destination`.
    ///
    /// # Errors
    /// When XDP cannot send there; [`NextHopError::NotYet`] passes with time, and so may [`NextHopError::Silent`].
    pub async fn resolve(&self, source: IpAddr, destination: IpAddr) -> Result<Hop, NextHopError> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(source, destination));
        answer.await.unwrap_or(Err(NextHopError::Silent))
    }

    async fn ask(&self, source: IpAddr, destination: IpAddr) -> Result<Hop, NextHopError> {
        let route = self.route(source, destination).await?;
        let neighbour = gateway(&route).unwrap_or(destination);
        let ifindex = output(&route).ok_or(NextHopError::Unreachable)?;

        let link = self.link(ifindex).await?;
        let source_mac = mac(&link).ok_or(NextHopError::NotEthernet { ifindex })?;
        let (physical, tags) = self.unstack(link).await?;
        let destination_mac = self.neighbour(ifindex, neighbour).await?;
        Ok(Hop {
            ifindex: physical,
            source: source_mac,
            destination: destination_mac,
            tags,
        })
    }

    async fn route(
        &self,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<RouteMessage, NextHopError> {
        let request = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .source_prefix(source, 32)
                .destination_prefix(destination, 32)
                .build(),
            (IpAddr::V6(source), IpAddr::V6(destination)) => RouteMessageBuilder::<Ipv6Addr>::new()
                .source_prefix(source, 128)
                .destination_prefix(destination, 128)
                .build(),
            _ => return Err(NextHopError::Unreachable),
        };
        let answers = self.handle.route().get(request).execute();
        let route = std::pin::pin!(answers)
            .try_next()
            .await
            .map_err(unreachable)?;
        let route = route.ok_or(NextHopError::Unreachable)?;
        match route.header.kind {
            RouteType::Unicast => Ok(route),
            RouteType::Local => Err(NextHopError::Local),
            RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => {
                Err(NextHopError::NotUnicast)
            }
            _ => Err(NextHopError::Unreachable),
        }
    }

    async fn link(&self, ifindex: u32) -> Result<LinkMessage, NextHopError> {
        let answers = self.handle.link().get().match_index(ifindex).execute();
        let link = std::pin::pin!(answers).try_next().await?;
        link.ok_or(NextHopError::NotEthernet { ifindex })
    }

    /// Goes down from a VLAN device to the interface that carries it. Tags are outer first.
    async fn unstack(
        &self,
        mut link: LinkMessage,
    ) -> Result<(u32, [Option<VlanTag>; MAX_TAGS]), NextHopError> {
        let top = link.header.index;
        let mut tags = [None; MAX_TAGS];
        while let Some((tag, parent)) = vlan(&link) {
            // The device nearest to the wire has the outer tag, and it is found last.
            if tags[MAX_TAGS - 1].is_some() {
                return Err(NextHopError::TooManyTags { ifindex: top });
            }
            tags.rotate_right(1);
            tags[0] = Some(tag);
            link = self.link(parent).await?;
        }
        Ok((link.header.index, tags))
    }

    async fn neighbour(&self, ifindex: u32, address: IpAddr) -> Result<[u8; 6], NextHopError> {
        let mut request = NeighbourMessage::default();
        request.header.family = family(address);
        request.header.ifindex = ifindex;
        request
            .attributes
            .push(NeighbourAttribute::Destination(neighbour_address(address)));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(request));
        request.header.flags = NLM_F_REQUEST;

        let answer = self.handle.clone().request(request)?.next().await;
        let entry = match answer.map(|answer| answer.payload) {
            Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry))) => entry,
            Some(NetlinkPayload::Error(error)) if error.raw_code() != -libc::ENOENT => {
                return Err(Error::NetlinkError(error).into());
            }
            _ => NeighbourMessage::default(),
        };
        let known = entry
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
                _ => None,
            });
        match (entry.header.state, known) {
            (
                NeighbourState::Reachable
                | NeighbourState::Delay
                | NeighbourState::Probe
                | NeighbourState::Noarp
                | NeighbourState::Permanent,
                Some(mac),
            ) => Ok(mac),
            (NeighbourState::Stale, Some(mac)) => {
                self.use_neighbour(ifindex, address).await?;
                Ok(mac)
            }
            _ => {
                self.use_neighbour(ifindex, address).await?;
                Err(NextHopError::NotYet)
            }
        }
    }

    /// Has the kernel treat the neighbour as if a packet had been sent to it: it finds its MAC
    /// address, or checks the one it has. Without the right to do so (CAP_NET_ADMIN) the stack's
    /// own packets do it.
    async fn use_neighbour(&self, ifindex: u32, address: IpAddr) -> Result<(), NextHopError> {
        let request = self.handle.neighbours().add(ifindex, address);
        let request = request
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        match request.execute().await {
            Ok(()) => Ok(()),
            Err(Error::NetlinkError(error)) if error.raw_code() == -libc::EPERM => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
impl Resolver {
    /// One whose requests the kernel never sees.
    pub(crate) fn silent() -> Self {
        let (connection, handle, _) = new_connection().unwrap();
        let connection = async move {
            let _connection = connection;
            std::future::pending::<()>().await;
        };
        Self {
            handle,
            connection: tokio::spawn(connection),
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Tells when links, routes or neighbours have changed, so that next hops are to be asked again.
#[derive(Debug)]
pub struct Changes {
    changed: Arc<Notify>,
    tasks: [JoinHandle<()>; 2],
}

impl Changes {
    /// Subscribes in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn subscribe() -> io::Result<Self> {
        let (connection, _, mut messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ])?;
        let changed = Arc::new(Notify::new());
        let notify = Arc::clone(&changed);
        let watch = async move {
            while messages.next().await.is_some() {
                notify.notify_one();
            }
            warn!("the kernel tells of no more changes to routes and neighbours");
        };
        Ok(Self {
            changed,
            tasks: [tokio::spawn(connection), tokio::spawn(watch)],
        })
    }

    /// Waits for a change since the last time; many changes are told as one. Cancel safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The kernel's ways of saying that there is no route.
fn unreachable(error: Error) -> NextHopError {
    match &error {
        Error::NetlinkError(message)
            if [
                libc::ENETUNREACH,
                libc::EHOSTUNREACH,
                libc::EACCES,
                libc::EINVAL,
            ]
            .contains(&-message.raw_code()) =>
        {
            NextHopError::Unreachable
        }
        _ => error.into(),
    }
}

fn gateway(route: &RouteMessage) -> Option<IpAddr> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
            // An IPv4 route over an IPv6 gateway (RFC 5549).
            RouteAttribute::Via(RouteVia::Inet(ip)) => Some(IpAddr::V4(*ip)),
            RouteAttribute::Via(RouteVia::Inet6(ip)) => Some(IpAddr::V6(*ip)),
            _ => None,
        })
}

fn output(route: &RouteMessage) -> Option<u32> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(ifindex) => Some(*ifindex),
            _ => None,
        })
}

fn mac(link: &LinkMessage) -> Option<[u8; 6]> {
    if link.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Address(mac) => mac.as_slice().try_into().ok(),
            _ => None,
        })
}

/// The tag of a VLAN device and the interface below it.
fn vlan(link: &LinkMessage) -> Option<(VlanTag, u32)> {
    let infos = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        })?;
    let vlan = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(vlan)) => Some(vlan),
        _ => None,
    })?;
    let id = vlan.iter().find_map(|info| match info {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })?;
    let tpid = vlan.iter().find_map(|info| match info {
        InfoVlan::Protocol(protocol) => Some(u16::from(*protocol)),
        _ => None,
    });
    let parent = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Link(ifindex) => Some(*ifindex),
            _ => None,
        })?;
    Some((
        VlanTag {
            tpid: tpid.unwrap_or(ebpf_abi::TPID_CUSTOMER),
            id,
        },
        parent,
    ))
}

const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

const fn neighbour_address(address: IpAddr) -> NeighbourAddress {
    match address {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::DefaultNla;
    use rtnetlink::packet_route::link::{InfoVeth, VlanProtocol};

    use super::*;

    fn link(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.link_layer_type = LinkLayerType::Ether;
        link.attributes = attributes;
        link
    }

    #[test]
    fn a_vlan_device_has_a_tag_and_a_parent() {
        let vlan_of = |infos| {
            vlan(&link(vec![
                LinkAttribute::Link(4),
                LinkAttribute::LinkInfo(infos),
            ]))
        };
        let data = |vlan| vec![LinkInfo::Data(InfoData::Vlan(vlan))];
        let tag = |tpid| Some((VlanTag { tpid, id: 7 }, 4));
        assert_eq!(vlan_of(data(vec![InfoVlan::Id(7)])), tag(0x8100));
        let service = InfoVlan::Protocol(VlanProtocol::Ieee8021Ad);
        assert_eq!(vlan_of(data(vec![service, InfoVlan::Id(7)])), tag(0x88a8));
    }

    #[test]
    fn other_devices_are_the_wire() {
        // A veth too names another interface as its link: its peer, which is not below it.
        let veth = vec![LinkInfo::Data(InfoData::Veth(InfoVeth::Other(
            DefaultNla::new(0, vec![]),
        )))];
        let veth = link(vec![LinkAttribute::Link(4), LinkAttribute::LinkInfo(veth)]);
        assert_eq!(vlan(&veth), None);
        assert_eq!(vlan(&link(vec![])), None);
    }

    #[test]
    fn only_ethernet_has_a_mac() {
        let mut ethernet = link(vec![LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1])]);
        assert_eq!(mac(&ethernet), Some([2, 0, 0, 0, 0, 1]));
        ethernet.header.link_layer_type = LinkLayerType::Tunnel;
        assert_eq!(mac(&ethernet), None);
    }
}
