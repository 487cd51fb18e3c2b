//! Where requests go, and what the copy that is sent on looks like.

use super::{identity, invite, request, values};
use crate::header::Transport;
use crate::message::Message;
use crate::proxy::{
    Forward, RecordRoute, RouteError, Routed, forward, next_hop, pop_via, preprocess, stamp_via,
};

const PLAN: Forward<'_> = Forward {
    target: None,
    route: &[],
    directions: None,
    record_route: None,
    transport: Transport::Udp,
    sent_by: "192.0.2.10:5060",
    branch: "z9hG4bKours",
};

fn routed(request: &Message) -> Routed {
    preprocess(request, &identity()).unwrap()
}

fn uri(message: &Message) -> &str {
    std::str::from_utf8(message.request_uri_raw()).unwrap()
}

#[test]
fn a_new_request_passes_unchanged_but_for_what_a_proxy_writes() {
    let received = invite().header("Max-Forwards", "3").build().unwrap();
    let routed = routed(&received);
    assert!(routed.own_routes.is_empty() && !routed.has_route());
    assert_eq!(routed.request, received);

    let plan = Forward {
        target: Some("sip:bob@192.0.2.4:5070;transport=udp"),
        ..PLAN
    };
    assert_eq!(
        next_hop(&routed, &plan).unwrap(),
        "sip:bob@192.0.2.4:5070;transport=udp"
    );
    let sent = forward(&routed, &plan).unwrap();
    let expected = String::from_utf8(received.as_bytes().to_vec())
        .unwrap()
        .replace(
            "INVITE sip:bob@example.test",
            "INVITE sip:bob@192.0.2.4:5070;transport=udp",
        )
        .replace("Max-Forwards: 3", "Max-Forwards: 2")
        .replacen(
            "Via: ",
            "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKours;rport\r\nVia: ",
            1,
        );
    assert_eq!(String::from_utf8_lossy(sent.as_bytes()), expected);
}

#[test]
fn a_route_of_another_scheme_does_not_come_into_the_request_line() {
    let received = invite().header("Max-Forwards", "3");
    let strict = received.clone().header("Route", "xmpp:192.0.2.10;lr>");
    let routed = routed(&strict.build().unwrap());
    assert_eq!(forward(&routed, &PLAN).unwrap_err(), RouteError::Scheme);

    // A strict router has put our Record-Route into the request line.
    let undone = request("sip:192.0.2.10;lr").header("Route", "<xmpp:bob@example.test>");
    let undone = preprocess(&undone.build().unwrap(), &identity());
    assert_eq!(undone.unwrap_err(), RouteError::Scheme);
}

#[test]
fn headers_of_a_target_are_not_in_the_request_uri() {
    let routed = routed(&invite().build().unwrap());
    let plan = Forward {
        target: Some("sip:a?b@192.0.2.4;x?Route=%3Csip:evil.test%3E&Subject=hi"),
        ..PLAN
    };
    let sent = forward(&routed, &plan).unwrap();
    assert_eq!(uri(&sent), "sip:a?b@192.0.2.4;x");
}

#[test]
fn max_forwards_is_added_where_it_is_missing_and_never_goes_below_zero() {
    let sent = forward(&routed(&invite().build().unwrap()), &PLAN).unwrap();
    assert_eq!(sent.max_forwards(), Ok(Some(70)));
    let zero = invite().header("Max-Forwards", "0").build().unwrap();
    assert_eq!(
        forward(&routed(&zero), &PLAN).unwrap_err(),
        RouteError::TooManyHops
    );
}

#[test]
fn own_routes_are_taken_off_and_the_rest_is_followed() {
    let received = invite()
        .header(
            "Route",
            "<sip:192.0.2.10;lr;side=a>, <sip:p.example.test:5060;transport=tcp;lr>",
        )
        .header("Route", "\"next\" <sip:[2001:db8::1]:5080;lr>;x=y")
        .header("Route", "<sip:192.0.2.10:5060;lr;later>")
        .build()
        .unwrap();
    let routed = routed(&received);
    let own = [
        "sip:192.0.2.10;lr;side=a",
        "sip:p.example.test:5060;transport=tcp;lr",
    ];
    assert_eq!(routed.own_routes, own);
    assert!(routed.has_route());
    assert_eq!(
        next_hop(&routed, &PLAN).unwrap(),
        "sip:[2001:db8::1]:5080;lr"
    );
    let sent = forward(&routed, &PLAN).unwrap();
    let rest = "\"next\" <sip:[2001:db8::1]:5080;lr>;x=y, <sip:192.0.2.10:5060;lr;later>";
    assert_eq!(values(&sent, "Route"), [rest]);
    assert_eq!(uri(&sent), "sip:bob@example.test");
}

#[test]
fn an_ipv6_route_of_ours_is_known_however_it_is_written() {
    let received = invite()
        .header("Route", "<sip:[2001:DB8:0::0010];lr>")
        .build()
        .unwrap();
    assert_eq!(routed(&received).own_routes.len(), 1);
    assert!(values(&routed(&received).request, "Route").is_empty());
}

