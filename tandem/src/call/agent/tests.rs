//! Two agents in simulated time, and messages that no agent would send.

use std::time::Duration;

use bytes::Bytes;

use super::*;

const CALLER: &str = "192.0.2.1:5060";
const CALLEE: &str = "192.0.2.2:5060";

/// Two agents and the network between them.
struct Pair {
    now: Instant,
    caller: Agent,
    callee: Agent,
    /// Decides of each message whether it is lost: its first line, and how many there were before.
    lose: fn(&str, usize) -> bool,
    /// First lines of what was sent, in order.
    seen: Vec<String>,
}

fn agent(at: &str, port: u16, codecs: &[Codec]) -> Agent {
    let signaling: SocketAddr = at.parse().unwrap();
    let identity = Identity {
        user: "test".into(),
        signaling,
        media: (signaling.ip(), port).into(),
        codecs: codecs.to_vec(),
    };
    Agent::new(identity, Timers::default(), u128::from(port))
}

fn outgoing() -> Outgoing {
    Outgoing {
        uri: format!("sip:100@{CALLEE}"),
        from: "sip:a@192.0.2.1".into(),
        hop: hop(CALLEE),
    }
}

fn hop(remote: &str) -> Hop {
    Hop {
        transport: Transport::Udp,
        remote: remote.parse().unwrap(),
    }
}

impl Pair {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            caller: agent(CALLER, 4_000, &Codec::ALL),
            callee: agent(CALLEE, 4_002, &Codec::ALL),
            lose: |_, _| false,
            seen: Vec::new(),
        }
    }

    /// Carries messages until both are silent.
    fn settle(&mut self) {
        loop {
            let from_caller = self.caller.poll_transmit();
            let (sent, from) = match from_caller {
                Some(sent) => (sent, CALLER),
                None => match self.callee.poll_transmit() {
                    Some(sent) => (sent, CALLEE),
                    None => return,
                },
            };
            let line = first_line(&sent.payload);
            let lost = (self.lose)(&line, self.seen.len());
            self.seen.push(line);
            if lost {
                continue;
            }
            let message = Message::parse(sent.payload).unwrap();
            let to = sent.flow.remote.to_string();
            let receiver = if to == CALLER {
                &mut self.caller
            } else {
                &mut self.callee
            };
            receiver.handle_message(self.now, hop(from), message);
        }
    }

    /// Lets time pass, timers included.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let next = [self.caller.poll_timeout(), self.callee.poll_timeout()];
            let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.caller.handle_timeout(self.now);
            self.callee.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// Sets up a call.
    fn connect(&mut self) {
        assert!(self.caller.call(self.now, &outgoing()));
        self.settle();
        self.callee.ring(self.now);
        self.callee.answer(self.now);
        self.settle();
        drain(&mut self.caller);
        drain(&mut self.callee);
    }

    fn count(&self, start: &str) -> usize {
        self.seen
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }

    /// Gives a request in the callee's name to the caller, and returns the response to it.
    fn inject(&mut self, request: &str) -> Message {
        let message = Message::parse(Bytes::copy_from_slice(request.as_bytes())).unwrap();
        self.caller.handle_message(self.now, hop(CALLEE), message);
        let sent = self.caller.poll_transmit().unwrap();
        Message::parse(sent.payload).unwrap()
    }

    /// A request of the callee in the call's dialog.
    fn in_dialog(&mut self, method: &str, cseq: u32, body: &str) -> String {
        let call = self.caller.call.as_ref().unwrap();
        let dialog = call.dialog.as_ref().unwrap();
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{method} sip:test@{CALLER} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLEE};branch=z9hG4bKt{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:100@{CALLEE}>;tag={}\r\nTo: <sip:a@192.0.2.1>;tag={}\r\n\
             Call-ID: {}\r\nCSeq: {cseq} {method}\r\nContact: <sip:100@{CALLEE}>\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            dialog.remote_tag(),
            dialog.local_tag(),
            dialog.call_id(),
            body.len()
        )
    }
}

