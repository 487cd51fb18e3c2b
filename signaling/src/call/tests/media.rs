//! Offers, answers, and what mediad is asked for them.

use std::net::SocketAddr;

use control::media::{Handling, SourcePolicy};

use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::{Cause, EndedBy};

use super::bed::*;
use crate::call::MediaNews;

/// The relay's address and the port of the first `m=` line.
fn shown(message: &Message) -> (String, u16) {
    let text = body(message);
    let description = sip::sdp::Sdp::parse(text.as_bytes()).unwrap();
    let place: SocketAddr = description.media()[0].rtp().unwrap();
    (place.ip().to_string(), place.port())
}

#[test]
fn an_offer_and_its_answer_lead_to_mediad_and_the_record_has_the_quality() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    assert_eq!(
        shown(&forwarded),
        ("198.51.100.1".to_owned(), 20_002),
        "the callee's leg"
    );
    let create = bed.mediad.only().clone();
    assert_eq!(create.owner, "signaling");
    let caller = create.a.remote.unwrap();
    assert_eq!(
        (caller.rtp, caller.rtcp),
        (at("192.0.2.10:4000"), at("192.0.2.10:4001"))
    );
    assert_eq!(caller.format.encoding, "PCMA");
    assert!(create.b.remote.is_none());

    // Early media, then the same answer again in the 200.
    let answered = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 183, CALLEE, &answered));
    let progress = bed.response(CALLER, 183);
    assert_eq!(
        shown(&progress),
        ("198.51.100.1".to_owned(), 20_000),
        "the caller's leg"
    );
    assert_eq!(
        bed.mediad.only().b.remote.as_ref().unwrap().rtp,
        at("192.0.2.20:5000")
    );
    let ok = answer(&forwarded, 200, CALLEE, &answered);
    bed.receive_message(CALLEE, &ok);
    let first = bed.response(CALLER, 200);
    // Its ACK is lost: the 200 comes again, and shows the same.
    bed.receive_message(CALLEE, &ok);
    let again = bed.response(CALLER, 200);
    assert_eq!(again, first);
    bed.receive_message(CALLER, &request);
    assert_eq!(bed.asked(), ["create", "modify"], "nothing twice");

    let mut caller = Party::caller(&request, &first);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    let mut up = Up {
        caller,
        callee: Party::callee(&forwarded, CALLEE),
    };
    assert_eq!(bed.core.list(None)[0].media.len(), 1);
    hang_up(&mut bed, &mut up);
    assert_eq!(bed.asked(), ["delete"]);
    let cdr = bed.cdr();
    assert_eq!(cdr.datapath.as_deref(), Some("xdp"));
    let (from_caller, from_callee) = (cdr.from_caller.unwrap(), cdr.from_callee.unwrap());
    assert_eq!(
        (from_caller.packets, from_callee.packets, from_caller.lost),
        (1000, 900, 3)
    );
    assert!((from_caller.jitter_ms - 1.5).abs() < 1e-9);
    assert!((from_caller.mos.unwrap() - 4.4).abs() < 1e-6);
    assert_eq!(bed.metrics.media_mos.get_sample_count(), 2);
    bed.assert_empty();
}