#[test]
fn a_route_of_another_port_is_not_ours() {
    let received = invite()
        .header("Route", "<sip:192.0.2.10:5099;lr>")
        .build()
        .unwrap();
    assert!(routed(&received).own_routes.is_empty());
}

#[test]
fn what_a_strict_router_did_to_the_request_line_is_undone() {
    let received = request("sip:192.0.2.10:5060;lr")
        .header("Route", "<sip:192.0.2.30;lr>")
        .header("Route", "<sip:bob@192.0.2.4>")
        .build()
        .unwrap();
    let routed = routed(&received);
    assert_eq!(uri(&routed.request), "sip:bob@192.0.2.4");
    assert_eq!(values(&routed.request, "Route"), ["<sip:192.0.2.30;lr>"]);
    assert_eq!(routed.own_routes, ["sip:192.0.2.10:5060;lr"]);
}

#[test]
fn a_strict_router_ahead_gets_its_uri_in_the_request_line() {
    let received = invite()
        .header("Route", "<sip:strict.example.test>, <sip:192.0.2.30;lr>")
        .build()
        .unwrap();
    let routed = routed(&received);
    assert_eq!(next_hop(&routed, &PLAN).unwrap(), "sip:strict.example.test");
    let sent = forward(&routed, &PLAN).unwrap();
    assert_eq!(uri(&sent), "sip:strict.example.test");
    assert_eq!(
        values(&sent, "Route"),
        ["<sip:192.0.2.30;lr>, <sip:bob@example.test>"]
    );
}

#[test]
fn a_plan_may_put_a_path_before_the_target() {
    let routed = routed(&invite().build().unwrap());
    let plan = Forward {
        target: Some("sip:bob@10.0.0.1"),
        route: &["sip:edge.test;lr"],
        ..PLAN
    };
    assert_eq!(next_hop(&routed, &plan).unwrap(), "sip:edge.test;lr");
    let sent = forward(&routed, &plan).unwrap();
    assert_eq!(uri(&sent), "sip:bob@10.0.0.1");
    assert_eq!(values(&sent, "Route"), ["<sip:edge.test;lr>"]);
}

#[test]
fn one_interface_is_recorded_once_and_two_twice() {
    let received = invite()
        .header("Record-Route", "<sip:192.0.2.30;lr>")
        .build()
        .unwrap();
    let routed = routed(&received);
    let udp = "sip:192.0.2.10:5060;lr";
    let tcp = "sip:192.0.2.10:5060;transport=tcp;lr";
    let record = |ingress, egress| {
        let plan = Forward {
            record_route: Some(RecordRoute { ingress, egress }),
            ..PLAN
        };
        values(&forward(&routed, &plan).unwrap(), "Record-Route")
    };
    let before = "<sip:192.0.2.30;lr>";
    assert_eq!(record(udp, udp), [format!("<{udp}>"), before.to_owned()]);
    assert_eq!(
        record(udp, tcp),
        [format!("<{tcp}>"), format!("<{udp}>"), before.to_owned()]
    );
}

#[test]
fn maddr_that_is_us_is_taken_off() {
    let received =
        request("sip:bob;x=1@example.test:5060;maddr=192.0.2.10;transport=tcp;user=phone");
    let routed = routed(&received.build().unwrap());
    assert_eq!(uri(&routed.request), "sip:bob;x=1@example.test;user=phone");
    let other = request("sip:bob@example.test;maddr=192.0.2.99")
        .build()
        .unwrap();
    let routed = preprocess(&other, &identity()).unwrap();
    assert_eq!(
        uri(&routed.request),
        "sip:bob@example.test;maddr=192.0.2.99"
    );
}

#[test]
fn a_target_that_is_no_uri_is_refused() {
    let routed = routed(&invite().build().unwrap());
    for target in ["not a uri", "sip:a@b\r\nEvil: x", ""] {
        let plan = Forward {
            target: Some(target),
            ..PLAN
        };
        assert!(forward(&routed, &plan).is_err(), "{target:?}");
    }
}

#[test]
fn where_a_request_came_from_is_written_on_its_via() {
    let received = stamp_via(
        invite().build().unwrap(),
        "198.51.100.7:1024".parse().unwrap(),
    );
    let via = received.via().unwrap();
    assert_eq!(via.received(), Some("198.51.100.7".parse().unwrap()));
    assert_eq!(via.rport(), Some(1024));
    assert_eq!(via.branch(), Some("z9hG4bKcaller"));
    assert_eq!(received.vias().count(), 1);
}

#[test]
fn our_via_is_taken_off_a_response_unless_it_is_the_last() {
    let sent = forward(&routed(&invite().build().unwrap()), &PLAN).unwrap();
    let response = sent.respond(180).to_tag("b").build().unwrap();
    let passed = pop_via(&response).unwrap();
    assert_eq!(passed.via().unwrap().branch(), Some("z9hG4bKcaller"));
    assert!(pop_via(&passed).is_none());
}
