//! The layer between two ends: what goes over the wire, and what each end hears.

use std::time::Duration;

use super::pair::{Pair, Wire, answer, invite, request};
use crate::message::{Message, Method};
use crate::transaction::{Event, SendError, TransactionId};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_failure_is_acknowledged_by_the_layer() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 486));
    assert_eq!(pair.status(), 486);
    assert_eq!(pair.take_log(), ["> INVITE", "< 486 INVITE", "> ACK"]);

    let ack = pair.last.clone().unwrap();
    assert_eq!(ack.request_uri_raw(), b"sip:bob@192.0.2.4");
    assert_eq!(ack.vias().count(), 1);
    assert_eq!(ack.via().unwrap().branch(), Some("z9hG4bK1"));
    assert_eq!(ack.to().unwrap().tag(), Some("b"));
    assert_eq!(ack.from().unwrap().tag(), Some("a"));
    assert_eq!(ack.cseq().unwrap().number, 17);
    assert_eq!(ack.routes().count(), 1);
    assert!(ack.validate().is_ok());
    pair.finish(Some(client), Some(server));
}

#[test]
fn over_tcp_a_failed_call_leaves_nothing_behind_at_once() {
    let mut pair = Pair::new(Wire::Tcp);
    pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 486));
    assert_eq!(pair.status(), 486);
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::Terminated { .. })
    ));
    assert!(matches!(
        pair.server.poll_event(),
        Some(Event::Terminated { .. })
    ));
    assert!(pair.client.is_empty() && pair.server.is_empty());
}

#[test]
fn a_repeated_invite_is_absorbed_and_gets_the_last_provisional_again() {
    let mut pair = Pair::new(Wire::Udp);
    pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 180));
    pair.take_log();
    pair.server
        .handle_message(pair.now, Wire::Udp, invite())
        .unwrap();
    pair.deliver();
    assert_eq!(pair.take_log(), ["< 180 INVITE"]);
    assert!(pair.server.poll_event().is_none());
    assert_eq!(pair.server.servers(), 1);
}

#[test]
fn an_invite_nobody_answers_for_gets_100_from_the_layer() {
    let mut pair = Pair::new(Wire::Udp);
    pair.send(invite());
    pair.sleep(Duration::from_millis(199));
    assert_eq!(pair.take_log(), ["> INVITE"]);
    pair.sleep(Duration::from_millis(1));
    assert_eq!(pair.take_log(), ["< 100 INVITE"]);
    // The 100 stopped the retransmissions.
    pair.sleep(60 * SECOND);
    assert!(pair.take_log().is_empty());
}

#[test]
fn a_lost_ack_is_sent_again_for_each_repeated_failure() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(invite());
    let (server, received) = pair.request();
    pair.server
        .send_response(pair.now, server, &answer(&received, 404))
        .unwrap();
    let lost = pair.server.poll_transmit().unwrap();
    assert!(lost.payload.starts_with(b"SIP/2.0 404"));
    pair.take_log();
    // The INVITE is repeated at 500 ms by the client, the 404 by the server: both lead to a 404.
    pair.sleep(SECOND / 2);
    assert_eq!(pair.status(), 404);
    let log = pair.take_log();
    assert_eq!(
        log.iter().filter(|line| *line == "> ACK").count(),
        2,
        "{log:?}"
    );
    pair.finish(Some(client), Some(server));
}

#[test]
fn without_an_ack_the_server_gives_up_after_timer_h() {
    let mut pair = Pair::new(Wire::Udp);
    pair.send(invite());
    let (server, received) = pair.request();
    pair.cut = true;
    pair.respond(server, &answer(&received, 486));
    pair.sleep(32 * SECOND);
    assert!(
        matches!(pair.server.poll_event(), Some(Event::Unacknowledged { id, .. }) if id == server)
    );
    assert!(matches!(
        pair.server.poll_event(),
        Some(Event::Terminated { .. })
    ));
    assert!(pair.server.is_empty());
    let repeated = pair
        .take_log()
        .iter()
        .filter(|line| *line == "< 486 INVITE")
        .count();
    assert_eq!(repeated, 11);
}

