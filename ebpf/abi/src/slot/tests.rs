use super::*;
use crate::checksum::{apply, apply_udp, fold, sum};
use proptest::prelude::*;

const HOP: Hop = Hop {
    ifindex: 3,
    source: [2; 6],
    destination: [4; 6],
    tags: [None, None],
};

fn route(local: &str, peer: &str, source: &str, destination: &str) -> Route {
    let parse = |end: &str| end.parse().unwrap();
    Route {
        local: parse(local),
        peer: parse(peer),
        source: parse(source),
        destination: parse(destination),
    }
}

#[test]
fn a_slot_gives_back_what_it_was_made_of() {
    let identity = Identity {
        session: *b"sixteen  letters",
        leg: 1,
        rtcp: true,
    };
    for route in [
        route(
            "192.0.2.1:20000",
            "198.51.100.7:4000",
            "192.0.2.2:20002",
            "203.0.113.9:5000",
        ),
        route(
            "[2001:db8::1]:20000",
            "[2001:db8:1::7]:4000",
            "[2001:db8::2]:20002",
            "[::9]:1",
        ),
        route(
            "[2001:db8::1]:20000",
            "[2001:db8:1::7]:4000",
            "192.0.2.2:20002",
            "203.0.113.9:5000",
        ),
    ] {
        let mut slot = Slot::forwarding(identity, &route, &HOP, 48_000).unwrap();
        assert!(!slot.is_live() && !slot.is_forwarding());
        slot.generation = 1;
        assert!(slot.is_forwarding());
        assert_eq!(slot.identity(), identity);
        assert_eq!(slot.route(20_000), route);
        assert_eq!(
            slot.macs.map(u32::to_ne_bytes),
            [[4, 4, 4, 4], [4, 4, 2, 2], [2, 2, 2, 2]]
        );
    }
}

#[test]
fn clock_rates_survive() {
    let route = route("192.0.2.1:1", "192.0.2.3:1", "192.0.2.2:2", "192.0.2.4:2");
    for rate in [
        0, 8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 90_000,
    ] {
        assert_eq!(
            Slot::passing(Identity::default(), &route, rate).clock_rate(),
            rate
        );
    }
}

#[test]
fn what_cannot_be_forwarded_is_refused() {
    let v4 = route("192.0.2.1:1", "192.0.2.3:1", "192.0.2.2:2", "192.0.2.4:2");
    let make = |route: &Route, hop: &Hop| {
        Slot::forwarding(Identity::default(), route, hop, 8_000).map(|_| ())
    };
    assert_eq!(make(&v4, &HOP), Ok(()));
    for (end, error) in [
        ("[2001:db8::1]:2", SlotError::Family),
        ("0.0.0.0:2", SlotError::Unspecified),
        ("192.0.2.9:0", SlotError::Unspecified),
        ("255.255.255.255:2", SlotError::Unspecified),
        ("224.0.0.1:2", SlotError::Unspecified),
    ] {
        let route = Route {
            destination: end.parse().unwrap(),
            ..v4
        };
        assert_eq!(make(&route, &HOP), Err(error), "{end}");
    }
    let tag = |id| {
        Some(VlanTag {
            tpid: TPID_CUSTOMER,
            id,
        })
    };
    for (tags, answer) in [
        ([tag(5), None], Ok(())),
        ([tag(5), tag(4094)], Ok(())),
        ([None, tag(5)], Err(SlotError::Tags)),
        ([tag(4095), None], Err(SlotError::Tags)),
    ] {
        assert_eq!(make(&v4, &Hop { tags, ..HOP }), answer, "{tags:?}");
    }
}

fn end(v6: bool) -> impl Strategy<Value = SocketAddr> {
    (any::<[u8; 16]>(), 1..=u16::MAX).prop_map(move |(bytes, port)| {
        let ip: IpAddr = if v6 {
            bytes.into()
        } else {
            [bytes[0], bytes[1], bytes[2], bytes[3]].into()
        };
        SocketAddr::new(ip, port)
    })
}

