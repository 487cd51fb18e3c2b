//! Dialogs made of whole calls: the messages as each end, and the proxy between, sees them.

use std::time::{Duration, Instant};

use super::{Answer, Dialog, DialogError, OutOfOrder, ProxyDialog, Repeat, Side};
use crate::header::HeaderName;
use crate::message::{Message, Method, RequestBuilder};
use crate::proxy::{Identity, Routed};
use crate::transaction::Timers;
use crate::uri::Uri;

const VIA: &str = "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKnew;rport";

fn identity() -> Identity {
    Identity::new(1).with_hop("192.0.2.10", 5060)
}

/// A request of the dialog as it is sent to one end.
fn directed(dialog: &ProxyDialog, to: Side, request: &Message) -> Message {
    let directions = dialog.directions(to);
    directions.write(request.edit()).finish().unwrap()
}

/// The INVITE as the proxy receives it: a proxy of the caller's has recorded itself.
fn invite() -> Message {
    RequestBuilder::new(&Method::Invite, "sip:bob@example.test")
        .header("Via", "SIP/2.0/UDP 192.0.2.20;branch=z9hG4bK2")
        .header("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")
        .header("Record-Route", "<sip:192.0.2.20;lr>")
        .header("From", "\"Alice\" <sip:alice@example.test>;tag=a")
        .header("To", "<sip:bob@example.test>")
        .header("Call-ID", "call-1")
        .header("CSeq", "17 INVITE")
        .header("Contact", "<sip:alice@192.0.2.1:5062>")
        .build()
        .unwrap()
}

/// The 200 as the proxy receives it: we and two proxies of the callee's are in Record-Route.
fn ok() -> Message {
    invite()
        .respond(200)
        .to_tag("b")
        .header("Contact", "<sip:bob@192.0.2.4:5070;ob>")
        .build()
        .unwrap()
        .edit()
        .push_top("Record-Route", "<sip:192.0.2.10;lr>")
        .push_top("Record-Route", "<sip:192.0.2.30;lr>")
        .push_top("Record-Route", "<sip:192.0.2.40;lr>")
        .finish()
        .unwrap()
}

fn within(method: &Method, side: Side, cseq: u32, contact: &str) -> Message {
    let (from, to) = match side {
        Side::Caller => (
            "<sip:alice@example.test>;tag=a",
            "<sip:bob@example.test>;tag=b",
        ),
        Side::Callee => (
            "<sip:bob@example.test>;tag=b",
            "<sip:alice@example.test>;tag=a",
        ),
    };
    RequestBuilder::new(method, "sip:somebody@192.0.2.10")
        .header("Via", "SIP/2.0/UDP 192.0.2.20;branch=z9hG4bKx")
        .header("From", from)
        .header("To", to)
        .header("Call-ID", "call-1")
        .header("CSeq", format!("{cseq} {method}"))
        .header("Contact", format!("<{contact}>"))
        .build()
        .unwrap()
}

fn routes(message: &Message) -> Vec<String> {
    message
        .routes()
        .map(|route| route.unwrap().uri_str().to_owned())
        .collect()
}

fn uri(message: &Message) -> String {
    String::from_utf8(message.request_uri_raw().to_vec()).unwrap()
}

fn relayed() -> ProxyDialog {
    ProxyDialog::new(&invite(), &ok(), &identity()).unwrap()
}