#[test]
fn silence_ends_an_invite_by_timer_b_and_another_request_by_timer_f() {
    for (method, sent) in [(Method::Invite, 7), (Method::Options, 11)] {
        let mut pair = Pair::new(Wire::Udp);
        pair.cut = true;
        let client = pair.send(request(&method, "z9hG4bK2"));
        pair.sleep(32 * SECOND - Duration::from_millis(1));
        assert!(pair.client.poll_event().is_none());
        pair.sleep(Duration::from_millis(1));
        let timeout = pair.client.poll_event();
        assert!(matches!(timeout, Some(Event::ClientTimeout { id }) if id == client));
        assert_eq!(pair.take_log().len(), sent);
        pair.finish(Some(client), None);
    }
}

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(invite());
    let (server, received) = pair.request();
    assert!(pair.client.cancel(pair.now, client, Some("SIP;cause=200")));
    pair.deliver();
    assert_eq!(pair.take_log(), ["> INVITE"]);

    pair.respond(server, &answer(&received, 180));
    assert_eq!(
        pair.take_log(),
        ["< 180 INVITE", "> CANCEL", "< 200 CANCEL"]
    );
    let cancel = pair.last.clone().unwrap();
    assert_eq!(cancel.via().unwrap().branch(), Some("z9hG4bK1"));
    assert_eq!(cancel.request_uri_raw(), b"sip:bob@192.0.2.4");
    assert_eq!(cancel.to().unwrap().tag(), None);
    assert_eq!(cancel.routes().count(), 1);
    assert_eq!(cancel.header("Reason").unwrap().value(), b"SIP;cause=200");
    assert!(cancel.validate().is_ok());

    assert_eq!(pair.status(), 180);
    let told = pair.server.poll_event();
    assert!(matches!(told, Some(Event::Cancelled { invite, .. }) if invite == server));
    pair.respond(server, &answer(&received, 487));
    assert_eq!(pair.take_log(), ["< 487 INVITE", "> ACK"]);
    assert_eq!(pair.status(), 487);
    pair.finish(Some(client), Some(server));
}

#[test]
fn a_cancel_before_any_tag_leaves_its_tag_to_the_final_response() {
    let mut pair = Pair::new(Wire::Udp);
    pair.send(invite());
    let (server, received) = pair.request();
    assert_eq!(pair.server.tag(server), None);
    let cancel = crate::transaction::derived::cancel(&received, None).unwrap();
    pair.server
        .handle_message(pair.now, pair.wire, cancel)
        .unwrap();
    let ok = Message::parse(pair.server.poll_transmit().unwrap().payload).unwrap();
    let tag = ok.to().unwrap().tag().unwrap();
    assert_eq!(pair.server.tag(server), Some(tag));
    // A callee's own tag counts once it is heard.
    pair.respond(server, &answer(&received, 180));
    assert_ne!(pair.server.tag(server), Some(tag));
}

#[test]
fn a_second_cancel_changes_nothing() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 180));
    assert!(pair.client.cancel(pair.now, client, None));
    assert!(pair.client.cancel(pair.now, client, None));
    pair.deliver();
    let cancels = pair
        .take_log()
        .iter()
        .filter(|line| *line == "> CANCEL")
        .count();
    assert_eq!(cancels, 1);
}

#[test]
fn a_repeated_cancel_gets_the_same_200() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 180));
    pair.client.cancel(pair.now, client, None);
    pair.deliver();
    assert!(matches!(
        pair.server.poll_event(),
        Some(Event::Cancelled { .. })
    ));
    pair.respond(server, &answer(&received, 487));
    pair.take_log();
    let cancel = request(&Method::Cancel, "z9hG4bK1");
    pair.server
        .handle_message(pair.now, Wire::Udp, cancel)
        .unwrap();
    pair.deliver();
    assert_eq!(pair.take_log(), ["< 200 CANCEL"]);
    assert!(pair.server.poll_event().is_none());
}

#[test]
fn the_200_to_a_cancel_has_the_tag_of_the_ringing() {
    let mut pair = Pair::new(Wire::Udp);
    let (server, received) = {
        pair.send(invite());
        pair.request()
    };
    pair.respond(server, &answer(&received, 180));
    let cancel = request(&Method::Cancel, "z9hG4bK1");
    pair.server
        .handle_message(pair.now, Wire::Udp, cancel)
        .unwrap();
    let ok = Message::parse(pair.server.poll_transmit().unwrap().payload).unwrap();
    assert_eq!(
        (ok.status(), ok.to().unwrap().tag()),
        (Some(200), Some("b"))
    );
}

