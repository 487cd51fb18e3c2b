use super::*;

const MS: u64 = 1_000_000;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn sdp() -> SocketAddr {
    at("192.0.2.1:4000")
}

fn learner() -> Learner {
    let mut learner = Learner::default();
    assert!(learner.signal(sdp()));
    learner
}

/// Sends `count` packets of one stream, 20 ms apart; the last answer.
fn stream(
    learner: &mut Learner,
    source: SocketAddr,
    ssrc: u32,
    first: u16,
    count: u16,
    from: u64,
) -> Answer {
    let mut answer = Answer::Stranger;
    for n in 0..count {
        let position = Position {
            ssrc,
            sequence: first.wrapping_add(n),
        };
        answer = learner.rtp(source, position, from + u64::from(n) * 20 * MS);
    }
    answer
}

#[test]
fn the_signalled_address_is_accepted_at_once() {
    let mut learner = learner();
    assert_eq!(learner.source(), None);
    assert_eq!(
        learner.destination(),
        Some(sdp()),
        "packets go where the SDP said meanwhile"
    );
    assert_eq!(stream(&mut learner, sdp(), 1, 100, 1, 0), Answer::Learned);
    assert_eq!(stream(&mut learner, sdp(), 1, 101, 1, 0), Answer::Accept);
    assert_eq!(learner.source(), Some(sdp()));
}

#[test]
fn a_natted_source_has_to_show_a_stream() {
    let nat = at("198.51.100.7:61000");
    let mut learner = learner();
    assert_eq!(
        stream(&mut learner, nat, 1, 65_534, 3, 0),
        Answer::Candidate
    );
    assert_eq!(
        learner.destination(),
        Some(sdp()),
        "nothing is sent to a candidate"
    );
    assert_eq!(stream(&mut learner, nat, 1, 1, 1, 60 * MS), Answer::Learned);
    assert_eq!(learner.destination(), Some(nat));
}

#[test]
fn noise_is_not_a_stream() {
    let stranger = at("203.0.113.9:9");
    let mut learner = learner();
    for n in 0..50_u16 {
        // Another SSRC each time, then sequence numbers that jump, then the same packet again.
        let positions = [
            Position {
                ssrc: u32::from(n),
                sequence: n,
            },
            Position {
                ssrc: 7,
                sequence: n.wrapping_mul(1009),
            },
            Position {
                ssrc: 8,
                sequence: 5,
            },
        ];
        for position in positions {
            assert_eq!(learner.rtp(stranger, position, 0), Answer::Candidate);
        }
    }
    assert_eq!(learner.source(), None);
}

#[test]
fn a_later_stranger_neither_steals_nor_is_accepted() {
    let mut learner = learner();
    stream(&mut learner, sdp(), 1, 0, 10, 0);
    let stranger = at("203.0.113.9:9");
    for round in 0..20_u16 {
        let now = 200 * MS + u64::from(round) * 500 * MS;
        // The peer goes on; the stranger even copies its SSRC and sequence.
        assert_eq!(
            stream(&mut learner, sdp(), 1, 10 + round, 1, now),
            Answer::Accept
        );
        let answer = stream(&mut learner, stranger, 1, 11 + round, 5, now);
        assert_eq!(answer, Answer::Stranger);
        assert!(!learner.other(stranger));
    }
    assert_eq!(learner.destination(), Some(sdp()));
}

#[test]
fn the_real_peer_takes_over_from_an_early_stranger() {
    let stranger = at("203.0.113.9:9");
    let mut learner = learner();
    assert_eq!(stream(&mut learner, stranger, 1, 0, 4, 0), Answer::Learned);
    let same_host = at("192.0.2.1:4444");
    assert_eq!(
        stream(&mut learner, same_host, 2, 0, 4, 100 * MS),
        Answer::Learned
    );
    assert_eq!(
        stream(&mut learner, sdp(), 3, 0, 1, 200 * MS),
        Answer::Learned
    );
    assert_eq!(
        stream(&mut learner, same_host, 2, 4, 8, 300 * MS),
        Answer::Stranger
    );
}