#[test]
fn a_proxy_ends_the_call_towards_both_sides() {
    let mut dialog = relayed();
    let bye = dialog
        .bye_towards(Side::Callee, VIA, Some("SIP;cause=408"))
        .unwrap();
    assert!(bye.validate().is_ok());
    assert_eq!(uri(&bye), "sip:bob@192.0.2.4:5070;ob");
    assert_eq!(routes(&bye), ["sip:192.0.2.30;lr", "sip:192.0.2.40;lr"]);
    assert_eq!(
        bye.from().unwrap().raw(),
        b"\"Alice\" <sip:alice@example.test>;tag=a"
    );
    assert_eq!(bye.to().unwrap().tag(), Some("b"));
    assert_eq!(bye.cseq().unwrap().number, 18);
    assert_eq!(bye.header("Reason").unwrap().value(), b"SIP;cause=408");
    assert_eq!(dialog.next_hop(Side::Callee), "sip:192.0.2.30;lr");

    let bye = dialog.bye_towards(Side::Caller, VIA, None).unwrap();
    assert!(bye.validate().is_ok());
    assert_eq!(uri(&bye), "sip:alice@192.0.2.1:5062");
    assert_eq!(routes(&bye), ["sip:192.0.2.20;lr"]);
    assert_eq!(
        (bye.from().unwrap().tag(), bye.to().unwrap().tag()),
        (Some("b"), Some("a"))
    );
    assert_eq!(
        bye.cseq().unwrap().number,
        1,
        "the callee has sent nothing before"
    );
}

#[test]
fn a_proxy_counts_the_cseq_of_each_side_on_its_own() {
    let mut dialog = relayed();
    let contact = "sip:x@192.0.2.99";
    let reinvite = within(&Method::Invite, Side::Callee, 501, contact);
    assert_eq!(dialog.handle_request(&reinvite), Some(Side::Callee));
    let info = within(&Method::Info, Side::Caller, 20, contact);
    assert_eq!(dialog.handle_request(&info), Some(Side::Caller));
    let number = |bye: Message| bye.cseq().unwrap().number;
    assert_eq!(
        number(dialog.bye_towards(Side::Caller, VIA, None).unwrap()),
        502
    );
    assert_eq!(
        number(dialog.bye_towards(Side::Callee, VIA, None).unwrap()),
        21
    );
}

#[test]
fn targets_follow_a_reinvite_once_it_is_accepted() {
    let mut dialog = relayed();
    let reinvite = within(&Method::Invite, Side::Caller, 18, "sip:alice@198.51.100.1");
    dialog.handle_request(&reinvite);
    assert_eq!(dialog.target(Side::Caller), "sip:alice@192.0.2.1:5062");
    dialog.handle_response(&reinvite.respond(491).build().unwrap());
    assert_eq!(dialog.target(Side::Caller), "sip:alice@192.0.2.1:5062");

    let again = within(&Method::Update, Side::Caller, 19, "sip:alice@198.51.100.2");
    dialog.handle_request(&again);
    let ok = again
        .respond(200)
        .header("Contact", "<sip:bob@198.51.100.9>")
        .build()
        .unwrap();
    dialog.handle_response(&ok);
    assert_eq!(dialog.target(Side::Caller), "sip:alice@198.51.100.2");
    assert_eq!(dialog.target(Side::Callee), "sip:bob@198.51.100.9");
    // The refused offer does not come back with a later 2xx of its number.
    dialog.handle_response(&reinvite.respond(200).build().unwrap());
    assert_eq!(dialog.target(Side::Caller), "sip:alice@198.51.100.2");
}

#[test]
fn messages_of_other_dialogs_are_told_apart() {
    let mut dialog = relayed();
    let fork = within(&Method::Bye, Side::Callee, 900, "sip:x@y");
    let fork = fork
        .edit()
        .replace("From", "<sip:bob@example.test>;tag=fork")
        .finish()
        .unwrap();
    assert_eq!(dialog.handle_request(&fork), None);
    let other = within(&Method::Bye, Side::Callee, 900, "sip:x@y");
    let other = other.edit().replace("Call-ID", "CALL-1").finish().unwrap();
    assert_eq!(dialog.handle_request(&other), None);
    let bye = dialog.bye_towards(Side::Caller, VIA, None).unwrap();
    assert_eq!(bye.cseq().unwrap().number, 1);
}

