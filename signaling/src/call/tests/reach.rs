//! Who is called: names and numbers, users who have their calls forwarded, and groups of them.

use std::{sync::Arc, time::Duration};

use control::Config;
use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::Cause;

use super::{
    bed::*,
    forking::{DESK, MOBILE, register},
};
use crate::directory::{Aor, Directory};

/// A phone that has IPv6.
const SIXTH: &str = "[2001:db8::31]:40034";

const CONFIG: &str = r#"
[sip]
domains = ["node.test"]
[[trunks]]
name = "pbx"
hosts = ["192.0.2.10"]
allow = ["192.0.2.10/32"]
[[trunks]]
name = "one"
hosts = ["192.0.2.20"]
calls = 1
[[trunks]]
name = "two"
hosts = ["192.0.2.21"]
[[routes]]
prefix = ""
trunks = ["one"]
media = "bypass"
[[routes]]
prefix = "+2"
trunks = ["two"]
media = "bypass"
from = { users = ["alice@node.test", "bob@node.test"] }
[[routes]]
prefix = "fax"
trunks = ["two"]
media = "bypass"
[[users]]
name = "alice"
password = "x"
forward = "+2777"
[[users]]
name = "bob"
password = "x"
forward = { busy = "+1555", no_answer = "alice", unreachable = "sip:vm@192.0.2.21" }
ring_timeout = 15
[[users]]
name = "carol"
password = "x"
enabled = false
[[numbers]]
number = "200"
user = "bob"
[numbers.forward]
busy = "+2888"
[[numbers]]
number = "201"
group = "all"
[[numbers]]
number = "202"
group = "turn"
forward = { no_answer = "+1999" }
[[numbers]]
number = "203"
user = "carol"
forward = { unreachable = "+1203" }
[[groups]]
name = "all"
members = ["bob", "+1666", "carol", "200"]
[[routes]]
prefix = "+18"
trunks = ["one", "two"]
media = "bypass"
[[numbers]]
number = "204"
group = "away"
[[groups]]
name = "away"
members = ["bob", "+1800"]
[[groups]]
name = "turn"
strategy = "in-turn"
members = ["bob", "alice"]
ring_timeout = 10
[[limits]]
user = "alice"
calls = 1
"#;

fn bed() -> Bed {
    let mut bed = Bed::new();
    let config = Config::parse(CONFIG, []).unwrap().config;
    bed.core.directory = Arc::new(Directory::new(&config, None));
    let mut carol = user("carol", "node.test", PASSWORD);
    carol.enabled = false;
    bed.users.insert(Aor::new("carol", "node.test"), carol);
    bed
}

/// An INVITE of the trunk's to a URI.
fn to(uri: &str, id: &str) -> Message {
    let text = String::from_utf8(invite("0", id, "").as_bytes().to_vec()).unwrap();
    Message::parse(text.replace("sip:0@192.0.2.1:5060", uri).into()).unwrap()
}

/// The INVITE that goes to `place`.
fn called(bed: &mut Bed, place: &str, uri: &str) -> Message {
    let request = bed.request(place, &Method::Invite);
    assert_eq!(String::from_utf8_lossy(request.request_uri_raw()), uri);
    request
}

fn diverted(request: &Message) -> Vec<String> {
    let values = request.values(HeaderName::Diversion);
    values
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect()
}

fn refuse(bed: &mut Bed, place: &str, request: &Message, status: u16) {
    bed.receive_message(place, &answer(request, status, place, ""));
    bed.request(place, &Method::Ack);
}

/// Ends all that is up, and sees that nothing is left, neither of calls nor of what they held.
fn end(bed: &mut Bed) {
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
    bed.core.set_draining(false);
    bed.cdrs.clear();
}

#[test]
fn a_name_is_a_user_or_nobody_and_other_hosts_are_not_ours() {
    let mut bed = bed();
    for (index, (uri, status)) in [
        ("sip:nobody@node.test", 404),
        ("sip:nobody@192.0.2.1:5060", 404),
        ("sip:nobody@192.0.2.77", 404),
        ("sip:carol@node.test", 480),
        ("sip:carol@192.0.2.1", 480),
        ("sip:bob@far.test", 403),
        ("sip:+1555@far.test", 403),
        ("sip:far.test", 403),
    ]
    .into_iter()
    .enumerate()
    {
        bed.receive_message(CALLER, &to(uri, &format!("c{index}")));
        bed.response(CALLER, status);
        bed.sent
            .retain(|sent| sent.message.status() != Some(status));
        bed.assert_quiet();
    }
    let causes = [3, 6].map(|index| bed.cdrs[index].cause);
    assert_eq!(causes, [Cause::Unreachable, Cause::NoRoute]);
    end(&mut bed);
    // A trunk may know this node by an address that the node does not know; a route that is written for
    // a name is meant for it.
    for (id, uri, place, sent) in [
        (
            "c20",
            "sip:+1555@192.0.2.77",
            CALLEE,
            "sip:+1555@192.0.2.20",
        ),
        (
            "c21",
            "tel:+1555",
            CALLEE,
            "sip:+1555@192.0.2.20;user=phone",
        ),
        ("c22", "sip:fax-7@node.test", SECOND, "sip:fax-7@192.0.2.21"),
    ] {
        bed.receive_message(CALLER, &to(uri, id));
        called(&mut bed, place, sent);
        end(&mut bed);
    }
}

