//! Where rtpengine's NG protocol is served.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Deserializer};

use super::net::ParseError;

/// What NG messages travel over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NgTransport {
    /// A datagram each.
    Udp,
    /// One after the other.
    Tcp,
    /// HTTP POST to `/ng` and `/ng-plain`, and WebSocket with the sub-protocol `ng.rtpengine.com`.
    Http,
}

/// Where NG is served: `udp:127.0.0.1:2223`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NgListen {
    /// Over what.
    pub transport: NgTransport,
    /// On which address; port 0 takes a free one.
    pub address: SocketAddr,
}

impl NgTransport {
    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Http => "http",
        }
    }
}

impl FromStr for NgListen {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || {
            let wanted = "udp:IP:PORT, tcp:IP:PORT or http:IP:PORT, such as udp:127.0.0.1:2223";
            ParseError::new(text, wanted)
        };
        let (transport, address) = text.split_once(':').ok_or_else(wrong)?;
        let all = [NgTransport::Udp, NgTransport::Tcp, NgTransport::Http];
        let mut all = all.into_iter();
        Ok(Self {
            transport: all
                .find(|known| transport.eq_ignore_ascii_case(known.name()))
                .ok_or_else(wrong)?,
            address: address.parse().map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for NgListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.name(), self.address)
    }
}

impl<'de> Deserialize<'de> for NgListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A list, or one in its place.
pub(super) fn one_or_more<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<NgListen>, D::Error> {
    struct Visitor;

    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<NgListen>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("udp:IP:PORT, tcp:IP:PORT, http:IP:PORT, or a list of such")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            text.parse().map(|one| vec![one]).map_err(E::custom)
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut items: A,
        ) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = items.next_element()? {
                all.push(item);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn ng(text: &str) -> Result<Vec<String>, String> {
        let loaded = Config::parse(&format!("[media]\n{text}"), []).map_err(|e| e.to_string())?;
        let listens = loaded.config.media.ng;
        Ok(listens.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn one_address_or_several() {
        let one = ng("ng = \"udp:127.0.0.1:2223\"");
        assert_eq!(one, Ok(vec!["udp:127.0.0.1:2223".to_owned()]));
        let all = [
            "udp:127.0.0.1:2223",
            "tcp:127.0.0.1:2223",
            "http:[::1]:2225",
        ];
        let written = format!("ng = {all:?}\nng_allow = [\"10.0.0.0/8\"]");
        assert_eq!(ng(&written), Ok(all.map(str::to_owned).to_vec()));
        let variables = [("TANDEM_MEDIA_NG".to_owned(), all.join(","))];
        let loaded = Config::parse("", variables).unwrap();
        assert_eq!(loaded.config.media.ng.len(), 3);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for wrong in [
            "\"sctp:127.0.0.1:1\"",
            "\"udp:host:1\"",
            "\"\"",
            "[\"udp\"]",
        ] {
            let error = ng(&format!("ng = {wrong}")).unwrap_err();
            assert!(error.contains("udp:IP:PORT"), "{error}");
        }
        let twice = ng("ng = [\"tcp:127.0.0.1:1\", \"http:127.0.0.1:1\"]").unwrap_err();
        assert!(twice.contains("[media] ng"), "{twice}");
    }
}