#[test]
fn a_request_is_held_to_the_other_ends_target_and_the_recorded_route_set() {
    let mut dialog = relayed();
    let is_own = |uri: &Uri<'_>| identity().is_own_uri(uri);
    let asking = |uri: &str, route: &str| {
        let info = within(&Method::Info, Side::Caller, 18, "sip:alice@192.0.2.1:5062");
        let info = info.edit().request_uri(uri);
        let info = if route.is_empty() {
            info
        } else {
            info.push("Route", route)
        };
        info.finish().unwrap()
    };
    let target = "sip:bob@192.0.2.4:5070;ob";
    for (uri, route, astray) in [
        (target, "<sip:192.0.2.30;lr>, <sip:192.0.2.40;lr>", false),
        (target, "<sip:192.0.2.40;lr>", false),
        (target, "", false),
        ("sip:bob@192.0.2.4", "", false),
        ("sip:192.0.2.10", "", false),
        ("sip:bob@example.test", "", false),
        ("tel:+1", "", false),
        ("sip:bob@192.0.2.5", "", true),
        ("sip:older@192.0.2.4", "", false),
        (target, "<sip:192.0.2.99;lr>", true),
        (target, "<sip:192.0.2.30;lr>, <sip:192.0.2.99;lr>", true),
    ] {
        let request = asking(uri, route);
        let routed = Routed::settled(request);
        let found = dialog.leads_astray(Side::Callee, &routed, is_own);
        assert_eq!(found, astray, "{uri} {route}");
        let sent = directed(&dialog, Side::Callee, &routed.request);
        assert_eq!(super::tests::uri(&sent), target);
        assert_eq!(routes(&sent), ["sip:192.0.2.30;lr", "sip:192.0.2.40;lr"]);
        let length = dialog.directions(Side::Callee).length(&routed.request);
        assert!(length.abs_diff(sent.as_bytes().len()) <= 2, "{uri} {route}");
    }
    // A new Contact counts from its 2xx on; what crosses it may name the old one.
    let update = within(&Method::Update, Side::Callee, 1, "sip:bob@192.0.2.7");
    dialog.handle_request(&update);
    dialog.handle_response(&update.respond(200).build().unwrap());
    for (uri, astray) in [
        (target, false),
        ("sip:bob@192.0.2.7", false),
        ("sip:bob@192.0.2.8", true),
    ] {
        let request = asking(uri, "");
        let routed = Routed::settled(request);
        assert_eq!(dialog.leads_astray(Side::Callee, &routed, is_own), astray);
        let sent = directed(&dialog, Side::Callee, &routed.request);
        assert_eq!(super::tests::uri(&sent), "sip:bob@192.0.2.7");
    }
}

#[test]
fn each_end_sees_the_addresses_that_it_knows() {
    let mut dialog = relayed();
    let own = "\"Alice\" <sip:alice@example.test>;tag=a";
    let shown = "<sip:+15550100@example.test>;tag=a";
    dialog.set_shown(Side::Caller, own.as_bytes());
    let bye = dialog.bye_towards(Side::Callee, VIA, None).unwrap();
    assert_eq!(bye.header("From").unwrap().text(), own);
    dialog.set_shown(Side::Caller, shown.as_bytes());
    let info = within(&Method::Info, Side::Caller, 19, "sip:x@y");
    let info = directed(&dialog, Side::Callee, &info);
    assert_eq!(info.header("From").unwrap().text(), shown);
    let theirs = within(&Method::Info, Side::Callee, 1, "sip:x@y");
    let theirs = theirs.edit().replace("To", shown).finish().unwrap();
    assert_eq!(dialog.sender(&theirs), Some(Side::Callee));
    let theirs = directed(&dialog, Side::Caller, &theirs);
    assert_eq!(theirs.header("To").unwrap().text(), own);
    let bye = dialog.bye_towards(Side::Callee, VIA, None).unwrap();
    assert_eq!(bye.header("From").unwrap().text(), shown);
    let bye = dialog.bye_towards(Side::Caller, VIA, None).unwrap();
    assert_eq!(bye.header("To").unwrap().text(), own);
}

