//! Addresses of hosts that are asked over HTTP: by this machine's table of hosts and its name servers.
//!
//! The system's own look-up runs in a thread that nothing ends: a name whose servers are silent holds it long after
//! nobody waits any more. These questions end with who asks them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use futures_util::future::{Either, select};
use tokio::{net::lookup_host, time::timeout};

use super::{dns::Dns, search::Source as _, source_for};

/// How long the addresses of one family are waited for where those of the other are there (RFC 8305 section 3).
const DELAY: Duration = Duration::from_millis(50);

/// Looks hosts up.
#[derive(Debug)]
pub(crate) struct Hosts(Dns);

impl Hosts {
    /// Asks the name servers of the system. Must be called inside a tokio runtime.
    pub(crate) fn of_system() -> Self {
        Self(Dns::new(&[]))
    }

    /// The addresses of a host, those first that this machine has a way to; none where there are none, or nobody can
    /// tell.
    pub(crate) async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let name = host.trim_end_matches('.');
        if let Ok(ip) = name.parse() {
            return vec![ip];
        }
        if is_old_literal(name) {
            // No question is asked for it.
            let found = lookup_host((name, 0)).await.into_iter().flatten();
            return found.map(|at| at.ip()).collect();
        }
        let mut found = self.0.pinned(name);
        if found.is_empty() && is_local(name) {
            found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        if found.is_empty() {
            let (six, four) = self.asked(host).await;
            found = in_turn(&six, &four);
        }
        if found.len() > 1 {
            found.sort_by_key(|ip| source_for(SocketAddr::new(*ip, 80)).is_err());
        }
        found
    }

    /// The addresses of each family that the name servers tell.
    async fn asked(&self, host: &str) -> (Vec<IpAddr>, Vec<IpAddr>) {
        let of = async |ipv4| {
            let found = self.0.addresses(host, ipv4).await;
            found.map(|(found, _)| found).unwrap_or_default()
        };
        match select(pin!(of(false)), pin!(of(true))).await {
            Either::Left((six, four)) => {
                let four = soon(&six, four).await;
                (six, four)
            }
            Either::Right((four, six)) => (soon(&four, six).await, four),
        }
    }
}

/// The addresses of the other family: a server that is silent on one of them holds nothing up.
async fn soon(known: &[IpAddr], other: impl Future<Output = Vec<IpAddr>>) -> Vec<IpAddr> {
    match known.is_empty() {
        true => other.await,
        false => timeout(DELAY, other).await.unwrap_or_default(),
    }
}

/// One of each family after the other (RFC 8305 section 4).
fn in_turn(six: &[IpAddr], four: &[IpAddr]) -> Vec<IpAddr> {
    let most = six.len().max(four.len());
    let pairs = (0..most).flat_map(|place| [six.get(place), four.get(place)]);
    pairs.flatten().copied().collect()
}

/// What is this machine whoever asks (RFC 6761 section 6.3).
fn is_local(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// An address as `inet_aton` reads it, such as `127.1` and `0x7f000001`.
fn is_old_literal(name: &str) -> bool {
    let is_part = |part: &str| {
        let hex = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"));
        match hex {
            Some(hex) => !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()),
            None => !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()),
        }
    };
    name.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::{super::dns::QUESTION, *};

    #[tokio::test]
    async fn addresses_and_names_of_this_machine_need_no_server() {
        let hosts = Hosts(Dns::new(&["127.0.0.1:9".parse().unwrap()]));
        let four: IpAddr = Ipv4Addr::LOCALHOST.into();
        for host in ["127.0.0.1", "127.1", "0x7f000001", "127.0.0.1."] {
            assert_eq!(hosts.addresses(host).await, [four], "{host}");
        }
        assert_eq!(hosts.addresses("::1").await, [Ipv6Addr::LOCALHOST]);
        let found = hosts.addresses("app.localhost").await;
        assert!(found.contains(&four), "{found:?}");
        assert!(hosts.addresses("999.999.999.999").await.is_empty());
        assert!(!is_old_literal("a.1") && !is_old_literal("0x") && !is_old_literal("1..1"));
    }

    #[test]
    fn families_take_turns() {
        let ips = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let all = in_turn(&ips(&["::1", "::2"]), &ips(&["10.0.0.1"]));
        assert_eq!(all, ips(&["::1", "10.0.0.1", "::2"]));
        assert!(in_turn(&[], &[]).is_empty());
    }

    #[tokio::test]
    async fn a_server_that_is_silent_on_one_family_holds_nothing_up() {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let hosts = Hosts(Dns::new(&[server.local_addr().unwrap()]));
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = server.recv_from(&mut question).await {
                // The name begins behind the header of 12 octets, and ends with an empty label.
                let name = &question[12..length];
                let end = 12 + name.iter().position(|octet| *octet == 0).unwrap();
                let is_ipv4 = question[end + 1..end + 3] == [0, 1];
                let mut answer = question[..end + 5].to_vec();
                answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
                answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
                if is_ipv4 {
                    server.send_to(&answer, from).await.unwrap();
                }
            }
        });
        let found = timeout(QUESTION, hosts.addresses("one.test.")).await;
        assert_eq!(found.unwrap(), [IpAddr::from([192, 0, 2, 7])]);
    }

    /// Whoever gives up waiting ends the questions: nothing of them is left in the runtime.
    #[tokio::test]
    async fn a_look_up_ends_with_who_asks() {
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let hosts = Hosts(Dns::new(&[silent.local_addr().unwrap()]));
        let patience = Duration::from_millis(50);
        let asked = timeout(patience, hosts.addresses("silent.test")).await;
        assert!(asked.is_err(), "nobody answers");
        let mut question = [0; 512];
        let heard = async |question: &mut [u8]| {
            let patience = QUESTION + patience * 4;
            timeout(patience, silent.recv(question)).await
        };
        for _ in ["A", "AAAA"] {
            assert!(heard(&mut question).await.unwrap().unwrap() > 12);
        }
        // Else they would be asked again by now.
        assert!(heard(&mut question).await.is_err());
    }
}
