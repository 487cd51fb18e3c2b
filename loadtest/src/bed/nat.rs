//! A home behind a router that hides it, as most phones are.

use std::time::Duration;

use super::{Bed, BedError, Namespace, PARTY_LINK, ip, set};
use crate::process::{self as programs, Tool};

/// Translates addresses.
pub(super) const IPTABLES: Tool = Tool {
    name: "iptables",
    package: "iptables",
};
/// The router's link into the home.
const HOME_LINK: &str = "home0";

impl Bed {
    /// The address of whoever is at home.
    pub const HOME: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 168, 91, 2);

    /// Makes the caller's namespace a router, with the returned one as the home behind it. From there
    /// UDP leaves by the caller's address and another port, and a mapping is forgotten when nothing has
    /// used it for `memory`.
    pub fn home(&self, memory: Duration) -> Result<Namespace, BedError> {
        Tool::require(&[IPTABLES])?;
        let home = Namespace::create(self.number, "home")?;
        let router = &self.caller;
        programs::run(Tool::IP.command().args([
            "link",
            "add",
            PARTY_LINK,
            "netns",
            home.name(),
            "type",
            "veth",
            "peer",
            "name",
            HOME_LINK,
            "netns",
            router.name(),
        ]))?;
        ip(
            router,
            &format!("address add 192.168.91.1/24 dev {HOME_LINK}\nlink set dev {HOME_LINK} up\n"),
        )?;
        ip(
            &home,
            &format!(
                "link set dev lo up\naddress add {}/24 dev {PARTY_LINK}\n\
                 link set dev {PARTY_LINK} up\nroute add default via 192.168.91.1\n",
                Self::HOME
            ),
        )?;
        set(router, "net/ipv4/ip_forward", "1")?;
        let masquerade = [
            "-t",
            "nat",
            "-A",
            "POSTROUTING",
            "-p",
            "udp",
            "-o",
            PARTY_LINK,
            "-j",
            "MASQUERADE",
            "--to-ports",
            "50000-50999",
        ];
        let program = IPTABLES.find().unwrap_or_else(|| IPTABLES.name.into());
        programs::run(router.command(program).args(masquerade))?;
        let seconds = memory.as_secs().to_string();
        set(router, "net/netfilter/nf_conntrack_udp_timeout", &seconds)?;
        set(
            router,
            "net/netfilter/nf_conntrack_udp_timeout_stream",
            &seconds,
        )?;
        Ok(home)
    }
}