fn first_line(payload: &Bytes) -> String {
    let text = String::from_utf8_lossy(payload);
    text.lines().next().unwrap_or_default().to_owned()
}

fn drain(agent: &mut Agent) -> Vec<Happened> {
    std::iter::from_fn(|| agent.poll_event()).collect()
}

fn endings(agent: &mut Agent) -> Vec<Ending> {
    let events = drain(agent).into_iter();
    let endings = events.filter_map(|event| match event {
        Happened::Ended(ending) => Some(ending),
        _ => None,
    });
    endings.collect()
}

fn sdp(direction: &str, connection: &str, formats: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 {connection}\r\nt=0 0\r\n\
         m=audio 4002 RTP/AVP {formats}\r\na={direction}\r\n"
    )
}

#[test]
fn a_call_rings_is_answered_and_hung_up() {
    let mut pair = Pair::new();
    assert!(pair.caller.call(pair.now, &outgoing()));
    pair.settle();
    let incoming = drain(&mut pair.callee);
    assert_eq!(
        incoming,
        [Happened::Incoming {
            from: "sip:a@192.0.2.1".into(),
            to: format!("sip:100@{CALLEE}"),
        }]
    );
    pair.callee.ring(pair.now);
    pair.callee.answer(pair.now);
    pair.settle();
    let plan = |port: u16, ip: &str| Plan {
        remote: format!("{ip}:{port}").parse().unwrap(),
        rtcp: format!("{ip}:{}", port + 1).parse().unwrap(),
        codec: Codec::Pcmu,
        payload_type: 0,
        send: true,
        receive: true,
    };
    assert_eq!(
        drain(&mut pair.caller),
        [
            Happened::Progress {
                status: 180,
                reason: "Ringing".into(),
                media: None
            },
            Happened::Answered,
            Happened::Media(plan(4_002, "192.0.2.2")),
        ]
    );
    assert_eq!(
        drain(&mut pair.callee),
        [
            Happened::Answered,
            Happened::Media(plan(4_000, "192.0.2.1"))
        ]
    );
    // Nothing is sent again once all is acknowledged.
    let before = pair.seen.len();
    pair.pass(Duration::from_secs(40));
    assert_eq!(pair.seen.len(), before, "{:?}", pair.seen);

    pair.caller.hang_up(pair.now);
    pair.settle();
    assert_eq!(endings(&mut pair.caller), [Ending::HungUp]);
    assert_eq!(endings(&mut pair.callee), [Ending::RemoteHungUp]);
    pair.pass(Duration::from_secs(60));
    assert!(pair.caller.layer.is_empty() && pair.callee.layer.is_empty());
    assert!(pair.caller.is_idle() && pair.callee.is_idle());
}

#[test]
fn a_lost_ack_makes_the_answer_come_again_and_a_lost_answer_too() {
    for lost in ["ACK", "SIP/2.0 200"] {
        let mut pair = Pair::new();
        pair.lose = match lost {
            "ACK" => |line, before| line.starts_with("ACK") && before < 4,
            _ => |line, before| line.starts_with("SIP/2.0 200") && before < 4,
        };
        pair.connect();
        pair.pass(Duration::from_secs(2));
        assert!(pair.count("SIP/2.0 200") >= 2, "{lost}: {:?}", pair.seen);
        let callee = pair.callee.call.as_ref().unwrap();
        assert!(
            callee.unconfirmed.is_none(),
            "{lost}: the ACK arrived at last"
        );
        assert!(matches!(callee.stage, Stage::Up));
    }
}

#[test]
fn an_answer_that_is_never_acknowledged_ends_the_call() {
    let mut pair = Pair::new();
    pair.lose = |line, _| line.starts_with("ACK");
    pair.connect();
    pair.pass(Duration::from_secs(40));
    assert_eq!(endings(&mut pair.callee), [Ending::NoAck]);
    assert_eq!(endings(&mut pair.caller), [Ending::RemoteHungUp]);
}