/// Each trunk has the interface and the sources that it says, the next one that is tried its own.
#[test]
fn trunks_have_interfaces_and_sources_of_their_own() {
    let mut bed = Bed::new();
    let request = invite("+2995", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let first = bed.request(CALLEE, &Method::Invite);
    let create = bed.mediad.only().clone();
    let seen_at = |address: &str| Some(at(address).ip());
    let usual = Handling {
        seen_at: seen_at(CALLEE),
        ..Handling::default()
    };
    assert_eq!(create.b.handling, usual);
    assert_eq!(create.a.handling.seen_at, seen_at(CALLER));
    bed.receive_message(CALLEE, &answer(&first, 503, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);

    let second = bed.request(SECOND, &Method::Invite);
    let outside = Handling {
        interface: Some("outside".to_owned()),
        sources: SourcePolicy::Strict,
        seen_at: seen_at(SECOND),
        ..Handling::default()
    };
    let mut all = bed.mediad.sessions.values();
    assert!(all.any(|(create, _)| create.b.handling == outside));
    let answered = sdp("192.0.2.21", &[5000], "sendrecv");
    bed.receive_message(SECOND, &answer(&second, 200, SECOND, &answered));
    bed.response(CALLER, 200);
    let create = bed.mediad.only();
    assert_eq!(create.b.handling, outside);
    assert_eq!(create.b.remote.as_ref().unwrap().rtp, at("192.0.2.21:5000"));
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn a_delayed_offer_is_led_in_the_200_and_answered_in_the_ack() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    assert!(bed.asked().is_empty());
    let offer = sdp("192.0.2.20", &[5000], "sendrecv");
    let ok = answer(&forwarded, 200, CALLEE, &offer);
    bed.receive_message(CALLEE, &ok);
    let first = bed.response(CALLER, 200);
    assert_eq!(shown(&first).1, 20_000, "the caller's leg");
    bed.receive_message(CALLEE, &ok);
    assert_eq!(bed.response(CALLER, 200), first);

    let mut caller = Party::caller(&request, &first);
    let ack = caller.ack(&sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &ack);
    let passed = bed.request(CALLEE, &Method::Ack);
    assert_eq!(shown(&passed).1, 20_002);
    let create = bed.mediad.only();
    assert_eq!(create.a.remote.as_ref().unwrap().rtp, at("192.0.2.10:4000"));
    assert_eq!(create.b.remote.as_ref().unwrap().rtp, at("192.0.2.20:5000"));
    bed.receive_message(CALLER, &ack);
    assert_eq!(
        bed.request(CALLEE, &Method::Ack),
        passed,
        "an ACK that comes again"
    );
    assert_eq!(bed.asked(), ["create", "modify"]);
    bed.assert_quiet();

    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn hold_and_resume_from_either_side_by_any_of_the_three_ways() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let sends = |bed: &Bed| {
        let create = bed.mediad.only();
        let sends = |leg: &control::media::Leg| leg.remote.as_ref().is_some_and(|r| r.sends);
        (sends(&create.a), sends(&create.b))
    };
    assert_eq!(sends(&bed), (true, true));
    bed.asked();

    for (offered, answered, address, wanted) in [
        ("sendonly", "recvonly", "192.0.2.20", (false, true)),
        ("sendrecv", "sendrecv", "192.0.2.20", (true, true)),
        ("inactive", "inactive", "192.0.2.20", (false, false)),
        ("sendrecv", "sendrecv", "192.0.2.20", (true, true)),
        ("sendrecv", "sendrecv", "0.0.0.0", (false, true)),
        ("sendrecv", "sendrecv", "192.0.2.20", (true, true)),
    ] {
        let offer = sdp(address, &[5000], offered);
        bed.receive_message(CALLEE, &up.callee.send(&Method::Invite, &offer));
        let passed = bed.request(CALLER, &Method::Invite);
        assert!(body(&passed).contains(&format!("a={offered}")));
        let hold = address == "0.0.0.0";
        let place = if hold { "0.0.0.0" } else { "198.51.100.1" };
        assert_eq!(shown(&passed), (place.to_owned(), 20_000));
        let ok = answer(&passed, 200, CALLER, &sdp("192.0.2.10", &[4000], answered));
        bed.receive_message(CALLER, &ok);
        let ok = bed.response(CALLEE, 200);
        assert_eq!(shown(&ok), ("198.51.100.1".to_owned(), 20_002));
        bed.receive_message(CALLEE, &up.callee.ack(""));
        bed.request(CALLER, &Method::Ack);
        bed.assert_quiet();
        assert_eq!(sends(&bed), wanted, "{offered} {address}");
        let remote = bed.mediad.only().b.remote.clone().unwrap();
        let receives = offered == "sendrecv" && !hold;
        assert_eq!(remote.receives, receives, "{offered} {address}");
        assert_eq!(remote.rtp, at("192.0.2.20:5000"), "hold forgets no address");
    }
    assert_eq!(bed.asked(), ["modify"; 6]);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_stream_is_added_moved_and_taken_away_and_a_refused_offer_leaves_nothing() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.asked();
    let offer = |bed: &mut Bed, up: &mut Up, ports: &[u16], method: &Method, status: u16| {
        let offer = sdp("192.0.2.11", ports, "sendrecv");
        bed.receive_message(CALLER, &up.caller.send(method, &offer));
        let passed = bed.request(CALLEE, method);
        let refused = status >= 300;
        let answered: Vec<u16> = ports
            .iter()
            .map(|port| if *port == 0 { 0 } else { port + 1000 })
            .collect();
        let text = if refused {
            String::new()
        } else {
            sdp("192.0.2.20", &answered, "sendrecv")
        };
        bed.receive_message(CALLEE, &answer(&passed, status, CALLEE, &text));
        if refused && *method == Method::Invite {
            bed.request(CALLEE, &Method::Ack);
        }
        bed.response(CALLER, status);
        if *method == Method::Invite && !refused {
            bed.receive_message(CALLER, &up.caller.ack(""));
            bed.request(CALLEE, &Method::Ack);
        }
        bed.assert_quiet();
    };

    offer(&mut bed, &mut up, &[4000, 4010], &Method::Invite, 488);
    assert_eq!(
        bed.asked(),
        ["create", "delete"],
        "the new stream went with the refusal"
    );
    assert_eq!(
        bed.mediad.only().a.remote.as_ref().unwrap().rtp,
        at("192.0.2.10:4000")
    );

    offer(&mut bed, &mut up, &[4000, 4010], &Method::Update, 200);
    assert_eq!(bed.asked(), ["create", "modify", "modify"]);
    assert_eq!(bed.mediad.sessions.len(), 2);
    assert_eq!(bed.core.list(None)[0].media.len(), 2);

    offer(&mut bed, &mut up, &[4000, 0], &Method::Invite, 200);
    assert_eq!(
        bed.mediad.only().a.remote.as_ref().unwrap().rtp,
        at("192.0.2.11:4000")
    );
    offer(&mut bed, &mut up, &[4000, 4020], &Method::Invite, 200);
    assert_eq!(bed.mediad.sessions.len(), 2);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn prack_answers_the_offer_of_a_reliable_183() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let offer = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 183, CALLEE, &offer));
    let progress = bed.response(CALLER, 183);
    assert_eq!(shown(&progress).1, 20_000);
    let mut caller = Party::caller(&request, &progress);
    let prack = caller.send(&Method::Prack, &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &prack);
    let prack = bed.request(CALLEE, &Method::Prack);
    assert_eq!(shown(&prack).1, 20_002);
    assert_eq!(bed.asked(), ["create", "modify"]);
    bed.receive_message(CALLEE, &prack.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    bed.response(CALLER, 200);
    assert!(bed.mediad.only().a.remote.is_some());
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn each_leg_is_of_its_own_partys_family_through_a_failover_too() {
    let mut bed = Bed::new();
    let request = invite("+6555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE6, &Method::Invite);
    assert_eq!(shown(&forwarded).0, "2001:db8:ffff::1");
    assert!(body(&forwarded).contains("c=IN IP6 2001:db8:ffff::1"));
    bed.receive_message(CALLEE6, &answer(&forwarded, 503, CALLEE6, ""));
    bed.request(CALLEE6, &Method::Ack);
    let second = bed.request(CALLEE, &Method::Invite);
    assert_eq!(shown(&second).0, "198.51.100.1");
    assert_eq!(bed.asked(), ["create", "create"]);
    bed.receive_message(CALLEE, &answer(&second, 404, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.response(CALLER, 404);
    assert_eq!(bed.asked(), ["delete", "delete"]);
    bed.assert_empty();
}

#[test]
fn what_cannot_be_relayed_is_refused_and_not_passed_on() {
    let mut bed = Bed::new();
    let good = sdp("192.0.2.10", &[4000], "sendrecv");
    for (id, offer, status) in [
        ("c1", good.replace("c=IN IP4 192.0.2.10\r\n", ""), 488),
        (
            "c2",
            good.replace("IN IP4 192.0.2.10\r\nt", "IN IP4 host.example\r\nt"),
            488,
        ),
        ("c3", "v=nonsense".to_owned(), 400),
        ("c4", good.replace("m=audio 4000", "m=audio port"), 400),
    ] {
        bed.receive_message(CALLER, &invite("+2555", id, &offer));
        bed.response(CALLER, status);
        bed.assert_quiet();
        assert_eq!(bed.cdrs.pop().unwrap().cause, Cause::MediaUnusable);
        bed.drain();
    }
    assert!(bed.asked().is_empty());

    // The answer of a 200: the callee is told that there is no call, and the caller too.
    let request = invite("+2555", "c5", &good);
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, "v=0\r\nnonsense"));
    bed.request(CALLEE, &Method::Ack);
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.response(CALLER, 502);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    assert_eq!(
        (bed.cdr().status, bed.cdr().cause),
        (502, Cause::MediaUnusable)
    );
    assert!(bed.mediad.sessions.is_empty());
    bed.assert_empty();

    // An offer within the call, and an answer to one.
    bed.cdrs.clear();
    let mut up = call(&mut bed, "+2555", "c6");
    bed.receive_message(CALLER, &up.caller.send(&Method::Invite, "v=nonsense"));
    bed.response(CALLER, 400);
    bed.receive_message(CALLER, &up.caller.ack(""));
    bed.sent.clear();
    let offer = sdp("192.0.2.10", &[4000], "sendonly");
    bed.receive_message(CALLER, &up.caller.send(&Method::Invite, &offer));
    let passed = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&passed, 200, CALLEE, "v=nonsense"));
    bed.response(CALLER, 502);
    bed.request(CALLEE, &Method::Ack);
    for party in [CALLER, CALLEE] {
        let bye = bed.request(party, &Method::Bye);
        bed.receive_message(party, &bye.respond(200).build().unwrap());
    }
    assert_eq!(bed.cdr().cause, Cause::MediaUnusable);
    bed.assert_empty();

    // The answer in an ACK.
    bed.cdrs.clear();
    let request = invite("+2555", "c7", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let offer = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &offer));
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack("v=nonsense"));
    let ack = bed.request(CALLEE, &Method::Ack);
    assert!(ack.body().is_empty());
    bed.request(CALLEE, &Method::Bye);
    bed.request(CALLER, &Method::Bye);
    bed.assert_empty();
    assert_eq!(bed.cdr().cause, Cause::MediaUnusable);
}