#[test]
fn after_the_window_only_silence_lets_another_in() {
    let nat = at("198.51.100.7:61000");
    let mut learner = learner();
    stream(&mut learner, nat, 1, 0, 200, 0);
    let late = 4_000 * MS;
    assert_eq!(
        stream(&mut learner, sdp(), 2, 0, 8, late),
        Answer::Stranger,
        "the window is over"
    );
    let rebound = at("198.51.100.7:61001");
    assert_eq!(
        stream(&mut learner, rebound, 1, 200, 8, late),
        Answer::Stranger
    );
    assert_eq!(
        stream(&mut learner, rebound, 5, 0, 4, late + 3_000 * MS),
        Answer::Learned
    );
}

#[test]
fn silence_lets_the_same_stream_move_to_another_host_but_no_other_stream() {
    let mut learner = learner();
    stream(&mut learner, sdp(), 1, 0, 10, 0);
    let later = 5_000 * MS;
    let elsewhere = at("203.0.113.9:9");
    assert_eq!(
        stream(&mut learner, elsewhere, 9, 0, 8, later),
        Answer::Stranger
    );
    assert_eq!(
        stream(&mut learner, elsewhere, 1, 250, 4, later),
        Answer::Learned
    );
    assert_eq!(learner.source(), Some(elsewhere));
}

#[test]
fn new_sdp_starts_over_and_the_same_sdp_does_not() {
    let mut learner = learner();
    stream(&mut learner, sdp(), 1, 0, 10, 0);
    assert!(!learner.signal(sdp()));
    assert_eq!(learner.source(), Some(sdp()));
    let moved = at("192.0.2.2:5000");
    assert!(learner.signal(moved));
    assert_eq!(learner.destination(), Some(moved));
    assert!(!learner.other(sdp()));
    assert_eq!(stream(&mut learner, moved, 1, 10, 1, 0), Answer::Learned);
}

#[test]
fn a_natted_peer_stays_reachable_over_new_sdp() {
    let nat = at("198.51.100.7:61000");
    let mut learner = learner();
    stream(&mut learner, nat, 1, 0, 10, 0);
    assert!(learner.signal(at("10.0.0.9:4002")));
    assert_eq!(learner.source(), None);
    assert_eq!(learner.destination(), Some(nat));
    assert!(learner.signal(at("10.0.0.9:4004")), "twice in a row");
    assert_eq!(learner.destination(), Some(nat));
    assert_eq!(stream(&mut learner, nat, 1, 10, 4, 0), Answer::Learned);
}

#[test]
fn hold_by_an_unspecified_address_has_no_destination() {
    let mut learner = learner();
    learner.signal(at("0.0.0.0:4000"));
    assert_eq!(learner.destination(), None);
}

#[test]
fn packets_that_xdp_forwarded_keep_the_source_alive() {
    let mut learner = learner();
    stream(&mut learner, sdp(), 1, 0, 1, 0);
    learner.seen(
        10_000 * MS,
        Position {
            ssrc: 1,
            sequence: 500,
        },
    );
    assert!(!learner.is_silent(11_000 * MS));
    assert!(learner.is_silent(12_000 * MS));
    let rebound = at("192.0.2.1:4002");
    assert_eq!(
        stream(&mut learner, rebound, 1, 501, 8, 11_000 * MS),
        Answer::Stranger
    );
}

#[test]
fn rtcp_comes_from_the_sdp_or_beside_rtp() {
    let mut control = ControlLearner::default();
    control.signal(at("192.0.2.1:4001"));
    assert_eq!(
        control.rtcp(at("198.51.100.7:61001"), None),
        Answer::Stranger
    );
    assert_eq!(control.destination(None), Some(at("192.0.2.1:4001")));
    let rtp = Some(at("198.51.100.7:61000"));
    assert_eq!(
        control.destination(rtp),
        Some(at("198.51.100.7:61001")),
        "beside RTP"
    );
    assert_eq!(control.rtcp(at("198.51.100.7:62222"), rtp), Answer::Learned);
    assert_eq!(
        control.rtcp(at("198.51.100.7:63333"), rtp),
        Answer::Stranger
    );
    assert_eq!(control.rtcp(at("203.0.113.9:9"), rtp), Answer::Stranger);
    assert_eq!(control.destination(rtp), Some(at("198.51.100.7:62222")));
    assert_eq!(control.rtcp(at("192.0.2.1:4001"), rtp), Answer::Learned);
}

