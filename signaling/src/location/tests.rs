use sip::{
    message::Message,
    registrar::{Bounds, WhenFull},
};

use super::*;
use crate::told::Told;
use control::config::Transport;

const BOUNDS: Bounds = Bounds {
    min: 60,
    default: 3_600,
    max: 7_200,
};
const ROOM: Capacity = Capacity {
    most: 3,
    when_full: WhenFull::Refuse,
};
const T0: i64 = 1_763_700_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((T0 + seconds) * 1_000)
}

fn alice() -> Aor {
    Aor::new("alice", "example.test")
}

fn udp(port: u16) -> Flow {
    let remote = SocketAddr::from(([192, 0, 2, 9], port));
    Flow::to(Transport::Udp, "192.0.2.1:5060".parse().unwrap(), remote)
}

fn ws(id: u64) -> Flow {
    Flow {
        transport: Transport::Ws,
        connection: Some(ConnectionId(id)),
        ..udp(8_000)
    }
}

fn request(call_id: &str, cseq: u32, contacts: &str) -> Register {
    let raw = format!(
        "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\n\
         Supported: path\r\nPath: <sip:edge.test;lr>, <sip:b.test;lr>\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{contacts}\r\n\r\n"
    );
    Register::parse(&Message::parse(raw.into()).unwrap(), &BOUNDS).unwrap()
}

fn register(
    location: &Location,
    now: i64,
    aor: &Aor,
    flow: Flow,
    request: &Register,
) -> Result<Vec<String>, Denied> {
    let came = Came {
        flow,
        user_agent: "Phone 1.0",
    };
    location.register(at(now), aor, request, &came, ROOM)
}

fn uris(location: &Location, now: i64) -> Vec<String> {
    let contacts = location.contacts(at(now), &alice());
    contacts.into_iter().map(|contact| contact.uri).collect()
}

#[test]
fn a_binding_is_found_until_it_is_over() {
    let location = Location::new(100, Events::new());
    let first = request("c", 1, "Contact: <sip:a@10.0.0.1>;q=0.5;expires=60");
    let granted = register(&location, 0, &alice(), udp(1), &first).unwrap();
    assert_eq!(granted, ["<sip:a@10.0.0.1>;q=0.5;expires=60"]);
    let again = register(&location, 10, &alice(), udp(1), &first).unwrap();
    assert_eq!(again, ["<sip:a@10.0.0.1>;q=0.5;expires=50"]);
    let found = location.contacts(at(59), &alice());
    assert_eq!(found[0].uri, "sip:a@10.0.0.1");
    assert_eq!(found[0].path, ["sip:edge.test;lr", "sip:b.test;lr"]);
    assert_eq!((found[0].flow, found[0].q), (Some(udp(1)), 500));
    assert!(
        location
            .contacts(at(59), &Aor::new("alice", "other.test"))
            .is_empty()
    );
    assert!(location.contacts(at(60), &alice()).is_empty());
    assert_eq!(location.len(), 1);
    location.expire(at(60));
    assert_eq!(location.len(), 0);
}

#[test]
fn a_phone_that_is_bound_several_times_is_called_once() {
    let location = Location::new(100, Events::new());
    let outbound = |call_id: &str, reg_id: u32, uri: &str| {
        let contact = format!(
            "Supported: outbound\r\nContact: <{uri}>;reg-id={reg_id};expires=600;\
             +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\""
        );
        request(call_id, 1, &contact)
    };
    let ring = || {
        let phones = location.phones(at(10), &alice());
        phones
            .into_iter()
            .map(|phone| phone.uri)
            .collect::<Vec<_>>()
    };
    // One instance over two flows: that which was renewed last.
    register(
        &location,
        0,
        &alice(),
        ws(1),
        &outbound("c", 1, "sip:a@one"),
    )
    .unwrap();
    register(
        &location,
        1,
        &alice(),
        ws(2),
        &outbound("d", 2, "sip:a@two"),
    )
    .unwrap();
    assert_eq!(location.contacts(at(10), &alice()).len(), 2);
    assert_eq!(ring(), ["sip:a@two"]);
    // One that is gone does not stand in the way of the other.
    location.lose(ConnectionId(2));
    assert_eq!(ring(), ["sip:a@one"]);
    // Three instances that say to be at one place, and are by their flow.
    location.remove(&alice(), None);
    let same = "sip:a@10.0.0.1";
    for reg_id in 1..=3 {
        let instance = format!(
            "Supported: outbound\r\nContact: <{same}>;reg-id=1;expires=600;\
             +sip.instance=\"<urn:uuid:{reg_id}>\""
        );
        let call_id = format!("f{reg_id}");
        register(
            &location,
            3,
            &alice(),
            udp(9),
            &request(&call_id, 1, &instance),
        )
        .unwrap();
    }
    assert_eq!(location.contacts(at(10), &alice()).len(), 3);
    assert_eq!(ring(), [same]);
}

