//! Which trunk a source address belongs to.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

use control::config::{Cidr, Source, Transport};

/// The blocks of all trunks: one look-up for each length of block that there is.
#[derive(Debug, Default)]
pub(super) struct Sources {
    blocks: HashMap<(IpAddr, u8), Vec<Owner>>,
    /// Lengths of blocks, the longest first.
    v4: Vec<u8>,
    v6: Vec<u8>,
}

/// A trunk with a block, and what else of a source has to fit.
#[derive(Clone, Copy, Debug)]
struct Owner {
    trunk: usize,
    port: Option<u16>,
    transport: Option<Transport>,
}

impl Sources {
    /// Of each trunk's blocks, in the order of the trunks.
    pub(super) fn new<'a>(trunks: impl Iterator<Item = &'a [Source]>) -> Self {
        let mut this = Self::default();
        let (mut v4, mut v6) = (BTreeSet::new(), BTreeSet::new());
        for (trunk, sources) in trunks.enumerate() {
            for source in sources {
                let block = source.block.network();
                let lengths = if block.address().is_ipv4() {
                    &mut v4
                } else {
                    &mut v6
                };
                lengths.insert(block.prefix());
                let owners = this.blocks.entry((block.address(), block.prefix()));
                owners.or_default().push(Owner {
                    trunk,
                    port: source.port,
                    transport: source.transport,
                });
            }
        }
        for owners in this.blocks.values_mut() {
            // Stable: of equals the one that was written first.
            owners.sort_by_key(|owner| {
                u8::from(owner.port.is_none()) + u8::from(owner.transport.is_none())
            });
        }
        this.v4 = v4.into_iter().rev().collect();
        this.v6 = v6.into_iter().rev().collect();
        this
    }

    /// The trunk of a source: that of the smallest block, then the one that asks for most, then the one
    /// that was written first.
    pub(super) fn trunk_of(&self, transport: Transport, source: SocketAddr) -> Option<usize> {
        // An IPv4 peer may come by an IPv6 socket.
        let address = source.ip().to_canonical();
        let lengths = if address.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        lengths.iter().find_map(|length| {
            let network = Cidr::new(address, *length).network().address();
            let owners = self.blocks.get(&(network, *length))?;
            let fits = |owner: &&Owner| {
                owner.port.is_none_or(|port| port == source.port())
                    && owner.transport.is_none_or(|wanted| wanted == transport)
            };
            owners.iter().find(fits).map(|owner| owner.trunk)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_block_that_fits_has_the_source() {
        let lists: Vec<Vec<Source>> = serde_json::from_value(serde_json::json!([
            ["10.0.0.0/8", "::/0"],
            ["10.1.0.0/16"],
            [{"block": "10.1.2.3", "port": 5070}],
            [{"block": "10.1.2.3", "transport": "tcp"}],
            ["10.1.2.3"],
            ["2001:db8::/32"],
        ]))
        .unwrap();
        let sources = Sources::new(lists.iter().map(Vec::as_slice));
        for (transport, source, trunk) in [
            (Transport::Udp, "10.2.0.1:5060", Some(0)),
            (Transport::Udp, "10.1.0.1:5060", Some(1)),
            (Transport::Udp, "10.1.2.3:5070", Some(2)),
            (Transport::Tcp, "10.1.2.3:1", Some(3)),
            (Transport::Udp, "10.1.2.3:1", Some(4)),
            (Transport::Udp, "[::ffff:10.1.2.3]:1", Some(4)),
            (Transport::Udp, "[2001:db8::1]:1", Some(5)),
            (Transport::Udp, "[2001:db9::1]:1", Some(0)),
            (Transport::Udp, "11.0.0.1:5060", None),
        ] {
            assert_eq!(
                sources.trunk_of(transport, source.parse().unwrap()),
                trunk,
                "{source}"
            );
        }
    }
}