#[test]
fn a_peer_with_a_public_address_is_where_its_sdp_says() {
    for public in ["8.8.8.8:4000", "[2a00:1450::8]:4000"] {
        let mut learner = Learner::default();
        learner.signal(at(public));
        let other = at("203.0.113.9:9");
        assert_eq!(
            stream(&mut learner, other, 1, 0, 20, 0),
            Answer::Stranger,
            "{public}"
        );
        let mut mapped = at(public);
        mapped.set_port(61_000);
        assert_eq!(stream(&mut learner, mapped, 1, 0, 4, 0), Answer::Learned);
        // It may still change networks in the middle of its stream.
        let later = 5_000 * MS;
        assert_eq!(
            stream(&mut learner, other, 2, 4, 20, later),
            Answer::Stranger
        );
        assert_eq!(stream(&mut learner, other, 1, 4, 4, later), Answer::Learned);
    }
}

#[test]
fn a_hold_by_an_unspecified_address_keeps_the_source() {
    let stranger = at("203.0.113.9:9");
    let mut learner = learner();
    stream(&mut learner, sdp(), 1, 0, 10, 0);
    assert!(learner.signal(at("0.0.0.0:4000")));
    assert_eq!(learner.destination(), None);
    assert_eq!(
        stream(&mut learner, sdp(), 1, 10, 1, 300 * MS),
        Answer::Accept,
        "music on hold"
    );
    assert_eq!(
        stream(&mut learner, stranger, 9, 0, 8, 400 * MS),
        Answer::Stranger
    );
    assert!(learner.signal(sdp()));
    assert_eq!(learner.destination(), Some(sdp()));

    let mut unknown = Learner::default();
    unknown.signal(at("0.0.0.0:4000"));
    assert_eq!(stream(&mut unknown, stranger, 9, 0, 8, 0), Answer::Stranger);
}

#[test]
fn who_took_a_silent_sources_place_gives_it_back() {
    let mut learner = learner();
    stream(&mut learner, sdp(), 1, 0, 10, 0);
    assert!(!learner.is_contested(10_000 * MS));
    let other = at("192.0.2.1:5555");
    assert_eq!(
        stream(&mut learner, other, 5, 0, 4, 5_000 * MS),
        Answer::Learned
    );
    let later = 60_000 * MS;
    assert!(learner.is_contested(later), "as long as it may come back");
    assert_eq!(
        stream(&mut learner, sdp(), 1, 300, 1, later),
        Answer::Learned
    );
    assert_eq!(
        stream(&mut learner, other, 5, 4, 8, later + 20 * MS),
        Answer::Stranger
    );
    assert!(!learner.is_contested(later));
}

#[test]
fn rtcp_follows_the_policy() {
    let signalled = at("192.0.2.1:4001");
    let (rtp, beside) = (at("198.51.100.7:61000"), at("198.51.100.7:62222"));
    for sources in SourcePolicy::ALL {
        let mut control = ControlLearner::default();
        control.follow(Policy {
            sources,
            ..Policy::default()
        });
        control.signal(signalled);
        let stranger = control.rtcp(at("203.0.113.9:9"), Some(rtp));
        assert_eq!(stranger, Answer::Stranger);
        let (first, destination, second) = match sources {
            SourcePolicy::Strict => (Answer::Stranger, signalled, Answer::Learned),
            SourcePolicy::Heuristic => (Answer::Learned, beside, Answer::Learned),
            SourcePolicy::Once => (Answer::Learned, beside, Answer::Stranger),
            SourcePolicy::Off => (Answer::Learned, signalled, Answer::Learned),
        };
        let name = sources.name();
        assert_eq!(control.rtcp(beside, Some(rtp)), first, "{name}");
        assert_eq!(control.destination(Some(rtp)), Some(destination), "{name}");
        assert_eq!(control.rtcp(signalled, Some(rtp)), second, "{name}");
    }
}

