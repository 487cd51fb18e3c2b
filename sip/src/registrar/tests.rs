//! REGISTERs as phones send them, and as they should not.

use proptest::prelude::*;

use super::*;
use crate::{header::HeaderName, message::Message};

const BOUNDS: Bounds = Bounds {
    min: 60,
    default: 3600,
    max: 7200,
};
const ROOM: Capacity = Capacity {
    most: 3,
    when_full: WhenFull::Refuse,
};

fn register(call_id: &str, cseq: u32, headers: &[&str]) -> Message {
    let mut raw = format!(
        "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         From: <sip:alice@example.test>;tag=1\r\nTo: <sip:alice@example.test>\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n"
    );
    for header in headers {
        raw.push_str(header);
        raw.push_str("\r\n");
    }
    raw.push_str("\r\n");
    Message::parse(raw.into()).unwrap()
}

fn parsed(call_id: &str, cseq: u32, headers: &[&str]) -> Register {
    Register::parse(&register(call_id, cseq, headers), &BOUNDS).unwrap()
}

fn contacts(headers: &[&str]) -> Vec<Contact> {
    match parsed("c", 1, headers).wish {
        Wish::Update(contacts) => contacts,
        other => panic!("{other:?}"),
    }
}

/// Bindings as a keeper would have them.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    contact: Contact,
    call_id: String,
    cseq: u32,
    renewed: u64,
}

impl Known for Kept {
    fn uri(&self) -> &str {
        self.contact.uri()
    }

    fn flow(&self) -> Option<(&str, u32)> {
        let flow = self.contact.flow.as_ref();
        flow.map(|flow| (flow.instance.as_str(), flow.reg_id))
    }

    fn order(&self) -> (&str, u32) {
        (&self.call_id, self.cseq)
    }

    fn renewed(&self) -> u64 {
        self.renewed
    }
}

/// Does what is decided.
fn apply(
    kept: &mut Vec<Kept>,
    request: &Register,
    capacity: Capacity,
) -> Result<Vec<Change>, Refusal> {
    let changes = request.decide(kept, capacity)?;
    let renewed = kept.iter().map(|kept| kept.renewed).max().unwrap_or(0) + 1;
    let bound = |contact: usize| match &request.wish {
        Wish::Update(contacts) => Kept {
            contact: contacts[contact].clone(),
            call_id: request.call_id.clone(),
            cseq: request.cseq,
            renewed,
        },
        _ => unreachable!(),
    };
    let mut gone = Vec::new();
    for change in &changes {
        match *change {
            Change::Remove(at) => gone.push(at),
            Change::Renew { binding, contact } => kept[binding] = bound(contact),
            Change::Add { contact } => kept.push(bound(contact)),
        }
    }
    gone.sort_unstable();
    for at in gone.into_iter().rev() {
        kept.remove(at);
    }
    Ok(changes)
}

fn send(kept: &mut Vec<Kept>, call_id: &str, cseq: u32, headers: &[&str]) -> Result<(), Refusal> {
    apply(kept, &parsed(call_id, cseq, headers), ROOM).map(drop)
}

fn uris(kept: &[Kept]) -> Vec<&str> {
    kept.iter().map(Known::uri).collect()
}

#[test]
fn lifetimes_are_within_bounds() {
    for (headers, granted) in [
        (&["Contact: <sip:a@x>;expires=100"][..], 100),
        (&["Contact: <sip:a@x>;expires=100000"], 7200),
        (&["Contact: <sip:a@x>;expires=abc", "Expires: 100"], 3600),
        (&["Contact: <sip:a@x>", "Expires: 100"], 100),
        (&["Contact: <sip:a@x>"], 3600),
        (&["Contact: sip:a@x;expires=0"], 0),
        (&["Contact: <sip:a@x>", "Expires: 4294967295"], 7200),
    ] {
        assert_eq!(contacts(headers)[0].expires, granted, "{headers:?}");
    }
    let brief = register("c", 1, &["Contact: <sip:a@x>;expires=59"]);
    assert_eq!(Register::parse(&brief, &BOUNDS), Err(Refusal::TooBrief(60)));
    // An hour is refused to nobody.
    let long = Bounds {
        min: 4000,
        ..BOUNDS
    };
    let hour = register("c", 1, &["Contact: <sip:a@x>;expires=3600"]);
    assert!(Register::parse(&hour, &long).is_ok());
}