#[test]
fn a_refreshed_binding_lives_on_and_a_shortened_one_does_not() {
    let location = Location::new(100, Events::new());
    for (cseq, expires, now) in [(1, 60, 0), (2, 60, 50), (3, 600, 100), (4, 60, 110)] {
        let wish = format!("Contact: <sip:a@x>;expires={expires}");
        register(&location, now, &alice(), udp(1), &request("c", cseq, &wish)).unwrap();
        location.expire(at(now + 1));
        assert_eq!(uris(&location, now + 1).len(), 1, "{cseq}");
    }
    location.expire(at(169));
    assert_eq!(location.len(), 1);
    location.expire(at(170));
    assert_eq!(location.len(), 0);
    location.expire(at(10_000));
    assert!(
        location
            .shards
            .iter()
            .all(|shard| lock(shard).take_due(u32::MAX).is_none())
    );
}

#[test]
fn the_same_name_in_two_domains_is_two_users() {
    let location = Location::new(100, Events::new());
    let other = Aor::new("alice", "Other.Test");
    register(
        &location,
        0,
        &alice(),
        udp(1),
        &request("c", 1, "Contact: <sip:a@x>"),
    )
    .unwrap();
    register(
        &location,
        0,
        &other,
        udp(1),
        &request("c", 1, "Contact: <sip:b@x>"),
    )
    .unwrap();
    let all = request("c", 2, "Contact: *\r\nExpires: 0");
    assert!(
        register(&location, 0, &other, udp(1), &all)
            .unwrap()
            .is_empty()
    );
    assert_eq!(uris(&location, 0), ["sip:a@x"]);
}

#[test]
fn the_table_is_bounded() {
    let location = Location::new(2, Events::new());
    let many = request("c", 1, "Contact: <sip:a@x>, <sip:b@x>, <sip:c@x>");
    assert_eq!(
        register(&location, 0, &alice(), udp(1), &many),
        Err(Denied::Full)
    );
    let two = request("c", 1, "Contact: <sip:a@x>, <sip:b@x>");
    register(&location, 0, &alice(), udp(1), &two).unwrap();
    let bob = Aor::new("bob", "example.test");
    let one = request("d", 1, "Contact: <sip:a@x>");
    assert_eq!(
        register(&location, 0, &bob, udp(1), &one),
        Err(Denied::Full)
    );
    // A refresh finds room, and what is over makes it.
    let refresh = request("c", 2, "Contact: <sip:a@x>;expires=7200");
    register(&location, 0, &alice(), udp(1), &refresh).unwrap();
    location.expire(at(3_600));
    register(&location, 3_600, &bob, udp(1), &one).unwrap();
    let three = "Contact: <sip:1@x>, <sip:2@x>, <sip:3@x>, <sip:4@x>";
    let full = Err(Denied::Rules(Refusal::Full(3)));
    assert_eq!(
        register(&location, 3_600, &bob, udp(1), &request("d", 2, three)),
        full
    );
}

#[test]
fn a_lost_connection_takes_its_bindings_along() {
    let location = Location::new(100, Events::new());
    register(
        &location,
        0,
        &alice(),
        ws(1),
        &request("c", 1, "Contact: <sip:a@x>"),
    )
    .unwrap();
    register(
        &location,
        0,
        &alice(),
        ws(2),
        &request("d", 1, "Contact: <sip:b@x>"),
    )
    .unwrap();
    register(
        &location,
        0,
        &alice(),
        udp(1),
        &request("e", 1, "Contact: <sip:c@x>"),
    )
    .unwrap();
    // Its phone is on another connection by now.
    register(
        &location,
        1,
        &alice(),
        ws(3),
        &request("c", 2, "Contact: <sip:a@x>"),
    )
    .unwrap();
    location.lose(ConnectionId(1));
    assert_eq!(uris(&location, 1).len(), 3);
    location.lose(ConnectionId(2));
    location.lose(ConnectionId(2));
    assert_eq!(uris(&location, 1), ["sip:a@x", "sip:c@x"]);
    location.lose(ConnectionId(3));
    assert_eq!((uris(&location, 1).len(), location.len()), (1, 1));
    assert!(lock(&location.connections).is_empty());
}

