//! The addresses that legs have their ports on, by the names of their interfaces.

use std::net::IpAddr;
use std::sync::Arc;

use control::config::{DEFAULT_INTERFACE, Media, MediaAddress};
use control::media::Family;
use control::{Fault, FaultCode};

/// The interfaces of a node; the default one is the first. Shared by the shards.
#[derive(Debug, Clone)]
pub(crate) struct Interfaces(Arc<[(String, MediaAddress)]>);

impl Interfaces {
    pub(crate) fn new(media: &Media) -> Self {
        let all = media.addresses();
        Self(
            all.map(|(name, address)| (name.to_owned(), address.clone()))
                .collect(),
        )
    }

    /// The address to bind and the one to tell the party, on the interface of this name or on the default one.
    ///
    /// # Errors
    /// There is no such interface, or none of its addresses is of the family.
    pub(crate) fn find(
        &self,
        name: Option<&str>,
        family: Family,
    ) -> Result<(IpAddr, IpAddr), Fault> {
        let name = name.unwrap_or(DEFAULT_INTERFACE);
        let interface = self.0.iter().find(|(known, _)| known == name);
        let Some((_, address)) = interface else {
            let known: Vec<_> = self.0.iter().map(|(known, _)| known.as_str()).collect();
            let known = known.join(", ");
            let message = format!("this node has no media interface '{name}', but {known}");
            return Err(Fault::new(FaultCode::Invalid, message));
        };
        let mut pairs = address.pairs().iter();
        let pair = pairs.find(|(bind, _)| bind.is_ipv4() == (family == Family::V4));
        pair.copied().ok_or_else(|| {
            let place = match name {
                DEFAULT_INTERFACE => "[media] address".to_owned(),
                name => format!("the address of the media interface '{name}'"),
            };
            let message = format!("this node has no {family:?} media address: add one to {place}");
            Fault::new(FaultCode::Unsupported, message)
        })
    }

    /// The same by the address to bind; the first, where several interfaces have it.
    pub(crate) fn bound_to(&self, ip: IpAddr) -> Option<(IpAddr, IpAddr)> {
        let mut pairs = self.0.iter().flat_map(|(_, address)| address.pairs());
        pairs.find(|(bind, _)| *bind == ip).copied()
    }
}