#[test]
fn a_contact_is_kept_as_it_was_written() {
    let one = &contacts(&[
        "m: \"A, B\" <sip:a@192.0.2.9:5070;transport=tcp;ob>;expires=90;q=0.25;+x=\"1;2\"\r\n ;audio",
    ])[0];
    assert_eq!(one.uri(), "sip:a@192.0.2.9:5070;transport=tcp;ob");
    assert_eq!(
        one.value,
        "\"A, B\" <sip:a@192.0.2.9:5070;transport=tcp;ob>;q=0.25;+x=\"1;2\";audio"
    );
    assert_eq!((one.q, one.expires), (Some(250), 90));
    // RFC 4475 section 3.1.1.11: the escaped header is the URI's.
    let escaped = &contacts(&["Contact: <sip:user@example.com?Route=%3Csip:x.example.com%3E>"])[0];
    assert_eq!(
        escaped.uri(),
        "sip:user@example.com?Route=%3Csip:x.example.com%3E"
    );
    let bare = &contacts(&["Contact: sip:a@x;q=0.5, <sip:b@x>"]);
    assert_eq!(bare[0].value, "<sip:a@x>;q=0.5");
    assert_eq!(bare[1].uri(), "sip:b@x");
}

#[test]
fn what_is_wrong_is_refused() {
    let long = format!("Contact: <sip:{}@x>", "a".repeat(2100));
    let many = format!("Contact: {}", vec!["<sip:a@x>"; 65].join(","));
    for (headers, refusal) in [
        (&["Contact: *"][..], Refusal::Wildcard),
        (&["Contact: *", "Expires: 1"], Refusal::Wildcard),
        (&["Contact: *, <sip:a@x>", "Expires: 0"], Refusal::Wildcard),
        (&[&long], Refusal::Malformed(HeaderName::Contact)),
        (&[&many], Refusal::Malformed(HeaderName::Contact)),
        (
            &["Contact: <sip:a@x>;a=\"\0\""],
            Refusal::Malformed(HeaderName::Contact),
        ),
        (
            &["Contact: <sip:a@x>", "Path: <tel:123>"],
            Refusal::Malformed(HeaderName::Path),
        ),
    ] {
        let request = register("c", 1, headers);
        assert_eq!(
            Register::parse(&request, &BOUNDS),
            Err(refusal),
            "{headers:?}"
        );
    }
    let request = register(&"c".repeat(256), 1, &[]);
    let refusal = Refusal::Malformed(HeaderName::CallId);
    assert_eq!(Register::parse(&request, &BOUNDS), Err(refusal));
}

#[test]
fn bindings_come_are_renewed_and_go() {
    let mut kept = Vec::new();
    send(&mut kept, "c", 1, &["Contact: <sip:a@x>, <sip:b@x>"]).unwrap();
    // Another spelling of the same URI, from another start of the phone.
    send(&mut kept, "d", 1, &["Contact: <sip:%61@X>;q=0.1"]).unwrap();
    assert_eq!(uris(&kept), ["sip:%61@X", "sip:b@x"]);
    send(&mut kept, "e", 1, &[]).unwrap();
    assert_eq!(kept.len(), 2);
    send(
        &mut kept,
        "e",
        2,
        &["Contact: <sip:b@x>;expires=0, <sip:c@x>"],
    )
    .unwrap();
    assert_eq!(uris(&kept), ["sip:%61@X", "sip:c@x"]);
    send(&mut kept, "e", 3, &["Contact: <sip:none@x>;expires=0"]).unwrap();
    assert_eq!(kept.len(), 2);
    send(&mut kept, "e", 4, &["Contact: *", "Expires: 0"]).unwrap();
    assert!(kept.is_empty());
}

#[test]
fn one_of_two_equal_contacts_is_bound() {
    let mut kept = Vec::new();
    send(
        &mut kept,
        "c",
        1,
        &["Contact: <sip:a@x>;q=0.1, <sip:a@x>;q=0.2"],
    )
    .unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].contact.q, Some(200));
    send(
        &mut kept,
        "c",
        2,
        &["Contact: <sip:b@x>, <sip:b@x>;expires=0"],
    )
    .unwrap();
    assert_eq!(uris(&kept), ["sip:a@x"]);
}