#[test]
fn what_no_offer_is_answered_with_is_no_media_of_the_call() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.asked();
    // What the callee could do, which no port belongs to; and nonsense.
    for described in [
        "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\n",
        "v=0\r\nx",
    ] {
        bed.receive_message(CALLER, &up.caller.send(&Method::Options, ""));
        let options = bed.request(CALLEE, &Method::Options);
        bed.receive_message(CALLEE, &answer(&options, 200, CALLEE, described));
        assert_eq!(body(&bed.response(CALLER, 200)), described);
    }
    bed.receive_message(CALLER, &up.caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &answer(&bye, 200, CALLEE, "v=0\r\nnonsense"));
    bed.response(CALLER, 200);
    assert_eq!(bed.asked(), ["delete"]);
    assert_eq!(bed.cdr().cause, Cause::Bye);
    bed.assert_empty();
}

#[test]
fn a_leg_is_of_the_family_that_its_partys_offer_shows_whatever_signaling_came_over() {
    let mut bed = Bed::new();
    let six = sdp("2001:db8::9", &[4000], "sendrecv");
    let request = invite("+2555", "c1", &six);
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    assert_eq!(shown(&forwarded).0, "198.51.100.1");
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &text));
    let ok = bed.response(CALLER, 200);
    assert_eq!(shown(&ok).0, "2001:db8:ffff::1");
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    let callee = Party::callee(&forwarded, CALLEE);
    hang_up(&mut bed, &mut Up { caller, callee });
    bed.assert_empty();

    // The callee's offer, in its 200.
    let request = invite("+2555", "c2", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &six));
    let ok = bed.response(CALLER, 200);
    assert_eq!(shown(&ok).0, "198.51.100.1");
    let mut caller = Party::caller(&request, &ok);
    let text = sdp("192.0.2.10", &[4000], "sendrecv");
    bed.receive_message(CALLER, &caller.ack(&text));
    let ack = bed.request(CALLEE, &Method::Ack);
    assert_eq!(shown(&ack).0, "2001:db8:ffff::1");
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn what_mediad_cannot_use_is_refused_and_not_passed_on() {
    let mut bed = Bed::new();
    let foreign =
        sdp("192.0.2.10", &[4000], "sendrecv").replace("IP4 192.0.2.10", "IP6 2001:db8::9");
    let good = sdp("192.0.2.10", &[4000], "sendrecv");
    // A description that comes early does no harm; that of the 200 counts.
    let request = invite("+2555", "c2", &good);
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 183, CALLEE, &foreign));
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &foreign));
    bed.request(CALLEE, &Method::Ack);
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.response(CALLER, 502);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    assert_eq!(
        (bed.cdr().status, bed.cdr().cause),
        (502, Cause::MediaUnusable)
    );
    assert!(bed.mediad.sessions.is_empty());
    bed.cdrs.clear();

    let request = invite("+2555", "c3", &good);
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 183, CALLEE, &foreign));
    let theirs = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &theirs));
    bed.response(CALLER, 200);
    let (create, _) = bed.mediad.sessions.values().next().unwrap();
    let callee = create.b.remote.as_ref().map(|remote| remote.rtp);
    assert_eq!(callee, Some("192.0.2.20:5000".parse().unwrap()));
}