/// What a proxy sends to one end by itself, once and again, and what the other end sends meanwhile have
/// numbers of their own, each higher than the one before.
#[test]
fn requests_of_a_proxys_own_and_those_that_pass_never_share_a_number() {
    let mut dialog = relayed();
    let number = |message: &Message| message.cseq().unwrap().number;
    let refer = dialog.request_towards(Side::Callee, &Method::Refer, VIA);
    let refer = number(&refer.build().unwrap());
    let info = within(&Method::Info, Side::Caller, refer, "sip:x@y");
    dialog.handle_request(&info);
    let passed = number(&info) + dialog.shift(Side::Caller);
    let again = dialog.next_towards(Side::Callee);
    let bye = number(&dialog.bye_towards(Side::Callee, VIA, None).unwrap());
    assert!(refer < passed && passed < again && again < bye);
    // Those to the caller are the callee's.
    assert_eq!(dialog.next_towards(Side::Caller), 1);
}

#[test]
fn a_late_2xx_is_acknowledged_in_the_callers_name() {
    let dialog = relayed();
    let ack = dialog.ack_towards(Side::Callee, 17, VIA).unwrap();
    assert!(ack.validate().is_ok());
    assert_eq!(uri(&ack), "sip:bob@192.0.2.4:5070;ob");
    assert_eq!(routes(&ack), ["sip:192.0.2.30;lr", "sip:192.0.2.40;lr"]);
    assert_eq!(
        (ack.cseq().unwrap().number, ack.method()),
        (17, Some(&Method::Ack))
    );
}

/// A Request-URI with headers is owed 400 (RFC 4475 section 3.1.2.11), and with it would be the BYE.
#[test]
fn the_headers_of_a_contact_stay_out_of_the_request_line() {
    let contact = "<sip:bob@192.0.2.4;ob?Subject=x>";
    let ok = ok().edit().replace("Contact", contact).finish().unwrap();
    let mut dialog = ProxyDialog::new(&invite(), &ok, &identity()).unwrap();
    let bye = dialog.bye_towards(Side::Callee, VIA, None).unwrap();
    assert_eq!(uri(&bye), "sip:bob@192.0.2.4;ob");
}

/// CSeq numbers end below 2^31: beyond, every peer answers 400 and the call never ends.
#[test]
fn the_highest_cseq_number_is_the_last() {
    let mut dialog = relayed();
    let last = (1 << 31) - 1;
    let info = within(&Method::Info, Side::Caller, last, "sip:alice@192.0.2.1");
    dialog.handle_request(&info);
    let bye = dialog.bye_towards(Side::Callee, VIA, None).unwrap();
    assert_eq!(bye.cseq().unwrap().number, last);
}

#[test]
fn without_tag_or_contact_there_is_no_dialog() {
    let bare = ok().edit().remove("Contact").finish().unwrap();
    let error = ProxyDialog::new(&invite(), &bare, &identity()).unwrap_err();
    assert!(matches!(error, DialogError::Header(e) if e.name() == HeaderName::Contact));
    let untagged = ok()
        .edit()
        .replace("To", "<sip:bob@example.test>")
        .finish()
        .unwrap();
    let error = Dialog::uac(&invite(), &untagged).unwrap_err();
    assert_eq!(error, DialogError::NoTag(HeaderName::To));
}

#[test]
fn an_end_that_gave_no_contact_is_reached_where_it_sent_from() {
    let bare = ok().edit().remove("Contact").finish().unwrap();
    let (caller, callee) = ("sip:192.0.2.1:5062", "sip:192.0.2.4:5070");
    let dialog = ProxyDialog::with_targets(&invite(), &bare, &identity(), caller, callee);
    let mut dialog = dialog.unwrap();
    assert_eq!(dialog.target(Side::Callee), callee);
    assert_ne!(dialog.target(Side::Caller), caller, "its Contact counts");
    dialog.confirm(&bare, &identity()).unwrap();
    let bye = dialog.bye_towards(Side::Callee, VIA, None).unwrap();
    assert_eq!(uri(&bye), callee);
    dialog.confirm(&ok(), &identity()).unwrap();
    assert_ne!(dialog.target(Side::Callee), callee);
}