#[test]
fn hanging_up_while_it_rings_cancels() {
    let mut pair = Pair::new();
    pair.caller.call(pair.now, &outgoing());
    pair.settle();
    pair.callee.ring(pair.now);
    pair.settle();
    pair.caller.hang_up(pair.now);
    pair.settle();
    assert_eq!(pair.count("CANCEL"), 1);
    assert_eq!(pair.count("SIP/2.0 487"), 1);
    assert_eq!(endings(&mut pair.caller), [Ending::Cancelled]);
    assert_eq!(endings(&mut pair.callee), [Ending::Cancelled]);
    assert!(pair.callee.is_idle());
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up() {
    let mut pair = Pair::new();
    pair.lose = |line, _| line.starts_with("CANCEL");
    pair.caller.call(pair.now, &outgoing());
    pair.settle();
    pair.callee.ring(pair.now);
    pair.settle();
    pair.caller.hang_up(pair.now);
    pair.settle();
    pair.callee.answer(pair.now);
    pair.settle();
    assert_eq!(
        (pair.count("ACK"), pair.count("BYE")),
        (1, 1),
        "{:?}",
        pair.seen
    );
    assert_eq!(endings(&mut pair.caller), [Ending::Cancelled]);
    assert_eq!(endings(&mut pair.callee), [Ending::RemoteHungUp]);
}

#[test]
fn nobody_there_counts_as_408() {
    let mut pair = Pair::new();
    pair.lose = |_, _| true;
    pair.caller.call(pair.now, &outgoing());
    pair.pass(Duration::from_secs(33));
    assert_eq!(pair.count("INVITE"), 7);
    assert_eq!(endings(&mut pair.caller), [Ending::silence()]);
}

#[test]
fn a_second_caller_hears_busy() {
    let mut pair = Pair::new();
    pair.connect();
    let invite = "INVITE sip:test@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK9\r\n\
        Max-Forwards: 70\r\nFrom: <sip:c@192.0.2.9>;tag=c\r\nTo: <sip:test@192.0.2.1>\r\n\
        Call-ID: other\r\nCSeq: 1 INVITE\r\nContact: <sip:c@192.0.2.9>\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(pair.inject(invite).status(), Some(486));
    assert_eq!(drain(&mut pair.caller), []);
}

#[test]
fn hold_and_resume_come_by_reinvite() {
    let mut pair = Pair::new();
    pair.connect();
    for (cseq, direction, connection, ours, send, receive) in [
        (1, "sendonly", "192.0.2.2", "a=recvonly", false, true),
        (2, "inactive", "192.0.2.2", "a=inactive", false, false),
        (3, "sendrecv", "0.0.0.0", "a=recvonly", false, true),
        (4, "sendrecv", "192.0.2.2", "a=sendrecv", true, true),
    ] {
        let request = pair.in_dialog("INVITE", cseq, &sdp(direction, connection, "8"));
        let response = pair.inject(&request);
        assert_eq!(response.status(), Some(200));
        let body = String::from_utf8_lossy(response.body()).into_owned();
        assert!(body.contains(ours) && body.contains("PCMA"), "{body}");
        match drain(&mut pair.caller).as_slice() {
            [Happened::Media(plan)] => {
                assert_eq!(
                    (plan.send, plan.receive),
                    (send, receive),
                    "{direction} {connection}"
                );
                assert_eq!(plan.codec, Codec::Pcma);
            }
            other => panic!("{other:?}"),
        }
        let ack = pair.in_dialog("ACK", cseq, "");
        let ack = Message::parse(ack.into()).unwrap();
        pair.caller.handle_message(pair.now, hop(CALLEE), ack);
        assert!(pair.caller.call.as_ref().unwrap().unconfirmed.is_none());
    }
}

#[test]
fn a_change_that_cannot_be_leaves_the_call_as_it_was() {
    let mut pair = Pair::new();
    pair.connect();
    let request = pair.in_dialog("INVITE", 1, &sdp("sendrecv", "192.0.2.2", "18"));
    assert_eq!(pair.inject(&request).status(), Some(488));
    let request = pair.in_dialog("INVITE", 2, "v=0\r\nnonsense\r\n");
    assert_eq!(pair.inject(&request).status(), Some(488));
    assert_eq!(drain(&mut pair.caller), []);
    // An older CSeq than one that was seen.
    let request = pair.in_dialog("INFO", 3, "");
    assert_eq!(pair.inject(&request).status(), Some(405));
    let mut request = pair.in_dialog("UPDATE", 1, "");
    request = request.replace("z9hG4bKt1", "z9hG4bKlate");
    assert_eq!(pair.inject(&request).status(), Some(500));
    assert!(!pair.caller.is_idle());
}

#[test]
fn strangers_get_what_rfc_3261_owes_them() {
    let mut pair = Pair::new();
    let of = |method: &str, extra: &str, branch: u32| {
        format!(
            "{method} sip:test@{CALLER} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {CALLEE};branch=z9hG4bKs{branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:x@{CALLEE}>;tag=x\r\nTo: <sip:test@{CALLER}>{extra}\r\nCall-ID: s{branch}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:x@{CALLEE}>\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let options = pair.inject(&of("OPTIONS", "", 1));
    assert_eq!(options.status(), Some(200));
    assert_eq!(text(&options, HeaderName::Allow), ALLOW);
    assert_eq!(pair.inject(&of("BYE", ";tag=none", 2)).status(), Some(481));
    assert_eq!(pair.inject(&of("CANCEL", "", 3)).status(), Some(481));
    assert_eq!(pair.inject(&of("MESSAGE", "", 4)).status(), Some(405));
    let required = pair.inject(&of("INVITE", "\r\nRequire: 100rel, other", 5));
    assert_eq!(required.status(), Some(420));
    assert_eq!(text(&required, HeaderName::Unsupported), "100rel, other");
    let no_max_forwards_is_fine = of("OPTIONS", "", 6).replace("Max-Forwards: 70\r\n", "");
    assert_eq!(pair.inject(&no_max_forwards_is_fine).status(), Some(200));
    let broken = of("INVITE", "", 7).replace("CSeq: 1 INVITE", "CSeq: 1 BYE");
    assert_eq!(pair.inject(&broken).status(), Some(400));
    assert!(pair.caller.is_idle());
}

#[test]
fn a_delayed_offer_is_answered_in_the_ack() {
    let mut pair = Pair::new();
    let invite = format!(
        "INVITE sip:test@{CALLER} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLEE};branch=z9hG4bKd\r\n\
         Max-Forwards: 70\r\nFrom: <sip:x@{CALLEE}>;tag=x\r\nTo: <sip:test@{CALLER}>\r\n\
         Call-ID: delayed\r\nCSeq: 1 INVITE\r\nContact: <sip:x@{CALLEE}>\r\nContent-Length: 0\r\n\r\n"
    );
    let message = Message::parse(invite.into()).unwrap();
    pair.caller.handle_message(pair.now, hop(CALLEE), message);
    pair.caller.answer(pair.now);
    let answer = Message::parse(pair.caller.poll_transmit().unwrap().payload).unwrap();
    assert_eq!(answer.status(), Some(200));
    assert!(String::from_utf8_lossy(answer.body()).contains("m=audio 4000 RTP/AVP 0 8"));
    assert!(
        !drain(&mut pair.caller)
            .iter()
            .any(|event| matches!(event, Happened::Media(_)))
    );

    let ack = pair.in_dialog("ACK", 1, &sdp("sendrecv", "192.0.2.2", "8 0"));
    let ack = Message::parse(ack.into()).unwrap();
    pair.caller.handle_message(pair.now, hop(CALLEE), ack);
    match drain(&mut pair.caller).as_slice() {
        [Happened::Media(plan)] => assert_eq!(plan.codec, Codec::Pcma),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_without_audio_is_acknowledged_and_hung_up() {
    let mut pair = Pair::new();
    pair.callee = agent(CALLEE, 4_002, &[Codec::Pcma]);
    pair.caller.call(pair.now, &outgoing());
    let invite = Message::parse(pair.caller.poll_transmit().unwrap().payload).unwrap();
    let answer = invite
        .respond(200)
        .to_tag("t")
        .header(HeaderName::Contact, format!("<sip:100@{CALLEE}>"))
        .body("application/sdp", sdp("sendrecv", "192.0.2.2", "18"))
        .build()
        .unwrap();
    pair.caller.handle_message(pair.now, hop(CALLEE), answer);
    let lines: Vec<String> = std::iter::from_fn(|| pair.caller.poll_transmit())
        .map(|sent| first_line(&sent.payload))
        .collect();
    assert!(
        lines[0].starts_with("ACK") && lines[1].starts_with("BYE"),
        "{lines:?}"
    );
    pair.pass(Duration::from_secs(33));
    match endings(&mut pair.caller).as_slice() {
        [Ending::NoMedia(reason)] => assert!(reason.contains("PCMU"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_fork_that_answers_is_hung_up_on() {
    let mut pair = Pair::new();
    pair.caller.call(pair.now, &outgoing());
    let invite = Message::parse(pair.caller.poll_transmit().unwrap().payload).unwrap();
    let mut sent = Vec::new();
    for tag in ["first", "second"] {
        let answer = invite
            .respond(200)
            .to_tag(tag)
            .header(HeaderName::Contact, format!("<sip:{tag}@{CALLEE}>"))
            .body("application/sdp", sdp("sendrecv", "192.0.2.2", "0"))
            .build()
            .unwrap();
        pair.caller.handle_message(pair.now, hop(CALLEE), answer);
        sent.extend(std::iter::from_fn(|| pair.caller.poll_transmit()));
    }
    let lines: Vec<String> = sent.iter().map(|sent| first_line(&sent.payload)).collect();
    assert_eq!(
        lines,
        [
            format!("ACK sip:first@{CALLEE} SIP/2.0"),
            format!("ACK sip:second@{CALLEE} SIP/2.0"),
            format!("BYE sip:second@{CALLEE} SIP/2.0"),
        ]
    );
    assert!(matches!(
        pair.caller.call.as_ref().unwrap().stage,
        Stage::Up
    ));
}

#[test]
fn requests_follow_the_route_set() {
    let mut pair = Pair::new();
    pair.caller.call(pair.now, &outgoing());
    let invite = Message::parse(pair.caller.poll_transmit().unwrap().payload).unwrap();
    let answer = invite
        .respond(200)
        .to_tag("t")
        .header(
            HeaderName::RecordRoute,
            "<sip:192.0.2.7:5070;lr>, <sip:192.0.2.8;transport=tcp;lr>",
        )
        .header(HeaderName::Contact, "<sip:100@198.51.100.1>")
        .body("application/sdp", sdp("sendrecv", "192.0.2.2", "0"))
        .build()
        .unwrap();
    pair.caller.handle_message(pair.now, hop(CALLEE), answer);
    let ack = pair.caller.poll_transmit().unwrap();
    // The proxy nearest to us is the last of the Record-Route.
    assert_eq!(ack.flow.transport, Transport::Tcp);
    assert_eq!(ack.flow.remote, "192.0.2.8:5060".parse().unwrap());
    assert_eq!(first_line(&ack.payload), "ACK sip:100@198.51.100.1 SIP/2.0");
}