#[test]
fn a_process_that_adopts_a_call_changes_nothing_before_it_is_told_again() {
    let (source, sent_to) = (at("198.51.100.7:61000"), at("192.0.2.1:4000"));
    let mut learner = Learner::default();
    learner.restore(source, 0);
    learner.assume(sent_to);
    assert_eq!(
        learner.destination(),
        Some(sent_to),
        "an asymmetric party's"
    );
    let neighbour = at("198.51.100.7:9");
    assert_eq!(
        stream(&mut learner, neighbour, 1, 0, 8, 5_000 * MS),
        Answer::Stranger
    );
    assert_eq!(
        stream(&mut learner, source, 1, 0, 1, 6_000 * MS),
        Answer::Accept
    );
    learner.follow(Policy {
        sources: SourcePolicy::Strict,
        ..Policy::default()
    });
    assert!(learner.signal(sent_to), "it was not of the SDP");
    assert_eq!(learner.source(), None);
}

#[test]
fn a_silent_fax_is_not_for_who_guesses_its_number() {
    let other = at("203.0.113.9:9");
    let mut fax = Learner::default();
    fax.signal(at("8.8.8.8:4000"));
    // UDPTL has no SSRC.
    stream(&mut fax, at("8.8.8.8:4000"), 0, 0, 10, 0);
    assert_eq!(
        stream(&mut fax, other, 0, 10, 8, 5_000 * MS),
        Answer::Stranger
    );
    let mapped = at("8.8.8.8:61000");
    assert_eq!(
        stream(&mut fax, mapped, 0, 10, 4, 6_000 * MS),
        Answer::Learned
    );
}

#[test]
fn who_was_only_let_in_by_off_goes_with_it() {
    let (signalled, other) = (at("8.8.8.8:4000"), at("203.0.113.9:9"));
    let off = Policy {
        sources: SourcePolicy::Off,
        ..Policy::default()
    };
    for sources in [SourcePolicy::Heuristic, SourcePolicy::Once] {
        let mut learner = Learner::default();
        learner.follow(off);
        learner.signal(signalled);
        assert_eq!(stream(&mut learner, other, 1, 0, 4, 0), Answer::Learned);
        assert_eq!(learner.destination(), Some(signalled));
        learner.follow(Policy { sources, ..off });
        assert_eq!(learner.destination(), Some(signalled), "{}", sources.name());
        assert_eq!(stream(&mut learner, other, 1, 4, 8, 0), Answer::Stranger);

        // On hold, and taken up again.
        let mut held = Learner::default();
        held.follow(off);
        held.signal(signalled);
        stream(&mut held, other, 1, 0, 4, 0);
        held.signal(at("0.0.0.0:4000"));
        held.follow(Policy { sources, ..off });
        held.signal(signalled);
        assert_eq!(held.destination(), Some(signalled), "{}", sources.name());
    }
}

#[test]
fn rtcp_of_a_neighbour_gives_way_and_goes_with_rtp() {
    let mut control = ControlLearner::default();
    let signalled = at("192.0.2.1:4001");
    control.signal(signalled);
    let rtp = Some(sdp());
    assert!(!control.is_contested());
    assert_eq!(control.rtcp(at("192.0.2.1:9"), rtp), Answer::Learned);
    assert!(control.is_contested());
    // Another port of the same host: the neighbour's RTP was displaced.
    control.follow_rtp(rtp);
    assert_eq!(control.source(), None);
    assert_eq!(control.rtcp(signalled, rtp), Answer::Learned);
    assert!(!control.is_contested());
    control.follow_rtp(rtp);
    assert_eq!(control.source(), Some(signalled));
    control.follow_rtp(Some(at("198.51.100.7:61000")));
    assert_eq!(control.source(), None);
}

#[test]
fn hold_by_an_unspecified_address_has_no_destination_of_rtcp() {
    let mut control = ControlLearner::default();
    control.signal(at("0.0.0.0:4001"));
    assert_eq!(control.destination(Some(sdp())), None);
}