#[test]
fn what_changed_is_written_once_and_put_back_when_it_failed() {
    let location = Location::new(100, Events::new());
    for cseq in 1..5 {
        let wish = format!("Contact: <sip:a@x>;expires={}", cseq * 100);
        register(&location, 0, &alice(), udp(1), &request("c", cseq, &wish)).unwrap();
    }
    let bound = location.take_changed(10);
    assert_eq!((bound.len(), bound[0].bindings.len()), (1, 1));
    assert_eq!(bound[0].bindings[0].cseq, 4);
    assert!(location.take_changed(10).is_empty());
    location.put_back(&bound);
    location.put_back(&bound);
    let all = request("c", 9, "Contact: *\r\nExpires: 0");
    register(&location, 0, &alice(), udp(1), &all).unwrap();
    let gone = location.take_changed(10);
    assert_eq!((gone.len(), gone[0].bindings.len()), (1, 0));
    location.put_back(&gone);
    assert_eq!(location.take_changed(10), gone);
    // Nothing is left of the user.
    assert!(location.take_changed(10).is_empty());
    assert!(
        location
            .shards
            .iter()
            .all(|shard| lock(shard).names().next().is_none())
    );
    for shard in &location.shards {
        assert!(format!("{:?}", lock(shard)).contains("slots: {}"));
    }
}

#[test]
fn users_without_a_binding_that_wait_for_the_store_are_bounded() {
    let location = Location::new(1_000_000, Events::new());
    let one = request("c", 1, "Contact: <sip:a@x>");
    let none = request("c", 2, "Contact: *\r\nExpires: 0");
    for n in 0..100_000 {
        let aor = Aor::new(&n.to_string(), "example.test");
        register(&location, 0, &aor, udp(1), &one).unwrap();
        drop(location.take_changed(1));
        register(&location, 0, &aor, udp(1), &none).unwrap();
    }
    assert_eq!(location.len(), 0);
    let waiting = location.take_changed(usize::MAX).len();
    assert!((1..=SHARDS * 1_024).contains(&waiting), "{waiting}");
}

#[test]
fn what_was_written_is_restored() {
    let location = Location::new(100, Events::new());
    let wish = "Contact: \"A\" <sip:a@[2001:db8::9]:5070;ob>;q=0.2;+x=\"<y>\";expires=600";
    register(&location, 0, &alice(), udp(7), &request("c", 1, wish)).unwrap();
    register(
        &location,
        0,
        &alice(),
        ws(1),
        &request("d", 1, "Contact: <sip:b@x>"),
    )
    .unwrap();
    let tcp = Flow {
        transport: Transport::Tcp,
        ..ws(2)
    };
    register(
        &location,
        0,
        &alice(),
        tcp,
        &request("e", 1, "Contact: <sip:c@x>"),
    )
    .unwrap();
    let bound = location.take_changed(10);

    let local = |transport, address: &str| Local {
        transport,
        address: address.parse().unwrap(),
        sent_by: address.to_owned(),
    };
    let locals = [
        local(Transport::Udp, "192.0.2.1:5060"),
        local(Transport::Tcp, "192.0.2.2:5062"),
        local(Transport::Ws, "192.0.2.1:80"),
    ];
    let next = Location::new(100, Events::new());
    next.restore(at(300), &bound, &locals);
    let found = next.contacts(at(300), &alice());
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].uri, "sip:a@[2001:db8::9]:5070;ob");
    assert_eq!((found[0].flow, found[0].q), (Some(udp(7)), 200));
    // Its connection died with the process: it is asked for by its URI.
    assert_eq!((found[1].uri.as_str(), found[1].flow), ("sip:c@x", None));
    let query = request("q", 1, "");
    let granted = register(&next, 300, &alice(), udp(7), &query).unwrap();
    assert_eq!(
        granted[0],
        "\"A\" <sip:a@[2001:db8::9]:5070;ob>;q=0.2;+x=\"<y>\";expires=300"
    );
    // It is as it was written: not to be written again, and over in its time.
    assert!(next.take_changed(10).is_empty());
    next.expire(at(600));
    assert_eq!(next.len(), 1);
    let shown = next.list(at(600), "", 10);
    assert_eq!(
        (shown.len(), shown[0].source.as_str()),
        (1, "tcp:192.0.2.9:8000")
    );
    assert!(next.list(at(600), "alice@example.test", 10).is_empty());
}