#[test]
fn without_mediad_new_relayed_calls_are_refused_and_calls_go_on() {
    let mut bed = Bed::new();
    let offer = sdp("192.0.2.10", &[4000], "sendrecv");
    bed.mediad.fails = true;
    bed.receive_message(CALLER, &invite("+2555", "c1", &offer));
    let refusal = bed.response(CALLER, 503);
    assert!(refusal.header(HeaderName::RetryAfter).is_some());
    assert_eq!(bed.cdrs.pop().unwrap().cause, Cause::MediaUnavailable);
    bed.mediad.fails = false;
    bed.assert_empty();

    let mut up = call(&mut bed, "+2555", "c2");
    bed.core.handle_media_news(bed.now, MediaNews::Down);
    bed.receive_message(CALLER, &invite("+2555", "c3", &offer));
    bed.response(CALLER, 503);
    bed.receive_message(CALLER, &invite("+1555", "c4", &offer));
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 486, CALLEE, ""));
    bed.sent.clear();

    // It comes back without its memory: the sessions are opened again with the ports they had.
    bed.asked();
    let before = bed.mediad.sessions.clone();
    bed.mediad.sessions.clear();
    bed.core
        .handle_media_news(bed.now, MediaNews::Up { restarted: true });
    bed.settle();
    assert_eq!(bed.asked(), ["create"]);
    let (create, info) = bed.mediad.sessions.values().next().unwrap();
    assert_eq!(info, &before.values().next().unwrap().1);
    assert!(create.a.remote.is_some() && create.b.remote.is_some());
    bed.cdrs.clear();
    hang_up(&mut bed, &mut up);

    // What it kept of a call that has ended meanwhile is closed.
    let left = control::media::SessionId(*b"mark\0\0\0\0leftover");
    bed.core
        .handle_media_news(bed.now, MediaNews::Listed(vec![left]));
    bed.settle();
    assert_eq!(bed.asked(), ["delete", "delete"]);
    bed.assert_empty();
}