#[test]
fn a_cancel_that_crosses_the_200_is_answered_and_changes_nothing() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 180));
    pair.take_log();
    pair.client.cancel(pair.now, client, None);
    pair.server
        .send_response(pair.now, server, &answer(&received, 200))
        .unwrap();
    pair.deliver();
    assert_eq!(
        pair.take_log(),
        ["> CANCEL", "< 200 INVITE", "< 200 CANCEL"]
    );
    assert_eq!([pair.status(), pair.status()], [180, 200]);
    pair.finish(Some(client), Some(server));
}

#[test]
fn a_cancel_is_too_late_after_the_final_response() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 200));
    assert!(!pair.client.cancel(pair.now, client, None));
    let options = pair.send(request(&Method::Options, "z9hG4bK5"));
    assert!(!pair.client.cancel(pair.now, options, None));
}

#[test]
fn a_cancel_of_nothing_is_a_request_to_be_answered() {
    let mut pair = Pair::new(Wire::Udp);
    let cancel = request(&Method::Cancel, "z9hG4bKnone");
    pair.server
        .handle_message(pair.now, Wire::Udp, cancel)
        .unwrap();
    let (server, received) = pair.request();
    assert_eq!(received.method(), Some(&Method::Cancel));
    pair.server
        .send_response(pair.now, server, &answer(&received, 481))
        .unwrap();
    assert!(
        pair.server
            .poll_transmit()
            .unwrap()
            .payload
            .starts_with(b"SIP/2.0 481")
    );
}

#[test]
fn a_cancelled_invite_without_a_final_response_times_out() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 180));
    assert_eq!(pair.status(), 180);
    pair.sleep(100 * SECOND);
    pair.cut = true;
    pair.client.cancel(pair.now, client, None);
    pair.sleep(32 * SECOND);
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::ClientTimeout { .. })
    ));
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::Terminated { .. })
    ));
    pair.sleep(SECOND);
    assert!(
        pair.client.is_empty(),
        "the CANCEL's own transaction is over too"
    );
}

#[test]
fn every_2xx_is_heard_and_failures_of_other_forks_are_not() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(invite());
    let (server, received) = pair.request();
    let fork = received.respond(200).to_tag("other").build().unwrap();
    pair.respond(server, &answer(&received, 200));
    pair.respond(server, &answer(&received, 200));
    pair.respond(server, &fork);
    let mut tags = Vec::new();
    while let Some(Event::Response { response, .. }) = pair.client.poll_event() {
        tags.push(response.to().unwrap().tag().unwrap().to_owned());
    }
    assert_eq!(tags, ["b", "b", "other"]);
    pair.client
        .handle_message(pair.now, Wire::Udp, answer(&received, 486))
        .unwrap();
    assert!(pair.client.poll_event().is_none() && pair.client.poll_transmit().is_none());
    let refused = pair
        .server
        .send_response(pair.now, server, &answer(&received, 486));
    assert_eq!(refused, Err(SendError::Answered));
    pair.finish(Some(client), Some(server));
}

#[test]
fn a_2xx_after_timer_m_is_a_stray() {
    let mut pair = Pair::new(Wire::Udp);
    pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 200));
    assert_eq!(pair.status(), 200);
    pair.sleep(32 * SECOND);
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::Terminated { .. })
    ));
    pair.client
        .handle_message(pair.now, Wire::Udp, answer(&received, 200))
        .unwrap();
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::StrayResponse { .. })
    ));
}

#[test]
fn the_ack_of_a_2xx_goes_to_the_user_whatever_its_branch() {
    let mut pair = Pair::new(Wire::Udp);
    pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 200));
    for (branch, matched) in [("z9hG4bKnew", None), ("z9hG4bK1", Some(server))] {
        let ack = request(&Method::Ack, branch);
        pair.server
            .handle_message(pair.now, Wire::Udp, ack)
            .unwrap();
        match pair.server.poll_event() {
            Some(Event::Ack { invite, .. }) => assert_eq!(invite, matched),
            other => panic!("no ACK but {other:?}"),
        }
    }
}

#[test]
fn a_repeated_invite_after_the_2xx_is_absorbed() {
    let mut pair = Pair::new(Wire::Udp);
    pair.send(invite());
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 200));
    pair.take_log();
    pair.server
        .handle_message(pair.now, Wire::Udp, invite())
        .unwrap();
    pair.deliver();
    assert!(pair.take_log().is_empty());
    assert!(pair.server.poll_event().is_none());
}