#[test]
fn requests_take_effect_in_their_order() {
    let mut kept = Vec::new();
    send(
        &mut kept,
        "c",
        5,
        &["Contact: <sip:a@x>", "Contact: <sip:b@x>"],
    )
    .unwrap();
    let before = kept.clone();
    // Sent again, with nothing changed.
    let again = parsed("c", 5, &["Contact: <sip:a@x>", "Contact: <sip:b@x>"]);
    assert_eq!(apply(&mut kept, &again, ROOM), Ok(vec![]));
    for late in [
        &["Contact: <sip:b@x>;expires=0"][..],
        // All of it or nothing.
        &["Contact: <sip:new@x>, <sip:a@x>"],
        &["Contact: *", "Expires: 0"],
    ] {
        assert_eq!(
            send(&mut kept, "c", 4, late),
            Err(Refusal::OutOfOrder),
            "{late:?}"
        );
        assert_eq!(kept, before);
    }
    // Another Call-ID is another order.
    send(&mut kept, "d", 1, &["Contact: <sip:a@x>;expires=0"]).unwrap();
    assert_eq!(uris(&kept), ["sip:b@x"]);
}

#[test]
fn a_flow_replaces_its_own_binding_only() {
    let of = |uri: &str, instance: &str, reg: u32| {
        format!("Contact: <sip:{uri}>;+sip.instance=\"<urn:uuid:{instance}>\";reg-id={reg}")
    };
    let outbound = "Supported: path, outbound";
    let mut kept = Vec::new();
    for (cseq, (uri, instance, reg)) in [
        ("r1@a.invalid;transport=ws", "AA", 1),
        ("r1@a.invalid;transport=ws", "aa", 2),
        ("r2@a.invalid;transport=ws", "aa", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let cseq = u32::try_from(cseq).unwrap() + 1;
        let request = parsed("c", cseq, &[&of(uri, instance, reg), outbound]);
        assert!(request.outbound);
        apply(&mut kept, &request, ROOM).unwrap();
    }
    let wanted = [
        "sip:r2@a.invalid;transport=ws",
        "sip:r1@a.invalid;transport=ws",
    ];
    assert_eq!(uris(&kept), wanted);

    // Without outbound the URI decides, and the answer promises nothing.
    for headers in [
        &[of("r1@a.invalid;transport=ws", "bb", 1).as_str()][..],
        &[
            "Contact: <sip:r1@a.invalid;transport=ws>;reg-id=1",
            outbound,
        ],
        // Behind a proxy that does not keep flows.
        &[
            &of("r1@a.invalid;transport=ws", "bb", 1),
            outbound,
            "Via: SIP/2.0/UDP p",
        ],
    ] {
        let request = parsed("d", 1, headers);
        assert!(!request.outbound, "{headers:?}");
        apply(&mut kept.clone(), &request, ROOM).unwrap();
    }
    let edge = [
        &of("x@y", "cc", 1),
        outbound,
        "Via: SIP/2.0/UDP p",
        "Path: <sip:far.test;lr>, <sip:edge.test;lr;ob>",
    ];
    let request = parsed("d", 2, &edge);
    assert!(request.outbound && request.echoes_path);
    assert_eq!(request.path, ["<sip:far.test;lr>", "<sip:edge.test;lr;ob>"]);
}

#[test]
fn one_register_binds_one_flow() {
    let contact = |reg: u32, expires: u32| {
        format!(
            "Contact: <sip:{reg}@x>;expires={expires};+sip.instance=\"<urn:uuid:aa>\";reg-id={reg}"
        )
    };
    let outbound = "Supported: outbound";
    let of = |headers: &[&str]| Register::parse(&register("c", 1, headers), &BOUNDS);
    let (one, two, gone) = (contact(1, 600), contact(2, 600), contact(3, 0));
    let refused = of(&[&one, &two, outbound]).unwrap_err();
    assert_eq!((refused, refused.status()), (Refusal::SeveralFlows, 400));
    // One that comes beside one that goes, or beside what is no flow; and both, where nobody does outbound.
    for headers in [
        &[&*one, &gone, outbound][..],
        &[&one, "Contact: <sip:a@x>", outbound],
        &[&one, &two],
    ] {
        assert!(of(headers).is_ok(), "{headers:?}");
    }
}

#[test]
fn there_is_room_for_so_many() {
    let mut kept = Vec::new();
    send(
        &mut kept,
        "c",
        1,
        &["Contact: <sip:a@x>, <sip:b@x>, <sip:c@x>"],
    )
    .unwrap();
    send(&mut kept, "d", 1, &["Contact: <sip:b@x>"]).unwrap();
    assert_eq!(
        send(&mut kept, "e", 1, &["Contact: <sip:d@x>"]),
        Err(Refusal::Full(3))
    );
    // A refresh, and one that goes for one that comes, find room.
    send(&mut kept, "c", 2, &["Contact: <sip:a@x>"]).unwrap();
    send(
        &mut kept,
        "e",
        2,
        &["Contact: <sip:d@x>, <sip:c@x>;expires=0"],
    )
    .unwrap();
    assert_eq!(uris(&kept), ["sip:a@x", "sip:b@x", "sip:d@x"]);

    let oldest = Capacity {
        when_full: WhenFull::ReplaceOldest,
        ..ROOM
    };
    let request = parsed("f", 1, &["Contact: <sip:e@x>"]);
    apply(&mut kept, &request, oldest).unwrap();
    assert_eq!(uris(&kept), ["sip:a@x", "sip:d@x", "sip:e@x"]);
    let request = parsed(
        "f",
        2,
        &["Contact: <sip:1@x>,<sip:2@x>,<sip:3@x>,<sip:4@x>"],
    );
    assert_eq!(apply(&mut kept, &request, oldest), Err(Refusal::Full(3)));
    // Fewer than there are already: refreshes go on.
    let fewer = Capacity { most: 1, ..ROOM };
    let request = parsed("g", 1, &["Contact: <sip:a@x>"]);
    assert!(apply(&mut kept, &request, fewer).is_ok());
}

proptest! {
    /// Whatever phones send in whatever order: no panic, never more than the capacity, no two bindings
    /// of one contact, and a query changes nothing.
    #[test]
    fn bindings_stay_in_order(
        steps in proptest::collection::vec(
            (0u32..4, 0u32..6, proptest::collection::vec((0u32..5, 0u32..3, 0u32..3), 0..5)),
            0..30,
        ),
        replace in any::<bool>(),
    ) {
        let capacity = Capacity {
            most: 3,
            when_full: if replace { WhenFull::ReplaceOldest } else { WhenFull::Refuse },
        };
        let mut kept: Vec<Kept> = Vec::new();
        for (call, cseq, list) in steps {
            let flows = list.iter().filter(|(_, reg, expires)| *reg > 0 && *expires > 0).count();
            let list: Vec<_> = list
                .iter()
                .map(|(uri, reg, expires)| format!(
                    "Contact: <sip:{uri}@x>;expires={};+sip.instance=\"<i>\";reg-id={reg}",
                    expires * 100
                ))
                .collect();
            let mut headers: Vec<_> = list.iter().map(String::as_str).collect();
            headers.push("Supported: outbound");
            let before = kept.clone();
            let request = register(&call.to_string(), cseq, &headers);
            let request = match Register::parse(&request, &BOUNDS) {
                Ok(request) => request,
                Err(refusal) => {
                    prop_assert_eq!((refusal, flows > 1), (Refusal::SeveralFlows, true));
                    continue;
                }
            };
            prop_assert!(flows <= 1);
            match apply(&mut kept, &request, capacity) {
                Err(_) => prop_assert_eq!(&kept, &before),
                Ok(changes) => {
                    if list.is_empty() {
                        prop_assert!(changes.is_empty());
                    }
                }
            }
            prop_assert!(kept.len() <= 3);
            for (at, a) in kept.iter().enumerate() {
                for b in &kept[at + 1..] {
                    let same_flow = a.flow().is_some() && a.flow() == b.flow();
                    let no_flow = a.flow().is_none() || b.flow().is_none();
                    prop_assert!(!same_flow);
                    prop_assert!(!(no_flow && a.flow() == b.flow() && a.uri() == b.uri()));
                }
            }
        }
    }

    #[test]
    fn whatever_a_contact_says_is_judged(value in "[ -~]{0,80}", path in "[ -~]{0,40}") {
        let request = register("c", 1, &[&format!("Contact: {value}"), &format!("Path: {path}")]);
        if let Ok(Register { wish: Wish::Update(contacts), .. }) = Register::parse(&request, &BOUNDS) {
            for contact in contacts {
                prop_assert!(!contact.uri().is_empty());
                prop_assert!(crate::header::NameAddr::parse(
                    HeaderName::Contact,
                    contact.value.as_bytes()
                ).is_ok(), "{}", contact.value);
            }
        }
    }
}