fn routes() -> impl Strategy<Value = Route> {
    any::<[bool; 2]>()
        .prop_flat_map(|[v6, out]| (end(v6), end(v6), end(out), end(out)))
        .prop_map(|(local, peer, source, destination)| Route {
            local,
            peer,
            source,
            destination,
        })
}

/// The UDP checksum by its definition, without the "zero is sent as 0xffff" of RFC 768.
fn udp_checksum(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> u16 {
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    let mut pseudo = Vec::new();
    for end in [from, to] {
        pseudo.extend_from_slice(&bytes(address(end.ip())));
    }
    pseudo.extend_from_slice(&[0, 17]);
    pseudo.extend_from_slice(&length);
    for end in [from, to] {
        pseudo.extend_from_slice(&end.port().to_be_bytes());
    }
    pseudo.extend_from_slice(&length);
    !fold(sum(&pseudo) + sum(payload))
}

fn ip_checksum(from: SocketAddr, to: SocketAddr, ttl: u8) -> u16 {
    !fold(sum(&header(from, to, ttl, [0x12, 0x34])))
}

/// An IPv4 header without its checksum.
fn header(from: SocketAddr, to: SocketAddr, ttl: u8, identification: [u8; 2]) -> Vec<u8> {
    let [high, low] = identification;
    let mut header = vec![0x45, 0xb8, 0, 200, high, low, 0x40, 0, ttl, 17, 0, 0];
    for end in [from, to] {
        header.extend_from_slice(&bytes(address(end.ip()))[..4]);
    }
    header
}

proptest! {
    #[test]
    fn deltas_equal_a_recomputation(
        route in routes(),
        payload in prop::collection::vec(any::<u8>(), 12..300),
        ttl in 2..=255_u8,
    ) {
        prop_assume!([route.local, route.peer, route.source, route.destination].iter().all(is_host));
        let slot = Slot::forwarding(Identity::default(), &route, &HOP, 8_000).unwrap();

        let before = match udp_checksum(route.peer, route.local, &payload) {
            0 => 0xffff,
            other => other,
        };
        let after = match udp_checksum(route.source, route.destination, &payload) {
            0 => 0xffff,
            other => other,
        };
        prop_assert_eq!(apply_udp(before, slot.udp_delta), after);

        prop_assert_eq!(slot.route(route.local.port()), route);
        prop_assert_eq!(slot.changes_family(), route.local.is_ipv4() != route.source.is_ipv4());
        match (route.local, route.source) {
            (SocketAddr::V4(_), SocketAddr::V4(_)) => {
                let before = ip_checksum(route.peer, route.local, ttl);
                let after = ip_checksum(route.source, route.destination, ttl - 1);
                prop_assert_eq!(apply(before, slot.ip_delta), after);
            }
            (SocketAddr::V6(_), SocketAddr::V4(_)) => {
                let rest = [0, 0xb8, 0, 200, ttl, 0];
                let after = header(route.source, route.destination, ttl, [0, 0]);
                let computed = !fold(u32::from(slot.ip_delta) + sum(&rest));
                prop_assert_eq!(computed, !fold(sum(&after)));
            }
            _ => {}
        }
    }

    #[test]
    fn a_mark_is_one_word_of_the_header(
        ttl in 2..=255_u8,
        old in any::<u8>(),
        new in any::<u8>(),
        from in end(false),
        to in end(false),
    ) {
        let with = |tos: u8| {
            let mut bytes = header(from, to, ttl, [0x12, 0x34]);
            bytes[1] = tos;
            !fold(sum(&bytes))
        };
        let word = |tos: u8| u16::from_ne_bytes([0x45, tos]);
        prop_assert_eq!(apply(with(old), checksum::replace(word(old), word(new))), with(new));
    }
}
