//! `[sip.defence]`: whom the node holds off, and how much a stranger may ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use super::net::Cidr;

/// User-Agents of the tools that look for open switches; those of Kamailio's sample configuration, and
/// what sipvicious and its kin have called themselves since.
const SCANNERS: [&str; 9] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sipcli",
    "sip-scan",
    "sundayddr",
    "vaxsipuseragent",
    "vaxipuseragent",
    "pplsip",
];

/// `[sip.defence]`.
///
/// The sources of `allow` and the addresses of every trunk are exempt from all of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defence {
    /// Address blocks that are never banned or limited. Default the loopback addresses, which
    /// cannot be forged from outside.
    pub allow: Vec<Cidr>,
    /// Points of evidence at which a source is banned, 3 to 1,000. A wrong password is 3 points.
    /// Default 12.
    pub threshold: u32,
    /// Seconds in which `threshold` points are forgotten, 1 to 86,400. Default 600.
    pub window: u32,
    /// Seconds of a source's first ban, 1 to 86,400; later ones last twice as long each, up to 24
    /// times. 0: nobody is banned. Default 300.
    pub ban: u32,
    /// REGISTERs a second of one stranger, which is an IPv4 address or an IPv6 /64; eight times as many
    /// of its /24 or /48. Two seconds' worth may come at once. 0: not limited. Default 50.
    pub registers: u32,
    /// The same of INVITEs. Default 20.
    pub invites: u32,
    /// The same of all other requests outside of a dialog. Default 50.
    pub others: u32,
    /// Requests a second of all strangers together; those of trunks, and of addresses that somebody
    /// registered from or called from lately, do not count, nor do answers to a challenge. 0: not
    /// limited. Default 8,000.
    pub strangers: u32,
    /// Parts of User-Agent values, in any case, that are not answered. Default well-known scanners.
    pub scanners: Vec<String>,
    /// Milliseconds that a request may wait in the node before it is refused with 503 instead of
    /// being worked on. Default 16 times T1: its sender has given up by then, or soon will.
    pub shed_after: Option<u32>,
}

impl Default for Defence {
    fn default() -> Self {
        Self {
            allow: vec![
                Cidr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
                Cidr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
            ],
            threshold: 12,
            window: 600,
            ban: 300,
            registers: 50,
            invites: 20,
            others: 50,
            strangers: 8_000,
            scanners: SCANNERS.map(str::to_owned).to_vec(),
            shed_after: None,
        }
    }
}

impl Defence {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let ranges = [
            ("threshold", self.threshold, 3, 1_000),
            ("window", self.window, 1, 86_400),
            ("ban", self.ban, 0, 86_400),
            ("registers", self.registers, 0, 1_000_000),
            ("invites", self.invites, 0, 1_000_000),
            ("others", self.others, 0, 1_000_000),
            ("strangers", self.strangers, 0, 10_000_000),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                errors.push(format!(
                    "[sip.defence] {key} = {value}: must be {least} to {most}"
                ));
            }
        }
        if self.scanners.iter().any(|pattern| pattern.trim().len() < 3) {
            errors.push(
                "[sip.defence] scanners: a pattern of less than 3 characters would silence others \
                 than scanners"
                    .to_owned(),
            );
        }
        if self.shed_after.is_some_and(|after| after < 100) {
            errors.push("[sip.defence] shed_after: must be 100 ms or more".to_owned());
        }
    }
}
