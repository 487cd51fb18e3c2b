//! A domain beyond the node that documents may call.

use std::{net::IpAddr, str::FromStr};

use serde::Deserialize;

use super::net::ParseError;

/// One of `[voice] sip_domains`: `sip.example.com`, `*.example.com` for every name below that one, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SipDomain {
    /// In lower case, and without the star.
    name: String,
    is_below: bool,
}

impl SipDomain {
    /// Whether a URI's host is of it.
    pub fn has(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if self.is_below {
            let sub = host.strip_suffix(&self.name);
            return sub.is_some_and(|sub| sub.len() > 1 && sub.ends_with('.'));
        }
        match address(&host).parse::<IpAddr>() {
            Ok(ip) => ip.to_string() == self.name,
            Err(_) => host == self.name,
        }
    }
}

/// An address without the brackets that one of IPv6 has in a URI.
fn address(text: &str) -> &str {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(text)
}

impl FromStr for SipDomain {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || {
            ParseError::new(
                text,
                "a domain, such as sip.example.com or *.example.com, or an address",
            )
        };
        if let Ok(ip) = address(text).parse::<IpAddr>() {
            let name = ip.to_string();
            return Ok(Self {
                name,
                is_below: false,
            });
        }
        let (is_below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // A star before a top-level domain would be nearly everybody.
        let least = if is_below { 2 } else { 1 };
        let is_name = name.len() <= 253 && name.split('.').all(is_label);
        if !is_name || name.split('.').count() < least {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_ascii_lowercase(),
            is_below,
        })
    }
}

impl TryFrom<String> for SipDomain {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_its_hosts_and_no_others() {
        for (domain, host, is_it) in [
            ("example.com", "example.com", true),
            ("example.com", "EXAMPLE.com.", true),
            ("example.com", "sip.example.com", false),
            ("example.com", "badexample.com", false),
            ("*.Example.com", "sip.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*.example.com", "example.com.evil.test", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.70", false),
            ("2001:DB8::1", "[2001:db8:0::1]", true),
            ("[2001:db8::1]", "[2001:db8::2]", false),
            ("pbx", "pbx", true),
        ] {
            let parsed: SipDomain = domain.parse().unwrap();
            assert_eq!(parsed.has(host), is_it, "{domain} {host}");
        }
        for wrong in [
            "",
            "*",
            "*.com",
            "*.*.com",
            "a.*.com",
            "a b",
            "sip:a.test",
            "a@b.test",
            "a.test:5060",
            "a..b",
            "192.0.2.0/24",
        ] {
            assert!(wrong.parse::<SipDomain>().is_err(), "{wrong}");
        }
    }
}