#[test]
fn a_request_is_answered_once_and_repeated_from_memory() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(request(&Method::Bye, "z9hG4bK3"));
    let (server, received) = pair.request();
    pair.respond(server, &answer(&received, 200));
    assert_eq!(pair.status(), 200);
    let again = request(&Method::Bye, "z9hG4bK3");
    pair.server
        .handle_message(pair.now, Wire::Udp, again)
        .unwrap();
    pair.deliver();
    assert_eq!(pair.take_log(), ["> BYE", "< 200 BYE", "< 200 BYE"]);
    assert!(
        pair.client.poll_event().is_none(),
        "the second 200 is absorbed"
    );
    pair.finish(Some(client), Some(server));
}

#[test]
fn no_408_and_no_provisional_goes_to_a_request_other_than_invite() {
    let mut pair = Pair::new(Wire::Udp);
    pair.send(request(&Method::Message, "z9hG4bK4"));
    let (server, received) = pair.request();
    let early = pair
        .server
        .send_response(pair.now, server, &answer(&received, 183));
    assert_eq!(early, Err(SendError::Provisional));
    pair.respond(server, &answer(&received, 408));
    assert_eq!(pair.take_log(), ["> MESSAGE"]);
    let late = pair
        .server
        .send_response(pair.now, server, &answer(&received, 200));
    assert_eq!(late, Err(SendError::Answered));
    // Its repetitions are absorbed, and do not reach the user as new requests.
    pair.sleep(10 * SECOND);
    assert!(pair.server.poll_event().is_none());
}

#[test]
fn a_slow_answer_to_a_request_is_announced_by_100() {
    let mut pair = Pair::new(Wire::Udp);
    let client = pair.send(request(&Method::Message, "z9hG4bK4"));
    let (server, received) = pair.request();
    pair.sleep(4 * SECOND);
    let log = pair.take_log();
    assert!(log.contains(&"< 100 MESSAGE".to_owned()), "{log:?}");
    pair.respond(server, &answer(&received, 200));
    // The request was repeated in the instant of the 100, and got it once more.
    assert_eq!(
        [pair.status(), pair.status(), pair.status()],
        [100, 100, 200]
    );
    pair.finish(Some(client), Some(server));
}

#[test]
fn a_user_that_never_answers_leaves_nothing_behind() {
    let mut pair = Pair::new(Wire::Tcp);
    pair.cut = true;
    let message = request(&Method::Message, "z9hG4bK4");
    pair.server
        .handle_message(pair.now, Wire::Tcp, message)
        .unwrap();
    let (server, _) = pair.request();
    pair.sleep(32 * SECOND);
    assert!(matches!(pair.server.poll_event(), Some(Event::ServerTimeout { id }) if id == server));
    pair.finish(None, Some(server));
}

#[test]
fn one_branch_of_two_clients_is_two_transactions() {
    let mut pair = Pair::new(Wire::Udp);
    let first = invite();
    let other = first
        .edit()
        .replace("Via", "SIP/2.0/UDP 192.0.2.8;branch=z9hG4bK1");
    pair.server
        .handle_message(pair.now, Wire::Udp, invite())
        .unwrap();
    pair.server
        .handle_message(pair.now, Wire::Udp, other.finish().unwrap())
        .unwrap();
    let (first, _) = pair.request();
    let (second, _) = pair.request();
    assert_ne!(first, second);
}

/// RFC 4475 section 3.2.1: the bare cookie is the same in every request of its client.
#[test]
fn a_branch_of_the_cookie_alone_tells_no_transactions_apart() {
    let mut pair = Pair::new(Wire::Udp);
    for call_id in ["one", "two", "two"] {
        let request = request(&Method::Options, "z9hG4bK")
            .edit()
            .replace("Call-ID", call_id)
            .finish()
            .unwrap();
        pair.server
            .handle_message(pair.now, Wire::Udp, request)
            .unwrap();
    }
    assert_eq!(pair.server.servers(), 2);
}