/// 500,000 phones of today, each in a binding: run alone and in release, for the figure.
#[test]
#[ignore = "measures the process's memory, so it has to be alone in it"]
fn a_binding_takes_less_than_a_kilobyte() {
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4_096
    }
    const USERS: usize = 500_000;
    let location = Location::new(1_000_000, Events::new());
    let before = resident();
    for n in 0..USERS {
        let aor = Aor::new(&format!("user{n:08}"), "customers.example.test");
        let wish = format!(
            "Contact: <sip:user{n:08}@192.168.100.123:50607;transport=udp;ob>;expires=3600;\
             +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{n:012}>\";reg-id=1"
        );
        let call_id = format!("{n:032x}@192.168.100.123");
        let came = Came {
            flow: udp(u16::try_from(n % 60_000).unwrap()),
            user_agent: "Yealink SIP-T46U 108.86.0.20",
        };
        let request = request(&call_id, 1, &wish);
        location
            .register(at(0), &aor, &request, &came, ROOM)
            .unwrap();
    }
    let each = (resident() - before) / USERS;
    println!("{each} bytes a binding, all included");
    assert!(each <= 1_024, "{each}");
    assert_eq!(location.len(), USERS);
}

#[test]
fn an_early_refresh_is_written_when_what_is_written_would_not_outlast_the_next() {
    let location = Location::new(100, Events::new());
    let contact = "Contact: <sip:a@10.0.0.1>;expires=3600";
    let refresh = |now: i64, cseq, flow, contact: &str| {
        let request = request("c", cseq, contact);
        register(&location, now, &alice(), flow, &request).unwrap();
        let bound = location.take_changed(10);
        bound
            .first()
            .map(|bound| bound.bindings[0].expires)
            .map(|expires| expires.millis() / 1_000 - T0)
    };
    assert_eq!(refresh(0, 1, udp(1), contact), Some(3_600));
    // It comes every half minute to keep its NAT's mapping open.
    assert_eq!(refresh(30, 2, udp(1), contact), None);
    assert_eq!(refresh(1_800, 3, udp(1), contact), None);
    assert_eq!(uris(&location, 5_399), ["sip:a@10.0.0.1"]);
    assert_eq!(refresh(1_830, 4, udp(1), contact), Some(5_430));
    // Another port of the NAT, a shorter life, and what could not be written, are news at once.
    assert_eq!(refresh(1_860, 5, udp(2), contact), Some(5_460));
    let short = "Contact: <sip:a@10.0.0.1>;expires=60";
    assert_eq!(refresh(1_890, 6, udp(2), short), Some(1_950));
    assert_eq!(refresh(1_895, 7, udp(2), short), None);
    location.put_back(&[Bound {
        domain: "example.test".to_owned(),
        name: "alice".to_owned(),
        bindings: Vec::new(),
    }]);
    assert_eq!(location.take_changed(10).len(), 1);
}

#[tokio::test]
async fn who_listens_is_told_of_what_comes_and_goes() {
    let events = Events::new();
    let location = Location::new(100, events.clone());
    let bind = |now: i64, cseq: u32, flow: Flow, contacts: &str| {
        register(
            &location,
            now,
            &alice(),
            flow,
            &request("a", cseq, contacts),
        )
        .unwrap();
    };
    // Nobody listens yet.
    bind(0, 1, udp(1), "Contact: <sip:a@192.0.2.9>\r\nExpires: 100");
    let mut told = Told::listen(events).await;

    bind(1, 2, udp(1), "Contact: <sip:a@192.0.2.9>\r\nExpires: 100");
    bind(
        2,
        3,
        ws(7),
        "Contact: <sip:b@192.0.2.9>;q=0.5\r\nExpires: 90",
    );
    let Event::Registered(binding) = told.next().await else {
        panic!("the refresh is no event, the new Contact is one");
    };
    assert_eq!(binding.contact, "sip:b@192.0.2.9");
    assert_eq!((binding.q, binding.expires_s), (Some(500), 90));

    location.lose(ConnectionId(7));
    let why = Unbound::Closed;
    assert_eq!(told.next().await, Event::Unregistered { binding, why });
    bind(
        3,
        4,
        udp(1),
        "Contact: <sip:a@192.0.2.9>;expires=0, <sip:c@192.0.2.9>",
    );
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(match told.next().await {
            Event::Registered(binding) => (binding.contact, None),
            Event::Unregistered { binding, why } => (binding.contact, Some(why)),
            other => panic!("{other:?}"),
        });
    }
    let (a, c) = ("sip:a@192.0.2.9".to_owned(), "sip:c@192.0.2.9".to_owned());
    assert_eq!(seen, [(c.clone(), None), (a, Some(Unbound::Phone))]);
    location.expire(at(10_000));
    let Event::Unregistered { binding, why } = told.next().await else {
        panic!("it expired");
    };
    assert_eq!((binding.contact, why), (c, Unbound::Expired));
}