#[test]
fn a_users_own_forwards_are_followed_however_the_user_is_called() {
    let mut bed = bed();
    for (round, uri) in ["sip:bob@node.test", "sip:200@node.test"]
        .into_iter()
        .enumerate()
    {
        let id = |number: usize| format!("c{}", round * 10 + number);
        bed.receive_message(CALLER, &to(uri, &id(0)));
        let away = called(&mut bed, SECOND, "sip:vm@192.0.2.21");
        assert_eq!(
            diverted(&away),
            [format!("<{uri}>;reason=unavailable;counter=1")]
        );
        end(&mut bed);

        register(&mut bed, &[(DESK, 1000)]);
        // The number has a forward of its own for this case, and the user's goes before it.
        for (number, status) in [(1, 486), (2, 600)] {
            bed.receive_message(CALLER, &to(uri, &id(number)));
            let desk = called(&mut bed, DESK, "sip:bob@10.0.0.31;ob");
            refuse(&mut bed, DESK, &desk, status);
            let busy = called(&mut bed, CALLEE, "sip:+1555@192.0.2.20");
            assert_eq!(
                diverted(&busy),
                [format!("<{uri}>;reason=user-busy;counter=1")]
            );
            end(&mut bed);
        }
        // Who declines does so for every place.
        bed.receive_message(CALLER, &to(uri, &id(3)));
        let desk = called(&mut bed, DESK, "sip:bob@10.0.0.31;ob");
        refuse(&mut bed, DESK, &desk, 603);
        bed.response(CALLER, 603);
        end(&mut bed);

        // Another user, who has all calls forwarded: by the route and the limits that are for users.
        bed.receive_message(CALLER, &to(uri, &id(4)));
        let desk = called(&mut bed, DESK, "sip:bob@10.0.0.31;ob");
        bed.receive_message(DESK, &answer(&desk, 180, DESK, ""));
        bed.response(CALLER, 180);
        bed.pass(Duration::from_secs(14));
        bed.assert_quiet();
        bed.pass(Duration::from_secs(1));
        bed.request(DESK, &Method::Cancel);
        called(&mut bed, SECOND, "sip:+2777@192.0.2.21");
        end(&mut bed);
        bed.access
            .location
            .remove(&Aor::new("bob", "node.test"), None);
    }
}

#[test]
fn every_call_is_forwarded_within_the_users_own_limits() {
    let mut bed = bed();
    bed.receive_message(CALLER, &to("sip:alice@node.test", "c1"));
    let first = called(&mut bed, SECOND, "sip:+2777@192.0.2.21");
    assert_eq!(
        diverted(&first),
        ["<sip:alice@node.test>;reason=unconditional;counter=1"]
    );
    bed.receive_message(CALLER, &to("sip:alice@node.test", "c2"));
    bed.response(CALLER, 486);
    assert_eq!(bed.cdr().cause, Cause::Limit);
    refuse(&mut bed, SECOND, &first, 404);
    // The answer to the other call comes again, for nobody has acknowledged it.
    bed.sent.retain(|sent| sent.message.status() != Some(486));
    bed.response(CALLER, 404);
    bed.receive_message(CALLER, &to("sip:alice@node.test", "c3"));
    called(&mut bed, SECOND, "sip:+2777@192.0.2.21");
    end(&mut bed);
    // Its way here was too long already.
    let text = String::from_utf8(to("sip:alice@node.test", "c4").as_bytes().to_vec()).unwrap();
    let diverted = "Diversion: <sip:1@a>, <sip:2@a>, <sip:3@a>, <sip:4@a>, <sip:5@a>";
    bed.receive(CALLER, text.replace("X-Custom: kept", diverted));
    bed.response(CALLER, 482);
    end(&mut bed);
    // Messages are hers, wherever her calls go.
    let message = to("sip:alice@node.test", "m1");
    let text = String::from_utf8(message.as_bytes().to_vec()).unwrap();
    bed.receive(CALLER, text.replace("INVITE", "MESSAGE"));
    bed.response(CALLER, 202);
    assert_eq!(bed.kept[0].recipient, "alice@node.test");
    end(&mut bed);
}