#[test]
fn a_caller_acknowledges_and_hangs_up_along_the_recorded_route() {
    let mut dialog = Dialog::uac(&invite(), &ok()).unwrap();
    let ack = dialog.ack(VIA).build().unwrap();
    assert!(ack.validate().is_ok());
    assert_eq!(uri(&ack), "sip:bob@192.0.2.4:5070;ob");
    let path = [
        "sip:192.0.2.20;lr",
        "sip:192.0.2.10;lr",
        "sip:192.0.2.30;lr",
        "sip:192.0.2.40;lr",
    ];
    assert_eq!(routes(&ack), path);
    assert_eq!(ack.cseq().unwrap().number, 17);
    assert_eq!(dialog.next_hop(), path[0]);

    let reinvite = dialog.request(&Method::Invite, VIA).build().unwrap();
    assert_eq!(reinvite.cseq().unwrap().number, 18);
    assert_eq!(dialog.ack(VIA).build().unwrap().cseq().unwrap().number, 18);
    let bye = dialog.bye(VIA).build().unwrap();
    assert_eq!(bye.cseq().unwrap().number, 19);
    assert_eq!(
        (bye.from().unwrap().tag(), bye.to().unwrap().tag()),
        (Some("a"), Some("b"))
    );
}

#[test]
fn a_callee_sees_the_dialog_from_its_end() {
    let mut dialog = Dialog::uas(&invite(), "b").unwrap();
    assert_eq!((dialog.local_tag(), dialog.remote_tag()), ("b", "a"));
    let bye = dialog.bye(VIA).build().unwrap();
    assert_eq!(uri(&bye), "sip:alice@192.0.2.1:5062");
    assert_eq!(routes(&bye), ["sip:192.0.2.20;lr"]);
    assert_eq!(bye.from().unwrap().raw(), b"<sip:bob@example.test>;tag=b");
    assert_eq!(bye.cseq().unwrap().number, 1);

    let theirs = within(&Method::Invite, Side::Caller, 18, "sip:alice@198.51.100.1");
    assert!(dialog.matches(&theirs));
    assert!(!dialog.matches(&within(&Method::Bye, Side::Callee, 18, "sip:x@y")));
    assert_eq!(dialog.handle_request(&theirs), Ok(()));
    assert_eq!(
        uri(&dialog.bye(VIA).build().unwrap()),
        "sip:alice@198.51.100.1"
    );
    let old = within(&Method::Info, Side::Caller, 3, "sip:x@y");
    assert_eq!(
        dialog.handle_request(&old),
        Err(OutOfOrder { got: 3, last: 18 })
    );
}

#[test]
fn a_strict_router_first_in_the_route_takes_the_request_line() {
    let ok = ok();
    let strict = ok
        .edit()
        .replace("Record-Route", "<sip:192.0.2.30;lr>, <sip:192.0.2.20>");
    let dialog = Dialog::uac(&invite(), &strict.finish().unwrap()).unwrap();
    let ack = dialog.ack(VIA).build().unwrap();
    assert_eq!(uri(&ack), "sip:192.0.2.20");
    assert_eq!(
        routes(&ack),
        ["sip:192.0.2.30;lr", "sip:bob@192.0.2.4:5070;ob"]
    );
    assert_eq!(dialog.next_hop(), "sip:192.0.2.20");
}

#[test]
fn a_2xx_is_repeated_until_the_ack_or_64_t1() {
    let start = Instant::now();
    let mut answer = Answer::new(start, &Timers::default());
    let mut log = Vec::new();
    while let Some(at) = answer.poll_timeout() {
        assert_eq!(answer.handle_timeout(at - Duration::from_millis(1)), None);
        log.push(((at - start).as_millis(), answer.handle_timeout(at).unwrap()));
    }
    let (give_up, sent) = log.split_last().unwrap();
    assert_eq!(*give_up, (32_000, Repeat::GiveUp));
    let times: Vec<_> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(
        times,
        [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
        ]
    );

    let mut answer = Answer::new(start, &Timers::default());
    answer.acknowledge();
    assert_eq!(answer.poll_timeout(), None);
    assert_eq!(answer.handle_timeout(start + Duration::from_secs(99)), None);
}