#[test]
fn a_client_of_rfc_2543_is_matched_without_a_branch() {
    let mut pair = Pair::new(Wire::Udp);
    let old = |method: &Method| {
        let request = request(method, "z9hG4bK1");
        request
            .edit()
            .replace("Via", "SIP/2.0/UDP 192.0.2.1:5060")
            .finish()
            .unwrap()
    };
    pair.server
        .handle_message(pair.now, Wire::Udp, old(&Method::Invite))
        .unwrap();
    pair.server
        .handle_message(pair.now, Wire::Udp, old(&Method::Invite))
        .unwrap();
    let (server, received) = pair.request();
    assert!(pair.server.poll_event().is_none());
    pair.server
        .send_response(pair.now, server, &answer(&received, 486))
        .unwrap();
    let ack = old(&Method::Ack)
        .edit()
        .replace("To", "<sip:bob@example.test>;tag=b")
        .finish();
    pair.server
        .handle_message(pair.now, Wire::Udp, ack.unwrap())
        .unwrap();
    while pair.server.poll_transmit().is_some() {}
    pair.sleep(6 * SECOND);
    assert!(matches!(
        pair.server.poll_event(),
        Some(Event::Terminated { .. })
    ));
    assert!(pair.server.is_empty());
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let mut pair = Pair::new(Wire::Udp);
    let now = pair.now;
    let mut send = |message| {
        pair.client
            .send_request(now, Wire::Udp, message)
            .unwrap_err()
    };
    let received = invite();
    assert_eq!(send(answer(&received, 200)), SendError::NotARequest);
    assert_eq!(send(request(&Method::Ack, "z9hG4bK1")), SendError::Ack);
    assert_eq!(send(request(&Method::Bye, "1")), SendError::Branch);
    pair.send(invite());
    let again = pair.client.send_request(now, Wire::Udp, invite());
    assert_eq!(again, Err(SendError::DuplicateBranch));
    let (server, _) = pair.request();
    let wrong = pair.server.send_response(now, server, &invite());
    assert_eq!(wrong, Err(SendError::NotAResponse));
}

#[test]
fn a_request_that_cannot_be_delivered_is_over() {
    let mut pair = Pair::new(Wire::Tcp);
    pair.cut = true;
    let client = pair.send(invite());
    pair.client
        .handle_transport_error(TransactionId::Client(client));
    let told = pair.client.poll_event();
    assert!(matches!(told, Some(Event::ClientTransportError { id }) if id == client));
    assert!(!pair.client.cancel(pair.now, client, None));
    pair.finish(Some(client), None);
}

#[test]
fn a_response_that_cannot_be_delivered_may_take_another_way() {
    let mut pair = Pair::new(Wire::Tcp);
    pair.send(invite());
    let (server, received) = pair.request();
    pair.cut = true;
    pair.respond(server, &answer(&received, 486));
    pair.server
        .handle_transport_error(TransactionId::Server(server));
    assert!(matches!(
        pair.server.poll_event(),
        Some(Event::ServerTransportError { id, flow: Wire::Tcp }) if id == server
    ));
    assert!(pair.server.poll_transmit().is_none());
    pair.server.resend(server, Wire::Udp);
    let again = pair.server.poll_transmit().unwrap();
    assert_eq!(again.flow, Wire::Udp);
    assert!(again.payload.starts_with(b"SIP/2.0 486"));
    pair.server
        .handle_message(pair.now, Wire::Tcp, invite())
        .unwrap();
    assert_eq!(pair.server.poll_transmit().unwrap().flow, Wire::Udp);
}

#[test]
fn nothing_is_told_of_a_request_whose_sender_is_gone() {
    let mut pair = Pair::new(Wire::Tcp);
    pair.send(invite());
    let (server, received) = pair.request();
    pair.cut = true;
    pair.server.forsake(server);
    pair.respond(server, &answer(&received, 487));
    pair.server
        .handle_transport_error(TransactionId::Server(server));
    while let Some(at) = pair.server.poll_timeout() {
        pair.server.handle_timeout(at);
    }
    assert!(pair.server.poll_event().is_none());
    assert_eq!(pair.server.servers(), 0);
}

#[test]
fn a_message_that_cannot_be_matched_changes_nothing() {
    let mut pair = Pair::new(Wire::Udp);
    let bare = invite().edit().remove("Via").finish().unwrap();
    assert!(
        pair.server
            .handle_message(pair.now, Wire::Udp, bare)
            .is_err()
    );
    let bare = answer(&invite(), 200)
        .edit()
        .remove("CSeq")
        .finish()
        .unwrap();
    assert!(
        pair.server
            .handle_message(pair.now, Wire::Udp, bare)
            .is_err()
    );
    assert!(pair.server.is_empty());
}