#[test]
fn a_user_who_may_not_be_called_is_not_reached_by_a_number_either() {
    let mut bed = bed();
    bed.receive_message(CALLER, &to("sip:203@node.test", "c1"));
    called(&mut bed, CALLEE, "sip:+1203@192.0.2.20");
    end(&mut bed);
}

#[test]
fn a_group_rings_users_and_numbers_and_none_speaks_for_the_others() {
    let mut bed = bed();
    register(&mut bed, &[(DESK, 1000)]);
    bed.receive_message(CALLER, &to("sip:201@node.test", "c1"));
    let desk = called(&mut bed, DESK, "sip:bob@10.0.0.31;ob");
    let outside = called(&mut bed, CALLEE, "sip:+1666@192.0.2.20");
    refuse(&mut bed, DESK, &desk, 603);
    bed.assert_quiet();
    // Its trunk is full now: the next call rings the phone alone.
    bed.receive_message(CALLER, &to("sip:201@node.test", "c2"));
    called(&mut bed, DESK, "sip:bob@10.0.0.31;ob");
    bed.assert_quiet();
    bed.receive_message(CALLEE, &answer(&outside, 200, CALLEE, ""));
    bed.response(CALLER, 200);
    end(&mut bed);

    // One after the other; alice is where all her calls go.
    bed.receive_message(CALLER, &to("sip:202@node.test", "c3"));
    let desk = called(&mut bed, DESK, "sip:bob@10.0.0.31;ob");
    refuse(&mut bed, DESK, &desk, 600);
    let alice = called(&mut bed, SECOND, "sip:+2777@192.0.2.21");
    bed.receive_message(SECOND, &answer(&alice, 180, SECOND, ""));
    bed.response(CALLER, 180);
    bed.pass(Duration::from_secs(10));
    bed.request(SECOND, &Method::Cancel);
    end(&mut bed);

    // A phone that is silent is one that nobody answers, where the number says nothing else of it.
    bed.receive_message(CALLER, &to("sip:202@node.test", "c4"));
    for (place, seconds) in [(DESK, 4), (SECOND, 10)] {
        bed.request(place, &Method::Invite);
        bed.pass(Duration::from_secs(seconds));
        let elsewhere = |sent: &Sent| ![at(DESK), at(place)].contains(&sent.flow.reply_to);
        bed.sent.retain(elsewhere);
    }
    let onward = called(&mut bed, CALLEE, "sip:+1999@192.0.2.20");
    assert!(diverted(&onward)[0].contains("reason=no-answer"));
    end(&mut bed);
}