#[test]
fn a_session_that_mediad_lost_is_opened_again_when_it_is_changed() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.mediad.sessions.clear();
    bed.asked();
    let offer = sdp("192.0.2.30", &[4000], "sendrecv");
    bed.receive_message(CALLER, &up.caller.send(&Method::Invite, &offer));
    let passed = bed.request(CALLEE, &Method::Invite);
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&passed, 200, CALLEE, &text));
    let ok = bed.response(CALLER, 200);
    assert_eq!(shown(&ok).1, 20_000);
    assert_eq!(bed.asked(), ["modify", "create"]);
    assert_eq!(
        bed.mediad.only().a.remote.as_ref().unwrap().rtp,
        at("192.0.2.30:4000")
    );
    bed.receive_message(CALLER, &up.caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn nothing_of_a_call_overtakes_what_waits_for_mediad() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.mediad.holds = true;
    bed.receive_message(CALLER, &request);
    bed.assert_quiet();
    bed.release();
    let forwarded = bed.request(CALLEE, &Method::Invite);

    bed.mediad.holds = true;
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 183, CALLEE, &text));
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &text));
    let mut callee = Party::callee(&forwarded, CALLEE);
    bed.receive_message(CALLEE, &callee.send(&Method::Bye, ""));
    bed.assert_quiet();
    bed.release();
    let order: Vec<_> = bed.sent.iter().map(|sent| sent.message.status()).collect();
    assert_eq!(order, [Some(183), Some(180), Some(200), None]);
    bed.sent.truncate(4);
    let bye = bed.sent.pop_back().unwrap().message;
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    assert_eq!(bed.cdr().ended_by, EndedBy::Callee);
    bed.assert_empty();

    // The caller gives up while mediad thinks.
    bed.mediad.holds = true;
    let request = invite("+2555", "c2", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let text = String::from_utf8(invite("+2555", "c2", "").as_bytes().to_vec()).unwrap();
    bed.receive(CALLER, text.replace("INVITE", "CANCEL"));
    bed.response(CALLER, 200);
    bed.response(CALLER, 487);
    bed.release();
    bed.assert_quiet();
    bed.assert_empty();
}
