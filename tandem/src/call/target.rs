//! Whom to call and where the INVITE goes.

use std::{net::SocketAddr, str::FromStr};

use control::config::{Host, Transport};
use sip::uri::{Scheme, Uri};

use super::agent::Hop;
use crate::exit::Failure;

/// An outbound proxy: `HOST:PORT`, `;transport=tcp` after it where wanted.
#[derive(Clone, Debug)]
pub(super) struct Proxy(Host);

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The configuration's hosts take parameters only after `sip:`.
        let full = if text.contains(';') && !text.starts_with("sip:") {
            format!("sip:{text}")
        } else {
            text.to_owned()
        };
        full.parse()
            .map(Self)
            .map_err(|error: control::config::ParseError| error.to_string())
    }
}

/// A URI that can be called.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The Request-URI.
    pub(super) uri: String,
    host: Option<Host>,
}

impl Target {
    /// Reads what a person typed; `sip:` may be left out.
    pub(super) fn parse(typed: &str) -> Result<Self, Failure> {
        let has_scheme = ["sip:", "sips:", "tel:"].iter().any(|scheme| {
            typed
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let text = if has_scheme {
            typed.to_owned()
        } else {
            format!("sip:{typed}")
        };
        let wrong = |reason: &dyn std::fmt::Display| {
            Failure::other(format!(
                "'{typed}' cannot be called: {reason}; write sip:USER@HOST, such as sip:100@127.0.0.1"
            ))
        };
        let uri = Uri::parse(&text).map_err(|error| wrong(&error))?;
        let host = match uri.scheme() {
            Scheme::Sip => Some(host_of(&uri).map_err(|error| wrong(&error))?),
            Scheme::Tel => None,
            Scheme::Sips => return Err(wrong(&"this version has no TLS")),
            Scheme::Other(_) => return Err(wrong(&"the scheme is not sip")),
        };
        Ok(Self { uri: text, host })
    }

    /// Where the INVITE goes: to the proxy, or to the URI's host. Names are resolved by their
    /// addresses only: no NAPTR or SRV of RFC 3263.
    pub(super) async fn hop(&self, proxy: Option<&Proxy>) -> Result<Hop, Failure> {
        let host = proxy.map(|proxy| &proxy.0).or(self.host.as_ref());
        let host = host.ok_or_else(|| {
            Failure::other(format!(
                "'{}' names no host: say where it goes with --proxy HOST:PORT",
                self.uri
            ))
        })?;
        if !matches!(host.transport, Transport::Udp | Transport::Tcp) {
            return Err(Failure::other(format!(
                "this command speaks udp and tcp, not {}: call through a node that does",
                host.transport
            )));
        }
        Ok(Hop {
            transport: host.transport,
            remote: resolve(&host.name, host.port_or_default()).await?,
        })
    }
}

fn host_of(uri: &Uri<'_>) -> Result<Host, String> {
    let written = match uri.transport() {
        Some(name) => Some(
            name.parse()
                .map_err(|e: control::config::ParseError| e.to_string())?,
        ),
        None => None,
    };
    let host = uri.host().ok_or("it has no host")?;
    let name = host
        .ip()
        .map_or_else(|| host.to_string(), |ip| ip.to_string());
    Ok(Host {
        transport: written.unwrap_or(Transport::Udp),
        explicit: written.is_some(),
        name,
        port: uri.port(),
    })
}

async fn resolve(name: &str, port: u16) -> Result<SocketAddr, Failure> {
    let mut found = tokio::net::lookup_host((name, port))
        .await
        .map_err(|error| Failure::other(format!("cannot find '{name}': {error}")))?;
    found
        .next()
        .ok_or_else(|| Failure::other(format!("'{name}' has no address")))
}

/// The caller's URI from what was typed: a URI, or the user part of one at `local`.
pub(super) fn from_uri(typed: Option<&str>, local: SocketAddr) -> Result<String, Failure> {
    // Always in brackets, as a URI wants an IPv6 address.
    let at = sip::uri::Host::from(local.ip());
    let text = match typed {
        None => format!("sip:tandem@{at}"),
        Some(typed) if typed.contains(':') => typed.to_owned(),
        Some(user) => format!("sip:{}@{at}", sip::uri::escape_user(user)),
    };
    match Uri::parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::other(format!(
            "--from '{text}': {error}; write sip:USER@HOST, or only USER"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn hop(uri: &str, proxy: Option<&str>) -> String {
        let proxy = proxy.map(|proxy| proxy.parse::<Proxy>().unwrap());
        let hop = Target::parse(uri)
            .unwrap()
            .hop(proxy.as_ref())
            .await
            .unwrap();
        format!("{}:{}", hop.transport, hop.remote)
    }

    #[tokio::test]
    async fn the_invite_goes_to_the_host_or_to_the_proxy() {
        assert_eq!(hop("sip:100@192.0.2.1", None).await, "udp:192.0.2.1:5060");
        assert_eq!(hop("100@192.0.2.1:5070", None).await, "udp:192.0.2.1:5070");
        assert_eq!(
            hop("sip:1@[2001:db8::1];transport=tcp", None).await,
            "tcp:[2001:db8::1]:5060"
        );
        let proxy = Some("192.0.2.9:5080;transport=tcp");
        assert_eq!(hop("sip:1@example.test", proxy).await, "tcp:192.0.2.9:5080");
        assert_eq!(
            hop("tel:+15550100", Some("192.0.2.9")).await,
            "udp:192.0.2.9:5060"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_called_is_told() {
        for (uri, part) in [
            ("sips:a@b", "TLS"),
            ("sip:a@", "host"),
            ("sip:a b@c", "character"),
        ] {
            let error = Target::parse(uri).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = Target::parse("tel:+1555")
            .unwrap()
            .hop(None)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("--proxy"), "{error}");
    }

    #[test]
    fn a_caller_may_be_a_user_or_a_uri() {
        let local = "[2001:db8::5]:5062".parse().unwrap();
        assert_eq!(from_uri(None, local).unwrap(), "sip:tandem@[2001:db8::5]");
        assert_eq!(
            from_uri(Some("+1 555"), local).unwrap(),
            "sip:+1%20555@[2001:db8::5]"
        );
        assert_eq!(from_uri(Some("sip:a@b"), local).unwrap(), "sip:a@b");
        assert!(from_uri(Some("sip:a@<b>"), local).is_err());
    }
}