#[test]
fn what_the_others_of_a_group_held_is_free_once_one_has_answered() {
    let mut bed = bed();
    register(&mut bed, &[(DESK, 1000)]);
    bed.receive_message(CALLER, &to("sip:201@node.test", "c1"));
    let desk = called(&mut bed, DESK, "sip:bob@10.0.0.31;ob");
    let outside = called(&mut bed, CALLEE, "sip:+1666@192.0.2.20");
    bed.receive_message(CALLEE, &answer(&outside, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    bed.receive_message(DESK, &answer(&desk, 200, "10.0.0.31:5060", ""));
    bed.response(CALLER, 200);
    bed.request(CALLEE, &Method::Cancel);
    // Its trunk carries one call at most, and none now.
    bed.receive_message(CALLER, &to("sip:+1999@node.test", "c2"));
    let next = called(&mut bed, CALLEE, "sip:+1999@192.0.2.20");
    bed.receive_message(CALLEE, &answer(&next, 200, CALLEE, ""));
    bed.response(CALLER, 200);
    // Which is held as long as the call is up.
    bed.receive_message(CALLER, &to("sip:+1999@node.test", "c3"));
    bed.response(CALLER, 480);
    end(&mut bed);
}

#[test]
fn a_phone_that_redirects_passes_no_trunk_that_is_full() {
    let mut bed = bed();
    register(&mut bed, &[(DESK, 1000)]);
    let redirected = |bed: &mut Bed, id: &str| {
        bed.receive_message(CALLER, &to("sip:bob@node.test", id));
        let desk = called(bed, DESK, "sip:bob@10.0.0.31;ob");
        let answer = desk.respond(302).to_tag("r");
        let answer = answer.header(HeaderName::Contact, "<sip:+1999@node.test>");
        bed.receive_message(DESK, &answer.build().unwrap());
        bed.request(DESK, &Method::Ack);
    };
    redirected(&mut bed, "c1");
    let first = called(&mut bed, CALLEE, "sip:+1999@192.0.2.20");
    redirected(&mut bed, "c2");
    bed.response(CALLER, 302);
    // One that fails gives back what it was charged.
    refuse(&mut bed, CALLEE, &first, 404);
    bed.response(CALLER, 404);
    redirected(&mut bed, "c3");
    let third = called(&mut bed, CALLEE, "sip:+1999@192.0.2.20");
    bed.receive_message(CALLEE, &answer(&third, 200, CALLEE, ""));
    bed.response(CALLER, 200);
    redirected(&mut bed, "c4");
    bed.response(CALLER, 302);
    end(&mut bed);
}

#[test]
fn a_member_outside_is_reached_by_its_next_carrier_while_the_others_ring() {
    let mut bed = bed();
    register(&mut bed, &[(DESK, 1000)]);
    for how in ["refused", "silent", "full"] {
        bed.receive_message(CALLER, &to("sip:+1801@192.0.2.1:5060", "c0"));
        let other = called(&mut bed, CALLEE, "sip:+1801@192.0.2.20");
        if how != "full" {
            refuse(&mut bed, CALLEE, &other, 486);
            bed.response(CALLER, 486);
        }
        bed.receive_message(CALLER, &to("sip:204@node.test", how));
        let desk = called(&mut bed, DESK, "sip:bob@10.0.0.31;ob");
        bed.receive_message(DESK, &answer(&desk, 180, DESK, ""));
        bed.response(CALLER, 180);
        match how {
            "refused" => {
                let one = called(&mut bed, CALLEE, "sip:+1800@192.0.2.20");
                refuse(&mut bed, CALLEE, &one, 500);
            }
            "silent" => {
                called(&mut bed, CALLEE, "sip:+1800@192.0.2.20");
                bed.pass(Duration::from_secs(4));
                bed.sent.retain(|sent| sent.flow.reply_to == at(SECOND));
            }
            _ => {}
        }
        let two = called(&mut bed, SECOND, "sip:+1800@192.0.2.21");
        // Busy by one carrier is busy by each of them, and the phone rings on.
        bed.sent.clear();
        refuse(&mut bed, SECOND, &two, 486);
        bed.assert_quiet();
        bed.receive_message(DESK, &answer(&desk, 200, DESK, ""));
        bed.response(CALLER, 200);
        end(&mut bed);
    }
}

#[test]
fn phones_of_both_families_ring_at_once_and_each_has_media_of_its_own() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000), (SIXTH, 1000), (MOBILE, 1000)]);
    let offer = sdp("192.0.2.10", &[4000], "sendrecv");
    for (round, winner) in [DESK, SIXTH].into_iter().enumerate() {
        let text = invite("bob", &format!("c{round}"), &offer);
        let text = String::from_utf8(text.as_bytes().to_vec()).unwrap();
        let request = text.replace("sip:bob@192.0.2.1:5060", "sip:bob@node.test");
        let request = Message::parse(request.into()).unwrap();
        bed.receive_message(CALLER, &request);
        let phones = [DESK, SIXTH, MOBILE];
        let invites = phones.map(|phone| bed.request(phone, &Method::Invite));
        let shown = invites
            .each_ref()
            .map(|invite| body(invite).contains("c=IN IP6"));
        assert_eq!(shown, [false, true, false]);
        assert_eq!(body(&invites[0]), body(&invites[2]));
        assert_eq!(bed.mediad.sessions.len(), 2);
        for (phone, invite) in phones.iter().zip(&invites) {
            // Early media of each.
            let ip = at(phone).ip().to_string();
            let ringing = invite.respond(183).to_tag(format!("t{}", at(phone).port()));
            let ringing = ringing.header(HeaderName::Contact, format!("<sip:bob@{phone}>"));
            let ringing = ringing.body("application/sdp", sdp(&ip, &[6000], "sendrecv"));
            bed.receive_message(phone, &ringing.build().unwrap());
            let told = bed.response(CALLER, 183);
            assert!(
                body(&told).contains("c=IN IP4 198.51.100.1"),
                "{}",
                body(&told)
            );
        }
        let index = phones.iter().position(|phone| *phone == winner).unwrap();
        let ip = at(winner).ip().to_string();
        let ok = invites[index]
            .respond(200)
            .to_tag(format!("t{}", at(winner).port()));
        let ok = ok.header(HeaderName::Contact, format!("<sip:bob@{winner}>"));
        let ok = ok.body("application/sdp", sdp(&ip, &[7000], "sendrecv"));
        bed.receive_message(winner, &ok.build().unwrap());
        bed.response(CALLER, 200);
        // What was for the other family is closed, and the winner's is its own.
        assert_eq!(
            bed.mediad.only().b.remote.as_ref().unwrap().rtp.port(),
            7000
        );
        end(&mut bed);
    }
}
